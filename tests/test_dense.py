"""Where picks fill an area, and what they show there; expected values: closed forms, and counted by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from fieldwise.fields.grids import Grid
from fieldwise.surveys import find_dense, find_line, lay_out

GRID = Grid(0.0, 0.0, 6400.0, 6400.0, 100.0, "EPSG:3031")  # 64 cells a side


def fly(*lines):
    """Give picks every 50 m along lines (x, y) to (x, y)."""
    parts = [
        np.linspace(start, end, 1 + int(np.hypot(*np.subtract(end, start)) // 50)) for start, end in lines
    ]
    return pd.DataFrame(np.concatenate(parts), columns=["x", "y"])


def paint(picks, **options):
    """Count how often each cell of the grid is found."""
    counts = np.zeros(GRID.shape, dtype=int)
    for rows, columns, dense in find_dense(picks, GRID, **options):
        counts[rows, columns] += dense
    return counts


def test_lines_make_a_block_up_to_five_cells_apart():
    for apart, found in ((500, True), (600, False)):
        rows = np.arange(1650, 4800, apart)
        counts = paint(fly(*(((1600, y), (4790, y)) for y in rows)))
        assert counts.max() == found
        if found:  # from 1650 m less two cells to 4650 m and two cells: whole squares of 800 m from 1600 m
            assert counts[16:48, 16:48].all()
            assert counts.sum() == 32 * 32


def test_single_lines_and_their_crossings_are_no_block():
    across = [((0, 3150), (6390, 3150)), ((3150, 0), (3150, 6390)), ((0, 0), (6390, 6390))]
    assert not paint(fly(*across)).any()


@pytest.mark.parametrize("most_cells", [512, 16])
def test_no_cell_is_found_twice(most_cells):
    """A block within the arms of another, whole or in parts; in the boxes around them there are both."""
    wall = [((50, y), (6350, y)) for y in range(50, 1700, 200)]
    wall += [((x, 50), (x, 6350)) for x in range(50, 1700, 200)]
    inner = [((3250, y), (4750, y)) for y in range(3250, 4800, 200)]
    counts = paint(fly(*wall, *inner), most_cells=most_cells)
    assert counts.max() == 1
    assert ndimage.label(counts)[1] == 2
    assert counts[:16].sum() == 16 * 16  # the arm to the north: rows count from there
    assert counts[16:32, 32:48].all()


def test_a_plane_is_laid_out_as_it_is():
    picks = pd.DataFrame(np.random.default_rng(0).uniform(0, 6400, (2000, 2)), columns=["x", "y"])
    x, y = picks["x"].to_numpy(), picks["y"].to_numpy()
    shown = lay_out(x, y, GRID)(3 * x - y)
    plane = 3 * GRID.x - GRID.y[:, None]
    np.testing.assert_allclose(shown[4:-4, 4:-4], plane[4:-4, 4:-4], atol=1e-6)
    assert np.isfinite(shown).all()
    assert np.abs(shown - plane).max() < 4 * 400  # at the edge the nearest pick counts


def test_picks_of_one_cell_count_as_their_mean():
    x, y = (np.array([50.0, 50, 50, 6350, 50, 6350]), np.array([50.0, 50, 50, 50, 6350, 6350]))
    shown = lay_out(x, y, GRID)(np.array([1.0, 2, 6, 3, 3, 3]))
    np.testing.assert_allclose(shown, 3.0)


def test_a_line_is_found_among_picks_in_no_order():
    random = np.random.default_rng(1)
    line = fly(((500.0, 300.0), (5500.0, 300.0 + 5000 * np.tan(np.deg2rad(33)))))
    rest = pd.DataFrame(random.uniform(0, 6400, (60, 2)), columns=["x", "y"])
    found = find_line(pd.concat([line, rest]).sample(frac=1, random_state=2), width=100)
    assert len(found) >= len(line)
    direction = np.cos(np.deg2rad(33)), np.sin(np.deg2rad(33))
    assert (np.diff(found[["x", "y"]] @ direction) >= 0).all()
    aside = np.abs((found["y"] - 300) - (found["x"] - 500) * np.tan(np.deg2rad(33)))
    assert aside.max() < 2 * 100
