"""CGNet: half a million parameters that see each cell with its surroundings; the network of ClimateNet.

``CGNet(in_channels, out_channels, *, blocks=(3, 21), padding="published")`` maps (batch, in_channels, y, x)
to scores of classes before a softmax, (batch, out_channels, y, x).

After Wu et al. 2018, arXiv:1811.08201, as ClimateNet has it (Prabhat et al. 2021,
doi 10.5194/gmd-14-107-2021); names in the state are those of its weights.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.networks.cells import order_in_memory
from fieldwise.networks.convnet import check_channels, check_sizes, draw_he_weights
from fieldwise.networks.convolutions.padding import (
    PaddedConvolution,
    apply_to_globe,
    choose_beyond,
    continue_map,
    spread,
)
from fieldwise.networks.valid.blocks import check_cells

EPSILON = 1e-3  # that the batch norms add to variances
STEP = 8  # cells along one of the coarsest
LEAST = 25  # cells that make four of the coarsest, as far as a kernel reaches


class CGNet(nn.Module):
    """Three stages, each at half the resolution of the one before, whose scores are spread.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read, scaled to order one, and classes told apart.
    blocks : pair of int
        How many blocks the second and the third stage have, the first of which halves the resolution.
    padding : str
        "published": the map goes on at its other side in both axes, even over the poles; "zonal": as the
        globe does, see `fieldwise.networks.convolutions.padding`.

    Raises
    ------
    InputError
        If an option is out of range, or a batch has other channels than the network reads or too few cells.

    Examples
    --------
    As many parameters as ClimateNet's, with its four channels and three classes:

    >>> network = CGNet(4, 3)
    >>> sum(parameter.numel() for parameter in network.parameters())
    494232
    >>> network.eval()(torch.zeros(1, 4, 40, 61)).shape
    torch.Size([1, 3, 40, 61])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        blocks: tuple[int, int] = (3, 21),
        padding: str = "published",
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels, blocks=min(blocks))
        self.in_channels, self.out_channels = in_channels, out_channels
        self.beyond = beyond = choose_beyond(padding, "circular")
        self.level1_0 = _convolve(in_channels, 32, 3, stride=2, beyond=beyond)
        self.level1_1 = _convolve(32, 32, 3, beyond=beyond)
        self.level1_2 = _convolve(32, 32, 3, beyond=beyond)
        self.b1 = _norm(32 + in_channels)
        self.level2_0 = CoarserBlock(32 + in_channels, 64, dilation=2, share=8, beyond=beyond)
        self.level2 = nn.ModuleList(
            ContextBlock(64, dilation=2, share=8, beyond=beyond) for _ in range(blocks[0] - 1)
        )
        self.bn_prelu_2 = _norm(128 + in_channels)
        self.level3_0 = CoarserBlock(128 + in_channels, 128, dilation=4, share=16, beyond=beyond)
        self.level3 = nn.ModuleList(
            ContextBlock(128, dilation=4, share=16, beyond=beyond) for _ in range(blocks[1] - 1)
        )
        self.bn_prelu_3 = _norm(256)
        self.classifier = nn.Sequential(_alone(PaddedConvolution(256, out_channels, 1, beyond=beyond)))
        draw_he_weights(self)

    def forward(self, fields: Tensor) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, out_channels, y, x)."""
        check_channels(fields, self.in_channels, 2)
        if self.beyond == "zonal":
            return apply_to_globe(self._tell, fields, STEP)
        check_cells(fields, LEAST)
        return self._tell(fields)

    def _tell(self, fields: Tensor) -> Tensor:
        fields = order_in_memory(fields)
        halved = self._halve(fields)
        features = self.level1_2(self.level1_1(self.level1_0(fields)))  # (batch, 32, y / 2, x / 2)
        first = self.level2_0(self.b1(torch.cat([features, halved], 1)))  # (batch, 64, y / 4, x / 4)
        last = _pass(self.level2, first)
        joined = self.bn_prelu_2(torch.cat([last, first, self._halve(halved)], 1))
        first = self.level3_0(joined)  # (batch, 128, y / 8, x / 8)
        last = _pass(self.level3, first)
        scores = self.classifier(self.bn_prelu_3(torch.cat([first, last], 1)))
        return spread(scores, fields.shape[2:], beyond=self.beyond)

    def _halve(self, fields: Tensor) -> Tensor:
        return functional.avg_pool2d(continue_map(fields, 1, self.beyond), 3, stride=2)


class ContextBlock(nn.Module):
    """What a cell and its neighbours show beside what its surroundings do, weighed; added to what is read.

    Parameters
    ----------
    width : int
        Features read and given.
    dilation : int
        Steps in cells to the surroundings.
    share : int
        Of `GlobalWeights`.
    beyond : str
        What lies beyond the map: "circular" or "zonal".

    Examples
    --------
    >>> ContextBlock(64, dilation=2, share=8, beyond="zonal")(torch.zeros(2, 64, 6, 8)).shape
    torch.Size([2, 64, 6, 8])
    """

    def __init__(self, width: int, *, dilation: int, share: int, beyond: str) -> None:
        super().__init__()
        self.conv1x1 = _convolve(width, width // 2, 1, beyond=beyond)
        self.F_loc = _look(width // 2, beyond=beyond)
        self.F_sur = _look(width // 2, dilation=dilation, beyond=beyond)
        self.bn_prelu = _norm(width)
        self.F_glo = GlobalWeights(width, share)

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, width, y, x) to as many."""
        reduced = self.conv1x1(features)
        joined = torch.cat([self.F_loc(reduced), self.F_sur(reduced)], 1)
        return features + self.F_glo(self.bn_prelu(joined))


