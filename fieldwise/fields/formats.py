"""The formats of gridded files, each opened lazily as an array with whatever the file says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj  # noqa: F401  before anything that may load eccodes: the other order crashes the interpreter
import rasterio
import rioxarray
import xarray as xr
from rasterio.errors import RasterioIOError

from fieldwise.errors import InputError

CHUNK_CELLS = 1024
RASTER_SUFFIXES = {".tif", ".tiff", ".vrt", ".grd", ".img", ".gtx"}


def open_file(path: Path, *, variable: str | None, x: str | None, y: str | None) -> xr.DataArray:
    """Open one variable of a file, with the dimensions x and y in the order of the file.

    Parameters
    ----------
    path
        A raster of GDAL by its suffix, or NetCDF, HDF5 or Zarr.
    variable
        Which variable of a file with several; of a raster, the number of the band.
    x, y
        Names of the variables that hold the coordinates, where the file does not say so itself.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> with rasterio.open(home / "bed.tif", "w", driver="GTiff", width=3, height=2, count=1, dtype="int16",
    ...                    transform=rasterio.Affine(1000, 0, 0, 0, -1000, 0)) as file:
    ...     file.write(np.full((1, 2, 3), -500, "int16"))
    >>> open_file(home / "bed.tif", variable=None, x=None, y=None).sizes
    Frozen({'y': 2, 'x': 3})
    """
    if path.suffix.lower() in RASTER_SUFFIXES:
        return _open_raster(path, variable)
    return _open_dataset(path, variable, x, y)


def with_plain_crs(field: xr.DataArray) -> xr.DataArray:
    """Keep the CRS where rioxarray looks for it first, and no further coordinates.

    Data centres call it `coord_system` or `mapping`, which operations forget; longitudes and latitudes of
    every cell would be read with every window.

    >>> latitude = ("y", "x"), np.zeros((2, 2))
    >>> field = xr.DataArray(np.zeros((2, 2)), {"y": [2, 1], "x": [1, 2], "lat": latitude}, ("y", "x"))
    >>> field = field.rio.write_crs("EPSG:3031", grid_mapping_name="coord_system")
    >>> plain = with_plain_crs(field).astype("float32")
    >>> sorted(plain.coords), plain.rio.crs.to_epsg()
    (['spatial_ref', 'x', 'y'], 3031)
    """
    crs = field.rio.crs
    field = field.reset_coords(drop=True)
    for place in (field.attrs, field.encoding):
        place.pop("grid_mapping", None)
        place.pop("coordinates", None)
    return field.rio.write_crs(crs)


def first_line(error: BaseException) -> str:
    """Give the first line of what an error says, or its kind where it says nothing.

    >>> first_line(OSError("it is gone\\nfor ever")), first_line(KeyError())
    ('it is gone', 'KeyError')
    """
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _open_raster(path: Path, variable: str | None) -> xr.DataArray:
    try:
        with rasterio.Env(GTIFF_REPORT_COMPD_CS=True):  # older GeoTIFFs hide their vertical CRS otherwise
            opened = rioxarray.open_rasterio(
                path, masked=True, mask_and_scale=True, chunks={"x": CHUNK_CELLS, "y": CHUNK_CELLS}
            )
    except (RasterioIOError, rasterio.errors.RasterioError) as error:
        raise InputError(
            f"{path}: cannot be read as a raster ({first_line(error)}); fetch it again"
        ) from error
    if not isinstance(opened, xr.DataArray):
        raise InputError(f"{path}: holds several rasters; name one file a variable")
    bands = [str(band) for band in opened["band"].values]
    wanted = str(variable or bands[0])
    if wanted not in bands:
        raise InputError(
            f"{path}: has no band {wanted}; a variable of a raster is the number of its band, "
            f"1 to {len(bands)}"
        )
    return opened.isel(band=bands.index(wanted), drop=True)


def _open_dataset(path: Path, variable: str | None, x: str | None, y: str | None) -> xr.DataArray:
    try:
        if path.is_dir():
            dataset = xr.open_zarr(path, decode_coords="all")
        else:
            with path.open("rb") as file:
                magic = file.read(4)
            if magic[:3] == b"CDF":
                dataset = xr.open_dataset(path, engine="scipy", decode_coords="all", chunks={})
            else:
                dataset = xr.open_dataset(
                    path, engine="h5netcdf", decode_coords="all", chunks={}, phony_dims="sort"
                )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as NetCDF, HDF5 or Zarr ({first_line(error)})") from error
    candidates = [str(name) for name in dataset.data_vars if dataset[name].ndim == 2 and name not in (x, y)]
    name = variable or (candidates[0] if len(candidates) == 1 else None)
    if name is None or name not in dataset:
        wanted = f"has no variable {variable!r}" if variable else "holds several variables; name one"
        raise InputError(f"{path}: {wanted}; it has {', '.join(candidates) or 'none on a 2-D grid'}")
    field = dataset[name].squeeze(drop=True)
    if x and y:
        missing = [coordinate for coordinate in (x, y) if coordinate not in dataset]
        if missing:
            raise InputError(f"{path}: has no coordinate variable {' or '.join(missing)}")
        field = _with_coordinates(field, dataset[x].values, dataset[y].values, path)
    elif "lon" in field.dims and "lat" in field.dims:
        field = field.rename(lon="x", lat="y")
    if set(field.dims) != {"x", "y"}:
        raise InputError(
            f"{path}: {name} has the dimensions {field.dims}; name its coordinates with x: and y:"
        )
    return field


def _with_coordinates(field: xr.DataArray, x: np.ndarray, y: np.ndarray, path: Path) -> xr.DataArray:
    """Attach coordinates given as variables; of 2-D ones, find the axis along which each varies."""
    x, y = x.squeeze(), y.squeeze()
    if x.ndim == 2:
        x_axis = int(np.ptp(x, axis=1).max() > np.ptp(x, axis=0).max())
        x, y = np.take(x, 0, axis=1 - x_axis), np.take(y, 0, axis=x_axis)
    else:
        x_axis = 1 if field.shape == (y.size, x.size) else 0
    dims = ("y", "x") if x_axis == 1 else ("x", "y")
    if field.shape != tuple({"x": x.size, "y": y.size}[dim] for dim in dims):
        raise InputError(
            f"{path}: {field.name} of shape {field.shape} does not fit {x.size} x and {y.size} y"
        )
    return xr.DataArray(field.data, dims=dims, coords={"x": x, "y": y}, name=field.name, attrs=field.attrs)
