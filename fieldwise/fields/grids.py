"""The regular grids that fields live on: extent, spacing and CRS."""

from __future__ import annotations

import itertools
import math
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyproj  # before anything that may load eccodes: the other order crashes the interpreter
import rioxarray  # noqa: F401  gives fields their `rio`
import xarray as xr
from rasterio.errors import RasterioIOError

from fieldwise.errors import InputError, first_line
from fieldwise.fields.arrays import ArrayModule, choose_module, module_of, to_host
from fieldwise.fields.datums import ATTRIBUTE as DATUM

Bounds = tuple[float, float, float, float]  # west, south, east, north: edges of the outer cells


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

    def moved(self, east: float, north: float) -> Grid:
        """Give the same grid so much farther to the east and to the north.

        >>> Grid(0, 0, 500, 250, 250, "EPSG:3031").moved(10.0, -10.0).bounds
        (10.0, -10.0, 510.0, 240.0)
        """
        west, south = self.west + east, self.south + north
        return replace(self, west=west, south=south, east=self.east + east, north=self.north + north)

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

    def part(self, rows: slice, columns: slice) -> Grid:
        """Give the grid of some of its cells.

        >>> Grid(0, 0, 1000, 500, 250, "EPSG:3031").part(slice(0, 1), slice(1, 3)).bounds
        (250, 250, 750, 500)
        """
        (top, bottom, _), (left, right, _) = (
            each.indices(size) for each, size in zip((rows, columns), self.shape)
        )
        return replace(
            self,
            west=self.west + left * self.spacing,
            east=self.west + right * self.spacing,
            north=self.north - top * self.spacing,
            south=self.north - bottom * self.spacing,
        )


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


def cover(grid: Grid, boxes: Iterable[Bounds]) -> np.ndarray:
    """Tell which cells of a grid, (y, x), any of the boxes covers.

    >>> cover(Grid(0, 0, 300, 200, 100, "EPSG:3031"), [(100, 100, 900, 900)]).astype(int).tolist()
    [[0, 1, 1], [0, 0, 0]]
    """
    covered = np.zeros(grid.shape, dtype=bool)
    for west, south, east, north in boxes:
        rows = (max(0, round((grid.north - edge) / grid.spacing)) for edge in (north, south))
        columns = (max(0, round((edge - grid.west) / grid.spacing)) for edge in (west, east))
        covered[slice(*rows), slice(*columns)] = True
    return covered


def cut_blocks(grid: Grid, cells: int) -> Iterator[tuple[slice, slice, Grid]]:
    """Cut a grid into blocks of at most so many cells a side: rows, columns and grid of each.

    >>> [(rows.stop, columns.stop) for rows, columns, _ in cut_blocks(Grid(0, 0, 3, 2, 1, "EPSG:3031"), 2)]
    [(2, 2), (2, 3)]
    """
    ny, nx = grid.shape
    for top, left in itertools.product(range(0, ny, cells), range(0, nx, cells)):
        rows, columns = slice(top, min(top + cells, ny)), slice(left, min(left + cells, nx))
        yield rows, columns, grid.part(rows, columns)


def grid_of(field: xr.DataArray) -> Grid:
    """Tell the grid that a canonical field lives on.

    >>> grid_of(make_field(np.zeros((2, 3)), Grid(0, 0, 300, 200, 100, "EPSG:3031"), name="bed")).bounds
    (0.0, 0.0, 300.0, 200.0)
    """
    x, y = field["x"].values, field["y"].values
    if x.size < 2 or y.size < 2:
        raise InputError(
            f"{label_of(field)}: {y.size} x {x.size} cells; at least 2 x 2 are needed to know a spacing"
        )
    dx, dy = float(x[-1] - x[0]) / (x.size - 1), float(y[0] - y[-1]) / (y.size - 1)
    if abs(dx - dy) > 1e-3 * abs(dx):
        raise InputError(f"{label_of(field)}: cells of {dx:g} by {dy:g} m are not square; resample it first")
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
    """Name a CRS by its EPSG code where it has one, otherwise by its WKT; an unknown one is an error.

    >>> crs_name("epsg:3031")
    'EPSG:3031'
    """
    try:
        parsed = pyproj.CRS.from_user_input(crs)
    except (pyproj.exceptions.CRSError, TypeError) as error:
        quoted = textwrap.shorten(str(crs), 60, placeholder="...")
        raise InputError(f"unknown CRS {quoted!r}; give an EPSG code such as EPSG:3031") from error
    code = parsed.to_epsg(min_confidence=70)
    return f"EPSG:{code}" if code else parsed.to_wkt()


def crs_label(crs: Any) -> str:
    """Give a CRS in a few words for a message: its EPSG code, else its name, else how PROJ writes it.

    >>> crs_label("EPSG:3031"), crs_label("+proj=tmerc +lat_0=0 +lon_0=10 +k=0.9 +datum=WGS84")
    ('EPSG:3031', '+proj=tmerc +lat_0=0 +lon_0=10 +k=0.9 ...')
    """
    name = crs_name(crs)
    if name.startswith("EPSG:"):
        return name
    parsed = pyproj.CRS(name)
    if parsed.name.lower() in ("unknown", "unnamed", "undefined", ""):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that names are lost
            return textwrap.shorten(parsed.to_proj4(), 45, placeholder=" ...")
    return textwrap.shorten(parsed.name, 45, placeholder=" ...")


def same_crs(first: Any, second: Any) -> bool:
    """Tell whether two CRSs are one, also where a file gave one back in other words.

    Of CRSs without a code the same projection can be written in many ways (a scale at the pole is a latitude
    of true scale): they are one where they give the same places the same coordinates, to a millimetre.

    >>> same_crs("+proj=stere +lat_0=-90 +k=1 +R=6371000", "+proj=stere +lat_0=-90 +lat_ts=-90 +R=6371000")
    True
    >>> same_crs("+proj=stere +lat_0=-90 +k=1 +R=6371000", "EPSG:3031")
    False
    """
    one, two = (pyproj.CRS.from_user_input(crs) for crs in (first, second))
    if one == two:
        return True
    if not (one.is_projected and two.is_projected) or (one.to_epsg() and two.to_epsg()):
        return False
    places = np.array([[1e4, -7e4, 3e5], [2e4, 5e4, -4e5]])
    there = pyproj.Transformer.from_crs(one, two, always_xy=True).transform(*places)
    return bool(np.allclose(there, places, rtol=0, atol=1e-3))


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
            f"{label_of(field)}: reading breaks off ({first_line(error)}); it is truncated, fetch it again"
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


def label_of(field: xr.DataArray) -> str:
    """Name a field in a message: by its file where it has one.

    >>> label_of(make_field(np.ones((2, 2)), Grid(0, 0, 2, 2, 1, "EPSG:3031"), name="bed"))
    'bed'
    """
    return str(field.encoding.get("source") or field.name or "field")
