"""What a world states is found in the sectors that are made of it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import fft

from fieldwise.errors import InputError
from fieldwise.physics.spectra import variance_of, wavenumbers
from fieldwise.sandbox.observations import see_surface, surface_noise_power
from fieldwise.sandbox.sector import make_sector
from fieldwise.sandbox.worlds import STREAMS_REACH_M, World, draw_world, priors

DRAWN = [draw_world(np.random.default_rng(seed)) for seed in range(300)]


def place_in(prior, value):
    """0 at the low end of a prior, 1 at the high one, even between them."""
    low, high = (np.log(edge) if prior.spread == "log" else edge for edge in (prior.low, prior.high))
    return ((np.log(value) if prior.spread == "log" else value) - low) / (high - low)


@pytest.mark.parametrize("name", priors())
def test_worlds_are_drawn_from_the_whole_of_each_prior(name):
    places = np.array([place_in(priors()[name], getattr(world, name)) for world in DRAWN])
    assert 0 <= places.min() < 0.05
    assert 0.95 < places.max() <= 1
    assert places.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * len(DRAWN)))  # four standard errors


@pytest.mark.parametrize("name", priors())
def test_default_world_lies_well_within_each_prior(name):
    assert 0.1 < place_in(priors()[name], getattr(World(), name)) < 0.9


def test_streams_are_drawn_too():
    assert {len(world.stream_axes_m) for world in DRAWN} == {1, 2, 3, 4}
    assert max(abs(axis) for world in DRAWN for axis in world.stream_axes_m) <= STREAMS_REACH_M


def test_a_world_without_noise_is_refused():
    with pytest.raises(InputError, match="pick_noise_m is 0; give a number above 0"):
        World(pick_noise_m=0.0)


PLAIN = World(  # small hills without grain: many of them in a sector, so that statistics are sharp
    bed_rolloff_m=5e3, bed_stretch=1.0, bed_roughness_m=50.0, bed_level_m=-1000.0, mountains=0
)


def random_bed(world):
    """The bed of a 60 km sector less its smooth part."""
    sector = make_sector(60e3, rng=np.random.default_rng(7), world=world)
    return sector.crop(sector.bed_m - sector.fine(sector.sheet.bed_m))


@pytest.fixture(scope="module")
def plain_bed():
    return random_bed(PLAIN)


def test_roughness_is_the_spread_of_the_random_bed(plain_bed):
    assert plain_bed.std() == pytest.approx(50.0, rel=0.06)
    np.testing.assert_allclose(random_bed(replace(PLAIN, bed_roughness_m=100.0)), 2 * plain_bed, atol=1e-2)


@pytest.mark.parametrize("slope", [2.6, 3.8])
def test_spectral_slope_is_that_of_the_bed(slope):
    bed = random_bed(replace(PLAIN, bed_spectral_slope=slope))
    window = np.hanning(bed.shape[0])[:, None] * np.hanning(bed.shape[1])
    power = np.abs(fft.rfft2(bed * window)) ** 2
    k = np.hypot(*wavenumbers(bed.shape, 250.0))
    ring = np.digitize(k, np.geomspace(2 * np.pi / 2.5e3, 2 * np.pi / 0.7e3, 9))
    means = [(k[ring == one].mean(), power[ring == one].mean()) for one in range(1, 9)]
    assert np.polyfit(*np.log(means).T, 1)[0] == pytest.approx(-slope, abs=0.2)


def test_stretched_hills_lie_along_the_flow(plain_bed):
    # increments over a distance h of a self-affine bed grow as h^((slope - 2) / 2), and ice flows west here
    stretched = random_bed(replace(PLAIN, bed_stretch=3.0))
    ratios = [np.diff(bed, axis=0).std() / np.diff(bed, axis=1).std() for bed in (plain_bed, stretched)]
    assert ratios[0] == pytest.approx(1.0, abs=0.05)
    assert 1.3 < ratios[1] < 3**0.6 + 0.05  # where all ice flows due west it would be 1.93


def test_noise_of_the_surface_has_the_stated_power():
    world = replace(PLAIN, surface_noise_m=0.3, surface_blurred_noise_m=0.8, surface_blur_m=500.0)
    sector = make_sector(60e3, rng=np.random.default_rng(7), world=world)
    noise = see_surface(sector, rng=np.random.default_rng(7)).noise
    east, north = wavenumbers(noise.shape, 100.0)
    stated = surface_noise_power(world, east, north)
    assert noise.std() == pytest.approx(np.hypot(0.3, 0.8), rel=0.02)
    assert variance_of(stated, noise.shape[1], 100.0) == pytest.approx(0.3**2 + 0.8**2, rel=1e-3)
    found = np.abs(fft.rfft2(noise)) ** 2 * 100.0**2 / noise.size
    long = np.hypot(east, north) < 2 * np.pi / 2e3  # power falls to a seventh of its peak over these
    assert (found / stated)[long].mean() == pytest.approx(1.0, abs=0.1)
    assert (found / stated)[~long].mean() == pytest.approx(1.0, abs=0.05)
