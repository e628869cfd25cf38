"""Bad input of the ice-flow recipe at the command line: one line, status 2, nothing half-written."""

import re

import h5py
import numpy as np
import pytest
import xarray as xr
import yaml
from ice_flow_cases import dome, write_cases, write_netcdf

from fieldwise.cli import main
from fieldwise.recipes import ice_flow

QUIET = ["--progress", "false"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("bad") / "source", cells=(16, 20))


@pytest.fixture(scope="module")
def data(source):
    return ice_flow.prepare(source=str(source), out=source.parent / "data", progress=False)


@pytest.fixture
def refused(capsys):
    """Give a function that runs a command which must be refused, and returns its one line."""

    def run(*words) -> str:
        capsys.readouterr()
        assert main(["ice_flow", *map(str, words)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("fieldwise: ")
        return lines[0]

    return run


def write_one(folder, dataset):
    path = folder / "train" / "one" / "ex.nc"
    path.parent.mkdir(parents=True)
    write_netcdf(dataset, path)
    return folder


@pytest.fixture
def glacier():
    return dome((12, 12), 2, np.random.default_rng(0))


def no_ice(dataset, folder):
    return write_one(folder, dataset.assign(thk=0 * dataset["thk"]))


def gap(dataset, folder):
    dataset["thk"].values[0, 2, 3] = np.nan
    return write_one(folder, dataset)


def truncated(dataset, folder):
    path = write_one(folder, dataset) / "train" / "one" / "ex.nc"
    path.write_bytes(path.read_bytes()[:2000])
    return folder


def uneven(dataset, folder):
    return write_one(folder, dataset.assign_coords(x=dataset["x"] ** 1.1))


def oblong(dataset, folder):
    return write_one(folder, dataset.assign_coords(x=2 * dataset["x"]))


def kilometres(dataset, folder):
    dataset["x"].attrs["units"] = "km"
    return write_one(folder, dataset)


def damaged(dataset, folder):
    encoding = {name: {"zlib": True, "chunksizes": (1, 12, 12)} for name in dataset.data_vars}
    path = write_one(folder, dataset) / "train" / "one" / "ex.nc"
    path.unlink()
    dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    with h5py.File(path) as file:
        place = file["thk"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    path.write_bytes(content)
    return folder


def one_width(dataset, folder):
    return write_one(folder, dataset.assign_coords(x=0 * dataset["x"]))


def lost_frames(dataset, folder):
    place = folder / "train" / "one"
    place.mkdir(parents=True)
    for name in ("thk", "usurf", "x", "y"):
        np.save(place / f"{name}.npy", dataset[name].values[:-1] if name == "usurf" else dataset[name].values)
    np.save(place / "ubar.npy", np.zeros((5, 12, 12)))
    return folder


def other_shape(dataset, folder):
    place = folder / "train" / "one"
    place.mkdir(parents=True)
    for name in ("thk", "x", "y"):
        np.save(place / f"{name}.npy", dataset[name].values)
    np.save(place / "usurf.npy", np.zeros((2, 9, 9)))
    return folder


def pickled(dataset, folder):
    place = folder / "train" / "one"
    place.mkdir(parents=True)
    for name in ("x", "y"):
        np.save(place / f"{name}.npy", dataset[name].values)
    np.save(place / "thk.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return folder


def no_axes(dataset, folder):
    place = folder / "train" / "one"
    place.mkdir(parents=True)
    np.save(place / "thk.npy", dataset["thk"].values)
    return folder


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_ice, "one/ex.nc: has no ice: thk is nowhere above 0; leave case one out"),
        (gap, "one/ex.nc: thk has 1 missing values; fill them, or leave the variable out with --variables"),
        (truncated, "one/ex.nc: cannot be read as NetCDF, HDF5 or Zarr"),
        (uneven, "one/ex.nc: x is not evenly spaced"),
        (one_width, "one/ex.nc: x is not evenly spaced"),
        (kilometres, "one/ex.nc: x is in km; give a grid in metres"),
        (damaged, "one/ex.nc: thk cannot be read"),
        (oblong, "one/ex.nc: cells of 200 by 100 m are not square"),
        (lost_frames, "the numbers of frames differ: "),
        (other_shape, r"usurf.npy: has the shape \(2, 9, 9\), the grid 12 x 12 cells"),
        (pickled, "thk.npy: cannot be read as an array"),
        (no_axes, "lacks x.npy and y.npy, which tell the grid"),
    ],
)
def test_spoilt_cases_are_refused(spoil, message, glacier, tmp_path, refused):
    folder = spoil(glacier, tmp_path / "source")
    line = refused("prepare", "--source", folder, "--out", tmp_path / "out", *QUIET)
    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "nowhere"], "nowhere: no such file; --source takes `sandbox`, a folder or a FILE.yaml"),
        (["--source", __file__], "is no .yaml; --source takes `sandbox`, a folder or a FILE.yaml"),
        (["--out", __file__], "is a file; --out takes a folder"),
        (["--validation_fraction", 1.5], "--validation_fraction: is 1.5; give a share from 0 to below 1"),
        (["--step", 0], "--step: is 0; give at least 1"),
        (["--resample", 0.7], "--resample: is 0.7; give a whole number, or one over it"),
        (["--resample", 16], "--resample: 16 leaves less than 2 cells"),
        (["--variables", "thk", "gravity", "magnetism"], "lacks gravity, magnetism; it has "),
    ],
)
def test_prepare_refuses(source, options, message, tmp_path, refused):
    line = refused("prepare", "--source", source, "--out", tmp_path / "out", *QUIET, *options)
    assert message in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"cases": {}}, "cases is {}; give an entry for each case"),
        ({"cases": {"a": {"split": "test"}}}, "case a is {'split': 'test'}"),
        ({"cases": {"../a": {"path": "x.nc"}}}, "case '../a' names a folder to be written"),
        ({"cases": {"a": {"path": "x.nc", "colour": 1}}}, "case a: colour is not known"),
        ({"cases": {"a": {"path": "x.nc", "split": "exam"}}}, "case a: split is 'exam'"),
        ({"cases": {"a": {"path": "x.nc", "variables": {"thk": {"path": 5}}}}}, "thk is {'path': 5}; give a"),
        ({"cases": {"a": {"path": "x.nc", "variables": {"thk": [1]}}}}, "thk is [1]; give a variable's name"),
        ({"cases": {"a": {"path": "missing.nc"}}}, "missing.nc: no such file"),
        (
            {"cases": {"a": {"path": "one.nc", "variables": {"thk": "H", "usurf": "s"}}}},
            "no field H, s on x and",
        ),
        ({"cases": {"a": {"path": "one.nc", "crs": "EPSG:999999"}}}, "unknown CRS 'EPSG:999999'"),
    ],
)
def test_own_files_are_checked(content, message, glacier, tmp_path, refused):
    write_netcdf(glacier, tmp_path / "one.nc")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    assert message in refused("prepare", "--source", tmp_path / "own.yaml", "--out", tmp_path / "out", *QUIET)


