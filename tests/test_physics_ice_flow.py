"""The Blatter-Pattyn energy and its solver, against closed forms and the published ISMIP-HOM experiment A."""

import numpy as np
import pytest
import torch

from fieldwise.errors import InputError
from fieldwise.physics.ice_flow import energy, profile_mean, profile_nodes, profile_surface, solve
from fieldwise.physics.ice_flow.blatter_pattyn import energy_of, measure_geometry
from fieldwise.physics.ice_flow.solver import pack

FROZEN = float("inf")
WEIGHT = 910 * 9.81e-6  # MPa a metre of ice


def make_glacier(cells=20):
    """A tongue of ice, askew in a trough with steep walls: thickness and surface in m."""
    x = (np.arange(cells) - cells / 2 + 0.5) * 100.0
    along, across = 0.8 * x + 0.6 * x[:, None], -0.6 * x + 0.8 * x[:, None]
    bed = 2500 - 0.15 * along + 8e-4 * across**2 + 20 * np.sin(along / 300)
    top = 2500 - 0.15 * along + 180 * np.sqrt(np.clip(1 - (along / 900) ** 2, 0, 1))
    thickness = np.clip(top - bed, 0, None)
    thickness[thickness < 1] = 0
    return torch.from_numpy(thickness), torch.from_numpy(bed + thickness)


def surface_speed(flow):
    return torch.hypot(flow.velocity_x[-1], flow.velocity_y[-1])


@pytest.mark.parametrize(("nodes", "tolerance"), [(2, 0.021), (6, 0.021), (11, 0.005), (21, 0.001)])
def test_slab_on_frozen_bed_has_the_closed_form(nodes, tolerance):
    depth, slope, rate = 200.0, 0.1, 78.0
    ice = torch.full((3, 4), depth)
    flow = solve(
        ice,
        0 * ice,
        spacing_m=100.0,
        rate_factor=rate,
        sliding_coefficient=FROZEN,
        nodes=nodes,
        periodic=True,
        tilt=(-slope, 0.0),
    )
    at_surface = 2 * rate / 4 * (WEIGHT * slope) ** 3 * depth**4 / (1 + 4 * slope**2) ** 2
    assert flow.converged
    np.testing.assert_allclose(flow.velocity_x[-1], at_surface, rtol=tolerance)
    np.testing.assert_allclose(flow.mean_x, 0.8 * at_surface, rtol=tolerance)
    np.testing.assert_allclose(flow.velocity_y, 0, atol=1e-6 * at_surface)
    assert (flow.velocity_x[0] == 0).all()


def test_slab_slides_as_weertman_says_in_the_direction_of_the_slope():
    depth, slopes, coefficient = 150.0, (0.06, -0.08), 0.05
    ice = torch.full((3, 3), depth)
    flow = solve(
        ice,
        0 * ice,
        spacing_m=50.0,
        sliding_coefficient=coefficient,
        periodic=True,
        tilt=slopes,
        tolerance=1e-9,
    )
    at_bed = (WEIGHT * depth * 0.1 / coefficient) ** 3  # the slopes are those of a slope of 0.1
    np.testing.assert_allclose(flow.velocity_x[0], -0.6 * at_bed, rtol=2e-3)
    np.testing.assert_allclose(flow.velocity_y[0], 0.8 * at_bed, rtol=2e-3)


@pytest.mark.parametrize(
    ("length_km", "prototype", "published"),
    [(160, 103, 105), (80, 87, 89), (40, 64, 65), (20, 40, 41), (10, 24, 25), (5, 15, 18)],
)
def test_ismip_hom_experiment_a(length_km, prototype, published):
    cells, length = 20, 1e3 * length_km
    wave = np.sin(2 * np.pi * (np.arange(cells) + 0.5) / cells)
    thickness = 1000 - 500 * np.outer(wave, wave)
    flow = solve(
        thickness,
        0 * thickness,
        spacing_m=length / cells,
        rate_factor=100.0,
        sliding_coefficient=FROZEN,
        periodic=True,
        tilt=(-np.tan(np.deg2rad(0.5)), 0.0),
    )
    assert flow.converged
    # between what a prototype of this solver gave and the mean of the published higher-order models
    assert 0.98 * prototype < flow.velocity_x[-1].max() < 1.03 * published


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_flow_turns_with_the_domain(quarters, mirrored):
    thickness, surface = make_glacier()

    def turn(field):
        return torch.rot90(field.flip(-1) if mirrored else field, quarters, (-2, -1))

    def turn_vector(x, y):
        x = -x if mirrored else x
        for _ in range(quarters):  # rows run north, so this turns clockwise
            x, y = y, -x
        return x, y

    settings = {"spacing_m": 100.0, "nodes": 4, "tolerance": 1e-9}
    straight, turned = (
        solve(t, s, **settings) for t, s in ((thickness, surface), (turn(thickness), turn(surface)))
    )
    x, y = turn_vector(turn(straight.velocity_x), turn(straight.velocity_y))
    scale = surface_speed(straight).max()
    assert scale > 10
    np.testing.assert_allclose(turned.velocity_x / scale, x / scale, atol=1e-4)
    np.testing.assert_allclose(turned.velocity_y / scale, y / scale, atol=1e-4)


