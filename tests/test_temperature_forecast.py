"""From a small world to files of forecasts: training, prediction, and what is refused."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from small_forecasts import CELLS, TINY, Drift, make_world

from fieldwise.errors import InputError
from fieldwise.recipes.temperature_forecast import predict, train, tune
from fieldwise.recipes.temperature_forecast.plan import describe_fields
from fieldwise.recipes.temperature_forecast.predictor import ForecastPredictor
from fieldwise.runs import read_metrics
from fieldwise.samples.prepared import Prepared
from fieldwise.tasks import load_checkpoint
from fieldwise.tasks.rollout import RolloutTask
from fieldwise.verbs.predict import predict_to

HERE = Path(__file__).parent
SHORT = {"context": 3, "horizon": 4, "stride": 1, "network": "small_forecasts.Stepper"}
STEPPER = SHORT | TINY
NOISY = STEPPER | {"network": "small_forecasts.NoisyStepper", "members": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world") / "data", (40, 24, 24)).folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(data=data, run=folder, feedback="scheduled", feedback_steps=5.0, **STEPPER)
    return folder


@pytest.fixture(scope="module")
def noisy(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("noisy")
    train(data=data, run=folder, **NOISY)
    return folder


def open_file(path):
    opened = xr.open_dataset(path) if path.suffix == ".nc" else xr.open_zarr(path)
    with opened:
        return opened.load()


# --- train ----------------------------------------------------------------------------------------


def test_what_a_run_records(data, run):
    config = (run / "config.yaml").read_text()
    assert "fields:\n- t2m\n- t850\n" in config
    assert "padding: circular\n" in config
    assert "learning_rate: 0.001\n" in config
    task = load_checkpoint(run / "checkpoints" / "best.ckpt", RolloutTask)
    assert task.signature["facts"] == {
        "target": "t2m",
        "context": 3,
        "horizon": 4,
        "forcing": ["sunshine"],
        "step_h": 1,
    }
    assert json.loads((run / "provenance.json").read_text())["samples"] == 34
    losses = read_metrics(run)["val_loss"].dropna()
    assert len(losses) == 2
    assert losses.iloc[1] < losses.iloc[0]


def test_a_run_cut_off_goes_on_to_the_same_weights(data, run, tmp_path):
    """The share of truth and the draws go on where they were: 9 steps an epoch at k = 5 change much."""
    for epochs in (1, 2):
        options = STEPPER | {"max_epochs": epochs}
        train(data=data, run=tmp_path / "run", feedback="scheduled", feedback_steps=5.0, **options)
    whole, parts = (
        load_checkpoint(folder / "checkpoints" / "last.ckpt", RolloutTask).state_dict()
        for folder in (run, tmp_path / "run")
    )
    for name, values in whole.items():
        assert torch.equal(values, parts[name]), name


def test_an_experiment_has_a_folder_of_its_own(data, tmp_path):
    for _ in range(2):  # the second finds the first, and has nothing to do
        best = train(data=data, run=tmp_path, experiment="warm", **STEPPER)
    (folder,) = tmp_path.iterdir()
    assert re.fullmatch(r"\d{8}T\d{6}_.+_warm", folder.name)
    assert best == folder / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 0}, "--context: is 0; give at least 1"),
        ({"horizon": 40}, r"--context 3 --horizon 40: take 43 frames, and case training/training has 40"),
        ({"network": "convlsmt"}, "--network: 'convlsmt' is unknown; give convlstm, "),
        ({"network": "nowhere.Network"}, "'nowhere.Network' cannot be imported"),
        ({"fields": ["t2m", "msl"]}, "case training/training: lacks msl, which training needs; it has t2m"),
        ({"target": "snow"}, "case training/training: lacks snow"),
        ({"forcing": ["t2m"]}, "--forcing: t2m is forecast too"),
        ({"loss": "huber"}, "--loss: 'huber' is no loss"),
        (NOISY | {"loss": "mse"}, "--loss: 'mse' is no loss of ensembles"),
        ({"members": 2}, "--members: is 2, and .*Stepper takes no noise"),
        (
            {"network": "advection", "network_options": {"reach": 4}},
            "a kernel has 4 cells a side; give an odd",
        ),
        ({"network": "advection", "optimizer_options": {"momentum": 1}}, "momentum"),
        ({"experiment": "a/b"}, "--experiment"),
        ({"feedback": "scheduled", "network": "small_forecasts.Drift"}, "--feedback: Drift"),
    ],
)
def test_what_training_refuses(data, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        train(data=data, run=tmp_path / "run", **(STEPPER | options))
    assert not (tmp_path / "run").exists()


def test_a_search_finds_options_of_train(data, tmp_path, capsys):
    best = tune(
        data=data,
        study=tmp_path / "study.db",
        trials=1,
        network=("small_forecasts.Stepper",),
        batch_size=(4,),
        max_epochs=(1, 1),
        fixed={"context": 3, "horizon": 4},
        accelerator="cpu",
        tracker="none",
        progress=False,
    )
    assert best["network"] == "small_forecasts.Stepper"
    assert "fieldwise temperature_forecast train" in capsys.readouterr().out


def test_a_search_refuses_a_network_that_is_not_there_before_it_writes(data, tmp_path):
    options = {
        "accelerator": "cpu",
        "tracker": "none",
        "progress": False,
        "fixed": {"context": 3, "horizon": 4},
    }
    with pytest.raises(InputError, match="--network: 'convlsmt' is unknown"):
        tune(data=data, study=tmp_path / "study.db", network=("advection", "convlsmt"), **options)
    assert not list(tmp_path.iterdir())


# --- predict --------------------------------------------------------------------------------------


def test_a_file_of_forecasts_as_cf_has_it(data, run, tmp_path):
    path = predict(run=run, data=data, out=tmp_path / "forecasts.nc", progress=False)
    file, case = open_file(path), Prepared(data).cases("test")[0]
    assert file["t2m"].dims == ("init_time", "fcst_hour", "lat", "lon")
    assert file["t2m"].dtype == np.float32
    assert set(file.data_vars) == {"t2m"}
    assert file["fcst_hour"].values.tolist() == [1, 2, 3, 4]
    assert file["fcst_hour"].attrs["standard_name"] == "forecast_period"
    assert file["init_time"].attrs["standard_name"] == "forecast_reference_time"
    hours = (file["init_time"].values - np.datetime64("2000-01-01")) / np.timedelta64(1, "h")
    np.testing.assert_array_equal(hours, case.frame_times[2:20])  # a context before, a horizon after
    np.testing.assert_allclose(file["lat"], np.linspace(58, 50, 8))
    latency = json.loads((run / "latency.json").read_text())
    assert latency["forecasts"] == 18
    assert latency["seconds_per_forecast"] > 0


def test_the_exact_shift_is_what_the_file_holds(data, tmp_path):
    """Of t850, which drifts unchanged: every forecast is the truth of its hour."""
    case = Prepared(data).cases("test")[0]
    options = {"fields": ["t850"], "forcing": [], "context": 2, "horizon": 5}
    predictor = ForecastPredictor(Drift(), describe_fields([case], target="t850", **options))
    predict_to(
        tmp_path / "f.nc", predictor, case, frames=[7, 9], block_cells=12, halo_cells=0, progress=False
    )
    told, true = open_file(tmp_path / "f.nc")["t850"].values, case.read_frames("t850")
    for number, first in enumerate((7, 9)):
        np.testing.assert_allclose(told[number], true[first + 1 : first + 6], atol=1e-4)


def test_a_forecast_is_the_networks(data, run, tmp_path):
    """What the file holds is what the network gives by hand."""
    path = predict(
        run=run, data=data, out=tmp_path / "f.nc", init_times=["8"], fields=["t2m", "t850"], progress=False
    )
    task = load_checkpoint(run / "checkpoints" / "best.ckpt", RolloutTask)
    learnt, case = (Prepared(data).cases(split)[0] for split in ("training", "test"))
    scaled, scales = {}, {}
    for name in ("t2m", "t850", "sunshine"):
        values = learnt.read_frames(name).astype(np.float64)
        scales[name] = values.mean(), values.std()
        scaled[name] = (case.read_frames(name) - scales[name][0]) / scales[name][1]
    maps = np.stack([scaled["t2m"], scaled["t850"]], axis=1)[None, 6:9]
    batch = {"inputs": maps, "forcing": scaled["sunshine"][None, 6:13, None]}
    with torch.no_grad():
        told = task.draw({name: torch.from_numpy(values).float() for name, values in batch.items()}).numpy()
    for channel, name in enumerate(("t2m", "t850")):
        expected = told[0, :, channel] * scales[name][1] + scales[name][0]
        np.testing.assert_allclose(open_file(path)[name].values[0], expected, atol=1e-3)


def test_members_their_mean_spread_and_quantiles(data, noisy, tmp_path):
    options = {"run": noisy, "data": data, "init_times": ["5", "9"], "members": 4, "progress": False}
    file = open_file(predict(out=tmp_path / "f.nc", quantiles=(0.25, 0.5), **options))
    members = file["t2m_member"]
    assert members.dims == ("init_time", "member", "fcst_hour", "lat", "lon")
    assert members.shape == (2, 4, 4, *CELLS)
    assert file["t2m_quantile"].dims == ("init_time", "quantile", "fcst_hour", "lat", "lon")
    np.testing.assert_allclose(file["t2m"], members.mean("member"), atol=1e-4)
    np.testing.assert_allclose(file["t2m_spread"], members.std("member", ddof=1), atol=1e-4)
    middle = np.median(members.values, axis=1)
    np.testing.assert_allclose(file["t2m_quantile"].sel(quantile=0.5), middle, atol=1e-4)
    differing = (members.values[0] - members.values[0].mean(0)).std()
    assert differing > 0.1
    noise = [members.isel(init_time=number, fcst_hour=0) - file["t2m"][number, 0] for number in (0, 1)]
    assert abs(np.corrcoef(noise[0].values.ravel(), noise[1].values.ravel())[0, 1]) < 0.2  # each its own
    fewer = open_file(predict(out=tmp_path / "g.zarr", **(options | {"members": 2, "init_times": ["9"]})))
    np.testing.assert_array_equal(fewer["t2m_member"][0], members[1, :2])


def test_zarr_holds_what_netcdf_does(data, run, tmp_path):
    one, other = (
        open_file(predict(run=run, data=data, out=tmp_path / f"f{kind}", every=5, progress=False))
        for kind in (".nc", ".zarr")
    )
    assert one.sizes == other.sizes
    np.testing.assert_array_equal(one["t2m"], other["t2m"])
    np.testing.assert_array_equal(one["init_time"], other["init_time"])


def test_init_times_by_date(data, run, tmp_path):
    date = str(np.datetime64("2000-01-01T00") + np.timedelta64(170007, "h"))
    one, other = (
        open_file(predict(run=run, data=data, out=tmp_path / f"{at}.nc", init_times=[at], progress=False))
        for at in (date, "7")
    )
    np.testing.assert_array_equal(one["t2m"], other["t2m"])


def test_no_hour_beyond_the_context_reaches_a_forecast(data, run, noisy, tmp_path):
    """Later hours of the case are others: the forecast is the same. An earlier one: it is not."""
    case = Prepared(data).cases("test")[0]
    for trained in (run, noisy):
        files = []
        for name, changed in (("as_it_is", slice(0)), ("later", slice(9, None)), ("earlier", slice(8, 9))):
            copy = tmp_path / trained.name / name
            copy.mkdir(parents=True)
            os.system(f"cp -r {data}/. {copy}")
            for field in ("t2m", "t850"):
                values = case.read_frames(field)
                values[changed] += np.random.default_rng(0).standard_normal(values[changed].shape)
                np.save(copy / case.files[field], values)
            options = {"init_times": ["8"], "progress": False}
            files.append(open_file(predict(run=trained, data=copy, out=copy / "f.nc", **options)))
        for name in files[0].data_vars:
            np.testing.assert_array_equal(files[0][name], files[1][name])
            assert not np.array_equal(files[0][name], files[2][name])


def test_a_prediction_that_is_killed_goes_on(data, noisy, tmp_path, monkeypatch):
    """Killed after some forecasts are on disk; the second go computes the rest of what one go does."""
    monkeypatch.setattr("fieldwise.verbs.domains.partials.GROUP_BYTES", 1)
    options = {"run": noisy, "data": data, "members": 2, "progress": False}
    whole = predict(out=tmp_path / "whole.nc", **options)
    computed, apply = [], ForecastPredictor.__call__

    def stumble(self, arrays):
        if len(computed) == 9:
            raise KeyboardInterrupt
        computed.append(1)
        return apply(self, arrays)

    with monkeypatch.context() as broken:
        broken.setattr(ForecastPredictor, "__call__", stumble)
        with pytest.raises(KeyboardInterrupt):
            predict(out=tmp_path / "parts.nc", **options)
    kept = len(list((tmp_path / "parts.nc.partial").glob("*.npy")))
    assert 0 < kept <= 9
    counted = []
    monkeypatch.setattr(
        ForecastPredictor, "__call__", lambda self, arrays: counted.append(1) or apply(self, arrays)
    )
    parts = predict(out=tmp_path / "parts.nc", **options)
    assert len(counted) == 2 * (18 - kept)
    assert open_file(parts).identical(open_file(whole))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init_times": ["1"]}, "--init_times: 1 has 2 hours of case test/test up to it, .* reads 3; begin"),
        ({"init_times": ["20"]}, "--init_times: 20 lacks sunshine of the 4 hours after it"),
        ({"init_times": ["24"]}, "--init_times: is 24; case test/test has 24 hours, from 0"),
        ({"init_times": ["2019-03-25T06"]}, "--init_times: 2019-03-25T06 is no hour of case test/test"),
        ({"init_times": ["noon"]}, "--init_times: 'noon' is neither the number of an hour nor a date"),
        ({"fields": ["msl"]}, "--fields: msl is not forecast by"),
        ({"fields": []}, "--fields: names none; give some of t2m"),
        ({"init_times": ["5", "6", "5"]}, "--init_times: 5 is named twice"),
        ({"members": 3}, "--members: the network takes no noise"),
        ({"out": "f.tif"}, "f.tif: forecasts are written as .nc or .zarr"),
    ],
)
def test_what_prediction_refuses(data, run, tmp_path, options, message):
    options = {"out": tmp_path / "f.nc"} | options
    with pytest.raises(InputError, match=message):
        predict(run=run, data=data, progress=False, **options)
    assert not (tmp_path / "f.nc").exists()


def test_a_case_that_lacks_what_the_network_reads(run, tmp_path):
    data = make_world(tmp_path / "data", (24, 24, 24), sunny=False).folder
    with pytest.raises(InputError, match=r"lacks sunshine, which the network .* needs"):
        predict(run=run, data=data, out=tmp_path / "f.nc", progress=False)
