"""Where days are alike but for the weather: by how much it is warmer than a day ago is carried along."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldwise.errors import InputError
from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.convolutions.padding import PaddedConvolution
from fieldwise.networks.forecasting.frames import SequenceNetwork, roll_out


class DailyAdvection(SequenceNetwork):
    """Yesterday's same hour, and what a linear convolution makes of the last maps' departures from theirs.

    A departure is d(t) = x(t) - x(t - day). Untrained it is damped persistence, with lasts^L d(t) added to
    yesterday's same hour; what is learnt is the convolution by which d(t + 1) differs from lasts d(t). A
    decay of weights therefore pulls towards damped persistence. So few numbers are learnt from a fortnight.

    Parameters
    ----------
    channels, forcing, context, horizon, padding
        As of `fieldwise.networks.forecasting.convlstm.ConvLSTM`; the forcing is not read, and of the context
        the last day and the frames.
    day : int
        Frames after which it is the same hour.
    frames : int
        How many of the last departures are read: of two, it is seen where things move.
    reach : int
        Cells on a side of the kernels, odd.
    lasts : float
        Share of a departure that is left after a frame, before anything is learnt.

    Raises
    ------
    InputError
        If an option is out of range, or sequences do not go together or with the network.

    Examples
    --------
    A day of two frames; half of what it is warmer than a day ago is left after a frame:

    >>> network = DailyAdvection(1, context=3, horizon=2, day=2, frames=1, lasts=0.5)
    >>> warmer = torch.tensor([10.0, 20.0, 14.0]).view(1, 3, 1, 1, 1).expand(1, 3, 1, 4, 4)
    >>> network(warmer)[0, :, 0, 0, 0].tolist()  # 20 + 4 / 2 and 14 + 4 / 4
    [22.0, 15.0]
    """

    computes_in_full = True  # there is no more to it than a few thousand products a cell

    def __init__(
        self,
        channels: int,
        *,
        forcing: int = 0,
        context: int = 26,
        horizon: int = 12,
        day: int = 24,
        frames: int = 2,
        reach: int = 7,
        lasts: float = 0.97,
        padding: str = "reflect",
    ) -> None:
        super().__init__(channels, forcing=forcing, context=context, horizon=horizon, padding=padding)
        check_sizes(day=day, frames=frames)
        if context < day + frames:
            raise InputError(
                f"--context {context}: {frames} departures from a day of {day} frames take a context of "
                f"{day + frames} at least"
            )
        self.day, self.frames, self.lasts = day, frames, lasts
        self.change = PaddedConvolution(frames * channels, channels, reach, beyond=padding, bias=True)
        for parameter in self.change.parameters():
            torch.nn.init.zeros_(parameter)

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
        horizon = self.check(inputs, horizon, forcing, truth, fed)
        yesterday = inputs[:, -self.day :][:, torch.arange(horizon) % self.day]
        departures = (inputs[:, self.day :] - inputs[:, : -self.day])[:, -self.frames :]

        def advance(known: Tensor, read: list[Tensor] | None, step: int) -> tuple[Tensor, list[Tensor]]:
            last = [*(read or ()), *known.unbind(1)][-self.frames :]
            return self.lasts * last[-1] + self.change(torch.cat(last[::-1], dim=1)), last

        true = None if truth is None else truth - yesterday
        return yesterday + roll_out(advance, departures, horizon=horizon, truth=true, fed=fed)
