"""The plain stack of convolutions: published sizes, a loop by SciPy, and what each option does."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from fieldwise.errors import InputError
from fieldwise.networks.convnet import ConvNet, square_kernels


def count_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "layers", "expected"),
    [(4, 4, 16, 140_036), (5, 6, 16, 140_390), (4, 6, 8, 66_118)],
    ids=["f12", "f15", "f14, 8 layers"],
)
def test_published_emulators_have_as_many_parameters(in_channels, out_channels, layers, expected):
    assert count_parameters(ConvNet(in_channels, out_channels, layers=layers)) == expected


def test_two_layers_equal_correlations_by_scipy():
    network = ConvNet(2, 1, layers=2, filters=3).double()
    fields = np.random.default_rng(1).normal(size=(2, 6, 9))
    features = fields
    for convolution in network.convolutions:
        kernels, biases = convolution.weight.detach().numpy(), np.array([0.3, -0.2, 0.1])
        convolution.bias.data = torch.from_numpy(biases)
        sums = [
            bias + sum(scipy.ndimage.correlate(f, k, mode="constant") for f, k in zip(features, kernel))
            for kernel, bias in zip(kernels, biases)
        ]
        features = np.stack([np.where(total < 0, 0.01 * total, total) for total in sums])
    expected = np.einsum("oc,cyx->oyx", network.output.weight.detach().numpy()[:, :, 0, 0], features)
    result = network(torch.from_numpy(fields)[None])[0].detach().numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("activation", "expected"), [("leaky_relu", -0.01), ("relu", 0.0)])
def test_activation_below_zero(activation, expected):
    network = ConvNet(1, 1, layers=1, filters=1, kernel_size=1, activation=activation)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, float(parameter.ndim > 1))  # weights of one, biases of zero
    assert network(torch.full((1, 1, 1, 1), -1.0)).item() == pytest.approx(expected)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_a_cell_reaches_as_far_as_layers_and_kernel_allow(kernel_size):
    network = ConvNet(1, 1, layers=3, filters=8, kernel_size=kernel_size)
    fields = torch.zeros(1, 1, 31, 31, requires_grad=True)
    network(fields)[0, 0, 15, 15].backward()
    rows = fields.grad[0, 0].abs().sum(1).nonzero().flatten()
    reach = 3 * (kernel_size // 2)
    assert (rows.min().item(), rows.max().item()) == (15 - reach, 15 + reach)


def test_dropout_acts_in_training_alone():
    network = ConvNet(1, 1, layers=2, dropout=0.5)
    fields = torch.ones(1, 1, 8, 8)
    assert not torch.equal(network(fields), network(fields))
    network.eval()
    assert torch.equal(network(fields), network(fields))


def test_residual_layers_of_zero_pass_features_on():
    network = ConvNet(1, 1, layers=4, filters=2, residual=True)
    plain = ConvNet(1, 1, layers=1, filters=2)
    plain.convolutions[0].load_state_dict(network.convolutions[0].state_dict())
    plain.output.load_state_dict(network.output.state_dict())
    for convolution in network.convolutions[1:]:
        torch.nn.init.zeros_(convolution.weight)
    fields = torch.randn(1, 1, 5, 5)
    torch.testing.assert_close(network(fields), plain(fields))


def test_volumes_are_an_argument():
    network = ConvNet(2, 3, layers=2, filters=4, dimensions=3)
    assert network(torch.zeros(1, 2, 5, 6, 7)).shape == (1, 3, 5, 6, 7)
    assert count_parameters(network) == (27 * 2 * 4 + 4) + (27 * 4 * 4 + 4) + (4 * 3 + 3)


def test_squares_of_kernels_are_the_l2_term_of_keras():
    network = ConvNet(2, 3, layers=2, filters=4)
    expected = sum((layer.weight**2).sum().item() for layer in [*network.convolutions, network.output])
    torch.nn.init.constant_(network.output.bias, 100.0)  # biases do not count
    assert square_kernels(network).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers is 0"),
        ({"filters": -1}, "filters is -1"),
        ({"kernel_size": 2}, "kernel_size is 2; give an odd"),
        ({"activation": "lrelu"}, "'lrelu'; take leaky_relu or relu"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dimensions": 1}, "dimensions is 1; take 2"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(InputError, match=message):
        ConvNet(1, 1, **options)


def test_another_number_of_fields_is_named():
    with pytest.raises(InputError, match=r"reads \(batch, 4, y, x\), not \(1, 3, 8, 8\)"):
        ConvNet(4, 4)(torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match=r"reads \(batch, 1, z, y, x\), not \(1, 1, 8, 8\)"):
        ConvNet(1, 4, dimensions=3)(torch.zeros(1, 1, 8, 8))
