"""A trained emulator applied to whole frames: the verb predict."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fieldwise.errors import InputError, require_at_least

if TYPE_CHECKING:
    from fieldwise.samples.cases import Case

SUFFIXES = (".nc", ".tif", ".zarr")


def predict(
    *,
    run: Path = Path("model/ice_flow"),
    data: Path = Path("data/ice_flow"),
    out: Path = Path("model/ice_flow/prediction"),
    split: Literal["training", "validation", "test"] = "test",
    case: str | None = None,
    frame: int | None = None,
    symmetrise: bool = False,
    block_cells: int = 1024,
    solver_frames: int = 0,
    weights: Literal["best", "last"] = "best",
    accelerator: str = "auto",
    progress: bool = True,
) -> Path:
    """Give the velocity of the ice in whole frames, and say how long it took.

    Args:
        run: Run folder of a trained emulator, or a folder with a released one: model.h5, fieldin.dat and
            fieldout.dat.
        data: Prepared folder.
        out: What to write: FILE.nc (CF-NetCDF) or FILE.zarr of one case, FILE.tif of one frame of one case
            with a band a variable, or a folder for CASE.nc of each case. A run that is cut off goes on.
        split: Which cases.
        case: Name of one case.
        frame: Number of one frame, counted from 0.
        symmetrise: Average over the eight ways to turn the map; an equivariant network has no need of it.
        block_cells: Edge of the blocks in which a frame larger than that is computed, with a margin around
            each as wide as the network sees.
        solver_frames: Frames of each case that the solver computes too, to set its time beside.
        weights: The best by validation, or the last.
        accelerator: cpu, gpu or auto.
        progress: Whether to show how far it is.

    Returns:
        The file or folder.
    """
    require_at_least(1, block_cells=block_cells)
    require_at_least(0, solver_frames=solver_frames, frame=frame)
    from fieldwise.recipes.ice_flow.networks import load_emulator
    from fieldwise.recipes.ice_flow.signatures import RECIPE
    from fieldwise.runs import write_json
    from fieldwise.samples.prepared import Prepared
    from fieldwise.verbs.domains.unseen import warn_beyond
    from fieldwise.verbs.predict import choose_frames, predict_to

    out = Path(out)
    cases = Prepared(data, recipe=RECIPE).cases(split, name=case)
    _check_out(out, cases, frame)
    emulator = load_emulator(run, weights=weights, accelerator=accelerator, symmetrise=symmetrise)
    for each in cases:
        each.check_has(emulator.signature.fields("inputs"), why=f"the emulator {emulator.path}")
    times: dict[str, Any] = {}
    for each in cases:
        path, seconds = out if out.suffix in SUFFIXES else out / f"{each.name}.nc", list[float]()
        predict_to(
            path, emulator, each, frames=frame, block_cells=block_cells, progress=progress, seconds=seconds
        )
        frames = choose_frames(each, frame)
        warn_beyond(emulator, each, frames, domain="ice", remedy="`prepare --resample`")
        times[each.name] = _take_times(each, seconds, block_cells, frames[:solver_frames])
        print(_say_times(each, times[each.name], path))
    if out.suffix not in SUFFIXES:
        write_json(times, out / "times.json")
    return out


def _check_out(out: Path, cases: list[Case], frame: int | None) -> None:
    """Refuse a file that cannot hold what is asked for, before anything is computed."""
    from fieldwise.verbs.predict import check_out, choose_frames

    frames = [choose_frames(case, frame) for case in cases]
    check_out(out, cases, SUFFIXES, "velocities are written as .nc, .zarr or .tif")
    if out.suffix == ".tif" and len(frames[0]) > 1:
        raise InputError(f"{out}: one .tif takes one frame; choose with --frame, or write .nc")


def _take_times(
    case: Case, seconds: list[float], block_cells: int, solved: tuple[int, ...]
) -> dict[str, Any]:
    """Give the median times of a frame: the emulator's, reading apart, and the solver's."""
    import numpy as np

    from fieldwise.recipes.ice_flow.physics import solve_frame

    times: dict[str, Any] = {"shape": list(case.shape)}
    if seconds:  # what an earlier run has finished takes none
        blocks = math.prod(math.ceil(size / block_cells) for size in case.shape)
        warm = seconds[1:] or seconds  # the first one finds caches cold
        times["emulator_s"] = float(np.median(warm)) * blocks
    if solved:
        times["solver_s"] = float(np.mean([solve_frame(case, frame).seconds for frame in solved]))
    return times


def _say_times(case: Case, times: dict[str, Any], path: Path) -> str:
    size = f"a frame of {case.shape[0]} x {case.shape[1]} cells"
    parts = [f"{1000 * times['emulator_s']:.1f} ms {size}"] if "emulator_s" in times else [size]
    if "solver_s" in times:
        parts.append(f"the solver takes {times['solver_s']:.2f} s")
        if "emulator_s" in times:
            parts[-1] += f", {times['solver_s'] / times['emulator_s']:.0f} times as long"
    return f"{path}: {'; '.join(parts)}"
