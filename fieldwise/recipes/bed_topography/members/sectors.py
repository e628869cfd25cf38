"""Made sectors to learn from: each a world of its own, its truth known everywhere."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fieldwise.errors import InputError
from fieldwise.recipes.bed_topography.regions.derivation import invert_with_radar, regrid_lowres
from fieldwise.recipes.bed_topography.regions.radar import find_departures, grid_radar
from fieldwise.recipes.bed_topography.regions.region import (
    LOWRES,
    RADAR,
    RADAR_INVERSION,
    RECIPE,
    SURFACE,
    list_surveys,
    lowres_spacing,
)
from fieldwise.recipes.bed_topography.regions.sources import Sources, open_sources
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Draft
from fieldwise.samples.signatures import Variable
from fieldwise.surveys import read_flights

TARGET = "bed_departure"
READ = (
    "bed_relief",
    "bed_spread",
    "surface_relief",
    "surface_inversion",
    "surface_slope",
    "ice_thickness",
    "ice_velocity",
)
OF_RADAR = {**RADAR, RADAR_INVERSION: "m"}  # what follows from the flights that are shown
HOLE_M = (10e3, 40e3)  # least and largest edge of the squares that no flight has seen
MOST_HOLES = 4


class Showing(NamedTuple):
    """What is shown of a sector in one of its frames."""

    share: float  # of the flights
    regridded: bool  # whether the low-res bed is gridded from these alone, with holes that none has seen


FRAMES = (Showing(1.0, False), Showing(0.7, True), Showing(0.3, True), Showing(0.0, False))


class Job(NamedTuple):
    """A sector to make: number, split, and how. Every other one lies anywhere in the sandbox's own world."""

    number: int
    split: str
    folder: Path
    seed: int
    size_km: float
    frames: tuple[Showing, ...]


def add_sectors(
    draft: Draft,
    *,
    sectors: int,
    validation: int,
    seed: int,
    size_km: float,
    regridded: bool,
    processes: int,
    progress: bool,
) -> None:
    """Make sectors side by side and add each as a case with what `READ` names, radar, and the departure.

    Each sector has a frame for each of `FRAMES`: other flights are shown in each, from all to none, so that a
    network learns what to make of few of them and of many. In some the low-res bed is gridded from the shown
    ones alone, outside of some holes: there it may be far off, as under a glacier that nobody has flown over;
    in the others it knows more than is shown, as where picks are not published. Nothing but arrays is kept.

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
    regridded
        Whether there are such frames; else the low-res bed always knows every flight.
    processes
        That make sectors at a time.
    progress
        Whether to show how far it is.
    """
    from tqdm import tqdm

    splits = ["training"] * sectors + ["validation"] * validation
    frames = tuple(each._replace(regridded=each.regridded and regridded) for each in FRAMES)
    jobs = [Job(number, split, draft.folder, seed, size_km, frames) for number, split in enumerate(splits)]
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
    world, own_seed = draw_world(rng), int(rng.integers(2**31))
    if not job.number % 2:
        world = World(shelf_share=world.shelf_share)
    widest = job.size_km * 1e3 / 4  # of what a sector can have
    world = replace(world, line_spacing_m=min(world.line_spacing_m, widest))
    with contextlib.redirect_stdout(io.StringIO()):
        made: Any = {"seed": own_seed, "size_km": job.size_km, "world": world, "bound": False}
        file = make_bed_topography(scratch, **made, progress=False)
        draft = Draft(scratch, scratch, recipe=RECIPE, facts={})
        sources = open_sources(file, draft, progress=False)
    arrays = _observe(sources, job.frames, rng)
    case = _keep(job, name, sources.case, arrays)
    shutil.rmtree(scratch)
    return case


