"""Events in masks of classes: followed from time to time, with how strong they are, and written to files."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from fieldwise.fields.rasters import write_netcdf
from fieldwise.physics.coasts import mark_land
from fieldwise.physics.extreme_weather.channels import CYCLONE, RIVER
from fieldwise.physics.extreme_weather.labels import CYCLONE_KM_DAY, RIVER_KM_DAY, track_masks
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.recipes.extreme_weather.cases import grid_of_case
from fieldwise.recipes.extreme_weather.predictor import CLASS
from fieldwise.samples.cases import Case
from fieldwise.samples.weather.records import TIME
from fieldwise.scores.tracks import find_landfalls, take_census, write_geojson, write_landfalls, write_tracks

KINDS = {"cyclones": (CYCLONE, CYCLONE_KM_DAY, "TS"), "rivers": (RIVER, RIVER_KM_DAY, "NR")}
LEAST_KM2 = 2e5  # of an event at a time; as ClimateNet has it, 250 of its cells
BRIDGE_STEPS = 1  # for which what is followed may be missing
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


def follow_all(
    classes: np.ndarray, case: Case, *, bridge_steps: int = BRIDGE_STEPS, strength: bool = True
) -> dict[str, pd.DataFrame]:
    """Follow cyclones and rivers in the classes of a case, with how strong they are where its fields tell.

    >>> from fieldwise.samples.examples import make_prepared
    >>> globe = {"latitude": [75.0, 25.0, -25.0, -75.0], "longitude": [0.0, 90.0, 180.0, 270.0]}
    >>> (case,) = make_prepared({"planted": np.zeros((2, 4, 4))}, globe=globe).cases()
    >>> {kind: len(tracks) for kind, tracks in follow_all(np.array([np.eye(4)] * 2), case).items()}
    {'cyclones': 2, 'rivers': 0}
    """
    grid, hours = grid_of_case(case), case.frame_times
    told = {kind: follow_events(classes, hours, grid, kind, bridge_steps=bridge_steps) for kind in KINDS}
    if not strength or not {"PSL", "U850", "V850"} <= case.files.keys():
        return told

    def read(name: str, step: int) -> np.ndarray:
        return case.stack([name], frame=step)[0]

    return {kind: add_strength(tracks, hours, grid, read) for kind, tracks in told.items()}


def write_events(path: Path, case: Case, *, bridge_steps: int = BRIDGE_STEPS) -> str:
    """Write the tracks of a file of classes beside it, where they meet land, and their census; say how many.

    Of each kind NAME_KIND.csv, .geojson and NAME_KIND_landfalls.csv; and NAME_census.nc of both.
    """
    with xr.open_dataset(path, decode_times=False) as opened:
        classes = opened[CLASS].values
    grid, hours, said, censuses = grid_of_case(case), case.frame_times, [], []
    for kind, tracks in follow_all(classes, case, bridge_steps=bridge_steps).items():
        (number, _, nature), stem = KINDS[kind], path.with_name(f"{path.stem}_{kind}")
        write_tracks(stem.with_suffix(".csv"), tracks, nature=nature)
        write_geojson(stem.with_suffix(".geojson"), tracks)
        landfalls = find_landfalls(tracks, *land_of_half_degrees())
        write_landfalls(stem.with_name(f"{stem.name}_landfalls.csv"), landfalls)
        census = take_census(tracks, classes == number, hours, grid)
        censuses.append(census.rename({name: f"{kind}_{name}" for name in census.data_vars}))
        merged, split = ((tracks[name] > 0).sum() for name in ("merged_into", "split_from"))
        said.append(
            f"{tracks['track'].nunique()} tracks of {kind} ({merged} merged into another, {split} split off)"
        )
    both = xr.merge(censuses)
    both["time"].attrs = dict(TIME)
    write_netcdf(both, path.with_name(f"{path.stem}_census.nc"))
    return f"{path.with_name(path.stem)}_*.csv, .geojson, _census.nc: {', '.join(said)}"


@cache
def land_of_half_degrees() -> tuple[np.ndarray, GlobalGrid]:
    """Give where land is, to half a degree, and the grid of that.

    >>> land, grid = land_of_half_degrees()
    >>> bool(land[grid.cell_at(40.0, -100.0)]), bool(land[grid.cell_at(40.0, -40.0)])
    (True, False)
    """
    grid = GlobalGrid.regular(361, 720)
    return mark_land(grid.latitude, grid.longitude), grid
