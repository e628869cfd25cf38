"""Bad input of the weather recipe at the command line: one line, status 2, nothing half-written."""

import shutil

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from fieldwise.cli import main
from fieldwise.interop.climatenet import save_cgnet
from fieldwise.networks.segmentation.cgnet import CGNet
from fieldwise.physics.extreme_weather.channels import CHANNELS
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.recipes import extreme_weather
from fieldwise.samples.weather.deepcam import write_sample

GRID = GlobalGrid.regular(16, 32)
START = np.datetime64("2001-08-01T00")
QUIET = ["--progress", "false"]
TRAINED = ["--network", "unet", "--network_options", "{blocks: 2, filters: 2}", "--max_epochs", "1"]
TRAINED += ["--accelerator", "cpu", "--tracker", "none", *QUIET]


def write_run(folder, *, times=6, shape=GRID.shape):
    random = np.random.default_rng(0)
    for number in range(times):
        fields = {name: random.normal(size=shape) for name in CHANNELS}
        write_sample(folder, START + 3 * number, fields, (random.integers(0, 3, shape),))
    return folder


@pytest.fixture
def samples(tmp_path):
    return write_run(tmp_path / "samples")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad_weather")
    source = write_run(folder / "samples", times=9)
    options = {"shares": (0.4, 0.3, 0.3), "gap_hours": 0.0, "labellers": False, "progress": False}
    return extreme_weather.prepare(source=str(source), out=folder / "data", **options)


@pytest.fixture
def refused(capsys):
    """Give a function that runs a command which must be refused, and returns its one line."""

    def run(*words) -> str:
        capsys.readouterr()
        assert main(["extreme_weather", *map(str, words)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("fieldwise: ")
        return lines[0]

    return run


def prepare(refused, source, tmp_path, *more):
    out = tmp_path / "out"
    options = ["--gap_hours", "0", "--shares", "[0.4, 0.3, 0.3]", "--labellers", "false", *QUIET, *more]
    line = refused("prepare", "--source", source, "--out", out, *options)
    assert not out.exists()
    return line


def change(path, name, function):
    with h5py.File(path, "r+") as file:
        values = function(file[f"climate/{name}"][...])
        del file[f"climate/{name}"]
        file[f"climate/{name}"] = values


def with_gap(values):
    values[3, 4, 0] = np.nan
    return values


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("data", lambda values: values[..., :15], "climate/data is of shape (16, 32, 15); 16 channels"),
        ("data", lambda values: values[:8], "climate/labels_0 is of shape (16, 32), the data of (8, 32)"),
        ("labels_0", lambda values: values + 1, "climate/labels_0 holds 3; classes are 0 to 2"),
        ("data", with_gap, "at 2001-08-01T03: TMQ has 1 values that are missing or infinite"),
    ],
    ids=["channels", "shape", "classes", "gap"],
)
def test_samples_that_are_not_right(refused, samples, tmp_path, name, function, words):
    change(samples / "data-2001-08-01-01-1.h5", name, function)
    assert words in prepare(refused, samples, tmp_path)


def test_truncated_file(refused, samples, tmp_path):
    path = samples / "data-2001-08-01-01-1.h5"
    path.write_bytes(path.read_bytes()[:3000])
    assert f"{path} cannot be read as HDF5" in prepare(refused, samples, tmp_path)


