"""Windows: where they lie, what they share, and what is cut out of them."""

import json

import numpy as np
import pyproj
import pytest
import scipy.interpolate
import shapely
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fieldwise.errors import InputError
from fieldwise.fields import tiles
from fieldwise.fields.grids import Grid, load_values, make_field
from fieldwise.fields.tiles import (
    cut,
    read_tiles,
    slide_windows,
    split_by_area,
    touches,
    write_bounds,
    write_tiles,
)

CRS = "EPSG:3031"


def random_field(rows, columns, *, spacing=100.0, west=0.0, south=0.0, seed=0):
    values = np.random.default_rng(seed).normal(size=(rows, columns)).astype("float32")
    grid = Grid(west, south, west + columns * spacing, south + rows * spacing, spacing, CRS)
    return make_field(values, grid, name="noise")


def function_field(function, *, spacing, cells=40, west=-1000.0, south=2000.0):
    grid = Grid(west, south, west + cells * spacing, south + cells * spacing, spacing, CRS)
    return make_field(function(*np.meshgrid(grid.x, grid.y)).astype("float32"), grid, name="made")


def centres(bounds, spacing):
    grid = Grid(*bounds, spacing, CRS)
    return grid.x, grid.y


# --- cut ------------------------------------------------------------------------------------------


@given(st.integers(0, 8), st.integers(0, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 3))
@settings(deadline=None)  # the machine may be busy
def test_cut_of_an_aligned_window_is_a_slice(row, column, height, width, padding):
    field = random_field(14, 11, spacing=50, west=-1e6, south=150)
    padded = np.pad(field.values, padding, constant_values=np.nan)
    north, west = 150 + 50 * (14 - row), -1e6 + 50 * column
    bounds = (west, north - 50 * height, west + 50 * width, north)
    result = cut(field, [bounds], spacing=50, padding=50 * padding)
    expected = padded[row : row + height + 2 * padding, column : column + width + 2 * padding]
    np.testing.assert_array_equal(result[0], expected)


@given(st.integers(-3, 9), st.integers(-3, 9))
@settings(deadline=None)  # the machine may be busy
def test_cut_repeats_the_outermost_cells_where_asked(row, column):
    """NumPy's `edge` padding is the same thing."""
    field = random_field(10, 10)
    padded = np.pad(field.values, 8, mode="edge")
    bounds = (100 * column, 1000 - 100 * (row + 4), 100 * (column + 4), 1000 - 100 * row)
    result = cut(field, [bounds], spacing=100, padding=200, extend=True)
    expected = padded[8 + row - 2 : 8 + row + 6, 8 + column - 2 : 8 + column + 6]
    np.testing.assert_array_equal(result[0], expected)


@given(st.floats(0, 1500), st.floats(0, 1500), st.sampled_from([30.0, 100.0, 111.0, 250.0]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_cut_is_bilinear(west, south, spacing, extend):
    """SciPy's interpolator, and xarray's, know nothing of ours."""
    field = random_field(30, 30)
    bounds = (west + 100, south + 100, west + 100 + 4 * spacing, south + 100 + 3 * spacing)
    x, y = centres(bounds, spacing)
    result = cut(field, [bounds], spacing=spacing, extend=extend)[0]
    ours = scipy.interpolate.RegularGridInterpolator((-field["y"].values, field["x"].values), field.values)
    np.testing.assert_allclose(result, ours(np.stack(np.meshgrid(-y, x, indexing="ij"), axis=-1)), atol=1e-3)
    np.testing.assert_allclose(result, field.astype(float).interp(x=x, y=y).values, atol=1e-3)


def test_many_windows_are_cut_as_each_alone(monkeypatch):
    """Windows come in groups that are read together; the groups' size is no part of the result."""
    field = random_field(60, 70)
    corners = np.random.default_rng(1).uniform(0, 4500, size=(50, 2))
    windows = np.hstack([corners, corners + 750])
    together = cut(field, windows, spacing=150, padding=150)
    monkeypatch.setattr(tiles, "GROUP_CELLS", 16)
    np.testing.assert_array_equal(together, cut(field, windows, spacing=150, padding=150))
    alone = [cut(field, [window], spacing=150, padding=150)[0] for window in windows]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize(("spacing", "offset"), [(100, 0), (100, 37), (250, 0), (40, 13)])
def test_cut_is_linear_in_the_field(method, spacing, offset):
    first, second = random_field(40, 40, seed=1), random_field(40, 40, seed=2)
    windows = np.array([[0, 0, 1000, 1000], [400, 900, 1400, 1900]]) + 1000 + offset
    arguments = {"spacing": spacing, "method": method}
    both = cut(2 * first - 3 * second, windows, **arguments)
    each = 2 * cut(first, windows, **arguments) - 3 * cut(second, windows, **arguments)
    np.testing.assert_allclose(both, each, atol=2e-5)


@pytest.mark.parametrize("method", ["linear", "cubic"])
@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-99, 99), st.floats(500, 1500), st.floats(500, 1500))
@settings(max_examples=40, deadline=None)
def test_cut_of_a_plane_is_the_plane(method, slope_x, slope_y, level, east, north):
    def plane(x, y):
        return level + slope_x * x + slope_y * y

    field = function_field(plane, spacing=100)
    bounds = (-1000 + east, 2000 + north, -1000 + east + 600, 2000 + north + 450)
    result = cut(field, [bounds], spacing=75, method=method)[0]
    expected = plane(*np.meshgrid(*centres(bounds, 75)))
    # Heights of kilometres are rounded to 2**-24 of themselves, and 16 of them make a value.
    np.testing.assert_allclose(result, expected, atol=1e-6 + 16 * 2**-24 * np.abs(field.values).max())


