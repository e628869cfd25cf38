"""SAVP: a next map of maps that are moved, drawn at random; to be trained against discriminators.

After Lee et al. 2018, arXiv:1804.01523, with the widths of its code: CDNA of the previous map, the first and
a new one, masks, ConvLSTM in most layers. Other than there

- the random code acts after the norms, and so do the means of each map that is read, such as how high the sun
  stands. What is joined to the inputs of a convolution as planes of one number, as codes were, is taken out
  again by the norm of each map that follows, but for its edge;
- kernels come of the means of the coarsest features and of the code: maps of any size can be read;
- of the known frames only the last one is made into a map: masks, kernels and new maps of the others serve
  nothing. All layers but the recurrent products read the known frames at once.

A training needs :meth:`SAVP.encode` (for the code of the truth, and how far it is from the prior) beside the
forecast; `fieldwise.networks.forecasting.discriminators.VideoDiscriminator` gives scores and features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fieldwise.errors import InputError
from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.convolutions.cdna import compose, make_kernels, move
from fieldwise.networks.convolutions.fast import store_channels_last
from fieldwise.networks.convolutions.padding import PaddedConvolution, PaddedEnlargement
from fieldwise.networks.forecasting.convlstm import ConvLSTMCell, Memory
from fieldwise.networks.forecasting.frames import (
    SequenceNetwork,
    draw_numbers,
    fold_time,
    roll_out,
    unfold_time,
)
from fieldwise.networks.valid.srgan import Noise, draw_noise

CELLS = 5  # on a side of the first kernel, and of those of the memories
OTHERS = 3  # maps beside those that are moved: the previous one, the first and a new one
SLOPE = 0.2  # of the encoder's rectifiers below zero
WIDEST = 10.0  # that the logarithm of a variance may be from 0


class Course(NamedTuple):
    """What is the same for all frames of a forecast: the first map and the codes of all transitions."""

    first: Tensor
    codes: Tensor


class SAVP(SequenceNetwork):
    """Reads all known frames, then its own, each with a random code; gives the next one.

    Parameters
    ----------
    channels, forcing, context, horizon, padding
        As of `fieldwise.networks.forecasting.convlstm.ConvLSTM`.
    features : int
        Of the finest layer (`ngf`); each coarser one has twice as many.
    levels : int
        How often the resolution is halved: 2 for maps of 32 cells, 3 for 64.
    kernels, kernel_size : int
        By how many kernels the previous map is moved, and their cells on a side.
    code : int
        Numbers drawn for a transition from frame to frame (`nz`).
    code_features : int
        Of the encoder's first layer (`nef`).

    Raises
    ------
    InputError
        If an option is out of range, or sequences do not go together or with the network.

    Examples
    --------
    >>> network = SAVP(2, forcing=1, features=8, code_features=8)
    >>> known, forcing = torch.zeros(1, 4, 2, 17, 16), torch.zeros(1, 10, 1, 17, 16)
    >>> network(known, horizon=6, forcing=forcing).shape
    torch.Size([1, 6, 2, 17, 16])
    >>> mean, log_variance = network.encode(known)  # of each of three transitions
    >>> mean.shape
    torch.Size([1, 3, 16])
    """

    def __init__(
        self,
        channels: int,
        *,
        forcing: int = 0,
        context: int = 12,
        horizon: int = 12,
        features: int = 32,
        levels: int = 2,
        kernels: int = 4,
        kernel_size: int = 5,
        code: int = 16,
        code_features: int = 64,
        padding: str = "reflect",
    ) -> None:
        super().__init__(channels, forcing=forcing, context=context, horizon=horizon, padding=padding)
        check_sizes(features=features, levels=levels, kernels=kernels, code=code, code_features=code_features)
        self.kernel_size, self.code = kernel_size, code
        widths = [features * 2**level for level in range(levels)]
        told = code + channels + 2 * forcing
        how: dict[str, Any] = {"told": told, "padding": padding}
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before = 2 * channels + 2 * forcing  # each frame beside the first one
        for level, width in enumerate(widths):
            self.down.append(CodedLayer(before, width, 3 if level else CELLS, stride=2, memory=True, **how))
            before = width
        for level, width in enumerate([*widths[-2::-1], features]):
            self.up.append(CodedLayer(before, width, enlarging=True, memory=level < levels - 1, **how))
            before = 2 * width
        self.codes = nn.LSTM(code, code, batch_first=True)
        self.kernels = nn.Linear(widths[-1] + told, kernels * kernel_size**2)
        self.new_map = _make_head(features, features, channels, padding)
        self.masks = _make_head(features, features, kernels + OTHERS, padding, beside=channels)
        self.encoder = TransitionEncoder(2 * channels, code_features, code)
        store_channels_last(self)

    def forward(
        self,
        inputs: Tensor,
        *,
        horizon: int | None = None,
        forcing: Tensor | None = None,
        truth: Tensor | None = None,
        fed: Tensor | None = None,
        noise: Noise | None = None,
        code: Tensor | None = None,
    ) -> Tensor:
        """Map (batch, context, channels, y, x) to (batch, horizon, channels, y, x).

        Parameters
        ----------
        noise : callable, optional
            What codes are drawn from, one level a transition; see `fieldwise.networks.noise.WorldNoise`.
        code : Tensor, optional
            The codes themselves, (batch, context + horizon - 1, code), such as those of the truth.
        """
        horizon = self.check(inputs, horizon, forcing, truth, fed)
        transitions = inputs.shape[1] + horizon - 1
        if code is None:
            code = self.draw_code(inputs, transitions, noise)
        elif tuple(code.shape) != (len(inputs), transitions, self.code):
            raise InputError(
                f"code is {tuple(code.shape)}, not {(len(inputs), transitions, self.code)}; give that of all "
                "transitions of context and horizon"
            )
        course = Course(inputs[:, 0], self.codes(code)[0])

        def advance(frames: Tensor, memories: list[Memory] | None, step: int) -> tuple[Tensor, list[Memory]]:
            return self._advance(frames, memories, course, inputs.shape[1] + step - 1 if step else 0)

        return roll_out(advance, inputs, horizon=horizon, forcing=forcing, truth=truth, fed=fed)

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and logarithm of the variance of the code of each transition, (batch, time - 1, code)."""
        return self.encoder(torch.cat([frames[:, :-1], frames[:, 1:]], dim=2))

    def draw_code(self, inputs: Tensor, transitions: int, noise: Noise | None = None) -> Tensor:
        """Draw codes of the prior, independent normal numbers, (batch, transitions, code)."""
        noise, cells = noise or draw_noise, (inputs.shape[-2], inputs.shape[-1])
        drawn = [draw_numbers(noise, level, inputs, cells, self.code) for level in range(transitions)]
        return torch.stack(drawn, dim=1).expand(len(inputs), -1, -1)

    def _advance(
        self, frames: Tensor, memories: list[Memory] | None, course: Course, transition: int
    ) -> tuple[Tensor, list[Memory]]:
        """Make the frame after the last of `frames`, (batch, time, channels + 2 forcing, y, x)."""
        times = frames.shape[1]
        means = frames.mean((-2, -1))
        told = torch.cat([course.codes[:, transition : transition + times].to(means.dtype), means], dim=2)
        first = course.first[:, None].expand(-1, times, -1, -1, -1)
        features, seen = torch.cat([frames, first], dim=2), []
        kept: list[Memory] = []

        def recall() -> Memory | None:
            return None if memories is None else memories[len(kept)]

        for layer in self.down:
            seen.append(features)
            features, memory = layer(features, told, recall())
            kept.append(memory)
        coarsest = features[:, -1].mean((-2, -1))
        for number, layer in enumerate(self.up):
            rows, columns = seen[-1 - number].shape[-2:]
            if layer.memory is None:  # of the last layer only the last frame is needed
                features, told = features[:, -1:], told[:, -1:]
            if number:
                features = torch.cat([features, seen[-number][:, -features.shape[1] :]], dim=2)
            features, memory = layer(features, told, recall() if layer.memory else None, (rows, columns))
            kept += [memory] if layer.memory else []
        made = self._compose(features[:, -1], coarsest, told[:, -1], frames[:, -1, : self.channels], course)
        return made, kept

    def _compose(
        self, features: Tensor, coarsest: Tensor, told: Tensor, previous: Tensor, course: Course
    ) -> Tensor:
        """Make a map of the previous one moved, itself, the first and a new one."""
        numbers = self.kernels(torch.cat([coarsest, told.to(coarsest.dtype)], dim=1))
        moved = move(previous, make_kernels(numbers.float(), self.kernel_size), beyond=self.padding)
        new = self.new_map(features).to(moved.dtype)
        maps = torch.cat([moved, torch.stack([previous, course.first, new], dim=1)], dim=1)
        shown = torch.cat([self.masks[:-1](features), maps.flatten(1, 2).to(features.dtype)], dim=1)
        return compose(maps, torch.softmax(self.masks[-1](shown).float(), dim=1))


