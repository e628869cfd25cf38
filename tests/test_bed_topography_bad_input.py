"""Bad input at the command line: one line, status 2, no traceback, nothing half-written under a final name."""

import errno
import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml

from fieldwise import grids
from fieldwise.cli import main
from fieldwise.datasets import DESCRIPTION
from fieldwise.grids import Grid, make_field, open_field, write_cog

FAR = Grid(0, 0, 30_000, 30_000, 1000, "EPSG:3031")  # half a continent away


def refusal(capsys, *words) -> str:
    """Run a command that must be refused, and give its one line."""
    capsys.readouterr()
    assert main(["bed_topography", *map(str, words)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("fieldwise: ")
    assert "Traceback" not in lines[0]
    return lines[0]


def disk_full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# --- prepare --------------------------------------------------------------------------------------


def edit(own_files: Path, **keys) -> None:
    """Change keys of a FILE.yaml; None takes one away."""
    content = yaml.safe_load(own_files.read_text()) | keys
    own_files.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))


def edit_input(own_files: Path, name: str, **keys) -> None:
    inputs = yaml.safe_load(own_files.read_text())["inputs"]
    edit(own_files, inputs=inputs | {name: inputs.get(name, {}) | keys})


def edit_pipeline(own_files: Path, step: int, **keys) -> None:
    file = own_files.parent / "dense.json"
    content = json.loads(file.read_text())
    content["pipeline"][step] |= keys
    file.write_text(json.dumps(content))


def rewrite_surface(own_files: Path, **profile) -> None:
    """Write the surface anew: without a CRS, or with nothing but missing values."""
    file = own_files.parent / "surface.tif"
    with rasterio.open(file) as opened:
        values = np.full(opened.shape, np.nan, "f4") if profile.pop("empty", False) else opened.read(1)
        kept = {"height", "width", "count", "dtype", "transform", "crs", "nodata"}
        settings = {key: value for key, value in opened.profile.items() if key in kept} | profile
    with rasterio.open(file, "w", driver="GTiff", **settings) as written:
        written.write(values, 1)


def truncate(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])


def rewrite_survey(own_files: Path, edit_table) -> None:
    """Change the rows of a survey's text file, the first being its column names."""
    file = own_files.parent / "dense.csv"
    file.write_text("\n".join(edit_table(file.read_text().splitlines())) + "\n")


def write_far_survey(own_files: Path) -> None:
    rewrite_survey(own_files, lambda rows: [rows[0], "5000,5000,900,1300", "6000,5000,900,1300"])


def write_grounding_line(own_files: Path) -> None:
    """Ground the ice on a strip of 5 km: no tile fits."""
    import geopandas
    import shapely

    strip = shapely.box(-1_500_000, -300_000, -1_495_000, -270_000)
    frame = geopandas.GeoDataFrame(geometry=[strip], crs="EPSG:3031")
    frame.to_file(own_files.parent / "line.shp")
    edit(own_files, grounding_line={"path": "line.shp", "buffer_m": 1000})


def lose_projection(own_files: Path) -> None:
    write_grounding_line(own_files)
    (own_files.parent / "line.prj").unlink()


