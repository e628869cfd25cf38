"""Weather brought to other cells of the globe: means over cells, by the areas that they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.sphere import GlobalGrid


class Regridding:
    """Means of fields over the cells of another grid: conservative, of first order.

    Parameters
    ----------
    grid
        That the fields are on.
    shape
        Rows and columns of the new one: from pole to pole and around from 0 degrees east, the outermost edges
        at the poles, so that any numbers will do.

    >>> change = Regridding(GlobalGrid.regular(181, 360), (16, 32))
    >>> change.grid.latitude[:2].tolist(), change.grid.longitude[:2].tolist()
    ([84.375, 73.125], [5.625, 16.875])
    >>> bool(np.allclose(change(np.full((181, 360), 7.0)), 7.0))
    True
    """

    def __init__(self, grid: GlobalGrid, shape: Sequence[int]) -> None:
        rows, columns = shape
        if rows < 4 or columns < 4:
            raise InputError(f"cells: are {rows} x {columns}; give at least 4 a side")
        middles = 90 - 180 * (np.arange(rows) + 0.5) / rows
        self.grid = GlobalGrid(middles, 360 * (np.arange(columns) + 0.5) / columns)
        self._south = _share_rows(grid, self.grid)
        self._east = _share_columns(grid, self.grid)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Give the means (rows, columns) of values (rows, columns)."""
        return self._south @ values @ self._east.T

    def of_classes(self, classes: np.ndarray) -> np.ndarray:
        """Give the class that takes most of each cell; of equal ones the first."""
        numbers = np.unique(classes)
        return numbers[np.argmax([self((classes == number).astype(float)) for number in numbers], axis=0)]


def _share_rows(grid: GlobalGrid, new: GlobalGrid) -> np.ndarray:
    """Give how much of each new row lies in each old one, by area: in sines of latitude."""
    edges = [
        np.sin(
            np.radians(
                np.clip([each.latitude - each.row_step / 2, each.latitude + each.row_step / 2], -90, 90)
            )
        )
        for each in (grid, new)
    ]
    return _share(_overlap(*edges))


def _share_columns(grid: GlobalGrid, new: GlobalGrid) -> np.ndarray:
    """Give how much of each new column lies in each old one, however often it is counted around."""
    halves = [180 / each.longitude.size for each in (grid, new)]
    old, edges = (
        np.array([each.longitude - half, each.longitude + half]) for each, half in zip((grid, new), halves)
    )
    return _share(np.sum([_overlap(old + turn, edges) for turn in (-720, -360, 0, 360, 720)], axis=0))


def _overlap(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Give the length that intervals share, (new, old), from their lower and upper edges."""
    (low, high), (first, last) = old, new
    return np.maximum(np.minimum(high, last[:, None]) - np.maximum(low, first[:, None]), 0)


def _share(lengths: np.ndarray) -> np.ndarray:
    return lengths / lengths.sum(axis=1, keepdims=True)
