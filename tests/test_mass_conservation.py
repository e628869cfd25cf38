"""Mass conservation: closed forms of the flux, a training that minds it, and a score that tells of it."""

import itertools
import re

import geopandas
import numpy as np
import pytest
import shapely
import torch

from fieldwise.fields.resampling import block_mean
from fieldwise.physics.mass_conservation import (
    ICE_DENSITY,
    flux_divergence,
    flux_matrix,
    mass_residual,
    sliding_depth_factor,
)
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography import judgement
from fieldwise.recipes.bed_topography.evaluate import _score_flux
from fieldwise.recipes.bed_topography.generator import BedTask, flux, read_samples
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.samples.examples import make_prepared
from fieldwise.samples.loaders import to_tensors, turn
from fieldwise.samples.signatures import Signature
from fieldwise.scores import score_residuals
from fieldwise.tasks import load_checkpoint

SPACING_M = 250.0


def coordinates(rows, columns, spacing=SPACING_M):
    """Give x and y of cell centres, rows from north to south."""
    return np.meshgrid((np.arange(columns) + 0.5) * spacing, (rows - np.arange(rows) - 0.5) * spacing)


def draw_ice(shape=(7, 6), batch=2):
    """Draw thickness, velocity and accumulation at random."""
    generator = torch.Generator().manual_seed(5)

    def draw(channels, size):
        return size * torch.rand(batch, channels, *shape, generator=generator, dtype=torch.float64)

    return 500 + draw(1, 900), draw(2, 400) - 200, draw(1, 600)


# --- the equation ---------------------------------------------------------------------------------


def test_plug_flow_carries_the_slope_of_the_thickness():
    """A uniform velocity over H = 800 + 0.02 x - 0.05 y: div(H u) = 30 x 0.02 + 40 x -0.05."""
    x, y = coordinates(5, 6)
    velocity = np.stack([np.full_like(x, 30.0), np.full_like(x, 40.0)])
    found = flux_divergence((800 + 0.02 * x - 0.05 * y)[None], velocity, spacing_m=SPACING_M)
    assert found.shape == (1, 3, 4)
    np.testing.assert_allclose(found, 30 * 0.02 - 40 * 0.05, rtol=1e-9)


def test_the_flux_is_linear_in_the_thickness():
    thickness, velocity, _ = (each[0].numpy() for each in draw_ice(shape=(8, 6), batch=1))
    told = (flux_matrix(velocity, spacing_m=SPACING_M) @ thickness.ravel()).reshape(8, 6)
    expected = flux_divergence(thickness, velocity, spacing_m=SPACING_M)[0]
    np.testing.assert_allclose(told[1:-1, 1:-1], expected, rtol=1e-9)
    told[1:-1, 1:-1] = 0
    assert not told.any()


def test_spreading_ice_thins_by_the_rate_of_its_spread():
    """u = c r over a thickness H: div(H u) = 2 c H + c r . grad H, here of a plane."""
    x, y = coordinates(6, 6)
    thickness, rate = 900 + 0.03 * x + 0.01 * y, 4e-3
    found = flux_divergence(thickness[None], rate * np.stack([x, y]), spacing_m=SPACING_M)
    expected = 2 * rate * thickness + rate * (0.03 * x + 0.01 * y)
    np.testing.assert_allclose(found[0], expected[1:-1, 1:-1], rtol=1e-9)


def vialov_residual(cells):
    """Give the residual along an ice sheet after Vialov (1958), from 0.3 to 0.7 of its length, n = 3.

    Its velocity is that of shallow ice, which at the surface is (n + 2) / (n + 1) of the mean over depth.
    """
    length, accumulation, rate_factor, weight = 400e3, 0.3, 78.0, 917 * 9.81e-6
    creep = 2 * rate_factor * weight**3 / 5
    spacing = 0.4 * length / cells
    x = 0.3 * length + (np.arange(cells) + 0.5) * spacing
    middle = 2 ** (3 / 8) * (accumulation / creep) ** (1 / 8) * length**0.5
    profile = 1 - (x / length) ** (4 / 3)
    thickness = middle * profile ** (3 / 8)
    slope = middle * 3 / 8 * profile ** (-5 / 8) * 4 / 3 * (x / length) ** (1 / 3) / length
    eastward = 5 / 4 * creep * thickness**4 * slope**3
    planes = [np.tile(each, (3, 1)) for each in (thickness, eastward, 0 * x, 0 * x + accumulation * 917)]
    options = {"spacing_m": spacing, "depth_factor": 4 / 5}
    return np.abs(mass_residual(planes[0][None], np.stack(planes[1:3]), planes[3][None], **options)).max()


def test_an_ice_sheet_in_steady_state_conserves_mass():
    """What is left is the error of the finite volumes: a quarter of it on cells half as wide."""
    coarse, fine = vialov_residual(40), vialov_residual(80)
    assert coarse < 0.01 * 0.3
    assert coarse / fine == pytest.approx(4, rel=0.1)


