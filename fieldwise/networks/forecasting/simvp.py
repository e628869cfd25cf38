"""SimVP: all known frames to all that are to be made, at once: encoder, translator, decoder.

After Gao et al. 2022, arXiv:2206.05099, and Tan et al. 2022, arXiv:2211.12509, as OpenSTL (arXiv:2306.11249)
sizes it for WeatherBench: 12.76 million parameters with gSTA, 1.14 million with ConvMixer. Other than there
the frames are made as changes to the last known one, whose details all of them are given; and what is known
for the future is read: that of each known hour by the encoder, that of the hours to come by the translator
(means over its cells) and by the last layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.convolutions.fast import store_channels_last
from fieldwise.networks.convolutions.padding import PaddedConvolution
from fieldwise.networks.forecasting.frames import (
    SequenceNetwork,
    coarsen,
    fold_time,
    roll_on,
    unfold_time,
)
from fieldwise.networks.forecasting.translators import make_translator
from fieldwise.networks.valid.periodic import put_channels_last

Disturb = Callable[[Tensor, int], Tensor]
GROUPS = 2  # of features that are normed together


class SimVP(SequenceNetwork):
    """Encode each known frame, translate all together, decode each frame that is to be made.

    Parameters
    ----------
    channels, forcing, padding
        As of `fieldwise.networks.forecasting.convlstm.ConvLSTM`.
    context, horizon : int
        Frames that are read and made at once; for more frames it goes on from its own.
    features : int
        Of a frame.
    stages : int
        Convolutions of the encoder and of the decoder, every second of which halves or doubles the
        resolution.
    translator : str
        "gsta" or "convmixer"; see `fieldwise.networks.forecasting.translators`.
    translator_features, translator_blocks : int
        Of all frames together, and how many blocks.

    Raises
    ------
    InputError
        If an option is out of range, or sequences do not go together or with the network.

    Examples
    --------
    >>> sum(parameter.numel() for parameter in SimVP(1).parameters())
    12758305
    >>> small = SimVP(2, forcing=1, features=4, translator_features=8, translator_blocks=2).eval()
    >>> small(torch.zeros(1, 12, 2, 17, 12), forcing=torch.zeros(1, 24, 1, 17, 12)).shape
    torch.Size([1, 12, 2, 17, 12])
    """

    def __init__(
        self,
        channels: int,
        *,
        forcing: int = 0,
        context: int = 12,
        horizon: int = 12,
        features: int = 32,
        stages: int = 2,
        translator: str = "gsta",
        translator_features: int = 256,
        translator_blocks: int = 8,
        padding: str = "reflect",
    ) -> None:
        super().__init__(channels, forcing=forcing, context=context, horizon=horizon, padding=padding)
        check_sizes(features=features // GROUPS, stages=stages, translator_blocks=translator_blocks)
        self.features, halving = features, [bool(number % 2) for number in range(stages)]
        self.step = 2 ** sum(halving)
        first = context * features + horizon * forcing
        self.widths = [first, *[translator_features] * (translator_blocks - 1)]  # that the blocks read
        self.encoder = nn.ModuleList(
            FrameLayer(features if each else channels + forcing, features, stride=1 + halve, padding=padding)
            for each, halve in enumerate(halving)
        )
        self.translator = make_translator(translator, [*self.widths, horizon * features], padding=padding)
        self.decoder = nn.ModuleList(
            FrameLayer(features, features, enlargement=1 + double, padding=padding)
            for double in reversed(halving)
        )
        self.head = PaddedConvolution(features + forcing, channels, 1, beyond=padding, bias=True)
        store_channels_last(self)

    def make(
        self, inputs: Tensor, horizon: int, forcing: Tensor | None, truth: Tensor | None, fed: Tensor | None
    ) -> Tensor:
        """Make the frames in stretches, each at once; `truth` is not read."""
        return roll_on(
            lambda frames, known, number: self.answer(frames, known),
            inputs,
            horizon=horizon,
            stretch=self.horizon,
            forcing=forcing,
        )

    def answer(self, inputs: Tensor, forcing: Tensor | None, disturb: Disturb | None = None) -> Tensor:
        """Make `horizon` frames of `context` ones and the forcing of all these hours.

        What each block, and after them the last layer, is to read can be disturbed: features and the number
        of the block, counted from 0, to features.
        """
        disturb = disturb or (lambda features, number: features)
        context = inputs.shape[1]
        frames = inputs if forcing is None else torch.cat([inputs, forcing[:, :context]], dim=2)
        coarse, details, sizes = self.encode(frames)
        if forcing is not None:
            ahead = coarsen(forcing[:, context:].flatten(1, 2), self.step)
            coarse = torch.cat([coarse, put_channels_last(ahead).to(coarse.dtype)], dim=1)
        for number, block in enumerate(self.translator):
            coarse = block(disturb(coarse, number))
        made = self.decode(coarse, details, sizes)  # (horizon * batch, features, y, x)
        made = disturb(made, len(self.translator))
        if forcing is not None:
            made = torch.cat([made, fold_time(forcing[:, context:]).to(made.dtype)], dim=1)
        return inputs[:, -1:] + unfold_time(self.head(made), self.horizon)

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor, list[torch.Size]]:
        """Give the coarse features of all frames side by side, (batch, context * features, y, x).

        Besides: the fine ones of the last frame, (batch, features, y, x), and rows and columns of each layer.
        """
        made, sizes = [fold_time(frames)], []
        for layer in self.encoder:
            sizes.append(made[-1].shape[2:])
            made.append(layer(made[-1]))
        coarse = unfold_time(made[-1], frames.shape[1]).flatten(1, 2)
        return put_channels_last(coarse), made[1][-len(frames) :], sizes

    def decode(self, coarse: Tensor, details: Tensor, sizes: list[torch.Size]) -> Tensor:
        """Give fine features of each frame that is to be made, (horizon * batch, features, y, x)."""
        features = fold_time(coarse.unflatten(1, (self.horizon, self.features)))
        for layer, (rows, columns) in zip(self.decoder[:-1], sizes[:0:-1]):
            features = layer(features)[..., :rows, :columns]
        features = features + details.repeat(self.horizon, 1, 1, 1)
        return self.decoder[-1](features)[..., : sizes[0][0], : sizes[0][1]]


class FrameLayer(nn.Module):
    """A convolution of 3 cells, a norm of groups of features and a smooth rectifier, on each frame alone.

    Parameters
    ----------
    in_channels, features : int
        Read and given.
    stride : int
        Cells of what is read along one that is given.
    enlargement : int
        Cells that are given along one that is read.
    padding : str
        What lies beyond the map.

    Examples
    --------
    >>> layer = FrameLayer(4, 6, enlargement=2, padding="circular")
    >>> layer(torch.zeros(3, 4, 5, 6)).shape
    torch.Size([3, 6, 10, 12])
    """

    def __init__(
        self, in_channels: int, features: int, *, padding: str, stride: int = 1, enlargement: int = 1
    ) -> None:
        super().__init__()
        made = features * enlargement**2
        self.convolution = PaddedConvolution(in_channels, made, 3, stride=stride, beyond=padding, bias=True)
        self.shuffle = nn.PixelShuffle(enlargement)
        self.norm = nn.GroupNorm(GROUPS, features)

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, features, y, x), finer or coarser."""
        made = self.norm(self.shuffle(self.convolution(features)))
        return nn.functional.silu(put_channels_last(made))
