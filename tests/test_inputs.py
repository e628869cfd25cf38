"""A user's files become a prepared folder; what is read from it does not depend on how it is cut."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter
from small_rasters import CRS, grid, noise, plane

from fieldwise.errors import InputError
from fieldwise.fields.entries import open_entry
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, grid_of, make_field
from fieldwise.fields.heights import Heights
from fieldwise.fields.rasters import write_cog, write_netcdf
from fieldwise.fields.resampling import block_mean, degrade
from fieldwise.fields.tiles import cut
from fieldwise.recipes.bed_topography.regions.region import VECTORS, open_region
from fieldwise.samples.cases import Case
from fieldwise.samples.inputs import add_inputs, prepare_inputs
from fieldwise.scores import rmse

DATA = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def prepare(folder, inputs, *, detrended=(), elevations=(), heights=None, lines=None, **keys):
    """Prepare inputs and open what was written."""
    source = {"crs": CRS, "spacing_m": 250, "lowres_spacing_m": 1000, "inputs": inputs} | keys
    described = prepare_inputs(
        source,
        folder=folder,
        out=folder / "out",
        units={"bed_lowres": "m"},
        detrended=detrended,
        elevations=elevations,
        heights=heights,
        report=(lines if lines is not None else []).append,
    )
    region = Grid(*described["region"], float(source["spacing_m"]), described["crs"])
    case = Case(
        "region", None, folder / "out", {}, {}, region.spacing, region.shape, region.bounds, region.crs
    )
    add_inputs(case, described["inputs"], vectors=VECTORS)
    return case


def flattened(case):
    """Give all variables as a network that learns departures reads them."""
    return [replace(each, flat=True) for each in case.variables.values()]


@pytest.fixture
def files(tmp_path):
    """Four inputs of 32 x 24 km at their own spacings, offsets and formats."""
    write_cog(noise((0, 0, 32e3, 24e3), 1000, seed=1), tmp_path / "bed.tif")
    write_cog(noise((-50, 30, 32e3 - 50, 24e3 + 30), 100, seed=2), tmp_path / "surface.tif")
    velocity = noise((-900, -450, 33300, 24750), 450, seed=3)
    write_netcdf(xr.Dataset({"VX": velocity, "VY": velocity + 100}), tmp_path / "velocity.nc")
    return tmp_path


INPUTS = {
    "bed_lowres": {"path": "bed.tif", "spacing_m": 1000},
    "surface_elevation": {"path": "surface.tif", "spacing_m": 100},
    "ice_velocity": {"path": "velocity.nc", "variables": ["VX", "VY"], "spacing_m": 500, "units": "m a-1"},
}


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("bed.tif", "an input is written as {path: FILE, spacing_m: NUMBER}"),
        ({"spacing_m": 100}, "an input is written as"),
        ({"path": None}, "an input is written as"),
        ({"path": "bed.tif", "spacing": 100}, r"bed\.tif: unknown key spacing; known are averages, crs"),
        ({"path": "gone.tif"}, r"gone\.tif: no such file"),
        ({"path": "bed.tif", "crs": "EPSG:0"}, "unknown CRS 'EPSG:0'"),
    ],
)
def test_entries_that_cannot_be_opened(files, entry, complaint):
    with pytest.raises(InputError, match=complaint):
        open_entry(entry, folder=files, crs=CRS)


# --- prepared folders -----------------------------------------------------------------------------


def test_prepare_and_read(files):
    data = prepare(files, INPUTS, detrended=("bed_lowres",))
    assert data.bounds == (0, 1000, 31000, 24000)  # whole low-res cells that all of them cover
    assert data.grid.shape == (92, 124)
    assert {name: entry.units for name, entry in data.variables.items()} == {
        "bed_lowres": "m",
        "surface_elevation": "m",  # as its file says
        "ice_velocity": "m a-1",
    }
    windows = np.array([[2000, 3000, 11000, 12000], [5000, 9000, 14000, 18000]])
    arrays = data.read(data.variables, window=windows, padding=1000)
    shapes = {name: array.shape for name, array in arrays.items()}
    assert shapes == {
        "bed_lowres": (2, 1, 11, 11),
        "surface_elevation": (2, 1, 110, 110),
        "ice_velocity": (2, 2, 22, 22),
    }  # as the specification of DeepBedMap has it
    bed = open_field(files / "bed.tif").values
    np.testing.assert_array_equal(arrays["bed_lowres"][0, 0], bed[11:22, 1:12])
    np.testing.assert_allclose(arrays["ice_velocity"][:, 1], arrays["ice_velocity"][:, 0] + 100, rtol=1e-5)
    assert data.field("ice_velocity_2").equals(open_field(files / "velocity.nc", variable="VY"))
    surface = open_field(files / "surface.tif")
    x, y = 1000 + 50 + 100 * np.arange(110), 13000 - 50 - 100 * np.arange(110)
    expected = surface.interp(x=x, y=y).values
    np.testing.assert_allclose(arrays["surface_elevation"][0, 0], expected, atol=1e-3)


def test_tiles_equal_the_whole(files):
    """Cells read in small windows are those read in one large window, bit for bit."""
    data = prepare(files, INPUTS, detrended=("bed_lowres", "surface_elevation"))
    west, south, east, north = data.bounds
    flat = flattened(data)
    whole = data.read(flat, window=np.array([data.bounds]))
    corners = [(x, y) for x in np.arange(west, east, 1000) for y in np.arange(south, north, 1000)]
    windows = np.array([(x, y, x + 1000, y + 1000) for x, y in corners])
    pieces = data.read(flat, window=windows)
    for name, entry in data.variables.items():
        cells = round(1000 / entry.spacing)
        for (x, y), piece in zip(corners, pieces[name]):
            row, column = round((north - y - 1000) / entry.spacing), round((x - west) / entry.spacing)
            same = whole[name][0, :, row : row + cells, column : column + cells]
            np.testing.assert_array_equal(piece, same, err_msg=name)


def test_padding_reaches_beyond_the_files(files):
    """At the edge of the region inputs are padded by their outermost cells, with nothing missing."""
    data = prepare(files, {"bed_lowres": INPUTS["bed_lowres"]})
    array = data.read(["bed_lowres"], window=np.array([data.bounds]), padding=3000)["bed_lowres"][0, 0]
    np.testing.assert_array_equal(array, np.pad(open_field(files / "bed.tif").values, 3, mode="edge"))


def test_detrended_is_raw_minus_the_trend(files):
    data = prepare(files, INPUTS, detrended=("bed_lowres",))
    windows, flat = np.array([[2000, 3000, 11000, 12000]]), flattened(data)
    raw, detrended = data.read(data.variables, window=windows), data.read(flat, window=windows)
    np.testing.assert_array_equal(raw["ice_velocity"], detrended["ice_velocity"])
    trend = open_field(files / "out" / "trends" / "bed_lowres.tif")
    x, y = 2500 + 1000 * np.arange(9), 11500 - 1000 * np.arange(9)
    expected = raw["bed_lowres"][0, 0] - trend.interp(x=x, y=y).values
    np.testing.assert_allclose(detrended["bed_lowres"][0, 0], expected, atol=1e-4)
    again = data.flatten(data.variables["bed_lowres"], raw["bed_lowres"], windows)
    np.testing.assert_array_equal(again, detrended["bed_lowres"])


def test_fill_from_a_coarser_file(tmp_path):
    """Fine cells of 100 m in the coarse cells 10, 30, 50, 70 of 200 m, with their centres at 100, 300, ...

    The fine centres at 250 and 350 lie a quarter of a cell on either side of the coarse centre at 300:
    3/4 of 30 + 1/4 of 10 = 25, and 3/4 of 30 + 1/4 of 50 = 35.
    """
    fine = np.full((4, 8), 1.0, "float32")
    fine[:, 2:4] = np.nan
    write_cog(make_field(fine, grid((0, 0, 800, 400), 100), name="surface"), tmp_path / "fine.tif")
    coarse = np.tile(np.array([10, 30, 50, 70], "float32"), (2, 1))
    write_cog(make_field(coarse, grid((0, 0, 800, 400), 200), name="surface"), tmp_path / "coarse.tif")
    entry = {"path": "fine.tif", "fill_from": "coarse.tif"}
    lines = []
    data = prepare(tmp_path, {"surface": entry}, lowres_spacing_m=400, lines=lines)
    np.testing.assert_allclose(data.field("surface").values, np.tile([1, 1, 25, 35, 1, 1, 1, 1], (4, 1)))
    assert lines == []
    named = entry | {"fill_from": {"path": "coarse.tif", "variable": "1"}}
    again = prepare(tmp_path, {"surface": named}, lowres_spacing_m=400)
    assert again.field("surface").equals(data.field("surface"))


def test_what_the_coarser_file_misses_too_comes_from_neighbours(tmp_path):
    fine = np.full((4, 8), 7.0, "float32")
    fine[:, 2:4] = np.nan
    write_cog(make_field(fine, grid((0, 0, 800, 400), 100), name="surface"), tmp_path / "fine.tif")
    coarse = np.full((2, 2), 7.0, "float32")
    write_cog(make_field(coarse, grid((400, 0, 800, 400), 200), name="surface"), tmp_path / "coarse.tif")
    lines = []
    inputs = {"surface": {"path": "fine.tif", "fill_from": "coarse.tif"}}
    data = prepare(tmp_path, inputs, lowres_spacing_m=400, lines=lines)
    np.testing.assert_allclose(data.field("surface").values, 7, rtol=1e-6)
    assert lines == [
        "surface: 25.0% of its cells were missing: 8 in gaps up to 4 km wide were filled from around them, "
        "0 stay missing"
    ]
    assert sorted(path.name for path in (tmp_path / "out" / "inputs").iterdir()) == ["surface.tif"]


def test_region_starts_on_the_cells_of_the_first_low_res_input(tmp_path):
    """Helheim's corner is no multiple of the spacing; a 600 m grid offset by half a cell comes second."""
    west, south = 255_137.0, -2_583_211.0
    write_cog(noise((west, south, west + 6000, south + 4800), 150), tmp_path / "bed.tif")
    shifted = (west - 300, south - 300, west + 6300, south + 5100)
    write_cog(noise(shifted, 600, seed=1), tmp_path / "accumulation.tif")
    inputs = {"bed_lowres": {"path": "bed.tif", "degrade": 4}, "accumulation": {"path": "accumulation.tif"}}
    data = prepare(tmp_path, inputs, spacing_m=150, lowres_spacing_m=600)
    assert data.bounds == (west, south, west + 6000, south + 4800)
    assert data.variables["bed_lowres"].spacing == 600
    bed = open_field(tmp_path / "bed.tif").values
    expected = bed.reshape(8, 4, 10, 4).mean(axis=(1, 3))
    lowres = data.read(["bed_lowres"], window=np.array([data.bounds]))["bed_lowres"][0, 0]
    np.testing.assert_allclose(lowres, expected, atol=1e-6)  # a slice: nothing is interpolated
    region = [west + 700, south + 100, west + 5000, south + 4000]
    inner = prepare(tmp_path, inputs, spacing_m=150, lowres_spacing_m=600, region=region)
    assert inner.bounds == (west + 1200, south + 600, west + 4800, south + 3600)


