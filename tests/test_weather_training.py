"""Training of the weather recipe: what is logged, where it ends, single globes, and DeepCAM's own network."""

import numpy as np
import pytest
import torch
import xarray as xr

from fieldwise.interop.deepcam import save_deeplab
from fieldwise.networks.segmentation.deeplab import DeepLab
from fieldwise.physics.extreme_weather.channels import CHANNELS
from fieldwise.recipes import extreme_weather
from fieldwise.recipes.extreme_weather.predictor import load_teller
from fieldwise.runs import read_metrics
from fieldwise.runs.mlperf import read_mlperf
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.weather.deepcam import write_sample
from fieldwise.samples.weather.statistics import read_statistics

QUIET = {"accelerator": "cpu", "tracker": "none", "progress": False}
TINY = {"batch_size": 2, "max_epochs": 2, "seed": 3, "precision": "32-true"} | QUIET
SMALL = {"network": "unet", "network_options": {"blocks": 2, "filters": 2}} | TINY
POINTS = {  # of DeepCAM's log, beside intervals
    *("submission_benchmark", "submission_org", "submission_division", "submission_status"),
    *("submission_platform", "cache_clear", "seed", "global_batch_size", "opt_name", "opt_epsilon"),
    *("opt_base_learning_rate", "opt_learning_rate_warmup_steps", "train_samples", "eval_samples"),
    *("learning_rate", "train_loss", "train_accuracy", "eval_loss", "eval_accuracy"),
}
INTERVALS = ("init", "run", "epoch", "eval", "save")


