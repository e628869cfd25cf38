"""Small rasters of known values, for the tests of grids, formats and inputs."""

import numpy as np
import rasterio
import xarray as xr

from fieldwise.fields.grids import Grid, make_field

CRS = "EPSG:3031"
GRID = Grid(1000, -500, 2000, 250, 250, "EPSG:3031")
VALUES = np.arange(12.0).reshape(3, 4)  # row 0 in the north


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


def grid(bounds, spacing, crs=CRS):
    return Grid(*bounds, spacing, crs)


def noise(bounds, spacing, *, seed=0, crs=CRS):
    made = grid(bounds, spacing, crs)
    return make_field(np.random.default_rng(seed).normal(size=made.shape).astype("f4"), made, name="noise")


def plane(bounds, spacing, *, name="plane"):
    made = grid(bounds, spacing)
    x, y = np.meshgrid(made.x, made.y)
    return make_field((100 + 0.01 * x - 0.02 * y).astype("float32"), made, name=name)
