"""What the weather is like in a month at an hour: the mean over training, or that of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fieldwise.errors import InputError, first_line
from fieldwise.samples.weather.globes import open_globe
from fieldwise.samples.weather.records import EPOCH, HOUR

if TYPE_CHECKING:
    import xarray as xr

MONTHS, HOURS = 12, 24
LEAST_DAYS = 10  # of a month, below which its mean tells more of those days than of the month
NEAR = 0.01  # of a cell: places nearer than this are taken as equal


def month_and_hour(hours: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Give month (0 to 11) and hour of the day (0 to 23), UTC, of times in hours since the year 2000.

    >>> month, hour = month_and_hour([0, 31 * 24 + 13])  # the 1st of January, and of February
    >>> month.tolist(), hour.tolist()
    ([0, 1], [0, 13])
    """
    whole = np.floor(np.asarray(hours, dtype=np.float64)).astype(np.int64)
    months = (EPOCH + whole * HOUR).astype("datetime64[M]").astype(np.int64)
    return months % MONTHS, whole % HOURS


@dataclass(frozen=True)
class Climatology:
    """The mean of each month and hour of the day.

    Parameters
    ----------
    means
        (month, hour, y, x), NaN where unknown.
    by_hour
        (hour, y, x), of all months, which stands in for months that are unknown.

    Raises
    ------
    InputError
        When a time is asked for whose hour is unknown.

    Examples
    --------
    >>> of_hours = np.arange(24.0).reshape(24, 1, 1)
    >>> climatology = Climatology(np.stack(12 * [of_hours]), of_hours)
    >>> climatology.at([0, 49]).ravel().tolist()
    [0.0, 1.0]
    """

    means: np.ndarray
    by_hour: np.ndarray

    def at(self, hours: ArrayLike) -> np.ndarray:
        """Give the means at times in hours since the year 2000: (time, y, x)."""
        month, hour = month_and_hour(hours)
        found = self.means[month, hour]
        found = np.where(np.isnan(found), self.by_hour[hour], found)
        unknown = np.isnan(found).any(axis=(-2, -1))
        if unknown.any():
            raise InputError(
                f"climatology: training holds nothing at {hour[unknown][0]:02d} UTC; give a file of month x "
                "hour, or train on whole days"
            )
        return found

    def knows_month(self, hours: ArrayLike) -> np.ndarray:
        """Tell of each time whether it has the mean of its own month."""
        month, hour = month_and_hour(hours)
        return ~np.isnan(self.means[month, hour]).any(axis=(-2, -1))


