"""Steps of extreme_weather.feature."""

import itertools

import numpy as np
import pytest
import xarray as xr
from pytest_bdd import given, parsers, scenarios, then, when

from fieldwise.physics.extreme_weather.channels import CHANNELS
from fieldwise.recipes import extreme_weather
from fieldwise.samples.prepared import SPLITS, Prepared
from fieldwise.samples.weather.deepcam import write_sample
from fieldwise.scores import pick

scenarios("extreme_weather.feature")

QUIET = {"accelerator": "cpu", "progress": False}


@given("made seasons with storms, rivers and decoys", target_fixture="data")
def _(tmp_path):
    return extreme_weather.prepare(
        out=tmp_path / "data", spacing_degrees=5.6, days=0.5, shares=(0.5, 0.25, 0.25), progress=False
    )


@given("a network that has learnt from them", target_fixture="run")
def _(data, tmp_path):
    small = {"network": "unet", "network_options": {"blocks": 2, "filters": 2}, "max_epochs": 1}
    extreme_weather.train(data=data, run=tmp_path / "run", tracker="none", **small, **QUIET)
    return tmp_path / "run"


@given("samples of one run", target_fixture="source")
def _(tmp_path):
    fields = {name: np.zeros((16, 32)) for name in CHANNELS}
    for step in range(24):
        time = np.datetime64("2001-08-01T00") + 3 * step
        write_sample(tmp_path / "samples", time, fields, (np.zeros((16, 32)),))
    return tmp_path / "samples"


@when("I predict the season that it has not seen", target_fixture="prediction")
def _(data, run):
    return extreme_weather.predict(run=run, data=data, out=run / "prediction", **QUIET)


@when("I evaluate what it tells", target_fixture="scores")
def _(data, run, prediction):
    options = {"figures": False, "progress": False}
    return extreme_weather.evaluate(run=run, data=data, prediction=prediction, **options)["scores"]


@when(parsers.parse("I prepare them with a gap of {hours:d} hours"), target_fixture="gap")
def _(source, hours, tmp_path):
    options = {"gap_hours": float(hours), "labellers": False, "progress": False}
    extreme_weather.prepare(source=str(source), out=tmp_path / "data", **options)
    return tmp_path / "data", hours


@then("each cell has one class of three, and the probability of each")
def _(prediction):
    with xr.open_dataset(prediction / "run_3.nc") as maps:
        assert set(np.unique(maps["class"])) <= {0, 1, 2}
        shares = [maps[name] for name in maps.data_vars if name.startswith("probability_of_")]
        assert len(shares) == 3
        np.testing.assert_allclose(sum(shares), 1, atol=1e-5)


@then("tracks of cyclones and rivers lie beside, with their landfalls and a census")
def _(prediction):
    for kind in ("cyclones", "rivers"):
        for ending in (".csv", ".geojson", "_landfalls.csv"):
            assert (prediction / f"run_3_{kind}{ending}").exists()
    assert (prediction / "run_3_census.nc").exists()


@then(parsers.parse("the scores tell {measures} of {names}"))
def _(scores, measures, names):
    for measure in measures.split(", "):
        found = {row["name"] for row in pick(scores, against="planted masks", measure=measure)}
        assert found == {*names.split(", ")}


@then("no time of one split is nearer than that to one of another")
def _(gap):
    folder, hours = gap
    times = [Prepared(folder).cases(split)[0].frame_times for split in SPLITS]
    assert all(later[0] - earlier[-1] >= hours for earlier, later in itertools.pairwise(times))
    assert pytest.approx(3) == times[0][1] - times[0][0]