def test_helheim_is_prepared_at_its_own_corner(tmp_path):
    path = DATA / "helheim_subdomain_data.h5"
    if not path.exists():
        pytest.skip(f"{path} is not there; set FIELDWISE_DATA to the folder that holds it")
    entry = {"path": str(path), "x": "surf_x", "y": "surf_y", "crs": "EPSG:3413"}
    inputs = {
        "bed_lowres": entry | {"variable": "bed_BedMachine", "degrade": 4},
        "ice_velocity": entry | {"variables": ["surf_vx", "surf_vy"], "spacing_m": 300},
    }
    data = prepare(tmp_path, inputs, crs="EPSG:3413", spacing_m=150, lowres_spacing_m=600)
    field = open_field(path, variable="bed_BedMachine", x="surf_x", y="surf_y", crs="EPSG:3413")
    assert data.bounds[0] == grid_of(field).west
    assert data.bounds[3] == grid_of(field).north
    arrays = data.read(data.variables, window=np.array([data.bounds]))
    rows, columns = data.grid.shape
    assert arrays["ice_velocity"].shape == (1, 2, rows // 2, columns // 2)
    assert arrays["bed_lowres"].shape == (1, 1, rows // 4, columns // 4)
    means = field.values[:rows, :columns].reshape(rows // 4, 4, columns // 4, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(arrays["bed_lowres"][0, 0], means, atol=1e-2)


def test_inputs_in_another_crs_are_aligned(tmp_path):
    write_cog(noise((0, 1e6, 40e3, 1.03e6), 1000), tmp_path / "bed.tif")
    x, y = np.arange(-1, 5, 0.05), np.arange(-81.5, -79.5, 0.05)
    latitude = xr.Dataset({"latitude": (("y", "x"), np.tile(y[:, None], x.size))}, {"y": y, "x": x})
    latitude.rio.write_crs("EPSG:4326").to_netcdf(tmp_path / "latitude.nc", engine="h5netcdf")
    inputs = {"bed_lowres": {"path": "bed.tif"}, "latitude": {"path": "latitude.nc", "spacing_m": 1000}}
    data = prepare(tmp_path, inputs)
    values = data.read(["latitude"], window=np.array([[10e3, 1.01e6, 12e3, 1.012e6]]))["latitude"][0, 0]
    import pyproj

    to_degrees = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    expected = to_degrees.transform(*np.meshgrid([10.5e3, 11.5e3], [1.0115e6, 1.0105e6]))[1]
    np.testing.assert_allclose(values, expected, atol=0.01)


# --- what cannot be prepared ----------------------------------------------------------------------


def test_inputs_that_do_not_overlap(files):
    write_cog(noise((90e3, 0, 99e3, 9e3), 1000), files / "far.tif")
    inputs = {**INPUTS, "snow_accumulation": {"path": "far.tif"}}
    message = r"far\.tif: lies at \(90000, 0, 99000, 9000\), .* at \(0, 30, 31950, 24000\); they do not"
    with pytest.raises(InputError, match=message):
        prepare(files, inputs)
    with pytest.raises(InputError, match=r"bed\.tif: lies at .* at \(50000, 0, 60000, 5000\)"):
        prepare(files, INPUTS, region=[50e3, 0, 60e3, 5e3])


def test_inputs_that_share_less_than_a_cell(files):
    with pytest.raises(InputError, match=r"share only \(500, 500, 1500, 900\), less than one cell of 1000 m"):
        prepare(files, INPUTS, region=[500, 500, 1500, 900])


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"crs": "EPSG:123456"}, "unknown CRS 'EPSG:123456'"),
        ({"crs": "polar"}, "unknown CRS 'polar'"),
        ({"region": [0, 0, 1]}, r"region: \[0, 0, 1\] is not four numbers"),
        ({"region": "all"}, "region: 'all' is not four numbers"),
        ({"region": [10, 0, 0, 10]}, "west, south, east, north, in this order"),
        ({"inputs": ["bed.tif"]}, "inputs: should name each one"),
        ({"inputs": {}}, "names no input"),
        (
            {"lowres_spacing_m": 950},
            "surface_elevation: a spacing of 100 m does not divide the low-res 950 m",
        ),
    ],
)
def test_descriptions_that_cannot_be_used(files, keys, complaint):
    inputs = keys.pop("inputs", {name: INPUTS[name] for name in ("surface_elevation", "ice_velocity")})
    with pytest.raises(InputError, match=complaint):
        prepare(files, inputs, **keys)