def test_the_mean_of_a_block_is_what_leaves_through_its_sides():
    thickness, velocity, _ = (each.numpy() for each in draw_ice((8, 11)))
    size = 3
    found = block_mean(flux_divergence(thickness, velocity, spacing_m=SPACING_M), size)
    assert found.shape == (2, 1, 2, 3)
    for number, row, column in itertools.product(range(2), range(2), range(3)):
        top, left = 1 + size * row, 1 + size * column
        ice, (east, north) = thickness[number, 0], velocity[number]
        leaving = 0.0
        for cell in range(size):
            for (inside, outside), speed, sign in (
                (((top + cell, left + size - 1), (top + cell, left + size)), east, 1),
                (((top + cell, left), (top + cell, left - 1)), east, -1),
                (((top, left + cell), (top - 1, left + cell)), north, 1),
                (((top + size - 1, left + cell), (top + size, left + cell)), north, -1),
            ):
                height = (ice[inside] + ice[outside]) / 2
                leaving += sign * height * (speed[inside] + speed[outside]) / 2 * SPACING_M
        assert found[number, 0, row, column] == pytest.approx(leaving / (size * SPACING_M) ** 2)


@pytest.mark.parametrize("symmetry", range(8))
def test_the_residual_turns_with_the_ice(symmetry):
    thickness, velocity, accumulation = draw_ice((6, 6))
    turned = turn({"h": thickness, "u": velocity, "a": accumulation}, symmetry, vectors={"u": [(0, 1)]})
    found = mass_residual(turned["h"], turned["u"], turned["a"], spacing_m=SPACING_M)
    straight = mass_residual(thickness, velocity, accumulation, spacing_m=SPACING_M)
    torch.testing.assert_close(found, turn({"r": straight}, symmetry)["r"])


def test_gradients_are_those_of_finite_differences():
    fields = [*draw_ice((4, 5)), torch.rand(2, 1, 4, 5, dtype=torch.float64)]
    assert torch.autograd.gradcheck(
        lambda h, u, a, f: mass_residual(h, u, a, spacing_m=SPACING_M, depth_factor=f),
        [each.requires_grad_() for each in fields],
    )


def test_depth_factor_is_the_mean_of_a_sliding_parabola():
    """1 - d^2 at the depth d from 0 to 1, and C more everywhere."""
    depth = (np.arange(10_000) + 0.5) / 10_000
    for slip in (0.0, 1.0, 30.0):
        profile = slip + 1 - depth**2
        assert sliding_depth_factor(slip) == pytest.approx(profile.mean() / (slip + 1), rel=1e-6)


# --- the score ------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_cells", [1, 4, 7, 100])
def test_residuals_are_judged_alike_whatever_is_read_at_a_time(block_cells):
    """Blocks of 2 x 2 in maps of 9 x 12 cells: 3 x 5 of them, one of which one map misses."""
    values = np.arange(7 * 10.0).reshape(7, 10)
    holed = values.copy()
    holed[2, 5] = np.nan

    def read(rows, columns):
        assert rows.stop - rows.start <= max(block_cells, 2) + 2
        inner = np.s_[rows.start : rows.stop - 2, columns.start : columns.stop - 2]
        return {"whole": block_mean(values[inner], 2), "holed": block_mean(holed[inner], 2)}

    options = {"against": "law", "measure": "residual", "unit": "1", "block_cells": block_cells}
    rows = score_residuals(read, (9, 12), cells=2, **options)
    known = np.delete(block_mean(values, 2).ravel(), 5 + 2)
    assert [row["name"] for row in rows] == ["whole", "holed"]
    assert [row["value"] for row in rows] == pytest.approx([np.sqrt(np.mean(known**2))] * 2)


def test_maps_without_a_block_have_no_score():
    options = {"against": "law", "measure": "residual", "unit": "1"}
    assert not score_residuals(lambda *_: {"map": np.array([np.nan])}, (4, 4), cells=2, **options)
    assert not score_residuals(lambda *_: pytest.fail("read"), (3, 9), cells=2, **options)


def make_spreading_region(folder):
    """Make a region of ice 800 m thick that spreads by 0.8 m/a a kilometre as snow falls; the west floats.

    At less than 10 m/a the slip ratio is taken as 1, so that 5 / 6 of the surface velocity counts.
    """
    x, y = coordinates(64, 64)
    level, coarse = np.zeros((64, 64)), np.zeros((16, 16))
    outflow = 2 * 0.8e-3 * 5 / 6 * 800
    fields = {
        "bed_lowres": coarse + 160,
        "surface_elevation": level + 1000,
        "ice_velocity": [0.8e-3 * (x - 8000), 0.8e-3 * (y - 8000)],
        "snow_accumulation": coarse + outflow * ICE_DENSITY,
    }
    units = {"ice_velocity": "m a-1", "snow_accumulation": "kg m-2 a-1"}
    drawn = level + 120 + np.where(x < 4000, 500, 0)
    facts = {"truth": level + 200, "map": drawn, "held_out_areas": [[0, 0, 16e3, 16e3]]}
    prepared = make_prepared(
        fields, shape=(64, 64), units=units, folder=folder, grounding_line="line.gpkg", **facts
    )
    grounded = geopandas.GeoDataFrame(geometry=[shapely.box(4250, 0, 16e3, 16e3)], crs="EPSG:3413")
    grounded.to_file(folder / "line.gpkg")
    return prepared


