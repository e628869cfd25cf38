"""Predicted velocities beside the true ones: scores, energies and figures of cases."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from fieldwise.recipes.ice_flow.networks import Emulator
from fieldwise.recipes.ice_flow.physics import measure_energy_gap
from fieldwise.recipes.ice_flow.samples import find_ice
from fieldwise.recipes.ice_flow.signatures import DEPTHS
from fieldwise.samples.cases import Case
from fieldwise.scores import OutputSums, make_score
from fieldwise.scores.outputs import NAME
from fieldwise.verbs.evaluate import compare_frames, measure_symmetry, read_predicted

Pair = tuple[Case, xr.Dataset]  # a case, and what was predicted for it
STILL_M_A = 1.0  # slower ice than this has no direction worth comparing
SPEEDS = {"bar": "mean speed", "velbase": "speed at the bed", "velsurf": "surface speed"}
find_shown_ice = partial(find_ice, thicker_than_m=0)  # ice too thin to move is judged as well


def score_cases(
    emulator: Emulator, cases: list[Pair], split: str, *, energy_frames: int, progress: bool
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score the ice of all cases together, and of each, and the emulator on the frame with the most ice.

    >>> from fieldwise.recipes.ice_flow.signatures import make_signature
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.scores import value_of
    >>> (case,) = make_prepared({"thk": np.full((1, 4, 4), 90.0), "smb": np.ones((1, 4, 4))}).cases()
    >>> emulator = Emulator(__import__("torch").nn.Identity(), make_signature({"thk": 1.0}, {"smb": 1.0}))
    >>> drawn = xr.Dataset({"smb": (("time", "y", "x"), np.full((1, 4, 4), 3.0))})
    >>> rows, facts = score_cases(emulator, [(case, drawn)], "test", energy_frames=0, progress=False)
    >>> value_of(rows, against="test", measure="mae"), facts["cells"]
    (2.0, 16)
    """
    names = emulator.signature.fields("outputs")
    pooled, of_cases = OutputSums(emulator.signature, still=STILL_M_A, unit="m/a"), []
    symmetry, leakage, energies, seconds, cells = [], [0.0], [], [], 0
    for case, predicted in tqdm(cases, desc="judging", unit="case", disable=not progress):
        own, extents = OutputSums(emulator.signature, still=STILL_M_A, unit="m/a"), []
        for values, true, ice in compare_frames(case, predicted, names, where=find_shown_ice):
            for sums in (own, pooled):
                sums.add(values[:, ice], true[:, ice])
            leakage += [float(np.abs(values[:, ~ice]).max())] if not ice.all() else []
            extents.append(int(ice.sum()))
        of_cases += own.rows(str(case))
        cells += sum(extents)
        largest = sorted(range(case.frames), key=lambda frame: -extents[frame])  # the first may have no ice
        inputs, ice = emulator.read_frame(case, largest[0])
        symmetry.append(measure_symmetry_error(emulator, inputs, ice))
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


def measure_symmetry_error(emulator: Emulator, inputs: np.ndarray, ice: np.ndarray) -> float:
    """Give by how much turning a frame changes the speed, of the last velocity that an emulator gives.

    >>> from fieldwise.recipes.ice_flow.signatures import read_signature
    >>> emulator = Emulator(__import__("torch").nn.Conv2d(3, 2, 1), read_signature("f2"))  # knows no north
    >>> measure_symmetry_error(emulator, np.ones((3, 4, 4), np.float32), np.ones((4, 4), bool)) > 0
    True
    """
    return measure_symmetry(
        lambda arrays: emulator.apply(arrays["inputs"], arrays["ice"][0]),
        {"inputs": inputs, "ice": ice[None]},
        vectors=emulator.signature.vectors(),
    )


def _compare_energy(
    case: Case, predicted: xr.Dataset, names: list[str], frames: list[int]
) -> list[Mapping[str, float]]:
    """Compare energies where the case has a surface, and the emulator gives flow at two depths."""
    known = [place for place in DEPTHS if {f"u{place}", f"v{place}"} <= {*names}]
    if len(known) < 2 or not {"thk", "usurf"} <= case.files.keys():
        return []
    velocities = (dict(zip(names, read_predicted(predicted, names, frame), strict=True)) for frame in frames)
    return [measure_energy_gap(each, case, frame) for each, frame in zip(velocities, frames, strict=True)]
