"""One network on grids of several spacings beside two labellers: trained once, and tuned to none of them.

Run it with `python benchmarks/storm_grids.py --out FOLDER`. Seasons with more events a day than usual are
made at the finest spacing; the network learns from their planted masks, on that grid and on coarser ones that
its batches are averaged to. It is judged on another season, made on a grid of each spacing, beside what the
two labellers score there against what is planted and against each other.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from labellers import LABELLERS, MANY, measure_overlaps, tell

from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.recipes import extreme_weather
from fieldwise.recipes.extreme_weather.predictor import ClassPredictor, load_teller
from fieldwise.samples.weather.deepcam import STEP_H, write_sample
from fieldwise.sandbox.extreme_weather import Season

COLUMNS = 16  # of which the network wants multiples on each grid
UNSEEN = 11  # seed of the season that is judged; those of training are counted from 101 on
PAIRS = [
    ("planted", "network"),
    ("labeller", "network"),
    ("second labeller", "network"),
    ("labeller", "second labeller"),
    ("planted", "labeller"),
    ("planted", "second labeller"),
]


def make_grid(spacing_degrees: float, *, multiple: int = COLUMNS) -> GlobalGrid:
    """Make a grid of about a spacing, with columns in multiples of a number and half as many rows."""
    columns = multiple * round(360 / spacing_degrees / multiple)
    return GlobalGrid.regular(columns // 2, columns)


def write_seasons(home: Path, grid: GlobalGrid, days: list[float], every_h: int) -> None:
    """Write a season of each length, another run each, with a moment every so many hours."""
    for run, length in enumerate(days):
        season = Season(grid, steps=round(24 * length / STEP_H), seed=101 + run, per_day=MANY)
        for step in range(0, len(season), every_h // STEP_H):
            moment = season[step]
            write_sample(home, moment.time, moment.fields, (moment.classes,), run=run + 1)


def train(options: argparse.Namespace, factors: list[int]) -> Path:
    """Make seasons at the finest spacing, and train a network on them; give its run.

    What is there is not made again.
    """
    home, data = options.out / "seasons", options.out / "data"
    coarsest = round(max(options.spacings) / min(options.spacings))
    if not (data / "dataset.yaml").exists():
        grid = make_grid(min(options.spacings), multiple=COLUMNS * coarsest)
        write_seasons(home, grid, [options.days, *[options.days / 10] * 2], options.every_h)
        extreme_weather.prepare(
            source=str(home), out=data, split="run", shares=(0.4, 0.3, 0.3), labellers=False
        )
        shutil.rmtree(home)
    run = options.out / f"run_{'_'.join(map(str, factors))}"
    extreme_weather.train(
        data=data,
        run=run,
        coarsen=factors,
        network="unet",
        network_options={"blocks": 4, "filters": options.filters},
        learning_rate=0.002,
        decay_epochs=options.epochs,
        max_epochs=options.epochs,
        batch_size=1,
        accelerator="cpu",
        tracker="none",
        progress=False,
    )
    return run


def judge_grid(teller: ClassPredictor, spacing_degrees: float, days: float) -> dict[str, Any]:
    """Tell the classes of the unseen season on one grid, and by both labellers."""
    season = Season(make_grid(spacing_degrees), steps=round(24 * days / STEP_H), seed=UNSEEN, per_day=MANY)
    moments = list(season)
    told: dict[str, Any] = {"planted": np.array([moment.classes for moment in moments])}
    for name, label in LABELLERS.items():
        told[name] = label([moment.fields for moment in moments], season.hours, season.grid).classes
    told["network"] = [_ask(teller, moment.fields) for moment in moments]
    rows, columns = season.grid.shape
    return {"cells": f"{rows} x {columns}", "times": len(season)} | measure_overlaps(told, PAIRS)


def _ask(teller: ClassPredictor, fields: dict[str, np.ndarray]) -> np.ndarray:
    inputs = teller.signature.inputs
    return teller({each.name: np.stack([fields[name] for name in each.fields]) for each in inputs})[0]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for seasons and run")
    parser.add_argument("--spacings", type=float, nargs="+", default=[2.0, 1.0, 0.5], help="degrees")
    parser.add_argument("--days", type=float, default=30.0, help="of the season to learn from")
    parser.add_argument("--every_h", type=int, default=12, help="hours between two times of it")
    parser.add_argument("--judged_days", type=float, default=3.0, help="of the unseen season, three-hourly")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--filters", type=int, default=16, help="of the network's first block")
    parser.add_argument("--factors", type=int, nargs="+", help="by default those of the spacings")
    options = parser.parse_args(arguments)
    finest = min(options.spacings)
    factors = options.factors or [round(spacing / finest) for spacing in options.spacings]
    teller = load_teller(train(options, sorted(factors)), accelerator="cpu")
    for spacing in options.spacings:
        print(flush=True)
        tell({"spacing": spacing} | judge_grid(teller, spacing, options.judged_days))


if __name__ == "__main__":
    main()
