"""A FILE.yaml and what it names: each mistake is one line, and nothing half-written is left behind."""

import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml

from fieldwise.cli import main
from fieldwise.fields import rasters
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.tiles import read_bounds
from fieldwise.recipes.bed_topography.regions.region import list_files, read_own_files
from fieldwise.runs import hash_file
from fieldwise.samples.prepared import DESCRIPTION

FAR = Grid(0, 0, 30_000, 30_000, 1000, "EPSG:3031")  # half a continent away


def disk_full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
    "datum of no kind": (
        lambda f: edit_input(f, "bed_lowres", datum="sea level"),
        "own.yaml: bed_lowres is .*'sea level'.*; give",
    ),
    "geoid without a path": (
        lambda f: edit(f, datum="ellipsoid", geoid={"name": "EGM96"}),
        "own.yaml: geoid is .*; give an entry such as {path: FILE, name: EIGEN-GL04C}",
    ),
    "geoid missing": (lambda f: edit(f, geoid={"path": "gone.tif", "name": "EGM96"}), "gone.tif: no such"),
    "bed from what": (
        lambda f: edit(f, surveys=[{"path": "dense.json", "bed_from": "radar"}]),
        "own.yaml: surveys is .*; give a list of pipelines .*bed_from: height | thickness",
    ),
    "thickness without a surface": (
        lambda f: edit(
            f,
            surveys=[{"path": "dense.json", "bed_from": "thickness"}],
            inputs={"bed_lowres": {"path": "bed_lowres.tif"}},
        ),
        "own.yaml: dense.json: bed_from thickness needs the input surface_elevation",
    ),
    "thickness without a column": (
        lambda f: edit(f, surveys=[{"path": "dense.json", "bed_from": "thickness"}]),
        "dense.json: .*has no column for thickness; present are X, Y, ELEVATION, BOTTOM; call one THICKNESS",
    ),
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
def test_prepare_refuses(fault, own_files, tmp_path, monkeypatch, refusal):
    monkeypatch.chdir(tmp_path)
    spoil, message = FAULTS[fault]
    spoil(own_files)
    line = refusal("prepare", "--source", own_files, "--out", tmp_path / "out", "--step_cells", 8)
    assert re.search(message, line), line
    left = {path.name for path in (tmp_path / "out").rglob("*")}
    assert not left & {DESCRIPTION, f"{DESCRIPTION}.partial", "tiles.zarr"}
    assert not any(name.startswith(".") for name in left), "temporary neighbours are left"
    for path in (tmp_path / "out").rglob("*.tif"):
        open_field(path).load()  # what has its final name is whole
    assert not (tmp_path / "ran").exists()


def test_prepare_of_what_is_not_there(tmp_path, refusal):
    line = refusal("prepare", "--source", tmp_path / "gone.yaml", "--out", tmp_path / "out")
    assert "gone.yaml: no such file; --source takes `sandbox` or a FILE.yaml" in line
    line = refusal("prepare", "--size_km", 61, "--out", tmp_path / "out")
    assert "size_km is 61; take an even number of kilometres from 60 to 400" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", ["order_as_cog", "replace", "to_zarr"])
def test_disk_full_while_preparing(own_files, tmp_path, monkeypatch, function, refusal):
    """Full while a raster, any file, or the tiles are written."""
    import xarray

    owner = {"order_as_cog": rasters, "replace": os, "to_zarr": xarray.Dataset}[function]
    words = ["prepare", "--source", own_files, "--out", tmp_path / "out", "--step_cells", 8]
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, disk_full)
        line = refusal(*words)
    assert re.search(r"out/\S+: the disk is full; free some space and run again", line), line
    left = [path.name for path in (tmp_path / "out").rglob("*")]
    assert not any(name in (DESCRIPTION, "tiles.zarr") or name.startswith(".") for name in left), left
    assert main(["bed_topography", *map(str, words)]) == 0


