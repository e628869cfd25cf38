"""Super-resolution as map2map has it: a generator with noise, and its discriminator.

After Li et al. 2021, PNAS 118(19), and the noise of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958). For 6
channels (displacement and velocity) and 8 times the resolution they have 6,975,826 and 7,405,569 parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from fieldwise.errors import InputError
from fieldwise.networks.convnet import check_channels, check_sizes, choose_convolution
from fieldwise.networks.valid.blocks import (
    check_bypass,
    check_cells,
    crop,
    double,
    draw_normal_weights,
    halve,
)
from fieldwise.networks.valid.styled import Chain, add_styles, check_style, convolve

SLOPE = 0.2  # of all rectifiers below zero

Noise = Callable[[int, torch.Size, Tensor], Tensor]  # (level, shape, like) -> plane of (batch, 1, *space)


class SuperResolutionGenerator(nn.Module):
    """Doubles the resolution block by block, with fresh noise at each: n cells give 2 n - 6 a block.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read and given, scaled to order one.
    scale_factor : int
        Cells given for one cell read, an axis; a power of two. 8 gives 8 n - 42 cells.
    dimensions : int
        2 for maps, 3 for volumes.
    most_features, least_features : int
        Channels at the resolution of the input, halved at each doubling down to the least.
    bypass : bool, optional
        Whether the input, made finer linearly, is added to the output; by default where their channels agree.
    join_noise : bool
        Whether noise is one more channel, instead of being added times an amplitude a channel.
    style_numbers, init_std
        As of `fieldwise.networks.valid.unet.UNet`.

    Attributes
    ----------
    margin : int
        Cells by which the input is to be padded on every side, so that the output covers what was padded...
    surplus : int
        ...and cells to cut off every side of that output: ``crop(network(padded), network.surplus)`` has
        scale_factor cells for each that was padded.
    noise_planes : tuple of (int, int)
        Of each plane of noise, in the order of their levels: its cells in a cell of the input, and how many
        of its cells lie between the edge of the input and its own.

    Raises
    ------
    InputError
        If an option is out of range, or a batch has other channels than the network reads.

    Examples
    --------
    >>> network = SuperResolutionGenerator(6, 6)
    >>> sum(parameter.numel() for parameter in network.parameters())
    6975826
    >>> network.margin, network.surplus, network.noise_planes[:3]
    (3, 3, ((1, 0), (2, 2), (2, 3)))
    >>> small = {"scale_factor": 2, "dimensions": 2, "most_features": 8, "least_features": 4}
    >>> network = SuperResolutionGenerator(2, 2, **small)
    >>> padded = torch.zeros(1, 2, 16 + 2 * network.margin, 16 + 2 * network.margin)
    >>> crop(network(padded), network.surplus).shape
    torch.Size([1, 2, 32, 32])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        scale_factor: int = 8,
        dimensions: int = 3,
        most_features: int = 512,
        least_features: int = 64,
        bypass: bool | None = None,
        join_noise: bool = False,
        style_numbers: int = 0,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels)
        widths = list_widths(scale_factor, most_features, least_features)
        convolution = choose_convolution(dimensions, 1)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.dimensions, self.scale_factor = dimensions, scale_factor
        self.bypass = check_bypass(bypass, in_channels, out_channels)
        self.block0 = Chain(convolution(in_channels, widths[0], 1), nn.LeakyReLU(SLOPE))
        self.blocks = nn.ModuleList(
            DoublingBlock(*pair, out_channels, dimensions, join_noise) for pair in pairwise(widths)
        )
        cut = 3 * (scale_factor - 1)  # 2 n - 6 a block, in cells of the output
        self.margin = -(-cut // scale_factor)
        self.surplus = scale_factor * self.margin - cut
        self.noise_planes = tuple(
            plane
            for cells in (2**number for number in range(len(self.blocks)))
            for plane in ((cells, 3 * (cells - 1)), (2 * cells, 6 * (cells - 1) + 2))
        )
        draw_normal_weights(self, init_std)
        add_styles(self, style_numbers)

    def forward(self, fields: Tensor, noise: Noise | None = None, style: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, *space) to (batch, out_channels, *space).

        Parameters
        ----------
        fields : Tensor
            At least 6 cells an axis for a scale factor of 8.
        noise : callable, optional
            Gives the plane (batch, 1, *space) of a level, counted from 0 in the order of execution, its
            shape, and a tensor of the type and on the device that it should have. By default fresh normal
            numbers.
        style : Tensor, optional
            (batch, numbers), of a network that was made with ``style_numbers``.
        """
        check_channels(fields, self.in_channels, self.dimensions)
        check_cells(fields, 6 * (self.scale_factor - 1) // self.scale_factor + 1)
        check_style(self, style, len(fields))
        noise = noise or draw_noise
        features = self.block0(fields, style)
        made = fields
        for number, block in enumerate(self.blocks):
            features, finer = block(features, 2 * number, noise, style)
            made = finer + crop(double(made), 2) if number or self.bypass else finer
        return made


class DoublingBlock(nn.Module):
    """Noise, doubling, convolution, noise and convolution; and a linear mix of the features.

    >>> block = DoublingBlock(8, 4, 1, dimensions=2, join_noise=False)
    >>> [tuple(made.shape) for made in block(torch.zeros(1, 8, 6, 6), 0, draw_noise, None)]
    [(1, 4, 6, 6), (1, 1, 6, 6)]
    """

    def __init__(
        self, in_features: int, features: int, out_channels: int, dimensions: int, join_noise: bool
    ) -> None:
        super().__init__()
        joined = int(join_noise)
        wide, single = choose_convolution(dimensions, 3), choose_convolution(dimensions, 1)
        self.conv = nn.ModuleList(
            [
                Noisy(in_features, join_noise),
                nn.Identity(),  # the doubling
                wide(in_features + joined, features, 3),
                nn.LeakyReLU(SLOPE),
                Noisy(features, join_noise),
                wide(features + joined, features, 3),
                nn.LeakyReLU(SLOPE),
            ]
        )
        self.proj = Chain(single(features, out_channels, 1), nn.LeakyReLU(SLOPE))

    def forward(
        self, features: Tensor, level: int, noise: Noise, style: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Map (batch, in_features, *n) to features of 2 n - 6 cells, and to what they add to the fields."""
        disturb, _, convolution, activation, disturb_again, last_convolution, last_activation = self.conv
        features = double(disturb(features, level, noise))
        features = activation(convolve(convolution, features, style))
        features = disturb_again(features, level + 1, noise)
        features = last_activation(convolve(last_convolution, features, style))
        return features, self.proj(features, style)


class Noisy(nn.Module):
    """One plane of noise a sample, joined as a channel, or added times an amplitude a channel, 0 at first.

    >>> Noisy(8, join_noise=True)(torch.zeros(1, 8, 5, 5), 0, draw_noise).shape
    torch.Size([1, 9, 5, 5])
    """

    def __init__(self, channels: int, join_noise: bool) -> None:
        super().__init__()
        self.std = None if join_noise else nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor, level: int, noise: Noise) -> Tensor:
        """Disturb (batch, channels, *space)."""
        plane = noise(level, torch.Size([len(features), 1, *features.shape[2:]]), features)
        if self.std is None:
            return torch.cat([features, plane], dim=1)
        return features + plane * self.std.to(plane.dtype).view(-1, *[1] * (features.ndim - 2))


