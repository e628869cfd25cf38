"""Forecast maps beside what came, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.figures.comparisons import AROUND_ZERO, EVEN, MISSING, draw_bar, linear_norm
from fieldwise.figures.panels import PAGE_CM, check_named, common_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fieldwise.figures.sheets import Sheet

ROWS = ("Observed", "Forecast", "Difference")
HIGHEST = 1.4  # of a panel over its width


def draw_cases(
    cases: Mapping[str, tuple[str, np.ndarray, np.ndarray]],
    *,
    quantity: str,
    globe: Mapping[str, Sequence[float]] | None = None,
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw cases side by side: observed and forecast in one scale of colours, and their difference.

    Parameters
    ----------
    cases : name, such as a decile of the error -> further words, observed, forecast, (y, x) each, rows from
        north to south
    quantity : with its unit
    globe : ``latitude`` of rows and ``longitude`` of columns, for the axes; cells are counted without
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is no case, or maps differ in shape.

    Examples
    --------
    >>> map_of = np.random.default_rng(0).normal(280.0, 5.0, (8, 10))
    >>> figure = draw_cases({"50 %": ("MSE 1.2", map_of, map_of + 1)}, quantity="2 m temperature (K)")
    >>> figure.axes[0].get_title("left")
    '50 %\\nMSE 1.2'
    """
    from fieldwise.figures.sheets import styled_sheet

    check_named(cases, "cases")
    shapes = {np.shape(each) for _, *maps in cases.values() for each in maps}
    if len(shapes) > 1:
        raise InputError(f"maps have {' and '.join(map(str, sorted(shapes)))} cells; give one grid")
    extent, aspect = _extent(globe, shapes.pop())
    rows = [[maps[0] for _, *maps in cases.values()], [maps[1] for _, *maps in cases.values()]]
    rows.append([np.subtract(second, first) for first, second in zip(*rows)])
    both = common_limits(map(xr.DataArray, [*rows[0], *rows[1]]))
    around_zero = common_limits(map(xr.DataArray, rows[2]), symmetric=True)
    high = aspect * abs(extent[3] - extent[2]) / (extent[1] - extent[0])
    panel = (width_cm - 1.5) / len(cases)
    with styled_sheet(width_cm, 3 * panel * min(high, HIGHEST) + 4.6) as sheet:
        grid = sheet.subplots(3, len(cases), squeeze=False, sharex=True, sharey=True)
        for row, (name, maps) in enumerate(zip(ROWS, rows, strict=True)):
            look: dict[str, Any] = {"norm": linear_norm(both), "cmap": EVEN}
            if row == 2:
                look = {"norm": linear_norm(around_zero), "cmap": AROUND_ZERO}
            for axes, values in zip(grid[row], maps, strict=True):
                image = axes.imshow(values, extent=extent, aspect=aspect, **look)
                axes.set_facecolor(MISSING)
            grid[row, 0].annotate(
                name,
                (-0.42, 0.5),
                xycoords="axes fraction",
                rotation=90,
                ha="right",
                va="center",
                weight="bold",
            )
            if row:
                unit = quantity.rpartition("(")[2].rstrip(")")
                draw_bar(
                    sheet,
                    image,
                    list(grid[: row + 1].flat) if row == 1 else list(grid[2]),
                    quantity if row == 1 else f"Forecast less observed ({unit})",
                )
        for axes, (name, (words, *_)) in zip(grid[0], cases.items(), strict=True):
            axes.set_title(f"{name}\n{words}", fontsize=6.5)
        _label(grid, globe)
    return sheet


def _extent(
    globe: Mapping[str, Sequence[float]] | None, shape: tuple[int, ...]
) -> tuple[tuple[float, float, float, float], float]:
    """Give west, east, south, north of the outer edges, and how much longer a degree northward is drawn."""
    if globe is None:
        return (0.0, float(shape[1]), float(shape[0]), 0.0), 1.0
    latitude, longitude = (np.asarray(globe[axis], dtype=float) for axis in ("latitude", "longitude"))
    down, across = (abs(each[-1] - each[0]) / max(each.size - 1, 1) / 2 for each in (latitude, longitude))
    edges = longitude[0] - across, longitude[-1] + across, latitude[-1] - down, latitude[0] + down
    return tuple(map(float, edges)), 1 / float(np.cos(np.deg2rad(latitude.mean())))  # type: ignore[return-value]


def _label(grid: np.ndarray, globe: Mapping[str, Sequence[float]] | None) -> None:
    from matplotlib.ticker import MaxNLocator

    axes: Axes
    for axes in grid.flat:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            axis.set_major_formatter("{x:.8g}")
    for axes in grid[-1]:
        axes.set_xlabel("Longitude (°E)" if globe else "Column")
    for axes in grid[:, 0]:
        axes.set_ylabel("Latitude (°N)" if globe else "Row")
