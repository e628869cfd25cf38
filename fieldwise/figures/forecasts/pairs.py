"""Forecast and observed values beside each other: conditional quantiles with the marginal, and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.figures.curves import looks_of
from fieldwise.figures.panels import COLUMN_CM, PAGE_CM, check_named, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fieldwise.figures.sheets import Sheet

Table = Mapping[str, np.ndarray]
BARS = "0.75"


def draw_conditional_quantiles(
    given_forecast: Table,
    given_observed: Table,
    *,
    quantity: str,
    lead_h: float,
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw what came where so much was forecast, what was forecast where so much came, and how often.

    Lines are the quantiles of 5, 50 and 95 % in each bin; on the diagonal both are equal. Bars are the
    marginal distribution of what is given.

    Parameters
    ----------
    given_forecast, given_observed : ``middle`` and ``count`` of bins, (bin,), and (3, bin) ``quantiles`` of
        the other one, as of `scores.forecasts.ConditionalQuantiles`
    quantity : with its unit
    lead_h : of the forecasts
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is no bin.

    Examples
    --------
    >>> middle = np.arange(270.5, 290.5)
    >>> table = {"middle": middle, "count": np.full(20, 50), "quantiles": middle + [[-2], [0], [2]]}
    >>> figure = draw_conditional_quantiles(table, table, quantity="2 m temperature (K)", lead_h=12)
    >>> figure.axes[0].get_title("left")
    '(a) What came, given the forecast'
    """
    from fieldwise.figures.sheets import draw_legend, styled_sheet

    tables = (given_forecast, given_observed)
    if not all(table["middle"].size for table in tables):
        raise InputError("there is no bin to draw; judge more forecasts")
    values = np.concatenate([np.append(table["quantiles"], table["middle"]) for table in tables])
    room = 0.03 * (np.ptp(values) or 1.0)
    limits = float(values.min() - room), float(values.max() + room)
    share = max(float((table["count"] / table["count"].sum()).max()) for table in tables)
    names = ("forecast", "observed")
    with styled_sheet(width_cm, width_cm / 2 + 0.9) as sheet:
        for index, (axes, table) in enumerate(zip(sheet.subplots(1, 2), tables)):
            given, other = names[index], names[1 - index]
            _draw_quantiles(axes, table, limits)
            _draw_marginal(axes, table, 5 * share)
            words = ("What came, given the forecast", "What was forecast, given what came")[index]
            axes.set_title(f"({'ab'[index]}) {words}", pad=16)
            axes.set(xlabel=f"{quantity}, {given}, {lead_h:g} h ahead", ylabel=f"{quantity}, {other}")
            draw_legend(axes, width_cm=width_cm / 2)
    return sheet


def _draw_quantiles(axes: Axes, table: Table, limits: tuple[float, float]) -> None:
    looks = looks_of(["", "95 %", "50 %", "5 %"])
    axes.plot(limits, limits, color="0.6", linewidth=0.5, linestyle="dashed")
    for name, values in zip(("5 %", "50 %", "95 %"), table["quantiles"], strict=True):
        axes.plot(table["middle"], values, label=name, **looks[name])
    axes.set(xlim=limits, ylim=limits)
    axes.set_box_aspect(1)


def _draw_marginal(axes: Axes, table: Table, highest: float) -> None:
    """Draw the shares of the bins, so that the most frequent one takes a fifth of the height."""
    width = float(np.diff(table["middle"]).min()) if table["middle"].size > 1 else 1.0
    behind = axes.twinx()
    behind.bar(table["middle"], table["count"] / table["count"].sum(), width, color=BARS, linewidth=0)
    behind.set(ylim=(0, highest), yticks=[])
    behind.set_zorder(axes.get_zorder() - 1)
    axes.patch.set_visible(False)
    axes.bar([], [], color=BARS, label="Share of the bin")


def draw_ranks(counts: Mapping[str, ArrayLike], *, width_cm: float = COLUMN_CM) -> Sheet:
    """Draw how often so many members lay below what came; level at 1 of members that are like it.

    Parameters
    ----------
    counts : name, such as a lead -> (member + 1,) how often, or in which share of cells
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is nothing to draw.

    Examples
    --------
    >>> figure = draw_ranks({"1 h": [5, 5, 5], "12 h": [9, 2, 4]})
    >>> figure.axes[0].get_ylabel()
    'Frequency over that of a perfect ensemble'
    """
    from fieldwise.figures.sheets import draw_legend, styled_sheet

    check_named(counts, "ranks")
    looks = looks_of(["", *counts])
    with styled_sheet(width_cm, 5.6) as sheet:
        axes = sheet.subplots()
        axes.axhline(1, color="0.6", linewidth=0.5, linestyle="dashed")
        for name, values in counts.items():
            values = np.asarray(values, dtype=np.float64)
            if not values.sum() > 0:
                raise InputError(f"{name}: no rank was counted; judge members and what came")
            edges = np.arange(values.size + 1) - 0.5
            axes.stairs(values / values.mean(), edges, label=title(name), linewidth=1.0, **looks[name])
        axes.set(xlabel="Members below what came", ylabel="Frequency over that of a perfect ensemble")
        axes.set(xlim=(-0.5, values.size - 0.5), ylim=(0, None))
        draw_legend(axes, width_cm=width_cm)
    return sheet
