"""Noise of world cells: normal numbers that depend on seed, member, level and cell, and on nothing else.

A cell's number is the same in whatever window it is asked for, so a block of a member equals the same part of
the whole. Numbers come of the counter-based generator Philox 4x32-10 (Salmon et al. 2011,
doi 10.1145/2063384.2063405), in integers that are exact on every device, and of Box and Muller's transform in
float64: a device differs from another by one rounding of float32 in some 10^8 cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from fieldwise.errors import InputError

WORD = 0xFFFFFFFF
LANES = 4  # cells in a row that share one counter: it gives four words of 32 bits
ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85


def philox(counter: Sequence[Tensor], key: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Encrypt counters by Philox 4x32-10: four random words of 32 bits for each.

    Parameters
    ----------
    counter, key : sequence of Tensor
        Four words and two, int64 from 0 to 2^32 - 1, of shapes that broadcast.

    Returns
    -------
    tuple of Tensor
        Four words, int64 from 0 to 2^32 - 1, each of the shape to which all broadcast.

    Examples
    --------
    >>> zero = torch.zeros((), dtype=torch.int64)
    >>> [f"{word:08x}" for word in philox([zero] * 4, [zero] * 2)]  # as published
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = torch.broadcast_tensors(*counter, *key)[:4]
    for number in range(ROUNDS):
        # A product of two words wraps around in int64, which leaves all its bits right; only shifts bring
        # the sign in, and are masked. Low words keep their upper bits until a mask takes those off.
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, c = second >> 32, first >> 32
        for high, low, word, step in zip((a, c), (b, d), key, KEY_STEPS, strict=True):
            high ^= low
            high ^= word + number * step
            high &= WORD
        b, d = second, first
    return a, b & WORD, c, d & WORD


def cell_noise(
    *,
    seed: int | Sequence[int],
    member: int | Sequence[int],
    level: int | Sequence[int],
    origin: Sequence[int] | Sequence[Sequence[int]],
    shape: Sequence[int],
    period: Sequence[int | None] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return standard normal numbers of the cells of a window, one plane a sample and level.

    Parameters
    ----------
    seed, member : int or sequence of int
        One for all samples or one each, from 0 to 2^32 - 1.
    level : int or sequence of int
        Which of the independent planes of a network; several together take hardly longer than one.
    origin : sequence of int
        World index of the first cell along each axis, one for all samples or one each, (sample, axis);
        below 0 too.
    shape : sequence of int
        Cells along each of one to three axes.
    period : sequence of int, optional
        Cells after which an axis begins anew; None for an axis that does not.
    device, dtype
        Of the result.

    Returns
    -------
    Tensor
        (sample, level, *shape); one sample where seed, member and origin are given for all.

    Raises
    ------
    InputError
        If a seed or a member is no word of 32 bits.

    Examples
    --------
    >>> whole = cell_noise(seed=7, member=[0, 1], level=2, origin=(-3, 0), shape=(8, 9))
    >>> whole.shape
    torch.Size([2, 1, 8, 9])
    >>> part = cell_noise(seed=7, member=1, level=2, origin=(0, 5), shape=(2, 3))
    >>> torch.equal(part[0], whole[1, :, 3:5, 5:8])
    True
    """
    samples = torch.broadcast_tensors(
        _as_words("seed", seed)[:, None],
        _as_words("member", member)[:, None],
        torch.as_tensor(origin, dtype=torch.int64).view(-1, len(shape)),
    )
    key = [_along(word[:, :1], 0, len(shape)).to(device) for word in samples[:2]]
    cells = [
        (samples[2][:, axis, None] + torch.arange(count)) % ((period and period[axis]) or WORD + 1)
        for axis, count in enumerate(shape)
    ]
    cells[-1], lanes = _share_counters(cells[-1])
    counter = [_along(index, axis, len(shape)).to(device) for axis, index in enumerate(cells)][::-1]
    counter += [torch.zeros_like(counter[0])] * (3 - len(shape))
    levels = torch.as_tensor(level, dtype=torch.int64).view(1, -1, *[1] * len(shape))
    normal = _to_normal(philox([*counter, levels.to(device)], key), dtype)
    lanes = _along(lanes, len(shape) - 1, len(shape)).expand(-1, levels.shape[1], *shape[:-1], -1)
    return normal.gather(-1, lanes.to(device))


def _along(index: Tensor, axis: int, dimensions: int) -> Tensor:
    """Lay (sample, cell) along one axis of (sample, level, *space)."""
    return index.view(len(index), 1, *(-1 if other == axis else 1 for other in range(dimensions)))


def _as_words(name: str, values: int | Sequence[int]) -> Tensor:
    words = torch.as_tensor(values).reshape(-1)
    if words.is_floating_point() or not ((words >= 0) & (words <= WORD)).all():
        raise InputError(f"{name}: is {values}; give whole numbers from 0 to {WORD}")
    return words.to(torch.int64)


