"""Gridded files in every form that users have them in."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr
from small_rasters import GRID, VALUES, dataset, write_raster

from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field, open_fields
from fieldwise.fields.grids import Grid, grid_of, load_values, make_field, overlap
from fieldwise.fields.rasters import write_cog, write_netcdf

DATA = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture
def field():
    return make_field(VALUES, GRID, name="bed", long_name="bed elevation")


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
