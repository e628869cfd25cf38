"""Forecasts judged by what came, beside what costs nothing and what is possible: the verb evaluate."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

from fieldwise.errors import require_at_least


def evaluate(
    *,
    run: Path = Path("model/temperature_forecast"),
    data: Path = Path("data/temperature_forecast"),
    prediction: Path = Path("model/temperature_forecast/prediction"),
    split: Literal["training", "validation", "test"] = "test",
    target: str | None = None,
    climatology: Path | None = None,
    area_weights: bool = True,
    block_days: int = 7,
    draws: int = 1000,
    seed: int = 0,
    figures: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Judge forecasts by lead and hour of the day, beside persistence, climatology and the best possible.

    Baselines are fitted on the training cases: yesterday's same hour, the same moved by the damped change
    since yesterday, the mean of month and hour, and the last map. All are judged from the same init times,
    those with a day before them. Intervals are those from 5 to 95 % of blocks of days drawn again and again;
    whether forecasts are better than damped persistence is told by their paired differences.

    PSNR and SSIM have the range of the training data; `psnr_published` and `ssim_published` have the ranges
    of 1 and 2 that published scores have. results.nc keeps the scores of every init time, for `compare`.

    Args:
        run: Run folder; scores.json, scores.csv, results.nc and figures go there.
        data: Prepared folder.
        prediction: What predict wrote: a folder with CASE.nc, or the FILE.nc or FILE.zarr of one case.
        split: Which cases.
        target: Field that is judged; by default t2m, or the only one that was forecast.
        climatology: NetCDF of the target by month, hour, lat and lon, instead of the mean of training.
        area_weights: Whether cells count by their area, where they lie on latitudes.
        block_days: Days of a block; fewer where there are not eight of them.
        draws: How often blocks are drawn.
        seed: Of the draws.
        figures: Whether to draw figures too.
        progress: Whether to show how far it is.

    Returns:
        What stands in scores.json: the scores as rows, and further facts.
    """
    require_at_least(1, block_days=block_days, draws=draws)
    from fieldwise.recipes.temperature_forecast.cases import RECIPE
    from fieldwise.recipes.temperature_forecast.judgement.drawing import draw_judgement, read_latency
    from fieldwise.recipes.temperature_forecast.judgement.forecasts import open_forecasts
    from fieldwise.recipes.temperature_forecast.judgement.references import fit_references
    from fieldwise.recipes.temperature_forecast.judgement.scores import (
        best_possible,
        choose_rows,
        judge_forecasts,
        say,
    )
    from fieldwise.samples.prepared import Prepared
    from fieldwise.scores.forecasts import resample_blocks, score_hours, score_leads, write_results
    from fieldwise.verbs.evaluate import judge

    prepared = Prepared(data, recipe=RECIPE)
    opened, latency = open_forecasts(prediction, prepared.cases(split), target=target), read_latency(run)
    first = opened[0]
    options: Any = {"by_area": area_weights, "climatology": climatology, "progress": progress}
    horizon = int(first.steps.max())
    references = fit_references(prepared.cases("training"), first.target, horizon=horizon, **options)
    judged, facts = judge_forecasts(opened, references, progress=progress)
    results = judged.results(best_possible(first))
    bootstrap, days = resample_blocks(results, days=block_days, draws=draws, seed=seed)
    rows = [*score_leads(results, bootstrap), *judged.spectrum_rows()]
    draw = partial(draw_judgement, Path(run), opened, references, judged, results, bootstrap, latency)
    write_results(results, run)
    return judge(
        [*rows, *score_hours(results)],
        run=run,
        facts={**facts, "block_days": days},
        shown=choose_rows(rows, first.leads_h),
        verdicts=say(results, bootstrap, days),
        figures=draw if figures else None,
    )
