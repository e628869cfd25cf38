"""The sandbox as stretches of hours: each split a world of its own, and what the best forecast comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fieldwise.errors import InputError
from fieldwise.recipes.temperature_forecast.cases import CONTEXT_H, HORIZON_H, Stretch
from fieldwise.samples.prepared import SPLITS, Draft
from fieldwise.samples.weather.records import EPOCH, HOUR
from fieldwise.sandbox.temperature_forecast import UNITS, MadeWeather, MovingBlobs, make_weather

YEAR, MONTH = 2001, 6  # when the first split begins; the others follow a year apart


def make_sandbox(
    world: str,
    *,
    seed: int,
    days: float,
    cells: int,
    wind: Any,
    margin_cells: int,
    shares: Sequence[float],
) -> tuple[list[Stretch], dict[str, Any]]:
    """Make a stretch for each split, each drawn by itself in a year of its own, and the facts of all.

    Facts are ``best_possible``, by field, measure and lead (1 to 24 hours), averaged over all stretches that
    there could be, and ``world``.

    >>> options = {"seed": 7, "days": 9.0, "cells": 8, "wind": "steady", "margin_cells": 0}
    >>> stretches, facts = make_sandbox("weather", shares=(0.6, 0.2, 0.2), **options)
    >>> [(stretch.name, stretch.split, len(stretch.hours)) for stretch in stretches]
    [('made_2001', 'training', 130), ('made_2002', 'validation', 43), ('made_2003', 'test', 43)]
    >>> len(facts["best_possible"]["t2m"]["mse"])
    24
    """
    if world == "blobs" and (wind != "steady" or margin_cells):
        raise InputError("--world: blobs know no --wind and no --margin_cells; leave these out")
    stretches = []
    for number, (split, share) in enumerate(zip(SPLITS, shares, strict=True)):
        hours = round(24 * days * share)
        if hours < CONTEXT_H + HORIZON_H:
            raise InputError(
                f"--days: {days:g} leave {hours} hours of {split}; give more, for "
                f"{CONTEXT_H + HORIZON_H} hours at least"
            )
        drawn: Any = {"hours": hours, "seed": (seed, number), "cells": cells}
        made = (
            MovingBlobs(**drawn)
            if world == "blobs"
            else make_weather(**drawn, wind=wind, margin_cells=margin_cells)
        )
        start = (np.datetime64(f"{YEAR + number}-{MONTH:02d}-01T00", "h") - EPOCH) / HOUR
        axes: Any = {"latitude": made.latitude, "longitude": made.longitude}
        periodic = world == "weather" and not margin_cells
        name = f"made_{YEAR + number}"
        stretches.append(
            Stretch(name, split, start + np.arange(hours), made, **axes, units=UNITS, periodic=periodic)
        )
    return stretches, {"best_possible": made.best_possible(), "world": {"kind": world, "wind": wind}}


def write_exact(stretch: Stretch, draft: Draft) -> None:
    """Write how well the exact forecast does on a stretch for test, where the whole of its world is seen.

    ``exact_mse_t2m.npy`` beside the fields of the case, (start, lead of 1 to 24 hours) in K2, is named in the
    description as ``best_possible: {t2m: {files: {CASE: FILE}}}``: no forecast does better but by luck, start
    by start.
    """
    made = stretch.frames
    if stretch.split != "test" or not isinstance(made, MadeWeather) or made.margin_cells:
        return
    file = f"{stretch.split}/{stretch.name}/exact_mse_t2m.npy"
    np.save(draft.folder / file, made.errors_of_exact().astype(np.float32))
    draft.facts["best_possible"]["t2m"].setdefault("files", {})[stretch.name] = file
