"""The recipe as a whole: nothing leaks, tiled equals untiled, judged as a user would judge by hand."""

import json
import shutil
from functools import partialmethod

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
import torch
import yaml
from PIL import Image
from scipy import ndimage

from fieldwise.cli import main
from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field, read_area
from fieldwise.fields.grids import load_values, make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.tiles import read_tiles
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography import judgement
from fieldwise.recipes.bed_topography.generator import BedTask, read_samples
from fieldwise.recipes.bed_topography.predictor import BedPredictor
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.samples.scales import Scale
from fieldwise.samples.signatures import Signature
from fieldwise.scores import pick, value_of
from fieldwise.tasks import choose_device, load_checkpoint

LOWRES_M = 1000.0


def held_out_picks(folder, names=("held_out_flights", "held_out_block")) -> pd.DataFrame:
    """Read held-out radar without the package: x, y, z."""
    table = pd.concat(pd.read_csv(folder / "highres" / f"{name}.csv") for name in names)
    table = table[table["BOTTOM"] != -9999]
    transformer = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3031", always_xy=True)
    x, y = transformer.transform(table["LON"].to_numpy(), table["LAT"].to_numpy())
    return pd.DataFrame({"x": x, "y": y, "z": table["ELEVATION"].to_numpy() - table["BOTTOM"].to_numpy()})


def boxes_of(tiles, split, *, margin=LOWRES_M):
    bounds = tiles["bounds"].values[tiles["split"].values == split]
    return shapely.box(*(bounds + np.array([-1, -1, 1, 1]) * margin).T)


def assert_splits_are_apart(folder, picks):
    """No two splits share an area, each tile taken with the low-res cell around it that its inputs show."""
    tiles = read_tiles(folder / "tiles.zarr")
    training, validation = boxes_of(tiles, "training"), boxes_of(tiles, "validation")
    assert len(training) > 0
    assert len(validation) > 0
    for tile in training:
        assert shapely.area(shapely.intersection(tile, validation)).max() == 0
    points = shapely.points(picks["x"], picks["y"])
    for tile in [*training, *validation]:
        assert not shapely.contains_properly(tile, points).any()
    return training, validation


# --- prepare --------------------------------------------------------------------------------------


def test_splits_of_the_sandbox_are_apart(sandbox):
    picks = held_out_picks(sandbox)
    assert len(picks) > 5000
    assert_splits_are_apart(sandbox, picks)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_splits_of_one_survey_are_apart(own_files, tmp_path, seed):
    """Tiles of 4 km that overlap by three quarters, all from one survey: the split runs right through it."""
    options = {"tile_cells": 16, "step_cells": 4, "seed": seed, "validation_fraction": 0.3, "progress": False}
    folder = bed_topography.prepare(source=str(own_files), out=tmp_path / "data", **options)
    picks = pd.read_csv(own_files.parent / "judge.csv").rename(columns={"X": "x", "Y": "y"})
    training, validation = assert_splits_are_apart(folder, picks)
    gaps = [shapely.distance(tile, validation).min() for tile in training]
    assert min(gaps) == 0, "with the margin taken off, the buffer of 2 km should be used up somewhere"


@pytest.mark.parametrize("offset", [(0, 0), (500, 500), (-321, 123)])
def test_tiles_start_on_low_res_cells_wherever_these_lie(tmp_path, offset):
    """BEDMAP2's cells start at half kilometres: tiles there must not read between cells, as blocks do not."""
    from conftest import CORNER_X, CORNER_Y, write_own_files

    corner = CORNER_X + offset[0], CORNER_Y + offset[1]
    file = write_own_files(tmp_path / "own", lowres_corner=corner)
    source = yaml.safe_load(file.read_text())
    source["region"] = [corner[0] + 2000, corner[1] + 3000, corner[0] + 28000, corner[1] + 30000]
    file.write_text(yaml.safe_dump(source))
    folder = bed_topography.prepare(source=str(file), out=tmp_path / "data", step_cells=4, progress=False)
    assert open_region(folder).bounds == tuple(source["region"])
    tiles = read_tiles(folder / "tiles.zarr")
    cells = (tiles["bounds"].values[:, :2] - corner) / LOWRES_M
    np.testing.assert_array_equal(cells, np.round(cells))
    with rasterio.open(file.parent / "bed_lowres.tif") as opened:
        for tile in (0, -1):
            west, south, east, north = tiles["bounds"].values[tile]
            window = opened.window(west - LOWRES_M, south - LOWRES_M, east + LOWRES_M, north + LOWRES_M)
            expected = opened.read(1, window=window.round())
            np.testing.assert_array_equal(tiles["bed_lowres"].values[tile, 0], expected)


