"""A network that looks at the fields at several resolutions: the U-Net, in two or three dimensions.

``UNet(in_channels, out_channels, *, blocks=4, filters=32, kernel_size=3, activation="leaky_relu",
dropout=0.0, dimensions=2, padding="published")`` maps (batch, in_channels, y, x), or (batch, in_channels, z,
y, x), to as many cells of out_channels, frames of any size.

After Ronneberger et al. 2015, arXiv:1505.04597: each block has two convolutions; on the way down every block
halves the resolution and doubles the features, on the way up it is the reverse, and what the way down has
seen at a resolution is put beside what the way up brings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.cells import order_in_memory
from fieldwise.networks.convnet import (
    check_channels,
    check_sizes,
    choose_convolution,
    draw_glorot_weights,
    make_activation,
    make_dropout,
)
from fieldwise.networks.convolutions.padding import PaddedConvolution, apply_to_globe, choose_beyond

POOLINGS: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
ENLARGEMENTS: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


class UNet(nn.Module):
    """Blocks of two convolutions at ever coarser resolutions and back; same extent out as in.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read and written, scaled to order one.
    blocks : int
        Resolutions: 4 blocks halve the resolution three times.
    filters : int
        Features of the first block; each next one has twice as many.
    kernel_size, activation, dropout, dimensions
        As of `fieldwise.networks.convnet.ConvNet`.
    padding : str
        "published": zeros beyond the map; "zonal": the globe goes on, see
        `fieldwise.networks.convolutions.padding`.

    Raises
    ------
    InputError
        If an option is out of range, or a batch has other channels than the network reads or, of the globe,
        a size that cannot be halved so often.

    Notes
    -----
    A frame is widened by zeros, alike on both sides, to a multiple of 2 ** (blocks - 1) cells, a globe by
    rows from beyond its poles, and the result is cut back; a single cell too many goes to the far side.
    Max-pooling and enlargement by 2 x 2 cells treat all directions alike, so
    `fieldwise.networks.equivariant.Symmetrised` makes the network equivariant.

    Examples
    --------
    >>> UNet(4, 4)(torch.zeros(1, 4, 50, 37)).shape
    torch.Size([1, 4, 50, 37])
    >>> UNet(1, 2, blocks=2, filters=4, dimensions=3)(torch.zeros(1, 1, 5, 8, 7)).shape
    torch.Size([1, 2, 5, 8, 7])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        blocks: int = 4,
        filters: int = 32,
        kernel_size: int = 3,
        activation: str = "leaky_relu",
        dropout: float = 0.0,
        dimensions: int = 2,
        padding: str = "published",
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels, blocks=blocks, filters=filters)
        convolution = choose_convolution(dimensions, kernel_size)
        enlargement = ENLARGEMENTS[dimensions]
        self.in_channels, self.blocks, self.dimensions = in_channels, blocks, dimensions
        self.zonal = choose_beyond(padding, "zeros") == "zonal"
        if self.zonal and dimensions == 3:
            raise InputError("padding zonal is for maps; take dimensions 2, or padding published")
        widths = [filters * 2**block for block in range(blocks)]  # 32, 64, 128, 256

        def make_block(features: int, width: int) -> nn.ModuleList:
            return nn.ModuleList(
                PaddedConvolution(channels, width, kernel_size, beyond="zonal", bias=True)
                if self.zonal
                else convolution(channels, width, kernel_size, padding=kernel_size // 2)
                for channels in (features, width)
            )

        self.down = nn.ModuleList(make_block(*pair) for pair in zip([in_channels, *widths], widths))
        self.pool = POOLINGS[dimensions](2)
        self.enlarge = nn.ModuleList(enlargement(2 * width, width, 2, stride=2) for width in widths[-2::-1])
        self.up = nn.ModuleList(make_block(2 * width, width) for width in widths[-2::-1])
        self.activation = make_activation(activation)
        self.dropout = make_dropout(dropout)
        self.output = convolution(filters, out_channels, 1)
        draw_glorot_weights(self)

    def forward(self, fields: Tensor) -> Tensor:
        """Map (batch, in_channels, [z,] y, x) to (batch, out_channels, [z,] y, x)."""
        check_channels(fields, self.in_channels, self.dimensions)
        if self.zonal:
            return apply_to_globe(self._map, fields, 2 ** (self.blocks - 1))
        return self._map(fields)

    def _map(self, fields: Tensor) -> Tensor:
        sizes = fields.shape[2:]
        margins = [(-size % 2 ** (self.blocks - 1)) // 2 for size in sizes]
        widened = self._widen(order_in_memory(fields), margins)
        features = self._convolve(self.down[0], widened)  # (batch, 32, y, x), widened
        seen = [features]
        for block in self.down[1:]:
            features = self._convolve(block, self.pool(features))  # (batch, 64, y / 2, x / 2), …
            seen.append(features)
        seen.pop()
        for enlarge, block in zip(self.enlarge, self.up):
            features = torch.cat([self.activation(enlarge(features)), seen.pop()], dim=1)
            features = self._convolve(block, features)  # (batch, 128, y / 4, x / 4), …
        result = self.output(features)
        for axis, (margin, size) in enumerate(zip(margins, sizes), start=2):
            result = result.narrow(axis, margin, size)
        return result  # (batch, out_channels, y, x)

    def _convolve(self, block: nn.Module, features: Tensor) -> Tensor:
        for convolution in block.children():
            features = self.dropout(self.activation(convolution(features)))
        return features

    def _widen(self, fields: Tensor, margins: list[int]) -> Tensor:
        sides: list[int] = []
        for margin, size in zip(margins, fields.shape[2:]):
            sides = [margin, -size % 2 ** (self.blocks - 1) - margin, *sides]  # last axis first
        return functional.pad(fields, sides)
