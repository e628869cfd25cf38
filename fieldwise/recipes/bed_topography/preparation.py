"""Survey files and rasters to tiles: the verb prepare."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from fieldwise.datasets import DESCRIPTION, Dataset, open_entry, prepare_inputs, write_yaml
from fieldwise.errors import InputError
from fieldwise.grids import open_field, write_cog
from fieldwise.recipes.bed_topography.options import require_at_least
from fieldwise.recipes.bed_topography.own_files import list_files, read_own_files
from fieldwise.tiles import cut, slide_windows, split_by_area, write_bounds, write_tiles

UNITS = {
    "bed_lowres": "m",
    "surface_elevation": "m",
    "ice_velocity": "m a-1",
    "snow_accumulation": "kg m-2 a-1",
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
    progress: bool = True,
) -> Path:
    """Turn survey files and rasters into tiles to learn from, and picks to judge on.

    Args:
        source: `sandbox` for a made sector with a known truth, or a FILE.yaml that names your own files.
        out: Folder to write.
        seed: Seed of the sandbox and of the split.
        size_km: Edge of the sandbox's sector in kilometres.
        tile_cells: Edge of a tile in cells of the map.
        step_cells: Distance of neighbouring tiles, in cells of the map. With a multiple of 4 tiles start on
            low-res cells, as the blocks of a prediction do; the original's 3 reads between their cells.
        validation_fraction: Share of the tiles to select weights on.
        block_tiles: Edge of the blocks drawn for validation, in tiles.
        buffer_m: Least distance between training, validation and held-out data in metres;
            by default two low-res cells, the width by which the inputs of two neighbours overlap.
        progress: Whether to show how far it is.

    Returns:
        The folder, which now holds a dataset.yaml.
    """
    from fieldwise.recipes.bed_topography.regional import add_regional_inputs
    from fieldwise.recipes.bed_topography.surveys import grid_targets, keep_aside, read_areas, tile_area
    from fieldwise.tracking import record_provenance

    require_at_least(1, tile_cells=tile_cells, step_cells=step_cells, block_tiles=block_tiles)
    out, say = Path(out), (tqdm.write if progress else lambda line: None)
    file = Path(source)
    if source == "sandbox":
        from fieldwise.sandbox.bed_topography import make_bed_topography

        say("making a sector of Antarctica")
        (out / DESCRIPTION).unlink(missing_ok=True)  # the folder counts as prepared only when all is done
        file = make_bed_topography(out, seed=seed, size_km=size_km, progress=progress)
    elif not file.exists():
        raise InputError(f"{source}: no such file; --source takes `sandbox` or a FILE.yaml")
    config = read_own_files(file)
    (out / DESCRIPTION).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as draft:  # of the description, until all is done
        say("opening, aligning and filling the inputs")
        description: dict[str, Any] = {"recipe": "bed_topography", "source": source}
        description |= {key: float(config[key]) for key in ("spacing_m", "lowres_spacing_m")}
        description |= prepare_inputs(
            config,
            folder=file.parent,
            out=out,
            units=UNITS,
            detrended=DETRENDED,
            levelled=LEVELLED,
            report=say,
        )
        description |= _link_files(config, file.parent, out, crs=description["crs"])
        partial = write_yaml(description, Path(draft) / DESCRIPTION)
        description["inputs"] |= add_regional_inputs(Dataset(out, description=partial))
        dataset = Dataset(out, description=write_yaml(description, partial))

        say("gridding the surveys")
        description["targets"] = grid_targets(config, dataset, folder=file.parent, report=say)
        description["held_out"], areas = keep_aside(config, dataset, folder=file.parent)
        description["held_out_areas"] = read_areas(config).tolist()
        inside = tile_area(config, folder=file.parent, crs=dataset.crs)
        dataset = Dataset(out, description=write_yaml(description, partial))

        say("cutting tiles")
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
        record_provenance(
            out / "provenance.json", seed=seed, inputs=list_files(config, file.parent), folder=file.parent
        )
        write_yaml(description, out / DESCRIPTION)
    return out


def _link_files(config: dict[str, Any], folder: Path, out: Path, *, crs: str) -> dict[str, str]:
    """Say where the known truth, the bound and the grounding line lie, seen from the prepared folder.

    One that has to be picked out of its file, or brought to the CRS, is written into the folder.
    """
    paths = {
        key: os.path.relpath(folder / config[key]["path"], out)
        for key in ("truth", "bound", "grounding_line")
        if config.get(key)
    }
    for key in paths.keys() & {"truth", "bound"}:
        field = open_entry(config[key], folder=folder, crs=crs)[0]
        if set(config[key]) != {"path"} or open_field(out / paths[key]).rio.crs != field.rio.crs:
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
    arrays = dataset.read(every, padding=dataset.lowres_spacing_m)
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
