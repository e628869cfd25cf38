"""Fields to files: cloud-optimised GeoTIFF and CF-NetCDF, whole or not at all."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from rasterio._err import CPLE_BaseError  # rasterio exports it nowhere
from rasterio.enums import Resampling
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError, first_line
from fieldwise.fields.arrays import to_host
from fieldwise.fields.cogs import order_as_cog
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.grids import Grid, grid_of, load_values

CACHE_BYTES = 32 * 2**20  # of GDAL, whose default is a share of the machine's memory
TILE_CELLS = 512
THREADS = {"NUM_THREADS": "ALL_CPUS"}  # of GDAL, which packs and unpacks tiles in them
TILED = {"driver": "GTiff", "dtype": "float32", "nodata": np.nan, "tiled": True, "interleave": "band"}
TILED |= {"compress": "DEFLATE", "predictor": 3, "blockxsize": TILE_CELLS, "blockysize": TILE_CELLS}
TILED |= {"BIGTIFF": "YES", "ENDIANNESS": "LITTLE"}  # as `order_as_cog` reads it
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
    sums: dict[Window, int] = {}
    with replace_when_done(path) as whole, breaking_off(path), rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        plain = create_tiled(grid, whole.with_name("plain.tif"), name=name, units=units, tags=tags)
        with rasterio.open(plain, "r+", **THREADS) as target:
            for row, column, block in blocks:
                values = np.reshape(to_host(block), (target.count, *block.shape[-2:])).astype(np.float32)
                window = Window(column, row, values.shape[2], values.shape[1])
                target.write(values, window=window)
                sums[window] = sum_up(values)
        with rasterio.open(plain, **THREADS) as written:
            if any(sum_up(written.read(window=window)) != total for window, total in sums.items()):
                raise RasterioIOError("what was written reads back different")
        finish_cog(plain, whole)
    return path


@contextmanager
def breaking_off(path: str | Path) -> Iterator[None]:
    """Turn what GDAL raises while it writes into one line that names a file.

    >>> with breaking_off("bed.tif"):
    ...     raise RasterioIOError("No space left on device")
    Traceback (most recent call last):
    fieldwise.errors.InputError: bed.tif: writing breaks off (No space left on device); see that the disk ...
    """
    try:
        yield
    except (RasterioIOError, CPLE_BaseError) as error:
        raise InputError(
            f"{path}: writing breaks off ({first_line(error)}); see that the disk is not full, then run again"
        ) from error


def create_tiled(
    grid: Grid,
    path: Path,
    *,
    name: str | Sequence[str],
    units: str | Sequence[str] = "m",
    tags: dict[str, str] | None = None,
) -> Path:
    """Create a tiled GeoTIFF in which everything is missing, to write blocks into; see `finish_cog`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "plain.tif"
    >>> with rasterio.open(create_tiled(Grid(0, 0, 4, 2, 1, "EPSG:3031"), path, name="bed")) as empty:
    ...     bool(np.isnan(empty.read(1)).all())
    True
    """
    names, unit_names = ([each] if isinstance(each, str) else list(each) for each in (name, units))
    transform = rasterio.transform.from_origin(grid.west, grid.north, grid.spacing, grid.spacing)
    profile: dict[str, Any] = {"height": grid.shape[0], "width": grid.shape[1], "count": len(names)}
    profile |= {"crs": grid.crs or None, "transform": transform}
    with rasterio.open(path, "w", **profile, **TILED, **THREADS) as target:
        target.update_tags(**(tags or {}))
        target.descriptions, target.units = names, unit_names
    return path


def finish_cog(tiled: Path, path: Path) -> Path:
    """Add overviews to a tiled GeoTIFF, and bring it into the order of a cloud-optimised one.

    What it holds is neither unpacked nor packed again, but for the overviews.

    >>> import tempfile
    >>> home, grid = Path(tempfile.mkdtemp()), Grid(0, 0, 1200, 4, 1, "EPSG:3031")
    >>> path = finish_cog(create_tiled(grid, home / "plain.tif", name="bed"), home / "bed.tif")
    >>> with rasterio.open(path) as cog:
    ...     cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"], cog.overviews(1)
    ('COG', [2, 4])
    """
    with rasterio.open(tiled, "r+", **THREADS) as target:
        halvings = max(0, math.ceil(math.log2(max(target.shape) / TILE_CELLS)))
        options = {"GDAL_TIFF_OVR_BLOCKSIZE": str(TILE_CELLS), "GDAL_NUM_THREADS": "ALL_CPUS"}
        if halvings:
            with rasterio.Env(**options):
                target.build_overviews([2**k for k in range(1, halvings + 1)], Resampling.average)
    return order_as_cog(tiled, path)


def sum_up(values: np.ndarray) -> int:
    """Sum up a block by CRC-32; every missing value counts the same.

    >>> sum_up(np.zeros(4)) == sum_up(np.zeros(4, np.float32)), sum_up(np.ones(4)) == sum_up(np.zeros(4))
    (True, False)
    """
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
