"""Blocks of a domain in whole cells: where windows may lie, and how a halo is clipped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds, Grid

ROUNDING = 1e-3  # of a cell: edges nearer than this are taken as equal


class Box(NamedTuple):
    """Rows and columns of output cells, counted from the domain's north-west corner, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def clipped(self, limits: Box) -> Box:
        """Return the part inside the limits."""
        starts = max(self.top, limits.top), max(self.left, limits.left)
        return Box(*starts, min(self.bottom, limits.bottom), min(self.right, limits.right))

    def widened(self, cells: int) -> Box:
        """Return the box with so many more cells on each side."""
        return Box(self.top - cells, self.left - cells, self.bottom + cells, self.right + cells)

    def within(self, window: Box) -> tuple[slice, slice]:
        """Index this box in an array that covers the window."""
        rows = slice(self.top - window.top, self.bottom - window.top)
        return rows, slice(self.left - window.left, self.right - window.left)

    def cut(self, values: np.ndarray, window: Box) -> np.ndarray:
        """Cut this box out of the values of a window, (..., y, x), as float32; the margin is not kept.

        >>> Box(1, 1, 3, 2).cut(np.arange(12.0).reshape(3, 4), Box(0, 0, 3, 4)).tolist()
        [[5.0], [9.0]]
        """
        if values.shape[-2:] != window.shape:
            raise InputError(
                f"the predictor gave maps of the shape {values.shape[-2:]} for a window of {window.shape} "
                "cells; it must give exactly the window at the spacing of the map"
            )
        return values[(..., *self.within(window))].astype(np.float32)


@dataclass(frozen=True)
class Layout:
    """Where windows may lie: whole multiples of the alignment from the domain's north-west corner.

    A network's coarsest cells thus never shift against the data, whatever the block or the bounding box.
    """

    domain: Bounds
    spacing: float
    alignment: int
    target: Box  # the cells asked for
    limits: Box  # the domain, its sides rounded up to the alignment: the reader fills the rest

    def outward(self, box: Box) -> Box:
        """Round a box outward to the alignment."""
        top, left = (start // self.alignment * self.alignment for start in box[:2])
        return Box(top, left, *(round_up(end, self.alignment) for end in box[2:]))

    def window(self, core: Box, halo_cells: int) -> Box:
        """Return the aligned window around a core, clipped where the data end."""
        return self.outward(core.widened(halo_cells)).clipped(self.limits)

    def bounds(self, box: Box) -> Bounds:
        """Return a box in world coordinates."""
        west, _, _, north = self.domain
        top, left, bottom, right = (cells * self.spacing for cells in box)
        return west + left, north - bottom, west + right, north - top

    def blocks(self, block_cells: int) -> list[Box]:
        """Tile the target with aligned blocks, row by row from the north; those at its edges are cut."""
        around = self.outward(self.target)
        return [
            Box(top, left, top + block_cells, left + block_cells).clipped(self.target)
            for top in range(around.top, around.bottom, block_cells)
            for left in range(around.left, around.right, block_cells)
        ]


def lay_out(grid: Grid, domain: Bounds | None, alignment_cells: int) -> Layout:
    """Place a grid in the domain of its inputs (default: the grid itself); one that leaves it is an error.

    >>> layout = lay_out(Grid(500, 0, 2000, 1000, 250, "EPSG:3031"), (0, 0, 4000, 2000), 4)
    >>> layout.target
    Box(top=4, left=2, bottom=8, right=8)
    >>> window = layout.window(layout.target, 4)
    >>> window, layout.bounds(window)
    (Box(top=0, left=0, bottom=8, right=12), (0, 0, 3000, 2000))
    """
    if alignment_cells < 1:
        raise InputError(f"alignment_cells is {alignment_cells}; it counts output cells, give at least 1")
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
    target = Box(*(round(edge / spacing) for edge in edges))
    if any(abs(cells * spacing - edge) > slack for cells, edge in zip(target, edges)):
        raise InputError(
            f"box {_text(grid.bounds)} lies no whole number of cells of {spacing:g} from the north-west "
            f"corner of the data's box {_text(domain)}; move one of them"
        )
    sides = (math.ceil(side / spacing - ROUNDING) for side in (north - south, east - west))
    limits = Box(0, 0, *(round_up(side, alignment_cells) for side in sides))
    return Layout(domain, spacing, alignment_cells, target, limits)


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


def _text(bounds: Bounds) -> str:
    return "(" + ", ".join(f"{edge:.10g}" for edge in bounds) + ")"
