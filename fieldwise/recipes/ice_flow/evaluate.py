"""Predicted velocities judged on glaciers that training has not seen: the verb evaluate."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

from fieldwise.errors import require_at_least


def evaluate(
    *,
    run: Path = Path("model/ice_flow"),
    data: Path = Path("data/ice_flow"),
    prediction: Path = Path("model/ice_flow/prediction"),
    split: Literal["training", "validation", "test"] = "test",
    energy_frames: int = 1,
    figures: bool = True,
    figure_frames: int = 10,
    accelerator: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Judge predicted velocities against the truth, cell by cell over the ice, and the emulator itself.

    Args:
        run: Run folder of the emulator; scores.json, scores.csv and figures go there.
        data: Prepared folder, with the true velocities.
        prediction: What predict wrote: a folder with CASE.nc, or the FILE.nc of one case.
        split: Which cases.
        energy_frames: Frames of each case whose energy is compared with the solver's, those with the most ice
            first; 0 for none.
        figures: Whether to draw the figures too.
        figure_frames: Frames of each case to draw: true, predicted, difference.
        accelerator: cpu, gpu or auto.
        progress: Whether to show how far it is.

    Returns:
        What stands in scores.json: the scores as rows, and further facts.
    """
    require_at_least(0, energy_frames=energy_frames, figure_frames=figure_frames)
    from fieldwise.recipes.ice_flow.judgement import SPEEDS, find_shown_ice, score_cases
    from fieldwise.recipes.ice_flow.networks import load_emulator
    from fieldwise.recipes.ice_flow.signatures import RECIPE
    from fieldwise.samples.prepared import Prepared
    from fieldwise.scores import pick, verdict
    from fieldwise.verbs.evaluate import draw_frames, judge, open_predicted

    run = Path(run)
    emulator = load_emulator(run, accelerator=accelerator)
    signature = emulator.signature
    prepared = Prepared(data, recipe=RECIPE).cases(split)
    predicted = open_predicted(prediction, prepared, signature.fields("outputs"))
    cases = list(zip(prepared, predicted, strict=True))
    rows, facts = score_cases(emulator, cases, split, energy_frames=energy_frames, progress=progress)
    learnt_from = signature.facts.get("learnt_from", [])
    seen = facts["seen_in_training"] = [str(case) for case, _ in cases if str(case) in learnt_from]
    shown: Any = {"frames": figure_frames, "where": find_shown_ice, "labels": SPEEDS}
    places = [row["at"] for row in pick(rows, against=split, measure="relative_l1")]
    return judge(
        rows,
        run=run,
        facts=facts,
        shown=pick(rows, against=split),
        verdicts=[
            *(verdict(rows, against=split, measure="relative_l1", at=place) for place in places[-1:]),
            f"learnt from {', '.join(seen)}: these scores tell nothing of new glaciers" if seen else "",
        ],
        figures=partial(draw_frames, run / "figures", cases, signature, **shown) if figures else None,
    )
