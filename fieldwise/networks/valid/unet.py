"""The U-Net of valid convolutions, with which map2map learns displacements (1,808,003 parameters in 3-D)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from fieldwise.networks.convnet import check_channels, check_sizes
from fieldwise.networks.valid.blocks import ConvBlock, check_bypass, check_cells, crop, draw_normal_weights
from fieldwise.networks.valid.periodic import Boundary, put_channels_last, put_kernels_last
from fieldwise.networks.valid.styled import add_styles, check_style


class UNet(Boundary, nn.Module):
    """Three resolutions, and no padding: n cells give n - 40, or n of a periodic box.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read and given, scaled to order one.
    dimensions : int
        2 for maps, 3 for volumes.
    features : int
        Channels at every resolution.
    boundary : str
        "valid", or "periodic" for whole periodic boxes, which then need no margin: the same numbers for 0.6
        of the products at 64 cells. May be set at any time.
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

    Notes
    -----
    While training, batch norms take their means over the cells that are there: of a periodic box each counts
    once, of one with a margin those near the sides several times.

    Examples
    --------
    >>> network = UNet(3, 3)
    >>> sum(parameter.numel() for parameter in network.parameters())
    1808003
    >>> network = UNet(2, 2, dimensions=2, features=8)
    >>> network(torch.zeros(1, 2, 64, 48)).shape
    torch.Size([1, 2, 24, 8])
    >>> network.boundary = "periodic"
    >>> network(torch.zeros(1, 2, 24, 8)).shape
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
        boundary: str = "valid",
        bypass: bool | None = None,
        style_numbers: int = 0,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels, features=features)
        self.in_channels, self.out_channels, self.dimensions = in_channels, out_channels, dimensions
        self.boundary = boundary
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
        put_kernels_last(self)

    def forward(self, fields: Tensor, style: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, *space) to (batch, out_channels, *space), or the inner cells of it."""
        check_channels(fields, self.in_channels, self.dimensions)
        periodic = self.boundary == "periodic"
        check_cells(fields, self.step if periodic else 2 * self.margin + self.step, self.step)
        check_style(self, style, len(fields))
        keep = (lambda fields, cells: fields) if periodic else crop
        beside = (style, periodic)
        fine = self.conv_l0(put_channels_last(fields), *beside)  # valid: n - 4
        middle = self.conv_l1(self.down_l0(fine, *beside), *beside)  # n / 2 - 6
        if periodic:  # within a margin the coarsest cells begin at odd cells of the middle ones
            middle = turn(middle, -1)
        features = self.conv_c(self.down_l1(middle, *beside), *beside)  # n / 4 - 7
        features = torch.cat([keep(middle, 4), self.up_r1(features, *beside)], dim=1)  # n / 2 - 14
        features = self.conv_r1(features, *beside)  # n / 2 - 18
        if periodic:
            features = turn(features, 1)
        features = torch.cat([keep(fine, 16), self.up_r0(features, *beside)], dim=1)  # n - 36
        del fine, middle  # the largest features, which nothing reads any more
        made = self.conv_r0(features, *beside)  # n - 40
        return made + keep(fields, self.margin) if self.bypass else made


def turn(fields: Tensor, cells: int) -> Tensor:
    """Move (batch, channel, *space) by so many cells along each axis; what leaves comes in at the other side.

    >>> turn(torch.arange(4).view(1, 1, 2, 2), 1).tolist()
    [[[[3, 2], [1, 0]]]]
    """
    axes = tuple(range(2, fields.ndim))
    turned = torch.roll(fields, (cells,) * len(axes), axes)
    return put_channels_last(turned)
