"""Bad input at the command line: one line, status 2, no traceback, nothing half-written."""

import errno
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from fieldwise.cli import main
from fieldwise.fields import rasters
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog

FAR = Grid(0, 0, 30_000, 30_000, 1000, "EPSG:3031")  # half a continent away


def disk_full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# --- train ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "."], "is no prepared folder; make one with the verb prepare"),
        (["--inputs", "gravity"], "--inputs: .* holds no gravity; it holds bed_lowres, "),
        (["--inputs", "[]"], "--inputs: names none; give some of bed_lowres, "),
        (["--batch_size", 0], "--batch_size: is 0; give at least 1"),
        (
            ["--batch_size", 1],
            "--batch_size: is 1, from which the batch norm in the discriminator learns nothing",
        ),
        (["--max_epochs", 0], "--max_epochs: is 0; give at least 1"),
        (["--num_residual_blocks", 0], "--num_residual_blocks: is 0; give at least 1"),
        (["--learning_rate", 0], "--learning_rate: is 0, .* give a number above 0"),
        (["--learning_rate", -1], "--learning_rate: is -1, .* give a number above 0"),
        (["--weight_decay", -1], "--weight_decay: is -1; give at least 0"),
        (["--seed", -1], "--seed: is -1; give at least 0"),
        (["--seed", 2**32], "--seed: is 4294967296; give a number below"),
        (["--accelerator", "cpu", "--devices", "many"], "--devices: is many; give a number or auto"),
        (["--learning_rate", 1e30, "--batch_size", 8], "diverged in epoch 0: .*lower learning_rate"),
        (["--precision", "half"], "--precision"),
        (["--accelerator", "abacus"], "--accelerator: is 'abacus'; give cpu, gpu or auto"),
    ],
)
def test_train_refuses(sandbox, tmp_path, refusal, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    common = ["--data", sandbox, "--run", tmp_path / "run", "--max_epochs", 1, "--num_residual_blocks", 1]
    common += ["--network", "generator"]
    line = refusal("train", *common, "--progress", "false", *options)
    assert re.search(message, line), line
    assert not list(tmp_path.rglob("*.ckpt"))


class Intruder:
    """Whoever unpickles this runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def write_no_checkpoint(kind: str, file: Path, marker: Path) -> None:
    """Write what is no checkpoint: text, a part of one, a pickle or a torch file that would run a command."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "text":
        file.write_text("weights: 1 2 3\n")
    elif kind == "empty":
        file.touch()
    elif kind == "cut in half":
        torch.save({"state_dict": {"weight": torch.ones(1000)}, "hyper_parameters": {}}, file)
        os.truncate(file, file.stat().st_size // 2)
    elif kind == "pickle":
        file.write_bytes(pickle.dumps({"state_dict": Intruder(marker), "hyper_parameters": {}}))
    elif kind == "torch file":
        torch.save({"state_dict": Intruder(marker), "hyper_parameters": {}}, file)
    elif kind == "of another task":
        torch.save({"state_dict": {}, "hyper_parameters": {"channels": 3}, "epoch": 1}, file)


NO_CHECKPOINTS = ["text", "empty", "cut in half", "pickle", "torch file", "of another task"]


@pytest.mark.parametrize("kind", NO_CHECKPOINTS)
@pytest.mark.parametrize("verb", ["predict", "train"])
def test_what_is_no_checkpoint(sandbox, trained_run, hyperparameters, tmp_path, refusal, kind, verb):
    """Neither prediction nor a resumed training unpickles what it does not know."""
    run, marker = tmp_path / "run", tmp_path / "ran"
    name = {"predict": "best.ckpt", "train": "last.ckpt"}[verb]
    write_no_checkpoint(kind, run / "checkpoints" / name, marker)
    words = [verb, "--data", sandbox, "--run", run, "--progress", "false"]
    if verb == "predict":
        words += ["--out", tmp_path / "map.tif"]
    else:
        config = yaml.safe_load((trained_run / "config.yaml").read_text()) | {
            "run": str(run),
            "max_epochs": 3,
        }
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        words = ["train", "--config", run / "config.yaml"]
    line = refusal(*words)
    assert f"checkpoints/{name}" in line
    assert "checkpoint" in line.partition(name)[2]
    assert not marker.exists()
    assert not (tmp_path / "map.tif").exists()
    if kind == "pickle":  # it would have run, had anyone unpickled it
        pickle.loads((run / "checkpoints" / name).read_bytes())
        assert marker.exists()


def test_disk_full_while_training(sandbox, tmp_path, refusal, monkeypatch):
    monkeypatch.setattr(torch, "save", disk_full)
    options = [
        "--network",
        "generator",
        "--max_epochs",
        1,
        "--num_residual_blocks",
        1,
        "--adversarial_weight",
        0,
        "--progress",
        "false",
    ]
    line = refusal("train", "--data", sandbox, "--run", tmp_path / "run", *options)
    assert "No space left" in line or "disk is full" in line
    assert not list(tmp_path.rglob("*.ckpt"))


# --- predict --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--run", "gone"],
            "gone: holds neither checkpoints/best.ckpt nor a .npz or .safetensors file; train with",
        ),
        (["--data", "."], "is no prepared folder"),
        (["--out", "map.png"], "map.png: maps are written as .tif, .nc or .zarr"),
        (
            ["--bounds", 0, 0, 9000, 9000],
            r"box \(0, 0, 9000, 9000\) is not within the data's box",
        ),
        (["--bounds", -1490e3, -290e3, -1500e3, -280e3], "--bounds .*: give west, south, east, north"),
        (["--bounds", "nan", 0, 1, 1], "--bounds"),
        (["--block_cells", 0], "--block_cells: is 0; give at least 1"),
        (["--halo_cells", -4], "--halo_cells: is -4; give at least 0"),
        (["--weights", "worst"], "--weights"),
        (["--accelerator", "abacus"], "--accelerator: is 'abacus'; give cpu, gpu or auto"),
    ],
)
def test_predict_refuses(sandbox, trained_run, tmp_path, refusal, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    common = ["--run", trained_run, "--data", sandbox, "--out", "map.tif", "--progress", "false"]
    line = refusal("predict", *common, *options)
    assert re.search(message, line), line
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_of_other_inputs(trained_run, own_files, tmp_path, refusal):
    """Trained on four inputs, applied where there are two; or where one has another spacing."""
    prepare = ["bed_topography", "prepare", "--source", str(own_files), "--step_cells", "8", "--out"]
    assert main([*prepare, str(tmp_path / "two")]) == 0
    words = ["predict", "--run", trained_run, "--out", tmp_path / "map.tif", "--data"]
    line = refusal(*words, tmp_path / "two")
    lacking = "ice_velocity, snow_accumulation, surface_inversion"
    assert re.search(rf"best.ckpt: needs the inputs {lacking}, which \S+two does not hold", line), line
    own_files.write_text(own_files.read_text().replace("spacing_m: 100\n", "spacing_m: 500\n"))
    assert main([*prepare, str(tmp_path / "coarse")]) == 0
    line = refusal(*words, tmp_path / "coarse")
    assert "was trained on surface_elevation with 1 channel at 100 m; " in line
    assert "holds 1 channel at 500 m" in line
    assert not (tmp_path / "map.tif").exists()


@pytest.mark.parametrize("out", ["map.tif", "map.nc"])
def test_disk_full_while_predicting(sandbox, trained_run, tmp_path, refusal, monkeypatch, out):
    words = ["predict", "--run", trained_run, "--data", sandbox, "--out", tmp_path / out]
    words += ["--halo_cells", 16, "--progress", "false"]
    with monkeypatch.context() as patch:
        if out == "map.tif":
            patch.setattr(rasters, "order_as_cog", disk_full)
        else:
            import xarray

            patch.setattr(xarray.Dataset, "to_netcdf", disk_full)
        line = refusal(*words)
    assert re.search(r"map\.\S+: the disk is full; free some space and run again", line), line
    assert not (tmp_path / out).exists()
    assert main(["bed_topography", *map(str, words)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [out]


# --- evaluate -------------------------------------------------------------------------------------


def spoil_map(kind: str, whole_map: Path, file: Path) -> None:
    """Write a map that cannot be judged."""
    field = open_field(whole_map).load()
    if kind == "truncated":
        file.write_bytes(whole_map.read_bytes()[: whole_map.stat().st_size // 2])
    elif kind == "text":
        file.write_text("no map")
    elif kind == "elsewhere":
        write_cog(make_field(np.zeros(FAR.shape), FAR, name="bed"), file)
    elif kind == "another CRS":
        write_cog(field.rio.write_crs("EPSG:3413"), file)
    elif kind == "empty":
        write_cog(field.where(False), file)
    elif kind == "without picks":
        write_cog(field[:4, :4], file)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("gone", "map.tif: no such file"),
        ("truncated", "map.tif: .*fetch it again"),
        ("text", "map.tif: cannot be read as a raster"),
        ("elsewhere", "map.tif: does not lie in the region of"),
        ("another CRS", "map.tif: is in EPSG:3413, the data are in EPSG:3031"),
        ("empty", "map.tif: covers none of the .* held-out picks"),
        ("without picks", "map.tif: covers none of the .* held-out picks"),
    ],
)
def test_evaluate_refuses(sandbox, whole_map, tmp_path, refusal, kind, message):
    spoil_map(kind, whole_map, tmp_path / "map.tif")
    words = ["evaluate", "--data", sandbox, "--run", tmp_path / "run", "--prediction", tmp_path / "map.tif"]
    line = refusal(*words)
    assert re.search(message, line), line
    assert not (tmp_path / "run").exists()
