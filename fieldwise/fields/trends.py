"""The regional course of a field: its trend, and how far its relief spreads around it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from fieldwise.fields.arrays import module_of, ndimage_of
from fieldwise.fields.grids import grid_of, make_field
from fieldwise.fields.resampling import average_cells


def smooth(field: xr.DataArray, *, width: float) -> xr.DataArray:
    """Smooth with a Gaussian of a standard deviation in the field's units; missing cells do not count.

    >>> from fieldwise.fields.grids import Grid
    >>> grid = Grid(0, 0, 64, 64, 1, "EPSG:3031")
    >>> step = make_field(np.repeat([[0.0] * 32 + [100.0] * 32], 64, axis=0), grid, name="surface")
    >>> smoothed = smooth(step, width=4.0).values[32]
    >>> smoothed[[0, 31, 32, 63]].round().tolist()
    [0.0, 45.0, 55.0, 100.0]
    """
    sigma = width / grid_of(field).spacing
    values = field.compute().data
    xp, filters = module_of(values), ndimage_of(values)
    valid = xp.isfinite(values)
    total = filters.gaussian_filter(xp.where(valid, values, 0.0), sigma, mode="constant")
    weight = filters.gaussian_filter(valid.astype(np.float64), sigma, mode="constant")
    return field.copy(data=total / xp.maximum(weight, 1e-12))


def regional_trend(field: xr.DataArray, *, cell: float, width: float) -> xr.DataArray:
    """Smooth a field so far that only its regional course is left.

    The trend lives on a coarse grid, and is read by :func:`fieldwise.fields.tiles.cut` as everything else:
    taking it off gives the same value in a training tile and in a block of a whole continent.

    Parameters
    ----------
    field
        (y, x); missing cells do not count.
    cell, width
        Spacing of the coarse grid and standard deviation of the Gaussian, in the field's units.

    >>> from fieldwise.fields.grids import Grid
    >>> grid = Grid(0, 0, 64, 64, 1, "EPSG:3031")
    >>> step = make_field(np.repeat([[0.0] * 32 + [100.0] * 32], 64, axis=0), grid, name="surface")
    >>> trend = regional_trend(step, cell=8, width=8)
    >>> trend.shape, bool((np.diff(trend.values, axis=1) > 0).all())
    ((8, 8), True)
    """
    return smooth(average_cells(field, cell=cell), width=width).rename(f"{field.name}_trend")


def regional_spread(field: xr.DataArray, trend: xr.DataArray, *, width: float) -> xr.DataArray:
    """Give the root mean square of a field's relief around its trend, averaged with a Gaussian.

    Dividing by it makes relief that is faint in one place and strong in another of one size: thick slow ice
    shows a hundredth of the bed beneath it at its surface, fast ice half of it.

    Parameters
    ----------
    field, trend
        (y, x); the relief is that of the field averaged over the trend's cells.
    width
        Standard deviation of the Gaussian, in the field's units.

    >>> from fieldwise.fields.grids import Grid
    >>> grid = Grid(0, 0, 64, 64, 1, "EPSG:3031")
    >>> waves = np.where(np.arange(64) // 2 % 2, 3.0, -3.0) * np.ones((64, 1))
    >>> surface = make_field(waves, grid, name="surface")
    >>> flat = make_field(np.zeros((32, 32)), Grid(0, 0, 64, 64, 2, "EPSG:3031"), name="trend")
    >>> regional_spread(surface, flat, width=8).values.round(3).max()
    np.float64(3.0)
    """
    relief = average_cells(field, cell=grid_of(trend).spacing).data - trend.data
    spread = smooth(trend.copy(data=relief**2), width=width)
    values = spread.data**0.5
    xp = module_of(values)
    floor = max(1e-3 * float(xp.nanmedian(values)), 1e-6)  # where nothing varies, nothing is blown up
    units = field.attrs.get("units", "m")
    return make_field(xp.maximum(values, floor), grid_of(trend), name=f"{field.name}_spread", units=units)
