"""One vertical datum from a FILE.yaml to the map; thickness of one epoch."""

import os

import numpy as np
import pytest
import yaml

from conftest import CORNER_X, CORNER_Y, SIZE_M, hills
from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.regions.region import (
    ELEVATIONS,
    list_files,
    open_region,
    read_own_files,
)
from fieldwise.samples.inputs import read_heights
from fieldwise.samples.prepared import DESCRIPTION
from fieldwise.samples.rules import write_yaml

BOX = (CORNER_X, CORNER_Y, CORNER_X + SIZE_M, CORNER_Y + SIZE_M)
GEOID = "EIGEN-GL04C geoid"


def edit(file, **keys):
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | keys))


def write_constant(file, name, value, *, spacing=1000.0, **attributes):
    grid = Grid(*BOX, spacing, "EPSG:3031")
    return write_cog(
        make_field(np.full(grid.shape, value, "f4"), grid, name="made", **attributes), file.parent / name
    )


def test_what_a_file_says_of_itself_is_enough(own_files):
    """The tag that fieldwise itself writes; a survey cannot say, so that its entry must."""
    write_constant(own_files, "bed_lowres.tif", -500.0, vertical_datum=GEOID)
    lines = []
    heights = read_heights(
        read_own_files(own_files), folder=own_files.parent, elevations=ELEVATIONS, report=lines.append
    )
    assert heights.datum == GEOID
    silent = "surface.tif, dense.json, judge.json"
    assert lines == [f"vertical datum: {silent} state none and are taken to count from the {GEOID}"]
    edit(own_files, surveys=[{"path": "dense.json", "datum": "ellipsoid"}])
    with pytest.raises(
        InputError, match=r"bed_lowres\.tif: heights above the .*, dense\.json: above the WGS84"
    ):
        read_heights(
            read_own_files(own_files), folder=own_files.parent, elevations=ELEVATIONS, report=lines.append
        )


def test_a_coarser_filling_of_another_datum_is_mixed_too(own_files):
    """It says so itself; of one that says nothing the finer file's datum is taken."""
    inputs = yaml.safe_load(own_files.read_text())["inputs"]
    surface = inputs["surface_elevation"] | {"datum": "ellipsoid", "fill_from": "coarse.tif"}
    edit(own_files, inputs=inputs | {"surface_elevation": surface})
    write_constant(own_files, "coarse.tif", 0.0)
    source = read_own_files(own_files)
    assert (
        read_heights(source, folder=own_files.parent, elevations=ELEVATIONS, report=print).datum
        == "WGS84 ellipsoid"
    )
    named = surface | {"fill_from": {"path": "coarse.tif", "datum": "geoid EGM96"}}
    edit(own_files, inputs=inputs | {"surface_elevation": named})
    with pytest.raises(InputError, match=r"coarse\.tif: above the EGM96 geoid"):
        read_heights(read_own_files(own_files), folder=own_files.parent, elevations=ELEVATIONS, report=print)


def test_truth_beds_and_thickness(own_files, tmp_path):
    """Truth and a finished bed are brought to the ellipsoid; the user's thickness is taken as it is."""
    write_constant(own_files, "geoid.tif", -30.0)
    write_constant(own_files, "thickness.tif", 1234.0)
    grid = Grid(*BOX, 250, "EPSG:3031")
    bed = make_field(hills(*np.meshgrid(grid.x, grid.y)), grid, name="bed")
    write_cog(bed, own_files.parent / "known.tif")
    inputs = yaml.safe_load(own_files.read_text())["inputs"]
    edit(
        own_files,
        datum="ellipsoid",
        geoid={"path": "geoid.tif"},
        inputs=inputs | {"ice_thickness": {"path": "thickness.tif"}},
        truth={"path": "known.tif", "datum": "geoid EIGEN-GL04C"},
        beds={"known": {"path": "known.tif", "datum": "geoid EIGEN-GL04C"}},
    )
    named = {path.name for path in list_files(read_own_files(own_files), own_files.parent)}
    assert {"geoid.tif", "thickness.tif", "known.tif"} <= named
    data = open_region(bed_topography.prepare(source=str(own_files), out=tmp_path / "data", progress=False))
    truth = data.open("truth")
    np.testing.assert_allclose(truth.values, bed.values - 30, atol=1e-3)
    assert truth.attrs["vertical_datum"] == data.facts["vertical_datum"] == "WGS84 ellipsoid"
    known = open_field(data.folder / "surveys" / "known.tif")
    np.testing.assert_allclose(known.values, bed.values - 30, atol=1e-3)
    np.testing.assert_array_equal(data.field("ice_thickness").values, 1234)
    assert data.variables["ice_thickness"].units == "m"
    assert "surface_slope" in data.variables
    np.testing.assert_array_equal(open_field(own_files.parent / "known.tif").values, bed.values)


def test_thickness_is_derived_where_none_is_given(own_files, tmp_path):
    """Of one datum and epoch by default: the trend of a level surface at 900 m less that of the bed."""
    write_constant(own_files, "surface.tif", 900.0, spacing=100.0)
    write_constant(own_files, "bed_lowres.tif", -500.0)
    data = open_region(bed_topography.prepare(source=str(own_files), out=tmp_path / "data", progress=False))
    np.testing.assert_allclose(data.field("ice_thickness").values, 1400, rtol=1e-5)


@pytest.mark.parametrize("suffix", [".tif", ".nc"])
def test_the_map_says_what_it_counts_from(sandbox, trained_run, tmp_path, suffix):
    data = tmp_path / "data"
    data.mkdir()
    for path in sandbox.iterdir():
        if path.name != DESCRIPTION:
            os.symlink(path, data / path.name)
    write_yaml(open_region(sandbox).facts | {"vertical_datum": GEOID}, data / DESCRIPTION)
    west, south = open_region(data).bounds[:2]
    drawn = bed_topography.predict(
        run=trained_run,
        data=data,
        out=tmp_path / f"map{suffix}",
        bounds=(west, south, west + 9000, south + 9000),
        halo_cells=8,
        progress=False,
    )
    assert open_field(drawn).attrs["vertical_datum"] == GEOID
