"""Two kinds of blocks that SimVP puts between its encoder and its decoder, on the features of all frames.

Gated spatiotemporal attention after Tan et al. 2022, arXiv:2211.12509 (in OpenSTL, arXiv:2306.11249, gSTA),
and ConvMixer after Trockman and Kolter 2022, arXiv:2201.09792.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from fieldwise.errors import InputError
from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.convolutions.padding import PaddedConvolution

DILATION = 3  # steps in cells of the second of the two kernels that make a large one
AT_FIRST = 0.01  # how much of a block is added to what it reads


def make_translator(kind: str, widths: Sequence[int], *, padding: str) -> nn.ModuleList:
    """Make one block for each width, and where the next one differs a mix of the features to so many.

    Parameters
    ----------
    kind
        "gsta" or "convmixer".
    widths
        Features that each block reads, and those that the last one gives.

    >>> [len(list(block)) for block in make_translator("convmixer", [12, 8, 8, 6], padding="zeros")]
    [2, 1, 2]
    """
    check_sizes(widths=min(widths))
    if kind not in BLOCKS:
        raise InputError(f"translator is {kind!r}; take {' or '.join(BLOCKS)}")
    made = nn.ModuleList()
    for before, after in pairwise(widths):
        layers: list[nn.Module] = [BLOCKS[kind](before, padding=padding)]
        if before != after:
            layers.append(PaddedConvolution(before, after, 1, beyond=padding, bias=True))
        made.append(nn.Sequential(*layers))
    return made


class GatedAttention(nn.Module):
    """Cells weighed by what a kernel of 21 cells sees around each, then mixed with their neighbours.

    Parameters
    ----------
    width : int
        Features read and given.
    kernel_size : int
        Cells on a side that are seen, as a kernel of 5 and one of 7 cells at every third.
    ratio : int
        Times as many features between the two mixes of the second part.
    padding : str
        What lies beyond the map.

    Examples
    --------
    20 width^2 + 175 width parameters:

    >>> block = GatedAttention(16, padding="zeros")
    >>> sum(parameter.numel() for parameter in block.parameters())
    7920
    >>> block(torch.zeros(2, 16, 5, 6)).shape
    torch.Size([2, 16, 5, 6])
    """

    def __init__(self, width: int, *, padding: str, kernel_size: int = 21, ratio: int = 8) -> None:
        super().__init__()
        far, wide = kernel_size // DILATION, ratio * width

        def convolve(read: int, given: int, size: int = 1, **how: int) -> PaddedConvolution:
            return PaddedConvolution(read, given, size, beyond=padding, bias=True, **how)

        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        self.scales = nn.ParameterList(nn.Parameter(torch.full((width, 1, 1), AT_FIRST)) for _ in range(2))
        self.first = convolve(width, width)
        self.near = convolve(width, width, 2 * DILATION - 1, groups=width)
        self.far = convolve(width, width, far - 1 + far % 2, groups=width, dilation=DILATION)
        self.weigh = convolve(width, 2 * width)
        self.last = convolve(width, width)
        self.mix = nn.Sequential(
            convolve(width, wide),
            convolve(wide, wide, 3, groups=wide),
            nn.GELU(),
            convolve(wide, width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, width, y, x) to as many."""
        normed = self.norms[0](features)
        made, gates = self.weigh(self.far(self.near(nn.functional.gelu(self.first(normed))))).chunk(2, dim=1)
        features = features + self.scales[0] * (self.last(torch.sigmoid(gates) * made) + normed)
        return features + self.scales[1] * self.mix(self.norms[1](features))


class ConvMixer(nn.Module):
    """Each feature convolved by itself with a large kernel and added, then all mixed cell by cell.

    Parameters
    ----------
    width, padding
        As of :class:`GatedAttention`.
    kernel_size : int
        Cells on a side of the kernel.

    Examples
    --------
    >>> ConvMixer(16, padding="reflect")(torch.zeros(2, 16, 6, 8)).shape
    torch.Size([2, 16, 6, 8])
    """

    def __init__(self, width: int, *, padding: str, kernel_size: int = 11) -> None:
        super().__init__()
        alone = PaddedConvolution(width, width, kernel_size, beyond=padding, groups=width, bias=True)
        mixing = PaddedConvolution(width, width, 1, beyond=padding, bias=True)
        self.space = nn.Sequential(alone, nn.GELU(), nn.BatchNorm2d(width))
        self.features = nn.Sequential(mixing, nn.GELU(), nn.BatchNorm2d(width))

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, width, y, x) to as many."""
        return self.features(features + self.space(features))


BLOCKS: dict[str, type[GatedAttention] | type[ConvMixer]] = {"gsta": GatedAttention, "convmixer": ConvMixer}
