"""Advection: fields are moved by a linear convolution, then each cell is changed for itself.

What weather does from hour to hour in its simplest form: it is carried along and fades, which is linear and
reaches far, and it is warmed where the sun shines through, which is not linear and happens in each cell. With
some thousand parameters it is small and quick, and learns in minutes; :class:`StochasticAdvection` draws what
cannot be known, as which of a few ways the whole map goes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.errors import InputError, require_at_least
from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.convolutions.padding import PaddedConvolution
from fieldwise.networks.forecasting.frames import (
    DrawingNetwork,
    SequenceNetwork,
    draw_planes,
    roll_out,
    take_numbers,
)
from fieldwise.networks.valid.srgan import Noise, draw_noise

SHARPNESS = 10.0  # power of the ratio of errors by which a way is preferred that explains the last hour
TINY = 1e-9  # added to errors, which may be 0
SELDOM = -1.0  # a new way is drawn where this and a normal number exceed 0: a sixth of the hours at first


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
        ways: int = 1,
        padding: str = "reflect",
    ) -> None:
        super().__init__(channels, forcing=forcing, context=context, horizon=horizon, padding=padding)
        check_sizes(carried=carried, features=features, layers=layers, frames=frames, ways=ways)
        require_at_least(0, lag=lag)
        self.frames, self.lag, self.planes, self.ways = frames, lag, planes, ways
        self.known = frames + (ways > 1)  # of the frames that are known, whose last change tells the way
        if context < lag + self.known or (lag and horizon > lag):
            most = f", and a horizon of {lag} at most" if lag else ""
            raise InputError(
                f"--context {context} --horizon {horizon}: {self.known} frames and a lag of {lag} take a "
                f"context of {lag + self.known} at least{most}"
            )
        read = frames * (channels * (3 if lag else 1) + 2 * forcing) + planes
        self.carry = PaddedConvolution(read, ways * carried, reach, beyond=padding, bias=True)
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
        if ways > 1:
            self.steering = Steering(ways, max(1, (context + 1) * forcing))

    def make(
        self, inputs: Tensor, horizon: int, forcing: Tensor | None, truth: Tensor | None, fed: Tensor | None
    ) -> Tensor:
        """Make frame after frame, each from the last ones."""
        return self.draw(inputs, horizon, forcing, truth, fed, draw_noise)

    def draw(
        self,
        inputs: Tensor,
        horizon: int,
        forcing: Tensor | None,
        truth: Tensor | None,
        fed: Tensor | None,
        noise: Noise,
    ) -> Tensor:
        """Make the frames of the horizon; `noise` is asked only for planes of it, or several ways."""
        begin = inputs.shape[1] - self.known
        known = [] if forcing is None else [forcing[:, begin:]]
        if self.lag:
            known.append(inputs[:, begin - self.lag :][:, : horizon + self.known])
        hours = self._find_hours(inputs, horizon, forcing) if self.ways > 1 else None
        planes = self._draw_planes(inputs[:, -1], horizon, noise)

        def advance(frames: Tensor, state: Any, step: int) -> tuple[Tensor, Any]:
            read, told = state or ([], None)
            read = [*read, *frames.unbind(1)]
            drawn, numbers = planes[:, step].split([self.planes, self.levels - self.planes], dim=1)
            ways = self._go_all_ways(read[-self.frames :], drawn)
            if hours is None:
                return ways[:, 0], (read[-self.frames :], ways)
            if told is None:
                told = self._go_all_ways(read[:-1], torch.zeros_like(drawn))
            numbers = take_numbers(numbers, self.ways + 1)
            shares = self.steering(read[-1][:, : self.channels], told, hours[:, step], numbers)
            return torch.einsum("bw,bwcyx->bcyx", shares, ways), (read[-self.frames :], ways)

        together = torch.cat(known, dim=2) if known else None
        return roll_out(advance, inputs[:, begin:], horizon=horizon, forcing=together, truth=truth, fed=fed)

    @property
    def levels(self) -> int:
        """Planes of noise that are drawn for each frame."""
        return self.planes + (self.ways > 1)

    def _draw_planes(self, like: Tensor, horizon: int, noise: Noise) -> Tensor:
        """Draw those of all frames at once, (batch, horizon, levels, y, x)."""
        cells = (like.shape[-2], like.shape[-1])
        if not self.levels:
            return like.new_empty(len(like), horizon, 0, *cells)
        return draw_planes(noise, range(horizon * self.levels), like, cells).unflatten(1, (horizon, -1))

    def _go_all_ways(self, last: list[Tensor], drawn: Tensor) -> Tensor:
        """Give the next frame that each way would bring, (batch, ways, channels, y, x)."""
        frame, size = last[-1], self.channels
        made = frame[:, :size]
        if self.lag:  # what is known of this hour and the next comes last of the former and the latter
            made = made + frame[:, -size:] - frame[:, size + self.forcing :][:, :size]
        return made[:, None] + self.find_changes(torch.cat([*last[::-1], drawn], dim=1))

    def find_changes(self, frame: Tensor) -> Tensor:
        """Map what is read, frame by frame from the last one back, and noise to the change by each way."""
        carried = self.carry(frame).unflatten(1, (self.ways, -1)).flatten(0, 1)
        seen = torch.cat([frame.repeat_interleave(self.ways, 0), carried], dim=1)
        return (self.skip(carried) + self.change(seen)).unflatten(0, (-1, self.ways))

    def _find_hours(self, inputs: Tensor, horizon: int, forcing: Tensor | None) -> Tensor:
        """Give the map's mean of the forcing up to each hour that is made: (batch, horizon, context + 1)."""
        begin = inputs.shape[1] - self.context
        if begin < 0:
            raise InputError(f"inputs: are {inputs.shape[1]} hours; give the {self.context} of the network")
        if forcing is None:
            return inputs.new_zeros(len(inputs), horizon, 1)
        return forcing[:, begin:].mean((-2, -1)).unfold(1, self.context + 1, 1).flatten(2)