def test_folder_that_is_not_prepared(tmp_path):
    with pytest.raises(InputError, match="is no prepared folder; make one with the verb prepare"):
        open_region(tmp_path)


def test_what_a_folder_does_not_name(files):
    data = prepare(files, INPUTS)
    with pytest.raises(InputError, match="names no truth; add it to the FILE"):
        data.open("truth")


def test_a_wide_gap_stays_missing_and_is_told(tmp_path):
    """91 x 91 low-res cells nobody has seen keep all but their corners: a disc of 11 does not fit there."""
    field = plane((0, 0, 140e3, 140e3), 1000, name="bed")
    expected = field.values.copy()
    field.values[20:111, 20:111] = np.nan
    field.values[5:10, 5:10] = np.nan
    write_cog(field, tmp_path / "bed.tif")
    lines = []
    bed = prepare(tmp_path, {"bed_lowres": {"path": "bed.tif"}}, lines=lines).field("bed_lowres").values
    left = int(np.isnan(bed).sum())
    assert np.isnan(bed[20:111, 25:106]).all()
    assert np.isnan(bed[25:106, 20:111]).all()
    assert 91 * 91 - 4 * 12 < left < 91 * 91
    np.testing.assert_allclose(bed[5:10, 5:10], expected[5:10, 5:10], atol=0.01)
    assert lines == [
        f"bed_lowres: 42.4% of its cells were missing: {91 * 91 + 25 - left} in gaps up to 10 km wide were "
        f"filled from around them, {left} stay missing"
    ]


