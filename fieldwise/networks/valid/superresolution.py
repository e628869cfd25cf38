"""Super-resolution that draws: residual blocks with noise at every resolution, trained by proper scores.

It trains on whole periodic boxes, without an edge, and refines boxes of any size block by block: what it
gives for a block with its margin, and the noise of its cells, is what it gives for that part of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError, require_at_least
from fieldwise.networks.convnet import CONVOLUTIONS, check_channels, check_sizes, choose_convolution
from fieldwise.networks.unet import ENLARGEMENTS
from fieldwise.networks.valid.blocks import (
    check_bypass,
    check_cells,
    crop,
    double,
    draw_normal_weights,
    narrow,
)
from fieldwise.networks.valid.periodic import Boundary, put_channels_last, put_kernels_last
from fieldwise.networks.valid.srgan import Noise, count_doublings, draw_noise
from fieldwise.networks.valid.styled import add_styles, check_style, convolve

SLOPE = 0.01  # of the rectifier below zero
DISTURBANCE = 0.3  # standard deviation of the amplitudes of noise, at first


class StochasticSuperResolver(Boundary, nn.Module):
    """At each resolution, blocks of two convolutions that add to the features, and noise before each block.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read and given, scaled to order one.
    scale_factor : int
        Cells given for one cell read, an axis; a power of two.
    dimensions : int
        2 for maps, 3 for volumes.
    features : int or sequence of int
        Channels at every resolution, or at each, from the coarsest on.
    blocks : int or sequence of int, optional
        At each resolution, from the coarsest on; by default 1 and, at each finer one, 4. A block sees 2 cells
        of it farther on every side. Where the input ends to know waves, and members begin to draw them, power
        is to stay the same: that takes filters, and blocks, that reach far in fine cells.
    coarsenings : int
        How often the resolution is halved before blocks begin, as in a U-Net: what is far away, and needs no
        detail, is seen cheaply. What the way down has seen of a resolution is added on the way up.
    boundary : str
        "periodic": what is beyond a side is at the opposite one, n cells give scale_factor n. "valid": the
        fields carry their margin, and the output is cut by what the network sees. May be set at any time.
    bypass : bool, optional
        Whether the input, made finer linearly, is added to the output; by default where their channels agree.
    modulated : bool
        Whether the amplitudes of noise depend on the features, cell by cell: where the input tells more,
        beside a flight over a glacier, say, there is less to draw.
    style_numbers, init_std
        As of `fieldwise.networks.valid.unet.UNet`.

    Attributes
    ----------
    margin, surplus : int
        Where the boundary is "valid", cells by which the input is to be padded on every side, and cells to
        cut off every side of the output, as of `fieldwise.networks.valid.srgan.SuperResolutionGenerator`.
    step : int
        Cells of the input along one of the coarsest resolution. A block of a larger field gives the same as
        the whole where it begins a multiple of this from the whole's first cell.
    noise_planes : tuple of (number, number)
        Of each plane of noise, in the order of their levels: its cells in a cell of the input, and, where the
        boundary is "valid", how many of its cells lie between the edge of the input and its own. Fractions
        where its cells are coarser than those of the input.

    Raises
    ------
    InputError
        If an option is out of range, or a batch has other channels or fewer cells than the network reads.

    Notes
    -----
    The last convolution, of a single cell, starts at zero: the first answer is the input, made finer. Noise
    is one plane a sample and block, times an amplitude a channel, which starts at random. Train it with two
    members or more and `fieldwise.losses.ensembles.proper_score`.

    Examples
    --------
    >>> from fieldwise.networks.valid.periodic import wrap_around
    >>> small = {"dimensions": 2, "features": 4, "blocks": 1}
    >>> network = StochasticSuperResolver(2, 2, scale_factor=4, **small)
    >>> fields = torch.zeros(1, 2, 16, 16)
    >>> network(fields).shape
    torch.Size([1, 2, 64, 64])
    >>> network.boundary = "valid"
    >>> network.margin, network.surplus, network.noise_planes
    (5, 2, ((1, 1), (2, 6), (4, 16)))
    >>> crop(network(wrap_around(fields, network.margin)), network.surplus).shape
    torch.Size([1, 2, 64, 64])

    Five cells more on every side are seen through two blocks of cells twice as large:

    >>> network = StochasticSuperResolver(2, 2, scale_factor=2, coarsenings=1, boundary="valid", **small)
    >>> network.step, network.margin, network.noise_planes[0]
    (2, 9, (Fraction(1, 2), Fraction(1, 2)))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        scale_factor: int = 2,
        dimensions: int = 3,
        features: int | Sequence[int] = 64,
        blocks: int | Sequence[int] | None = None,
        coarsenings: int = 0,
        boundary: str = "periodic",
        bypass: bool | None = None,
        modulated: bool = False,
        style_numbers: int = 0,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        self.boundary = boundary
        require_at_least(0, coarsenings=coarsenings)
        doublings = count_doublings(scale_factor)
        levels = coarsenings + doublings + 1
        widths = _spread(features, levels, "features", least=1)
        of_levels = _spread(
            [*[1] * (coarsenings + 1), *[4] * doublings] if blocks is None else blocks, levels
        )
        check_sizes(in_channels=in_channels, out_channels=out_channels)
        convolution = choose_convolution(dimensions, 3)
        self.in_channels, self.dimensions = in_channels, dimensions
        self.scale_factor, self.doublings, self.step = scale_factor, doublings, 2**coarsenings
        self.bypass = check_bypass(bypass, in_channels, out_channels)
        self.first = convolution(in_channels, widths[coarsenings], 3)
        self.descent = nn.ModuleList(
            CONVOLUTIONS[dimensions](*pair, 2, stride=2) for pair in pairwise(widths[coarsenings::-1])
        )
        layers: list[nn.Module] = []
        planes, cut = [], scale_factor  # cells of the output that are lost so far on every side
        for level, width in enumerate(widths):
            if level:
                layers.append(ENLARGEMENTS[dimensions](widths[level - 1], width, 2, stride=2))
            size = 2 ** (levels - 1 - level)  # cells of the output in one of this resolution
            for _ in range(of_levels[level]):
                layers.append(NoisyBlock(width, dimensions, modulated=modulated))
                planes.append((_plain(Fraction(scale_factor, size)), _plain(Fraction(cut, size))))
                cut += 2 * size
        self.layers = nn.ModuleList(layers)
        self.last = convolution(widths[-1], out_channels, 1)
        self.noise_planes = tuple(planes)
        self.cut = cut
        # The first convolution takes a cell off every side, and the rest begins at a whole coarsest one.
        self.margin = 1 + self.step * -(-(cut - scale_factor) // (scale_factor * self.step))
        self.surplus = scale_factor * self.margin - cut
        self._draw_weights(init_std)
        add_styles(self, style_numbers)
        put_kernels_last(self)

    def forward(self, fields: Tensor, noise: Noise | None = None, style: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, *space) to (batch, out_channels, *space).

        Parameters
        ----------
        fields : Tensor
            Any number of cells; where the boundary is "valid", those of the margin and more.
        noise, style
            As of `fieldwise.networks.valid.srgan.SuperResolutionGenerator`.
        """
        check_channels(fields, self.in_channels, self.dimensions)
        valid = self.boundary == "valid"
        check_cells(fields, 2 * self.cut // self.scale_factor + 1 if valid else 1)
        if any((size - 2 * valid) % self.step for size in fields.shape[2:]):
            raise InputError(
                f"the network reads {'2 and ' if valid else ''}a multiple of {self.step} cells an axis, not "
                f"{tuple(fields.shape[2:])}; choose another crop"
            )
        check_style(self, style, len(fields))
        noise, plane = noise or draw_noise, 0
        features, seen = convolve(self.first, self.widen(put_channels_last(fields)), style), []
        for layer in self.descent:
            seen.append(functional.leaky_relu(features, SLOPE))
            features = convolve(layer, seen[-1], style)
        for layer in self.layers:
            if isinstance(layer, NoisyBlock):
                drawn = noise(plane, torch.Size([len(features), 1, *features.shape[2:]]), features)
                made = layer(features, drawn, self.widen, style)
                features = made + (crop(features, 2) if valid else features)
                plane += 1
            else:
                features = convolve(layer, features, style)
                if seen:
                    features = features + narrow(seen.pop(), features.shape[2:])
        made = convolve(self.last, features, style)
        return made + self._refine(fields) if self.bypass else made

    def _refine(self, fields: Tensor) -> Tensor:
        """Make fields finer linearly, in the cells of the output."""
        valid = self.boundary == "valid"
        for _ in range(self.doublings):
            fields = double(self.widen(fields))
            fields = fields if valid else crop(fields, 1)
        return crop(fields, self.cut - (self.scale_factor - 1)) if valid else fields

    def _draw_weights(self, init_std: float | None) -> None:
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, a=SLOPE)
            else:
                nn.init.zeros_(parameter)
        draw_normal_weights(self, init_std)
        count = len(self.noise_planes)
        for name, parameter in self.named_parameters():
            if name.endswith("amplitude"):
                nn.init.normal_(parameter, std=DISTURBANCE)
            elif name.endswith("second.weight"):
                parameter.data /= (2 * count) ** 0.5
            elif name.endswith("modulation.weight"):
                nn.init.normal_(parameter, std=DISTURBANCE / parameter.shape[1])
        nn.init.zeros_(self.last.weight)


def _spread(asked: int | Sequence[int], levels: int, what: str = "blocks", *, least: int = 0) -> list[int]:
    """Give a number for each resolution; no block at some of them is fine, at all is not."""
    numbers = [asked] * levels if isinstance(asked, int) else [*asked]
    if len(numbers) != levels or min(numbers) < least or not any(numbers):
        raise InputError(
            f"{what} are {asked}; give a whole number above 0, or one for each of {levels} resolutions"
        )
    return numbers


def _plain(number: Fraction) -> int | Fraction:
    return int(number) if number.denominator == 1 else number


class NoisyBlock(nn.Module):
    """Noise times an amplitude a channel, and two convolutions with a rectifier between them.

    Where it is modulated, a linear map of the features of a cell is added to the amplitudes there.

    >>> block, features = NoisyBlock(4, dimensions=2), torch.zeros(1, 4, 9, 9)
    >>> block(features, torch.randn(1, 1, 9, 9), lambda fields: fields, None).shape
    torch.Size([1, 4, 5, 5])
    """

    def __init__(self, features: int, dimensions: int, *, modulated: bool = False) -> None:
        super().__init__()
        convolution = choose_convolution(dimensions, 3)
        self.amplitude = nn.Parameter(torch.zeros(features))
        self.modulation = CONVOLUTIONS[dimensions](features, features, 1, bias=False) if modulated else None
        self.first, self.second = (convolution(features, features, 3) for _ in range(2))

    def forward(
        self, features: Tensor, noise: Tensor, widen: Callable[[Tensor], Tensor], style: Tensor | None
    ) -> Tensor:
        """Map (batch, features, *space) and noise (batch, 1, *space) to what is to be added."""
        amplitude = self.amplitude.to(features.dtype).view(-1, *[1] * (features.ndim - 2))
        if self.modulation is not None:
            amplitude = amplitude + convolve(self.modulation, features, style)
        made = widen(torch.addcmul(features, noise, amplitude))
        made = functional.leaky_relu(convolve(self.first, made, style), SLOPE, inplace=True)
        return convolve(self.second, widen(made), style)
