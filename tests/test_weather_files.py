"""Weather in files of one's own: several kinds of files, levels, factors, and formats."""

import numpy as np
import pytest
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.samples.weather.globes import read_seasons

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


def test_zarr_with_levels(tmp_path):
    xr.merge([surface(), levels()]).to_zarr(tmp_path / "era5.zarr", consolidated=False)
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
    with pytest.raises(InputError, match="levels.nc: has other times than surface.nc"):
        read_seasons(write_yaml(tmp_path, "[surface.nc, levels.nc]", ASKED))
