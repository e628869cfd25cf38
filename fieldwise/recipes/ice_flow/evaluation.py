"""Predicted velocities judged on glaciers that training has not seen: the verb evaluate."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from tqdm import tqdm

from fieldwise.errors import InputError, require_at_least
from fieldwise.recipes.ice_flow.prepared import PreparedCase, choose_cases


def evaluate(
    *,
    run: Path = Path("model/ice_flow"),
    data: Path = Path("data/ice_flow"),
    prediction: Path = Path("model/ice_flow/prediction"),
    split: Literal["train", "valid", "test"] = "test",
    energy_frames: int = 1,
    figures: bool = True,
    figure_frames: int = 10,
    accelerator: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Judge predicted velocities against the truth, cell by cell over the ice, and the emulator itself.

    Args:
        run: Run folder of the emulator; scores.json, scores.csv and figures go
            there.
        data: Prepared folder, with the true velocities.
        prediction: What predict wrote: a folder with CASE.nc, or the FILE.nc of one case.
        split: Which cases.
        energy_frames: Frames of each case whose energy is compared with the solver's, those with the most ice
            first; 0 for none.
        figures: Whether to draw the figures too.
        figure_frames: Frames of each case to draw: true, predicted, difference.
        accelerator: cpu, gpu or auto.
        progress: Whether to show how far it is.

    Returns:
        What stands in scores.json: the scores as rows, and further facts.
    """
    from fieldwise.recipes.ice_flow.emulator import load_emulator
    from fieldwise.scores import pick, verdict
    from fieldwise.verbs.evaluate import judge

    require_at_least(0, energy_frames=energy_frames, figure_frames=figure_frames)
    run, prediction = Path(run), Path(prediction)
    emulator = load_emulator(run, accelerator=accelerator)
    names = list(emulator.fields.outputs)
    cases = _find_predicted(choose_cases(data, split), prediction, names)

    def draw() -> list[Path]:
        from fieldwise.recipes.ice_flow.figures import save_figures

        return save_figures(run, cases, names, frames=figure_frames)

    rows, facts = _score_cases(emulator, cases, split, energy_frames=energy_frames, progress=progress)
    learnt_from = emulator.description.get("learnt_from", [])
    seen = facts["seen_in_training"] = [str(case) for case, _ in cases if str(case) in learnt_from]
    places = [row["at"] for row in pick(rows, against=split, measure="relative_l1")]
    return judge(
        rows,
        run=run,
        facts=facts,
        shown=pick(rows, against=split),
        verdicts=[
            *(verdict(rows, against=split, measure="relative_l1", at=place) for place in places[-1:]),
            f"learnt from {', '.join(seen)}: these scores tell nothing of new glaciers" if seen else "",
        ],
        figures=draw if figures else None,
    )


def _find_predicted(
    cases: list[PreparedCase], prediction: Path, names: list[str]
) -> list[tuple[PreparedCase, xr.Dataset]]:
    """Open what was predicted for each case."""
    if not prediction.exists():
        raise InputError(f"{prediction}: no such file; write it with `fieldwise ice_flow predict`")
    found = []
    for case in cases:
        path = prediction / f"{case.name}.nc" if prediction.is_dir() else prediction
        if not path.exists() or (path == prediction and len(cases) > 1):
            raise InputError(f"{prediction}: holds no {case.name}.nc; predict all cases of {case.split}")
        case.check_has(names, why="judging")
        found.append((case, _open_predicted(path, case, names)))
    return found


def _open_predicted(path: Path, case: PreparedCase, names: list[str]) -> xr.Dataset:
    try:
        opened = xr.open_dataset(path, engine="h5netcdf", decode_times=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as NetCDF ({str(error).splitlines()[0]})") from None
    missing = [name for name in names if name not in opened]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; predict again with this emulator")
    shape = (case.frames, *case.shape)
    if opened[names[0]].shape != shape:
        raise InputError(f"{path}: holds {opened[names[0]].shape} values, case {case} {shape}; predict again")
    return opened


def _score_cases(
    emulator: Any,
    cases: list[tuple[PreparedCase, xr.Dataset]],
    split: str,
    *,
    energy_frames: int,
    progress: bool,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score the ice of all cases together, and of each, and the emulator on the frame with the most ice."""
    from fieldwise.recipes.ice_flow.judgement import (
        NAME,
        VelocitySums,
        measure_energy_gap,
        measure_symmetry,
    )
    from fieldwise.scores import make_score

    names = list(emulator.fields.outputs)
    pooled, of_cases = VelocitySums(names), []
    symmetry, leakage, energies, seconds, cells = [], [0.0], [], [], 0
    for case, predicted in tqdm(cases, desc="judging", unit="case", disable=not progress):
        own = VelocitySums(names)
        extents = []
        for frame in range(case.frames):
            values, true, ice = _read_frame(predicted, names, frame), case.read(names, frame), case.ice(frame)
            for sums in (own, pooled):
                sums.add(values[:, ice], true[:, ice])
            leakage += [float(np.abs(values[:, ~ice]).max())] if not ice.all() else []
            extents.append(int(ice.sum()))
        of_cases += own.rows(str(case))
        cells += sum(extents)
        largest = sorted(range(case.frames), key=lambda frame: -extents[frame])  # the first may have no ice
        symmetry.append(measure_symmetry(emulator, case, largest[0]))
        seconds.append(_time_frame(emulator, case, largest[0]))
        for frame in largest[:energy_frames]:
            if extents[frame] and _has_energy(case, names):
                velocity = dict(zip(names, _read_frame(predicted, names, frame), strict=True))
                energies.append(measure_energy_gap(velocity, case, frame))
    mean = _mean_of(energies)
    rows = [
        *pooled.rows(split),
        make_score(split, "symmetry_error", "1", NAME, max(symmetry)),
        make_score(split, "leakage", "m/a", NAME, max(leakage)),
        *([make_score(split, "energy_gap", "1", NAME, mean["gap"])] if mean else []),
        *of_cases,
    ]
    facts = {"cells": cells, "frames": sum(case.frames for case, _ in cases)}
    return rows, facts | {"seconds_a_frame": float(np.mean(seconds)), **_keep(mean, "solver_s")}


def _keep(table: Mapping[str, float], key: str) -> dict[str, float]:
    return {key: table[key]} if key in table else {}


def _read_frame(predicted: xr.Dataset, names: list[str], frame: int) -> np.ndarray:
    """Read one frame of a prediction: (variable, y, x)."""
    return np.stack([predicted[name][frame].values for name in names])


def _has_energy(case: PreparedCase, names: list[str]) -> bool:
    """Tell whether a case has a surface, and the emulator gives flow at two depths."""
    places = {name[1:] for name in names if name[0] == "u"} & {"bar", "velbase", "velsurf"}
    return {"thk", "usurf"} <= set(case.variables) and len(places) > 1


def _mean_of(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([table[key] for table in tables])) for key in (tables[0] if tables else ())}


def _time_frame(emulator: Any, case: PreparedCase, frame: int) -> float:
    from fieldwise.recipes.ice_flow.emulator import read_inputs

    inputs = read_inputs(emulator, case, frame)
    emulator.apply(*inputs)  # the first call finds caches cold
    started = time.perf_counter()
    emulator.apply(*inputs)
    return time.perf_counter() - started
