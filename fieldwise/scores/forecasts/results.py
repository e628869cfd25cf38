"""The scores of every init time, lead and forecast: what is averaged, how sure that is, and what is compared.

They are a dataset: each measure is (name, init_time, fcst_hour), NaN where it has no meaning. Beside
init_time stands its case: two cases may have the same times. ``best_possible_MEASURE`` is (fcst_hour), where
known, and ``rank_count`` (fcst_hour, rank) counts how many members lay below what came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.samples.weather.records import TIME
from fieldwise.scores.forecasts.blocks import BlockBootstrap, choose_block_days, interval_of, number_blocks
from fieldwise.scores.tables import make_score

RESULTS = "results.nc"
DIMS = ("name", "init_time", "fcst_hour")
MORE_IS_BETTER = ("psnr", "ssim", "acc")
SPREAD = "spread_variance"  # variance of the members, times (M + 1) / M: what their mean errs by
BEST = "best_possible"
Scores = Mapping[str, Mapping[str, ArrayLike]]  # measure -> name -> (lead,)


def unit_of(measure: str, units: str) -> str:
    """Give the unit of a measure of values in some units.

    >>> [unit_of(measure, "K") for measure in ("mse", "bias", "acc", "psnr_published")]
    ['K2', 'K', '1', 'dB']
    """
    if measure in ("mse", SPREAD):
        return f"{units}2" if units.isalpha() else f"({units})2"
    if measure in ("bias", "crps"):
        return units
    return "dB" if measure.startswith("psnr") else "1"


class ForecastScores:
    """Scores of forecasts, init time after init time, that become a dataset.

    Parameters
    ----------
    leads_h
        (lead,) hours.
    units
        Of the values that are forecast.
    target
        What they are called.
    against
        Split that they are judged by.

    Examples
    --------
    >>> scores = ForecastScores([1, 2], units="K", target="t2m")
    >>> scores.add("march", 0.0, {"mse": {"prediction": [0.2, 0.4], "persistence": [2.0, 2.0]}})
    >>> scores.add("march", 1.0, {"mse": {"prediction": [0.4, 0.8], "persistence": [2.0, 2.0]}})
    >>> scores.dataset()["mse"].mean("init_time").values.round(2).tolist()
    [[0.3, 0.6], [2.0, 2.0]]
    """

    def __init__(self, leads_h: Sequence[float], *, units: str, target: str, against: str = "test") -> None:
        self.leads_h = np.asarray(leads_h, dtype=np.float64)
        self.units, self.target, self.against = units, target, against
        self._cases: list[str] = []
        self._hours: list[float] = []
        self._scores: list[Scores] = []

    def add(self, case: str, init_h: float, scores: Scores) -> None:
        """Add the scores of an init time, in hours since the year 2000."""
        self._cases.append(case)
        self._hours.append(init_h)
        self._scores.append(scores)

    def dataset(self) -> xr.Dataset:
        """Give them as one; InputError where there are none."""
        if not self._scores:
            raise InputError("there is no forecast to judge; predict some of init times with a day before")
        measures = list(dict.fromkeys(measure for scores in self._scores for measure in scores))
        names = list(
            dict.fromkeys(name for scores in self._scores for each in scores.values() for name in each)
        )
        missing = np.full(len(self.leads_h), np.nan)
        variables = {}
        for measure in measures:
            values = [[scores[measure].get(name, missing) for scores in self._scores] for name in names]
            units = {"units": unit_of(measure, self.units)}
            variables[measure] = (DIMS, np.array(values, dtype=np.float64), units)
        coordinates = {
            "name": names,
            "init_time": ("init_time", np.array(self._hours), dict(TIME)),
            "case": ("init_time", np.array(self._cases)),
            "fcst_hour": ("fcst_hour", self.leads_h, {"units": "h"}),
        }
        attributes = {"target": self.target, "units": self.units, "against": self.against}
        return xr.Dataset(variables, coordinates, attributes)


def write_results(results: xr.Dataset, run: str | Path) -> Path:
    """Write the dataset into a run folder, as results.nc.

    >>> import tempfile
    >>> scores = ForecastScores([1], units="K", target="t2m")
    >>> scores.add("march", 0.0, {"mse": {"prediction": [0.2]}})
    >>> run = Path(tempfile.mkdtemp())
    >>> write_results(scores.dataset(), run).name, read_results(run)["mse"].item()
    ('results.nc', 0.2)
    """
    path = Path(run) / RESULTS
    with replace_when_done(path) as partial:
        results.to_netcdf(partial, engine="h5netcdf")
    return path


def read_results(run: str | Path) -> xr.Dataset:
    """Read what :func:`write_results` wrote.

    Raises
    ------
    InputError
        Where the run has none, or they are damaged.

    Examples
    --------
    >>> read_results("model/no_such_run")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/no_such_run: holds no results.nc; judge it with ...
    """
    path = Path(run) / RESULTS
    if not path.exists():
        raise InputError(
            f"{run}: holds no {RESULTS}; judge it with `fieldwise temperature_forecast evaluate`"
        )
    try:
        with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as opened:
            results = opened.load()
        if not {*DIMS} <= {*results.dims} or "mse" not in results or "against" not in results.attrs:
            raise ValueError("it holds no scores")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())}); evaluate again") from None
    return results


def resample_blocks(
    results: xr.Dataset, *, days: int, draws: int, seed: int
) -> tuple[BlockBootstrap | None, int]:
    """Give the draws of blocks of days that scores are made sure by, and how many days a block has.

    They are None where there is but one block.

    >>> scores = ForecastScores([1], units="K", target="t2m")
    >>> for hour in range(72):
    ...     scores.add("march", hour, {"mse": {"prediction": [0.2]}})
    >>> bootstrap, days = resample_blocks(scores.dataset(), days=7, draws=10, seed=0)
    >>> bootstrap.count, days
    (3, 1)
    """
    hours, cases = results["init_time"].to_numpy(), results["case"].to_numpy()
    days = choose_block_days(hours, cases, wanted=days)
    blocks = number_blocks(hours, cases, days=days)
    return (BlockBootstrap(blocks, draws=draws, seed=seed) if blocks.max() > 0 else None), days


def list_measures(results: xr.Dataset) -> list[str]:
    """List the measures that stand for themselves, as the spread of members does not.

    >>> scores = ForecastScores([1], units="K", target="t2m")
    >>> scores.add("march", 0, {"mse": {"prediction": [0.2]}, "spread_variance": {"prediction": [0.2]}})
    >>> list_measures(scores.dataset())
    ['mse']
    """
    return [str(key) for key, each in results.data_vars.items() if each.dims == DIMS and key != SPREAD]


def mean_scores(results: xr.Dataset, measure: str, bootstrap: BlockBootstrap | None) -> dict[str, np.ndarray]:
    """Give the mean over init times of a measure and its interval, by name: (3, lead) of value, low, high.

    The spread of members over the error of their mean, ``spread_skill``, is a ratio of means. Names that
    have no such score are left out; without draws, the interval is NaN.

    >>> scores = ForecastScores([1], units="K", target="t2m")
    >>> for error in (1.0, 3.0):
    ...     scores.add("march", error, {"mse": {"prediction": [error]}})
    >>> mean_scores(scores.dataset(), "mse", None)["prediction"].tolist()
    [[2.0], [nan], [nan]]
    """
    ratio = measure == "spread_skill"
    found = {}
    for name in results["name"].to_numpy().tolist():
        values = results[SPREAD if ratio else measure].sel(name=name).to_numpy()
        if np.isnan(values).all():
            continue
        mean, drawn = np.nanmean(values, axis=0), bootstrap.means(values) if bootstrap else None
        if ratio:
            squares = results["mse"].sel(name=name).to_numpy()
            mean = np.sqrt(mean / squares.mean(axis=0))
            drawn = None if drawn is None or bootstrap is None else np.sqrt(drawn / bootstrap.means(squares))
        unknown = np.full((2, mean.size), np.nan)
        found[name] = np.stack([mean, *(unknown if drawn is None else interval_of(drawn))])
    return found


def score_leads(results: xr.Dataset, bootstrap: BlockBootstrap | None) -> list[dict[str, Any]]:
    """Give rows of scores by lead, with intervals; the best possible is one of the names, where known.

    >>> scores = ForecastScores([1, 2], units="K", target="t2m")
    >>> scores.add("march", 0.0, {"mse": {"prediction": [0.2, 0.4]}})
    >>> score_leads(scores.dataset(), None)[1]
    {'against': 'test', 'measure': 'mse', 'unit': 'K2', 'name': 'prediction', 'value': 0.4, 'lead_h': 2}
    """
    measures, against = list_measures(results), results.attrs["against"]
    rows: list[dict[str, Any]] = []
    leads = tell_hours(results["fcst_hour"].to_numpy())
    for measure in (*measures, *(["spread_skill"] if SPREAD in results else [])):
        unit = results[measure].attrs["units"] if measure in results else "1"
        named = mean_scores(results, measure, bootstrap)
        if f"{BEST}_{measure}" in results:
            best = results[f"{BEST}_{measure}"].to_numpy()
            named[BEST] = np.stack([best, *np.full((2, best.size), np.nan)])
        for name, scores in named.items():
            for lead, (value, low, high) in zip(leads, scores.T.tolist(), strict=True):
                sure = {"low": low, "high": high} if np.isfinite([low, high]).all() else {}
                rows.append(make_score(against, measure, unit, name, value, lead_h=lead, **sure))
    return rows


def score_hours(results: xr.Dataset) -> list[dict[str, Any]]:
    """Give rows of scores by the hour of the day that forecasts are valid at, UTC, over all leads.

    >>> scores = ForecastScores([1], units="K", target="t2m")
    >>> scores.add("march", 23.0, {"mse": {"prediction": [0.2]}})
    >>> score_hours(scores.dataset())[0]["hour_utc"]
    0
    """
    rows, against = [], results.attrs["against"]
    for measure in list_measures(results):
        unit = results[measure].attrs["units"]
        for name in results["name"].to_numpy().tolist():
            for hour, value in mean_by_hour(results, measure, name).items():
                if not np.isnan(value):
                    rows.append(make_score(against, measure, unit, name, value, hour_utc=hour))
    return rows


def mean_by_hour(
    results: xr.Dataset, measure: str, name: str, *, lead_h: float | None = None
) -> dict[int, float]:
    """Give the mean of a measure by the hour of the day that forecasts are valid at; of one lead, or all.

    >>> scores = ForecastScores([1, 2], units="K", target="t2m")
    >>> scores.add("march", 0.0, {"mse": {"prediction": [0.2, 0.4]}})
    >>> scores.add("march", 1.0, {"mse": {"prediction": [0.6, 0.8]}})
    >>> mean_by_hour(scores.dataset(), "mse", "prediction")
    {1: 0.2, 2: 0.5, 3: 0.8}
    """
    chosen = results if lead_h is None else results.sel(fcst_hour=[lead_h])
    valid = chosen["init_time"].to_numpy()[:, None] + chosen["fcst_hour"].to_numpy()
    hours, values = np.floor(valid).astype(int) % 24, chosen[measure].sel(name=name).to_numpy()
    known = ~np.isnan(values)
    return {int(hour): float(values[known & (hours == hour)].mean()) for hour in np.unique(hours[known])}


def tell_hours(hours: ArrayLike) -> list[int | float]:
    """Give hours as whole numbers where they are.

    >>> tell_hours([1.0, 1.5])
    [1, 1.5]
    """
    return [int(hour) if float(hour).is_integer() else float(hour) for hour in np.asarray(hours)]


def share_forecasts(results: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Cut the results of several runs to the cases, init times and leads that all of them have.

    Raises
    ------
    InputError
        Where they forecast different things, or share no init time or lead.

    Examples
    --------
    >>> made = {}
    >>> for label, hours in (("first", (0, 1, 2)), ("second", (2, 1, 7))):
    ...     scores = ForecastScores([1], units="K", target="t2m")
    ...     for hour in hours:
    ...         scores.add("march", hour, {"mse": {"prediction": [0.1 * hour]}})
    ...     made[label] = scores.dataset()
    >>> {label: each["init_time"].values.tolist() for label, each in share_forecasts(made).items()}
    {'first': [1, 2], 'second': [1, 2]}
    """
    first, *others = results
    for label in others:
        told = [(each.attrs["target"], each.attrs["units"]) for each in (results[first], results[label])]
        if told[0] != told[1]:
            raise InputError(
                f"{label}: forecasts {told[1][0]} in {told[1][1]}, {first} {told[0][0]} in {told[0][1]}; "
                "compare runs of one field"
            )
    keys = {label: _keys(each) for label, each in results.items()}
    shared = sorted(set.intersection(*(set(each) for each in keys.values())))
    hours = set.intersection(*(set(each["fcst_hour"].values.tolist()) for each in results.values()))
    if not shared or not hours:
        what = "init time" if not shared else "lead"
        raise InputError(f"{', '.join(results)}: share no {what}; predict the same cases, then evaluate")
    return {
        label: each.isel(init_time=[keys[label][key] for key in shared]).sel(fcst_hour=sorted(hours))
        for label, each in results.items()
    }


def _keys(results: xr.Dataset) -> dict[tuple[str, float], int]:
    """Give the place of each case and init time."""
    keys = zip(results["case"].values.tolist(), results["init_time"].values.tolist(), strict=True)
    return {key: place for place, key in enumerate(keys)}
