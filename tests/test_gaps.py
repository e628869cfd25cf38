"""What is missing is filled by values that can be worked out, in blocks of any size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from fieldwise.errors import InputError
from fieldwise.fields import gaps
from fieldwise.fields.formats import open_field
from fieldwise.fields.gaps import fill_from_neighbours, fill_gaps, fill_narrow
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

nan = np.nan


def test_one_cell_is_the_mean_of_its_four_neighbours():
    values = np.array([[0, 8, 0], [4, nan, 6], [0, 2, 0]], "float32")
    assert fill_narrow(values, reach=2)[1, 1] == pytest.approx(5, abs=1e-5)


def test_two_cells_by_hand():
    """u = (0 + 0 + 0 + v) / 4 and v = (u + 0 + 0 + 15) / 4, so that u is 1 and v is 4."""
    values = np.array([[0, 0, 0, 0], [0, nan, nan, 15], [0, 0, 0, 0]], "float32")
    np.testing.assert_allclose(fill_narrow(values, reach=3)[1], [0, 1, 4, 15], atol=1e-5)


def test_narrow_gaps_are_filled_and_wide_ones_keep_their_whole_width():
    """Of gaps 4 and 9 cells wide, with a reach of 2, the first is narrow; so is a notch 4 cells wide."""
    values = np.full((30, 40), 3, "float32")
    values[:, 5:9] = values[:, 20:29] = nan
    values[12:16, 15:20] = nan  # the notch in the side of the wide one
    filled = fill_narrow(values, reach=2)
    assert (filled[:, :15] == 3).all()
    assert np.isnan(filled[:, 20:29]).all()
    assert np.isfinite(filled[12:16, 15:17]).all()
    assert filled[~np.isnan(filled)] == pytest.approx(3)


def test_what_lies_beyond_the_known_stays_missing():
    """A strip along the edge of the field that is wider than the reach has known cells on one side only."""
    values = np.full((4, 30), nan, "float32")
    values[:, :3] = 0
    assert np.isnan(fill_narrow(values, reach=5)[:, 3:]).all()
    values[:, 3:] = 7.0
    values[:, 28:] = nan
    np.testing.assert_allclose(fill_narrow(values, reach=5)[:, 28:], 7, rtol=1e-6)  # one as wide as the reach


@given(st.integers(0, 999), st.floats(-9, 9), st.floats(-9, 9))
@settings(deadline=None, max_examples=30)
def test_holes_in_a_plane_lie_on_the_plane(seed, down, right):
    """On a plane every cell is the mean of its four neighbours."""
    row, column = np.mgrid[:20, :25]
    plane = (100 + down * row + right * column).astype("float32")
    hole = np.random.default_rng(seed).random(plane.shape) < 0.4
    hole[[0, -1]] = hole[:, [0, -1]] = False
    filled = fill_narrow(np.where(hole, np.float32(nan), plane), reach=25)
    np.testing.assert_allclose(filled, plane, atol=1e-3)


def test_a_large_hole_in_a_plane_lies_on_the_plane():
    row, column = np.mgrid[:70, :70]
    plane = (100 + 3.0 * row - 5.0 * column).astype("float32")
    hole = np.hypot(row - 35, column - 35) < 28
    filled = fill_narrow(np.where(hole, np.float32(nan), plane), reach=30)
    np.testing.assert_allclose(filled, plane, atol=0.01)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_hole_in_smooth_relief_is_filled_smoothly(seed):
    """Relief of 30 cells and 100 m, seen with 3 m of noise: no streaks along rows and columns.

    Means of the nearest known cells in each row and column carry the noise at the edge of the hole all
    through it: second differences are then of its size, and larger between rows than along diagonals.
    """
    random = np.random.default_rng(seed)
    relief = gaussian_filter(random.normal(size=(200, 200)), 30)[40:160, 40:160]
    relief *= 100 / relief.std()
    row, column = np.mgrid[:120, :120]
    away = np.hypot(row - 60, column - 60)
    hole = away < 12
    seen = (relief + random.normal(0, 3, relief.shape)).astype("float32")
    filled = fill_narrow(np.where(hole, np.float32(nan), seen), reach=12)
    assert np.sqrt(np.mean((filled - relief)[hole] ** 2)) < 10
    for down, right in ((1, 0), (0, 1), (1, 1), (1, -1)):
        before, after = (np.roll(filled, (sign * down, sign * right), (0, 1)) for sign in (1, -1))
        second = (before - 2 * filled + after)[away < 8]
        assert np.sqrt(np.mean(second**2)) < 0.5, (down, right)


@pytest.mark.parametrize("reach", [1, 6])
def test_blocks_make_no_difference(tmp_path, monkeypatch, reach):
    """Zeros are values as any other; known cells stay what they are."""
    random = np.random.default_rng(4)
    values = random.normal(size=(290, 320)).astype("float32")
    values[random.random(values.shape) < 0.4] = nan
    values[20:60, 30:70] = nan
    values[60:, :10] = 0.0
    missing = np.isnan(values)
    field = unit_field(values, vertical_datum="EIGEN-GL04C geoid")
    results = []
    for size in (2048, 64, 33):
        monkeypatch.setattr(gaps, "BLOCK_CELLS", size)
        filled, left = fill_from_neighbours(field, tmp_path / "filled.tif", reach=reach)
        assert filled + left == missing.sum()
        results.append(open_field(tmp_path / "filled.tif"))
        results[-1].load()
        assert np.isnan(results[-1].values).sum() == left
    for result in results:
        np.testing.assert_array_equal(result.values, results[0].values)
        np.testing.assert_array_equal(result.values[~missing], values[~missing])
        assert result.attrs["vertical_datum"] == "EIGEN-GL04C geoid"
    still = np.isnan(results[0].values)
    assert still[25:55, 35:65].all()
    if reach == 6:
        assert not still[:15].any()


def test_raster_of_missing_values_only(tmp_path):
    path = write_cog(unit_field(np.full((5, 5), np.nan)), tmp_path / "empty.tif")
    with pytest.raises(InputError, match=r"empty\.tif: every value is missing"):
        fill_from_neighbours(open_field(path), tmp_path / "filled.tif", reach=3)
    assert not (tmp_path / "filled.tif").exists()
