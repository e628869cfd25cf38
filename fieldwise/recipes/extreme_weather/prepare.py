"""Weather and what is labelled in it to a folder to learn from: the verb prepare."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fieldwise.errors import InputError, require_at_least

if TYPE_CHECKING:
    from fieldwise.samples.weather.records import Record

COARSEST = 16  # cells of the sandbox along one of the coarsest that a network has


def prepare(
    *,
    source: str = "sandbox",
    out: Path = Path("data/extreme_weather"),
    seed: int = 7,
    spacing_degrees: float = 2.0,
    days: float = 30.0,
    split: Literal["period", "year", "run", "deepcam_random"] = "period",
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    gap_hours: float = 240.0,
    labellers: bool = True,
    progress: bool = True,
) -> Path:
    """Bring weather into one order, label it by two rules, and part it by periods or runs.

    Args:
        source: `sandbox` for made seasons with planted storms, rivers and decoys; a folder of DeepCAM's
            samples, data-YYYY-MM-DD-SS-R.h5; or a FILE.yaml that names your own files.
        out: Folder to write.
        seed: Seed of the sandbox.
        spacing_degrees: Of the sandbox's cells, rounded so that their numbers are multiples of 16.
        days: Of the sandbox's seasons together, one for each split, with other events in each.
        split: How runs are parted: each into three periods, all by calendar years, or whole runs; or at
            random, by the lists of DeepCAM's own split_data.py, with which the test has been seen before.
        shares: Of the times for training, validation and test; DeepCAM's are 80, 10 and 10 of 100.
        gap_hours: Left out between two periods of a run, so that no event is in both.
        labellers: Whether to label by two rules (after TECA, and after TempestExtremes and
            ExtremeWeatherBench), beside whatever labels the source has.
        progress: Whether to show how far it is.

    Returns:
        The folder, which now holds a dataset.yaml, and stats.h5 of the training cases as DeepCAM has it.
    """
    require_at_least(0, seed=seed)
    if not 0.1 <= spacing_degrees <= 10:
        raise InputError(f"--spacing_degrees: is {spacing_degrees:g}; give 0.1 to 10")
    if split == "deepcam_random" and source != "sandbox" and labellers:
        raise InputError(
            "--split deepcam_random: tears storms apart, which the labellers follow in time; "
            "give --labellers false"
        )
    from tqdm import tqdm

    from fieldwise.recipes.extreme_weather.cases import RECIPE, write_case, write_stats
    from fieldwise.samples.prepared import SPLITS
    from fieldwise.verbs.prepare import check_apart, prepare_folder

    out = Path(out)
    with prepare_folder(out, recipe=RECIPE, source=str(source), seed=seed) as draft:
        if source == "sandbox":
            home = draft.folder / source
            records = _make_sandbox(home, seed, spacing_degrees, [days * share for share in shares])
            draft.home = home
        else:
            records = _open(Path(source), split, shares, gap_hours)
            draft.home = Path(source) if Path(source).is_dir() else None
        draft.sources = list(dict.fromkeys(path for record in records for path in record.files))
        check_apart([out / split for split in SPLITS], draft.sources)
        for record in records:
            write_case(record, draft, made=source == "sandbox", labellers=labellers, progress=progress)
        write_stats(draft)
        for place in [*(out / split for split in SPLITS), out / "sandbox"]:  # what was prepared before
            shutil.rmtree(place, ignore_errors=True)
        (out / "stats.h5").unlink(missing_ok=True)
    if progress:
        counts = [f"{sum(len(each) for each in records if each.split == part)} {part}" for part in SPLITS]
        tqdm.write(f"times: {', '.join(counts)}; cells: {records[0].grid.shape}")
    return out


def _make_sandbox(home: Path, seed: int, spacing_degrees: float, days: list[float]) -> list[Record]:
    """Make a season of its own for each split, in DeepCAM's layout."""
    from dataclasses import replace

    from fieldwise.physics.extreme_weather.sphere import GlobalGrid
    from fieldwise.samples.prepared import SPLITS
    from fieldwise.samples.weather.deepcam import STEP_H
    from fieldwise.samples.weather.records import open_samples
    from fieldwise.sandbox.extreme_weather import Season, write_season

    if min(days) * 24 < STEP_H:
        raise InputError(f"--days: {sum(days):g} leave a split without a time; give more")
    rows = COARSEST * max(1, round(180 / spacing_degrees / COARSEST))
    grid = GlobalGrid.regular(rows, 2 * rows)
    for run, length in enumerate(days):
        season = Season(grid, steps=round(length * 24 / STEP_H), seed=len(days) * seed + run)
        write_season(home, season, run=run + 1)
    return [replace(record, split=split) for record, split in zip(open_samples(home), SPLITS, strict=True)]


def _open(place: Path, split: str, shares: tuple[float, ...], gap_hours: float) -> list[Record]:
    """Open a user's own weather, and part it."""
    from fieldwise.samples.weather.records import (
        open_samples,
        part_as_deepcam,
        part_by_periods,
        part_by_runs,
        part_by_years,
    )

    if not place.exists():
        raise InputError(f"{place}: no such file; --source takes `sandbox`, a folder or a FILE.yaml")
    if place.is_dir():
        records = open_samples(place)
    elif place.suffix in (".yaml", ".yml"):
        from fieldwise.samples.weather.globes import read_seasons

        records = read_seasons(place)
    else:
        raise InputError(f"{place}: is no .yaml; --source takes `sandbox`, a folder or a FILE.yaml")
    if all(record.split for record in records):
        return records
    if split == "deepcam_random":
        if not place.is_dir():
            raise InputError(f"--split deepcam_random: is for a folder of DeepCAM's samples, not {place}")
        print(
            "--split deepcam_random: leaks. Times of the test lie hours from those of training and show the "
            "same storms; its scores compare with DeepCAM's alone. Otherwise give period, year or run"
        )
        return part_as_deepcam(records)
    if split == "run":
        return part_by_runs(records, shares)
    if split == "year":
        return part_by_years(records, shares, gap_hours)
    return part_by_periods(records, shares, gap_hours)
