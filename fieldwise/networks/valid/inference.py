"""Convolutions where only the answer counts, as in prediction: the same numbers in less time and memory.

Within ``torch.inference_mode()`` the batch norm after a convolution is folded into its kernel, and a
convolution of 3 x 3 x 3 cells in float32 on a CPU is computed with fewer products, or faster ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

POINTS = 0.0, 0.625, -0.625, 1.5, -1.5  # which round less than the usual 0, 1, -1, 2 and -2
TILE = 6  # cells of an axis that give four
LEAST_CHANNELS = 32  # with fewer, the sums take longer than the products that they save


def pair_norms(layers: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """Give each layer, with it the batch norm that follows a convolution and has ended learning.

    >>> layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    >>> [(type(layer).__name__, norm is not None) for layer, norm in pair_norms(layers)]
    [('Conv2d', True), ('ReLU', False)]
    """
    waiting: nn.Module | None = None
    for layer in layers:
        if waiting is not None and isinstance(layer, _BatchNorm) and not layer.training:
            yield waiting, layer
            waiting = None
            continue
        if waiting is not None:
            yield waiting, None
        waiting = layer if isinstance(layer, _ConvNd) else None
        if waiting is None:
            yield layer, None
    if waiting is not None:
        yield waiting, None


def compute(layer: nn.Module, features: Tensor, norm: nn.Module | None = None) -> Tensor:
    """Apply a layer, and the batch norm after it, to features (batch, channel, *space).

    >>> layer, norm = nn.ConvTranspose2d(1, 4, 2, stride=2), nn.BatchNorm2d(4).eval()
    >>> _ = nn.init.uniform_(norm.running_var)
    >>> fields = torch.randn(1, 1, 3, 3)
    >>> torch.allclose(compute(layer, fields, norm), norm(layer(fields)), atol=1e-6)
    True
    """
    if not isinstance(layer, _ConvNd) or layer.bias is None or layer._forward_pre_hooks:  # may make a kernel
        made = layer(features)
        return made if norm is None else norm(made)
    weight, bias = _fold(layer, norm)
    if _takes_three_cells(layer, features):
        if layer.in_channels < LEAST_CHANNELS // 2:
            return convolve_joined(features, weight, bias)
        if can_filter(layer, features):
            return convolve_by_filtering(features, weight, bias)
    return functional_call(layer, {"weight": weight, "bias": bias}, (features,))


def _fold(layer: _ConvNd, norm: Any) -> tuple[Tensor, Tensor]:
    """Give weight and bias of a convolution with the batch norm after it."""
    weight = layer.weight
    bias = weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias
    if norm is None:
        return weight, bias
    factors = norm.weight / (norm.running_var + norm.eps).sqrt()
    shape = [1] * weight.ndim
    shape[1 if layer.transposed else 0] = -1
    return weight * factors.view(shape), (bias - norm.running_mean) * factors + norm.bias


def can_filter(layer: nn.Module, features: Tensor) -> bool:
    """Tell whether `convolve_by_filtering` can do, faster, what a layer does with features.

    >>> can_filter(nn.Conv2d(64, 64, 3), torch.zeros(1, 64, 8, 8))
    False
    """
    wide = isinstance(layer, _ConvNd) and min(layer.in_channels, layer.out_channels) >= LEAST_CHANNELS
    return wide and features.shape[2] >= TILE and _takes_three_cells(layer, features)


def _takes_three_cells(layer: nn.Module, features: Tensor) -> bool:
    """Tell whether this is a plain convolution of 3 x 3 x 3 cells in float32, channels last, on a CPU."""
    return (
        isinstance(layer, nn.Conv3d)
        and (layer.kernel_size, layer.stride, layer.padding) == ((3, 3, 3), (1, 1, 1), (0, 0, 0))
        and (layer.dilation, layer.groups) == ((1, 1, 1), 1)
        and features.device.type == "cpu"
        and features.dtype == layer.weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and features.is_contiguous(memory_format=torch.channels_last_3d)
    )


def convolve_joined(fields: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve (batch, channel, z, y, x) of few channels: with three planes as one of three times as many.

    The library needs a quarter of the time for it.

    >>> layer, fields = nn.Conv3d(2, 4, 3).requires_grad_(False), torch.randn(1, 2, 5, 4, 3)
    >>> torch.allclose(convolve_joined(fields, layer.weight, layer.bias), layer(fields), atol=1e-6)
    True
    """
    inner = fields.shape[2] - 2
    joined = torch.cat([fields.narrow(2, plane, inner) for plane in range(3)], dim=1)
    kernel = torch.cat(weight.split(1, dim=2), dim=1)
    order = torch.channels_last_3d
    return functional.conv3d(
        joined.contiguous(memory_format=order), kernel.contiguous(memory_format=order), bias
    )


