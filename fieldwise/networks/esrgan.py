"""Generator and discriminator of DeepBedMap: an enhanced super-resolution GAN for maps.

The generator reads any number of fields, each at its own spacing, and draws one field four times finer than
the low-resolution grid. The layers and their sizes are those of Leong & Horgan (2020,
doi 10.5194/tc-14-3687-2020), who adapted ESRGAN (Wang et al. 2018, arXiv:1809.00219); the names of the layers
are those of their published weights, and every weight has their shape.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.channels import Channels, check_fields, read_channels, whole_ratio
from fieldwise.networks.convolutions.deformable import LARGEST_OFFSET, DeformableConvolution
from fieldwise.networks.convolutions.fast import (
    PatchConvolution,
    UpsamplingConvolution,
    WindowConvolution,
    store_channels_last,
)

UPSCALING = 4  # cells of the output on a cell of the low-resolution grid
INPUT_FEATURES = 32  # of each input
FEATURES = 64  # of the trunk
GROWTH = 32  # channels that every convolution of a dense block adds
SLOPE = 0.2  # of LeakyReLU
LARGEST_PATCHED_MAP = 2  # cells on a side of the result


DEEPBEDMAP_INPUTS = (
    Channels("bed_lowres", 1, 1000.0),
    Channels("surface_elevation", 1, 100.0),
    Channels("ice_velocity", 2, 500.0),
    Channels("snow_accumulation", 1, 1000.0),
)


class Generator(nn.Module):
    """Draw one field, four times finer than the low-resolution grid, from fields of several spacings.

    Parameters
    ----------
    inputs : sequence of Channels
        What the network reads, or dictionaries of name, channels and spacing_m; the spacing of the
        low-resolution grid is a whole multiple of each.
    lowres_spacing_m : float
        Spacing of the low-resolution grid; the output has a quarter of it.
    num_residual_blocks : int
        Residual-in-residual dense blocks (12 in DeepBedMap).
    residual_scaling : float
        Share of a block's output that is added to its input.
    initial_weights : float
        Share of He's normal distribution from which weights outside the residual blocks and the last layer
        are drawn. A tenth suits raw inputs of hundreds; scaled ones fade over six such layers, take 1.
    largest_offset : float
        Cells of the output by which the deformable convolutions move a tap at most. The published network
        has no bound: take infinity for weights of Chainer whose offsets are larger.

    Raises
    ------
    InputError
        If an input's spacing does not fit, two inputs share a name, or a batch lacks an input or has it in
        another shape.

    Examples
    --------
    A window of 11 x 13 low-resolution cells, of which the outermost are padding, gives 4 * 9 by 4 * 11 cells:

    >>> generator = Generator([Channels("bed_lowres", 1, 1000.0)], num_residual_blocks=1)
    >>> generator({"bed_lowres": torch.zeros(2, 1, 11, 13)}).shape
    torch.Size([2, 1, 36, 44])

    DeepBedMap's own has as many parameters as the published one:

    >>> sum(parameter.numel() for parameter in Generator().parameters())
    8907749
    """

    def __init__(
        self,
        inputs: Sequence[Channels | Mapping[str, Any]] = DEEPBEDMAP_INPUTS,
        *,
        lowres_spacing_m: float = 1000.0,
        num_residual_blocks: int = 12,
        residual_scaling: float = 0.1,
        initial_weights: float = 0.1,
        largest_offset: float = LARGEST_OFFSET,
    ) -> None:
        super().__init__()
        self.lowres_spacing_m = lowres_spacing_m
        self.input_block = InputBlock(inputs, lowres_spacing_m=lowres_spacing_m)
        self.pre_residual_conv_layer = nn.Conv2d(INPUT_FEATURES * len(inputs), FEATURES, 3, padding=1)
        self.residual_network = nn.Sequential(
            *(ResidualInResidualBlock(residual_scaling) for _ in range(num_residual_blocks))
        )
        self.post_residual_conv_layer = nn.Conv2d(FEATURES, FEATURES, 3, padding=1)
        self.post_upsample_conv_layer_1 = UpsamplingConvolution(FEATURES, FEATURES)
        self.post_upsample_conv_layer_2 = UpsamplingConvolution(FEATURES, FEATURES)
        self.final_conv_layer1 = DeformableConvolution(FEATURES, FEATURES, largest_offset=largest_offset)
        self.final_conv_layer2 = DeformableConvolution(FEATURES, 1, largest_offset=largest_offset)
        draw_small_weights(self, share=initial_weights)
        draw_small_weights(self.residual_network)
        draw_small_weights(self.final_conv_layer2)
        self.final_conv_layer1.start_plain()
        self.final_conv_layer2.start_plain()
        store_channels_last(self)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Draw the field (batch, 1, 4 (Y - 2), 4 (X - 2)).

        Parameters
        ----------
        inputs : mapping of str to Tensor
            Each (batch, channels, y, x) at its spacing, all over the same window of Y x X low-resolution
            cells, one of which on each side is padding.
        """
        features = self.input_block(inputs)  # (batch, 32 * inputs, Y - 2, X - 2)
        shallow = _rectify(self.pre_residual_conv_layer(features))  # (batch, 64, Y - 2, X - 2)
        deep = shallow + self.post_residual_conv_layer(self.residual_network(shallow))
        fine = _rectify(self.post_upsample_conv_layer_1(deep))  # (batch, 64, 2 (Y - 2), 2 (X - 2))
        fine = _rectify(self.post_upsample_conv_layer_2(fine))  # (batch, 64, 4 (Y - 2), 4 (X - 2))
        fine = _rectify(self.final_conv_layer1(fine))
        return self.final_conv_layer2(fine)  # (batch, 1, 4 (Y - 2), 4 (X - 2))

    def make_example(self, rows: int = 11, columns: int = 11) -> dict[str, Tensor]:
        """Make an empty batch of one window of rows x columns low-resolution cells.

        >>> Generator().make_example()["surface_elevation"].shape
        torch.Size([1, 1, 110, 110])
        """
        sizes = {}
        for channels in self.input_block.inputs:
            ratio = whole_ratio(channels, self.lowres_spacing_m)
            sizes[channels.name] = (1, channels.channels, rows * ratio, columns * ratio)
        return {name: self.pre_residual_conv_layer.weight.new_zeros(size) for name, size in sizes.items()}


