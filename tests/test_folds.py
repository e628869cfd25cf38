"""Folds: the low-res bed and the radar inputs that are learnt with know nothing of what is learnt from."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import yaml

from conftest import CORNER_X, CORNER_Y, SIZE_M, hills, write_own_files
from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog, write_netcdf
from fieldwise.fields.tiles import cut, read_tiles
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.generator import read_samples
from fieldwise.recipes.bed_topography.members.drawer import describe, levelled_score
from fieldwise.recipes.bed_topography.members.sectors import READ, TARGET
from fieldwise.recipes.bed_topography.regions.derivation import find_surface_inversion, regrid_lowres
from fieldwise.recipes.bed_topography.regions.folds import deal_blocks
from fieldwise.recipes.bed_topography.regions.region import find_folds, open_region
from fieldwise.recipes.bed_topography.regions.surveys import read_given
from fieldwise.samples.examples import make_prepared
from fieldwise.samples.frames import make_loaders
from fieldwise.samples.prepared import Prepared

SMALL, BLOCK_M = {"tile_cells": 16, "step_cells": 4, "progress": False}, 10e3
REGION = [CORNER_X, CORNER_Y, CORNER_X + SIZE_M, CORNER_Y + SIZE_M]


def write_from_surveys(folder: Path) -> Path:
    """Write a user's own files, whose low-res bed is gridded from the picks, and a velocity beside them."""
    file, grid = write_own_files(folder), Grid(*REGION, 500, "EPSG:3031")
    flow = xr.Dataset({name: make_field(np.full(grid.shape, 50.0), grid, name=name) for name in ("vx", "vy")})
    write_netcdf(flow, folder / "velocity.nc")
    inputs = yaml.safe_load(file.read_text())["inputs"]
    lowres = {"from": "surveys", "spacing_m": 1000, "blocks_m": BLOCK_M}
    velocity = {"path": "velocity.nc", "variables": ["vx", "vy"], "spacing_m": 500, "units": "m a-1"}
    return edit(file, inputs=inputs | {"bed_lowres": lowres, "ice_velocity": velocity})


