"""What is left of a field in blocks and regional trends; expected values in closed form."""

import numpy as np
from small_rasters import CRS, grid, plane

from fieldwise.fields.grids import grid_of, make_field
from fieldwise.fields.resampling import degrade
from fieldwise.fields.trends import regional_trend


def test_degrade_keeps_the_north_west_corner_and_the_source():
    field = plane((0, 0, 1000, 700), 100)
    field.encoding["source"] = "bed.tif"
    coarse = degrade(field, 3, crs=CRS)
    assert grid_of(coarse).bounds == (0, 100, 900, 700)
    np.testing.assert_allclose(coarse.values, plane((0, 100, 900, 700), 300).values, rtol=1e-6)
    assert coarse.encoding["source"] == "bed.tif"


def test_trend_of_a_constant_is_the_constant():
    field = make_field(np.full((70, 110), 1234.5, "float32"), grid((0, 0, 110e3, 70e3), 1000), name="bed")
    trend = regional_trend(field.where(field["x"] > 20e3), cell=5000, width=10_000)
    np.testing.assert_allclose(trend.values, 1234.5, rtol=1e-6)


def test_trend_of_a_plane_is_the_plane_away_from_the_edge():
    bounds = (0, 0, 300e3, 280e3)
    trend = regional_trend(plane(bounds, 1000), cell=5000, width=10_000)
    assert grid_of(trend).spacing == 5000
    inside = {"x": slice(45e3, 255e3), "y": slice(235e3, 45e3)}  # four widths: as far as the Gaussian goes
    expected = plane(bounds, 5000)
    np.testing.assert_allclose(trend.sel(inside).values, expected.sel(inside).values, atol=1e-2)


def test_trend_of_a_wave_fades_as_a_gaussian_says():
    """A Gaussian of width s leaves exp(-(2 pi s / L)^2 / 2) of a wave of length L."""
    made = grid((0, 0, 400e3, 100e3), 1000)
    wave = np.tile(np.sin(2 * np.pi * made.x / 80e3), (100, 1)).astype("float32")
    trend = regional_trend(make_field(wave, made, name="bed"), cell=5000, width=10_000)
    middle = trend[10, 20:60]
    left = np.exp(-((2 * np.pi / 8) ** 2) / 2) * np.sinc(5 / 80)  # and the mean over cells of 5 km, a little
    np.testing.assert_allclose(middle, left * np.sin(2 * np.pi * middle["x"] / 80e3), atol=0.02)
