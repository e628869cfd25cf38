"""An ensemble on one sheet: its members along a line, ranks of the truth, spread and error, and roughness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.figures.curves import LINE_COLOURS
from fieldwise.figures.panels import PAGE_CM, letter, title, unit_text
from fieldwise.figures.volumes.slices import middle_slice
from fieldwise.figures.volumes.spectra import Steps, draw_aims

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fieldwise.figures.sheets import Sheet

TRUE, DRAWN = LINE_COLOURS[0], LINE_COLOURS[2]  # black and blue
FAN = {0.9: 0.2, 0.5: 0.4}  # share of the members in a band -> how opaque it is


def draw_members(
    members: ArrayLike,
    truth: ArrayLike,
    *,
    spacing: float,
    ranks: ArrayLike,
    spread: ArrayLike,
    error: ArrayLike,
    wavenumber: ArrayLike,
    power_ratios: ArrayLike,
    label: str,
    units: str = "",
    length_units: str = "Mpc/h",
    wavenumber_units: str = "h/Mpc",
    power_within: Steps = (),
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw how sure an ensemble is, and whether it should be, in four panels.

    Members along the middle line of a box as a fan around their median, with the truth; how often the truth
    had each rank, level in a perfect ensemble; error against spread, on the diagonal where the spread tells
    where errors are; and the power of each member over that of the truth, 1 where it is as rough.

    Parameters
    ----------
    members, truth : one component, (member, y, x) or (member, z, y, x), and the same without members
    spacing : side of a cell, in length_units
    ranks : (members + 1,) counts, as of :func:`fieldwise.scores.ensembles.ranks_of`
    spread, error : (bins,) as of :func:`fieldwise.scores.ensembles.spread_and_error`
    wavenumber, power_ratios : (shell,) and (member, shell), as of
        :func:`fieldwise.scores.ensembles.member_power_ratios`
    label, units : of what members are of
    length_units, wavenumber_units : of the axes
    power_within : (share of the Nyquist wavenumber up to which it holds, part by which power may differ)
    width_cm : of the figure

    Raises
    ------
    InputError
        When members and truth are no boxes of one shape.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> figure = draw_members(
    ...     random.normal(size=(9, 16, 16)), random.normal(size=(16, 16)), spacing=4.0, ranks=np.full(10, 26),
    ...     spread=[0.9, 1.1], error=[1.0, 1.1], wavenumber=np.linspace(0.1, 0.78, 8),
    ...     power_ratios=random.uniform(0.9, 1.1, size=(9, 8)), label="displacement along x", units="Mpc/h")
    """
    from fieldwise.figures.sheets import styled_sheet

    drawn, true = np.asarray(members, dtype=np.float64), middle_slice(truth, "truth")
    if drawn.shape[1:] != np.shape(truth):
        raise InputError(
            f"members {drawn.shape} and truth {np.shape(truth)} differ; give (member, ...) and (...)"
        )
    slices = [middle_slice(member, "member") for member in drawn]
    row = len(true) // 2
    lines = np.stack([each[row] for each in slices])
    unit = f" ({unit_text(units)})" if units else ""
    with styled_sheet(width_cm, 11.0) as sheet:
        fan, histogram, scatter, power = panels = list(sheet.subplots(2, 2).flat)
        _draw_fan(fan, spacing * (np.arange(lines.shape[1]) + 0.5), lines, true[row])
        fan.set(xlabel=f"x ({length_units})", ylabel=f"{title(label)}{unit}")
        _draw_ranks(histogram, np.asarray(ranks, dtype=np.float64))
        _draw_diagonal(scatter, np.asarray(spread), np.asarray(error))
        scatter.set(xlabel=f"Spread{unit}", ylabel=f"Error of the mean{unit}")
        _draw_ratios(power, np.asarray(wavenumber), np.asarray(power_ratios), np.pi / spacing, power_within)
        power.set(xlabel=f"Wavenumber ({wavenumber_units})", ylabel="Power of a member : truth")
        names = ("members along a line", "ranks of the truth", "spread and error", "roughness of members")
        for index, (axes, name) in enumerate(zip(panels, names)):
            axes.set_title(letter(index, name), pad=15 if axes is fan else 4)  # above the legend
    return sheet


def _draw_fan(axes: Axes, place: np.ndarray, members: np.ndarray, truth: np.ndarray) -> None:
    from fieldwise.figures.sheets import draw_legend

    for share, opacity in FAN.items():
        low, high = np.quantile(members, [(1 - share) / 2, (1 + share) / 2], axis=0)
        axes.fill_between(
            place, low, high, color=DRAWN, alpha=opacity, linewidth=0, label=f"{100 * share:g} %"
        )
    axes.plot(place, np.median(members, axis=0), color=DRAWN, linewidth=0.7, label="Median")
    axes.plot(place, truth, color=TRUE, linewidth=0.9, label="Truth")
    axes.margins(x=0)
    draw_legend(axes, width_cm=8.0)


def _draw_ranks(axes: Axes, counts: np.ndarray) -> None:
    """Draw how often each rank came, over how often it would in a perfect ensemble."""
    from matplotlib.ticker import MaxNLocator

    relative = counts / counts.mean()
    axes.stairs(relative, np.arange(len(counts) + 1) - 0.5, fill=True, color=DRAWN, alpha=0.5)
    axes.axhline(1, color="black", linewidth=0.7, linestyle="dashed")
    axes.set(xlabel="Members below the truth", ylabel="Frequency : expected")
    axes.set(xlim=(-0.5, len(counts) - 0.5), ylim=(0, max(1.5, 1.1 * relative.max())))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _draw_diagonal(axes: Axes, spread: np.ndarray, error: np.ndarray) -> None:
    most = 1.08 * float(max(spread.max(), error.max())) or 1.0
    axes.plot([0, most], [0, most], color="black", linewidth=0.7, linestyle="dashed")
    axes.plot(spread, error, color=DRAWN, marker="o", markersize=3)
    axes.set(xlim=(0, most), ylim=(0, most))


def _draw_ratios(
    axes: Axes, wavenumber: np.ndarray, ratios: np.ndarray, nyquist: float, power_within: Steps
) -> None:
    draw_aims(axes, nyquist, [(share, 1 - part, 1 + part) for share, part in power_within])
    axes.axhline(1, color="black", linewidth=0.7, linestyle="dashed")
    axes.plot(wavenumber, ratios.T, color=DRAWN, alpha=0.25, linewidth=0.5)
    axes.plot(wavenumber, ratios.mean(axis=0), color=DRAWN, linewidth=1.3)
    low, high = np.nanmin(ratios), np.nanmax(ratios)
    axes.set(xlim=(0, nyquist), ylim=(max(0, min(0.75, low - 0.05)), min(3, max(1.25, high + 0.05))))
