"""Discriminators that judge sequences: SAVP's, and that of ConvLSTM-GAN."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from fieldwise.errors import InputError
from fieldwise.networks.convnet import check_sizes

SLOPES = {"savp": 0.1, "convlstm_gan": 0.2}  # of the rectifiers below zero


class VideoDiscriminator(nn.Module):
    """Seven 3-D convolutions with spectral norm, and one score a sequence: SAVP's.

    After Lee et al. 2018, arXiv:1804.01523, and Miyato et al. 2018, arXiv:1802.05957. Kernels of 3 and of 4
    frames and cells take turns, the latter halving the resolution. The score is of the means of the last
    features, so that sequences of any size can be judged.

    Parameters
    ----------
    channels : int
        Fields of a frame.
    features : int
        Of the first layer (`ndf`); the last ones have eight times as many.

    Raises
    ------
    InputError
        If a sequence has other channels, or fewer than 4 frames or 8 cells an axis.

    Examples
    --------
    >>> judge = VideoDiscriminator(2, features=4)
    >>> score, features = judge.judge(torch.zeros(3, 6, 2, 16, 24))
    >>> score.shape, len(features), features[-1].shape
    (torch.Size([3, 1]), 7, torch.Size([3, 32, 2, 2, 3]))
    """

    def __init__(self, channels: int, *, features: int = 32) -> None:
        super().__init__()
        check_sizes(channels=channels, features=features)
        self.channels = channels
        widths = [channels, *(features * times for times in (1, 2, 2, 4, 4, 8, 8))]
        strides = [(1, 1, 1), (1, 2, 2), (1, 1, 1), (1, 2, 2), (1, 1, 1), (2, 2, 2), (1, 1, 1)]
        self.convolutions = nn.ModuleList(
            spectral_norm(nn.Conv3d(*pair, 4 if max(stride) > 1 else 3, stride, 1))
            for pair, stride in zip(pairwise(widths), strides)
        )
        self.score = spectral_norm(nn.Linear(widths[-1], 1))

    def forward(self, sequence: Tensor) -> Tensor:
        """Map (batch, time, channels, y, x) to scores, (batch, 1), before any sigmoid."""
        return self.judge(sequence)[0]

    def judge(self, sequence: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Give the scores, and the features of all layers, (batch, features, time, y, x)."""
        made, seen = _put_channels_first(sequence, self.channels, least=(4, 8, 8)), []
        for convolution in self.convolutions:
            made = functional.leaky_relu(convolution(made), SLOPES["savp"])
            seen.append(made)
        return self.score(made.mean((-3, -2, -1))), seen


class SequenceDiscriminator(nn.Module):
    """Four 3-D convolutions that halve frames and cells, and one that scores what is left: ConvLSTM-GAN's.

    Parameters
    ----------
    channels : int
        Fields of a frame.
    features : sequence of int
        Of the layers before the scores.

    Raises
    ------
    InputError
        If a sequence has other channels, or fewer than 16 cells an axis.

    Examples
    --------
    >>> SequenceDiscriminator(3)(torch.zeros(2, 12, 3, 32, 48)).shape
    torch.Size([2, 1, 1, 2, 3])
    """

    def __init__(self, channels: int, *, features: tuple[int, ...] = (64, 128, 256, 512)) -> None:
        super().__init__()
        check_sizes(channels=channels, layers=len(features), features=min(features, default=1))
        self.channels, self.least = channels, 2 ** len(features)
        layers: list[nn.Module] = []
        for number, (read, given) in enumerate(pairwise([channels, *features])):
            layers.append(nn.Conv3d(read, given, (3, 4, 4), 2, 1, bias=not number))
            layers += [nn.BatchNorm3d(given)] if number else []
            layers.append(nn.LeakyReLU(SLOPES["convlstm_gan"]))
        self.layers = nn.Sequential(*layers, nn.Conv3d(features[-1], 1, 1))

    def forward(self, sequence: Tensor) -> Tensor:
        """Map (batch, time, channels, y, x) to scores of parts, (batch, 1, time, y, x)."""
        return self.layers(_put_channels_first(sequence, self.channels, least=(1, self.least, self.least)))


def _put_channels_first(sequence: Tensor, channels: int, *, least: tuple[int, int, int]) -> Tensor:
    """Check a sequence and give (batch, channel, time, y, x)."""
    shape = tuple(sequence.shape)
    times, _, *cells = shape[1:] if len(shape) == 5 else (0, 0, 0, 0)
    if len(shape) != 5 or shape[2] != channels or any(a < b for a, b in zip((times, *cells), least)):
        raise InputError(
            f"the discriminator judges (batch, time, {channels}, y, x), at least {least[0]} frames of "
            f"{least[1]} x {least[2]} cells, not {shape}; choose longer or larger sequences"
        )
    return sequence.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)
