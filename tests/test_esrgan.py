"""The networks of DeepBedMap: sizes as published, shortcuts equal to the long way."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.esrgan import (
    DEEPBEDMAP_INPUTS,
    Channels,
    DenseBlock,
    Discriminator,
    Generator,
    InputBlock,
    ResidualInResidualBlock,
    UpsamplingConvolution,
    WindowConvolution,
    draw_small_weights,
)


def draw_inputs(rows: int = 11, columns: int = 11, batch: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ratios = {channels: round(1000 / channels.spacing_m) for channels in DEEPBEDMAP_INPUTS}
    return {
        channels.name: torch.randn(
            batch, channels.channels, rows * ratio, columns * ratio, generator=generator
        )
        for channels, ratio in ratios.items()
    }


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_as_many_parameters_as_published() -> None:
    assert count(Generator()) == 8_907_749
    assert count(Discriminator()) == 10_370_761


def test_generator_draws_four_cells_for_one_within_the_padding() -> None:
    generator = Generator(num_residual_blocks=1)
    assert generator(draw_inputs(11, 14)).shape == (2, 1, 36, 48)


def test_generator_reads_one_input_alone() -> None:
    generator = Generator([Channels("bed_lowres", 1, 1000.0)], num_residual_blocks=1)
    assert generator({"bed_lowres": torch.zeros(3, 1, 5, 6)}).shape == (3, 1, 12, 16)


def test_every_input_and_every_parameter_matters() -> None:
    generator = Generator(num_residual_blocks=1)
    draw_small_weights(generator)  # offsets of exactly zero would hide the sign of their gradient
    inputs = {name: field.requires_grad_() for name, field in draw_inputs().items()}
    generator(inputs).square().sum().backward()
    for field in inputs.values():
        assert field.grad is not None
        assert field.grad.abs().sum() > 0
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_layers_bear_the_names_of_the_published_weights() -> None:
    names = {name for name, _ in Generator(num_residual_blocks=2).named_parameters()}
    expected = {
        "input_block.conv_on_ice_velocity.weight",
        "pre_residual_conv_layer.weight",
        "residual_network.1.residual_dense_block3.conv_layer5.bias",
        "post_residual_conv_layer.weight",
        "post_upsample_conv_layer_1.weight",
        "post_upsample_conv_layer_2.weight",
        "final_conv_layer1.offset_conv.weight",
        "final_conv_layer2.deform_conv.weight",
    }
    assert expected <= names


def test_weights_have_the_shapes_of_the_published_ones() -> None:
    shapes = {
        name: tuple(tensor.shape) for name, tensor in Generator(num_residual_blocks=1).state_dict().items()
    }
    assert shapes["input_block.conv_on_surface_elevation.weight"] == (32, 1, 30, 30)
    assert shapes["input_block.conv_on_ice_velocity.weight"] == (32, 2, 6, 6)
    assert shapes["pre_residual_conv_layer.weight"] == (64, 128, 3, 3)
    assert shapes["post_upsample_conv_layer_1.weight"] == (64, 64, 3, 3)
    assert shapes["final_conv_layer2.offset_conv.weight"] == (18, 64, 3, 3)


@pytest.mark.parametrize(("channels", "ratio"), [(1, 10), (2, 2), (1, 1), (3, 4)])
def test_folded_window_convolution_equals_the_strided_one(channels: int, ratio: int) -> None:
    layer = WindowConvolution(channels, 8, ratio).double()
    field = torch.randn(2, channels, 5 * ratio, 7 * ratio, dtype=torch.float64)
    strided = functional.conv2d(field, layer.weight, layer.bias, stride=ratio)
    torch.testing.assert_close(layer(field), strided)


def test_upsampling_convolution_equals_repeating_and_convolving() -> None:
    layer = UpsamplingConvolution(3, 5).double()
    coarse = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    repeated = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = functional.conv2d(repeated, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(coarse), expected)


def test_blocks_add_a_share_of_what_they_make() -> None:
    """With weights of zero and a bias of b a dense block adds s b; three and the outer sum, s (x + 3 s b)."""
    features = torch.randn(1, 64, 5, 5)
    block = ResidualInResidualBlock(residual_scaling=0.1)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    for dense in block.children():
        assert isinstance(dense, DenseBlock)
        torch.nn.init.constant_(dense.conv_layer5.bias, 2.0)  # type: ignore[arg-type]
    torch.testing.assert_close(block.residual_dense_block1(features), features + 0.2)
    torch.testing.assert_close(block(features), features + 0.1 * (features + 0.6))


def test_dense_block_reads_all_that_was_made_before() -> None:
    block = DenseBlock(residual_scaling=0.1)
    features = torch.randn(2, 64, 6, 6)
    made = [features]
    for layer in (block.conv_layer1, block.conv_layer2, block.conv_layer3, block.conv_layer4):
        result = functional.conv2d(torch.cat(made, dim=1), layer.weight, layer.bias, padding=1)
        made.append(torch.where(result < 0, 0.2 * result, result))
    last = functional.conv2d(torch.cat(made, 1), block.conv_layer5.weight, block.conv_layer5.bias, padding=1)
    torch.testing.assert_close(block(features), features + 0.1 * last)


def test_weights_start_at_a_tenth_of_he() -> None:
    layer = Generator(num_residual_blocks=1).pre_residual_conv_layer
    expected = 0.1 * (2 / (128 * 9)) ** 0.5
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert layer.bias is not None
    assert not layer.bias.any()


def test_discriminator_refuses_other_tiles() -> None:
    with pytest.raises(InputError, match=r"\(1, 36, 36\) cells, not \(1, 32, 32\)"):
        Discriminator()(torch.zeros(2, 1, 32, 32))
    with pytest.raises(InputError, match="tile_size is 16"):
        Discriminator(tile_size=16)


def test_discriminator_judges_other_sizes_when_told() -> None:
    assert Discriminator(tile_size=48)(torch.zeros(2, 1, 48, 48)).shape == (2, 1)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([Channels("ice_velocity", 2, 450.0)], "does not divide the low-resolution spacing"),
        ([Channels("bed", 1, 2000.0)], "does not divide"),
        ([Channels("bed", 1, 0.0)], "does not divide"),
        ([Channels("bed", 1, 1000.0), Channels("bed", 1, 500.0)], "give each a name of its own"),
        ([Channels("bed.lowres", 1, 1000.0)], "letters, digits and _"),
        ([], "give each a name of its own"),
    ],
)
def test_refuses_inputs_that_do_not_fit(inputs: list[Channels], message: str) -> None:
    with pytest.raises(InputError, match=message):
        InputBlock(inputs, lowres_spacing_m=1000.0)


def test_refuses_a_batch_that_does_not_fit() -> None:
    generator = Generator(num_residual_blocks=1)
    inputs = draw_inputs()
    with pytest.raises(InputError, match="the network reads ice_velocity too"):
        generator({name: field for name, field in inputs.items() if name != "ice_velocity"})
    with pytest.raises(InputError, match=r"elevation has shape \(2, 1, 100, 110\), expected \(2, 1, 110"):
        generator(inputs | {"surface_elevation": torch.zeros(2, 1, 100, 110)})
    with pytest.raises(InputError, match="at least 3 low-resolution cells"):
        generator(draw_inputs(2, 5))
