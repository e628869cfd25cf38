"""The aligned Xception, which sees a map at ever coarser resolutions: the encoder of DeepLabv3+.

After Chollet 2017, arXiv:1610.02357, aligned as in Chen et al. 2018, arXiv:1802.02611: convolutions with a
stride take the place of pooling. Names in the state are those of DeepCAM's network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from fieldwise.errors import InputError
from fieldwise.networks.convolutions.padding import PaddedConvolution

MIDDLE = 728  # features of the sixteen blocks in the middle
LOW_LEVEL = 128  # features at a quarter of the resolution
FEATURES = 2048  # at the coarsest
# Output stride to the stride of block 3 and the dilations of the middle blocks, block 20 and the last layers.
STRIDES = {16: (2, 1, 1, 2), 8: (1, 2, 2, 4)}


class Xception(nn.Module):
    """From fields to features, at a quarter of their resolution and at an eighth or sixteenth of it.

    Parameters
    ----------
    in_channels : int
        Fields read.
    output_stride : int
        Cells of the fields along one of the coarsest: 16 or 8. The weights are the same in number and shape;
        with 8, kernels reach as far by their dilation.
    beyond : str
        What lies beyond the map: "zeros" or "zonal".

    Examples
    --------
    >>> import torch
    >>> coarse, low_level = Xception(4).eval()(torch.zeros(1, 4, 32, 32))
    >>> coarse.shape, low_level.shape
    (torch.Size([1, 2048, 2, 2]), torch.Size([1, 128, 8, 8]))
    """

    def __init__(self, in_channels: int, *, output_stride: int = 16, beyond: str = "zeros") -> None:
        super().__init__()
        if output_stride not in STRIDES:
            raise InputError(f"output_stride is {output_stride}; take {' or '.join(map(str, STRIDES))}")
        stride, middle, last, end = STRIDES[output_stride]
        self.conv1 = PaddedConvolution(in_channels, 32, 3, stride=2, beyond=beyond)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = PaddedConvolution(32, 64, 3, beyond=beyond)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.block1 = Block((64, 128, LOW_LEVEL), stride=2, rectified=True, beyond=beyond)
        self.block2 = Block((LOW_LEVEL, 256, 256), stride=2, beyond=beyond)
        self.block3 = Block((256, MIDDLE, MIDDLE), stride=stride, beyond=beyond)
        for number in range(4, 20):
            self.add_module(f"block{number}", Block((MIDDLE,) * 4, dilation=middle, beyond=beyond))
        self.block20 = Block((MIDDLE, MIDDLE, 1024), dilation=last, beyond=beyond)
        for number, widths in zip((3, 4, 5), pairwise((1024, 1536, 1536, FEATURES))):
            self.add_module(f"conv{number}", _separate(*widths, dilation=end, beyond=beyond))
            self.add_module(f"bn{number}", nn.BatchNorm2d(widths[1]))

    def forward(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, in_channels, y, x) to features of the coarsest cells and of those of a quarter."""
        features = self.relu(self.bn1(self.conv1(fields)))  # (batch, 32, y / 2, x / 2)
        features = self.relu(self.bn2(self.conv2(features)))  # (batch, 64, y / 2, x / 2)
        features = low_level = self.relu(self.block1(features))  # (batch, 128, y / 4, x / 4)
        for number in range(2, 21):
            features = getattr(self, f"block{number}")(features)  # (batch, 728, y / 16, x / 16), …
        for number in (3, 4, 5):
            convolved = getattr(self, f"conv{number}")(features)
            features = self.relu(getattr(self, f"bn{number}")(convolved))
        return features, low_level  # (batch, 2048, y / 16, x / 16)


class Block(nn.Module):
    """Rectified separable convolutions, to which the rectified input is added.

    Where widths or resolution change, a further convolution, with the stride, follows, and the input passes
    through one of a single cell.

    Parameters
    ----------
    widths : sequence of int
        Features read, and given by each convolution.
    stride, dilation : int
        Of the last convolution; of the others.
    rectified : bool
        Whether what is read has been rectified before.
    beyond : str
        What lies beyond the map: "zeros" or "zonal".

    Examples
    --------
    >>> import torch
    >>> Block((64, 128, 128), stride=2, beyond="zonal")(torch.zeros(2, 64, 8, 8)).shape
    torch.Size([2, 128, 4, 4])
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        stride: int = 1,
        dilation: int = 1,
        rectified: bool = False,
        beyond: str,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers.append(nn.ReLU(inplace=True))
            layers.append(_separate(before, after, dilation=dilation, beyond=beyond))
            layers.append(nn.BatchNorm2d(after))
        self.skip: nn.Module | None = None
        last = widths[-1]
        if widths[0] != last or stride > 1:
            layers.append(_separate(last, last, stride=stride, beyond=beyond))
            self.skip = PaddedConvolution(widths[0], last, 1, stride=stride, beyond=beyond)
            self.skipbn = nn.BatchNorm2d(last)
        self.begin = nn.Identity() if rectified else nn.ReLU()
        first = 0 if rectified else 1  # the first rectifier has a number, if any, but the skip sees it too
        self.rep = nn.Sequential(
            OrderedDict((str(place), layer) for place, layer in enumerate(layers[1:], start=first))
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, widths[0], y, x) to (batch, widths[-1], y / stride, x / stride)."""
        features = self.begin(features)
        direct = features if self.skip is None else self.skipbn(self.skip(features))
        return self.rep(features) + direct


def _separate(
    in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1, beyond: str
) -> nn.Sequential:
    """Convolve each channel by itself, then mix the channels of each cell."""
    alone = PaddedConvolution(
        in_channels, in_channels, 3, stride=stride, dilation=dilation, groups=in_channels, beyond=beyond
    )
    mixed = PaddedConvolution(in_channels, out_channels, 1, beyond=beyond)
    return nn.Sequential(OrderedDict(conv1=alone, pointwise=mixed))