class CoarserBlock(nn.Module):
    """As `ContextBlock`, at half the resolution of what is read, to which it is not added.

    >>> CoarserBlock(36, 64, dilation=2, share=8, beyond="zonal")(torch.zeros(2, 36, 6, 8)).shape
    torch.Size([2, 64, 3, 4])
    """

    def __init__(self, in_channels: int, width: int, *, dilation: int, share: int, beyond: str) -> None:
        super().__init__()
        self.conv1x1 = _convolve(in_channels, width, 3, stride=2, beyond=beyond)
        self.F_loc = _look(width, beyond=beyond)
        self.F_sur = _look(width, dilation=dilation, beyond=beyond)
        self.bn = nn.BatchNorm2d(2 * width, eps=EPSILON)
        self.act = nn.PReLU(2 * width)
        self.reduce = _alone(PaddedConvolution(2 * width, width, 1, beyond=beyond))
        self.F_glo = GlobalWeights(width, share)

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, width, y / 2, x / 2)."""
        halved = self.conv1x1(features)
        joined = torch.cat([self.F_loc(halved), self.F_sur(halved)], 1)
        return self.F_glo(self.reduce(self.act(self.bn(joined))))


class GlobalWeights(nn.Module):
    """Weigh features by what two layers make of their means over the map.

    Parameters
    ----------
    width : int
        Features read and given.
    share : int
        How many times fewer there are between the layers.

    Examples
    --------
    >>> GlobalWeights(64, 8)(torch.zeros(2, 64, 6, 8)).shape
    torch.Size([2, 64, 6, 8])
    """

    def __init__(self, width: int, share: int) -> None:
        super().__init__()
        between = width // share
        self.fc = nn.Sequential(
            nn.Linear(width, between), nn.ReLU(inplace=True), nn.Linear(between, width), nn.Sigmoid()
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, width, y, x) to as many."""
        return features * self.fc(features.mean((2, 3)))[:, :, None, None]


def _alone(convolution: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=convolution))


def _look(width: int, **options: Any) -> nn.Sequential:
    """Convolve each channel by itself."""
    return _alone(PaddedConvolution(width, width, 3, groups=width, **options))


def _norm(width: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(width, eps=EPSILON), act=nn.PReLU(width)))


def _convolve(in_channels: int, width: int, size: int, **options: Any) -> nn.Sequential:
    convolution = PaddedConvolution(in_channels, width, size, **options)
    return nn.Sequential(OrderedDict(conv=convolution, **dict(_norm(width).named_children())))


def _pass(blocks: nn.ModuleList, features: Tensor) -> Tensor:
    for block in blocks:
        features = block(features)
    return features