def _observe(
    sources: Sources, showings: Sequence[Showing], rng: np.random.Generator
) -> dict[Variable, np.ndarray]:
    """Read everything that is learnt from of a made sector, by variable: (frame, channel, y, x) float32."""
    case = sources.case
    missing = [name for name in READ if name not in case.variables]
    if missing:
        raise InputError(f"{case.folder}: lacks {', '.join(missing)}, which learning from sectors needs")
    picks, truth = _read_all_picks(sources), case.open("truth").values
    frames = []
    for number, showing in enumerate(showings):
        shown = _show(picks, showing, case, rng)
        seen = case
        if showing.regridded and len(shown):
            options: Any = {"given": sources.config["inputs"], "grounded": sources.grounded}
            seen = regrid_lowres(case, shown, home=f"frames/{number}", **options)
        fields = {name: np.nan_to_num(each) for name, each in seen.read(READ, window=case.bounds).items()}
        radar = grid_radar(shown, find_departures(shown, seen), case.grid)
        radar[RADAR_INVERSION] = invert_with_radar(seen, radar, grounded=sources.grounded)
        base = seen.cut(LOWRES, np.array([case.bounds]), method="cubic")
        frames.append(fields | {name: each[None] for name, each in radar.items()} | {TARGET: truth - base})
    variables = {name: case.variables[name] for name in READ} | describe_radar(case)
    return {each: np.stack([frame[name] for frame in frames]) for name, each in variables.items()}


def describe_radar(case: Case) -> dict[str, Variable]:
    """Describe what follows from the flights over a case, and what is learnt from them.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.zeros((4, 4))}, shape=(16, 16)).cases()[0]
    >>> {name: each.spacing for name, each in describe_radar(case).items() if "inversion" in name}
    {'radar_inversion': 1000.0}
    """
    units = {**OF_RADAR, TARGET: "m"}
    spacings = dict.fromkeys(units, case.spacing) | {RADAR_INVERSION: lowres_spacing(case)}
    return {name: Variable(name, units=unit, spacing=spacings[name]) for name, unit in units.items()}


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


def _show(picks: pd.DataFrame, showing: Showing, case: Case, rng: np.random.Generator) -> pd.DataFrame:
    """Give the picks that a frame shows: of some of the flights, and outside of holes."""
    flights = picks["flight"].unique()
    kept = rng.permutation(flights)[: round(showing.share * len(flights))]
    seen = picks["flight"].isin(kept).to_numpy()
    if showing.regridded:
        west, south, east, north = case.grid.bounds
        for _ in range(rng.integers(MOST_HOLES + 1)):
            x, y, half = rng.uniform(west, east), rng.uniform(south, north), rng.uniform(*HOLE_M) / 2
            seen = seen & (np.maximum(abs(picks["x"] - x), abs(picks["y"] - y)).to_numpy() > half)
    return picks[seen]


def _keep(job: Job, name: str, region: Case, arrays: dict[Variable, np.ndarray]) -> Case:
    """Write the arrays, and describe the sector as a case that reads them."""
    files: Any = write_arrays(job.folder, f"{job.split}/{name}", arrays)
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
        frames=len(job.frames),
    )


def write_arrays(folder: Path, home: str, arrays: Mapping[Variable, np.ndarray]) -> dict[str, str]:
    """Write arrays (frame, channel, y, x), one file a channel; give each field its file within the folder.

    >>> import tempfile
    >>> slope = Variable("surface_slope", ("surface_slope_1", "surface_slope_2"), vector=True)
    >>> write_arrays(Path(tempfile.mkdtemp()), "flights", {slope: np.zeros((1, 2, 4, 4))})
    {'surface_slope_1': 'flights/surface_slope_1.npy', 'surface_slope_2': 'flights/surface_slope_2.npy'}
    """
    files = {}
    (folder / home).mkdir(parents=True, exist_ok=True)
    for variable, values in arrays.items():
        for field, channel in zip(variable.fields, np.moveaxis(values, 1, 0), strict=True):
            files[field] = f"{home}/{field}.npy"
            np.save(folder / files[field], np.asarray(channel, dtype=np.float32))
    return files
