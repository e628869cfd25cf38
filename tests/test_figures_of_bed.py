"""The figures of a map of the bed, from a prepared folder, a run and its map."""

import re
import types

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, grid_of, make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.figures import choose_boxes
from fieldwise.recipes.bed_topography.figures import PLATES, print_figure, run_on_a_tile, save_figures
from fieldwise.recipes.bed_topography.predictor import load_bed_predictor
from fieldwise.recipes.bed_topography.regions.material import (
    ANTARCTIC_LIMITS_M,
    CUBIC,
    LARGEST_REGION_M,
    PINE_ISLAND,
    PREDICTION,
    THWAITES,
    choose_places,
    gather,
)
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.scores import sample_at_points


@pytest.fixture(scope="module")
def dataset(sandbox):
    return open_region(sandbox)


@pytest.fixture(scope="module")
def folder(dataset, trained_run, whole_map, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    save_figures(dataset, whole_map, folder, run=trained_run)
    return folder


def test_every_figure_is_drawn_as_pdf_and_png(folder):
    drawn = [name for name in PLATES if not name.startswith("members")]  # of which this map keeps none
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}{ending}" for name in drawn for ending in (".pdf", ".png")
    )
    for name in drawn:
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 300, name
            assert np.asarray(picture.convert("L")).std() > 5, name


def test_the_tile_of_the_strongest_relief_passes_through_the_network(dataset, trained_run):
    layers, inputs, bed = run_on_a_tile(trained_run, dataset)
    predictor = load_bed_predictor(trained_run, dataset, accelerator="cpu")
    count = sum(parameter.numel() for parameter in predictor.network.parameters())
    assert sum(layer.parameters for layer in layers) == count
    assert list(inputs) == [each.name for each in predictor.signature.inputs]
    assert bed.shape == (36, 36)
    assert np.isfinite(bed).all()
    assert (inputs["ice_velocity"] >= 0).all()  # a speed
    assert torch.is_grad_enabled()


def test_maps_are_read_along_flights(dataset, whole_map):
    material = gather(dataset, whole_map)
    flights = list(material.flights())
    assert sum(len(flight) for flight, _ in flights) == len(material.picks)
    flight, sampled = flights[0]
    assert list(sampled) == [PREDICTION, CUBIC]
    whole = sample_at_points(open_field(whole_map), flight["x"], flight["y"])
    np.testing.assert_allclose(sampled[PREDICTION], whole, rtol=1e-6)


def test_another_map_takes_the_place_of_the_truth(dataset, whole_map, sandbox, tmp_path):
    truth = sandbox / dataset.facts["truth"]
    material = gather(dataset, whole_map, reference=truth, reference_name="BedMachine")
    like = material.predicted(material.places.view)
    name, field = material.to_compare(like)
    assert name == "BedMachine"
    np.testing.assert_allclose(field, material.truth(like), rtol=1e-6)
    x, y = material.picks["x"][:5], material.picks["y"][:5]
    assert list(material.sample(x, y)) == [PREDICTION, CUBIC, "BedMachine"]
    printed = print_figure("flight", material, tmp_path)
    assert printed.png.exists()
    assert gather(dataset, whole_map, reference=truth).reference_name == truth.stem


def test_another_map_must_fit(dataset, whole_map, tmp_path):
    grid = grid_of(open_field(whole_map))
    far = Grid(0.0, 0.0, 10_000.0, 10_000.0, 500.0, "EPSG:3031")
    write_cog(make_field(np.zeros(far.shape), far, name="bed"), tmp_path / "far.tif")
    with pytest.raises(InputError, match=r"far\.tif: does not lie in the region"):
        gather(dataset, whole_map, reference=tmp_path / "far.tif")
    datums = {"here.tif": "WGS84 ellipsoid", "geoid.tif": "EIGEN-GL04C geoid"}
    for name, datum in datums.items():
        field = make_field(np.zeros(grid.shape), grid, name="bed", units="m", vertical_datum=datum)
        write_cog(field, tmp_path / name)
    with pytest.raises(InputError, match=r"geoid\.tif: its heights are above the EIGEN-GL04C"):
        gather(dataset, tmp_path / "here.tif", reference=tmp_path / "geoid.tif")


