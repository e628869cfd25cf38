"""Weather of the whole globe in files of one's own: NetCDF, HDF5, Zarr or GRIB, one time a file or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj  # noqa: F401  before anything that may load eccodes: the other order crashes the interpreter
import xarray as xr

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError, first_line
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.physics.extreme_weather.transport import vapour_transport
from fieldwise.samples.rules import Rule, check_table, is_table, read_rules
from fieldwise.samples.sources import WORDS
from fieldwise.samples.weather.records import EPOCH, Record

NAMES = {"latitude": "lat", "longitude": "lon", "valid_time": "time", "y": "lat", "x": "lon"}
PARTS = ("eastward", "northward", "humidity")  # of the transport of vapour
LABELS = "labels_0"  # what classes of one's own are called, as in DeepCAM's samples
CASES = Rule(lambda value: is_table(value) and bool(value), "an entry for each season")
TEXT = Rule(lambda value: isinstance(value, str), "the name of a variable in the files")
LENGTHS = {"second": 1 / 3600, "minute": 1 / 60, "min": 1 / 60, "hour": 1.0, "h": 1.0, "day": 24.0}
UNITS_HPA = {"hpa": 1.0, "millibars": 1.0, "millibar": 1.0, "mb": 1.0, "mbar": 1.0, "pa": 0.01}
START = pd.Timestamp(EPOCH)
RULES = {
    "split": Rule(lambda value: value in WORDS, "one of training, validation, test"),
    "path": Rule(lambda value: isinstance(value, str), "a file, or a pattern such as 2005/*.nc"),
    "variables": Rule(is_table, "lines such as `TMQ: tcwv`"),
    "labels": TEXT,
    "transport": Rule(
        lambda value: (
            is_table(value) and {*value} == {*PARTS} and all(isinstance(each, str) for each in value.values())
        ),
        "{eastward: u, northward: v, humidity: q}, variables on pressure levels",
    ),
}


def read_seasons(file: str | Path) -> list[Record]:
    """Open the seasons that a FILE.yaml names.

    ::

        cases:
          season_2005:
            split: test             # training, validation or test; all of them, or none
            path: era5/2005-*.nc    # one file or many, of NetCDF, HDF5, Zarr or GRIB
            variables:              # by default those of the names of channels
              TMQ: tcwv
            labels: LABELS          # variable with classes, if there is one
            transport:              # winds and specific humidity on levels, to be made IVT of, if at hand
              {eastward: u, northward: v, humidity: q}

    Levels below the ground are left out where PS, the pressure there, is among the fields.

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
        if not is_table(entry) or not isinstance(entry.get("path"), str):
            raise InputError(f"{file}: case {name} is {entry!r}; give at least {{path: FILE}}")
        check_plain_name(name, f"{file}: case", kind="folder")
        check_table(entry, RULES, f"{file}: case {name}")
        paths = sorted(file.parent.glob(entry["path"]))
        if not paths:
            raise InputError(f"{file}: case {name}: there is no file {entry['path']}; check the path")
        wanted = dict(entry.get("variables", {}))
        labels = {LABELS: entry["labels"]} if "labels" in entry else {}
        transport = dict(entry.get("transport", {}))
        record = _open_season(str(name), paths, wanted, labels, transport, WORDS.get(entry.get("split", "")))
        records.append(record)
    if len({record.split is None for record in records}) > 1:
        raise InputError(f"{file}: some cases have a split and some have none; give all of them one, or none")
    return records


