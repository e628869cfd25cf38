"""Where land is, by what an atlas says."""

import numpy as np
import pytest

from fieldwise.physics.coasts import list_coastlines, mark_land, read_land
from fieldwise.physics.extreme_weather.sphere import GlobalGrid


def test_land_is_29_percent_of_the_earth():
    """148.9 of 510.1 million km2; the Caspian Sea (0.37) is no land."""
    grid = GlobalGrid.regular(181, 360)
    land = mark_land(grid.latitude, grid.longitude)
    assert (land * grid.area_km2).sum() / grid.area_km2.sum() == pytest.approx(0.292, abs=0.006)
    assert not mark_land(np.array([42.0]), np.array([51.0]))[0, 0]


@pytest.mark.parametrize(
    ("place", "latitude", "longitude", "ashore"),
    [
        ("Denver", 39.7, -105.0, True),
        ("Alice Springs", -23.7, 133.9, True),
        ("Chukotka, beyond 180 degrees", 67.0, -175.0, True),
        ("the South Pole", -90.0, 0.0, True),
        ("the North Pole", 90.0, 0.0, False),
        ("the Gulf of Mexico", 25.0, -90.0, False),
        ("the middle of the Pacific", 0.0, 180.0, False),
        ("the Drake Passage", -59.0, -65.0, False),
    ],
)
def test_places(place, latitude, longitude, ashore):
    for turn in (0, 360):
        assert mark_land(np.array([latitude]), np.array([longitude + turn]))[0, 0] == ashore, place


def test_edges_of_the_map_are_no_coasts():
    for line in list_coastlines():
        at_edge = (np.abs(line[:, 0]) > 179.99) | (line[:, 1] < -89.99)
        assert not (at_edge[1:] & at_edge[:-1]).any()
    points = sum(len(line) for line in list_coastlines())
    every = sum(len(ring.coords) for each in read_land().geoms for ring in (each.exterior, *each.interiors))
    assert every - 20 < points <= every  # but for the cuts at 180 degrees and Antarctica's lower edge
