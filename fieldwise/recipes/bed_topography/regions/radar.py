"""The radar as an input: how far picks lie from the low-res bed, where they are, and how far away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import shapely
from scipy import ndimage

from fieldwise.fields.arrays import to_host
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.resampling import sample_at_points
from fieldwise.physics.surface_inversion import Doubt
from fieldwise.recipes.bed_topography.regions.derivation import can_invert, invert_with_radar, keep_lowres
from fieldwise.recipes.bed_topography.regions.region import LOWRES, RADAR, RADAR_INVERSION
from fieldwise.samples.cases import Case

REACH_M = 20e3  # distances end here: so far away a pick says nothing more


def grid_radar(picks: pd.DataFrame, departure: np.ndarray, grid: Grid) -> dict[str, np.ndarray]:
    """Put picks on the cells of a map.

    Parameters
    ----------
    picks
        Columns x and y in metres; those outside the map are left out.
    departure
        (pick,) height above the low-res bed, m; picks where that is missing are left out.
    grid
        Of the map.

    Returns
    -------
    dict
        By input, (y, x) float32: the mean departure of the picks in each cell, 0 where there is none (m);
        1 where there is one; and the distance to the nearest cell with one, at most `REACH_M` (m).

    >>> picks = pd.DataFrame({"x": [100.0, 200.0, 900.0], "y": [900.0, 800.0, 100.0]})
    >>> fields = grid_radar(picks, np.array([10.0, 30.0, -5.0]), Grid(0, 0, 1000, 1000, 250, "EPSG:3031"))
    >>> fields["radar_departure"][0].tolist(), fields["radar_picked"][3].tolist()
    ([20.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])
    >>> fields["radar_distance"][0].tolist()
    [0.0, 250.0, 500.0, 750.0]
    """
    row = np.floor((grid.north - picks["y"].to_numpy()) / grid.spacing).astype(int)
    column = np.floor((picks["x"].to_numpy() - grid.west) / grid.spacing).astype(int)
    inside = (row >= 0) & (row < grid.shape[0]) & (column >= 0) & (column < grid.shape[1])
    inside &= np.isfinite(departure)
    cells, size = np.ravel_multi_index((row[inside], column[inside]), grid.shape), np.prod(grid.shape)
    count = np.bincount(cells, minlength=size).reshape(grid.shape)
    total = np.bincount(cells, np.asarray(departure, dtype=np.float64)[inside], minlength=size)
    distance = np.full(grid.shape, REACH_M)
    if count.any():
        distance = ndimage.distance_transform_edt(count == 0, sampling=grid.spacing)
    values = total.reshape(grid.shape) / np.maximum(count, 1), count > 0, np.minimum(distance, REACH_M)
    return {name: each.astype(np.float32) for name, each in zip(RADAR, values, strict=True)}


def find_departures(picks: pd.DataFrame, case: Case) -> np.ndarray:
    """Give how far picks lie above the low-res bed as it is drawn by cubic interpolation: (pick,), m.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.full((4, 4), -90.0)}, shape=(16, 16)).cases()[0]
    >>> find_departures(pd.DataFrame({"x": [700.0], "y": [900.0], "z": [-60.0]}), case).tolist()
    [30.0]
    """
    base = case.cut(LOWRES, np.array([case.bounds]), method="cubic")[0]
    field = make_field(base, case.grid, name="bed")
    return picks["z"].to_numpy() - sample_at_points(field, picks["x"], picks["y"])


def find_radar(case: Case, picks: pd.DataFrame, *, home: str = "inputs") -> dict[str, Any]:
    """Derive the inputs that radar gives by itself.

    Parameters
    ----------
    picks
        That are shown.
    home
        Folder within that of the case, for what is written.

    Returns
    -------
    dict
        The entries of the inputs for the description; without picks they say that there is none.

    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.recipes.bed_topography.regions.surveys import read_given
    >>> from fieldwise.samples.examples import make_prepared
    >>> prepared = make_prepared({"bed_lowres": np.full((4, 4), -90.0)}, shape=(16, 16))
    >>> case = prepared.cases()[0]
    >>> sorted(find_radar(case, read_given(case)))
    ['radar_departure', 'radar_distance', 'radar_picked']
    >>> float(open_field(prepared.folder / "inputs" / "radar_distance.tif").min())
    20000.0
    """
    fields = grid_radar(picks, find_departures(picks, case), case.grid)
    entries = {}
    for name, values in fields.items():
        path, units = f"{home}/{name}.tif", RADAR[name]
        write_cog(make_field(values, case.grid, name=name, units=units), case.folder / path)
        entries[name] = {"spacing_m": case.spacing, "units": units, "paths": [path], "trends": []}
    return entries


def find_radar_inversion(
    case: Case,
    *,
    grounded: shapely.Geometry | None,
    doubt: Doubt,
    home: str = "inputs",
    progress: bool = False,
) -> dict[str, Any]:
    """Derive what surface, radar and velocity together tell, of a case that holds what radar gives.

    Parameters
    ----------
    grounded, doubt
        As of `derivation.invert_with_radar`.
    home
        Folder within that of the case, for what is written.

    Returns
    -------
    dict
        The entry of the input for the description; none where the surface cannot be inverted.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.full((4, 4), -90.0)}, shape=(16, 16)).cases()[0]
    >>> find_radar_inversion(case, grounded=None, doubt=Doubt())  # no surface
    {}
    """
    if not can_invert(case):
        return {}
    fields = {name: to_host(values[0]) for name, values in case.read([*RADAR]).items()}
    told = invert_with_radar(case, fields, grounded=grounded, doubt=doubt, progress=progress)
    words = {"long_name": "departure from the low-res bed, by surface, radar and velocity"}
    return {RADAR_INVERSION: keep_lowres(case, RADAR_INVERSION, [told], "m", home=home, **words)}
