"""The daily cycle: each cell goes on warming and cooling with the sun as it did in the last day.

What is left of the last day beside its cycle is weather. How that goes on is told by a few numbers a lead,
the same in all cells: little enough to be learnt from a fortnight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError, require_at_least
from fieldwise.networks.convolutions.padding import continue_map
from fieldwise.networks.forecasting.frames import SequenceNetwork, roll_on

SINCE = (1, 3)  # frames over which it is read how the weather changes
OWN, AROUND, REGION = 3, 7, 17  # cells on a side: of one strength of the cycle, and of means of the weather
TERMS = 2 * len(SINCE) + 3  # each change and the value now, and how the mean around differs; yesterday
TINY = 1e-6  # added to the variance of the sun, which is 0 in a polar night


class DailyCycle(SequenceNetwork):
    """The last map, changed as the sun changes it, and by what the weather beside that does.

    The warmth that the sun brings, w, follows it as e^(-lag / relaxation) forgets. Over the last day a cell
    and those beside it are regressed on it: x = mean + strength w + weather. Then

    x(t + L) = x(t) + f_L strength [w(t + L) - w(t)] + sum over i of a_iL term_i

    The terms are the weather now and its changes over the last one and three frames, each in the cell and as
    the difference of a mean around from it, and what the weather did yesterday in these hours. Untrained f is
    1 and a is 0; these alone are learnt.

    Parameters
    ----------
    channels, forcing, context, horizon, padding
        As of `fieldwise.networks.forecasting.convlstm.ConvLSTM`; of the forcing the first field is read, how
        strongly the sun shines, and of the context the last day and the frame before it.
    day : int
        Frames after which it is the same hour.
    relaxation : float
        Frames in which warmth fades to 1/e.

    Raises
    ------
    InputError
        If an option is out of range, or sequences do not go together or with the network.

    Examples
    --------
    A day of four frames; where warmth fades at once, it is as warm as the sun is strong. Of two cells one
    warms by 2 and one by 6, and does so again:

    >>> network = DailyCycle(1, context=5, horizon=2, day=4, relaxation=0.01, padding="zeros")
    >>> sun = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]).view(1, 7, 1, 1, 1).expand(1, 7, 1, 1, 9)
    >>> strength = torch.tensor([2.0] * 4 + [0.0] + [6.0] * 4)
    >>> network(10 + strength * sun[:, :5], forcing=sun)[0, :, 0, 0, ::8].round(decimals=3).tolist()
    [[10.0, 10.0], [12.0, 16.0]]
    """

    computes_in_full = True  # differences of nearly equal maps; there is little else to it
    response: Tensor  # (day,) share of warmth that is left of the sun so many frames ago

    def __init__(
        self,
        channels: int,
        *,
        forcing: int = 1,
        context: int = 25,
        horizon: int = 12,
        day: int = 24,
        relaxation: float = 3.0,
        padding: str = "reflect",
    ) -> None:
        super().__init__(channels, forcing=forcing, context=context, horizon=horizon, padding=padding)
        require_at_least(2, day=day)
        if not forcing:
            raise InputError("--forcing: is empty, and the daily cycle follows the sun; give sunshine")
        if context <= day:
            raise InputError(
                f"--context {context}: a day of {day} frames and the frame before take a context of "
                f"{day + 1} at least"
            )
        if not relaxation > 0:
            raise InputError(f"relaxation is {relaxation:g}; give more than 0")
        self.day = day
        response = torch.exp(-torch.arange(day) / relaxation)
        self.register_buffer("response", response / response.sum(), persistent=False)
        self.follows = nn.Parameter(torch.ones(horizon, channels, 1, 1))
        self.weights = nn.Parameter(torch.zeros(horizon, TERMS, channels, 1, 1))

    def make(
        self, inputs: Tensor, horizon: int, forcing: Tensor | None, truth: Tensor | None, fed: Tensor | None
    ) -> Tensor:
        """Make all frames for which there are numbers at once, and go on from those."""
        if inputs.shape[1] <= self.day:
            raise InputError(f"inputs: are {inputs.shape[1]} hours; give {self.day + 1} at least")
        return roll_on(self._go_on, inputs, horizon=horizon, stretch=self.horizon, forcing=forcing)

    def _go_on(self, frames: Tensor, forcing: Any, number: int) -> Tensor:
        now = frames.shape[1]
        warmth = self.warm_by_sun(forcing[:, :, :1])  # (batch, context + horizon, 1, y, x)
        strength, weather = self.part_weather(frames[:, -self.day - 1 :], warmth[:, now - self.day - 1 : now])
        coming = strength[:, None] * (warmth[:, now:] - warmth[:, now - 1 : now])
        again = torch.arange(self.horizon, device=frames.device) % self.day + 1
        yesterday = weather[:, again] - weather[:, :1]
        changes = torch.einsum("ltcyx,btcyx->blcyx", self.weights[:, 1:], self._tell_weather(weather))
        return frames[:, -1:] + self.follows * coming + self.weights[:, 0] * yesterday + changes

    def warm_by_sun(self, sun: Tensor) -> Tensor:
        """Give the warmth that the sun has brought by each frame, (batch, time, 1, y, x), as `sun` is.

        Before the first frame it shone as it does a day later.
        """
        longer = torch.cat([sun[:, 1 : self.day], sun], dim=1)
        return torch.einsum("bt...d,d->bt...", longer.unfold(1, self.day, 1), self.response.flip(0))

    def part_weather(self, frames: Tensor, warmth: Tensor) -> tuple[Tensor, Tensor]:
        """Part maps of a day, and of the frame before, into the cycle and the weather beside it.

        Parameters
        ----------
        frames, warmth
            (batch, day + 1, channel, y, x) and (batch, day + 1, 1, y, x).

        Returns
        -------
        tuple
            Strength of the cycle, (batch, channel, y, x), and the weather, as `frames`.
        """
        above, warm = (maps - maps[:, 1:].mean(1, keepdim=True) for maps in (frames, warmth))
        products, squares = (above * warm)[:, 1:].sum(1), warm[:, 1:].square().sum(1)
        strength = self._average(products, OWN) / (self._average(squares, OWN) + TINY)
        return strength, above - strength[:, None] * warm

    def _tell_weather(self, weather: Tensor) -> Tensor:
        """Give what is known of the weather now, (batch, term, channel, y, x)."""
        told = []
        for since in SINCE:
            change = weather[:, -1] - weather[:, -1 - min(since, self.day)]
            told += [change, self._average(change, AROUND) - change]
        now = weather[:, -1]
        return torch.stack([*told, now, self._average(now, REGION) - now], dim=1)

    def _average(self, maps: Tensor, cells: int) -> Tensor:
        """Give the mean over squares of so many cells a side."""
        return functional.avg_pool2d(continue_map(maps, cells // 2, self.padding), cells, stride=1)