def _share_counters(cells: Tensor) -> tuple[Tensor, Tensor]:
    """Return the counters of cells, (sample, cell), and which lane of all theirs is each cell's."""
    counters = cells.div(LANES, rounding_mode="floor")
    number = (counters.diff(dim=1, prepend=counters[:, :1]) != 0).cumsum(dim=1)
    distinct = counters.new_zeros(len(cells), int(number.max()) + 1).scatter_(1, number, counters)
    return distinct, number * LANES + cells % LANES


def _to_normal(words: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Turn four words of each counter into normal numbers, (..., 4 counters), two of two (Box and Muller)."""
    precision = torch.float32 if words[0].device.type == "mps" else torch.float64  # Apple's GPUs lack it
    uniform = [word.to(precision).add_(0.5).mul_(2.0**-32) for word in words]  # neither 0 nor 1
    normal = []
    for first, second in (uniform[:2], uniform[2:]):
        radius, angle = first.log_().mul_(-2).sqrt_(), second.mul_(2 * torch.pi)
        normal += [(radius * angle.cos()).to(dtype), (radius * angle.sin()).to(dtype)]
    return torch.stack(normal, dim=-1).flatten(-2)


@dataclass(frozen=True)
class WorldNoise:
    """The noise of a batch, as a network asks for it: plane by plane, each centred on the input window.

    A network that loses cells at the sides, refines or coarsens need only say how many of a plane's cells
    span one of the input: planes of a block and of the whole then agree wherever they overlap.

    Parameters
    ----------
    seed, member : int or sequence of int
        One for all samples or one each.
    origin : sequence
        World index of the first cell of the input window, one for all samples or (sample, axis).
    window : sequence of int
        Cells of the input window along each axis, padding included.
    period : sequence, optional
        Input cells after which an axis of the world begins anew; None for an axis that does not.
    factors : sequence, optional
        Of each level, for a network that does not say itself: see :meth:`__call__`.

    Examples
    --------
    A convolution without padding, then one of half the cell size, on a block and on the whole:

    >>> whole = WorldNoise(seed=1, member=0, origin=(0, 0), window=(16, 16))
    >>> block = WorldNoise(seed=1, member=0, origin=(4, 8), window=(8, 8))
    >>> fields = torch.zeros(1, 3, 8, 8)
    >>> torch.equal(block(0, (1, 1, 6, 6), fields), whole(0, (1, 1, 14, 14), fields)[..., 4:10, 8:14])
    True
    >>> fine = [noise(1, (1, 1, n, n), fields, factor=2) for noise, n in ((block, 10), (whole, 26))]
    >>> torch.equal(fine[0], fine[1][..., 8:18, 16:26])
    True
    """

    seed: int | Sequence[int]
    member: int | Sequence[int]
    origin: Sequence[int] | Sequence[Sequence[int]]
    window: Sequence[int]
    period: Sequence[int | None] | None = None
    factors: Sequence[float | Fraction] | None = None

    def __call__(
        self, level: int, shape: Sequence[int], like: Tensor, factor: float | Fraction = 1
    ) -> Tensor:
        """Return a plane of standard normal numbers for each sample.

        Parameters
        ----------
        level
            Which of the network's planes.
        shape
            (batch, 1, *space) of the plane; a batch of one sample's noise all share it.
        like
            Whose device and dtype the plane has.
        factor
            Cells of the plane along a cell of the input; below 1 (1/2, 1/4) on levels that are coarser.

        Returns
        -------
        Tensor
            (batch, 1, *space).

        Raises
        ------
        InputError
            If the plane's cells, so centred, are no cells of the world.
        """
        return self.draw_levels([level], shape, like, factor if self.factors is None else self.factors[level])

    def draw_levels(
        self, levels: Sequence[int], shape: Sequence[int], like: Tensor, factor: float | Fraction = 1
    ) -> Tensor:
        """Return the planes of several levels at once, (batch, level, *space), all of one factor.

        >>> noise, fields = WorldNoise(seed=1, member=0, origin=(0, 0), window=(4, 8)), torch.zeros(1)
        >>> both = noise.draw_levels([3, 5], (1, 1, 4, 8), fields)
        >>> torch.equal(both[:, 1:], noise(5, (1, 1, 4, 8), fields))
        True
        """
        space, factor = shape[2:], Fraction(factor)
        first = [
            [self._begin(*axis, factor) for axis in zip(origin, self.window, space, strict=True)]
            for origin in torch.as_tensor(self.origin).view(-1, len(self.window)).tolist()
        ]
        period = self.period and [
            cells and _whole(cells * factor, "a period of", cells) for cells in self.period
        ]
        noise = cell_noise(
            seed=self.seed,
            member=self.member,
            level=levels,
            origin=first,
            shape=space,
            period=period,
            device=like.device,
            dtype=like.dtype,
        )
        return noise.expand(shape[0], -1, *space)

    @staticmethod
    def _begin(origin: int, window: int, cells: int, factor: Fraction) -> int:
        begin = origin * factor + (window * factor - cells) / 2
        return _whole(begin, f"a plane of {cells} cells on a window of {window} at origin", origin)


def _whole(cells: Fraction, what: str, value: int) -> int:
    if cells.denominator != 1:
        raise InputError(
            f"{what} {value}: comes to {cells} cells of the noise; give whole ones on every level"
        )
    return int(cells)
