"""Predicted classes beside those of whoever tells them: scores, words and figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from fieldwise.errors import InputError
from fieldwise.recipes.extreme_weather.cases import (
    JUDGES,
    LABELLER,
    SECOND,
    grid_of_case,
    judges_of,
)
from fieldwise.recipes.extreme_weather.events import KINDS, LEAST_KM2, follow_all
from fieldwise.recipes.extreme_weather.predictor import CLASS
from fieldwise.recipes.extreme_weather.storms import StormSums
from fieldwise.samples.cases import Case
from fieldwise.scores import ClassSums, EventSums, ReliabilitySums, make_score
from fieldwise.scores.tables import Row, pick
from fieldwise.verbs.evaluate import open_predicted

Pair = tuple[Case, xr.Dataset]  # a case, and what was predicted for it
PREDICTION = "prediction"
SHOWN = "TMQ"  # below the masks of maps
FIELD_NAMES = {SHOWN: "column water vapour", "IVT": "vapour transport"}
Told = dict[str, np.ndarray]  # by whom: classes (times, rows, columns)
Tracks = dict[str, dict[str, pd.DataFrame]]  # by whom, and of which kind


@dataclass(frozen=True)
class Judged:
    """What a judgement came to."""

    classes: list[str]
    rows: list[dict[str, Any]]
    facts: dict[str, Any]
    truth: str  # who is trusted most
    confusion: np.ndarray
    reliability: dict[str, ReliabilitySums]  # by class


def open_cases(prediction: str | Path, cases: list[Case]) -> list[Pair]:
    """Open what was predicted for each case, and refuse cases that nobody has labelled.

    >>> from fieldwise.samples.examples import make_prepared
    >>> open_cases("model/prediction", make_prepared({"TMQ": np.zeros((1, 2, 2))}).cases())
    Traceback (most recent call last):
    fieldwise.errors.InputError: case region: nobody tells its classes; prepare it with labels, or ...
    """
    for case in cases:
        if not judges_of(case):
            raise InputError(
                f"case {case}: nobody tells its classes; prepare it with labels, or --labellers true"
            )
    return list(zip(cases, open_predicted(prediction, cases, [CLASS], truth=()), strict=True))


def score_cases(cases: list[Pair], *, progress: bool) -> Judged:
    """Score all cases together: the prediction, and labellers, against whoever is trusted more.

    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.scores import value_of
    >>> globe = {"latitude": [75.0, 25.0, -25.0, -75.0], "longitude": [0.0, 90.0, 180.0, 270.0]}
    >>> fields, classes = {"planted": np.eye(4)[None]}, ["background", "tropical cyclone"]
    >>> (case,) = make_prepared(fields, globe=globe, classes=classes).cases()
    >>> drawn = xr.Dataset({"class": (("time", "lat", "lon"), np.eye(4)[None].astype("int8"))})
    >>> judged = score_cases([(case, drawn)], progress=False)
    >>> value_of(judged.rows, measure="iou_per_image", at="tropical cyclone"), judged.facts
    (1.0, {'images': 1, 'learnt': 'planted masks'})
    """
    case = cases[0][0]
    known, classes = judges_of(case), list(case.facts["classes"])
    pairs = list_pairs(known)
    area, kinds = grid_of_case(case).area_km2, range(1, len(classes))
    overlaps = {pair: ClassSums(classes) for pair in pairs}
    events = {(*pair, kind): EventSums(area, LEAST_KM2) for pair in pairs for kind in kinds}
    reliability, storms = {classes[kind]: ReliabilitySums() for kind in kinds}, StormSums(pairs, classes)
    for case, predicted in tqdm(cases, desc="judging", unit="case", disable=not progress):
        case.check_has(known, why="judging beside other cases")
        storms.add(case, {name: _tell(case, predicted, name) for name in (*known, PREDICTION)})
        for frame in range(case.frames):
            told = dict(zip(known, case.stack(known, frame=frame).astype(np.uint8), strict=True))
            told[PREDICTION] = predicted[CLASS][frame].values
            for against, name in pairs:
                overlaps[against, name].add(told[name], told[against])
                for kind in kinds:
                    events[against, name, kind].add(told[name] == kind, told[against] == kind)
            for kind, sums in zip(kinds, reliability.values()):
                shares = f"probability_of_{classes[kind].replace(' ', '_')}"
                if shares in predicted:
                    sums.add(predicted[shares][frame].values, told[known[0]] == kind)
    rows = []
    for against, name in pairs:
        rows += overlaps[against, name].rows(JUDGES[against], name)
        for kind in kinds:
            seen = events[against, name, kind]
            for measure, value in (("found", seen.found), ("false", seen.false)):
                rows.append(make_score(JUDGES[against], measure, "1", name, value, at=classes[kind]))
        rows += storms.judge(against, name)
    rows += storms.count()
    facts = {"images": overlaps[pairs[0]].images, "learnt": JUDGES[known[0]]}
    return Judged(classes, rows, facts, known[0], overlaps[pairs[0]].confusion, reliability)


def _tell(case: Case, predicted: xr.Dataset, name: str) -> np.ndarray:
    """Give the classes that somebody tells of a case, (times, rows, columns)."""
    told = predicted[CLASS].values if name == PREDICTION else case.read_frames(name)
    return told.reshape(-1, *case.shape).astype(np.uint8)


def list_pairs(known: list[str]) -> list[tuple[str, str]]:
    """List against whom who is judged: the most trusted and the labeller, against which all others stand.

    >>> for pair in list_pairs(["planted", "labeller", "second_labeller"]):
    ...     print(*pair)
    planted prediction
    planted labeller
    planted second_labeller
    labeller prediction
    labeller second_labeller
    """
    rules = [name for name in (LABELLER, SECOND) if name in known]
    against = dict.fromkeys([known[0], *rules[:1]])
    return [
        (judge, name)
        for judge in against
        for name in [PREDICTION, *rules]
        if name == PREDICTION or known.index(name) > known.index(judge)
    ]


def say(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Say in a line for each truth how well it is met, beside the best labeller.

    >>> told = ("prediction", 0.8), ("labeller", 0.6)
    >>> list(say([make_score("labels", "iou_per_image", "1", *one) for one in told]))
    ['labels: IoU per image of the prediction 0.800, of the labeller 0.600']
    """
    overlaps: list[Row] = [row for row in pick(rows, measure="iou_per_image") if "at" not in row]
    for against in dict.fromkeys(row["against"] for row in overlaps):
        told = ", ".join(
            f"of the {row['name'].replace('_', ' ')} {row['value']:.3f}"
            for row in pick(overlaps, against=against)
        )
        yield f"{against}: IoU per image {told}"


