"""Survey files and rasters to tiles: the verb prepare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fieldwise.errors import InputError, require_at_least

if TYPE_CHECKING:
    import numpy as np

    from fieldwise.fields.heights import Heights
    from fieldwise.samples.cases import Case
    from fieldwise.samples.prepared import Draft

UNITS = {
    "bed_lowres": "m",
    "surface_elevation": "m",
    "ice_velocity": "m a-1",
    "snow_accumulation": "kg m-2 a-1",
    "ice_thickness": "m",
}
DETRENDED = ("bed_lowres", "surface_elevation")
LEVELLED = ("surface_elevation",)
LINKED = ("truth", "bound")  # known fields to judge on
UPSAMPLING = 4  # cells of the map along one low-res cell
SMALLEST_TILE = 32  # cells that a discriminator halves five times


def prepare(
    *,
    source: str = "sandbox",
    out: Path = Path("data"),
    seed: int = 7,
    size_km: float = 250.0,
    tile_cells: int = 36,
    step_cells: int = 4,
    validation_fraction: float = 0.1,
    block_tiles: float = 1.5,
    buffer_m: float | None = None,
    arrays: Literal["numpy", "cupy"] = "numpy",
    progress: bool = True,
) -> Path:
    """Turn survey files and rasters into tiles to learn from, and picks to judge on.

    Args:
        source: `sandbox` for a made sector with a known truth, or a FILE.yaml that names your own files.
        out: Folder to write. What was prepared there before stays as it is until all is done.
        seed: Seed of the sandbox and of the split.
        size_km: Edge of the sandbox's sector in kilometres.
        tile_cells: Edge of a tile in cells of the map, a multiple of 4. The discriminator needs 32 or more;
            smaller ones can be learnt from with `train --adversarial_weight 0`.
        step_cells: Distance of neighbouring tiles, in cells of the map. With a multiple of 4 tiles start on
            low-res cells, as the blocks of a prediction do; the original's 3 reads between their cells.
        validation_fraction: Share of the tiles to select weights on, above 0 and below 1.
        block_tiles: Edge of the blocks drawn for validation, in tiles.
        buffer_m: Least distance between training, validation and held-out data in metres;
            by default two low-res cells, the width by which the inputs of two neighbours overlap.
        arrays: numpy, or cupy to interpolate, fill gaps and cut tiles on a GPU.
        progress: Whether to show how far it is.

    Returns:
        The folder, which now holds a dataset.yaml.
    """
    require_at_least(1, tile_cells=tile_cells, step_cells=step_cells, block_tiles=block_tiles)
    require_at_least(0, seed=seed, buffer_m=buffer_m)
    if tile_cells % UPSAMPLING:
        fitting = max(tile_cells // UPSAMPLING, 1) * UPSAMPLING
        raise InputError(f"--tile_cells: is {tile_cells}; give a multiple of {UPSAMPLING}, such as {fitting}")
    if not 0 < validation_fraction < 1:
        raise InputError(f"--validation_fraction: is {validation_fraction:g}; give a share between 0 and 1")
    if tile_cells < SMALLEST_TILE:
        print(f"tiles of {tile_cells} cells are too small for a discriminator: train --adversarial_weight 0")
    file = Path(source)
    if source != "sandbox" and not file.exists():
        raise InputError(f"{source}: no such file; --source takes `sandbox` or a FILE.yaml")
    from fieldwise.fields.arrays import choose_module
    from fieldwise.recipes.bed_topography.region import RECIPE, lowres_spacing
    from fieldwise.recipes.bed_topography.surveys import open_targets
    from fieldwise.samples.patches import cut_patches
    from fieldwise.verbs.prepare import prepare_folder

    choose_module(arrays)  # refuses what is not there before anything is done
    with prepare_folder(out, recipe=RECIPE, source=source, seed=seed) as draft:
        if source == "sandbox":
            from fieldwise.sandbox.bed_topography import make_bed_topography

            print("making a sector of Antarctica")
            file = make_bed_topography(draft.folder, seed=seed, size_km=size_km, progress=progress)
        case, areas, buffer, inside = _open_region(
            file, draft, arrays=arrays, buffer_m=buffer_m, seed=seed, progress=progress
        )
        print("cutting tiles")
        counts = cut_patches(
            case,
            open_targets(case).values(),
            target="bed",
            tile_cells=tile_cells,
            step_cells=step_cells,
            inside=inside,
            padding=lowres_spacing(case),
            split={
                "fraction": validation_fraction,
                "block": block_tiles * tile_cells * case.spacing,
                "buffer": buffer,
                "seed": seed,
                "held_out": areas,
            },
        )
        if not counts:
            raise InputError(_too_large(tile_cells, case.spacing, grounded=inside is not None))
        draft.facts["tiles"] = {"cells": tile_cells, "step_cells": step_cells, "buffer_m": buffer, **counts}
        print(f"tiles: {counts['training']} to train on, {counts['validation']} to select weights on")
    print(f"{out}: prepared")
    return Path(out)


def _open_region(
    file: Path, draft: Draft, *, arrays: Any, buffer_m: float | None, seed: int, progress: bool
) -> tuple[Case, np.ndarray, float, Any]:
    """Bring everything that a FILE.yaml names to one grid, and derive what follows from it.

    Returns
    -------
    tuple
        The region; boxes that training must keep away from, and how far; the area in which tiles may lie.
    """
    from fieldwise.fields.datums import ATTRIBUTE as DATUM
    from fieldwise.fields.grids import Grid
    from fieldwise.recipes.bed_topography.region import (
        ELEVATIONS,
        VECTORS,
        add_regional_inputs,
        add_surface_inversion,
        list_files,
        lowres_spacing,
        read_own_files,
    )
    from fieldwise.recipes.bed_topography.surveys import prepare_targets, tile_area
    from fieldwise.samples.cases import Case
    from fieldwise.samples.inputs import add_inputs, prepare_inputs, read_heights
    from fieldwise.surveys.gmt import load_gmt

    config, folder = read_own_files(file), file.parent
    if config.get("surveys"):
        load_gmt()  # grids them; better missed now than after all inputs are filled
    draft.sources, draft.home = list_files(config, folder), folder
    heights = read_heights(config, folder=folder, elevations=ELEVATIONS, report=print)
    draft.facts |= {DATUM: heights.datum} if heights.datum else {}
    print("opening, aligning and filling the inputs")
    described = prepare_inputs(
        config,
        folder=folder,
        out=draft.folder,
        units=UNITS,
        detrended=DETRENDED,
        levelled=LEVELLED,
        elevations=ELEVATIONS,
        heights=heights,
        arrays=arrays,
        report=print,
    )
    crs, spacing = described["crs"], float(config["spacing_m"])
    west, south, east, north = described["region"]
    grid = Grid(west, south, east, north, spacing, crs)
    case = Case("region", None, draft.folder, {}, {}, spacing, grid.shape, bounds=grid.bounds, crs=crs)
    case = draft.add(replace(case, arrays=arrays))
    add_inputs(case, described["inputs"], vectors=VECTORS)
    grounded = _keep_known(config, draft, heights=heights, crs=crs)
    print("reading the bed off the surface")
    add_inputs(case, add_regional_inputs(case), vectors=VECTORS)
    add_inputs(case, add_surface_inversion(case, grounded=grounded, progress=progress))
    print("gridding the surveys")
    buffer = 2 * lowres_spacing(case) if buffer_m is None else buffer_m
    options: Any = {"folder": folder, "heights": heights, "seed": seed, "report": print}
    known, areas = prepare_targets(config, case, buffer_m=buffer, **options)
    draft.facts |= known
    return case, areas, buffer, tile_area(config, folder=folder, crs=crs)


def _keep_known(config: dict[str, Any], draft: Draft, *, heights: Heights, crs: str) -> Any:
    """Keep a known truth, the bound, grounding line and coast in the folder; give the grounded area."""
    from fieldwise.fields.formats import read_area

    for key in LINKED:
        if config.get(key):
            draft.keep_field(key, config[key], crs=crs, heights=heights)
    if not config.get("grounding_line"):
        return None
    line = Path(draft.home or "") / config["grounding_line"]["path"]
    area = read_area(line, crs=crs)
    draft.keep_area("grounding_line", area, crs=crs)
    for coast in sorted(line.parent.glob("Coastline*.shp"))[:1]:
        draft.keep_area("coastline", read_area(coast, crs=crs), crs=crs)
    return area


def _too_large(tile_cells: int, spacing: float, *, grounded: bool) -> str:
    """Say that no tile fits, and which smaller ones can be learnt from, and how."""
    where = " on grounded ice" if grounded else ""
    remedy = "take denser surveys or smaller --tile_cells"
    if tile_cells <= SMALLEST_TILE:
        remedy += f"; below {SMALLEST_TILE} train with --adversarial_weight 0"
    return f"no survey covers a whole tile of {tile_cells * spacing / 1000:g} km{where}; {remedy}"
