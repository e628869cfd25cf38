"""Forecasts beside what came, what costs nothing and what is possible: scores and words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from tqdm import tqdm

from fieldwise.errors import InputError
from fieldwise.recipes.temperature_forecast.judgement.forecasts import Forecast, Opened, read_forecasts
from fieldwise.recipes.temperature_forecast.judgement.references import References
from fieldwise.scores import SpectrumSums, coverage_of_ranks, crps_of_cells, make_score, ranks_of, taper_edges
from fieldwise.scores.forecasts import (
    BlockBootstrap,
    ConditionalQuantiles,
    ForecastScores,
    anomaly_correlation,
    gradient_ratio,
    mean_absolute_error,
    mean_error,
    mean_over_cells,
    mean_squared_error,
    peak_signal_to_noise,
    structural_similarity,
    tell_differences,
    tell_hours,
    tell_leads,
)
from fieldwise.scores.forecasts.measures import PUBLISHED_RANGES, WINDOW
from fieldwise.scores.forecasts.results import BEST, SPREAD

SHOWN_H = (1, 3, 6, 9, 12, 18, 24, 36, 48)  # leads that tables and figures show
SHOWN = ("mse", "acc", "ssim", "gradient_ratio", "bias", "crps", "coverage_90", "spread_skill", "skill_score")
SPECTRA = ("prediction", "member")
BIN_K = 1.0
BINS = 50  # over the range of what is not a temperature
HALF = "half the Nyquist wavenumber"
RIVALS = ("damped_persistence", "persistence", "last_value")


@dataclass
class Judged:
    """What a judgement gathers, init time after init time.

    Parameters
    ----------
    scores
        Of each init time.
    pairs
        Lead to counts of forecast and observed values.
    spectra
        Name to lead to spectra.
    ranks
        (lead, member + 1) how often so many members lay below what came, in shares of cells; or None.
    """

    scores: ForecastScores
    pairs: dict[float, ConditionalQuantiles]
    spectra: dict[str, dict[float, SpectrumSums]] = field(default_factory=dict)
    ranks: np.ndarray | None = None

    def add(self, forecast: Forecast, references: References, *, periodic: bool) -> None:
        """Add what was forecast from one init time on."""
        scores = score_maps(forecast, references)
        if forecast.members is not None:
            more, counts = score_members(forecast, references.cells.weights)
            for measure, each in more.items():
                scores[measure] = {**scores.get(measure, {}), **each}
            self.ranks = counts if self.ranks is None else self.ranks + counts
        if forecast.exact is not None:
            scores["mse"][BEST] = forecast.exact
        self.scores.add(forecast.case, forecast.init_h, scores)
        for number, lead in enumerate(self.scores.leads_h.tolist()):
            if lead in self.pairs:
                self.pairs[lead].add(forecast.maps["prediction"][number], forecast.observed[number])
            self._add_spectra(forecast, number, lead, periodic=periodic)

    def _add_spectra(self, forecast: Forecast, number: int, lead: float, *, periodic: bool) -> None:
        observed = forecast.observed[number]
        for name in SPECTRA:
            if name in forecast.maps and min(observed.shape) >= WINDOW:
                both = [np.asarray(each, np.float64) for each in (forecast.maps[name][number], observed)]
                both = both if periodic else [taper_edges(each) for each in both]
                sums = self.spectra.setdefault(name, {}).setdefault(lead, SpectrumSums(1.0))
                sums.add(both[0][None], both[1][None])

    def results(self, best: Mapping[str, Sequence[float]]) -> xr.Dataset:
        """Give all scores as one dataset, beside the best possible ones: measure to (lead,).

        Where the error of the exact forecast is known of every init time, it stands for the expected one.
        """
        results = self.scores.dataset()
        exact = BEST in results["name"] and bool(results["mse"].sel(name=BEST).notnull().all())
        if not exact:
            results = results.sel(name=[name for name in results["name"].values if name != BEST])
        for measure, values in best.items():
            if measure != "mse" or not exact:
                results[f"{BEST}_{measure}"] = ("fcst_hour", np.asarray(values, dtype=np.float64))
        if self.ranks is not None:
            results["rank_count"] = (("fcst_hour", "rank"), self.ranks)
        return results

    def spectrum_rows(self) -> list[dict[str, Any]]:
        """Give rows of the power at half the Nyquist wavenumber over that of what came, by lead."""
        return [
            make_score(
                self.scores.against,
                "power_ratio",
                "1",
                name,
                sums.at(0.5)["power_ratio"],
                lead_h=tell_hours([lead])[0],
                at=HALF,
            )
            for name, leads in self.spectra.items()
            for lead, sums in leads.items()
        ]


def judge_forecasts(
    opened: Sequence[Opened], references: References, *, progress: bool = False
) -> tuple[Judged, dict[str, Any]]:
    """Score all forecasts, of those init times that the baselines know too.

    Returns
    -------
    tuple
        What was gathered, and facts: how many init times were judged, how many lack a day before or a time to
        come, of how many the climatology is that of other months, and the range of the data.

    >>> from fieldwise.recipes.temperature_forecast.judgement.examples import make_forecasts
    >>> judged, facts = judge_forecasts(*make_forecasts())
    >>> facts["n_init_times"], facts["n_left_out"], facts["n_of_months_not_in_training"]
    (34, 24, 34)
    """
    day = references.day
    history = day if any(each.choose(history=day).size for each in opened) else 0
    total = sum(each.choose(history=history).size for each in opened)
    if not total:
        longest = max(each.case.frames for each in opened)
        raise InputError(
            f"{opened[0].path.parent}: of no init time all {len(opened[0].leads_h)} leads were observed in "
            f"{longest} frames; predict from earlier ones"
        )
    target, first = opened[0].target, opened[0]
    units = first.case.variables[target].units
    width = BIN_K if units == "K" else (references.data_range or 1.0) / BINS
    shown = choose_leads(first.leads_h)
    judged = Judged(
        ForecastScores(
            first.leads_h.tolist(), units=units, target=target, against=first.case.split or "test"
        ),
        {lead: ConditionalQuantiles(width) for lead in shown},
    )
    read = read_forecasts(opened, references, history=history)
    for forecast in tqdm(read, total=total, desc="judging", unit="forecast", disable=not progress):
        judged.add(forecast, references, periodic=first.case.periodic)
    left_out = sum(each.init_h.size for each in opened) - total
    foreign = ~references.climatology.knows_month(judged.scores.dataset()["init_time"])
    return judged, {
        "n_init_times": total,
        "n_left_out": left_out,
        "n_of_months_not_in_training": int(foreign.sum()),
        "data_range": references.data_range,
    }


def choose_leads(leads_h: ArrayLike) -> list[float]:
    """Choose the leads that tables and figures show: 1, 3, 6, 9, 12 h and so on, and the last.

    >>> choose_leads(range(1, 11)), choose_leads([2.0, 4.0])
    ([1.0, 3.0, 6.0, 9.0, 10.0], [4.0])
    """
    leads = np.asarray(leads_h, dtype=np.float64).tolist()
    return [lead for lead in leads if lead in SHOWN_H or lead == leads[-1]]


def score_maps(forecast: Forecast, references: References) -> dict[str, dict[str, np.ndarray]]:
    """Score the maps of one init time: measure to name to (lead,).

    >>> from fieldwise.recipes.temperature_forecast.judgement.examples import make_forecasts
    >>> (opened,), references = make_forecasts()
    >>> scores = score_maps(opened.read(30, references), references)
    >>> {name: values.round(2).tolist() for name, values in scores["bias"].items()}["prediction"]
    [0.5, 0.5]
    """
    cells, names = references.cells, list(forecast.maps)
    maps = np.stack([forecast.maps[name] for name in names])  # (name, lead, y, x)
    observed, normal = forecast.observed, forecast.normal
    squares = mean_squared_error(maps, observed, weights=cells.weights)
    data_range = references.data_range
    found = {
        "mse": squares,
        "bias": mean_error(maps, observed, weights=cells.weights),
        "acc": anomaly_correlation(maps, observed, climatology=normal, weights=cells.weights),
        "gradient_ratio": gradient_ratio(maps, observed, weights=cells.weights, narrowing=cells.narrowing),
        "crps": mean_absolute_error(maps, observed, weights=cells.weights),
        "psnr": peak_signal_to_noise(squares, data_range=data_range),
        "psnr_published": peak_signal_to_noise(squares, data_range=PUBLISHED_RANGES["psnr"]),
    }
    if min(maps.shape[-2:]) >= WINDOW:
        ranges = (data_range, PUBLISHED_RANGES["ssim"])
        similarity = structural_similarity(maps, observed, data_range=ranges)
        found |= dict(zip(("ssim", "ssim_published"), similarity, strict=True))
    scores = {measure: dict(zip(names, values, strict=True)) for measure, values in found.items()}
    if forecast.of_ensemble:  # that of one map is not that of an ensemble
        del scores["crps"]["prediction"]
    return scores


def score_members(
    forecast: Forecast, weights: np.ndarray | None
) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:
    """Score the members of one init time, and count how many lay below what came.

    Returns
    -------
    tuple
        Measure to name to (lead,): CRPS, coverage of the 90 % interval and what the spread says of errors;
        and (lead, member + 1) shares of the cells.

    >>> from dataclasses import replace
    >>> from fieldwise.recipes.temperature_forecast.judgement.examples import make_forecasts
    >>> (opened,), references = make_forecasts()
    >>> forecast = opened.read(30, references)
    >>> members = np.stack([forecast.observed - 1, forecast.observed + 1])
    >>> scores, counts = score_members(replace(forecast, members=members), None)
    >>> scores["crps"]["prediction"].tolist(), scores["spread_variance"]["prediction"].tolist()
    ([0.0, 0.0], [3.0, 3.0])
    >>> counts.tolist()
    [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """
    members = np.asarray(forecast.members, dtype=np.float64)
    observed = np.asarray(forecast.observed, dtype=np.float64)
    if len(members) < 2:
        raise InputError(f"{forecast.case}: 1 member makes no ensemble; predict with --members 2 at least")
    ranks = ranks_of(members, observed).reshape(observed.shape)
    cells = np.ones(observed.shape[1:]) if weights is None else weights
    shares = (cells / cells.sum()).ravel()
    counts = np.stack([np.bincount(each.ravel(), shares, len(members) + 1) for each in ranks])
    variance = members.var(axis=0, ddof=1) * (len(members) + 1) / len(members)
    scores = {
        "crps": mean_over_cells(crps_of_cells(members, observed), weights),
        "coverage_90": np.array([coverage_of_ranks(each) for each in counts]),
        SPREAD: mean_over_cells(variance, weights),
    }
    return {measure: {"prediction": values} for measure, values in scores.items()}, counts


def best_possible(opened: Opened) -> dict[str, list[float]]:
    """Give the best possible scores where the data tells them: measure to (lead,).

    >>> from fieldwise.recipes.temperature_forecast.judgement.examples import make_forecasts
    >>> (opened,), references = make_forecasts()
    >>> best_possible(opened)
    {'mse': [0.1, 0.2]}
    """
    known = opened.case.facts.get("best_possible", {}).get(opened.target, {})
    steps = opened.steps - 1
    return {
        measure: [values[step] for step in steps]
        for measure, values in known.items()
        if measure in ("mse", "crps") and steps.max() < len(values)
    }


def say(results: xr.Dataset, bootstrap: BlockBootstrap | None, days: int) -> Iterator[str]:
    """Say at which leads the forecasts beat the best baseline, and how near they are to what is possible.

    >>> from fieldwise.recipes.temperature_forecast.judgement.examples import make_forecasts
    >>> from fieldwise.scores.forecasts import resample_blocks
    >>> opened, references = make_forecasts(hours=240)
    >>> judged, facts = judge_forecasts(opened, references)
    >>> results = judged.results({"mse": [0.1, 0.25]})
    >>> for line in say(results, *resample_blocks(results, days=7, draws=100, seed=0)):
    ...     print(line)
    MSE against damped persistence: better at 1 and 2 h (paired, blocks of 1 day)
    MSE is 2.50 of the best possible at 1 h, 1.00 at 2 h
    """
    names = results["name"].values.tolist()
    rival = next(name for name in RIVALS if name in names)
    leads = tell_hours(results["fcst_hour"].values)
    own, other = (results["mse"].sel(name=name).to_numpy() for name in ("prediction", rival))
    words = f"MSE against {rival.replace('_', ' ')}"
    if bootstrap is None:
        yield f"{words}: init times of one block alone, so nobody knows how sure a difference is"
    else:
        told = tell_differences(leads, (own - other).mean(axis=0), bootstrap.interval(own - other))
        yield f"{words}: {told} (paired, blocks of {days} day{'s' * (days > 1)})"
    for measure, label in (("mse", "MSE"), ("crps", "CRPS")):
        exact = measure == "mse" and BEST in names
        if exact or (f"{BEST}_{measure}" in results and (measure == "mse" or SPREAD in results)):
            best = (results["mse"].sel(name=BEST) if exact else results[f"{BEST}_{measure}"]).to_numpy()
            found = results[measure].sel(name="prediction").to_numpy()
            members = results.sizes.get("rank", 1) - 1 if measure == "mse" else 0
            yield from _say_best(leads, found, best, label, bootstrap, members=members)


def _say_best(
    leads: Sequence[float],
    found: np.ndarray,
    best: np.ndarray,
    label: str,
    bootstrap: BlockBootstrap | None,
    *,
    members: int,
) -> Iterator[str]:
    """Say how many times the best, (lead,) or (init time, lead), a score is; call out what is below it."""
    if (best > 0).all():
        ratios = dict(zip(leads, found.mean(axis=0) / np.atleast_2d(best).mean(axis=0), strict=True))
        told = ", ".join(f"{ratios[lead]:.2f} at {lead:g} h" for lead in choose_leads(leads))
        least = f" (the mean of {members} true draws: {1 + 1 / members:.2f})" if members else ""
        yield f"{label} is {told.replace(' at', ' of the best possible at', 1)}{least}"
    if bootstrap is None:
        return
    below = bootstrap.lies_below(found - best, 0.0)
    if below.any():
        spans = tell_leads(leads, np.where(below, "below", "possible")).split("; ")
        where = " and ".join(span.removeprefix("below ") for span in spans if span.startswith("below"))
        yield (
            f"{label} is below the best possible by more than sampling error {where}: the network has seen "
            "the answer"
        )


def choose_rows(rows: Iterable[Mapping[str, Any]], leads_h: ArrayLike) -> list[Mapping[str, Any]]:
    """Choose the rows that are printed: the main measures at some leads.

    >>> rows = [make_score("test", "mse", "K2", "prediction", 1, lead_h=lead) for lead in (1, 2, 3)]
    >>> [row["lead_h"] for row in choose_rows(rows, [1, 2, 3])]
    [1, 3]
    """
    shown = choose_leads(leads_h)
    return [row for row in rows if row["measure"] in SHOWN and row.get("lead_h") in shown]