def _make_head(read: int, width: int, given: int, padding: str, *, beside: int = 0) -> nn.Sequential:
    """Make two convolutions with a norm and a rectifier between; the second reads maps besides."""
    first = PaddedConvolution(read, width, 3, beyond=padding)
    joined = width + beside * given
    last = PaddedConvolution(joined, given, 3, beyond=padding, bias=True)
    return nn.Sequential(first, nn.InstanceNorm2d(width, affine=True), nn.ReLU(), last)


class CodedLayer(nn.Module):
    """A convolution, a norm, what a few numbers add, a rectifier, and a memory or none.

    Parameters
    ----------
    read, features : int
        Channels read and given.
    kernel_size : int
        Cells on a side of the kernel.
    told : int
        Numbers that hold for the whole map.
    padding : str
        What lies beyond the map.
    stride : int
        Cells of what is read along one that is given.
    enlarging : bool
        Whether the resolution is doubled.
    memory : bool
        Whether the layer ends in a ConvLSTM.

    Examples
    --------
    >>> layer = CodedLayer(4, 8, told=2, padding="circular", stride=2, memory=True)
    >>> made, memory = layer(torch.zeros(1, 5, 4, 7, 8), torch.zeros(1, 5, 2))
    >>> made.shape, memory.cell.shape
    (torch.Size([1, 5, 8, 4, 4]), torch.Size([1, 8, 4, 4]))
    """

    def __init__(
        self,
        read: int,
        features: int,
        kernel_size: int = 3,
        *,
        told: int,
        padding: str,
        stride: int = 1,
        enlarging: bool = False,
        memory: bool = False,
    ) -> None:
        super().__init__()
        self.convolution = (
            PaddedEnlargement(read, features, beyond=padding)
            if enlarging
            else PaddedConvolution(read, features, kernel_size, stride=stride, beyond=padding)
        )
        self.norm = nn.InstanceNorm2d(features, affine=True)
        self.of_numbers = nn.Linear(told, features, bias=False)
        self.memory = (
            ConvLSTMCell(features, features, CELLS, padding=padding, normed=True) if memory else None
        )

    def forward(
        self,
        frames: Tensor,
        told: Tensor,
        memory: Memory | None = None,
        cells: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Memory | None]:
        """Map (batch, time, read, y, x) and (batch, time, told) to (batch, time, features, y, x).

        Parameters
        ----------
        memory
            Of the frame before; the new one is given back.
        cells
            Rows and columns to which the result is cut, where it is finer.
        """
        times = frames.shape[1]
        features = self.convolution(fold_time(frames))
        if cells is not None:
            features = features[..., : cells[0], : cells[1]]
        features = self.norm(features) + self.of_numbers(told.transpose(0, 1).flatten(0, 1))[:, :, None, None]
        made = unfold_time(torch.relu(features), times)
        return (made, None) if self.memory is None else self.memory(made, memory)


