"""Discriminators that judge patches: PatchGAN of 9 cells a patch, and PatchGAN42, of 22 cells.

After Isola et al. 2017, arXiv:1611.07004, as map2map has them (283,137 and 2,635,201 parameters in 3-D).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from fieldwise.networks.convnet import CONVOLUTIONS, check_channels, check_sizes, choose_convolution
from fieldwise.networks.valid.blocks import BATCH_NORMS, ConvBlock, check_cells, draw_normal_weights


class PatchGAN(nn.Module):
    """Four convolutions of 3 cells: n cells give n - 8 scores, each of a patch of 9 cells an axis.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read, and scores given for a patch.
    dimensions : int
        2 for maps, 3 for volumes.
    features : int
        Channels of the first convolution; each next one doubles them.
    init_std : float, optional
        Standard deviation that the weights of convolutions start with; by default PyTorch's own start.

    Attributes
    ----------
    margin : int
        Cells that the scores lack on every side.

    Examples
    --------
    >>> import torch
    >>> PatchGAN(3, dimensions=2)(torch.zeros(2, 3, 16, 12)).shape
    torch.Size([2, 1, 8, 4])
    """

    margin = 4

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        dimensions: int = 3,
        features: int = 32,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels, features=features)
        self.in_channels, self.dimensions = in_channels, dimensions
        self.convs = nn.Sequential(
            ConvBlock(in_channels, features, "CA", dimensions=dimensions),
            ConvBlock(features, 2 * features, "CBA", dimensions=dimensions),
            ConvBlock(2 * features, 4 * features, "CBA", dimensions=dimensions),
            ConvBlock(4 * features, out_channels, "C", dimensions=dimensions),
        )
        draw_normal_weights(self, init_std)

    def forward(self, fields: Tensor) -> Tensor:
        """Map (batch, in_channels, *space) to scores (batch, out_channels, *space), without a sigmoid."""
        check_channels(fields, self.in_channels, self.dimensions)
        check_cells(fields, 2 * self.margin + 1)
        return self.convs(fields)


class PatchGAN42(nn.Module):
    """Three convolutions of 4 cells that halve the resolution, and one of 1: scores of patches of 22 cells.

    Parameters and errors are those of `PatchGAN`; the patches lie 8 cells apart.

    Examples
    --------
    >>> import torch
    >>> PatchGAN42(3, dimensions=2)(torch.zeros(2, 3, 48, 64)).shape
    torch.Size([2, 1, 4, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        dimensions: int = 3,
        features: int = 64,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels, features=features)
        convolution = choose_convolution(dimensions, 1)
        self.in_channels, self.dimensions = in_channels, dimensions
        widths = [in_channels, features, 2 * features, 4 * features]
        layers: list[nn.Module] = []
        for number, (width, following) in enumerate(pairwise(widths)):
            layers.append(CONVOLUTIONS[dimensions](width, following, 4, stride=2))
            if number:
                layers.append(BATCH_NORMS[dimensions](following))
            layers.append(nn.LeakyReLU(0.2))
        self.convs = nn.Sequential(*layers, convolution(4 * features, out_channels, 1))
        draw_normal_weights(self, init_std)

    def forward(self, fields: Tensor) -> Tensor:
        """Map (batch, in_channels, *space) to scores (batch, out_channels, *space), without a sigmoid."""
        check_channels(fields, self.in_channels, self.dimensions)
        check_cells(fields, 22)
        return self.convs(fields)
