"""Picks to a grid; expected values: closed forms, medians worked out by hand, and real picks."""

import os

import numpy as np
import pandas as pd
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_surveys import DATA, write_pipeline

from fieldwise.errors import InputError
from fieldwise.surveys import grid_survey, gridding, read_survey, region_of


def picks(x, y, z):
    table = pd.DataFrame({"x": np.ravel(x), "y": np.ravel(y), "z": np.ravel(z)}, dtype=float)
    table.attrs["crs"] = "EPSG:3031"
    return table


coordinates = st.integers(-3000, 3000).map(float)


@given(
    st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=20), st.sampled_from([100, 250, 333])
)
def test_region_holds_all_picks_and_no_row_too_many(points, spacing):
    x, y = np.array(points).T
    west, south, east, north = region_of(picks(x, y, x), spacing=spacing)
    assert west <= x.min() < west + spacing
    assert south <= y.min() < south + spacing
    assert east >= x.max()
    assert north >= y.max()
    assert east - x.max() < spacing or east - west == spacing
    assert all(edge % spacing == 0 for edge in (west, south, east, north))


def test_block_median_by_hand():
    # five picks in one cell: the median of 1, 2, 3, 4, 1000 is 3; two in its neighbour: (6 + 8) / 2 = 7
    table = picks([125] * 5 + [375] * 2, [125] * 7, [1, 1000, 3, 2, 4, 6, 8])
    field = grid_survey(table)
    np.testing.assert_allclose(field.values, [[3, 7]], atol=1e-2)


def test_grid_is_pixel_registered_with_north_on_top():
    table = picks([10, 740, 740], [20, 20, 990], [1, 2, 3])
    field = grid_survey(table)
    assert field["x"].values.tolist() == [125, 375, 625]
    assert field["y"].values.tolist() == [875, 625, 375, 125]
    assert field.dtype == np.float32
    assert field.rio.crs.to_epsg() == 3031
    assert float(field.sel(x=625, y=875)) == pytest.approx(3, abs=0.3)


@settings(max_examples=10, deadline=None)
@given(
    st.floats(-2000, 2000), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.integers(0, 9),
    st.sampled_from([100.0, 250.0]),
)  # fmt: skip
def test_an_inclined_plane_is_reproduced(level, slope_x, slope_y, seed, spacing):
    x, y = np.random.default_rng(seed).uniform([[1.195e6], [-0.405e6]], [[1.205e6], [-0.395e6]], (2, 400))
    plane = lambda x, y: level + slope_x * (x - 1.2e6) + slope_y * (y + 0.4e6)  # noqa: E731
    field = grid_survey(picks(x, y, plane(x, y)), spacing=spacing)
    expected = plane(*np.meshgrid(field["x"], field["y"]))
    known = np.isfinite(field.values)
    np.testing.assert_allclose(field.values[known], expected[known], atol=2e-3)


def test_smooth_hills_are_met_between_lines_to_a_few_per_cent():
    hills = lambda x, y: 100 * np.sin(x / 1500) * np.cos(y / 1500)  # noqa: E731
    x, y = np.meshgrid(np.arange(50, 20000, 100), np.arange(125, 20000, 1000))  # lines 1 km apart
    field = grid_survey(picks(x, y, hills(x, y)))
    error = field.values - hills(*np.meshgrid(field["x"], field["y"]))
    assert np.isfinite(error[2:-2]).all()
    assert np.sqrt(np.mean(error[2:-8] ** 2)) < 3
    shifted = np.sqrt(
        np.mean((field.values[2:-8] - hills(*np.meshgrid(field["x"] + 250, field["y"][2:-8]))) ** 2)
    )
    assert shifted > 5  # the measure would notice a shift of one cell


@pytest.mark.parametrize("angle", [0, 30, 45, 90])
def test_a_bias_stays_what_it_is_along_a_single_straight_line(angle):
    along = np.arange(0, 10000, 50)
    x, y = along * np.cos(np.radians(angle)), along * np.sin(np.radians(angle))
    field = grid_survey(picks(x, y, np.full(x.shape, -712.5)))
    assert np.nanmax(np.abs(field + 712.5)) < 1e-3


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 9999), st.floats(0, 9999)), min_size=1, max_size=12),
    st.integers(1, 4),
)
def test_cells_are_valid_exactly_within_reach_of_a_pick(points, mask_cells):
    x, y = np.array(points).T
    field = grid_survey(picks(x, y, x), region=(0, 0, 10000, 10000), mask_cells=mask_cells)
    centres = np.meshgrid(field["x"], field["y"])
    distance = np.min([np.hypot(centres[0] - px, centres[1] - py) for px, py in points], axis=0)
    known = np.isfinite(field.values)
    reach = mask_cells * 250
    assert (distance[known] <= reach + 0.025 + 1e-6).all()  # a ten-thousandth of a cell decides no tie
    assert (distance[~known] >= reach - 1e-6).all()
    rows, columns = ((10000 - y) // 250).astype(int).clip(0, 39), (x // 250).astype(int)
    assert known[rows, columns].all()  # every cell that holds a pick


def test_without_a_mask_every_cell_is_filled():
    field = grid_survey(picks([100, 9900], [100, 9900], [1, 2]), mask_cells=None)
    assert field.shape == (40, 40)
    assert np.isfinite(field.values).all()


def test_blocks_agree_with_the_whole(monkeypatch):
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 20000, (2, 5000))
    table = picks(x, y, 200 * np.sin(x / 3000) * np.cos(y / 4000) + rng.normal(0, 10, x.size))
    whole = grid_survey(table, region=(0, 0, 20000, 20000))
    monkeypatch.setattr(gridding, "BLOCK_CELLS", 32)
    blocks = grid_survey(table, region=(0, 0, 20000, 20000))
    assert np.array_equal(np.isnan(whole), np.isnan(blocks))
    inner = np.abs(blocks.values - whole.values)[2:-2, 2:-2]
    assert np.nanmax(inner) < 1  # a tenth of the noise of a pick


