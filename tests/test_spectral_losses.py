"""Power by wavenumber against a loop over modes, and the loss that compares it."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fieldwise.losses.spectra import isotropic_power, power_loss


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def power_by_loop(field: np.ndarray) -> list[float]:
    """Go through all modes of the complex transform of (channel, *space)."""
    space = field.shape[1:]
    squares = (np.abs(np.fft.fftn(field, axes=range(1, field.ndim)) / math.prod(space)) ** 2).sum(0)
    found: list[list[float]] = [[] for _ in range(min(space) // 2 + 1)]
    for mode in itertools.product(*map(range, space)):
        signed = [index if 2 * index <= cells else index - cells for index, cells in zip(mode, space)]
        k = math.sqrt(sum((min(space) * index / cells) ** 2 for index, cells in zip(signed, space)))
        number = math.ceil(k - 1e-9)
        if 0 < number < len(found):
            found[number].append(squares[mode])
    return [float(np.mean(one)) for one in found[1:]]


@pytest.mark.parametrize("space", [(16,), (8, 8), (9, 9), (8, 14), (15, 6), (6, 6, 6), (6, 7, 9)], ids=str)
def test_power_is_that_of_a_loop_over_modes(space):
    fields = draw(2, 2, *space)
    expected = [power_by_loop(field) for field in fields.numpy()]
    np.testing.assert_allclose(isotropic_power(fields).numpy(), expected, rtol=1e-12)


def test_loss_compares_logarithms_scale_by_scale():
    prediction, truth = draw(1, 1, 8, 8), draw(1, 1, 8, 8, seed=1)
    ratio = [a / b for a, b in zip(*(power_by_loop(field[0].numpy()) for field in (prediction, truth)))]
    assert power_loss(prediction, truth).item() == pytest.approx(np.mean(np.log(ratio) ** 2))
    relative = power_loss(prediction, truth, relative=True)
    assert relative.item() == pytest.approx(np.mean((np.array(ratio) - 1) ** 2))


@pytest.mark.parametrize("relative", [False, True])
def test_the_gradient_is_that_of_finite_differences(relative):
    prediction, truth = draw(1, 2, 4, 6).requires_grad_(), draw(1, 2, 4, 6, seed=1)
    assert torch.autograd.gradcheck(lambda x: power_loss(x, truth, relative=relative), prediction)


def test_a_flat_field_has_a_finite_loss_and_gradient():
    flat = torch.zeros(1, 1, 8, 8).requires_grad_()
    loss = power_loss(flat, draw(1, 1, 8, 8).float())
    loss.backward()
    assert torch.isfinite(loss)
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()
