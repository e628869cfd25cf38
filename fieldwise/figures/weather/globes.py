"""Maps of the whole globe with its coasts: classes over a field, how often they are where, and tracks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.figures.comparisons import draw_bar
from fieldwise.figures.curves import LINE_COLOURS
from fieldwise.figures.panels import (
    LEAST_SPREAD,
    PAGE_CM,
    check_named,
    common_limits,
    letter,
    quantity,
    title,
)
from fieldwise.physics.coasts import list_coastlines

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection

    from fieldwise.figures.sheets import Sheet

MASK_COLOURS = LINE_COLOURS[1:]
FAINT = "Greys"  # colour map below masks and tracks
COAST: dict[str, Any] = {"colors": "0.25", "linewidths": 0.35}
STRENGTH = "wind_m_s"
STRENGTH_LABEL = "Strongest wind at 850 hPa along tracks (m s⁻¹)"
STRENGTH_COLOURS, BRIGHTEST = "plasma", 0.85  # without what is too bright for a line
TURNS = (-360, 0, 360)  # degrees by which what is drawn is moved, so that it is on every map

Tracks: TypeAlias = pd.DataFrame | Mapping[str, pd.DataFrame] | None


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
    tracks : with track, hour, latitude and longitude, drawn as lines in all panels; or name -> those of a
        panel. Where they have ``wind_m_s``, that is their colour
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
    seen = np.unique(np.concatenate([np.ravel(mask) for mask in masks.values()]).astype(int))
    colours = {title(classes[number]): _colour_of(number) for number in seen if number > 0}
    limits = common_limits([field])
    panels = dict.fromkeys(masks, field)
    return _draw_globes(panels, limits, tracks, width_cm, above=draw_mask, legend=colours)


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
    highest = common_limits(fields.values(), percentile=0)[1]
    return _draw_globes(dict(fields), (0.0, max(highest, LEAST_SPREAD)), tracks, width_cm)


def _draw_globes(
    fields: Mapping[str, xr.DataArray],
    limits: tuple[float, float],
    tracks: Tracks,
    width_cm: float,
    *,
    above: Callable[[Axes, str], None] | None = None,
    legend: Mapping[str, str] | None = None,
) -> Sheet:
    """Draw fields in one scale of colours, coasts, what is above in the colours of a legend, and tracks."""
    from matplotlib.lines import Line2D

    from fieldwise.figures.sheets import styled_sheet

    columns = 1 if len(fields) == 1 else 2
    rows, panel_cm = -(-len(fields) // columns), width_cm / columns
    ways = {name: tracks if isinstance(tracks, pd.DataFrame) else (tracks or {}).get(name) for name in fields}
    winds = _winds_of(ways.values())
    below = 1.3 + 1.1 * bool(winds) + 0.5 * bool(legend)
    with styled_sheet(width_cm, rows * (panel_cm / 2 + 0.9) + below) as sheet:
        grid = list(sheet.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        for axes in grid[len(fields) :]:
            axes.remove()
        for index, (axes, (name, field)) in enumerate(zip(grid, fields.items())):
            lat, lon = field["lat"].to_numpy(), field["lon"].to_numpy()
            look = {"cmap": FAINT, "vmin": limits[0], "vmax": limits[1], "rasterized": True}
            image = axes.pcolormesh(lon, lat, field.to_numpy(), **look)
            _draw_coasts(axes)
            if above:
                above(axes, name)
            lines = _draw_tracks(axes, ways[name], winds)
            axes.set_title(letter(index, name))
            _label_globe(axes, lon, lowest=index + columns >= len(fields))
        panels, label = grid[: len(fields)], quantity(next(iter(fields.values())))
        if lines:
            draw_bar(sheet, lines, panels, STRENGTH_LABEL, extend="neither")
        draw_bar(sheet, image, panels, label, extend="both" if above else "neither")
        if legend:
            signs = [Line2D([], [], color=colour, label=name) for name, colour in legend.items()]
            sheet.legend(handles=signs, loc="outside upper right", ncols=len(signs))
    return sheet


def _colour_of(number: int) -> str:
    """Give the colour of a class, the background being 0."""
    return MASK_COLOURS[(number - 1) % len(MASK_COLOURS)]


def _around(values: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Repeat the first column behind the last and the last before the first: outlines reach the edges."""
    step = 360 / lon.size
    return np.pad(values, ((0, 0), (1, 1)), mode="wrap"), np.concatenate(
        [[lon[0] - step], lon, [lon[-1] + step]]
    )


def _draw_masks(axes: Axes, field: xr.DataArray, mask: np.ndarray, classes: int) -> None:
    wide, lon = _around(mask, field["lon"].to_numpy())
    lat = field["lat"].to_numpy()
    for number in range(1, classes):
        inside = np.where(wide == number, 1.0, 0.0)
        if inside.any():
            axes.contourf(lon, lat, inside, [0.5, 1.5], colors=[_colour_of(number)], alpha=0.35)
            axes.contour(lon, lat, inside, [0.5], colors=[_colour_of(number)], linewidths=0.7)


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
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.colors import ListedColormap

    ways: list[np.ndarray] = []
    strengths: list[np.ndarray] = []
    for _, track in [] if tracks is None else tracks.sort_values("hour").groupby("track"):
        lon, lat = (
            np.unwrap(track["longitude"].to_numpy(float), period=360),
            track["latitude"].to_numpy(float),
        )
        wind = track[STRENGTH].to_numpy(float) if STRENGTH in track else np.full(len(track), np.nan)
        ways += [np.stack([lon + turn, lat], axis=-1) for turn in TURNS]
        strengths += [np.fmax(wind[:-1], wind[1:])] * len(TURNS)
    casing: Any = (
        {"colors": "black", "linewidths": 0.6} if winds is None else {"colors": "white", "linewidths": 2}
    )
    axes.add_collection(LineCollection(ways, **casing, zorder=3, capstyle="round"), autolim=False)
    if winds is None:
        return None
    segments = [np.stack([way[:-1], way[1:]], axis=1) for way in ways]
    colours = ListedColormap(colormaps[STRENGTH_COLOURS](np.linspace(0, BRIGHTEST, 256)))
    look: Any = {"cmap": colours, "linewidths": 1.1, "clim": winds, "zorder": 4, "capstyle": "round"}
    lines = LineCollection([step for way in segments for step in way], **look)
    lines.set_array(np.concatenate([np.empty(0), *strengths]))
    axes.add_collection(lines, autolim=False)
    return lines


def _label_globe(axes: Axes, lon: np.ndarray, *, lowest: bool) -> None:
    half = 180 / lon.size
    axes.set(xlim=(lon.min() - half, lon.max() + half), ylim=(-90, 90), yticks=range(-60, 61, 30))
    axes.set_xticks([place for place in range(-180, 361, 60) if lon.min() <= place <= lon.max()])
    axes.set_aspect("equal")
    axes.set(xlabel="Longitude (°E)", ylabel="Latitude (°N)")
    axes.label_outer()
    axes.tick_params(labelbottom=lowest)
