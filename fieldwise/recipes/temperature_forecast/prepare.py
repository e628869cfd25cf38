"""Hourly weather to a folder to learn from: the verb prepare."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from fieldwise.errors import InputError, require_at_least

KEPT = ("best_possible", "world", "dataset", "notes")  # in dataset.yaml too; the rest is in metadata.json


def prepare(
    *,
    source: str = "sandbox",
    out: Path = Path("data/temperature_forecast"),
    seed: int = 7,
    world: Literal["weather", "blobs"] = "weather",
    days: float = 90.0,
    cells: int = 48,
    wind: Literal["steady", "two_valued"] = "steady",
    margin_cells: int = 0,
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    split: Path | None = None,
    folds: int = 5,
    fold: int | None = None,
    buffer_hours: int = 24,
    gaps: Literal["refuse", "split"] = "refuse",
    workers: int | None = None,
    extracted: Path | None = None,
    tree: bool = False,
    progress: bool = True,
) -> Path:
    """Bring hourly weather into one order, and part it by periods that keep a whole sequence apart.

    Args:
        source: `sandbox` for made weather whose best possible forecast is known, or a FILE.yaml that names
            your own files: hourly GRIB, NetCDF or Zarr, by years and months or as WeatherBench has them.
        out: Folder to write. What is extracted from your files stays in its ExtractedData, so that a prepare
            that was cut off goes on, and one with another split is quick.
        seed: Seed of the sandbox.
        world: Of the sandbox: weather that the wind carries along, or warm blobs that move straight on.
        days: Of the sandbox, all splits together; each split is drawn by itself.
        cells: Rows and columns of the sandbox.
        wind: Of the sandbox's weather: one wind, or one of two drawn every twelve hours, so that no one can
            know where air will go.
        margin_cells: Of the sandbox's weather: how much larger than what is seen the world is at each side.
        shares: Of the hours for training, validation and test.
        split: A JSON file that says which months, or days, are for train, val and test, instead of shares.
        folds: How many periods of one length there are for cross-validation.
        fold: Which of them is the test, from 0; the next one is validation. By default shares are taken.
        buffer_hours: Kept apart between splits: a whole sequence, so that none is in two.
        gaps: Whether hours that are missing within a period are refused, or part it.
        workers: Months that are extracted at a time; by default one a core.
        extracted: Folder whose ExtractedData is taken, and added to, instead of that of `out`: that of all
            folds, for example.
        tree: Whether `out` is the root of a tree as AMBS has it: the folder, named after years, months, size,
            corner and variables, then lies in its PreprocessedData.
        progress: Whether to show how far it is.

    Returns:
        The folder, which now holds a dataset.yaml, and a metadata.json, of your own files as AMBS has it.
    """
    require_at_least(0, seed=seed, buffer_hours=buffer_hours)
    require_at_least(1, workers=workers)
    from tqdm import tqdm

    from fieldwise.recipes.temperature_forecast.cases import RECIPE, write_case
    from fieldwise.recipes.temperature_forecast.preparation.sources import describe, open_months, part_hours
    from fieldwise.recipes.temperature_forecast.preparation.worlds import make_sandbox, write_exact
    from fieldwise.samples.prepared import SPLITS
    from fieldwise.samples.weather.records import check_shares
    from fieldwise.verbs.prepare import check_apart, prepare_folder

    check_shares(shares)
    out = Path(out)
    files: tuple[Path, ...] = ()
    if source != "sandbox":
        told: Any = {"split": split, "workers": workers, "progress": progress}
        months, files = open_months(source, Path(extracted or out), **told)
        parting: Any = {"shares": shares, "split": split, "folds": folds, "fold": fold, "gaps": gaps}
        stretches = part_hours(months, buffer_h=buffer_hours, **parting)
        facts = describe(months, stretches)
        out = out / "PreprocessedData" / facts["dataset"] if tree else out
    elif split is None and fold is None and extracted is None and not tree:
        drawn: Any = {"seed": seed, "days": days, "cells": cells, "wind": wind, "margin_cells": margin_cells}
        stretches, facts = make_sandbox(world, shares=shares, **drawn)
    else:
        raise InputError(
            "--source: the sandbox draws each split by itself; leave out --split, --fold, --extracted, --tree"
        )
    check_apart([out / name for name in SPLITS], files)
    with prepare_folder(out, recipe=RECIPE, source=str(source), seed=seed) as draft:
        draft.facts |= {name: facts[name] for name in KEPT if name in facts}
        draft.sources = list(files)
        written = [write_case(stretch, draft, progress=progress) for stretch in stretches]
        for stretch in stretches:
            write_exact(stretch, draft)
        (draft.folder / "metadata.json").write_text(json.dumps(facts, indent=2))
        for name in SPLITS:  # what was prepared before
            shutil.rmtree(out / name, ignore_errors=True)
    if progress:
        counts = [f"{sum(case.frames for case in written if case.split == part)} {part}" for part in SPLITS]
        for line in (*facts.get("notes", ()), f"hours: {', '.join(counts)}; cells: {written[0].shape}"):
            tqdm.write(line)
    return out
