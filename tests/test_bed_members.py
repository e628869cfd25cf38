"""Beds as members: radar as an input, sectors to learn from, and a map that is the same in blocks."""

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
import yaml
from PIL import Image
from scipy import ndimage
from test_bed_topography import held_out_picks

from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_netcdf
from fieldwise.fields.resampling import block_mean, fade_in
from fieldwise.physics.surface_inversion import RADAR_NOISE_M
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.figures import print_figure
from fieldwise.recipes.bed_topography.judgement import score_map
from fieldwise.recipes.bed_topography.members.drawer import choose_network, describe
from fieldwise.recipes.bed_topography.members.sectors import FRAMES
from fieldwise.recipes.bed_topography.predictor import PRETRAINED, load_bed_predictor
from fieldwise.recipes.bed_topography.regions.material import gather
from fieldwise.recipes.bed_topography.regions.radar import grid_radar
from fieldwise.recipes.bed_topography.regions.region import grounded_area, open_region
from fieldwise.recipes.bed_topography.regions.surveys import read_given
from fieldwise.samples.examples import make_prepared
from fieldwise.samples.prepared import Prepared
from fieldwise.scores import pick, value_of
from fieldwise.surveys import write_flights

QUIET = {"progress": False, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def sectors(tmp_path_factory):
    """Prepare two small sectors, one to learn from. To be read only."""
    folder = tmp_path_factory.mktemp("sectors") / "data"
    options = {"sectors": 1, "validation_sectors": 1, "size_km": 60, "seed": 3, "processes": 1}
    return bed_topography.prepare(out=folder, progress=False, **options)


@pytest.fixture(scope="module")
def drawer(sectors, tmp_path_factory):
    """Train a small network for two epochs. To be read only."""
    run = tmp_path_factory.mktemp("drawer") / "run"
    bed_topography.train(
        data=sectors,
        run=run,
        network="drawer",
        features=4,
        blocks=[1, 1, 1, 1, 0],
        patch_cells=80,
        batch_size=4,
        max_epochs=2,
        learning_rate=1e-2,
        augment="all",
        tracker="none",
        **QUIET,
    )
    return run


@pytest.fixture(scope="module")
def drawn(sandbox, drawer, tmp_path_factory):
    """Draw three members of the whole sandbox in one block. To be read only."""
    out = tmp_path_factory.mktemp("members") / "whole.tif"
    return draw(sandbox, drawer, out, block_cells=1000)


def draw(sandbox, drawer, out, **options):
    wanted = {"members": 3, "keep_members": True, "seed": 5, **options}
    return bed_topography.predict(run=drawer, data=sandbox, out=out, **wanted, **QUIET)


def read(path):
    with rasterio.open(path) as file:
        return dict(zip(file.descriptions, file.read()))


# --- radar ----------------------------------------------------------------------------------------


def test_held_out_picks_are_never_shown(sandbox):
    """Where only held-out flights have been, the network is told that there is no pick."""
    case, apart = open_region(sandbox), held_out_picks(sandbox)
    given = read_given(case)
    assert set(given["survey"]) & {"held_out_flights", "held_out_block"} == set()
    assert len(pd.merge(given[["x", "y"]].round(1), apart[["x", "y"]].round(1))) == 0
    picked = open_field(sandbox / "inputs" / "radar_picked.tif").values
    cells = {
        (int((case.grid.north - y) // 250), int((x - case.grid.west) // 250))
        for x, y in given[["x", "y"]].values
    }
    assert set(zip(*np.nonzero(picked))) <= cells
    assert len(cells) - picked.sum() < 0.02 * len(cells)  # those in the outermost half cells are left out


def test_departures_are_those_of_the_picks(sandbox):
    """The mean over a cell of the height of its picks above the cubic low-res bed, one cell by hand."""
    case = open_region(sandbox)
    departure, picked = (
        open_field(sandbox / "inputs" / f"radar_{name}.tif").values for name in ("departure", "picked")
    )
    rows, columns = np.nonzero(picked)
    row, column = rows[len(rows) // 2], columns[len(rows) // 2]
    given = read_given(case)
    inside = (((case.grid.north - given["y"]) // 250) == row) & (
        ((given["x"] - case.grid.west) // 250) == column
    )
    cubic = case.cut("bed_lowres", np.array([case.bounds]), method="cubic")[0]
    away = given["z"][inside].mean() - cubic[row, column]
    assert departure[row, column] == pytest.approx(away, abs=6.0)  # the base changes within the cell


def test_distances_end_where_nothing_more_is_said():
    picks, grid = pd.DataFrame({"x": [125.0], "y": [125.0]}), open_grid(120)
    fields = grid_radar(picks, np.array([7.0]), grid)
    assert fields["radar_distance"][-1, :3].tolist() == [0.0, 250.0, 500.0]
    assert fields["radar_distance"].max() == 20e3  # the far corner is 42 km away
    assert fields["radar_departure"].sum() == 7.0
    nothing = grid_radar(picks, np.array([np.nan]), grid)
    assert not nothing["radar_picked"].any()


def open_grid(cells):
    return Grid(0, 0, 250.0 * cells, 250.0 * cells, 250.0, "EPSG:3031")


# --- sectors --------------------------------------------------------------------------------------


def test_a_sector_shows_fewer_flights_frame_by_frame(sectors):
    for case in Prepared(sectors).cases():
        assert case.frames == len(FRAMES)
        shown = [
            case.read(["radar_picked"], frame=frame)["radar_picked"].sum() for frame in range(case.frames)
        ]
        assert shown[0] > shown[1] > shown[2] > shown[3] == 0
        told = [case.read(["radar_departure"], frame=frame)["radar_departure"] for frame in (0, 2)]
        both = (told[0] != 0) & (told[1] != 0)
        assert both.any()
        off = case.read(["bed_departure"])["bed_departure"][:, both[0]] - told[0][:, both[0]]
        assert np.abs(np.median(off)) < 30  # noise and biases of flights, of whatever world


def test_what_surface_and_radar_tell_follows_the_flights_that_are_shown(sectors):
    """In low-res cells with picks it is about their mean departure; elsewhere the frames differ."""
    for case in Prepared(sectors).cases():
        told, departure, picked = (
            [case.read([name], frame=frame)[name][0] for frame in (0, 2)]
            for name in ("radar_inversion", "radar_departure", "radar_picked")
        )
        assert told[0].shape == tuple(size // 4 for size in picked[0].shape)
        assert np.abs(told[0] - told[1]).max() > 10
        for each, away, seen in zip(told, departure, picked, strict=True):
            share = block_mean(seen, 4)
            mean = block_mean(away, 4)[share > 0] / share[share > 0]
            assert np.abs(each[share > 0] - mean).mean() < RADAR_NOISE_M


def test_sectors_are_worlds_of_their_own(sectors):
    first, second = (case.read(["ice_thickness", "bed_departure"]) for case in Prepared(sectors).cases())
    assert abs(first["ice_thickness"].mean() - second["ice_thickness"].mean()) > 10
    assert not np.allclose(first["bed_departure"].std(), second["bed_departure"].std(), rtol=0.05)


# --- maps -----------------------------------------------------------------------------------------


def test_every_member_is_the_same_in_blocks(sandbox, drawer, drawn, tmp_path):
    blocks, whole = read(draw(sandbox, drawer, tmp_path / "blocks.tif", block_cells=100)), read(drawn)
    assert [name for name in whole if "member" in name] == ["bed_member_0", "bed_member_1", "bed_member_2"]
    for name, values in whole.items():
        np.testing.assert_allclose(blocks[name], values, atol=0.01, err_msg=name)
    assert np.abs(whole["bed_member_0"] - whole["bed_member_1"]).max() > 0.1


def test_the_network_reads_what_the_sectors_hold(sectors, drawer, sandbox):
    signature = load_bed_predictor(drawer, open_region(sandbox), accelerator="cpu").signature
    assert signature.to_dict() == describe(Prepared(sectors).cases("training")).to_dict()
    spacings = {
        each["name"]: each["spacing_m"] for each in choose_network(signature, 4, [1, 1, 1, 1, 0])["inputs"]
    }
    assert spacings["bed_relief"] == 1000
    assert spacings["ice_velocity"] == 500
    assert spacings["radar_picked"] == 250


def test_members_are_judged_by_the_truth(sandbox, drawer, drawn, tmp_path):
    rows = bed_topography.evaluate(run=tmp_path, data=sandbox, prediction=drawn, figures=False)["scores"]
    truth = pick(rows, against="truth, all cells")
    for measure in ("crps", "coverage_90", "spread_error_ratio"):
        assert np.isfinite(value_of(truth, measure=measure, name="prediction"))
    assert value_of(truth, measure="rmse", name="member") > value_of(truth, measure="rmse", name="prediction")
    bands = [row["at"] for row in pick(truth, measure="power_ratio", name="member")]
    assert bands == ["14 km", "7.1 km", "3.5 km", "1.8 km", "0.94 km"]


@pytest.fixture(scope="module")
def about_the_truth(sandbox, tmp_path_factory):
    """Write a map whose three members are the true bed, and that 15 m lower and 15 m higher."""
    bed = open_field(sandbox / "truth" / "bed.tif").astype(np.float32)
    members = bed.values + np.array([0, -15, 15], dtype=np.float32)[:, None, None]
    path = tmp_path_factory.mktemp("about") / "bed.nc"
    kept = xr.DataArray(members, dims=("member", "y", "x"), coords={"y": bed["y"], "x": bed["x"]})
    write_netcdf(xr.Dataset({"bed": bed.rename("bed"), "bed_member": kept}).rio.write_crs(bed.rio.crs), path)
    return path


@pytest.fixture(scope="module")
def judged(sandbox, about_the_truth, tmp_path_factory):
    options = {"data": sandbox, "prediction": about_the_truth, "figures": False}
    return bed_topography.evaluate(run=tmp_path_factory.mktemp("judged"), **options)


def test_members_are_judged_at_picks(sandbox, about_the_truth, judged):
    """Read anew by SciPy between the four cells around each pick; CRPS as the mean over pairs has it."""
    for against, picks in (
        ("held-out picks", held_out_picks(sandbox)),
        ("given picks", read_given(open_region(sandbox))),
    ):
        grid = open_region(sandbox).grid
        place = (grid.north - picks["y"]) / 250 - 0.5, (picks["x"] - grid.west) / 250 - 0.5
        true = ndimage.map_coordinates(open_field(sandbox / "truth" / "bed.tif").values, place, order=1)
        inside = np.all([(each >= 0) & (each <= 239) for each in place], axis=0)
        errors = (true - picks["z"].to_numpy())[inside]
        rows = pick(judged["scores"], against=against)
        member = np.stack([errors, errors - 15, errors + 15])
        assert value_of(rows, measure="rmse", name="prediction") == pytest.approx(rms(errors), rel=1e-4)
        assert value_of(rows, measure="rmse", name="member") == pytest.approx(rms(member), rel=1e-4)
        assert value_of(rows, measure="bias", name="member") == pytest.approx(errors.mean(), abs=1e-3)
        if against == "given picks":
            assert {row["measure"] for row in rows} == {"rmse", "bias"}
            continue
        pairs = (15 + 15 + 30) / 3  # mean distance between two members
        crps = np.abs(member).mean() - pairs / 2
        assert value_of(rows, measure="crps", name="prediction") == pytest.approx(crps, rel=1e-4)
        spread = np.sqrt(4 / 3) * 15  # of three members 15 m apart
        ratio = value_of(rows, measure="spread_error_ratio")
        assert ratio == pytest.approx(spread / rms(errors), rel=1e-4)
        for name in ("cubic", "spline", "inversion", "radar_inversion"):
            alone = value_of(rows, measure="mae", name=name)
            assert value_of(rows, measure="crps", name=name) == alone


def rms(errors):
    return np.sqrt(np.mean(np.square(errors)))


def test_members_are_judged_in_the_dense_block_that_is_held_out(sandbox, judged):
    """Each cell holds two or three picks of the true bed, 12 m off: the mean of them, a few metres."""
    block = pick(judged["scores"], against="held-out block")
    assert judged["n_block_cells"] > 0.7 * (14_000 / 250) ** 2
    own = value_of(block, measure="rmse", name="prediction")
    assert 4 < own < 12
    member = value_of(block, measure="rmse", name="member")
    assert member**2 - own**2 == pytest.approx(2 * 15**2 / 3, rel=1e-4)  # 0, 225 and 225, in the mean
    roughness = value_of(block, measure="roughness_ratio", name="prediction")
    assert roughness == pytest.approx(1, abs=0.12)  # the radar's noise is rough
    assert value_of(block, measure="roughness_ratio", name="member") == pytest.approx(roughness, rel=1e-5)
    assert not pick(block, measure="power_ratio")  # 14 km hold no window of 32 km
    assert value_of(block, measure="rmse", name="cubic") > 3 * own


def test_a_dense_block_needs_no_truth(sandbox, about_the_truth, judged, tmp_path):
    """As of real data: without the truth the other scores are what they were."""
    for path in sandbox.iterdir():
        (tmp_path / path.name).symlink_to(path)
    description = tmp_path / "dataset.yaml"
    content = yaml.safe_load(description.read_text())
    description.unlink()
    description.write_text(yaml.safe_dump({**content, "truth": None, "bound": None}))
    rows, facts = score_map(open_region(tmp_path), about_the_truth)
    others = [row for row in judged["scores"] if row["against"] not in ("mass conservation", *TRUTHS)]
    assert rows == others
    assert "share_of_map" not in facts


TRUTHS = ("truth", "truth, all cells")


def test_windows_of_a_block_are_seen_as_the_radar_sees_them(tmp_path):
    """A block as wide as a window: of members of twice the height there is four times the power."""
    grid = open_grid(160)
    bed = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=grid.shape), 3) * 1000
    x, y = (each.ravel() for each in np.meshgrid(grid.x[8:-8], grid.y[8:-8]))
    picks = pd.DataFrame({"x": x, "y": y, "z": bed[8:-8, 8:-8].ravel(), "flight": 0, "survey": "block"})
    options = {"shape": grid.shape, "crs": grid.crs, "folder": tmp_path / "data", "held_out": "picks.nc"}
    prepared = make_prepared({"bed_lowres": np.zeros((40, 40))}, **options)
    write_flights([picks], prepared.folder / "picks.nc", crs=grid.crs)
    members = xr.DataArray(2 * np.stack([bed, bed + 1]), dims=("member", "y", "x"))
    fields = {"bed": make_field(2 * bed, grid, name="bed"), "bed_member": members}
    write_netcdf(xr.Dataset(fields).rio.write_crs(grid.crs), tmp_path / "map.nc")
    (case,) = prepared.cases()
    rows, told = score_map(case, tmp_path / "map.nc")
    assert told["n_block_cells"] == 144**2
    power = pick(rows, against="held-out block", measure="power_ratio")
    assert len(power) == 2 * 5
    assert [row["value"] for row in power] == pytest.approx(10 * [4.0], rel=1e-4)


def test_members_differ_below_an_ice_shelf_too(sandbox, drawn):
    """The surface there tells nothing of the bed, which is no reason to be sure of it."""
    case = open_region(sandbox)
    grounded = fade_in(grounded_area(case), case.grid, 1, domain=case.bounds)
    members = np.stack([values for name, values in read(drawn).items() if name.startswith("bed_member")])
    spread = members.std(axis=0)
    assert (grounded == 0).sum() > 1000
    assert np.median(spread[grounded == 0]) > 0.2 * np.median(spread[grounded == 1])


def test_names_and_measures_stand_in_order(judged):
    names = list(dict.fromkeys(row["name"] for row in pick(judged["scores"], against="truth")))
    assert names == ["prediction", "member", "cubic", "spline", "inversion", "radar_inversion", "bound"]
    measures = list(dict.fromkeys(row["measure"] for row in pick(judged["scores"], against="truth")))
    assert measures == [
        *("rmse", "mae", "bias", "crps", "coverage_90", "spread_error_ratio", "roughness_ratio")
    ]


def test_members_are_drawn_beside_what_is_known(sandbox, drawn, tmp_path):
    material = gather(open_region(sandbox), drawn)
    for name in ("members", "members_flight", "members_worth"):
        printed = print_figure(name, material, tmp_path)
        with Image.open(printed.png) as picture:
            assert np.asarray(picture.convert("L")).std() > 5, name


def test_the_weights_that_come_with_the_package_draw_a_sector_they_have_not_seen(sandbox, tmp_path):
    """Better than what needs no training, as rough as the truth, and about as sure as they may be."""
    out = draw(sandbox, tmp_path, tmp_path / "pretrained.tif", weights="pretrained", members=16)
    rows = bed_topography.evaluate(run=tmp_path, data=sandbox, prediction=out, figures=False)["scores"]
    found = pick(rows, against="truth, all cells")
    scores = {
        name: value_of(found, measure="rmse", name=name) for name in ("prediction", "cubic", "inversion")
    }
    assert scores["prediction"] < 0.75 * scores["cubic"]
    assert scores["prediction"] < 0.95 * scores["inversion"]
    assert 0.9 < value_of(found, measure="roughness_ratio", name="member") < 1.15
    assert 0.8 < value_of(found, measure="coverage_90", name="prediction") < 0.95
    assert sum(path.stat().st_size for path in PRETRAINED.values()) < 5e6


def test_the_weights_of_worse_low_res_beds_know_how_sure_they_are(sandbox, tmp_path):
    """On the same sector, by what an ensemble is for: its CRPS beside the error of the surface inversion."""
    out = draw(sandbox, tmp_path, tmp_path / "wide.tif", weights="pretrained_wide", members=8)
    rows = bed_topography.evaluate(run=tmp_path, data=sandbox, prediction=out, figures=False)["scores"]
    found = pick(rows, against="truth, all cells")
    scores = {name: value_of(found, measure="crps", name=name) for name in ("prediction", "inversion")}
    assert scores["prediction"] < 0.75 * scores["inversion"]
    assert 0.85 < value_of(found, measure="coverage_90", name="prediction") < 0.95
    assert 0.9 < value_of(found, measure="spread_error_ratio", name="prediction") < 1.2
