"""How sure a score is, and what it is worth beside others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.scores.errors import root_mean_square
from fieldwise.scores.tables import Row, format_values, label_of, pick, score_all

if TYPE_CHECKING:
    import pandas as pd

ALIKE = 0.01  # scores that differ by less of each other are called alike
NO_RIVALS = ("bound", "truth", "member")  # what nobody would have instead of a prediction


def bootstrap_interval(
    errors: ArrayLike,
    groups: ArrayLike,
    *,
    statistic: Callable[[np.ndarray], float] = root_mean_square,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return how far a score could be off, by drawing whole groups of errors again and again.

    Errors along a flight line are alike, so single picks are no independent evidence: whole flights are
    drawn, with replacement (percentile interval of Efron & Tibshirani 1993, chapter 13).

    Parameters
    ----------
    errors : (n,) errors; missing ones are left out
    groups : (n,) name of the flight that each error belongs to
    statistic : from errors to a score
    n : how often to draw
    seed : the same seed gives the same interval
    level : probability that the interval is to hold

    Returns
    -------
    Lower and upper end, in the units of the statistic.

    Raises
    ------
    InputError
        When the lengths differ, fewer than two groups have errors, or the level is not between 0 and 1.

    Examples
    --------
    >>> low, high = bootstrap_interval([10.0, 10.0, 20.0, 20.0], ["a", "a", "b", "b"])
    >>> low, high  # either flight could have been the only one
    (10.0, 20.0)
    """
    values, names = np.asarray(errors, dtype=np.float64), np.asarray(groups)
    if values.ndim != 1 or values.shape != names.shape:
        raise InputError(f"errors {values.shape} and groups {names.shape} differ; give each error its group")
    if not 0 < level < 1:
        raise InputError(f"level {level:g} is no probability; give one between 0 and 1, such as 0.95")
    known = ~np.isnan(values)
    flights, member = np.unique(names[known], return_inverse=True)
    if len(flights) < 2:
        raise InputError(f"{len(flights)} group(s) cannot be resampled; give errors of at least two flights")
    parts = [values[known][member == index] for index in range(len(flights))]
    random = np.random.default_rng(seed)
    draws = random.integers(len(parts), size=(n, len(parts)))
    scores = [statistic(np.concatenate([parts[index] for index in draw])) for draw in draws]
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def verdict(
    rows: Iterable[Row],
    *,
    against: str,
    measure: str,
    name: str = "prediction",
    better: Literal["less", "more"] = "less",
    **where: Any,
) -> str:
    """Say in words whether a prediction is worth its while: how it compares with every other name.

    Bounds, truths and members (:data:`NO_RIVALS`) are nothing that a user would have instead, and are not
    compared with. What differs by less than one in a hundred is called no better.

    Parameters
    ----------
    rows
        Scores, as :mod:`fieldwise.scores.tables` has them.
    against, measure, where
        Which of them count.
    name
        Whose verdict it is.
    better
        Whether less of the measure is better, as of errors, or more.

    Returns
    -------
    One line; without rivals, the score alone; empty where there is none.

    Examples
    --------
    >>> from fieldwise.scores.tables import make_score
    >>> scores = {"prediction": 48.1, "cubic": 54.7, "spline": 48.2, "inversion": 40.0, "bound": 30.0}
    >>> rows = [make_score("radar", "rmse", "m", name, value) for name, value in scores.items()]
    >>> print(verdict(rows, against="radar", measure="rmse"))
    radar: RMSE of the prediction 48.10 m, 12 % better than cubic (54.70 m), no better than spline (48.20 m);
    inversion alone is better (40.00 m)
    """
    found = [row for row in pick(rows, against=against, measure=measure, **where) if _is_number(row)]
    own = [row for row in found if row["name"] == name]
    if not own:
        return ""
    texts = dict(
        zip((row["name"] for row in found), format_values([row["value"] for row in found]), strict=True)
    )
    unit = "" if own[0]["unit"] in ("", "1") else f" {own[0]['unit']}"
    beaten, winners = [], []
    for row in found:
        if row["name"] == name or row["name"] in NO_RIVALS:
            continue
        gain = _gain(own[0]["value"], row["value"], better)
        rival = f"{row['name']} ({texts[row['name']]}{unit})"
        if gain <= -ALIKE:
            winners.append(f"{row['name']} alone is better ({texts[row['name']]}{unit})")
        else:
            beaten.append(
                f"{gain:.0%}".replace("%", " %") + f" better than {rival}"
                if gain >= ALIKE
                else f"no better than {rival}"
            )
    first = f"{against}: {label_of(own[0], unit=False)} of the {name} {texts[name]}{unit}"
    return "; ".join([", ".join([first, *beaten]), *winners])


def _is_number(row: Row) -> bool:
    return row["value"] is not None and bool(np.isfinite(row["value"]))


def _gain(own: float, rival: float, better: str) -> float:
    """Give by which share of the rival's score the own one is better; negative where it is worse."""
    gain = rival - own if better == "less" else own - rival
    return gain / abs(rival) if rival else float(np.sign(gain))


def score_points(
    samples: Mapping[str, np.ndarray],
    picks: pd.DataFrame,
    *,
    against: str,
    measures: Mapping[tuple[str, str], Callable[..., float]],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score maps read at picks: all together, with an interval, and survey by survey.

    Parameters
    ----------
    samples
        Name of a map to its (n,) values.
    picks
        z, ``flight`` and ``survey`` of each; whole flights are drawn for the interval of the first measure.
    against, measures
        As of :func:`fieldwise.scores.score_all`; by the first one surveys are scored.

    Returns
    -------
    tuple
        Rows, and facts: ``n_picks``, ``n_flights``, and picks of each of the ``surveys``.

    >>> import pandas as pd
    >>> from fieldwise.scores import mae
    >>> picks = pd.DataFrame({"z": [0.0, 0.0], "flight": [0, 1], "survey": "2010tr"})
    >>> options = {"against": "radar", "measures": {("mae", "m"): mae}}
    >>> rows, facts = score_points({"prediction": np.array([10.0, 20.0])}, picks, **options)
    >>> [(row["against"], row["value"]) for row in rows], facts["n_flights"]
    ([('radar', 15.0), ('picks of 2010tr', 15.0)], 2)
    """
    z, flights = picks["z"].to_numpy(), picks["flight"].to_numpy()
    rows = score_all(against, measures, samples, z)
    if len(np.unique(flights)) > 1:  # of a single flight nobody knows how far another would differ
        for row in rows[: len(samples)]:
            row["low"], row["high"] = bootstrap_interval(samples[row["name"]] - z, flights)
    first = dict([next(iter(measures.items()))])
    surveys = picks.groupby("survey").indices
    for survey, group in surveys.items():
        parts = {name: values[group] for name, values in samples.items()}
        rows += score_all(f"picks of {survey}", first, parts, z[group])
    facts = {
        "n_picks": len(picks),
        "n_flights": len(np.unique(flights)),
        "surveys": {str(survey): len(group) for survey, group in surveys.items()},
    }
    return rows, facts
