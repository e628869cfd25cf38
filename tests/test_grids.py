"""Grids and fields on them, how they are written, and brought to another CRS."""

import errno
import os

import h5py
import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from small_rasters import GRID, VALUES, write_raster

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields import cogs, rasters
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, crs_name, grid_of, load_values, make_field, overlap
from fieldwise.fields.rasters import create_tiled, write_cog, write_cog_by_blocks, write_netcdf
from fieldwise.fields.resampling import align


@pytest.fixture
def field():
    return make_field(VALUES, GRID, name="bed", long_name="bed elevation")


# --- grids ----------------------------------------------------------------------------------------

spacings = st.sampled_from([0.25, 1.0, 100.0, 250.0, 450.0, 1000.0])
edges = st.floats(-3e6, 3e6)


@given(edges, edges, st.floats(1, 1e5), st.floats(1, 1e5), spacings)
@settings(deadline=None)  # the machine may be busy
def test_grid_around_contains_bounds_and_is_minimal(west, south, width, height, spacing):
    bounds = (west, south, west + width, south + height)
    grid = Grid.around(bounds, spacing, "EPSG:3031")
    slack = 1e-5 * spacing
    assert grid.west <= bounds[0] + slack
    assert grid.south <= bounds[1] + slack
    assert grid.east >= bounds[2] - slack
    assert grid.north >= bounds[3] - slack
    assert max(bounds[0] - grid.west, bounds[1] - grid.south) < spacing
    assert max(grid.east - bounds[2], grid.north - bounds[3]) < spacing
    assert all(abs(edge / spacing - round(edge / spacing)) < 1e-6 for edge in grid.bounds)


@given(st.integers(-999, 999), st.integers(-999, 999), st.integers(2, 9), st.integers(2, 9), spacings)
@settings(deadline=None)  # the machine may be busy
def test_grid_of_undoes_make_field(column, row, width, height, spacing):
    west, south = column * spacing, row * spacing
    grid = Grid(west, south, west + width * spacing, south + height * spacing, spacing, "EPSG:3413")
    made = make_field(np.zeros((height, width)), grid, name="bed")
    assert grid.shape == (height, width)
    assert grid_of(made) == grid


def test_grid_of_keeps_a_spacing_in_degrees():
    """A global grid of 1/120 degree has 43200 columns: rounding its spacing would change their number."""
    x = -180 + (np.arange(43200) + 0.5) / 120
    wide = xr.DataArray(np.zeros((2, 43200), np.int8), dims=("y", "x"), coords={"y": [1 / 120, 0], "x": x})
    assert grid_of(wide.rio.write_crs("EPSG:4326")).shape == (2, 43200)


def test_grid_of_refuses_what_is_no_grid(field):
    with pytest.raises(InputError, match="1 x 4 cells"):
        grid_of(field[:1])
    with pytest.raises(InputError, match="250 by 500 m are not square"):
        grid_of(field[::2])


def test_make_field_refuses_values_of_another_shape():
    with pytest.raises(InputError, match=r"\(4, 3\) do not fit a grid of \(3, 4\)"):
        make_field(VALUES.T, GRID, name="bed")


def test_overlap_of_boxes_that_only_touch_is_none():
    assert overlap((0, 0, 1, 1), (0, 1, 1, 2)) is None
    assert overlap((0, 0, 3, 3), (1, 1, 2, 2)) == (1, 1, 2, 2)


def test_unknown_crs_is_an_error():
    with pytest.raises(InputError, match=r"unknown CRS 'EPSG:99999'; give an EPSG code"):
        crs_name("EPSG:99999")


# --- writing --------------------------------------------------------------------------------------


