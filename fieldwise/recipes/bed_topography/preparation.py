"""Survey files and rasters to tiles: the verb prepare."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fieldwise.drafts import replace_together
from fieldwise.errors import InputError, require_at_least
from fieldwise.fields.arrays import ArrayModule, choose_module, to_host
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.entries import open_entry
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import same_crs
from fieldwise.fields.heights import Heights
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.tiles import cut, slide_windows, split_by_area, write_bounds, write_tiles
from fieldwise.recipes.bed_topography.levels import ELEVATIONS, read_heights
from fieldwise.recipes.bed_topography.own_files import list_files, read_own_files
from fieldwise.samples.datasets import DESCRIPTION, Dataset, write_yaml
from fieldwise.samples.inputs import prepare_inputs

UNITS = {
    "bed_lowres": "m",
    "surface_elevation": "m",
    "ice_velocity": "m a-1",
    "snow_accumulation": "kg m-2 a-1",
    "ice_thickness": "m",
}
DETRENDED = ("bed_lowres", "surface_elevation")
LEVELLED = ("surface_elevation",)


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
    arrays: ArrayModule = "numpy",
    progress: bool = True,
) -> Path:
    """Turn survey files and rasters into tiles to learn from, and picks to judge on.

    Args:
        source: `sandbox` for a made sector with a known truth, or a FILE.yaml that names your own files.
        out: Folder to write. What was prepared there before stays as it is until all is done.
        seed: Seed of the sandbox and of the split.
        size_km: Edge of the sandbox's sector in kilometres.
        tile_cells: Edge of a tile in cells of the map.
        step_cells: Distance of neighbouring tiles, in cells of the map. With a multiple of 4 tiles start on
            low-res cells, as the blocks of a prediction do; the original's 3 reads between their cells.
        validation_fraction: Share of the tiles to select weights on.
        block_tiles: Edge of the blocks drawn for validation, in tiles.
        buffer_m: Least distance between training, validation and held-out data in metres;
            by default two low-res cells, the width by which the inputs of two neighbours overlap.
        arrays: numpy, or cupy to interpolate, fill gaps and cut tiles on a GPU.
        progress: Whether to show how far it is.

    Returns:
        The folder, which now holds a dataset.yaml.
    """
    require_at_least(1, tile_cells=tile_cells, step_cells=step_cells, block_tiles=block_tiles)
    require_at_least(0, seed=seed)
    choose_module(arrays)  # refuses what is not there before anything is done
    out, say = Path(out), (tqdm.write if progress else lambda line: None)
    file = Path(source)
    if source != "sandbox" and not file.exists():
        raise InputError(f"{source}: no such file; --source takes `sandbox` or a FILE.yaml")
    with replace_together(out, last=DESCRIPTION) as draft:
        if source == "sandbox":
            from fieldwise.sandbox.bed_topography import make_bed_topography

            say("making a sector of Antarctica")
            file = make_bed_topography(draft, seed=seed, size_km=size_km, progress=progress)
        config = read_own_files(file)
        heights = read_heights(config, folder=file.parent, report=say)
        say("opening, aligning and filling the inputs")
        description: dict[str, Any] = {"recipe": "bed_topography", "source": source}
        description |= {key: float(config[key]) for key in ("spacing_m", "lowres_spacing_m")}
        description |= {DATUM: heights.datum} if heights.datum else {}
        description |= prepare_inputs(
            config,
            folder=file.parent,
            out=draft,
            units=UNITS,
            detrended=DETRENDED,
            levelled=LEVELLED,
            elevations=ELEVATIONS,
            heights=heights,
            arrays=arrays,
            report=say,
        )
        home = draft if file.parent == draft else out  # from where the paths of linked files are counted
        description |= _link_files(config, file.parent, draft, home=home, heights=heights)
        areas, inside = _add_surveys(
            description, config, file.parent, draft, heights=heights, report=say, progress=progress
        )

        say("cutting tiles")
        dataset = Dataset(draft, arrays=arrays)
        buffer = 2 * dataset.lowres_spacing_m if buffer_m is None else buffer_m
        block = block_tiles * tile_cells * dataset.spacing_m
        counts = _cut_tiles(
            dataset,
            tile_cells=tile_cells,
            step_cells=step_cells,
            inside=inside,
            split={
                "fraction": validation_fraction,
                "block": block,
                "buffer": buffer,
                "seed": seed,
                "held_out": areas,
            },
        )
        say(f"tiles: {counts['training']} to train on, {counts['validation']} to select weights on")
        description["tiles"] = {"cells": tile_cells, "step_cells": step_cells, "buffer_m": buffer, **counts}
        _record(draft, out, seed=seed, files=list_files(config, file.parent), folder=file.parent)
        write_yaml(description, draft / DESCRIPTION)
    return out


def _add_surveys(
    description: dict[str, Any],
    config: dict[str, Any],
    folder: Path,
    draft: Path,
    *,
    heights: Heights,
    report: Any,
    progress: bool,
) -> tuple[np.ndarray, Any]:
    """Derive the regional inputs, grid the surveys and keep picks aside, all told in the description.

    Returns
    -------
    tuple
        Boxes that training must keep away from, and the area in which tiles may lie.
    """
    from fieldwise.recipes.bed_topography.inversion import add_surface_inversion
    from fieldwise.recipes.bed_topography.regional import add_regional_inputs
    from fieldwise.recipes.bed_topography.surveys import (
        grid_targets,
        keep_aside,
        read_areas,
        read_grounded_area,
        tile_area,
    )

    write_yaml(description, draft / DESCRIPTION)
    line = config.get("grounding_line")
    grounded = read_grounded_area(folder / line["path"], crs=description["crs"]) if line else None
    report("reading the bed off the surface")
    description["inputs"] |= add_regional_inputs(Dataset(draft))
    description["inputs"] |= add_surface_inversion(Dataset(draft), grounded=grounded, progress=progress)
    write_yaml(description, draft / DESCRIPTION)
    dataset = Dataset(draft)
    report("gridding the surveys")
    description["targets"] = grid_targets(config, dataset, folder=folder, heights=heights, report=report)
    description["held_out"], areas = keep_aside(config, dataset, folder=folder, heights=heights)
    description["held_out_areas"] = read_areas(config).tolist()
    inside = tile_area(config, folder=folder, crs=dataset.crs)
    write_yaml(description, draft / DESCRIPTION)
    return areas, inside


def _record(draft: Path, out: Path, *, seed: int, files: list[Path], folder: Path) -> None:
    """Write what the draft came from, and refuse to put it in the place of any of these files."""
    from fieldwise.runs import record_provenance

    record_provenance(draft / "provenance.json", seed=seed, inputs=files, folder=folder)
    sources = {path.resolve() for path in files}
    for path in draft.rglob("*"):
        target = out / path.relative_to(draft)
        if target.resolve() in sources:
            raise InputError(f"{target}: is your own file and would be overwritten; choose another --out")


def _link_files(
    config: dict[str, Any], folder: Path, out: Path, *, home: Path, heights: Heights
) -> dict[str, str]:
    """Say where the known truth, the bound and the grounding line lie, seen from the prepared folder.

    One that has to be picked out of its file, or brought to the CRS or the vertical datum, is written into
    the folder.
    """
    paths = {
        key: os.path.relpath(folder / config[key]["path"], home)
        for key in ("truth", "bound", "grounding_line")
        if config.get(key)
    }
    for key in paths.keys() & {"truth", "bound"}:
        field = open_entry(config[key], folder=folder, crs=config["crs"], heights=heights)[0]
        linked = set(config[key]) == {"path"}
        if linked:
            own = open_field(folder / config[key]["path"])
            linked = same_crs(own.rio.crs, field.rio.crs) and not heights.offsets(own.attrs.get(DATUM))
        if not linked:
            paths[key] = f"{key}.tif"
            write_cog(field, out / paths[key])
    return paths


def _cut_tiles(
    dataset: Dataset, *, tile_cells: int, step_cells: int, inside: Any, split: dict[str, Any]
) -> dict[str, int]:
    """Slide windows over every gridded survey, split them, cut every input, and save."""
    from fieldwise.recipes.bed_topography.surveys import open_targets

    windows, beds = [], []
    for field in open_targets(dataset).values():
        found = slide_windows(field, tile_cells=tile_cells, step_cells=step_cells, inside=inside)
        windows.append(found)
        if len(found):
            beds.append(cut(field, found, spacing=dataset.spacing_m)[:, None])
    every = np.concatenate(windows)
    if not len(every):
        raise InputError(
            f"no survey covers a whole tile of {tile_cells * dataset.spacing_m / 1000:g} km"
            f"{'' if inside is None else ' on grounded ice'}; take denser surveys or smaller --tile_cells"
        )
    read = dataset.read(every, padding=dataset.lowres_spacing_m)
    arrays = {name: to_host(values) for name, values in read.items()}
    whole = np.all([np.isfinite(values).all(axis=(1, 2, 3)) for values in arrays.values()], axis=0)
    if not whole.any():
        raise InputError(f"each of the {len(every)} tiles has gaps in {', '.join(arrays)}; fill them first")
    every, arrays["bed"] = every[whole], np.concatenate(beds)
    training, validation = split_by_area(every, **split)
    chosen = np.concatenate([training, validation])
    splits = ["training"] * len(training) + ["validation"] * len(validation)
    arrays = {name: values[np.flatnonzero(whole)[chosen]] for name, values in arrays.items()}
    spacing = {name: entry.spacing_m for name, entry in dataset.inputs.items()} | {"bed": dataset.spacing_m}
    units = {name: entry.units for name, entry in dataset.inputs.items()} | {"bed": "m"}
    write_tiles(
        arrays,
        dataset.folder / "tiles.zarr",
        windows=every[chosen],
        splits=splits,
        spacing_m=spacing,
        units=units,
        crs=dataset.crs,
    )
    write_bounds(every[chosen], dataset.folder / "tiles.geojson", crs=dataset.crs, splits=splits)
    return {"training": len(training), "validation": len(validation)}