class Steering(nn.Module):
    """Chooses for a whole map which of several ways it goes on: as in the hour before, or a new one, drawn.

    The way of the hour before is the one that explains it best. Whether a new one is drawn depends on what
    is known of the hours: they tell the time of day.

    Parameters
    ----------
    ways : int
        How many there are.
    hours : int
        Numbers that tell the time.
    features : int
        Of the hidden layer.

    Examples
    --------
    Of two ways the second explains the last hour; a number that is low lets it go on, a high one lets the
    number of each way decide:

    >>> steering = Steering(2, 1)
    >>> frame, told = torch.ones(1, 1, 4, 4), torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1)
    >>> for numbers in ([-9.0, 0.0, 0.0], [9.0, 2.0, -2.0]):
    ...     steering(frame, told, torch.zeros(1, 1), torch.tensor([numbers])).round().abs().tolist()
    [[0.0, 1.0]]
    [[1.0, 0.0]]
    """

    def __init__(self, ways: int, hours: int, features: int = 16) -> None:
        super().__init__()
        self.odds = nn.Parameter(torch.zeros(ways))
        self.hidden, self.renewal = nn.Linear(hours, features), nn.Linear(features, 1)
        nn.init.constant_(self.renewal.bias, SELDOM)

    def forward(self, frame: Tensor, told: Tensor, hours: Tensor, numbers: Tensor) -> Tensor:
        """Give the share of each way, (batch, ways); a way that is drawn has all of it.

        Parameters
        ----------
        frame, told
            (batch, channel, y, x) at this hour, and (batch, ways, channel, y, x) that each way led to.
        hours, numbers
            (batch, hours) that tell the time, and (batch, 1 + ways) that are drawn.
        """
        off = (frame[:, None] - told).detach().square().mean((2, 3, 4))
        same = torch.softmax(-SHARPNESS * (off + 1e-3 * off.mean(1, keepdim=True) + TINY).log(), dim=1)
        drawn = _choose_highest(self.odds + numbers[:, 1:])
        anew = self.renewal(torch.tanh(self.hidden(hours))) + numbers[:, :1]
        return torch.lerp(same, drawn, _choose_highest(torch.cat([anew, -anew], dim=1))[:, :1])


def _choose_highest(numbers: Tensor) -> Tensor:
    """Give 1 for the highest in each row and 0 for the others, with the slope of a softmax."""
    soft = torch.softmax(numbers, dim=1)
    hard = nn.functional.one_hot(numbers.argmax(1), numbers.shape[1]).to(soft)
    return hard + soft - soft.detach()


class StochasticAdvection(DrawingNetwork, Advection):
    """Advection with planes of noise beside each frame, to be trained by proper scores.

    Parameters
    ----------
    planes : int
        Of noise, for each frame that is made.
    ways : int
        Kernels that carry the whole map one way each. It goes on as it went in the last hour, or takes a new
        way that is drawn, see :class:`Steering`: where the wind may turn and no one can know.
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
