"""Maps of several variables and times, written block by block: GeoTIFF, CF-NetCDF or Zarr, by suffix."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5netcdf
import numpy as np
import xarray as xr
import zarr

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.formats import first_line
from fieldwise.fields.grids import Grid
from fieldwise.fields.rasters import describe_by_cf, write_cog_by_blocks, write_netcdf

CHUNK_CELLS = 256  # on a side of what NetCDF and Zarr compress and read at once
CHUNK_CACHE_BYTES = 32 * 2**20  # of HDF5: the chunks that a block leaves half filled are finished by the next


@dataclass(frozen=True)
class Output:
    """One channel of what a predictor gives, as the file that holds it describes it.

    Parameters
    ----------
    name, units, long_name, standard_name
        As CF has them; the units as UDUNITS reads them.
    dtype
        Of the values in NetCDF and Zarr; of an integer one no value is missing.
    flags
        Meanings of the values 0, 1, … of a channel of flags.

    >>> Output("bed", "m").attributes()
    {'units': 'm', 'long_name': 'bed'}
    >>> Output("beyond_training", dtype="int8", flags=("within", "beyond")).attributes()["flag_meanings"]
    'within beyond'
    """

    name: str
    units: str = "1"
    long_name: str | None = None
    standard_name: str | None = None
    dtype: str = "float32"
    flags: tuple[str, ...] = ()

    def attributes(self) -> dict[str, Any]:
        """Give the attributes that CF asks for."""
        given: dict[str, Any] = {} if self.flags else {"units": self.units}
        given["long_name"] = self.long_name or self.name.replace("_", " ")
        if self.standard_name:
            given["standard_name"] = self.standard_name
        if self.flags:
            given["flag_values"] = np.arange(len(self.flags), dtype=self.dtype)
            given["flag_meanings"] = " ".join(self.flags)
        return given


class Piece(NamedTuple):
    """Values (frame, channel, y, x) of some frames in one block, and where in the file they begin."""

    frame: int
    row: int
    column: int
    values: np.ndarray


@dataclass(frozen=True)
class Times:
    """When the frames of a file are, and what their times are counted in, as CF says it."""

    values: np.ndarray
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def coordinate(self) -> xr.DataArray:
        """Give the coordinate with its attributes.

        >>> Times(np.array([2001.0]), {"units": "years since 0000-01-01"}).coordinate().attrs["standard_name"]
        'time'
        """
        unknown = "" if self.attributes else ", of unknown units"
        attributes = {"long_name": f"time as in the source{unknown}"} | dict(self.attributes)
        if "since" in attributes.get("units", ""):
            attributes["standard_name"] = "time"
        return xr.DataArray(self.values, dims="time", attrs=attributes)


@dataclass(frozen=True)
class MapFile:
    """What a file of maps holds: variables on a grid, at times or without.

    Parameters
    ----------
    outputs
        The variables, in the order of the channels.
    grid
        Its CRS may be empty: a plane of metres somewhere.
    times
        Of the frames; None for one frame without a time.
    attributes
        Of the whole file, as text.
    """

    outputs: tuple[Output, ...]
    grid: Grid
    times: Times | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions of each variable."""
        return ("y", "x") if self.times is None else ("time", "y", "x")

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of these dimensions."""
        return self.grid.shape if self.times is None else (len(self.times.values), *self.grid.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        """What is compressed and read at once: a part of one frame."""
        sides = tuple(min(CHUNK_CELLS, size) for size in self.grid.shape)
        return sides if self.times is None else (1, *sides)

    def coordinates(self) -> xr.Dataset:
        """Give coordinates, grid mapping and attributes as CF asks, without the variables."""
        coordinates: dict[str, Any] = {"y": self.grid.y, "x": self.grid.x}
        if self.times is not None:
            coordinates["time"] = self.times.coordinate()
        dataset = xr.Dataset(coords=coordinates, attrs=dict(self.attributes))
        for axis in ("x", "y"):
            dataset[axis].attrs = {"units": "m", "standard_name": f"projection_{axis}_coordinate"}
        return describe_by_cf(dataset.rio.write_crs(self.grid.crs) if self.grid.crs else dataset)

    def attributes_of(self, output: Output) -> dict[str, Any]:
        """Give the attributes of a variable; what its heights count from stands with it too."""
        given = {key: self.attributes[key] for key in (DATUM,) if key in self.attributes}
        given |= {"grid_mapping": "spatial_ref"} if self.grid.crs else {}
        return output.attributes() | given

    def place(self, piece: Piece) -> tuple[slice, ...]:
        """Index what a piece covers in a variable."""
        frames, _, rows, columns = piece.values.shape
        starts, sizes = (piece.frame, piece.row, piece.column), (frames, rows, columns)
        slices = tuple(slice(start, start + size) for start, size in zip(starts, sizes))
        return slices if self.times is not None else slices[1:]


def write_map(pieces: Iterable[Piece], path: str | Path, content: MapFile) -> Path:
    """Write pieces of a map to a file; no more than one of them is in memory.

    Parameters
    ----------
    pieces
        Together they cover all frames and the whole grid.
    path
        ``.tif`` (cloud-optimised GeoTIFF of one frame, a band a variable, float32, NaN where missing),
        ``.nc`` (CF-NetCDF) or ``.zarr``. It is there whole or not at all.
    content
        What the file is to hold.

    Raises
    ------
    InputError
        Where the suffix is another one, a GeoTIFF is to take several frames, or writing breaks off.

    Examples
    --------
    >>> import tempfile
    >>> content = MapFile((Output("bed", "m"),), Grid(0, 0, 400, 200, 100, "EPSG:3031"))
    >>> pieces = (Piece(0, 0, column, np.full((1, 1, 2, 2), column)) for column in (0, 2))
    >>> path = write_map(pieces, Path(tempfile.mkdtemp()) / "bed.nc", content)
    >>> with xr.open_dataset(path, engine="h5netcdf") as bed:
    ...     bed["bed"].values[0].tolist(), bed["bed"].units
    ([0.0, 0.0, 2.0, 2.0], 'm')
    """
    path = Path(path)
    check_suffix(path, 1 if content.times is None else len(content.times.values))
    write = WRITERS[path.suffix.lower()]
    try:
        with replace_when_done(path) as partial:
            write(pieces, partial, content)
    except (OSError, RuntimeError) as error:  # HDF5 raises the one or the other
        raise InputError(
            f"{path}: writing breaks off ({first_line(error)}); see that the disk is not full, then run again"
        ) from error
    return path


def check_suffix(path: str | Path, frames: int) -> None:
    """Refuse a file that cannot be written, or cannot hold so many frames.

    >>> check_suffix("flow.tif", 8)
    Traceback (most recent call last):
    fieldwise.errors.InputError: flow.tif: a .tif holds one frame, not 8; choose one, or write .nc or .zarr
    >>> check_suffix("flow.grd", 1)
    Traceback (most recent call last):
    fieldwise.errors.InputError: flow.grd: maps are written as .tif, .nc or .zarr; give one of these names
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise InputError(f"{path}: maps are written as .tif, .nc or .zarr; give one of these names")
    if WRITERS[suffix] is _write_geotiff and frames > 1:
        raise InputError(f"{path}: a .tif holds one frame, not {frames}; choose one, or write .nc or .zarr")


