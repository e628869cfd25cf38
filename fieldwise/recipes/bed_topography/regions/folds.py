"""Folds: blocks of a region, of which each sees the radar of the others alone, to learn from its own."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely

from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds, Grid
from fieldwise.physics.surface_inversion import Doubt
from fieldwise.recipes.bed_topography.members.sectors import (
    OF_RADAR,
    READ,
    TARGET,
    describe_radar,
    write_arrays,
)
from fieldwise.recipes.bed_topography.regions.derivation import can_invert, leave_out, regrid_lowres
from fieldwise.recipes.bed_topography.regions.doubt import Shown, choose_doubt, describe_doubt
from fieldwise.recipes.bed_topography.regions.radar import (
    find_departures,
    find_radar,
    find_radar_inversion,
    grid_radar,
)
from fieldwise.recipes.bed_topography.regions.region import LOWRES
from fieldwise.recipes.bed_topography.regions.sources import Sources
from fieldwise.recipes.bed_topography.regions.surveys import read_given
from fieldwise.samples.cases import Case
from fieldwise.samples.inputs import add_inputs
from fieldwise.samples.prepared import Draft
from fieldwise.samples.rules import list_entries

FOLDS_HOME = "folds"
BLOCKS_M, FOLDS = 20e3, 2  # where the FILE.yaml says nothing else
STEP_CELLS = 16  # a network that draws reads in whole steps of so many cells of the map
AROUND_M = 16e3  # what is kept for it reaches so far beyond the picks


@dataclass(frozen=True)
class Blocks:
    """Square blocks, counted from a corner to the north and east: the fold of each, and what selects weights.

    >>> blocks = Blocks(0.0, 0.0, 10.0, np.array([[0, 1], [1, 1]]), np.array([[False, False], [False, True]]))
    >>> picks = pd.DataFrame({"x": [5.0, 15.0, 15.0], "y": [5.0, 5.0, 15.0]})
    >>> blocks.find(blocks.fold, picks).tolist(), blocks.find(blocks.kept, picks).tolist()
    ([0, 1, 1], [False, False, True])
    >>> blocks.area(1).area
    300.0
    """

    west: float
    south: float
    edge: float
    fold: np.ndarray  # (northward, eastward), counted from 0
    kept: np.ndarray  # likewise, whether for validation

    def find(self, values: np.ndarray, picks: pd.DataFrame) -> np.ndarray:
        """Give for each pick the value of its block."""
        row, column = (
            np.clip(np.floor((picks[axis].to_numpy() - corner) / self.edge).astype(int), 0, size - 1)
            for axis, corner, size in zip("yx", (self.south, self.west), values.shape)
        )
        return values[row, column]

    def area(self, fold: int) -> shapely.Geometry:
        """Give the area of all blocks of a fold."""
        row, column = np.nonzero(self.fold == fold)
        west, south = self.west + column * self.edge, self.south + row * self.edge
        return shapely.union_all(shapely.box(west, south, west + self.edge, south + self.edge))


def deal_blocks(
    picks: pd.DataFrame, bounds: Bounds, *, edge: float, folds: int, fraction: float, seed: int
) -> Blocks:
    """Deal the blocks of a region into folds of about as many picks, in an order that is drawn.

    Parameters
    ----------
    picks
        x and y of each.
    bounds
        West, south, east, north of the region; blocks are counted from its south-west corner.
    edge
        Of a block in metres.
    fraction
        Share of the picks, in blocks that are drawn too, to select weights on.
    seed
        Of the draws.

    >>> x, y = (each.ravel() for each in np.meshgrid([2.0, 7.0], [2.0, 7.0]))
    >>> options = {"edge": 5.0, "folds": 2, "fraction": 0.1, "seed": 7}
    >>> blocks = deal_blocks(pd.DataFrame({"x": x, "y": y}), (0, 0, 10, 10), **options)
    >>> np.bincount(blocks.fold.ravel()).tolist(), int(blocks.kept.sum())
    ([2, 2], 1)
    """
    west, south, east, north = bounds
    shape = math.ceil((north - south) / edge - 1e-9), math.ceil((east - west) / edge - 1e-9)
    numbers = np.arange(shape[0] * shape[1])
    blocks = Blocks(west, south, edge, numbers.reshape(shape), np.zeros(shape, dtype=bool))
    counts = np.bincount(blocks.find(blocks.fold, picks), minlength=numbers.size)
    rng = np.random.default_rng(seed)
    order = rng.permutation(numbers)
    fold, total = np.empty_like(numbers), np.zeros(folds)
    for block in order[np.argsort(counts[order] == 0, kind="stable")]:  # so that each fold has picks
        fold[block] = total.argmin()
        total[fold[block]] += counts[block] + 1
    flown = rng.permutation(np.flatnonzero(counts))
    before = np.cumsum(counts[flown]) - counts[flown]
    kept = np.isin(numbers, flown[:-1][before[:-1] < fraction * counts.sum()])
    return replace(blocks, fold=fold.reshape(shape), kept=kept.reshape(shape))


def add_folds(
    sources: Sources, draft: Draft, *, fraction: float, seed: int, progress: bool = False
) -> list[tuple[Case, shapely.Geometry]]:
    """Add cases to learn from what the flights over a region tell, each fold blind to its own.

    What is known of a region where none has flown is to be learnt where some have, as if they had not. So the
    blocks of the region are dealt into folds, and for each fold the radar inputs are made anew from the picks
    of the other folds alone. A low-res bed that is gridded from the picks, and all that follows from it, is
    so too: gridded from the picks that are learnt from it would agree with them, and the ice surface would
    seem to tell nothing. Of each fold the network that draws learns how far the picks lie from the low-res
    bed: cases `flights`, one frame a fold, of what `members.sectors` names. They reach beyond the picks by
    16 km, in whole steps of 16 cells, and are not there where an input is missing or less than two blocks
    have been flown over.

    By these folds it is chosen how far ice surface and velocity are to be doubted (`regions.doubt`); what
    they and the radar tell together is added to the region too.

    Parameters
    ----------
    sources
        Whose surveys are added already.
    fraction
        Share of the picks to select weights on.
    seed
        Of the blocks that are drawn.
    progress
        Whether to show how far it is.

    Returns
    -------
    list
        For each fold a case and the area of its blocks, where the low-res bed is gridded from the picks;
        else none.

    >>> from pathlib import Path
    >>> from fieldwise.fields.heights import Heights
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.surveys import write_flights
    >>> case = make_prepared({}, shape=(16, 16), given="given.nc").cases()[0]
    >>> picks = pd.DataFrame({"x": [900.0, 3100.0], "y": 900.0, "z": [-90.0, -80.0], "flight": 0})
    >>> _ = write_flights([picks.assign(survey="TX")], case.folder / "given.nc", crs=case.grid.crs)
    >>> config = {"inputs": {"bed_lowres": {"from": "surveys", "blocks_m": 2000.0}}}
    >>> sources = Sources(case, config, Path("own.yaml"), Heights(), None)
    >>> draft = Draft(case.folder, case.folder, recipe="bed_topography", facts={})
    >>> folds = add_folds(sources, draft, fraction=0.1, seed=7)
    gridding the low-res bed of each fold from the others' picks
    >>> [(each.name, float(each.field("bed_lowres").mean())) for each, _ in folds]
    [('fold_1', -80.0), ('fold_2', -90.0)]
    """
    case, picks = sources.case, read_given(sources.case)
    asked = sources.config["inputs"][LOWRES] if sources.grids_lowres else {}
    options: Any = {"edge": float(asked.get("blocks_m", BLOCKS_M)), "folds": asked.get("folds", FOLDS)}
    blocks = deal_blocks(picks, case.grid.bounds, fraction=fraction, seed=seed, **options)
    number = blocks.find(blocks.fold, picks)
    if len(np.unique(number)) < options["folds"]:
        if sources.grids_lowres:
            raise InputError(
                f"{sources.file}: inputs: {LOWRES}: picks lie in less than {options['folds']} blocks of "
                f"{options['edge']:g} m, one for each fold; give a smaller blocks_m"
            )
        _invert([(case, "inputs")], Doubt(), sources.grounded, progress)
        return []
    grid = None if any(name not in case.variables for name in READ) else _surround(picks, case.grid)
    if sources.grids_lowres:
        print("gridding the low-res bed of each fold from the others' picks")
    elif grid is None and not can_invert(case):
        return []
    seen = [_see_others(sources, picks[number != fold], fold + 1) for fold in range(options["folds"])]
    doubt = _choose_doubt(sources, seen, picks, number, progress=progress)
    homes = [(each, f"{FOLDS_HOME}/{fold}") for fold, each in enumerate(seen, start=1)]
    _invert([*homes, (case, "inputs")], doubt, sources.grounded, progress)
    if grid is not None:
        _add_flights(draft, case, seen, picks, blocks, grid)
    if not sources.grids_lowres:
        shutil.rmtree(case.folder / FOLDS_HOME)  # the flights have been read from it
        return []
    return [(draft.add(each), blocks.area(fold)) for fold, each in enumerate(seen)]


def _see_others(sources: Sources, others: pd.DataFrame, number: int) -> Case:
    """Give the case of a fold: what follows from picks follows from those of the others."""
    name, home = f"fold_{number}", f"{FOLDS_HOME}/{number}"
    if sources.grids_lowres:
        options: Any = {"grounded": sources.grounded, "home": home}
        case = regrid_lowres(sources.case, others, given=sources.config["inputs"], **options)
    else:
        case = leave_out(sources.case, OF_RADAR)
    add_inputs(case, find_radar(case, others, home=home))
    return replace(case, name=name)


def _invert(cases: Sequence[tuple[Case, str]], doubt: Doubt, grounded: Any, progress: bool) -> None:
    """Add to cases, each with the folder to write to, what surface, radar and velocity together tell."""
    for case, home in cases:
        told = find_radar_inversion(case, grounded=grounded, doubt=doubt, home=home, progress=progress)
        add_inputs(case, told)


def _choose_doubt(
    sources: Sources, seen: Sequence[Case], picks: pd.DataFrame, number: np.ndarray, *, progress: bool
) -> Doubt:
    """Choose how far to doubt surface and velocity, by picks of each fold, which its case knows not of."""
    if not can_invert(sources.case):
        return Doubt()
    learnt = {Path(entry["path"]).stem for entry in list_entries(sources.config.get("surveys"))}
    told = picks["survey"].isin(learnt).to_numpy()  # a named low-res bed may be made of the others, `radar`
    if sources.grids_lowres or not told.any():
        told = np.ones(len(picks), dtype=bool)
    folds = []
    for fold, case in enumerate(seen):
        shown, kept = (
            grid_radar(each, find_departures(each, case), case.grid)
            for each in (picks[~told | (number != fold)], picks[told & (number == fold)])
        )
        folds.append(Shown(case, shown, kept))
    doubt = choose_doubt(folds, grounded=sources.grounded, progress=progress)
    print(f"by picks that were not shown: {describe_doubt(doubt)}")
    return doubt


def _add_flights(
    draft: Draft, region: Case, seen: Sequence[Case], picks: pd.DataFrame, blocks: Blocks, grid: Grid
) -> None:
    """Add the cases that a drawing network learns from and is chosen by."""
    files = dict[str, Any]()
    known = {name: region.variables[name] for name in READ} | describe_radar(region)
    for name in (*READ, *OF_RADAR):
        frames = [np.nan_to_num(each.read([name], window=grid.bounds)[name]) for each in seen]
        alike = all(np.array_equal(frames[0], each) for each in frames)  # then one is kept for all
        arrays = np.stack(frames[:1] if alike else frames)
        files |= write_arrays(draft.folder, "flights", {known[name]: arrays})
    place: Any = {"bounds": grid.bounds, "crs": region.crs, "frames": len(seen)}
    for split, values in _find_targets(seen, picks, blocks, grid).items():
        written = write_arrays(draft.folder, f"{split}/flights", {known[TARGET]: values})
        draft.add(
            Case("flights", split, draft.folder, known, files | written, grid.spacing, grid.shape, **place)
        )


def _find_targets(
    seen: Sequence[Case], picks: pd.DataFrame, blocks: Blocks, grid: Grid
) -> dict[str, np.ndarray]:
    """Put on a grid, by split and fold, how far its own picks lie from the low-res bed, missing elsewhere."""
    number, kept = (blocks.find(each, picks) for each in (blocks.fold, blocks.kept))
    targets: dict[str, list[np.ndarray]] = {"training": [], "validation": []}
    for fold, case in enumerate(seen):
        away = find_departures(picks, case)
        for split, its in (("training", ~kept), ("validation", kept)):
            own = its & (number == fold)
            departure, picked, _ = grid_radar(picks[own], away[own], grid).values()
            targets[split].append(np.where(picked, departure, np.float32(np.nan)))
    return {split: np.stack(each)[:, None] for split, each in targets.items()}


def _surround(picks: pd.DataFrame, grid: Grid) -> Grid | None:
    """Give the part of a map around picks, in whole steps from its north-west corner; None of a small map."""
    step, spans = STEP_CELLS * grid.spacing, []
    along = picks["x"].to_numpy() - grid.west, grid.north - picks["y"].to_numpy()
    for places, cells in zip(along, reversed(grid.shape)):
        first = max(0, math.floor((places.min() - AROUND_M) / step))
        last = min(cells // STEP_CELLS, math.ceil((places.max() + AROUND_M) / step))
        if first >= last:
            return None
        spans.append((first * step, last * step))
    (left, right), (top, bottom) = spans
    west, north = grid.west, grid.north
    return replace(grid, west=west + left, east=west + right, south=north - bottom, north=north - top)
