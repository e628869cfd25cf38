"""Networks that turn with the map: all eight symmetries, against the turning of samples."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwise.errors import InputError
from fieldwise.networks.convnet import ConvNet
from fieldwise.networks.equivariant import (
    EquivariantConvNet,
    Symmetrised,
    turns_of_channels,
)
from fieldwise.networks.unet import UNet
from fieldwise.samples.loaders import turn
from fieldwise.symmetries import compose, inverse, turn_channels

INPUTS = ["thk", "slopsurfx", "slopsurfy", "strflowctrl", "spacing_m"]
OUTPUTS = ["ubar", "vbar", "smb", "uvelsurf", "vvelsurf"]
PAIRS = [("slopsurfx", "slopsurfy"), ("ubar", "vbar"), ("uvelsurf", "vvelsurf")]
VECTORS = {"inputs": [(1, 2)], "targets": [(0, 1), (3, 4)]}


def turn_samples(fields, names, symmetry):
    """Turn channels by way of `samples.loaders.turn`, which knows vectors as tensors of two channels."""
    parts, number = {}, 0
    while number < len(names):
        width = 2 if any(names[number] == east for east, _ in PAIRS) else 1
        parts[names[number]] = fields[:, number : number + width]
        number += width
    turned = turn(parts, symmetry, vectors={east: [(0, 1)] for east, _ in PAIRS})
    return torch.cat(list(turned.values()), dim=1)


def draw_biases(network):
    """Give every bias a value, as training would: those of vectors must not be there."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.normal_()
    return network


def make_equivariant(**options):
    return draw_biases(EquivariantConvNet(5, 5, vectors=VECTORS, **{"layers": 4} | options))


def make_symmetrised(network):
    return draw_biases(Symmetrised(network, vectors=VECTORS))


NETWORKS = {
    "group convolution": make_equivariant,
    "16 layers": lambda: make_equivariant(layers=16),
    "without residuals": lambda: make_equivariant(residual=False),
    "kernel of 5, relu": lambda: make_equivariant(kernel_size=5, activation="relu", filters=16),
    "symmetrised stack": lambda: make_symmetrised(ConvNet(5, 5, layers=3)),
    "symmetrised U-Net": lambda: make_symmetrised(UNet(5, 5, blocks=3, filters=4)),
}


@pytest.mark.parametrize("name", NETWORKS)
@settings(deadline=None, max_examples=16)
@given(st.integers(0, 7), st.integers(5, 13), st.integers(5, 13), st.integers(0, 2**31))
def test_the_result_turns_with_the_map(name, symmetry, rows, columns, seed):
    torch.manual_seed(seed)
    network = NETWORKS[name]()
    fields = torch.randn(2, len(INPUTS), rows, columns)
    result = network(fields)
    expected = turn_samples(result, OUTPUTS, symmetry)
    assert result.abs().max() > 1e-3  # it says something
    difference = (network(turn_samples(fields, INPUTS, symmetry)) - expected).abs().max()
    assert difference <= 1e-5 * result.abs().max()


def test_a_plain_network_does_not_turn_with_the_map():
    torch.manual_seed(0)
    network, fields = ConvNet(5, 5, layers=3), torch.randn(1, 5, 8, 8)
    expected = turn_samples(network(fields), OUTPUTS, 1)
    assert (network(turn_samples(fields, INPUTS, 1)) - expected).abs().max() > 1e-2 * expected.abs().max()


@pytest.mark.parametrize("symmetry", range(8))
def test_channels_turn_as_samples_do(symmetry):
    fields = torch.randn(1, len(INPUTS), 3, 4)
    turned = turn_channels(fields, symmetry, VECTORS["inputs"])
    assert torch.equal(turned, turn_samples(fields, INPUTS, symmetry))
    take, signs = turns_of_channels(5, VECTORS["inputs"])[symmetry]
    assert torch.equal(turned, turn_channels(fields, symmetry)[:, take] * torch.tensor(signs).view(-1, 1, 1))


