"""Vertical datums by name: the ellipsoid, or one of the geoids, that heights are counted from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyproj

from fieldwise.errors import InputError

ATTRIBUTE = "vertical_datum"  # of a field, a tag of a GeoTIFF, an attribute in NetCDF
ELLIPSOID = "WGS84 ellipsoid"


def parse_datum(text: Any) -> str:
    """Read a datum as a user writes it, `ellipsoid` or `geoid NAME`, or as it stands in a field.

    >>> parse_datum("ellipsoid"), parse_datum("geoid eigen-gl04c"), parse_datum("EIGEN-GL04C geoid")
    ('WGS84 ellipsoid', 'EIGEN-GL04C geoid', 'EIGEN-GL04C geoid')
    >>> parse_datum("geoid")
    Traceback (most recent call last):
    fieldwise.errors.InputError: vertical datum 'geoid'; give `ellipsoid`, or `geoid` and its name, ...
    """
    words = text.split() if isinstance(text, str) else []
    kinds = [word.lower() for word in words]
    if kinds in (["ellipsoid"], ["wgs84", "ellipsoid"]):
        return ELLIPSOID
    names = [word.upper() for word, kind in zip(words, kinds) if kind != "geoid"]
    if names and len(names) == len(words) - 1 and "geoid" in (kinds[0], kinds[-1]):
        return f"{' '.join(names)} geoid"
    raise InputError(
        f"vertical datum {text!r}; give `ellipsoid`, or `geoid` and its name, such as `geoid EIGEN-GL04C`"
    )


def split_crs(crs: Any) -> tuple[pyproj.CRS, str | None]:
    """Part a CRS into its horizontal one and the vertical datum that it names, if it names one.

    >>> horizontal, datum = split_crs("EPSG:3031+5773")
    >>> horizontal.to_epsg(), datum
    (3031, 'EGM96 geoid')
    >>> split_crs("EPSG:4979")[1], split_crs("EPSG:3031")[1]
    ('WGS84 ellipsoid', None)
    """
    parsed = pyproj.CRS.from_user_input(crs)
    if parsed.is_compound:
        horizontal, vertical = parsed.sub_crs_list[:2]
        name = vertical.datum.name if vertical.datum else vertical.name
        if "ellipsoid" in name.lower():
            return horizontal, ELLIPSOID
        return horizontal, parse_datum(f"geoid {name.removesuffix(' geoid').removesuffix(' height')}")
    if len(parsed.axis_info) == 3:
        return parsed.to_2d(), ELLIPSOID
    return parsed, None


def require_datum(path: Path, stated: str | None, wanted: str | None) -> None:
    """Refuse a map that counts from another vertical datum than what it is judged by.

    >>> require_datum(Path("map.tif"), None, "WGS84 ellipsoid")
    >>> require_datum(Path("map.tif"), "EIGEN-GL04C geoid", "WGS84 ellipsoid")
    Traceback (most recent call last):
    fieldwise.errors.InputError: map.tif: counts from the EIGEN-GL04C geoid, the data from the WGS84 ...
    """
    if stated and wanted and stated != wanted:
        raise InputError(
            f"{path}: counts from the {stated}, the data from the {wanted}; prepare the data with "
            "`datum` as the map has it, or convert the map"
        )
