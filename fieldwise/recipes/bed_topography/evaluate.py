"""A map judged against radar and any known truth: the verb evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def evaluate(
    *,
    run: Path = Path("model"),
    data: Path = Path("data"),
    prediction: Path = Path("model/deepbedmap_dem.tif"),
    figures: bool = True,
) -> dict[str, Any]:
    """Judge a map at held-out radar picks, against cubic and spline interpolation and any known truth.

    Args:
        run: Run folder; scores.json, scores.csv and figures go there.
        data: Prepared folder.
        prediction: Map to judge.
        figures: Whether to draw the figures too.

    Returns:
        What stands in scores.json: the scores as rows, and further facts.
    """
    from fieldwise.recipes.bed_topography.judgement import PICKS, TRUTH, score_map
    from fieldwise.recipes.bed_topography.predictor import describe_shares, load_bed_predictor
    from fieldwise.recipes.bed_topography.region import open_region
    from fieldwise.scores import verdict
    from fieldwise.verbs.evaluate import judge

    def draw() -> list[Path]:
        from fieldwise.recipes.bed_topography.figures import save_figures

        return save_figures(case, Path(prediction), Path(run) / "figures")

    case = open_region(data)
    rows, facts = score_map(case, Path(prediction))
    if (Path(run) / "checkpoints" / "best.ckpt").exists():
        print(describe_shares(load_bed_predictor(run, case, accelerator="cpu")))
    return judge(
        rows,
        run=run,
        facts=facts,
        verdicts=[verdict(rows, against=against, measure="rmse") for against in (PICKS, TRUTH)],
        figures=draw if figures else None,
    )
