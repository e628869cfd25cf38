"""Sequences of maps: what the networks of this folder read of them, and what they are fed back.

A sequence is (batch, time, channel, y, x), scaled to order one. Every network has
``network(inputs, *, horizon=None, forcing=None, truth=None, fed=None)`` (batch, horizon, channel, y, x):

inputs : the known frames, (batch, context, channel, y, x)
horizon : how many frames to give; by default what the network was made for
forcing : what is known for the future too, such as sunshine, (batch, context + horizon, forcing, y, x)
truth : the true frames of the horizon, (batch, horizon, channel, y, x); read only where `fed` says so
fed : (batch, horizon), whether to read the true frame before this one in place of the network's own

Those that draw take `noise` too, as of `fieldwise.networks.valid.superresolution`; by default it is fresh.
A network that gives all frames at once is fed nothing back, and reads no truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.convnet import check_sizes
from fieldwise.networks.valid.srgan import Noise, draw_noise

AT_ONCE = 2**20  # cells of noise that are drawn together: many take hardly longer, but all have to be held
PADDINGS = ("reflect", "circular", "zeros", "zonal")
Advance = Callable[[Tensor, Any, int], tuple[Tensor, Any]]


class SequenceNetwork(nn.Module):
    """What all networks of this folder are made with.

    Parameters
    ----------
    channels : int
        Fields read and given, scaled to order one.
    forcing : int
        Fields that are known for the future too.
    context, horizon : int
        Frames that are known and that are made.
    padding : str
        What lies beyond the map: "reflect", "circular", "zeros" or "zonal" (the globe).

    >>> SequenceNetwork(3, forcing=1, context=12, horizon=12, padding="periodic")
    Traceback (most recent call last):
    fieldwise.errors.InputError: padding is 'periodic'; take reflect, circular, zeros or zonal
    """

    def __init__(self, channels: int, *, forcing: int, context: int, horizon: int, padding: str) -> None:
        super().__init__()
        check_sizes(channels=channels, forcing=forcing + 1, context=context, horizon=horizon)
        if padding not in PADDINGS:
            raise InputError(f"padding is {padding!r}; take {', '.join(PADDINGS[:-1])} or {PADDINGS[-1]}")
        self.channels, self.forcing, self.padding = channels, forcing, padding
        self.context, self.horizon = context, horizon

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
        return self.make(inputs, self.check(inputs, horizon, forcing, truth, fed), forcing, truth, fed)

    def make(
        self, inputs: Tensor, horizon: int, forcing: Tensor | None, truth: Tensor | None, fed: Tensor | None
    ) -> Tensor:
        """Make the frames of sequences that go together."""
        raise NotImplementedError

    def check(
        self,
        inputs: Tensor,
        horizon: int | None = None,
        forcing: Tensor | None = None,
        truth: Tensor | None = None,
        fed: Tensor | None = None,
    ) -> int:
        """Refuse sequences that do not go together, or with the network; give how many frames to make.

        >>> network = SequenceNetwork(2, forcing=1, context=4, horizon=6, padding="reflect")
        >>> inputs = torch.zeros(1, 4, 2, 8, 8)
        >>> network.check(inputs, forcing=torch.zeros(1, 10, 1, 8, 8))
        6
        >>> network.check(inputs, 12, forcing=torch.zeros(1, 10, 1, 8, 8))
        Traceback (most recent call last):
        fieldwise.errors.InputError: forcing is (1, 10, 1, 8, 8), not (1, 16, 1, 8, 8); give a frame ...
        """
        horizon = self.horizon if horizon is None else horizon
        check_sizes(horizon=horizon)
        if inputs.ndim != 5 or inputs.shape[2] != self.channels or not inputs.shape[1]:
            raise InputError(
                f"the network reads (batch, context, {self.channels}, y, x), not {tuple(inputs.shape)}; give "
                "the inputs that it was trained on"
            )
        batch, context, channels, *cells = inputs.shape
        known = (batch, context + horizon, self.forcing, *cells) if self.forcing else None
        _check_shape("forcing", forcing, known, "a frame for each hour of context and horizon")
        if truth is not None or fed is not None:
            _check_shape(
                "truth", truth, (batch, horizon, channels, *cells), "a frame for each hour to be made"
            )
        if fed is not None:
            _check_shape("fed", fed, (batch, horizon), "True where the true frame before is to be read")
        return horizon


class DrawingNetwork(SequenceNetwork):
    """What networks are made with that draw their frames with noise; by default it is fresh.

    They have a `draw`, which takes what :meth:`SequenceNetwork.make` does, and the noise.
    """

    draw: Callable[..., Tensor]

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
        horizon = self.check(inputs, horizon, forcing, truth, fed)
        return self.draw(inputs, horizon, forcing, truth, fed, noise or draw_noise)


def _check_shape(name: str, given: Tensor | None, wanted: tuple[int, ...] | None, remedy: str) -> None:
    found = None if given is None else tuple(given.shape)
    if found != wanted:
        raise InputError(f"{name} is {found}, not {wanted}; give {remedy if wanted else 'none'}")


def pair_forcing(forcing: Tensor | None) -> Tensor | None:
    """Put beside the forcing of each frame that of the next, which is to be made: twice the channels.

    >>> pair_forcing(torch.arange(3.0).view(1, 3, 1, 1, 1)).flatten(2)[0].tolist()
    [[0.0, 1.0], [1.0, 2.0]]
    """
    return None if forcing is None else torch.cat([forcing[:, :-1], forcing[:, 1:]], dim=2)


def roll_out(
    advance: Advance,
    inputs: Tensor,
    *,
    horizon: int,
    forcing: Tensor | None = None,
    truth: Tensor | None = None,
    fed: Tensor | None = None,
) -> Tensor:
    """Make frame after frame, each from the one before; all that are known are read at once.

    Parameters
    ----------
    advance
        (frames, state, step) to the frame after the last of `frames`, (batch, channel, y, x), and the new
        state. `frames` are (batch, time, channel + 2 forcing, y, x): the context with a state of None at step
        0, then one at a time.
    inputs, horizon, forcing, truth, fed
        As of this module.

    Returns
    -------
    Tensor
        (batch, horizon, channel, y, x).

    Examples
    --------
    Each frame is one more than the one before; the third is made of a true frame of 10:

    >>> known, true = torch.zeros(1, 2, 1, 1, 1), torch.full((1, 3, 1, 1, 1), 10.0)
    >>> fed = torch.tensor([[False, False, True]])
    >>> made = roll_out(lambda frames, state, step: (frames[:, -1] + 1, state), known, horizon=3,
    ...                 truth=true, fed=fed)
    >>> made.flatten().tolist()
    [1.0, 2.0, 11.0]
    """
    pairs, context = pair_forcing(forcing), inputs.shape[1]
    frame, state = advance(_join(inputs, pairs, 0), None, 0)
    made = [frame]
    for step in range(1, horizon):
        if fed is not None and truth is not None:
            frame = torch.where(fed[:, step, None, None, None], truth[:, step - 1], frame)
        frame, state = advance(_join(frame[:, None], pairs, context + step - 1), state, step)
        made.append(frame)
    return torch.stack(made, dim=1)


def _join(frames: Tensor, pairs: Tensor | None, first: int) -> Tensor:
    if pairs is None:
        return frames
    return torch.cat([frames, pairs[:, first : first + frames.shape[1]]], dim=2)


def roll_on(
    answer: Callable[[Tensor, Tensor | None, int], Tensor],
    inputs: Tensor,
    *,
    horizon: int,
    stretch: int,
    forcing: Tensor | None = None,
) -> Tensor:
    """Make frames in stretches, each at once from the frames before it; what is too much is cut off.

    Parameters
    ----------
    answer
        (frames, forcing, number of the stretch) to the next `stretch` frames; it reads as many frames as
        `inputs` has, and their forcing with that of the stretch. Beyond the last known hour the forcing stays
        what it is there.

    Examples
    --------
    >>> two = torch.arange(1, 3).view(1, 2, 1, 1, 1)
    >>> made = roll_on(lambda frames, forcing, number: frames[:, -1:] + two, torch.zeros(1, 4, 1, 1, 1),
    ...                horizon=5, stretch=2)
    >>> made.flatten().tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0]
    """
    context, made = inputs.shape[1], inputs
    for number, begin in enumerate(range(0, horizon, stretch)):
        ahead = None
        if forcing is not None:
            hours = torch.arange(begin, begin + context + stretch, device=forcing.device)
            ahead = forcing[:, hours.clamp(max=context + horizon - 1)]
        made = torch.cat([made, answer(made[:, -context:], ahead, number)], dim=1)
    return made[:, context : context + horizon]


def fold_time(frames: Tensor) -> Tensor:
    """Make one batch of all frames, (time * batch, channel, y, x), the channels of a cell side by side.

    The frames of a time lie together, so that each time can be taken out without a copy.

    >>> fold_time(torch.zeros(2, 3, 4, 5, 6)).shape
    torch.Size([6, 4, 5, 6])
    """
    return frames.transpose(0, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def unfold_time(frames: Tensor, times: int) -> Tensor:
    """Undo :func:`fold_time`: (batch, time, channel, y, x).

    >>> frames = torch.arange(24.0).view(2, 3, 1, 2, 2)
    >>> torch.equal(unfold_time(fold_time(frames), 3), frames)
    True
    """
    return frames.unflatten(0, (times, -1)).transpose(0, 1)


def draw_plane(noise: Noise, level: int, like: Tensor, cells: tuple[int, int], step: int = 1) -> Tensor:
    """Draw a plane of noise, (batch, 1, y / step, x / step), rounded up: that of every `step`-th cell.

    Parameters
    ----------
    cells
        Rows and columns of the map that the network reads, to whose cells the noise belongs.

    >>> from fieldwise.networks.valid.srgan import draw_noise
    >>> draw_plane(draw_noise, 0, torch.zeros(2, 5, 4, 4), (7, 8), step=2).shape
    torch.Size([2, 1, 4, 4])
    """
    return noise(level, torch.Size([len(like), 1, *cells]), like)[..., ::step, ::step]


def draw_planes(noise: Noise, levels: Sequence[int], like: Tensor, cells: tuple[int, int]) -> Tensor:
    """Draw planes of noise together, (batch, level, y, x): the same as one by one, and quicker.

    >>> from fieldwise.networks.noise import WorldNoise
    >>> noise, fields = WorldNoise(seed=0, member=[0, 1], origin=(0, 0), window=(4, 4)), torch.zeros(2, 1)
    >>> planes = draw_planes(noise, range(6), fields, (4, 4))
    >>> torch.equal(planes[:, 3:4], draw_plane(noise, 3, fields, (4, 4)))
    True
    """
    if not hasattr(noise, "draw_levels"):
        return torch.cat([draw_plane(noise, level, like, cells) for level in levels], dim=1)
    shape, few = torch.Size([len(like), 1, *cells]), max(1, AT_ONCE // (cells[0] * cells[1]))
    parts = (levels[first : first + few] for first in range(0, len(levels), few))
    return torch.cat([noise.draw_levels(part, shape, like) for part in parts], dim=1)


def draw_numbers(noise: Noise, level: int, like: Tensor, cells: tuple[int, int], count: int) -> Tensor:
    """Draw numbers that hold for the whole map, (batch, count): those of its first cells.

    >>> from fieldwise.networks.noise import WorldNoise
    >>> noise = WorldNoise(seed=0, member=[0, 1], origin=(0, 0), window=(4, 4))
    >>> draw_numbers(noise, 0, torch.zeros(2, 1, 4, 4), (4, 4), 3).shape
    torch.Size([2, 3])
    """
    return take_numbers(draw_plane(noise, level, like, cells), count)


def take_numbers(plane: Tensor, count: int) -> Tensor:
    """Take the numbers of the first cells of a plane, (batch, 1, y, x), that hold for the whole map.

    >>> take_numbers(torch.arange(16.0).view(1, 1, 4, 4), 3).tolist()
    [[0.0, 1.0, 2.0]]
    """
    if count > plane.shape[-2] * plane.shape[-1]:
        cells = f"{plane.shape[-2]} x {plane.shape[-1]}"
        raise InputError(f"a map of {cells} cells has no {count} numbers; give a larger one")
    return plane.flatten(1)[:, :count]


def coarsen(fields: Tensor, step: int) -> Tensor:
    """Give means over blocks of `step` cells a side, those at the end over what is there.

    >>> coarsen(torch.arange(3.0).view(1, 1, 1, 3), 2).flatten().tolist()
    [0.5, 2.0]
    """
    return functional.avg_pool2d(fields, step, ceil_mode=True) if step > 1 else fields
