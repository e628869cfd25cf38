"""The U-Net of valid convolutions with residual blocks, map2map's VNet (1,825,222 parameters in 3-D)."""

from __future__ import annotations

from fieldwise.networks.valid.blocks import ResidualBlock
from fieldwise.networks.valid.unet import UNet


class VNet(UNet):
    """As `fieldwise.networks.valid.unet.UNet`, with residual blocks in place of the plain ones.

    >>> sum(parameter.numel() for parameter in VNet(3, 3).parameters())
    1825222
    """

    block = ResidualBlock