def _write_geotiff(pieces: Iterable[Piece], path: Path, content: MapFile) -> None:
    write_cog_by_blocks(
        ((piece.row, piece.column, piece.values[0]) for piece in pieces),
        content.grid,
        path,
        name=[output.name for output in content.outputs],
        units=[output.units for output in content.outputs],
        tags=dict(content.attributes),
    )


def _write_netcdf(pieces: Iterable[Piece], path: Path, content: MapFile) -> None:
    sizes = [np.dtype(output.dtype).itemsize for output in content.outputs]
    _check_room(path, sum(sizes) * math.prod(content.shape))
    write_netcdf(content.coordinates(), path)
    with h5netcdf.File(path, "a", rdcc_nbytes=CHUNK_CACHE_BYTES) as file:
        variables = [_add_variable(file, output, content) for output in content.outputs]
        _fill(variables, pieces, content)


def _check_room(path: Path, size: int) -> None:
    """Raise an error where the disk cannot take a file of so many bytes: HDF5 crashes where it fills up."""
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        path.unlink()


def _add_variable(file: h5netcdf.File, output: Output, content: MapFile) -> Any:
    variable = file.create_variable(
        output.name,
        content.dims,
        output.dtype,
        fillvalue=np.nan if output.dtype.startswith("float") else None,
        chunks=content.chunks,
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    variable.attrs.update(content.attributes_of(output))
    return variable


def _write_zarr(pieces: Iterable[Piece], path: Path, content: MapFile) -> None:
    content.coordinates().to_zarr(path, mode="w", consolidated=False)
    group = zarr.open_group(path, mode="a")
    variables = [
        group.create_array(
            output.name,
            shape=content.shape,
            chunks=content.chunks,
            dtype=output.dtype,
            dimension_names=content.dims,
            fill_value=np.nan if output.dtype.startswith("float") else 0,
            attributes=_plain(content.attributes_of(output)),
        )
        for output in content.outputs
    ]
    _fill(variables, pieces, content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the third format has no words for it yet
        zarr.consolidate_metadata(path)


def _fill(variables: list[Any], pieces: Iterable[Piece], content: MapFile) -> None:
    """Put the channels of each piece in the places of their variables."""
    for piece in pieces:
        place = content.place(piece)
        for channel, (variable, output) in enumerate(zip(variables, content.outputs, strict=True)):
            values = piece.values[:, channel]
            if not output.dtype.startswith("float"):
                values = np.nan_to_num(values).round()
            variable[place] = (values if content.times is not None else values[0]).astype(output.dtype)


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in attributes.items()
    }


Writer = Callable[[Iterable[Piece], Path, MapFile], None]
WRITERS: dict[str, Writer] = {
    ".tif": _write_geotiff,
    ".tiff": _write_geotiff,
    ".nc": _write_netcdf,
    ".zarr": _write_zarr,
}
