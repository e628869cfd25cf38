"""A judgement drawn: over leads and hours, by what was forecast, at deciles of the error, by wavelength."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.recipes.temperature_forecast.judgement.forecasts import Opened
from fieldwise.recipes.temperature_forecast.judgement.references import References
from fieldwise.recipes.temperature_forecast.judgement.scores import Judged, choose_leads
from fieldwise.scores.forecasts import BlockBootstrap, mean_by_hour, mean_scores
from fieldwise.scores.forecasts.quantiles import Side
from fieldwise.scores.forecasts.results import BEST, SPREAD
from fieldwise.scores.tables import label_of, make_score

LATENCY = "latency.json"
PANELS = ("mse", "acc", "ssim", "gradient_ratio", "bias", "crps")
IDEALS = {"Gradient ratio": 1.0, "Spread : error": 1.0, "Bias (K)": 0.0}  # by label
DECILES = tuple(range(10, 101, 10))
A_SHEET = 5  # cases
LEAST_PAIRS = 200  # of a bin, for its quantiles to be drawn
SIDES: tuple[Side, ...] = ("forecast", "observed")
LABELS = {"t2m": "2 m temperature"}


def draw_judgement(
    run: Path,
    opened: Sequence[Opened],
    references: References,
    judged: Judged,
    results: xr.Dataset,
    bootstrap: BlockBootstrap | None,
    latency: Mapping[str, Any] | None = None,
) -> Iterator[Path]:
    """Draw all figures of a judgement into the folder `figures` of a run; what cannot be drawn is told.

    >>> import tempfile
    >>> from fieldwise.recipes.temperature_forecast.judgement.examples import make_forecasts
    >>> from fieldwise.recipes.temperature_forecast.judgement.scores import judge_forecasts
    >>> opened, references = make_forecasts()
    >>> judged, facts = judge_forecasts(opened, references)
    >>> drawn = draw_judgement(Path(tempfile.mkdtemp()), opened, references, judged, judged.results({}), None)
    >>> next(drawn).name
    'leads.png'
    """
    from fieldwise.figures import try_to_draw
    from fieldwise.figures.forecasts import draw_hours, draw_latency, draw_leads

    folder, leads_h = run / "figures", judged.scores.leads_h
    quantity = f"{LABELS.get(judged.scores.target, judged.scores.target)} ({judged.scores.units})"
    label = label_of(_row(results, "mse"))
    sheets: dict[str, Any] = {
        "leads": partial(
            draw_leads, panels_of(results, bootstrap), leads_h, logarithmic=[label], levels=IDEALS
        ),
        "hours": partial(draw_hours, _hours_of(results, choose_leads(leads_h)), label=label),
        **_list_sheets(judged, quantity),
    }
    if latency is not None:
        points = {"prediction": (latency["seconds_per_forecast"], _at_last_lead(results, "prediction"))}
        words = f"{label} at {leads_h[-1]:g} h"
        sheets["accuracy_latency"] = partial(draw_latency, points, lines_of(results), label=words)
    for name, draw in sheets.items():
        yield from try_to_draw(folder / name, draw)
    yield from draw_deciles(folder, opened, references, results, quantity=quantity)


def _list_sheets(judged: Judged, quantity: str) -> dict[str, Any]:
    """List the figures of pairs of values, spectra and ranks."""
    from fieldwise.figures import draw_spectra
    from fieldwise.figures.forecasts import draw_conditional_quantiles, draw_ranks

    leads_h, sheets = judged.scores.leads_h.tolist(), {}
    shown = choose_leads(leads_h)
    for lead, pairs in judged.pairs.items():
        tables = [pairs.table(given=given, least=LEAST_PAIRS) for given in SIDES]
        if all(table["count"].size for table in tables):
            draw: Any = partial(draw_conditional_quantiles, *tables, quantity=quantity, lead_h=lead)
            sheets[f"quantiles_{lead:02g}h"] = draw
    words: Any = {"power_units": f"{judged.scores.units}² cell²", "wavenumber_units": "radians a cell"}
    for name, leads in judged.spectra.items():
        spectra: Any = {f"{lead:g} h": leads[lead] for lead in shown}
        sheets[f"spectra_{name}"] = partial(draw_spectra, spectra, **words)
    if judged.ranks is not None:
        counts = {f"{lead:g} h": judged.ranks[leads_h.index(lead)] for lead in shown}
        sheets["ranks"] = partial(draw_ranks, counts)
    return sheets


def _row(results: xr.Dataset, measure: str) -> dict[str, Any]:
    return make_score("", measure, results[measure].attrs["units"], "", 0.0)


def panels_of(results: xr.Dataset, bootstrap: BlockBootstrap | None) -> dict[str, dict[str, np.ndarray]]:
    """Give label of an axis to name to (3, lead) of the mean score and its interval.

    >>> from fieldwise.scores.forecasts import ForecastScores
    >>> scores = ForecastScores([1], units="K", target="t2m")
    >>> scores.add("march", 0.0, {"mse": {"prediction": [0.2]}})
    >>> list(panels_of(scores.dataset(), None))
    ['MSE (K2)']
    """
    panels = {}
    measures = [
        *(each for each in PANELS if each in results),
        *(["spread_skill"] if SPREAD in results else []),
    ]
    for measure in measures:
        unit = results[measure].attrs["units"] if measure in results else "1"
        named = mean_scores(results, measure, bootstrap)
        if f"{BEST}_{measure}" in results:
            named[BEST] = results[f"{BEST}_{measure}"].to_numpy()
        label = label_of(make_score("", measure, unit, "", 0.0))
        panels[label[:1].upper() + label[1:]] = named
    return panels


def _hours_of(results: xr.Dataset, leads: Sequence[float]) -> dict[str, dict[str, dict[int, float]]]:
    """Give lead to name to hour of the day to MSE."""
    names = [name for name in results["name"].values.tolist() if name not in ("member", "last_value")]
    return {
        f"{lead:g} h ahead": {name: mean_by_hour(results, "mse", name, lead_h=lead) for name in names}
        for lead in leads
    }


def _at_last_lead(results: xr.Dataset, name: str) -> float:
    return float(results["mse"].sel(name=name).isel(fcst_hour=-1).mean())


def lines_of(results: xr.Dataset) -> dict[str, float]:
    """Give the MSE at the last lead of what costs nothing, and of the best possible, where known.

    >>> from fieldwise.scores.forecasts import ForecastScores
    >>> scores = ForecastScores([1, 2], units="K", target="t2m")
    >>> scores.add("march", 0.0, {"mse": {"prediction": [0.2, 0.4], "damped_persistence": [0.3, 0.5]}})
    >>> lines_of(scores.dataset())
    {'damped_persistence': 0.5}
    """
    names = results["name"].values.tolist()
    lines = {
        name: _at_last_lead(results, name)
        for name in ("damped_persistence", "climatology", BEST)
        if name in names
    }
    best = {BEST: float(results[f"{BEST}_mse"][-1])} if f"{BEST}_mse" in results else {}
    return lines | best


def read_latency(run: str | Path) -> Mapping[str, Any] | None:
    """Read how long a forecast of a run takes, `seconds_per_forecast` on `device`; None where nobody knows.

    >>> read_latency("model/no_such_run")
    """
    path = Path(run) / LATENCY
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"device": "cpu", **content, "seconds_per_forecast": float(content["seconds_per_forecast"])}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: tells no seconds_per_forecast ({error}); predict again") from None


def draw_deciles(
    folder: Path,
    opened: Sequence[Opened],
    references: References,
    results: xr.Dataset,
    *,
    quantity: str,
) -> Iterator[Path]:
    """Draw observed and forecast maps of the init times at the deciles of the MSE of the last lead.

    >>> import tempfile
    >>> from fieldwise.recipes.temperature_forecast.judgement.examples import make_forecasts
    >>> from fieldwise.recipes.temperature_forecast.judgement.scores import judge_forecasts
    >>> opened, references = make_forecasts()
    >>> results = judge_forecasts(opened, references)[0].results({})
    >>> paths = draw_deciles(Path(tempfile.mkdtemp()), opened, references, results, quantity="t2m (K)")
    >>> [path.name for path in paths]
    ['cases_010_to_050.png', 'cases_060_to_100.png']
    """
    from fieldwise.figures import try_to_draw
    from fieldwise.figures.forecasts import draw_cases

    errors = results["mse"].sel(name="prediction").isel(fcst_hour=-1)
    ahead = f"{float(errors['fcst_hour']):g} h ahead"
    order = np.argsort(errors.to_numpy(), kind="stable")
    for first in range(0, len(DECILES), A_SHEET):
        deciles = DECILES[first : first + A_SHEET]
        chosen = [order[round((len(order) - 1) * decile / 100)] for decile in deciles]
        cases = {
            f"{decile} %, {ahead}": _maps_of(opened, references, errors.isel(init_time=int(place)))
            for decile, place in zip(deciles, chosen, strict=True)
        }
        globe = opened[0].case.facts.get("globe") if not opened[0].case.periodic else None
        draw = partial(draw_cases, cases, quantity=quantity, globe=globe)
        yield from try_to_draw(folder / f"cases_{deciles[0]:03d}_to_{deciles[-1]:03d}", draw)


def _maps_of(
    opened: Sequence[Opened], references: References, score: xr.DataArray
) -> tuple[str, np.ndarray, np.ndarray]:
    """Give the valid time and score, and the observed and forecast map, of the last lead of an init time."""
    from fieldwise.figures.panels import unit_text

    case, init_h = str(score["case"].item()), float(score["init_time"])
    each = next(each for each in opened if each.case.name == case)
    forecast = each.read(int(np.argmin(np.abs(each.init_h - init_h))), references)
    time = np.datetime64("2000-01-01T00", "m") + round(60 * float(forecast.valid_h[-1]))
    words = f"{str(time).replace('T', ' ')}\nMSE {float(score):.3g} {unit_text(score.attrs['units'])}"
    return words, forecast.observed[-1], forecast.maps["prediction"][-1]
