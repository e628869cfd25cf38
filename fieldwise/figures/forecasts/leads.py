"""Scores of forecasts over the lead, by the hour of the day, and beside what a forecast costs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.figures.curves import LARGEST_LINEAR, LINE_COLOURS, looks_of
from fieldwise.figures.panels import COLUMN_CM, PAGE_CM, check_named, letter, title, unit_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fieldwise.figures.sheets import Sheet

BAND = 0.18  # opacity
LEGEND_CM = 0.45  # height of a line of it
MARKERS = "os^Dv<>P"
FIRST = "best_possible"  # drawn in black: what cannot be beaten
MOST_TICKS = 8
FEW_LEADS = 16  # up to which each has a dot
FEW_HOURS = 12  # of the day, likewise


def draw_leads(
    panels: Mapping[str, Mapping[str, ArrayLike]],
    leads_h: ArrayLike,
    *,
    logarithmic: Collection[str] = (),
    levels: Mapping[str, float] | None = None,
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw scores over the lead, a panel a measure, with intervals as bands; a name looks alike in all.

    Parameters
    ----------
    panels : label of the vertical axis -> name -> (lead,) score, or (3, lead) score and the ends of a band
    leads_h : (lead,) hours
    logarithmic : labels of panels that are spread on a logarithm where scores differ by far
    levels : label -> value of a thin line, such as 0 of a difference
    width_cm : of the figure; a single panel has the width of a column at most

    Raises
    ------
    InputError
        When there is nothing to draw, or a score has not as many leads.

    Examples
    --------
    >>> scores = {"prediction": [[0.2, 0.5], [0.1, 0.4], [0.3, 0.6]], "persistence": [2.0, 2.1]}
    >>> figure = draw_leads({"MSE (K2)": scores}, [1, 12])
    >>> figure.axes[0].get_ylabel()
    'MSE (K²)'
    """
    from fieldwise.figures.sheets import styled_sheet

    check_named(panels, "panels")
    leads = np.asarray(leads_h, dtype=np.float64)
    looks = _looks(name for curves in panels.values() for name in curves)
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    width = width_cm if columns > 1 else min(width_cm, COLUMN_CM)
    above = LEGEND_CM * -(-len(looks) // (5 if columns > 1 else 2))
    with styled_sheet(width, rows * 4.6 + above) as sheet:
        grid = list(sheet.subplots(rows, columns, squeeze=False).flat)
        for axes in grid[len(panels) :]:
            axes.remove()
        for index, (axes, (label, curves)) in enumerate(zip(grid, panels.items())):
            if levels and label in levels:
                axes.axhline(levels[label], color="0.6", linewidth=0.5, linestyle="dashed")
            for name, values in curves.items():
                _draw_band(axes, name, leads, np.atleast_2d(np.asarray(values, np.float64)), looks[name])
            _label_axes(axes, leads, label, logarithmic=label in logarithmic)
            if len(panels) > 1:
                axes.set_title(f"({chr(ord('a') + index)})")
        _name_lines(sheet, grid[: len(panels)], columns=5 if columns > 1 else 2)
    return sheet


def _looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Give each name its look; black is that of what cannot be beaten."""
    chosen = [FIRST, *(name for name in dict.fromkeys(names) if name != FIRST)]
    markers = {"markersize": 2.2}
    return {
        name: {**look, **markers, "marker": MARKERS[number // len(LINE_COLOURS) % len(MARKERS)]}
        for number, (name, look) in enumerate(looks_of(chosen).items())
    }


def _draw_band(axes: Axes, name: str, leads: np.ndarray, values: np.ndarray, look: dict[str, Any]) -> None:
    if values.shape not in ((1, leads.size), (3, leads.size)):
        raise InputError(f"{name} has {values.shape} scores for {leads.size} leads; give one a lead")
    if len(values) == 3 and np.isfinite(values[1:]).any():
        axes.fill_between(leads, values[1], values[2], color=look["color"], alpha=BAND, linewidth=0)
    dots = {} if leads.size <= FEW_LEADS else {"marker": ""}
    axes.plot(leads, values[0], label=title(name), **{**look, **dots})


def _label_axes(axes: Axes, leads: np.ndarray, label: str, *, logarithmic: bool) -> None:
    """Name both axes; scores that differ by far are spread on a logarithm."""
    from matplotlib.ticker import LogLocator, MultipleLocator, NullFormatter

    step = next((step for step in (1, 3, 6, 12, 24) if leads.max() <= MOST_TICKS * step), 48)
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.set(xlabel="Lead (h)", ylabel=unit_text(label))
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines])
    if logarithmic and np.nanmin(values) > 0 and np.nanmax(values) > LARGEST_LINEAR * np.nanmin(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter("{x:.8g}")


def _name_lines(sheet: Sheet, panels: list[Axes], *, columns: int) -> None:
    """Name all lines once, above the panels."""
    named: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    rows = -(-len(named) // columns)
    sheet.legend(named.values(), named.keys(), loc="outside upper left", ncols=-(-len(named) // rows))


def draw_hours(
    panels: Mapping[str, Mapping[str, Mapping[int, float]]],
    *,
    label: str,
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw scores by the hour of the day that forecasts are valid at, a panel a lead, all in one scale.

    Parameters
    ----------
    panels : title, such as of a lead -> name -> hour of the day, UTC -> score
    label : of the vertical axis
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is nothing to draw.

    Examples
    --------
    >>> day = {hour: 1.0 + hour / 24 for hour in range(24)}
    >>> figure = draw_hours({"12 h ahead": {"prediction": day}}, label="MSE (K2)")
    >>> figure.axes[0].get_xlabel()
    'Valid at hour of the day (UTC)'
    """
    from fieldwise.figures.sheets import styled_sheet

    check_named(panels, "panels")
    looks = _looks(name for curves in panels.values() for name in curves)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    above = LEGEND_CM * -(-len(looks) // 5)
    with styled_sheet(width_cm if columns > 1 else COLUMN_CM, rows * 4.4 + above) as sheet:
        grid = list(sheet.subplots(rows, columns, squeeze=False, sharey=True).flat)
        for axes in grid[len(panels) :]:
            axes.remove()
        for index, (axes, (name, curves)) in enumerate(zip(grid, panels.items())):
            for curve, scores in curves.items():
                hours = sorted(scores)
                look = looks[curve] if len(hours) <= FEW_HOURS else {**looks[curve], "marker": ""}
                axes.plot(hours, [scores[hour] for hour in hours], label=title(curve), **look)
            axes.set_title(letter(index, name) if len(panels) > 1 else title(name))
            axes.set(xlabel="Valid at hour of the day (UTC)", xlim=(0, 23), xticks=range(0, 24, 6))
            if index % columns == 0:
                axes.set_ylabel(unit_text(label))
        grid[0].set_ylim(0, None)  # when all is drawn: the limit above is then that of all panels
        _name_lines(sheet, grid[: len(panels)], columns=5 if columns > 1 else 2)
    return sheet


def draw_latency(
    points: Mapping[str, tuple[float, float]],
    lines: Mapping[str, float] | None = None,
    *,
    label: str,
    width_cm: float = COLUMN_CM,
) -> Sheet:
    """Draw the error of forecasts beside the time that one takes: lower and further left is better.

    Parameters
    ----------
    points : name -> seconds a forecast, and the score
    lines : name -> score of what costs nothing, or of what cannot be beaten
    label : of the vertical axis
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is nothing to draw, or a time is not above 0.

    Examples
    --------
    >>> figure = draw_latency({"small, cpu": (0.02, 3.1), "large, cpu": (0.4, 2.9)}, label="MSE (K2)")
    >>> figure.axes[0].get_xscale()
    'log'
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    from fieldwise.figures.sheets import draw_legend, styled_sheet

    check_named(points, "points")
    for name, (seconds, _) in points.items():
        if not seconds > 0:
            raise InputError(f"{name}: takes {seconds:g} s a forecast; give a time above 0")
    looks = _looks([*points, *(lines or {})])
    with styled_sheet(width_cm, 5.8 + 0.3 * (len(points) + len(lines or {}))) as sheet:
        axes = sheet.subplots()
        for (name, place), marker in zip(points.items(), MARKERS * len(points)):
            axes.plot(
                *place,
                linestyle="none",
                marker=marker,
                markersize=4,
                color=looks[name]["color"],
                label=title(name),
            )
        for name, value in (lines or {}).items():
            axes.axhline(value, linewidth=0.8, label=title(name), **{**looks[name], "marker": ""})
        least, most = (end(place[0] for place in points.values()) for end in (min, max))
        axes.set_xscale("log")
        axes.set_xlim(least / 3, most * 3)
        axes.set_ylim(0, 1.1 * max([*(score for _, score in points.values()), *(lines or {}).values()]))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 20 * least else (1,)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="Time of a forecast (s)", ylabel=unit_text(label))
        draw_legend(axes, width_cm=0.0)
    return sheet
