"""Losses of density and momentum against particles put on a mesh one by one."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fieldwise.errors import InputError
from fieldwise.losses.densities import density_loss, lagrangian_eulerian_loss, momentum_loss

SPACES = [(5, 6), (3, 4, 5)]


def draw(*shape: int, seed: int = 0, scale: float = 1.5) -> Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def spread(displacement: np.ndarray, carried: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Share each particle of a periodic box among its nearest cells, by the parts of its cloud in them."""
    space = displacement.shape[1:]
    mesh = np.zeros((len(carried), *space))
    for start in itertools.product(*map(range, space)):
        position = np.array(start) + displacement[:, *start] - mean
        for corner in itertools.product((0, 1), repeat=len(space)):
            cell = np.floor(position).astype(int) + corner
            mesh[:, *(cell % space)] += np.prod(1 - np.abs(position - cell)) * carried[:, *start]
    return mesh


def spread_pair(prediction: Tensor, truth: Tensor, *, momentum: bool) -> list[np.ndarray]:
    """Spread two samples, each less the mean of both displacements."""
    axes = prediction.ndim - 2
    fields = [field.numpy()[0] for field in (prediction, truth)]
    mean = np.mean([field[:axes].reshape(axes, -1).mean(1) for field in fields], axis=0)
    return [
        spread(field[:axes], field[axes:] if momentum else np.ones((1, *field.shape[1:])), mean)
        for field in fields
    ]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_density_is_that_of_particles_one_by_one(space):
    prediction, truth = draw(1, len(space), *space), draw(1, len(space), *space, seed=1)
    drawn, true = spread_pair(prediction, truth, momentum=False)
    expected = np.mean((drawn - true) ** 2)
    assert density_loss(prediction, truth, spacing=1.0).item() == pytest.approx(expected)
    # In another unit of length nothing changes.
    assert density_loss(4 * prediction, 4 * truth, spacing=4.0).item() == pytest.approx(expected)
    expected = np.mean(np.abs(drawn - true))
    assert density_loss(prediction, truth, spacing=1.0, error="mae").item() == pytest.approx(expected)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_momentum_is_that_of_particles_one_by_one(space):
    prediction, truth = draw(1, 2 * len(space), *space), draw(1, 2 * len(space), *space, seed=1)
    drawn, true = spread_pair(prediction, truth, momentum=True)
    expected = np.mean((drawn - true) ** 2)
    assert momentum_loss(prediction, truth, spacing=1.0).item() == pytest.approx(expected)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_the_logarithms_of_all_errors_are_added(space):
    axes = len(space)
    prediction, truth = draw(1, 2 * axes, *space), draw(1, 2 * axes, *space, seed=1)
    mesh = {"spacing": 1.0}
    density = density_loss(prediction[:, :axes], truth[:, :axes], **mesh).item()
    momentum = momentum_loss(prediction, truth, **mesh).item()
    squares = (prediction - truth).square()
    displacement, velocity = squares[:, :axes].mean().item(), squares[:, axes:].mean().item()
    both = lagrangian_eulerian_loss(prediction, truth, weight=2, **mesh).item()
    assert both == pytest.approx(math.log((displacement * velocity) ** 2 * density * momentum))
    one = lagrangian_eulerian_loss(prediction[:, :axes], truth[:, :axes], **mesh).item()
    assert one == pytest.approx(math.log(displacement**3 * density))


def test_a_box_that_is_not_periodic_keeps_its_mass_in_padding():
    """Two particles change places, which moves no mass; in truth a third leaves the field for the padding."""
    prediction = torch.tensor([[[1.0, -1.0, 0.0]]])
    truth = torch.tensor([[[0.0, 0.0, 1.0]]])
    options = {"spacing": 1.0, "periodic": False, "mean": torch.zeros(1, 1), "padding": 1}
    assert density_loss(prediction, truth, **options).item() == pytest.approx(2 / 5)


def test_the_gradient_is_that_of_finite_differences():
    prediction, truth = draw(1, 4, 3, 3).requires_grad_(), draw(1, 4, 3, 3, seed=1)
    # The common mean is held: no gradient flows through it.
    options = {"spacing": 1.0, "mean": torch.zeros(1, 2, dtype=torch.float64)}
    assert torch.autograd.gradcheck(
        lambda x: lagrangian_eulerian_loss(x, truth, **options), prediction, fast_mode=True
    )


def test_a_perfect_prediction_has_a_finite_loss():
    truth = draw(1, 2, 4, 4)
    prediction = truth.clone().requires_grad_()
    loss = lagrangian_eulerian_loss(prediction, truth, spacing=1.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(
        InputError, match="3 channels in 2 dimensions are no displacement and velocity; give 4"
    ):
        momentum_loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), spacing=1.0)
    with pytest.raises(InputError, match="--error: is huber; give mse or mae"):
        density_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), error="huber", spacing=1.0)
