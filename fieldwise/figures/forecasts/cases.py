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
    observed, forecast = ([maps[number] for maps in cases.values()] for number in (1, 2))
    difference = [np.subtract(*pair) for pair in zip(forecast, observed, strict=True)]
    both = common_limits(map(xr.DataArray, [*observed, *forecast]))
    around_zero = common_limits(map(xr.DataArray, difference), symmetric=True)
    slender = aspect * abs(extent[3] - extent[2]) / (extent[1] - extent[0])
    height_cm = 3 * (width_cm - 1.5) / len(cases) * min(slender, HIGHEST) + 4.6
    with styled_sheet(width_cm, height_cm) as sheet:
        grid = sheet.subplots(3, len(cases), squeeze=False, sharex=True, sharey=True)
        for row, maps in enumerate((observed, forecast, difference)):
            limits, colours = (both, EVEN) if row < 2 else (around_zero, AROUND_ZERO)
            look: dict[str, Any] = {"norm": linear_norm(limits), "cmap": colours}
            for axes, values in zip(grid[row], maps, strict=True):
                image = axes.imshow(values, extent=extent, aspect=aspect, **look)
                axes.set_facecolor(MISSING)
            if row == 1:
                draw_bar(sheet, image, list(grid[:2].flat), quantity)
        units = quantity.rpartition("(")[2].rstrip(")")
        draw_bar(sheet, image, list(grid[2]), f"Forecast less observed ({units})")
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
    for name, axes in zip(ROWS, grid[:, 0], strict=True):
        axes.set_ylabel("Latitude (°N)" if globe else "Row")
        place: dict[str, Any] = {"xycoords": "axes fraction", "rotation": 90, "ha": "right", "va": "center"}
        axes.annotate(name, (-0.42, 0.5), weight="bold", **place)