def test_ice_rests_where_there_is_none():
    thickness, surface = make_glacier()
    flow = solve(thickness, surface, spacing_m=100.0)
    off = thickness == 0
    for field in (flow.velocity_x, flow.velocity_y, flow.mean_x, flow.mean_y):
        assert (field[..., off] == 0).all()
    assert (surface_speed(flow)[~off] > 0).all()
    nothing = solve(0 * thickness, surface, spacing_m=100.0)
    assert nothing.converged
    assert not surface_speed(nothing).any()


def test_ice_with_a_level_surface_rests_however_steep_the_rock_beside_it():
    thickness, surface = torch.zeros(9, 9), torch.full((9, 9), 500.0)
    thickness[2:7, 2:7], surface[2:7, 2:7] = 80.0, 300.0  # a lake of ice under walls of 200 m
    flow = solve(thickness, surface, spacing_m=100.0)
    assert surface_speed(flow).max() < 1e-6


def test_flow_found_has_less_energy_than_any_near_it():
    thickness, surface = make_glacier()
    flow = solve(thickness, surface, spacing_m=100.0, nodes=4, tolerance=1e-10)
    known = {"thickness": thickness[None], "surface": surface[None], "spacing_m": 100.0}
    least = energy(flow.velocity_x[None], flow.velocity_y[None], **known)
    assert least.item() == pytest.approx(flow.energy, rel=1e-9)
    assert flow.energy < 0
    generator = torch.Generator().manual_seed(1)
    for size in (0.1, 1.0, 10.0):
        x, y = size * torch.randn(2, *flow.velocity_x.shape, dtype=torch.float64, generator=generator)
        assert energy((flow.velocity_x + x)[None], (flow.velocity_y + y)[None], **known) > least
    assert energy(*torch.zeros(2, 1, *flow.velocity_x.shape), **known).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("pull", "shear", "rate"), [(0.02, 0.0, 0.02), (0.0, 0.02, 0.01)])
def test_energy_of_ice_that_is_pulled_or_sheared_evenly(pull, shear, rate):
    x = torch.arange(5, dtype=torch.float64).expand(1, 3, 4, 5) * 100
    found = energy(
        pull * x,
        shear * x,
        thickness=torch.full((1, 4, 5), 250.0, dtype=torch.float64),
        surface=torch.zeros(1, 4, 5, dtype=torch.float64),
        spacing_m=100.0,
        rate_factor=64.0,
        sliding_coefficient=1e-12,
    )
    # 2 n / (n + 1) A^(-1/n) e^((n + 1) / n) H, with e = u_x where pulled and v_x / 2 where sheared,
    # less what the regularisation of 1e-4 per year gives ice at rest
    assert found.item() == pytest.approx(1.5 / 4 * (rate ** (4 / 3) - 1e-4 ** (4 / 3)) * 250, rel=2e-4)


