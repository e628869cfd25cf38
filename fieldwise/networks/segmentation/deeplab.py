"""DeepLabv3+: what a map shows at several distances, told cell by cell; the network of DeepCAM.

``DeepLab(in_channels, out_channels, *, output_stride=16, decoder="transposed", padding="published")`` maps
(batch, in_channels, y, x) to scores of classes before a softmax, (batch, out_channels, y, x).

After Chen et al. 2018, arXiv:1802.02611, as Kurth et al. 2018, arXiv:1810.01993, have it for storms and
rivers of the atmosphere; names in the state are those of their weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.cells import order_in_memory
from fieldwise.networks.convnet import check_channels, check_sizes, draw_he_weights
from fieldwise.networks.convolutions.padding import (
    PaddedConvolution,
    PaddedEnlargement,
    apply_to_globe,
    choose_beyond,
    spread,
)
from fieldwise.networks.segmentation.xception import FEATURES, LOW_LEVEL, Xception
from fieldwise.networks.valid.blocks import check_cells

WIDTH = 256  # features of a branch and of the decoder
REDUCED = 48  # features of a quarter of the resolution that the decoder reads
DILATIONS = {16: (1, 6, 12, 18), 8: (1, 12, 24, 36)}  # output stride to those of the branches


class DeepLab(nn.Module):
    """An encoder, branches that look at its features from near to far, and a decoder.

    Parameters
    ----------
    in_channels, out_channels : int
        Fields read, scaled to order one, and classes told apart.
    output_stride : int
        Cells of the fields along one of the coarsest: 16, or 8 for finer features at four times the cost.
    decoder : str
        "transposed": transposed convolutions to full resolution; "bilinear": convolutions at a quarter of the
        resolution, whose scores are spread.
    padding : str
        "published": zeros beyond the map; "zonal": the globe goes on, see
        `fieldwise.networks.convolutions.padding`.

    Raises
    ------
    InputError
        If an option is unknown, or a batch has other channels than the network reads or a size that the
        decoder does not come back to: a multiple of the output stride, if not bilinear; of rows of the globe
        any number will do.

    Examples
    --------
    As many parameters as DeepCAM's, with its 16 channels and 3 classes:

    >>> network = DeepLab(16, 3)
    >>> sum(parameter.numel() for parameter in network.parameters())
    56454720
    >>> network.eval()(torch.zeros(1, 16, 32, 48)).shape
    torch.Size([1, 3, 32, 48])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        output_stride: int = 16,
        decoder: str = "transposed",
        padding: str = "published",
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels)
        if decoder not in DECODERS:
            raise InputError(f"decoder is {decoder!r}; take {' or '.join(DECODERS)}")
        beyond = choose_beyond(padding, "zeros")
        self.in_channels, self.output_stride = in_channels, output_stride
        self.decoder, self.beyond = decoder, beyond
        self.xception_features = Xception(in_channels, output_stride=output_stride, beyond=beyond)
        for number, dilation in enumerate(DILATIONS[output_stride], start=1):
            self.add_module(f"aspp{number}", _make_branch(dilation, beyond))
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(FEATURES, WIDTH, 1, bias=False), PooledNorm(WIDTH), nn.ReLU()
        )
        self.conv1 = nn.Conv2d(5 * WIDTH, WIDTH, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.conv2 = nn.Conv2d(LOW_LEVEL, REDUCED, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(REDUCED)
        self.relu = nn.ReLU(inplace=True)
        self.upsample = DECODERS[decoder](out_channels, output_stride=output_stride, beyond=beyond)
        draw_he_weights(self)
        # Weights in the order of maps need not be turned in each step, all 56 million of them.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, fields: Tensor) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, out_channels, y, x)."""
        check_channels(fields, self.in_channels, 2)
        if self.beyond == "zonal":
            return apply_to_globe(self._tell, fields, self.output_stride)
        if self.decoder == "transposed":
            check_cells(fields, self.output_stride, self.output_stride)
        return self._tell(fields)

    def _tell(self, fields: Tensor) -> Tensor:
        features, low_level = self.xception_features(order_in_memory(fields))  # (batch, 2048, y / 16, x / 16)
        seen = [getattr(self, f"aspp{number}")(features) for number in (1, 2, 3, 4)]
        seen.append(self.global_avg_pool(features).expand_as(seen[0]))
        features = self.relu(self.bn1(self.conv1(torch.cat(seen, 1))))  # (batch, 256, y / 16, x / 16)
        low_level = self.relu(self.bn2(self.conv2(low_level)))  # (batch, 48, y / 4, x / 4)
        return self.upsample(features, low_level, fields.shape[2:])


class TransposedDecoder(nn.Module):
    """From coarse features to scores by transposed convolutions, joined by finer features half-way.

    >>> decoder = TransposedDecoder(3, output_stride=16, beyond="zeros")
    >>> decoder(torch.zeros(2, 256, 2, 3), torch.zeros(2, 48, 8, 12), (32, 48)).shape
    torch.Size([2, 3, 32, 48])
    """

    def __init__(self, out_channels: int, *, output_stride: int, beyond: str) -> None:
        super().__init__()
        self.deconv1 = self._double(beyond)
        self.deconv2 = self._double(beyond, factor=output_stride // 8)  # with 8, as many cells as before
        self.conv1 = _make_joint(WIDTH, beyond)
        self.deconv3 = self._double(beyond)
        self.last_deconv = nn.Sequential(PaddedEnlargement(WIDTH, out_channels, beyond=beyond))

    def forward(self, features: Tensor, low_level: Tensor, cells: Sequence[int]) -> Tensor:
        """Map (batch, 256, y / 16, x / 16) and (batch, 48, y / 4, x / 4) to (batch, out_channels, y, x)."""
        features = self.deconv2(self.deconv1(features))  # (batch, 256, y / 4, x / 4)
        features = self.conv1(torch.cat([features, low_level], 1))
        return self.last_deconv(self.deconv3(features))

    @staticmethod
    def _double(beyond: str, factor: int = 2) -> nn.Sequential:
        enlarge = PaddedEnlargement(WIDTH, WIDTH, factor=factor, beyond=beyond)
        return nn.Sequential(enlarge, nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True))


class BilinearDecoder(nn.Module):
    """From coarse features, spread and joined by finer ones, to scores, which are spread again.

    >>> decoder = BilinearDecoder(3, output_stride=16, beyond="zeros")
    >>> decoder(torch.zeros(2, 256, 2, 3), torch.zeros(2, 48, 8, 9), (31, 36)).shape
    torch.Size([2, 3, 31, 36])
    """

    def __init__(self, out_channels: int, *, output_stride: int, beyond: str) -> None:
        super().__init__()
        self.beyond = beyond
        self.last_conv = _make_joint(out_channels, beyond)

    def forward(self, features: Tensor, low_level: Tensor, cells: Sequence[int]) -> Tensor:
        """Map (batch, 256, y / 16, x / 16) and (batch, 48, y / 4, x / 4) to (batch, out_channels, y, x)."""
        options: dict[str, Any] = {"beyond": self.beyond, "to_corners": True}
        features = spread(features, low_level.shape[2:], **options)
        return spread(self.last_conv(torch.cat([features, low_level], 1)), cells, **options)


DECODERS: dict[str, type[nn.Module]] = {"transposed": TransposedDecoder, "bilinear": BilinearDecoder}


class PooledNorm(nn.BatchNorm2d):
    """A batch norm of one value a sample; a lone sample, which shows no spread, is normed by the running one.

    >>> PooledNorm(2).train()(torch.full((1, 2, 1, 1), 3.0)).flatten().round(decimals=3).tolist()
    [3.0, 3.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        """Norm (batch, channel, 1, 1)."""
        if len(input) > 1:
            return super().forward(input)
        state = (self.running_mean, self.running_var, self.weight, self.bias)
        return functional.batch_norm(input, *state, training=False, eps=self.eps)


def _make_branch(dilation: int, beyond: str) -> nn.Sequential:
    size = 1 if dilation == 1 else 3
    convolution = PaddedConvolution(FEATURES, WIDTH, size, dilation=dilation, beyond=beyond)
    norm = nn.BatchNorm2d(WIDTH)
    return nn.Sequential(OrderedDict(atrous_convolution=convolution, bn=norm, relu=nn.ReLU(inplace=True)))


def _make_joint(out_channels: int, beyond: str) -> nn.Sequential:
    """Convolve what is joined twice, and mix the channels."""
    layers: list[nn.Module] = []
    for width in (WIDTH + REDUCED, WIDTH):
        layers.append(PaddedConvolution(width, WIDTH, 3, beyond=beyond))
        layers += [nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, out_channels, 1))
