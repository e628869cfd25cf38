"""What is missing is filled by values that can be worked out, in blocks of any size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwise.errors import InputError
from fieldwise.fields import gaps
from fieldwise.fields.formats import open_field
from fieldwise.fields.gaps import fill_by_distance, fill_from_neighbours, fill_gaps
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog

CRS = "EPSG:3031"


def unit_field(values, *, name="bed", **attributes):
    rows, columns = np.shape(values)
    return make_field(
        np.asarray(values, "float32"), Grid(0, 0, columns, rows, 1, CRS), name=name, **attributes
    )


def plane_field(*, spacing, cells, corner):
    grid = Grid(corner, corner, corner + cells * spacing, corner + cells * spacing, spacing, CRS)
    x, y = np.meshgrid(grid.x, grid.y)
    return make_field((x + 2 * y).astype("float32"), grid, name="surface", vertical_datum="WGS84 ellipsoid")


# --- from a coarser field -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2048, 7])
def test_fill_gaps_takes_from_the_coarser_field(tmp_path, monkeypatch, size):
    """Coarse cells of 200 on the plane x + 2 y; what is missing in the fine one gets the plane's value."""
    monkeypatch.setattr(gaps, "BLOCK_CELLS", size)
    fine = plane_field(spacing=100, cells=20, corner=0)
    coarse = plane_field(spacing=200, cells=14, corner=-400)
    hole = np.random.default_rng(2).random(fine.shape) < 0.3
    marked = fine.copy(data=np.where(hole, np.nan, fine.values + 1000))
    filled = open_field(fill_gaps(marked, coarse, tmp_path / "filled.tif"))
    np.testing.assert_array_equal(filled.values[~hole], marked.values[~hole])
    np.testing.assert_allclose(filled.values[hole], fine.values[hole], atol=1e-3)
    assert filled.attrs["vertical_datum"] == "WGS84 ellipsoid"


# --- from known cells around ----------------------------------------------------------------------


def test_inverse_distance_by_hand():
    """Up 1 cell: 8; down 2 cells: 2; left 1 cell: 4; right none. (8/1 + 2/2 + 4/1) / (1 + 1/2 + 1) = 5.2."""
    nan = np.nan
    values = np.array([[nan, 8, nan], [4, nan, nan], [nan, nan, nan], [nan, 2, nan]], "float32")
    assert fill_by_distance(values, reach=2)[1, 1] == pytest.approx(5.2)


def test_a_cell_off_every_row_and_column_is_filled_from_filled_ones():
    """The one known cell shares a row or column with its cross; all else is reached from there."""
    values = np.full((5, 5), np.nan, "float32")
    values[1, 1] = 3
    np.testing.assert_allclose(fill_by_distance(values, reach=3), 3, rtol=1e-6)
    near = fill_by_distance(values, reach=2)
    assert np.isnan(near[4]).all()
    assert np.isnan(near[:, 4]).all()
    np.testing.assert_allclose(near[:4, :4], 3, rtol=1e-6)


@given(st.integers(0, 999), st.floats(-9, 9), st.floats(-9, 9))
@settings(deadline=None, max_examples=30)
def test_holes_in_a_plane_lie_on_the_plane(seed, down, right):
    """Weights by inverse distance of two neighbours on a line are those of linear interpolation."""
    row, column = np.mgrid[:20, :25]
    plane = (100 + down * row + right * column).astype("float32")
    hole = np.random.default_rng(seed).random(plane.shape) < 0.4
    hole[[0, -1]] = hole[:, [0, -1]] = False
    filled = fill_by_distance(np.where(hole, np.float32(np.nan), plane), reach=25)
    np.testing.assert_allclose(filled, plane, atol=1e-3)


def test_blocks_make_no_difference(tmp_path, monkeypatch):
    """Zeros are values as any other; known cells stay what they are."""
    random = np.random.default_rng(4)
    values = random.normal(size=(90, 120)).astype("float32")
    values[random.random(values.shape) < 0.4] = np.nan
    values[20:60, 30:70] = np.nan
    values[60:, :10] = 0.0
    missing = np.isnan(values)
    field = unit_field(values, vertical_datum="EIGEN-GL04C geoid")
    monkeypatch.setattr(gaps, "SEARCH_CELLS", 15)
    results = []
    for size in (2048, 32, 17):
        monkeypatch.setattr(gaps, "BLOCK_CELLS", size)
        assert fill_from_neighbours(field, tmp_path / "filled.tif") == missing.mean()
        results.append(open_field(tmp_path / "filled.tif"))
        results[-1].load()
    for result in results:
        np.testing.assert_array_equal(result.values, results[0].values)
        np.testing.assert_array_equal(result.values[~missing], values[~missing])
        assert result.attrs["vertical_datum"] == "EIGEN-GL04C geoid"
    still = np.isnan(results[0].values)
    assert still[40, 50]  # more than 15 cells into the hole
    assert not still[:20].any()


def test_gaps_among_zeros_become_zero_and_far_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(gaps, "SEARCH_CELLS", 5)
    values = np.full((4, 30), np.nan, "float32")
    values[:, :3] = 0
    fill_from_neighbours(unit_field(values, name="melt"), tmp_path / "a.tif")
    filled = open_field(tmp_path / "a.tif").values
    assert (filled[:, :8] == 0).all()
    assert np.isnan(filled[:, 8:]).all()


def test_raster_of_missing_values_only(tmp_path):
    path = write_cog(unit_field(np.full((5, 5), np.nan)), tmp_path / "empty.tif")
    with pytest.raises(InputError, match=r"empty\.tif: every value is missing"):
        fill_from_neighbours(open_field(path), tmp_path / "filled.tif")
    assert not (tmp_path / "filled.tif").exists()
