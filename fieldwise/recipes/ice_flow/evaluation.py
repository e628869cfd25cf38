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
from fieldwise.recipes.ice_flow.samples import find_ice
from fieldwise.recipes.ice_flow.signatures import RECIPE
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Prepared

MEANS = ("mae", "rmse", "relative_l1", "direction_cosine")


def evaluate(
    *,
    run: Path = Path("model/ice_flow"),
    data: Path = Path("data/ice_flow"),
    prediction: Path = Path("model/ice_flow/prediction"),
    split: Literal["training", "validation", "test"] = "test",
    energy_frames: int = 1,
    figures: bool = True,
    figure_frames: int = 10,
    accelerator: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Judge predicted velocities against the truth, cell by cell over the ice, and the emulator itself.

    Args:
        run: Run folder of the emulator; scores.json and figures go there.
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
        The scores, as they stand in scores.json.
    """
    from fieldwise.recipes.ice_flow.emulator import load_emulator
    from fieldwise.recipes.ice_flow.judgement import format_scores
    from fieldwise.runs import write_json

    require_at_least(0, energy_frames=energy_frames, figure_frames=figure_frames)
    run, prediction = Path(run), Path(prediction)
    emulator = load_emulator(run, accelerator=accelerator)
    wanted = Prepared(data, recipe=RECIPE).cases(split)
    cases = _find_predicted(wanted, prediction, emulator.signature.fields("outputs"))
    scores = _score_cases(emulator, cases, energy_frames=energy_frames, progress=progress)
    learnt_from = emulator.signature.facts.get("learnt_from", [])
    scores["seen_in_training"] = [str(case) for case, _ in cases if str(case) in learnt_from]
    write_json(scores, run / "scores.json")
    print(format_scores(scores))
    if scores["seen_in_training"]:
        print(
            f"learnt from {', '.join(scores['seen_in_training'])}: these scores tell nothing of new glaciers"
        )
    if figures:
        from fieldwise.recipes.ice_flow.figures import save_figures

        for path in save_figures(run, cases, emulator.signature, frames=figure_frames):
            print(path)
    return scores


def _find_predicted(cases: list[Case], prediction: Path, names: list[str]) -> list[tuple[Case, xr.Dataset]]:
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


def _open_predicted(path: Path, case: Case, names: list[str]) -> xr.Dataset:
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
    emulator: Any, cases: list[tuple[Case, xr.Dataset]], *, energy_frames: int, progress: bool
) -> dict[str, Any]:
    """Score the ice of all cases together, and of each."""
    from fieldwise.recipes.ice_flow.judgement import measure_symmetry, score_values
    from fieldwise.recipes.ice_flow.physics import measure_energy_gap

    signature = emulator.signature
    names = signature.fields("outputs")
    pooled: list[np.ndarray] = []
    by_case, symmetry, leakage, energies, seconds = {}, [], [0.0], [], []
    for case, predicted in tqdm(cases, desc="judging", unit="case", disable=not progress):
        values = np.stack([predicted[name].values for name in names])
        parts = []
        for frame in range(case.frames):
            true, ice = case.stack(names, frame=frame), find_ice(case, frame, thicker_than_m=0)
            parts.append(np.stack([values[:, frame][:, ice], true[:, ice]]))
            if not ice.all():
                leakage.append(float(np.abs(values[:, frame][:, ~ice]).max()))
        pooled += parts
        by_case[case.name] = score_values(np.concatenate(parts, axis=-1), signature)
        extents = [int(find_ice(case, frame, thicker_than_m=0).sum()) for frame in range(case.frames)]
        largest = sorted(
            range(case.frames), key=lambda frame: -extents[frame]
        )  # the first may be without ice
        symmetry.append(measure_symmetry(emulator, case, largest[0]))
        seconds.append(_time_frame(emulator, case, largest[0]))
        energies += [
            measure_energy_gap(dict(zip(names, values[:, frame], strict=True)), case, frame)
            for frame in largest[:energy_frames]
            if extents[frame] and _has_energy(case, names)
        ]
    scores: dict[str, Any] = score_values(np.concatenate(pooled, axis=-1), signature)
    scores |= {
        "symmetry_error": max(symmetry),
        "leakage_m_a": max(leakage),
        "energy": _mean_of(energies),
        "seconds_a_frame": float(np.mean(seconds)),
        "cells": int(sum(part.shape[-1] for part in pooled)),
        "frames": len(pooled),
        "cases": by_case,
    }
    return scores


def _has_energy(case: Case, names: list[str]) -> bool:
    """Tell whether a case has a surface, and the emulator gives flow at two depths."""
    places = {name[1:] for name in names if name[0] == "u"} & {"bar", "velbase", "velsurf"}
    return {"thk", "usurf"} <= set(case.files) and len(places) > 1


def _mean_of(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([table[key] for table in tables])) for key in (tables[0] if tables else ())}


def _time_frame(emulator: Any, case: Case, frame: int) -> float:
    from fieldwise.recipes.ice_flow.emulator import read_inputs

    inputs = read_inputs(emulator, case, frame)
    emulator.apply(*inputs)  # the first call finds caches cold
    started = time.perf_counter()
    emulator.apply(*inputs)
    return time.perf_counter() - started
