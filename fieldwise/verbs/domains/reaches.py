"""How far a network sees: known from its layers, where these are of a known kind."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules import activation, batchnorm, dropout, padding, pooling

from fieldwise.networks.convolutions.deformable import DeformableConvolution

POOLINGS = (nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d)
ENLARGEMENTS = (nn.ConvTranspose2d, nn.ConvTranspose3d)
INTERPOLATED_CELLS = {"nearest": 0, "nearest-exact": 0, "bilinear": 1, "trilinear": 1, "bicubic": 2}
LOCAL = {batchnorm.__name__, dropout.__name__, padding.__name__, activation.__name__, nn.Identity.__module__}
GLOBAL = (nn.MultiheadAttention, nn.Softmax, nn.LogSoftmax, nn.Linear, nn.Bilinear)  # in rooms of local ones


class Reach(NamedTuple):
    """How many cells to one side a network sees at most (None: not known), and of what maps are multiples."""

    cells: int | None
    multiple: int


def reach(network: nn.Module) -> Reach:
    """Tell how far a network sees, and of how many cells the sides of its maps are to be multiples.

    Kernels (with their dilation), pooling and enlargement are counted as if all stood where the map is
    smallest, so the answer may be more than is needed, never less. A module may state its own by the
    attributes `reach_cells` and `multiple_cells`. Layers that see without end (attention, norms over the
    map) or as far as the data tell them (deformable convolutions) have no known reach, nor has a layer that
    is not known here. What `forward` does beside its layers is not seen: `choose_halo` tries the answer out.

    >>> from fieldwise.networks.convnet import ConvNet
    >>> from fieldwise.networks.unet import UNet
    >>> reach(ConvNet(1, 1, layers=8, kernel_size=3))
    Reach(cells=8, multiple=1)
    >>> reach(ConvNet(1, 1, layers=3, dilations=[1, 4])).cells  # 1 + 4 + 1
    6
    >>> reach(UNet(1, 1, blocks=2, filters=2)).multiple
    2
    >>> reach(nn.Sequential(nn.Conv2d(1, 8, 3), nn.GroupNorm(1, 8)))
    Reach(cells=None, multiple=1)
    """
    cells, shrinks, grows, known = 0, 1, 1, True
    for module in _modules(network):
        if hasattr(module, "reach_cells"):
            cells += int(module.reach_cells)  # type: ignore[arg-type]
            shrinks *= int(getattr(module, "multiple_cells", 1))
            continue
        seen = _cells_of(module)
        known &= seen is not None
        cells += seen or 0
        if isinstance(module, ENLARGEMENTS):
            grows *= max(_pair(module.stride))
        elif isinstance(module, nn.Upsample):
            grows *= math.ceil(max(_pair(module.scale_factor or 1)))
        elif isinstance(module, nn.PixelShuffle):
            grows *= module.upscale_factor
        else:
            shrinks *= max(_pair(getattr(module, "stride", 1)))
    multiple = max(shrinks, grows)
    return Reach(cells * multiple if known else None, multiple)


def _modules(network: nn.Module) -> Iterable[nn.Module]:
    """Go through all modules, but into none that states its own reach."""
    yield network
    if not hasattr(network, "reach_cells"):
        for child in network.children():
            yield from _modules(child)


def _cells_of(module: nn.Module) -> int | None:
    """Tell how many of its own cells a module sees to one side, its parts apart; None where not known."""
    if isinstance(module, DeformableConvolution):
        return None
    if isinstance(module, POOLINGS):
        return max(_pair(module.kernel_size)) - 1
    if isinstance(module, nn.Upsample):
        return INTERPOLATED_CELLS.get(module.mode)
    if hasattr(module, "kernel_size") and not isinstance(module, pooling._AdaptiveAvgPoolNd):
        dilation = max(_pair(getattr(module, "dilation", 1)))
        return dilation * (max(_pair(module.kernel_size)) // 2)
    if isinstance(module, GLOBAL):
        return None
    plain = type(module).__module__ in LOCAL or isinstance(module, nn.PixelShuffle | nn.PixelUnshuffle)
    own_weights = any(True for _ in module.parameters(recurse=False))
    empty = isinstance(module, nn.ModuleList | nn.ModuleDict | nn.Sequential)
    container = (empty or any(True for _ in module.children())) and not own_weights
    return 0 if plain or container else None


def _pair(size: Any) -> tuple[Any, ...]:
    return tuple(size) if isinstance(size, tuple | list) else (size,)
