"""Unfinished maps: what is to be computed, piece by piece, and the folder in which finished pieces lie."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from fieldwise.drafts import replace_when_done
from fieldwise.fields.rasters import TILE_CELLS
from fieldwise.verbs.domains.blocks import Box, Layout
from fieldwise.verbs.domains.clocks import measure
from fieldwise.verbs.domains.contents import MapFile, Piece
from fieldwise.verbs.domains.writers import write_map

GROUP_BYTES = 4 * 2**20  # frames of small maps share a file of this size: waiting for the disk takes time


class Unit(NamedTuple):
    """Some frames, counted in the file, of one block: what is saved at once."""

    first: int
    last: int  # excluded
    core: Box

    @property
    def name(self) -> str:
        """Its first frame and cells."""
        return "_".join(map(str, (self.first, *self.core.starts)))


@dataclass(frozen=True)
class Plan:
    """What is to be computed and how; two plans that differ have no piece in common.

    Parameters
    ----------
    layout
        The cells asked for in the domain of the inputs.
    frames
        Numbers of the frames in their case.
    outputs
        Names of the channels.
    block_cells, halo_cells
        Side of a block and width of its margin, multiples of the layout's alignment.
    fingerprint
        Stands for predictor and inputs.
    alike
        Whether all windows have the same size, those at the edges reaching farther inward, so that a GPU need
        be told but once what to do.
    """

    layout: Layout
    frames: tuple[int, ...]
    outputs: tuple[str, ...]
    block_cells: int
    halo_cells: int
    fingerprint: str
    alike: bool = False
    group_bytes: int = field(default_factory=lambda: GROUP_BYTES)

    def units(self) -> Iterator[Unit]:
        """Go through all pieces, frame by frame or group by group, each from its corner on."""
        cells = math.prod(min(self.block_cells, size) for size in self.layout.target.shape)
        group = max(1, self.group_bytes // (4 * cells * len(self.outputs)))
        blocks = self.layout.blocks(self.block_cells)
        for first in range(0, len(self.frames), group):
            last = min(first + group, len(self.frames))
            yield from (Unit(first, last, block) for block in blocks)

    def window(self, unit: Unit) -> Box:
        """Give what is computed for a unit: its block with the margin."""
        window = self.layout.window(unit.core, self.halo_cells)
        return self.layout.enlarged(window, self.block_cells + 2 * self.halo_cells) if self.alike else window

    @property
    def fills_tiles(self) -> bool:
        """Whether every block of a map holds whole tiles of a tiled file, so that none is written twice."""
        blocks, target = self.layout.blocks(self.block_cells), self.layout.target
        begins = blocks[0].starts == self.layout.outward(target).starts
        return len(blocks) == 1 or (begins and self.block_cells % TILE_CELLS == 0)

    def to_dict(self) -> dict[str, Any]:
        """Write the plan in plain types."""
        return {
            "fingerprint": self.fingerprint,
            "domain": None if self.layout.domain is None else list(self.layout.domain),
            "spacing": self.layout.spacing,
            "alignment_cells": self.layout.alignment,
            "cells": [*self.layout.target.starts, *self.layout.target.stops],
            "frames": list(self.frames),
            "outputs": list(self.outputs),
            "block_cells": self.block_cells,
            "halo_cells": self.halo_cells,
            "alike": self.alike,
            "group_bytes": self.group_bytes,
        }


@dataclass(frozen=True)
class Partial:
    """The folder `<map>.partial` of finished pieces of a plan."""

    folder: Path
    plan: Plan
    content: MapFile

    def missing(self) -> list[Unit]:
        """List the units that are still to be computed."""
        finished = {path.stem for path in self.folder.glob("*.npy")}
        return [unit for unit in self.plan.units() if unit.name not in finished]

    def save(self, unit: Unit, values: np.ndarray) -> None:
        """Save the values (frame, channel, *cells) of a unit, whole or not at all."""
        content = io.BytesIO()  # NumPy's own writing to a file hides the reason when the disk is full
        np.save(content, values)
        with replace_when_done(self._file(unit)) as temporary, temporary.open("wb") as stream:
            stream.write(content.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())  # a piece that has its name is whole, even after a power cut

    def pieces(self) -> Iterator[Piece]:
        """Read all pieces, one by one, with their places in the file."""
        target = self.plan.layout.target
        for unit in self.plan.units():
            starts = tuple(start - first for start, first in zip(unit.core.starts, target.starts))
            yield Piece(unit.first, starts, np.load(self._file(unit)))

    def drop_unbegun(self) -> None:
        """Remove the folder where no piece in it is finished, as where the first could not be computed."""
        if len(self.missing()) == len(list(self.plan.units())):
            shutil.rmtree(self.folder)

    def finish(self, whole: Path) -> None:
        """Join the pieces to the file of the map."""
        with measure("joining"):
            write_map(self.pieces(), whole, self.content)

    def _file(self, unit: Unit) -> Path:
        return self.folder / f"{unit.name}.npy"


def partial_folder(path: str | Path) -> Path:
    """Give the folder of the finished pieces of a map.

    >>> partial_folder("model/map.tif").as_posix()
    'model/map.tif.partial'
    """
    path = Path(path)
    return path.with_name(f"{path.name}.partial")


def open_partial(path: str | Path, plan: Plan, content: MapFile) -> Partial:
    """Make the folder of finished pieces of a map, or go on with it where it belongs to the same plan.

    Of a GeoTIFF whose blocks hold whole tiles of it the pieces lie in one tiled file.

    >>> import tempfile
    >>> from fieldwise.fields.grids import Grid
    >>> from fieldwise.verbs.domains.blocks import lay_out
    >>> from fieldwise.verbs.domains.contents import Output
    >>> grid = Grid(0, 0, 8, 4, 1, "EPSG:3031")
    >>> plan = Plan(lay_out(grid, None, 1), (0,), ("bed",), block_cells=4, halo_cells=0, fingerprint="")
    >>> partial = open_partial(Path(tempfile.mkdtemp()) / "map.tif", plan, MapFile((Output("bed"),), grid))
    >>> [unit.name for unit in partial.missing()]
    ['0_0_0', '0_0_4']
    """
    from fieldwise.verbs.domains.mosaics import Mosaic  # which is a Partial

    folder, is_tiff = partial_folder(path), Path(path).suffix.lower() in (".tif", ".tiff")
    partial = (Mosaic if is_tiff and plan.fills_tiles else Partial)(folder, plan, content)
    plan_file = folder / "plan.json"
    if folder.exists():
        try:
            same = json.loads(plan_file.read_text()) == json.loads(json.dumps(plan.to_dict()))
        except (OSError, ValueError):
            same = False
        if same:
            return partial
        tqdm.write(f"{folder}: unfinished work of other inputs or settings, dropped", file=sys.stderr)
        shutil.rmtree(folder)
    with replace_when_done(plan_file) as temporary:
        temporary.write_text(json.dumps(plan.to_dict(), indent=1))
    return partial