def convolve_by_filtering(fields: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve (batch, channel, z, y, x), channels last, with kernels of 3 cells, half the products spared.

    Along z by minimal filtering, six cells at a time, and plainly in the planes. Of a U-Net the result was as
    far from that in float64 as without: 1e-6 of its spread.

    >>> layer = nn.Conv3d(16, 16, 3).requires_grad_(False)
    >>> fields = torch.randn(1, 16, 9, 5, 5).contiguous(memory_format=torch.channels_last_3d)
    >>> made = convolve_by_filtering(fields, layer.weight, layer.bias)
    >>> torch.allclose(made, layer(fields), atol=1e-5)
    True
    """
    of_fields, of_kernels, of_results = (fields.new_tensor(matrix) for matrix in make_filters())
    kernels = [
        kernel.contiguous(memory_format=torch.channels_last)
        for kernel in torch.einsum("kz,oczyx->kocyx", of_kernels, weight)
    ]
    batch, channels, *sizes = fields.shape
    made = fields.new_empty(batch, *(size - 2 for size in sizes), len(weight))
    for sample, result in zip(fields.permute(0, 2, 3, 4, 1), made):
        for start in range(0, sizes[0] - 2, TILE - 2):
            start = min(start, sizes[0] - TILE)  # the last tile gives some planes again
            planes = (of_fields @ sample[start : start + TILE].flatten(1)).view(TILE, *sizes[1:], channels)
            products = [
                functional.conv2d(plane.permute(2, 0, 1)[None], kernel).permute(0, 2, 3, 1).flatten()
                for plane, kernel in zip(planes, kernels)
            ]
            torch.matmul(of_results, torch.stack(products), out=result[start : start + TILE - 2].flatten(1))
    return made.add_(bias).permute(0, 4, 1, 2, 3)


@cache
def make_filters() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make the matrices of F(4, 3): of six cells, of a kernel of three, and of the products of the two.

    Kernel and cells are polynomials, whose product is known from its values at five points and infinity: four
    results take six products instead of twelve (Winograd 1980; Lavin and Gray 2016, arXiv:1509.09308).

    >>> of_fields, of_kernels, of_results = make_filters()
    >>> cells, kernel = np.array([1, 2, 3, 4, 5, 7]), np.array([1, 0, -1])
    >>> np.round(of_results @ ((of_kernels @ kernel) * (of_fields @ cells)), 12).tolist()
    [-2.0, -2.0, -2.0, -3.0]
    """
    others = [[other for other in POINTS if other != point] for point in POINTS]
    of_fields = np.stack([*([*np.poly(each)[::-1], 0] for each in others), np.poly(POINTS)[::-1]])
    of_kernels = np.vander([*POINTS, 0], 3, increasing=True)
    of_kernels[:-1] /= [[np.prod(np.subtract(point, each))] for point, each in zip(POINTS, others)]
    of_results = np.vander([*POINTS, 0], TILE - 2, increasing=True).T
    of_kernels[-1], of_results[:, -1] = (0, 0, 1), (0, 0, 0, 1)
    return of_fields, of_kernels, of_results
