"""Boxes of two or three dimensions: slices of input, output, truth and difference, and projected density."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.figures.comparisons import AROUND_ZERO, EVEN, draw_bar, linear_norm
from fieldwise.figures.panels import PAGE_CM, check_named, common_limits, letter, title, unit_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.image import AxesImage

    from fieldwise.figures.sheets import Sheet

DENSE = "magma"  # colour map of densities: even, and told apart by colour-blind readers
BESIDE_CM, AROUND_CM = 1.2, 1.9  # beside the panels of a row, and above and below them with colour bars
BAR = 0.1  # thickness of a colour bar and its distance, over the width of a panel
MOST_COLUMNS = 4


def draw_slices(
    source: ArrayLike,
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    spacing: float,
    label: str,
    units: str = "",
    length_units: str = "Mpc/h",
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw input, output and truth in one scale of colours, and output minus truth in one around zero.

    Parameters
    ----------
    source, prediction, truth : one component each, (y, x), or (z, y, x), of which the middle slice is drawn;
        the source, which is the input, covers the same box in cells of any size
    spacing : side of a cell of the truth, in length_units
    label, units : of what is drawn, for the colour bars
    length_units : of the axes
    width_cm : of the figure

    Raises
    ------
    InputError
        When prediction and truth differ in shape, or something is no box.

    Examples
    --------
    >>> truth = np.random.default_rng(0).normal(size=(8, 8, 8))
    >>> coarse = truth[::2, ::2, ::2]
    >>> figure = draw_slices(
    ...     coarse, 0.9 * truth, truth, spacing=4.0, label="displacement along x", units="Mpc/h"
    ... )
    """
    before, output, true = (
        middle_slice(field, name)
        for field, name in ((source, "source"), (prediction, "prediction"), (truth, "truth"))
    )
    if output.shape != true.shape:
        raise InputError(f"prediction {output.shape} and truth {true.shape} differ; cut both from one box")
    common = linear_norm(_limits(before, output, true))
    around_zero = linear_norm(_limits(output - true, symmetric=True))
    sides = spacing * true.shape[1], spacing * true.shape[0]
    named = {"input": before, "output": output, "truth": true, "difference": output - true}
    with _row_of(len(named), sides, width_cm) as (sheet, panels):
        for index, (axes, (name, values)) in enumerate(zip(panels, named.items())):
            last = name == "difference"
            norm, colours = (around_zero, AROUND_ZERO) if last else (common, EVEN)
            image = _draw_box(axes, values, sides, norm=norm, colour_map=colours, heading=letter(index, name))
            _name_axes(axes, length_units, west=index == 0)
            if name == "truth":
                draw_bar(sheet, image, panels[:3], _with_units(label, units))
        draw_bar(sheet, image, panels[3:], _with_units("output − truth", units))
    return sheet


def draw_densities(
    densities: Mapping[str, ArrayLike],
    *,
    spacing: float,
    length_units: str = "Mpc/h",
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw densities side by side in one logarithmic scale of colours, such as the truth and predictions.

    Of three dimensions it is the mean along the first axis. What is emptier than the scale has the least one.

    Parameters
    ----------
    densities : name of the panel -> (y, x) or (z, y, x) in units of the mean, one to four
    spacing : side of a cell of the first one, in length_units; all cover the same box
    length_units : of the axes
    width_cm : of the figure

    Raises
    ------
    InputError
        When there are none, more than four, or a density is no box or nowhere above zero.

    Examples
    --------
    >>> density = np.exp(np.random.default_rng(0).normal(size=(8, 8, 8)))
    >>> figure = draw_densities({"truth": density, "prediction": density[::-1]}, spacing=4.0)
    """
    check_named(densities, "densities")
    if len(densities) > MOST_COLUMNS:
        raise InputError(f"densities {len(densities)} do not fit into one row; give {MOST_COLUMNS} at most")
    projected = {name: _project(density, name) for name, density in densities.items()}
    first = next(iter(projected.values()))
    sides = spacing * first.shape[1], spacing * first.shape[0]
    norm = _logarithm(projected)
    along = "mean along the line of sight" if np.ndim(next(iter(densities.values()))) == 3 else ""
    with _row_of(len(projected), sides, width_cm) as (sheet, panels):
        for index, (axes, (name, values)) in enumerate(zip(panels, projected.items())):
            heading = letter(index, name) if len(projected) > 1 else title(name)
            seen = np.maximum(values, norm.vmin or 0)  # an empty cell has no logarithm
            image = _draw_box(axes, seen, sides, norm=norm, colour_map=DENSE, heading=heading)
            _name_axes(axes, length_units, west=index == 0)
        draw_bar(sheet, image, panels, ", ".join(filter(None, ["Density over its mean", along])))
    return sheet


def middle_slice(field: ArrayLike, name: str) -> np.ndarray:
    """Return a field of two dimensions, or the middle slice across the first axis of one of three.

    >>> middle_slice(np.arange(24).reshape(3, 2, 4), "truth")[0].tolist()
    [8.0, 9.0, 10.0, 11.0]
    """
    values = np.asarray(field, dtype=np.float64)
    if values.ndim not in (2, 3):
        raise InputError(f"{name} {values.shape} cannot be drawn; give one component, (y, x) or (z, y, x)")
    return values[len(values) // 2] if values.ndim == 3 else values


def _project(density: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(density, dtype=np.float64)
    middle_slice(values, name)  # refuses what is no box
    return values.mean(axis=0) if values.ndim == 3 else values


def _limits(*fields: np.ndarray, symmetric: bool = False) -> tuple[float, float]:
    return common_limits(map(xr.DataArray, fields), symmetric=symmetric, percentile=0.5)


def _logarithm(densities: Mapping[str, np.ndarray]) -> Normalize:
    """Scale colours to what all densities but their outermost percent hold, over three decades at most."""
    from matplotlib.colors import LogNorm

    values = np.concatenate([density.ravel() for density in densities.values()])
    values = values[values > 0]
    if values.size == 0:
        raise InputError("densities are nowhere above zero; give 1 + δ, in units of the mean")
    low, high = np.percentile(values, [1, 99.5])
    high = max(high, 1.01 * low)
    return LogNorm(max(low, high / 1000), high)


@contextlib.contextmanager
def _row_of(count: int, sides: tuple[float, float], width_cm: float) -> Iterator[tuple[Sheet, list[Axes]]]:
    """Start a sheet of one row of panels, as high as they need."""
    from fieldwise.figures.sheets import styled_sheet

    panel_cm = (width_cm - BESIDE_CM) / max(count, 2)
    height_cm = panel_cm * (sides[1] / sides[0] + BAR) + AROUND_CM
    with styled_sheet(width_cm, height_cm) as sheet:
        yield sheet, list(sheet.subplots(1, count, squeeze=False).flat)


def _draw_box(
    axes: Axes,
    values: np.ndarray,
    sides: tuple[float, float],
    *,
    norm: Normalize,
    colour_map: str,
    heading: str,
) -> AxesImage:
    """Draw one panel, with the first row below: boxes have no north."""
    image = axes.imshow(values, extent=(0, sides[0], 0, sides[1]), origin="lower", norm=norm, cmap=colour_map)
    axes.set_title(heading)
    return image


def _name_axes(axes: Axes, length_units: str, *, west: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"x ({length_units})")
    axes.set_ylabel(f"y ({length_units})" if west else "")
    axes.tick_params(labelleft=west)


def _with_units(label: str, units: str) -> str:
    return f"{title(label)} ({unit_text(units)})" if units else title(label)
