"""The super-resolver: blocks and the whole, periodic boxes, members, and what it refuses."""

import pytest
import torch
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.losses.ensembles import proper_score
from fieldwise.networks.noise import WorldNoise
from fieldwise.networks.valid.blocks import LINEAR, crop
from fieldwise.networks.valid.periodic import wrap_around
from fieldwise.networks.valid.superresolution import NoisyBlock, StochasticSuperResolver

SMALL = {"features": 4, "blocks": 1}


def make(dimensions=2, scale_factor=2, **options):
    """Make a small network whose last convolution does not start at zero, so that all of it is seen."""
    torch.manual_seed(0)
    network = StochasticSuperResolver(
        dimensions, dimensions, dimensions=dimensions, scale_factor=scale_factor, **SMALL | options
    )
    torch.nn.init.normal_(network.last.weight)
    return network


def noise_of(network, origin, window, period=None):
    """Give the noise of a window of the world, whose cells are those of the input."""
    factors = [cells for cells, _ in network.noise_planes]
    return WorldNoise(seed=3, member=1, origin=origin, window=window, period=period, factors=factors)


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize(
    ("dimensions", "scale_factor", "cells"), [(2, 2, 12), (2, 4, 12), (2, 8, 8), (3, 2, 8)]
)
@torch.no_grad()
def test_a_block_equals_the_same_part_of_the_whole(dimensions, scale_factor, cells, modulated):
    network = make(dimensions, scale_factor, modulated=modulated).double()
    box = torch.randn(1, dimensions, *(cells,) * dimensions, dtype=torch.float64)
    whole = network(box, noise_of(network, (0,) * dimensions, box.shape[2:]))
    network.boundary = "valid"
    begin, size, margin = 3, 4, network.margin
    block = wrap_around(box, margin)[(..., *(slice(begin, begin + size + 2 * margin),) * dimensions)]
    noise = noise_of(network, (begin - margin,) * dimensions, block.shape[2:], (cells,) * dimensions)
    made = crop(network(block, noise), network.surplus)
    inner = (..., *(slice(scale_factor * begin, scale_factor * (begin + size)),) * dimensions)
    torch.testing.assert_close(made, whole[inner], rtol=0, atol=1e-12)


@torch.no_grad()
def test_planes_of_noise_lie_where_the_network_says():
    network = make(scale_factor=4, boundary="valid")
    asked = []

    def noise(level, shape, like):
        asked.append((level, tuple(shape)))
        return torch.zeros(shape, dtype=like.dtype)

    network(torch.zeros(3, 2, 14, 15), noise)
    told = [
        (level, (3, 1, 14 * cells - 2 * cut, 15 * cells - 2 * cut))
        for level, (cells, cut) in enumerate(network.noise_planes)
    ]
    assert asked == told


@pytest.mark.parametrize("dimensions", [2, 3])
@torch.no_grad()
def test_a_new_network_gives_the_input_made_finer_across_the_sides(dimensions):
    network = StochasticSuperResolver(3, 3, dimensions=dimensions, scale_factor=2, **SMALL)
    box = torch.randn(1, 3, *(6,) * dimensions)
    wrapped = functional.pad(box, (1, 1) * dimensions, mode="circular")
    expected = functional.interpolate(wrapped, scale_factor=2, mode=LINEAR[dimensions], align_corners=False)
    torch.testing.assert_close(network(box), crop(expected, 2))
    network = StochasticSuperResolver(2, 3, dimensions=dimensions, scale_factor=2, **SMALL)
    assert not network(box[:, :2]).any()  # nothing to add to: the detail alone, which starts at zero


@torch.no_grad()
def test_moving_a_box_moves_what_is_made_of_it():
    network, box = make(), torch.randn(1, 2, 8, 8)

    def silence(level, shape, like):
        return torch.zeros(shape)

    moved = network(box.roll((3, -1), (2, 3)), silence)
    torch.testing.assert_close(moved, network(box, silence).roll((6, -2), (2, 3)))


@pytest.mark.parametrize("modulated", [False, True])
def test_members_differ_and_learn_to_be_told_apart(modulated):
    network, box, truth = make(modulated=modulated), torch.randn(2, 2, 16, 16), torch.randn(2, 2, 32, 32)
    members = torch.stack([network(box) for _ in range(2)])
    assert (members[0] - members[1]).std() > 0.01
    proper_score(members, truth).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


@torch.no_grad()
def test_modulated_noise_is_as_strong_as_the_features_say():
    """By hand: one channel, amplitude 1, modulation 2: noise is multiplied by 1 + 2 x the feature."""
    block = NoisyBlock(1, dimensions=2, modulated=True)
    block.amplitude.fill_(1.0)
    block.modulation.weight.fill_(2.0)
    for layer in (block.first, block.second):  # each gives its cell in the middle
        layer.weight.zero_()[0, 0, 1, 1] = 1.0
        layer.bias.zero_()
    features, noise = torch.tensor([0.0, 3.0]).expand(1, 1, 5, 2), torch.ones(1, 1, 5, 2)
    made = block(features.repeat(1, 1, 1, 4), noise.repeat(1, 1, 1, 4), lambda fields: fields, None)
    assert made[0, 0, 0].tolist() == [1.0, 10.0, 1.0, 10.0]  # 0 + 1 x 1 and 3 + 1 x 7


@torch.no_grad()
def test_half_the_bits_change_little():
    network, box = make(3), torch.randn(1, 3, 8, 8, 8)
    noise = noise_of(network, (0, 0, 0), box.shape[2:])
    expected = network(box, noise)
    with torch.autocast("cpu", torch.bfloat16):
        made = network(box, noise)
    assert made.dtype == torch.float32
    assert (made - expected).norm() < 0.01 * expected.norm()


@torch.no_grad()
def test_a_style_changes_the_answer_once_it_is_learnt():
    network, box, style = make(style_numbers=1), torch.randn(1, 2, 8, 8), torch.tensor([[0.7]])
    noise = noise_of(network, (0, 0), (8, 8))
    plain = network(box, noise, style)
    assert torch.equal(network(box, noise, 2 * style), plain)
    torch.nn.init.ones_(network.first.style.weight)
    assert not torch.equal(network(box, noise, style), plain)
    with pytest.raises(InputError, match="a style of"):
        network(box, noise)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale_factor": 3}, "scale_factor is 3; give a power of two"),
        ({"scale_factor": 1}, "scale_factor is 1; give a power of two"),
        ({"dimensions": 4}, "dimensions"),
        ({"blocks": 0}, "blocks"),
        ({"features": 0}, "features"),
        ({"boundary": "open"}, "boundary is 'open'; take periodic or valid"),
        ({"in_channels": 3, "bypass": True}, "bypass adds 3 channels to 2"),
    ],
)
def test_options_that_make_no_network_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        StochasticSuperResolver(**{"in_channels": 2, "out_channels": 2, "dimensions": 2, **SMALL, **options})


def test_fields_that_do_not_fit_are_refused():
    network = make(boundary="valid")
    with pytest.raises(InputError, match="at least 9 cells an axis"):
        network(torch.zeros(1, 2, 8, 9))
    assert network(torch.zeros(1, 2, 9, 9)).shape == (1, 2, 2, 2)
    with pytest.raises(InputError, match="3"):
        network(torch.zeros(1, 3, 16, 16))
