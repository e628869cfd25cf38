"""Steps of grid_to_tiles.feature."""

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import yaml
from pytest_bdd import given, parsers, scenarios, then, when

from conftest import CORNER_X, CORNER_Y, SIZE_M, write_survey
from fieldwise.errors import InputError
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.tiles import read_tiles, slide_windows
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.regions.surveys import read_held_out, tile_area

scenarios("grid_to_tiles.feature")


@given(parsers.parse("a survey of {width:g} by {height:g} km, gridded at 250 m"), target_fixture="survey")
def _(width, height):
    grid = Grid(0, 0, width * 1000, height * 1000, 250, "EPSG:3031")
    return make_field(np.full(grid.shape, -500.0), grid, name="bed")


@given(parsers.parse("one cell at {hole:g} km from its western edge is missing"))
def _(survey, hole):
    survey.values[10, round(hole * 4)] = np.nan


@given("ice that is grounded from 10 km eastward, and floats to the west of it", target_fixture="line")
def _(tmp_path):
    grounded = shapely.box(10e3, -50e3, 100e3, 50e3)
    geopandas.GeoDataFrame(geometry=[grounded], crs="EPSG:3031").to_file(tmp_path / "line.shp")
    return tmp_path / "line.shp"


@given("a user's own files", target_fixture="file")
def _(own_files):
    return own_files


@given("the survey is one flight")
def _(file):
    along = np.arange(0, SIZE_M, 200)
    write_survey(file.parent, "dense", CORNER_X + along, np.full(along.size, CORNER_Y + 9000))


@given("the survey covers 10 km only")
def _(file):
    along = np.arange(0, 10_000, 200)
    x, y = np.meshgrid(CORNER_X + along, CORNER_Y + along)
    write_survey(file.parent, "dense", x.ravel(), y.ravel())


@given("the survey lies where nothing else is known")
def _(file):
    write_survey(file.parent, "dense", np.array([0.0, 100.0]), np.array([0.0, 100.0]))


@given("the ice is grounded nowhere near")
def _(file):
    far = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 9e3, 9e3)], crs="EPSG:3031")
    far.to_file(file.parent / "line.shp")
    source = yaml.safe_load(file.read_text()) | {"grounding_line": {"path": "line.shp", "buffer_m": 10_000}}
    file.write_text(yaml.safe_dump(source))


@given("half of the surface raster has been lost")
def _(file):
    raster = file.parent / "surface.tif"
    raster.write_bytes(raster.read_bytes()[: raster.stat().st_size // 2])


@when(
    parsers.parse("I slide a window of 9 km over it in steps of {step:d} m"),
    target_fixture="windows",
)
def _(survey, step):
    return slide_windows(survey, tile_cells=36, step_cells=step // 250)


@when(
    parsers.parse("I slide a window of 9 km over it by 1000 m, within {buffer:g} km of grounded ice"),
    target_fixture="windows",
)
def _(survey, line, buffer):
    entry = {"path": line.name, "buffer_m": buffer * 1000}
    inside = tile_area({"grounding_line": entry}, folder=line.parent, crs="EPSG:3031")
    return slide_windows(survey, tile_cells=36, step_cells=4, inside=inside)


@when("I try to prepare them", target_fixture="complaint")
def _(file, tmp_path):
    with pytest.raises(InputError) as caught:
        bed_topography.prepare(source=str(file), out=tmp_path / "data", progress=False)
    assert not (tmp_path / "data" / "dataset.yaml").exists()
    return str(caught.value)


@then(parsers.parse("there are {count:d} tiles"))
def _(windows, count):
    assert len(windows) == count
    assert np.all(windows[:, 2:] - windows[:, :2] == 9000)


@then(parsers.parse("the tiles start at {starts} km from its western edge"))
def _(windows, starts):
    assert windows[:, 0].tolist() == [1000.0 * int(start) for start in starts.split(",")]


@then(parsers.parse("the westernmost tile starts at {west:d} km"))
def _(windows, west):
    assert windows[:, 0].min() == 1000 * west


@then("each tile is a square of 9 km in EPSG:3031", target_fixture="tiles")
def _(dataset):
    tiles = geopandas.read_file(dataset.folder / "tiles_3031.geojson")
    assert tiles.crs.to_epsg() == 3031
    assert len(tiles) > 20
    corners = tiles.geometry.bounds.to_numpy()
    np.testing.assert_array_equal(corners[:, 2:] - corners[:, :2], 9000)
    assert tiles.geometry.area.tolist() == [81e6] * len(tiles)
    return tiles


@then("the same tiles in EPSG:4326 lie at the same places to within a metre")
def _(dataset, tiles):
    degrees = geopandas.read_file(dataset.folder / "tiles_4326.geojson")
    assert degrees.crs.to_epsg() == 4326
    assert degrees.geometry.bounds["miny"].between(-90, -60).all()
    there = degrees.to_crs("EPSG:3031").geometry
    assert max(map(shapely.hausdorff_distance, there, tiles.geometry)) < 1
    assert degrees["split"].tolist() == tiles["split"].tolist()


@then("each is marked as one to train on or one to validate on")
def _(dataset, tiles):
    assert set(tiles["split"]) == {"training", "validation"}
    stored = read_tiles(dataset.folder / "tiles.zarr")
    assert stored["split"].values.tolist() == tiles["split"].tolist()


@then(parsers.parse("a tile of {name} has {channels:d} x {cells:d} x {cells_too:d} cells of {spacing:d} m"))
def _(dataset, name, channels, cells, cells_too, spacing):
    tiles = read_tiles(dataset.folder / "tiles.zarr")[name]
    assert tiles.shape[1:] == (channels, cells, cells_too)
    assert tiles.attrs["spacing_m"] == spacing


@then(parsers.parse("the tiles of {name} equal {file} there"))
def _(dataset, name, file):
    tiles = read_tiles(dataset.folder / "tiles.zarr")
    wide = tiles["bounds"].values + np.array([-1, -1, 1, 1]) * 1000
    with rasterio.open(dataset.folder / file) as opened:
        for bounds, values in zip(wide, tiles[name].values, strict=True):
            expected = opened.read(1, window=opened.window(*bounds).round())
            np.testing.assert_array_equal(values[0], expected)


@then("training tiles are at least 2 km away from validation tiles")
def _(dataset):
    tiles = geopandas.read_file(dataset.folder / "tiles_3031.geojson")
    training = tiles.geometry[tiles["split"] == "training"]
    validation = shapely.MultiPolygon(tiles.geometry[tiles["split"] == "validation"].tolist())
    assert training.distance(validation).min() >= 2000


@then("no tile is nearer than 2 km to a radar pick that is held out")
def _(dataset):
    picks: pd.DataFrame = read_held_out(dataset)
    tiles = geopandas.read_file(dataset.folder / "tiles_3031.geojson").geometry
    points = shapely.multipoints(picks[["x", "y"]].to_numpy())
    assert tiles.distance(points).min() >= 2000
