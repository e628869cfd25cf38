"""Storms and rivers judged as wholes, over all their times: found, or false."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fieldwise.scores.classes import COVERED, measure_cover

LEAST_H = 12.0  # of a storm: five three-hourly times, as ClimateNet asks
OFTEN = 0.5  # of its times, at which a storm has to be seen


def add_cover(
    tracks: pd.DataFrame, masks: np.ndarray, others: np.ndarray, hours: np.ndarray, area: np.ndarray
) -> pd.DataFrame:
    """Add which share of each event of tracks lies in masks of somebody else: ``covered``.

    Parameters
    ----------
    tracks
        As :func:`~fieldwise.physics.extreme_weather.labels.track_masks` gives them.
    masks, others
        (times, rows, columns) bool: those that were tracked, and those of the other side.
    hours
        (times,)
    area
        (rows, columns), of the cells.

    Returns
    -------
    pandas.DataFrame
        The tracks, where no time is bridged.

    >>> masks = np.array([[[1, 1, 0, 0, 1, 0]]]) > 0
    >>> tracks = pd.DataFrame({"track": [1, 2], "hour": 0.0, "part": [1, 2], "bridged": False})
    >>> others = np.array([[[0, 1, 1, 0, 0, 0]]]) > 0
    >>> add_cover(tracks, masks, others, np.array([0.0]), np.ones((1, 6)))["covered"].tolist()
    [0.5, 0.0]
    """
    seen = tracks[~tracks["bridged"].astype(bool)]
    covered = np.zeros(len(seen))
    for step, hour in enumerate(hours):
        here = (seen["hour"] == hour).to_numpy()
        if here.any():
            whole, shared = measure_cover(masks[step], others[step], area)
            covered[here] = (shared / whole)[seen["part"][here].to_numpy(dtype=int) - 1]
    return seen.assign(covered=covered)


@dataclass
class TrackSums:
    """How many true storms are found, and how many of those predicted are false, each counted once.

    A storm, or a river, is a track. It is seen by the other side where at half of its times or more that
    covers a quarter of its area or more; short ones do not count.

    Parameters
    ----------
    least_h
        From its first time to its last, from which on a track counts.

    >>> times = {"hour": [0.0, 6.0, 12.0], "covered": [0.1, 0.3, 0.8]}
    >>> true = pd.concat([pd.DataFrame({"track": 1, **times}), pd.DataFrame({"track": [2], "hour": 0.0})])
    >>> sums = TrackSums()
    >>> sums.add(pd.DataFrame({"track": 1, **times, "covered": 0.0}), true)
    >>> sums.found, sums.false
    (1.0, 1.0)
    """

    least_h: float = LEAST_H
    true: int = 0
    hits: int = 0
    predicted: int = 0
    alarms: int = 0

    def add(self, predicted: pd.DataFrame, true: pd.DataFrame) -> None:
        """Add the tracks of a season, both sides with ``covered``, as :func:`add_cover` gives it."""
        found, real = self._tell_seen(true), self._tell_seen(predicted)
        self.true, self.hits = self.true + found.size, self.hits + int(found.sum())
        self.predicted, self.alarms = self.predicted + real.size, self.alarms + int((~real).sum())

    def _tell_seen(self, tracks: pd.DataFrame) -> np.ndarray:
        groups = tracks.assign(seen=tracks["covered"] >= COVERED).groupby("track")
        lasting = groups["hour"].agg(np.ptp) >= self.least_h
        return (groups["seen"].mean() >= OFTEN)[lasting].to_numpy(dtype=bool)

    @property
    def found(self) -> float:
        """Share of the true storms that are found; NaN where there are none."""
        return self.hits / self.true if self.true else float("nan")

    @property
    def false(self) -> float:
        """Share of the predicted storms that are false; NaN where there are none."""
        return self.alarms / self.predicted if self.predicted else float("nan")
