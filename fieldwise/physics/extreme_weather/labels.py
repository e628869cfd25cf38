"""Two labellers of cyclones and rivers, over a sequence of times: what they do not agree on, none can know.

One follows the labels of DeepCAM (TECA: spin, vapour of the column), the other TempestExtremes and
ExtremeWeatherBench (closed contours, transport of vapour).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.channels import BACKGROUND, CYCLONE, RIVER
from fieldwise.physics.extreme_weather.components import label_components, measure_components
from fieldwise.physics.extreme_weather.cyclone_masks import mask_by_percentiles, mask_by_swirl
from fieldwise.physics.extreme_weather.cyclones import (
    QUARTER_DEGREE_KM,
    find_closed_cyclones,
    find_spinning_cyclones,
    gale_on_cells,
)
from fieldwise.physics.extreme_weather.rivers import find_moist_rivers, find_strong_rivers
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.physics.extreme_weather.tracks import Hours, link_events, overlap_shares
from fieldwise.physics.extreme_weather.transport import approximate_transport

CYCLONE_KM_DAY = 1600.0
RIVER_KM_DAY = 2500.0
OUTER_WIND = 8.0  # m/s: out to there a cyclone carries vapour around itself, which is no river

Fields = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Labels:
    """What a labeller makes of a sequence.

    Attributes
    ----------
    classes
        (times, rows, columns) uint8: 0 background, 1 tropical cyclone, 2 atmospheric river.
    cyclones
        Tracks as :func:`~fieldwise.physics.extreme_weather.tracks.link_events` gives them, with
        ``pressure_pa`` and ``wind_m_s``.
    rivers
        Tracks of rivers, with ``area_km2``, ``height_km`` and ``diagonal_km``.
    """

    classes: np.ndarray
    cyclones: pd.DataFrame
    rivers: pd.DataFrame


@dataclass(frozen=True)
class _Rules:
    """How a labeller finds things at a time."""

    find: Callable[[Fields, GlobalGrid], pd.DataFrame]
    mask: Callable[..., np.ndarray]
    rivers: Callable[[Fields, np.ndarray], np.ndarray]
    strong_m_s: float


def label_by_vapour(
    times: Iterable[Fields],
    hours: Hours,
    grid: GlobalGrid,
    *,
    least_hours: float = 48.0,
    bridge_steps: int = 0,
) -> Labels:
    """Label cyclones and rivers after the labels of DeepCAM (TECA).

    Cyclones are tracks of candidates by spin that move less than 1600 km a day and have gales for two days;
    they override rivers, which are long and narrow in the vapour of the column.

    Parameters
    ----------
    times
        The channels of each time, (rows, columns) each, read one after the other.
    hours
        Of the times.
    grid
        Of the fields.
    least_hours
        How long a cyclone has to have gales, every time counted as long as steps are.
    bridge_steps
        For how many times in a row a cyclone or a river may be missing. Its track goes on; no cell is marked.

    Returns
    -------
    Labels
        Masks and tracks.

    Raises
    ------
    InputError
        Where channels are missing, do not fit the grid, or times are out of order.

    >>> from fieldwise.physics.extreme_weather.cyclones import NEEDED
    >>> grid = GlobalGrid.regular(61, 120)
    >>> calm = {name: np.zeros(grid.shape) for name in NEEDED}
    >>> labels = label_by_vapour([calm, calm], [0, 3], grid)
    >>> labels.classes.shape, int(labels.classes.max()), len(labels.cyclones)
    ((2, 61, 120), 0, 0)
    """
    rules = _Rules(
        find_spinning_cyclones,
        mask_by_percentiles,
        lambda fields, _: find_moist_rivers(fields["TMQ"], grid),
        gale_on_cells(grid.spacing_km),
    )
    return _label(times, hours, grid, rules, least_hours, bridge_steps)


def label_by_transport(
    times: Iterable[Fields],
    hours: Hours,
    grid: GlobalGrid,
    *,
    least_hours: float = 54.0,
    bridge_steps: int = 0,
) -> Labels:
    """Label cyclones after TempestExtremes and rivers after ExtremeWeatherBench.

    Cyclones are tracks of closed contours, with winds of 10 m/s for 54 hours; rivers are sharp and strong in
    the transport of vapour, outside of the winds of cyclones. The transport is ``IVT`` where the fields have
    it, as :func:`~fieldwise.physics.extreme_weather.transport.vapour_transport` makes it from winds and
    humidity; otherwise it is taken as ``TMQ`` times the wind at 850 hPa.

    Parameters
    ----------
    times, hours, grid, least_hours, bridge_steps
        As for :func:`label_by_vapour`.

    Returns
    -------
    Labels
        Masks and tracks.

    >>> from fieldwise.physics.extreme_weather.cyclones import NEEDED
    >>> grid = GlobalGrid.regular(121, 240)
    >>> across = np.abs(grid.latitude[:, None] - 40 - 0.5 * (grid.longitude - 100)) / 3
    >>> river = 700 * np.exp(-(across**2) / 2) * (np.abs(grid.longitude - 100) < 15)
    >>> calm = {name: np.zeros(grid.shape) for name in NEEDED}
    >>> labels = label_by_transport([calm | {"IVT": river}], [0], grid)
    >>> np.unique(labels.classes).tolist(), labels.rivers[["latitude", "longitude"]].round().values.tolist()
    ([0, 2], [[40.0, 99.0]])
    """

    def rivers(fields: Fields, cyclones: np.ndarray) -> np.ndarray:
        transport = fields["IVT"] if "IVT" in fields else approximate_transport(fields)
        swirling = np.zeros(grid.shape, dtype=bool)
        for place in cyclones:
            swirling.flat[mask_by_swirl(fields, grid, *place, wind_m_s=OUTER_WIND)] = True
        return find_strong_rivers(transport, grid, outside=swirling)

    weakest = 10.0 * gale_on_cells(grid.spacing_km) / gale_on_cells(QUARTER_DEGREE_KM)
    rules = _Rules(find_closed_cyclones, mask_by_swirl, rivers, weakest)
    return _label(times, hours, grid, rules, least_hours, bridge_steps)


def _label(
    times: Iterable[Fields],
    hours: Hours,
    grid: GlobalGrid,
    rules: _Rules,
    least_hours: float,
    bridge_steps: int,
) -> Labels:
    nodes: list[pd.DataFrame] = []
    marked: list[list[np.ndarray]] = []
    river_masks: list[np.ndarray] = []
    for fields in times:
        found = rules.find(fields, grid)
        places = found[["latitude", "longitude"]].to_numpy()
        cells = [rules.mask(fields, grid, *place) for place in places]
        nodes.append(found.assign(node=np.arange(len(found))))
        marked.append(cells)
        river_masks.append(rules.rivers(fields, places))
    if len(nodes) != len(hours):
        raise InputError(f"hours: {len(hours)} of {len(nodes)} times; give one a time")
    tracks = link_events(
        nodes,
        hours,
        speed_limit_km_day=CYCLONE_KM_DAY,
        slack_km=1.5 * grid.spacing_km,
        bridge_steps=bridge_steps,
    )
    tracks = keep_lasting(tracks, rules.strong_m_s, least_hours, _step_hours(hours))
    classes = np.where(river_masks, RIVER, BACKGROUND).astype(np.uint8).reshape(-1, *grid.shape)
    step_of = {hour: step for step, hour in enumerate(hours)}
    for row in tracks[~tracks["bridged"]].itertuples():
        classes[step_of[row.hour]].flat[marked[step_of[row.hour]][int(row.node)]] = CYCLONE
    rivers = track_masks(classes == RIVER, hours, grid, bridge_steps=bridge_steps)
    return Labels(classes, tracks.drop(columns="node"), rivers)


def keep_lasting(
    tracks: pd.DataFrame, strong_m_s: float, least_hours: float, step_hours: float
) -> pd.DataFrame:
    """Keep the tracks whose ``wind_m_s`` is strong for long enough in all; they get new numbers.

    >>> tracks = pd.DataFrame({"track": [1, 2, 2], "wind_m_s": [30.0, 20.0, 18.0]})
    >>> tracks = tracks.assign(merged_into=[2, 0, 0], split_from=[0, 1, 0])
    >>> keep_lasting(tracks, 17.0, 6.0, 3.0).values.tolist()
    [[1.0, 20.0, 0.0, 0.0], [1.0, 18.0, 0.0, 0.0]]
    """
    strong = tracks.loc[tracks["wind_m_s"] >= strong_m_s, "track"].value_counts() * step_hours
    kept = sorted(strong[strong >= least_hours].index)
    renumbered = {number: place for place, number in enumerate(kept, 1)}
    result = tracks[tracks["track"].isin(kept)].copy()
    result["track"] = result["track"].map(renumbered)
    for name in ("merged_into", "split_from"):
        result[name] = result[name].map(renumbered).fillna(0).astype(int)
    return result.reset_index(drop=True)


def track_masks(
    masks: np.ndarray,
    hours: Hours,
    grid: GlobalGrid,
    *,
    speed_limit_km_day: float = RIVER_KM_DAY,
    least_km2: float = 0.0,
    bridge_steps: int = 0,
) -> pd.DataFrame:
    """Follow the connected parts of masks from time to time, by where they overlap and how far they are.

    Parameters
    ----------
    masks
        (times, rows, columns) bool.
    hours, grid
        Of the masks.
    speed_limit_km_day
        For parts that do not overlap.
    least_km2
        Smaller parts are left out.
    bridge_steps
        For how many steps one may be missing.

    Returns
    -------
    pandas.DataFrame
        As of :func:`~fieldwise.physics.extreme_weather.tracks.link_events`, with ``area_km2``, ``height_km``,
        ``diagonal_km`` and ``part``, its number among the connected parts of the mask of its time.

    >>> grid = GlobalGrid.regular(61, 120)
    >>> masks = np.zeros((3, 61, 120), dtype=bool)
    >>> masks[0, 20:25, 118:], masks[1, 20:25, 119], masks[1:, 20:25, :2] = True, True, True  # over the seam
    >>> track_masks(masks, [0, 6, 12], grid)[["track", "longitude"]].round(1).values.tolist()
    [[1.0, -4.5], [1.0, -0.0], [1.0, 1.5]]
    """
    nodes, overlaps, before = [], [], None
    for mask in masks:
        labels = label_components(mask)
        parts = measure_components(labels, grid)
        kept = parts[parts["area_km2"] >= least_km2]
        renumbered = np.zeros(labels.max(initial=0) + 1, dtype=np.int32)
        renumbered[kept["number"]] = np.arange(1, len(kept) + 1)
        labels = renumbered[labels]
        if before is not None:
            overlaps.append(overlap_shares(before, labels, grid.area_km2))
        before = labels
        nodes.append(kept.rename(columns={"number": "part"}))
    return link_events(
        nodes,
        hours,
        speed_limit_km_day=speed_limit_km_day,
        slack_km=1.5 * grid.spacing_km,
        bridge_steps=bridge_steps,
        overlaps=overlaps,
    )


def _step_hours(hours: Hours) -> float:
    return float(np.median(np.diff(hours))) if len(hours) > 1 else 0.0