@given(st.tuples(*[st.floats(-2, 2)] * 6))
@settings(max_examples=40, deadline=None)
def test_cubic_reproduces_polynomials_of_second_degree(coefficients):
    """Of all cubic convolutions only that with a = -1/2 does, as Keys (1981) shows; -0.75 does not."""
    a, b, c, d, e, f = coefficients

    def polynomial(x, y):
        u, v = x / 4000, y / 4000
        return a + b * u + c * v + d * u * u + e * u * v + f * v * v

    field = function_field(polynomial, spacing=1000)
    bounds = (9000, 12000, 18000, 21000)  # padded by the four cells of the convolution, inside the field
    result = cut(field, [bounds], spacing=250, method="cubic")[0]
    np.testing.assert_allclose(result, polynomial(*np.meshgrid(*centres(bounds, 250))), atol=3e-4)


def test_cubic_of_a_step_by_hand():
    """Half way between cells the weights of Keys are -1/16, 9/16, 9/16, -1/16."""
    values = np.tile([0.0, 0, 0, 16, 16, 16], (4, 1)).astype("float32")
    field = make_field(values, Grid(0, 0, 6, 4, 1, CRS), name="step")
    result = cut(field, [(1, 1, 5, 2)], spacing=1, method="cubic")
    np.testing.assert_array_equal(result[0, 0], [0, 0, 16, 16])
    shifted = cut(field, [(1.5, 1, 4.5, 2)], spacing=1, method="cubic")
    np.testing.assert_array_equal(shifted[0, 0], [-1, 8, 17])


def test_missing_neighbours_count_only_where_they_have_weight():
    values = np.ones((5, 5), dtype="float32")
    values[2, 2] = np.nan
    field = make_field(values, Grid(0, 0, 500, 500, 100, CRS), name="hole")
    aligned = cut(field, [(0, 0, 500, 500)], spacing=100)[0]
    np.testing.assert_array_equal(np.isnan(aligned), np.isnan(values))
    half = cut(field, [(50, 0, 450, 500)], spacing=100)[0]  # between columns, on rows
    assert np.argwhere(np.isnan(half)).tolist() == [[2, 1], [2, 2]]
    mixed = cut(field, [(75, 25, 375, 325)], spacing=150)[0]  # rows 2 and 3 1/2, columns 1 and 2 1/2
    assert np.isnan(mixed).tolist() == [[False, True], [False, False]]


def test_beyond_the_field_is_missing():
    field = random_field(4, 4)
    west, inside = cut(field, [(-400, 0, 0, 400), (0, 0, 400, 400)], spacing=100)
    assert np.isnan(west).all()
    assert np.isfinite(inside).all()
    fine = cut(field, [(-100, 0, 300, 400)], spacing=50)[0]  # half a cell beyond the outer centres is theirs
    assert np.isnan(fine[:, :2]).all()
    assert np.isfinite(fine[:, 2:]).all()