def test_grids_that_differ_between_files_are_refused(glacier, tmp_path, refused):
    write_netcdf(glacier, tmp_path / "one.nc")
    write_netcdf(glacier.assign_coords(x=glacier["x"] + 50), tmp_path / "two.nc")
    variables = {"thk": "thk", "usurf": {"path": "two.nc"}}
    content = {"cases": {"a": {"path": "one.nc", "variables": variables}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    line = refused("prepare", "--source", tmp_path / "own.yaml", "--out", tmp_path / "out", *QUIET)
    assert "two.nc: its x (12 from 100 to 1200) differ from those of" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "."], "is no prepared folder; make one with the verb prepare"),
        (["--maptype", "f3"], "--maptype: f3 is neither one of f2, f10"),
        (["--maptype", "smb", "--scaling", "plain"], "lacks precipitation_0, precipitation_1, "),
        (["--patch_size", 17], "--patch_size: 17 cells do not fit into case"),
        (["--patch_size", 0], "--patch_size: 0 cells do not fit"),
        (["--thrice", 5000], "has no cell with more than 5000 m of ice; lower --thrice"),
        (["--max_epochs", 0], "--max_epochs: is 0; give at least 1"),
        (["--batch_size", 0], "--batch_size: is 0; give at least 1"),
        (["--loss", "mae*2"], "--loss: 'mae*2' is no loss"),
        (["--loss", "energy", "--maptype", "f2"], "do not tell how velocity changes with depth"),
        (["--network", "os.mkdir"], "os.mkdir is no Module"),
        (["--network", "cnn", "--filters", 0], "filters is 0"),
        (["--accelerator", "abacus"], "--accelerator: is 'abacus'"),
        (["--learning_rate", 1e30, "--clip_norm", 0, "--max_epochs", 3], "training diverged in epoch"),
    ],
)
def test_train_refuses(data, options, message, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = [
        "--run",
        tmp_path / "run",
        "--layers",
        1,
        "--filters",
        8,
        "--patch_size",
        8,
        "--tracker",
        "none",
    ]
    line = refused("train", "--data", data, *common, *QUIET, *options)
    assert message in line


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("thk 2000.000000\nthk 1000.000000\n", "line 2: thk comes a second time"),
        ("thk 0.000000\n", "line 1: scale of thk is 0"),
        ("thk\n", "line 1: 'thk' is no name and scale"),
    ],
)
def test_spoilt_dat_files_are_refused(data, lines, message, tmp_path, refused):
    (tmp_path / "fieldin.dat").write_text(lines)
    (tmp_path / "fieldout.dat").write_text("ubar 1000.000000\nvbar 1000.000000\n")
    line = refused("train", "--data", data, "--run", tmp_path / "run", "--maptype", tmp_path, *QUIET)
    assert message in line


