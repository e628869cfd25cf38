"""Forecasts that cost nothing, which every other one has to beat.

A history is what was observed up to the init time, (hour, ...), the last one being that time itself; what is
forecast is (lead, ...), the first one a step later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fieldwise.errors import InputError

DAY = 24  # frames


def persist_last(history: Sequence[np.ndarray], *, horizon: int) -> np.ndarray:
    """Forecast that all stays as it was last.

    >>> persist_last([np.array([1.0]), np.array([3.0])], horizon=2).tolist()
    [[3.0], [3.0]]
    """
    return np.stack(horizon * [history[-1]])


def persist_day(history: Sequence[np.ndarray], *, horizon: int, day: int = DAY) -> np.ndarray:
    """Forecast the values of the same hour of the last day that is known: x(t + L − 24) up to a day ahead.

    Parameters
    ----------
    history
        (hour, ...), at least a day.
    horizon
        Number of leads.
    day
        Frames that make up one.

    Raises
    ------
    InputError
        Where the history is shorter than a day.

    Examples
    --------
    >>> hours = np.arange(48.0)[:, None]  # hour 47 is the init time
    >>> persist_day(hours, horizon=3)[:, 0].tolist()  # of 48, 49 and 50
    [24.0, 25.0, 26.0]
    """
    if len(history) < day:
        raise InputError(f"history of {len(history)} frames is no day of {day}; give a day at least")
    return np.stack([history[place_a_day_before(lead, day=day)] for lead in range(1, horizon + 1)])


def place_a_day_before(lead: int, *, day: int = DAY) -> int:
    """Give the place, from the end of a history, of the last known frame of the hour of a lead.

    >>> [place_a_day_before(lead) for lead in (1, 24, 25)]
    [-24, -1, -24]
    """
    return (lead - 1) % day - day


@dataclass
class DampedPersistence:
    """Yesterday's same hour, moved by a part of how much warmer it is now than it was yesterday.

    It forecasts x(t + L − 24) + r [x(t) − x(t − 24)]; the share r of each lead and cell is that of least
    squares over all training times, and falls from 1 as the lead grows.

    Parameters
    ----------
    horizon
        Number of leads, in frames.
    day
        Frames that make up one.

    Examples
    --------
    >>> warming = [np.array([float(hour)]) for hour in range(30)]  # by as much every day
    >>> damped = DampedPersistence(horizon=3)
    >>> damped.add(warming)
    >>> damped.shares[:, 0].tolist(), damped.predict(warming)[:, 0].tolist()
    ([1.0, 1.0, 1.0], [30.0, 31.0, 32.0])
    """

    horizon: int
    day: int = DAY
    products: np.ndarray | None = field(default=None, init=False, repr=False)  # (lead, ...)
    squares: np.ndarray | None = field(default=None, init=False, repr=False)

    def add(self, frames: Iterable[np.ndarray]) -> None:
        """Add the frames of one stretch of time in their order; few are in memory at once."""
        latest: deque[np.ndarray] = deque(maxlen=self.day + 1 + self.horizon)
        for frame in frames:
            latest.append(np.asarray(frame, dtype=np.float64))
            if len(latest) == latest.maxlen:
                self._add(list(latest))
        if len(latest) == latest.maxlen:
            latest.popleft()
        while len(latest) > self.day + 1:  # the last init times have not all leads
            self._add(list(latest))
            latest.popleft()

    def _add(self, frames: list[np.ndarray]) -> None:
        history, future = frames[: self.day + 1], frames[self.day + 1 :]
        change = history[-1] - history[0]
        if self.products is None or self.squares is None:
            self.products, self.squares = np.zeros((2, self.horizon, *change.shape))
        self.squares[: len(future)] += change**2
        for lead, frame in enumerate(future, start=1):
            before = history[place_a_day_before(lead, day=self.day)]
            self.products[lead - 1] += (frame - before) * change

    @property
    def is_fitted(self) -> bool:
        """Whether any stretch was long enough for all leads: a day, the horizon and a frame."""
        return self.squares is not None and bool(self.squares[-1].any())

    @property
    def shares(self) -> np.ndarray:
        """The share r of each lead and cell, (lead, ...); 0 in a cell that never changes from day to day."""
        if self.products is None or self.squares is None or not self.is_fitted:
            raise InputError(
                f"no stretch of training has {self.day + 1 + self.horizon} frames that change from day to "
                "day, so persistence cannot be damped; give longer ones"
            )
        nothing = np.zeros_like(self.products)
        return np.divide(self.products, self.squares, out=nothing, where=self.squares > 0)

    def predict(self, history: Sequence[np.ndarray]) -> np.ndarray:
        """Forecast from a history of more than a day."""
        if len(history) <= self.day:
            raise InputError(f"history of {len(history)} frames is too short; give {self.day + 1} at least")
        change = history[-1] - history[-1 - self.day]
        return persist_day(history, horizon=self.horizon, day=self.day) + self.shares * change
