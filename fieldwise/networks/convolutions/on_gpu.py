"""Deformable convolution on a GPU: one kernel to draw with, and sampling that learns without a wait.

To draw, a program of Triton (https://triton-lang.org) works off some cells at a time: for each tap it reads
the four corners, weighs them, multiplies by the tap's matrix and adds up, so that what is sampled, nine times
the features, never leaves the chip. To learn, PyTorch's own `grid_sample` samples all taps at once; its
gradients need no sorting, for which the program would have to wait for the GPU.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

try:  # comes with PyTorch for GPUs
    import triton
    import triton.language as tl
except ImportError:
    triton = None

CELLS = 64  # that a program works off
LEAST = 16  # channels in and out: what the units that multiply matrices take
LARGEST_SAMPLE = 2**33  # bytes of what is sampled at once to learn from
AGREE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}  # of the largest value

if triton is not None:

    @triton.jit
    def _convolve(
        table, moves, matrix, output, cells, height, width, given,
        SIDE: tl.constexpr, CHANNELS: tl.constexpr, OUT: tl.constexpr, CELLS: tl.constexpr,
    ):  # fmt: skip
        cell = tl.program_id(0) * CELLS + tl.arange(0, CELLS)  # of all frames
        inside = cell < cells
        x, y = cell % width, (cell // width) % height
        first = cell - y * width - x  # of the frame
        channel, out = tl.arange(0, CHANNELS), tl.arange(0, OUT)
        total = tl.zeros((CELLS, OUT), tl.float32)
        for tap in range(SIDE * SIDE):
            move_x = tl.load(moves + cell * (2 * SIDE * SIDE) + tap, mask=inside, other=0.0)
            move_y = tl.load(moves + cell * (2 * SIDE * SIDE) + SIDE * SIDE + tap, mask=inside, other=0.0)
            whole_x, whole_y = tl.floor(move_x), tl.floor(move_y)
            far_x, far_y = move_x - whole_x, move_y - whole_y
            limit = (height + width) * 1.0  # farther is outside in any case
            whole_x = tl.minimum(tl.maximum(tl.where(whole_x == whole_x, whole_x, 0.0), -limit), limit)
            whole_y = tl.minimum(tl.maximum(tl.where(whole_y == whole_y, whole_y, 0.0), -limit), limit)
            near_x = x + tap % SIDE - SIDE // 2 + whole_x.to(tl.int32)
            near_y = y + tap // SIDE - SIDE // 2 + whole_y.to(tl.int32)
            sampled = tl.zeros((CELLS, CHANNELS), tl.float32)
            for corner in tl.static_range(4):
                at_x, at_y = near_x + corner % 2, near_y + corner // 2
                share_x = far_x if corner % 2 == 1 else 1 - far_x
                share_y = far_y if corner // 2 == 1 else 1 - far_y
                there = inside & (at_x >= 0) & (at_x < width) & (at_y >= 0) & (at_y < height)
                row = (first + at_y * width + at_x).to(tl.int64) * CHANNELS
                values = tl.load(table + row[:, None] + channel[None, :], mask=there[:, None], other=0.0)
                sampled += tl.where(there, share_x * share_y, 0.0)[:, None] * values
            kernel = tl.load(matrix + (tap * CHANNELS + channel)[:, None] * OUT + out[None, :])
            total += tl.dot(sampled.to(kernel.dtype), kernel, input_precision="ieee")
        place = cell.to(tl.int64)[:, None] * given + out[None, :]
        tl.store(output + place, total, mask=inside[:, None] & (out[None, :] < given))


def convolve_in_kernel(features: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """Convolve at moved taps by one kernel of Triton: (batch, y, x, out_channels), without bias.

    Parameters
    ----------
    features, offsets, weight
        As of :func:`fieldwise.networks.convolutions.deformable.deformable_convolution`, on one GPU; the
        features in float32 or bfloat16, in which the sampled ones are multiplied. The channels are a power of
        two, 16 or more. The sum is in float32.

    >>> features, offsets = torch.ones(1, 64, 5, 5), torch.zeros(1, 18, 5, 5)
    >>> weight = torch.ones(1, 64, 3, 3)
    >>> if fits_kernel(features, weight):  # which on a processor it does not
    ...     made = convolve_in_kernel(features, offsets, weight)  # (1, 5, 5, 1), 576 in the middle
    """
    out_channels, in_channels, side, _ = weight.shape
    batch, _, height, width = features.shape
    wide = max(LEAST, 1 << (out_channels - 1).bit_length())
    matrix = weight.permute(2, 3, 1, 0).reshape(-1, out_channels)  # (taps * in_channels, out_channels)
    matrix = functional.pad(matrix, (0, wide - out_channels)).to(features.dtype).contiguous()
    table, moves = features.movedim(1, -1).contiguous(), offsets.movedim(1, -1).float().contiguous()
    output = torch.empty(batch, height, width, out_channels, device=features.device)
    cells = batch * height * width
    sizes: Any = {"SIDE": side, "CHANNELS": in_channels, "OUT": wide, "CELLS": CELLS}
    _convolve[((cells + CELLS - 1) // CELLS,)](
        table, moves, matrix, output, cells, height, width, out_channels, **sizes
    )
    return output


def convolve_by_grid(features: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """Convolve at moved taps by `grid_sample`, differentiable: (batch, y, x, out_channels), without bias.

    >>> features, weight = torch.tensor([[[[0.0, 10.0, 20.0, 30.0]]]]), torch.ones(1, 1, 1, 1)
    >>> offsets = torch.tensor([0.5, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)  # half a cell in x
    >>> convolve_by_grid(features, offsets, weight).flatten().tolist()
    [5.0, 15.0, 25.0, 15.0]
    """
    out_channels, in_channels, side, _ = weight.shape
    batch, _, height, width = features.shape
    taps, device = side**2, features.device
    along_x, along_y = offsets.view(batch, 2, taps, height, width).unbind(1)
    tap = torch.arange(taps, device=device).view(-1, 1, 1)
    x = torch.arange(width, device=device) + tap % side - side // 2 + along_x
    y = torch.arange(height, device=device)[:, None] + tap // side - side // 2 + along_y
    places = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    if out_channels == 1:  # multiplied first: then 9 numbers a cell are sampled instead of 9 * in_channels
        by_tap = weight.flatten(2).permute(2, 1, 0)[..., None]  # (taps, in_channels, 1, 1)
        table = functional.conv2d(features, by_tap).view(batch * taps, 1, height, width)
        sampled = functional.grid_sample(table, places.flatten(0, 1), align_corners=False)
        return sampled.view(batch, taps, height, width).sum(1)[..., None]
    sampled = functional.grid_sample(features, places.flatten(1, 2), align_corners=False)
    sampled = sampled.view(batch, in_channels * taps, height * width)
    made = weight.flatten(1) @ sampled  # (batch, out_channels, cells)
    return made.view(batch, out_channels, height, width).movedim(1, -1)


def fits_kernel(features: Tensor, weight: Tensor) -> bool:
    """Tell whether the kernel can be used: it is there, takes these channels, and agrees with the plain sum.

    >>> fits_kernel(torch.zeros(1, 64, 4, 4), torch.zeros(64, 64, 3, 3))  # on a processor
    False
    """
    channels = weight.shape[1]
    fits = channels >= LEAST and channels & (channels - 1) == 0 and features.dtype in AGREE
    return bool(triton is not None and features.is_cuda and fits and _agrees(features.device, features.dtype))


def fits_grid(features: Tensor, weight: Tensor) -> bool:
    """Tell whether all that is sampled fits into memory at once, on a GPU.

    >>> fits_grid(torch.zeros(1, 64, 4, 4), torch.zeros(64, 64, 3, 3))  # on a processor
    False
    """
    wide = weight.shape[-1] ** 2 * (1 if weight.shape[0] == 1 else weight.shape[1])
    cells = features.shape[0] * features[0, 0].numel()
    return features.is_cuda and 4 * wide * cells <= LARGEST_SAMPLE


@functools.cache
def _agrees(device: torch.device, dtype: torch.dtype) -> bool:
    """Try the kernel on a small map, once: another card or version may do otherwise."""
    maker = torch.Generator().manual_seed(0)
    sizes = (2, 32, 9, 13), (2, 18, 9, 13), (5, 32, 3, 3)
    features, offsets, weight = (torch.randn(size, generator=maker).to(device) for size in sizes)
    features = features.to(dtype)
    try:
        made = convolve_in_kernel(features, 3 * offsets, weight)
    except Exception:  # whatever a compiler may raise
        return False
    known = convolve_by_grid(features.float(), 3 * offsets, weight.to(dtype).float())
    return bool((made - known).abs().max() < AGREE[dtype] * known.abs().max())
