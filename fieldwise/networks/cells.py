"""Where in a map a network computes: everywhere, or only where a mask says, as if the map ended there.

With a mask the features of all other cells are zero before every convolution, as they are beyond the frame:
what lies there has no say, and the result does not depend on how much of it the frame holds. So the cells
that count can be computed alone. A valley glacier fills a fifth of its frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

GATHERED = 2**19  # numbers that a convolution of packed cells gathers at a time, to stay in the cache
FEW = 2**12  # packed cells, of which all products with a kernel stay in the cache


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
    """Only the cells on a CPU that a mask (batch, 1, y, x) keeps: picked features are a map of one column.

    Between the layers they are (cell, channel), with one cell more, of zeros: the neighbour of all that have
    none.

    >>> mask = torch.tensor([[[[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]])
    >>> cells = Packed(mask, kernel_size=3, dilations=[1])
    >>> cells.pick(torch.arange(6.0).view(1, 1, 2, 3)).flatten().tolist()
    [0.0, 2.0, 3.0]
    >>> cells.near[1].cells[:, 3:6].tolist()  # beside the second lies none of them
    [[3, 0, 3], [3, 1, 3], [3, 2, 3]]
    """

    def __init__(self, mask: Tensor, *, kernel_size: int, dilations: Iterable[int]) -> None:
        kept, steps = mask[:, 0].bool(), sorted(set(dilations))
        self.shape = kept.shape  # (batch, y, x)
        padded = functional.pad(kept, (steps[-1] * (kernel_size // 2),) * 4)
        self.cells, places = (each.reshape(-1).nonzero().view(-1) for each in (kept, padded))
        count, short = len(places), torch.int32  # half as much to read
        rank = torch.full((padded.numel(),), count, dtype=short)
        rank.scatter_(0, places, torch.arange(count, dtype=short))
        along = [tap - kernel_size // 2 for tap in range(kernel_size)]
        taps = [padded.shape[-1] * down + right for down in along for right in along]
        offsets = torch.tensor([[[step * tap for tap in taps]] for step in steps], dtype=short)
        read = places.int()[:, None] + offsets  # (dilation, cell, kernel cell)
        near = rank.index_select(0, read.view(-1)).view_as(read)
        products: Sequence[tuple[Tensor, Tensor] | None] = [None] * len(steps)
        if count <= FEW:
            starts = torch.arange(0, near[0].numel() + 1, len(taps), dtype=short)
            numbers = torch.add(torch.arange(len(taps), dtype=short), near, alpha=len(taps))
            products = [(each.view(-1), starts) for each in numbers]
        self.near = {step: Neighbours(*each) for step, *each in zip(steps, near, products, strict=True)}

    def pick(self, fields: Tensor) -> Tensor:
        """Take the cells that count out of (batch, channel, y, x)."""
        return fields.transpose(0, 1).flatten(1).index_select(1, self.cells).view(1, fields.shape[1], -1, 1)

    def begin(self, features: Tensor) -> Tensor:
        """Make picked features ready for the first layer, with the zeros behind them."""
        return functional.pad(features.view(features.shape[1], -1).mT, (0, 0, 0, 1))

    def apply(self, layer: Any, features: Tensor) -> Tensor:
        """Apply a convolution, plain or to orbits."""
        matrix, bias = getattr(layer, "matrix", None) or _lay_out(layer)
        near = self.near[layer.dilation[0]]
        if torch.is_grad_enabled():
            return _Convolution.apply(features, matrix, bias, near)
        return _multiply(features, matrix, bias, near)

    def end(self, layer: Any, features: Tensor) -> Tensor:
        """Apply the last convolution, of a single cell, and give its features as picked ones."""
        matrix, bias = getattr(layer, "matrix", None) or _lay_out(layer)
        return torch.addmm(bias.view(-1, 1), matrix.mT, features[:-1].mT).view(1, len(bias), -1, 1)

    def spread(self, features: Tensor) -> Tensor:
        """Put picked features on their map, with zeros around them."""
        rows = features.new_zeros(features.shape[1], self.shape.numel())
        rows.index_copy_(1, self.cells, features.reshape(features.shape[1], -1))
        return rows.view(-1, *self.shape).transpose(0, 1)


class Neighbours(NamedTuple):
    """Which cells a kernel reads around each of some packed cells."""

    cells: Tensor  # (cell, kernel cell), one more than the last for none
    # for few cells: the same in a list of all cells, each with all kernel cells, and where each cell begins
    products: tuple[Tensor, Tensor] | None


class _Convolution(torch.autograd.Function):
    """The convolution of packed cells, whose gradient is gathered and not scattered: neighbours are mutual.

    What has no neighbour reads from the last row, of zeros, and so does the gradient.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, matrix: Tensor, bias: Tensor, near: Neighbours) -> Tensor:
        ctx.save_for_backward(features, matrix)
        ctx.near = near
        return _multiply(features, matrix, bias, near)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        features, matrix = ctx.saved_tensors
        gradient, cells = gradients[0].contiguous(), ctx.near.cells
        # a cell's neighbour to the east has it to the west: the kernel is turned by half
        shape = (len(matrix), cells.shape[1], gradient.shape[1])
        turned = matrix.view(shape).flip(1).view_as(matrix)
        to_features, to_turned = torch.zeros_like(features), torch.zeros_like(matrix)
        for some, gathered in _gather(gradient, cells):
            torch.mm(gathered, turned.mT, out=to_features[some])
            to_turned.addmm_(features[some].mT, gathered)
        to_bias = _beside_middle(gradient[:-1].sum(0), cells.shape[1])
        return to_features, to_turned.view(shape).flip(1).view_as(matrix), to_bias, None


def _multiply(features: Tensor, matrix: Tensor, bias: Tensor, near: Neighbours) -> Tensor:
    """Convolve (cell, channel) by what `_lay_out` gives, in the cheaper of two orders.

    Neighbours are gathered and multiplied; or, of few cells with many channels, all products are made and
    then added up.
    """
    taps = near.cells.shape[1]
    filters = matrix.shape[1] // taps
    if near.products is not None and filters <= len(matrix):
        made = torch.addmm(bias, features, matrix).view(-1, filters)
        return torch.embedding_bag(made, *near.products)[0]  # the last, of no products, stays zero
    made = features.new_zeros(features.shape[0], filters)
    tap_by_tap = matrix.view(-1, taps, filters).transpose(0, 1).reshape(-1, filters)
    middle = bias.view(taps, filters)[taps // 2]
    for some, gathered in _gather(features, near.cells):
        torch.addmm(middle, gathered, tap_by_tap, out=made[some])
    return made


def _gather(features: Tensor, cells: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of cells, and the features of all neighbours of each: (cell, kernel cell * channel)."""
    count, width = cells.shape[0], cells.shape[1] * features.shape[1]
    parts = -(-count * width // GATHERED) or 1
    step = -(-count // parts) or 1
    for first in range(0, count, step):
        some = slice(first, min(first + step, count))
        yield some, features.index_select(0, cells[some].view(-1)).view(-1, width)


def _lay_out(layer: Any) -> tuple[Tensor, Tensor]:
    """Lay weights out as (channel, kernel cell * filter), and biases beside those of the middle cell."""
    expands = hasattr(layer, "expand_weight")
    weight = layer.expand_weight() if expands else layer.weight
    bias = layer.expand_bias() if expands else layer.bias
    matrix = weight.flatten(2).permute(1, 2, 0).reshape(weight.shape[1], -1)
    return matrix, _beside_middle(bias, weight[0, 0].numel())


def _beside_middle(bias: Tensor, taps: int) -> Tensor:
    return functional.pad(bias, (taps // 2 * len(bias),) * 2)


def keep_matrices(network: nn.Module) -> None:
    """Lay the weights of plain convolutions out once for all calls; they must not change any more.

    >>> layer = nn.Conv2d(2, 3, 3)
    >>> keep_matrices(layer)
    >>> cells = Packed(torch.ones(1, 1, 4, 4), kernel_size=3, dilations=[1])
    >>> cells.apply(layer, cells.begin(torch.ones(1, 2, 16, 1))).shape
    torch.Size([17, 3])
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.matrix = tuple(each.detach().contiguous() for each in _lay_out(layer))  # type: ignore[assignment]


def choose_cells(fields: Tensor, mask: Tensor | None, layers: Iterable[Any]) -> Everywhere | Packed:
    """Choose how layers compute: packed where there is a mask, on a CPU, in the precision of the weights.

    >>> layers = [nn.Conv2d(2, 2, 3)]
    >>> type(choose_cells(torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 4, 4), layers)).__name__
    'Packed'
    """
    mixed, exported = torch.is_autocast_enabled("cpu"), torch.compiler.is_exporting()
    if mask is None or fields.device.type != "cpu" or mixed or exported:
        return Everywhere(mask)
    (size,) = {layer.kernel_size[0] for layer in layers}
    return Packed(mask, kernel_size=size, dilations=[layer.dilation[0] for layer in layers])


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
