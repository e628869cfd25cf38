"""Fields read at points."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.fields.arrays import to_host
from fieldwise.fields.grids import grid_of

GROUP_CELLS = 4096  # points are read in groups this wide, so that no more of a large raster is in memory


def sample_at_points(
    field: xr.DataArray, x: ArrayLike, y: ArrayLike, *, method: str = "linear"
) -> np.ndarray:
    """Read a field at points, for example at radar picks.

    Only boxes around neighbouring points are read from a lazy field.

    Parameters
    ----------
    field : (y, x) field
    x, y : (n,) arrays, in the field's CRS
    method : "linear" (between the four nearest cell centres) or "nearest" (the cell that holds the point)

    Returns
    -------
    (n,) float64 array, in the field's units. NaN where a cell that counts is missing, outside the field,
    and, with "linear", between the outermost cell centres and the edge.

    Raises
    ------
    InputError
        When x and y differ in length or the method is unknown.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=200, north=200, spacing=100, crs="EPSG:3031")
    >>> bed = make_field(np.array([[0.0, 10.0], [20.0, 30.0]]), grid, name="bed")
    >>> sample_at_points(bed, [50, 100, 500], [150, 100, 100])
    array([ 0., 15., nan])
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"points have x {x.shape} and y {y.shape}; give two lists of one length")
    if method not in ("linear", "nearest"):
        raise InputError(f"sampling method {method!r} is unknown; use 'linear' or 'nearest'")
    grid = grid_of(field)
    column = (x - grid.west) / grid.spacing - 0.5
    row = (grid.north - y) / grid.spacing - 0.5
    ny, nx = grid.shape
    if method == "nearest":
        column, row = np.floor(column + 0.5), np.floor(row + 0.5)
    else:  # a centre is met despite rounding, so that a missing neighbour with no weight does not count
        column, row = _snap(column), _snap(row)
    inside = (column >= 0) & (column <= nx - 1) & (row >= 0) & (row <= ny - 1)
    result = np.full(x.shape, np.nan)
    if not inside.any():
        return result
    column, row = column[inside], row[inside]
    sampled = np.empty(row.shape)
    group = (row // GROUP_CELLS) * (nx // GROUP_CELLS + 1) + column // GROUP_CELLS
    for number in np.unique(group):
        near = group == number
        left, top = int(column[near].min()), int(row[near].min())
        values = field[top : int(row[near].max()) + 2, left : int(column[near].max()) + 2].compute().data
        sampled[near] = _interpolate(to_host(values), row[near] - top, column[near] - left)
    result[inside] = sampled
    return result


def _snap(position: np.ndarray, *, tolerance: float = 1e-6) -> np.ndarray:
    """Move positions within a millionth of a cell of a centre onto it."""
    nearest = np.round(position)
    return np.where(np.abs(position - nearest) < tolerance, nearest, position)


def _interpolate(values: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Interpolate between the four cells around each position; a cell without weight never counts."""
    top, left = row.astype(np.intp), column.astype(np.intp)
    total = np.zeros(row.shape)
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - (row - top)) * np.abs(1 - right - (column - left))
            i = np.minimum(top + down, values.shape[0] - 1)
            j = np.minimum(left + right, values.shape[1] - 1)
            total += np.where(weight > 0, weight * values[i, j], 0.0)
    return total
