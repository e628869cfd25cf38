"""Forecasts scored: baselines, measures, blocks of days, conditional quantiles, results."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from fieldwise.errors import InputError
from fieldwise.scores.forecasts import (
    BlockBootstrap,
    ClimatologySums,
    ConditionalQuantiles,
    DampedPersistence,
    ForecastScores,
    anomaly_correlation,
    area_weights,
    choose_block_days,
    gradient_ratio,
    mean_error,
    mean_scores,
    mean_squared_error,
    number_blocks,
    peak_signal_to_noise,
    persist_day,
    persist_last,
    read_climatology,
    resample_blocks,
    score_hours,
    score_leads,
    share_forecasts,
    structural_similarity,
    tell_differences,
)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def maps(*shape, seed=0):
    return 280 + 6 * noise(*shape, seed=seed)


# Baselines


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


# Measures


def test_similarity_is_that_of_torchmetrics():
    """Its windows divide by 49 where scikit-image's divide by 48, for which a smaller C₂ makes up.

    It goes beyond the edges too: there is no window of seven cells within three of them.
    """
    observed = maps(3, 20, 31, seed=1)
    forecast = 0.7 * observed + 0.3 * maps(3, 20, 31)
    for data_range in (2.0, 40.0):
        _, of_cells = structural_similarity_index_measure(
            torch.from_numpy(forecast)[:, None],
            torch.from_numpy(observed)[:, None],
            gaussian_kernel=False,
            kernel_size=7,
            data_range=data_range,
            k2=0.03 * np.sqrt(48 / 49),
            return_full_image=True,
        )
        expected = of_cells[:, 0, 3:-3, 3:-3].numpy().mean(axis=(1, 2))
        found = structural_similarity(forecast, observed, data_range=data_range)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_similarity_of_several_forecasts_and_ranges_at_once():
    forecast, observed = maps(2, 3, 9, 8), maps(3, 9, 8, seed=1)
    found = structural_similarity(forecast, observed, data_range=(2.0, 40.0))
    assert found.shape == (2, 2, 3)
    alone = structural_similarity(forecast[1, 2], observed[2], data_range=40.0)
    assert found[1, 1, 2] == pytest.approx(float(alone), rel=1e-12)


def test_similarity_needs_a_window():
    with pytest.raises(InputError, match="no window of 7 cells"):
        structural_similarity(maps(6, 9), maps(6, 9), data_range=1.0)


def test_signal_to_noise_is_that_of_torchmetrics():
    forecast, observed = maps(1, 8, 8), maps(1, 8, 8, seed=1)
    squares = mean_squared_error(forecast, observed)
    for data_range in (1.0, 35.0):
        expected = peak_signal_noise_ratio(
            torch.from_numpy(forecast), torch.from_numpy(observed), data_range=data_range
        )
        assert peak_signal_to_noise(squares, data_range=data_range)[0] == pytest.approx(
            float(expected), rel=1e-6
        )
    assert peak_signal_to_noise(0.0, data_range=1.0) == np.inf


def test_area_weights_are_those_of_bands_on_the_sphere():
    """A band between two latitudes has an area as the difference of sines: cosines are near for thin ones."""
    latitude = np.arange(89.5, -90, -1)
    bands = np.sin(np.deg2rad(latitude + 0.5)) - np.sin(np.deg2rad(latitude - 0.5))
    np.testing.assert_allclose(area_weights(latitude, 4).sum(axis=1), bands / 2, rtol=1e-4)


def test_weights_count():
    weights = area_weights([60.0, 0.0], 1)  # 1 : 2
    errors = np.array([[3.0], [0.0]])
    assert mean_squared_error(errors, 0 * errors, weights=weights) == pytest.approx(3)
    assert mean_error(errors, 0 * errors, weights=weights) == pytest.approx(1)


def test_anomaly_correlation_is_the_cosine_of_anomalies():
    forecast, observed, normal = maps(5, 6), maps(5, 6, seed=1), maps(5, 6, seed=2)
    one, other = (forecast - normal).ravel(), (observed - normal).ravel()
    expected = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert anomaly_correlation(forecast, observed, climatology=normal) == pytest.approx(expected)
    assert np.isnan(anomaly_correlation(normal, observed, climatology=normal))


def test_climatology_of_another_hour_makes_skill_of_the_diurnal_cycle():
    """A forecast of nothing but climatology and noise has no skill, unless the hour is wrong."""
    hours = np.arange(24)[:, None, None]
    normal = 280 + 8 * np.cos(2 * np.pi * hours / 24) * np.ones((24, 20, 20))
    forecast, observed = normal + noise(24, 20, 20), normal + noise(24, 20, 20, seed=1)
    right = anomaly_correlation(forecast, observed, climatology=normal)
    an_hour_early = anomaly_correlation(forecast, observed, climatology=np.roll(normal, 1, axis=0))
    assert abs(right.mean()) < 0.02
    assert an_hour_early.mean() > 0.3


def test_gradient_ratio_of_planes_is_that_of_slopes():
    row, column = np.mgrid[:6.0, :7.0]
    forecast, observed = 3 * row + 4 * column, 5 * row - 12 * column
    assert gradient_ratio(forecast, observed) == pytest.approx(5 / 13)
    # Columns half as far apart are twice as steep.
    assert gradient_ratio(forecast, observed, narrowing=0.5) == pytest.approx(
        np.hypot(3, 8) / np.hypot(5, 24)
    )
    assert np.isnan(gradient_ratio(forecast, 0 * observed))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 0.9))
def test_measures_of_a_perfect_and_of_a_smooth_forecast(seed, share):
    observed = maps(8, 8, seed=seed)
    smooth = share * observed + (1 - share) * observed.mean()
    assert mean_squared_error(observed, observed) == 0
    assert structural_similarity(observed, observed, data_range=30.0) == pytest.approx(1)
    assert gradient_ratio(smooth, observed) == pytest.approx(share)
    assert mean_error(smooth, observed) == pytest.approx(0, abs=1e-9)
    assert mean_squared_error(smooth, observed) == pytest.approx((1 - share) ** 2 * observed.var())


def test_shapes_that_differ_are_refused():
    with pytest.raises(InputError, match=r"forecast \(3, 4\) and observed \(4, 3\) differ"):
        mean_squared_error(np.zeros((3, 4)), np.zeros((4, 3)))


# Blocks


def test_blocks_are_days_of_a_stretch():
    hours = np.arange(15 * 24)
    blocks = number_blocks(hours, np.zeros(hours.size), days=7)
    assert np.bincount(blocks).tolist() == [180, 180]  # parted evenly
    two = number_blocks(np.tile(hours, 2), np.repeat([0, 1], hours.size), days=7)
    assert np.bincount(two).tolist() == [180] * 4
    assert (np.diff(two) >= 0).all()


@pytest.mark.parametrize(("days", "expected"), [(365, 7), (60, 7), (30, 3), (7, 1), (3, 1)])
def test_blocks_are_shorter_where_few_would_fit(days, expected):
    hours = np.arange(days * 24)
    assert choose_block_days(hours, np.zeros(hours.size)) == expected


def test_intervals_are_those_of_a_normal_mean():
    """Blocks of one init time are the plain bootstrap, which a normal mean of known variance checks."""
    values = noise(400)
    low, high = BlockBootstrap(np.arange(400), draws=4000).interval(values)
    half = stats.norm.ppf(0.95) * values.std() / 20
    assert (low, high) == (
        pytest.approx(values.mean() - half, abs=0.004),
        pytest.approx(values.mean() + half, abs=0.004),
    )


def test_intervals_of_what_goes_on_for_days_are_wider():
    """24 equal values a day are one piece of evidence, not 24: the interval is √24 as wide."""
    days = noise(200)
    values = np.repeat(days, 24)
    blind = BlockBootstrap(np.arange(values.size)).interval(values)
    honest = BlockBootstrap(number_blocks(np.arange(values.size), 0 * values, days=1)).interval(values)
    assert np.ptp(honest) / np.ptp(blind) == pytest.approx(np.sqrt(24), rel=0.1)


def test_paired_differences_are_surer_than_scores():
    hard = np.repeat(10 + 5 * noise(60), 24)
    better = hard - 0.2 + 0.1 * noise(hard.size, seed=1)
    blocks = BlockBootstrap(number_blocks(np.arange(hard.size), 0 * hard, days=1))
    low, high = blocks.interval(better - hard)
    assert -0.22 < low < high < -0.18
    assert blocks.interval(hard)[0] < blocks.interval(better)[1]  # though the intervals overlap
    np.testing.assert_allclose(blocks.means(better) - blocks.means(hard), blocks.means(better - hard))


def test_missing_scores_are_left_out():
    values = np.array([1.0, np.nan, 3.0, np.nan])
    drawn = BlockBootstrap(np.array([0, 0, 1, 1]), draws=50).means(values)
    assert set(drawn.tolist()) == {1.0, 2.0, 3.0}


def test_one_block_is_refused():
    with pytest.raises(InputError, match="one block cannot be resampled"):
        BlockBootstrap(np.zeros(9, dtype=int))


def test_differences_in_words_know_which_way_is_better():
    difference, interval = np.array([-1.0, 1.0]), np.array([[-2.0, 0.5], [-0.5, 2.0]])
    assert tell_differences([1, 2], difference, interval) == "better at 1 h; worse at 2 h"
    assert tell_differences([1, 2], difference, interval, better="more") == "worse at 1 h; better at 2 h"


# Conditional quantiles


def test_conditional_quantiles_of_normal_pairs():
    """Observed = forecast + N(0, 1): both factorisations are normal, the second one drawn to the mean."""
    random = np.random.default_rng(3)
    forecast = random.normal(280, 2, 400_000)
    observed = forecast + random.normal(0, 1, forecast.size)
    pairs = ConditionalQuantiles()
    for part in np.array_split(np.arange(forecast.size), 7):
        pairs.add(forecast[part], observed[part])
    ends = stats.norm.ppf([0.05, 0.5, 0.95])
    table = pairs.table(given="forecast", least=5000)
    spread = np.hypot(1, 1 / np.sqrt(12))  # of what is known to lie in a bin
    np.testing.assert_allclose(
        table["quantiles"] - table["middle"], np.tile(spread * ends[:, None], table["middle"].size), atol=0.12
    )
    table = pairs.table(given="observed", least=5000)
    share = 4 / 5  # of the variance of what came that was forecast
    middle = 280 + share * (table["middle"] - 280)
    np.testing.assert_allclose(table["quantiles"][1], middle, atol=0.1)
    assert np.ptp(table["quantiles"], axis=0).mean() == pytest.approx(
        2 * ends[2] * 2 * np.sqrt(1 / 5), rel=0.05
    )


def test_conditional_quantiles_are_those_of_numpy():
    random = np.random.default_rng(4)
    forecast, observed = random.normal(0, 3, (2, 50_000))
    pairs = ConditionalQuantiles(width=2.0)
    pairs.add(forecast, observed)
    table = pairs.table(given="forecast")
    assert table["count"].sum() == forecast.size
    for middle, quantiles, count in zip(table["middle"], table["quantiles"].T, table["count"]):
        inside = (forecast >= middle - 1) & (forecast < middle + 1)
        assert count == inside.sum()
        if count > 2000:
            np.testing.assert_allclose(quantiles, np.quantile(observed[inside], [0.05, 0.5, 0.95]), atol=0.1)


def test_pairs_grow_with_their_range_either_way():
    pairs = ConditionalQuantiles()
    for value in (5.5, -3.5, 12.5):
        pairs.add([value], [value + 1])
    assert pairs.table(given="forecast")["middle"].tolist() == [-3.5, 5.5, 12.5]
    assert pairs.table(given="observed")["middle"].tolist() == [-2.5, 6.5, 13.5]
    pairs.add([np.nan, 1.0], [1.0, np.nan])
    assert pairs.counts.sum() == 3


# Results


def made_results(hours=range(96), error=1.0, leads=(1, 2)):
    scores = ForecastScores(list(leads), units="K", target="t2m")
    for hour in hours:
        squares = error * (1 + 0.1 * noise(len(leads), seed=hour))
        scores.add(
            "march",
            float(hour),
            {
                "mse": {"prediction": squares, "persistence": 2 + 0 * squares},
                "acc": {"prediction": 0.9 + 0 * squares},
                "spread_variance": {"prediction": 0.25 * squares},
            },
        )
    return scores.dataset()


def test_rows_hold_means_intervals_and_the_ratio_of_spread_and_error():
    results = made_results()
    results["best_possible_mse"] = ("fcst_hour", [0.8, 0.9])
    bootstrap, days = resample_blocks(results, days=7, draws=200, seed=0)
    rows = score_leads(results, bootstrap)
    assert days == 1
    of = {(row["measure"], row["name"], row["lead_h"]): row for row in rows}
    assert of["mse", "prediction", 2]["value"] == pytest.approx(
        float(results["mse"].sel(name="prediction", fcst_hour=2).mean())
    )
    assert (
        of["mse", "prediction", 2]["low"]
        < of["mse", "prediction", 2]["value"]
        < of["mse", "prediction", 2]["high"]
    )
    assert of["spread_skill", "prediction", 1]["value"] == pytest.approx(0.5)
    assert of["mse", "best_possible", 2]["value"] == 0.9
    assert "low" not in of["mse", "best_possible", 2]
    assert ("acc", "persistence", 1) not in of  # what was never scored
    assert "spread_variance" not in {row["measure"] for row in rows}


def test_hours_are_those_that_forecasts_are_valid_at():
    """One init time a day at 22 UTC: valid at 23 and at 0."""
    rows = score_hours(made_results(hours=range(22, 22 + 24 * 5, 24)))
    found = {row["hour_utc"] for row in rows if row["name"] == "prediction" and row["measure"] == "mse"}
    assert found == {23, 0}


def test_results_of_several_runs_share_init_times_and_leads():
    shared = share_forecasts({"a": made_results(range(10)), "b": made_results(range(5, 20), leads=(2, 3))})
    for results in shared.values():
        assert results["init_time"].values.tolist() == [*range(5, 10)]
        assert results["fcst_hour"].values.tolist() == [2]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (made_results(range(200, 210)), "a, b: share no init time"),
        (made_results(range(10), leads=(5,)), "a, b: share no lead"),
        (made_results(range(10)).assign_attrs(target="msl"), "b: forecasts msl in K, a t2m in K"),
    ],
)
def test_results_that_share_nothing_are_refused(other, said):
    with pytest.raises(InputError, match=said):
        share_forecasts({"a": made_results(range(10)), "b": other})


def test_means_without_draws_have_no_interval():
    value, low, high = mean_scores(made_results(), "mse", None)["persistence"]
    assert value.tolist() == [2, 2]
    assert np.isnan([low, high]).all()