def test_a_prepared_folder_stays_as_it_was_when_preparing_it_again_fails(own_files, tmp_path, refusal):
    """The mistake shows when most of the new inputs are written: old and new must not be mixed."""
    words = ["prepare", "--source", str(own_files), "--out", str(tmp_path / "out"), "--step_cells", "8"]
    assert main(["bed_topography", *words]) == 0
    before = {path: hash_file(path) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert tmp_path / "out" / DESCRIPTION in before
    rewrite_survey(own_files, lambda rows: [rows[0], "-1490000,-290000,900,"])
    with rasterio.open(own_files.parent / "bed_lowres.tif") as opened:
        other = make_field(opened.read(1) + 7, Grid(*opened.bounds, 1000, "EPSG:3031"), name="bed")
    write_cog(other, own_files.parent / "bed_lowres.tif")
    refusal(*words)
    assert {path: hash_file(path) for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_own_files_are_never_overwritten(own_files, refusal):
    """Heights of another datum are written anew: not in the place of the file that they came from."""
    folder = own_files.parent
    (folder / "inputs").mkdir()
    os.replace(folder / "bed_lowres.tif", folder / "inputs" / "bed_lowres.tif")
    edit_input(own_files, "bed_lowres", path="inputs/bed_lowres.tif")
    before = hash_file(folder / "inputs" / "bed_lowres.tif")
    line = refusal("prepare", "--source", own_files, "--out", folder, "--step_cells", 8)
    assert "inputs/bed_lowres.tif: is your own file and would be overwritten; choose another --out" in line
    assert hash_file(folder / "inputs" / "bed_lowres.tif") == before
    assert not (folder / DESCRIPTION).exists()


def reproject_nothing(own_files: Path, crs: str) -> None:
    """Have all files say that their coordinates are of another CRS."""
    for file in own_files.parent.glob("*.tif"):
        with rasterio.open(file) as opened:
            values, grid = opened.read(1), Grid(*opened.bounds, opened.res[0], crs)
        write_cog(make_field(values, grid, name=file.stem), file)
    for file in own_files.parent.glob("*.json"):
        content = json.loads(file.read_text())
        content["pipeline"][1] |= {"in_srs": crs, "out_srs": crs}
        file.write_text(json.dumps(content))
    edit(own_files, crs=crs)


@pytest.mark.parametrize(
    "crs",
    ["+proj=tmerc +lat_0=0 +lon_0=10 +k=0.9 +ellps=GRS80", "+proj=stere +lat_0=-90 +lon_0=30 +R=6371000"],
)
def test_a_crs_without_a_code_from_file_to_tiles(own_files, tmp_path, crs, refusal):
    """Names of files are short, tiles lie where they should, and no message quotes the whole WKT."""
    reproject_nothing(own_files, crs)
    words = ["prepare", "--source", str(own_files), "--out", str(tmp_path / "out"), "--step_cells", "8"]
    assert main(["bed_topography", *words]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"tiles_local.geojson", "tiles_4326.geojson", "held_out.nc"} <= names
    assert max(map(len, names)) < 30
    tiles = read_bounds(tmp_path / "out" / "tiles.geojson", crs=crs)
    west, south, east, north = tiles.total_bounds
    assert -1.5e6 <= west < east <= -1.47e6
    assert -3e5 <= south < north <= -2.7e5
    degrees = read_bounds(tmp_path / "out" / "tiles.geojson", crs="EPSG:4326").to_crs(crs)
    np.testing.assert_allclose(degrees.total_bounds, tiles.total_bounds, atol=1)
    edit_pipeline(own_files, 1, out_srs="EPSG:3031", in_srs="EPSG:3031")
    line = refusal(*words)
    assert "dense.json: ends in EPSG:3031, the data are in +proj=" in line
    assert len(line) < 250


@pytest.mark.parametrize("name", ["../../../evil", "/abs/evil", "a/b", ".hidden", "", "..", "a\0b"])
@pytest.mark.parametrize("table", ["inputs", "beds"])
def test_names_cannot_leave_the_folder(own_files, tmp_path, refusal, table, name):
    content = yaml.safe_load(own_files.read_text())
    edit(own_files, **{table: content.get(table, {}) | {name: {"path": "bed_lowres.tif"}}})
    line = refusal("prepare", "--source", own_files, "--out", tmp_path / "a" / "out", "--step_cells", 8)
    assert re.search(f"own.yaml: {table[:-1]} .* names a file to be written; give a plain name", line), line
    assert not list(tmp_path.rglob("evil*"))


def test_surveys_of_one_name_are_refused(own_files, tmp_path, refusal):
    (own_files.parent / "other").mkdir()
    (own_files.parent / "other" / "dense.json").write_text((own_files.parent / "dense.json").read_text())
    edit(own_files, surveys=["dense.json", "other/dense.json"])
    line = refusal("prepare", "--source", own_files, "--out", tmp_path / "out")
    assert "other/dense.json has the name of dense.json; rename one of them" in line


def test_pipelines_are_checked_before_anything_is_filled(own_files, tmp_path, refusal, monkeypatch):
    monkeypatch.setattr("fieldwise.samples.inputs.prepare_inputs", None)  # is not reached
    edit_pipeline(own_files, 0, converters={"Z": "DEPTH"})
    line = refusal("prepare", "--source", own_files, "--out", tmp_path / "out")
    assert "dense.json: step 1" in line


def test_what_a_file_names_and_nothing_else(own_files):
    """Its rasters, pipelines and the text files behind these; not what else lies in the folder."""
    (own_files.parent / "holiday.tif").touch()
    edit_input(own_files, "surface_elevation", fill_from="bed_lowres.tif")
    named = list_files(read_own_files(own_files), own_files.parent)
    surveys = ["dense.csv", "dense.json", "judge.csv", "judge.json"]
    assert [path.name for path in named] == ["bed_lowres.tif", *surveys, "surface.tif"]
