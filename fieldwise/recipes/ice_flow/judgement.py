"""Predicted velocities beside the true ones: scores, energies and figures of cases."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from fieldwise.fields.grids import make_field
from fieldwise.recipes.ice_flow.networks import Emulator
from fieldwise.recipes.ice_flow.physics import measure_energy_gap
from fieldwise.recipes.ice_flow.samples import find_ice
from fieldwise.recipes.ice_flow.signatures import DEPTHS
from fieldwise.samples.cases import Case
from fieldwise.samples.signatures import Signature
from fieldwise.scores import OutputSums, make_score
from fieldwise.scores.outputs import NAME
from fieldwise.verbs.evaluate import measure_symmetry

Pair = tuple[Case, xr.Dataset]  # a case, and what was predicted for it
STILL_M_A = 1.0  # slower ice than this has no direction worth comparing
SPEEDS = {"bar": "mean speed", "velbase": "speed at the bed", "velsurf": "surface speed"}


def score_cases(
    emulator: Emulator, cases: list[Pair], split: str, *, energy_frames: int, progress: bool
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score the ice of all cases together, and of each, and the emulator on the frame with the most ice."""

    def apply(arrays: dict[str, np.ndarray]) -> np.ndarray:
        return emulator.apply(arrays["inputs"], arrays["ice"][0])

    names = emulator.signature.fields("outputs")
    pooled, of_cases = OutputSums(emulator.signature, still=STILL_M_A, unit="m/a"), []
    symmetry, leakage, energies, seconds, cells = [], [0.0], [], [], 0
    for case, predicted in tqdm(cases, desc="judging", unit="case", disable=not progress):
        own, extents = OutputSums(emulator.signature, still=STILL_M_A, unit="m/a"), []
        for values, true, ice in _read_frames(case, predicted, names):
            for sums in (own, pooled):
                sums.add(values[:, ice], true[:, ice])
            leakage += [float(np.abs(values[:, ~ice]).max())] if not ice.all() else []
            extents.append(int(ice.sum()))
        of_cases += own.rows(str(case))
        cells += sum(extents)
        largest = sorted(range(case.frames), key=lambda frame: -extents[frame])  # the first may have no ice
        inputs, ice = emulator.read_frame(case, largest[0])
        turning = {"inputs": inputs, "ice": ice[None]}
        symmetry.append(measure_symmetry(apply, turning, vectors=emulator.signature.vectors()))
        emulator.apply(inputs, ice)  # the first call finds caches cold
        started = time.perf_counter()
        emulator.apply(inputs, ice)
        seconds.append(time.perf_counter() - started)
        iced = [frame for frame in largest[:energy_frames] if extents[frame]]
        energies += _compare_energy(case, predicted, names, iced)
    mean = {key: float(np.mean([each[key] for each in energies])) for key in (energies or [{}])[0]}
    rows = [
        *pooled.rows(split),
        make_score(split, "symmetry_error", "1", NAME, max(symmetry)),
        make_score(split, "leakage", "m/a", NAME, max(leakage)),
        *([make_score(split, "energy_gap", "1", NAME, mean["gap"])] if mean else []),
        *of_cases,
    ]
    facts: dict[str, Any] = {"cells": cells, "frames": sum(case.frames for case, _ in cases)}
    facts |= {"seconds_a_frame": float(np.mean(seconds))}
    return rows, facts | {key: value for key, value in mean.items() if key == "solver_s"}


def _read_frames(
    case: Case, predicted: xr.Dataset, names: list[str]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Give for one frame after the other what is predicted and true, (variable, y, x), and the ice."""
    for frame in range(case.frames):
        ice = find_ice(case, frame, thicker_than_m=0)
        yield _read_frame(predicted, names, frame), case.stack(names, frame=frame), ice


def _read_frame(predicted: xr.Dataset, names: list[str], frame: int) -> np.ndarray:
    fields = [predicted[name] for name in names]
    return np.stack([(each[frame] if each.ndim > 2 else each).values for each in fields])


def _compare_energy(
    case: Case, predicted: xr.Dataset, names: list[str], frames: list[int]
) -> list[Mapping[str, float]]:
    """Compare energies where the case has a surface, and the emulator gives flow at two depths."""
    known = [place for place in DEPTHS if {f"u{place}", f"v{place}"} <= {*names}]
    if len(known) < 2 or not {"thk", "usurf"} <= case.files.keys():
        return []
    velocities = (dict(zip(names, _read_frame(predicted, names, frame), strict=True)) for frame in frames)
    return [measure_energy_gap(each, case, frame) for each, frame in zip(velocities, frames, strict=True)]


def draw_cases(run: Path, cases: list[Pair], signature: Signature, *, frames: int) -> Iterator[Path]:
    """Draw speed as it is and as it is predicted, for up to so many frames a case, from first to last."""
    from fieldwise.figures import draw_comparison, save_figure

    (run / "figures").mkdir(parents=True, exist_ok=True)
    vectors = [each for each in signature.outputs if each.vector]
    shown = (vectors or signature.outputs)[-1 if vectors else 0]
    label = SPEEDS.get(shown.name, "speed") if vectors else shown.name
    for case, predicted in cases:
        chosen = np.linspace(0, case.frames - 1, min(frames, case.frames)).round().astype(int)
        for frame, (found, true, ice) in enumerate(_read_frames(case, predicted, list(shown.fields))):
            if frame not in chosen:
                continue
            fields = []
            for values in (true, found):
                size = np.where(ice, np.sqrt(np.square(values).sum(axis=0)) if vectors else values[0], np.nan)
                size = size.astype(np.float32)
                fields.append(
                    make_field(size, case.grid, name=shown.name, units=shown.units, long_name=label)
                )
            path = run / "figures" / f"{case.name}_{frame:03d}"
            yield save_figure(draw_comparison(*fields), path)[1]
