"""One variable in one file of hourly weather, whatever its format: its hours, and their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldwise.errors import InputError
from fieldwise.samples.hours.gribs import Message, list_messages, read_message
from fieldwise.samples.hours.levels import interpolate_pressure, levels_around, pressures_of_levels
from fieldwise.samples.hours.periods import time_of
from fieldwise.samples.weather.globes import hours_of, open_globe

GRIB = (".grib", ".grb", ".grib2", ".grb2")
# What variables are called in files of ERA5, of ECMWF and of WeatherBench; those with a level have it in hPa.
ALIASES: dict[str, tuple[tuple[str, ...], float | None]] = {
    "t2m": (("2t", "t2m", "2m_temperature"), None),
    "t850": (("t", "temperature"), 850.0),
    "tcc": (("tcc", "total_cloud_cover"), None),
    "msl": (("msl", "mean_sea_level_pressure"), None),
    "u10": (("10u", "u10", "10m_u_component_of_wind"), None),
    "v10": (("10v", "v10", "10m_v_component_of_wind"), None),
}
LEVELS = ("level", "pressure_level", "isobaricInhPa", "plev")  # axes of pressure
SINGLE = ("number", "expver", "realization", "surface", "height", "heightAboveGround")  # of one value


@dataclass(frozen=True)
class Wanted:
    """A variable that is looked for: what it is called here, what it may be called in files, and its level.

    >>> Wanted.named("t850").names
    ('t', 'temperature', 't850')
    """

    name: str
    names: tuple[str, ...]
    level_hpa: float | None = None
    units: str | None = None

    @classmethod
    def named(cls, name: str, /, **said: Any) -> Wanted:
        """Look for a variable by its name here, or by what is said of it."""
        names, level = ALIASES.get(name, ((name,), None))
        if "name" in said:
            names = (str(said["name"]),)
        return cls(
            name, tuple(dict.fromkeys((*names, name))), said.get("level_hpa", level), said.get("units")
        )


@dataclass(frozen=True)
class Series:
    """A variable in a file.

    Attributes
    ----------
    path
        The file.
    hours
        (hour,) since 2000, in order.
    units
        Of its values; empty where the file does not tell.
    latitude, longitude
        Of the file's cells, from north to south.
    read
        Gives the values at some places among the hours, in some rows and columns: (place, rows, columns).
    """

    path: Path
    hours: np.ndarray
    units: str
    latitude: np.ndarray
    longitude: np.ndarray
    read: Callable[[Sequence[int], np.ndarray, np.ndarray], np.ndarray]


def find_series(path: str | Path, wanted: Wanted) -> Series | None:
    """Find a variable in a file: NetCDF, HDF5, Zarr or GRIB; None where it is not there.

    A level of pressure is picked where the file has it, and interpolated in the logarithm of pressure from
    those beside it, or from model levels, where it has not.

    Raises
    ------
    InputError
        Where the file cannot be read, or times are not in order or come twice.

    >>> import tempfile
    >>> import xarray as xr
    >>> path, levels = Path(tempfile.mkdtemp()) / "a.nc", {"level": [700.0, 1000.0]}
    >>> time = {"time": ("time", [5], {"units": "hours since 2000-01-01"})}
    >>> values = np.array([270.0, 290.0]).reshape(1, 2, 1, 1) * np.ones((2, 2))
    >>> field, axes = (("time", "level", "lat", "lon"), values), {"lat": [1.0, 0.0], "lon": [0.0, 1.0]}
    >>> _ = xr.Dataset({"t": field}, time | axes | levels).to_netcdf(path, engine="h5netcdf")
    >>> series = find_series(path, Wanted.named("t850"))
    >>> series.hours.tolist(), series.read([0], np.array([0]), np.array([1])).round(1).tolist()
    ([5.0], [[[280.9]]])
    """
    path = Path(path)
    series = (_find_in_grib if path.suffix in GRIB else _find_in_dataset)(path, wanted)
    if series is not None:
        check_times(series.hours, f"{path}: {wanted.name}")
    return series


def check_times(hours: np.ndarray, place: str) -> None:
    """Refuse times that are not on the hour, come twice, or are not in order.

    >>> check_times(np.array([0.0, 1.0, 1.0]), "a.nc: t2m")
    Traceback (most recent call last):
    fieldwise.errors.InputError: a.nc: t2m: has 2000-01-01T01 twice; give each hour once, in order
    """
    steps = np.diff(hours)
    if (hours % 1).any():
        raise InputError(f"{place}: has times between the hours; give one map an hour")
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        what = "twice" if steps[at] == 0 else f"after {time_of(hours[at])}"
        raise InputError(f"{place}: has {time_of(hours[at + 1])} {what}; give each hour once, in order")


def _find_in_dataset(path: Path, wanted: Wanted) -> Series | None:
    with open_globe(path) as opened:
        name = next((name for name in wanted.names if name in opened), None)
        if name is None:
            return None
        field = opened[name]
        axes = opened["lat"].to_numpy().astype(float), opened["lon"].to_numpy().astype(float)
        units = str(field.attrs.get("units", ""))
        levels = next((axis for axis in LEVELS if axis in field.dims), None)
        if (levels is None) != (wanted.level_hpa is None) and name != wanted.name:
            return None
        hours = np.round(hours_of(opened, path), 4)  # days are no whole numbers of hours, to the last bit

    def read(places: Sequence[int], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        with open_globe(path) as opened:
            values = opened[name].isel(lat=rows, lon=columns)
            values = values.isel(time=list(places)) if "time" in values.dims else values.expand_dims("time")
            values = values.isel({axis: 0 for axis in SINGLE if values.sizes.get(axis) == 1})
            if levels in values.dims and wanted.level_hpa is not None:
                pressure = values[levels].to_numpy() / (
                    100 if values[levels].attrs.get("units") == "Pa" else 1
                )
                ordered = values.transpose("time", levels, "lat", "lon")
                return _at_level(ordered, pressure, wanted.level_hpa, str(path))
            if values.dims != ("time", "lat", "lon"):
                dims = ", ".join(map(str, values.dims))
                raise InputError(f"{path}: {name} has {dims}; give time, lat and lon alone, or a level_hpa")
            return values.to_numpy()

    return Series(path, hours, units, *axes, read)


def _at_level(values: Any, pressure: np.ndarray, level_hpa: float, place: str) -> np.ndarray:
    """Pick a level, or interpolate between those beside it: (time, level, lat, lon) to (time, lat, lon)."""
    exact = np.flatnonzero(np.isclose(pressure, level_hpa, rtol=1e-4))
    if exact.size:
        return values[:, int(exact[0])].to_numpy()
    try:
        needed = levels_around(pressure[:, None, None], level_hpa)
        spread = np.broadcast_to(pressure[needed, None, None], values[0, needed].shape)
        return np.stack([interpolate_pressure(each[needed].to_numpy(), spread, level_hpa) for each in values])
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _find_in_grib(path: Path, wanted: Wanted) -> Series | None:
    messages = [each for each in list_messages(path) if each.name in wanted.names]
    if wanted.level_hpa is None:
        chosen = [each for each in messages if each.kind == "surface"]
        by_hour: dict[float, tuple[Message, ...]] = {each.hour: (each,) for each in chosen}
        hours = sorted(each.hour for each in chosen)
    else:
        by_hour, hours = _levels_of(path, messages, wanted.level_hpa)
    if not by_hour:
        return None
    _, latitude, longitude = read_message(path, by_hour[hours[0]][0])

    def read(places: Sequence[int], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        cells = np.ix_(rows, columns)
        return np.stack([_read_hour(path, by_hour[hours[place]], wanted, cells) for place in places])

    return Series(path, np.array(hours), messages[0].units, latitude, longitude, read)


def _levels_of(
    path: Path, messages: Sequence[Message], level_hpa: float
) -> tuple[dict[float, tuple[Message, ...]], list[float]]:
    """Sort messages by hour: that of the level, where there is one, else all levels of pressure or model."""
    exact = [each for each in messages if each.kind == "pressure" and np.isclose(each.level, level_hpa)]
    if exact:
        return {each.hour: (each,) for each in exact}, sorted(each.hour for each in exact)
    for kind in ("pressure", "model"):
        columns: dict[float, dict[float, Message]] = {}
        for each in messages:
            if (
                each.kind == kind
                and columns.setdefault(each.hour, {}).setdefault(each.level, each) is not each
            ):
                raise InputError(
                    f"{path}: has level {each.level:g} of {time_of(each.hour)} twice; give each once"
                )
        if columns:
            return {hour: tuple(levels.values()) for hour, levels in columns.items()}, sorted(columns)
    return {}, []


def _read_hour(path: Path, messages: Sequence[Message], wanted: Wanted, cells: Any) -> np.ndarray:
    """Read some cells of an hour, (rows, columns), interpolated to a pressure where that is to be done."""
    levels, level_hpa = [each.level for each in messages], wanted.level_hpa
    if level_hpa is None or (messages[0].kind == "pressure" and np.isclose(levels[0], level_hpa)):
        return read_message(path, messages[0])[0][cells]
    try:
        if messages[0].kind == "pressure":
            pressure = np.array(levels)[:, None, None]
        else:
            ground = _surface_pressure(path, messages[0].hour)[cells]
            pressure = pressures_of_levels(levels, messages[0].coefficients, ground)
        needed = levels_around(pressure, level_hpa)  # of 137 levels few
        values = np.stack([read_message(path, messages[number])[0][cells] for number in needed])
        return interpolate_pressure(values, np.broadcast_to(pressure[needed], values.shape), level_hpa)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def _surface_pressure(path: Path, hour: float) -> np.ndarray:
    """Find the pressure at the ground (hPa) in a file of model levels, or in the surface's beside it."""
    beside = path.with_name(path.name.replace("_ml.", "_sf."))
    for file in dict.fromkeys((path, beside)):
        for each in list_messages(file) if file.is_file() else ():
            if each.hour == hour and each.name in ("lnsp", "sp"):
                values = read_message(file, each)[0].astype(float)
                return (np.exp(values) if each.name == "lnsp" else values) / 100
    raise InputError(
        f"{path}: tells no pressure at the ground of {time_of(hour)}, which model levels need; add lnsp or sp"
    )


def bring_to_units(values: np.ndarray, found: str, wanted: str) -> np.ndarray | None:
    """Bring values to other units, where it is known how; None where it is not.

    >>> bring_to_units(np.array([6.85]), "degrees_Celsius", "K").tolist()
    [280.0]
    >>> bring_to_units(np.array([6.85]), "Pa", "K") is None
    True
    """
    words = found.strip().lower().replace("°", "deg").replace("_", " ")
    for (theirs, ours), change in CHANGES.items():
        if ours == wanted and words in theirs:
            return change(values)
    return values if words == wanted.lower() else None


CHANGES: Mapping[tuple[tuple[str, ...], str], Callable[[np.ndarray], np.ndarray]] = {
    (("c", "degc", "deg c", "celsius", "degrees celsius", "degree celsius"), "K"): lambda x: x + 273.15,
    (("k", "kelvin", "degrees kelvin"), "K"): lambda x: x,
    (("%", "percent"), "1"): lambda x: x / 100,
    (("(0 - 1)", "1", "", "fraction"), "1"): lambda x: x,
    (("hpa", "mbar", "millibar"), "Pa"): lambda x: 100 * x,
    (("m s**-1", "m/s", "m s-1"), "m s-1"): lambda x: x,
}
