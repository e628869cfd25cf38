"""Gridded files in every form that users have them in, and what is written."""

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields import rasters
from fieldwise.fields.formats import open_field, open_fields
from fieldwise.fields.grids import Grid, crs_name, grid_of, load_values, make_field, overlap
from fieldwise.fields.rasters import write_cog, write_cog_by_blocks, write_netcdf
from fieldwise.fields.resampling import align

DATA = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
GRID = Grid(1000, -500, 2000, 250, 250, "EPSG:3031")
VALUES = np.arange(12.0).reshape(3, 4)  # row 0 in the north


@pytest.fixture
def field():
    return make_field(VALUES, GRID, name="bed", long_name="bed elevation")


def write_raster(path, values, *, transform=None, **profile):
    """Write a GeoTIFF with nothing but rasterio, as other systems would."""
    profile = {"crs": "EPSG:3031", **profile}
    transform = transform or rasterio.transform.from_origin(GRID.west, GRID.north, 250, 250)
    height, width = values.shape
    with rasterio.open(
        path, "w", "GTiff", width, height, 1, dtype=values.dtype, transform=transform, **profile
    ) as file:
        file.write(values, 1)
    return path


def dataset(values=VALUES, *, x=GRID.x, y=GRID.y, name="bed"):
    data = xr.Dataset({name: (("y", "x"), values)}, coords={"y": y, "x": x})
    return data.rio.write_crs("EPSG:3031")


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


# --- opening --------------------------------------------------------------------------------------


def test_order_of_rows_does_not_matter(tmp_path, field):
    """The same field, written north-up and south-up, as GeoTIFF and as NetCDF, reads the same."""
    up = rasterio.Affine(250, 0, GRID.west, 0, 250, GRID.south)  # first row in the south
    paths = [
        write_raster(tmp_path / "down.tif", VALUES.astype("float32")),
        write_raster(tmp_path / "up.tif", VALUES[::-1].astype("float32"), transform=up),
    ]
    for name, data in {
        "down": dataset(),
        "up": dataset(VALUES[::-1], y=GRID.y[::-1]),
        "mirrored": dataset(VALUES[:, ::-1], x=GRID.x[::-1]),
        "turned": dataset().transpose("x", "y"),
    }.items():
        paths.append(tmp_path / f"{name}.nc")
        data.to_netcdf(paths[-1], engine="h5netcdf")
    for path in paths:
        opened = open_field(path)
        assert opened.dims == ("y", "x")
        assert opened.dtype == np.float32
        np.testing.assert_array_equal(load_values(opened), VALUES, err_msg=path.name)
        assert grid_of(opened) == GRID
        assert overlap(opened.rio.bounds(recalc=True), GRID.bounds) == GRID.bounds


def test_packed_integers_are_unpacked(tmp_path):
    """32767 is missing, others are 0.5 n + 1000: 1000, 1001, ... by hand."""
    packed = (2 * np.arange(12).reshape(3, 4)).astype("int16")
    packed[0, 0] = 32767
    path = tmp_path / "packed.nc"
    data = dataset(packed)
    data["bed"].attrs = {"_FillValue": np.int16(32767), "scale_factor": 0.5, "add_offset": 1000.0}
    data.to_netcdf(path, engine="h5netcdf")
    expected = 1000 + np.arange(12.0).reshape(3, 4)
    expected[0, 0] = np.nan
    np.testing.assert_array_equal(load_values(open_field(path)), expected)


def test_integer_raster_with_nodata(tmp_path):
    values = np.arange(12, dtype="int16").reshape(3, 4)
    values[2, 3] = -9999
    opened = open_field(write_raster(tmp_path / "bed.tif", values, nodata=-9999))
    assert np.isnan(opened.values[2, 3])
    np.testing.assert_array_equal(opened.values.ravel()[:-1], np.arange(11))


def test_one_variable_of_several(tmp_path):
    path = tmp_path / "velocity.nc"
    both = dataset(name="VX").assign(VY=(("y", "x"), -VALUES))
    both.to_netcdf(path, engine="h5netcdf")
    np.testing.assert_array_equal(open_field(path, variable="VY").values, -VALUES)
    with pytest.raises(InputError, match=r"velocity\.nc: holds several variables; name one; it has VX, VY"):
        open_field(path)
    with pytest.raises(InputError, match=r"velocity\.nc: has no variable 'VZ'; it has VX, VY"):
        open_field(path, variable="VZ")


