"""The U-Net of valid convolutions, with which map2map learns displacements (1,808,003 parameters in 3-D)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from fieldwise.networks.convnet import check_channels, check_sizes
from fieldwise.networks.valid.blocks import ConvBlock, check_bypass, check_cells, crop, draw_normal_weights
from fieldwise.networks.valid.styled import add_styles, check_style


class UNet(nn.Module):
    """Three resolutions, and no padding: n cells give n - 40.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read and given, scaled to order one.
    dimensions : int
        2 for maps, 3 for volumes.
    features : int
        Channels at every resolution.
    bypass : bool, optional
        Whether the middle of the input is added to the output; by default where their channels agree.
    style_numbers : int
        Numbers a sample beside its fields, see `fieldwise.networks.valid.styled`.
    init_std : float, optional
        Standard deviation that the weights of convolutions start with; by default PyTorch's own start.

    Attributes
    ----------
    margin : int
        Cells that the output lacks on every side.
    step : int
        Cells that the size of the input must be a multiple of. A block of a larger field gives the same as
        the whole where it begins a multiple of this from the whole's first cell.

    Raises
    ------
    InputError
        If an option is out of range, or a batch has other channels or sizes than the network reads.

    Examples
    --------
    >>> network = UNet(3, 3)
    >>> sum(parameter.numel() for parameter in network.parameters())
    1808003
    >>> UNet(2, 2, dimensions=2, features=8)(torch.zeros(1, 2, 64, 48)).shape
    torch.Size([1, 2, 24, 8])
    """

    margin = 20
    step = 4
    block: type[ConvBlock] = ConvBlock

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dimensions: int = 3,
        features: int = 64,
        bypass: bool | None = None,
        style_numbers: int = 0,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels, features=features)
        self.in_channels, self.dimensions = in_channels, dimensions
        self.bypass = check_bypass(bypass, in_channels, out_channels)
        block = partial(self.block, dimensions=dimensions)
        resample = partial(ConvBlock, features, features, dimensions=dimensions)
        self.conv_l0 = block(in_channels, features, "CACBA")
        self.down_l0 = resample("DBA")
        self.conv_l1 = block(features, features, "CBACBA")
        self.down_l1 = resample("DBA")
        self.conv_c = block(features, features, "CBACBA")
        self.up_r1 = resample("UBA")
        self.conv_r1 = block(2 * features, features, "CBACBA")
        self.up_r0 = resample("UBA")
        self.conv_r0 = block(2 * features, out_channels, "CAC")
        draw_normal_weights(self, init_std)
        add_styles(self, style_numbers)

    def forward(self, fields: Tensor, style: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, *space) to (batch, out_channels, *space), 40 cells fewer an axis."""
        check_channels(fields, self.in_channels, self.dimensions)
        check_cells(fields, 2 * self.margin + self.step, self.step)
        check_style(self, style, len(fields))
        fine = self.conv_l0(fields, style)  # n - 4
        middle = self.conv_l1(self.down_l0(fine, style), style)  # n / 2 - 6
        features = self.conv_c(self.down_l1(middle, style), style)  # n / 4 - 7
        features = torch.cat([crop(middle, 4), self.up_r1(features, style)], dim=1)  # n / 2 - 14
        features = self.conv_r1(features, style)  # n / 2 - 18
        features = torch.cat([crop(fine, 16), self.up_r0(features, style)], dim=1)  # n - 36
        made = self.conv_r0(features, style)  # n - 40
        return made + crop(fields, self.margin) if self.bypass else made
