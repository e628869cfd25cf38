"""Networks of valid convolutions: cells, margins, noise, styles, and blocks that equal the whole."""

import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.valid.blocks import ConvBlock, crop, double, halve, narrow
from fieldwise.networks.valid.emulator import ResidualEmulator
from fieldwise.networks.valid.patchgan import PatchGAN, PatchGAN42
from fieldwise.networks.valid.periodic import put_channels_last, wrap_around
from fieldwise.networks.valid.srgan import (
    SuperResolutionDiscriminator,
    SuperResolutionGenerator,
    draw_noise,
)
from fieldwise.networks.valid.unet import UNet
from fieldwise.networks.valid.vnet import VNet

FEW = {"most_features": 8, "least_features": 4}
STYLED = {
    "unet": (UNet, {"features": 3}, (44, 48)),
    "vnet": (VNet, {"features": 3}, (48, 44)),
    "generator": (SuperResolutionGenerator, {"scale_factor": 4, **FEW}, (6, 5)),
    "discriminator": (SuperResolutionDiscriminator, {"scale_factor": 4, **FEW}, (17, 20)),
    "emulator": (ResidualEmulator, {"features": 4, "blocks": 2, "bypass": True}, (6, 5)),
    "emulator, leaky": (ResidualEmulator, {"features": 4, "blocks": 2, "activation": "leaky_relu"}, (6, 5)),
}


