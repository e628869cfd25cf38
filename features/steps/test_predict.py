"""Steps of predict.feature."""

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from pytest_bdd import given, parsers, scenarios, then, when

from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field
from fieldwise.recipes import bed_topography

scenarios("predict.feature")

BOX = "{west:g} to {east:g} km and from {south:g} to {north:g} km of the sandbox's corner"
SPAN = "the map spans {west:g} to {east:g} km and {south:g} to {north:g} km of the sandbox's corner"
CORNER = np.array([-1_500_000.0, -305_000.0])


def to_bounds(west, south, east, north):
    return tuple((1000 * np.array([west, south, east, north]) + np.tile(CORNER, 2)).tolist())


@pytest.fixture
def draw(sandbox, tmp_path):
    """Give a function that draws a box, or all, to a file."""

    def run(generator, bounds=None, file="map.tif"):
        options = {"run": generator, "data": sandbox, "out": tmp_path / file, "bounds": bounds}
        return bed_topography.predict(**options, block_cells=64, progress=False)

    return run


@given("a generator trained on the sandbox", target_fixture="generator")
def _(trained_run):
    return trained_run


@given("nobody has trained yet", target_fixture="generator")
def _(tmp_path):
    return tmp_path / "run"


def write_checkpoint(folder: Path, content: bytes) -> Path:
    (folder / "run" / "checkpoints").mkdir(parents=True)
    (folder / "run" / "checkpoints" / "best.ckpt").write_bytes(content)
    return folder / "run"


@given("the checkpoint is a text file", target_fixture="generator")
def _(tmp_path):
    return write_checkpoint(tmp_path, b"weights: 1 2 3\n")


@given("the checkpoint would run a command", target_fixture="generator")
def _(tmp_path):
    class Command:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "map.tif"),)

    return write_checkpoint(tmp_path, pickle.dumps({"state_dict": Command()}))


@when(parsers.parse("I ask for the bed from " + BOX), target_fixture="map_file")
def _(draw, generator, west, south, east, north):
    return draw(generator, to_bounds(west, south, east, north))


@when("I ask for the bed of the whole sandbox", target_fixture="map_file")
def _(draw, generator):
    return draw(generator)


@when(parsers.parse("I ask for the bed from " + BOX + ", as {file}"), target_fixture="map_file")
def _(draw, generator, west, south, east, north, file):
    return draw(generator, to_bounds(west, south, east, north), file)


@when(parsers.parse("I try to draw the bed from " + BOX), target_fixture="complaint")
def _(draw, generator, west, south, east, north):
    with pytest.raises(InputError) as caught:
        draw(generator, to_bounds(west, south, east, north))
    return str(caught.value)


@then(parsers.parse("the map has {rows:d} rows and {columns:d} columns of 250 m in EPSG:3031"))
def _(map_file, rows, columns):
    with rasterio.open(map_file) as opened:
        assert opened.shape == (rows, columns)
        assert opened.res == (250, 250)
        assert opened.crs.to_epsg() == 3031


@then("it spans just that box")
def _(map_file, request):
    example = request.node.callspec.params["_pytest_bdd_example"]
    edges = (float(example[name]) for name in ("west", "south", "east", "north"))
    with rasterio.open(map_file) as opened:
        assert tuple(opened.bounds) == to_bounds(*edges)


@then(parsers.parse(SPAN))
def _(map_file, west, south, east, north):
    with rasterio.open(map_file) as opened:
        assert tuple(opened.bounds) == to_bounds(west, south, east, north)


@then("it has four cells along each kilometre of the low-res bed")
def _(map_file, sandbox):
    with rasterio.open(map_file) as fine, rasterio.open(sandbox / "lowres" / "bedmap2_bed.tif") as coarse:
        assert coarse.res[0] / fine.res[0] == 4
        offset = np.array([fine.bounds.left - coarse.bounds.left, coarse.bounds.top - fine.bounds.top])
        assert (offset % 250 == 0).all()


@then("it is the same as that part of the map of the whole, to less than 1 cm")
def _(map_file, whole_map):
    with rasterio.open(map_file) as box, rasterio.open(whole_map) as whole:
        part = whole.read(1, window=whole.window(*box.bounds).round())
        assert np.abs(box.read(1) - part).max() < 0.01


@then("no cell is missing")
def _(map_file):
    with rasterio.open(map_file) as opened:
        assert np.isfinite(opened.read(1)).all()


@then(parsers.parse("{file} is a {form} in metres, of 32 bits, that marks missing cells as NaN"))
def _(map_file, file, form):
    assert map_file.name == file
    if form == "cloud-optimised GeoTIFF":
        with rasterio.open(map_file) as opened:
            assert opened.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert opened.dtypes == ("float32",)
            assert opened.units == ("m",)
            assert np.isnan(opened.nodata)
    else:
        with h5py.File(map_file) as opened:
            assert opened.attrs["Conventions"].startswith("CF-")
            assert opened["bed"].dtype == "float32"
            assert opened["bed"].attrs["units"] == "m"
            assert opened["bed"].attrs["grid_mapping"] in opened
            assert np.isnan(opened["bed"].attrs["_FillValue"])
    assert open_field(map_file).shape == (4, 8)


@then("there is no map")
def _(tmp_path):
    assert not (tmp_path / "map.tif").exists()
