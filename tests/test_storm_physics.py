"""The sphere, vortices and transport of vapour, against closed forms."""

import numpy as np
import pytest
from scipy.integrate import quad

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.components import label_components, measure_components
from fieldwise.physics.extreme_weather.sphere import (
    RADIUS_KM,
    GlobalGrid,
    coriolis,
    distance_km,
    laplacian,
    local_maxima,
    smooth,
    vorticity,
    within,
)
from fieldwise.physics.extreme_weather.transport import GRAVITY, vapour_transport
from fieldwise.physics.extreme_weather.vortices import (
    deficit_of,
    gradient_wind,
    holland_gradient,
    holland_pressure,
)


@pytest.mark.parametrize("place", [(20.0, 180.0), (-65.0, 0.3), (84.0, 250.0)])
def test_a_cap_has_the_area_of_a_cap(place):
    """2 pi R^2 (1 - cos of its angle), also across the seam and over a pole."""
    grid, reach = GlobalGrid.regular(361, 720), 1500.0
    window = grid.around(*place, reach)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[window.cells] = window.distance_km <= reach
    everywhere = distance_km(*place, grid.latitude[:, None], grid.longitude) <= reach
    assert (mask == everywhere).all()
    cap = 2 * np.pi * RADIUS_KM**2 * (1 - np.cos(reach / RADIUS_KM))
    assert grid.area_km2[mask].sum() == pytest.approx(cap, rel=0.01)


def test_a_mask_grows_by_a_distance():
    """A cap that is grown is the larger cap, but for the rim's cells: also across the seam."""
    grid = GlobalGrid.regular(181, 360)
    away = distance_km(40.0, 359.5, grid.latitude[:, None], grid.longitude)
    grown = within(away <= 600, grid, 500)
    assert grown[away <= 1000].all()
    assert not grown[away > 1100].any()
    assert grown[:, 0].any()
    assert grown[:, -1].any()


def test_parts_go_on_across_the_seam_and_not_over_a_pole():
    grid = GlobalGrid.regular(91, 180)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[30:33, [178, 179, 0, 1]] = True
    mask[33, 2] = True  # touches only by a corner
    mask[:10, 20] = mask[:10, 110] = True  # from either side up to the north pole
    labels = label_components(mask)
    assert labels.max() == 3
    assert labels[30, 178] == labels[30, 1] == labels[33, 2]
    assert labels[0, 20] != labels[0, 110]
    parts = measure_components(labels, grid).set_index("number")
    seam = parts.loc[labels[30, 0]]
    assert abs(seam["longitude"]) < 1  # not 180, on the other side of the Earth
    assert seam["diagonal_km"] < 1400


@pytest.mark.parametrize("flip", [False, True])
def test_derivatives_hold_in_either_order_of_rows(flip):
    """Solid rotation has vorticity 2 w sin(lat); a spherical harmonic of degree 2 is -6/R^2 times itself."""
    grid = GlobalGrid.regular(181, 360)
    if flip:
        grid = GlobalGrid(grid.latitude[::-1], grid.longitude)
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    u = 20 * np.cos(lat) * np.ones_like(lon)
    spin = vorticity(u, np.zeros(grid.shape), grid)
    np.testing.assert_allclose(
        spin[1:-1], (40 / (RADIUS_KM * 1e3) * np.sin(lat) * np.ones_like(lon))[1:-1], atol=2e-9
    )
    harmonic = np.cos(lat) ** 2 * np.cos(2 * lon)
    wanted = -6 / (RADIUS_KM * 1e3) ** 2 * harmonic
    np.testing.assert_allclose(laplacian(harmonic, grid)[2:-2], wanted[2:-2], atol=1e-16)


def test_smoothing_makes_fields_of_different_cells_alike():
    """A Gaussian of 200 km smoothed to 300 km has its height times 200^2 / (200^2 + 300^2)."""
    heights = []
    for rows in (91, 181, 361):
        grid = GlobalGrid.regular(rows, 2 * (rows - 1))
        away = distance_km(30.0, 180.0, grid.latitude[:, None], grid.longitude)
        points = smooth(np.exp(-0.5 * (away / 200) ** 2), grid, 300.0, blurred_cells=0)
        heights.append(points[grid.cell_at(30.0, 180.0)])
    np.testing.assert_allclose(heights, 4 / 13, rtol=0.03)


