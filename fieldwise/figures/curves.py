"""Lines and steps: a flight, errors, the course of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.figures.panels import (
    COLUMN_CM,
    LEAST_SPREAD,
    MIDDLE_CM,
    PAGE_CM,
    check_named,
    title,
    unit_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fieldwise.figures.sheets import Sheet

# Okabe & Ito (2008): told apart by colour-blind readers
LINE_COLOURS = ["#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
# and by readers in black and white: lengths of dashes and gaps, in widths of the line
LINE_DASHES: list[tuple[float, ...]] = [
    (),
    (),
    (5, 2),
    (1, 1.5),
    (6, 2, 1, 2),
    (2.5, 1.2),
    (8, 2, 1, 2, 1, 2),
]
MEMBERS_COLOUR = LINE_COLOURS[2]
MEMBERS_LINES = [(MEMBERS_COLOUR, "solid"), (LINE_COLOURS[1], (0, (5, 2))), (LINE_COLOURS[3], "dotted")]
FEW_PICKS = 500  # dots of more are drawn small
QUANTITIES = {"loss": "Loss", "psnr": "PSNR (dB)", "ssim": "SSIM"}  # first words of columns of metrics
WITH_UNITS = {"rmse": "RMSE", "mae": "MAE", "bias": "Bias"}  # these are followed by the unit
LARGEST_LINEAR = 50  # ratio of the largest to the least value beyond which an axis is logarithmic


def draw_flight(
    distance_km: ArrayLike,
    profiles: Mapping[str, ArrayLike],
    *,
    roughness: Mapping[str, ArrayLike],
    label: str = "Elevation (m)",
    roughness_label: str = "Roughness (m)",
    ends: tuple[str, str] | None = None,
    width_cm: float = MIDDLE_CM,
) -> Sheet:
    """Draw elevations along a flight, and below them their roughness; a name has one colour in both.

    Parameters
    ----------
    distance_km : (n,) distance along the flight
    profiles : name -> (n,) values; gaps (NaN) stay open
    roughness : name -> (n,) roughness, for all or some of the names of the profiles
    label, roughness_label : of the vertical axes, with units
    ends : letters of the first and the last point, as on a map
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is nothing to draw, lengths differ, or a roughness has no profile of its name.

    Examples
    --------
    >>> distance_km = np.arange(0, 50, 0.25)
    >>> truth = 100 * np.sin(distance_km)
    >>> figure = draw_flight(distance_km, {"truth": truth}, roughness={"truth": abs(truth) / 10})
    """
    from fieldwise.figures.sheets import draw_legend, styled_sheet

    check_named(profiles, "profiles")
    check_named(roughness, "roughness")
    distance = np.asarray(distance_km, dtype=np.float64)
    unknown = sorted(set(roughness) - set(profiles))
    if unknown:
        raise InputError(f"roughness {unknown[0]!r} has no profile of its name; give one of {list(profiles)}")
    looks = looks_of(profiles)
    above, below = _lines(distance, profiles), _lines(distance, roughness)
    with styled_sheet(width_cm, 8.2) as sheet:
        upper, lower = sheet.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
        for axes, lines in ((upper, above), (lower, below)):
            for name, values in lines.items():
                axes.plot(distance, values, label=title(name), **looks[name])  # gaps stay open
        upper.set(ylabel=label)
        lower.set(ylabel=roughness_label, xlabel="Distance along the flight (km)", ylim=(0, None))
        for axes in (upper, lower):
            axes.margins(x=0)
        _name_ends(upper, ends)
        draw_legend(upper, width_cm=width_cm)
        sheet.align_ylabels()
    return sheet


def draw_flight_members(
    distance_km: ArrayLike,
    members: ArrayLike,
    lines: Mapping[str, ArrayLike],
    *,
    picks: tuple[np.ndarray, ArrayLike],
    picks_label: str = "radar",
    label: str = "Elevation (m)",
    ends: tuple[str, str] | None = None,
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw members along a flight as the band that holds 90 % of them, with lines, and picks as dots.

    The band is that of which :func:`fieldwise.scores.coverage_of_ranks` tells the coverage; of fewer than 19
    members it is all that they span, and less than 90 % may lie in it.

    Parameters
    ----------
    distance_km : (n,) distance along the flight
    members : (member, n) values
    lines : name -> (n,) values, three at most: of the members' mean, and of what it is compared with
    picks : (m,) distance and (m,) value of what was measured
    picks_label : what that is called
    label : of the vertical axis, with units
    ends : letters of the first and the last point, as on a map
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is nothing to draw, or lengths differ.

    Examples
    --------
    >>> distance_km = np.arange(0, 50, 0.25)
    >>> bed = 100 * np.sin(distance_km)
    >>> drawn = bed + np.random.default_rng(0).normal(0, 9, size=(19, 200))
    >>> lines = {"mean of the members": drawn.mean(axis=0)}
    >>> figure = draw_flight_members(distance_km, drawn, lines, picks=(distance_km, bed))
    """
    from fieldwise.figures.sheets import draw_legend, styled_sheet

    distance, drawn = np.asarray(distance_km, dtype=np.float64), np.asarray(members, dtype=np.float64)
    values = _lines(distance, {**{f"member {number}": each for number, each in enumerate(drawn)}, **lines})
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0, method="weibull")
    with styled_sheet(width_cm, 6.5) as sheet:
        axes = sheet.subplots()
        axes.fill_between(
            distance, low, high, color=MEMBERS_COLOUR, alpha=0.3, linewidth=0, label="90 % interval"
        )
        size = 1.6 if len(picks[0]) > FEW_PICKS else 3.2
        axes.plot(*picks, "k.", markersize=size, markeredgewidth=0, label=title(picks_label))
        for name, (colour, dashes) in zip(lines, MEMBERS_LINES):
            axes.plot(distance, values[name], label=title(name), color=colour, linestyle=dashes)
        axes.set(xlabel="Distance along the flight (km)", ylabel=label)
        axes.margins(x=0)
        _name_ends(axes, ends)
        draw_legend(axes, width_cm=width_cm, markerscale=6.4 / size)
    return sheet


