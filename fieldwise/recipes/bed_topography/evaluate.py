"""A map judged against radar and any known truth: the verb evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldwise.samples.cases import Case


def evaluate(
    *,
    run: Path = Path("model"),
    data: Path = Path("data"),
    prediction: Path = Path("model/deepbedmap_dem.tif"),
    figures: bool = True,
) -> dict[str, Any]:
    """Judge a map, and members that it keeps, at held-out radar picks and by any known truth.

    Beside it cubic and spline interpolation, and how far all agree with the picks that were given. Where the
    data hold velocity and accumulation, also whether the map conserves mass.

    Args:
        run: Run folder; scores.json, scores.csv and figures go there.
        data: Prepared folder.
        prediction: Map to judge.
        figures: Whether to draw the figures too.

    Returns:
        What stands in scores.json: the scores as rows, and further facts.
    """
    from fieldwise.recipes.bed_topography.judgement import BLOCK, EVERYWHERE, PICKS, TRUTH, score_map
    from fieldwise.recipes.bed_topography.regions.region import open_region
    from fieldwise.scores import verdict
    from fieldwise.verbs.evaluate import judge

    def draw() -> list[Path]:
        from fieldwise.recipes.bed_topography.figures import save_figures

        return save_figures(case, Path(prediction), Path(run) / "figures")

    case = open_region(data)
    rows, facts = score_map(case, Path(prediction))
    rows += _score_flux(case, Path(prediction))
    if (Path(run) / "checkpoints" / "best.ckpt").exists():
        from fieldwise.recipes.bed_topography.predictor import describe_shares, load_bed_predictor

        print(describe_shares(load_bed_predictor(run, case, accelerator="cpu")))
    return judge(
        rows,
        run=run,
        facts=facts,
        verdicts=[
            verdict(rows, against=against, measure=measure)
            for measure in ("rmse", "crps")
            for against in (PICKS, BLOCK, TRUTH, EVERYWHERE)
        ],
        figures=draw if figures else None,
    )


def _score_flux(case: Case, path: Path) -> list[dict[str, Any]]:
    """Score how far a map, its baselines and the truth are from conserving mass where ice is grounded."""
    import numpy as np

    from fieldwise.fields.grids import grid_of, load_values
    from fieldwise.fields.resampling import fade_in
    from fieldwise.fields.tiles import cut
    from fieldwise.recipes.bed_topography import judgement
    from fieldwise.recipes.bed_topography.regions import region
    from fieldwise.scores import open_map, score_residuals

    if region.find_flux_gap(case):
        return []
    prediction = open_map(path, case)

    def read(rows: slice, columns: slice) -> dict[str, np.ndarray]:
        window = prediction[rows, columns]
        here = grid_of(window)
        fields = {"prediction": window, **judgement.baselines(case, window, spline=False)}
        beds = {name: load_values(field) for name, field in fields.items()}
        if case.facts.get("truth"):
            beds["truth"] = cut(case.open("truth"), [here.bounds], spacing=here.spacing)[0]
        flow = region.read_flow(case, [here.bounds], spacing=here.spacing)
        grounded = fade_in(region.grounded_area(case), here, 1, domain=case.bounds) > 0
        flow[region.ACCUMULATION] = np.where(grounded, flow[region.ACCUMULATION], np.nan)
        return {
            name: region.block_residual(bed[None, None], flow, spacing=here.spacing)
            for name, bed in beds.items()
        }

    return score_residuals(
        read,
        grid_of(prediction).shape,
        cells=region.FLUX_CELLS,
        against="mass conservation",
        measure="flux_residual",
        unit="m a-1",
        block_cells=judgement.BLOCK_CELLS,
    )
