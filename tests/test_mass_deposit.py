"""Mass on a mesh against the shape of its clouds, finite differences and what is conserved."""

import itertools

import numpy as np
import pytest
import torch

from fieldwise.errors import InputError
from fieldwise.physics.structure_formation.deposit import (
    common_mean,
    deposit,
    displacement_to_density,
    displacement_to_momentum,
    sample,
)

CLOUDS = list(itertools.product(["cic", "tsc"], [True, False], [2, 3]))


@pytest.mark.parametrize(("cloud", "periodic", "dimensions"), CLOUDS)
def test_deposit_agrees_with_the_shape_of_the_cloud_cell_by_cell(cloud, periodic, dimensions):
    shape = (4, 5, 3)[:dimensions]
    rng = np.random.default_rng(7)
    positions = torch.from_numpy(rng.uniform(-2, 6, (2, dimensions, 6)))
    values = torch.from_numpy(rng.uniform(1, 2, (2, 2, 6)))
    endless = np.arange(-20, 40)
    weights = []  # of each particle in each cell of the mesh, axis by axis
    for axis, cells in enumerate(shape):
        distance = np.abs(positions[:, axis, :, None].numpy() - endless)
        if cloud == "cic":
            share = np.clip(1 - distance, 0, None)
        else:
            far = 0.5 * np.clip(1.5 - distance, 0, None) ** 2
            share = np.where(distance < 0.5, 0.75 - distance**2, far)
        kept = [endless % cells == cell if periodic else endless == cell for cell in range(cells)]
        weights.append(share @ np.transpose(kept))
    sums = "bpi,bpj,bcp->bcij" if dimensions == 2 else "bpi,bpj,bpk,bcp->bcijk"
    expected = torch.from_numpy(np.einsum(sums, *weights, values.numpy()))
    torch.testing.assert_close(deposit(positions, values, shape, cloud=cloud, periodic=periodic), expected)


@pytest.mark.parametrize(("cloud", "periodic", "dimensions"), CLOUDS)
def test_deposit_and_sample_have_the_gradients_of_finite_differences(cloud, periodic, dimensions):
    rng = np.random.default_rng(7)
    shape = (3, 2, 2)[:dimensions]
    positions = torch.from_numpy(rng.uniform(-1, 3, (2, dimensions, 2))).requires_grad_()
    values = torch.from_numpy(rng.normal(size=(2, 2, 2))).requires_grad_()
    mesh = torch.from_numpy(rng.normal(size=(2, 2, *shape))).requires_grad_()
    options = {"cloud": cloud, "periodic": periodic}
    assert torch.autograd.gradcheck(lambda x, v: deposit(x, v, shape, **options), (positions, values))
    assert torch.autograd.gradcheck(lambda m, x: sample(m, x, **options), (mesh, positions))


@pytest.mark.parametrize("periodic", [True, False])
def test_density_and_momentum_of_displacements_have_the_gradients_of_finite_differences(periodic):
    rng = np.random.default_rng(7)
    displacement = torch.from_numpy(rng.normal(size=(2, 2, 3, 3))).requires_grad_()
    velocity = torch.from_numpy(rng.normal(size=(2, 2, 3, 3))).requires_grad_()
    options = {"spacing": 2.0, "scale_factor": 2, "padding": 0 if periodic else 1, "periodic": periodic}

    def density(field):
        return displacement_to_density(field, **options)

    def momentum(field, carried):
        return displacement_to_momentum(field, carried, **options)

    assert torch.autograd.gradcheck(density, (displacement,))
    assert torch.autograd.gradcheck(momentum, (displacement, velocity))


def test_sampling_is_the_transpose_of_the_deposit():
    rng = np.random.default_rng(7)
    positions = torch.from_numpy(rng.uniform(-3, 9, (2, 3, 50)))
    values, mesh = (
        torch.from_numpy(rng.normal(size=(2, 2, 50))),
        torch.from_numpy(rng.normal(size=(2, 2, 4, 5, 6))),
    )
    left = (deposit(positions, values, (4, 5, 6), cloud="tsc") * mesh).sum()
    right = (values * sample(mesh, positions, cloud="tsc")).sum()
    torch.testing.assert_close(left, right)


def test_mass_is_kept_in_a_periodic_box_and_held_by_the_padding_of_another():
    displacement = torch.from_numpy(np.random.default_rng(7).uniform(-7, 7, (3, 3, 6, 6, 6)))
    mass = torch.full((3,), 216.0, dtype=torch.float64)

    def total(**options):
        return displacement_to_density(displacement, spacing=4.0, **options).sum(dim=(1, 2, 3, 4))

    torch.testing.assert_close(total(), mass)
    torch.testing.assert_close(total(scale_factor=2), mass * 8)
    torch.testing.assert_close(total(periodic=False, padding=3), mass)
    assert (total(periodic=False) < mass - 1).all()


def test_displacement_by_a_cell_moves_the_density_by_one_once_the_common_mean_is_left_in():
    field = torch.from_numpy(np.random.default_rng(7).normal(size=(1, 2, 8, 8)).astype(np.float32))
    moved = field + 4.0 * torch.tensor([2.0, -1.0])[None, :, None, None]
    still = common_mean(field)
    density = displacement_to_density(field, spacing=4.0, mean=still)
    shifted = displacement_to_density(moved, spacing=4.0, mean=still)
    torch.testing.assert_close(shifted, density.roll((2, -1), (2, 3)), rtol=0, atol=1e-5)
    torch.testing.assert_close(displacement_to_density(moved, spacing=4.0), density, rtol=0, atol=1e-5)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("lost", [np.nan, np.inf, 1e30])
def test_positions_that_are_no_numbers_stop_nothing(periodic, lost):
    positions = torch.tensor([[[2.0, lost], [2.0, 1.0]]])
    density = deposit(positions, None, (4, 4), periodic=periodic)
    assert density[0, 0, 2, 2] == 1  # of the particle that is in its place
    assert not (periodic and np.isfinite(lost)) or density.sum() == 2


def test_half_precision_is_deposited_in_single():
    displacement = torch.from_numpy(np.random.default_rng(7).normal(0, 4, (1, 2, 8, 512))).bfloat16()
    expected = displacement_to_density(displacement.float(), spacing=4.0)
    torch.testing.assert_close(displacement_to_density(displacement, spacing=4.0), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deposit(torch.zeros(1, 2, 3), None, (4, 4), cloud="ngp"), "--cloud: is ngp; "),
        (lambda: deposit(torch.zeros(1, 3, 3), None, (4, 4)), "positions have 3 components"),
        (
            lambda: displacement_to_density(torch.zeros(1, 2, 4, 4), spacing=1.0, padding=1),
            "--padding: is 1; ",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(call, message):
    with pytest.raises(InputError, match=message):
        call()
