"""Several maps read together at points."""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from fieldwise.fields.grids import Grid
from fieldwise.fields.resampling import sample_at_points


def sample_maps(
    read: Callable[[slice, slice], Mapping[str, xr.DataArray]],
    grid: Grid,
    x: np.ndarray,
    y: np.ndarray,
    *,
    block_cells: int = 2048,
) -> dict[str, np.ndarray]:
    """Read maps at points, from windows around those that lie together.

    Parameters
    ----------
    read
        Gives rows and columns of all maps: name to (y, x) field.
    grid
        Of the maps.
    x, y
        (n,) in its CRS.
    block_cells
        Points in a block of so many cells are read from one window.

    Returns
    -------
    dict
        Name to (n,), NaN beyond the grid.

    >>> from fieldwise.fields.grids import make_field
    >>> bed = make_field(np.arange(16.0).reshape(4, 4), Grid(0, 0, 400, 400, 100, "EPSG:3031"), name="bed")
    >>> points = np.array([150.0, 900.0]), np.array([350.0, 350.0])
    >>> sample_maps(lambda rows, columns: {"bed": bed[rows, columns]}, Grid(0, 0, 400, 400, 100, ""), *points)
    {'bed': array([ 1., nan])}
    """
    row = np.floor((grid.north - y) / grid.spacing).astype(int)
    column = np.floor((x - grid.west) / grid.spacing).astype(int)
    ny, nx = grid.shape
    inside = (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
    block = (row // block_cells) * (nx // block_cells + 1) + column // block_cells
    samples: dict[str, np.ndarray] = {}
    for number in np.unique(block[inside]):
        near = inside & (block == number)
        rows, columns = (
            slice(max(0, int(cells[near].min()) - 2), int(cells[near].max()) + 3) for cells in (row, column)
        )
        for name, field in read(rows, columns).items():
            values = samples.setdefault(name, np.full(len(x), np.nan))
            values[near] = sample_at_points(field, x[near], y[near])
    return samples