class TransitionEncoder(nn.Module):
    """Two frames to mean and logarithm of the variance of their transition's code.

    Raises
    ------
    InputError
        If maps are so small that one cell is left of them, whose norm is nothing.

    >>> mean, log_variance = TransitionEncoder(4, 8, 16)(torch.zeros(2, 3, 4, 16, 20))
    >>> mean.shape, log_variance.shape
    (torch.Size([2, 3, 16]), torch.Size([2, 3, 16]))
    """

    def __init__(self, read: int, features: int, code: int) -> None:
        super().__init__()
        widths = [features, 2 * features, 4 * features]
        layers: list[nn.Module] = []
        for number, width in enumerate(widths):
            layers.append(nn.Conv2d(widths[number - 1] if number else read, width, 4, 2, 1, bias=not number))
            layers += [nn.InstanceNorm2d(width, affine=True)] if number else []
            layers.append(nn.LeakyReLU(SLOPE))
        self.layers = nn.Sequential(*layers)
        self.moments = nn.Linear(widths[-1], 2 * code)

    def forward(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, time, read, y, x) to two of (batch, time, code)."""
        rows, columns = pairs.shape[-2:]
        if (rows // 8) * (columns // 8) < 2:  # halved three times
            raise InputError(
                f"SAVP reads maps of 8 x 16 cells or more, not {rows} x {columns}; take a larger area, or "
                "another network"
            )
        seen = self.layers(fold_time(pairs)).mean((-2, -1))
        moments = self.moments(seen).unflatten(0, (pairs.shape[1], -1)).transpose(0, 1)
        mean, log_variance = moments.chunk(2, dim=-1)
        return mean, log_variance.clamp(-WIDEST, WIDEST)
