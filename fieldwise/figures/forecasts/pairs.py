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
    from fieldwise.figures.sheets import styled_sheet

    tables = (given_forecast, given_observed)
    if not all(table["middle"].size for table in tables):
        raise InputError("there is no bin to draw; judge more forecasts")
    values = np.concatenate([np.append(table["quantiles"], table["middle"]) for table in tables])
    room = 0.03 * (np.ptp(values) or 1.0)
    limits = float(values.min() - room), float(values.max() + room)
    share = max(float((table["count"] / table["count"].sum()).max()) for table in tables)
    names = ("forecast", "observed")
    with styled_sheet(width_cm, 0.62 * width_cm) as sheet:
        upper, lower = sheet.subplots(2, 2, sharex="col", sharey="row", height_ratios=[4, 1])
        for index, table in enumerate(tables):
            given, other = names[index], names[1 - index]
            _draw_quantiles(upper[index], table, limits)
            _draw_marginal(lower[index], table, share)
            words = ("What came, given the forecast", "What was forecast, given what came")[index]
            upper[index].set_title(f"({'ab'[index]}) {words}")
            upper[index].set_ylabel(f"{quantity}, {other}")
            lower[index].set_xlabel(f"{quantity}, {given}, {lead_h:g} h ahead")
        lower[0].set_ylabel("Share (%)")
        sheet.legend(*upper[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
        sheet.align_ylabels(lower)
    return sheet


def _draw_quantiles(axes: Axes, table: Table, limits: tuple[float, float]) -> None:
    looks = looks_of(["", "95 %", "50 %", "5 %"])
    for name, values in reversed([*zip(("5 %", "50 %", "95 %"), table["quantiles"], strict=True)]):
        axes.plot(table["middle"], values, label=f"{name} quantile", **looks[name])
    axes.plot(limits, limits, color="0.6", linewidth=0.5, linestyle="dashed", label="Equal")
    axes.set(xlim=limits, ylim=limits)
    axes.tick_params(labelleft=True)


def _draw_marginal(axes: Axes, table: Table, most: float) -> None:
    """Draw how often each bin is, in percent."""
    width = float(np.diff(table["middle"]).min()) if table["middle"].size > 1 else 1.0
    axes.bar(table["middle"], 100 * table["count"] / table["count"].sum(), width, color=BARS, linewidth=0)
    axes.set_ylim(0, 105 * most)


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
    'Relative frequency'
    """
    from matplotlib.ticker import MaxNLocator

    from fieldwise.figures.sheets import draw_legend, styled_sheet

    check_named(counts, "ranks")
    looks = looks_of(["", *counts])
    with styled_sheet(width_cm, 5.6) as sheet:
        axes = sheet.subplots()
        axes.axhline(1, color="0.6", linewidth=0.5, linestyle="dashed")
        for name, values in counts.items():
            shares = np.asarray(values, dtype=np.float64)
            if not shares.sum() > 0:
                raise InputError(f"{name}: no rank was counted; judge members and what came")
            edges = np.arange(shares.size + 1) - 0.5
            look = {"baseline": None, "linewidth": 1.0, **looks[name]}
            axes.stairs(shares / shares.mean(), edges, label=title(name), **look)
        axes.set(xlabel="Members below what came", ylabel="Relative frequency")
        axes.set(xlim=(-0.5, shares.size - 0.5), ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        draw_legend(axes, width_cm=width_cm)
    return sheet
