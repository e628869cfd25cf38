"""Convolutions that give what the plain ones give, sooner.

Each takes the weights of the convolution that it stands for, in their shape.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class WindowConvolution(nn.Conv2d):
    """A valid convolution whose kernel spans three strides, computed as a small kernel on folded cells.

    Folding each stride x stride square of cells into channels turns the kernel of 3 s x 3 s cells that moves
    by s into one of 3 x 3 cells that moves by 1: the same sums, many times faster. The weight keeps the shape
    (out_channels, in_channels, 3 s, 3 s).

    >>> WindowConvolution(1, 32, 10)(torch.zeros(1, 1, 110, 110)).shape  # 100 m cells onto 1 km cells
    torch.Size([1, 32, 9, 9])
    """

    def __init__(self, in_channels: int, out_channels: int, ratio: int) -> None:
        super().__init__(in_channels, out_channels, 3 * ratio, stride=ratio)
        self.ratio = ratio

    def forward(self, field: Tensor) -> Tensor:
        """Convolve (batch, in_channels, ratio * Y, ratio * X) to (batch, out_channels, Y - 2, X - 2)."""
        ratio = self.ratio
        if ratio == 1:
            return super().forward(field)
        weight = self.weight.reshape(self.out_channels, self.in_channels, 3, ratio, 3, ratio)
        weight = weight.permute(0, 1, 3, 5, 2, 4).reshape(self.out_channels, -1, 3, 3)
        return functional.conv2d(functional.pixel_unshuffle(field, ratio), weight, self.bias)


class UpsamplingConvolution(nn.Conv2d):
    """Double the resolution by repeating cells, then convolve 3 x 3, without ever making the repeated cells.

    Of the nine taps on repeated cells several fall on the same coarse cell: each of the four fine cells in a
    coarse one is a 2 x 2 kernel on the coarse grid, whose weights are sums of the nine. Same result, 4/9 of
    the work.

    >>> UpsamplingConvolution(64, 64)(torch.zeros(1, 64, 9, 11)).shape
    torch.Size([1, 64, 18, 22])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)
        # An even fine row reads the coarse rows (i - 1, i, i), an odd one (i, i, i + 1): (parity, 2, 3).
        merge = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
        self.register_buffer("merge", merge, persistent=False)

    def forward(self, coarse: Tensor) -> Tensor:
        """Convolve (batch, in_channels, y, x) to (batch, out_channels, 2 y, 2 x)."""
        height, width = coarse.shape[-2:]
        weight = torch.einsum("apk,bql,oikl->aboipq", self.merge, self.merge, self.weight)
        weight = weight.reshape(4 * self.out_channels, self.in_channels, 2, 2)
        bias = None if self.bias is None else self.bias.repeat(4)
        four = functional.conv2d(coarse, weight, bias, padding=1)  # (batch, 4 * out_channels, y + 1, x + 1)
        four = four.movedim(1, -1).contiguous().unflatten(-1, (2, 2, -1))  # (batch, y + 1, x + 1, 2, 2, out)
        # Fine cell (2 i + a, 2 j + b) is number (a, b) of coarse cell (i + a, j + b).
        frame, row, column, a, b, channel = four.stride()
        fine = four.as_strided(
            (len(coarse), height, 2, width, 2, self.out_channels),
            (frame, row, row + a, column, column + b, channel),
        )
        return fine.reshape(len(coarse), 2 * height, 2 * width, self.out_channels).movedim(-1, 1)


class PatchConvolution(nn.Conv2d):
    """A convolution for maps of a few cells: on a CPU one product of all patches with the kernels.

    Where the kernels outweigh the map this is several times faster, above all in the backward pass.

    >>> PatchConvolution(8, 16, 4, stride=2, padding=1)(torch.zeros(3, 8, 4, 4)).shape
    torch.Size([3, 16, 2, 2])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.step, self.margin = stride, padding

    def forward(self, features: Tensor) -> Tensor:
        """Convolve (batch, in_channels, y, x)."""
        if features.device.type != "cpu":
            return super().forward(features)
        around = 2 * self.margin - self.kernel_size[0]
        rows, columns = ((cells + around) // self.step + 1 for cells in features.shape[-2:])
        patches = functional.unfold(features, self.kernel_size, padding=self.margin, stride=self.step)
        patches = patches.transpose(1, 2).flatten(0, 1)  # (batch * y * x, in_channels * kernel cells)
        made = functional.linear(patches, self.weight.flatten(1), self.bias)
        return made.view(len(features), rows, columns, self.out_channels).movedim(-1, 1)


def store_channels_last(network: nn.Module) -> None:
    """Store kernels in the order in which convolutions of tensors with channels last want them.

    Otherwise each pass would reorder them. Their shape stays what it is.

    >>> layer = nn.Conv2d(4, 8, 3)
    >>> store_channels_last(layer)
    >>> layer.weight.shape, layer.weight.stride()
    (torch.Size([8, 4, 3, 3]), (36, 1, 12, 4))
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and not isinstance(layer, PatchConvolution):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