class SuperResolutionDiscriminator(nn.Module):
    """Judges patches of fine fields, mostly joined with the coarse ones they came from, made as fine.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read, and scores given for a patch.
    scale_factor : int
        How often the resolution is halved: 8 for three times.
    dimensions, most_features, least_features, style_numbers, init_std
        As of `SuperResolutionGenerator`, in the reverse order.

    Raises
    ------
    InputError
        If an option is out of range, or a batch has other channels or fewer cells than the network reads.

    Examples
    --------
    >>> network = SuperResolutionDiscriminator(12)
    >>> sum(parameter.numel() for parameter in network.parameters())
    7405569
    >>> small = {"scale_factor": 2, "dimensions": 2, "most_features": 8, "least_features": 4}
    >>> SuperResolutionDiscriminator(4, **small)(torch.zeros(1, 4, 32, 16)).shape
    torch.Size([1, 1, 14, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        scale_factor: int = 8,
        dimensions: int = 3,
        most_features: int = 512,
        least_features: int = 64,
        style_numbers: int = 0,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels)
        widths = list_widths(scale_factor, most_features, least_features)[::-1]
        single = choose_convolution(dimensions, 1)
        self.in_channels, self.dimensions = in_channels, dimensions
        self.block0 = Chain(single(in_channels, widths[0], 1), nn.LeakyReLU(SLOPE))
        self.blocks = nn.ModuleList(HalvingBlock(*pair, dimensions) for pair in pairwise(widths))
        last = widths[-1]
        self.block9 = Chain(single(last, last, 1), nn.LeakyReLU(SLOPE), single(last, out_channels, 1))
        draw_normal_weights(self, init_std)
        add_styles(self, style_numbers)

    def forward(self, fields: Tensor, style: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, *space) to scores (batch, out_channels, *space), without a sigmoid."""
        check_channels(fields, self.in_channels, self.dimensions)
        check_cells(fields, 5 * 2 ** len(self.blocks) - 4)  # n / 2 - 2 a block, one at the end
        check_style(self, style, len(fields))
        features = self.block0(fields, style)
        for block in self.blocks:
            features = block(features, style)
        return self.block9(features, style)


