"""Gridded files as fields: open, align, write; and the regular grids they live on."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj  # before anything that may load eccodes: the other order crashes the interpreter
import rasterio
import rasterio.shutil
import rioxarray  # noqa: F401  gives fields their `rio`
import xarray as xr
from rasterio._err import CPLE_BaseError  # rasterio exports it nowhere
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields.arrays import ArrayModule, choose_module, module_of, to_host
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.datums import parse_datum, split_crs
from fieldwise.fields.formats import CHUNK_CELLS, first_line, open_file, with_plain_crs

Bounds = tuple[float, float, float, float]  # west, south, east, north: edges of the outer cells

CACHE_BYTES = 32 * 2**20  # of GDAL, whose default is a share of the machine's memory
COG_OPTIONS = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": "512", "BIGTIFF": "IF_SAFER"}


@dataclass(frozen=True)
class Grid:
    """A regular grid of square cells: extent, spacing and CRS, registered by pixels.

    >>> grid = Grid(0, 0, 1000, 500, 250, "EPSG:3031")
    >>> grid.shape
    (2, 4)
    >>> grid.x.tolist(), grid.y.tolist()
    ([125.0, 375.0, 625.0, 875.0], [375.0, 125.0])
    """

    west: float
    south: float
    east: float
    north: float
    spacing: float
    crs: str

    @classmethod
    def around(cls, bounds: Bounds, spacing: float, crs: str) -> Grid:
        """Round bounds outward to whole multiples of the spacing.

        >>> Grid.around((10, -10, 740, 260), 250, "EPSG:3031").bounds
        (0.0, -250.0, 750.0, 500.0)
        """
        west, south, east, north = bounds
        slack = 1e-6  # an edge that is a multiple but for rounding stays where it is
        return cls(
            math.floor(west / spacing + slack) * float(spacing),
            math.floor(south / spacing + slack) * float(spacing),
            math.ceil(east / spacing - slack) * float(spacing),
            math.ceil(north / spacing - slack) * float(spacing),
            spacing,
            crs,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows (y) and columns (x)."""
        return round((self.north - self.south) / self.spacing), round((self.east - self.west) / self.spacing)

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north edges."""
        return self.west, self.south, self.east, self.north

    @property
    def x(self) -> np.ndarray:
        """Cell centres from west to east."""
        return self.west + self.spacing * (np.arange(self.shape[1]) + 0.5)

    @property
    def y(self) -> np.ndarray:
        """Cell centres from north to south."""
        return self.north - self.spacing * (np.arange(self.shape[0]) + 0.5)


def overlap(first: Bounds, second: Bounds) -> Bounds | None:
    """Return the box that two boxes share, or None.

    >>> overlap((0, 0, 4, 4), (2, -1, 9, 3))
    (2, 0, 4, 3)
    >>> overlap((0, 0, 1, 1), (1, 0, 2, 1)) is None
    True
    """
    west, south = max(first[0], second[0]), max(first[1], second[1])
    east, north = min(first[2], second[2]), min(first[3], second[3])
    return (west, south, east, north) if west < east and south < north else None


def grid_of(field: xr.DataArray) -> Grid:
    """Tell the grid that a canonical field lives on.

    >>> grid_of(make_field(np.zeros((2, 3)), Grid(0, 0, 300, 200, 100, "EPSG:3031"), name="bed")).bounds
    (0.0, 0.0, 300.0, 200.0)
    """
    x, y = field["x"].values, field["y"].values
    if x.size < 2 or y.size < 2:
        raise InputError(
            f"{_label(field)}: {y.size} x {x.size} cells; at least 2 x 2 are needed to know a spacing"
        )
    dx, dy = float(x[-1] - x[0]) / (x.size - 1), float(y[0] - y[-1]) / (y.size - 1)
    if abs(dx - dy) > 1e-3 * abs(dx):
        raise InputError(f"{_label(field)}: cells of {dx:g} by {dy:g} m are not square; resample it first")
    half = dx / 2
    crs = crs_name(field.rio.crs)
    return Grid(
        float(x[0]) - half,
        float(y[-1]) - half,
        float(x[-1]) + half,
        float(y[0]) + half,
        float(f"{dx:.12g}"),  # rid of rounding, in metres as in degrees
        crs,
    )


def make_field(
    values: np.ndarray,
    grid: Grid,
    *,
    name: str,
    units: str = "m",
    long_name: str | None = None,
    vertical_datum: str | None = None,
) -> xr.DataArray:
    """Put values (rows from north to south) on a grid as a field with units and CRS.

    >>> make_field(np.ones((2, 4)), Grid(0, 0, 1000, 500, 250, "EPSG:3031"), name="bed").rio.crs.to_epsg()
    3031
    """
    if values.shape[-2:] != grid.shape:
        raise InputError(f"{name}: values of shape {values.shape} do not fit a grid of {grid.shape} cells")
    field = xr.DataArray(
        values,
        dims=("y", "x"),
        coords={"y": grid.y, "x": grid.x},
        name=name,
        attrs={"units": units, "long_name": long_name or name.replace("_", " ")}
        | ({DATUM: vertical_datum} if vertical_datum else {}),
    )
    return field.rio.write_crs(grid.crs)


def crs_name(crs: Any) -> str:
    """Name a CRS shortly, by its EPSG code where it has one; an unknown one is an error.

    >>> crs_name("epsg:3031")
    'EPSG:3031'
    """
    try:
        parsed = pyproj.CRS.from_user_input(crs)
    except (pyproj.exceptions.CRSError, TypeError) as error:
        raise InputError(f"unknown CRS {str(crs)!r}; give an EPSG code such as EPSG:3031") from error
    code = parsed.to_epsg(min_confidence=70)
    return f"EPSG:{code}" if code else parsed.to_wkt()


def open_field(
    path: str | Path,
    *,
    variable: str | None = None,
    x: str | None = None,
    y: str | None = None,
    crs: str | None = None,
) -> xr.DataArray:
    """Open one variable of a gridded file lazily as a canonical field.

    Parameters
    ----------
    path
        GeoTIFF or another raster of GDAL, NetCDF, HDF5 or Zarr.
    variable
        Which variable of a file with several.
    x, y
        Names of the variables that hold the coordinates, where the file does not say so itself;
        one- or two-dimensional.
    crs
        The CRS, for files that carry none.

    Returns
    -------
    xarray.DataArray
        float32, dimensions (y, x), y from north to south, missing values NaN, horizontal CRS attached,
        scale and offset applied; nothing but coordinates is read yet. Where the file names a vertical datum,
        by its CRS or in ``vertical_datum``, that stands in ``attrs["vertical_datum"]``.

    Raises
    ------
    InputError
        Where the file is missing, broken or has no CRS, naming the file.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> bed = make_field(np.arange(6.0).reshape(2, 3), Grid(0, 0, 3000, 2000, 1000, "EPSG:3031"), name="bed")
    >>> path = write_netcdf(bed[::-1], home / "bed.nc")  # from south to north
    >>> field = open_field(path)
    >>> field.values.tolist(), field["y"].values.tolist()
    ([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], [1500.0, 500.0])
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path, or fetch it with `fieldwise download`")
    field = open_file(path, variable=variable, x=x, y=y)
    if crs is not None:
        field = field.rio.write_crs(crs_name(crs))
    if field.rio.crs is None:
        raise InputError(f"{path}: holds no CRS; state one, such as `crs: EPSG:3031`")
    field = _canonical(_with_datum(with_plain_crs(field), path), path)
    field = field.rio.write_transform(field.rio.transform(recalc=True))  # the file's own holds for its order
    field.encoding["source"] = str(path)
    grid_of(field)
    return field


