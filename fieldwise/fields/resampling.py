"""From one grid to another: means of blocks, coarse cells, another CRS."""

from __future__ import annotations

from typing import Any

import numpy as np
import rasterio.enums
import xarray as xr
from scipy import ndimage

from fieldwise.errors import InputError
from fieldwise.fields.arrays import module_of
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.grids import Grid, grid_of, load_values, make_field, same_crs


def block_mean(values: Any, factor: int) -> Any:
    """Average square blocks of cells; rows and columns left over in the south and east are dropped.

    Parameters
    ----------
    values
        (..., y, x) of NumPy or CuPy. A block with a missing cell is missing.
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


def average_cells(field: xr.DataArray, *, cell: float) -> xr.DataArray:
    """Average a field over coarse cells, reading it strip by strip; a cell without any value is missing.

    >>> values = np.array([[1.0, 3.0, np.nan, np.nan], [5.0, np.nan, np.nan, np.nan]])
    >>> fine = make_field(values, Grid(0, 0, 4, 2, 1, "EPSG:3031"), name="bed")
    >>> average_cells(fine, cell=2).values.tolist()
    [[3.0, nan]]
    """
    grid = grid_of(field)
    around = Grid.around(grid.bounds, cell, grid.crs)
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
