"""A search for hyper-parameters: how it went, how its trials learnt, which parameters mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldwise.errors import InputError
from fieldwise.figures.panels import COLUMN_CM, PAGE_CM, check_named, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fieldwise.figures.sheets import Sheet

# Okabe & Ito (2008): told apart by colour-blind readers; symbols differ too
COMPLETE, PRUNED, BEST = "#0072B2", "0.55", "#D55E00"
MOST_CHOICES = 4  # of a parameter with so few values, these are named on the axis
HEIGHT_CM = 5.6  # of a row of panels


def draw_study_history(trials: pd.DataFrame, *, label: str, width_cm: float = COLUMN_CM) -> Sheet:
    """Draw the value of each trial of a search in turn, and the best so far.

    Values far above those of the completed trials stand as triangles at the upper edge.

    Parameters
    ----------
    trials : columns number, state ("complete" or "pruned") and value, the best that a pruned one reached
    label : of the value, with its unit; less is better
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is nothing to draw.

    Examples
    --------
    >>> trials = pd.DataFrame({"number": [0, 1, 2], "state": ["complete", "pruned", "complete"],
    ...                        "value": [52.0, 80.0, 47.0]})
    >>> figure = draw_study_history(trials, label="Validation RMSE (m)")
    """
    from fieldwise.figures.sheets import draw_legend, styled_sheet

    low, high = _limits(trials)
    completed = _of(trials, "complete").sort_values("number")
    with styled_sheet(width_cm, HEIGHT_CM) as sheet:
        axes = sheet.subplots()
        if len(completed):
            numbers = [*completed["number"], trials["number"].max()]
            best = completed["value"].cummin()
            axes.step(numbers, [*best, best.min()], where="post", color=BEST, label="Best so far")
        _draw_trials(axes, trials, "number", high)
        _count(axes, "Trial")
        axes.set(ylabel=label, ylim=(low, high))
        draw_legend(axes, width_cm=width_cm - 1)
    return sheet


def draw_study_courses(
    courses: Mapping[int, Mapping[int, float]],
    trials: pd.DataFrame,
    *,
    label: str,
    width_cm: float = COLUMN_CM,
) -> Sheet:
    """Draw what each trial of a search had reached epoch by epoch; pruned ones end early.

    Parameters
    ----------
    courses : number of a trial -> epoch, counted from 0 -> value
    trials, label, width_cm : as of :func:`draw_study_history`

    Raises
    ------
    InputError
        When there is nothing to draw.

    Examples
    --------
    >>> trials = pd.DataFrame({"number": [0, 1], "state": ["complete", "pruned"], "value": [52.0, 80.0]})
    >>> figure = draw_study_courses({0: {0: 90.0, 1: 52.0}, 1: {0: 80.0}}, trials, label="RMSE (m)")
    """
    from fieldwise.figures.sheets import draw_legend, styled_sheet

    check_named({str(number): course for number, course in courses.items()}, "courses")
    values = np.array([value for course in courses.values() for value in course.values()], dtype=float)
    low, _ = _limits(trials)
    high = float(np.nanpercentile(values, 95))
    high += 0.06 * (high - low) or 1.0
    completed = _of(trials, "complete")
    best = None if completed.empty else int(completed.loc[completed["value"].idxmin(), "number"])
    done = set(completed["number"])
    looks = {  # of a trial by its part: name in the legend, colour, width of the line, sign at its end
        "best": ("Best trial", BEST, 1.3, "o"),
        "done": ("Completed", COMPLETE, 0.6, "o"),
        "pruned": ("Pruned", PRUNED, 0.6, "x"),
    }
    parts = {
        number: "best" if number == best else "done" if number in done else "pruned" for number in courses
    }
    with styled_sheet(width_cm, HEIGHT_CM) as sheet:
        axes = sheet.subplots()
        named: set[str] = set()
        for number in sorted(courses, key=lambda number: list(looks).index(parts[number]), reverse=True):
            name, colour, width, sign = looks[parts[number]]
            epochs = np.array(list(courses[number])) + 1
            axes.plot(
                epochs,
                list(courses[number].values()),
                color=colour,
                linewidth=width,
                marker=sign,
                markersize=3,
                markevery=[len(epochs) - 1],
                label="_" if name in named else name,
            )
            named.add(name)
        _count(axes, "Epoch")
        axes.set(ylabel=f"{label}, best so far", ylim=(low, high))
        draw_legend(axes, width_cm=width_cm - 1)
    return sheet


def draw_study_parameters(
    trials: pd.DataFrame, parameters: Sequence[str], *, label: str, width_cm: float = PAGE_CM
) -> Sheet:
    """Draw the values of a search's trials against each of its parameters, with one vertical axis.

    Parameters
    ----------
    trials : as of :func:`draw_study_history`, with a column a parameter; numbers
    parameters : names of those columns
    label, width_cm : as of :func:`draw_study_history`

    Raises
    ------
    InputError
        When there is nothing to draw.

    Examples
    --------
    >>> trials = pd.DataFrame({"number": [0, 1, 2], "state": ["complete", "pruned", "complete"],
    ...                        "value": [52.0, 80.0, 47.0], "learning_rate": [1e-4, 2e-4, 1.4e-4]})
    >>> figure = draw_study_parameters(trials, ["learning_rate"], label="Validation RMSE (m)")
    """
    from matplotlib.ticker import MaxNLocator

    from fieldwise.figures.sheets import styled_sheet

    check_named(dict.fromkeys(parameters), "parameters")
    missing = [name for name in parameters if name not in trials]
    if missing:
        raise InputError(f"trials have no column {missing[0]!r} but {list(trials)}; name one of these")
    low, high = _limits(trials)
    columns = min(len(parameters), 3)
    rows = -(-len(parameters) // columns)
    with styled_sheet(width_cm, HEIGHT_CM * rows) as sheet:
        grid = list(sheet.subplots(rows, columns, squeeze=False, sharey=True).flat)
        for axes in grid[len(parameters) :]:
            axes.remove()
        for axes, name in zip(grid, parameters):
            values = trials[name].astype(float)
            choices = np.unique(values)
            if len(choices) <= MOST_CHOICES:
                values = pd.Series(np.searchsorted(choices, values), index=values.index)
                axes.set_xticks(range(len(choices)), [f"{choice:g}" for choice in choices])
                axes.set_xlim(-0.6, len(choices) - 0.4)
            else:
                axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
                axes.xaxis.set_major_formatter("{x:.8g}")
            _draw_trials(axes, trials.assign(**{name: values.astype(float)}), name, high)
            axes.set(xlabel=title(name), ylim=(low, high))
        for axes in grid[: len(parameters) : columns]:
            axes.set_ylabel(label)
        sheet.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return sheet


def draw_study_importance(importance: Mapping[str, float], *, width_cm: float = COLUMN_CM) -> Sheet:
    """Draw how much each parameter had to do with how good a trial was, the most important one above.

    Parameters
    ----------
    importance : name of a parameter -> share of 1
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is nothing to draw.

    Examples
    --------
    >>> figure = draw_study_importance({"learning_rate": 0.7, "batch_size": 0.3})
    """
    from fieldwise.figures.sheets import styled_sheet

    check_named(importance, "importance")
    names = sorted(importance, key=lambda name: importance[name])
    with styled_sheet(width_cm, 0.6 * len(names) + 1.5) as sheet:
        axes = sheet.subplots()
        bars = axes.barh([title(name) for name in names], [100 * importance[name] for name in names], 0.6)
        for bar in bars:
            bar.set_color(COMPLETE)
        axes.bar_label(bars, fmt="%.0f", padding=2)
        axes.set(xlabel="Importance (%)", xlim=(0, 115 * max(importance.values()) or 1.0))
        axes.spines[["top", "right"]].set_visible(False)
    return sheet


def _of(trials: pd.DataFrame, state: str) -> pd.DataFrame:
    return trials[(trials["state"] == state) & np.isfinite(trials["value"].astype(float))]


def _limits(trials: pd.DataFrame) -> tuple[float, float]:
    """Return limits that hold the completed trials, and the better pruned ones up to twice their spread."""
    missing = {"number", "state", "value"} - set(trials)
    if missing or trials.empty:
        raise InputError(f"trials hold no {sorted(missing) or 'rows'} to draw; give number, state and value")
    known = trials["value"].astype(float)
    known = known[np.isfinite(known)]
    if known.empty:
        raise InputError("trials hold no value to draw; every one was pruned before its first epoch")
    completed = _of(trials, "complete")["value"].astype(float)
    reference = completed if len(completed) else known
    spread = float(reference.max() - reference.min()) or 0.1 * abs(float(reference.max())) or 1.0
    high = min(float(known.max()), float(reference.max()) + spread)
    return float(known.min()) - 0.08 * spread, high + 0.08 * spread


def _count(axes: Axes, what: str) -> None:
    """Label an axis of whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(what)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))


def _draw_trials(axes: Axes, trials: pd.DataFrame, column: str, high: float) -> None:
    """Draw a symbol a trial: dots, crosses where pruned, triangles at the edge where beyond it."""
    pruned, completed = _of(trials, "pruned"), _of(trials, "complete")
    for part, name, colour, sign in (
        (pruned, "Pruned", PRUNED, "x"),
        (completed, "Completed", COMPLETE, "o"),
    ):
        values = part["value"].astype(float)
        inside, beyond = part[values <= high], part[values > high]
        if len(inside):
            axes.plot(inside[column], inside["value"], sign, color=colour, markersize=3.5, label=name)
        if len(beyond):
            above = np.full(len(beyond), high)
            axes.plot(beyond[column], above, "^", color=PRUNED, markersize=4, clip_on=False, zorder=3)
    if len(completed):
        best = completed.loc[completed["value"].astype(float).idxmin()]
        axes.plot(best[column], best["value"], "*", color=BEST, markersize=8, label="Best trial", zorder=3)