def _with_datum(field: xr.DataArray, path: Path) -> xr.DataArray:
    """Move what a file says of its vertical datum to one place; the CRS is left the horizontal one."""
    horizontal, of_crs = split_crs(field.rio.crs)
    if of_crs:
        field = field.rio.write_crs(crs_name(horizontal))
    try:
        stated = parse_datum(field.attrs.pop(DATUM, None))
    except InputError:  # a text in words of its own tells no more than none
        stated = None
    if of_crs and stated and of_crs != stated:
        raise InputError(f"{path}: its CRS names the {of_crs}, its vertical_datum the {stated}; correct one")
    return field.assign_attrs({DATUM: of_crs or stated}) if of_crs or stated else field


def _canonical(field: xr.DataArray, path: Path) -> xr.DataArray:
    """Bring a field to (y, x), north to south, west to east, float32, evenly spaced."""
    field = field.transpose("y", "x")
    for dim, ascending in (("x", True), ("y", False)):
        values = field[dim].values.astype(float)
        if values.size > 1 and (values[-1] > values[0]) != ascending:
            field = field.isel({dim: slice(None, None, -1)})
            values = values[::-1]
        steps = np.diff(values)
        if values.size > 2 and np.ptp(steps) > 0.01 * abs(steps.mean()):
            raise InputError(f"{path}: {dim} is not evenly spaced ({steps.min():g} to {steps.max():g})")
        field = field.assign_coords({dim: values})
    fill = field.attrs.pop("_FillValue", None)  # left there by files that mark missing values in attributes
    field = field.astype("float32")
    return field.where(field != np.float32(fill)) if fill is not None else field