FAULTS = {
    # rasters
    "raster missing": (lambda f: (f.parent / "surface.tif").unlink(), "surface.tif: no such file"),
    "raster cut in half": (
        lambda f: truncate(f.parent / "surface.tif", 0.5),
        "surface.tif: .*fetch it again",
    ),
    "raster cut at its head": (
        lambda f: truncate(f.parent / "surface.tif", 0.001),
        "surface.tif: cannot be read",
    ),
    "raster is text": (
        lambda f: (f.parent / "surface.tif").write_text("-500"),
        "surface.tif: cannot be read",
    ),
    "raster without a CRS": (lambda f: rewrite_surface(f, crs=None), "surface.tif: holds no CRS; state one"),
    "raster of missing values": (
        lambda f: rewrite_surface(f, empty=True),
        "surface.tif: every value is missing",
    ),
    "raster elsewhere": (
        lambda f: write_cog(make_field(np.zeros(FAR.shape), FAR, name="far"), f.parent / "surface.tif"),
        "surface.tif: lies at .*do not overlap",
    ),
    "band missing": (lambda f: edit_input(f, "surface_elevation", variable=7), "surface.tif: has no band 7"),
    # surveys
    "survey lacks a column": (
        lambda f: rewrite_survey(f, lambda rows: [row.rpartition(",")[0] for row in rows]),
        "dense.csv: has 3 columns where dense.json names 4, lacks BOTTOM",
    ),
    "survey has no valid row": (
        lambda f: rewrite_survey(f, lambda rows: [rows[0], "-1490000,-290000,900,"]),
        "dense.json: no valid row in dense.csv",
    ),
    "survey is empty": (
        lambda f: (f.parent / "dense.csv").write_text(""),
        "dense.json: no valid row in dense.csv",
    ),
    "survey has text for a number": (
        lambda f: rewrite_survey(f, lambda rows: [*rows[:5], "-1490000,-290000,900,deep", *rows[5:]]),
        "dense.csv: row 6, column BOTTOM: 'deep' is no number",
    ),
    "survey elsewhere": (write_far_survey, "dense.json: none of its 2 picks lies in the region"),
    "survey missing": (lambda f: edit(f, surveys=["gone.json"]), "gone.json: cannot be read"),
    "pipeline is no JSON": (
        lambda f: (f.parent / "dense.json").write_text("pipeline: dense.csv"),
        "dense.json: not JSON",
    ),
    "JSON is no pipeline": (
        lambda f: (f.parent / "dense.json").write_text('{"survey": 1}'),
        "dense.json: .*pipeline",
    ),
    "expression is no arithmetic": (
        lambda f: edit_pipeline(f, 0, converters={"Z": "__import__('os').system('touch ran')"}),
        r"dense.json: step 1 \(readers.text\): converters .* only \+ - \* / \( \)",
    ),
    "survey of unknown CRS": (
        lambda f: edit_pipeline(f, 1, in_srs="Mars"),
        "dense.json: .*in_srs is an unknown CRS",
    ),
    "survey in another CRS": (
        lambda f: edit_pipeline(f, 1, out_srs="EPSG:3413", in_srs="EPSG:3413"),
        "dense.json: ends in EPSG:3413, the data are in EPSG:3031",
    ),
    # the FILE.yaml
    "yaml is none": (lambda f: f.write_text("a: [1"), "own.yaml: is no YAML"),
    "yaml of unknown CRS": (
        lambda f: edit(f, crs="EPSG:999999"),
        "unknown CRS 'EPSG:999999'; give an EPSG code",
    ),
    "yaml without a CRS": (lambda f: edit(f, crs=None), "own.yaml: lacks crs"),
    "degrees": (lambda f: edit(f, crs="EPSG:4326"), "own.yaml: crs EPSG:4326 is not in metres"),
    "text for a spacing": (
        lambda f: edit(f, spacing_m="fine"),
        "own.yaml: spacing_m is 'fine'; give a number",
    ),
    "three times finer": (
        lambda f: edit(f, spacing_m=333),
        "own.yaml: lowres_spacing_m must be 4 times spacing_m",
    ),
    "misspelt key": (lambda f: edit(f, heldout={}), "own.yaml: heldout is not known; known are .*held_out"),
    "list of inputs": (
        lambda f: edit(f, inputs=["bed_lowres"]),
        r"own.yaml: inputs is \['bed_lowres'\]; give",
    ),
    "no low-res bed": (
        lambda f: edit(f, inputs={"surface_elevation": {"path": "surface.tif"}}),
        "own.yaml: inputs lack bed_lowres",
    ),
    "input is a name": (
        lambda f: edit(f, inputs={"bed_lowres": "bed.tif"}),
        "own.yaml: bed_lowres is 'bed.tif'; give",
    ),
    "text for an input's spacing": (
        lambda f: edit_input(f, "surface_elevation", spacing_m="fine"),
        "own.yaml: surface_elevation is .*'fine'.*; give",
    ),
    "one survey, no list": (
        lambda f: edit(f, surveys="dense.json"),
        "own.yaml: surveys is 'dense.json'; give a list",
    ),
    "nothing to learn from": (lambda f: edit(f, surveys=None), "names neither `surveys` nor `beds`"),
    "held out without a key": (
        lambda f: edit(f, held_out=["judge.json"]),
        "own.yaml: held_out is .*; give a table",
    ),
    "area of three edges": (lambda f: edit(f, held_out={"areas": [[0, 0, 9]]}), "held_out areas: .* list of"),
    "truth is a name": (lambda f: edit(f, truth="bed.tif"), "own.yaml: truth is 'bed.tif'; give an entry"),
    "truth missing": (lambda f: edit(f, truth={"path": "gone.tif"}), "gone.tif: no such file"),
    "grounding line missing": (
        lambda f: edit(f, grounding_line={"path": "gone.shp"}),
        "gone.shp: cannot be read",
    ),
    "grounding line without a CRS": (lose_projection, "line.shp: holds no CRS; its .prj file is missing"),
    "no tile on grounded ice": (
        write_grounding_line,
        "no survey covers a whole tile of 9 km on grounded ice",
    ),
    "region elsewhere": (
        lambda f: edit(f, region=[0, 0, 9000, 9000]),
        "bed_lowres.tif: lies at .*do not overlap",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_prepare_refuses(fault, own_files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spoil, message = FAULTS[fault]
    spoil(own_files)
    line = refusal(capsys, "prepare", "--source", own_files, "--out", tmp_path / "out", "--step_cells", 8)
    assert re.search(message, line), line
    left = {path.name for path in (tmp_path / "out").rglob("*")}
    assert not left & {DESCRIPTION, f"{DESCRIPTION}.partial", "tiles.zarr"}
    assert not any(name.startswith(".") for name in left), "temporary neighbours are left"
    for path in (tmp_path / "out").rglob("*.tif"):
        open_field(path).load()  # what has its final name is whole
    assert not (tmp_path / "ran").exists()


def test_prepare_of_what_is_not_there(tmp_path, capsys):
    line = refusal(capsys, "prepare", "--source", tmp_path / "gone.yaml", "--out", tmp_path / "out")
    assert "gone.yaml: no such file; --source takes `sandbox` or a FILE.yaml" in line
    line = refusal(capsys, "prepare", "--size_km", 61, "--out", tmp_path / "out")
    assert "size_km is 61; take an even number of kilometres from 60 to 400" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", ["copy", "replace", "to_zarr"])
def test_disk_full_while_preparing(own_files, tmp_path, capsys, monkeypatch, function):
    """Full while a raster, any file, or the tiles are written."""
    import xarray

    owner = {"copy": grids.rasterio.shutil, "replace": grids.os, "to_zarr": xarray.Dataset}[function]
    words = ["prepare", "--source", own_files, "--out", tmp_path / "out", "--step_cells", 8]
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, disk_full)
        line = refusal(capsys, *words)
    assert re.search(r"out/\S+: the disk is full; free some space and run again", line), line
    left = [path.name for path in (tmp_path / "out").rglob("*")]
    assert not any(name in (DESCRIPTION, "tiles.zarr") or name.startswith(".") for name in left), left
    assert main(["bed_topography", *map(str, words)]) == 0


def test_a_folder_that_was_prepared_counts_no_longer_when_preparing_it_again_fails(
    own_files, tmp_path, capsys
):
    """Inputs may have been written anew by then: old tiles and new inputs must not be mixed."""
    words = ["prepare", "--source", str(own_files), "--out", str(tmp_path / "out"), "--step_cells", "8"]
    assert main(["bed_topography", *words]) == 0
    content = own_files.read_text()
    own_files.write_text("crs: [")  # a mistake that shows before anything is written leaves all as it was
    refusal(capsys, *words)
    assert (tmp_path / "out" / DESCRIPTION).exists()
    own_files.write_text(content)
    truncate(own_files.parent / "surface.tif", 0.5)
    refusal(capsys, *words)
    line = refusal(capsys, "train", "--data", tmp_path / "out", "--run", tmp_path / "run")
    assert "out: is no prepared folder; make one with the verb prepare" in line


# --- train ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "."], "is no prepared folder; make one with the verb prepare"),
        (["--inputs", "ice_thickness"], "--inputs: .* holds no ice_thickness; it holds bed_lowres, "),
        (["--inputs", "[]"], "--inputs"),
        (["--batch_size", 0], "--batch_size"),
        (["--batch_size", 1], "batches of 1 tile teach no discriminator"),
        (["--max_epochs", 0], "--max_epochs"),
        (["--num_residual_blocks", 0], "num_residual_blocks"),
        (["--learning_rate", 1e30, "--adversarial_weight", 0], "diverged in epoch 0: .*lower learning_rate"),
        (["--precision", "half"], "--precision"),
        (["--accelerator", "abacus"], "--accelerator"),
    ],
)
def test_train_refuses(sandbox, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    common = ["--data", sandbox, "--run", tmp_path / "run", "--max_epochs", 1, "--num_residual_blocks", 1]
    line = refusal(capsys, "train", *common, "--progress", "false", *options)
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
    elif kind == "pickle":
        file.write_bytes(pickle.dumps({"state_dict": Intruder(marker), "hyper_parameters": {}}))
    elif kind == "torch file":
        torch.save({"state_dict": Intruder(marker), "hyper_parameters": {}}, file)
    elif kind == "of another task":
        torch.save({"state_dict": {}, "hyper_parameters": {"channels": 3}, "epoch": 1}, file)


NO_CHECKPOINTS = ["text", "empty", "pickle", "torch file", "of another task"]


@pytest.mark.parametrize("kind", NO_CHECKPOINTS)
@pytest.mark.parametrize("verb", ["predict", "train"])
def test_what_is_no_checkpoint(sandbox, trained_run, hyperparameters, tmp_path, capsys, kind, verb):
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
    line = refusal(capsys, *words)
    assert f"checkpoints/{name}" in line
    assert "checkpoint" in line.partition(name)[2]
    assert not marker.exists()
    assert not (tmp_path / "map.tif").exists()


def test_disk_full_while_training(sandbox, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch, "save", disk_full)
    options = [
        "--max_epochs",
        1,
        "--num_residual_blocks",
        1,
        "--adversarial_weight",
        0,
        "--progress",
        "false",
    ]
    line = refusal(capsys, "train", "--data", sandbox, "--run", tmp_path / "run", *options)
    assert "No space left" in line or "disk is full" in line
    assert not list(tmp_path.rglob("*.ckpt"))


# --- predict --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--run", "gone"], "gone/checkpoints/best.ckpt: no such checkpoint; train one with"),
        (["--data", "."], "is no prepared folder"),
        (["--out", "map.png"], "map.png: a map is written as .tif or .nc"),
        (
            ["--bounds", 0, 0, 9000, 9000],
            r"box \(0, 0, 9000, 9000\) is not within the data's box \(-1500000, ",
        ),
        (["--bounds", -1490e3, -290e3, -1500e3, -280e3], "--bounds .*: give west, south, east, north"),
        (["--bounds", "nan", 0, 1, 1], "--bounds"),
        (["--block_cells", 0], "block_cells"),
        (["--halo_cells", -4], "halo_cells"),
        (["--weights", "worst"], "--weights"),
        (["--accelerator", "abacus"], "--accelerator"),
    ],
)
def test_predict_refuses(sandbox, trained_run, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    common = ["--run", trained_run, "--data", sandbox, "--out", "map.tif", "--progress", "false"]
    line = refusal(capsys, "predict", *common, *options)
    assert re.search(message, line), line
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_of_other_inputs(trained_run, own_files, tmp_path, capsys):
    """Trained on four inputs, applied where there are two; or where one has another spacing."""
    prepare = ["bed_topography", "prepare", "--source", str(own_files), "--step_cells", "8", "--out"]
    assert main([*prepare, str(tmp_path / "two")]) == 0
    words = ["predict", "--run", trained_run, "--out", tmp_path / "map.tif", "--data"]
    line = refusal(capsys, *words, tmp_path / "two")
    assert re.search(r"best.ckpt: needs the input ice_velocity, which \S+two does not hold", line), line
    edit_input(own_files, "surface_elevation", spacing_m=500)
    assert main([*prepare, str(tmp_path / "coarse")]) == 0
    line = refusal(capsys, *words, tmp_path / "coarse")
    assert "was trained on surface_elevation with 1 channels at 100 m; " in line
    assert "holds 1 at 500 m" in line
    assert not (tmp_path / "map.tif").exists()


@pytest.mark.parametrize("out", ["map.tif", "map.nc"])
def test_disk_full_while_predicting(sandbox, trained_run, tmp_path, capsys, monkeypatch, out):
    words = ["predict", "--run", trained_run, "--data", sandbox, "--out", tmp_path / out]
    words += ["--halo_cells", 16, "--progress", "false"]
    with monkeypatch.context() as patch:
        if out == "map.tif":
            patch.setattr(grids.rasterio.shutil, "copy", disk_full)
        else:
            import xarray

            patch.setattr(xarray.Dataset, "to_netcdf", disk_full)
        line = refusal(capsys, *words)
    assert re.search(r"map\.\S+: the disk is full; free some space and run again", line), line
    assert not (tmp_path / out).exists()
    assert main(["bed_topography", *map(str, words)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [out]


# --- evaluate -------------------------------------------------------------------------------------


def spoil_map(kind: str, whole_map: Path, file: Path) -> None:
    """Write a map that cannot be judged."""
    field = open_field(whole_map).load()
    if kind == "truncated":
        shutil.copy(whole_map, file)
        truncate(file, 0.5)
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
def test_evaluate_refuses(sandbox, whole_map, tmp_path, capsys, kind, message):
    spoil_map(kind, whole_map, tmp_path / "map.tif")
    words = ["evaluate", "--data", sandbox, "--run", tmp_path / "run", "--prediction", tmp_path / "map.tif"]
    line = refusal(capsys, *words)
    assert re.search(message, line), line
    assert not (tmp_path / "run").exists()