def test_tiles_that_miss_a_value_of_an_input_are_left_out(own_files, tmp_path):
    """A hole in the surface of 12 km is too wide to be filled: it is no input."""
    file = own_files.parent / "surface.tif"
    with rasterio.open(file) as opened:
        values, profile = opened.read(1), opened.profile | {"driver": "GTiff"}
    values[:, :120] = np.nan
    with rasterio.open(file, "w", **profile) as written:
        written.write(values, 1)
    options = {"out": tmp_path / "data", "tile_cells": 16, "progress": False}
    folder = bed_topography.prepare(source=str(own_files), **options)
    tiles = read_tiles(folder / "tiles.zarr")
    assert all(np.isfinite(tiles[name].values).all() for name in tiles.data_vars)
    # Inputs reach 1 km farther than their tiles: the first that is whole starts 13 km from the edge.
    assert tiles["bounds"].values[:, 0].min() == -1_500_000 + 13_000


# --- train ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raw_run(sandbox, hyperparameters, tmp_path_factory):
    """Train on raw metres, as the original does."""
    run = tmp_path_factory.mktemp("raw")
    options = hyperparameters | {"departure": False, "adversarial_weight": 0, "max_epochs": 1}
    bed_topography.train(data=sandbox, run=run, **options)
    return run


def test_raw_metres_are_scaled_by_nothing(raw_run, sandbox, tmp_path):
    task = load_checkpoint(raw_run / "checkpoints" / "best.ckpt", BedTask)
    signature = Signature.from_dict(task.signature)
    assert signature.facts["departure"] is False
    assert task.departure_scale_m == 1
    published = {"bed_lowres", "surface_elevation", "ice_velocity", "snow_accumulation"}
    assert {each.name for each in signature.inputs} == published
    assert all(each.scale == Scale(mean=0, spread=1) for each in [*signature.inputs, *signature.outputs])
    out = bed_topography.predict(run=raw_run, data=sandbox, out=tmp_path / "map.tif", progress=False)
    assert np.isfinite(open_field(out).values).all()


@pytest.mark.parametrize("departure", [True, False])
def test_a_block_without_halo_is_a_tile(sandbox, trained_run, raw_run, tmp_path, departure):
    """Training and prediction read, scale and draw alike: a map of a tile is what the tile's arrays give."""
    run = trained_run if departure else raw_run
    tile = read_tiles(sandbox / "tiles.zarr", "validation").isel(tile=[3])
    out = bed_topography.predict(
        run=run,
        data=sandbox,
        out=tmp_path / "tile.tif",
        bounds=tuple(tile["bounds"].values[0].tolist()),
        halo_cells=0,
        progress=False,
    )
    dataset = open_region(sandbox)
    task = load_checkpoint(run / "checkpoints" / "best.ckpt", BedTask)
    signature = Signature.from_dict(task.signature)
    names = [each.name for each in signature.inputs]
    arrays, _ = read_samples(dataset, "validation", names, departure=departure, like=signature)
    inputs = {name: torch.from_numpy(values[3:4]) for name, values in arrays["inputs"].items()}
    with torch.inference_mode():
        drawn = task.draw({"inputs": inputs, "base": torch.from_numpy(arrays["base"][3:4])})[0, 0].numpy()
    inverted = arrays["base"][3, 0]
    drawn = inverted + float(task.departure_share) * (drawn - inverted)
    # What is drawn fades into the cubic low-res bed within 10 km of the grounding line.
    line = read_area(sandbox / dataset.facts["grounding_line"], crs=dataset.crs)
    west, south, east, north = tile["bounds"].values[0]
    x, y = np.arange(west + 125, east, 250), np.arange(north - 125, south, -250)
    afloat = shapely.box(*dataset.bounds).difference(line)
    distance = shapely.distance(afloat, shapely.points(*np.meshgrid(x, y)))
    base = dataset.cut("bed_lowres", tile["bounds"].values, method="cubic")[0]
    mapped = open_field(out).values
    far = distance > 10_500
    np.testing.assert_allclose(mapped[far], drawn[far], atol=1e-3)
    weight = np.clip(distance / 10_000, 0, 1)
    np.testing.assert_allclose(mapped, base + weight * (drawn - base), atol=0.04 * np.abs(drawn - base).max())


