"""What is held out of surveys and finished beds is judged on, and nothing is learnt within its buffer."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import CORNER_X, CORNER_Y, SIZE_M, hills
from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.tiles import read_tiles, touches
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.recipes.bed_topography.regions.surveys import read_held_out
from fieldwise.surveys import number_flights

AREA = [CORNER_X + 20_000, CORNER_Y + 18_000, CORNER_X + 30_000, CORNER_Y + 30_000]
SMALL = {"tile_cells": 16, "step_cells": 4, "progress": False}


@pytest.fixture
def hold_out(own_files):
    """Give a function that has something held out of the own files, which are a survey or a finished bed."""

    def edit(held_out, *, bed=False):
        content = yaml.safe_load(own_files.read_text()) | {"held_out": held_out}
        if bed:
            corners = CORNER_X, CORNER_Y, CORNER_X + SIZE_M, CORNER_Y + SIZE_M
            grid = Grid(*corners, 250, "EPSG:3031")
            field = make_field(hills(*np.meshgrid(grid.x, grid.y)), grid, name="bed")
            write_cog(field, own_files.parent / "finished.tif")
            del content["surveys"]
            content["beds"] = {"finished": {"path": "finished.tif"}}
        own_files.write_text(yaml.safe_dump(content))
        return str(own_files)

    return edit


def assert_kept_away(folder, *, buffer_m):
    """No cell to learn from, and no tile of any split, comes nearer to a held-out area than the buffer."""
    dataset = open_region(folder)
    areas = np.array(dataset.facts["held_out_areas"])
    assert not touches(read_tiles(folder / "tiles.zarr")["bounds"].values, areas, buffer=buffer_m).any()
    for path in dataset.facts["targets"].values():
        field = open_field(folder / path)
        x, y = np.meshgrid(field["x"], field["y"])
        near = [
            (x > west - buffer_m) & (x < east + buffer_m) & (y > south - buffer_m) & (y < north + buffer_m)
            for west, south, east, north in areas
        ]
        assert np.isnan(field.values[np.any(near, axis=0)]).all()
        assert np.isfinite(field.values).sum() > 1000
    return read_held_out(dataset), areas


def assert_within(picks, areas):
    x, y = picks["x"].to_numpy(), picks["y"].to_numpy()
    inside = [(x >= west) & (x < east) & (y >= south) & (y < north) for west, south, east, north in areas]
    assert np.any(inside, axis=0).all()


def test_a_named_area_is_cut_from_a_survey_and_judged_on(hold_out, own_files, tmp_path, capsys):
    folder = bed_topography.prepare(source=hold_out({"areas": [AREA]}), out=tmp_path / "data", **SMALL)
    picks, areas = assert_kept_away(folder, buffer_m=2000)
    assert areas.tolist() == [AREA]
    written = pd.read_csv(own_files.parent / "dense.csv")
    expected = written[written["X"].between(AREA[0], AREA[2]) & written["Y"].between(AREA[1], AREA[3])]
    expected = expected[(expected["X"] < AREA[2]) & (expected["Y"] < AREA[3])]
    assert len(picks) == len(expected) == 50 * 12
    np.testing.assert_allclose(picks["z"], expected["ELEVATION"] - expected["BOTTOM"], atol=1e-6)
    assert set(picks["survey"]) == {"dense"}
    # `evaluate` judges on them: the true bed is off by nothing but the interpolation between cells
    grid = open_region(folder).grid
    bed = make_field(hills(*np.meshgrid(grid.x, grid.y)), grid, name="bed")
    scores = bed_topography.evaluate(
        data=folder, run=tmp_path / "run", prediction=write_cog(bed, tmp_path / "bed.tif")
    )
    assert "600" in json.dumps(scores)


def test_an_area_is_cut_from_a_finished_bed(hold_out, tmp_path):
    """Its cells are the picks: 40 x 48 of 250 m, each with the height of the bed there."""
    source = hold_out({"areas": [AREA]}, bed=True)
    folder = bed_topography.prepare(source=source, out=tmp_path / "data", buffer_m=1500, **SMALL)
    picks, areas = assert_kept_away(folder, buffer_m=1500)
    assert_within(picks, areas)
    assert len(picks) == 40 * 48
    np.testing.assert_allclose(picks["z"], hills(picks["x"].to_numpy(), picks["y"].to_numpy()), atol=1e-3)


@pytest.mark.parametrize("bed", [False, True])
def test_drawn_blocks_hold_data_and_keep_their_own_buffer(hold_out, tmp_path, bed):
    """Of 9 squares of 10 km, whose corners are multiples of it, so many as hold a fifth of the data."""
    source = hold_out({"blocks": {"km": 10, "share": 0.2, "buffer_km": 3}}, bed=bed)
    drawn = []
    for seed in (1, 2, 1):
        folder = bed_topography.prepare(source=source, out=tmp_path / f"{seed}", seed=seed, **SMALL)
        picks, areas = assert_kept_away(folder, buffer_m=3000)
        assert_within(picks, areas)
        assert ((areas[:, 2:] - areas[:, :2]) == 10_000).all()
        assert len(picks) >= 0.2 * (120 * 120 if bed else 151 * 31)
        assert len(areas) <= (2 if bed else 6)  # picks on the edges lie in squares of their own
        assert (areas % 10_000 == 0).all()
        if bed:
            assert sorted(set(picks["flight"])) == [0, 1]
        drawn.append(areas.tolist())
    assert drawn[0] == drawn[2] != drawn[1]


def test_a_survey_and_an_area_are_judged_on_together(hold_out, tmp_path):
    source = hold_out({"surveys": ["judge.json"], "areas": [AREA]})
    folder = bed_topography.prepare(source=source, out=tmp_path / "data", **SMALL)
    picks = read_held_out(open_region(folder))
    assert picks.groupby("survey").size().to_dict() == {"dense": 600, "judge": 151}
    assert picks.groupby("survey")["flight"].unique().map(set).agg(lambda sets: set.isdisjoint(*sets))


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ({"areas": [[0, 0, 1000, 1000]]}, "held_out areas: no survey or bed has data in them"),
        ({"areas": [[-1.6e6, -4e5, -1.4e6, 0]]}, "held_out takes all that there is to learn from"),
        ({"blocks": {"km": 500}}, "1 squares of 500 km hold data, and all would be held out; take smaller"),
        ({"blocks": {"km": 0}}, "held_out is .*; give a table of .*blocks"),
        ({"blocks": {"km": 10, "share": 1.5}}, "held_out is .*; give a table of .*blocks"),
        ({"blocks": {"size": 10}}, "held_out is .*; give a table of .*blocks"),
    ],
)
def test_what_cannot_be_held_out(hold_out, tmp_path, held_out, message):
    with pytest.raises(InputError, match=message):
        bed_topography.prepare(source=hold_out(held_out), out=tmp_path / "data", **SMALL)
    assert not (tmp_path / "data").exists()


def test_cell_means_are_no_flights():
    """Means of cells of 1 km, in any order or row by row, count as one; two lines of soundings as two."""
    x, y = (each.ravel() for each in np.meshgrid(np.arange(0, 40e3, 1000), np.arange(0, 30e3, 1000)))
    cells = pd.DataFrame({"x": x, "y": y})
    assert (number_flights(cells, cell=1000) == 0).all()
    assert (number_flights(cells.sample(frac=1, random_state=3), cell=1000) == 0).all()
    along = np.arange(0, 20e3, 50)
    lines = pd.DataFrame({"x": np.tile(along, 2), "y": np.repeat([0.0, 5000.0], along.size)})
    assert np.bincount(number_flights(lines, cell=1000)).tolist() == [400, 400]