def test_netcdf_keeps_to_the_conventions(tmp_path):
    """What the CF checker asks of a file, read without xarray's help."""
    south = make_field(np.zeros((2, 2)), Grid(0, 0, 500, 500, 250, "EPSG:3031"), name="bed")
    with h5py.File(write_netcdf(south, tmp_path / "bed.nc")) as written:
        assert written.attrs["Conventions"] == "CF-1.8"
        assert all("_FillValue" not in written[axis].attrs for axis in "xy")
        assert written["spatial_ref"].dtype == np.int32
        assert written["spatial_ref"].attrs["latitude_of_projection_origin"] == -90
    assert "Conventions" not in south.attrs


def test_classic_netcdf(tmp_path):
    path = tmp_path / "classic.nc"
    dataset().to_netcdf(path, engine="scipy")
    np.testing.assert_array_equal(open_field(path).values, VALUES)


def test_hdf5_with_two_dimensional_coordinates_and_x_first(tmp_path):
    """The layout of the Helheim file: every array is (x, y), coordinates too, and nothing is named."""
    path = tmp_path / "made.h5"
    with h5py.File(path, "w") as file:
        file["surf_x"], file["surf_y"] = np.meshgrid(GRID.x, GRID.y[::-1], indexing="ij")
        file["bed"] = VALUES[::-1].T
    opened = open_field(path, variable="bed", x="surf_x", y="surf_y", crs="EPSG:3413")
    np.testing.assert_array_equal(opened.values, VALUES)
    assert grid_of(opened) == Grid(*GRID.bounds, 250, "EPSG:3413")
    with pytest.raises(InputError, match=r"made\.h5: holds no CRS; state one"):
        open_field(path, variable="bed", x="surf_x", y="surf_y")
    with pytest.raises(InputError, match=r"made\.h5: has no coordinate variable lon"):
        open_field(path, variable="bed", x="lon", y="surf_y", crs="EPSG:3413")


def test_helheim():
    path = DATA / "helheim_subdomain_data.h5"
    if not path.exists():
        pytest.skip(f"{path} is not there; set FIELDWISE_DATA to the folder that holds it")
    opened = open_field(path, variable="bed_BedMachine", x="surf_x", y="surf_y", crs="EPSG:3413")
    with h5py.File(path) as file:
        x, y, bed = (file[name][()] for name in ("surf_x", "surf_y", "bed_BedMachine"))
    assert opened.shape == bed.shape[::-1]
    assert grid_of(opened).spacing == 150
    for i, j in ((0, 0), (17, 100), (-1, 5)):
        assert float(opened.sel(x=x[i, j], y=y[i, j])) == np.float32(bed[i, j])


def test_zarr(tmp_path, field):
    path = tmp_path / "bed.zarr"
    field.to_dataset().to_zarr(path, zarr_format=2)
    opened = open_field(path)
    np.testing.assert_array_equal(opened.values, VALUES)
    assert grid_of(opened) == GRID


def test_array_of_numpy_with_its_axes_beside(tmp_path):
    for name, values in {"x": GRID.x, "y": GRID.y[::-1], "bed": VALUES[::-1]}.items():
        np.save(tmp_path / f"{name}.npy", values)
    opened = open_field(tmp_path / "bed.npy", crs="EPSG:3031")
    np.testing.assert_array_equal(opened.values, VALUES)
    assert grid_of(opened) == GRID
    with pytest.raises(InputError, match=r"bed\.npy: holds no CRS; .* in the file's entry of the FILE\.yaml"):
        open_field(tmp_path / "bed.npy")


@pytest.mark.parametrize("kind", ["nc", "zarr", "npy"])
def test_all_variables_of_a_grid_in_one_order(tmp_path, kind):
    """One with time, one without, one on another axis; the file runs from south to north and east to west."""
    times = np.array([2000.0, 2010.0])
    fields = {"thk": (("t", "y", "x"), np.stack([VALUES, VALUES + 100])[:, ::-1, ::-1])}
    fields |= {"topg": (("y", "x"), VALUES[::-1, ::-1])}
    axes = {"x": GRID.x[::-1], "y": GRID.y[::-1], "t": times}
    if kind == "npy":
        for name, values in fields.items():
            np.save(tmp_path / f"{name}.npy", values[1])
        for name, values in axes.items():
            np.save(tmp_path / f"{name.replace('t', 'time')}.npy", values)
        opened = open_fields(tmp_path)
    else:
        made = xr.Dataset(fields | {"profile": (("x",), GRID.x)}, coords=axes)
        path = tmp_path / f"ex.{kind}"
        made.to_zarr(path, zarr_format=2) if kind == "zarr" else made.to_netcdf(path, engine="h5netcdf")
        opened = open_fields(path)
    assert set(opened.data_vars) == {"thk", "topg"}
    assert opened["thk"].dims == ("time", "y", "x")
    assert opened["thk"].chunks is None
    np.testing.assert_array_equal(opened["thk"].values, [VALUES, VALUES + 100])
    np.testing.assert_array_equal(opened["topg"].values, VALUES)
    np.testing.assert_array_equal(opened["time"].values, times)
    assert opened.rio.crs is None


