"""A region of beds: its FILE.yaml, its one case, inputs derived from others, and the flow of its ice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import scipy.ndimage
import shapely

from fieldwise.errors import InputError
from fieldwise.fields.arrays import ArrayModule, to_host
from fieldwise.fields.formats import read_area
from fieldwise.fields.grids import Grid, crs_label, crs_name, make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.resampling import average_cells, block_mean, fade_in
from fieldwise.fields.tiles import cut
from fieldwise.physics.mass_conservation import mass_residual, sliding_depth_factor
from fieldwise.physics.surface_inversion import invert_blocks
from fieldwise.recipes.bed_topography.prepare import UNITS, UPSAMPLING
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.rules import (
    CRS,
    DATUM,
    ENTRY,
    GEOIDS,
    HELD_OUT,
    NUMBER_OF_METRES,
    SURVEYS,
    Rule,
    check_entries,
    is_entry,
    is_number,
    is_table,
    list_entries,
    list_whole_files,
    read_rules,
)
from fieldwise.surveys.pipelines import check_surveys, load_pipeline

RECIPE = "bed_topography"
LOWRES, SURFACE, VELOCITY, INVERSION = "bed_lowres", "surface_elevation", "ice_velocity", "surface_inversion"
ACCUMULATION = "snow_accumulation"
ELEVATIONS = (LOWRES, SURFACE)
RELIEFS = {"surface_relief": SURFACE, "bed_relief": LOWRES}  # less regional trends, at low-res spacing
RADAR = {"radar_departure": "m", "radar_picked": "1", "radar_distance": "m"}  # on the cells of the map
OF_DRAWING = (*RELIEFS, *RADAR)  # which the drawing network reads, and the published generator does not
DERIVED = {"surface_slope": "1", "ice_thickness": "m", INVERSION: "m"}  # name to units
# Vectors, whose components turn with a tile, and the length below which they are scaled linearly.
VECTORS = {VELOCITY: 10.0, "surface_slope": 2e-3}
NEEDED = (LOWRES, SURFACE, VELOCITY)
FADE_CELLS = 6  # low-res cells over which trust in the surface grows from the grounding line
SLIDING_SPEED = 10.0  # m/a; speed over this, within 1 to 30, is taken as the slip ratio, which hardly matters
FLUX_CELLS = 4 * UPSAMPLING  # edge of the blocks that are to conserve mass; in smaller ones noise rules
STEEPEST, FLATTEST = 0.05, 0.002
REQUIRED = ("crs", "inputs", "spacing_m", "lowres_spacing_m")
# `region` and the areas of `held_out` are checked where they are read.
RULES = {
    "crs": CRS,
    "spacing_m": NUMBER_OF_METRES,
    "lowres_spacing_m": Rule(is_number, "a number of metres such as 1000"),
    "region": Rule(lambda value: True, "[west, south, east, north]"),
    "inputs": Rule(is_table, "a table such as `bed_lowres: {path: FILE, spacing_m: 1000}`"),
    "datum": DATUM,
    "geoid": GEOIDS,
    "surveys": SURVEYS,
    "radar": SURVEYS,
    "beds": Rule(is_table, "a table such as `glacier: {path: FILE, variable: bed}`"),
    "grounding_line": Rule(is_entry, "an entry such as {path: FILE.shp, buffer_m: 10000}"),
    "held_out": HELD_OUT,
    "truth": ENTRY,
    "bound": ENTRY,
}


def open_region(data: str | Path, *, arrays: ArrayModule = "numpy") -> Case:
    """Open the region of a prepared folder; one of another recipe is refused.

    >>> from fieldwise.samples.examples import make_prepared
    >>> open_region(make_prepared({}, shape=(16, 16)).folder).bounds
    (0.0, 0.0, 4000.0, 4000.0)
    """
    case = Prepared(data, recipe=RECIPE, arrays=arrays).cases()[0]
    if case.split is not None:
        raise InputError(f"{data}: holds sectors for `train --network drawer`; give the folder of a region")
    return case


def lowres_spacing(case: Case) -> float:
    """Give the spacing of the low-res bed in metres: four times that of the map.

    >>> from fieldwise.samples.examples import make_prepared
    >>> lowres_spacing(make_prepared({}, shape=(16, 16), spacing=250.0).cases()[0])
    1000.0
    """
    return UPSAMPLING * case.spacing


def read_own_files(file: Path) -> dict[str, Any]:
    """Read a FILE.yaml and check that every key is known and holds what it should, pipelines among it.

    Raises
    ------
    InputError
        Naming the file, the key, and what should stand there.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "own.yaml"
    >>> _ = file.write_text("{crs: EPSG:3031, spacing_m: 250, lowres_spacing_m: 1000, inputs: [bed.tif]}")
    >>> read_own_files(file)
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...own.yaml: inputs is ['bed.tif']; give a table such as `bed_lowres: ...
    """
    source = read_rules(file, RULES, required=REQUIRED)
    for key, what in (("inputs", "input"), ("beds", "bed")):
        check_entries(source.get(key, {}), str(file), what=what)
    if LOWRES not in source["inputs"]:
        raise InputError(f"{file}: inputs lack {LOWRES}, the bed that is to be refined")
    if abs(source["lowres_spacing_m"] / source["spacing_m"] - UPSAMPLING) > 1e-6:
        raise InputError(f"{file}: lowres_spacing_m must be {UPSAMPLING} times spacing_m")
    if not pyproj.CRS(crs_name(source["crs"])).is_projected:
        label = crs_label(source["crs"])
        raise InputError(f"{file}: crs {label} is not in metres; give a projection such as EPSG:3031")
    for entry in list_surveys(source):
        if entry.get("bed_from") == "thickness" and SURFACE not in source["inputs"]:
            raise InputError(f"{file}: {entry['path']}: bed_from thickness needs the input {SURFACE}")
    check_surveys(
        list_entries(source.get("surveys")), file, taken=dict.fromkeys(source.get("beds", {}), "a bed")
    )
    check_surveys(list_entries((source.get("held_out") or {}).get("surveys")), file)
    return source


def list_surveys(source: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the entries of all surveys of a FILE.yaml: to learn from, to read, and held out.

    >>> [entry["path"] for entry in list_surveys({"radar": ["lines.json"], "surveys": ["block.json"]})]
    ['block.json', 'lines.json']
    """
    held_out = (source.get("held_out") or {}).get("surveys")
    named = source.get("surveys"), source.get("radar"), held_out
    return [entry for entries in named for entry in list_entries(entries)]


def list_files(source: Mapping[str, Any], folder: Path) -> list[Path]:
    """List every file that a FILE.yaml names, the text files of its surveys among them.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("bed.tif", "other.tif"):
    ...     (folder / name).touch()
    >>> [file.name for file in list_files({"inputs": {"bed_lowres": {"path": "bed.tif"}}}, folder)]
    ['bed.tif']
    """
    entries = [entry for key in ("inputs", "beds") for entry in source.get(key, {}).values()]
    entries += list_entries(source.get("geoid"))
    entries += [source[key] for key in ("grounding_line", "truth", "bound") if key in source]
    entries += [entry["fill_from"] for entry in entries if entry.get("fill_from")]
    named = [folder / entry["path"] for entry in list_entries(entries)]
    for entry in list_surveys(source):
        pipeline = folder / entry["path"]
        named += [pipeline, *load_pipeline(pipeline).files()]
    return list_whole_files(named)


def add_regional_inputs(case: Case) -> dict[str, Any]:
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
    >>> entries, inputs = add_regional_inputs(prepared.cases()[0]), prepared.folder / "inputs"
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
    values = {"surface_slope": [eastward, -southward], "ice_thickness": [surface - bed]}
    # A thickness that the user gives is of one epoch; surface and low-res bed may be of two.
    values = {name: channels for name, channels in values.items() if name not in case.variables}
    entries = {name: _keep(case, name, channels, DERIVED[name]) for name, channels in values.items()}
    for name, source in RELIEFS.items():
        averaged = average_cells(case.field(source), cell=spacing)
        relief = cut(averaged, [grid.bounds], spacing=spacing, extend=True)[0]
        relief = relief - cut(case.trend(source), [grid.bounds], spacing=spacing, extend=True)[0]
        entries[name] = _keep(case, name, [to_host(relief)], "m")
    return entries


def _keep(case: Case, name: str, channels: Sequence[np.ndarray], units: str, **words: str) -> dict[str, Any]:
    """Write an input at low-res spacing, one file a channel, and give its entry."""
    spacing = lowres_spacing(case)
    numbers = [f"_{number}" for number in range(1, len(channels) + 1)] if len(channels) > 1 else [""]
    paths = [f"inputs/{name}{number}.tif" for number in numbers]
    for channel, path in zip(channels, paths):
        field = make_field(channel.astype(np.float32), case.grid_at(spacing), name=name, units=units, **words)
        write_cog(field, case.folder / path)
    return {"spacing_m": spacing, "units": units, "paths": paths, "trends": []}


def add_surface_inversion(
    case: Case, *, grounded: shapely.Geometry | None, progress: bool = True
) -> dict[str, Any]:
    """Derive the departure of the bed from its low-res map that the relief of the ice surface tells of.

    Only surface, low-res bed and velocity are used, no survey: nothing that is held out can leak.

    Parameters
    ----------
    case
        Prepared so far as to hold inputs and trends.
    grounded
        Area within the grounding line; None where all ice is grounded.

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
    >>> entry = add_surface_inversion(case, grounded=elsewhere, progress=False)
    >>> entry["surface_inversion"]["paths"]
    ['inputs/surface_inversion.tif']
    >>> found = open_field(prepared.folder / "inputs" / "surface_inversion.tif")
    >>> float(abs(found).max())  # ice that floats tells of nothing
    0.0
    """
    if any(name not in case.variables for name in NEEDED) or case.variables[VELOCITY].channels != 2:
        return {}
    spacing = lowres_spacing(case)
    grid = case.grid_at(spacing)
    values = invert_blocks(*_read_places(case, grid, grounded), spacing=spacing, progress=progress)
    words = {"long_name": "departure from the low-res bed"}
    return {INVERSION: _keep(case, INVERSION, [values], "m", **words)}


def _read_places(
    case: Case, grid: Grid, grounded: shapely.Geometry | None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read what the inversion takes, (y, x) each at low-res spacing, without gaps, and the trust in it."""

    def read(field: Any) -> np.ndarray:
        values = cut(field, [grid.bounds], spacing=grid.spacing, extend=True)[0]
        return np.asarray(to_host(values), dtype=np.float64)

    fields = {
        "surface": read(average_cells(case.field(SURFACE), cell=grid.spacing)),
        "bed": read(case.field(LOWRES)),
    }
    trends = {"surface": read(case.trend(SURFACE)), "bed": read(case.trend(LOWRES))}
    speed = np.hypot(*(read(case.field(name)) for name in case.variables[VELOCITY].fields))
    trust = fade_in(grounded, grid, FADE_CELLS) * np.isfinite(fields["surface"]) * np.isfinite(fields["bed"])
    for name, trend in trends.items():
        fields[name] = np.where(np.isfinite(fields[name]), fields[name], np.nan_to_num(trend))
    regional = scipy.ndimage.gaussian_filter(np.nan_to_num(trends["surface"]), 3)
    southward, eastward = np.gradient(regional, grid.spacing)
    speed = np.exp(scipy.ndimage.gaussian_filter(np.log(np.maximum(np.nan_to_num(speed), 1)), 4))
    places = {
        "thickness_m": np.maximum(np.nan_to_num(trends["surface"] - trends["bed"]), 300),
        "slip": _slip(speed),
        "slope": np.clip(np.hypot(eastward, southward), FLATTEST, STEEPEST),
        "direction": np.arctan2(southward, -eastward),  # down the surface
    }
    return fields | places, trust


def _slip(speed: np.ndarray) -> np.ndarray:
    """Guess the slip ratio from the speed of the surface in m/a."""
    return np.clip(speed / SLIDING_SPEED, 1, 30)


def grounded_area(case: Case) -> shapely.Geometry | None:
    """Give the area within the grounding line, read once; None where none is known.

    >>> from fieldwise.samples.examples import make_prepared
    >>> grounded_area(make_prepared({}, shape=(4, 4)).cases()[0]) is None
    True
    """
    if not case.facts.get("grounding_line"):
        return None
    known = case.__dict__.setdefault("_grounded", {})
    if not known:
        known["area"] = read_area(case.path_of("grounding_line"), crs=str(case.grid.crs))
    return known["area"]


def find_flux_gap(case: Case) -> str | None:
    """Say which inputs a region lacks to tell whether a bed conserves mass; None where it lacks none.

    >>> from fieldwise.samples.examples import make_prepared
    >>> still = np.zeros((4, 4))
    >>> find_flux_gap(make_prepared({SURFACE: still, VELOCITY: [still, still]}, shape=(4, 4)).cases()[0])
    'holds ice_velocity in m, not in m a-1, no snow_accumulation'
    """
    gaps = []
    for name, channels in ((SURFACE, 1), (VELOCITY, 2), (ACCUMULATION, 1)):
        found = case.variables.get(name)
        if found is None:
            gaps.append(f"no {name}")
        elif found.channels != channels:
            gaps.append(f"{name} of {found.channels} channels, not of {channels}")
        elif found.units != UNITS[name]:
            gaps.append(f"{name} in {found.units}, not in {UNITS[name]}")
    return f"holds {', '.join(gaps)}" if gaps else None


def read_flow(case: Case, windows: Any, *, spacing: float | None = None) -> dict[str, np.ndarray]:
    """Read what moves the ice over the bed: (n, channel, y, x) on cells of the map, or of another spacing.

    Returns
    -------
    dict
        Surface elevation (m), velocity of the surface (m/a, two channels) and accumulation (kg m-2 a-1), by
        the names of the inputs; and ``depth_factor``, of the slip ratio that is guessed from the speed.

    >>> from fieldwise.samples.examples import make_prepared
    >>> still = np.zeros((4, 4))
    >>> fields = {SURFACE: still + 900, VELOCITY: [still + 30, still + 40], ACCUMULATION: still + 300}
    >>> flow = read_flow(make_prepared(fields, shape=(8, 8)).cases()[0], [(0, 0, 2000, 1000)])
    >>> {name: values.shape for name, values in flow.items()}
    {'surface_elevation': (1, 1, 4, 8), 'ice_velocity': (1, 2, 4, 8), 'snow_accumulation': (1, 1, 4, 8),
     'depth_factor': (1, 1, 4, 8)}
    >>> flow["depth_factor"][0, 0, 0, 0].round(3)  # of 50 m/a: (5 + 2/3) / (5 + 1)
    np.float32(0.944)
    """

    def read(name: str) -> np.ndarray:
        fields = case.variables[name].fields
        return np.stack([to_host(case.cut(each, windows, spacing=spacing)) for each in fields], axis=1)

    flow = {name: read(name) for name in (SURFACE, VELOCITY, ACCUMULATION)}
    speed = np.hypot(*np.moveaxis(flow[VELOCITY], 1, 0))[:, None]
    return {**flow, "depth_factor": sliding_depth_factor(_slip(speed))}


def block_residual(bed: Any, flow: Mapping[str, Any], *, spacing: float) -> Any:
    """Give how much more ice flows out of blocks of 16 cells than falls on them, were this the bed: m/a.

    Parameters
    ----------
    bed
        (..., 1, y, x) in metres, an array or a tensor.
    flow
        As :func:`read_flow` reads it.
    spacing
        Cell size in metres.

    Returns
    -------
    (..., 1, block, block) of whole blocks from the second row and column on; one as large as the inner cells
    where these are fewer.

    >>> level = np.zeros((1, 1, 18, 18))  # cells of 250 m: one block of 4 km
    >>> flow = {SURFACE: level + 900, VELOCITY: np.zeros((1, 2, 18, 18)), ACCUMULATION: level + 917}
    >>> block_residual(level, {**flow, "depth_factor": 1.0}, spacing=250.0)  # nothing leaves
    array([[[[-1.]]]])
    """
    residual = mass_residual(
        flow[SURFACE] - bed,
        flow[VELOCITY],
        flow[ACCUMULATION],
        spacing_m=spacing,
        depth_factor=flow["depth_factor"],
    )
    return block_mean(residual, min(FLUX_CELLS, *residual.shape[-2:]))
