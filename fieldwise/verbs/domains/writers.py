"""Maps and boxes of several variables, written block by block: GeoTIFF, NetCDF, Zarr or .npy, by suffix."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import zarr

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields.formats import first_line
from fieldwise.fields.grids import Grid
from fieldwise.fields.rasters import write_cog_by_blocks, write_netcdf
from fieldwise.verbs.domains.contents import MEMBER, Lattice, MapFile, Piece

CHUNK_CACHE_BYTES = 32 * 2**20  # of HDF5: the chunks that a block leaves half filled are finished by the next


def write_map(pieces: Iterable[Piece], path: str | Path, content: MapFile) -> Path:
    """Write pieces of a map, or of a box, to a file; no more than one of them is in memory.

    Parameters
    ----------
    pieces
        Together they cover all frames and the whole grid.
    path
        ``.nc`` (CF-NetCDF) or ``.zarr``; of a map ``.tif`` (cloud-optimised GeoTIFF of one frame, a band a
        channel, float32, NaN where missing); of a box ``.npy`` (one frame, float32: the channels that the
        network gives, (channel, *cells), or the members of an ensemble that keeps them, (member, channel,
        *cells)). It is there whole or not at all.
    content
        What the file is to hold.

    Raises
    ------
    InputError
        Where the suffix is another one, one frame alone has room but there are several, or writing breaks
        off.

    Examples
    --------
    >>> import tempfile
    >>> import xarray as xr
    >>> from fieldwise.verbs.domains.contents import Output
    >>> content = MapFile((Output("bed", "m"),), Grid(0, 0, 400, 200, 100, "EPSG:3031"))
    >>> pieces = (Piece(0, (0, column), np.full((1, 1, 2, 2), column)) for column in (0, 2))
    >>> path = write_map(pieces, Path(tempfile.mkdtemp()) / "bed.nc", content)
    >>> with xr.open_dataset(path, engine="h5netcdf") as bed:
    ...     bed["bed"].values[0].tolist(), bed["bed"].units
    ([0.0, 0.0, 2.0, 2.0], 'm')
    """
    path = Path(path)
    frames, boxes = (
        1 if content.times is None else len(content.times.values),
        isinstance(content.grid, Lattice),
    )
    check_suffix(path, frames, boxes=boxes)
    write = WRITERS[path.suffix.lower()]
    try:
        with replace_when_done(path) as partial:
            write(pieces, partial, content)
    except (OSError, RuntimeError) as error:  # HDF5 raises the one or the other
        raise InputError(
            f"{path}: writing breaks off ({first_line(error)}); see that the disk is not full, then run again"
        ) from error
    return path


def check_suffix(path: str | Path, frames: int, *, boxes: bool = False) -> None:
    """Refuse a file that cannot be written, or cannot hold so many frames.

    >>> check_suffix("flow.tif", 8)
    Traceback (most recent call last):
    fieldwise.errors.InputError: flow.tif: a .tif holds one frame, not 8; choose one, or write .nc or .zarr
    >>> check_suffix("flow.grd", 1)
    Traceback (most recent call last):
    fieldwise.errors.InputError: flow.grd: maps are written as .tif, .nc or .zarr; give one of these names
    >>> check_suffix("box.tif", 1, boxes=True)
    Traceback (most recent call last):
    fieldwise.errors.InputError: box.tif: boxes are written as .npy, .nc or .zarr; give one of these names
    """
    suffix = Path(path).suffix.lower()
    kind, alone = ("boxes", (".npy",)) if boxes else ("maps", (".tif", ".tiff"))
    if suffix not in (*alone, ".nc", ".zarr"):
        raise InputError(f"{path}: {kind} are written as {alone[0]}, .nc or .zarr; give one of these names")
    if suffix in alone and frames > 1:
        raise InputError(
            f"{path}: a {suffix} holds one frame, not {frames}; choose one, or write .nc or .zarr"
        )


def _write_geotiff(pieces: Iterable[Piece], path: Path, content: MapFile) -> None:
    assert isinstance(content.grid, Grid)
    write_cog_by_blocks(
        ((*piece.starts, piece.values[0]) for piece in pieces),
        content.grid,
        path,
        name=[output.label for output in content.outputs],
        units=[output.units for output in content.outputs],
        tags=dict(content.attributes),
    )


def _write_array(pieces: Iterable[Piece], path: Path, content: MapFile) -> None:
    """Write what a network gives, or the members: the rest of an ensemble has no place in a plain array."""
    members = [output for output in content.outputs if MEMBER in dict(output.along)]
    given = [output for output in content.outputs if output.is_given]
    chosen = [content.outputs.index(output) for output in members or given]
    many = (len(members) // len(given), len(given)) if members else (len(given),)
    np.lib.format.open_memmap(path, "w+", np.dtype(np.float32), (*many, *content.grid.shape))
    if hasattr(os, "posix_fallocate"):  # a memory map crashes where the disk fills up
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    for piece in pieces:  # mapped anew each time, so that pages of the last one need not stay in memory
        array = np.load(path, mmap_mode="r+").reshape(-1, *content.grid.shape)
        array[(slice(None), *content.cells(piece))] = piece.values[0, chosen]


def _write_netcdf(pieces: Iterable[Piece], path: Path, content: MapFile) -> None:
    sizes = [np.dtype(output.dtype).itemsize for output in content.outputs]
    frames = 1 if content.times is None else len(content.times.values)
    _check_room(path, sum(sizes) * frames * math.prod(content.grid.shape))
    write_netcdf(content.coordinates(), path)
    with h5netcdf.File(path, "a", rdcc_nbytes=CHUNK_CACHE_BYTES) as file:
        variables = {name: _add_variable(file, name, content) for name in content.variables}
        _fill(variables, pieces, content)


def _check_room(path: Path, size: int) -> None:
    """Raise an error where the disk cannot take a file of so many bytes: HDF5 crashes where it fills up."""
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        path.unlink()


def _add_variable(file: h5netcdf.File, name: str, content: MapFile) -> Any:
    output = content.variables[name][0]
    variable = file.create_variable(
        name,
        tuple(content.sizes(name)),
        output.dtype,
        fillvalue=np.nan if output.dtype.startswith("float") else None,
        chunks=content.chunks(name),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    variable.attrs.update(content.attributes_of(output))
    return variable


def _write_zarr(pieces: Iterable[Piece], path: Path, content: MapFile) -> None:
    content.coordinates().to_zarr(path, mode="w", consolidated=False)
    group = zarr.open_group(path, mode="a")
    variables = {}
    for name, (output, *_) in content.variables.items():
        variables[name] = group.create_array(
            name,
            shape=tuple(content.sizes(name).values()),
            chunks=content.chunks(name),
            dtype=output.dtype,
            dimension_names=tuple(content.sizes(name)),
            fill_value=np.nan if output.dtype.startswith("float") else 0,
            attributes=_plain(content.attributes_of(output)),
        )
    _fill(variables, pieces, content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the third format has no words for it yet
        zarr.consolidate_metadata(path)


def _fill(variables: Mapping[str, Any], pieces: Iterable[Piece], content: MapFile) -> None:
    """Put the channels of each piece in the places of their variables."""
    for piece in pieces:
        for channel, output in enumerate(content.outputs):
            values = piece.values[:, channel]
            if not output.dtype.startswith("float"):
                values = np.nan_to_num(values).round()
            values = values if content.times is not None else values[0]
            variables[output.name][content.place(piece, output)] = values.astype(output.dtype)


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
    ".npy": _write_array,
}
