"""Inputs that follow from others: slope, thickness, reliefs, how high they are, and the surface inversion."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.ndimage
import shapely

from fieldwise.fields.arrays import to_host
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.resampling import average_cells, block_mean, fade_in
from fieldwise.fields.tiles import cut
from fieldwise.fields.trends import regional_spread, regional_trend
from fieldwise.physics.mass_conservation import ICE_DENSITY, sliding_depth_factor
from fieldwise.physics.surface_inversion import Doubt, invert_blocks, smooth_sloping
from fieldwise.recipes.bed_topography.regions.region import (
    ACCUMULATION,
    DERIVED,
    INVERSION,
    LOWRES,
    RELIEFS,
    SPREAD,
    SURFACE,
    VECTORS,
    VELOCITY,
    find_flux_gap,
    guess_slip,
    lowres_spacing,
)
from fieldwise.samples.cases import Case
from fieldwise.samples.inputs import TREND_CELLS, add_inputs
from fieldwise.surveys import grid_on_map

NEEDED = (LOWRES, SURFACE, VELOCITY)
SLOPE, SURFACE_RELIEF = "surface_slope", "surface_relief"
OF_SURFACE = (SLOPE, SURFACE_RELIEF)  # follow from the surface alone
FADE_CELLS = 10  # low-res cells over which trust in the surface grows from the grounding line
SLOPE_CELLS = 4  # of the Gaussian that smooths the surface whose slope moves the ice
FLOW_CELLS = 1  # of the Gaussian that smooths the velocity whose mass is to balance
STEEPEST, FLATTEST = 0.05, 0.002
SPREAD_M = 15e3  # standard deviation of the Gaussians: hills longer than some 60 km are its course
LEAST_SPREAD_M = 10.0


def derive_inputs(
    case: Case, *, grounded: shapely.Geometry | None, home: str = "inputs", progress: bool = False
) -> None:
    """Add to a case all inputs that follow from those it has, and write them to a folder within its own.

    >>> from fieldwise.samples.examples import make_prepared
    >>> fields = {"bed_lowres": np.zeros((4, 4)), "surface_elevation": np.full((4, 4), 900.0)}
    >>> case = make_prepared(fields, shape=(16, 16), trends=fields).cases()[0]
    >>> derive_inputs(case, grounded=None)
    >>> [name for name in case.variables if name not in fields]
    ['surface_slope', 'ice_thickness', 'surface_relief', 'bed_relief', 'bed_spread']
    """
    add_inputs(case, find_regional_inputs(case, home=home), vectors=VECTORS)
    add_inputs(case, find_surface_inversion(case, grounded=grounded, home=home, progress=progress))


def regrid_lowres(
    case: Case,
    picks: pd.DataFrame,
    *,
    given: Collection[str],
    grounded: shapely.Geometry | None,
    home: str,
) -> Case:
    """Give a case whose low-res bed is gridded anew, from some picks alone, with all that follows from it.

    Where the picks that are judged, or learnt from, had a say in the low-res bed, the ice surface seems to
    tell nothing.

    Parameters
    ----------
    case
        It stays as it is.
    picks
        x, y, z in metres.
    given
        Names of the inputs that the FILE.yaml names. They are kept, and what follows from the surface alone,
        all but the low-res bed; what followed from that, and what radar told, is not.
    grounded
        As of :func:`find_surface_inversion`.
    home
        Folder within that of the case, for what is written.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.zeros((4, 4))}, shape=(16, 16)).cases()[0]
    >>> picks = pd.DataFrame({"x": [500.0, 3500.0], "y": [500.0, 3500.0], "z": [-90.0, -90.0]})
    >>> anew = regrid_lowres(case, picks, given=case.variables, grounded=None, home="folds/1")
    >>> anew.files["bed_lowres"], [float(each.field("bed_lowres").mean()) for each in (case, anew)]
    ('folds/1/bed_lowres.tif', [0.0, -90.0])
    """
    anew = leave_out(case, {*case.variables} - {*given, *OF_SURFACE} | {LOWRES})
    add_lowres(anew, picks, grounded=grounded, home=home)
    return anew


def leave_out(case: Case, names: Collection[str]) -> Case:
    """Give a case without some of its inputs, to which others can be added; it stays as it is.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.zeros((4, 4))}, shape=(16, 16)).cases()[0]
    >>> [list(each.variables) for each in (leave_out(case, ["bed_lowres"]), case)]
    [[], ['bed_lowres']]
    """
    variables = {name: variable for name, variable in case.variables.items() if name not in names}
    tables: Any = {name: dict(getattr(case, name)) for name in ("files", "trends", "spreads")}
    return replace(case, variables=variables, **tables)


def add_lowres(
    case: Case,
    picks: pd.DataFrame,
    *,
    grounded: shapely.Geometry | None,
    home: str = "inputs",
    progress: bool = False,
) -> None:
    """Add to a case a low-res bed that is gridded from picks, and all inputs that follow from it.

    It is a spline in tension through block medians (`fieldwise.surveys.grid_survey`), and reaches everywhere.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({}, shape=(16, 16)).cases()[0]
    >>> add_lowres(case, pd.DataFrame({"x": [500.0], "y": [500.0], "z": [-90.0]}), grounded=None)
    >>> case.read(["bed_lowres"])["bed_lowres"].shape, float(case.field("bed_lowres").max())
    ((1, 4, 4), -90.0)
    """
    spacing = lowres_spacing(case)
    bed = grid_on_map(picks, case.grid_at(spacing), mask_cells=None)
    entry = keep_lowres(case, LOWRES, [bed.values], "m", home=home)
    trend = regional_trend(bed.rename(LOWRES), cell=spacing, width=TREND_CELLS * spacing)
    write_cog(trend, case.folder / home / f"{LOWRES}_trend.tif")
    add_inputs(case, {LOWRES: {**entry, "trends": [f"{home}/{LOWRES}_trend.tif"]}})
    derive_inputs(case, grounded=grounded, home=home, progress=progress)


def find_regional_inputs(case: Case, *, home: str = "inputs") -> dict[str, Any]:
    """Derive regional surface slope and ice thickness, at low-res spacing, from trends of surface and bed.

    Taking the trend off the inputs makes the fine structure learnable, and hides what governs how much of
    the bed comes through to the surface: the thickness of the ice, and slope and direction of its flow
    (Gudmundsson 2003, https://doi.org/10.1029/2002JB002107). Both are given back as inputs of their own.

    Returns
    -------
    dict
        Entries of the derived inputs for the description; none where there is no surface elevation.

    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.samples.examples import make_prepared
    >>> eastward = np.tile(np.arange(500.0, 4000, 1000), (4, 1))
    >>> trends = {"surface_elevation": 800 - eastward / 100, "bed_lowres": -200 + 0 * eastward}
    >>> prepared = make_prepared(trends, shape=(16, 16), trends=trends)
    >>> entries, inputs = find_regional_inputs(prepared.cases()[0]), prepared.folder / "inputs"
    >>> entries["surface_slope"]["paths"]  # eastward and northward
    ['inputs/surface_slope_1.tif', 'inputs/surface_slope_2.tif']
    >>> open_field(inputs / "surface_slope_1.tif").values[0]  # falls by 10 m a kilometre
    array([-0.01, -0.01, -0.01, -0.01], dtype=float32)
    >>> open_field(inputs / "ice_thickness.tif").values[0].tolist()
    [995.0, 985.0, 975.0, 965.0]
    """
    if SURFACE not in case.variables:
        return {}
    spacing = lowres_spacing(case)
    grid = case.grid_at(spacing)
    surface, bed = (
        cut(case.trend(name), [grid.bounds], spacing=spacing, extend=True)[0].astype(np.float64)
        for name in (SURFACE, LOWRES)
    )
    southward, eastward = np.gradient(surface, spacing)
    values = {SLOPE: [eastward, -southward], "ice_thickness": [surface - bed]}
    # A thickness that the user gives is of one epoch; surface and low-res bed may be of two. And what follows
    # from the surface may be there, where the low-res bed alone is new.
    values = {name: channels for name, channels in values.items() if name not in case.variables}
    entries = {name: keep_lowres(case, name, each, DERIVED[name], home=home) for name, each in values.items()}
    for name, source in RELIEFS.items():
        if name in case.variables:
            continue
        averaged = average_cells(case.field(source), cell=spacing, corner=(grid.west, grid.south))
        relief = cut(averaged, [grid.bounds], spacing=spacing, extend=True)[0]
        relief = relief - cut(case.trend(source), [grid.bounds], spacing=spacing, extend=True)[0]
        entries[name] = keep_lowres(case, name, [to_host(relief)], "m", home=home)
    course = regional_trend(case.field(LOWRES), cell=spacing, width=SPREAD_M)
    spread = regional_spread(case.field(LOWRES), course, width=SPREAD_M)
    height = to_host(cut(spread, [grid.bounds], spacing=spacing, extend=True)[0])
    entries[SPREAD] = keep_lowres(case, SPREAD, [np.maximum(height, LEAST_SPREAD_M)], "m", home=home)
    return entries


def keep_lowres(
    case: Case, name: str, channels: Sequence[np.ndarray], units: str, *, home: str, **words: str
) -> dict[str, Any]:
    """Write an input at low-res spacing, one file a channel, and give its entry.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.zeros((4, 4))}, shape=(16, 16)).cases()[0]
    >>> keep_lowres(case, "slope", [np.zeros((4, 4))] * 2, "1", home="inputs")["paths"]
    ['inputs/slope_1.tif', 'inputs/slope_2.tif']
    """
    spacing = lowres_spacing(case)
    numbers = [f"_{number}" for number in range(1, len(channels) + 1)] if len(channels) > 1 else [""]
    paths = [f"{home}/{name}{number}.tif" for number in numbers]
    for channel, path in zip(channels, paths):
        field = make_field(channel.astype(np.float32), case.grid_at(spacing), name=name, units=units, **words)
        write_cog(field, case.folder / path)
    return {"spacing_m": spacing, "units": units, "paths": paths, "trends": []}


def find_surface_inversion(
    case: Case, *, grounded: shapely.Geometry | None, home: str = "inputs", progress: bool = True
) -> dict[str, Any]:
    """Derive the departure of the bed from its low-res map that the relief of the ice surface tells of.

    Only surface, low-res bed and velocity are used, no survey: nothing that is held out can leak.

    Parameters
    ----------
    case
        Prepared so far as to hold inputs and trends.
    grounded
        Area within the grounding line; None where all ice is grounded.
    home
        Folder within that of the case, for what is written.

    Returns
    -------
    dict
        The entry of the input for the description; none where an input that it needs is not there.

    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.samples.examples import make_prepared
    >>> still = np.zeros((4, 4))
    >>> values = {"bed_lowres": still - 200, "surface_elevation": still + 800}
    >>> values["ice_velocity"] = [still + 50, still + 50]
    >>> prepared = make_prepared(values, shape=(16, 16), trends=["bed_lowres", "surface_elevation"])
    >>> case = prepared.cases()[0]
    >>> elsewhere = shapely.box(90_000, 0, 91_000, 1000)
    >>> entry = find_surface_inversion(case, grounded=elsewhere, progress=False)
    >>> entry["surface_inversion"]["paths"]
    ['inputs/surface_inversion.tif']
    >>> found = open_field(prepared.folder / "inputs" / "surface_inversion.tif")
    >>> float(abs(found).max())  # ice that floats tells of nothing
    0.0
    """
    if not can_invert(case):
        return {}
    spacing = lowres_spacing(case)
    grid = case.grid_at(spacing)
    values = invert_blocks(*_read_places(case, grid, grounded), spacing=spacing, progress=progress)
    words = {"long_name": "departure from the low-res bed"}
    return {INVERSION: keep_lowres(case, INVERSION, [values], "m", home=home, **words)}


def can_invert(case: Case) -> bool:
    """Tell whether a case has what :func:`find_surface_inversion` takes.

    >>> from fieldwise.samples.examples import make_prepared
    >>> can_invert(make_prepared({"bed_lowres": np.zeros((4, 4))}, shape=(16, 16)).cases()[0])
    False
    """
    return all(name in case.variables for name in NEEDED) and case.variables[VELOCITY].channels == 2


def invert_with_radar(
    case: Case,
    radar: Mapping[str, np.ndarray],
    *,
    grounded: shapely.Geometry | None,
    doubt: Doubt = Doubt(),  # noqa: B008 - it is frozen
    progress: bool = False,
) -> np.ndarray:
    """Estimate how the bed departs from its low-res map, from surface, radar and velocity: (y, x), m.

    Parameters
    ----------
    radar
        What :func:`fieldwise.recipes.bed_topography.regions.radar.grid_radar` gives.
    grounded
        As of :func:`find_surface_inversion`. Ice that floats tells of nothing, picks below it do.
    doubt
        Of what surface and velocity tell; `fieldwise.recipes.bed_topography.regions.doubt` chooses it.

    >>> from fieldwise.samples.examples import make_prepared
    >>> still = np.zeros((4, 4))
    >>> values = {"bed_lowres": still - 200, "surface_elevation": still + 800}
    >>> values["ice_velocity"] = [still + 50, still + 50]
    >>> case = make_prepared(values, shape=(16, 16), trends=["bed_lowres", "surface_elevation"]).cases()[0]
    >>> picked = np.zeros((16, 16))
    >>> picked[5, 9] = 1
    >>> radar = {"radar_departure": 60 * picked, "radar_picked": picked, "radar_distance": picked}
    >>> told = invert_with_radar(case, radar, grounded=shapely.box(90_000, 0, 91_000, 1000))
    >>> told.shape, bool(40 < told[1, 2] < 60)  # of 60 m, picked in this cell
    ((4, 4), True)
    """
    spacing = lowres_spacing(case)
    cells = round(spacing / case.spacing)
    places, trust = _read_places(case, case.grid_at(spacing), grounded)
    how: Any = {"spacing": spacing, "doubt": doubt, "progress": progress}
    return invert_blocks({**places, "picked": mean_of_cells(radar, cells)}, trust, **how)


def mean_of_cells(radar: Mapping[str, np.ndarray], cells: int) -> np.ndarray:
    """Give the mean departure of the picks in larger cells, missing where there is none.

    >>> at = np.array([[1.0, 1.0], [0.0, 0.0]])
    >>> mean_of_cells({"radar_departure": 30 * at, "radar_picked": at, "radar_distance": at}, 2)
    array([[30.]])
    """
    departure, picked, _ = radar.values()
    share, total = (block_mean(each, cells) for each in (picked, picked * departure))
    return np.divide(total, share, out=np.full(share.shape, np.nan), where=share > 0)


def _read_places(
    case: Case, grid: Grid, grounded: shapely.Geometry | None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read what the inversion takes, (y, x) each at low-res spacing, without gaps, and the trust in it."""

    def read(field: Any) -> np.ndarray:
        values = cut(field, [grid.bounds], spacing=grid.spacing, extend=True)[0]
        return np.asarray(to_host(values), dtype=np.float64)

    trends = {"surface": read(case.trend(SURFACE)), "bed": read(case.trend(LOWRES))}
    if SURFACE_RELIEF in case.variables:  # averaged before
        surface = read(case.field(SURFACE_RELIEF)) + trends["surface"]
    else:
        corner = grid.west, grid.south
        surface = read(average_cells(case.field(SURFACE), cell=grid.spacing, corner=corner))
    fields = {"surface": surface, "bed": read(case.field(LOWRES))}
    velocity = [read(case.field(name)) for name in case.variables[VELOCITY].fields]
    speed = np.hypot(*velocity)
    known = np.isfinite(fields["surface"]) & np.isfinite(fields["bed"])
    trust = known * fade_in(grounded, grid, FADE_CELLS) ** 2
    for name, trend in trends.items():
        fields[name] = np.where(np.isfinite(fields[name]), fields[name], np.nan_to_num(trend))
    southward, eastward = np.gradient(smooth_sloping(fields["surface"], SLOPE_CELLS), grid.spacing)
    speed = np.exp(scipy.ndimage.gaussian_filter(np.log(np.maximum(np.nan_to_num(speed), 1)), 4))
    slip = guess_slip(speed)
    moving = (
        sliding_depth_factor(slip) * scipy.ndimage.gaussian_filter(each, FLOW_CELLS) for each in velocity
    )
    snow = read(case.field(ACCUMULATION)) if find_flux_gap(case) is None else np.zeros(grid.shape)
    places = {
        "thickness_m": np.maximum(np.nan_to_num(trends["surface"] - trends["bed"]), 300),
        "slip": slip,
        "slope": np.clip(np.hypot(eastward, southward), FLATTEST, STEEPEST),
        "direction": np.arctan2(southward, -eastward),  # down the surface
        "accumulation": np.nan_to_num(snow) / ICE_DENSITY,
        **dict(zip(("eastward", "northward"), moving, strict=True)),
    }
    return fields | places, trust