def test_a_run_does_not_go_on_with_other_data(own_files, tmp_path, hyperparameters):
    """The weights belong to the scales of the tiles that they were learnt from."""
    data, run = tmp_path / "data", tmp_path / "run"
    bed_topography.prepare(source=str(own_files), out=data, step_cells=8, progress=False)
    options = hyperparameters | {"adversarial_weight": 0, "max_epochs": 1}
    bed_topography.train(data=data, run=run, **options)
    bed_topography.prepare(source=str(own_files), out=data, step_cells=8, seed=8, progress=False)
    with pytest.raises(InputError, match=r"last.ckpt: was trained on other data \(.*bed\).*--resume false"):
        bed_topography.train(data=data, run=run, **options | {"max_epochs": 2})


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(InputError, match="no GPU was found; give cpu or auto"):
        choose_device("gpu")


# --- predict --------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_cells", [44, 64, 100])
def test_tiled_equals_untiled(sandbox, trained_run, whole_map, tmp_path, block_cells):
    """At the halo that is measured, seams stay below a centimetre, of departures that reach metres."""
    options = {"run": trained_run, "data": sandbox, "block_cells": block_cells, "progress": False}
    tiled = bed_topography.predict(**options, out=tmp_path / "tiled.tif")
    with rasterio.open(whole_map) as one, rasterio.open(tiled) as many:
        assert (one.bounds, one.shape) == (many.bounds, many.shape)
        assert 0 < int(many.tags()["halo_cells"]) < 120
        assert np.abs(one.read(1) - many.read(1)).max() < 0.01


def test_the_network_has_learnt_something_to_make_seams_with(sandbox, whole_map):
    assert np.abs(open_field(whole_map).values - cubic_by_pillow(sandbox)).max() > 2


def test_a_box_is_a_part_of_the_whole(sandbox, trained_run, whole_map, tmp_path):
    """A box that cuts through low-res cells and, given in uneven metres, through cells of the map."""
    options = {"run": trained_run, "data": sandbox, "block_cells": 48, "progress": False}
    bounds = (-1_489_700.0, -300_100.0, -1_470_000.0, -291_250.0)
    out = bed_topography.predict(**options, bounds=bounds, out=tmp_path / "box.nc")
    box = open_field(out)
    assert tuple(box.rio.bounds()) == (-1_489_750.0, -300_250.0, -1_470_000.0, -291_250.0)
    part = open_field(whole_map).sel(x=box["x"], y=box["y"])
    assert part.shape == (36, 79)
    np.testing.assert_allclose(box.values, part.values, atol=0.01)


def test_a_killed_prediction_goes_on(sandbox, trained_run, whole_map, tmp_path, monkeypatch, capsys):
    """Interrupted in its fourth of nine blocks, it computes the other six when called again."""
    apply, calls = BedPredictor.apply, []

    def draw(predictor, arrays, *, stop=None):
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append(1)
        return apply(predictor, arrays)

    words = ["predict", "--run", trained_run, "--data", sandbox, "--out", tmp_path / "map.tif"]
    words += ["--block_cells", 80, "--halo_cells", 64, "--progress", "false"]
    command = ["bed_topography", *map(str, words)]
    monkeypatch.setattr(BedPredictor, "apply", partialmethod(draw, stop=3))
    assert main(command) == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on where it was\n"
    assert not (tmp_path / "map.tif").exists()
    calls.clear()
    monkeypatch.setattr(BedPredictor, "apply", draw)
    assert main(command) == 0
    assert len(calls) == 6
    difference = open_field(tmp_path / "map.tif").values - open_field(whole_map).values
    assert np.abs(difference).max() < 0.01


