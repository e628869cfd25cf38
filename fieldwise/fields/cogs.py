"""The order of bytes in a cloud-optimised GeoTIFF, made without unpacking a tile.

A TIFF is a chain of directories, one for the map and one for each overview, that say where tiles lie. Blocks
that are written as they are computed leave the tiles in any order, with gaps where one was replaced. A reader
over a network wants all directories first, then the tiles from the coarsest overview to the map, row by row
(https://gdal.org/drivers/raster/cog.html; TIFF 6.0; BigTIFF).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from fieldwise.errors import InputError

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
TILE_OFFSETS, TILE_BYTES = 324, 325  # tags
LONG, LONG8 = 4, 16  # types of whole numbers, of 4 and of 8 bytes
LARGEST_CLASSIC = 2**32 - 2**20  # bytes; in a larger file places take 8 of them
LEADER = TRAILER = 4  # bytes around a tile: how long it is, and its last ones again, so that cuts are noticed
GHOST = b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"  # GDAL reads it
GHOST += b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
GHOST = f"GDAL_STRUCTURAL_METADATA_SIZE={len(GHOST):06d} bytes\n".encode() + GHOST


class Entry(NamedTuple):
    """What a directory says under one tag: the type of the numbers, how many, and their bytes."""

    kind: int
    number: int
    content: bytes


@dataclass(frozen=True)
class Directory:
    """The map or one overview: what is said of it by tag, and where its tiles lie and how long they are."""

    entries: dict[int, Entry]
    offsets: np.ndarray
    sizes: np.ndarray


def order_as_cog(tiled: Path, path: Path) -> Path:
    """Copy a tiled BigTIFF of GDAL in the order of a cloud-optimised one: BigTIFF where it must be.

    Raises
    ------
    InputError
        Where a tile is not there.

    >>> import rasterio, tempfile
    >>> home, options = Path(tempfile.mkdtemp()), {"tiled": True, "BIGTIFF": "YES", "ENDIANNESS": "LITTLE"}
    >>> options |= {"height": 4, "width": 8, "count": 1, "dtype": "float32", "blockxsize": 16}
    >>> with rasterio.open(home / "plain.tif", "w", "GTiff", blockysize=16, **options) as plain:
    ...     plain.write(np.arange(32.0).reshape(1, 4, 8))
    >>> with rasterio.open(order_as_cog(home / "plain.tif", home / "map.tif")) as cog:
    ...     cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"], float(cog.read(1).sum())
    ('COG', 496.0)
    """
    with tiled.open("rb") as source, path.open("wb") as target:
        directories = list(_read_directories(source))
        if any((each.sizes == 0).any() for each in directories):
            raise InputError(f"{path}: tiles are missing; see that the disk is not full, then run again")
        spans = [each.sizes + LEADER + TRAILER for each in directories]
        head = len(_lay_out(directories, True, [each.offsets for each in directories]))
        big = head + sum(int(each.sum()) for each in spans) > LARGEST_CLASSIC
        end = len(_lay_out(directories, big, [each.offsets for each in directories]))
        places: list[np.ndarray] = []
        for span in reversed(spans):
            places.insert(0, end + np.cumsum(span) - span + LEADER)
            end += int(span.sum())
        target.write(_lay_out(directories, big, places))
        for each in reversed(directories):
            for offset, size in zip(each.offsets.tolist(), each.sizes.tolist()):
                source.seek(offset)
                tile = source.read(size)
                target.write(struct.pack("<I", size) + tile + tile[-TRAILER:])
        if target.tell() != end:
            raise InputError(f"{path}: tiles are missing; see that the disk is not full, then run again")
        target.flush()
        os.fsync(target.fileno())
    return path


def _read_directories(source: BinaryIO) -> Iterator[Directory]:
    """Read the chain of directories of a BigTIFF, the map's first."""
    order, version, _, _, place = struct.unpack("<2sHHHQ", source.read(16))
    if (order, version) != (b"II", 43):
        raise InputError(f"{source.name}: is no little-endian BigTIFF")
    while place:
        source.seek(place)
        (count,) = struct.unpack("<Q", source.read(8))
        table = source.read(20 * count)
        (place,) = struct.unpack("<Q", source.read(8))
        entries = {}
        for tag, kind, number, value in struct.iter_unpack("<HHQ8s", table):
            size = number * TYPE_BYTES[kind]
            if size > 8:
                source.seek(struct.unpack("<Q", value)[0])
                value = source.read(size)
            entries[tag] = Entry(kind, number, value[:size])
        yield Directory(entries, _numbers(entries[TILE_OFFSETS]), _numbers(entries[TILE_BYTES]))


def _numbers(entry: Entry) -> np.ndarray:
    return np.frombuffer(entry.content, f"<u{TYPE_BYTES[entry.kind]}").astype(np.int64)


def _lay_out(directories: list[Directory], big: bool, places: list[np.ndarray]) -> bytes:
    """Write the head of a file: what it is, and all directories, with tiles at the places given."""
    width, head = (8, 16) if big else (4, 8)
    start = head + len(GHOST)
    start += start % 2
    written = (
        struct.pack("<2sHHHQ", b"II", 43, 8, 0, start) if big else struct.pack("<2sHI", b"II", 42, start)
    ) + GHOST
    written = written.ljust(start, b"\0")
    kind = LONG8 if big else LONG
    for number, (directory, offsets) in enumerate(zip(directories, places)):
        entries = dict(directory.entries)
        entries[TILE_OFFSETS] = Entry(kind, len(offsets), offsets.astype(f"<u{width}").tobytes())
        entries[TILE_BYTES] = Entry(LONG, len(offsets), directory.sizes.astype("<u4").tobytes())
        beyond = len(written) + (8 if big else 2) + len(entries) * (12 + 8 * big) + width
        table, contents = struct.pack("<Q" if big else "<H", len(entries)), b""
        for tag in sorted(entries):
            each = entries[tag]
            table += struct.pack("<HHQ" if big else "<HHI", tag, each.kind, each.number)
            if len(each.content) <= width:
                table += each.content.ljust(width, b"\0")
            else:
                table += struct.pack("<Q" if big else "<I", beyond + len(contents))
                contents += each.content + b"\0" * (len(each.content) % 2)
        following = beyond + len(contents) if number < len(directories) - 1 else 0
        written += table + struct.pack("<Q" if big else "<I", following) + contents
    return written
