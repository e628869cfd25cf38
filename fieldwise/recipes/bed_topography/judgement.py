"""A map of the bed beside what it is judged by: its baselines, and its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.grids import Grid, grid_of, load_values, make_field
from fieldwise.fields.tiles import cut
from fieldwise.recipes.bed_topography.members.scores import (
    MEMBER_CELLS,
    as_ensembles,
    keeps_members,
    open_members,
    score_members,
    score_members_at_points,
)
from fieldwise.recipes.bed_topography.regions.region import INVERSION, LOWRES, RADAR_INVERSION, lowres_spacing
from fieldwise.recipes.bed_topography.regions.surveys import grid_held_out, read_given, read_held_out
from fieldwise.samples.cases import Case
from fieldwise.scores import (
    ErrorSums,
    Known,
    Read,
    bias,
    find_unseen,
    know_blocks,
    mae,
    make_score,
    open_map,
    pick,
    read_at_points,
    rmse,
    roughness_ratio,
    sample_at_points,
    sample_maps,
    score_all,
    score_blocks,
    score_points,
    tells_roughness,
    widen,
)
from fieldwise.surveys import REACH_CELLS, find_dense, lay_out, spline_cells

# What a map is judged against:
PICKS, BLOCK, TRUTH, EVERYWHERE = "held-out picks", "held-out block", "truth", "truth, all cells"
GIVEN = "given picks"  # with these it should agree
MEASURES = {("rmse", "m"): rmse, ("mae", "m"): mae, ("bias", "m"): bias}
ORDER = [
    *("rmse", "mae", "bias", "crps", "coverage_90", "spread_error_ratio", "roughness_ratio", "power_ratio")
]
NAMES = ["prediction", "member", "cubic", "spline", "inversion", "radar_inversion", "bound"]
TOLD = {
    INVERSION: ("inversion", "surface inverted"),
    RADAR_INVERSION: ("radar_inversion", "surface and radar"),
}
LARGEST_SPLINE_CELLS = 5000 * 5000
BLOCK_CELLS = 2048  # edge of what is read of a map at a time
BLOCKS_LAID_OUT = 8  # that are remembered for the next maps that are read there


Rows = list[dict[str, Any]]


def baselines(case: Case, like: xr.DataArray, *, spline: bool = True) -> dict[str, xr.DataArray]:
    """Interpolate the low-res bed to the grid of a map: by cubic convolution, and by spline in tension.

    Where the data hold it, what the surface tells of the bed is a further baseline: `inversion`, cubic and
    all of it; and `radar_inversion`, what it and the given radar picks tell together. The spline is left out
    where the map is too large for GMT to hold it in memory.

    >>> from fieldwise.samples.examples import make_prepared
    >>> slope = np.tile([50.0, 150.0, 250.0, 350.0], (4, 1))  # rises by 100 m a kilometre
    >>> case = make_prepared({"bed_lowres": slope}, shape=(8, 8), spacing=500.0).cases()[0]
    >>> drawn = make_field(np.zeros((2, 2)), Grid(1500, 1500, 2500, 2500, 500, "EPSG:3413"), name="bed")
    >>> baselines(case, drawn, spline=False)["cubic"].values[0].tolist()
    [175.0, 225.0]
    """
    grid = grid_of(like)
    fields = _interpolations(case, grid)
    return fields | (_spline(case, grid) if spline else {})


def _interpolations(case: Case, grid: Grid) -> dict[str, xr.DataArray]:
    """Give the baselines of which a window is part of the whole."""
    told = [name for name in TOLD if name in case.variables]
    cubic, *departures = (
        cut(case.field(name), [grid.bounds], spacing=grid.spacing, method="cubic", extend=True)[0]
        for name in (LOWRES, *told)
    )
    fields = {"cubic": make_field(cubic, grid, name="bed", long_name="cubic low-res bed")}
    for name, values in zip(told, departures):
        baseline, words = TOLD[name]
        fields[baseline] = make_field(cubic + values, grid, name="bed", long_name=words)
    return fields


def _spline(case: Case, grid: Grid) -> dict[str, xr.DataArray]:
    """Draw GMT's spline in tension through the centres of low-res cells, where the map is not too large."""
    if np.prod(grid.shape) > LARGEST_SPLINE_CELLS:
        return {}
    lowres = case.field(LOWRES).rename("bed")
    return {"spline": spline_cells(lowres, grid, margin=5 * lowres_spacing(case))}


def _open_maps(case: Case, path: Path) -> tuple[Grid, Read]:
    """Open a map and its baselines: its grid, and a reader of rows and columns of all of them.

    The spline depends on all of the low-res bed, so it is drawn once; of the others no more than is asked for
    is in memory.
    """
    prediction = open_map(path, case)
    grid = grid_of(prediction)
    whole = _spline(case, grid)

    def read(rows: slice, columns: slice) -> dict[str, xr.DataArray]:
        window = prediction[rows, columns]
        fields = {
            "prediction": window.copy(data=load_values(window)),
            **_interpolations(case, grid_of(window)),
        }
        return fields | {name: field[rows, columns] for name, field in whole.items()}

    return grid, read