# --- evaluate -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scores(sandbox, trained_run, whole_map, tmp_path_factory):
    run = tmp_path_factory.mktemp("judged")
    returned = bed_topography.evaluate(run=run, data=sandbox, prediction=whole_map, figures=False)
    written = json.loads((run / "scores.json").read_text())
    assert written == json.loads(json.dumps(returned))
    return written


def cubic_by_pillow(folder):
    """Interpolate the low-res bed fourfold by Pillow's bicubic filter, the same convolution (a = -1/2)."""
    with rasterio.open(folder / "lowres" / "bedmap2_bed.tif") as opened:
        lowres = np.pad(opened.read(1), 4, mode="edge")
    size = lowres.shape[1] * 4, lowres.shape[0] * 4
    return np.asarray(Image.fromarray(lowres).resize(size, Image.Resampling.BICUBIC))[16:-16, 16:-16]


def errors_at_picks(values, folder):
    """Read a map of the sandbox between the four nearest cell centres, and subtract the radar."""
    picks = held_out_picks(folder)
    row, column = (-245_000 - picks["y"]) / 250 - 0.5, (picks["x"] + 1_500_000) / 250 - 0.5
    sampled = ndimage.map_coordinates(values, [row, column], order=1, mode="constant", cval=np.nan)
    return (sampled - picks["z"].to_numpy())[np.isfinite(sampled)]


def test_scores_have_the_agreed_structure(scores):
    names = {"prediction", "cubic", "inversion", "radar_inversion", "spline"}
    for measure, unit in (("rmse", "m"), ("mae", "m"), ("bias", "m"), ("roughness_ratio", "1")):
        for against, others in (("held-out picks", set()), ("truth", {"bound"})):
            found = pick(scores["scores"], measure=measure, against=against)
            assert {row["name"] for row in found} == names | others
            assert len(found) == len(names | others)
            assert {row["unit"] for row in found} == {unit}
    flux = pick(scores["scores"], measure="flux_residual", against="mass conservation")
    assert {(row["name"], row["unit"]) for row in flux} == {
        (name, "m a-1") for name in ("prediction", "cubic", "inversion", "radar_inversion", "truth")
    }
    assert isinstance(scores["n_picks"], int)
    assert sum(scores["surveys"].values()) == scores["n_picks"]
    truth = pick(scores["scores"], against="truth", measure="rmse")
    assert value_of(truth, name="bound") < value_of(truth, name="cubic")


def test_intervals_hold_the_scores(scores):
    """Of whole flights: the score itself lies well within."""
    rows = pick(scores["scores"], against="held-out picks", measure="rmse")
    assert all(row["low"] < row["value"] < row["high"] for row in rows)
    assert not [row for row in pick(scores["scores"], against="truth") if "low" in row]


def test_a_map_judged_block_by_block_is_judged_as_a_whole(scores, sandbox, whole_map, monkeypatch):
    """Blocks of 37 cells cut through flights, tiles and windows of roughness."""
    monkeypatch.setattr(judgement, "BLOCK_CELLS", 37)
    rows, facts = judgement.score_map(open_region(sandbox), whole_map)
    assert facts == {key: value for key, value in scores.items() if key != "scores"}
    judged = [row for row in scores["scores"] if row["against"] != "mass conservation"]
    assert [[row[key] for key in ("against", "measure", "name")] for row in rows] == [
        [row[key] for key in ("against", "measure", "name")] for row in judged
    ]
    for row, whole in zip(rows, judged):
        assert row["value"] == pytest.approx(whole["value"], rel=1e-5, abs=1e-5), row


