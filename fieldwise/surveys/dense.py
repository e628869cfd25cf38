"""Where picks lie so close together that they show the bed as an area, not as lines."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial import Delaunay, KDTree

from fieldwise.fields.grids import Grid

SQUARE_CELLS = 8
REACH_CELLS = 2


def find_dense(
    picks: pd.DataFrame, grid: Grid, *, cells: int = SQUARE_CELLS, most_cells: int = 512
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Find the blocks of a grid in which every cell is within two cells of one that holds a pick.

    Lines up to five cells apart make a block, and single lines and their crossings none: a block is made of
    whole squares, counted from the grid's north-western corner, of which each is one of four around a corner.

    Parameters
    ----------
    picks
        x and y of each.
    cells
        Edge of a square.
    most_cells
        Larger blocks are given in parts of at most so many cells a side.

    Yields
    ------
    tuple
        Rows and columns of a box around a block, and which of its cells belong to it, (y, x).

    >>> x, y = (each.ravel() for each in np.meshgrid(np.arange(50.0, 2400, 100), np.arange(150.0, 1700, 500)))
    >>> lines = pd.DataFrame({"x": x, "y": y})  # four, 500 m apart
    >>> grid = Grid(0, 0, 2400, 2400, 100, "EPSG:3031")
    >>> [(rows, columns, bool(dense.all())) for rows, columns, dense in find_dense(lines, grid)]
    [(slice(8, 24, None), slice(0, 24, None), True)]
    >>> list(find_dense(lines[lines["y"] < 300], grid))  # one
    []
    """
    row = np.floor((grid.north - picks["y"].to_numpy()) / grid.spacing).astype(int)
    column = np.floor((picks["x"].to_numpy() - grid.west) / grid.spacing).astype(int)
    ny, nx = (size // cells for size in grid.shape)
    near = np.unique(np.stack([row, column], axis=1), axis=0)
    steps = np.array(list(itertools.product(range(-REACH_CELLS, REACH_CELLS + 1), repeat=2)))
    near = np.unique((near[:, None] + steps).reshape(-1, 2), axis=0)
    square = near // cells
    inside = (near >= 0).all(axis=1) & (square < (ny, nx)).all(axis=1)
    number = square[inside] @ (nx, 1)
    dense = (np.bincount(number, minlength=ny * nx) == cells**2).reshape(ny, nx)
    labels, _ = ndimage.label(ndimage.binary_opening(dense, np.ones((2, 2))))
    most = max(most_cells // cells, 1)
    for block, box in enumerate(ndimage.find_objects(labels), start=1):
        for corner in itertools.product(*(range(side.start, side.stop, most) for side in box)):
            rows, columns = (slice(first, min(first + most, side.stop)) for first, side in zip(corner, box))
            mine = labels[rows, columns] == block
            if mine.any():
                rows, columns = (slice(side.start * cells, side.stop * cells) for side in (rows, columns))
                yield rows, columns, np.kron(mine, np.ones((cells, cells), dtype=bool))


def lay_out(x: np.ndarray, y: np.ndarray, grid: Grid) -> Callable[[np.ndarray], np.ndarray]:
    """Give the function that lays out on a grid what was read at picks: means of cells, linear between them.

    Radar shows the bed through its lines, and less rough than it is. A map that is read at the picks and laid
    out as they are is seen in the same way. Beyond the outermost picks the nearest one counts.

    Parameters
    ----------
    x, y
        (n,) places of the picks, within the grid; not all on one line.

    Returns
    -------
    callable
        From (n,) values to (y, x); the more they are added or scaled, so is the result.

    >>> x, y = np.array([50.0, 250.0, 50.0, 250.0]), np.array([50.0, 50.0, 250.0, 250.0])
    >>> lay_out(x, y, Grid(0, 0, 300, 300, 100, "EPSG:3031"))(x)[0].round(6).tolist()
    [50.0, 150.0, 250.0]
    """
    columns = np.floor((x - grid.west) / grid.spacing)
    rows = np.floor((grid.north - y) / grid.spacing)
    _, cell, count = np.unique(rows * grid.shape[1] + columns, return_inverse=True, return_counts=True)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell, values) / count

    places = np.column_stack([mean(x), mean(y)])
    triangles, centres = Delaunay(places), np.stack(np.meshgrid(grid.x, grid.y), axis=-1)
    found = triangles.find_simplex(centres)
    outside = found < 0
    nearest = KDTree(places).query(centres[outside])[1]
    # The weights of a triangle's corners, once for all maps.
    slopes, last = triangles.transform[found][..., :2, :], triangles.transform[found][..., 2, :]
    weights = np.einsum("...ij,...j", slopes, centres - last)
    weights = np.concatenate([weights, 1 - weights.sum(axis=-1, keepdims=True)], axis=-1)
    corners = triangles.simplices[found]

    def show(values: np.ndarray) -> np.ndarray:
        means = mean(values)
        shown = (means[corners] * weights).sum(axis=-1)
        shown[outside] = means[nearest]
        return shown

    return show
