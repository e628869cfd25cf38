"""How far the ice surface is to be doubted: as far as picks say that were not shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import shapely
from tqdm import tqdm

from fieldwise.recipes.bed_topography.regions.derivation import invert_with_radar, mean_of_cells
from fieldwise.recipes.bed_topography.regions.region import lowres_spacing
from fieldwise.samples.cases import Case

DOUBTS = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 8.0)
USUAL = DOUBTS.index(1.0)  # that of made sectors


class Shown(NamedTuple):
    """What radar shows of a region and what it keeps: two times what `radar.grid_radar` gives."""

    case: Case  # whose low-res bed, where that is gridded from picks, knows those alone that are shown
    shown: Mapping[str, np.ndarray]
    kept: Mapping[str, np.ndarray]


def choose_doubt(
    folds: Sequence[Shown], *, grounded: shapely.Geometry | None, progress: bool = False
) -> float:
    """Choose the doubt with which surface and radar come nearest to the picks that were not shown.

    Surfaces have a course of their own, by hills of accumulation, changing slip, crevasses, more of it in one
    region than in another. Beside a low-res bed that knows better, averaged from a fine one perhaps, the
    surface has nothing to tell, and is not asked at all: its doubt is infinite.

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
    float
        Times that of made sectors; of least mean absolute error in low-res cells with picks.

    >>> from fieldwise.samples.examples import make_prepared
    >>> still, names = np.zeros((4, 4)), ("radar_departure", "radar_picked", "radar_distance")
    >>> values = {"bed_lowres": still - 200, "surface_elevation": still + 800}
    >>> values["ice_velocity"] = [still + 50, still + 50]
    >>> case = make_prepared(values, shape=(16, 16), trends=["bed_lowres", "surface_elevation"]).cases()[0]
    >>> none = dict.fromkeys(names, np.zeros((16, 16)))
    >>> choose_doubt([Shown(case, none, {**none, "radar_picked": np.ones((16, 16))})], grounded=None)
    1.0
    """
    bar = tqdm(desc="doubting the surface", disable=not progress, unit="estimate")

    @cache
    def error(doubt: float) -> float:
        misfits = []
        for case, shown, kept in folds:
            told = invert_with_radar(case, shown, grounded=grounded, doubt=doubt)
            misfit = mean_of_cells(kept, round(lowres_spacing(case) / case.spacing)) - told
            misfits.append(abs(misfit[np.isfinite(misfit)]))
            bar.update()
        return float(np.concatenate(misfits).mean()) if any(map(len, misfits)) else 0.0

    def climb(number: int, step: int) -> int:
        while 0 <= number + step < len(DOUBTS) and error(DOUBTS[number + step]) < error(DOUBTS[number]):
            number += step
        return number

    with bar:
        number = climb(USUAL, 1)
        best = DOUBTS[climb(USUAL, -1) if number == USUAL else number]
        return min(best, math.inf, key=error)
