"""Weather of the whole globe in files of one's own: NetCDF, HDF5, Zarr or GRIB, one time a file or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError, first_line
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.physics.extreme_weather.transport import vapour_transport
from fieldwise.samples.rules import Rule, check_table, is_table, list_whole_files, read_rules
from fieldwise.samples.sources import WORDS
from fieldwise.samples.weather.gribs import open_grib
from fieldwise.samples.weather.records import EPOCH, Record
from fieldwise.samples.weather.regrids import Regridding

PARTS = ("eastward", "northward", "humidity")  # of the transport of vapour
NAMES = {"latitude": "lat", "longitude": "lon", "valid_time": "time", "y": "lat", "x": "lon"}
LABELS = "labels_0"  # what classes of one's own are called, as in DeepCAM's samples
CASES = Rule(lambda value: is_table(value) and bool(value), "an entry for each season")
TEXT = Rule(lambda value: isinstance(value, str), "the name of a variable in the files")
NUMBER = Rule(lambda value: type(value) in (int, float), "a number")
PATHS = Rule(
    lambda value: (
        isinstance(value, str)
        or (isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value))
    ),
    "a file, a pattern such as 2005/*.nc, or a list of these",
)
LENGTHS = {"second": 1 / 3600, "minute": 1 / 60, "min": 1 / 60, "hour": 1.0, "h": 1.0, "day": 24.0}
UNITS_HPA = {"hpa": 1.0, "millibars": 1.0, "millibar": 1.0, "mb": 1.0, "mbar": 1.0, "pa": 0.01}
START = pd.Timestamp(EPOCH)
RULES = {
    "split": Rule(lambda value: value in WORDS, "one of training, validation, test"),
    "path": PATHS,
    "variables": Rule(is_table, "lines such as `TMQ: tcwv`"),
    "labels": TEXT,
    "transport": Rule(
        lambda value: (
            is_table(value)
            and {*PARTS[:2]} <= {*value} <= {*PARTS}
            and all(isinstance(each, str) for each in value.values())
        ),
        "{eastward: u, northward: v, humidity: q}, variables on pressure levels",
    ),
    "cells": Rule(
        lambda value: (
            isinstance(value, list) and len(value) == 2 and all(type(each) is int for each in value)
        ),
        "rows and columns such as [144, 288]",
    ),
}
PICKED = {"name": TEXT, "level": NUMBER, "factor": NUMBER}


@dataclass(frozen=True)
class Source:
    """Where a field is found: the name of a variable, its level where it has several, what it is times by."""

    name: str
    level: float | None = None
    factor: float = 1.0


def read_seasons(file: str | Path) -> list[Record]:
    """Open the seasons that a FILE.yaml names.

    ::

        cases:
          season_2005:
            split: test             # training, validation or test; all of them, or none
            path: era5/2005-*.nc    # one file or many, of NetCDF, HDF5, Zarr or GRIB; or a list: see below
            variables:              # by default those of the names of channels
              TMQ: tcwv
              U850: {name: u, level: 850}               # of a variable on several levels
              Z200: {name: z, level: 200, factor: 0.10197}  # from m2 s-2 to m
            transport:              # winds and specific humidity on levels, to be made IVT of, if at hand
              {eastward: u, northward: v, humidity: q}
            labels: LABELS          # variable with classes, if there is one
            cells: [144, 288]       # rows and columns to bring all to, if others than those of the files

    Of a list of paths, ``[surface-*.nc, levels-*.nc]``, each has all the times of the season and some of the
    variables. Levels below the ground are left out where PS, the pressure there, is among the fields; without
    humidity, the two others are the transport itself.

    Raises
    ------
    InputError
        Naming the file, the season and the key that does not fit.

    Examples
    --------
    >>> import tempfile
    >>> folder, places = Path(tempfile.mkdtemp()), {"lat": [-75.0, -25, 25, 75], "lon": [0.0, 90, 180, 270]}
    >>> vapour = (("time", "lat", "lon"), np.arange(16.0).reshape(1, 4, 4))
    >>> times = {"time": ("time", [np.datetime64("2005-08-28T21", "ns")])}
    >>> _ = xr.Dataset({"tcwv": vapour}, times | places).to_netcdf(folder / "a.nc", engine="h5netcdf")
    >>> entry = "{path: '*.nc', variables: {TMQ: tcwv}}"
    >>> _ = (folder / "own.yaml").write_text(f"cases: {{storm: {entry}}}")
    >>> (record,) = read_seasons(folder / "own.yaml")
    >>> record.hours.tolist(), record.read(0)["TMQ"][0].tolist()  # the north comes first
    ([49605.0], [12.0, 13.0, 14.0, 15.0])
    """
    file = Path(file)
    cases = read_rules(file, {"cases": CASES}, required=("cases",))["cases"]
    records = []
    for name, entry in cases.items():
        where = f"{file}: case {name}"
        if not is_table(entry) or "path" not in entry:
            raise InputError(f"{where} is {entry!r}; give at least {{path: FILE}}")
        check_plain_name(name, f"{file}: case", kind="folder")
        check_table(entry, RULES, where)
        sets = []
        for pattern in [entry["path"]] if isinstance(entry["path"], str) else entry["path"]:
            sets.append(sorted(file.parent.glob(pattern)))
            if not sets[-1]:
                raise InputError(f"{where}: there is no file {pattern}; check the path")
        sources = {
            ours: _read_source(theirs, f"{where}: variable {ours}")
            for ours, theirs in entry.get("variables", {}).items()
        }
        labels = {LABELS: Source(entry["labels"])} if "labels" in entry else {}
        transport, split = dict(entry.get("transport", {})), WORDS.get(entry.get("split", ""))
        record = _open_season(str(name), sets, sources, labels, transport, split)
        records.append(_regrid(record, entry["cells"], where) if "cells" in entry else record)
    if len({record.split is None for record in records}) > 1:
        raise InputError(f"{file}: some cases have a split and some have none; give all of them one, or none")
    return records


def _regrid(record: Record, cells: Sequence[int], where: str) -> Record:
    """Bring all fields to other cells, as they are read; what is classes stays so."""
    try:
        change = Regridding(record.grid, cells)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None

    def read(place: int) -> dict[str, np.ndarray]:
        return {
            name: change.of_classes(values) if name == LABELS else change(values)
            for name, values in record.read(place).items()
        }

    return replace(record, grid=change.grid, read=read)


def _read_source(entry: Any, where: str) -> Source:
    if isinstance(entry, str):
        return Source(entry)
    if not is_table(entry) or "name" not in entry:
        raise InputError(f"{where} is {entry!r}; give {TEXT.example}, or {{name: u, level: 850}}")
    check_table(entry, PICKED, where)
    return Source(**entry)


def _open_season(
    name: str,
    sets: Sequence[Sequence[Path]],
    wanted: Mapping[str, Source],
    labels: Mapping[str, Source],
    transport: Mapping[str, str],
    split: str | None,
) -> Record:
    places: list[list[tuple[Path, int]]] = []
    hours: list[list[float]] = []
    grid, known = None, dict(wanted)
    for paths in sets:
        places.append([])
        hours.append([])
        for path in paths:
            with open_globe(path) as opened:
                grid = _check_grid(grid, opened, path, sets[0][0])
                of_file = hours_of(opened, path)
                if path == paths[0] and not wanted:
                    beside = {*(source.name for source in labels.values()), *transport.values()}
                    known |= {str(each): Source(str(each)) for each in opened if each not in beside}
            places[-1] += [(path, number) for number in range(len(of_file))]
            hours[-1] += of_file
        if hours[-1] != hours[0]:
            raise InputError(
                f"{paths[0]}: has other times than {sets[0][0].name}; give both for the same times"
            )
    assert grid is not None
    reader = partial(_read, list(zip(*places)), {**known, **labels}, transport)
    files = list_whole_files(path for paths in sets for path in paths)
    return Record(name, grid, np.array(hours[0]), reader, tuple(files), split)


def _check_grid(grid: GlobalGrid | None, opened: xr.Dataset, path: Path, first: Path) -> GlobalGrid:
    axes = opened["lat"].to_numpy(), opened["lon"].to_numpy()
    if grid is None:
        return _lay_grid(path, *axes)
    if not (np.array_equal(axes[0], grid.latitude) and np.array_equal(axes[1], grid.longitude)):
        raise InputError(f"{path}: lies on another grid than {first.name}; bring both to one")
    return grid


def _lay_grid(path: Path, latitude: np.ndarray, longitude: np.ndarray) -> GlobalGrid:
    try:
        return GlobalGrid(latitude, longitude)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read(
    places: Sequence[Sequence[tuple[Path, int]]],
    wanted: Mapping[str, Source],
    transport: Mapping[str, str],
    place: int,
) -> dict[str, np.ndarray]:
    found: dict[str, tuple[xr.DataArray, Path]] = {}
    with ExitStack() as files:
        for path, number in places[place]:
            opened = files.enter_context(open_globe(path)).isel(time=number, missing_dims="ignore")
            found = {str(name): (field, path) for name, field in opened.data_vars.items()} | found
        missing = [
            name
            for name in (*(source.name for source in wanted.values()), *transport.values())
            if name not in found
        ]
        if missing:
            raise InputError(f"{places[place][0][0]}: lacks {', '.join(missing)}; it has {', '.join(found)}")
        fields = {
            ours: source.factor * _take_level(*found[source.name], source).to_numpy()
            for ours, source in wanted.items()
        }
        if transport:
            parts = {name: found[transport[name]][0] for name in PARTS if name in transport}
            fields["IVT"] = _carry(found[transport["eastward"]][1], parts, fields.get("PS"))
    return fields


def _carry(path: Path, parts: Mapping[str, xr.DataArray], ground_pa: np.ndarray | None) -> np.ndarray:
    """Give the transport of vapour, kg m-1 s-1, of its components, or of winds and humidity on levels."""
    if "humidity" not in parts:
        alone = (_take_level(field, path, Source(str(field.name))) for field in parts.values())
        return np.hypot(*(field.to_numpy() for field in alone))
    for field in parts.values():
        if field.dims[1:] != ("lat", "lon") or field.dims[0] not in field.coords:
            dims = ", ".join(map(str, field.dims))
            raise InputError(f"{path}: {field.name} has {dims}; give pressure levels, lat and lon")
    levels = parts["humidity"][parts["humidity"].dims[0]]
    pressure_hpa = levels.to_numpy() * UNITS_HPA.get(str(levels.attrs.get("units", "hPa")).lower(), np.nan)
    if not np.isfinite(pressure_hpa).all():
        raise InputError(
            f"{path}: levels {levels.name} are in {levels.attrs['units']}; give them in hPa or Pa"
        )
    eastward, northward, humidity = (parts[name].to_numpy().astype(float) for name in PARTS)
    if ground_pa is not None:
        humidity = np.where(100 * pressure_hpa[:, None, None] > ground_pa, np.nan, humidity)
    try:
        return np.hypot(*vapour_transport(eastward, northward, humidity, pressure_hpa))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _take_level(values: xr.DataArray, path: Path, source: Source) -> xr.DataArray:
    """Give the level that is asked for of a variable that has some, on lat and lon alone."""
    levels = [axis for axis in values.dims if axis not in ("lat", "lon")]
    for axis in levels:
        if values.sizes[axis] == 1 and source.level is None:
            values = values.isel({axis: 0})
        elif source.level is not None and axis in values.coords and len(levels) == 1:
            known = values[axis].to_numpy()
            at = np.flatnonzero(np.isclose(known.astype(float), source.level))
            if not at.size:
                heights = ", ".join(f"{each:g}" for each in known)
                raise InputError(f"{path}: {source.name} has no level {source.level:g}; it has {heights}")
            values = values.isel({axis: int(at[0])})
    if values.dims != ("lat", "lon"):
        dims = ", ".join(map(str, values.dims))
        raise InputError(
            f"{path}: {source.name} has {dims}; give lat and lon alone, or "
            f"{{name: {source.name}, level: 850}}"
        )
    return values


def open_globe(path: Path) -> xr.Dataset:
    """Open fields on lat and lon, rows from north to south, and maybe time, by what the file is; lazily.

    >>> open_globe(Path("no/such.nc"))
    Traceback (most recent call last):
    fieldwise.errors.InputError: no/such.nc: cannot be read as NetCDF, HDF5, Zarr or GRIB (...); ...
    """
    options: Any = {"engine": "zarr"} if path.is_dir() else {"engine": "h5netcdf"}
    try:
        begin = b""
        if path.is_file():
            with path.open("rb") as file:
                begin = file.read(4)
        if begin[:3] == b"CDF":
            options = {"engine": "scipy"}
        opened = open_grib(path) if begin == b"GRIB" else xr.open_dataset(path, decode_times=False, **options)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read as NetCDF, HDF5, Zarr or GRIB ({first_line(error)}); fetch it again"
        ) from None
    taken = {theirs: ours for theirs, ours in NAMES.items() if theirs in opened.dims and ours not in opened}
    opened = opened.rename(taken)
    missing = [axis for axis in ("lat", "lon") if axis not in opened.coords or opened[axis].ndim != 1]
    if missing:
        raise InputError(
            f"{path}: has no axis {' or '.join(missing)} of one dimension; name them lat and lon"
        )
    lat = opened["lat"].to_numpy()
    steps = np.diff(lat)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise InputError(f"{path}: latitudes are out of order; give them from one pole to the other")
    on_globe = [name for name, field in opened.data_vars.items() if {"lat", "lon"} <= {*field.dims}]
    opened = opened[on_globe].isel(lat=slice(None, None, -1) if lat[0] < lat[-1] else slice(None))
    return opened.transpose("time", ..., "lat", "lon", missing_dims="ignore")


def hours_of(opened: xr.Dataset, path: Path) -> list[float]:
    """Give the times of a file, which is named in errors, in hours since 2000.

    >>> times = {"time": ("time", [0.5], {"units": "days since 2000-01-01"})}
    >>> hours_of(xr.Dataset(coords=times), Path("a.nc"))
    [12.0]
    """
    if "time" not in opened.coords:
        raise InputError(f"{path}: has no time; name it time, with units such as hours since 2000-01-01")
    said = opened["time"].attrs
    times = np.atleast_1d(opened["time"].to_numpy())
    try:
        return count_hours(times, str(said.get("units", "")), str(said.get("calendar", "standard"))).tolist()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def count_hours(times: np.ndarray, units: str, calendar: str = "standard") -> np.ndarray:
    """Bring times that are counted in CF's words to hours since 2000, in the calendar that people have.

    Parameters
    ----------
    times
        Numbers.
    units
        Such as days since 1995-01-01.
    calendar
        Standard, or noleap, as climate models have: its dates stay what they are.

    >>> count_hours(np.array([1.5]), "days since 2000-02-28").tolist()  # the 29th at noon
    [1428.0]
    >>> count_hours(np.array([1.5]), "days since 2000-02-28", "noleap").tolist()  # the 1st of March
    [1452.0]
    """
    unit, _, since = units.partition(" since ")
    try:
        start = pd.Timestamp(since.strip()).tz_localize(None)
        hours = np.asarray(times, dtype=float) * LENGTHS[unit.strip().lower().rstrip("s")]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"time is counted in {units!r}; give units such as hours since 2000-01-01 00:00"
        ) from None
    if calendar in ("noleap", "365_day"):
        part = pd.Timestamp(2001, start.month, start.day) - pd.Timestamp(2001, 1, 1)
        days, hours = np.divmod(hours + start.hour, 24)
        years, days = np.divmod(days + part.days, 365)
        dates = [pd.Timestamp(2001, 1, 1) + pd.Timedelta(days=float(day)) for day in days]
        moved = [date.replace(year=start.year + int(year)) for date, year in zip(dates, years, strict=True)]
        return np.array([(date - START) / pd.Timedelta("1h") for date in moved]) + hours
    if calendar not in ("standard", "gregorian", "proleptic_gregorian"):
        raise InputError(f"time is of the calendar {calendar}; give standard or noleap")
    return hours + (start - START) / pd.Timedelta("1h")