def _name_ends(axes: Axes, ends: tuple[str, str] | None) -> None:
    """Write the letters of a flight's ends into the upper corners."""
    for name, (place, side) in zip(ends or (), ((0.01, "left"), (0.99, "right"))):
        where: dict[str, Any] = {"transform": axes.transAxes, "ha": side, "va": "top"}
        axes.text(place, 0.97, name, fontweight="bold", **where)


def looks_of(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Give each name the colour and dashes of its lines.

    >>> looks_of(["truth", "prediction"])["truth"]
    {'color': '#000000', 'linestyle': 'solid'}
    """
    looks = {}
    for index, name in enumerate(names):
        dashes = LINE_DASHES[index % len(LINE_DASHES)]
        style = (0, dashes) if dashes else "solid"
        looks[name] = {"color": LINE_COLOURS[index % len(LINE_COLOURS)], "linestyle": style}
    return looks


def _lines(distance: np.ndarray, lines: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Return the lines as arrays; each must be as long as the axis that it is drawn along."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in lines.items()}
    for name, values in arrays.items():
        if values.shape != distance.shape or values.ndim != 1:
            raise InputError(
                f"{name} {values.shape} and distance {distance.shape} differ; give equal lengths"
            )
    if not any(np.isfinite(values).any() for values in arrays.values()):
        raise InputError("lines hold no value to draw; check that the points lie inside the fields")
    return arrays


def draw_error_histogram(
    errors: Mapping[str, ArrayLike],
    *,
    units: str = "m",
    label: str = "Error",
    bins: int = 41,
    width_cm: float = COLUMN_CM,
) -> Sheet:
    """Draw how errors are spread, one stepped line a method in common bins, with each RMSE.

    The axis ends at the 99.5th percentile of all absolute errors: rarer ones count in the shares
    and in the RMSE but are not shown.

    Parameters
    ----------
    errors : name -> (n,) errors, prediction minus truth; missing ones are left out
    units : of the errors
    label : what the errors are of
    bins : number of bins; an odd one puts a bin's centre at zero
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is nothing to draw.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> figure = draw_error_histogram({"prediction": random.normal(0, 20, 500), "cubic": [5.0, 40.0, -80.0]})
    """
    from fieldwise.figures.sheets import draw_legend, styled_sheet

    check_named(errors, "errors")
    known = {name: np.asarray(values, dtype=np.float64).ravel() for name, values in errors.items()}
    known = {name: values[np.isfinite(values)] for name, values in known.items()}
    for name, values in known.items():
        if values.size == 0:
            raise InputError(f"{name} has no errors to draw; check that the points lie inside the field")
    limit = float(np.percentile(np.abs(np.concatenate(list(known.values()))), 99.5)) or 1.0
    edges = np.linspace(-limit, limit, bins + 1)
    looks = looks_of(["", *errors])  # black is kept for the truth, as along a flight
    unit = unit_text(units)
    with styled_sheet(width_cm, 0.72 * width_cm + 0.35 * len(errors)) as sheet:
        axes = sheet.subplots()
        axes.axvline(0, color="0.6", linewidth=0.5, linestyle="dashed")
        for name, values in known.items():
            share = 100 * np.histogram(values, edges)[0] / values.size
            score = float(np.sqrt(np.mean(values**2)))
            named = f"{title(name)}: RMSE {score:.3g} {unit}"
            axes.stairs(share, edges, label=named, linewidth=1.0, **looks[name])
        axes.set(xlabel=f"{label} ({unit})", ylabel="Share of points in a bin (%)")
        axes.set(xlim=(-limit, limit), ylim=(0, None))
        draw_legend(axes, width_cm=0.0)  # one below the other
    return sheet


def draw_loss_curves(metrics: pd.DataFrame, *, width_cm: float = PAGE_CM) -> Sheet:
    """Draw the course of training from Lightning's metrics.csv, one panel for each kind of quantity.

    A loss, and what else is measured, share a panel with their like, whether of training or validation:
    loss_generator and val_loss one, rmse_m and val_rmse_m another. Rows of one epoch are averaged, empty
    columns left out, and so is one that ends in `_published`: the curve of the column without that ending,
    on another scale.

    Parameters
    ----------
    metrics : table with the column epoch and at least one other besides step; may have gaps
    width_cm : of the figure; a single panel has the width of a column at most

    Raises
    ------
    InputError
        When there is no epoch or nothing to draw.

    Examples
    --------
    >>> metrics = pd.DataFrame({"epoch": [0, 0, 1, 1], "rmse_m": [90.0, None, 40.0, None],
    ...                         "val_rmse_m": [None, 80.0, None, 50.0]})
    >>> figure = draw_loss_curves(metrics)
    """
    from fieldwise.figures.sheets import styled_sheet

    panels = _panels_of(metrics)
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    with styled_sheet(width_cm if columns > 1 else min(width_cm, COLUMN_CM), rows * 5.4) as sheet:
        grid = list(sheet.subplots(rows, columns, squeeze=False).flat)
        for axes, (quantity, curves) in zip(grid, panels.items()):
            _draw_curves(axes, curves, quantity, width_cm=width_cm / 2 - 1.2)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        sheet.align_ylabels()
    return sheet


def _panels_of(metrics: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Group the columns by quantity: label of the axis -> one column a curve, named for the legend."""
    if "epoch" not in metrics:
        raise InputError(f"metrics have no column 'epoch' but {list(metrics)}; give Lightning's metrics.csv")
    finite = metrics.replace([np.inf, -np.inf], np.nan)
    by_epoch = finite.groupby("epoch").mean(numeric_only=True).dropna(axis="columns", how="all")
    panels: dict[str, dict[str, pd.Series]] = {}
    for name in by_epoch.columns.drop("step", errors="ignore"):
        # Of a value that is logged both ways, the mean of the epoch is drawn.
        if not name.endswith(("_step", "_published")):
            axis, curve = _axis_and_curve(name.removesuffix("_epoch"))
            panels.setdefault(axis, {})[curve] = by_epoch[name]
    if not panels:
        raise InputError(f"metrics hold nothing to draw in {list(metrics)}; train for an epoch first")
    return {axis: pd.DataFrame(curves) for axis, curves in panels.items()}


def _axis_and_curve(name: str) -> tuple[str, str]:
    """Split a column's name into the quantity, for an axis, and what is left, for a legend.

    >>> _axis_and_curve("val_rmse_m"), _axis_and_curve("loss_generator"), _axis_and_curve("departure_share")
    (('RMSE (m)', 'validation'), ('Loss', 'generator'), ('Departure share', 'training'))
    """
    quantity, _, rest = name.removeprefix("val_").partition("_")
    if quantity in WITH_UNITS:
        axis, rest = f"{WITH_UNITS[quantity]} ({unit_text(rest)})" if rest else WITH_UNITS[quantity], ""
    elif quantity in QUANTITIES:
        axis = QUANTITIES[quantity]
    else:
        axis, rest = title(name.removeprefix("val_")), ""
    words = [rest.replace("_", " "), "validation" if name.startswith("val_") else ""]
    return axis, ", ".join(word for word in words if word) or "training"


def _draw_curves(axes: Axes, curves: pd.DataFrame, axis: str, *, width_cm: float) -> None:
    """Draw one panel of the loss figure, with a dot an epoch as long as dots stay apart."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    from fieldwise.figures.sheets import draw_legend

    looks = looks_of(list(curves))
    dots: dict[str, Any] = {"marker": "o", "markersize": 2.2} if len(curves) <= 40 else {}
    for name, curve in curves.items():
        known = curve.dropna()
        axes.plot(known.index, known, label=title(str(name)), **looks[str(name)], **dots)
    axes.set(xlabel="Epoch", ylabel=axis)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:.8g}")  # without a common factor, which would cover the legend
    least, most = float(curves.min(axis=None)), float(curves.max(axis=None))
    size = max(abs(least), abs(most))
    if most - least <= LEAST_SPREAD * size:  # a level line: what is finer is noise of single precision
        axes.set_ylim(least - 0.05 * (size or 1), most + 0.05 * (size or 1))
    elif least > 0 and most > LARGEST_LINEAR * least:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1,) if most > 1000 * least else (1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    draw_legend(axes, width_cm=width_cm)
