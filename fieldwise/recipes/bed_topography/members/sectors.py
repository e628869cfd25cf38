"""Made sectors to learn from: each a world of its own, its truth known everywhere."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fieldwise.errors import InputError
from fieldwise.recipes.bed_topography.radar import find_departures, grid_radar
from fieldwise.recipes.bed_topography.region import (
    LOWRES,
    RADAR,
    RECIPE,
    SURFACE,
    list_surveys,
    lowres_spacing,
)
from fieldwise.recipes.bed_topography.sources import Sources, open_sources
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Draft
from fieldwise.samples.signatures import Variable
from fieldwise.surveys import read_flights

TARGET = "bed_departure"
READ = (
    "bed_relief",
    "surface_relief",
    "surface_inversion",
    "surface_slope",
    "ice_thickness",
    "ice_velocity",
)
KEPT = (1.0, 0.7, 0.3, 0.0)  # shares of the flights that are shown in the frames of a sector


class Job(NamedTuple):
    """A sector to make: number, split, and how. Every other one is of the sandbox's own world."""

    number: int
    split: str
    folder: Path
    seed: int
    size_km: float


def add_sectors(
    draft: Draft, *, sectors: int, validation: int, seed: int, size_km: float, processes: int, progress: bool
) -> None:
    """Make sectors side by side and add each as a case with what `READ` names, radar, and the departure.

    Each sector has as many frames as `KEPT` has shares: other flights are shown in each, from all to none, so
    that a network learns what to make of few of them and of many. Nothing but arrays is kept of a sector.

    Parameters
    ----------
    draft
        To add them to.
    sectors, validation
        How many to learn from, and how many to choose weights by.
    seed
        Of all that is drawn.
    size_km
        Edge of each.
    processes
        That make sectors at a time.
    progress
        Whether to show how far it is.
    """
    from tqdm import tqdm

    splits = ["training"] * sectors + ["validation"] * validation
    jobs = [Job(number, split, draft.folder, seed, size_km) for number, split in enumerate(splits)]
    for case in tqdm(_make(jobs, processes), "sectors", len(jobs), disable=not progress, unit="sector"):
        draft.add(case)


def _make(jobs: list[Job], processes: int) -> Iterator[Case]:
    if processes < 2:
        yield from map(_make_sector, jobs)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_make_sector, jobs)


def _make_sector(job: Job) -> Case:
    """Make one sector with a world of its own, prepare it as a user's files are, and keep the arrays."""
    from fieldwise.sandbox.bed_topography import make_bed_topography
    from fieldwise.sandbox.worlds import World, draw_world

    name, rng = f"sector_{job.number:03d}", np.random.default_rng([job.seed, job.number])
    scratch = job.folder / f".{name}"
    world, own_seed = draw_world(rng) if job.number % 2 else World(), int(rng.integers(2**31))
    with contextlib.redirect_stdout(io.StringIO()):
        file = make_bed_topography(scratch, seed=own_seed, size_km=job.size_km, world=world, progress=False)
        draft = Draft(scratch, scratch, recipe=RECIPE, facts={})
        sources = open_sources(file, draft, progress=False)
    arrays = _observe(sources, rng)
    case = _keep(job, name, sources.case, arrays)
    shutil.rmtree(scratch)
    return case


def _observe(sources: Sources, rng: np.random.Generator) -> dict[Variable, np.ndarray]:
    """Read everything that is learnt from of a made sector, by variable: (frame, channel, y, x) float32."""
    case, entire = sources.case, np.array([sources.case.bounds])
    missing = [name for name in READ if name not in case.variables]
    if missing:
        raise InputError(f"{case.folder}: lacks {', '.join(missing)}, which learning from sectors needs")
    arrays = {}
    for name in READ:
        variable = case.variables[name]
        arrays[variable] = np.nan_to_num(case.read([variable], window=case.bounds)[name])[None]
    picks = _read_all_picks(sources)
    departures = find_departures(picks, case)
    frames = [_show(picks, departures, case, share, rng) for share in KEPT]
    for name, units in RADAR.items():
        arrays[Variable(name, units=units, spacing=case.spacing)] = np.stack(
            [each[name][None] for each in frames]
        )
    truth = case.open("truth").values
    away = truth - case.cut(LOWRES, entire, method="cubic")[0]
    arrays[Variable(TARGET, units="m", spacing=case.spacing)] = away[None, None]
    return arrays


def _read_all_picks(sources: Sources) -> pd.DataFrame:
    """Read the picks of all surveys that a FILE.yaml names, flights numbered through."""
    case, tables, first = sources.case, [], 0
    for entry in list_surveys(sources.config):
        table = read_flights(
            entry,
            case.grid,
            folder=sources.folder,
            cell=lowres_spacing(case),
            heights=sources.heights,
            surface=case.field(SURFACE),
        )
        tables.append(table.assign(flight=table["flight"] + first))
        first = int(tables[-1]["flight"].max()) + 1
    return pd.concat(tables, ignore_index=True)


def _show(
    picks: pd.DataFrame, departures: np.ndarray, case: Case, share: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Put the picks of some of the flights on the map."""
    flights = picks["flight"].unique()
    shown = rng.permutation(flights)[: round(share * len(flights))]
    seen = picks["flight"].isin(shown).to_numpy()
    return grid_radar(picks[seen], departures[seen], case.grid)


def _keep(job: Job, name: str, region: Case, arrays: dict[Variable, np.ndarray]) -> Case:
    """Write arrays, one a channel, and describe the sector as a case that reads them."""
    home, files = f"{job.split}/{name}", dict[str, str | float]()
    (job.folder / home).mkdir(parents=True)
    for variable, values in arrays.items():
        for field, channel in zip(variable.fields, np.moveaxis(values, 1, 0), strict=True):
            files[field] = f"{home}/{field}.npy"
            np.save(job.folder / home / f"{field}.npy", np.asarray(channel, dtype=np.float32))
    variables = {variable.name: variable for variable in arrays}
    return Case(
        name,
        job.split,
        job.folder,
        variables,
        files,
        region.spacing,
        region.shape,
        bounds=region.bounds,
        crs=region.crs,
        frames=len(KEPT),
    )
