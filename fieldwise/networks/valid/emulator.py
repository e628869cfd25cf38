"""A fast emulator of a periodic box: residual blocks of small convolutions at one resolution.

It trains on whole periodic boxes, without an edge, and maps boxes of any size block by block: what it gives
for a block with its margin is what it gives for the same part of the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.convnet import check_channels, check_sizes, choose_convolution
from fieldwise.networks.valid.blocks import check_bypass, check_cells, crop, draw_normal_weights
from fieldwise.networks.valid.periodic import Boundary, put_channels_last, put_kernels_last
from fieldwise.networks.valid.styled import add_styles, check_style, convolve

SLOPE = 0.01  # of the rectifier below zero
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "leaky_relu": partial(functional.leaky_relu, negative_slope=SLOPE, inplace=True),
}
# Of what acts cell by cell, a tangent is passed on as a gradient is passed back: times the derivative.
TANGENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of tangent and value
    "gelu": torch.ops.aten.gelu_backward,
    "leaky_relu": partial(torch.ops.aten.leaky_relu_backward, negative_slope=SLOPE, self_is_result=False),
}


class ResidualEmulator(Boundary, nn.Module):
    """A convolution to features, blocks of two convolutions that add to them, and a linear mix at the end.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read and given, scaled to order one.
    dimensions : int
        2 for maps, 3 for volumes.
    features : int
        Channels between the first and the last convolution.
    blocks : int
        Pairs of convolutions of 3 cells; each sees 2 cells farther on every side.
    boundary : str
        "periodic": what is beyond a side is at the opposite one, n cells give n. "valid": the fields carry
        their margin, n cells give n - 2 margin. May be set at any time.
    activation : str
        "gelu", which is smooth, as is then the derivative in the style; or "leaky_relu", of slope 0.01, which
        takes less memory.
    bypass : bool, optional
        Whether the input is added to the output; by default where their channels agree.
    style_numbers, init_std
        As of `fieldwise.networks.valid.unet.UNet`.

    Attributes
    ----------
    margin : int
        Cells by which the network sees on every side: 1 + 2 blocks.

    Raises
    ------
    InputError
        If an option is out of range, or a batch has other channels or fewer cells than the network reads.

    Notes
    -----
    The last convolution, of a single cell, starts at zero, so the first answer is zero, or the input with
    `bypass`. There is no batch norm, since its means would hold for one growth factor or cosmology. The
    second convolution of a block starts small, so that the features stay of order one whatever the number of
    blocks. Kernels and features have their channels last in memory, as CPUs and GPUs take bf16 fastest.

    Examples
    --------
    >>> import torch
    >>> network = ResidualEmulator(3, 3, features=8, blocks=2)
    >>> network(torch.zeros(1, 3, 12, 12, 12)).shape
    torch.Size([1, 3, 12, 12, 12])
    >>> network.boundary = "valid"
    >>> network.margin, network(torch.zeros(1, 3, 12, 12, 12)).shape
    (5, torch.Size([1, 3, 2, 2, 2]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dimensions: int = 3,
        features: int = 64,
        blocks: int = 7,
        boundary: str = "periodic",
        activation: str = "gelu",
        bypass: bool | None = None,
        style_numbers: int = 0,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels, features=features, blocks=blocks)
        convolution = choose_convolution(dimensions, 3)
        self.in_channels, self.dimensions, self.margin = in_channels, dimensions, 1 + 2 * blocks
        self.bypass = check_bypass(bypass, in_channels, out_channels)
        self.boundary = boundary
        if activation not in ACTIVATIONS:
            raise InputError(f"activation is {activation!r}; take {' or '.join(ACTIVATIONS)}")
        self.activation, self.activate_tangent = ACTIVATIONS[activation], TANGENTS[activation]
        self.first = convolution(in_channels, features, 3)
        self.blocks = nn.ModuleList(
            nn.ModuleList(convolution(features, features, 3) for _ in range(2)) for _ in range(blocks)
        )
        self.last = convolution(features, out_channels, 1)
        self._draw_weights(init_std)
        add_styles(self, style_numbers)
        put_kernels_last(self)

    def forward(self, fields: Tensor, style: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, *space) to (batch, out_channels, *space), or the inner cells of it."""
        check_channels(fields, self.in_channels, self.dimensions)
        valid = self.boundary == "valid"
        check_cells(fields, 2 * self.margin + 1 if valid else 1)
        check_style(self, style, len(fields))
        features = convolve(self.first, self.widen(put_channels_last(fields)), style)
        for block in self.blocks:
            first, second = block.children()
            made = self.activation(convolve(first, self.widen(features), style))
            made = convolve(second, self.widen(made), style)
            features = made + (crop(features, 2) if valid else features)
        made = convolve(self.last, features, style)
        if self.bypass:
            made = made + (crop(fields, self.margin) if valid else fields)
        return made

    def _draw_weights(self, init_std: float | None) -> None:
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter)
            else:
                nn.init.zeros_(parameter)
        draw_normal_weights(self, init_std)
        for block in self.blocks:
            *_, second = block.children()
            second.weight.data /= (2 * len(self.blocks)) ** 0.5
        nn.init.zeros_(self.last.weight)
