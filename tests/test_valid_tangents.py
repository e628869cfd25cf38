"""Derivatives of networks in their style against forward-mode differentiation by torch, in float64."""

import pytest
import torch

from fieldwise.errors import InputError
from fieldwise.networks.equivariant import AxisSymmetrised
from fieldwise.networks.valid.emulator import ResidualEmulator
from fieldwise.networks.valid.tangents import differentiate_by_style


def make(dimensions=3, features=6, dtype=torch.float64, **options):
    """Make an emulator every weight of which counts, and two samples with their styles and tangents."""
    torch.manual_seed(5)
    network = ResidualEmulator(
        2, 2, dimensions=dimensions, features=features, blocks=2, style_numbers=2, **options
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    sizes = (11, 12, 13)[:dimensions]
    fields, change = torch.randn(2, 2, 2, *sizes, dtype=dtype)
    style, tangent = torch.randn(2, 2, 2, dtype=dtype)
    return network.to(dtype).requires_grad_(False), fields, style, tangent, change


def by_torch(network, fields, style, tangent, change):
    return torch.func.jvp(lambda x, s: network(x, style=s), (fields, style), (change, tangent))


def assert_same(made, expected, tolerance=1e-12):
    for each, other in zip(made, expected, strict=True):
        torch.testing.assert_close(each, other, rtol=0, atol=tolerance * float(other.abs().max()))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("boundary", ["periodic", "valid"])
@pytest.mark.parametrize("options", [{}, {"activation": "leaky_relu", "bypass": True}])
def test_dual_numbers_give_what_forward_mode_gives(dimensions, boundary, options):
    network, fields, style, tangent, change = make(dimensions, boundary=boundary, **options)
    kept = fields.clone()
    expected = by_torch(network, fields, style, tangent, change)
    assert_same(differentiate_by_style(network, fields, style, tangent, change), expected)
    assert torch.equal(fields, kept)
    expected = by_torch(network, fields, style, tangent, torch.zeros_like(change))
    assert_same(differentiate_by_style(network, fields, style, tangent), expected)


def test_networks_of_other_kinds_are_differentiated_too():
    network, fields, style, tangent, change = make(dimensions=2)
    fields, change = fields[..., :11], change[..., :11]  # squares, which can be turned
    turned = AxisSymmetrised(network, dimensions=2, inputs=[(0, 1)], outputs=[(0, 1)])
    expected = by_torch(turned, fields, style, tangent, change)
    with torch.inference_mode():
        made = differentiate_by_style(turned, fields, style, tangent, change)
    assert_same(made, expected)
    assert not made[1].requires_grad


def test_prediction_spares_products_and_gives_the_same():
    """In inference mode wide convolutions in float32 go by minimal filtering."""
    network, *given = make(features=32, dtype=torch.float32, boundary="valid")
    with torch.inference_mode():
        made = differentiate_by_style(network, *given)
    assert_same(made, by_torch(network, *given), tolerance=1e-5)


def test_values_and_derivatives_take_one_convolution_each():
    network, *given = make()
    with torch.profiler.profile() as profile:
        differentiate_by_style(network, *given)
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls["aten::convolution"] == 2 * (1 + 2 * 2 + 1)


def test_styles_and_tangents_are_those_that_the_network_reads():
    network, fields, style, tangent, _ = make(dimensions=2)
    with pytest.raises(InputError, match=r"takes a style of \(2, 2\), not \(2, 1\)"):
        differentiate_by_style(network, fields, style, tangent[:, :1])
    plain = ResidualEmulator(2, 2, dimensions=2, features=4, blocks=1).double()
    with pytest.raises(InputError, match="takes no style"):
        differentiate_by_style(plain, fields, style, tangent)
