"""Several experiments beside each other, over the init times that all forecast: the verb compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldwise.errors import InputError, require_at_least

if TYPE_CHECKING:
    import xarray as xr

    from fieldwise.scores.forecasts import BlockBootstrap


def compare(
    *,
    runs: list[Path],
    out: Path = Path("model/temperature_forecast/comparison"),
    labels: list[str] | None = None,
    reference: str = "damped_persistence",
    block_days: int = 7,
    draws: int = 1000,
    seed: int = 0,
    figures: bool = True,
) -> dict[str, Any]:
    """Compare experiments that were evaluated: scores and skill over the leads, paired differences, latency.

    Only the init times and leads that all of them have count. Skill is 1 − MSE / MSE of the reference. The
    first experiment is what the others differ from; intervals from 5 to 95 % are those of blocks of days
    drawn again and again, the same ones for all.

    Args:
        runs: Run folders with the results.nc that evaluate writes, two or more; with latency.json of predict
            or train, how long a forecast takes is drawn beside the error.
        out: Folder for scores.json, scores.csv and figures.
        labels: What the experiments are called, in the order of the runs; by default as their folders.
        reference: Baseline of skill: damped_persistence, persistence, climatology or last_value.
        block_days: Days of a block; fewer where there are not eight of them.
        draws: How often blocks are drawn.
        seed: Of the draws.
        figures: Whether to draw figures too.

    Returns:
        What stands in scores.json: the scores as rows, and further facts.
    """
    require_at_least(1, block_days=block_days, draws=draws)
    names = name_runs(runs, labels)
    from fieldwise.recipes.temperature_forecast.judgement.drawing import read_latency
    from fieldwise.recipes.temperature_forecast.judgement.scores import choose_rows
    from fieldwise.scores.forecasts import read_results, resample_blocks, score_leads, share_forecasts
    from fieldwise.verbs.evaluate import judge

    results = share_forecasts({name: read_results(run) for name, run in names.items()})
    first = next(iter(results.values()))
    if reference not in first["name"].values:
        there = ", ".join(each for each in first["name"].values if each not in ("prediction", "member"))
        raise InputError(f"--reference: {reference!r} was not judged; give one of {there}")
    latencies = {name: read_latency(run) for name, run in names.items()}
    together = join_runs(results)
    bootstrap, days = resample_blocks(together, days=block_days, draws=draws, seed=seed)
    skill = skill_of(together, list(results), bootstrap, reference=reference)
    differences = differ(together, list(results), bootstrap)
    rows = score_leads(together, bootstrap)
    rows += _rows_of("skill_score", "1", skill, together)
    rows += _rows_of("mse_difference", together["mse"].attrs["units"], differences, together)
    silent = [name for name, latency in latencies.items() if latency is None]
    words = [*_say(together, list(results), bootstrap, days)]
    if silent:
        words.append(f"not in the figure of latency, as no latency.json tells it: {', '.join(silent)}")
    skilled = {f"Skill of the MSE against\n{reference.replace('_', ' ')}": skill}
    draw = partial(_draw, out, together, skilled, differences, latencies, bootstrap)
    return judge(
        rows,
        run=out,
        facts={"n_init_times": together.sizes["init_time"], "block_days": days, "runs": list(map(str, runs))},
        shown=choose_rows(rows, together["fcst_hour"].to_numpy()),
        verdicts=words,
        figures=draw if figures else None,
    )


def name_runs(runs: list[Path], labels: list[str] | None) -> dict[str, Path]:
    """Give each run its label, by default the name of its folder.

    >>> list(name_runs([Path("model/convlstm"), Path("model/simvp")], None))
    ['convlstm', 'simvp']
    >>> name_runs([Path("a/run"), Path("b/run")], None)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --labels: two runs are called run; give each a label of its own
    """
    if len(runs) < 2:
        raise InputError(f"--runs: names {len(runs)}; give two experiments or more")
    chosen = [Path(run).name for run in runs] if labels is None else labels
    if len(chosen) != len(runs):
        raise InputError(f"--labels: names {len(chosen)} for {len(runs)} runs; give each one")
    twice = next((label for label in chosen if chosen.count(label) > 1), None)
    if twice is not None:
        raise InputError(f"--labels: two runs are called {twice}; give each a label of its own")
    return dict(zip(chosen, map(Path, runs), strict=True))


def join_runs(results: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Lay the predictions of runs beside each other, by label, and what the first was compared with.

    >>> from fieldwise.scores.forecasts import ForecastScores
    >>> scores = ForecastScores([1], units="K", target="t2m")
    >>> scores.add("march", 0.0, {"mse": {"prediction": [0.2], "persistence": [2.0]}})
    >>> join_runs({"small": scores.dataset(), "large": scores.dataset()})["name"].values.tolist()
    ['small', 'large', 'persistence']
    """
    import xarray as xr

    first = next(iter(results.values()))
    clash = [label for label in results if label in first["name"].values]
    if clash:
        raise InputError(f"--labels: {clash[0]} is the name of a baseline; give another label")
    own = [each.sel(name=["prediction"]).assign_coords(name=[label]) for label, each in results.items()]
    shared = [name for name in first["name"].values if name not in ("prediction", "member")]
    best = [str(name) for name, each in first.data_vars.items() if each.dims == ("fcst_hour",)]
    measured = {
        str(name) for each in results.values() for name in each.data_vars if "name" in each[name].dims
    }
    kept = [
        each[[name for name in each.data_vars if name in measured]] for each in (*own, first.sel(name=shared))
    ]
    joined = xr.concat(kept, "name", join="outer", data_vars="all", coords="minimal", compat="override")
    joined.attrs = dict(first.attrs)
    return joined.assign(first[best])


