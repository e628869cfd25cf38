"""Where in a map a network computes: everywhere, or only where a mask says, as if the map ended there.

With a mask the features of all other cells are zero before every convolution, as they are beyond the frame:
what lies there has no say, and the result does not depend on how much of it the frame holds. So the cells
that count can be computed alone. A valley glacier fills a fifth of its frame.
"""

from __future__ import annotations

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

    def end(self, features: Tensor) -> Tensor:
        """Give picked features back after the last layer."""
        return features

    def spread(self, features: Tensor) -> Tensor:
        """Put picked features on their map, with zeros where the mask is 0."""
        return features if self.mask is None else torch.where(self.mask > 0, features, 0)


class Packed:
    """Only the cells that a mask (batch, 1, y, x) keeps: features (cell, channel).

    Between the layers there is one cell more, of zeros: the neighbour of all that have none.

    >>> mask = torch.tensor([[[[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]])
    >>> cells = Packed(mask, reach=1)
    >>> cells.pick(torch.arange(6.0).view(1, 1, 2, 3)).flatten().tolist()
    [0.0, 2.0, 3.0]
    """

    def __init__(self, mask: Tensor, *, reach: int) -> None:
        kept = mask[:, 0] > 0
        self.shape = kept.shape  # (batch, y, x)
        padded = functional.pad(kept, (reach,) * 4)
        self.width = padded.shape[-1]
        self.cells, places = (each.flatten().nonzero()[:, 0] for each in (kept, padded))
        self.places = places.int()  # half as much to read
        count = len(places)
        self.rank = self.places.new_full((padded.numel(),), count)
        self.rank[places] = torch.arange(count, dtype=torch.int32, device=mask.device)
        self.known: dict[tuple[int, int], Tensor] = {}

    def neighbours(self, kernel_size: int, dilation: int) -> Tensor:
        """Give which cells a kernel reads around each: (cell, kernel cell), one more than the last for none.

        >>> Packed(torch.tensor([[[[1.0, 1.0, 0.0, 1.0]]]]), reach=1).neighbours(3, 1)[:, 3:6].tolist()
        [[3, 0, 1], [0, 1, 3], [3, 2, 3]]
        """
        if (kernel_size, dilation) not in self.known:
            along = [dilation * (tap - kernel_size // 2) for tap in range(kernel_size)]
            offsets = [self.width * down + right for down in along for right in along]
            near = (self.places[:, None] + self.places.new_tensor(offsets)).flatten()
            self.known[kernel_size, dilation] = self.rank.index_select(0, near).view(-1, len(offsets))
        return self.known[kernel_size, dilation]

    def pick(self, fields: Tensor) -> Tensor:
        """Take the cells that count out of (batch, channel, y, x)."""
        rows = fields.transpose(0, 1).flatten(1)  # (channel, batch * y * x)
        return rows.index_select(1, self.cells).mT

    def begin(self, features: Tensor) -> Tensor:
        """Put the zeros behind the picked cells."""
        return functional.pad(features, (0, 0, 0, 1))

    def apply(self, layer: Any, features: Tensor) -> Tensor:
        """Apply a convolution, plain or to orbits."""
        expands = hasattr(layer, "expand_weight")
        weight = layer.expand_weight() if expands else layer.weight
        bias = layer.expand_bias() if expands else layer.bias
        if weight.shape[-1] == 1:
            made = functional.linear(features[:-1], weight[:, :, 0, 0], bias)
            return functional.pad(made, (0, 0, 0, 1))
        near = self.neighbours(weight.shape[-1], layer.dilation[0])
        if torch.is_grad_enabled():
            return _Convolution.apply(features, weight, bias, near)
        return _convolve(features, weight, bias, near)

    def end(self, features: Tensor) -> Tensor:
        """Take the zeros away again."""
        return features[:-1]

    def spread(self, features: Tensor) -> Tensor:
        """Put picked cells on their map, with zeros around them."""
        rows = features.new_zeros(self.shape.numel(), features.shape[1])
        return rows.index_copy(0, self.cells, features).unflatten(0, self.shape).movedim(-1, 1)


class _Convolution(torch.autograd.Function):
    """The convolution of packed cells: gather the neighbours of some, multiply, and go on.

    Being neighbours is mutual, so the gradient too is gathered and not scattered: it is a convolution with
    the kernel turned by half.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, neighbours: Tensor) -> Tensor:
        ctx.save_for_backward(features, weight, neighbours)
        return _convolve(features, weight, bias, neighbours)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        features, weight, neighbours = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        to_features = None
        if ctx.needs_input_grad[0]:
            turned = weight.flip(2, 3).permute(2, 3, 0, 1).reshape(-1, weight.shape[1])
            to_features = _multiply(gradient, turned, neighbours)
        to_matrix = features.new_zeros(neighbours.shape[1] * features.shape[1], weight.shape[0])
        for some, gathered in _gather(features, neighbours):
            to_matrix.addmm_(gathered.mT, gradient[some])
        size = weight.shape[-1]
        to_weight = to_matrix.view(size, size, weight.shape[1], weight.shape[0]).permute(3, 2, 0, 1)
        return to_features, to_weight, gradient[:-1].sum(0), None


def _convolve(features: Tensor, weight: Tensor, bias: Tensor, neighbours: Tensor) -> Tensor:
    matrix = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])  # (kernel cell * channel, filter)
    return _multiply(features, matrix, neighbours, bias)


def _gather(features: Tensor, neighbours: Tensor) -> Any:
    """Yield slices of cells, and the features of all neighbours of each: (cell, kernel cell * channel)."""
    width = neighbours.shape[1] * features.shape[1]
    parts = -(-len(neighbours) * width // GATHERED) or 1
    step = -(-len(neighbours) // parts)
    for first in range(0, len(neighbours), step or 1):
        some = slice(first, min(first + step, len(neighbours)))
        yield some, features.index_select(0, neighbours[some].flatten()).view(-1, width)


def _multiply(features: Tensor, matrix: Tensor, neighbours: Tensor, bias: Tensor | None = None) -> Tensor:
    made = features.new_empty(len(neighbours) + 1, matrix.shape[1])
    made[-1] = 0
    for some, gathered in _gather(features, neighbours):
        if bias is None:
            torch.mm(gathered, matrix, out=made[some])
        else:
            torch.addmm(bias, gathered, matrix, out=made[some])
    return made


def order_weights(network: nn.Module) -> None:
    """Lay the weights of convolutions out in memory as packed cells multiply by them, once for all calls.

    >>> layer = nn.Conv2d(2, 3, 3)
    >>> order_weights(layer)
    >>> layer.weight.shape, layer.weight.permute(2, 3, 1, 0).is_contiguous()
    (torch.Size([3, 2, 3, 3]), True)
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)


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
