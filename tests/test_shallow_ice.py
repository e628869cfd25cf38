"""Shallow ice: a similarity solution, the budget of volume, and ice at rest."""

import numpy as np
import pytest

from fieldwise.errors import InputError
from fieldwise.physics.shallow_ice import evolve

WEIGHT = 910 * 9.81e-6  # MPa a metre of ice


def halfar_dome(radius_m, years):
    """Halfar (1983), test B of Bueler et al. (2005): thickness, so many years after the dome of 3600 m."""
    rate, height, edge = 100.0, 3600.0, 750e3  # 1e-16 Pa-3 a-1
    stiffness = 2 * rate / 5 * WEIGHT**3
    origin = (7 / 4) ** 3 * edge**4 / (18 * stiffness * height**7)
    age = (years + origin) / origin
    inside = np.clip(1 - (age ** (-1 / 18) * radius_m / edge) ** (4 / 3), 0, None)
    return height * age ** (-1 / 9) * inside ** (3 / 7), origin


@pytest.mark.parametrize(("spacing_m", "error_m"), [(80e3, 13.9), (40e3, 6.7)])
def test_dome_spreads_as_the_similarity_solution(spacing_m, error_m):
    half = round(1000e3 / spacing_m)
    x = np.arange(-half, half + 1) * spacing_m
    radius = np.hypot(x, x[:, None])
    dome, origin = halfar_dome(radius, 0)
    assert origin == pytest.approx(422.45, abs=0.01)
    flat = np.zeros_like(dome)
    later = evolve(dome, flat, spacing_m=spacing_m, years=20_000, rate_factor=100.0, longest_step=50.0)
    expected, _ = halfar_dome(radius, 20_000)
    assert np.abs(later.thickness - expected)[expected > 0].mean() < error_m
    assert np.abs(later.thickness - expected).mean() < error_m
    assert dome.max() - later.thickness.max() > 1000  # it did spread


def make_steep_valley(cells=24):
    x = (np.arange(cells) - cells / 2) * 100.0
    return 3000 - 0.6 * (x + 0.5 * x[:, None]) + 150 * np.sin(x / 150) * np.cos(x[:, None] / 200)


def test_volume_changes_by_what_falls_melts_and_leaves_only():
    bed = make_steep_valley()
    start = np.zeros_like(bed)
    start[6:16, 6:16] = 60.0
    later = evolve(
        start,
        bed,
        spacing_m=100.0,
        years=40.0,
        balance=lambda surface: 0.01 * (surface - 3100),
        sliding_coefficient=0.05,
    )
    volume, before = later.thickness.sum() * 1e4, start.sum() * 1e4
    known = before + later.balance_volume - later.border_volume + later.clipped_volume
    assert volume == pytest.approx(known, rel=1e-10)
    assert later.border_volume > 0
    assert later.clipped_volume < 1e-4 * before
    assert later.thickness.min() >= 0


def test_flow_alone_keeps_the_volume_on_a_steep_bed():
    bed = make_steep_valley()
    start = np.zeros_like(bed)
    start[6:12, 6:12] = 60.0
    later = evolve(start, bed, spacing_m=100.0, years=2.0)
    assert later.border_volume == 0
    assert later.thickness.sum() == pytest.approx(start.sum(), rel=1e-6)
    assert np.abs(later.thickness - start).max() > 10  # on a bed so steep that it moves


def test_border_has_no_ice():
    thick = np.full((6, 6), 100.0)
    later = evolve(
        thick, np.zeros((6, 6)), spacing_m=100.0, years=1.0, balance=lambda surface: 1 + 0 * surface
    )
    assert not later.thickness[[0, -1]].any()
    assert not later.thickness[:, [0, -1]].any()
    assert later.thickness[2:4, 2:4].min() > 0


def test_ice_with_a_level_surface_stays_where_it_is():
    x = np.arange(-6, 7) * 100.0
    bed = 0.002 * (x**2 + x[:, None] ** 2)
    lake = np.clip(300.0 - bed, 0, None)
    later = evolve(lake, bed, spacing_m=100.0, years=50.0)
    np.testing.assert_allclose(later.thickness, lake, atol=1e-9)


def test_snow_gathers_and_ice_melts_at_the_rate_of_the_balance():
    flat = np.zeros((5, 5))
    flat[:, 2:] = 1000.0  # above the snow line
    start = np.full((5, 5), 2.0)

    def balance(surface):
        return np.where(surface > 500, 0.3, -0.5)

    later = evolve(start, flat, spacing_m=1e6, years=3.0, balance=balance)  # cells too wide for it to flow
    np.testing.assert_allclose(later.thickness[1:-1, 2:-1], 2.9, rtol=1e-6)
    np.testing.assert_allclose(later.thickness[1:-1, 1], 0.5, rtol=1e-6)
    gone = evolve(start, flat, spacing_m=1e6, years=9.0, balance=balance)
    assert (gone.thickness[1:-1, 1] == 0).all()


def test_sliding_moves_a_sheet_at_weertmans_speed():
    slope, depth, coefficient = 0.1, 100.0, 0.04
    x = np.arange(60) * 100.0
    bed = np.tile(1000 - slope * x, (60, 1))
    sheet = np.where(x < 2500, depth, 0.0) * np.ones((60, 1))
    # next to no creep: a column of ice moves as a block, at (rho g H s / C)^3 m/a
    speed = (WEIGHT * depth * slope / coefficient) ** 3
    years = 0.2 * 100 / speed
    later = evolve(
        sheet, bed, spacing_m=100.0, years=years, rate_factor=1e-9, sliding_coefficient=coefficient
    )
    # through an edge within the sheet, far from its ends: what is upstream less what stayed there
    middle = slice(20, 40)
    passed = later.thickness[middle, 12:].sum() - sheet[middle, 12:].sum()
    assert passed / 20 * 100 == pytest.approx(speed * depth * years, rel=0.01)


@pytest.mark.parametrize("turn", [np.rot90, np.fliplr, np.transpose])
def test_evolution_turns_with_the_domain(turn):
    bed = make_steep_valley()
    start = np.zeros_like(bed)
    start[6:12, 8:16] = 60.0
    straight = evolve(start, bed, spacing_m=100.0, years=5.0).thickness
    turned = evolve(turn(start), turn(bed), spacing_m=100.0, years=5.0).thickness
    np.testing.assert_allclose(turned, turn(straight), atol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"\(3, 3\) does not fit a bed of \(3, 4\)"):
        evolve(np.zeros((3, 3)), np.zeros((3, 4)), spacing_m=100.0, years=1.0)
    with pytest.raises(InputError, match=r"least value is -1.0"):
        evolve(-np.ones((3, 3)), np.zeros((3, 3)), spacing_m=100.0, years=1.0)
    with pytest.raises(InputError, match=r"least value is nan"):
        evolve(np.full((3, 3), np.nan), np.zeros((3, 3)), spacing_m=100.0, years=1.0)