def test_nothing_is_invented_outside_a_rotated_file(tmp_path):
    """A square in a CRS turned by 30 degrees: the corners of the box around it are missing."""
    turned = "+proj=stere +lat_0=-90 +lat_ts=-71 +lon_0=30 +datum=WGS84"
    write_cog(noise((0, 1e6, 100e3, 1.1e6), 1000, crs=turned), tmp_path / "bed.tif")
    data = prepare(tmp_path, {"bed_lowres": {"path": "bed.tif", "spacing_m": 1000}})
    bed = data.field("bed_lowres")
    x, y = np.meshgrid(bed["x"], bed["y"])
    there = pyproj.Transformer.from_crs(CRS, turned, always_xy=True).transform(x, y)
    beyond = np.max([-there[0], there[0] - 100e3, 1e6 - there[1], there[1] - 1.1e6], axis=0)
    assert np.isfinite(bed.values[beyond < -1000]).all()
    assert np.isnan(bed.values).mean() > 0.3
    assert beyond[np.isfinite(bed.values)].max() < 5000  # half a gap, where the corner touches the box
    assert np.mean(np.isfinite(bed.values[beyond > 1000])) < 0.05


def test_units_come_from_the_entry_then_the_file_then_the_recipe(tmp_path):
    made = grid((0, 0, 8e3, 8e3), 1000)
    for name, units in (("stated", "m/yr"), ("silent", "")):
        write_cog(make_field(np.ones(made.shape), made, name=name, units=units), tmp_path / f"{name}.tif")
    inputs = {name: {"path": f"{name}.tif"} for name in ("stated", "silent")}
    inputs["entered"] = {"path": "stated.tif", "units": "kg m-2 a-1"}
    lines = []
    source = {"crs": CRS, "lowres_spacing_m": 1000, "inputs": inputs}
    units = dict.fromkeys(inputs, "kg m-2 a-1")
    options = {"folder": tmp_path, "out": tmp_path / "out", "units": units, "detrended": ()}
    described = prepare_inputs(source, **options, report=lines.append)["inputs"]
    assert {name: entry["units"] for name, entry in described.items()} == {
        "stated": "m a-1",
        "silent": "kg m-2 a-1",
        "entered": "kg m-2 a-1",
    }
    assert lines == ["units: silent (kg m-2 a-1) are taken on trust; no file states them"]