def test_part_of_a_survey_is_gridded_like_the_whole():
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 20000, (2, 5000))
    table = picks(x, y, 100 * np.sin(x / 2000) + 50 * np.cos(y / 3000))
    whole = grid_survey(table)
    part = grid_survey(table, region=(5000, 5000, 10000, 12000))
    same = whole.sel(x=part["x"], y=part["y"])
    np.testing.assert_allclose(part.values, same.values, atol=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crs": "EPSG:4326"}, "EPSG:4326, whose unit is the degree"),
        ({"crs": "moon"}, "unknown CRS 'moon'"),
        ({"spacing": 0}, "spacing is 0"),
        ({"tension": 2}, "tension is 2"),
        ({"mask_cells": 0}, "mask_cells is 0"),
        ({"region": (9e5, 9e5, 9.1e5, 9.1e5)}, "none of 2 picks is in region"),
        ({"region": (0, 0, 9e9, 9e9)}, "cells; check the CRS"),
    ],
)
def test_options_that_are_wrong(options, message):
    with pytest.raises(InputError, match=message):
        grid_survey(picks([0, 500], [0, 500], [1, 2]), **options)


def test_tables_that_cannot_be_gridded():
    with pytest.raises(InputError, match="no column z; present are x, y"):
        grid_survey(pd.DataFrame({"x": [0.0], "y": [0.0]}), crs="EPSG:3031")
    with pytest.raises(InputError, match="CRS of the picks is not known"):
        grid_survey(pd.DataFrame({"x": [0.0], "y": [0.0], "z": [0.0]}))
    with pytest.raises(InputError, match="no pick has x, y and z"):
        grid_survey(picks([0], [0], [np.nan]))
    with pytest.raises(InputError, match="without picks"):
        region_of(picks([], [], []))


# --- real picks ---------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not (DATA / "nioghalvfjerds_bed_picks.csv").exists(),
    reason="nioghalvfjerds_bed_picks.csv is in neither $FIELDWISE_DATA nor ../shared/data",
)
def test_nioghalvfjerds_becomes_a_250_m_grid(tmp_path):
    projection = {"type": "filters.reprojection", "in_srs": "EPSG:3413", "out_srs": "EPSG:3413"}
    path = write_pipeline(
        tmp_path, projection, header="X,Y,Bed", converters={"Z": "Bed"},
        filename=os.path.relpath(DATA / "nioghalvfjerds_bed_picks.csv", tmp_path),
    )  # fmt: skip
    table = read_survey(path)
    source = pd.read_csv(DATA / "nioghalvfjerds_bed_picks.csv")
    assert len(table) == len(source) == 104_292
    np.testing.assert_array_equal(table["z"], source["Bed"])
    field = grid_survey(table)
    assert field.shape == (240, 240)
    assert field.rio.crs.to_epsg() == 3413
    nearest = field.sel(x=table["x"].to_xarray(), y=table["y"].to_xarray(), method="nearest")
    assert np.isfinite(nearest.values).all()  # every pick lies in a valid cell

    def misfit(east, north):
        moved = field.interp(x=table["x"].to_xarray() + east, y=table["y"].to_xarray() + north)
        return np.sqrt(np.nanmean((moved.values - table["z"]) ** 2))

    within_cells = table["z"] - table["z"].groupby([table["x"] // 250, table["y"] // 250]).transform("median")
    assert misfit(0, 0) < 1.2 * np.sqrt(np.mean(within_cells**2))
    # half a cell off in any direction fits worse: the registration is right
    assert misfit(0, 0) + 5 < min(misfit(125, 0), misfit(-125, 0), misfit(0, 125), misfit(0, -125))


def test_picks_in_degrees_cover_the_cells_that_the_same_picks_in_metres_do():
    """Picks at the centres of cells are exactly three cells from others; rounding must not decide these."""
    x = np.arange(125.0, 20_000, 250) + 300_000
    metres = pd.DataFrame({"x": x, "y": -900_125.0, "z": -400.0})
    there = pyproj.Transformer.from_crs("EPSG:3031", "EPSG:4326", always_xy=True)
    lon, lat = (np.round(each, 7) for each in there.transform(metres["x"], metres["y"]))
    back = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3031", always_xy=True).transform(lon, lat)
    degrees = metres.assign(x=back[0], y=back[1])
    assert not degrees.equals(metres)
    region = (299_000, -902_000, 321_000, -898_000)
    first, second = (
        grid_survey(table, region=region, spacing=250, crs="EPSG:3031") for table in (metres, degrees)
    )
    np.testing.assert_array_equal(np.isnan(first.values), np.isnan(second.values))
    # Seven rows along the line, each narrowing by its distance from it, and half discs at both ends.
    assert int(first.notnull().sum()) == 7 * 80 + 2 * (3 + 2 * 2 + 2 * 2)
