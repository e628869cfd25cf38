"""A map judged against radar and any known truth: the verb evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fieldwise.recipes.bed_topography.region import open_region


def evaluate(
    *,
    run: Path = Path("model"),
    data: Path = Path("data"),
    prediction: Path = Path("model/deepbedmap_dem.tif"),
    figures: bool = True,
) -> dict[str, Any]:
    """Judge a map at held-out radar picks, against cubic and spline interpolation and any known truth.

    Args:
        run: Run folder; scores.json and figures go there.
        data: Prepared folder.
        prediction: Map to judge.
        figures: Whether to draw the figures too.

    Returns:
        The scores, as they stand in scores.json.
    """
    from fieldwise.recipes.bed_topography.judgement import format_scores, score_map
    from fieldwise.runs import write_json

    dataset = open_region(data)
    scores = score_map(dataset, Path(prediction))
    write_json(scores, Path(run) / "scores.json")
    print(format_scores(scores))
    if figures:
        from fieldwise.recipes.bed_topography.figures import save_figures

        for path in save_figures(dataset, Path(prediction), Path(run) / "figures"):
            print(path)
    return scores
