"""Doubt: surface and velocity are believed as far as picks that were not shown bear them out."""

import math

import numpy as np
import pytest
from scipy import ndimage

from fieldwise.physics.surface_inversion import Doubt
from fieldwise.recipes.bed_topography.regions.derivation import invert_with_radar
from fieldwise.recipes.bed_topography.regions.doubt import Shown, choose_doubt
from fieldwise.samples.examples import make_prepared

CELLS = 48  # low-res cells along each axis; 4 x 4 cells of the map in each
THICKNESS_M, FLUX_M2_A = 900.0, 400e3


def draw_hills(seed: int, height: float) -> np.ndarray:
    hills = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((CELLS, CELLS)), 3)
    return height * hills / hills.std()


def make_case(surface, speed):
    """Make a region of a level low-res bed, and ice that flows to the east."""
    level = np.zeros((CELLS, CELLS))
    values = {"bed_lowres": level, "surface_elevation": THICKNESS_M + level + surface}
    values["ice_velocity"] = [level + speed, level]
    shape = (4 * CELLS, 4 * CELLS)
    return make_prepared(values, shape=shape, trends=["bed_lowres", "surface_elevation"]).cases()[0]


def show(case, departure):
    """Show every eighth column of the low-res bed, keep the others: so far above it they lie."""
    fine, flown = departure.repeat(4, axis=0).repeat(4, axis=1), np.arange(4 * CELLS) // 4 % 8 == 0
    parts = []
    for columns in (flown, ~flown):
        picked = np.where(columns, 1.0, 0.0) + 0 * fine
        parts.append({"radar_departure": picked * fine, "radar_picked": picked, "radar_distance": picked})
    return [Shown(case, *parts)]


def test_the_surface_is_believed_as_far_as_picks_bear_it_out():
    """Where the bed is as the surface has it, it counts; where it is the low-res bed, for nothing."""
    case = make_case(draw_hills(7, 5.0), 50.0)
    none = dict.fromkeys(("radar_departure", "radar_picked", "radar_distance"), np.zeros(case.shape))
    told = invert_with_radar(case, none, grounded=None)
    assert np.abs(told).max() > 20
    assert math.isfinite(choose_doubt(show(case, told), grounded=None).surface)
    assert choose_doubt(show(case, 0 * told), grounded=None) == Doubt(math.inf, math.inf)


@pytest.mark.parametrize("conserves", [True, False])
def test_mass_is_asked_where_it_is_conserved(conserves):
    """Ice is as fast as one flux everywhere has it, or as fast everywhere, over a rough bed."""
    departure = draw_hills(8, 60.0)
    speed = FLUX_M2_A / (THICKNESS_M - departure if conserves else THICKNESS_M)
    chosen = choose_doubt(show(make_case(0.0, speed), departure), grounded=None)
    assert math.isfinite(chosen.flow) == conserves