def test_cut_refuses_windows_that_are_not_whole():
    field = random_field(4, 4)
    with pytest.raises(InputError, match=r"windows of 3\.5 x 4 cells of 100 m are not whole"):
        cut(field, [(0, 0, 350, 400)], spacing=100)
    with pytest.raises(InputError, match="unknown method 'nearest'; take linear or cubic"):
        cut(field, [(0, 0, 200, 200)], spacing=100, method="nearest")


# --- slide ----------------------------------------------------------------------------------------


@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 4), st.integers(1, 3), st.integers(0, 999))
@settings(deadline=None)  # the machine may be busy
def test_slide_windows_finds_all_that_exist_and_no_other(rows, columns, size, step, seed):
    field = random_field(rows, columns, spacing=10, west=70)
    field = field.where(np.random.default_rng(seed).random(field.shape) > 0.1)
    expected = [
        [70 + 10 * column, 10 * (rows - row - size), 70 + 10 * (column + size), 10 * (rows - row)]
        for row in range(0, rows - size + 1, step)
        for column in range(0, columns - size + 1, step)
        if np.isfinite(field.values[row : row + size, column : column + size]).all()
    ]
    windows = slide_windows(field, tile_cells=size, step_cells=step)
    assert windows.shape == (len(expected), 4)
    np.testing.assert_array_equal(windows, np.reshape(expected, (-1, 4)))
    if len(windows):
        assert np.isfinite(cut(field, windows, spacing=10)).all()


def test_slide_windows_stays_wholly_inside_an_area():
    field = random_field(10, 10, spacing=10)
    windows = slide_windows(field, tile_cells=2, step_cells=1, inside=shapely.box(20, 30, 61, 59))
    assert windows[:, 0].min() == 20
    assert windows[:, 2].max() == 60
    assert windows[:, 1].min() == 30
    assert windows[:, 3].max() == 50
    assert len(windows) == 3 * 1


# --- split ----------------------------------------------------------------------------------------

LOWRES = 4  # a low-res cell is four cells wide
TILE = 12


def cells_of(window, padding=0):
    """Every cell of a window as (column, row) on the grid of unit cells."""
    west, south, east, north = (round(edge) for edge in window)
    columns, rows = range(west - padding, east + padding), range(south - padding, north + padding)
    return {(column, row) for column in columns for row in rows}


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=60, unique=True),
    st.lists(st.tuples(st.integers(0, 110), st.integers(0, 110)), max_size=3),
    st.integers(0, 99),
    st.sampled_from([1, 3, 4]),
)
@settings(max_examples=60, deadline=None)
def test_splits_share_no_cell(corners, held_out, seed, step):
    """Brute force: sets of cells, of windows padded by a low-res cell as the inputs are."""
    west_south = np.array(corners, dtype=float) * step
    windows = np.hstack([west_south, west_south + TILE])
    areas = np.array([(x, y, x + 8, y + 8) for x, y in held_out], dtype=float).reshape(-1, 4)
    options = {"block": 1.5 * TILE, "buffer": 2 * LOWRES, "fraction": 0.3}
    try:
        training, validation = split_by_area(windows, **options, seed=seed, held_out=areas)
    except InputError:
        assume(False)
    learnt = set().union(*(cells_of(windows[index], LOWRES) for index in training))
    selected = set().union(*(cells_of(windows[index], LOWRES) for index in validation))
    judged = set().union(*(cells_of(area) for area in areas))
    assert not learnt & selected
    assert not (learnt | selected) & judged
    assert set(training).isdisjoint(validation)
    origin = west_south.min(axis=0)
    low = np.floor((windows[validation, :2] - origin) / options["block"])
    high = np.ceil((windows[validation, 2:] - origin) / options["block"])
    np.testing.assert_array_equal(high - low, 1)  # each lies wholly in one block


def grid_of_windows(count, size=10.0):
    west, south = np.meshgrid(np.arange(count) * size, np.arange(count) * size)
    return np.stack([west, south, west + size, south + size], axis=-1).reshape(-1, 4)


