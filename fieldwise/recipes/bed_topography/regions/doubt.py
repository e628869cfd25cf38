"""How far ice surface and velocity are to be doubted: as far as picks say that were not shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import shapely
from tqdm import tqdm

from fieldwise.physics.surface_inversion import Doubt
from fieldwise.recipes.bed_topography.regions.derivation import invert_with_radar, mean_of_cells
from fieldwise.recipes.bed_topography.regions.region import lowres_spacing
from fieldwise.samples.cases import Case

DOUBTS = {
    "surface": (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 8.0, math.inf),
    "flow": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, math.inf),
}


class Shown(NamedTuple):
    """What radar shows of a region and what it keeps: two times what `radar.grid_radar` gives."""

    case: Case  # whose low-res bed, where that is gridded from picks, knows those alone that are shown
    shown: Mapping[str, np.ndarray]
    kept: Mapping[str, np.ndarray]


def choose_doubt(
    folds: Sequence[Shown], *, grounded: shapely.Geometry | None, progress: bool = False
) -> Doubt:
    """Choose the doubts with which surface, radar and velocity come nearest to the picks that were not shown.

    Surfaces have a course of their own, by hills of accumulation, changing slip, crevasses, more of it in one
    region than in another. Beside a low-res bed that knows better, averaged from a fine one perhaps, the
    surface has nothing to tell, and is not asked at all: its doubt is infinite. And velocity tells of the bed
    where ice is fast, keeps its thickness and has been measured well: from not being asked it is doubted less
    and less, as long as that helps.

    Parameters
    ----------
    folds
        Each with other picks shown.
    grounded
        As of `derivation.find_surface_inversion`.
    progress
        Whether to show how far it is.

    Returns
    -------
    Doubt
        Of least mean absolute error in low-res cells with picks, by steps from the usual one: of the surface,
        of the velocity, and of the surface once more.

    >>> from fieldwise.samples.examples import make_prepared
    >>> still, names = np.zeros((4, 4)), ("radar_departure", "radar_picked", "radar_distance")
    >>> values = {"bed_lowres": still - 200, "surface_elevation": still + 800}
    >>> values["ice_velocity"] = [still + 50, still + 50]
    >>> case = make_prepared(values, shape=(16, 16), trends=["bed_lowres", "surface_elevation"]).cases()[0]
    >>> none = dict.fromkeys(names, np.zeros((16, 16)))
    >>> choose_doubt([Shown(case, none, {**none, "radar_picked": np.ones((16, 16))})], grounded=None)
    Doubt(surface=1.0, flow=inf)
    """
    bar = tqdm(desc="doubting surface and velocity", disable=not progress, unit="estimate")

    @cache
    def error(doubt: Doubt) -> float:
        misfits = []
        for case, shown, kept in folds:
            told = invert_with_radar(case, shown, grounded=grounded, doubt=doubt)
            misfit = mean_of_cells(kept, round(lowres_spacing(case) / case.spacing)) - told
            misfits.append(abs(misfit[np.isfinite(misfit)]))
            bar.update()
        return float(np.concatenate(misfits).mean()) if any(map(len, misfits)) else 0.0

    best = Doubt()
    with bar:
        for name in (*DOUBTS, "surface"):  # beside the velocity it may tell less
            for steps in (DOUBTS[name], DOUBTS[name][::-1]):
                while further := steps[steps.index(getattr(best, name)) + 1 :]:
                    one = best._replace(**{name: further[0]})
                    if error(one) >= error(best):
                        break
                    best = one
            best = min(best, best._replace(**{name: math.inf}), key=error)
    return best


def describe_doubt(doubt: Doubt) -> str:
    """Say what was chosen.

    >>> describe_doubt(Doubt(2.0, math.inf))
    'ice surface doubted 2 times as far as in made sectors, mass conservation not asked'
    """

    def say(times: float, than: str) -> str:
        return "not asked" if math.isinf(times) else f"doubted {times:g} times as far as {than}"

    surface, flow = (
        say(doubt.surface, "in made sectors"),
        say(doubt.flow, "velocities off by 4 m/a and 1 %"),
    )
    return f"ice surface {surface}, mass conservation {flow}"
