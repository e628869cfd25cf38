"""Advection: fields are moved by a linear convolution, then each cell is changed for itself.

What weather does from hour to hour in its simplest form: it is carried along and fades, which is linear and
reaches far, and it is warmed where the sun shines through, which is not linear and happens in each cell. With
some thousand parameters it is small and quick, and learns in minutes; :class:`StochasticAdvection` draws what
cannot be known.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from fieldwise.errors import InputError, require_at_least
from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.convolutions.padding import PaddedConvolution
from fieldwise.networks.forecasting.frames import SequenceNetwork, draw_plane, roll_out
from fieldwise.networks.valid.srgan import Noise, draw_noise


class Advection(SequenceNetwork):
    """Makes frame after frame from the one before; what it makes is the change to it.

    Parameters
    ----------
    channels, forcing, context, horizon, padding
        As of `fieldwise.networks.forecasting.convlstm.ConvLSTM`; of the context only the last frames are
        read, and those that a lag asks for.
    carried : int
        Fields that the linear convolution gives.
    reach : int
        Cells on a side of its kernels, odd.
    features, layers : int
        Of the layers that see one cell at a time, and how many of them come before the last one.
    frames : int
        How many of the last frames are read: of two, it is seen where things move.
    lag : int
        0, or how many frames ago it was the same hour: 24 where days are alike. The network is then told the
        maps of that time too, and what it makes is the change to x(t + 1 - lag) + x(t) - x(t - lag). The
        context holds the lag and the frames that are read, the horizon is no longer than the lag.

    Raises
    ------
    InputError
        If an option is out of range, or sequences do not go together or with the network.

    Examples
    --------
    >>> network = Advection(3, forcing=1)
    >>> network(torch.zeros(2, 12, 3, 16, 12), forcing=torch.zeros(2, 24, 1, 16, 12)).shape
    torch.Size([2, 12, 3, 16, 12])
    >>> sum(each.numel() for each in network.parameters())
    2658
    """

    computes_in_full = True  # in bfloat16 a step takes a fifth longer: with so few channels all is conversion

    def __init__(
        self,
        channels: int,
        *,
        forcing: int = 0,
        context: int = 12,
        horizon: int = 12,
        carried: int = 12,
        reach: int = 5,
        features: int = 24,
        layers: int = 2,
        frames: int = 1,
        lag: int = 0,
        planes: int = 0,
        padding: str = "reflect",
    ) -> None:
        super().__init__(channels, forcing=forcing, context=context, horizon=horizon, padding=padding)
        check_sizes(carried=carried, features=features, layers=layers, frames=frames)
        require_at_least(0, lag=lag)
        if context < lag + frames or (lag and horizon > lag):
            most = f", and a horizon of {lag} at most" if lag else ""
            raise InputError(
                f"--context {context} --horizon {horizon}: {frames} frames and a lag of {lag} take a context "
                f"of {lag + frames} at least{most}"
            )
        self.frames, self.lag, self.planes = frames, lag, planes
        read = frames * (channels * (3 if lag else 1) + 2 * forcing) + planes
        self.carry = PaddedConvolution(read, carried, reach, beyond=padding, bias=True)
        self.skip = nn.Conv2d(carried, channels, 1)
        widths = [read + carried, *[features] * layers]
        stack: list[nn.Module] = []
        for pair in pairwise(widths):
            stack += [nn.Conv2d(*pair, 1), nn.SiLU()]
        head = nn.Conv2d(features, channels, 1)
        self.change = nn.Sequential(*stack, head)
        if lag:  # at first what was a day ago, and the whole change since: what is learnt is how it differs
            for parameter in (*self.skip.parameters(), *head.parameters()):
                nn.init.zeros_(parameter)

    def forward(
        self,
        inputs: Tensor,
        *,
        horizon: int | None = None,
        forcing: Tensor | None = None,
        truth: Tensor | None = None,
        fed: Tensor | None = None,
    ) -> Tensor:
        """Map (batch, context, channels, y, x) to (batch, horizon, channels, y, x)."""
        return self.go_on(inputs, horizon, forcing, truth, fed)

    def go_on(
        self,
        inputs: Tensor,
        horizon: int | None,
        forcing: Tensor | None,
        truth: Tensor | None,
        fed: Tensor | None,
        noise: Noise = draw_noise,
    ) -> Tensor:
        """Make the frames of the horizon; `noise` is asked only where there are planes of it."""
        horizon = self.check(inputs, horizon, forcing, truth, fed)
        begin = inputs.shape[1] - self.frames
        known = [] if forcing is None else [forcing[:, begin:]]
        if self.lag:
            known.append(inputs[:, begin - self.lag :][:, : horizon + self.frames])

        def advance(frames: Tensor, read: list[Tensor] | None, step: int) -> tuple[Tensor, list[Tensor]]:
            last = [*(read or ()), *frames.unbind(1)][-self.frames :]
            frame, size = last[-1], self.channels
            told = torch.cat(last[::-1], dim=1)
            made = frame[:, :size] + self.find_change(self._disturb(told, step, noise))
            if self.lag:  # what is known of this hour and the next comes last of the former and the latter
                made = made + frame[:, -size:] - frame[:, size + self.forcing :][:, :size]
            return made, last

        together = torch.cat(known, dim=2) if known else None
        return roll_out(advance, inputs[:, begin:], horizon=horizon, forcing=together, truth=truth, fed=fed)

    def find_change(self, frame: Tensor) -> Tensor:
        """Map what is read, frame by frame from the last one back, and noise to the change."""
        carried = self.carry(frame)
        return self.skip(carried) + self.change(torch.cat([frame, carried], dim=1))

    def _disturb(self, frame: Tensor, step: int, noise: Noise) -> Tensor:
        cells, first = (frame.shape[-2], frame.shape[-1]), step * self.planes
        planes = [draw_plane(noise, first + number, frame, cells) for number in range(self.planes)]
        return torch.cat([frame, *planes], dim=1)


class StochasticAdvection(Advection):
    """Advection with planes of noise beside each frame, to be trained by proper scores.

    Parameters
    ----------
    planes : int
        Of noise, for each frame that is made.
    options
        As of :class:`Advection`.

    Examples
    --------
    >>> from fieldwise.networks.noise import WorldNoise
    >>> network, known = StochasticAdvection(2, padding="circular"), torch.zeros(1, 12, 2, 16, 16)
    >>> noise = [WorldNoise(seed=0, member=member, origin=(0, 0), window=(16, 16)) for member in (0, 0, 1)]
    >>> first, again, second = (network(known, horizon=3, noise=each) for each in noise)
    >>> torch.equal(first, again), torch.equal(first, second)
    (True, False)
    """

    def __init__(self, channels: int, *, planes: int = 3, **options) -> None:
        super().__init__(channels, planes=planes, **options)

    def forward(
        self,
        inputs: Tensor,
        *,
        horizon: int | None = None,
        forcing: Tensor | None = None,
        truth: Tensor | None = None,
        fed: Tensor | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """Map (batch, context, channels, y, x) to (batch, horizon, channels, y, x)."""
        return self.go_on(inputs, horizon, forcing, truth, fed, noise or draw_noise)
