"""Maps of the whole globe, with its coasts: classes over a field, how often they occur, and tracks by strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.figures.comparisons import EVEN, draw_bar
from fieldwise.figures.curves import LINE_COLOURS
from fieldwise.figures.panels import PAGE_CM, check_named, common_limits, letter, quantity, title
from fieldwise.physics.coasts import list_coastlines

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection

    from fieldwise.figures.sheets import Sheet

MASK_COLOURS = LINE_COLOURS[1:]
FAINT = "Greys"  # colour map below masks
OFTEN = "Blues"  # colour map of how often
COAST: dict[str, Any] = {"colors": "0.25", "linewidths": 0.35}
STRENGTH = "wind_m_s"
STRENGTH_LABEL = "Strongest wind at 850 hPa along tracks (m s⁻¹)"
TURNS = (-360, 0, 360)  # degrees by which what is drawn is moved, so that it is on every map

Tracks = pd.DataFrame | Mapping[str, pd.DataFrame] | None


def draw_class_maps(
    field: xr.DataArray,
    masks: Mapping[str, ArrayLike],
    classes: Sequence[str],
    *,
    tracks: Tracks = None,
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw masks of classes over a field of the whole globe, a panel each.

    Parameters
    ----------
    field : (lat, lon), with units; its longitudes go eastward all around
    masks : name -> (lat, lon) numbers of classes; 0, the background, is not drawn
    classes : names, the background first
    tracks : with track, hour, latitude and longitude, drawn as lines in all panels; or name -> those of a panel.
        Where they have ``wind_m_s``, that is their colour
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
    for name, mask in masks.items():
        if np.shape(mask) != field.shape:
            raise InputError(f"{name} has {np.shape(mask)} cells, the field {field.shape}; give one grid")

    def draw_mask(axes: Axes, name: str) -> None:
        _draw_masks(axes, field, np.asarray(masks[name]), len(classes))

    check_named(masks, "masks")
    sheet = _draw_globes(dict.fromkeys(masks, field), FAINT, tracks, width_cm, above=draw_mask)
    for number, name in enumerate(classes[1:]):
        sheet.axes[0].plot([], [], color=MASK_COLOURS[number % len(MASK_COLOURS)], label=title(name))
    handles = sheet.axes[0].get_legend_handles_labels()
    sheet.legend(*handles, loc="outside upper right", ncols=len(classes) - 1)
    return sheet


def draw_frequency_maps(
    fields: Mapping[str, xr.DataArray], *, tracks: Tracks = None, width_cm: float = PAGE_CM
) -> Sheet:
    """Draw how often something is where on the globe, a panel each in one scale of colours, and its tracks.

    Parameters
    ----------
    fields : name -> (lat, lon), with units, none below 0; longitudes go eastward all around
    tracks, width_cm : as of :func:`draw_class_maps`

    Examples
    --------
    >>> import xarray as xr
    >>> places = {"lat": [60.0, 0.0, -60.0], "lon": [0.0, 90.0, 180.0, 270.0]}
    >>> often = xr.DataArray(np.eye(3, 4), places, attrs={"units": "%", "long_name": "share of times"})
    >>> figure = draw_frequency_maps({"true": often, "predicted": often})
    >>> figure.axes[-1].get_xlabel()
    'Share of times (%)'
    """
    check_named(fields, "fields")
    return _draw_globes(dict(fields), OFTEN, tracks, width_cm, lowest=0.0)


def _draw_globes(
    fields: Mapping[str, xr.DataArray],
    colour_map: str,
    tracks: Tracks,
    width_cm: float,
    *,
    above: Any = None,
    lowest: float | None = None,
) -> Sheet:
    """Draw fields, one scale of colours for all, coasts and tracks, and a bar for each scale."""
    from fieldwise.figures.sheets import styled_sheet

    columns = 1 if len(fields) == 1 else 2
    rows, panel_cm = -(-len(fields) // columns), width_cm / columns
    of_panel = {name: tracks if isinstance(tracks, pd.DataFrame) else (tracks or {}).get(name) for name in fields}
    winds = _winds_of(of_panel.values())
    low, high = common_limits(fields.values())
    low = low if lowest is None else lowest
    with styled_sheet(width_cm, rows * (panel_cm / 2 + 0.9) + 1.6 + 1.1 * bool(winds)) as sheet:
        grid = list(sheet.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        for axes in grid[len(fields) :]:
            axes.remove()
        for index, (axes, (name, field)) in enumerate(zip(grid, fields.items())):
            lat, lon = field["lat"].to_numpy(), field["lon"].to_numpy()
            image = axes.pcolormesh(
                lon, lat, field.to_numpy(), cmap=colour_map, vmin=low, vmax=max(high, low + 1e-9), rasterized=True
            )
            _draw_coasts(axes)
            if above is not None:
                above(axes, name)
            lines = _draw_tracks(axes, of_panel[name], winds)
            axes.set_title(letter(index, name))
            _label_globe(axes, lon)
        draw_bar(sheet, image, grid[: len(fields)], quantity(field))
        if winds:
            draw_bar(sheet, lines, grid[: len(fields)], STRENGTH_LABEL)
    return sheet


def _around(values: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Repeat the first column behind the last and the last before the first, so that outlines reach the edge."""
    step = 360 / lon.size
    return np.pad(values, ((0, 0), (1, 1)), mode="wrap"), np.concatenate([[lon[0] - step], lon, [lon[-1] + step]])