def _open_season(
    name: str,
    paths: Sequence[Path],
    variables: Mapping[str, str],
    labels: Mapping[str, str],
    transport: Mapping[str, str],
    split: str | None,
) -> Record:
    places: list[tuple[Path, int]] = []
    hours: list[float] = []
    grid, known = None, dict(variables)
    for path in paths:
        with open_globe(path) as opened:
            axes = opened["lat"].to_numpy(), opened["lon"].to_numpy()
            if grid is None:
                grid = _lay_grid(path, *axes)
                beside = {*labels.values(), *transport.values()}
                known = known or {str(each): str(each) for each in opened if each not in beside}
            elif not (np.array_equal(axes[0], grid.latitude) and np.array_equal(axes[1], grid.longitude)):
                raise InputError(f"{path}: lies on another grid than {paths[0].name}; bring both to one")
            of_file = hours_of(opened, path)
        places += [(path, number) for number in range(len(of_file))]
        hours += of_file
    assert grid is not None
    reader = partial(_read, places, {**known, **labels}, transport)
    return Record(name, grid, np.array(hours), reader, tuple(paths), split)


def _lay_grid(path: Path, latitude: np.ndarray, longitude: np.ndarray) -> GlobalGrid:
    try:
        return GlobalGrid(latitude, longitude)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read(
    places: Sequence[tuple[Path, int]], variables: Mapping[str, str], transport: Mapping[str, str], place: int
) -> dict[str, np.ndarray]:
    path, number = places[place]
    fields = {}
    with open_globe(path) as opened:
        missing = [theirs for theirs in (*variables.values(), *transport.values()) if theirs not in opened]
        if missing:
            there = ", ".join(map(str, opened.data_vars))
            raise InputError(f"{path}: lacks {', '.join(missing)}; it has {there}")
        for ours, theirs in variables.items():
            values = opened[theirs]
            values = values.isel(time=number) if "time" in values.dims else values
            if values.dims != ("lat", "lon"):
                dims = ", ".join(map(str, values.dims))
                raise InputError(f"{path}: {theirs} has {dims}; give lat and lon alone")
            fields[ours] = values.to_numpy()
        if transport:
            at = opened.isel(time=number, missing_dims="ignore")
            parts = {name: at[transport[name]] for name in PARTS}
            fields["IVT"] = _carry(path, parts, fields.get("PS"))
    return fields


def _carry(path: Path, parts: Mapping[str, xr.DataArray], ground_pa: np.ndarray | None) -> np.ndarray:
    """Give the transport of vapour, kg m-1 s-1, of winds and humidity on levels."""
    for field in parts.values():
        if field.dims[1:] != ("lat", "lon") or field.dims[0] not in field.coords:
            dims = ", ".join(map(str, field.dims))
            raise InputError(f"{path}: {field.name} has {dims}; give pressure levels, lat and lon")
    levels = parts["humidity"][parts["humidity"].dims[0]]
    units = str(levels.attrs.get("units", "hPa"))
    if units.lower() not in UNITS_HPA:
        raise InputError(f"{path}: levels {levels.name} are in {units}; give them in hPa or Pa")
    pressure_hpa = levels.to_numpy() * UNITS_HPA[units.lower()]
    eastward, northward, humidity = (field.to_numpy().astype(float) for field in parts.values())
    if ground_pa is not None:
        humidity = np.where(100 * pressure_hpa[:, None, None] > ground_pa, np.nan, humidity)
    try:
        return np.hypot(*vapour_transport(eastward, northward, humidity, pressure_hpa))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def open_globe(path: Path) -> xr.Dataset:
    """Open fields on lat and lon, rows from north to south, and maybe time, by what the file is; lazily.

    >>> open_globe(Path("no/such.nc"))
    Traceback (most recent call last):
    fieldwise.errors.InputError: no/such.nc: cannot be read as NetCDF, HDF5, Zarr or GRIB (...); ...
    """
    options: Any = {"engine": "zarr" if path.is_dir() else "h5netcdf"}
    if path.suffix in (".grib", ".grb", ".grib2"):
        options = {"engine": "cfgrib", "backend_kwargs": {"indexpath": ""}}
    try:
        if path.is_file():
            with path.open("rb") as file:
                options = {"engine": "scipy"} if file.read(3) == b"CDF" else options
        opened = xr.open_dataset(path, decode_times=False, **options)
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