def score_map(case: Case, path: Path) -> tuple[Rows, dict[str, Any]]:
    """Score a map of the bed and its baselines, and the members that it may keep.

    Against held-out picks: RMSE, MAE and bias (map minus radar) in metres, the RMSE with the interval in
    which it lies at 95 % (whole flights resampled, where there are at least two), and the roughness ratio
    (mean standard deviation in 5 x 5 cells over that of the gridded held-out radar, the map being read at
    the picks and gridded as they are, where these are dense enough); and each survey's RMSE. Where held-out
    picks fill an area, against what they show there, maps being read at them too: the `held-out block`.
    Against the known truth, where there is one: in the areas that are held out, or, where none is, outside
    every tile; beside the `bound`, the best score that any linear estimate could reach. A map that keeps its
    members, which has learnt elsewhere, is judged as an ensemble too, and by the truth in all cells.

    Besides, RMSE and bias at the picks that a map may have read: not how good it is, but how far it agrees.

    Maps are read block by block.

    Returns
    -------
    tuple
        Rows of :func:`~fieldwise.scores.make_score`, of the names in :data:`NAMES`, in their order; and
        facts: ``n_picks``, ``n_flights``, picks of each of the ``surveys``, ``n_block_cells`` of the held-out
        block, and ``share_of_map`` that the truth was judged on.

    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.scores import value_of
    >>> coarse = np.tile(np.arange(500, 8000, 1000) / 10, (8, 1))  # rises by 100 m a kilometre
    >>> fine = np.tile(np.arange(125, 8000, 250) / 10, (32, 1))
    >>> known = {"truth": fine, "map": fine + 10, "held_out_areas": [[2000, 2000, 6000, 6000]]}
    >>> prepared = make_prepared({"bed_lowres": coarse + 40}, shape=(32, 32), **known)
    >>> case, home = prepared.cases()[0], prepared.folder
    >>> rows, facts = score_map(case, home / "map.tif")
    >>> [value_of(rows, measure="rmse", name=name) for name in ("prediction", "cubic")], facts
    ([10.0, 40.0], {'share_of_map': 0.25})
    """
    grid, read = _open_maps(case, path)
    beds = partial(_read_beds, case, open_members(path, grid)) if keeps_members(path) else None
    rows: Rows = []
    facts: dict[str, Any] = {}
    gridding: Future[Rows] | None = None
    if case.facts.get("held_out"):
        rows, facts, samples = _score_at_picks(case, grid, read, path)
        gridding = ThreadPoolExecutor(1).submit(_score_roughness, samples, case)  # takes as long as all else
        found, count = _score_in_blocks(case, grid, read, beds)
        rows, facts = rows + found, facts | ({"n_block_cells": count} if count else {})
    if case.facts.get("truth"):
        read_all = partial(_read_with_bound, case, read)
        found, count = _score_on_cells(read_all, beds, _know_truth(case, grid, find_unseen(case)), TRUTH)
        if not found:
            raise InputError(
                f"{case.folder}: the map covers nothing that training has not seen; predict a wider one"
            )
        rows, facts = rows + found, facts | {"share_of_map": count / float(np.prod(grid.shape))}
        if beds:
            rows += _score_on_cells(read_all, beds, _know_truth(case, grid, None), EVERYWHERE)[0]
    if not rows:
        raise InputError(f"{case.folder}: holds neither held-out surveys nor a truth to judge on")
    rows += _score_at_given(case, grid, read, path)
    return _in_order(rows + (gridding.result() if gridding else [])), facts


def _score_on_cells(
    read: Read, beds: Read | None, know: Callable[[int], Iterable[Known]], against: str
) -> tuple[Rows, int]:
    """Score a map, its baselines and its members where a truth is known, given in blocks of so many cells."""
    rows, count = score_blocks(read, know(BLOCK_CELLS), against=against)
    if rows and beds:
        rows += as_ensembles(rows) + score_members(beds, know(MEMBER_CELLS), against=against)
    return rows, count


def _know_truth(
    case: Case, grid: Grid, unseen: Callable[[Grid], np.ndarray] | None
) -> Callable[[int], Iterable[Known]]:
    """Give the known truth in blocks, in the cells that training has not seen, or in all."""

    def truth(here: Grid) -> np.ndarray:
        values = cut(case.open("truth"), [here.bounds], spacing=here.spacing)[0]
        return values if unseen is None else np.where(unseen(here), values, np.nan)

    return lambda cells: know_blocks(truth, grid, block_cells=cells)