def test_cog_is_one(tmp_path):
    values = np.random.default_rng(1).normal(size=(600, 700)).astype("float32")
    values[:10] = np.nan
    grid = Grid(0, 0, 700 * 250, 600 * 250, 250, "EPSG:3031")
    path = write_cog(make_field(values, grid, name="bed"), tmp_path / "new" / "bed.tif", tags={"seed": "7"})
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.compression.name == "deflate"
        assert file.dtypes == ("float32",)
        assert np.isnan(file.nodata)
        assert file.crs.to_epsg() == 3031
        assert file.bounds == grid.bounds
        assert file.block_shapes == [(512, 512)]
        assert file.overviews(1) == [2]
        assert (file.descriptions, file.units) == (("bed",), ("m",))
        assert file.tags()["seed"] == "7"
        np.testing.assert_array_equal(file.read(1), values)
    assert [entry.name for entry in path.parent.iterdir()] == ["bed.tif"]


@pytest.mark.parametrize("largest_classic", [2**32, 0])
def test_cog_is_what_gdals_own_driver_makes_of_the_same(tmp_path, monkeypatch, largest_classic):
    """Map and overviews, of two bands with a gap, from blocks that cut tiles; as TIFF and as BigTIFF."""
    monkeypatch.setattr(cogs, "LARGEST_CLASSIC", largest_classic)
    values = np.random.default_rng(2).normal(size=(2, 1100, 2048)).astype("float32")
    values[:, 300:700, :900] = np.nan
    grid = Grid(0, 0, 2048 * 250, 1100 * 250, 250, "EPSG:3031")
    corners = [(row, column) for row in range(0, 1100, 400) for column in range(0, 2048, 700)]
    blocks = ((*corner, values[:, corner[0] :, corner[1] :][:, :400, :700]) for corner in corners[::-1])
    path = write_cog_by_blocks(blocks, grid, tmp_path / "ours.tif", name=["bed", "spread"], units=["m", "m"])
    options = {"driver": "GTiff", "height": 1100, "width": 2048, "count": 2, "dtype": "float32"}
    options |= {"nodata": np.nan, "crs": "EPSG:3031", "transform": from_origin(0, 275_000, 250, 250)}
    with rasterio.open(tmp_path / "plain.tif", "w", **options) as plain:
        plain.write(values)
    theirs = tmp_path / "theirs.tif"
    copied = {"COMPRESS": "DEFLATE", "BLOCKSIZE": "512", "OVERVIEW_RESAMPLING": "AVERAGE"}
    rasterio.shutil.copy(tmp_path / "plain.tif", theirs, driver="COG", **copied)
    assert path.read_bytes()[:4] == (b"II*\0" if largest_classic else b"II+\0")
    for level in ({}, {"overview_level": 0}, {"overview_level": 1}):
        with rasterio.open(path, **level) as ours, rasterio.open(theirs, **level) as known:
            np.testing.assert_array_equal(ours.read(), known.read())
            assert ours.bounds == known.bounds
    with rasterio.open(path) as ours:
        assert ours.overviews(2) == [2, 4]
        assert ours.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_a_lost_tile_is_noticed_when_a_cog_is_put_in_order(tmp_path):
    path, grid = tmp_path / "plain.tif", Grid(0, 0, 4, 2, 1, "EPSG:3031")
    create_tiled(grid, path, name="bed")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"bed\.tif: tiles are missing; see that the disk is not full"):
        cogs.order_as_cog(path, tmp_path / "bed.tif")


def test_blocks_come_in_any_order(tmp_path, field):
    blocks = [(2, 0, VALUES[2:]), (0, 0, VALUES[:2, :1]), (0, 1, VALUES[:2, 1:])]
    path = write_cog_by_blocks(blocks, GRID, tmp_path / "bed.tif", name="bed")
    np.testing.assert_array_equal(open_field(path).values, VALUES)


def test_netcdf_keeps_crs_units_and_gaps(tmp_path, field):
    field = field.where(field != 5).astype("float32")
    path = write_netcdf(field, tmp_path / "bed.nc")
    opened = open_field(path)
    np.testing.assert_array_equal(opened.values, field.values)
    assert grid_of(opened) == GRID
    assert opened.attrs["units"] == "m"
    assert opened.attrs["long_name"] == "bed elevation"
    with h5py.File(path) as raw:
        assert raw.attrs["Conventions"].startswith("CF-")
        assert raw["bed"].attrs["grid_mapping"] == "spatial_ref"
        assert raw["x"].attrs["standard_name"] == "projection_x_coordinate"
        assert pyproj.CRS(raw["spatial_ref"].attrs["crs_wkt"]).to_epsg() == 3031


