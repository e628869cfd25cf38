"""Events in masks of classes: followed from time to time, with how strong they are, and written to files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from fieldwise.physics.extreme_weather.channels import CYCLONE, RIVER
from fieldwise.physics.extreme_weather.labels import CYCLONE_KM_DAY, RIVER_KM_DAY, track_masks
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.recipes.extreme_weather.cases import grid_of_case
from fieldwise.recipes.extreme_weather.predictor import CLASS
from fieldwise.samples.cases import Case
from fieldwise.scores.tracks import write_geojson, write_tracks

KINDS = {"cyclones": (CYCLONE, CYCLONE_KM_DAY, "TS"), "rivers": (RIVER, RIVER_KM_DAY, "NR")}
LEAST_KM2 = 2e5  # of an event at a time; as ClimateNet has it, 250 of its cells
NEAR_KM = 300.0  # of the middle of an event, in which its wind and pressure are looked for

Fields = Callable[[str, int], np.ndarray]


def follow_events(
    classes: np.ndarray, hours: np.ndarray, grid: GlobalGrid, kind: str, *, bridge_steps: int = 0
) -> pd.DataFrame:
    """Follow cyclones or rivers in classes, (times, rows, columns).

    >>> grid = GlobalGrid.regular(61, 120)
    >>> classes = np.zeros((2, *grid.shape), dtype=int)
    >>> classes[0, 20:22, 118:], classes[1, 20:22, :2] = 1, 1  # over the seam
    >>> follow_events(classes, np.array([0.0, 6.0]), grid, "cyclones")["track"].tolist()
    [1, 1]
    """
    number, speed, _ = KINDS[kind]
    return track_masks(
        classes == number,
        hours.tolist(),
        grid,
        speed_limit_km_day=speed,
        least_km2=LEAST_KM2,
        bridge_steps=bridge_steps,
    )


def add_strength(tracks: pd.DataFrame, hours: np.ndarray, grid: GlobalGrid, fields: Fields) -> pd.DataFrame:
    """Add the lowest pressure at sea level (``pressure_pa``) and the strongest wind (``wind_m_s``) near by.

    Parameters
    ----------
    fields
        Gives a field by its name and the place of its time: ``PSL``, ``U850`` and ``V850``.

    >>> grid = GlobalGrid.regular(61, 120)
    >>> tracks = pd.DataFrame({"hour": [0.0], "latitude": [30.0], "longitude": [0.0]})
    >>> made = {"PSL": 1e5 - 1e3 * (grid.latitude == 30), "U850": 0 * grid.latitude, "V850": grid.latitude}
    >>> give = lambda name, step: np.broadcast_to(made[name][:, None], grid.shape)
    >>> add_strength(tracks, np.array([0.0]), grid, give)[["pressure_pa", "wind_m_s"]].values.tolist()
    [[99000.0, 30.0]]
    """
    steps = {float(hour): step for step, hour in enumerate(hours)}
    found = []
    for hour, latitude, longitude in tracks[["hour", "latitude", "longitude"]].to_numpy():
        window = grid.around(latitude, longitude, NEAR_KM + grid.spacing_km)
        inside = window.distance_km <= max(NEAR_KM, window.distance_km.min())
        pressure, east, north = (fields(name, steps[hour])[window.cells] for name in ("PSL", "U850", "V850"))
        found.append((float(pressure[inside].min()), float(np.hypot(east, north)[inside].max())))
    pressures, winds = zip(*found, strict=True) if found else ((), ())
    return tracks.assign(pressure_pa=list(pressures), wind_m_s=list(winds))


def write_events(path: Path, case: Case, *, bridge_steps: int = 0) -> str:
    """Write the tracks of a file of classes beside it, and say how many there are."""
    with xr.open_dataset(path, decode_times=False) as opened:
        classes = opened[CLASS].values
    grid, hours, said = grid_of_case(case), case.frame_times, []
    for kind, (_, _, nature) in KINDS.items():
        tracks = follow_events(classes, hours, grid, kind, bridge_steps=bridge_steps)
        if {"PSL", "U850", "V850"} <= case.files.keys():
            tracks = add_strength(tracks, hours, grid, lambda name, step: case.stack([name], frame=step)[0])
        stem = path.with_name(f"{path.stem}_{kind}")
        write_tracks(stem.with_suffix(".csv"), tracks, nature=nature)
        write_geojson(stem.with_suffix(".geojson"), tracks)
        said.append(f"{tracks['track'].nunique()} tracks of {kind}")
    return f"{path.with_name(path.stem)}_*.csv, .geojson: {', '.join(said)}"