class ClimatologySums:
    """Sums over training, frame by frame, of which a climatology is made.

    A month of fewer than ten days in training has no mean of its own.

    Parameters
    ----------
    shape
        Rows and columns.

    Examples
    --------
    >>> sums = ClimatologySums((1, 1))
    >>> for hour in range(24 * 20):  # twenty days of January
    ...     sums.add(hour, np.array([[hour % 24 + hour // 24]]))
    >>> climatology = sums.make()
    >>> climatology.at([5]).item(), climatology.knows_month([5, 24 * 40]).tolist()  # 5 + the mean of 0 to 19
    (14.5, [True, False])
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.totals = np.zeros((MONTHS, HOURS, *shape))
        self.counts = np.zeros((MONTHS, HOURS, 1, 1))

    def add(self, hours: float, frame: np.ndarray) -> None:
        """Add the frame of a time in hours since the year 2000."""
        month, hour = (int(part) for part in month_and_hour(hours))
        self.totals[month, hour] += frame
        self.counts[month, hour] += 1

    def make(self) -> Climatology:
        """Make the means of all that was added."""
        of_all = self.counts.sum(axis=0)
        with np.errstate(invalid="ignore"):
            means = np.where(self.counts >= LEAST_DAYS, self.totals / self.counts, np.nan)
            return Climatology(means, np.where(of_all > 0, self.totals.sum(axis=0) / of_all, np.nan))


def read_climatology(
    path: str | Path,
    name: str,
    *,
    latitude: ArrayLike,
    longitude: ArrayLike,
    units: str = "",
) -> Climatology:
    """Read the means of month x hour of a NetCDF file, on the cells that are asked for.

    Parameters
    ----------
    path
        Its variable has the dimensions month (1 to 12), hour (0 to 23), lat or latitude, lon or longitude.
        Instead of the first two it may have time, one for each hour of a month, as AMBS's file has.
    name
        Of the variable; a file of one variable may call it otherwise.
    latitude, longitude
        Of rows and columns, degrees; the file may cover more.
    units
        That it must have.

    Raises
    ------
    InputError
        Where the file cannot be read, lacks the hour or the month, does not hold these cells, or has other
        units.

    Examples
    --------
    >>> import tempfile, xarray as xr
    >>> path = Path(tempfile.mkdtemp()) / "monthly.nc"
    >>> places = {"month": range(1, 13), "lat": [51.0, 50.0], "lon": [6.0, 7.0]}
    >>> monthly = xr.DataArray(np.zeros((12, 2, 2)), places, name="t2m")
    >>> monthly.to_netcdf(path, engine="h5netcdf")
    >>> read_climatology(path, "t2m", latitude=[51.0], longitude=[7.0])
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...monthly.nc: t2m is of month, lat, lon, without hour: what the hour of ...
    """
    import xarray as xr

    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; give a climatology of month x hour as NetCDF")
    with open_globe(path) as opened:
        known = [str(key) for key in opened]
        if name not in known and len(known) != 1:
            raise InputError(f"{path}: holds no {name}; it holds {', '.join(known) or 'no maps'}")
        field = xr.decode_cf(opened)[name if name in known else known[0]].load()
    field = _by_month_and_hour(field, path)
    _check(field, path, units)
    means = np.full((MONTHS, HOURS, np.size(latitude), np.size(longitude)), np.nan)
    rows, columns = _places(field, "lat", latitude, path), _places(field, "lon", longitude, path)
    values = field.transpose("month", "hour", "lat", "lon").to_numpy()[..., rows, :][..., columns]
    means[np.ix_(field["month"].to_numpy().astype(int) - 1, field["hour"].to_numpy().astype(int))] = values
    return Climatology(means, np.full(means.shape[1:], np.nan))


def _by_month_and_hour(field: xr.DataArray, path: Path) -> xr.DataArray:
    """Sort times, of which each month has an hour once, into months and hours."""
    if "time" not in field.dims or {"month", "hour"} & {*field.dims}:
        return field
    try:
        dates = field["time"].dt
        named = field.assign_coords(month=("time", dates.month.data), hour=("time", dates.hour.data))
        return named.set_index(time=["month", "hour"]).unstack("time")
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: {field.name} has a time that tells no month and hour, or one of them twice "
            f"({first_line(error)}); give means of month x hour"
        ) from None


def _check(field: xr.DataArray, path: Path, units: str) -> None:
    dims = ", ".join(map(str, field.dims))
    if "hour" not in field.dims:
        raise InputError(
            f"{path}: {field.name} is of {dims}, without hour: what the hour of the day alone tells would "
            "count as skill; give means of month x hour"
        )
    if {*field.dims} != {"month", "hour", "lat", "lon"}:
        raise InputError(f"{path}: {field.name} is of {dims}; give month, hour, lat, lon")
    for axis, first, count in (("month", 1, MONTHS), ("hour", 0, HOURS)):
        values = field[axis].to_numpy()
        if axis not in field.coords or not np.isin(values, range(first, first + count)).all():
            raise InputError(f"{path}: {axis} is not {first} to {first + count - 1}; write it beside the map")
    found = field.attrs.get("units", units)
    if units and found != units:
        raise InputError(f"{path}: {field.name} is in {found}, the forecasts in {units}; convert it")


def _places(field: xr.DataArray, axis: str, wanted: ArrayLike, path: Path) -> np.ndarray:
    """Find the rows or columns of a file that lie where they are wanted."""
    there, sought = field[axis].to_numpy().astype(float), np.atleast_1d(np.asarray(wanted, dtype=float))
    apart = np.abs(there - sought[:, None])
    if axis == "lon":
        apart = np.minimum(apart % 360, -apart % 360)
    step = float(np.abs(np.diff(there)).min()) if there.size > 1 else 1.0
    if (apart.min(axis=1) > NEAR * step).any():
        missing = sought[apart.min(axis=1) > NEAR * step][0]
        raise InputError(f"{path}: holds no {axis} {missing:g}; give a climatology on the cells of the data")
    return apart.argmin(axis=1)