def prepare_globes(folder, rows):
    """Noise on 64 columns, with a round storm in each of 10 times."""
    random, places = np.random.default_rng(0), np.indices((rows, 64))
    for number in range(10):
        fields = {name: random.normal(size=(rows, 64)) for name in CHANNELS}
        far = np.hypot(*(places - random.integers(8, 24, (2, 1, 1))))
        storm = (far < 6).astype(np.uint8)
        fields["TMQ"] += 3 * storm
        write_sample(folder / "samples", np.datetime64("2001-08-01T00") + 3 * number, fields, (storm,))
    options = {"shares": (0.6, 0.2, 0.2), "gap_hours": 0.0, "labellers": False, "progress": False}
    return extreme_weather.prepare(source=str(folder / "samples"), out=folder / "data", **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare_globes(tmp_path_factory.mktemp("noise"), rows=32)


def events_of(run):
    return read_mlperf(run / "logs" / "mlperf.log")


def values_of(events, key):
    return [event["value"] for event in events if event["key"] == key]


def test_all_events_of_deepcam_are_logged_in_order(data, tmp_path):
    options = {**SMALL, "accumulate": 2, "warmup_steps": 3, "learning_rate": 0.01, "target_iou": 0.99}
    extreme_weather.train(data=data, run=tmp_path, **options)
    events, metrics = events_of(tmp_path), read_metrics(tmp_path)
    told = {event["key"] for event in events}
    assert told >= POINTS | {f"{name}_{end}" for name in INTERVALS for end in ("start", "stop")}
    times = [event["time_ms"] for event in events]
    assert times == sorted(times)
    open_now = []
    for event in events:  # each interval ends within those that it has begun in
        name, _, end = event["key"].rpartition("_")
        if event["event_type"] == "INTERVAL_START":
            open_now.append(name)
        elif event["event_type"] == "INTERVAL_END":
            assert open_now.pop() == name
        assert (event["event_type"] == "POINT_IN_TIME") == (end not in ("start", "stop"))
    assert not open_now
    assert values_of(events, "global_batch_size") == [4]
    assert (values_of(events, "opt_name"), values_of(events, "opt_base_learning_rate")) == (["adamw"], [0.01])
    assert (values_of(events, "train_samples"), values_of(events, "eval_samples")) == ([6], [2])
    assert values_of(events, "learning_rate") == pytest.approx([0.01 * 2 / 3, 0.01])  # 2 steps an epoch
    assert values_of(events, "eval_accuracy") == pytest.approx(metrics["val_iou"].dropna().tolist())
    assert values_of(events, "eval_loss") == pytest.approx(metrics["val_loss"].dropna().tolist())
    assert [event["metadata"]["epoch_num"] for event in events if event["key"] == "epoch_stop"] == [1, 2]
    assert values_of(events, "run_stop") == [{"status": "aborted"}]  # the target was not reached


def test_a_run_that_reaches_its_target_stops_and_says_so(data, tmp_path, capsys):
    options = {**SMALL, "max_epochs": 9}
    best = extreme_weather.train(data=data, run=tmp_path, target_iou=0.01, **options)
    assert read_metrics(tmp_path)["epoch"].max() == 0
    events = events_of(tmp_path)
    assert values_of(events, "target_accuracy_reached") == [0.01]
    assert values_of(events, "run_stop") == [{"status": "success"}]
    before = best.read_bytes()
    capsys.readouterr()
    extreme_weather.train(data=data, run=tmp_path, target_iou=0.01, **options)
    assert "nothing to do" in capsys.readouterr().out
    assert best.read_bytes() == before
    extreme_weather.train(data=data, run=tmp_path, target_iou=1.0, **{**options, "max_epochs": 2})
    assert read_metrics(tmp_path)["epoch"].max() == 1
    assert len(values_of(events_of(tmp_path), "run_start")) == 2


def test_batch_norm_learns_from_one_globe_at_a_time(data, tmp_path):
    """A globe has cells enough; the storm, which is plain to see, is found by running statistics too."""
    options = {"network": "cgnet", "network_options": {"blocks": [1, 1]}, "channels": ["TMQ", "PSL"]}
    options |= {**TINY, "batch_size": 1, "max_epochs": 6, "learning_rate": 0.01}
    extreme_weather.train(data=data, run=tmp_path, **options)
    assert read_metrics(tmp_path)["val_iou"].max() > 0.75  # background alone: 0.65


def test_a_globe_with_rows_that_do_not_divide_is_learnt_and_told_whole(tmp_path):
    """33 rows with one at each pole, and a network that halves its maps twice."""
    data = prepare_globes(tmp_path, rows=33)
    options = {**SMALL, "network_options": {"blocks": 3, "filters": 2}, "max_epochs": 1}
    extreme_weather.train(data=data, run=tmp_path / "run", **options)
    out = extreme_weather.predict(
        run=tmp_path / "run", data=data, out=tmp_path / "maps.nc", accelerator="cpu", progress=False
    )
    with xr.open_dataset(out) as maps:
        np.testing.assert_allclose(maps["lat"], np.linspace(90, -90, 33))
        assert maps["class"].shape == (2, 33, 64)


def test_learning_from_balanced_cells_finds_what_is_rare(data, tmp_path):
    """A twentieth of the cells is storm: at first all is told to be none, unless both count alike."""
    case, found = Prepared(data).cases("test")[0], {}
    for balanced in (False, True):
        options = {**SMALL, "max_epochs": 4, "weight_power": 0.0, "learning_rate": 0.01}
        extreme_weather.train(data=data, run=tmp_path / str(balanced), balanced=balanced, **options)
        teller = load_teller(tmp_path / str(balanced), weights="last", accelerator="cpu")
        told = teller(case.read(teller.signature.inputs))[0]
        found[balanced] = (told[case.stack(["labels"])[0] == 1] == 1).mean()
    assert found[False] < 0.1
    assert found[True] > 0.8


def test_deeplab_learns_through_train(data, tmp_path):
    """All 16 channels between 0 and 1, one globe a step, as DeepCAM does."""
    options = {"network": "deeplab", "channels": list(CHANNELS), "scales": "minmax", "augment": "none"}
    options |= {**TINY, "batch_size": 1, "max_epochs": 1, "optimizer": "torch.optim.SGD"}
    best = extreme_weather.train(data=data, run=tmp_path, **options)
    assert np.isfinite(read_metrics(tmp_path)["val_iou"].dropna()).all()
    for file in best.parent.iterdir():  # a fifth of a gigabyte each
        file.unlink()


def test_a_checkpoint_of_deepcam_predicts(data, tmp_path):
    torch.manual_seed(0)
    network = DeepLab(16, 3).eval()
    save_deeplab(network, tmp_path / "storms.cpt")
    (tmp_path / "stats.h5").write_bytes((data / "stats.h5").read_bytes())
    options = {"run": tmp_path, "weights": str(tmp_path / "storms.cpt"), "accelerator": "cpu"}
    extreme_weather.predict(data=data, out=tmp_path / "maps.nc", progress=False, **options)
    (tmp_path / "storms.cpt").unlink()
    statistics, case = read_statistics(data / "stats.h5"), Prepared(data).cases("test")[0]
    low, high = (each[:, None, None] for each in (statistics.least, statistics.greatest))
    inputs = ((case.stack(CHANNELS) - low) / (high - low)).astype(np.float32)
    with torch.no_grad():
        wanted = network(torch.from_numpy(inputs[None])).softmax(1)[0].numpy()
    with xr.open_dataset(tmp_path / "maps.nc") as maps:
        np.testing.assert_allclose(maps["probability_of_atmospheric_river"][0], wanted[2], atol=1e-5)
