"""What is in a GRIB file, message by message: of edition 1 and 2, on grids of latitude and longitude.

Headers are read here, after WMO's Manual on Codes (FM 92), as they tell what GDAL does not: the parameter by
ECMWF's number, and the coefficients of model levels. Values are unpacked by GDAL, whatever their packing.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fieldwise.errors import InputError, first_line
from fieldwise.samples.weather.records import EPOCH, HOUR

# ECMWF's table 128, https://codes.ecmwf.int/grib/param-db: number to short name.
NUMBERS = {129: "z", 130: "t", 131: "u", 132: "v", 133: "q", 134: "sp", 151: "msl", 152: "lnsp", 157: "r"}
NUMBERS |= {34: "sst", 137: "tcwv", 164: "tcc", 165: "10u", 166: "10v", 167: "2t", 168: "2d", 235: "skt"}
# WMO's discipline, category and number of edition 2 to the same.
TRIPLES = {(0, 0, 0): "t", (0, 2, 2): "u", (0, 2, 3): "v", (0, 1, 0): "q", (0, 1, 1): "r", (0, 0, 6): "d"}
TRIPLES |= {(0, 3, 0): "sp", (0, 3, 1): "msl", (0, 3, 4): "z", (0, 3, 25): "lnsp", (0, 6, 1): "tcc"}
TRIPLES |= {(0, 0, 17): "skt", (0, 1, 64): "tcwv"}
NEAR_GROUND = {("t", 2): "2t", ("d", 2): "2d", ("u", 10): "10u", ("v", 10): "10v"}
UNITS = {"t": "K", "2t": "K", "2d": "K", "sst": "K", "skt": "K", "u": "m s**-1", "v": "m s**-1"}
UNITS |= {"10u": "m s**-1", "10v": "m s**-1", "sp": "Pa", "msl": "Pa", "tcc": "1", "q": "kg kg**-1", "r": "%"}
UNITS |= {"z": "m**2 s**-2", "tcwv": "kg m**-2"}
SURFACES_1 = {100: "pressure", 109: "model"}
SURFACES_2 = {100: "pressure", 105: "model"}
BLOCK = 4096  # bytes; no padding is longer
TIME_UNITS = {0: 1 / 60, 1: 1.0, 2: 24.0, 10: 3.0, 11: 6.0, 12: 12.0, 13: 1 / 3600}
Kind = Literal["surface", "pressure", "model"]


@dataclass(frozen=True)
class Message:
    """One field of a GRIB file: what it is, when, and where its bytes lie.

    Attributes
    ----------
    name
        ECMWF's short name, such as 2t; of parameters that are not known here its numbers.
    kind, level
        What it lies on: the surface, a pressure in hPa, or a model level by number.
    hour
        Since 2000, of the time it holds for.
    offset, length
        Of its bytes.
    coefficients
        Of model levels: a (Pa) of all half levels, then b.
    """

    name: str
    kind: Kind
    level: float
    hour: float
    offset: int
    length: int
    coefficients: tuple[float, ...] = ()

    @property
    def units(self) -> str:
        """Of its values; empty where they are not known here."""
        return UNITS.get(self.name, "")


def list_messages(path: str | Path) -> tuple[Message, ...]:
    """List the messages of a file; a file that did not change is read once.

    Raises
    ------
    InputError
        Where the file is no GRIB, or is cut off.

    >>> list_messages(__file__)
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...gribs.py: is no GRIB, or damaged, at byte 0; fetch it again
    """
    path = Path(path)
    try:
        state = path.stat()
        return _list(path, state.st_mtime_ns, state.st_size)
    except (OSError, struct.error, IndexError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read as GRIB ({first_line(error)}); fetch it again") from None


@functools.lru_cache(maxsize=64)
def _list(path: Path, changed: int, size: int) -> tuple[Message, ...]:
    return tuple(_scan(path, size))


def _scan(path: Path, size: int) -> Iterator[Message]:
    offset = 0
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            padding = file.read(BLOCK)
            begin = padding.lstrip(b"\0")  # files of MARS are padded to whole blocks
            if not begin:
                break
            offset += len(padding) - len(begin)
            start = begin[:16]
            edition = start[7] if len(start) == 16 and start[:4] == b"GRIB" else 0
            if edition not in (1, 2):
                raise InputError(f"{path}: is no GRIB, or damaged, at byte {offset}; fetch it again")
            length = int.from_bytes(start[4:7] if edition == 1 else start[8:16])
            file.seek(offset + length - 4)
            if file.read(4) != b"7777":
                raise InputError(f"{path}: breaks off in the message at byte {offset}; fetch it again")
            file.seek(offset + (8 if edition == 1 else 16))
            told = _read_first(file) if edition == 1 else _read_second(file, discipline=start[6])
            yield Message(**told, offset=offset, length=length)
            offset += length


def _read_first(file: Any) -> dict[str, Any]:
    """Read the header of a message of edition 1: sections 1 and 2."""
    length = int.from_bytes(file.read(3))
    product = bytes(3) + file.read(length - 3)
    octet = (0, *product)  # counted from 1, as the manual does
    name = (
        NUMBERS.get(octet[9], f"{octet[9]}.{octet[4]}") if octet[4] in (128, 3) else f"{octet[9]}.{octet[4]}"
    )
    kind = SURFACES_1.get(octet[10], "surface")
    year = 100 * (octet[25] - 1) + octet[13]
    time = _time(year, *octet[14:18])
    steps = {10: 256 * octet[19] + octet[20]} | dict.fromkeys((2, 3, 4, 5), octet[20])
    time += steps.get(octet[21], octet[19]) * TIME_UNITS[octet[18]]
    coefficients: tuple[float, ...] = ()
    if octet[8] & 0x80:
        grid = file.read(3)
        grid += file.read(int.from_bytes(grid) - 3)
        count, place = grid[3], grid[4] - 1
        if count:
            words = np.frombuffer(grid[place : place + 4 * count], ">u4")
            coefficients = tuple(_ibm_floats(words).tolist())
    return {
        "name": name,
        "kind": kind,
        "level": float(256 * octet[11] + octet[12]) if kind != "surface" else 0.0,
        "hour": time,
        "coefficients": coefficients,
    }


def _read_second(file: Any, discipline: int) -> dict[str, Any]:
    """Read the header of a message of edition 2: sections 1 to 4."""
    time = 0.0
    while True:
        head = file.read(5)
        section = head + file.read(int.from_bytes(head[:4]) - 5)
        if head[4] == 1:
            time = _time(int.from_bytes(section[12:14]), *section[14:18])
        if head[4] == 4:
            break
    octet = (0, *section)
    surface, level = octet[23], _scaled(section[23:28])
    triple = discipline, octet[10], octet[11]
    name = TRIPLES.get(triple, ".".join(map(str, triple)))
    if discipline == 192:  # ECMWF's own: category and number are those of its tables
        name = NUMBERS.get(octet[11], name) if octet[10] == 128 else name
    kind = SURFACES_2.get(surface, "surface")
    if surface == 103:
        name = NEAR_GROUND.get((name, round(level)), f"{name} at {level:g} m")
    if octet[9] == 8:  # of an interval: it holds for its end
        time = _time(int.from_bytes(section[34:36]), *section[36:40])
    else:
        time += int.from_bytes(section[18:22], signed=True) * TIME_UNITS[octet[18]]
    count = int.from_bytes(section[5:7])
    values = np.frombuffer(section[len(section) - 4 * count :], ">f4")
    return {
        "name": name,
        "kind": kind,
        "level": {"pressure": level / 100, "model": level, "surface": 0.0}[kind],
        "hour": time,
        "coefficients": tuple(values.astype(float).tolist()),
    }


def _time(year: int, month: int, day: int, hour: int, minute: int) -> float:
    moment = np.datetime64(f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}")
    return float((moment - EPOCH) / HOUR)


def _scaled(five: bytes) -> float:
    """Read a level: a factor of ten, with its sign in the first bit, and a whole number."""
    power = five[0] & 0x7F
    if five[0] == 0xFF:
        return 0.0
    return int.from_bytes(five[1:]) * 10.0 ** (power if five[0] & 0x80 else -power)


def _ibm_floats(words: np.ndarray) -> np.ndarray:
    """Turn IBM's floating-point numbers, (n,) of 32 bits, into ours.

    >>> _ibm_floats(np.array([0xC276A000], dtype=np.uint32)).tolist()  # the example of IBM's manual
    [-118.625]
    """
    sign = np.where(words >> 31, -1.0, 1.0)
    power = ((words >> 24) & 0x7F).astype(float) - 64
    return sign * (words & 0xFFFFFF) / 2.0**24 * 16.0**power


def read_message(path: str | Path, message: Message) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unpack a message: values (rows, columns) from north to south, latitudes and longitudes in degrees.

    Missing values are NaN.

    Raises
    ------
    InputError
        Where GDAL cannot unpack it, or it lies on no grid of latitude and longitude.
    """
    import rasterio

    with Path(path).open("rb") as file:
        file.seek(message.offset)
        content = file.read(message.length)
    options = {"GRIB_NORMALIZE_UNITS": "NO", "GRIB_ADJUST_LONGITUDE_RANGE": "NO"}
    try:
        with rasterio.Env(**options), rasterio.MemoryFile(content) as memory, memory.open() as opened:
            values = opened.read(1, masked=True).filled(np.nan).astype(np.float32)
            across, crs = opened.transform, opened.crs
    except rasterio.errors.RasterioError as error:
        raise InputError(
            f"{path}: {message.name} cannot be unpacked ({first_line(error)}); fetch it again"
        ) from None
    if crs is not None and not crs.is_geographic:
        raise InputError(f"{path}: {message.name} lies on no grid of latitude and longitude; bring it to one")
    rows, columns = values.shape
    latitude = across.f + across.e * (np.arange(rows) + 0.5)
    longitude = across.c + across.a * (np.arange(columns) + 0.5)
    return values, latitude.round(6), longitude.round(6)
