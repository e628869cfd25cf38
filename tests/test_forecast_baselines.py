"""What costs nothing: persistence, damped persistence and climatology."""

import numpy as np
import pytest
import xarray as xr
from drawn_numbers import noise

from fieldwise.errors import InputError
from fieldwise.scores.forecasts import (
    ClimatologySums,
    DampedPersistence,
    persist_day,
    persist_last,
    read_climatology,
)


@pytest.mark.parametrize(("day", "horizon"), [(24, 12), (24, 30), (4, 6)])
def test_persistence_is_the_last_known_frame_of_the_same_hour(day, horizon):
    hours = np.arange(3 * day)
    init = hours[-1]
    found = persist_day(hours, horizon=horizon, day=day)
    expected = [max(t for t in hours if (t - init - lead) % day == 0) for lead in range(1, horizon + 1)]
    assert found.tolist() == expected
    assert persist_last(hours, horizon=2).tolist() == [init, init]


def test_persistence_needs_a_day():
    with pytest.raises(InputError, match=r"history of 23 frames is no day of 24"):
        persist_day(np.zeros(23), horizon=2)


def test_damped_persistence_is_the_least_squares_of_each_cell_and_lead():
    """numpy solves what the sums add up to; two stretches are fitted together, and no pair spans both."""
    stretches = [np.cumsum(noise(70, 2, 3, seed=seed), axis=0) for seed in (0, 1)]
    damped = DampedPersistence(horizon=5)
    for stretch in stretches:
        damped.add(iter(stretch))
    for lead in (1, 3, 5):
        pairs = []
        for stretch in stretches:
            change = stretch[24:] - stretch[:-24]
            pairs.append((change[:-lead], change[lead:]))
        now, then = (np.concatenate(each) for each in zip(*pairs))
        for cell in np.ndindex(2, 3):
            slope = np.linalg.lstsq(now[(..., *cell)][:, None], then[(..., *cell)], rcond=None)[0]
            assert damped.shares[(lead - 1, *cell)] == pytest.approx(slope[0], rel=1e-10)


def test_damped_persistence_beyond_a_day_counts_from_the_last_known_hour():
    """Of x that changes by c from one day to the next and back, the share of two days ahead is 0."""
    days = np.repeat([0.0, 1.0, 0.0, 1.0, 0.0, 1.0], 24)[:, None]
    damped = DampedPersistence(horizon=48)
    damped.add(days)
    # An hour ahead the change goes on, but for the turn of the day; a day ahead it is undone.
    assert damped.shares[23, 0] == pytest.approx(-1)
    assert damped.shares[47, 0] == pytest.approx(0)
    history = days[: 2 * 24]
    assert damped.predict(history)[23, 0] == pytest.approx(0)


def test_damped_persistence_says_what_it_lacks():
    damped = DampedPersistence(horizon=2)
    damped.add(np.zeros((20, 1)))
    assert not damped.is_fitted
    with pytest.raises(InputError, match="no stretch of training has 27 frames"):
        damped.predict(np.zeros((30, 1)))


def test_climatology_is_the_mean_of_month_and_hour():
    """Values that tell their month, hour and year: the mean over years is that of the years."""
    sums = ClimatologySums((1, 1))
    times = np.datetime64("2001-01-01T00") + np.arange(2 * 365 * 24)
    since = (times - np.datetime64("2000-01-01T00")).astype(int)
    for hours, time in zip(since, times):
        date = time.astype(object)
        sums.add(hours, np.array([[1000 * date.year + 24 * date.month + date.hour]]))
    climatology = sums.make()
    wanted = np.datetime64("2005-07-15T13") - np.datetime64("2000-01-01T00")
    assert climatology.at([int(wanted.astype(int))]).item() == pytest.approx(2_001_500 + 24 * 7 + 13)


def test_a_month_of_few_days_takes_the_mean_of_the_hour():
    sums = ClimatologySums((1, 1))
    for hours in range(24 * (31 + 9)):  # January, and nine days of February
        sums.add(hours, np.array([[float(hours >= 24 * 31)]]))
    climatology = sums.make()
    assert climatology.at([0, 24 * 35]).ravel().tolist() == [0, pytest.approx(9 / 40)]
    assert climatology.knows_month([0, 24 * 35]).tolist() == [True, False]


@pytest.mark.parametrize("counted", ["month and hour", "time"])
def test_climatology_of_a_file_is_read_on_the_cells_that_are_asked_for(tmp_path, counted):
    """By month and hour, or with a time for each of them in classic NetCDF, as CDO writes it."""
    lat, lon = [52.0, 51.0, 50.0], [358.0, 359.0, 0.0, 1.0]
    values = np.arange(12 * 24 * 3 * 4.0).reshape(12, 24, 3, 4)
    places = {"month": range(1, 13), "hour": range(24), "latitude": lat[::-1], "longitude": lon}
    field = xr.DataArray(values[:, :, ::-1], places, attrs={"units": "K"}, name="T2M")
    if counted == "time":
        days = [np.datetime64(f"1991-{month:02d}-15", "ns") for month in range(1, 13)]
        times = [day + np.timedelta64(hour, "h") for day in days for hour in range(24)]
        field = field.stack(time=["month", "hour"]).drop_vars(["time", "month", "hour"])
        field = field.assign_coords(time=times).transpose("time", ...)
    field.to_netcdf(tmp_path / "clim.nc", engine="scipy" if counted == "time" else "h5netcdf")
    read = read_climatology(tmp_path / "clim.nc", "t2m", latitude=[51, 50], longitude=[-1, 0], units="K")
    # The 1st of February 2000 at 5 UTC
    np.testing.assert_array_equal(read.at([31 * 24 + 5])[0], values[1, 5, 1:, 1:3])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drop": "hour"}, "is of month, lat, lon, without hour"),
        ({"drop": "month"}, "is of hour, .*; give month, hour, lat, lon"),
        ({"units": "degC"}, "is in degC, the forecasts in K; convert it"),
        ({"hour": range(1, 25)}, "hour is not 0 to 23"),
        ({"latitude": [60.0, 59.0]}, "holds no lat 51"),
    ],
)
def test_climatology_that_does_not_fit_is_refused(tmp_path, change, said):
    places = {"month": range(1, 13), "hour": range(24), "latitude": [51.0, 50.0], "longitude": [0.0, 1.0]}
    places |= {key: value for key, value in change.items() if key in places}
    field = xr.DataArray(np.zeros((12, 24, 2, 2)), places, attrs={"units": change.get("units", "K")})
    if "drop" in change:
        field = field.isel({change["drop"]: 0}, drop=True)
    field.to_dataset(name="t2m").to_netcdf(tmp_path / "clim.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=said):
        read_climatology(tmp_path / "clim.nc", "t2m", latitude=[51.0], longitude=[0.0], units="K")


def test_climatology_of_a_whole_year_of_hours_is_refused(tmp_path):
    times = np.arange("1991-01-01", "1991-02-02", dtype="datetime64[h]").astype("datetime64[ns]")
    places = {"time": times, "lat": [51.0, 50.0], "lon": [0.0, 1.0]}
    field = xr.DataArray(np.zeros((len(times), 2, 2)), places, name="t2m")
    field.to_netcdf(tmp_path / "clim.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="tells no month and hour, or one of them twice"):
        read_climatology(tmp_path / "clim.nc", "t2m", latitude=[51.0], longitude=[0.0])


def test_climatology_of_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.nc: no such file"):
        read_climatology(tmp_path / "none.nc", "t2m", latitude=[51.0], longitude=[0.0])
