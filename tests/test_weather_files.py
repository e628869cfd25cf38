"""Weather in files of one's own: several kinds of files, levels, factors, and formats."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.samples.weather.globes import open_globe, read_seasons
from fieldwise.samples.weather.records import EPOCH, HOUR
from fieldwise.samples.weather.regrids import Regridding

FILES = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).parents[2] / "shared" / "data"))

GRID = GlobalGrid.regular(16, 32)
HOURS = np.array([0, 3, 6])
RNG = np.random.default_rng(2)
VAPOUR = RNG.uniform(5, 60, (3, *GRID.shape)).astype("f4")
WIND = RNG.normal(0, 10, (3, 2, *GRID.shape)).astype("f4")  # at 850 and 200 hPa
AXES = {"latitude": GRID.latitude, "longitude": GRID.longitude}
TIME = {"units": "hours since 2001-01-01", "calendar": "proleptic_gregorian"}


def surface():
    """As the Climate Data Store gives it: valid_time, from north to south."""
    fields = {"tcwv": (("valid_time", "latitude", "longitude"), VAPOUR)}
    return xr.Dataset(fields, {**AXES, "valid_time": ("valid_time", HOURS, TIME)})


def levels():
    """Levels, with latitude and longitude in another order, as WeatherBench has them."""
    dims = ("valid_time", "pressure_level", "longitude", "latitude")
    fields = {name: (dims, sign * WIND.swapaxes(2, 3)) for name, sign in (("u", 1), ("z", 9.80665))}
    coords = {**AXES, "pressure_level": [850.0, 200.0], "valid_time": ("valid_time", HOURS, TIME)}
    return xr.Dataset(fields, coords)


def write_yaml(folder, path, variables):
    (folder / "own.yaml").write_text(f"cases: {{season: {{path: {path}, variables: {variables}}}}}")
    return folder / "own.yaml"


ASKED = "{TMQ: tcwv, U850: {name: u, level: 850}, Z200: {name: z, level: 200, factor: 0.1019716}}"


def test_surface_and_levels_in_files_of_their_own(tmp_path):
    surface().to_netcdf(tmp_path / "surface.nc", engine="h5netcdf")
    for step in range(3):
        levels().isel(valid_time=[step]).to_netcdf(tmp_path / f"levels-{step}.nc", engine="h5netcdf")
    (record,) = read_seasons(write_yaml(tmp_path, "[surface.nc, levels-*.nc]", ASKED))
    np.testing.assert_array_equal(record.hours, 8784 + HOURS)  # 2000 has 366 days
    for step in range(3):
        fields = record.read(step)
        np.testing.assert_array_equal(fields["TMQ"], VAPOUR[step])
        np.testing.assert_array_equal(fields["U850"], WIND[step, 0])
        np.testing.assert_allclose(fields["Z200"], WIND[step, 1], rtol=1e-5)


def test_transport_from_winds_and_humidity(tmp_path):
    """Constant on 1000 to 500 hPa: q |v| dp / g, as 50000 Pa of air carry it; and of two components."""
    dims, shape = ("time", "level", "lat", "lon"), (1, 3, *GRID.shape)
    fields = {name: (dims, np.full(shape, value)) for name, value in (("u", 3.0), ("v", -4.0), ("q", 0.01))}
    fields |= {
        name: (("time", "lat", "lon"), np.full((1, *GRID.shape), value))
        for name, value in (("a", 5), ("b", 12))
    }
    coords = {"lat": GRID.latitude, "lon": GRID.longitude, "time": ("time", [0], TIME)}
    for units, levels in (("hPa", [500.0, 850.0, 1000.0]), ("Pa", [1e5, 8.5e4, 5e4])):
        content = xr.Dataset(fields, {**coords, "level": ("level", levels, {"units": units})})
        content.to_netcdf(tmp_path / f"{units}.nc", engine="h5netcdf")
        given = {"humidity: q": 5 * 0.01 * 50_000 / 9.80665, "": 13.0}
        for humidity, carried in given.items():
            parts = f"eastward: u, northward: v, {humidity}" if humidity else "eastward: a, northward: b"
            (tmp_path / "own.yaml").write_text(
                f"cases: {{s: {{path: {units}.nc, variables: {{A: a}}, transport: {{{parts}}}}}}}"
            )
            (record,) = read_seasons(tmp_path / "own.yaml")
            np.testing.assert_allclose(record.read(0)["IVT"], carried)


def test_zarr_with_levels(tmp_path):
    xr.merge([surface(), levels()]).to_zarr(tmp_path / "era5.zarr")
    (record,) = read_seasons(write_yaml(tmp_path, "era5.zarr", ASKED))
    np.testing.assert_array_equal(record.read(2)["TMQ"], VAPOUR[2])
    np.testing.assert_array_equal(record.read(2)["U850"], WIND[2, 0])


def test_one_level_needs_no_name(tmp_path):
    levels().isel(pressure_level=[1]).to_netcdf(tmp_path / "upper.nc", engine="h5netcdf")
    (record,) = read_seasons(write_yaml(tmp_path, "upper.nc", "{U200: u}"))
    np.testing.assert_array_equal(record.read(0)["U200"], WIND[0, 1])


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ("{U850: u}", "u has pressure_level, lat, lon; give lat and lon alone, or {name: u, level: 850}"),
        ("{U500: {name: u, level: 500}}", "u has no level 500; it has 850, 200"),
        ("{U850: {level: 850}}", "variable U850 is {'level': 850}; give the name of a variable"),
        ("{U850: {name: u, level: low}}", "level is 'low'; give a number"),
        ("{U850: {name: u, hpa: 850}}", "hpa is not known; known are name, level, factor"),
        ("{U850: v}", "lacks v; it has u, z"),
    ],
)
def test_levels_that_are_not_there(tmp_path, variables, words):
    levels().to_netcdf(tmp_path / "levels.nc", engine="h5netcdf")
    with pytest.raises(InputError) as caught:
        read_seasons(write_yaml(tmp_path, "levels.nc", variables))[0].read(0)
    assert words in str(caught.value)


def test_files_of_other_times_are_refused(tmp_path):
    surface().to_netcdf(tmp_path / "surface.nc", engine="h5netcdf")
    levels().isel(valid_time=[0, 1]).to_netcdf(tmp_path / "levels.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"levels\.nc: has other times than surface\.nc"):
        read_seasons(write_yaml(tmp_path, "[surface.nc, levels.nc]", ASKED))


def write_grib(path, levels_hpa=(850, 200), hours=(0, 3)):
    """Messages of winds (discipline 0, category 2, number 2) and of rows from the north, by GDAL."""
    import rasterio
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    order = [(hour, level) for hour in hours for level in levels_hpa]
    values = np.array([10.0 * level + hour + VAPOUR[0] for hour, level in order])
    options = {}
    for band, (hour, level) in enumerate(order, start=1):
        # category, number, process, background, id, hours and minutes cut off, unit of time (hour), forecast
        # hour, kind of level (100: pressure), its power of ten and pascal, no second level
        template = [2, 2, 2, 0, 0, 0, 0, 1, hour, 100, 0, 100 * level, 255, 0, 0]
        options[f"BAND_{band}_PDS_PDTN"] = "0"
        options[f"BAND_{band}_PDS_TEMPLATE_ASSEMBLED_VALUES"] = " ".join(map(str, template))
        options[f"BAND_{band}_IDS"] = "REF_TIME=2001-01-01T00:00:00Z"
        options[f"BAND_{band}_DATA_ENCODING"] = "IEEE_FLOATING_POINT"
    raster = {"driver": "GTiff", "count": len(order), "dtype": "float32", "crs": "EPSG:4326"}
    raster |= {"height": GRID.shape[0], "width": GRID.shape[1]}
    step = 360 / GRID.shape[1]
    raster["transform"] = from_origin(-step / 2, 90, step, 180 / GRID.shape[0])
    with rasterio.open(path.with_suffix(".tif"), "w", **raster) as file:
        file.write(values.astype("f4"))
    copy(path.with_suffix(".tif"), path, driver="GRIB", **options)
    return dict(zip(order, values))


def test_grib_with_levels(tmp_path):
    wanted = write_grib(tmp_path / "winds.grib2")
    variables = "{U850: {name: u, level: 850}, U200: {name: u, level: 200}}"
    (record,) = read_seasons(write_yaml(tmp_path, "winds.grib2", variables))
    assert record.hours.tolist() == [8784.0, 8787.0]
    np.testing.assert_allclose(record.grid.latitude[[0, -1]], [84.375, -84.375])
    for place, hour in enumerate((0, 3)):
        for name, level in (("U850", 850), ("U200", 200)):
            np.testing.assert_allclose(record.read(place)[name], wanted[hour, level], rtol=1e-6)


def test_grib_that_is_cut_off_is_one_line(tmp_path):
    write_grib(tmp_path / "winds.grib2")
    whole = (tmp_path / "winds.grib2").read_bytes()
    (tmp_path / "winds.grib2").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(InputError, match=r"winds.grib2: [^\n]*$"):
        read_seasons(write_yaml(tmp_path, "winds.grib2", "{U850: u}"))[0].read(0)


def test_grib_of_era5(tmp_path):
    """Two-metre temperature of March 2019 over Britain, hourly: in kelvin, and refused as no globe."""
    path = FILES / "era5-2mt-2019-03-uk.grib"
    if not path.exists():
        pytest.skip(f"{FILES} holds no {path.name}; set FIELDWISE_DATA to the folder that does")
    opened = open_globe(path)
    assert opened["2t"].shape == (744, 33, 49)
    assert opened["lat"].values[[0, -1]].tolist() == [58.0, 50.0]
    assert opened["lon"].values[[0, -1]].tolist() == [-10.0, 2.0]
    times = EPOCH + opened["time"].values[[0, -1]].astype(int) * HOUR
    assert times.astype(str).tolist() == ["2019-03-01T00", "2019-03-31T23"]
    assert 270 < float(opened["2t"][5].mean()) < 290
    (tmp_path / path.name).symlink_to(path)
    with pytest.raises(InputError, match="give one that goes all around"):
        read_seasons(write_yaml(tmp_path, path.name, "{T: 2t}"))


# --- other cells ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(16, 32), (9, 14), (50, 101)])
def test_means_over_cells_keep_the_mean_over_the_globe(shape):
    grid = GlobalGrid(np.linspace(-90, 90, 37), -180 + 5.0 * np.arange(72))
    values = RNG.normal(size=grid.shape)
    change = Regridding(grid, shape)
    mean = (change(values) * change.grid.area_km2).sum() / change.grid.area_km2.sum()
    assert mean == pytest.approx((values * grid.area_km2).sum() / grid.area_km2.sum(), abs=1e-12)


def test_a_whole_number_of_cells_is_their_mean():
    """From 36 x 72 to 12 x 24: three rows, weighed by their areas, and three columns."""
    fine = GlobalGrid(90 - 180 * (np.arange(36) + 0.5) / 36, 360 * (np.arange(72) + 0.5) / 72)
    values = RNG.normal(size=fine.shape)
    weights = fine.area_km2
    block = np.s_[3:6, 69:72]
    expected = (values[block] * weights[block]).sum() / weights[block].sum()
    assert Regridding(fine, (12, 24))(values)[1, 23] == pytest.approx(expected)
    # the same weather with its columns from 180 degrees west on
    turned = GlobalGrid(fine.latitude, fine.longitude - 180)
    np.testing.assert_allclose(
        Regridding(turned, (12, 24))(np.roll(values, 36, axis=1)), Regridding(fine, (12, 24))(values)
    )


def test_classes_stay_classes_on_other_cells(tmp_path):
    classes = (VAPOUR > 30).astype("i1") + (VAPOUR > 50)
    content = surface().assign(LABELS=(("valid_time", "latitude", "longitude"), classes))
    content.to_netcdf(tmp_path / "own.nc", engine="h5netcdf")
    (tmp_path / "own.yaml").write_text(
        "cases: {season: {path: own.nc, variables: {TMQ: tcwv}, labels: LABELS, cells: [8, 16]}}"
    )
    (record,) = read_seasons(tmp_path / "own.yaml")
    fields = record.read(1)
    assert fields["TMQ"].shape == fields["labels_0"].shape == record.grid.shape == (8, 16)
    assert set(np.unique(fields["labels_0"])) <= {0, 1, 2}
    (tmp_path / "own.yaml").write_text("cases: {season: {path: own.nc, cells: [2, 16]}}")
    with pytest.raises(InputError, match="case season: cells: are 2 x 16; give at least 4 a side"):
        read_seasons(tmp_path / "own.yaml")
