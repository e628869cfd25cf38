"""A map in the making: one tiled GeoTIFF, into which blocks are written in place as they are computed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from fieldwise.drafts import replace_when_done
from fieldwise.fields.grids import Grid
from fieldwise.fields.rasters import THREADS, breaking_off, create_tiled, finish_cog, sum_up
from fieldwise.verbs.domains.clocks import measure
from fieldwise.verbs.domains.partials import Partial, Unit

TILED, FINISHED = "tiled.tif", "finished.txt"


class Mosaic(Partial):
    """The folder `<map>.tif.partial` of a map, and a list of the blocks that are in it, with their sums.

    What a kill leaves is read back before it is gone on with: a block counts where its sum still holds.
    """

    @property
    def tiled(self) -> Path:
        """The file that the blocks are written into."""
        return self.folder / TILED

    def missing(self) -> list[Unit]:
        """List the units that are still to be computed."""
        finished = self._finished()
        try:
            with rasterio.open(self.tiled, **THREADS) as written:
                return [
                    unit
                    for unit in self.plan.units()
                    if unit.name not in finished
                    or sum_up(written.read(window=self._window(unit))) != finished[unit.name]
                ]
        except RasterioIOError:  # not there, or torn
            for left in (self.folder / FINISHED, self.tiled):
                left.unlink(missing_ok=True)
            return list(self.plan.units())

    def save(self, unit: Unit, values: np.ndarray) -> None:
        """Write the values (1, channel, y, x) of a unit in their place, and read them back."""
        with breaking_off(self.tiled):
            if not self.tiled.exists():
                self._create()
            with rasterio.open(self.tiled, "r+", **THREADS) as target:
                target.write(values[0], window=self._window(unit))
            with rasterio.open(self.tiled, **THREADS) as written:
                total = sum_up(written.read(window=self._window(unit)))
        if total != sum_up(values[0]):
            with breaking_off(self.tiled):
                raise RasterioIOError("what was written reads back different")
        with replace_when_done(self.folder / FINISHED) as listed:
            _wait_for_disk(self.tiled)  # a block that is listed is there, even after a power cut
            finished = self._finished() | {unit.name: total}
            listed.write_text("".join(f"{name} {total}\n" for name, total in finished.items()))

    def finish(self, whole: Path) -> None:
        """Make the file of the map: overviews, and the tiles in order."""
        with measure("overviews"), breaking_off(whole), replace_when_done(whole) as draft:
            finish_cog(self.tiled, draft)

    def _create(self) -> None:
        content, draft = self.content, self.folder / f".{TILED}"
        assert isinstance(content.grid, Grid)
        names, units = zip(*((output.label, output.units) for output in content.outputs))
        create_tiled(content.grid, draft, name=names, units=units, tags=dict(content.attributes))
        os.replace(draft, self.tiled)

    def _finished(self) -> dict[str, int]:
        """Read the list of the blocks that are there, and their sums."""
        path = self.folder / FINISHED
        lines = path.read_text().splitlines() if path.exists() else []
        return {name: int(total) for name, total in map(str.split, lines)}

    def _window(self, unit: Unit) -> Window:
        first = self.plan.layout.target.starts
        row, column = (start - origin for start, origin in zip(unit.core.starts, first))
        return Window(column, row, *unit.core.shape[::-1])


def _wait_for_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
