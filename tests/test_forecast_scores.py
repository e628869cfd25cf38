"""Forecasts scored: baselines, measures, blocks of days, conditional quantiles, results."""

import numpy as np
import pytest
import torch
from drawn_numbers import maps, noise
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
    ConditionalQuantiles,
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
    resample_blocks,
    score_hours,
    score_leads,
    share_forecasts,
    structural_similarity,
    tell_differences,
)

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
