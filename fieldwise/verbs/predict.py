"""A predictor applied to a whole case, block by block and frame by frame: the verb predict."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import rasterio
from tqdm import tqdm

from fieldwise.errors import InputError, require_at_least, times
from fieldwise.fields.grids import Bounds, Grid
from fieldwise.fields.rasters import CACHE_BYTES
from fieldwise.samples.cases import Case, Cells
from fieldwise.samples.prepared import DESCRIPTION
from fieldwise.verbs.domains.blocks import lay_out_case, round_up
from fieldwise.verbs.domains.clocks import measure
from fieldwise.verbs.domains.contents import Globe, Lattice, MapFile, Times
from fieldwise.verbs.domains.halos import LONGEST_CELLS, MARGIN, choose_halo
from fieldwise.verbs.domains.partials import Partial, Plan, Unit, open_partial
from fieldwise.verbs.domains.room import check_room, choose_block
from fieldwise.verbs.domains.unseen import warn_style
from fieldwise.verbs.domains.writers import check_suffix
from fieldwise.verbs.ensembles import QUANTILES, Ensemble

if TYPE_CHECKING:
    from fieldwise.verbs.predictors import Predictor

Arrays = dict[str, np.ndarray]
Task = tuple[Unit, int]  # and the number of one of its frames in the file

WRITE_BEHIND = 2  # pieces in memory after the one that is computed
MOST_READERS = 12  # each has a block in memory
MOST_NAMES = 6  # of cases in a message


def predict_to(
    out: str | Path,
    predictor: Predictor,
    case: Case,
    *,
    window: Bounds | Cells | None = None,
    frames: int | Sequence[int] | None = None,
    members: int = 0,
    quantiles: Sequence[float] = QUANTILES,
    keep_members: bool = False,
    seed: int = 0,
    block_cells: int | None = None,
    halo_cells: int | None = None,
    readers: int | None = None,
    attributes: Mapping[str, str] | None = None,
    fingerprint: str = "",
    progress: bool = True,
    seconds: list[float] | None = None,
    tell: bool = True,
) -> Path:
    """Apply a predictor to a case, map or box, block by block, and write what it gives.

    Threads read ahead and one writes behind. Finished pieces lie in the folder `<out>.partial` until the
    file is whole: a killed run that is started again computes only the missing ones. Memory grows neither
    with the domain nor with the number of frames. At the end one line says what was written, and how fast.

    Parameters
    ----------
    out
        ``.nc`` (CF-NetCDF) or ``.zarr``; of a map ``.tif`` (cloud-optimised GeoTIFF of one frame, a band an
        output); of a box ``.npy`` (one frame, (channel, *cells) float32; of an ensemble the mean, or
        (member, channel, *cells) where members are kept).
    predictor
        A :class:`fieldwise.verbs.predictors.Predictor`, or what has its methods and attributes.
    case
        What it reads: an independent domain with a grid and frames.
    window
        West, south, east, north of a part of the map, rounded outward to its cells; or one slice of its
        cells an axis of a box; default: the whole.
    frames
        Number or numbers of frames, from 0; default: all.
    members
        Of a network that takes noise, how many to draw. From 2 on their mean is written under the name of
        an output, their standard deviation as `<name>_spread`, and `<name>_quantile` with a dimension of its
        own. A member depends on seed, number and place alone, not on blocks or on how many there are.
    quantiles, keep_members, seed
        Which quantiles; whether to write `<name>_member` too; and which members to draw.
    block_cells
        Side of a block in cells of the map; memory depends on this and the number of members alone.
        Default: 512 in two dimensions, 64 in three; in two on a GPU as its memory allows, up to 2048.
    halo_cells
        Width of the margin computed around a block and dropped. By default as far as the network sees, or,
        where that is not known or very far, twice what is measured at probes and remembered in the run.
    readers
        Threads that read ahead, a block each. Default: 2; for a GPU as many as there are cores, up to 12.
    attributes
        Of the file, as text.
    fingerprint
        Stands for whatever decides beside predictor and case: unfinished work of another one is dropped.
    progress
        Show a progress bar with times.
    seconds
        Takes up the time of computing each block, reading and writing apart.
    tell
        Print the line at the end.

    Raises
    ------
    InputError
        Where the file cannot hold what is asked for, the window leaves the case, the predictor gives another
        shape, or the disk is full.

    Examples
    --------
    >>> import tempfile, torch
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> from fieldwise.verbs.predictors import Predictor
    >>> (case,) = make_prepared({"thk": np.tile(np.arange(12.0), (1, 8, 1))}).cases()
    >>> network = torch.nn.AvgPool2d(3, stride=1, padding=1)  # for want of a trained one
    >>> thickness = Variable("thk", units="m")
    >>> predictor = Predictor(network, Signature("own", (thickness,), (thickness,), stacked=True))
    >>> out = Path(tempfile.mkdtemp()) / "smooth.tif"
    >>> path = predict_to(out, predictor, case, block_cells=5, progress=False)
    /...smooth.tif: 1 frame of 8 x 12 cells in ... s
    >>> with rasterio.open(path) as result:
    ...     result.read(1)[4, 1:-1].tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    """
    started = time.perf_counter()
    out = Path(out)
    require_at_least(1, block_cells=block_cells, readers=readers)
    require_at_least(0, halo_cells=halo_cells)
    chosen = choose_frames(case, frames)
    check_suffix(out, len(chosen), boxes=case.bounds is None)
    warn_style(predictor, case)
    ensemble: Predictor | Ensemble = predictor
    if predictor.stochastic or members > 1 or keep_members:
        given: Any = {"seed": seed, "quantiles": quantiles, "keep_members": keep_members}
        ensemble = Ensemble(predictor, members, **given)
        attributes = {"seed": str(seed), "members": str(max(members, 1))} | dict(attributes or {})
        fingerprint = f"{fingerprint} seed {seed}"
    layout = lay_out_case(case, window, predictor.alignment_cells(case))
    if block_cells is None:
        widest = MARGIN * LONGEST_CELLS[len(case.shape)] if halo_cells is None else halo_cells
        block_cells = choose_block(predictor, case, layout, frame=chosen[0], halo_cells=widest)
    block_cells = round_up(block_cells, layout.alignment)
    fingerprint = f"{predictor.fingerprint} {identify_case(case)} {fingerprint}"
    if halo_cells is None:
        known: Any = {"fingerprint": fingerprint, "frame": chosen[0], "progress": progress}
        with measure("halo"):
            halo_cells = choose_halo(predictor, case, layout, block_cells=block_cells, **known)
    names = tuple(output.label for output in ensemble.outputs)
    halo_cells = round_up(halo_cells, layout.alignment)
    on_gpu = predictor.device.type == "cuda"
    alike = on_gpu and layout.domain is not None
    plan = Plan(layout, chosen, names, block_cells, halo_cells, fingerprint, alike)
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        check_room(out, plan, members=members)
        partial = open_partial(out, plan, describe_file(ensemble, case, plan, attributes or {}))
        readers = readers or (min(os.cpu_count() or 2, MOST_READERS) if on_gpu else 2)
        try:
            _compute(partial, ensemble, case, readers, progress, seconds if seconds is not None else [])
        except InputError:
            partial.drop_unbegun()
            raise
        _finish(partial, out)
    many = f"{len(chosen)} frame{'s' * (len(chosen) != 1)}"
    if tell:
        print(f"{out}: {many} of {times(layout.target.shape)} cells in {time.perf_counter() - started:.1f} s")
    return out


def identify_case(case: Case) -> str:
    """Give a text that changes with what a case's folder says of it.

    >>> from fieldwise.samples.examples import make_prepared
    >>> made = [make_prepared({"thk": depth}, shape=(4, 4)).cases()[0] for depth in (80.0, 80.0, 70.0)]
    >>> identify_case(made[0]) == identify_case(made[1]), identify_case(made[0]) == identify_case(made[2])
    (True, False)
    """
    from fieldwise.runs import hash_file

    said = hashlib.sha256(json.dumps(case.describe()).encode()).hexdigest()
    description = case.folder / DESCRIPTION
    return f"{case} {said}" + (f" {hash_file(description)}" if description.exists() else "")


def check_out(out: Path, cases: Sequence[Case], suffixes: Collection[str], kinds: str) -> None:
    """Refuse a file that cannot hold what is asked for, before anything is computed; a folder holds all.

    Parameters
    ----------
    suffixes
        Of files.
    kinds
        The same for the message: what is written as which.

    >>> check_out(Path("flow.png"), [], (".nc",), "velocities are written as .nc")
    Traceback (most recent call last):
    fieldwise.errors.InputError: flow.png: velocities are written as .nc, or into a folder as CASE.nc
    """
    if out.suffix and out.suffix not in suffixes:
        raise InputError(f"{out}: {kinds}, or into a folder as CASE.nc")
    if out.suffix in suffixes and len(cases) > 1:
        names = ", ".join(case.name for case in cases[:MOST_NAMES])
        names += f" and {len(cases) - MOST_NAMES} more" if len(cases) > MOST_NAMES else ""
        raise InputError(f"{out}: one file takes one case; choose --case among {names}, or give a folder")


def choose_frames(case: Case, frames: int | Sequence[int] | None) -> tuple[int, ...]:
    """Give the numbers of the frames that are meant; one that the case does not have is an error.

    >>> from types import SimpleNamespace
    >>> choose_frames(SimpleNamespace(frames=3), None)
    (0, 1, 2)
    """
    if frames is None:
        return tuple(range(case.frames))
    chosen = (frames,) if isinstance(frames, int) else tuple(frames)
    for frame in chosen:
        if not 0 <= frame < case.frames:
            raise InputError(f"--frame: is {frame}, but case {case} has {case.frames}, from 0")
    if not chosen:
        raise InputError(f"case {case}: no frame is chosen; name one of {case.frames}, from 0")
    return chosen


def describe_file(
    predictor: Predictor | Ensemble, case: Case, plan: Plan, attributes: Mapping[str, str]
) -> MapFile:
    """Say what the file of a plan holds.

    >>> import torch
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> (case,) = make_prepared({"thk": 80.0}, shape=(4, 4)).cases()
    >>> from fieldwise.verbs.predictors import Predictor
    >>> predictor = Predictor(torch.nn.Identity(), Signature("own", (), (Variable("bed", units="m"),)))
    >>> plan = Plan(lay_out_case(case, None, 1), (0,), ("bed",), 4, 0, "")
    >>> file = describe_file(predictor, case, plan, {"long_name": "bed elevation"})
    >>> file.sizes("bed"), file.outputs[0].units, file.attributes["long_name"]
    ({'y': 4, 'x': 4}, 'm', 'bed elevation')
    """
    target, spacing = plan.layout.target, plan.layout.spacing
    timed = case.times is not None or case.frames > 1
    when = Times(case.frame_times[list(plan.frames)], case.time) if timed else None
    grid: Grid | Lattice
    if plan.layout.domain is not None:
        grid = Grid(*plan.layout.bounds(target), spacing, case.crs or "")
    elif "globe" in case.facts and target.shape == case.shape:
        grid = Globe.of(case.facts["globe"])
    else:
        grid = Lattice(target.shape, spacing, case.spacing_units, target.starts)
    facts = {"halo_cells": str(plan.halo_cells), "predictor": predictor.fingerprint} | dict(attributes)
    return MapFile(tuple(predictor.outputs), grid, when, facts)


def _compute(
    partial: Partial,
    predictor: Predictor | Ensemble,
    case: Case,
    readers: int,
    progress: bool,
    seconds: list[float],
) -> None:
    """Compute the missing pieces while the next are read and the last are saved."""
    from fieldwise.tasks.devices import few_threads  # loads torch
    from fieldwise.tasks.precision import exact_convolutions

    network = getattr(getattr(predictor, "predictor", predictor), "network", None)
    plan, missing = partial.plan, partial.missing()
    total = sum(unit.last - unit.first for unit in plan.units())
    tasks = [(unit, frame) for unit in missing for frame in range(unit.first, unit.last)]
    bar = tqdm(total=total, initial=total - len(tasks), desc="predicting", unit="block", disable=not progress)

    def read(task: Task) -> Arrays:
        unit, frame = task
        # A box is opened anew for each block: what is mapped of its files would pile up in memory.
        opened = case if plan.layout.domain else replace(case)
        with measure("reading"):
            arrays = predictor.read(opened, plan.layout.locate(plan.window(unit)), plan.frames[frame])
            return predictor.stage(arrays)

    def save(unit: Unit, values: np.ndarray) -> None:
        with measure("writing"):
            partial.save(unit, values)

    reading, saving, done = _read_ahead(read, tasks, readers), deque[Future](), list[np.ndarray]()
    alone = dask.config.set(scheduler="synchronous")  # a thread that reads needs no threads of its own
    behind, exact = ThreadPoolExecutor(1, "write-behind"), exact_convolutions()
    with bar, alone, exact, few_threads(network), behind as writer, closing(reading):
        for (unit, frame), arrays in reading:
            started = time.perf_counter()
            values = np.asarray(predictor(arrays))
            seconds.append(time.perf_counter() - started)
            done.append(_core_of(values, plan, unit))
            if frame == unit.last - 1:
                saving.append(writer.submit(save, unit, np.stack(done)))
                done = []
            if len(saving) > WRITE_BEHIND:
                saving.popleft().result()
            bar.update()
        for each in saving:
            each.result()


def _core_of(values: np.ndarray, plan: Plan, unit: Unit) -> np.ndarray:
    """Cut the margin off what was computed, (channel, *cells)."""
    if values.ndim != 1 + len(unit.core.starts) or len(values) != len(plan.outputs):
        raise InputError(
            f"the predictor gave values of the shape {values.shape}; it must give (channel, *cells) of "
            f"{', '.join(plan.outputs)}"
        )
    return unit.core.cut(values, plan.window(unit))


def _read_ahead(
    read: Callable[[Task], Arrays], tasks: Iterable[Task], readers: int
) -> Generator[tuple[Task, Arrays], None, None]:
    """Yield what is read for each task, in their order, while threads read the next ones."""
    pool = ThreadPoolExecutor(readers, "read-ahead")
    waiting: deque[tuple[Task, Future[Arrays]]] = deque()
    try:
        for task in tasks:
            waiting.append((task, pool.submit(read, task)))
            if len(waiting) > readers:
                first, reading = waiting.popleft()
                yield first, reading.result()
        while waiting:
            first, reading = waiting.popleft()
            yield first, reading.result()
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C no further block is read


def _finish(partial: Partial, out: Path) -> None:
    """Make the file in the folder of unfinished work, so that what a kill leaves goes with that folder."""
    whole = partial.folder / out.name
    try:
        partial.finish(whole)
    except InputError as error:
        raise InputError(f"{error}; finished blocks are kept in {whole.parent}") from error
    if out.is_dir():  # a Zarr of before
        shutil.rmtree(out)
    os.replace(whole, out)
    shutil.rmtree(partial.folder)
