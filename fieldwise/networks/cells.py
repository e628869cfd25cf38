"""Where in a map a network computes: everywhere, or only where a mask says, as if the map ended there.

With a mask the features of all other cells are zero before every convolution, as they are beyond the frame:
what lies there has no say, and the result does not depend on how much of it the frame holds. So the cells
that count can be computed alone. A valley glacier fills a fifth of its frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

GATHERED = 2**19  # numbers that a convolution of packed cells gathers at a time, to stay in the cache


class Everywhere:
    """Maps (batch, channel, y, x) whole; with a mask (batch, 1, y, x), 0 where it is after every layer."""

    def __init__(self, mask: Tensor | None = None) -> None:
        self.mask = mask

    def pick(self, fields: Tensor) -> Tensor:
        """Take the cells that count out of their map: here all stay."""
        return order_in_memory(fields)

    def begin(self, features: Tensor) -> Tensor:
        """Make picked features ready for the first layer."""
        return features if self.mask is None else features * self.mask

    def apply(self, layer: nn.Module, features: Tensor) -> Tensor:
        """Apply a convolution."""
        return self.begin(layer(features))

    def end(self, layer: nn.Module, features: Tensor) -> Tensor:
        """Apply the last convolution, of a single cell."""
        return layer(features)

    def spread(self, features: Tensor) -> Tensor:
        """Put picked features on their map, with zeros where the mask is 0."""
        return features if self.mask is None else torch.where(self.mask > 0, features, 0)


class Packed:
    """Only the cells that a mask (batch, 1, y, x) keeps: picked features are (1, channel, cell).

    Between the layers they are (cell, channel), with one cell more, of zeros: the neighbour of all that have
    none.

    >>> mask = torch.tensor([[[[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]])
    >>> cells = Packed(mask, reach=1)
    >>> cells.pick(torch.arange(6.0).view(1, 1, 2, 3)).flatten().tolist()
    [0.0, 2.0, 3.0]
    """

    def __init__(self, mask: Tensor, *, reach: int) -> None:
        kept = mask[:, 0].bool()
        self.shape = kept.shape  # (batch, y, x)
        padded = functional.pad(kept, (reach,) * 4)
        self.width = padded.shape[-1]
        self.cells, places = (each.reshape(-1).nonzero().view(-1) for each in (kept, padded))
        self.places = places.int()[:, None]  # half as much to read
        self.count = len(places)
        self.rank = self.places.new_full((padded.numel(),), self.count)
        self.rank.scatter_(0, places, torch.arange(self.count, dtype=torch.int32, device=mask.device))
        self.known: dict[tuple[int, int], Tensor] = {}

    def neighbours(self, kernel_size: int, dilation: int) -> Tensor:
        """Give which cells a kernel reads around each: (cell, kernel cell), one more than the last for none.

        >>> Packed(torch.tensor([[[[1.0, 1.0, 0.0, 1.0]]]]), reach=1).neighbours(3, 1)[:, 3:6].tolist()
        [[3, 0, 1], [0, 1, 3], [3, 2, 3]]
        """
        if (kernel_size, dilation) not in self.known:
            along = [dilation * (tap - kernel_size // 2) for tap in range(kernel_size)]
            offsets = [self.width * down + right for down in along for right in along]
            near = self.places + self.places.new_tensor(offsets)
            self.known[kernel_size, dilation] = self.rank.index_select(0, near.view(-1)).view_as(near)
        return self.known[kernel_size, dilation]

    def pick(self, fields: Tensor) -> Tensor:
        """Take the cells that count out of (batch, channel, y, x)."""
        return fields.transpose(0, 1).flatten(1).index_select(1, self.cells)[None]

    def begin(self, features: Tensor) -> Tensor:
        """Make picked features ready for the first layer, with the zeros behind them."""
        return functional.pad(features[0].mT, (0, 0, 0, 1))

    def apply(self, layer: Any, features: Tensor) -> Tensor:
        """Apply a convolution, plain or to orbits."""
        matrix, bias = layer.__dict__.get("matrix") or _lay_out(layer)
        size = layer.kernel_size[0]
        if size == 1:
            return functional.pad(torch.addmm(bias, features[:-1], matrix), (0, 0, 0, 1))
        near = self.neighbours(size, layer.dilation[0])
        if torch.is_grad_enabled():
            return _Convolution.apply(features, matrix, bias, near)
        return _multiply(features, matrix, near, bias)

    def end(self, layer: Any, features: Tensor) -> Tensor:
        """Apply the last convolution, of a single cell, and give its features as picked ones."""
        matrix, bias = layer.__dict__.get("matrix") or _lay_out(layer)
        return torch.addmm(bias[:, None], matrix.mT, features[:-1].mT)[None]

    def spread(self, features: Tensor) -> Tensor:
        """Put picked features on their map, with zeros around them."""
        rows = features.new_zeros(features.shape[1], self.shape.numel())
        return rows.index_copy(1, self.cells, features[0]).unflatten(1, self.shape).transpose(0, 1)


class _Convolution(torch.autograd.Function):
    """The convolution of packed cells: gather the neighbours of some, multiply, and go on.

    Being neighbours is mutual, so the gradient too is gathered and not scattered: it is a convolution with
    the kernel turned by half.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, matrix: Tensor, bias: Tensor, neighbours: Tensor) -> Tensor:
        ctx.save_for_backward(features, matrix, neighbours)
        return _multiply(features, matrix, neighbours, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        features, matrix, neighbours = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        to_features = None
        if ctx.needs_input_grad[0]:
            taps = matrix.view(neighbours.shape[1], -1, matrix.shape[1])
            turned = taps.flip(0).mT.reshape(-1, features.shape[1])
            to_features = _multiply(gradient, turned, neighbours, features.new_zeros(features.shape[1]))
        to_matrix = torch.zeros_like(matrix)
        for some, gathered in _gather(features, neighbours):
            to_matrix.addmm_(gathered.mT, gradient[some])
        return to_features, to_matrix, gradient[:-1].sum(0), None


def _lay_out(layer: Any) -> tuple[Tensor, Tensor]:
    """Lay the weights of a convolution out as (kernel cell * channel, filter), its biases beside them."""
    expands = hasattr(layer, "expand_weight")
    weight = layer.expand_weight() if expands else layer.weight
    bias = layer.expand_bias() if expands else layer.bias
    return weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0]), bias


