"""Figures of the ice-flow recipe: true, predicted and difference, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from fieldwise.figures import draw_comparison, draw_loss_curves, save_figure
from fieldwise.recipes.ice_flow.mapping import pair_vectors
from fieldwise.recipes.ice_flow.prepared import PreparedCase
from fieldwise.runs import read_metrics

SPEEDS = {"bar": "mean speed", "velbase": "speed at the bed", "velsurf": "surface speed"}


def save_figures(
    run: Path, cases: list[tuple[PreparedCase, xr.Dataset]], names: list[str], *, frames: int = 10
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
            figure = draw_comparison(*_compare_speed(case, predicted, names, frame))
            paths.append(save_figure(figure, folder / f"{case.name}_{frame:03d}")[1])
    return paths


def _choose_frames(case: PreparedCase, count: int) -> list[int]:
    """Spread so many frames over a case, from the first to the last."""
    chosen = np.linspace(0, case.frames - 1, min(count, case.frames)).round()
    return sorted({int(number) for number in chosen})


def _compare_speed(
    case: PreparedCase, predicted: xr.Dataset, names: list[str], frame: int
) -> tuple[xr.DataArray, xr.DataArray]:
    """Give true and predicted speed of one frame as fields, missing off the ice.

    The speed is that of the last vector that is predicted; without one, the first variable is given itself.
    """
    pairs = pair_vectors(names)
    parts = pairs[-1] if pairs else (names[0],)
    true = case.read(parts, frame)
    found = np.stack([predicted[name].values[frame] for name in parts])
    label = SPEEDS.get(parts[0][1:], "speed") if pairs else parts[0]
    ice = case.ice(frame)
    fields = []
    for values in (true, found):
        size = np.sqrt(np.square(values).sum(axis=0)) if pairs else values[0]
        field = case.wrap(np.where(ice, size, np.nan).astype(np.float32), parts[0])
        field.attrs["long_name"] = label
        fields.append(field)
    return fields[0], fields[1]
