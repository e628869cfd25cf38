"""Classes of cells drawn: on the globe over a field, against each other, and how far they can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.figures.comparisons import EVEN, draw_bar
from fieldwise.figures.curves import LINE_COLOURS, looks_of
from fieldwise.figures.panels import COLUMN_CM, PAGE_CM, check_named, common_limits, letter, title

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from fieldwise.figures.sheets import Sheet

MASK_COLOURS = LINE_COLOURS[1:]
FAINT = "Greys"  # colour map below masks
LEAST_SHARE = 0.005  # of a row, below which a number in a table of shares is left out


def draw_class_maps(
    field: xr.DataArray,
    masks: Mapping[str, ArrayLike],
    classes: Sequence[str],
    *,
    tracks: pd.DataFrame | None = None,
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw masks of classes over a field of the whole globe, a panel each.

    Parameters
    ----------
    field : (lat, lon), with units, rows from north to south
    masks : name -> (lat, lon) numbers of classes; 0, the background, is not drawn
    classes : names, the background first
    tracks : with track, latitude and longitude, drawn as lines in all panels
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is no mask, or one is not on the grid of the field.

    Examples
    --------
    >>> import xarray as xr
    >>> places = {"lat": [60.0, 0.0, -60.0], "lon": [0.0, 90.0, 180.0, 270.0]}
    >>> vapour = xr.DataArray(np.ones((3, 4)), places, name="TMQ", attrs={"units": "kg m-2"})
    >>> figure = draw_class_maps(vapour, {"true": np.eye(3, 4)}, ["background", "storm"])
    """
    from fieldwise.figures.panels import quantity
    from fieldwise.figures.sheets import styled_sheet

    check_named(masks, "masks")
    for name, mask in masks.items():
        if np.shape(mask) != field.shape:
            raise InputError(f"{name} has {np.shape(mask)} cells, the field {field.shape}; give one grid")
    columns = 1 if len(masks) == 1 else 2
    rows = -(-len(masks) // columns)
    with styled_sheet(width_cm, rows * (width_cm / columns / 2 + 0.9) + 1.6) as sheet:
        grid = list(sheet.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        for axes in grid[len(masks) :]:
            axes.remove()
        for index, (axes, (name, mask)) in enumerate(zip(grid, masks.items())):
            low, high = common_limits([field])
            lat, lon = field["lat"].to_numpy(), field["lon"].to_numpy()
            image = axes.pcolormesh(
                lon, lat, field.to_numpy(), cmap=FAINT, vmin=low, vmax=high, rasterized=True
            )
            _draw_masks(axes, np.asarray(mask), lat, lon, len(classes))
            _draw_tracks(axes, tracks)
            axes.set_title(letter(index, name))
            _label_globe(axes, lon)
        for number, name in enumerate(classes[1:]):
            grid[0].plot([], [], color=MASK_COLOURS[number % len(MASK_COLOURS)], label=title(name))
        sheet.legend(*grid[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(classes) - 1)
        draw_bar(sheet, image, grid[: len(masks)], quantity(field))
    return sheet


def _draw_masks(axes: Axes, mask: np.ndarray, lat: np.ndarray, lon: np.ndarray, classes: int) -> None:
    for number in range(1, classes):
        inside = np.where(mask == number, 1.0, 0.0)
        if inside.any():
            colour = MASK_COLOURS[(number - 1) % len(MASK_COLOURS)]
            axes.contourf(lon, lat, inside, [0.5, 1.5], colors=[colour], alpha=0.35)
            axes.contour(lon, lat, inside, [0.5], colors=[colour], linewidths=0.7)


def _draw_tracks(axes: Axes, tracks: pd.DataFrame | None) -> None:
    if tracks is None:
        return
    for _, track in tracks.groupby("track"):
        lon, lat = track["longitude"].to_numpy() % 360, track["latitude"].to_numpy()
        seam = np.flatnonzero(np.abs(np.diff(lon)) > 180) + 1  # a line does not cross the map there
        axes.plot(np.insert(lon, seam, np.nan), np.insert(lat, seam, np.nan), color="black", linewidth=0.6)


def _label_globe(axes: Axes, lon: np.ndarray) -> None:
    axes.set(xlim=(lon.min(), lon.max()), ylim=(-90, 90), yticks=range(-60, 61, 30))
    axes.set_xticks([place for place in range(-180, 361, 60) if lon.min() <= place <= lon.max()])
    axes.set_aspect("equal")
    axes.set(xlabel="Longitude (°E)", ylabel="Latitude (°N)")
    axes.label_outer()


def draw_confusion(confusion: ArrayLike, classes: Sequence[str], *, width_cm: float = COLUMN_CM) -> Sheet:
    """Draw how the cells of each true class are told, in shares of the row.

    Parameters
    ----------
    confusion : (true class, predicted class) counts
    classes : names
    width_cm : of the figure

    Raises
    ------
    InputError
        When counts and names do not fit each other.

    Examples
    --------
    >>> figure = draw_confusion([[90, 10], [5, 5]], ["calm", "storm"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['0.90', '0.10', '0.50', '0.50']
    """
    from fieldwise.figures.sheets import styled_sheet

    counts = np.asarray(confusion, dtype=float)
    if counts.shape != (len(classes), len(classes)):
        raise InputError(f"confusion has shape {counts.shape}; give {len(classes)} x {len(classes)} counts")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [title(name).replace(" ", "\n") for name in classes]
    with styled_sheet(width_cm, 0.8 * width_cm) as sheet:
        axes = sheet.subplots()
        axes.imshow(shares, cmap=EVEN, vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share < 0.6 else "black"
            if share >= LEAST_SHARE:
                axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour)
        ticks = range(len(classes))
        axes.set_xticks(ticks, names)
        axes.set_yticks(ticks, names)
        axes.set(xlabel="Predicted", ylabel="True")
    return sheet


def draw_reliability(curves: Mapping[str, Mapping[str, ArrayLike]], *, width_cm: float = COLUMN_CM) -> Sheet:
    """Draw how often something is so that was held for so probable; on the diagonal it can be believed.

    Parameters
    ----------
    curves : name -> ``probability`` and ``share``, (n,) each, as of `scores.classes.ReliabilitySums`
    width_cm : of the figure

    Examples
    --------
    >>> figure = draw_reliability({"storm": {"probability": [0.1, 0.9], "share": [0.2, 0.7]}})
    >>> figure.axes[0].get_xlabel()
    'Predicted probability'
    """
    from fieldwise.figures.sheets import draw_legend, styled_sheet

    check_named(curves, "curves")
    looks = looks_of(["", *curves])
    with styled_sheet(width_cm, width_cm) as sheet:
        axes = sheet.subplots()
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.5, linestyle="dashed")
        for name, curve in curves.items():
            axes.plot(curve["probability"], curve["share"], label=title(name), marker=".", **looks[name])
        axes.set(xlabel="Predicted probability", ylabel="Share of cells", xlim=(0, 1), ylim=(0, 1))
        axes.set_aspect("equal")
        draw_legend(axes, width_cm=width_cm)
    return sheet