def test_maps_are_told_by_how_far_they_are_from_conserving_mass(tmp_path):
    """Ice 80 m too thick sends out 2 x 0.8 m/a/km x 5/6 x 80 m too much; the low-res bed is 40 m too low."""
    prepared = make_spreading_region(tmp_path / "data")
    rows = _score_flux(prepared.cases()[0], prepared.folder / "map.tif")
    assert [row["name"] for row in rows] == ["prediction", "cubic", "truth"]
    assert {(row["against"], row["unit"]) for row in rows} == {("mass conservation", "m a-1")}
    rate = 2 * 0.8e-3 * 5 / 6
    assert [row["value"] for row in rows] == pytest.approx([rate * 80, rate * 40, 0], abs=1e-3)


def test_the_sandbox_is_judged_alike_block_by_block(sandbox, whole_map, monkeypatch):
    whole = _score_flux(open_region(sandbox), whole_map)
    assert [row["name"] for row in whole] == ["prediction", "cubic", "inversion", "radar_inversion", "truth"]
    monkeypatch.setattr(judgement, "BLOCK_CELLS", 37)
    parts = _score_flux(open_region(sandbox), whole_map)
    assert [row["value"] for row in parts] == pytest.approx([row["value"] for row in whole], rel=1e-5)


def test_without_velocity_there_is_no_such_score(tmp_path):
    prepared = make_prepared({"bed_lowres": np.zeros((8, 8))}, shape=(32, 32), map=np.zeros((32, 32)))
    assert _score_flux(prepared.cases()[0], prepared.folder / "map.tif") == []


# --- the loss -------------------------------------------------------------------------------------


@pytest.fixture
def options(sandbox, hyperparameters, tmp_path):
    """Train with no other weight, on tiles that are turned in all ways."""
    others = ("content_weight", "adversarial_weight", "topographic_weight", "structural_weight")
    weights = dict.fromkeys(others, 0.0) | {"flux_weight": 1.0}
    return hyperparameters | weights | {"augment": "all", "data": sandbox, "run": tmp_path / "run"}


def read_training_tiles(sandbox, signature):
    names = [each.name for each in signature.inputs]
    flow = {"departure": True, "like": signature, "flow": True}
    return to_tensors(read_samples(open_region(sandbox), "training", names, **flow)[0])


def sum_residuals(bed, flow):
    thickness = flow["surface_elevation"] - bed
    velocity = flow["depth_factor"] * flow["ice_velocity"]
    return (
        mass_residual(thickness, velocity, flow["snow_accumulation"], spacing_m=SPACING_M).abs().sum().item()
    )


def test_training_with_the_weight_draws_beds_that_conserve_mass_better(options):
    """On the tiles that it has seen: their departures from the base send out less that does not fall."""
    bed_topography.train(**options)
    task = load_checkpoint(options["run"] / "checkpoints" / "last.ckpt", BedTask).eval()
    batch = read_training_tiles(options["data"], Signature.from_dict(task.signature))
    with torch.inference_mode():
        drawn, base = (flux(bed, batch, task.signature) for bed in (task.draw(batch), batch["base"]))
    assert drawn < 0.9 * base


def test_what_moves_the_ice_turns_with_the_tiles(options, monkeypatch):
    """The true bed's residual is the same in turned tiles, though the network does not read the velocity."""
    seen = []

    def stop_at(make_task, loaders, signature, **_):
        seen.extend([*loaders[0]])
        seen.append(read_training_tiles(options["data"], signature))
        raise InterruptedError

    monkeypatch.setattr("fieldwise.recipes.bed_topography.generator_training.train_run", stop_at)
    with pytest.raises(InterruptedError):
        bed_topography.train(**options, inputs="surface_elevation")
    *turned, straight = (sum_residuals(batch["targets"], batch["flow"]) for batch in seen)
    assert sum(turned) == pytest.approx(straight, rel=1e-4)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-1, "--flux_weight: is -1; give at least 0"),
        (0.1, r"--flux_weight: .*data holds no ice_velocity, no snow_accumulation; name what is missing in"),
    ],
)
def test_train_refuses(own_files, tmp_path, refusal, weight, message):
    data = tmp_path / "data"
    bed_topography.prepare(source=str(own_files), out=data, step_cells=8, progress=False)
    words = ["--data", data, "--run", tmp_path / "run", "--network", "generator", "--flux_weight", weight]
    line = refusal("train", *words)
    assert re.search(message, line), line
    assert not (tmp_path / "run").exists()
