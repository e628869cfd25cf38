"""Areas that fade in towards their edge, window by window."""

import numpy as np
import pytest
import shapely
from scipy.spatial import cKDTree

from fieldwise.fields.grids import Grid
from fieldwise.fields.resampling import fade_in

WHOLE = Grid(0, 0, 4000, 3000, 50, "EPSG:3031")  # 60 x 80 cells


def make_coast():
    """An island of many corners, and a lake within it."""
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radius = 1200 + 150 * np.sin(9 * angle) + 40 * np.sin(31 * angle)
    rim = np.stack([2000 + radius * np.cos(angle), 1500 + radius * np.sin(angle)], axis=1)
    return shapely.Polygon(rim, [shapely.Point(2300, 1400).buffer(130).exterior.coords[::-1]])


def fade_by_hand(area, grid, cells):
    """Distances between the centres of all cells inside and the nearest outside, in cells."""
    x, y = np.meshgrid(grid.x, grid.y)
    inside = shapely.contains_xy(area, x, y)
    places = np.stack([x, y], axis=-1)
    distance, _ = cKDTree(places[~inside]).query(places)
    return np.clip(distance / grid.spacing / cells, 0, 1)


@pytest.mark.parametrize("cells", [1, 6])
def test_a_window_fades_as_the_whole_does(cells):
    """Windows on the island, in the sea, across the coast, and at the edges of what is known."""
    area = make_coast()
    expected = fade_by_hand(area, WHOLE, cells)
    np.testing.assert_allclose(fade_in(area, WHOLE, cells, domain=WHOLE.bounds), expected)
    for row, column in [(0, 0), (24, 24), (20, 36), (5, 40), (45, 65), (28, 44)]:
        west, north = column * 50, 3000 - row * 50
        window = Grid(west, north - 750, west + 750, north, 50, "EPSG:3031")
        found = fade_in(area, window, cells, domain=WHOLE.bounds)
        np.testing.assert_allclose(found, expected[row : row + 15, column : column + 15])


def test_beyond_the_domain_an_area_goes_on():
    """The window reaches 10 cells beyond the domain to the east, and the area ends there."""
    area, window = shapely.box(0, 0, 4000, 3000), Grid(3500, 0, 4500, 1000, 50, "EPSG:3031")
    assert (fade_in(area, window, 6, domain=WHOLE.bounds) == 1).all()
    assert (fade_in(shapely.box(0, 0, 10, 10), window, 6, domain=WHOLE.bounds)[:, :4] == 0).all()