def skill_of(
    together: xr.Dataset, labels: list[str], bootstrap: BlockBootstrap | None, *, reference: str
) -> dict[str, np.ndarray]:
    """Give 1 − MSE / MSE of a reference and its interval, by label: (3, lead).

    >>> from fieldwise.scores.forecasts import ForecastScores
    >>> scores = ForecastScores([1], units="K", target="t2m")
    >>> scores.add("march", 0.0, {"mse": {"small": [0.5], "persistence": [2.0]}})
    >>> skill_of(scores.dataset(), ["small"], None, reference="persistence")["small"][0].tolist()
    [0.75]
    """
    from fieldwise.scores.forecasts import interval_of

    errors = {name: together["mse"].sel(name=name).to_numpy() for name in (reference, *labels)}
    skill = {}
    for label in labels:
        value = 1 - errors[label].mean(axis=0) / errors[reference].mean(axis=0)
        sure = np.full((2, value.size), np.nan)
        if bootstrap is not None:
            sure = interval_of(1 - bootstrap.means(errors[label]) / bootstrap.means(errors[reference]))
        skill[label] = np.stack([value, *sure])
    return skill


def differ(
    together: xr.Dataset, labels: list[str], bootstrap: BlockBootstrap | None
) -> dict[str, np.ndarray]:
    """Give by how much the MSE of each run differs from that of the first, paired, by label: (3, lead).

    >>> from fieldwise.scores.forecasts import ForecastScores
    >>> scores = ForecastScores([1], units="K", target="t2m")
    >>> scores.add("march", 0.0, {"mse": {"small": [0.5], "large": [0.4]}})
    >>> differ(scores.dataset(), ["small", "large"], None)["large"][0].round(3).tolist()
    [-0.1]
    """
    errors = [together["mse"].sel(name=name).to_numpy() for name in labels]
    found = {}
    for label, own in zip(labels[1:], errors[1:], strict=True):
        difference = own - errors[0]
        value = difference.mean(axis=0)
        sure = np.full((2, value.size), np.nan) if bootstrap is None else bootstrap.interval(difference)
        found[label] = np.stack([value, *sure])
    return found


def _rows_of(
    measure: str, unit: str, named: Mapping[str, np.ndarray], together: xr.Dataset
) -> list[dict[str, Any]]:
    from fieldwise.scores import make_score
    from fieldwise.scores.forecasts import tell_hours

    rows, against = [], together.attrs["against"]
    for name, scores in named.items():
        for lead, (value, low, high) in zip(
            tell_hours(together["fcst_hour"]), scores.T.tolist(), strict=True
        ):
            sure = {} if np.isnan(low) else {"low": low, "high": high}
            rows.append(make_score(against, measure, unit, name, value, lead_h=lead, **sure))
    return rows


def _say(
    together: xr.Dataset, labels: list[str], bootstrap: BlockBootstrap | None, days: int
) -> Iterator[str]:
    """Say of each run at which leads it is better than the first."""
    from fieldwise.scores.forecasts import tell_differences, tell_hours

    if bootstrap is None:
        yield "init times of one block alone, so nobody knows how sure a difference is"
        return
    leads = tell_hours(together["fcst_hour"])
    for label, (value, *sure) in differ(together, labels, bootstrap).items():
        told = tell_differences(leads, value, np.stack(sure))
        yield f"MSE of {label} against {labels[0]}: {told} (paired, blocks of {days} day{'s' * (days > 1)})"


def _draw(
    out: Path,
    together: xr.Dataset,
    skill: Mapping[str, Mapping[str, np.ndarray]],
    differences: Mapping[str, np.ndarray],
    latencies: Mapping[str, Mapping[str, Any] | None],
    bootstrap: BlockBootstrap | None,
) -> Iterator[Path]:
    from fieldwise.figures import try_to_draw
    from fieldwise.figures.forecasts import draw_latency, draw_leads
    from fieldwise.figures.panels import unit_text
    from fieldwise.recipes.temperature_forecast.judgement.drawing import IDEALS, lines_of, panels_of

    folder, leads_h = Path(out) / "figures", together["fcst_hour"].to_numpy()
    units = unit_text(together["mse"].attrs["units"])
    first = next(iter(latencies))
    names = [name for name in together["name"].values if name not in ("persistence", "last_value")]
    shown = panels_of(together.sel(name=names), bootstrap)
    paired = {first: np.zeros(leads_h.size), **differences}
    sheets: dict[str, Any] = {
        "leads": partial(draw_leads, shown, leads_h, logarithmic=[next(iter(shown))], levels=IDEALS),
        "skill": partial(draw_leads, skill, leads_h, levels=dict.fromkeys(skill, 0.0)),
        "differences": partial(draw_leads, {f"MSE less that of {first} ({units})": paired}, leads_h),
    }
    errors = together["mse"].isel(fcst_hour=-1).mean("init_time")
    points = {
        f"{name}, {latency['device']}": (latency["seconds_per_forecast"], float(errors.sel(name=name)))
        for name, latency in latencies.items()
        if latency is not None
    }
    if points:
        label = f"MSE ({units}) at {float(leads_h[-1]):g} h"
        sheets["accuracy_latency"] = partial(draw_latency, points, lines_of(together), label=label)
    for name, draw in sheets.items():
        yield from try_to_draw(folder / name, draw)
