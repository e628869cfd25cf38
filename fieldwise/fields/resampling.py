"""From one grid to another, to points, and from areas: block means, another CRS, samples, fades."""

from __future__ import annotations

from typing import Any

import numpy as np
import rasterio.enums
import rasterio.features
import shapely
import xarray as xr
from numpy.typing import ArrayLike
from scipy import ndimage

from fieldwise.errors import InputError
from fieldwise.fields.arrays import module_of, to_host
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.grids import Bounds, Grid, grid_of, load_values, make_field, same_crs

GROUP_CELLS = 4096  # points are read in groups this wide, so that no more of a large raster is in memory


def block_mean(values: Any, factor: int) -> Any:
    """Average square blocks of cells; rows and columns left over in the south and east are dropped.

    Parameters
    ----------
    values
        (..., y, x) of NumPy, CuPy or torch. A block with a missing cell is missing.
    factor
        Edge of a block in cells.

    >>> block_mean(np.arange(20.0).reshape(4, 5), 2).tolist()
    [[3.0, 5.0], [13.0, 15.0]]
    """
    rows, columns = (size // factor for size in values.shape[-2:])
    whole = values[..., : rows * factor, : columns * factor]
    blocks = whole.reshape(*values.shape[:-2], rows, factor, columns, factor)
    return blocks.mean(axis=(-3, -1))


def refine(values: np.ndarray, times: int) -> np.ndarray:
    """Divide cells by cubic splines, (y, x), within the range of the values.

    >>> refine(np.tile(np.arange(16.0), (2, 1)), 2)[0, 14:18].round(2).tolist()
    [6.75, 7.25, 7.75, 8.25]
    """
    finer = ndimage.zoom(values.astype(np.float64), times, order=3, mode="nearest", grid_mode=True)
    return np.clip(finer, values.min(), values.max()).astype(np.float32)


def resample(values: np.ndarray, factor: float) -> np.ndarray:
    """Bring values, (y, x), to cells that are larger or smaller by a whole factor, as `resampled_shape`.

    Larger cells take the mean of those that they cover; cells left over at the south and east are dropped.
    Smaller ones come from cubic splines, within the range of the values.

    >>> resample(np.array([[0.0, 2.0], [4.0, 6.0]]), 2).tolist()
    [[3.0]]
    >>> resample(np.zeros((2, 3)), 0.5).shape
    (4, 6)
    """
    return block_mean(values, round(factor)) if factor >= 1 else refine(values, round(1 / factor))


def resampled_shape(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    """Count the cells that are left; a factor that is neither whole nor one over a whole number is refused.

    >>> resampled_shape((64, 65), 2), resampled_shape((64, 64), 0.5)
    ((32, 32), (128, 128))
    >>> resampled_shape((64, 64), 1.5)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --resample: is 1.5; give a whole number, or one over it such as 0.5
    """
    whole = factor if factor >= 1 else 1 / factor if factor > 0 else 0
    if not whole or abs(whole - round(whole)) > 1e-6:
        raise InputError(f"--resample: is {factor:g}; give a whole number, or one over it such as 0.5")
    if min(shape) / factor < 2:
        raise InputError(f"--resample: {factor:g} leaves less than 2 cells of {shape[0]} x {shape[1]}")
    rows, columns = (int(size / factor + 1e-6) for size in shape)
    return rows, columns


def degrade(field: xr.DataArray, factor: int, *, crs: str) -> xr.DataArray:
    """Average blocks of cells: a low-res field made from a fine one.

    >>> field = make_field(np.arange(16.0).reshape(4, 4), Grid(0, 0, 4, 4, 1, "EPSG:3413"), name="bed")
    >>> degrade(field, 2, crs="EPSG:3413").values.tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    grid = grid_of(field)
    means = block_mean(load_values(field), factor)
    rows, columns = means.shape
    spacing = grid.spacing * factor
    coarse = Grid(
        grid.west, grid.north - rows * spacing, grid.west + columns * spacing, grid.north, spacing, crs
    )
    units, datum = field.attrs.get("units", "m"), field.attrs.get(DATUM)
    coarse_field = make_field(means, coarse, name=str(field.name), units=units, vertical_datum=datum)
    coarse_field.encoding["source"] = field.encoding.get("source", field.name)
    return coarse_field


def undo_averaging(averages: Any, parts: int, *, rounds: int = 8) -> Any:
    """Give heights of cell centres between which cubic interpolation has the averages that are given.

    An average of cells is no height of a point: interpolated as if it were one, hills come out too low and
    valleys too high. Corrected round by round by what the averages of the interpolation are off.

    Parameters
    ----------
    averages
        (y, x) of NumPy or CuPy. Missing cells stay missing; they, and what lies beyond the edge, count as
        level with the cell beside them.
    parts
        Number of points along the edge of a cell that were averaged.

    >>> hill = np.array([[0.0, 0.0, 8.0, 0.0, 0.0]] * 2)
    >>> undo_averaging(hill, 4).round(2)[0].tolist()
    [0.24, -1.07, 9.69, -1.07, 0.24]
    """
    weights, found = _weigh_neighbours(parts), averages
    for _ in range(rounds):
        found = found + averages - _average_interpolation(found, weights)
    return found


def _weigh_neighbours(parts: int) -> np.ndarray:
    """Give what cells, two to each side, share in the average of cubic interpolation (Keys 1981) over one."""
    points = np.abs((np.arange(parts) + 0.5) / parts - 0.5 - np.arange(-2, 3)[:, None])
    near = (1.5 * points - 2.5) * points**2 + 1
    far = ((-0.5 * points + 2.5) * points - 4) * points + 2
    return np.where(points < 1, near, np.where(points < 2, far, 0)).mean(axis=1)


def _average_interpolation(values: Any, weights: np.ndarray) -> Any:
    """Average what cubic interpolation gives over each cell, (y, x)."""
    xp = module_of(values)
    for axis in (0, 1):
        around = xp.pad(xp.moveaxis(values, axis, 0), [(2, 2), (0, 0)], "edge")
        centre, total = around[2:-2], 0
        for number, weight in enumerate(weights.tolist()):
            beside = around[number : number + len(centre)]
            total = total + weight * xp.where(xp.isnan(beside), centre, beside)
        values = xp.moveaxis(total, 0, axis)
    return values


def average_cells(
    field: xr.DataArray, *, cell: float, corner: tuple[float, float] = (0.0, 0.0)
) -> xr.DataArray:
    """Average a field over coarse cells, reading it strip by strip; a cell without any value is missing.

    Parameters
    ----------
    field
        (y, x).
    cell, corner
        Edge of the cells, and x and y that they are counted from.

    >>> values = np.array([[1.0, 3.0, np.nan, np.nan], [5.0, np.nan, np.nan, np.nan]])
    >>> fine = make_field(values, Grid(0, 0, 4, 2, 1, "EPSG:3031"), name="bed")
    >>> average_cells(fine, cell=2).values.tolist()
    [[3.0, nan]]
    """
    grid = grid_of(field)
    (x, y), (west, south, east, north) = corner, grid.bounds
    around = Grid.around((west - x, south - y, east - x, north - y), cell, grid.crs).moved(x, y)
    size = around.shape[0] * around.shape[1]
    total, count = 0.0, 0.0
    columns = np.minimum(((grid.x - around.west) / cell).astype(int), around.shape[1] - 1)
    strip = 64 * max(1, round(cell / grid.spacing))
    for start in range(0, grid.shape[0], strip):
        values = load_values(field[start : start + strip]).astype(np.float64)
        xp = module_of(values)
        rows = ((around.north - grid.y[start : start + strip]) / cell).astype(int)
        cells = (np.minimum(rows, around.shape[0] - 1)[:, None] * around.shape[1] + columns).ravel()
        valid = xp.isfinite(values).ravel()
        inside = xp.asarray(cells)[valid]
        total = total + xp.bincount(inside, values.ravel()[valid], size)
        count = count + xp.bincount(inside, minlength=size)
    means = (total / xp.where(count > 0, count, np.nan)).reshape(around.shape)
    units, datum = field.attrs.get("units", "m"), field.attrs.get(DATUM)
    return make_field(means, around, name=str(field.name), units=units, vertical_datum=datum)


def align(field: xr.DataArray, crs: str) -> xr.DataArray:
    """Bring a field to another CRS (bilinear); one that is already there comes back as it is.

    What lies outside the field is missing.

    >>> field = make_field(np.ones((2, 2)), Grid(0, 0, 2, 2, 1, "EPSG:3031"), name="bed")
    >>> align(field, "EPSG:3031") is field
    True
    """
    if same_crs(field.rio.crs, crs):
        return field
    source = field.encoding.get("source")
    aligned = field.rio.reproject(crs, resampling=rasterio.enums.Resampling.bilinear, nodata=np.nan)
    aligned.encoding["source"] = source or str(field.name)
    return aligned


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


def fade_in(
    area: shapely.Geometry | None, grid: Grid, cells: int, *, domain: Bounds | None = None
) -> np.ndarray:
    """Give 1 well inside an area, falling to 0 at its edge, cell by cell: (y, x).

    Parameters
    ----------
    area
        In the CRS of the grid; None for everywhere.
    cells
        Over how many cells from the edge the value grows.
    domain
        Of a window on a larger grid, the bounds of that: the area is looked at around the window too, and
        beyond the domain, where nobody knows its edge, it goes on.

    >>> area, grid = shapely.box(-9000, 0, 2000, 1000), Grid(0, 0, 4000, 1000, 1000, "EPSG:3031")
    >>> fade_in(area, grid, 2, domain=grid.bounds).tolist()
    [[1.0, 0.5, 0.0, 0.0]]
    """
    if area is None:
        return np.ones(grid.shape)
    margin = cells if domain else 0
    away = margin * grid.spacing
    west, south, east, north = grid.bounds
    wider = Grid(west - away, south - away, east + away, north + away, grid.spacing, grid.crs)
    west, south, east, north = domain or grid.bounds
    known = shapely.intersection(shapely.box(*wider.bounds), shapely.box(west, south, east, north))
    shapely.prepare(area)
    if shapely.contains_properly(area, known):
        return np.ones(grid.shape)
    transform = rasterio.transform.from_origin(wider.west, wider.north, wider.spacing, wider.spacing)
    # The area is cut to what lies around the window: a coast has more corners than a window has cells.
    around = shapely.buffer(known, grid.spacing, join_style="mitre").bounds
    near = shapely.clip_by_rect(area, *around)
    if near.is_empty:
        inside = np.zeros(wider.shape, dtype=bool)
    else:
        inside = rasterio.features.geometry_mask([near], wider.shape, transform, invert=True)
    inside |= (wider.x < west) | (wider.x > east)
    inside |= ((wider.y < south) | (wider.y > north))[:, None]
    if inside.all():
        return np.ones(grid.shape)
    if not inside.any():
        return np.zeros(grid.shape)
    distance = ndimage.distance_transform_edt(inside)  # in cells, to the nearest one outside
    rows, columns = (slice(margin, margin + size) for size in grid.shape)
    return np.clip(distance[rows, columns] / cells, 0, 1)
