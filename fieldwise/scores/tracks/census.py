"""What tracks come to: how many, how long, how fast; where they begin, pass and meet land."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.sphere import GlobalGrid, direction_of, distance_km, place_of

EXTREMES = {"wind_m_s": "max", "pressure_pa": "min", "area_km2": "max"}
PARTS_OF_A_STEP = 12  # places looked at between two of a track


def summarise_tracks(tracks: pd.DataFrame) -> pd.DataFrame:
    """Sum up tracks, one a row, by their number.

    Parameters
    ----------
    tracks
        As :func:`~fieldwise.physics.extreme_weather.tracks.link_events` gives them.

    Returns
    -------
    pandas.DataFrame
        ``first_h``, ``lifetime_h``, ``distance_km`` along the track, ``speed_km_day`` on average and
        ``fastest_km_day`` of a step (missing for a single place), ``genesis_latitude``,
        ``genesis_longitude``, ``merged_into``, ``split_from``, and, of what the table has, the greatest
        ``wind_m_s`` and ``area_km2`` and the lowest ``pressure_pa``.

    >>> places = {"latitude": [10.0, 11.0, 12.0], "longitude": 120.0, "hour": [0.0, 6.0, 12.0]}
    >>> tracks = pd.DataFrame({"track": 1, **places, "merged_into": 0, "split_from": 0})
    >>> row = summarise_tracks(tracks.assign(wind_m_s=[20.0, 40.0, 30.0])).loc[1]
    >>> row[["lifetime_h", "distance_km", "speed_km_day", "wind_m_s"]].round(1).tolist()
    [12.0, 222.4, 444.8, 40.0]
    """
    ordered = tracks.sort_values(["track", "hour"])
    groups = ordered.groupby("track")
    before = groups[["latitude", "longitude", "hour"]].shift()
    step = distance_km(before["latitude"], before["longitude"], ordered["latitude"], ordered["longitude"])
    moved = ordered.assign(step_km=step, speed=24 * step / (ordered["hour"] - before["hour"]))
    moved = moved.groupby("track")
    lifetime = groups["hour"].max() - groups["hour"].min()
    summary = pd.DataFrame(
        {
            "first_h": groups["hour"].min(),
            "lifetime_h": lifetime,
            "distance_km": moved["step_km"].sum(),
            "speed_km_day": 24 * moved["step_km"].sum() / lifetime.where(lifetime > 0),
            "fastest_km_day": moved["speed"].max(),
            "genesis_latitude": groups["latitude"].first(),
            "genesis_longitude": groups["longitude"].first(),
            "merged_into": groups["merged_into"].last(),
            "split_from": groups["split_from"].first(),
        }
    )
    extremes = {name: groups[name].agg(kind) for name, kind in EXTREMES.items() if name in tracks}
    return summary.assign(**extremes)


def count_present(tracks: pd.DataFrame, hours: Sequence[float]) -> np.ndarray:
    """Count the tracks that are there at each of some hours.

    >>> count_present(pd.DataFrame({"track": [1, 1, 2], "hour": [0.0, 3.0, 3.0]}), [0, 3, 6]).tolist()
    [1, 2, 0]
    """
    return tracks["hour"].value_counts().reindex(list(hours), fill_value=0).to_numpy()


def genesis_map(tracks: pd.DataFrame, grid: GlobalGrid, *, reach_km: float = 555.0) -> np.ndarray:
    """Count the tracks that begin within a distance of each cell, (rows, columns).

    >>> grid = GlobalGrid.regular(91, 180)
    >>> tracks = pd.DataFrame({"track": [1, 1], "hour": [0, 6], "latitude": [10.0, 20.0], "longitude": 0.0})
    >>> counts = genesis_map(tracks, grid)
    >>> counts[40, 0], counts[35, 0]  # at 10 and at 20 degrees north
    (np.int64(1), np.int64(0))
    """
    return occurrence_map(tracks.sort_values("hour").groupby("track").head(1), grid, reach_km=reach_km)


def occurrence_map(tracks: pd.DataFrame, grid: GlobalGrid, *, reach_km: float = 555.0) -> np.ndarray:
    """Count the tracks that come within a distance of each cell, each once, (rows, columns).

    Where tracks have masks, the share of times that a cell is in one is ``masks.mean(axis=0)``.

    >>> grid = GlobalGrid.regular(91, 180)
    >>> tracks = pd.DataFrame({"track": [1, 1, 2], "latitude": [10.0, 12.0, 10.0], "longitude": 0.0})
    >>> occurrence_map(tracks, grid)[40, 0]
    np.int64(2)
    """
    counts = np.zeros(grid.shape, dtype=int)
    for _, places in tracks.groupby("track"):
        near = np.zeros(grid.shape, dtype=bool)
        for latitude, longitude in zip(places["latitude"], places["longitude"], strict=True):
            window = grid.around(latitude, longitude, reach_km)
            near[window.cells] |= window.distance_km <= reach_km
        counts += near
    return counts


def take_census(
    tracks: pd.DataFrame, masks: np.ndarray, hours: Sequence[float] | np.ndarray, grid: GlobalGrid
) -> xr.Dataset:
    """Count tracks by place and by time, with names and units as CF asks.

    Parameters
    ----------
    tracks
        As :func:`~fieldwise.physics.extreme_weather.tracks.link_events` gives them.
    masks
        (times, rows, columns) bool, in which they were followed.
    hours, grid
        Of the masks.

    Returns
    -------
    xarray.Dataset
        ``genesis`` and ``occurrence`` (lat, lon), numbers of tracks as of `genesis_map` and
        `occurrence_map`; ``frequency`` (lat, lon), % of the times that a cell is in a mask; ``present``
        (time), number of tracks.

    >>> grid = GlobalGrid.regular(61, 120)
    >>> tracks = pd.DataFrame({"track": 1, "hour": [0.0, 6.0], "latitude": 10.0, "longitude": [120.0, 121.0]})
    >>> masks = np.zeros((2, *grid.shape), dtype=bool)
    >>> masks[0, 26, 40] = True
    >>> census = take_census(tracks, masks, [0.0, 6.0], grid)
    >>> here = census.sel(lat=12.0, lon=120.0)
    >>> int(here["genesis"]), int(here["occurrence"]), float(here["frequency"])
    (1, 1, 50.0)
    >>> census["present"].values.tolist()
    [1, 1]
    """
    counted = {
        "genesis": (genesis_map(tracks, grid), "tracks that begin within 555 km"),
        "occurrence": (occurrence_map(tracks, grid), "tracks that come within 555 km"),
        "frequency": (100 * masks.mean(axis=0), "share of times"),
    }
    fields = {
        name: (("lat", "lon"), values, {"long_name": said, "units": "%" if name == "frequency" else "1"})
        for name, (values, said) in counted.items()
    }
    present = (
        ("time",),
        count_present(tracks, list(hours)),
        {"long_name": "tracks that are there", "units": "1"},
    )
    axes = {
        "lat": ("lat", grid.latitude, {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", grid.longitude, {"units": "degrees_east", "standard_name": "longitude"}),
        "time": ("time", np.asarray(hours, dtype=float)),
    }
    return xr.Dataset({**fields, "present": present}, axes)


def find_landfalls(tracks: pd.DataFrame, land: np.ndarray, grid: GlobalGrid) -> pd.DataFrame:
    """Find where and when tracks come from sea to land, to a twelfth of a step.

    Parameters
    ----------
    tracks
        As :func:`~fieldwise.physics.extreme_weather.tracks.link_events` gives them.
    land
        (rows, columns) bool.
    grid
        Of the land.

    Returns
    -------
    pandas.DataFrame
        ``track``, ``hour``, ``latitude``, ``longitude``, one landfall a row.

    >>> grid = GlobalGrid.regular(181, 360)
    >>> land = np.broadcast_to(np.abs(grid.longitude - 180) > 10, grid.shape)
    >>> tracks = pd.DataFrame({"track": 1, "hour": [0.0, 12.0], "latitude": 0.0, "longitude": [172.1, 166.1]})
    >>> find_landfalls(tracks, land, grid).round(2).values.tolist()
    [[1.0, 6.0, 0.0, 169.1]]
    """
    if land.shape != grid.shape:
        raise InputError(f"land: has shape {land.shape}, the grid {grid.shape}; they must agree")
    found = []
    for number, track in tracks.sort_values("hour").groupby("track"):
        hours = track["hour"].to_numpy()
        parts = np.linspace(0, hours.size - 1, (hours.size - 1) * PARTS_OF_A_STEP + 1)
        vectors = direction_of(track["latitude"].to_numpy(), track["longitude"].to_numpy())
        places = np.stack([np.interp(parts, np.arange(hours.size), axis) for axis in vectors.T], axis=-1)
        latitude, longitude = place_of(places)
        ashore = np.array([land[grid.cell_at(*place)] for place in zip(latitude, longitude, strict=True)])
        for at in np.flatnonzero(ashore[1:] & ~ashore[:-1]) + 1:
            hour = np.interp(parts[at], np.arange(hours.size), hours)
            found.append((number, hour, latitude[at], longitude[at]))
    return pd.DataFrame(found, columns=["track", "hour", "latitude", "longitude"])
