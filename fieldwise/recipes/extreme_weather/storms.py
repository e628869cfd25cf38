"""Storms and rivers as wholes: those of a prediction and of the labellers beside the true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fieldwise.recipes.extreme_weather.cases import JUDGES, grid_of_case
from fieldwise.recipes.extreme_weather.events import KINDS, follow_all
from fieldwise.samples.cases import Case
from fieldwise.scores import make_score
from fieldwise.scores.tracks import LEAST_H, TrackSums, add_cover, summarise_tracks

TRACKS = "tracks"  # what the rows of a census are against
CENSUS = {"lifetime": ("lifetime_h", "h"), "speed": ("speed_km_day", "km/day")}


class StormSums:
    """Tracks of everybody, summed up over cases: found and false, how many, how long, how fast.

    >>> from fieldwise.samples.examples import make_prepared
    >>> globe = {"latitude": [75.0, 25.0, -25.0, -75.0], "longitude": [0.0, 90.0, 180.0, 270.0]}
    >>> fields, classes = np.array([np.eye(4)] * 13), ["background", "tropical cyclone"]
    >>> (case,) = make_prepared({"planted": fields}, globe=globe, classes=classes).cases()
    >>> sums = StormSums([("planted", "prediction")], classes)
    >>> sums.add(case, {"planted": fields, "prediction": fields})
    >>> rows = [*sums.judge("planted", "prediction"), *sums.count()]
    >>> [(row["measure"], row["name"], row["value"]) for row in rows][:3]
    [('tracks_found', 'prediction', 1.0), ('tracks_false', 'prediction', 0.0), ('storms', 'planted', 1.0)]
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> None:
        self.pairs, self.classes = pairs, classes
        self.kinds = {kind: number for kind, (number, *_) in KINDS.items() if number < len(classes)}
        self.sums = {(*pair, kind): TrackSums() for pair in pairs for kind in self.kinds}
        self.summaries: dict[tuple[str, str], list[pd.DataFrame]] = {}

    def add(self, case: Case, told: Mapping[str, np.ndarray]) -> None:
        """Add a case: the classes (times, rows, columns) that each tells."""
        area, hours = grid_of_case(case).area_km2, case.frame_times
        followed = {name: follow_all(classes, case, strength=False) for name, classes in told.items()}
        for kind, number in self.kinds.items():
            masks = {name: classes == number for name, classes in told.items()}
            for against, name in self.pairs:
                sides = [
                    add_cover(followed[one][kind], masks[one], masks[other], hours, area)
                    for one, other in ((name, against), (against, name))
                ]
                self.sums[against, name, kind].add(*sides)
            for name, tracks in followed.items():
                self.summaries.setdefault((name, kind), []).append(summarise_tracks(tracks[kind]))

    def judge(self, against: str, name: str) -> list[dict[str, Any]]:
        """Give which share of the tracks of one is found by another, and is false of those of the other."""
        rows = []
        for kind, number in self.kinds.items():
            sums = self.sums[against, name, kind]
            for measure, value in (("tracks_found", sums.found), ("tracks_false", sums.false)):
                rows.append(make_score(JUDGES[against], measure, "1", name, value, at=self.classes[number]))
        return rows

    def count(self) -> list[dict[str, Any]]:
        """Give of each how many storms there are that last, and how long and how fast these are."""
        rows = []
        for (name, kind), parts in self.summaries.items():
            at, table = self.classes[self.kinds[kind]], pd.concat(parts)
            table = table[table["lifetime_h"] >= LEAST_H]
            rows.append(make_score(TRACKS, "storms", "1", name, len(table), at=at))
            for measure, (column, unit) in CENSUS.items():
                rows.append(make_score(TRACKS, measure, unit, name, table[column].mean(), at=at))
        return rows