def test_empty_folder(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no sample of DeepCAM" in prepare(refused, tmp_path / "empty", tmp_path)


def test_splits_without_times(refused, samples, tmp_path):
    assert "leave no training period" in prepare(refused, samples, tmp_path, "--gap_hours", "240")
    assert "there are 1 runs for training" in prepare(refused, samples, tmp_path, "--split", "run")
    assert "--shares: are 0.5 0.5 0" in prepare(refused, samples, tmp_path, "--shares", "[0.5, 0.5, 0.0]")


def test_samples_of_two_grids(refused, samples, tmp_path):
    write_run(tmp_path / "finer", times=2, shape=(18, 32))
    (tmp_path / "finer" / "data-2001-08-01-01-1.h5").rename(samples / "data-2001-08-01-01-1.h5")
    assert "has (18, 32) cells" in prepare(refused, samples, tmp_path)


def write_own(tmp_path, latitude, *, time=(0, 3, 6), longitude=GRID.longitude, **entry):
    values = (("time", "lat", "lon"), np.zeros((len(time), len(latitude), len(longitude))))
    axes = {"lat": latitude, "lon": longitude, "time": ("time", [*time], {"units": "hours since 2001-01-01"})}
    xr.Dataset({"TMQ": values}, axes).to_netcdf(tmp_path / "own.nc", engine="h5netcdf")
    keys = {"path": "own.nc", **entry}
    (tmp_path / "own.yaml").write_text(
        f"cases: {{storm: {{{', '.join(f'{key}: {value}' for key, value in keys.items())}}}}}"
    )
    return tmp_path / "own.yaml"


def test_files_of_ones_own_that_are_not_right(refused, tmp_path):
    mixed = GRID.latitude[[1, 0, *range(2, 16)]]
    assert "latitudes are out of order" in prepare(refused, write_own(tmp_path, mixed), tmp_path)
    part = write_own(tmp_path / "", GRID.latitude, longitude=GRID.longitude[:20])
    assert "give one that goes all around" in prepare(refused, part, tmp_path)


@pytest.mark.parametrize("time", [(0, 3, 3), (6, 3, 0)], ids=["twice", "backward"])
def test_times_without_order(refused, tmp_path, time):
    own = write_own(tmp_path, GRID.latitude, time=time)
    assert "give each time once, in order" in prepare(refused, own, tmp_path)


def test_unknown_names_in_a_file_of_cases(refused, tmp_path):
    own = write_own(tmp_path, GRID.latitude, split="test", variables="{TMQ: TMQ, U850: u, V850: v}")
    assert "lacks u, v; it has TMQ" in prepare(refused, own, tmp_path)
    own = write_own(tmp_path, GRID.latitude, split="some")
    assert "one of training, validation, test" in prepare(refused, own, tmp_path)
    own = write_own(tmp_path, GRID.latitude, path="no.nc")
    assert "there is no file no.nc" in prepare(refused, own, tmp_path)


def test_fields_that_labellers_need(refused, tmp_path):
    own = write_own(tmp_path, GRID.latitude, split="test")
    line = prepare(refused, own, tmp_path, "--labellers", "true")
    assert "lacks U850, V850, UBOT" in line
    assert "--labellers false" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--channels", "[TMQ, Q850, W500]"], "has no Q850, W500; it has IVT, PRECT"),
        (["--channels", "[TMQ, TMQ]"], "is read twice for TMQ, TMQ"),
        (["--target", "planted"], "has no classes planted; it has labels"),
        (["--target_iou", "1.5"], "--target_iou: is 1.5"),
        (["--target_iou", "0"], "--target_iou: is 0"),
        (["--loss", "mae"], "--loss: 'mae' is no loss of classes"),
        (["--network", "segnet"], "--network: 'segnet' is unknown; give cgnet"),
        (["--scales", "minmax"], "give --augment none too"),
        (["--coarsen", "[1, 0]"], "--coarsen: is 0; give at least 1"),
        (["--coarsen", "[1, 3]"], "has 16 x 32 cells, which 3 does not divide"),
    ],
)
def test_settings_that_do_not_fit(refused, data, tmp_path, options, words):
    run = tmp_path / "run"
    assert words in refused("train", "--data", data, "--run", run, *TRAINED, *options)
    assert not run.exists()


def test_a_globe_that_cannot_be_halved_is_refused_zonally(refused, data, tmp_path):
    """32 columns do not become 2 to the 5th times coarser and even in number; rows would be added."""
    options = ["--network_options", "{blocks: 6, filters: 2}"]
    line = refused("train", "--data", data, "--run", tmp_path / "run", *TRAINED, *options)
    assert "take padding published" in line


def test_predictions_that_are_not_there(refused, data, tmp_path):
    words = ["--run", tmp_path, "--data", data]
    assert "holds neither" in refused("predict", *words, *QUIET)
    assert "no such file" in refused("evaluate", *words, "--prediction", tmp_path / "no", *QUIET)
    assert "written as .nc or .zarr" in refused("predict", *words, "--out", tmp_path / "maps.tif", *QUIET)


def test_a_time_in_two_folders(refused, samples, tmp_path):
    (samples / "again").mkdir()
    shutil.copy(samples / "data-2001-08-01-01-1.h5", samples / "again")
    assert "give each time once, in order" in prepare(refused, samples, tmp_path)


