"""How far two labellers agree with each other and with what was planted, and what they find, by grid.

Run it with `python benchmarks/labellers.py [--spacings 2 1 0.5] [--days 3] [--seed 11]`. One made season,
with more events a day than usual, is labelled on each grid by the rules as they are; nothing is tuned to a
grid. What both score against each other is what can be known at best where nothing is planted.
"""

import argparse
import time
from typing import Any

import numpy as np
import pandas as pd

from fieldwise.physics.extreme_weather.channels import CLASSES, CYCLONE, RIVER
from fieldwise.physics.extreme_weather.components import label_components
from fieldwise.physics.extreme_weather.labels import label_by_transport, label_by_vapour
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.sandbox.extreme_weather import Season
from fieldwise.sandbox.extreme_weather.seasons import Moment
from fieldwise.scores import ClassSums

MANY = {"cyclone": 1.0, "river": 1.5, "cold_low": 1.2, "moist_blob": 1.2, "short_filament": 1.2}
LABELLERS = {"labeller": label_by_vapour, "second labeller": label_by_transport}
PLANTED = {
    "cyclone": (CYCLONE, 16),
    "river": (RIVER, 6),
}  # least times: gales for two days; half a day and more
COVERED, OFTEN, STRONG = 1 / 3, 0.5, 0.5


def count_found(moments: list[Moment], classes: np.ndarray, events: pd.DataFrame, kind: str) -> list[bool]:
    """Tell of each planted event at half its strength or more for long whether it is found.

    Found is what has a third of its cells marked as its kind at half of its times.
    """
    label, least_steps = PLANTED[kind]
    strong = events[(events["kind"] == kind) & (events["strength"] > STRONG)]
    found = []
    for instance, times in strong.groupby("instance"):
        hits = []
        for step in times["step"]:
            cells = moments[step].instances == instance
            if cells.any():
                hits.append(bool((classes[step][cells] == label).mean() >= COVERED))
        if len(hits) >= least_steps:
            found.append(bool(np.mean(hits) >= OFTEN))
    return found


def count_decoys(season: Season, moments: list[Moment], classes: np.ndarray) -> list[bool]:
    """Tell of each decoy whether it is marked at more than a tenth of its times.

    Marked is what has a part of a label over its middle that lies over nothing that was planted.
    """
    events = season.events()
    marked = []
    for _, times in events[(events["label"] == 0) & (events["strength"] > 0.3)].groupby("instance"):
        hits = 0
        for row in times.itertuples():
            for label in (CYCLONE, RIVER):
                parts = label_components(classes[row.step] == label)
                here = parts[season.grid.cell_at(row.latitude, row.longitude)]
                hits += bool(here) and not moments[row.step].classes[parts == here].any()
        marked.append(hits > 0.1 * len(times))
    return marked


def measure_overlaps(told: dict[str, Any], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Give the overlap of classes (times, rows, columns) that two tell, image by image and pooled."""
    result: dict[str, Any] = {}
    for one, other in pairs:
        sums = ClassSums(CLASSES)
        for true, predicted in zip(told[one], told[other]):
            sums.add(predicted, true)
        _, cyclone, river = sums.pooled
        result[f"{one} / {other}: IoU per image"] = sums.per_image.mean()
        result[f"{one} / {other}: IoU pooled (TC, AR)"] = f"{cyclone:.2f}, {river:.2f}"
    return result


def judge_grid(spacing_degrees: float, days: float, seed: int) -> dict[str, Any]:
    """Label a season on one grid: overlaps, shares of events found and of decoys marked."""
    grid = GlobalGrid.regular(round(180 / spacing_degrees) + 1, round(360 / spacing_degrees))
    season = Season(grid, steps=round(8 * days), seed=seed, per_day=MANY)
    moments, events = list(season), season.events()
    told: dict[str, Any] = {"planted": np.array([moment.classes for moment in moments])}
    result: dict[str, Any] = {"spacing": spacing_degrees}
    for name, label in LABELLERS.items():
        started = time.perf_counter()
        told[name] = label([moment.fields for moment in moments], season.hours, grid).classes
        result[f"{name}: s a time"] = (time.perf_counter() - started) / len(moments)
        for kind in PLANTED:
            found = count_found(moments, told[name], events, kind)
            result[f"{name}: {kind}s found"] = f"{sum(found)} of {len(found)}"
        decoys = count_decoys(season, moments, told[name])
        result[f"{name}: decoys marked"] = f"{sum(decoys)} of {len(decoys)}"
    pairs = [("planted", "labeller"), ("planted", "second labeller"), ("labeller", "second labeller")]
    result |= measure_overlaps(told, pairs)
    return result


def tell(result: dict[str, Any]) -> None:
    """Print what was measured, one a line."""
    for name, value in result.items():
        print(f"{name:44s} {value:.3f}" if isinstance(value, float) else f"{name:44s} {value}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--spacings", type=float, nargs="+", default=[2.0, 1.0, 0.5], help="degrees")
    parser.add_argument("--days", type=float, default=3.0, help="of the season; cyclones need two")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args(arguments)
    for spacing in options.spacings:
        print(flush=True)
        tell(judge_grid(spacing, options.days, options.seed))


if __name__ == "__main__":
    main()
