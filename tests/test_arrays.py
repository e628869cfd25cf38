"""One code path for NumPy and CuPy: the same numbers, and no silent way back from the GPU.

On a GPU CuPy itself is held against NumPy; elsewhere a stand-in that keeps CuPy's rules shows that the code
stays on its side. `python -m pytest tests/test_arrays.py` on a machine with a GPU is the parity test.
"""

import sys

import gpu_stand_in
import numpy as np
import pytest

from fieldwise.errors import InputError
from fieldwise.fields import gaps, tiles
from fieldwise.fields.arrays import choose_module, module_of, ndimage_of, to_host
from fieldwise.fields.formats import open_field
from fieldwise.fields.gaps import fill_from_neighbours, fill_gaps, fill_narrow
from fieldwise.fields.grids import Grid, load_values, make_field, move_field
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.resampling import average_cells
from fieldwise.fields.tiles import cut, slide_windows
from fieldwise.fields.trends import regional_spread, regional_trend
from fieldwise.scores import roughness, roughness_ratio, sample_at_points

try:
    import cupy

    HAS_GPU = bool(cupy.is_available())
except ImportError:
    HAS_GPU = False
NO_GPU = "CuPy and a GPU are needed: pip install 'fieldwise[cupy]'"


@pytest.fixture(
    params=[
        pytest.param("stand-in", marks=pytest.mark.skipif(HAS_GPU, reason="CuPy itself is tested")),
        pytest.param("cupy", marks=pytest.mark.skipif(not HAS_GPU, reason=NO_GPU)),
    ]
)
def gpu(request, monkeypatch):
    """Give the class of arrays on the GPU."""
    if request.param == "stand-in":
        gpu_stand_in.install(monkeypatch)
    return choose_module("cupy").ndarray


def noise(rows=90, columns=110, *, spacing=100.0, seed=3, holes=0.0):
    random = np.random.default_rng(seed)
    values = (1000 + 50 * random.normal(size=(rows, columns))).astype("float32")
    values[random.random(values.shape) < holes] = np.nan
    values[20:30, 40:60] = np.nan if holes else values[20:30, 40:60]
    grid = Grid(0, 0, columns * spacing, rows * spacing, spacing, "EPSG:3031")
    return make_field(values, grid, name="bed", vertical_datum="WGS84 ellipsoid")


def assert_same(found, expected, gpu, *, rtol=2e-6):
    """Compare what came out on the GPU, and see that it is still there."""
    found = getattr(found, "data", found)
    assert isinstance(found, gpu)
    np.testing.assert_allclose(to_host(found), getattr(expected, "values", expected), rtol=rtol, atol=1e-4)


def on_gpu(field, *, chunks=None):
    return move_field(field if chunks is None else field.chunk(chunks), "cupy")


WINDOWS = np.array(
    [[1000, 1000, 3000, 3000], [2000, 4000, 4000, 6000], [7333, 5111, 9333, 7111]], dtype=float
)


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize(("spacing", "padding"), [(100, 200), (250, 0), (40, 0)])
@pytest.mark.parametrize("chunks", [None, 32])
def test_cut(gpu, method, spacing, padding, chunks):
    """Slices and interpolations, of fields in memory and of lazy ones, some across the edge."""
    field = noise(holes=0.02)
    arguments = {"spacing": spacing, "padding": padding, "method": method}
    assert_same(
        cut(on_gpu(field, chunks=chunks), WINDOWS, **arguments), cut(field, WINDOWS, **arguments), gpu
    )
    beyond = cut(on_gpu(field), WINDOWS - 6000, spacing=spacing, extend=True)
    assert_same(beyond, cut(field, WINDOWS - 6000, spacing=spacing, extend=True), gpu)


def test_many_groups_of_windows(gpu, monkeypatch):
    monkeypatch.setattr(tiles, "GROUP_CELLS", 16)
    assert_same(cut(on_gpu(noise()), WINDOWS, spacing=80), cut(noise(), WINDOWS, spacing=80), gpu)


def test_slide_windows(gpu):
    """Where windows lie is wanted in the machine's memory, whatever they are found on."""
    field = noise(holes=0.001)
    found = slide_windows(on_gpu(field), tile_cells=12, step_cells=5)
    np.testing.assert_array_equal(found, slide_windows(field, tile_cells=12, step_cells=5))
    assert len(found) > 20


