"""Forecasting networks that carry maps along: kernels, blobs that go on for ever, days that come back."""

import numpy as np
import pytest
import torch
from forecasting_networks import CONTEXT, draw_blobs, make
from scipy import ndimage

from fieldwise.networks.convolutions.cdna import compose, make_kernels, move
from fieldwise.networks.forecasting.advection import Advection
from fieldwise.networks.forecasting.stochastic import StochasticConvLSTM


@pytest.mark.parametrize("by", [(0, 0), (1, -2), (2, 2)])
def test_a_kernel_of_one_cell_moves_a_map(by):
    kernel = torch.zeros(1, 1, 5, 5)
    kernel[0, 0, 2 + by[0], 2 + by[1]] = 1
    maps = torch.randn(1, 3, 6, 7)
    assert torch.equal(move(maps, kernel, beyond="circular")[:, 0], maps.roll(by, (-2, -1)))


def test_any_kernel_is_the_convolution_of_scipy_and_each_sample_has_its_own():
    maps, kernels = torch.randn(2, 3, 8, 9), torch.rand(2, 4, 5, 5)
    moved = move(maps, kernels, beyond="circular").numpy()
    for sample, kernel, channel in np.ndindex(2, 4, 3):
        expected = ndimage.convolve(
            maps[sample, channel].numpy(), kernels[sample, kernel].numpy(), mode="wrap"
        )
        np.testing.assert_allclose(moved[sample, kernel, channel], expected, atol=1e-5)


def test_kernels_are_shares_and_keep_what_there_is():
    kernels = make_kernels(torch.randn(3, 4 * 25), 5)
    assert (kernels >= 0).all()
    maps = torch.rand(3, 2, 6, 6)
    kept = move(maps, kernels, beyond="circular").sum((-2, -1))
    torch.testing.assert_close(kept, maps.sum((-2, -1))[:, None].expand(3, 4, 2))
    masks = torch.softmax(torch.randn(3, 4, 6, 6), dim=1)
    same = torch.ones(3, 4, 2, 6, 6)
    torch.testing.assert_close(compose(same, masks), same[:, 0])


def test_savp_can_carry_blobs_on_for_ever():
    frames = draw_blobs(CONTEXT + 12, by=(1, -2))
    network = make("savp", forcing=0)
    with torch.no_grad():
        network.kernels.weight.zero_()
        bias = network.kernels.bias.zero_().view(4, 5, 5)
        bias[0, 2, 2], bias[0, 3, 0] = -1, 1  # nothing stays, all goes one row down and two columns left
        network.masks[-1].weight.zero_()
        network.masks[-1].bias.zero_()[0] = 40
        made = network(frames[:, :CONTEXT], horizon=12)
    torch.testing.assert_close(made, frames[:, CONTEXT:], rtol=1e-5, atol=1e-6)


def test_the_linear_path_can_carry_blobs_on_for_ever():
    frames = draw_blobs(CONTEXT + 12, by=(1, -2))
    network = make("stochastic convlstm", forcing=0)
    with torch.no_grad():
        for layer in (network.core.head, network.carry, network.ripple):
            for parameter in layer.parameters():
                parameter.zero_()
        for field in range(2):  # what comes from one row above and two columns to the right, less what was
            network.carry.weight[field, field, 2 - 1, 2 + 2] = 1
            network.carry.weight[field, field, 2, 2] = -1
        made = network(frames[:, :CONTEXT], horizon=12)
    torch.testing.assert_close(made, frames[:, CONTEXT:], rtol=1e-5, atol=1e-5)


def test_two_frames_tell_what_goes_on_as_it_did():
    """What grows by the same in each hour goes on so: x(t + 1) = 2 x(t) - x(t - 1)."""
    start, growth = torch.randn(2, 1, 1, 8, 8)
    frames = (start + torch.arange(15.0).view(-1, 1, 1, 1) * growth)[None]
    network = make_linear(frames=2)
    with torch.no_grad():
        network.carry.weight[0, :, 2, 2] = torch.tensor([1.0, -1.0])
        made = network(frames[:, :3], horizon=12)
    torch.testing.assert_close(made, frames[:, 3:], rtol=1e-4, atol=1e-4)


def make_linear(**options):
    """An advection whose cells change nothing for themselves, and whose first carried field is the change."""
    network = Advection(1, padding="circular", **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.skip.weight[0, 0] = 1
    return network


def test_advection_can_carry_blobs_on_for_ever():
    frames = draw_blobs(CONTEXT + 12, by=(1, -2))[:, :, :1]
    network = make_linear()
    with torch.no_grad():
        network.carry.weight[0, 0, 2 - 1, 2 + 2] = 1
        network.carry.weight[0, 0, 2, 2] = -1
        made = network(frames[:, :CONTEXT], horizon=12)
    torch.testing.assert_close(made, frames[:, CONTEXT:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("left", [1.0, 0.5])
def test_a_lag_gives_what_was_a_day_ago_and_what_is_left_of_the_change_since(left):
    """Damped persistence: x(t + L - day) + left ** L [x(t) - x(t - day)], here with a day of 4 frames."""
    known = torch.randn(1, 5, 1, 8, 8)
    network = make_linear(context=5, horizon=4, lag=4, forcing=1)
    with torch.no_grad():  # it reads the map, the sun and the map of yesterday, the sun and the map after it
        network.carry.weight[0, [0, 2], 2, 2] = torch.tensor([left - 1, 1 - left])
        made = network(known, forcing=torch.randn(1, 9, 1, 8, 8))
    shares = left ** torch.arange(1.0, 5.0).view(4, 1, 1, 1)
    torch.testing.assert_close(made, known[:, 1:] + shares * (known[:, -1:] - known[:, :1]))


def test_what_is_drawn_is_new_in_each_step_and_at_first_all_that_changes():
    """Each step adds to the last map a field of variance 0.01 that is independent of those before."""
    torch.manual_seed(0)
    network, known = StochasticConvLSTM(1, padding="circular"), torch.randn(64, 2, 1, 16, 16)
    with torch.no_grad():
        made = network(known, horizon=4)
    added = torch.cat([known[:, -1:], made], dim=1).diff(dim=1).transpose(0, 1).flatten(1)
    covariance = added @ added.T / added.shape[1]
    torch.testing.assert_close(covariance, 0.01 * torch.eye(4), rtol=0.3, atol=1e-3)