class HalvingBlock(nn.Module):
    """Two convolutions and a 1-cell convolution of the middle of the input, added; then half the resolution.

    >>> HalvingBlock(4, 8, dimensions=2)(torch.zeros(1, 4, 10, 10), None).shape
    torch.Size([1, 8, 3, 3])
    """

    def __init__(self, in_features: int, features: int, dimensions: int) -> None:
        super().__init__()
        wide, single = choose_convolution(dimensions, 3), choose_convolution(dimensions, 1)
        self.conv = Chain(
            wide(in_features, in_features, 3),
            nn.LeakyReLU(SLOPE),
            wide(in_features, features, 3),
            nn.LeakyReLU(SLOPE),
        )
        self.skip = single(in_features, features, 1)

    def forward(self, features: Tensor, style: Tensor | None) -> Tensor:
        """Map (batch, in_features, *n) to (batch, features, *(n / 2 - 2))."""
        return halve(self.conv(features, style) + convolve(self.skip, crop(features, 2), style))


def list_widths(scale_factor: int, most: int, least: int) -> list[int]:
    """List the channels at each resolution, from the coarsest to the finest.

    >>> list_widths(16, 512, 64)
    [512, 256, 128, 64, 64]
    """
    doublings = count_doublings(scale_factor)
    if not 1 <= least <= most:
        raise InputError(f"least_features is {least}; give at least 1 and at most most_features, {most}")
    return [max(most >> halvings, least) for halvings in range(doublings + 1)]


def count_doublings(scale_factor: int) -> int:
    """Count how often the resolution doubles.

    >>> count_doublings(8)
    3
    >>> count_doublings(6)
    Traceback (most recent call last):
    fieldwise.errors.InputError: scale_factor is 6; give a power of two, of at least 2
    """
    if scale_factor < 2 or scale_factor & (scale_factor - 1):
        raise InputError(f"scale_factor is {scale_factor}; give a power of two, of at least 2")
    return scale_factor.bit_length() - 1


def draw_noise(level: int, shape: torch.Size, like: Tensor) -> Tensor:
    """Draw a plane of normal numbers, of the type of a tensor and on its device; alike at all levels.

    >>> draw_noise(0, torch.Size([1, 1, 4]), torch.zeros(1, dtype=torch.float64)).dtype
    torch.float64
    """
    return torch.randn(shape, dtype=like.dtype, device=like.device)
