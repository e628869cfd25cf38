import numpy as np
import pytest
from made_domains import grid_of_cells

from fieldwise.errors import InputError
from fieldwise.fields.grids import Grid
from fieldwise.verbs.domains.blocks import iterate_blocks, lay_out


def test_layout_counts_from_the_domain_not_the_box():
    """By hand: box from cell (5, 6) to (11, 9), aligned to 4: rows 4-12, columns 4-12."""
    layout = lay_out(grid_of_cells(5, 6, 11, 9), grid_of_cells(0, 0, 30, 30).bounds, 4)
    assert layout.target == ((5, 6), (11, 9))
    assert layout.window(layout.target, 0) == ((4, 4), (12, 12))
    assert layout.window(layout.target, 4) == ((0, 0), (16, 16))
    assert layout.limits == ((0, 0), (32, 32))
    assert layout.blocks(4) == [
        ((5, 6), (8, 8)),
        ((5, 8), (8, 9)),
        ((8, 6), (11, 8)),
        ((8, 8), (11, 9)),
    ]


def test_a_box_between_the_cells_of_the_domain_is_refused():
    domain = grid_of_cells(0, 0, 20, 20).bounds
    with pytest.raises(InputError, match="no whole number of cells"):
        lay_out(Grid(-3900, 8000, -3400, 8500, 250, "EPSG:3031"), domain, 1)


def test_blocks_cover_each_cell_of_a_map_once():
    grid = grid_of_cells(0, 0, 23, 31)
    counts = np.zeros(grid.shape, dtype=int)
    for west, south, east, north in iterate_blocks(grid, 10):
        rows = slice(round((grid.north - north) / 250), round((grid.north - south) / 250))
        columns = slice(round((west - grid.west) / 250), round((east - grid.west) / 250))
        assert max(counts[rows, columns].shape) <= 10
        counts[rows, columns] += 1
    assert (counts == 1).all()
