"""How sure the mean score of many init times is: whole blocks of days are drawn again and again.

Forecasts that start an hour apart err alike, so single init times are no independent evidence. Two forecasts
of the same init times share what is hard about these: their difference is surer than either score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from fieldwise.errors import InputError

DAY_H = 24.0
BLOCK_DAYS = 7
FEWEST_BLOCKS = 8  # where so many of the wanted length do not fit, blocks are shorter
LEVEL = 0.9  # of intervals: 5 to 95 %
DRAWS = 1000


def choose_block_days(hours: ArrayLike, groups: ArrayLike, *, wanted: int = BLOCK_DAYS) -> int:
    """Give how many days a block has: as many as wanted, but so few that there are eight blocks; at least 1.

    Parameters
    ----------
    hours
        (init time,) hours since any time.
    groups
        (init time,) which stretch each belongs to, such as its case.
    wanted
        Days of a block.

    >>> year, week = np.arange(365 * 24), np.arange(7 * 24)
    >>> choose_block_days(year, 0 * year), choose_block_days(week, 0 * week)
    (7, 1)
    """
    hours, groups = np.asarray(hours, dtype=np.float64), np.asarray(groups)
    spans = [np.ptp(hours[groups == group]) + 1 for group in np.unique(groups)]
    return max(1, min(wanted, int(sum(spans) / DAY_H / FEWEST_BLOCKS)))


def number_blocks(hours: ArrayLike, groups: ArrayLike, *, days: int = BLOCK_DAYS) -> np.ndarray:
    """Give the number of the block of each init time; a stretch is parted evenly, into at least one.

    >>> number_blocks([0, 23, 24, 47, 0], ["a", "a", "a", "a", "b"], days=1).tolist()
    [0, 0, 1, 1, 2]
    """
    hours, groups = np.asarray(hours, dtype=np.float64), np.asarray(groups)
    numbers, first = np.zeros(hours.shape, dtype=np.intp), 0
    for group in dict.fromkeys(groups.tolist()):
        own = groups == group
        since = hours[own] - hours[own].min()
        span = since.max() + 1
        count = max(1, round(span / (days * DAY_H)))
        numbers[own] = first + np.floor(since / span * count).astype(np.intp)
        first += count
    return np.unique(numbers, return_inverse=True)[1]  # some may be empty


@dataclass(frozen=True)
class BlockBootstrap:
    """Draws of blocks with replacement, the same for all scores: so differences are paired.

    Parameters
    ----------
    blocks
        (init time,) number of the block of each, from 0.
    draws
        How often to draw.
    seed
        The same seed gives the same draws.

    Raises
    ------
    InputError
        When there is but one block.

    Examples
    --------
    >>> bootstrap = BlockBootstrap(np.array([0, 0, 1, 1]))
    >>> hard, easy = np.array([9.0, 9.0, 1.0, 1.0]), np.array([8.0, 8.0, 0.5, 0.5])
    >>> bootstrap.interval(hard).tolist()  # either block could have been the only one
    [1.0, 9.0]
    >>> bootstrap.interval(hard - easy).tolist()  # and yet the first is worse
    [0.5, 1.0]
    """

    blocks: np.ndarray
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a single block, of which nothing can be learnt about others."""
        if self.count < 2:
            raise InputError("init times of one block cannot be resampled; judge two days at least")

    @property
    def count(self) -> int:
        """Number of blocks."""
        return int(np.max(self.blocks, initial=-1)) + 1

    @cached_property
    def times_drawn(self) -> np.ndarray:
        """How often each block is drawn, (draw, block)."""
        chosen = np.random.default_rng(self.seed).integers(self.count, size=(self.draws, self.count))
        return np.stack([np.bincount(draw, minlength=self.count) for draw in chosen]).astype(np.float64)

    def means(self, scores: ArrayLike) -> np.ndarray:
        """Give the mean of the init times of each draw, (init time, ...) to (draw, ...); NaN is left out."""
        totals, counts = self._sums(scores)
        with np.errstate(invalid="ignore"):
            drawn = (self.times_drawn @ totals) / (self.times_drawn @ counts)
        return drawn.reshape(self.draws, *np.shape(scores)[1:])

    def _sums(self, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Give the sum of the scores of each block and how many these are, (block, ...) flat."""
        flat = np.asarray(scores, dtype=np.float64).reshape(np.shape(scores)[0], -1)
        known = np.isfinite(flat)
        totals, counts = np.zeros((2, self.count, flat.shape[1]))
        np.add.at(totals, self.blocks, np.where(known, flat, 0.0))
        np.add.at(counts, self.blocks, known)
        return totals, counts

    def lies_below(self, scores: ArrayLike, bound: ArrayLike, *, chance: float = 0.001) -> np.ndarray:
        """Tell where the mean score, (init time, lead), lies below a bound, (lead,), by more than chance.

        By Student's t-test of the means of blocks, which knows how little a few blocks tell of the spread.
        """
        totals, counts = self._sums(scores)
        means = totals / counts
        error = means.std(axis=0, ddof=1) / np.sqrt(self.count)
        with np.errstate(divide="ignore", invalid="ignore"):
            return stats.t.cdf((means.mean(axis=0) - bound) / error, self.count - 1) < chance

    def interval(self, scores: ArrayLike) -> np.ndarray:
        """Give the interval from 5 to 95 % of the mean score, (init time, ...) to (2, ...)."""
        return interval_of(self.means(scores))


def interval_of(drawn: np.ndarray) -> np.ndarray:
    """Give the interval from 5 to 95 % of what draws gave, (draw, ...) to (2, ...).

    >>> interval_of(np.arange(101.0)).round(6).tolist()
    [5.0, 95.0]
    """
    with np.errstate(invalid="ignore"):
        return np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


def tell_leads(leads_h: Sequence[float], kinds: Iterable[str]) -> str:
    """Say at which leads something is of which kind: neighbours of one kind are told together.

    >>> tell_leads([1, 2, 3, 6, 9], ["better", "better", "better", "no difference", "better"])
    'better at 1 to 3 h; no difference at 6 h; better at 9 h'
    """
    runs: list[tuple[str, list[float]]] = []
    for lead, kind in zip(leads_h, kinds, strict=True):
        if runs and runs[-1][0] == kind:
            runs[-1][1].append(lead)
        else:
            runs.append((kind, [lead]))
    return "; ".join(f"{kind} at {_tell_span(leads)} h" for kind, leads in runs)


def _tell_span(leads: list[float]) -> str:
    if len(leads) == 1:
        return f"{leads[0]:g}"
    return f"{leads[0]:g} {'and' if len(leads) == 2 else 'to'} {leads[-1]:g}"


def tell_differences(
    leads_h: Sequence[float], differences: np.ndarray, intervals: np.ndarray, *, better: str = "less"
) -> str:
    """Say at which leads a forecast is better than another, by the interval of their paired differences.

    Parameters
    ----------
    leads_h
        (lead,).
    differences
        (lead,) its score less the other's.
    intervals
        (2, lead), as of :class:`BlockBootstrap`: what holds 0 is no difference.
    better
        Whether less of the score is better, or more.

    >>> tell_differences([1, 6, 12], np.array([-3.0, -1.0, 1.0]), np.array([[-4, -2, 0.5], [-2, 0.1, 2]]))
    'better at 1 h; no difference at 6 h; worse at 12 h'
    """
    sign = 1.0 if better == "less" else -1.0
    kinds = []
    for difference, (low, high) in zip(sign * differences, np.sort(sign * intervals, axis=0).T, strict=True):
        kinds.append("better" if high < 0 and difference < 0 else "worse" if low > 0 else "no difference")
    return tell_leads(leads_h, kinds)
