"""Fields to files: cloud-optimised GeoTIFF and CF-NetCDF, whole or not at all."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import xarray as xr
from rasterio._err import CPLE_BaseError  # rasterio exports it nowhere
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError, first_line
from fieldwise.fields.arrays import to_host
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.grids import Grid, grid_of, load_values

CACHE_BYTES = 32 * 2**20  # of GDAL, whose default is a share of the machine's memory
COG_OPTIONS = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": "512", "BIGTIFF": "IF_SAFER"}
WRITTEN_CELLS = 2048  # edge of the blocks in which a lazy field is written


def write_cog_by_blocks(
    blocks: Iterable[tuple[int, int, np.ndarray]],
    grid: Grid,
    path: str | Path,
    *,
    name: str | Sequence[str],
    units: str | Sequence[str] = "m",
    tags: dict[str, str] | None = None,
) -> Path:
    """Write blocks (first row, first column, values) to a cloud-optimised GeoTIFF: float32, NaN = missing.

    Where there are several names, and as many units, values are (band, y, x), else (y, x).

    Memory is bounded by a block; the file has its final name only when it is whole and reads back as it
    was written: on a full disk GDAL may lose the last tiles without a word.

    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.fields.grids import make_field
    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> blocks = ((0, column, np.full((2, 2), column)) for column in (0, 2))
    >>> path = write_cog_by_blocks(blocks, Grid(0, 0, 4, 2, 1, "EPSG:3031"), home / "bed.tif", name="bed")
    >>> open_field(path).values.tolist()
    [[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]]
    """
    path = Path(path)
    rows, columns = grid.shape
    names, unit_names = ([each] if isinstance(each, str) else list(each) for each in (name, units))
    transform = rasterio.transform.from_origin(grid.west, grid.north, grid.spacing, grid.spacing)
    profile: dict[str, Any] = {"driver": "GTiff", "height": rows, "width": columns, "count": len(names)}
    profile |= {"dtype": "float32", "nodata": np.nan, "crs": grid.crs or None, "transform": transform}
    profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "BIGTIFF": "IF_SAFER", "SPARSE_OK": True}
    sums: dict[Window, int] = {}
    with replace_when_done(path) as partial, rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        plain = partial.with_name("plain.tif")
        try:
            with rasterio.open(plain, "w", **profile) as target:
                target.update_tags(**(tags or {}))
                target.descriptions, target.units = names, unit_names
                for row, column, block in blocks:
                    values = np.reshape(to_host(block), (len(names), *block.shape[-2:]))
                    window = Window(column, row, values.shape[2], values.shape[1])
                    target.write(values.astype(np.float32), window=window)
                    sums[window] = _checksum(values)
            rasterio.shutil.copy(plain, partial, driver="COG", **COG_OPTIONS)
            with rasterio.open(partial) as written:
                if any(_checksum(written.read(window=window)) != total for window, total in sums.items()):
                    raise RasterioIOError("what was written reads back different")
        except (RasterioIOError, CPLE_BaseError) as error:
            raise InputError(
                f"{path}: writing breaks off ({first_line(error)}); see that the disk is not full, "
                "then run again"
            ) from error
        plain.unlink()
    return path


def _checksum(values: np.ndarray) -> int:
    """Sum up a block; every missing value counts the same."""
    return zlib.crc32(np.where(np.isnan(values), np.float32(np.nan), values).astype(np.float32).tobytes())


def write_cog(field: xr.DataArray, path: str | Path, *, tags: dict[str, str] | None = None) -> Path:
    """Write a field as a cloud-optimised GeoTIFF with CRS, units, name and datum; lazy ones block by block.

    >>> import tempfile
    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.fields.grids import make_field
    >>> field = make_field(np.ones((2, 2)), Grid(0, 0, 500, 500, 250, "EPSG:3031"), name="bed")
    >>> path = write_cog(field, Path(tempfile.mkdtemp()) / "bed.tif")
    >>> open_field(path).equals(field.astype("float32"))
    True
    """
    size = WRITTEN_CELLS
    rows, columns = field.shape
    blocks = (
        (row, column, load_values(field[row : row + size, column : column + size]))
        for row in range(0, rows, size)
        for column in range(0, columns, size)
    )
    name, units = str(field.name or "field"), str(field.attrs.get("units", ""))
    tags = tags_of(field) | (tags or {})
    return write_cog_by_blocks(blocks, grid_of(field), path, name=name, units=units, tags=tags)


def tags_of(field: xr.DataArray) -> dict[str, str]:
    """Give what of a field's attributes goes with it into a file: its vertical datum, where it has one.

    >>> from fieldwise.fields.grids import make_field
    >>> field = make_field(np.ones((2, 2)), Grid(0, 0, 2, 2, 1, "EPSG:3031"), name="bed")
    >>> tags_of(field), tags_of(field.assign_attrs(vertical_datum="WGS84 ellipsoid"))
    ({}, {'vertical_datum': 'WGS84 ellipsoid'})
    """
    return {DATUM: field.attrs[DATUM]} if DATUM in field.attrs else {}


def describe_by_cf(data: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """Describe fields, and the coordinates and grid mapping that they have, as CF asks.

    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.fields.grids import make_field
    >>> bed = make_field(np.zeros((2, 2)), Grid(0, 0, 500, 500, 250, "EPSG:3031"), name="bed")
    >>> describe_by_cf(bed)["x"].attrs["standard_name"]
    'projection_x_coordinate'
    """
    dataset = data.to_dataset(name=data.name or "field") if isinstance(data, xr.DataArray) else data
    if {"x", "y"} <= set(dataset.dims) and dataset.rio.crs is not None:
        dataset = dataset.rio.write_crs(dataset.rio.crs)  # again: arithmetic drops each variable's link to it
        dataset = dataset.rio.write_coordinate_system()
        mapping = dataset["spatial_ref"].astype(np.int32)  # CF 1.8 knows no longer ones
        if mapping.attrs.get("grid_mapping_name") == "polar_stereographic":
            pole = np.copysign(90.0, mapping.attrs["standard_parallel"])
            mapping.attrs.setdefault("latitude_of_projection_origin", pole)
        dataset["spatial_ref"] = mapping
    dataset = dataset.assign_attrs({"Conventions": "CF-1.8"} | dataset.attrs)
    for coordinate in dataset.coords.values():
        coordinate.encoding["_FillValue"] = None  # CF: none of them is missing
    return dataset


def write_netcdf(data: xr.Dataset | xr.DataArray, path: str | Path) -> Path:
    """Write fields (or tables on one dimension) as CF-NetCDF, with grid mapping and units.

    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.fields.grids import make_field
    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> bed = make_field(np.zeros((2, 2)), Grid(0, 0, 500, 500, 250, "EPSG:3031"), name="bed")
    >>> open_field(write_netcdf(bed, home / "bed.nc")).rio.crs.to_epsg()
    3031
    """
    path = Path(path)
    dataset = describe_by_cf(data)
    with replace_when_done(path) as partial:
        dataset.to_netcdf(partial, engine="h5netcdf")
    return path