@pytest.fixture
def from_surveys(tmp_path):
    return write_from_surveys(tmp_path / "own")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Prepare the same files. To be read only."""
    home = tmp_path_factory.mktemp("folds")
    return prepare(write_from_surveys(home / "own"), home / "data")


def edit(file: Path, **keys) -> Path:
    content = yaml.safe_load(file.read_text()) | keys
    file.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return file


def edit_lowres(file: Path, **keys) -> Path:
    inputs = yaml.safe_load(file.read_text())["inputs"]
    return edit(file, inputs=inputs | {"bed_lowres": inputs["bed_lowres"] | keys})


def lift(file: Path, row: int, by_m: float, survey="dense") -> tuple[float, float]:
    """Change the height of one pick; give its place."""
    table = pd.read_csv(file.parent / f"{survey}.csv")
    table.loc[row, "BOTTOM"] -= by_m
    table.to_csv(file.parent / f"{survey}.csv", index=False)
    return table.loc[row, "X"], table.loc[row, "Y"]


def prepare(file: Path, out: Path, **options) -> Path:
    return bed_topography.prepare(source=str(file), out=out, **(SMALL | options))


def changed(one: Path, other: Path, pattern: str) -> set[str]:
    """Name the rasters and arrays that differ in any bit."""
    names = {str(file.relative_to(one)) for file in one.glob(pattern)}
    assert names
    assert names == {str(file.relative_to(other)) for file in other.glob(pattern)}
    return {
        name for name in names if not np.array_equal(read(one / name), read(other / name), equal_nan=True)
    }


def read(file: Path) -> np.ndarray:
    return np.load(file) if file.suffix == ".npy" else open_field(file).values


# --- who has a say in what ------------------------------------------------------------------------


def test_a_pick_has_no_say_in_what_its_own_fold_sees(from_surveys, folder, tmp_path):
    x, y = lift(from_surveys, 1337, 1000.0)
    after = prepare(from_surveys, tmp_path / "after")
    differ = changed(folder, after, "folds/*/*.tif")
    (other,) = {Path(name).parent.name for name in differ}  # one fold sees it
    assert {"bed_lowres", "surface_inversion", "radar_departure"} <= {Path(name).stem for name in differ}
    own = {"1": 2, "2": 1}[other]
    tiles = read_tiles(after / "tiles.zarr")
    west, south, east, north = tiles["bounds"].values.T
    holding = (west < x) & (x < east) & (south < y) & (y < north)
    assert holding.any()
    assert set(tiles["fold"].values[holding]) == {own}
    frames = {name: read(folder / name) != read(after / name) for name in changed(folder, after, "flights/*")}
    assert {"flights/radar_departure.npy", "flights/bed_relief.npy"} <= set(frames)
    for name, differs in frames.items():
        assert not differs[own - 1].any(), name
        assert differs[int(other) - 1].any(), name


def test_what_is_held_out_has_no_say_in_anything(from_surveys, tmp_path):
    area = [CORNER_X + 20_000, CORNER_Y + 18_000, CORNER_X + 30_000, CORNER_Y + 30_000]
    edit(from_surveys, held_out={"surveys": ["judge.json"], "areas": [area]})
    before = prepare(from_surveys, tmp_path / "before")
    x, y = lift(from_surveys, 151 * 24 + 120, 1000.0)
    assert area[0] < x < area[2]
    assert area[1] < y < area[3]
    lift(from_surveys, 10, 1000.0, survey="judge")
    after = prepare(from_surveys, tmp_path / "after")
    for pattern in ("inputs/*.tif", "folds/*/*.tif", "flights/*.npy", "*/flights/*.npy"):
        assert not changed(before, after, pattern)
    with xr.open_dataset(before / "held_out.nc") as one, xr.open_dataset(after / "held_out.nc") as other:
        assert int((one["z"] != other["z"]).sum()) == 2


def test_tiles_lie_in_blocks_of_one_fold_and_are_cut_from_its_case(folder):
    tiles = read_tiles(folder / "tiles.zarr")
    fold_of = {}
    for (west, south, east, north), fold in zip(tiles["bounds"].values, tiles["fold"].values):
        for x, y in ((west, south), (west, north - 1), (east - 1, south), (east - 1, north - 1)):
            block = (x - CORNER_X) // BLOCK_M, (y - CORNER_Y) // BLOCK_M
            assert fold_of.setdefault(block, fold) == fold
    assert set(fold_of.values()) == {1, 2}
    assert len(fold_of) == 9
    beds = [read(folder / "folds" / name / "bed_lowres.tif") for name in "12"]
    for number in (0, len(tiles["fold"]) - 1):
        west, _, _, north = tiles["bounds"].values[number]
        row, column = int((CORNER_Y + SIZE_M - north) / 1000), int((west - CORNER_X) / 1000)
        inner = tiles["bed_lowres"].values[number, 0, 1:-1, 1:-1]  # 4 x 4 cells; one more on each side
        np.testing.assert_array_equal(
            inner, beds[tiles["fold"].values[number] - 1][row : row + 4, column : column + 4]
        )
    case = open_region(folder)
    assert [each.name for each in find_folds(case, tiles)[0]] == ["fold_1", "fold_2"]
    assert TARGET not in case.variables
    assert np.abs(beds[0] - beds[1]).max() > 10


def test_a_new_lowres_bed_brings_nothing_of_the_surface_anew(folder, tmp_path):
    """What follows from the surface alone stays; from the same picks the rest comes out the same."""
    home = shutil.copytree(folder, tmp_path / "data")
    case = open_region(home)
    named = ["bed_lowres", "surface_elevation", "ice_velocity"]
    anew = regrid_lowres(case, read_given(case), given=named, grounded=None, home="again")
    written = {path.stem for path in (home / "again").iterdir()}
    assert {"bed_lowres", "bed_relief", "surface_inversion"} <= written
    assert not written & {"surface_slope_1", "surface_relief"}
    assert anew.files["surface_slope_1"] == "inputs/surface_slope_1.tif"
    for name in READ:
        np.testing.assert_array_equal(anew.read([name])[name], case.read([name])[name])


def test_reliefs_are_those_of_the_cells_of_a_region_wherever_its_corner_lies(tmp_path):
    file = write_own_files(tmp_path / "own", lowres_corner=(CORNER_X + 333.25, CORNER_Y - 87.5))
    case = open_region(prepare(file, tmp_path / "data"))
    assert case.bounds[:2] == (CORNER_X + 333.25, CORNER_Y - 87.5)
    found = case.read(["bed_lowres", "bed_relief", "surface_relief"])
    course = cut(case.trend("bed_lowres"), [case.bounds], spacing=1000.0, extend=True)
    np.testing.assert_allclose(found["bed_relief"], found["bed_lowres"] - course, atol=1e-3)
    course = cut(case.trend("surface_elevation"), [case.bounds], spacing=1000.0, extend=True)[0]
    surface = open_field(tmp_path / "own" / "surface.tif").values
    means = surface.reshape(30, 10, 30, 10).mean(axis=(1, 3))
    np.testing.assert_allclose(found["surface_relief"][0], means - course, atol=1e-2)


def test_the_surface_is_inverted_alike_whether_it_was_averaged_before_or_not(folder, tmp_path):
    case = open_region(shutil.copytree(folder, tmp_path / "data"))
    before = case.read(["surface_inversion"])["surface_inversion"]
    del case.variables["surface_relief"]
    find_surface_inversion(case, grounded=None, home="again", progress=False)
    again = read(case.folder / "again" / "surface_inversion.tif")
    np.testing.assert_allclose(again, before[0], atol=1e-3)
    assert np.abs(again).max() > 1


def test_blocks_are_dealt_by_the_seed_and_folds_are_about_as_large():
    rng = np.random.default_rng(1)
    picks = pd.DataFrame(rng.uniform(0, 60e3, (500, 2)) ** 1.02, columns=["x", "y"])
    options = {"edge": 10e3, "folds": 3, "fraction": 0.2}
    one, same, other = (deal_blocks(picks, (0, 0, 80e3, 80e3), seed=seed, **options) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one.fold, same.fold)
    assert (one.fold != other.fold).any()
    held = np.bincount(one.find(one.fold, picks))
    most = np.unique(picks // 10e3, axis=0, return_counts=True)[1].max()
    assert np.ptp(held) <= 2 * most
    share = one.find(one.kept, picks).mean()
    assert 0.2 <= share <= 0.2 + most / len(picks)
    few = picks[(picks < 10e3).all(axis=1)]
    for axis in range(3):  # three blocks flown over, a fold each
        few = pd.concat([few, picks.iloc[:1].assign(x=75e3, y=5e3 + 10e3 * axis)])
    dealt = deal_blocks(few.iloc[-3:], (0, 0, 80e3, 80e3), seed=7, **options)
    assert sorted(dealt.find(dealt.fold, few.iloc[-3:])) == [0, 1, 2]


# --- what comes of it -----------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 500.0])
def test_picks_of_a_plane_give_back_the_plane(from_surveys, tmp_path, offset):
    """Also where low-res cells, which are those of another input, lie between whole kilometres."""

    def plane(x, y):
        return -400 + 0.01 * (x - CORNER_X) - 0.02 * (y - CORNER_Y)

    table = pd.read_csv(from_surveys.parent / "dense.csv")
    table["BOTTOM"] = 900 - plane(table["X"], table["Y"])
    table.to_csv(from_surveys.parent / "dense.csv", index=False)
    west, south, east, north = np.array(REGION) + offset
    grid = Grid(west, south, east - 1000, north - 1000, 1000, "EPSG:3031")
    write_cog(make_field(np.full(grid.shape, 300.0), grid, name="snow"), from_surveys.parent / "snow.tif")
    lowres = {"from": "surveys", "blocks_m": BLOCK_M, "folds": 3}
    inputs = {"snow_accumulation": {"path": "snow.tif", "spacing_m": 1000}, "bed_lowres": lowres}
    folder = prepare(edit(from_surveys, inputs=inputs, held_out=None), tmp_path / "data")
    assert open_region(folder).bounds == grid.bounds
    for home in ("inputs", "folds/1", "folds/2", "folds/3"):
        bed = open_field(folder / home / "bed_lowres.tif")
        x, y = np.meshgrid(bed["x"], bed["y"])
        np.testing.assert_allclose(bed.values, plane(x, y), atol=0.01)
        np.testing.assert_array_equal(bed["x"].values, grid.x)


def test_surveys_and_a_region_are_enough(from_surveys, tmp_path):
    """No raster at all; what is told of heights comes from the surveys."""
    inputs = {"bed_lowres": {"from": "surveys", "blocks_m": BLOCK_M}}
    surveys = [{"path": "dense.json", "datum": "ellipsoid"}]
    edit(from_surveys, inputs=inputs, region=REGION, surveys=surveys, held_out=None)
    case = open_region(prepare(from_surveys, tmp_path / "data"))
    assert case.facts["vertical_datum"] == "WGS84 ellipsoid"
    bed = case.field("bed_lowres")
    off = bed.values - hills(*np.meshgrid(bed["x"], bed["y"]))
    assert np.sqrt((off**2).mean()) < 8  # of hills of 70 m


def test_the_share_of_the_surface_is_seen_where_tiles_and_low_res_bed_share_no_picks(tmp_path, sandbox):
    """Of the same sector: gridded from what tiles are learnt from too, the surface seems to tell little."""
    files = shutil.copytree(sandbox, tmp_path / "files")
    source = yaml.safe_load((files / "sandbox.yaml").read_text())
    shares, lowres = {}, {"from": "surveys", "blocks_m": 12_000}
    for name in ("apart", "together"):
        file = files / f"{name}.yaml"
        source["inputs"]["bed_lowres"] = lowres
        file.write_text(yaml.safe_dump(source))
        folder = prepare(file, tmp_path / name, tile_cells=36, step_cells=8)
        signature = read_samples(
            open_region(folder), "training", ["bed_lowres", "surface_inversion"], departure=True
        )[1]
        shares[name] = signature.facts["inversion_share"]
        lowres = {"path": str(folder / "inputs" / "bed_lowres.tif"), "spacing_m": 1000}
    assert shares["apart"] > shares["together"] + 0.3, shares


# --- flights --------------------------------------------------------------------------------------


def test_flights_are_what_a_network_that_draws_learns_from(folder):
    prepared, region = Prepared(folder), open_region(folder)
    (learnt,), (judged,) = prepared.cases("training"), prepared.cases("validation")
    assert learnt.shape == judged.shape == (112, 112)  # of 120, in steps of 16
    assert learnt.frames == judged.frames == 2
    assert learnt.bounds == (CORNER_X, CORNER_Y + 2000, CORNER_X + 28_000, CORNER_Y + SIZE_M)
    targets = {case.split: case.read_frames(TARGET) for case in (learnt, judged)}
    known = {split: np.isfinite(values) for split, values in targets.items()}
    every = np.concatenate(list(known.values())).sum(axis=0)
    picked = read(folder / "inputs" / "radar_picked.tif")[:112, :112]
    np.testing.assert_array_equal(every, picked)  # each cell with picks once: in one fold, for one purpose
    shown = learnt.read_frames("radar_picked")
    np.testing.assert_array_equal(shown.sum(axis=0), picked)  # by the other fold
    assert 0.1 <= known["validation"].sum() / picked.sum() < 0.4
    for frame, fold in enumerate(find_folds(region, read_tiles(folder / "tiles.zarr"))[0]):
        base = fold.cut("bed_lowres", np.array([learnt.bounds]), method="cubic")[0]
        there = known["training"][frame]
        bed = hills(*np.meshgrid(learnt.grid.x, learnt.grid.y))
        off = (targets["training"][frame] + base - bed)[there]
        assert np.abs(off).max() < 25  # the mean of a cell's picks, and the bed in its middle
        relief = read(folder / "folds" / str(frame + 1) / "bed_relief.tif")[:28, :28]
        np.testing.assert_array_equal(learnt.read_frames("bed_relief")[frame], relief)


def test_flights_give_a_loss_though_most_of_their_cells_are_unknown(folder):
    learnt, judged = (Prepared(folder).cases(split) for split in ("training", "validation"))
    training, validation = make_loaders(
        learnt, judged, describe(learnt), cells=64, batch_size=2, seed=7, step=4
    )
    for batch in (*training, *validation):
        targets, known = batch["targets"], torch.isfinite(batch["targets"])
        assert known.float().mean() < 0.5
        right = targets.nan_to_num().expand(2, *targets.shape).clone().requires_grad_()
        assert levelled_score(right, batch, {}).item() == pytest.approx(0, abs=1e-6)
        loss = levelled_score(right + 1, batch, {})
        loss.backward()
        assert (loss > 0) == known.any()
        assert torch.isfinite(right.grad).all()


def test_a_low_res_bed_of_ones_own_is_learnt_with_as_it_is(from_surveys, tmp_path):
    inputs = yaml.safe_load(from_surveys.read_text())["inputs"]
    edit(from_surveys, inputs=inputs | {"bed_lowres": {"path": "bed_lowres.tif", "spacing_m": 1000}})
    folder = prepare(from_surveys, tmp_path / "before")
    assert not (folder / "folds").exists()
    assert "fold" not in read_tiles(folder / "tiles.zarr")
    (case,) = Prepared(folder).cases("training")
    assert case.frames == 2
    assert {
        len(np.load(folder / case.files[field])) for name in READ for field in case.variables[name].fields
    } == {1}
    lift(from_surveys, 1337, 1000.0)
    differ = changed(folder, prepare(from_surveys, tmp_path / "after"), "flights/*.npy")
    assert differ == {"flights/radar_departure.npy", "flights/radar_inversion.npy"}


# --- mistakes -------------------------------------------------------------------------------------

MISTAKES = {
    "from elsewhere": (lambda f: edit_lowres(f, **{"from": "maps"}), "from is 'maps'; give `surveys`"),
    "from and path": (
        lambda f: edit_lowres(f, path="bed_lowres.tif"),
        "has both `from` and `path`; keep one",
    ),
    "one fold": (lambda f: edit_lowres(f, folds=1), "folds is 1; give a whole number from 2 on"),
    "half a fold": (lambda f: edit_lowres(f, folds=2.5), "folds is 2.5; give a whole number from 2 on"),
    "blocks in words": (lambda f: edit_lowres(f, blocks_m="large"), "blocks_m is 'large'; give a number"),
    "small blocks": (lambda f: edit_lowres(f, blocks_m=3000), "blocks_m is 3000; give at least 4000"),
    "another spacing": (lambda f: edit_lowres(f, spacing_m=500), "spacing_m is 500; give 1000"),
    "unknown key": (lambda f: edit_lowres(f, tension=0.3), "tension is not known; known are from, spacing_m"),
    "no surveys": (lambda f: edit(f, surveys=None), "there are none; name some under `surveys` or `radar`"),
    "no region": (
        lambda f: edit(f, inputs={"bed_lowres": {"from": "surveys"}}),
        "region is missing, and no input tells it; give [west, south, east, north]",
    ),
    "blocks too large": (
        lambda f: edit_lowres(f, blocks_m=60_000),
        "picks lie in less than 2 blocks of 60000 m",
    ),
    "all held out": (lambda f: edit(f, held_out={"areas": [REGION]}), "held_out"),
    "all radar held out": (
        lambda f: edit(f, surveys=None, radar=["dense.json"], held_out={"areas": [[-2e6, -1e6, 0, 0]]}),
        "held_out takes all picks, and bed_lowres is to be gridded from them; hold smaller areas out",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(from_surveys, tmp_path, mistake):
    make, message = MISTAKES[mistake]
    make(from_surveys)
    with pytest.raises(InputError) as error:
        prepare(from_surveys, tmp_path / "data")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


def test_tiles_that_fit_into_no_fold(from_surveys, tmp_path):
    edit_lowres(from_surveys, blocks_m=4000)
    with pytest.raises(InputError, match=r"whole tile of 9 km within blocks of one fold; .*larger blocks_m"):
        prepare(from_surveys, tmp_path / "data", tile_cells=36)


def test_inputs_that_flights_do_not_hold_are_refused(folder, tmp_path):
    """The surface is an input of the region, which its generator reads."""
    options: Any = {"init": "none", "tracker": "none", "progress": False}
    for name in ("surface_elevation", "nonsense"):
        with pytest.raises(InputError, match=rf"--inputs: training.flights holds no {name}; take some of"):
            bed_topography.train(data=folder, run=tmp_path / "run", inputs=["bed_relief", name], **options)
    assert not (tmp_path / "run").exists()


def test_weights_say_what_flights_lack(folder):
    """A folder that was prepared before an input of a newer network was known."""
    (case,) = Prepared(folder).cases("training")
    signature = describe([case])
    signature.check_prepared(case, "newer.safetensors")
    files = {name: path for name, path in case.files.items() if name != "radar_inversion"}
    with pytest.raises(InputError, match=r"newer.safetensors: needs the input radar_inversion, which"):
        signature.check_prepared(replace(case, files=files), "newer.safetensors")


def test_a_region_without_what_a_drawer_reads_is_refused_by_what_it_lacks(tmp_path):
    folder = make_prepared({"bed_lowres": np.zeros((4, 4))}, shape=(16, 16)).folder
    with pytest.raises(InputError, match=r"lacks bed_relief, .*ice_velocity, which a network"):
        bed_topography.train(data=folder, run=tmp_path / "run", tracker="none", progress=False)
    assert not (tmp_path / "run").exists()
