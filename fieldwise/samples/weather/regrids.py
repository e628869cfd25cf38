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
    """Give how much of each new row lies in each old one, by area: sines of latitude."""
    half, new_half = grid.row_step / 2, new.row_step / 2
    old_edges = np.sin(np.radians(np.clip([grid.latitude - half, grid.latitude + half], -90, 90)))
    new_edges = np.sin(np.radians(np.clip([new.latitude - new_half, new.latitude + new_half], -90, 90)))
    return _share(old_edges, new_edges)


def _share_columns(grid: GlobalGrid, new: GlobalGrid) -> np.ndarray:
    half, new_half = 180 / grid.longitude.size, 180 / new.longitude.size
    new_edges = np.array([new.longitude - new_half, new.longitude + new_half])
    shared = sum(
        _overlap(np.array([grid.longitude - half, grid.longitude + half]) + turn, new_edges)
        for turn in (-720, -360, 0, 360, 720)
    )
    return shared / shared.sum(axis=1, keepdims=True)


def _share(old_edges: np.ndarray, new_edges: np.ndarray) -> np.ndarray:
    shared = _overlap(old_edges, new_edges)
    return shared / shared.sum(axis=1, keepdims=True)


def _overlap(old_edges: np.ndarray, new_edges: np.ndarray) -> np.ndarray:
    (low, high), (first, last) = old_edges, new_edges
    return np.maximum(np.minimum(high, last[:, None]) - np.maximum(low, first[:, None]), 0)