def test_split_takes_the_wanted_share_of_whole_blocks():
    windows = grid_of_windows(20)
    training, validation = split_by_area(windows, block=20, buffer=0, fraction=0.1, seed=3)
    assert len(validation) == 40  # four windows a block, ten blocks of a hundred
    assert len(training) == 360
    again = split_by_area(windows, block=20, buffer=0, fraction=0.1, seed=3)[1]
    other = split_by_area(windows, block=20, buffer=0, fraction=0.1, seed=4)[1]
    np.testing.assert_array_equal(validation, again)
    assert validation.tolist() != other.tolist()


def test_split_that_cannot_be_made():
    with pytest.raises(InputError, match="no window to split"):
        split_by_area(np.empty((0, 4)), block=1, buffer=0)
    with pytest.raises(InputError, match="4 windows cannot be split with blocks of 100 and a buffer of 5"):
        split_by_area(grid_of_windows(2), block=100, buffer=5)


def test_touches_is_a_distance_along_the_axes():
    windows = np.array([[0.0, 0, 1, 1]])
    for area in ([3.0, 0, 4, 1], [-3, 0, -2, 1], [0, 3, 1, 4], [0, -3, 1, -2]):
        assert touches(windows, np.array([area]), buffer=2.1).all()
        assert not touches(windows, np.array([area]), buffer=2.0).any()


# --- save and load --------------------------------------------------------------------------------


def test_bounds_are_written_in_both_crs(tmp_path):
    windows = np.array([[0.0, 1e6, 9000, 1.009e6], [-9000, 1e6, 0, 1.009e6]])
    path = write_bounds(windows, tmp_path / "tiles.geojson", crs=CRS, splits=["training", "validation"])
    assert path.name == "tiles_3031.geojson"
    own, geographic = (
        json.loads((tmp_path / f"tiles_{code}.geojson").read_text())["features"] for code in (3031, 4326)
    )
    assert [entry["properties"]["split"] for entry in own] == ["training", "validation"]
    assert shapely.geometry.shape(own[0]["geometry"]).bounds == tuple(windows[0])
    to_degrees = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    corner = min(shapely.geometry.shape(geographic[0]["geometry"]).exterior.coords)
    assert corner == pytest.approx(to_degrees.transform(0, 1e6), abs=1e-5)


def test_tiles_come_back(tmp_path):
    random = np.random.default_rng(1)
    arrays = {name: random.normal(size=shape).astype("float32") for name, shape in SHAPES.items()}
    windows, splits = random.normal(size=(3, 4)), ["training", "validation", "training"]
    path = write_tiles(
        arrays,
        tmp_path / "tiles.zarr",
        windows=windows,
        splits=splits,
        spacing_m={"bed": 250.0, "ice_velocity": 500.0},
        units={"bed": "m", "ice_velocity": "m a-1"},
        crs=CRS,
    )
    every, training = read_tiles(path), read_tiles(path, "training")
    assert every.attrs["crs"] == CRS
    assert every["ice_velocity"].attrs == {"spacing_m": 500.0, "units": "m a-1"}
    np.testing.assert_array_equal(every["bounds"], windows)
    np.testing.assert_array_equal(every["bed"], arrays["bed"])
    np.testing.assert_array_equal(training["ice_velocity"], arrays["ice_velocity"][[0, 2]])
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiles.zarr"]


SHAPES = {"bed": (3, 1, 8, 8), "ice_velocity": (3, 2, 4, 4)}


def test_what_is_no_store_of_tiles(tmp_path):
    with pytest.raises(InputError, match="is no store of tiles; make one with the verb prepare"):
        read_tiles(tmp_path / "tiles.zarr")
    xr.Dataset({"a": ("x", [1.0])}).to_zarr(tmp_path / "other.zarr", zarr_format=2)
    with pytest.raises(InputError, match=r"other\.zarr: is no store of tiles"):
        read_tiles(tmp_path / "other.zarr", "training")


def test_load_values_of_a_cut_reads_only_what_it_needs():
    """A lazy field of a thousand million cells: the window is cut without reading the rest."""
    import dask.array

    lazy = dask.array.full((30000, 40000), 7.0, chunks=(1000, 1000), dtype="float32")
    field = make_field(lazy, Grid(0, 0, 40000, 30000, 1, CRS), name="large")
    assert (cut(field, [(20000, 10000, 20010, 10010)], spacing=1) == 7).all()
    assert load_values(field[:2, :2]).shape == (2, 2)
