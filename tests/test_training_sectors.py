"""Sectors to learn from hold what their world states, and what a map-maker would have of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fieldwise.errors import InputError
from fieldwise.fields.grids import make_field
from fieldwise.fields.resampling import sample_at_points
from fieldwise.sandbox.observations import grid_lowres_bed
from fieldwise.sandbox.training_sectors import make_training_sector
from fieldwise.sandbox.worlds import World

# A bed so smooth that reading it between cells errs by less than a metre.
SMOOTH = World(
    bed_roughness_m=10.0, bed_spectral_slope=4.0, mountains=0, surface_holes=0.003, line_wander_m=1.0
)


@pytest.fixture(scope="module")
def drawn():
    return [make_training_sector(seed=seed, size_km=60) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def smooth():
    return make_training_sector(seed=7, size_km=60, world=SMOOTH)


def errors_of_picks(sector):
    """What the picks are off by, m, and the numbers of their lines."""
    bed = make_field(sector.bed, sector.box, name="bed")
    errors = sector.picks["bed"] - sample_at_points(bed, sector.picks["x"], sector.picks["y"])
    known = errors.notna()  # not so near the edge that there is nothing to read between
    return errors[known], sector.picks.loc[known, "line"]


def test_each_seed_has_a_world_of_its_own(drawn):
    assert len({sector.world for sector in drawn}) == 3
    again = make_training_sector(seed=2, size_km=60)
    assert again.world == drawn[1].world
    np.testing.assert_array_equal(again.surface_elevation, drawn[1].surface_elevation)
    pd.testing.assert_frame_equal(again.picks, drawn[1].picks)


def test_a_world_that_is_given_is_the_one_that_would_be_drawn(drawn):
    given = make_training_sector(seed=3, size_km=60, world=drawn[2].world)
    np.testing.assert_array_equal(given.bed, drawn[2].bed)


def test_nothing_is_missing_but_what_lies_in_wide_holes_of_the_velocity(drawn):
    for sector in drawn:
        for name in ("bed", "bed_lowres", "surface_elevation", "snow_accumulation"):
            values = getattr(sector, name)
            assert values.dtype == np.float32
            assert np.isfinite(values).all(), name
        assert np.isnan(sector.ice_velocity).mean() < sector.world.velocity_holes
        # a surface of 500 m cells over a bed of 250 m ones
        assert (sector.surface_elevation > sector.bed[::2, ::2]).mean() > 0.99


def test_picks_lie_inside_and_lines_are_numbered_through(drawn):
    for sector in drawn:
        picks = sector.picks
        west, south, east, north = sector.box.bounds
        assert picks["x"].between(west, east).all()
        assert picks["y"].between(south, north).all()
        assert (picks.groupby("line")["in_lowres"].nunique() == 1).all()
        assert picks["line"].is_monotonic_increasing
        assert not picks["in_lowres"].all()  # these three seeds fly something beside the sparse lines
    assert len({(~sector.picks["in_lowres"]).sum() for sector in drawn}) == 3


def test_lowres_bed_is_that_of_the_sparse_picks(drawn):
    for sector in drawn:
        sparse = sector.picks[sector.picks["in_lowres"]]
        table = pd.DataFrame({"x": sparse["x"], "y": sparse["y"], "ELEVATION": sparse["bed"], "BOTTOM": 0.0})
        again = grid_lowres_bed(table, sector.box).values
        np.testing.assert_allclose(sector.bed_lowres, again, atol=0.05)


@pytest.mark.parametrize("spacing", [5e3, 8e3])
def test_lines_are_flown_at_the_stated_spacing(spacing):
    world = replace(SMOOTH, line_spacing_m=spacing)
    picks = make_training_sector(seed=7, size_km=60, world=world).picks
    lines = picks[picks["in_lowres"]].groupby("line")
    spread, middle = lines[["x", "y"]].std(), lines[["x", "y"]].median()
    northward = spread["y"] > spread["x"]
    parallel = middle["x"][northward] if northward.sum() > len(spread) / 2 else middle["y"][~northward]
    np.testing.assert_allclose(np.diff(np.sort(parallel)), spacing, atol=10)
    assert len(parallel) in (60e3 // spacing, 60e3 // spacing + 1)


def test_noise_of_picks_is_the_stated_one():
    world = replace(SMOOTH, pick_noise_m=30.0, flight_bias_m=0.01)
    errors, _ = errors_of_picks(make_training_sector(seed=7, size_km=60, world=world))
    assert errors.std() == pytest.approx(30.0, rel=0.03)
    assert abs(errors.mean()) < 1.5


def test_bias_is_that_of_a_flight_of_eight_lines():
    world = replace(SMOOTH, pick_noise_m=0.01, flight_bias_m=40.0, line_spacing_m=4e3)
    sector = make_training_sector(seed=7, size_km=60, world=world)
    errors, line = errors_of_picks(sector)
    lines = errors.groupby(line)
    assert lines.std().max() < 3
    sparse = lines.mean()[: sector.picks.loc[sector.picks["in_lowres"], "line"].max() + 1]
    assert sparse[:8].std() < 1
    assert abs(sparse[7] - sparse[8]) > 3  # another flight


def test_noise_of_the_surface_is_averaged_with_it(smooth):
    louder = make_training_sector(seed=7, size_km=60, world=replace(SMOOTH, surface_noise_m=1.8))
    difference = louder.surface_elevation - smooth.surface_elevation  # 0.9 m of white noise on 100 m cells
    assert difference.std() == pytest.approx(0.9 / 5, rel=0.03)


def test_a_finer_surface_has_the_same_means(smooth):
    fine = make_training_sector(seed=7, size_km=60, world=SMOOTH, surface_spacing_m=100.0).surface_elevation
    assert fine.shape == (600, 600)
    np.testing.assert_allclose(
        fine.reshape(120, 5, 120, 5).mean(axis=(1, 3)), smooth.surface_elevation, atol=1e-3
    )


def test_noise_of_the_velocity_is_the_stated_one(smooth):
    louder = make_training_sector(seed=7, size_km=60, world=replace(SMOOTH, velocity_noise_m_a=6.0))
    difference = louder.ice_velocity - smooth.ice_velocity  # 3 m/a of white noise on 450 m cells
    # read between cells at every distance alike: the mean of w^2 + (1 - w)^2 is 2/3, along each axis
    assert np.nanstd(difference) == pytest.approx(3.0 * 2 / 3, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size_km": 50}, "size_km is 50; take an even number"),
        ({"size_km": 60, "surface_spacing_m": 250.0}, "surface_spacing_m is 250; take a multiple of 100"),
        ({"size_km": 60, "surface_spacing_m": 0.0}, "surface_spacing_m is 0; take a multiple of 100"),
        ({"size_km": 64, "surface_spacing_m": 600.0}, "that divides 64 km"),
    ],
)
def test_what_cannot_be_made_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_training_sector(seed=7, **options)
