"""What forecasts are compared with, fitted on the training cases alone, and how their cells count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fieldwise.errors import InputError
from fieldwise.samples.cases import Case
from fieldwise.scores.forecasts import (
    Climatology,
    ClimatologySums,
    DampedPersistence,
    area_weights,
    persist_day,
    persist_last,
    read_climatology,
)

DAY_H = 24


@dataclass(frozen=True)
class Cells:
    """How the cells of a map count: by their area, where they lie on latitudes.

    Parameters
    ----------
    weights
        (y, x), or None where all count alike.
    narrowing
        Distance from column to column over that from row to row.
    """

    weights: np.ndarray | None = None
    narrowing: Any = 1.0

    @classmethod
    def of(cls, case: Case, *, by_area: bool = True) -> Cells:
        """Give those of a case; a world that goes on at its other side lies on no sphere."""
        if case.periodic or not by_area or "globe" not in case.facts:
            return cls()
        latitude = np.asarray(case.facts["globe"]["latitude"], dtype=np.float64)
        if latitude.size != case.shape[0]:
            raise InputError(
                f"case {case}: has {case.shape[0]} rows at {latitude.size} latitudes; prepare again"
            )
        return cls(area_weights(latitude, case.shape[1]), np.cos(np.deg2rad(latitude))[:, None])


@dataclass(frozen=True)
class References:
    """Baselines, and what measures need to know of the data.

    Parameters
    ----------
    climatology
        Of the target.
    damped
        Fitted, or not, where training has no two days on end.
    data_range
        Greatest minus least value in training.
    cells
        How they count.
    """

    climatology: Climatology
    damped: DampedPersistence
    data_range: float
    cells: Cells

    @property
    def day(self) -> int:
        """Frames of a day."""
        return self.damped.day

    def forecast(self, history: Sequence[np.ndarray], normal: np.ndarray) -> dict[str, np.ndarray]:
        """Give the forecast of each baseline, (lead, y, x), by name.

        Parameters
        ----------
        history
            (hour, y, x) up to the init time. Where it is no longer than a day, those
            that need one are left out.
        normal
            (lead, y, x) climatology.
        """
        horizon, found = len(normal), {}
        if len(history) > self.day:
            found["persistence"] = persist_day(history, horizon=horizon, day=self.day)
            if self.damped.is_fitted:
                found["damped_persistence"] = self.damped.predict(history)
        return found | {"climatology": normal, "last_value": persist_last(history, horizon=horizon)}


def fit_references(
    cases: Sequence[Case],
    target: str,
    *,
    horizon: int,
    by_area: bool = True,
    climatology: Path | None = None,
    progress: bool = False,
) -> References:
    """Fit the baselines on training cases, whose frames are read once, one after the other.

    Parameters
    ----------
    cases
        Of training.
    target
        Field that is forecast.
    horizon
        Number of leads, in frames.
    by_area
        Whether cells count by their area.
    climatology
        File to read the climatology of instead.
    progress
        Whether to show how far it is.

    >>> from fieldwise.samples.examples import make_prepared
    >>> days = np.arange(72.0).reshape(72, 1, 1) * np.ones((1, 2, 2))  # each a day's step warmer
    >>> references = fit_references(make_prepared({"t2m": days}).cases(), "t2m", horizon=2)
    >>> references.damped.shares[:, 0, 0].tolist(), references.data_range
    ([1.0, 1.0], 71.0)
    """
    case = cases[0]
    for each in cases:
        each.check_has([target], why="a baseline")
    day = round(DAY_H / float(case.facts.get("step_h", 1)))
    cells = Cells.of(case, by_area=by_area)
    damped = DampedPersistence(horizon, day)
    sums, limits = ClimatologySums((case.shape[0], case.shape[1])), [np.inf, -np.inf]

    def frames(case: Case) -> Iterator[np.ndarray]:
        for frame, hours in enumerate(case.frame_times):
            values = case.stack([target], frame=frame)[0]
            sums.add(hours, values)
            limits[:] = [min(limits[0], float(values.min())), max(limits[1], float(values.max()))]
            yield values

    for each in tqdm(cases, desc="baselines", unit="case", disable=not progress):
        damped.add(frames(each))
    if climatology is None:
        known = sums.make()
    else:
        globe = case.facts.get("globe", {"latitude": [], "longitude": []})
        places: Any = {"latitude": globe["latitude"], "longitude": globe["longitude"]}
        known = read_climatology(climatology, target, units=case.variables[target].units, **places)
    return References(known, damped, limits[1] - limits[0], cells)