def _gather(features: Tensor, neighbours: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of cells, and the features of all neighbours of each: (cell, kernel cell * channel)."""
    count, width = neighbours.shape[0], neighbours.shape[1] * features.shape[1]
    parts = -(-count * width // GATHERED) or 1
    step = -(-count // parts) or 1
    for first in range(0, count, step):
        some = slice(first, min(first + step, count))
        yield some, features.index_select(0, neighbours[some].view(-1)).view(-1, width)


def _multiply(features: Tensor, matrix: Tensor, neighbours: Tensor, bias: Tensor) -> Tensor:
    made = features.new_zeros(neighbours.shape[0] + 1, matrix.shape[1])
    for some, gathered in _gather(features, neighbours):
        torch.addmm(bias, gathered, matrix, out=made[some])
    return made


def keep_matrices(network: nn.Module) -> None:
    """Lay the weights of plain convolutions out once for all calls; they must not change any more.

    >>> layer = nn.Conv2d(2, 3, 3)
    >>> keep_matrices(layer)
    >>> cells = Packed(torch.ones(1, 1, 4, 4), reach=1)
    >>> cells.apply(layer, cells.begin(torch.ones(1, 2, 16))).shape
    torch.Size([17, 3])
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.matrix = tuple(each.detach().contiguous() for each in _lay_out(layer))  # type: ignore[assignment]


def choose_cells(fields: Tensor, mask: Tensor | None, *, reach: int) -> Everywhere | Packed:
    """Choose how to compute: packed where there is a mask, on a CPU and in the precision of the weights.

    No kernel may read farther than `reach` cells.

    >>> type(choose_cells(torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 4, 4), reach=1)).__name__
    'Packed'
    """
    mixed, exported = torch.is_autocast_enabled("cpu"), torch.compiler.is_exporting()
    if mask is None or fields.device.type != "cpu" or mixed or exported:
        return Everywhere(mask)
    return Packed(mask, reach=reach)


def order_in_memory(fields: Tensor) -> Tensor:
    """Put the channels of a cell of a map beside each other, where the CPU convolves.

    It takes half the time of the usual order, in which each channel is a map of its own (measured with 16
    layers of 32 filters on 256 x 256 cells, AVX2). All that follows keeps this order. Volumes gain nothing.

    >>> order_in_memory(torch.zeros(1, 4, 5, 6)).stride()
    (120, 1, 24, 4)
    """
    if fields.ndim == 4 and fields.device.type == "cpu":
        return fields.contiguous(memory_format=torch.channels_last)
    return fields