def random_velocities(batch, nodes, cells, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return 10 * torch.randn(2, batch, nodes, cells, cells, dtype=dtype, generator=generator)


def test_gradient_of_the_energy_is_its_derivative():
    thickness, surface = (field[6:12, 6:12][None] for field in make_glacier())
    geometry = measure_geometry(thickness=thickness, surface=surface, spacing_m=100.0, nodes=3)
    x, y = random_velocities(1, 3, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: energy_of(geometry, x, y), (x, y))


def test_members_of_a_batch_keep_apart_and_take_their_own_parameters():
    thickness, surface = make_glacier()
    thicknesses, surfaces = torch.stack([thickness, 0.5 * thickness]), torch.stack([surface, surface])
    x, y = random_velocities(2, 3, 20)
    rates, spacings = torch.tensor([20.0, 120.0]), torch.tensor([100.0, 50.0])
    sliding = torch.rand(2, 20, 20, dtype=torch.float64) * 0.1 + 0.01
    together = energy(
        x,
        y,
        thickness=thicknesses,
        surface=surfaces,
        spacing_m=spacings,
        rate_factor=rates,
        sliding_coefficient=sliding,
    )
    for member in range(2):
        one = slice(member, member + 1)
        alone = energy(
            x[one],
            y[one],
            thickness=thicknesses[one],
            surface=surfaces[one],
            spacing_m=float(spacings[member]),
            rate_factor=float(rates[member]),
            sliding_coefficient=sliding[one],
        )
        assert together[member].item() == pytest.approx(alone.item(), rel=1e-12)


def test_energy_in_float32_is_that_in_float64_and_its_gradient_is_finite_on_bare_rock():
    thickness, surface = (field[None] for field in make_glacier())
    x, y = random_velocities(1, 2, 20)
    double = energy(x, y, thickness=thickness, surface=surface, spacing_m=100.0)
    x, y = x.float().requires_grad_(), y.float().requires_grad_()
    single = energy(x, y, thickness=thickness.float(), surface=surface.float(), spacing_m=100.0)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(double.item(), rel=1e-4)
    single.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert not x.grad[:, :, thickness[0] == 0].any()


def test_rows_may_run_from_north_to_south():
    thickness, surface = (field[None] for field in make_glacier())
    x, y = random_velocities(1, 3, 20)
    ascending = energy(x, y, thickness=thickness, surface=surface, spacing_m=100.0)
    descending = energy(
        x.flip(-2),
        y.flip(-2),
        thickness=thickness.flip(-2),
        surface=surface.flip(-2),
        spacing_m=100.0,
        y_descending=True,
    )
    assert descending.item() == pytest.approx(ascending.item(), rel=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
def test_packed_cells_have_the_energy_of_the_grid(periodic):
    thickness, surface = (field[None] for field in make_glacier())
    if periodic:
        thickness = thickness + 50
    settings = {"spacing_m": 100.0, "nodes": 4, "periodic": periodic, "tilt": (0.1, -0.2)}
    geometry = measure_geometry(thickness=thickness, surface=surface, **settings)
    packed, cells = pack(geometry)
    velocity = random_velocities(1, 4, 20)
    row = velocity.flatten(-2)[..., cells].unsqueeze(-2)
    assert energy_of(packed, *row).item() == pytest.approx(energy_of(geometry, *velocity).item(), rel=1e-12)


def test_a_start_near_the_end_saves_work_and_leads_to_the_same_flow():
    thickness, surface = make_glacier()
    cold = solve(thickness, surface, spacing_m=100.0, tolerance=1e-8)
    warm = solve(
        thickness, surface, spacing_m=100.0, tolerance=1e-8, start=(cold.velocity_x, cold.velocity_y)
    )
    assert warm.converged
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(
        surface_speed(warm), surface_speed(cold), atol=1e-3 * surface_speed(cold).max()
    )


def test_default_tolerance_gives_speeds_to_a_thousandth():
    thickness, surface = make_glacier(32)
    usual, strict = (solve(thickness, surface, spacing_m=100.0, tolerance=t) for t in (1e-6, 1e-12))
    apart = (surface_speed(usual) - surface_speed(strict)).abs().sum()
    assert apart < 1e-3 * surface_speed(strict).sum()


def test_arrays_that_run_backwards_are_taken():
    thickness, surface = (field.numpy() for field in make_glacier())
    forwards = solve(thickness, surface, spacing_m=100.0, nodes=2)
    backwards = solve(thickness[::-1], surface[::-1], spacing_m=100.0, nodes=2, y_descending=True)
    np.testing.assert_allclose(backwards.velocity_y.flip(-2), forwards.velocity_y, atol=0.05)


def test_a_solver_that_may_not_go_on_says_that_it_has_not_converged():
    thickness, surface = make_glacier()
    flow = solve(thickness, surface, spacing_m=100.0, tolerance=1e-12, max_iterations=10)
    assert not flow.converged
    assert flow.iterations == 10
    assert flow.last_decrease > 1e-12


def test_profile_and_its_inverse_agree():
    base, mean = torch.tensor([[[3.0]]]), torch.tensor([[[11.0]]])
    surface = profile_surface(base, mean)
    assert surface.item() == pytest.approx(13.0)  # 3 + 8 / 0.8
    assert profile_mean(base, surface).item() == pytest.approx(11.0)
    middle = profile_nodes(base, surface, nodes=3)[0, 1, 0, 0]
    assert middle.item() == pytest.approx(3 + 10 * 15 / 16)


def test_what_does_not_fit_is_refused():
    ice = torch.full((3, 3), 100.0)
    with pytest.raises(InputError, match=r"thickness: 1 values are missing or infinite"):
        solve(torch.where(torch.eye(3) * torch.arange(3) == 1, torch.nan, ice), ice, spacing_m=100.0)
    with pytest.raises(InputError, match=r"surface of \(1, 2, 3\)"):
        solve(ice, ice[:2], spacing_m=100.0)
    with pytest.raises(InputError, match="nodes is 1"):
        solve(ice, ice, spacing_m=100.0, nodes=1)
    with pytest.raises(InputError, match=r"dimensions \(batch, node, y, x\)"):
        energy(ice, ice, thickness=ice[None], surface=ice[None], spacing_m=100.0)