def test_nothing_is_left_after_an_error(tmp_path):
    target = tmp_path / "note.txt"
    target.write_text("before")

    def write_half():
        with replace_when_done(target) as partial:
            partial.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_half()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_takes_the_place_of_a_folder(tmp_path):
    target = tmp_path / "store"
    target.mkdir()
    (target / "old").touch()
    with replace_when_done(target) as partial:
        partial.mkdir()
        (partial / "new").touch()
    assert [entry.name for entry in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_the_users_to_mend(tmp_path, field, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match=r"bed\.tif: the disk is full; free some space"):
        write_cog(field, tmp_path / "bed.tif")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_while_gdal_writes(tmp_path, field, monkeypatch):
    def refuse(*arguments, **options):
        raise rasterio.errors.RasterioIOError("TIFFAppendToStrip: Write error: No space left on device")

    monkeypatch.setattr(rasters, "finish_cog", refuse)
    with pytest.raises(InputError, match=r"bed\.tif: .*disk .* full"):
        write_cog(field, tmp_path / "bed.tif")
    assert list(tmp_path.iterdir()) == []


def test_what_gdal_loses_without_a_word_is_noticed(tmp_path, field, monkeypatch):
    monkeypatch.setattr(rasters.rasterio.io.DatasetWriter, "write", lambda *arguments, **options: None)
    with pytest.raises(InputError, match=r"bed\.tif: .*reads back different"):
        write_cog(field, tmp_path / "bed.tif")
    assert list(tmp_path.iterdir()) == []


# --- other CRS ------------------------------------------------------------------------------------


def test_align_brings_a_field_to_another_crs(tmp_path):
    """A field of its own longitude, written south-up in EPSG:4326, read at EPSG:3031 coordinates.

    In EPSG:3031 the longitude of a place is atan2(x, y), by the definition of the projection.
    """
    x, y = np.arange(30, 50, 0.1) + 0.05, np.arange(-75, -70, 0.1) + 0.05
    path = tmp_path / "longitude.nc"
    data = xr.Dataset({"longitude": (("y", "x"), np.broadcast_to(x, (y.size, x.size)))}, {"y": y, "x": x})
    data.rio.write_crs("EPSG:4326").to_netcdf(path, engine="h5netcdf")
    aligned = align(open_field(path), "EPSG:3031")
    assert grid_of(aligned).crs == "EPSG:3031"
    values = load_values(aligned)
    expected = np.degrees(np.arctan2(*np.meshgrid(aligned["x"], aligned["y"])))
    inside = np.isfinite(values) & (expected > 30.15) & (expected < 49.85)  # not held by the outer cells
    assert inside.sum() > 5000
    np.testing.assert_allclose(values[inside], expected[inside], atol=0.02)  # GDAL places to 1/8 cell
    assert abs(np.mean(values[inside] - expected[inside])) < 5e-3


def test_align_of_a_raster_that_runs_south_to_north(tmp_path):
    """One field in EPSG:3413, written south-up and north-up, is the same in EPSG:3995."""
    values = np.arange(200, dtype="float32").reshape(10, 20)
    up = rasterio.Affine(250, 0, 3e5, 0, 250, 1e6)
    down = rasterio.Affine(250, 0, 3e5, 0, -250, 1e6 + 2500)
    south_up = write_raster(tmp_path / "up.tif", values, transform=up, crs="EPSG:3413")
    north_up = write_raster(tmp_path / "down.tif", values[::-1], transform=down, crs="EPSG:3413")
    first, second = (align(open_field(path), "EPSG:3995") for path in (south_up, north_up))
    assert np.isfinite(first).sum() > 100
    np.testing.assert_array_equal(first.values, second.values)
    assert grid_of(first) == grid_of(second)


def test_align_leaves_the_same_crs_alone(field):
    assert align(field, "EPSG:3031") is field