def test_a_maximum_is_one_across_the_seam():
    grid = GlobalGrid.regular(181, 360)
    away = distance_km(10.0, 359.9, grid.latitude[:, None], grid.longitude)
    assert local_maxima(-away, grid, within_km=500, least=-2000) == [(10.0, 0.0)]


def test_holland_profile():
    """Its gradient is the slope of its pressure; its cyclostrophic wind is greatest at R: B dp / (rho e)."""
    shape = {"deficit_pa": 5000.0, "core_km": 60.0, "peakedness": 1.4}
    radius = np.linspace(15, 800, 4000)
    slope = np.gradient(holland_pressure(radius, **shape), radius * 1e3)
    np.testing.assert_allclose(holland_gradient(radius, **shape)[5:-5], slope[5:-5], rtol=1e-3, atol=1e-6)
    wind = gradient_wind(holland_gradient(radius, **shape), radius, 0.0)
    assert radius[wind.argmax()] == pytest.approx(60, abs=0.3)
    assert wind.max() == pytest.approx(np.sqrt(1.4 * 5000 / (1.15 * np.e)), rel=1e-4)
    assert deficit_of(wind.max(), peakedness=1.4) == pytest.approx(5000, rel=1e-3)
    climb, _ = quad(
        lambda r: 1e3 * float(holland_gradient(r, **shape)), 1e-3, 1e5, limit=400, points=[60, 1e3]
    )
    assert climb == pytest.approx(5000, rel=1e-3)


@pytest.mark.parametrize("latitude", [15.0, -40.0])
def test_gradient_wind_balances(latitude):
    f, radius, gradient = (
        float(coriolis(latitude)),
        np.array([30.0, 200.0, 900.0]),
        np.array([0.05, 8e-3, 1e-3]),
    )
    wind = gradient_wind(gradient, radius, f)
    np.testing.assert_allclose(wind**2 / (radius * 1e3) + abs(f) * wind, gradient / 1.15)
    assert gradient_wind(1e-3, 1e6, f) == pytest.approx(
        1e-3 / 1.15 / abs(f), rel=1e-3
    )  # straight: geostrophic


def test_transport_of_a_known_column():
    """q = q0 (p/p0)^2 and a wind linear in p: (1/g) q0 U p0 / 4, whichever way the levels go."""
    p = np.linspace(1, 1000, 2000)
    q, u = 0.015 * (p / 1000) ** 2, 20 * p / 1000
    wanted = 0.015 * 20 * 1e5 / 4 / GRAVITY
    for order in (slice(None), slice(None, None, -1)):
        east, north = vapour_transport(u[order], 0 * u, q[order], p[order])
        assert east == pytest.approx(wanted, rel=1e-4)
        assert north == 0
    u[-1000:] = np.nan  # below the ground
    assert vapour_transport(u, u, q, p)[0] == pytest.approx(wanted / 16, rel=0.01)
    with pytest.raises(InputError, match="two levels or more in order"):
        vapour_transport(u[:3], u[:3], q[:3], np.array([1000, 850, 900.0]))


@pytest.mark.parametrize(
    ("latitude", "longitude", "message"),
    [
        (np.linspace(-90, 90, 19), np.linspace(-60, 60, 30), "all around"),
        (np.linspace(20, 60, 41), np.arange(0, 360, 5.0), "from pole to pole"),
        (
            np.sort(np.r_[-90, -89, np.linspace(-80, 90, 18)]),
            np.arange(0, 360, 5.0),
            "latitude: steps are not even",
        ),
        (np.linspace(-90, 90, 19), np.arange(0, 370, 10.0), "all around"),
    ],
)
def test_a_grid_that_is_not_global_is_refused(latitude, longitude, message):
    with pytest.raises(InputError, match=message):
        GlobalGrid(latitude, longitude)