def test_no_more_of_a_map_than_a_block_is_read(sandbox, whole_map, monkeypatch):
    read = []

    def load(field):
        read.append(field.shape)
        return load_values(field)

    monkeypatch.setattr(judgement, "BLOCK_CELLS", 64)
    monkeypatch.setattr(judgement, "load_values", load)
    judgement.score_map(open_region(sandbox), whole_map)
    lowres = open_region(sandbox).field("bed_lowres").shape
    assert max(max(shape) for shape in read if shape != lowres) == 64 + 2 * 2


def test_scores_at_picks_by_hand(scores, sandbox, whole_map):
    for name, values in {
        "cubic": cubic_by_pillow(sandbox),
        "prediction": open_field(whole_map).values,
    }.items():
        errors = errors_at_picks(values, sandbox)
        assert scores["n_picks"] == len(errors)
        rows = pick(scores["scores"], against="held-out picks", name=name)
        assert value_of(rows, measure="rmse") == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-4)
        assert value_of(rows, measure="bias") == pytest.approx(np.mean(errors), abs=1e-3)


def test_scores_against_the_truth_by_hand(scores, sandbox):
    """Outside every tile, which GDAL burns in from the GeoJSON."""
    import geopandas
    from rasterio.features import rasterize

    with rasterio.open(sandbox / "truth" / "bed.tif") as opened:
        truth, transform = opened.read(1), opened.transform
    tiles = geopandas.read_file(sandbox / "tiles_3031.geojson").geometry
    seen = rasterize(tiles, out_shape=truth.shape, transform=transform).astype(bool)
    errors = (cubic_by_pillow(sandbox) - truth)[~seen]
    rows = pick(scores["scores"], against="truth", name="cubic")
    assert value_of(rows, measure="rmse") == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-4)
    assert value_of(rows, measure="mae") == pytest.approx(np.mean(np.abs(errors)), rel=3e-4)
    assert scores["share_of_map"] == pytest.approx(np.mean(~seen))


def test_the_truth_itself_scores_best(sandbox, tmp_path):
    """The known bed as a map: no error but the radar's own, 5 m a flight and 12 m a pick.

    And it is as rough as gridded radar is, whose noise makes that a little rougher than the bed.
    """
    shutil.copy(sandbox / "truth" / "bed.tif", tmp_path / "truth.tif")
    options = {"run": tmp_path, "data": sandbox, "prediction": tmp_path / "truth.tif", "figures": False}
    judged = bed_topography.evaluate(**options)
    radar, truth = (
        pick(judged["scores"], against=against, name="prediction") for against in ("held-out picks", "truth")
    )
    assert value_of(radar, measure="rmse") == pytest.approx(np.hypot(12, 5), abs=2)
    assert value_of(truth, measure="rmse") == 0
    assert value_of(truth, measure="roughness_ratio") == 1
    assert value_of(radar, measure="roughness_ratio") == pytest.approx(1, abs=0.1)


def test_a_single_held_out_flight_is_judged_without_an_interval(own_files, tmp_path):
    """The exact bed under one flight, 3 m too high: that is its error; nothing tells how flights differ."""
    data = bed_topography.prepare(source=str(own_files), out=tmp_path / "data", step_cells=8, progress=False)
    grid = open_region(data).grid
    x, y = np.meshgrid(grid.x, grid.y)
    hills = -400 + 80 * np.sin(2 * np.pi * x / 7e3) + 60 * np.cos(2 * np.pi * y / 11e3)  # as own_files has it
    bed = make_field(hills + 3, grid, name="bed")
    prediction = write_cog(bed, tmp_path / "map.tif")
    judged = bed_topography.evaluate(run=tmp_path, data=data, prediction=prediction, figures=False)
    assert judged["n_flights"] == 1
    (bias,) = pick(judged["scores"], against="held-out picks", measure="bias", name="prediction")
    assert bias["value"] == pytest.approx(3, abs=0.5)
    assert not [row for row in judged["scores"] if "low" in row]