def test_splits_that_the_source_does_not_allow(refused, samples, tmp_path):
    assert "there are times of 1 years" in prepare(refused, samples, tmp_path, "--split", "year")
    own = write_own(tmp_path, GRID.latitude)
    line = prepare(refused, own, tmp_path, "--split", "deepcam_random")
    assert "is for a folder of DeepCAM's samples" in line
    line = prepare(refused, samples, tmp_path, "--split", "deepcam_random")
    assert "there is no time for validation; give ten samples or more" in line
    line = prepare(refused, samples, tmp_path, "--split", "deepcam_random", "--labellers", "true")
    assert "give --labellers false" in line


def write_stats(path, channels):
    with h5py.File(path, "w") as file:
        for name in ("count", "mean", "sqmean", "minval", "maxval"):
            file[f"climate/{name}"] = np.arange(channels, dtype=np.float32)
    return path


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: write_stats(path, 4), "is of 4 channels; give numbers of all 16: TMQ, U850"),
        (lambda path: path.write_bytes(b"\x89HDF"), "cannot be read as HDF5"),
        (lambda path: h5py.File(path, "w").close(), "holds no climate/mean"),
        (lambda path: None, "no such file; give the stats.h5 that belongs to the samples"),
    ],
    ids=["channels", "cut off", "empty", "missing"],
)
def test_statistics_of_other_channels(refused, data, tmp_path, write, words):
    write(tmp_path / "own.h5")
    options = ["--scales", tmp_path / "own.h5", "--augment", "none"]
    line = refused("train", "--data", data, "--run", tmp_path / "run", *TRAINED, *options)
    assert f"{tmp_path / 'own.h5'}: " in line.replace(" cannot", ": cannot")
    assert words in line
    assert not (tmp_path / "run").exists()


def test_weights_of_another_network(refused, data, tmp_path):
    torch.save({"model": torch.nn.Conv2d(1, 1, 1).state_dict()}, tmp_path / "storms.cpt")
    write_stats(tmp_path / "stats.h5", 16)
    words = ["predict", "--run", tmp_path, "--data", data, "--out", tmp_path / "maps.nc", *QUIET]
    assert "holds no DeepLabv3+ of DeepCAM (weight, bias)" in refused(*words)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "storms.pth")
    (tmp_path / "config.json").write_text('["TMQ"]')
    line = refused(*words, "--weights", tmp_path / "storms.pth")
    assert f"{tmp_path / 'config.json'}: " in line
    assert not (tmp_path / "maps.nc").exists()


def test_a_network_that_does_not_fit_the_globe_leaves_nothing(refused, tmp_path):
    """16 rows are too few for the published CGNet, whose kernels reach over 25."""
    source = write_run(tmp_path / "samples", times=9)
    options = {"shares": (0.4, 0.3, 0.3), "gap_hours": 0.0, "labellers": False, "progress": False}
    data = extreme_weather.prepare(source=str(source), out=tmp_path / "data", **options)
    fields = {"TMQ": {"mean": 0.0, "std": 1.0}}
    save_cgnet(CGNet(1, 3, blocks=(1, 1)), tmp_path / "run", fields=fields, labels=["a", "b", "c"])
    out = tmp_path / "maps.nc"
    line = refused("predict", "--run", tmp_path / "run", "--data", data, "--out", out, *QUIET)
    assert "at least 25 cells an axis, not (16, 32)" in line
    assert not list(tmp_path.glob("maps*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--decay_at", "[0, 3]"], "--decay_at: is 0; give at least 1"),
        (["--decay_factor", "2"], "--decay_factor: is 2; give more than 0 and less than 1"),
        (["--clip_share", "-1"], "--clip_share: is -1; give at least 0"),
        (["--optimizer", "torch.nn.Conv2d"], "torch.nn.Conv2d"),
        (["--optimizer", "lamb", "--optimizer_options", "{momentum: 1}"], "Lamb cannot be made of"),
        (["--optimizer", "lion"], "lion"),
        (["--precision", "16-mixed"], "--precision: 16-mixed needs a GPU"),
        (["--sync_batch_norm", "true"], "--sync_batch_norm: needs GPUs"),
        (["--learning_rate", "0"], "--learning_rate: is 0"),
    ],
)
def test_options_that_no_training_can_have(refused, data, tmp_path, options, words):
    assert words in refused("train", "--data", data, "--run", tmp_path / "run", *TRAINED, *options)
    assert not (tmp_path / "run").exists()
