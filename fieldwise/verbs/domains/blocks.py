"""Blocks of a domain in whole cells: where windows may lie, and how a halo is clipped."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from fieldwise.errors import InputError, times
from fieldwise.fields.grids import Bounds, Grid
from fieldwise.samples.cases import Case, Cells

ASK_FOR = "give one slice of its cells an axis"
ROUNDING = 1e-3  # of a cell: edges nearer than this are taken as equal


class Box(NamedTuple):
    """Output cells along each axis, counted from the corner where the domain begins, ends excluded.

    Of a map these are rows and columns, from its north-west corner.
    """

    starts: tuple[int, ...]
    stops: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return tuple(stop - start for start, stop in zip(*self))

    @property
    def cells(self) -> Cells:
        """One slice of the domain's cells an axis."""
        return tuple(slice(start, stop) for start, stop in zip(*self))

    def clipped(self, limits: Box) -> Box:
        """Return the part inside the limits."""
        return Box(tuple(map(max, self.starts, limits.starts)), tuple(map(min, self.stops, limits.stops)))

    def widened(self, cells: int) -> Box:
        """Return the box with so many more cells on each side."""
        return Box(tuple(start - cells for start in self.starts), tuple(stop + cells for stop in self.stops))

    def within(self, window: Box) -> Cells:
        """Index this box in an array that covers the window."""
        spans = zip(*self, window.starts)
        return tuple(slice(start - first, stop - first) for start, stop, first in spans)

    def cut(self, values: np.ndarray, window: Box) -> np.ndarray:
        """Cut this box out of the values of a window, (..., *cells), as float32; the margin is not kept.

        >>> Box((1, 1), (3, 2)).cut(np.arange(12.0).reshape(3, 4), Box((0, 0), (3, 4))).tolist()
        [[5.0], [9.0]]
        """
        shape = values.shape[-len(window.shape) :]
        if shape != window.shape:
            raise InputError(
                f"the predictor gave maps of the shape {shape} for a window of {window.shape} "
                "cells; it must give exactly the window at the spacing of the map"
            )
        inner: Any = (..., *self.within(window))
        return values[inner].astype(np.float32)


