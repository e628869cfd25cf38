"""A search for hyper-parameters: how it went, how its trials learnt, which parameters mattered."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pygmt

from fieldwise.errors import InputError
from fieldwise.figures.panels import (
    COLUMN_CM,
    LEFT_CM,
    MARGIN_CM,
    PAGE_CM,
    check_named,
    panel_width,
    styled_figure,
    title,
)

# Okabe & Ito (2008): told apart by colour-blind readers; symbols differ too
COMPLETE, PRUNED, BEST = "#0072B2", "gray55", "#D55E00"
FONT = "7p,Helvetica"
MOST_CHOICES = 4  # of a parameter with so few values, these are named on the axis
HEIGHT_CM, GAP_CM, ABOVE_CM = 4.2, 0.35, 1.5  # of a panel; between panels; for axis label and legend


def draw_study_history(trials: pd.DataFrame, *, label: str, width_cm: float = COLUMN_CM) -> pygmt.Figure:
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
    low, high = _limits(trials)
    width = panel_width(width_cm, columns=1, gap=0)
    completed = _of(trials, "complete").sort_values("number")
    last = float(trials["number"].max())
    with styled_figure() as figure, figure.shift_origin(xshift=f"{MARGIN_CM}c", yshift=f"{MARGIN_CM}c"):
        figure.basemap(
            region=[-0.5 - 0.02 * last, last + 0.5 + 0.02 * last, low, high],
            projection=f"X{width}c/{HEIGHT_CM}c",
            frame=["WSne", f"x{'a1' if last < 10 else 'af'}+lTrial", f"yaf+l{label}"],
        )
        if len(completed):
            x = np.append(completed["number"].to_numpy(float), last)
            y = np.minimum.accumulate(np.append(completed["value"].to_numpy(float), np.inf))
            figure.plot(x=np.repeat(x, 2)[1:], y=np.repeat(y, 2)[:-1], pen=f"1.1p,{BEST}")
        _draw_trials(figure, trials, "number", high)
        _draw_legend(figure, width, best="best so far")
    return figure


def draw_study_courses(
    courses: Mapping[int, Mapping[int, float]],
    trials: pd.DataFrame,
    *,
    label: str,
    width_cm: float = COLUMN_CM,
) -> pygmt.Figure:
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
    check_named({str(number): course for number, course in courses.items()}, "courses")
    values = np.array([value for course in courses.values() for value in course.values()], dtype=float)
    low, _ = _limits(trials)
    high = float(np.nanpercentile(values, 95))
    high += 0.06 * (high - low) or 1.0
    epochs = [epoch + 1 for course in courses.values() for epoch in course]
    width = panel_width(width_cm, columns=1, gap=0)
    completed = _of(trials, "complete")
    best = None if completed.empty else int(completed.loc[completed["value"].idxmin(), "number"])
    order = sorted(courses, key=lambda number: (number == best, number in set(completed["number"])))
    with styled_figure() as figure, figure.shift_origin(xshift=f"{MARGIN_CM}c", yshift=f"{MARGIN_CM}c"):
        room = 0.02 * max(epochs) + 0.2
        figure.basemap(
            region=[1 - room, max(epochs) + room, low, high],
            projection=f"X{width}c/{HEIGHT_CM}c",
            frame=["WSne", f"x{'a1' if max(epochs) <= 10 else 'af'}+lEpoch", f"yaf+l{label}, best so far"],
        )
        for number in order:
            x = np.array(list(courses[number]), dtype=float) + 1
            y = np.array(list(courses[number].values()), dtype=float)
            done = number in set(completed["number"])
            colour = BEST if number == best else COMPLETE if done else PRUNED
            figure.plot(x=x, y=y, pen=f"{1.3 if number == best else 0.6}p,{colour}")
            end = "c0.12c" if done else "x0.16c"
            fill = {"fill": colour} if done else {"pen": f"0.7p,{colour}"}
            figure.plot(x=x[-1:], y=y[-1:], style=end, **fill)
        _draw_legend(figure, width, best="best trial")
    return figure


def draw_study_parameters(
    trials: pd.DataFrame, parameters: Sequence[str], *, label: str, width_cm: float = PAGE_CM
) -> pygmt.Figure:
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
    check_named(dict.fromkeys(parameters), "parameters")
    missing = [name for name in parameters if name not in trials]
    if missing:
        raise InputError(f"trials have no column {missing[0]!r} but {list(trials)}; name one of these")
    low, high = _limits(trials)
    columns = min(len(parameters), 3)
    width = panel_width(width_cm, columns=columns, gap=GAP_CM)
    rows = -(-len(parameters) // columns)
    with styled_figure() as figure:
        for index, name in enumerate(parameters):
            row, column = divmod(index, columns)
            left = MARGIN_CM + column * (width + GAP_CM)
            bottom = MARGIN_CM + (rows - 1 - row) * (HEIGHT_CM + ABOVE_CM)
            places, x_range, labels = _places(trials[name].astype(float))
            with figure.shift_origin(xshift=f"{left}c", yshift=f"{bottom}c"):
                figure.basemap(
                    region=[*x_range, low, high],
                    projection=f"X{width}c/{HEIGHT_CM}c",
                    frame=[
                        f"{'W' if column == 0 else 'w'}{'s' if labels else 'S'}ne",
                        *([] if labels else [f"xaf+l{title(name)}"]),
                        f"yaf+l{label}" if column == 0 else "yaf",
                    ],
                )
                for place, word in labels.items():
                    _write_below(figure, place, low, word, offset=0.12)
                if labels:
                    _write_below(
                        figure, sum(x_range) / 2, low, title(name), offset=0.52, font="7.5p,Helvetica"
                    )
                _draw_trials(figure, trials.assign(**{name: places}), name, high)
                if index == 0:
                    _draw_legend(figure, width_cm - LEFT_CM, best="best trial", symbol="a0.3c")
    return figure


def draw_study_importance(importance: Mapping[str, float], *, width_cm: float = COLUMN_CM) -> pygmt.Figure:
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
    check_named(importance, "importance")
    names = sorted(importance, key=lambda name: importance[name])
    names_cm = 2.3
    width = panel_width(width_cm, columns=1, gap=0) - names_cm
    top = 100 * max(importance.values()) * 1.15 or 1.0
    left = f"{MARGIN_CM + names_cm}c"
    with styled_figure() as figure, figure.shift_origin(xshift=left, yshift=f"{MARGIN_CM}c"):
        figure.basemap(
            region=[0, top, -0.6, len(names) - 0.4],
            projection=f"X{width}c/{0.6 * len(names) + 0.4}c",
            frame=["lSne", "xaf+lImportance (%)"],
        )
        for place, name in enumerate(names):
            share, y = 100 * importance[name], [place - 0.3, place - 0.3, place + 0.3, place + 0.3]
            figure.plot(x=[0, share, share, 0], y=y, fill=COMPLETE, close=True)
            number = f"{share:.0f}"
            figure.text(x=share, y=place, text=number, font=FONT, justify="LM", offset="0.1c/0c")
            figure.text(
                x=0, y=place, text=title(name), font=FONT, justify="RM", offset="-0.12c/0c", no_clip=True
            )
    return figure


def _places(values: pd.Series) -> tuple[pd.Series, list[float], dict[float, str]]:
    """Say where on an axis values stand, and its range; of a few choices, even places and their labels."""
    low, high, choices = float(values.min()), float(values.max()), np.unique(values)
    if len(choices) > MOST_CHOICES:
        room = 0.06 * (high - low)
        return values, [low - room, high + room], {}
    places = pd.Series(np.searchsorted(choices, values).astype(float), index=values.index)
    labels = {float(place): f"{choice:g}" for place, choice in enumerate(choices)}
    return places, [-0.6, len(choices) - 0.4], labels


def _write_below(
    figure: pygmt.Figure, x: float, y: float, text: str, *, offset: float, font: str = FONT
) -> None:
    figure.text(x=x, y=y, text=text, font=font, justify="CT", offset=f"0c/-{offset}c", no_clip=True)


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


def _draw_trials(figure: pygmt.Figure, trials: pd.DataFrame, column: str, high: float) -> None:
    """Draw a symbol a trial: dots, crosses where pruned, triangles at the edge where beyond it."""
    pruned, completed = _of(trials, "pruned"), _of(trials, "complete")
    for part, style, look in (
        (pruned, "x0.18c", {"pen": f"0.8p,{PRUNED}"}),
        (completed, "c0.17c", {"fill": COMPLETE, "pen": "0.3p,white"}),
    ):
        values = part["value"].astype(float)
        inside = part[values <= high]
        if len(inside):
            figure.plot(x=inside[column].astype(float), y=inside["value"].astype(float), style=style, **look)
        beyond = part[values > high]
        if len(beyond):
            x = beyond[column].astype(float)
            figure.plot(x=x, y=np.full(len(x), high), style="t0.18c", fill=PRUNED, no_clip=True)
    if len(completed):
        best = completed.loc[[completed["value"].astype(float).idxmin()]]
        figure.plot(
            x=best[column].astype(float),
            y=best["value"].astype(float),
            style="a0.32c",
            fill=BEST,
            pen="0.3p,white",
        )


def _draw_legend(figure: pygmt.Figure, width: float, *, best: str, symbol: str = "-") -> None:
    """Draw a legend above the frame, where it covers nothing."""
    sign = f"- 0.6c - 1.1p,{BEST}" if symbol == "-" else f"{symbol[0]} {symbol[1:]} {BEST} 0.3p,white"
    lines = [
        "N 3",
        f"S 0.25c c 0.17c {COMPLETE} 0.3p,white 0.5c completed",
        f"S 0.25c x 0.18c - 0.8p,{PRUNED} 0.5c pruned",
        f"S 0.35c {sign} 0.75c {best}",
    ]
    spec = io.StringIO("\n".join(lines))
    figure.legend(spec=spec, position=f"JTL+jBL+o0c/0.1c+w{min(width, 7.0)}c", box=False)
