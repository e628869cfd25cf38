"""Steps of temperature_forecast.feature."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pytest_bdd import given, parsers, scenarios, then, when

from fieldwise.recipes import temperature_forecast
from fieldwise.samples.prepared import SPLITS, Prepared
from fieldwise.scores import pick

scenarios("temperature_forecast.feature")

QUIET = {"accelerator": "cpu", "progress": False}


@given("made weather whose best forecast is known", target_fixture="data")
def _(tmp_path):
    return temperature_forecast.prepare(out=tmp_path / "data", days=14, cells=16, progress=False)


def learn(data, run, **options):
    options = {"context": 3, "horizon": 6, "stride": 6, "max_epochs": 1, "tracker": "none"} | options
    temperature_forecast.train(data=data, run=run, **options, **QUIET)
    return run


def judge(data, run):
    forecasts = temperature_forecast.predict(
        run=run, data=data, out=run / "prediction", every=6, members=None, **QUIET
    )
    options = {"figures": False, "progress": False}
    return temperature_forecast.evaluate(run=run, data=data, prediction=forecasts, **options)["scores"]


@given("a network that has learnt from it", target_fixture="run")
def _(data, tmp_path):
    return learn(data, tmp_path / "run", network="stochastic_advection")


@given("two experiments that were evaluated", target_fixture="runs")
def _(tmp_path):
    data = temperature_forecast.prepare(out=tmp_path / "data", days=14, cells=16, progress=False)
    runs = [learn(data, tmp_path / name, network=name) for name in ("advection", "weatherbench")]
    for run in runs:
        judge(data, run)
    return runs


@given("hours of two months", target_fixture="source")
def _(tmp_path):
    hours = pd.date_range("2019-03-01", "2019-04-30T23", freq="h")
    places = {"latitude": np.arange(52.0, 48, -1), "longitude": np.arange(6.0, 10)}
    values = np.random.default_rng(7).normal(280, 5, (len(hours), 4, 4)).astype(np.float32)
    maps = xr.DataArray(values, {"time": hours, **places}, ("time", *places), attrs={"units": "K"})
    maps.to_dataset(name="t2m").to_netcdf(tmp_path / "hours.nc", engine="h5netcdf")
    (tmp_path / "own.yaml").write_text("path: hours.nc\nvariables: {t2m: t2m}\n")
    return tmp_path / "own.yaml"


@when("I forecast the hours that it has not seen", target_fixture="forecasts")
def _(data, run):
    return temperature_forecast.predict(run=run, data=data, out=run / "prediction", every=6, **QUIET)


@when("I evaluate the forecasts", target_fixture="scores")
def _(data, run, forecasts):
    options = {"figures": False, "progress": False}
    return temperature_forecast.evaluate(run=run, data=data, prediction=forecasts, **options)["scores"]


@when("I compare them", target_fixture="compared")
def _(runs, tmp_path):
    return temperature_forecast.compare(runs=runs, out=tmp_path / "compared", figures=False)


@when(parsers.parse("I prepare them with a buffer of {hours:d} hours"), target_fixture="parted")
def _(source, hours, tmp_path):
    folder = temperature_forecast.prepare(
        source=str(source), out=tmp_path / "data", buffer_hours=hours, progress=False
    )
    return folder, hours


@then("each forecast has an init time, hours ahead and members")
def _(data, forecasts):
    (case,) = Prepared(data).cases("test")
    with xr.open_dataset(Path(forecasts) / f"{case.name}.nc") as maps:
        assert maps["t2m"].dims == ("init_time", "fcst_hour", "lat", "lon")
        assert maps["fcst_hour"].values.tolist() == [*range(1, 7)]
        members = maps["t2m_member"]
        assert members.sizes["member"] > 1
        np.testing.assert_allclose(members.mean("member"), maps["t2m"], atol=1e-3)
        assert float(members.std("member").min()) > 0


@then(parsers.parse("the scores tell {measure} of {names} by lead"))
def _(scores, measure, names):
    for lead in (1, 6):
        found = {row["name"] for row in pick(scores, measure=measure, lead_h=lead)}
        assert found >= {*names.split(", ")}


@then("their scores stand over the init times that both forecast")
def _(compared):
    rows = pick(compared["scores"], measure="mse", lead_h=6)
    assert {row["name"] for row in rows} >= {"advection", "weatherbench", "damped_persistence"}
    assert compared["n_init_times"] > 0


@then("no hour of one split is nearer than that to one of another")
def _(parted):
    folder, hours = parted
    cases = sorted(Prepared(folder).cases(), key=lambda case: case.frame_times[0])
    assert {case.split for case in cases} == {*SPLITS}
    for earlier, later in itertools.pairwise(cases):
        if earlier.split != later.split:
            assert later.frame_times[0] - earlier.frame_times[-1] >= hours
    assert pytest.approx(1) == cases[0].frame_times[1] - cases[0].frame_times[0]
