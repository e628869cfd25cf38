"""Weather in GRIB files, as GDAL reads them: no further library is needed."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import rasterio
import xarray as xr

from fieldwise.errors import InputError

# As it is stored: kelvin, not degrees Celsius; and columns in their order.
AS_STORED = {"GRIB_NORMALIZE_UNITS": "NO", "GRIB_ADJUST_LONGITUDE_RANGE": "NO"}
PASCAL = "ISBL"  # levels of equal pressure, told in pascal
SINGLE = 0.0  # the level of what has none


def open_grib(path: Path) -> xr.Dataset:
    """Open a GRIB file as variables on time, level (hPa, where they are on levels of pressure), lat and lon.

    Variables are called as GDAL calls them, in small letters: of ECMWF's files by the short names, such as
    ``tcwv``, ``u``, ``10u``. Fields are read when they are asked for.

    Raises
    ------
    InputError
        Where the grid is not one of latitude and longitude, a variable lacks some of its levels at a time, or
        variables have different times.

    >>> import tempfile; from rasterio.shutil import copy; from rasterio.transform import from_origin
    >>> home, cells = Path(tempfile.mkdtemp()), {"height": 2, "width": 4, "crs": "EPSG:4326"}
    >>> cells |= {"transform": from_origin(-45, 90, 90, 90), "count": 1, "dtype": "float32"}
    >>> with rasterio.open(home / "a.tif", "w", driver="GTiff", **cells) as file:
    ...     file.write(np.arange(8, dtype="float32").reshape(1, 2, 4))
    >>> _ = copy(home / "a.tif", home / "a.grib2", driver="GRIB")
    >>> opened = open_grib(home / "a.grib2")
    >>> list(opened), opened["lon"].values.tolist(), opened["unknown"].sel(time=0, lat=45).values.tolist()
    (['unknown'], [0.0, 90.0, 180.0, 270.0], [0.0, 1.0, 2.0, 3.0])
    """
    return _open(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)  # to look through a large file takes long, and each time of a season asks for it
def _open(path: Path, changed: int) -> xr.Dataset:
    with rasterio.Env(**AS_STORED), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            told = [file.tags(band) for band in file.indexes]
            shape, place = file.shape, file.transform
    if place.b or place.d:
        raise InputError(f"{path}: its grid is not one of latitude and longitude; bring it to one")
    bands: dict[str, dict[tuple[int, float], int]] = {}
    for band, tags in enumerate(told, start=1):
        height, _, kind = tags["GRIB_SHORT_NAME"].partition("-")
        level = float(height) / 100 if kind == PASCAL else SINGLE
        time = int(tags["GRIB_VALID_TIME"].split()[0])
        bands.setdefault(tags["GRIB_ELEMENT"].lower(), {})[time, level] = band
    axes: Any = {
        "lat": ("lat", place.f + place.e * (np.arange(shape[0]) + 0.5)),
        "lon": ("lon", place.c + place.a * (np.arange(shape[1]) + 0.5)),
    }
    fields = [_lay_out(path, name, found, shape) for name, found in bands.items()]
    try:
        merged = xr.merge(fields, join="exact")
    except ValueError:
        raise InputError(f"{path}: its variables have different times or levels; give each a file") from None
    merged["time"].attrs = {"units": "seconds since 1970-01-01"}
    return merged.assign_coords(axes)


def _lay_out(
    path: Path, name: str, bands: dict[tuple[int, float], int], shape: tuple[int, int]
) -> xr.DataArray:
    """Give a variable on time, its levels if it has any, lat and lon; messages are read when needed."""
    times, levels = sorted({time for time, _ in bands}), sorted({level for _, level in bands})
    missing = [(time, level) for time in times for level in levels if (time, level) not in bands]
    if missing:
        when = np.datetime64(missing[0][0], "s")
        raise InputError(
            f"{path}: {name} lacks {missing[0][1]:g} hPa at {when}; give all levels at all times"
        )
    read = dask.delayed(_read_band)
    values = dask.array.stack(
        [
            dask.array.stack(
                [dask.array.from_delayed(read(path, bands[time, level]), shape, float) for level in levels]
            )
            for time in times
        ]
    )
    if levels == [SINGLE]:
        return xr.DataArray(values[:, 0], {"time": times}, ("time", "lat", "lon"), name)
    axes = {"time": times, "level": levels}
    return xr.DataArray(values, axes, ("time", "level", "lat", "lon"), name)


def _read_band(path: Path, band: int) -> np.ndarray:
    with rasterio.Env(**AS_STORED), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read(band, masked=True).filled(np.nan).astype(float)