def load_values(field: xr.DataArray) -> np.ndarray:
    """Read the values of a lazy field as float32; a file that breaks off is an error that names it.

    Those of a field on a GPU stay there.

    >>> load_values(make_field(np.ones((2, 2)), Grid(0, 0, 2, 2, 1, "EPSG:3031"), name="bed")).dtype
    dtype('float32')
    """
    try:
        values = field.compute().data
        return module_of(values).asarray(values, dtype=np.float32)
    except (RasterioIOError, OSError) as error:
        raise InputError(
            f"{_label(field)}: reading breaks off ({first_line(error)}); it is truncated, fetch it again"
        ) from error


def move_field(field: xr.DataArray, arrays: ArrayModule) -> xr.DataArray:
    """Have a field's values in the machine's memory, or on the GPU; a lazy one is moved as it is read.

    What is cut, averaged, filled or judged from a field on the GPU is worked out there.

    >>> field = make_field(np.ones((2, 2)), Grid(0, 0, 2, 2, 1, "EPSG:3031"), name="bed")
    >>> type(move_field(field, "numpy").data).__name__
    'ndarray'
    """
    module = choose_module(arrays)
    convert = to_host if arrays == "numpy" else module.asarray
    if field.chunks is None:
        return field.copy(data=convert(field.data))
    empty = module.empty((0, 0), dtype=field.dtype)
    return field.copy(data=field.data.map_blocks(convert, dtype=field.dtype, meta=empty))


def align(field: xr.DataArray, crs: str) -> xr.DataArray:
    """Bring a field to another CRS (bilinear); one that is already there comes back as it is.

    >>> field = make_field(np.ones((2, 2)), Grid(0, 0, 2, 2, 1, "EPSG:3031"), name="bed")
    >>> align(field, "EPSG:3031") is field
    True
    """
    if pyproj.CRS.from_user_input(field.rio.crs) == pyproj.CRS.from_user_input(crs):
        return field
    source = field.encoding.get("source")
    aligned = field.rio.reproject(crs, resampling=rasterio.enums.Resampling.bilinear, nodata=np.nan)
    aligned.encoding["source"] = source or str(field.name)
    return aligned


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
    >>> field = make_field(np.ones((2, 2)), Grid(0, 0, 500, 500, 250, "EPSG:3031"), name="bed")
    >>> path = write_cog(field, Path(tempfile.mkdtemp()) / "bed.tif")
    >>> open_field(path).equals(field.astype("float32"))
    True
    """
    size = 2 * CHUNK_CELLS
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

    >>> field = make_field(np.ones((2, 2)), Grid(0, 0, 2, 2, 1, "EPSG:3031"), name="bed")
    >>> tags_of(field), tags_of(field.assign_attrs(vertical_datum="WGS84 ellipsoid"))
    ({}, {'vertical_datum': 'WGS84 ellipsoid'})
    """
    return {DATUM: field.attrs[DATUM]} if DATUM in field.attrs else {}


def describe_by_cf(data: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """Describe fields, and the coordinates and grid mapping that they have, as CF asks.

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


def _label(field: xr.DataArray) -> str:
    return str(field.encoding.get("source") or field.name or "field")
