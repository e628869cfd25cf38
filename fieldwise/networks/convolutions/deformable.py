"""Deformable convolution: every tap of the kernel looks where the features tell it to look.

A plain convolution reads a cell and its eight neighbours. A deformable one (Dai et al. 2017,
arXiv:1703.06211) first predicts, for every cell and every tap, by how much to move the tap, and then reads
there by bilinear interpolation. Outside of the frame everything is zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.networks.convolutions.on_gpu import (
    convolve_by_grid,
    convolve_in_kernel,
    fits_grid,
    fits_kernel,
)

try:  # absent from the CPU wheels of PyTorch; raises RuntimeError when built for another version
    from torchvision.ops import deform_conv2d
except (ImportError, RuntimeError):
    deform_conv2d = None

# Of the output, worked off at a time. What they sample, 5 MB at 64 channels, is to stay in the processor's
# cache: fresh memory costs more than all the arithmetic. A GPU wants larger portions.
CELLS_IN_A_CHUNK = 2048
CELLS_IN_A_CHUNK_ON_GPU = 131072

# Cells. Without a bound no halo is wide enough to be sure that a tiled prediction equals an untiled one.
LARGEST_OFFSET = 8.0


class DeformableConvolution(nn.Module):
    """A convolution that predicts where to read, then reads there; same extent out as in.

    Starts as a plain convolution (offsets of zero) and learns to depart from it. No tap is moved by more than
    the largest offset, in cells, along either axis; infinity sets no bound, as in Chainer.

    >>> layer = DeformableConvolution(64, 64)
    >>> layer(torch.zeros(1, 64, 9, 12)).shape
    torch.Size([1, 64, 9, 12])
    >>> sum(parameter.numel() for parameter in layer.parameters())  # 64*9*18 + 18 and 64*9*64 + 64
    47314
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        largest_offset: float = LARGEST_OFFSET,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.offset_conv = nn.Conv2d(in_channels, 2 * kernel_size**2, kernel_size, padding=padding)
        # A plain convolution's parameters, under a plain convolution's names, used at moved places.
        self.deform_conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding)
        self.largest_offset = largest_offset
        self.start_plain()

    def start_plain(self) -> None:
        """Set the offsets to zero, so that the layer is a plain convolution."""
        nn.init.zeros_(self.offset_conv.weight)
        if self.offset_conv.bias is not None:
            nn.init.zeros_(self.offset_conv.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve (batch, channels, y, x) to (batch, out_channels, y, x)."""
        offsets = self.offset_conv(features)  # (batch, 2 * taps, y, x)
        if math.isfinite(self.largest_offset):
            offsets = offsets.clamp(-self.largest_offset, self.largest_offset)
        return deformable_convolution(features, offsets, self.deform_conv.weight, self.deform_conv.bias)


def deformable_convolution(
    features: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Convolve with every tap moved by its own offset, zero outside of the frame.

    Parameters
    ----------
    features : Tensor
        (batch, in_channels, y, x).
    offsets : Tensor
        (batch, 2 * taps, y, x) in cells: how far to move each tap in x (first half of the channels) and in
        y (second half), taps row by row. This is Chainer's order; torchvision's is `interleave_offsets`.
    weight : Tensor
        (out_channels, in_channels, k, k), k odd.
    bias : Tensor, optional
        (out_channels,).

    Returns
    -------
    Tensor
        (batch, out_channels, y, x).

    Notes
    -----
    The frame is worked off in chunks of rows, forward and backward, so that the memory needed besides input,
    output and their gradients does not grow with the frame. Differentiable once in all arguments.

    Examples
    --------
    A tap of one, moved by half a cell in x, averages two neighbours:

    >>> features = torch.tensor([[[[0.0, 10.0, 20.0, 30.0]]]])
    >>> offsets = torch.zeros(1, 2, 1, 4)
    >>> offsets[:, 0] = 0.5
    >>> deformable_convolution(features, offsets, torch.ones(1, 1, 1, 1))
    tensor([[[[ 5., 15., 25., 15.]]]])
    """
    halved = features.dtype == torch.bfloat16 and torch.is_autocast_enabled(features.device.type)
    learning = torch.is_grad_enabled() and any(each.requires_grad for each in (features, offsets, weight))
    with torch.autocast(features.device.type, enabled=False):  # positions need all their digits
        if not learning and fits_kernel(features, weight):
            output = convolve_in_kernel(features if halved else features.to(weight.dtype), offsets, weight)
        else:
            features, offsets = features.to(weight.dtype), offsets.to(weight.dtype)
            if deform_conv2d is not None and features.is_cuda:
                moved = interleave_offsets(offsets)
                return deform_conv2d(features, moved, weight, bias, padding=weight.shape[-1] // 2)
            by_grid = learning and fits_grid(features, weight)
            output = (convolve_by_grid if by_grid else _sample_and_weigh)(features, offsets, weight)
        if bias is not None:
            output = output + bias
        return output.movedim(-1, 1)  # (batch, out_channels, y, x), channels last in memory


def interleave_offsets(offsets: Tensor) -> Tensor:
    """Reorder offsets from all x, then all y, to torchvision's y and x of each tap in turn.

    >>> interleave_offsets(torch.tensor([1, 2, 10, 20]).view(1, 4, 1, 1)).flatten().tolist()
    [10, 1, 20, 2]
    """
    along_x, along_y = offsets.chunk(2, dim=1)
    return torch.stack((along_y, along_x), dim=2).flatten(1, 2)


def _sample_and_weigh(features: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """Return (batch, y, x, out_channels) without bias."""
    out_channels, in_channels, kernel_size, _ = weight.shape
    batch, _, height, width = offsets.shape
    matrix: Tensor | None = weight.permute(2, 3, 1, 0).reshape(-1, out_channels)  # (taps * in_channels, out)
    if out_channels == 1:  # multiplied first: then 9 numbers a cell are sampled instead of 9 * in_channels
        by_tap = weight.flatten(2).permute(2, 1, 0)[..., None]  # (taps, in_channels, 1, 1)
        features, in_channels, matrix = functional.conv2d(features, by_tap), 1, None
    table = features.movedim(1, -1).reshape(-1, in_channels)  # (cells, in_channels), or (cells * taps, 1)
    moves = offsets.movedim(1, -1).contiguous().flatten(0, 1)  # (batch * y, x, 2 * taps)
    places = Places(height, width, kernel_size, one_row_a_tap=matrix is None)
    learning = any(tensor is not None and tensor.requires_grad for tensor in (table, moves, matrix))
    sample = _Sampling.apply if learning and torch.is_grad_enabled() else _sample_in_chunks
    return sample(table, moves, matrix, places).view(batch, height, width, out_channels)


@dataclass(frozen=True)
class Corners:
    """The four cells around every moved tap of some cells.

    Parameters
    ----------
    rows, weights : what to look up in a table: bags of rows to be summed times their weights, (bags, members)
    shares : of the near and the far cell, in x and then in y, (y, x, 2 * taps); 0 outside of the frame
    outside : whether the near and the far cell are outside of the frame, in the same order
    """

    rows: Tensor
    weights: Tensor
    shares: list[Tensor]
    outside: list[Tensor]

    def turn_slopes(self, slopes: Tensor) -> Tensor:
        """Turn slopes in the weights, (bags, members), into slopes in the moves, (y, x, 2 * taps)."""
        near_x, near_y = self.shares[0].chunk(2, dim=-1)
        far_x, far_y = self.shares[1].chunk(2, dim=-1)
        near, near_far, far_near, far = slopes.view(*near_x.shape, 4).unbind(-1)  # first in y, then in x
        along_near = torch.cat((near_y * near + far_y * far_near, near_x * near + far_x * near_far), dim=-1)
        along_far = torch.cat((near_y * near_far + far_y * far, near_x * far_near + far_x * far), dim=-1)
        return along_far.masked_fill(self.outside[1], 0) - along_near.masked_fill(self.outside[0], 0)


@dataclass(frozen=True)
class Places:
    """Where taps look things up: in a table of all cells of all frames, row by row.

    Parameters
    ----------
    height, width : of a frame
    kernel_size : taps along either axis
    one_row_a_tap : whether a cell has one row in the table for each tap, or one for all
    """

    height: int
    width: int
    kernel_size: int
    one_row_a_tap: bool

    def chunks(self, moves: Tensor) -> Iterator[tuple[slice, slice]]:
        """Cut the rows of all frames into chunks: the rows, and the cells in them."""
        most = CELLS_IN_A_CHUNK_ON_GPU if moves.is_cuda else CELLS_IN_A_CHUNK
        step = max(1, most // self.width)
        for first in range(0, len(moves), step):
            end = min(first + step, len(moves))
            yield slice(first, end), slice(first * self.width, end * self.width)

    def look_straight(self, device: torch.device) -> Tensor:
        """Return what unmoved taps look at: columns, and rows counted from their own, (x, 2 * taps)."""
        tap = torch.arange(self.kernel_size**2, dtype=torch.int32, device=device)
        half = self.kernel_size // 2
        x = torch.arange(-half, self.width - half, dtype=torch.int32, device=device)[:, None]
        x = x + tap % self.kernel_size
        return torch.cat((x, (tap // self.kernel_size - half).expand_as(x)), dim=1)

    def corners(self, moves: Tensor, first_row: int, straight: Tensor) -> Corners:
        """Find the corners for some rows of cells by their moves, (y, x, 2 * taps): in x, then in y.

        The fraction comes from the offset alone and the cell is counted in integers: a frame cut out of a
        larger one gives the same digits wherever its origin lies.
        """
        taps = self.kernel_size**2
        whole = moves.floor()
        far = moves - whole
        limit = float(self.height + self.width)  # farther is outside in any case; NaN stays in the shares
        near = whole.nan_to_num_(0.0).clamp_(-limit, limit).int().add_(straight)
        row = torch.arange(first_row, first_row + len(moves), dtype=torch.int32, device=moves.device)
        near[..., taps:] += (row % self.height).view(-1, 1, 1)
        ends = near.new_tensor([self.width - 1, self.height - 1]).repeat_interleave(taps)
        cells = [near, near + 1]
        held = [cell.clamp(torch.zeros_like(ends), ends) for cell in cells]
        outside = [cell != inner for cell, inner in zip(cells, held)]
        shares = [(1 - far).masked_fill_(outside[0], 0), far.masked_fill_(outside[1], 0)]
        first = (row // self.height * self.height).view(-1, 1, 1)  # of all rows of all frames, in this frame
        return Corners(*self._members(held, shares, first), shares, outside)

    def _members(
        self, held: Sequence[Tensor], shares: Sequence[Tensor], first: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Pair near and far in y with near and far in x: rows of the table and their weights."""
        taps = self.kernel_size**2
        step = taps if self.one_row_a_tap else 1  # rows of the table from one cell to the next
        columns = [cell[..., :taps] * step for cell in held]
        starts = [(cell[..., taps:] + first) * (self.width * step) for cell in held]
        if self.one_row_a_tap:
            starts = [start + torch.arange(taps, dtype=torch.int32, device=start.device) for start in starts]
        rows = torch.empty(*columns[0].shape, 4, dtype=torch.int32, device=columns[0].device)
        weights = shares[0].new_empty(rows.shape)
        for member, (y, x) in enumerate(product((0, 1), repeat=2)):  # each written to its place: no stacking
            torch.add(starts[y], columns[x], out=rows[..., member])
            torch.mul(shares[y][..., taps:], shares[x][..., :taps], out=weights[..., member])
        members = 4 * step
        return rows.view(-1, members), weights.view(-1, members)


def _sample_in_chunks(table: Tensor, moves: Tensor, matrix: Tensor | None, places: Places) -> Tensor:
    """Sample the table at moved taps, then multiply by the matrix if there is one: (cells, out_channels)."""
    cells = moves.shape[0] * moves.shape[1]
    output = table.new_empty(cells, 1 if matrix is None else matrix.shape[1])
    straight = places.look_straight(moves.device)
    for rows, part in places.chunks(moves):
        corners = places.corners(moves[rows], rows.start, straight)
        sampled = _sum_bags(table, corners.rows, corners.weights)
        if matrix is None:
            output[part] = sampled
        else:
            torch.mm(sampled.view(-1, len(matrix)), matrix, out=output[part])
    return output


def _sum_bags(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Sum rows of a table times weights, bag by bag: (bags, channels)."""
    return functional.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")


def _weigh_bags(table: Tensor, rows: Tensor, weights: Tensor, slopes: Tensor) -> Tensor:
    """Turn slopes in sums of bags into slopes in the weights, (bags, members)."""
    if table.shape[1] == 1:
        return table.view(-1).index_select(0, rows.flatten()).view_as(rows) * slopes
    with torch.enable_grad():
        sums = _sum_bags(table, rows, weights.requires_grad_())
    return torch.autograd.grad(sums, weights, slopes)[0]


def _add_bags(table: Tensor, rows: Tensor, weights: Tensor, slopes: Tensor) -> None:
    """Add every slope times its weights to the rows that its bag was summed from: `_sum_bags` transposed."""
    if table.shape[1] == 1:
        table.view(-1).index_add_(0, rows.flatten(), (weights * slopes).flatten())
        return
    # Sorted by row this is a sum over bags again, many times faster than adding rows one by one.
    row, order = rows.flatten().sort(stable=True)
    first = int(row[0])
    counts = torch.bincount(row - first)
    table[first : first + len(counts)] += functional.embedding_bag(
        (order // rows.shape[1]).int(),
        slopes,
        (counts.cumsum(0) - counts).int(),
        per_sample_weights=weights.flatten()[order],
        mode="sum",
    )


def _find_slopes(
    saved: tuple[Tensor, Tensor, Tensor | None], slopes: Tensor, places: Places
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Turn slopes in what was sampled into slopes in the table, the moves and the matrix, chunk by chunk."""
    table, moves, matrix = saved
    of_table, of_moves = torch.zeros_like(table), torch.empty_like(moves)
    of_matrix = None if matrix is None else torch.zeros_like(matrix)
    straight = places.look_straight(moves.device)
    for rows, part in places.chunks(moves):
        corners, slope = places.corners(moves[rows], rows.start, straight), slopes[part]
        bags, weights = corners.rows, corners.weights
        if matrix is not None and of_matrix is not None:
            of_matrix.addmm_(_sum_bags(table, bags, weights).view(-1, len(matrix)).T, slope)
            slope = (slope @ matrix.T).view(len(bags), -1)
        of_moves[rows] = corners.turn_slopes(_weigh_bags(table, bags, weights, slope))
        _add_bags(of_table, bags, weights.detach(), slope)
    return of_table, of_moves, of_matrix


class _Sampling(torch.autograd.Function):
    """`_sample_in_chunks` with a backward pass in chunks, which samples once more rather than keep it all."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, moves: Tensor, matrix: Tensor | None, places: Places) -> Tensor:
        ctx.places = places
        ctx.save_for_backward(table, moves, matrix)
        return _sample_in_chunks(table, moves, matrix, places)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        # A backward pass within a step of mixed precision would multiply in another precision than it sums.
        with torch.autocast(slopes.device.type, enabled=False):
            return (*_find_slopes(ctx.saved_tensors, slopes, ctx.places), None)