@dataclass(frozen=True)
class Layout:
    """Where windows may lie: whole multiples of the alignment from the corner where the domain begins.

    A network's coarsest cells thus never shift against the data, whatever the block or the bounding box.
    """

    domain: Bounds | None  # on a map; None of a box, which is asked for by its cells
    spacing: float
    alignment: int
    target: Box  # the cells asked for
    limits: Box  # the domain, its sides rounded up to the alignment: the reader fills the rest
    periodic: bool = False  # the reader goes on at the other side, so no window is clipped

    def outward(self, box: Box) -> Box:
        """Round a box outward to the alignment."""
        starts = tuple(start // self.alignment * self.alignment for start in box.starts)
        return Box(starts, tuple(round_up(stop, self.alignment) for stop in box.stops))

    def window(self, core: Box, halo_cells: int) -> Box:
        """Return the aligned window around a core, clipped where the data end."""
        window = self.outward(core.widened(halo_cells))
        return window if self.periodic else window.clipped(self.limits)

    def enlarged(self, window: Box, side_cells: int) -> Box:
        """Widen a window of a map to so many cells along each axis, or to the domain where that is smaller.

        >>> layout = lay_out(Grid(0, 0, 4000, 2000, 250, "EPSG:3031"), None, 4)  # 8 x 16 cells
        >>> layout.enlarged(Box((0, 12), (8, 16)), 12)
        Box(starts=(0, 4), stops=(8, 16))
        """
        sides = [min(side_cells, size) for size in self.limits.shape]
        last = (stop - side for stop, side in zip(self.limits.stops, sides))
        starts = tuple(map(min, window.starts, last))
        return Box(starts, tuple(start + side for start, side in zip(starts, sides)))

    def locate(self, box: Box) -> Bounds | Cells:
        """Say where a box lies as a case is asked for it: in world coordinates, or of no map in its cells."""
        return box.cells if self.domain is None else self.bounds(box)

    def bounds(self, box: Box) -> Bounds:
        """Return a box of a map in world coordinates."""
        if self.domain is None:
            raise InputError("the case lies on no map; ask for its cells")
        west, _, _, north = self.domain
        (top, left), (bottom, right) = (tuple(cells * self.spacing for cells in ends) for ends in box)
        return west + left, north - bottom, west + right, north - top

    def blocks(self, block_cells: int) -> list[Box]:
        """Tile the target with aligned blocks, the last axis fastest; those at its edges are cut."""
        axes = (range(start, stop, block_cells) for start, stop in zip(*self.outward(self.target)))
        return [
            Box(starts, tuple(start + block_cells for start in starts)).clipped(self.target)
            for starts in itertools.product(*axes)
        ]


def lay_out_case(case: Case, window: Bounds | Cells | None, alignment_cells: int) -> Layout:
    """Place a window of a case, by default the whole of it: of a map in world coordinates, of a box in cells.

    >>> from types import SimpleNamespace
    >>> box = SimpleNamespace(bounds=None, shape=(32, 32, 32), spacing=4.0, periodic=True)
    >>> layout = lay_out_case(box, None, 4)
    >>> layout.locate(layout.window(layout.blocks(20)[-1], 8))
    (slice(12, 40, None), slice(12, 40, None), slice(12, 40, None))
    """
    if case.bounds is not None:
        if window is not None and isinstance(window[0], slice):
            raise InputError(f"case {case}: lies on a map; give west, south, east, north of a window")
        return lay_out(snap_window(case, cast(Bounds | None, window)), case.grid.bounds, alignment_cells)
    _check_alignment(alignment_cells)
    whole = Box((0,) * len(case.shape), tuple(case.shape))
    target = whole if window is None else _part(case, window)
    if min(target.shape) < 1 or len(target.shape) != len(whole.shape) or target.clipped(whole) != target:
        raise InputError(f"case {case}: window {window} is no part of {times(case.shape)} cells; {ASK_FOR}")
    limits = Box(whole.starts, tuple(round_up(size, alignment_cells) for size in case.shape))
    return Layout(None, case.spacing, alignment_cells, target, limits, case.periodic)


def _part(case: Case, window: Bounds | Cells) -> Box:
    """Read the part of a box that is asked for."""
    if not all(isinstance(each, slice) for each in window):
        raise InputError(f"case {case}: lies on no map, as window {window} asks for; {ASK_FOR}")
    ends = [
        (each.start or 0, size if each.stop is None else each.stop)
        for each, size in zip(cast(Cells, window), case.shape)
    ]
    return Box(*zip(*ends))


def lay_out(grid: Grid, domain: Bounds | None, alignment_cells: int) -> Layout:
    """Place a grid in the domain of its inputs (default: the grid itself); one that leaves it is an error.

    >>> layout = lay_out(Grid(500, 0, 2000, 1000, 250, "EPSG:3031"), (0, 0, 4000, 2000), 4)
    >>> layout.target
    Box(starts=(4, 2), stops=(8, 8))
    >>> window = layout.window(layout.target, 4)
    >>> window, layout.bounds(window)
    (Box(starts=(0, 0), stops=(8, 12)), (0, 0, 3000, 2000))
    """
    _check_alignment(alignment_cells)
    west, south, east, north = domain = domain or grid.bounds
    spacing, slack = grid.spacing, ROUNDING * grid.spacing
    if (
        min(grid.west - west, grid.south - south, east - grid.east, north - grid.north) < -slack
        or min(grid.shape) < 1
    ):
        raise InputError(
            f"box {_text(grid.bounds)} is not within the data's box {_text(domain)} "
            "(west, south, east, north); ask for a box inside it"
        )
    edges = (north - grid.north, grid.west - west, north - grid.south, grid.east - west)
    top, left, bottom, right = (round(edge / spacing) for edge in edges)
    if any(abs(cells * spacing - edge) > slack for cells, edge in zip((top, left, bottom, right), edges)):
        raise InputError(
            f"box {_text(grid.bounds)} lies no whole number of cells of {spacing:g} from the north-west "
            f"corner of the data's box {_text(domain)}; move one of them"
        )
    sides = (math.ceil(side / spacing - ROUNDING) for side in (north - south, east - west))
    limits = Box((0, 0), tuple(round_up(side, alignment_cells) for side in sides))
    return Layout(domain, spacing, alignment_cells, Box((top, left), (bottom, right)), limits)


def snap_window(case: Case, window: Bounds | None) -> Grid:
    """Give the grid of a window of a case, rounded outward to its cells.

    >>> from types import SimpleNamespace
    >>> case = SimpleNamespace(grid=Grid(100, 0, 1100, 1000, 250, "EPSG:3031"))
    >>> snap_window(case, (200, 250, 500, 700)).bounds
    (100.0, 250.0, 600.0, 750.0)
    """
    grid = case.grid
    if window is None:
        return grid
    west, south, east, north = window
    if west >= east or south >= north:
        raise InputError(f"--bounds {window}: give west, south, east, north, in this order")
    snapped = Grid.around(
        (west - grid.west, south - grid.north, east - grid.west, north - grid.north), grid.spacing, grid.crs
    )
    return Grid(
        snapped.west + grid.west,
        snapped.south + grid.north,
        snapped.east + grid.west,
        snapped.north + grid.north,
        grid.spacing,
        grid.crs,
    )


def count_cells(case: Case, window: Bounds | Cells) -> Box:
    """Give the cells of a case in a window that begins and ends between cells, and may reach beyond it.

    >>> from types import SimpleNamespace
    >>> case = SimpleNamespace(grid=Grid(100, 0, 1100, 1000, 250, "EPSG:3031"))
    >>> count_cells(case, (-150, 500, 600, 750))
    Box(starts=(1, -1), stops=(2, 2))
    """
    if isinstance(window[0], slice):
        cells = cast(Cells, window)
        return Box(tuple(each.start for each in cells), tuple(each.stop for each in cells))
    (west, south, east, north), grid = cast(Bounds, window), case.grid
    edges = (grid.north - north, west - grid.west, grid.north - south, east - grid.west)
    top, left, bottom, right = (round(edge / grid.spacing) for edge in edges)
    return Box((top, left), (bottom, right))


def iterate_blocks(grid: Grid, block_cells: int = 2048) -> Iterator[Bounds]:
    """Give the bounds of blocks that tile a grid, so that a map is read and judged without holding it whole.

    >>> list(iterate_blocks(Grid(0, 0, 300, 100, 100, "EPSG:3031"), 2))
    [(0, 0, 200, 100), (200, 0, 300, 100)]
    """
    layout = lay_out(grid, None, 1)
    yield from (layout.bounds(box) for box in layout.blocks(block_cells))


def round_up(cells: int, alignment: int) -> int:
    """Round cells up to a whole multiple.

    >>> round_up(9, 4), round_up(8, 4)
    (12, 8)
    """
    return -(-cells // alignment) * alignment


def _check_alignment(alignment_cells: int) -> None:
    if alignment_cells < 1:
        raise InputError(f"alignment_cells is {alignment_cells}; it counts output cells, give at least 1")


def _text(bounds: Bounds) -> str:
    return "(" + ", ".join(f"{edge:.10g}" for edge in bounds) + ")"