@pytest.mark.parametrize("second", range(8))
@pytest.mark.parametrize("first", range(8))
def test_names_of_symmetries_multiply_as_the_maps_do(first, second):
    fields, pairs = torch.randn(1, 2, 3, 4), [(0, 1)]
    both = turn_channels(turn_channels(fields, first, pairs), second, pairs)
    assert torch.equal(both, turn_channels(fields, compose(second, first), pairs))
    assert compose(inverse(first), first) == 0


def test_order_of_components_in_the_channels_does_not_matter():
    network = EquivariantConvNet(3, 2, vectors={"inputs": [(2, 0)], "targets": [(1, 0)]}, layers=3)
    north, thickness, east = torch.randn(3, 1, 7, 7)
    result = network(torch.stack([north, thickness, east], 1))[0]
    mirrored = network(torch.stack([north.flip(-1), thickness.flip(-1), -east.flip(-1)], 1))[0]
    torch.testing.assert_close(mirrored, torch.stack([result[0].flip(-1), -result[1].flip(-1)]))


def test_flow_of_a_round_dome_is_radial():
    """On an axis of symmetry the component across it is zero, whatever the weights."""
    network = draw_biases(EquivariantConvNet(1, 2, vectors={"targets": [(0, 1)]}, layers=4)).double()
    steps = torch.arange(-5, 6, dtype=torch.float64)
    dome = (25 - steps[:, None] ** 2 - steps**2).clamp(min=0)[None, None] / 25
    east, north = network(dome)[0]
    assert east.abs().max() > 1e-3
    torch.testing.assert_close(east[:, 5], torch.zeros(11).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(north[5], torch.zeros(11).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(east, -east.flip(1), atol=1e-12, rtol=0)


def test_an_eighth_of_the_parameters_and_one_plain_stack():
    network = make_equivariant(filters=32, layers=16, dropout=0.2).eval()
    # 4 orbits: one kernel and bias each; at the end a weight an orbit and output, a bias for the one scalar
    expected = (9 * 5 * 4 + 4) + 15 * (9 * 32 * 4 + 4) + (4 * 5 + 1)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
    plain, fields = network.to_plain(), torch.randn(1, 5, 9, 11)
    assert isinstance(plain, ConvNet)
    assert not plain.training
    torch.testing.assert_close(plain(fields), network(fields))


def test_gradients_keep_the_symmetry():
    network = make_equivariant()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    fields, truth = torch.randn(2, 4, len(INPUTS), 8, 8).unbind(0)
    for _ in range(3):
        optimizer.zero_grad()
        (network(fields) - truth).abs().mean().backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
        optimizer.step()
    expected = turn_samples(network(fields), OUTPUTS, 7)
    torch.testing.assert_close(network(turn_samples(fields, INPUTS, 7)), expected, atol=1e-5, rtol=1e-4)


def test_weights_travel_in_a_state_dict():
    network, other = make_equivariant(), make_equivariant()
    other.load_state_dict(network.state_dict())
    fields = torch.randn(1, 5, 6, 6)
    assert torch.equal(other(fields), network(fields))
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize(
    ("inputs", "vectors", "options", "message"),
    [
        (2, [(1, 2)], {}, r"vectors are \[\(1, 2\)\] of 2 channels"),
        (3, [(0, 1), (1, 2)], {}, "of 3 channels; .* that belong to no other"),
        (1, [(0, 0)], {}, r"vectors are \[\(0, 0\)\] of 1 channels; give for each the numbers of two"),
        (1, (), {"filters": 12}, "filters is 12; give a multiple of 8"),
        (1, (), {"kernel_size": 4}, "kernel_size is 4"),
        (0, (), {}, "in_channels is 0"),
    ],
)
def test_wrong_descriptions_are_named(inputs, vectors, options, message):
    with pytest.raises(InputError, match=message):
        EquivariantConvNet(inputs, 1, vectors={"inputs": vectors}, **options)


def test_symmetrised_networks_check_their_fields():
    with pytest.raises(InputError, match=r"reads \(batch, 5, y, x\), not \(1, 4, 8, 8\)"):
        make_symmetrised(ConvNet(5, 5, layers=1))(torch.zeros(1, 4, 8, 8))