def _score_in_blocks(case: Case, grid: Grid, read: Read, beds: Read | None) -> tuple[Rows, int]:
    """Score against what held-out picks show where they fill an area, maps being read at them.

    The radar's noise has more power than the bed in the finest waves: there a perfect map would have less
    than the radar.
    """
    picks, known = read_held_out(case), []
    lay_out_within = lru_cache(BLOCKS_LAID_OUT)(partial(_lay_out_within, picks))

    def see(maps: Read, rows: slice, columns: slice) -> dict[str, xr.DataArray]:
        """Read maps at picks, and lay out on their cells what is read."""
        near, show = lay_out_within(grid.part(rows, columns))
        return {
            name: field.copy(data=show(sample_at_points(field, near["x"], near["y"])))
            for name, field in maps(rows, columns).items()
        }

    for block_rows, block_columns, dense in find_dense(picks, grid):
        rows, columns, core = widen(block_rows, block_columns, grid.shape, margin=REACH_CELLS)
        here = grid.part(rows, columns)
        near, show = lay_out_within(here)
        truth = np.full(here.shape, np.nan)
        truth[core] = np.where(dense, show(near["z"].to_numpy())[core], np.nan)
        known.append(Known(rows, columns, truth, core))
    return _score_on_cells(
        partial(see, read), partial(see, beds) if beds else None, lambda cells: known, BLOCK
    )


def _lay_out_within(
    picks: pd.DataFrame, grid: Grid
) -> tuple[pd.DataFrame, Callable[[np.ndarray], np.ndarray]]:
    """Give the picks between the outermost centres of cells, where maps can be read, and lay them out."""
    x, y = grid.x, grid.y
    near = picks[picks["x"].between(x[0], x[-1]) & picks["y"].between(y[-1], y[0])]
    return near, lay_out(near["x"].to_numpy(), near["y"].to_numpy(), grid)


def _read_beds(case: Case, members: Read, rows: slice, columns: slice) -> dict[str, xr.DataArray]:
    """Read the members, and the cubic low-res bed that they depart from."""
    beds = members(rows, columns)
    cubic = _interpolations(case, grid_of(next(iter(beds.values()))))["cubic"]
    return {"cubic": cubic, **beds}


def _score_at_picks(
    case: Case, grid: Grid, read: Read, path: Path
) -> tuple[Rows, dict[str, Any], pd.DataFrame]:
    """Score maps at held-out picks; give the picks too, with a column of what each map shows there."""
    picks = read_held_out(case)
    samples = sample_maps(read, grid, picks["x"].to_numpy(), picks["y"].to_numpy(), block_cells=BLOCK_CELLS)
    judged = np.all([np.isfinite(values) for values in samples.values()], axis=0) & bool(samples)
    if not np.any(judged):
        raise InputError(f"{path}: covers none of the {len(picks)} held-out picks; predict where they are")
    picks = picks[judged].reset_index(drop=True)
    samples = {name: values[judged] for name, values in samples.items()}
    rows, facts = score_points(samples, picks, against=PICKS, measures=MEASURES)
    if keeps_members(path):
        rows += as_ensembles(pick(rows, against=PICKS)) + score_members_at_points(
            path, grid, picks, against=PICKS
        )
    return rows, facts, picks.assign(**samples)


def _score_at_given(case: Case, grid: Grid, read: Read, path: Path) -> Rows:
    """Score how far maps agree with the picks that were given, block by block, for these may be very many."""
    given = read_given(case)
    x, y, z = (given[name].to_numpy() for name in "xyz")
    errors: dict[str, ErrorSums] = {}
    for near, samples in read_at_points(read, grid, x, y, block_cells=BLOCK_CELLS):
        for name, values in samples.items():
            errors.setdefault(name, ErrorSums()).add(values, z[near])
    rows = [
        make_score(GIVEN, measure, "m", name, getattr(sums, measure))
        for measure in ("rmse", "bias")
        for name, sums in errors.items()
        if sums.count
    ]
    if rows and keeps_members(path):
        members = score_members_at_points(path, grid, given, against=GIVEN)
        rows += [row for row in members if row["measure"] in ("rmse", "bias")]
    return rows


def _in_order(rows: Rows) -> Rows:
    """Put scores in order: what they are against as it came, measures and names as they are listed."""
    against = list(dict.fromkeys(row["against"] for row in rows))
    keys = (("against", against), ("measure", ORDER), ("name", NAMES))
    return sorted(rows, key=lambda row: [names.index(row[key]) for key, names in keys])


def _score_roughness(picks: pd.DataFrame, case: Case) -> Rows:
    """Compare the roughness at picks, where these are dense enough to have one.

    Gridding smooths: a perfect map would come out too rough beside gridded radar. So each map is read
    at the picks and gridded as they are.
    """
    around = bool(np.prod(case.grid.shape) > LARGEST_SPLINE_CELLS)
    truth = grid_held_out(picks, case, around=around)
    if not tells_roughness(picks["x"], picks["y"], truth):
        return []
    maps = [name for name in NAMES if name in picks]
    gridded = {name: grid_held_out(picks.assign(z=picks[name]), case, around=around) for name in maps}
    return score_all(PICKS, {("roughness_ratio", "1"): roughness_ratio}, gridded, truth)


def _read_with_bound(case: Case, read: Read, rows: slice, columns: slice) -> dict[str, xr.DataArray]:
    """Read what the truth judges: the maps, and the bound where there is one."""
    fields = dict(read(rows, columns))
    if case.facts.get("bound"):
        like = grid_of(fields["prediction"])
        bound = cut(case.open("bound"), [like.bounds], spacing=like.spacing)[0]
        fields["bound"] = make_field(bound, like, name="bed")
    return fields
