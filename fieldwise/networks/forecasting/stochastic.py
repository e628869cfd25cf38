"""Forecasts that are drawn: ConvLSTM and SimVP that read noise, to be trained by proper scores.

Two members or more, and a score that is least where they are drawn as the truth is (see
`fieldwise.losses.ensembles`), make an ensemble that tells how sure it is; after Lang et al. 2024,
arXiv:2412.15832 (AIFS-CRPS). Noise is that of world cells, one level a plane: a member is the same whenever
it is drawn. Beside the planes a few numbers hold for the whole map, for what is decided everywhere at once.

:class:`StochasticConvLSTM` is the small one to begin with: it has a linear path too, of kernels that reach
far, along which it soon learns how fields move.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.convolutions.padding import PaddedConvolution
from fieldwise.networks.forecasting.convlstm import ConvLSTMStack, Memory
from fieldwise.networks.forecasting.frames import (
    DrawingNetwork,
    draw_numbers,
    draw_plane,
    draw_planes,
    roll_on,
    roll_out,
)
from fieldwise.networks.forecasting.simvp import SimVP
from fieldwise.networks.valid.srgan import Noise

DISTURBANCE = 0.3  # standard deviation of the amplitudes of noise, at first
FRESH = 0.1  # standard deviation of what noise adds to a map in a step, at first


class StochasticConvLSTM(DrawingNetwork):
    """ConvLSTM that reads noise beside each frame; linear convolutions of both are added to what it makes.

    At first it gives the last map with noise on it.

    Parameters
    ----------
    channels, forcing, context, horizon, features, layers, kernel_size, padding
        As of `fieldwise.networks.forecasting.convlstm.ConvLSTM`.
    reach, noise_reach : int
        Cells on a side of the linear kernels, odd: of what is known, as far as anything moves in a step, and
        of noise, as far as what is new in a step hangs together.
    planes : int
        Of noise, for each frame that is made.
    numbers : int
        That hold for the whole map, for each frame that is made.
    read_frames : int, optional
        How many of the known frames are read, the last ones; None for all.

    Raises
    ------
    InputError
        If an option is out of range, or sequences do not go together or with the network.

    Examples
    --------
    >>> network, known = StochasticConvLSTM(2, padding="circular"), torch.zeros(1, 12, 2, 16, 16)
    >>> network(known).shape
    torch.Size([1, 12, 2, 16, 16])
    >>> from fieldwise.networks.noise import WorldNoise
    >>> noise = [WorldNoise(seed=0, member=member, origin=(0, 0), window=(16, 16)) for member in (0, 0, 1)]
    >>> first, again, second = (network(known, horizon=3, noise=each) for each in noise)
    >>> torch.equal(first, again), torch.equal(first, second)
    (True, False)
    """

    def __init__(
        self,
        channels: int,
        *,
        forcing: int = 0,
        context: int = 12,
        horizon: int = 12,
        features: int = 24,
        layers: int = 1,
        kernel_size: int = 3,
        reach: int = 5,
        noise_reach: int = 9,
        planes: int = 4,
        numbers: int = 2,
        read_frames: int | None = 4,
        padding: str = "reflect",
    ) -> None:
        super().__init__(channels, forcing=forcing, context=context, horizon=horizon, padding=padding)
        check_sizes(planes=planes, numbers=numbers + 1, read_frames=read_frames or 1)
        self.planes, self.numbers, self.read_frames = planes, numbers, read_frames
        known, drawn = channels + 2 * forcing, planes + numbers
        self.core = ConvLSTMStack(
            known + drawn,
            channels,
            features=features,
            layers=layers,
            kernel_size=kernel_size,
            padding=padding,
        )
        self.carry = PaddedConvolution(known, channels, reach, beyond=padding, bias=True)
        self.ripple = PaddedConvolution(planes, channels, noise_reach, beyond=padding)
        for layer in (self.core.head, self.carry):
            nn.init.zeros_(layer.weight)
        nn.init.normal_(self.ripple.weight, std=FRESH / (planes * noise_reach**2) ** 0.5)

    def draw(
        self,
        inputs: Tensor,
        horizon: int,
        forcing: Tensor | None,
        truth: Tensor | None,
        fed: Tensor | None,
        noise: Noise,
    ) -> Tensor:
        """Make the frames with noise beside what is read."""
        begin = max(0, inputs.shape[1] - self.read_frames) if self.read_frames else 0
        inputs, forcing = inputs[:, begin:], None if forcing is None else forcing[:, begin:]

        def advance(frames: Tensor, kept: list[Memory] | None, step: int) -> tuple[Tensor, list[Memory]]:
            drawn = self._draw(frames[:, -1], step, noise)
            quiet = drawn.new_zeros(1).expand(len(frames), frames.shape[1] - 1, *drawn.shape[1:])
            read = torch.cat([frames, torch.cat([quiet, drawn[:, None]], dim=1)], dim=2)
            change, kept = self.core(read, kept)
            change = change + self.carry(frames[:, -1]) + self.ripple(drawn[:, : self.planes])
            return frames[:, -1, : self.channels] + change, kept

        return roll_out(advance, inputs, horizon=horizon, forcing=forcing, truth=truth, fed=fed)

    def _draw(self, frame: Tensor, step: int, noise: Noise) -> Tensor:
        """Draw the planes of a frame, (batch, planes + numbers, y, x); only the last known one has any."""
        cells, level = (frame.shape[-2], frame.shape[-1]), step * (self.planes + 1)
        planes = [draw_planes(noise, range(level, level + self.planes), frame, cells)]
        if self.numbers:
            drawn = draw_numbers(noise, level + self.planes, frame, cells, self.numbers)
            planes.append(drawn[:, :, None, None].expand(-1, -1, *cells))
        return torch.cat([each.expand(len(frame), -1, -1, -1) for each in planes], dim=1)


class StochasticSimVP(DrawingNetwork, SimVP):
    """SimVP with noise before each block of the translator and before the last layer.

    Parameters
    ----------
    numbers : int
        That hold for the whole map, for each block.
    options
        As of `fieldwise.networks.forecasting.simvp.SimVP`.

    Examples
    --------
    >>> small = {"features": 4, "translator_features": 8, "translator_blocks": 2}
    >>> network = StochasticSimVP(2, **small).eval()
    >>> network(torch.zeros(3, 12, 2, 16, 17)).shape
    torch.Size([3, 12, 2, 16, 17])
    """

    def __init__(self, channels: int, *, numbers: int = 4, **options: Any) -> None:
        super().__init__(channels, **options)
        check_sizes(numbers=numbers + 1)
        self.numbers = numbers
        self.disturbances = nn.ModuleList(Disturbance(width, numbers) for width in self.widths)
        self.disturbances.append(Disturbance(self.features, 0))

    def draw(
        self,
        inputs: Tensor,
        horizon: int,
        forcing: Tensor | None,
        truth: Tensor | None,
        fed: Tensor | None,
        noise: Noise,
    ) -> Tensor:
        """Make the frames with noise beside what is read."""
        blocks, cells = len(self.widths), (inputs.shape[-2], inputs.shape[-1])

        def answer(frames: Tensor, known: Tensor | None, stretch: int) -> Tensor:
            first = stretch * (2 * blocks + self.horizon)  # level of noise

            def disturb(features: Tensor, number: int) -> Tensor:
                layer = self.disturbances[number]
                if number == blocks:  # frame by frame
                    levels = range(first + 2 * blocks, first + 2 * blocks + self.horizon)
                    planes = draw_planes(noise, levels, frames, cells).expand(len(frames), -1, -1, -1)
                    return layer(features, planes.transpose(0, 1).flatten(0, 1)[:, None])
                level = first + 2 * number
                plane = draw_plane(noise, level, frames, cells, self.step)
                drawn = draw_numbers(noise, level + 1, frames, cells, self.numbers) if self.numbers else None
                return layer(features, plane, drawn)

            return self.answer(frames, known, disturb)

        return roll_on(answer, inputs, horizon=horizon, stretch=self.horizon, forcing=forcing)


class Disturbance(nn.Module):
    """A plane of noise times an amplitude a channel, and a mix of numbers that hold for the whole map.

    >>> disturb = Disturbance(8, numbers=2)
    >>> disturb(torch.zeros(3, 8, 4, 5), torch.randn(3, 1, 4, 5), torch.randn(3, 2)).shape
    torch.Size([3, 8, 4, 5])
    """

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        self.amplitude = nn.Parameter(DISTURBANCE * torch.randn(width, 1, 1))
        self.of_numbers = nn.Linear(numbers, width, bias=False) if numbers else None

    def forward(self, features: Tensor, plane: Tensor, numbers: Tensor | None = None) -> Tensor:
        """Add noise (batch, 1, y, x) and numbers (batch, numbers) to (batch, width, y, x)."""
        made = torch.addcmul(features, plane.to(features.dtype), self.amplitude.to(features.dtype))
        if self.of_numbers is None:
            return made
        return made + self.of_numbers(numbers)[:, :, None, None]
