"""A month of ERA5 over Great Britain: baselines score what was measured before; skipped without the file."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio

from fieldwise.scores.forecasts import (
    ClimatologySums,
    DampedPersistence,
    area_weights,
    mean_squared_error,
    persist_day,
)

ROOT = Path(__file__).parents[1]
FILES = Path(os.environ.get("FIELDWISE_DATA", ROOT.parent / "shared" / "data"))
MONTH = FILES / "era5-2mt-2019-03-uk.grib"
DAY, HORIZON = 24, 12
LEADS = [1, 3, 6, 9, 12]
# MSE (K²) at these leads: fitted on days 1 to 20, tested on days 25 to 31. Cells count alike.
MEASURED = {
    "persistence": [2.15, 2.19, 2.23, 2.26, 2.30],
    "damped_persistence": [0.17, 0.80, 1.66, 2.12, 2.29],
    "climatology": [3.75, 3.77, 3.80, 3.81, 3.83],
}
TRAINING = range(20 * DAY)
# The table has the same init times at all leads: each hour from the 25th at 0 UTC whose 12 leads are all in
# March, to the 31st at 11 UTC. Histories reach back to the 24th, and each cell has a damping of its own.
INIT_TIMES = range(24 * DAY, 31 * DAY - HORIZON)


@pytest.fixture(scope="module")
def month():
    """Read hourly 2 m temperature (K), (hour, row, column), by GDAL, and the hours since 2000."""
    if not MONTH.exists():
        pytest.skip(f"{FILES} holds no {MONTH.name}; set FIELDWISE_DATA to the folder that does")
    with rasterio.Env(GRIB_NORMALIZE_UNITS="NO"), rasterio.open(MONTH) as opened:
        times = np.array([int(opened.tags(band)["GRIB_VALID_TIME"]) for band in opened.indexes])
        assert opened.tags(1)["GRIB_UNIT"] == "[K]"
        values = opened.read()
    hours = times / 3600 - (np.datetime64("2000-01-01") - np.datetime64("1970-01-01")).astype(int) * DAY
    return values, hours


@pytest.fixture(scope="module")
def scored(month):
    """Give the MSE of each baseline, (init time, lead), with cells alike and by their area."""
    values, hours = month
    damped, sums = DampedPersistence(HORIZON), ClimatologySums(values.shape[1:])
    damped.add(values[TRAINING])
    for hour in TRAINING:
        sums.add(hours[hour], values[hour])
    climatology = sums.make()
    found = {name: {"alike": [], "by area": []} for name in MEASURED}
    weights = {"alike": None, "by area": area_weights(np.linspace(58, 50, 33), 49)}
    for init in INIT_TIMES:
        history, future = values[init - DAY : init + 1], slice(init + 1, init + 1 + HORIZON)
        forecasts = {
            "persistence": persist_day(history, horizon=HORIZON),
            "damped_persistence": damped.predict(history),
            "climatology": climatology.at(hours[future]),
        }
        for name, forecast in forecasts.items():
            for key, each in weights.items():
                found[name][key].append(mean_squared_error(forecast, values[future], weights=each))
    return {name: {key: np.array(scores) for key, scores in each.items()} for name, each in found.items()}


def test_month_is_the_one_that_was_measured(month):
    values, hours = month
    assert values.shape == (31 * DAY, 33, 49)
    assert (np.diff(hours) == 1).all()
    assert np.datetime64("2000-01-01T00") + int(hours[0]) * np.timedelta64(1, "h") == np.datetime64(
        "2019-03-01T00"
    )


@pytest.mark.parametrize("name", MEASURED)
def test_baselines_score_what_was_measured(scored, name):
    found = scored[name]["alike"].mean(axis=0)[np.array(LEADS) - 1]
    np.testing.assert_allclose(found, MEASURED[name], atol=0.005)


def test_areas_change_the_table_by_little(scored):
    """Eight degrees of latitude: cells in the south are a fifth larger."""
    for name in MEASURED:
        alike, by_area = (scored[name][key].mean(axis=0) for key in ("alike", "by area"))
        assert 1e-3 < np.abs(by_area / alike - 1).max() < 0.02
