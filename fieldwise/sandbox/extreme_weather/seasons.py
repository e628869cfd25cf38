"""Made seasons of weather with storms, rivers and decoys whose truth is known, every three hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fieldwise.errors import InputError, require_at_least
from fieldwise.physics.extreme_weather.channels import BACKGROUND, CYCLONE, RIVER
from fieldwise.physics.extreme_weather.labels import label_by_vapour
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.samples.weather.deepcam import STEP_H, write_sample
from fieldwise.sandbox.extreme_weather.atmosphere import Atmosphere, Fields, complete
from fieldwise.sandbox.extreme_weather.events import Event, draw_event
from fieldwise.sandbox.extreme_weather.filaments import make_river, make_short_filament
from fieldwise.sandbox.extreme_weather.lows import make_cold_low, make_cyclone, make_moist_blob

EPOCH = np.datetime64("2000-01-01T00", "h")
START = np.datetime64("2001-08-01T00", "h")
LONGEST_H = 240.0  # no event lives longer
KINDS = {
    "cyclone": make_cyclone,
    "river": make_river,
    "cold_low": make_cold_low,
    "moist_blob": make_moist_blob,
    "short_filament": make_short_filament,
}
PER_DAY = {"cyclone": 0.4, "river": 1.2, "cold_low": 0.6, "moist_blob": 0.6, "short_filament": 0.6}
INSTANCES = 1_000_000  # of a kind, before numbers repeat


@dataclass(frozen=True)
class Moment:
    """The weather at a time, and what is known of it.

    Attributes
    ----------
    time
        To the hour.
    fields
        The 16 channels, (rows, columns) float32, in DeepCAM's order and units.
    classes
        (rows, columns) uint8: 0 background, 1 tropical cyclone, 2 atmospheric river, as planted.
    instances
        (rows, columns) int32: which event a cell belongs to, as in :meth:`Season.events`; 0 for none.
    """

    time: np.datetime64
    fields: Fields
    classes: np.ndarray
    instances: np.ndarray


@dataclass(frozen=True, eq=False)
class Season:
    """A season of made weather, three-hourly: ``season[step]`` makes a moment of it.

    An event follows from the seed, its kind, its number and how many of its kind there are a day: it is the
    same in a longer season, on another grid, and whatever else happens.

    Parameters
    ----------
    grid
        To make it on.
    start
        Its first time, to the hour.
    steps
        How many times.
    seed
        Of all that is drawn.
    per_day
        How many events of each kind begin a day, in place of what is usual; 0 for none.

    Raises
    ------
    InputError
        Where a kind is unknown, a rate below 0, or there are no steps.

    >>> season = Season(GlobalGrid.regular(61, 120), steps=2)
    >>> moment = season[1]
    >>> str(moment.time), list(moment.fields)[:3], np.unique(moment.classes).tolist()
    ('2001-08-01T03', ['TMQ', 'U850', 'V850'], [0, 1, 2])
    >>> Season(GlobalGrid.regular(61, 120), per_day={"tornado": 1.0})
    Traceback (most recent call last):
    fieldwise.errors.InputError: per_day: knows no 'tornado'; give some of cyclone, river, cold_low, ...
    """

    grid: GlobalGrid
    start: np.datetime64 = START
    steps: int = 8
    seed: int = 7
    per_day: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        require_at_least(1, steps=self.steps)
        for kind, rate in self.per_day.items():
            if kind not in KINDS:
                raise InputError(f"per_day: knows no {kind!r}; give some of {', '.join(KINDS)}")
            if not 0 <= rate < 1000:
                raise InputError(f"per_day: has {rate:g} of {kind}; give 0 or more")

    def __len__(self) -> int:
        """Give the number of times."""
        return self.steps

    def __iter__(self) -> Iterator[Moment]:
        """Give the moments in order."""
        return (self[step] for step in range(self.steps))

    @property
    def hours(self) -> np.ndarray:
        """(steps,): since 2000, of the times."""
        return float((self.start.astype("datetime64[h]") - EPOCH).astype(int)) + STEP_H * np.arange(
            self.steps
        )

    @cached_property
    def drawn(self) -> tuple[Event, ...]:
        """All events that live at one of its times."""
        first, last = self.hours[0], self.hours[-1]
        found: list[Event] = []
        for kind, make in KINDS.items():
            rate = self.per_day.get(kind, PER_DAY[kind])
            numbers = range(int((first - LONGEST_H) * rate / 24) - 1, int(last * rate / 24) + 1)
            for number in numbers if rate else ():
                event = draw_event(make, seed=self.seed, kind=kind, number=number, per_day=rate)
                if event.birth_h < last and event.birth_h + event.life_h > first:
                    found.append(event)
        return tuple(found)

    @cached_property
    def _atmosphere(self) -> Atmosphere:
        return Atmosphere(self.grid, self.seed)

    def __getitem__(self, step: int) -> Moment:
        """Make the moment of a step."""
        if not 0 <= step < self.steps:
            raise IndexError(step)
        hour = float(self.hours[step])
        primary = self._atmosphere.primary(hour)
        classes, instances = np.zeros(self.grid.shape, np.uint8), np.zeros(self.grid.shape, np.int32)
        # Cyclones last: theirs are the cells that a river has as well.
        for event in sorted(self.drawn, key=lambda event: (BACKGROUND, RIVER, CYCLONE).index(event.label)):
            if not event.lives(hour):
                continue
            patch = event.patch(self.grid, hour)
            for name, values in patch.fields.items():
                primary[name][patch.window.cells] += values
            if event.label:
                marked = np.zeros(self.grid.shape, dtype=bool)
                marked[patch.window.cells] = patch.mask
                classes[marked], instances[marked] = event.label, instance_of(event)
        time = self.start.astype("datetime64[h]") + STEP_H * step
        return Moment(time, complete(primary, self.grid.latitude), classes, instances)

    def events(self) -> pd.DataFrame:
        """Tell where events are at the times of the season, decoys included, one a row.

        Returns
        -------
        pandas.DataFrame
            ``instance``, ``kind``, ``label``, ``step``, ``hour``, ``latitude``, ``longitude``, and
            ``strength``, 0 to 1 of the event's own greatest.
        """
        rows = [
            (
                instance_of(event),
                event.kind,
                event.label,
                step,
                hour,
                *event.place(hour),
                event.strength(hour),
            )
            for event in self.drawn
            for step, hour in enumerate(self.hours)
            if event.lives(hour)
        ]
        names = ["instance", "kind", "label", "step", "hour", "latitude", "longitude", "strength"]
        return pd.DataFrame(rows, columns=names)


def instance_of(event: Event) -> int:
    """Give the number of an event among those of all kinds, above 0.

    >>> instance_of(draw_event(make_river, seed=7, kind="river", number=12, per_day=1.2))
    2000012
    """
    return (1 + list(KINDS).index(event.kind)) * INSTANCES + event.number % INSTANCES


def write_season(out: str | Path, season: Season, *, run: int = 1) -> list[Path]:
    """Write a season as DeepCAM's samples: planted classes as ``labels_0``, the labeller's as ``labels_1``.

    The labeller is the one after DeepCAM's labels. Files stand when the whole season is labelled.

    Parameters
    ----------
    out
        Folder to write to.
    season
        What to write.
    run
        For the names; give seasons of other seeds other runs.

    Returns
    -------
    list of pathlib.Path
        The files, in order of time.

    >>> import tempfile
    >>> paths = write_season(tempfile.mkdtemp(), Season(GlobalGrid.regular(31, 60), steps=2))
    >>> [path.name for path in paths]
    ['data-2001-08-01-00-1.h5', 'data-2001-08-01-01-1.h5']
    """
    labels = label_by_vapour((moment.fields for moment in season), season.hours, season.grid)
    return [
        write_sample(
            out,
            moment.time,
            moment.fields,
            (moment.classes, labels.classes[step]),
            run=run,
            instances=moment.instances,
        )
        for step, moment in enumerate(season)
    ]