def test_an_emulator_that_cannot_be_read_is_refused(data, tmp_path, refused):
    predict = ["predict", "--data", data, "--out", tmp_path / "out.nc", "--run", tmp_path]
    assert "holds neither checkpoints/best.ckpt nor a .h5 or .safetensors file" in refused(*predict)
    (tmp_path / "fieldin.dat").write_text("thk 2000.000000\n")
    (tmp_path / "fieldout.dat").write_text("ubar 1000.000000\n")
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    assert "model.h5" in refused(*predict)
    assert not (tmp_path / "out.nc").exists()


def test_predict_and_evaluate_refuse(data, tmp_path, refused):
    from fieldwise.interop.emulators import save_emulator
    from fieldwise.networks.convnet import ConvNet
    from fieldwise.recipes.ice_flow.signatures import read_signature, scales_of

    signature = read_signature("f10")  # reads strflowctrl, which the cases lack
    sides = {side: scales_of(signature, side) for side in ("inputs", "outputs")}
    save_emulator(ConvNet(4, 2, layers=1), tmp_path, **sides)
    common = ["--run", tmp_path, "--data", data]
    assert "case test/west: lacks strflowctrl" in refused("predict", *common, "--out", tmp_path / "a.nc")
    assert "are written as .nc, .zarr or .tif" in refused("predict", *common, "--out", tmp_path / "a.png")
    assert "one .tif takes one frame" in refused("predict", *common, "--out", tmp_path / "a.tif")
    several = ["--split", "training", "--out", tmp_path / "a.nc"]
    assert "one file takes one case; choose --case among north, south" in refused(
        "predict", *common, *several
    )
    assert "holds no case east in test" in refused("predict", *common, "--case", "east")
    assert "--frame: is 7, but case test/west has 2" in refused("predict", *common, "--frame", 7)
    assert "no such file" in refused("evaluate", *common, "--prediction", tmp_path / "nothing.nc")
    xr.Dataset({"thk": 1.0}).to_netcdf(tmp_path / "west.nc", engine="h5netcdf")
    assert "west.nc: lacks ubar, vbar" in refused("evaluate", *common, "--prediction", tmp_path / "west.nc")