def randomised(network):
    """Draw all parameters anew, so that nothing is zero that started so."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 10
            parameter.normal_(std=fan**-0.5)
    return network


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("network", [UNet, VNet])
def test_u_nets_give_40_cells_fewer(network, dimensions):
    sizes = (44, 52, 48)[:dimensions]
    made = network(2, 3, features=2, dimensions=dimensions)(torch.zeros(1, 2, *sizes))
    assert made.shape == (1, 3, *(size - 40 for size in sizes))


@pytest.mark.parametrize("network", [UNet, VNet])
def test_a_block_of_a_u_net_equals_the_whole(network):
    """Blocks that begin a multiple of `step` cells into the whole."""
    network = randomised(network(2, 2, features=4, dimensions=2)).double().eval()
    fields = torch.randn(1, 2, 72, 60, dtype=torch.float64)
    block = fields[:, :, 2 * network.step :, network.step : network.step + 48]
    torch.testing.assert_close(network(block), network(fields)[:, :, 8:, 4:12])


@pytest.mark.parametrize("cell", [0, 3])
def test_four_cells_of_a_u_net_see_the_same_44(cell):
    """By hand, from the end: 5, of 3 a level down, 7, of 4, 8, of 16 a level up, 20, of 40, 44."""
    network = randomised(UNet(1, 1, features=2, dimensions=2, bypass=False)).double().eval()
    fields = torch.randn(1, 1, 48, 48, dtype=torch.float64, requires_grad=True)
    network(fields)[0, 0, cell, cell].backward()
    seen = fields.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert (seen.min().item(), seen.max().item()) == (0, 43)


def test_without_weights_the_middle_of_the_input_is_left():
    for network in (UNet(2, 2, features=2, dimensions=2), VNet(2, 2, features=2, dimensions=2)):
        for parameter in network.parameters():
            torch.nn.init.zeros_(parameter)
        fields = torch.randn(1, 2, 44, 48)
        assert torch.equal(network(fields), fields[:, :, 20:-20, 20:-20])


@pytest.mark.parametrize(("scale_factor", "margin"), [(2, 2), (4, 3), (8, 3)])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_generators_give_so_many_cells(scale_factor, margin, dimensions):
    network = SuperResolutionGenerator(1, 2, scale_factor=scale_factor, dimensions=dimensions, **FEW)
    n = 6
    made = network(torch.zeros(1, 1, *[n] * dimensions))
    assert made.shape == (1, 2, *[scale_factor * n - 6 * (scale_factor - 1)] * dimensions)
    assert network.margin == margin
    padded = network(torch.zeros(1, 1, *[3 + 2 * margin] * dimensions))
    assert crop(padded, network.surplus).shape[2:] == (*[3 * scale_factor] * dimensions,)


def test_without_weights_the_generator_interpolates():
    """And cuts so that a cell of the result lies where the finer cell of the input does."""
    network = SuperResolutionGenerator(1, 1, scale_factor=4, dimensions=2, **FEW).double()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    ramp = torch.arange(11.0, dtype=torch.float64).expand(1, 1, 11, 11)
    made = crop(network(ramp), network.surplus)[0, 0, 0]
    expected = network.margin - 0.5 + (torch.arange(20.0, dtype=torch.float64) + 0.5) / 4
    torch.testing.assert_close(made, expected)


def test_noise_says_nothing_at_first_and_something_with_amplitudes():
    network = SuperResolutionGenerator(2, 2, scale_factor=2, dimensions=2, **FEW)
    fields = torch.randn(1, 2, 8, 8)
    assert torch.equal(network(fields), network(fields))
    stds = [parameter for name, parameter in network.named_parameters() if name.endswith("std")]
    assert [tuple(std.shape) for std in stds] == [(8,), (4,)]
    torch.nn.init.ones_(stds[1])
    assert not torch.equal(network(fields), network(fields))


@pytest.mark.parametrize("join_noise", [False, True])
def test_noise_of_world_cells_makes_a_block_equal_to_the_whole(join_noise):
    """The planes lie where `noise_planes` says."""
    network = SuperResolutionGenerator(1, 1, scale_factor=4, dimensions=2, join_noise=join_noise, **FEW)
    network = randomised(network).double()
    levels = range(len(network.noise_planes))
    world = [torch.randn(1, 1, 80, 80, dtype=torch.float64) for _ in levels]
    asked = []

    def noise_from(row, column):
        def noise(level, shape, like):
            asked.append(level)
            cells, cut = network.noise_planes[level]
            rows, columns = shape[2:]
            first, left = row * cells + cut, column * cells + cut
            return world[level][:, :, first : first + rows, left : left + columns].to(like)

        return noise

    fields = torch.randn(1, 1, 16, 14, dtype=torch.float64)
    whole = network(fields, noise_from(0, 0))
    assert asked == list(levels)
    block = network(fields[:, :, 3:12, 5:], noise_from(3, 5))
    torch.testing.assert_close(block, whole[:, :, 12 : 12 + 18, 20:])
    assert whole.shape == (1, 1, 46, 38)


def test_noise_is_one_plane_for_all_channels():
    network = SuperResolutionGenerator(1, 1, scale_factor=2, dimensions=3, **FEW)
    shapes = []

    def noise(level, shape, like):
        shapes.append(tuple(shape))
        return draw_noise(level, shape, like)

    network(torch.zeros(2, 1, 5, 6, 7), noise)
    assert shapes == [(2, 1, 5, 6, 7), (2, 1, 6, 8, 10)]


def test_patches_are_as_large_as_they_are_said_to_be():
    for network, patch, apart in ((PatchGAN, 9, 1), (PatchGAN42, 22, 8)):
        network = randomised(network(2, dimensions=2, features=4)).eval()
        assert network(torch.zeros(1, 2, patch, patch + apart)).shape == (1, 1, 1, 2)
        with pytest.raises(InputError, match=f"at least {patch} cells"):
            network(torch.zeros(1, 2, patch - 1, patch))


def test_discriminators_halve_and_refuse_too_few_cells():
    network = SuperResolutionDiscriminator(2, scale_factor=8, dimensions=2, **FEW)
    assert network(torch.zeros(1, 2, 36, 48)).shape == (1, 1, 1, 2)
    with pytest.raises(InputError, match=r"at least 36 cells an axis, not \(35, 48\)"):
        network(torch.zeros(1, 2, 35, 48))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_resolution_is_doubled_as_scipy_does_it(dimensions):
    fields = torch.randn(*[5, 6, 7][:dimensions], dtype=torch.float64)
    places = [torch.arange(1, 2 * size - 1) / 2 - 0.25 for size in fields.shape]
    expected = ndimage.map_coordinates(fields.numpy(), torch.meshgrid(*places, indexing="ij"), order=1)
    torch.testing.assert_close(double(fields[None, None])[0, 0], torch.from_numpy(expected))


def test_halving_a_ramp_gives_the_means_of_pairs():
    assert halve(torch.arange(7.0).expand(1, 1, 2, 7)).tolist() == [[[[0.5, 2.5, 4.5]]]]


def test_narrowing_refuses_more_cells_than_there_are():
    with pytest.raises(InputError, match=r"\(5, 5\) cells cannot be narrowed to \(3, 6\)"):
        narrow(torch.zeros(1, 1, 5, 5), (3, 6))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("last", [False, True])
def test_wrapping_is_circular_padding_and_so_are_its_derivatives(dimensions, last):
    fields = torch.randn(2, 3, *[4, 3, 5][:dimensions], dtype=torch.float64)
    fields = (put_channels_last(fields) if last else fields).requires_grad_()
    expected = functional.pad(fields, [2] * 2 * dimensions, mode="circular")
    wrapped = wrap_around(fields, 2)
    assert torch.equal(wrapped, expected)
    assert (wrapped.stride(1) == 1) == last
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad(made, fields, weights)[0] for made in (wrapped, expected)]
    torch.testing.assert_close(*gradients)
    assert torch.autograd.gradcheck(lambda x: wrap_around(x, 2), fields[:1, :1], check_forward_ad=True)


@pytest.mark.parametrize(("dimensions", "features"), [(2, 32), (3, 16)])
def test_a_block_of_an_emulator_equals_the_whole_box(dimensions, features):
    torch.manual_seed(0)
    network = ResidualEmulator(2, 2, dimensions=dimensions, features=features, blocks=3, bypass=True)
    torch.nn.init.normal_(network.last.weight, std=features**-0.5)
    fields = torch.randn(1, 2, *[16, 18, 20][:dimensions])
    with torch.no_grad():
        whole = network(fields)
        network.boundary = "valid"
        padded = functional.pad(fields, [network.margin] * 2 * dimensions, mode="circular")
        torch.testing.assert_close(network(padded), whole, rtol=0, atol=3e-6)
        block = network(padded[:, :, 4 : 4 + 2 * network.margin + 7, 2:])
    torch.testing.assert_close(block, whole[:, :, 4:11, 2:], rtol=0, atol=3e-6)
    assert (whole - fields).std() > 0.1


def test_an_emulator_sees_as_far_as_its_margin():
    network = randomised(ResidualEmulator(1, 1, dimensions=2, features=4, blocks=3)).double()
    fields = torch.randn(1, 1, 31, 31, dtype=torch.float64, requires_grad=True)
    network(fields)[0, 0, 15, 15].backward()
    seen = fields.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert (seen.min().item(), seen.max().item()) == (15 - network.margin, 15 + network.margin)


@pytest.mark.parametrize("bypass", [False, True])
def test_an_emulator_starts_with_nothing_or_with_its_input(bypass):
    fields = torch.randn(1, 2, 8, 8)
    made = ResidualEmulator(2, 2, dimensions=2, features=4, bypass=bypass)(fields)
    assert torch.equal(made, fields if bypass else torch.zeros_like(fields))


def test_features_of_a_deep_emulator_stay_of_order_one():
    torch.manual_seed(0)
    network = ResidualEmulator(3, 1, dimensions=2, features=64, blocks=16)
    features = []
    network.last.register_forward_hook(lambda layer, given, made: features.append(given[0]))
    network(torch.randn(1, 3, 24, 24))
    assert 0.5 < features[0].std() < 4


@pytest.mark.parametrize("kind", STYLED)
def test_a_styled_network_begins_as_the_plain_one(kind):
    network, options, sizes = STYLED[kind]
    plain = network(2, 2, dimensions=2, **options)
    if isinstance(plain, ResidualEmulator):
        torch.nn.init.ones_(plain.last.weight)  # lest the answer be nothing
    styled = network(2, 2, dimensions=2, style_numbers=3, **options)
    found = styled.load_state_dict(plain.state_dict(), strict=False)
    assert not found.unexpected_keys
    assert all(".style." in key for key in found.missing_keys)
    fields = torch.randn(2, 2, *sizes)
    plain_answer = plain.eval()(fields)
    assert torch.equal(styled.eval()(fields, style=torch.randn(2, 3)), plain_answer)
    with pytest.raises(InputError, match=r"takes a style of \(2, 3\), not None"):
        styled(fields)
    with pytest.raises(InputError, match=r"takes no style, not \(2, 3\)"):
        plain(fields, style=torch.randn(2, 3))


@pytest.mark.parametrize("kind", STYLED)
def test_derivatives_in_the_style_are_finite_differences(kind):
    """Forward-mode differentiation, of which a velocity is made."""
    network, options, sizes = STYLED[kind]
    network = randomised(network(2, 2, dimensions=2, style_numbers=2, **options)).double().eval()
    fields = torch.randn(2, 2, *sizes, dtype=torch.float64)
    style, direction = torch.randn(2, 2, 2, dtype=torch.float64)
    if kind == "generator":  # the same noise each time
        planes = [torch.randn(2, 1, 40, 40, dtype=torch.float64) for _ in network.noise_planes]
        given = {"noise": lambda level, shape, like: planes[level][:, :, : shape[2], : shape[3]]}
    else:
        given = {}

    def answer(style):
        return network(fields, style=style, **given)

    step = 1e-6
    with torch.no_grad():
        difference = (answer(style + step * direction) - answer(style - step * direction)) / (2 * step)
        made, derivative = torch.func.jvp(answer, (style,), (direction,))
    torch.testing.assert_close(made, answer(style))
    torch.testing.assert_close(derivative, difference, rtol=1e-4, atol=1e-6)
    assert derivative.abs().max() > 1e-3


def test_a_style_is_of_its_sample():
    network = randomised(ResidualEmulator(1, 1, features=4, blocks=1, style_numbers=1)).double()
    fields = torch.randn(1, 1, 4, 4, 4, dtype=torch.float64)
    styles = torch.tensor([[-0.5], [2.0]], dtype=torch.float64)
    both = network(fields.expand(2, -1, -1, -1, -1), styles)
    torch.testing.assert_close(both, torch.cat([network(fields, style[None]) for style in styles]))
    assert (both[0] - both[1]).abs().max() > 1e-3


@pytest.mark.parametrize("network", [UNet, SuperResolutionGenerator, PatchGAN42, ResidualEmulator])
def test_weights_of_convolutions_start_as_told(network):
    torch.manual_seed(0)
    plain = network(3, 3, dimensions=2, init_std=0.02)
    weights = [weight.flatten() for name, weight in plain.named_parameters() if weight.ndim > 1]
    if network is ResidualEmulator:
        weights = [plain.first.weight.flatten(), plain.blocks[3][0].weight.flatten()]
    assert torch.cat(weights).std().item() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: UNet(3, 3, dimensions=1), "dimensions is 1"),
        (lambda: UNet(0, 3), "in_channels is 0"),
        (lambda: UNet(6, 3, bypass=True), "bypass adds 6 channels to 3"),
        (lambda: UNet(3, 3, init_std=0), "init_std is 0"),
        (lambda: VNet(3, 3, style_numbers=-1), "style_numbers is -1"),
        (lambda: UNet(1, 1)(torch.zeros(1, 1, 44, 44)), r"the network reads \(batch, 1, z, y, x\)"),
        (
            lambda: UNet(1, 1, dimensions=2)(torch.zeros(1, 1, 44, 46)),
            r"at least 44 cells an axis, multiples",
        ),
        (lambda: SuperResolutionGenerator(3, 3, scale_factor=6), "scale_factor is 6; give a power of two"),
        (lambda: SuperResolutionGenerator(3, 3, scale_factor=1), "scale_factor is 1"),
        (lambda: SuperResolutionGenerator(3, 3, least_features=600), "least_features is 600"),
        (lambda: ConvBlock(3, 3, "CBX"), "letters are 'CBX', of which X"),
        (lambda: ConvBlock(3, 3, ""), "letters are ''; take"),
        (lambda: ResidualEmulator(3, 3, boundary="open"), "boundary is 'open'; take periodic or valid"),
        (lambda: ResidualEmulator(3, 3, blocks=0), "blocks is 0"),
        (lambda: ResidualEmulator(3, 3, activation="relu"), "activation is 'relu'; take gelu or leaky_relu"),
        (
            lambda: ResidualEmulator(1, 1, blocks=2, boundary="valid")(torch.zeros(1, 1, 10, 11, 11)),
            "at least 11 cells",
        ),
    ],
)
def test_wrong_options_and_fields_are_named(make, told):
    with pytest.raises(InputError, match=told):
        make()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_slope_of_a_window_keeps_the_memory_format(dimensions):
    """Also where it has an odd number of cells too many; and it is a view where none is asked for."""
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dimensions]
    fields = torch.randn(2, 3, *(8, 9, 7)[:dimensions]).contiguous(memory_format=layout).requires_grad_()
    window = narrow(fields, (5, 4, 3)[:dimensions])
    inside = tuple(slice(start, start + size) for start, size in zip((1, 2, 2), window.shape[2:]))
    assert torch.equal(window, fields[(..., *inside)])
    slope = torch.randn_like(window).contiguous(memory_format=layout)
    (found,) = torch.autograd.grad(window, fields, slope)
    expected = torch.zeros_like(fields)
    expected[(..., *inside)] = slope
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=layout)
    assert narrow(fields.detach(), window.shape[2:]).untyped_storage().data_ptr() == fields.data_ptr()