def _draw_masks(axes: Axes, field: xr.DataArray, mask: np.ndarray, classes: int) -> None:
    wide, lon = _around(mask, field["lon"].to_numpy())
    lat = field["lat"].to_numpy()
    for number in range(1, classes):
        inside = np.where(wide == number, 1.0, 0.0)
        if inside.any():
            colour = MASK_COLOURS[(number - 1) % len(MASK_COLOURS)]
            axes.contourf(lon, lat, inside, [0.5, 1.5], colors=[colour], alpha=0.35)
            axes.contour(lon, lat, inside, [0.5], colors=[colour], linewidths=0.7)


def _draw_coasts(axes: Axes) -> None:
    from matplotlib.collections import LineCollection

    lines = [line + np.array([turn, 0]) for turn in TURNS for line in list_coastlines()]
    axes.add_collection(LineCollection(lines, **COAST), autolim=False)


def _winds_of(tables: Any) -> tuple[float, float] | None:
    """Give round limits of the winds of all tracks; None where there are none."""
    winds = [table[STRENGTH].to_numpy(float) for table in tables if table is not None and STRENGTH in table]
    known = np.concatenate([np.empty(0), *winds])
    known = known[np.isfinite(known)]
    return (10 * np.floor(known.min() / 10), 10 * np.ceil(known.max() / 10 + 1e-9)) if known.size else None


def _draw_tracks(
    axes: Axes, tracks: pd.DataFrame | None, winds: tuple[float, float] | None
) -> LineCollection | None:
    """Draw tracks as lines, black or in the colours of the stronger wind of both ends of a step."""
    from matplotlib.collections import LineCollection

    segments: list[np.ndarray] = []
    strengths: list[np.ndarray] = []
    for _, track in [] if tracks is None else tracks.sort_values("hour").groupby("track"):
        lon, lat = np.unwrap(track["longitude"].to_numpy(float), period=360), track["latitude"].to_numpy(float)
        points = np.stack([lon, lat], axis=-1)
        wind = track[STRENGTH].to_numpy(float) if STRENGTH in track else np.full(len(track), np.nan)
        for turn in TURNS:
            moved = points + np.array([turn, 0])
            segments += list(np.stack([moved[:-1], moved[1:]], axis=1))
            strengths.append(np.fmax(wind[:-1], wind[1:]))
    if winds is None:
        axes.add_collection(LineCollection(segments, colors="black", linewidths=0.6), autolim=False)
        return None
    axes.add_collection(LineCollection(segments, colors="black", linewidths=1.7), autolim=False)
    lines = LineCollection(segments, cmap=EVEN, linewidths=1.0, clim=winds)
    lines.set_array(np.concatenate([np.empty(0), *strengths]))
    axes.add_collection(lines, autolim=False)
    return lines


def _label_globe(axes: Axes, lon: np.ndarray) -> None:
    half = 180 / lon.size
    axes.set(xlim=(lon.min() - half, lon.max() + half), ylim=(-90, 90), yticks=range(-60, 61, 30))
    axes.set_xticks([place for place in range(-180, 361, 60) if lon.min() <= place <= lon.max()])
    axes.set_aspect("equal")
    axes.set(xlabel="Longitude (°E)", ylabel="Latitude (°N)")
    axes.label_outer()
