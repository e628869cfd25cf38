"""Tiramisu: dense blocks at ever coarser resolutions and back, each layer of which reads all before it.

``Tiramisu(in_channels, out_channels, *, blocks=(2, 2, 2, 4, 5), growth=32, stem=64, kernel_size=5,
dropout=0.2, batch_norm=False, padding="published")`` maps (batch, in_channels, y, x) to scores of classes
before a softmax, (batch, out_channels, y, x).

After Jégou et al. 2017, arXiv:1611.09326, as Kurth et al. 2018, arXiv:1810.01993, have it for storms and
rivers of the atmosphere: convolutions of 5 cells, twice the growth, few layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.networks.cells import order_in_memory
from fieldwise.networks.convnet import (
    check_channels,
    check_sizes,
    choose_convolution,
    draw_he_weights,
    make_dropout,
)
from fieldwise.networks.convolutions.padding import (
    PaddedConvolution,
    PaddedEnlargement,
    apply_to_globe,
    choose_beyond,
)
from fieldwise.networks.valid.blocks import check_cells


class Tiramisu(nn.Module):
    """Dense blocks down to coarse cells and up again, joined at every resolution.

    On the way down what a block reads stays beside what it makes; on the way up only what it makes goes on.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read, scaled to order one, and classes told apart.
    blocks : sequence of int
        Layers of the block at each resolution, from fine to coarse: five blocks halve it four times.
    growth : int
        Features that a layer makes.
    stem : int
        Features of the first convolution.
    kernel_size : int
        Cells on a side of their kernels, odd.
    dropout : float
        Share of features set to zero at random while training.
    batch_norm : bool
        Whether layers are normed before they are rectified; the published ones are not.
    padding : str
        "published": zeros beyond the map; "zonal": the globe goes on, see
        `fieldwise.networks.convolutions.padding`.

    Raises
    ------
    InputError
        If an option is out of range, or a batch has other channels than the network reads or a size that
        cannot be halved so often.

    Examples
    --------
    >>> network = Tiramisu(16, 3)
    >>> print(f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.2f} M")  # as published
    7.50 M
    >>> network(torch.zeros(1, 16, 16, 32)).shape
    torch.Size([1, 3, 16, 32])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        blocks: Sequence[int] = (2, 2, 2, 4, 5),
        growth: int = 32,
        stem: int = 64,
        kernel_size: int = 5,
        dropout: float = 0.2,
        batch_norm: bool = False,
        padding: str = "published",
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels, growth=growth, stem=stem)
        check_sizes(blocks=min(blocks, default=0))
        choose_convolution(2, kernel_size)  # refuses even kernels
        self.beyond = choose_beyond(padding, "zeros")
        self.in_channels, self.step = in_channels, 2 ** (len(blocks) - 1)
        make = partial(_make_layer, dropout=dropout, batch_norm=batch_norm, beyond=self.beyond)
        fill = partial(DenseBlock, growth=growth, make=partial(make, kernel_size=kernel_size))
        self.stem = make(in_channels, stem, kernel_size=kernel_size)
        *outer, inner = blocks
        widths = [stem + growth * sum(blocks[: number + 1]) for number in range(len(outer))]  # 128, 192, …
        self.down = nn.ModuleList(fill(*pair) for pair in zip([stem, *widths], outer))
        self.halve = nn.ModuleList(make(width, width, kernel_size=1, stride=2) for width in widths)
        self.bottom = fill([stem, *widths][-1], inner)
        made = [growth * layers for layers in blocks[:0:-1]]  # 160, 128, … on the way up
        self.enlarge = nn.ModuleList(
            PaddedEnlargement(width, width, bias=True, beyond=self.beyond) for width in made
        )
        joined = [width + seen for width, seen in zip(made, widths[::-1])]
        self.up = nn.ModuleList(fill(*pair) for pair in zip(joined, outer[::-1]))
        last = [[stem, *widths][-1], *joined][-1] + growth * blocks[0]
        self.output = nn.Conv2d(last, out_channels, 1)
        draw_he_weights(self)

    def forward(self, fields: Tensor) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, out_channels, y, x)."""
        check_channels(fields, self.in_channels, 2)
        if self.beyond == "zonal":
            return apply_to_globe(self._tell, fields, self.step)
        check_cells(fields, self.step, self.step)
        return self._tell(fields)

    def _tell(self, fields: Tensor) -> Tensor:
        features = self.stem(order_in_memory(fields))  # (batch, 64, y, x)
        seen = []
        for block, halve in zip(self.down, self.halve):
            seen.append(torch.cat([features, block(features)], 1))  # (batch, 128, y, x), …
            features = halve(seen[-1])  # (batch, 128, y / 2, x / 2), …
        made = self.bottom(features)  # (batch, 160, y / 16, x / 16)
        for enlarge, block in zip(self.enlarge, self.up):
            features = torch.cat([enlarge(made), seen.pop()], 1)
            made = block(features)  # (batch, 128, y / 8, x / 8), …
        return self.output(torch.cat([features, made], 1))


class DenseBlock(nn.Module):
    """Layers each of which reads what the block reads and what all layers before have made.

    Parameters
    ----------
    in_channels, layers : int
        Features read; how many layers.
    growth : int
        Features that a layer makes.
    make : callable
        Makes a layer of the features that it reads and makes.

    Examples
    --------
    >>> DenseBlock(8, 3, growth=4, make=lambda *widths: nn.Conv2d(*widths, 1))(torch.zeros(1, 8, 2, 2)).shape
    torch.Size([1, 12, 2, 2])
    """

    def __init__(
        self, in_channels: int, layers: int, *, growth: int, make: Callable[[int, int], nn.Module]
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make(in_channels + growth * number, growth) for number in range(layers))

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, in_channels, y, x) to what the layers make, (batch, growth * layers, y, x)."""
        made: list[Tensor] = []
        for layer in self.layers:
            made.append(layer(torch.cat([features, *made], 1)))
        return torch.cat(made, 1)


def _make_layer(
    in_channels: int,
    width: int,
    *,
    kernel_size: int,
    stride: int = 1,
    dropout: float,
    batch_norm: bool,
    beyond: str,
) -> nn.Sequential:
    """Convolve, norm if asked for, rectify and drop out."""
    options: dict[str, Any] = {"stride": stride, "bias": not batch_norm, "beyond": beyond}
    convolution = PaddedConvolution(in_channels, width, kernel_size, **options)
    norm = [nn.BatchNorm2d(width)] if batch_norm else []
    return nn.Sequential(convolution, *norm, nn.ReLU(inplace=True), make_dropout(dropout))
