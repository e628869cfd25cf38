"""Predicted classes judged on weather that training has not seen: the verb evaluate."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

from fieldwise.errors import require_at_least


def evaluate(
    *,
    run: Path = Path("model/extreme_weather"),
    data: Path = Path("data/extreme_weather"),
    prediction: Path = Path("model/extreme_weather/prediction"),
    split: Literal["training", "validation", "test"] = "test",
    figures: bool = True,
    figure_frames: int = 3,
    progress: bool = True,
) -> dict[str, Any]:
    """Judge predicted classes against planted masks, or labels, and against the labellers, and these too.

    Scores are the overlap (intersection over union) of each class and its mean, image by image and pooled
    over all cells; the shares of true events found and of predicted events that are false: connected parts
    of 200,000 km2 or more, time by time (`found`, `false`), and as whole storms and rivers of 12 hours and
    more (`tracks_found`, `tracks_false`: seen at half of their times); and, of each side, how many of these
    there are, how long they live and how fast they move. What one labeller scores against another is what
    can be known of the truth at best where nothing is planted.

    Args:
        run: Run folder; scores.json, scores.csv and figures go there.
        data: Prepared folder.
        prediction: What predict wrote: a folder with CASE.nc, or the FILE.nc or .zarr of one case.
        split: Which cases.
        figures: Whether to draw figures too: maps, tracks, confusion, reliability.
        figure_frames: Times of each case to draw as maps.
        progress: Whether to show how far it is.

    Returns:
        What stands in scores.json: the scores as rows, and further facts.
    """
    require_at_least(0, figure_frames=figure_frames)
    from fieldwise.recipes.extreme_weather.cases import RECIPE
    from fieldwise.recipes.extreme_weather.judgement import draw_judgement, open_cases, say, score_cases
    from fieldwise.samples.prepared import Prepared
    from fieldwise.scores import pick
    from fieldwise.verbs.evaluate import judge

    cases = open_cases(prediction, Prepared(data, recipe=RECIPE).cases(split))
    judged = score_cases(cases, progress=progress)
    draw = partial(draw_judgement, Path(run) / "figures", cases, judged, frames=figure_frames)
    return judge(
        judged.rows,
        run=run,
        facts=judged.facts,
        shown=[row for row in pick(judged.rows) if row.get("at") != judged.classes[0]],
        verdicts=say(judged.rows),
        figures=draw if figures else None,
    )