@pytest.mark.parametrize("holes", [0.0, 0.3])
@pytest.mark.parametrize("chunks", [None, 32])
def test_trend_and_spread(gpu, holes, chunks):
    field = noise(holes=holes)
    moved = on_gpu(field, chunks=chunks)
    assert_same(average_cells(moved, cell=1000), average_cells(field, cell=1000), gpu)
    trend, expected = (regional_trend(part, cell=500, width=1500) for part in (moved, field))
    assert_same(trend, expected, gpu)
    spread = regional_spread(moved, trend, width=2000)
    assert_same(spread, regional_spread(field, expected, width=2000), gpu, rtol=1e-5)


def test_fill_narrow(gpu):
    values = noise(holes=0.4).values
    values[40:, 70:] = np.nan
    moved = choose_module("cupy").asarray(values)
    assert_same(fill_narrow(moved, reach=15), fill_narrow(values, reach=15), gpu)


@pytest.mark.parametrize("size", [2048, 32])
def test_filled_mosaics_are_the_same_files(gpu, tmp_path, monkeypatch, size):
    monkeypatch.setattr(gaps, "BLOCK_CELLS", size)
    fine, coarse = noise(holes=0.2), noise(46, 56, spacing=200, holes=0.05)
    for name, move in (("host", lambda field: field), ("gpu", on_gpu)):
        fill_gaps(move(fine), move(coarse), tmp_path / f"{name}_mosaic.tif")
        mosaic = open_field(tmp_path / f"{name}_mosaic.tif")
        assert mosaic.attrs["vertical_datum"] == "WGS84 ellipsoid"
        fill_from_neighbours(move(mosaic), tmp_path / f"{name}_filled.tif", reach=20)
    for step in ("mosaic", "filled"):
        host, moved = (open_field(tmp_path / f"{where}_{step}.tif").values for where in ("host", "gpu"))
        np.testing.assert_allclose(moved, host, rtol=2e-6)
    assert np.isfinite(moved).all()


def test_roughness(gpu):
    field = noise(holes=0.01)
    assert_same(roughness(on_gpu(field)), roughness(field), gpu, rtol=1e-5)
    nothing = field * np.nan
    assert np.isnan(to_host(roughness(on_gpu(nothing)).data)).all()
    expected = roughness_ratio(0.5 * field, field)
    assert roughness_ratio(on_gpu(0.5 * field), on_gpu(field)) == pytest.approx(expected, rel=1e-6)


def test_sample_at_points(gpu):
    field, points = noise(), np.random.default_rng(1).uniform(100, 8900, size=(2, 50))
    found = sample_at_points(on_gpu(field), *points)
    np.testing.assert_allclose(found, sample_at_points(field, *points), rtol=1e-12)


def test_what_is_on_the_gpu_is_written_and_comes_back(gpu, tmp_path):
    field = noise(holes=0.1)
    moved = on_gpu(field)
    assert module_of(moved.data).__name__ == "cupy"
    assert isinstance(load_values(moved), gpu)
    assert open_field(write_cog(moved, tmp_path / "bed.tif")).equals(field)
    assert type(move_field(moved, "numpy").data) is np.ndarray


# --- the stand-in itself, and the choice ----------------------------------------------------------


@pytest.mark.skipif(HAS_GPU, reason="CuPy itself is tested")
def test_the_stand_in_refuses_what_cupy_refuses(monkeypatch):
    calls = gpu_stand_in.install(monkeypatch)
    xp = choose_module("cupy")
    there, here = xp.asarray(np.arange(4.0)), np.arange(4.0)
    assert ndimage_of(there) is gpu_stand_in.FILTER_MODULE
    for mix in (
        lambda: np.asarray(there),
        lambda: np.array([there, there]),
        lambda: there + here,
        lambda: here * there,
        lambda: there[np.array([1, 2])],
        lambda: xp.where(here > 1, there, 0.0),
        lambda: np.sqrt(there),
    ):
        with pytest.raises(TypeError):
            mix()
    with pytest.raises(AttributeError):
        xp.trapezoid(there)
    calls.clear()
    cut(on_gpu(noise()), WINDOWS, spacing=80)
    assert {"empty", "zeros", "asarray"} <= set(calls)


def test_a_gpu_that_is_not_there_is_told_before_anything_is_done(tmp_path, monkeypatch, refusal):
    gpu_stand_in.install(monkeypatch)
    monkeypatch.setattr(gpu_stand_in.MODULE, "is_available", lambda: False)
    line = refusal("prepare", "--arrays", "cupy", "--out", tmp_path / "out")
    assert "--arrays: CuPy finds no GPU; give numpy" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(HAS_GPU, reason="CuPy is installed")
def test_cupy_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(InputError, match=r"CuPy is not installed; `pip install 'fieldwise\[cupy\]'`, or"):
        choose_module("cupy")
