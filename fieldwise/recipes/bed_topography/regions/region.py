"""A region of beds: its FILE.yaml, its one case, inputs derived from others, and the flow of its ice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.arrays import ArrayModule, to_host
from fieldwise.fields.formats import read_area
from fieldwise.fields.grids import crs_label, crs_name
from fieldwise.fields.resampling import block_mean
from fieldwise.physics.mass_conservation import mass_residual, sliding_depth_factor
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
    check_table,
    is_entry,
    is_number,
    is_table,
    list_entries,
    list_whole_files,
    read_rules,
)
from fieldwise.surveys.pipelines import check_surveys, load_pipeline

RECIPE = "bed_topography"
AFLOAT = "afloat"  # fact of a network that has learnt what may lie below ice shelves, and draws there too
LOWRES, SURFACE, VELOCITY, INVERSION = "bed_lowres", "surface_elevation", "ice_velocity", "surface_inversion"
ACCUMULATION = "snow_accumulation"
ELEVATIONS = (LOWRES, SURFACE)
RELIEFS = {"surface_relief": SURFACE, "bed_relief": LOWRES}  # less regional trends, at low-res spacing
RADAR = {"radar_departure": "m", "radar_picked": "1", "radar_distance": "m"}  # on the cells of the map
RADAR_INVERSION = "radar_inversion"  # what surface, radar and velocity together tell
SPREAD = "bed_spread"  # how high the relief of the low-res bed is around a place
OF_DRAWING = (
    *RELIEFS,
    SPREAD,
    *RADAR,
    RADAR_INVERSION,
)  # which the drawing network reads, and the published generator does not
DERIVED = {"surface_slope": "1", "ice_thickness": "m", INVERSION: "m", RADAR_INVERSION: "m"}  # name to units
# Vectors, whose components turn with a tile, and the length below which they are scaled linearly.
VECTORS = {VELOCITY: 10.0, "surface_slope": 2e-3}
SLIDING_SPEED = 10.0  # m/a; speed over this, within 1 to 30, is taken as the slip ratio, which hardly matters
FLUX_CELLS = 4 * UPSAMPLING  # edge of the blocks that are to conserve mass; in smaller ones noise rules
REQUIRED = ("crs", "inputs", "spacing_m", "lowres_spacing_m")
FEWEST_CELLS = 4  # low-res cells along a block of a fold
GRIDDED = {  # what an entry of the low-res bed holds that is to be gridded from the picks
    "from": Rule(lambda value: value == "surveys", "`surveys`"),
    "spacing_m": NUMBER_OF_METRES,
    "blocks_m": Rule(is_number, "a number of metres such as 20000"),
    "folds": Rule(lambda value: type(value) is int and value >= 2, "a whole number from 2 on"),
}
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
    held = {name: each for name, each in case.variables.items() if case.files.keys() >= set(each.fields)}
    return replace(case, variables=held)


def find_folds(case: Case, tiles: xr.Dataset) -> tuple[list[Case], np.ndarray]:
    """Give the cases that tiles of a region were cut from, and for each tile the number of its case.

    These are the folds where the low-res bed is gridded from what tiles are learnt from, else the region.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({}, shape=(16, 16)).cases()[0]
    >>> cases, numbers = find_folds(case, xr.Dataset(coords={"split": ("tile", ["training"] * 2)}))
    >>> cases == [case], numbers.tolist()
    (True, [0, 0])
    """
    if "fold" not in tiles.coords:
        return [case], np.zeros(tiles.sizes["tile"], dtype=int)
    whole = [each for each in Prepared(case.folder, arrays=case.arrays).cases() if each.split is None]
    return whole[1:], tiles["fold"].values - 1


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
    if LOWRES not in source["inputs"]:
        raise InputError(f"{file}: inputs lack {LOWRES}, the bed that is to be refined")
    named = dict(source["inputs"])
    if is_table(named[LOWRES]) and "from" in named[LOWRES]:
        _check_gridded(named.pop(LOWRES), source, f"{file}: inputs: {LOWRES}")
        if not named and not source.get("region"):
            raise InputError(
                f"{file}: region is missing, and no input tells it; give {RULES['region'].example}"
            )
    for table, what in ((named, "input"), (source.get("beds", {}), "bed")):
        check_entries(table, str(file), what=what)
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


def _check_gridded(entry: Mapping[str, Any], source: Mapping[str, Any], place: str) -> None:
    """Check the entry of a low-res bed that is to be gridded from the picks."""
    if "path" in entry:
        raise InputError(f"{place} has both `from` and `path`; keep one of them")
    check_table(entry, GRIDDED, place)
    if not source.get("surveys") and not source.get("radar"):
        raise InputError(f"{place} is from surveys, and there are none; name some under `surveys` or `radar`")
    lowres_m = float(source["lowres_spacing_m"])
    if entry.get("spacing_m", lowres_m) != lowres_m:
        raise InputError(f"{place}: spacing_m is {entry['spacing_m']:g}; give {lowres_m:g}, or leave it out")
    least = FEWEST_CELLS * lowres_m
    if entry.get("blocks_m", least) < least:
        raise InputError(f"{place}: blocks_m is {entry['blocks_m']:g}; give at least {least:g}")


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


def guess_slip(speed: np.ndarray) -> np.ndarray:
    """Guess the slip ratio from the speed of the surface in m/a.

    >>> guess_slip(np.array([5.0, 50.0, 900.0])).tolist()
    [1.0, 5.0, 30.0]
    """
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
    return {**flow, "depth_factor": sliding_depth_factor(guess_slip(speed))}


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
