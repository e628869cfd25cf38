"""Figures of the ice-flow recipe: true, predicted and difference, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from fieldwise.fields.grids import make_field
from fieldwise.figures import draw_comparison, draw_loss_curves, save_figure
from fieldwise.recipes.ice_flow.samples import find_ice
from fieldwise.runs import read_metrics
from fieldwise.samples.cases import Case
from fieldwise.samples.signatures import Signature

SPEEDS = {"bar": "mean speed", "velbase": "speed at the bed", "velsurf": "surface speed"}


def save_figures(
    run: Path, cases: list[tuple[Case, xr.Dataset]], signature: Signature, *, frames: int = 10
) -> list[Path]:
    """Draw the learning curve and, for up to so many frames a case, speed as it is and as it is predicted.

    Returns
    -------
    list of Path
        Pictures in the folder `figures` of the run.
    """
    folder = run / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    if list(run.glob("logs/part_*/metrics.csv")):
        paths.append(save_figure(draw_loss_curves(read_metrics(run)), folder / "loss_curves")[1])
    for case, predicted in cases:
        for frame in _choose_frames(case, frames):
            figure = draw_comparison(*_compare_speed(case, predicted, signature, frame))
            paths.append(save_figure(figure, folder / f"{case.name}_{frame:03d}")[1])
    return paths


def _choose_frames(case: Case, count: int) -> list[int]:
    """Spread so many frames over a case, from the first to the last."""
    chosen = np.linspace(0, case.frames - 1, min(count, case.frames)).round()
    return sorted({int(number) for number in chosen})


def _compare_speed(
    case: Case, predicted: xr.Dataset, signature: Signature, frame: int
) -> tuple[xr.DataArray, xr.DataArray]:
    """Give true and predicted speed of one frame as fields, missing off the ice.

    The speed is that of the last vector that is predicted; without one, the first variable is given itself.
    """
    vectors = [each for each in signature.outputs if each.vector]
    shown = vectors[-1] if vectors else signature.outputs[0]
    true = case.stack(shown.fields, frame=frame)
    found = np.stack([predicted[name].values[frame] for name in shown.fields])
    label = SPEEDS.get(shown.name, "speed") if vectors else shown.name
    ice = find_ice(case, frame, thicker_than_m=0)
    fields = []
    for values in (true, found):
        size = np.sqrt(np.square(values).sum(axis=0)) if vectors else values[0]
        size = np.where(ice, size, np.nan).astype(np.float32)
        fields.append(make_field(size, case.grid, name=shown.name, units=shown.units, long_name=label))
    return fields[0], fields[1]