def test_what_the_data_do_not_allow_is_said(dataset, whole_map, tmp_path):
    material = gather(dataset, whole_map)
    printed = print_figure("architecture", material, tmp_path)
    assert printed.png is None
    assert printed.caption == "architecture: not drawn; it needs a run folder with a checkpoint"
    assert printed._repr_mimebundle_() == {"text/plain": printed.caption}
    assert not list(tmp_path.iterdir())


def test_jupyter_shows_a_figure_larger_than_in_print(dataset, whole_map, folder):
    printed = print_figure("error_histogram", gather(dataset, whole_map), folder)
    data, metadata = printed._repr_mimebundle_()
    assert data["image/png"] == printed.png.read_bytes()
    # 8.3 cm at 300 dots an inch are some 950 pixels, of which 0.45 are shown.
    assert metadata["image/png"]["width"] == pytest.approx(430, abs=40)


def stub(**facts):
    return types.SimpleNamespace(grid=types.SimpleNamespace(crs="EPSG:3031"), facts=facts)


def antarctica(spacing=25_000.0):
    grid = Grid(-2_700_000.0, -2_200_000.0, 2_800_000.0, 2_300_000.0, spacing, "EPSG:3031")
    return make_field(np.random.default_rng(0).normal(size=grid.shape), grid, name="bed")


def test_a_map_of_antarctica_is_looked_at_where_the_paper_looks():
    places = choose_places(stub(source="real.yaml"), antarctica(), picks=None)
    assert (places.view, places.region, places.limits) == (PINE_ISLAND, THWAITES, ANTARCTIC_LIMITS_M)
    assert len(places.closeups) == 9
    assert [re.match("[A-I] ", name) is not None for name in places.closeups] == [True] * 9
    # 200 km around the middle of Rutford Ice Stream.
    assert places.closeups["E Rutford Ice Stream"] == (-1_400_000, 50_000, -1_200_000, 250_000)


def test_a_made_sector_is_looked_at_where_it_is_roughest():
    places = choose_places(stub(source="sandbox"), antarctica(), picks=None)
    assert places.limits is None
    assert list(places.closeups) == list("ABCDEFGHI")


def test_of_a_large_map_the_region_of_the_longest_flight_is_looked_at():
    picks = pd.DataFrame({"x": [1.0e6, 1.1e6, 2.79e6], "y": [0.0, 0.0, 0.0], "flight": [0, 0, 1]})
    region = choose_places(stub(source="sandbox"), antarctica(), picks=picks).region
    assert region == (850_000, -200_000, 1_250_000, 200_000)  # 400 km around the middle of flight 0
    assert region[2] - region[0] == LARGEST_REGION_M
    edge = choose_places(stub(source="sandbox"), antarctica(), picks=picks[picks["flight"] == 1]).region
    assert edge == (2_400_000, -200_000, 2_800_000, 200_000)  # inside the map


def test_a_small_map_is_looked_at_as_a_whole(dataset, whole_map):
    field = open_field(whole_map)
    assert choose_places(dataset, field, picks=None).region == grid_of(field).bounds


def test_boxes_keep_clear_of_gaps():
    grid = Grid(0, 0, 400, 400, 10, "EPSG:3031")
    values = np.zeros(grid.shape)
    values[::2, :20] = 90.0  # the western half is rough
    values[:20] = np.nan  # the northern half is missing
    west, south, east, north = choose_boxes(make_field(values, grid, name="bed"), count=1, share=0.25)["A"]
    assert (east - west, north - south) == (100, 100)
    assert east <= 200
    assert north <= 200
