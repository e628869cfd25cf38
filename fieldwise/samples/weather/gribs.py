"""Weather in GRIB files, opened as variables on time, level, latitude and longitude."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import dask
import dask.array
import numpy as np
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.samples.hours.gribs import Message, list_messages, read_message
from fieldwise.samples.weather.records import EPOCH, HOUR, TIME

SINGLE = 0.0  # the level of what lies on none


def open_grib(path: Path) -> xr.Dataset:
    """Open a GRIB file as variables on time, level (hPa, where they are on several), lat and lon.

    Variables have ECMWF's short names, such as ``tcwv``, ``u``, ``10u``; those on model levels are left out.
    Fields are unpacked when they are asked for.

    Raises
    ------
    InputError
        Where the file is damaged, a variable lacks some of its levels at a time, or variables have different
        times.

    >>> import tempfile, rasterio
    >>> from rasterio.shutil import copy; from rasterio.transform import from_origin
    >>> home, cells = Path(tempfile.mkdtemp()), {"height": 2, "width": 4, "crs": "EPSG:4326"}
    >>> cells |= {"transform": from_origin(-45, 90, 90, 90), "count": 1, "dtype": "float32"}
    >>> with rasterio.open(home / "a.tif", "w", driver="GTiff", **cells) as file:
    ...     file.write(np.arange(8, dtype="float32").reshape(1, 2, 4))
    >>> _ = copy(home / "a.tif", home / "a.grib2", driver="GRIB", BAND_1_PDS_PDTN="0",
    ...     BAND_1_PDS_TEMPLATE_ASSEMBLED_VALUES="2 2 2 0 0 0 0 1 0 100 0 85000 255 0 0")
    >>> opened = open_grib(home / "a.grib2")
    >>> list(opened), opened["lon"].values.tolist(), opened["u"].sel(level=850, lat=45)[0].values.tolist()
    (['u'], [0.0, 90.0, 180.0, 270.0], [0.0, 1.0, 2.0, 3.0])
    """
    messages = list_messages(path)
    _, latitude, longitude = read_message(path, messages[0])
    named: dict[str, dict[tuple[float, float], Message]] = {}
    for each in messages:
        if each.kind != "model":
            level = each.level if each.kind == "pressure" else SINGLE
            named.setdefault(each.name, {})[each.hour, level] = each
    shape = latitude.size, longitude.size
    fields = [_lay_out(path, name, found, shape) for name, found in named.items()]
    try:
        merged = xr.merge(fields, join="exact")
    except ValueError:
        raise InputError(f"{path}: its variables have different times or levels; give each a file") from None
    merged["time"].attrs = dict(TIME)
    return merged.assign_coords(lat=latitude, lon=longitude)


def _lay_out(
    path: Path, name: str, messages: Mapping[tuple[float, float], Message], shape: tuple[int, int]
) -> xr.DataArray:
    """Give a variable on time, its levels if it has any, lat and lon; messages are read when needed."""
    hours, levels = sorted({hour for hour, _ in messages}), sorted({level for _, level in messages})
    missing = [(hour, level) for hour in hours for level in levels if (hour, level) not in messages]
    if missing:
        raise InputError(
            f"{path}: {name} lacks {missing[0][1]:g} hPa at {EPOCH + int(missing[0][0]) * HOUR}; "
            "give all levels at all times"
        )
    read = dask.delayed(_read_cells)
    parts = [
        dask.array.from_delayed(read(path, messages[hour, level], shape), shape, float)
        for hour in hours
        for level in levels
    ]
    values = dask.array.stack(parts).reshape(len(hours), len(levels), *shape)
    if levels == [SINGLE]:
        return xr.DataArray(values[:, 0], {"time": hours}, ("time", "lat", "lon"), name)
    axes = {"time": hours, "level": ("level", levels, {"units": "hPa"})}
    return xr.DataArray(values, axes, ("time", "level", "lat", "lon"), name)


def _read_cells(path: Path, message: Message, shape: tuple[int, int]) -> np.ndarray:
    values, _, _ = read_message(path, message)
    if values.shape != shape:
        raise InputError(f"{path}: {message.name} lies on another grid than its first field; give one grid")
    return values.astype(float)