def test_a_region_that_shrinks_is_told(files):
    lines = []
    region = [500, -5000, 20e3, 20e3]
    data = prepare(files, {"bed_lowres": INPUTS["bed_lowres"]}, region=region, lines=lines)
    assert data.bounds == (1000, 0, 20e3, 20e3)
    assert lines == [
        "region: (1000, 0, 20000, 20000) and not (500, -5000, 20000, 20000), in whole cells of 1000 m; "
        "bed_lowres reach no farther"
    ]


def test_averages_of_heights_become_heights_whose_interpolation_has_them(tmp_path):
    """Of an elevation that fieldwise averages, and of one that the entry calls averages; of nothing else."""
    rough = noise((255e3, 1e6, 267e3, 1.012e6), 250)
    fine = rough.copy(data=100 * gaussian_filter(rough.values, 3))
    means = degrade(fine, 4, crs=CRS)
    write_cog(fine, tmp_path / "bed.tif")
    write_cog(means, tmp_path / "means.tif")
    entries = {
        "bed_lowres": {"path": "bed.tif", "degrade": 4},
        "surface_elevation": {"path": "means.tif", "averages": True},
        "snow_accumulation": {"path": "bed.tif", "degrade": 4, "units": "m a-1"},
        "bed_plain": {"path": "bed.tif", "degrade": 4, "averages": False},
    }
    data = prepare(tmp_path, entries, elevations=("bed_lowres", "bed_plain"), heights=Heights())

    def draw(name, spacing=250):
        return cut(data.field(name), [data.bounds], spacing=spacing, method="cubic", extend=True)[0]

    inner = (slice(2, -2), slice(2, -2))  # at the edge, cutting repeats the outermost centres
    for name, points in (("bed_lowres", 4), ("surface_elevation", 8)):  # along the edge of a cell
        kept = block_mean(draw(name, 1000 / points), points)
        np.testing.assert_allclose(kept[inner], means.values[inner], atol=0.01)
    for name in ("snow_accumulation", "bed_plain"):
        np.testing.assert_array_equal(data.field(name), means)
        assert rmse(draw("bed_lowres"), fine.values) < 0.8 * rmse(draw(name), fine.values)
