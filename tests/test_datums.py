"""Vertical datums by name: as a user writes them, and as a CRS names them."""

import pytest

from fieldwise.errors import InputError
from fieldwise.fields.datums import ELLIPSOID, parse_datum, split_crs


@pytest.mark.parametrize(
    ("text", "datum"),
    [
        ("ellipsoid", ELLIPSOID),
        ("WGS84 Ellipsoid", ELLIPSOID),
        (ELLIPSOID, ELLIPSOID),
        ("geoid EIGEN-6C4", "EIGEN-6C4 geoid"),
        ("Geoid  egm2008", "EGM2008 geoid"),
        ("EGM2008 geoid", "EGM2008 geoid"),
    ],
)
def test_datums_as_they_are_written(text, datum):
    assert parse_datum(text) == datum
    assert parse_datum(datum) == datum


@pytest.mark.parametrize("text", ["geoid", "", "sea level", "EGM96", None, 7, [], "geoid geoid EGM96"])
def test_what_is_no_datum(text):
    with pytest.raises(InputError, match="give `ellipsoid`, or `geoid` and its name"):
        parse_datum(text)


@pytest.mark.parametrize(
    ("crs", "horizontal", "datum"),
    [
        ("EPSG:3031", 3031, None),
        ("EPSG:3031+5773", 3031, "EGM96 geoid"),
        ("EPSG:3413+3855", 3413, "EGM2008 geoid"),
        ("EPSG:4979", 4326, ELLIPSOID),
        ("EPSG:5498", 4269, "NORTH AMERICAN VERTICAL DATUM 1988 geoid"),
    ],
)
def test_crs_with_a_vertical_part(crs, horizontal, datum):
    """5773 is EGM96 height, 3855 EGM2008 height, 4979 WGS 84 in three dimensions, in EPSG's register."""
    found = split_crs(crs)
    assert (found[0].to_epsg(), found[1]) == (horizontal, datum)