class InputBlock(nn.Module):
    """Bring every input to the low-resolution grid by one convolution each, and stack the results.

    The kernel spans three low-resolution cells and moves by one, whatever the spacing of the input.
    """

    def __init__(
        self, inputs: Sequence[Channels | Mapping[str, Any]], *, lowres_spacing_m: float = 1000.0
    ) -> None:
        super().__init__()
        self.inputs, self.lowres_spacing_m = read_channels(inputs), lowres_spacing_m
        for channels in self.inputs:
            ratio = whole_ratio(channels, lowres_spacing_m)
            convolution = WindowConvolution(channels.channels, INPUT_FEATURES, ratio)
            self.add_module(f"conv_on_{channels.name}", convolution)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Stack the features of all inputs: (batch, 32 * inputs, Y - 2, X - 2)."""
        convolutions = [getattr(self, f"conv_on_{channels.name}") for channels in self.inputs]
        check_fields(inputs, self.inputs, self.lowres_spacing_m, least=3)
        features = [
            convolution(inputs[channels.name]) for channels, convolution in zip(self.inputs, convolutions)
        ]
        return torch.cat(features, dim=1).contiguous(memory_format=torch.channels_last)


class ResidualInResidualBlock(nn.Module):
    """Three dense blocks in a row, of whose result a share is added to the input."""

    def __init__(self, residual_scaling: float) -> None:
        super().__init__()
        self.residual_scaling = residual_scaling
        self.residual_dense_block1 = DenseBlock(residual_scaling)
        self.residual_dense_block2 = DenseBlock(residual_scaling)
        self.residual_dense_block3 = DenseBlock(residual_scaling)

    def forward(self, features: Tensor) -> Tensor:
        """Refine (batch, 64, y, x)."""
        refined = self.residual_dense_block1(features)
        refined = self.residual_dense_block2(refined)
        refined = self.residual_dense_block3(refined)
        return torch.add(features, refined, alpha=self.residual_scaling)


class DenseBlock(nn.Module):
    """Five convolutions, each of which reads the block's input and everything made before it."""

    def __init__(self, residual_scaling: float) -> None:
        super().__init__()
        self.residual_scaling = residual_scaling
        self.conv_layer1 = nn.Conv2d(FEATURES, GROWTH, 3, padding=1)
        self.conv_layer2 = nn.Conv2d(FEATURES + GROWTH, GROWTH, 3, padding=1)
        self.conv_layer3 = nn.Conv2d(FEATURES + 2 * GROWTH, GROWTH, 3, padding=1)
        self.conv_layer4 = nn.Conv2d(FEATURES + 3 * GROWTH, GROWTH, 3, padding=1)
        self.conv_layer5 = nn.Conv2d(FEATURES + 4 * GROWTH, FEATURES, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Refine (batch, 64, y, x)."""
        made = features
        for convolution in (self.conv_layer1, self.conv_layer2, self.conv_layer3, self.conv_layer4):
            made = torch.cat((made, _rectify(convolution(made))), dim=1)  # 96, 128, 160, 192 channels
        return torch.add(features, self.conv_layer5(made), alpha=self.residual_scaling)


class Discriminator(nn.Module):
    """Score how real a tile looks, before the sigmoid: ten convolutions, batch norm, two linear layers.

    Parameters
    ----------
    tile_size : int
        Cells on a side of the tiles that it judges, at least 32; it judges no other size.

    Examples
    --------
    >>> discriminator = Discriminator()
    >>> discriminator(torch.zeros(2, 1, 36, 36)).shape
    torch.Size([2, 1])
    >>> sum(parameter.numel() for parameter in discriminator.parameters())
    10370761
    """

    # out channels and kernel of conv_layer1 to 9; kernel 4 halves the resolution
    LAYERS = ((64, 4), (128, 3), (128, 4), (128, 3), (256, 4), (256, 3), (512, 4), (512, 3), (512, 4))

    def __init__(self, tile_size: int = 36) -> None:
        super().__init__()
        if tile_size < 32:
            raise InputError(
                f"tile_size is {tile_size}; the discriminator halves it five times, give at least 32"
            )
        self.tile_size = tile_size
        self.conv_layer0 = nn.Conv2d(1, FEATURES, 3, padding=1)
        channels, size = FEATURES, tile_size
        for number, (out_channels, kernel_size) in enumerate(self.LAYERS, start=1):
            stride = 2 if kernel_size == 4 else 1
            kind = nn.Conv2d if size // stride > LARGEST_PATCHED_MAP else PatchConvolution
            convolution = kind(channels, out_channels, kernel_size, stride, padding=1, bias=False)
            self.add_module(f"conv_layer{number}", convolution)
            self.add_module(f"batch_norm{number}", nn.BatchNorm2d(out_channels, eps=1e-5))
            channels, size = out_channels, size // stride
        self.linear_1 = nn.Linear(channels * size**2, 100)
        self.linear_2 = nn.Linear(100, 1)
        draw_small_weights(self)
        store_channels_last(self)

    def forward(self, tiles: Tensor) -> Tensor:
        """Score (batch, 1, tile_size, tile_size); the result is (batch, 1), higher for realer."""
        if tiles.shape[1:] != (1, self.tile_size, self.tile_size):
            raise InputError(
                f"the discriminator judges tiles of (1, {self.tile_size}, {self.tile_size}) cells, not "
                f"{tuple(tiles.shape[1:])}; set tile_size to the side of the tiles"
            )
        features = self.conv_layer0(tiles).contiguous(memory_format=torch.channels_last)
        features = _rectify(features)  # (batch, 64, 36, 36)
        for number in range(1, len(self.LAYERS) + 1):
            features = getattr(self, f"conv_layer{number}")(features)
            features = _rectify(getattr(self, f"batch_norm{number}")(features))
        features = _rectify(self.linear_1(features.flatten(1)))  # (batch, 512, 1, 1) -> (batch, 100)
        return self.linear_2(features)

    def make_example(self) -> Tensor:
        """Make an empty tile.

        >>> Discriminator().make_example().shape
        torch.Size([1, 1, 36, 36])
        """
        return self.conv_layer0.weight.new_zeros(1, 1, self.tile_size, self.tile_size)


def draw_small_weights(network: nn.Module, *, share: float = 0.1) -> None:
    """Draw the weights from a share of He's normal distribution, a tenth in ESRGAN, and set biases to zero.

    >>> layer = nn.Linear(5000, 100)
    >>> draw_small_weights(layer)
    >>> round(layer.weight.std().item() / (0.1 * (2 / 5000) ** 0.5), 1)
    1.0
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=share * (2 / fan_in) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _rectify(features: Tensor) -> Tensor:
    return functional.leaky_relu(features, SLOPE, inplace=True)  # every caller hands over a tensor of its own