def draw_judgement(folder: Path, cases: list[Pair], judged: Judged, *, frames: int) -> Iterator[Path]:
    """Draw maps of some times of each case and of its tracks, confusion of classes, how far shares hold."""
    from fieldwise.figures import draw_confusion, draw_reliability, try_to_draw

    for case, predicted in cases:
        sides = {JUDGES[judged.truth]: judged.truth, PREDICTION: PREDICTION}
        told = {word: _tell(case, predicted, name) for word, name in sides.items()}
        tracks = {word: follow_all(classes, case) for word, classes in told.items()}
        for frame in np.linspace(0, case.frames - 1, min(frames, case.frames)).round().astype(int):
            draw = partial(_draw_maps, case, told, tracks, int(frame), judged.classes)
            yield from try_to_draw(folder / f"{case.name}_{frame:03d}", draw)[-1:]
        for kind in KINDS:
            draw = partial(_draw_occurrence, case, told, tracks, kind)
            yield from try_to_draw(folder / f"{case.name}_{kind}", draw)[-1:]
    confusion = partial(draw_confusion, judged.confusion, judged.classes)
    yield from try_to_draw(folder / "confusion", confusion)[-1:]
    curves = {name: sums.table() for name, sums in judged.reliability.items() if sums.counts.any()}
    if curves:
        yield from try_to_draw(folder / "reliability", partial(draw_reliability, curves))[-1:]


def _draw_maps(case: Case, told: Told, tracks: Tracks, frame: int, classes: list[str]) -> Any:
    """Draw the masks of a time over a field, with the ways that cyclones have come so far."""
    from fieldwise.figures import draw_class_maps

    shown, hour = SHOWN if SHOWN in case.files else next(iter(case.files)), case.frame_times[frame]
    words = {"units": case.variables[shown].units, "long_name": FIELD_NAMES.get(shown, shown)}
    field = _on_globe(case, case.stack([shown], frame=frame)[0], words)
    ways = {word: kinds["cyclones"] for word, kinds in tracks.items()}
    ways = {word: table[table["hour"] <= hour] for word, table in ways.items()}
    masks = {word: each[frame] for word, each in told.items()}
    return draw_class_maps(field, masks, classes, tracks=ways)


def _draw_occurrence(case: Case, told: Told, tracks: Tracks, kind: str) -> Any:
    """Draw how often each cell is in a mask of a kind, with all tracks."""
    from fieldwise.figures import draw_frequency_maps

    words = {"units": "%", "long_name": f"share of times with {kind}"}
    shares = {
        word: _on_globe(case, 100 * (each == KINDS[kind][0]).mean(axis=0), words)
        for word, each in told.items()
    }
    return draw_frequency_maps(shares, tracks={word: kinds[kind] for word, kinds in tracks.items()})


def _on_globe(case: Case, values: np.ndarray, words: dict[str, str]) -> xr.DataArray:
    grid = grid_of_case(case)
    axes = {"lat": grid.latitude, "lon": grid.longitude}
    return xr.DataArray(values, axes, ("lat", "lon"), attrs=words)