def test_opening_reads_no_values(tmp_path, field):
    opened = open_field(write_cog(field, tmp_path / "bed.tif"))
    assert opened.chunks is not None


@pytest.mark.parametrize("share", [0.02, 0.6])
def test_truncated_raster(tmp_path, share):
    noise = np.random.default_rng(1).normal(size=(512, 512)).astype("float32")
    path = write_raster(tmp_path / "cut.tif", noise, tiled=True, compress="deflate")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"cut\.tif: .*fetch it again"):
        load_values(open_field(path))


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_truncated_netcdf(tmp_path, engine):
    path = tmp_path / "cut.nc"
    noise = np.random.default_rng(1).normal(size=(100, 100))
    x, y = 250.0 * np.arange(100), -250.0 * np.arange(100)
    dataset(noise, x=x, y=y).to_netcdf(path, engine=engine)
    content = path.read_bytes()
    for share in (0.01, 0.5):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match=r"cut\.nc: "):
            load_values(open_field(path))


@pytest.mark.parametrize("name", ["notes.tif", "notes.nc", "notes.h5", "notes.txt"])
def test_text_under_another_name(tmp_path, name):
    (tmp_path / name).write_text("no raster at all\n")
    with pytest.raises(InputError, match=rf"{name}: cannot be read as"):
        open_field(tmp_path / name)


def test_folder_that_is_no_store(tmp_path):
    with pytest.raises(InputError, match="cannot be read as NetCDF, HDF5 or Zarr"):
        open_field(tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"gone\.tif: no such file"):
        open_field(tmp_path / "gone.tif")


def test_crs_is_needed_and_can_be_stated(tmp_path):
    path = write_raster(tmp_path / "bare.tif", VALUES.astype("float32"), crs=None)
    with pytest.raises(InputError, match=r"bare\.tif: holds no CRS"):
        open_field(path)
    with pytest.raises(InputError, match="unknown CRS 'polar'"):
        open_field(path, crs="polar")
    assert grid_of(open_field(path, crs="epsg:3413")).crs == "EPSG:3413"


def test_uneven_spacing(tmp_path):
    path = tmp_path / "uneven.nc"
    dataset(x=np.array([0.0, 250, 500, 1000])).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(InputError, match=r"uneven\.nc: x is not evenly spaced \(250 to 500\)"):
        open_field(path)


def test_cells_that_are_not_square(tmp_path):
    transform = rasterio.Affine(250, 0, 0, 0, -500, 0)
    path = write_raster(tmp_path / "oblong.tif", VALUES.astype("float32"), transform=transform)
    with pytest.raises(InputError, match=r"oblong\.tif: cells of 250 by 500 m are not square"):
        open_field(path)


def test_band_of_a_raster(tmp_path):
    path = write_raster(tmp_path / "bed.tif", VALUES.astype("float32"))
    np.testing.assert_array_equal(open_field(path, variable="1").values, VALUES)
    for band in ("2", "VX"):
        with pytest.raises(InputError, match=rf"bed\.tif: has no band {band}"):
            open_field(path, variable=band)


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

    monkeypatch.setattr(rasters.rasterio.shutil, "copy", refuse)
    with pytest.raises(InputError, match=r"bed\.tif: .*disk .* full"):
        write_cog(field, tmp_path / "bed.tif")
    assert list(tmp_path.iterdir()) == []


def test_what_gdal_loses_without_a_word_is_noticed(tmp_path, field, monkeypatch):
    def lose(plain, partial, **options):
        write_raster(partial, np.zeros((3, 4), "float32"))

    monkeypatch.setattr(rasters.rasterio.shutil, "copy", lose)
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
