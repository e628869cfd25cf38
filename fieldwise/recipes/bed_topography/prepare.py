"""Survey files and rasters to tiles: the verb prepare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fieldwise.errors import InputError, require_at_least

if TYPE_CHECKING:
    from fieldwise.recipes.bed_topography.regions.sources import Sources
    from fieldwise.samples.prepared import Draft

UNITS = {
    "bed_lowres": "m",
    "surface_elevation": "m",
    "ice_velocity": "m a-1",
    "snow_accumulation": "kg m-2 a-1",
    "ice_thickness": "m",
}
UPSAMPLING = 4  # cells of the map along one low-res cell
SMALLEST_TILE = 32  # cells that a discriminator halves five times


def prepare(
    *,
    source: str = "sandbox",
    out: Path = Path("data"),
    seed: int = 7,
    size_km: float = 250.0,
    sectors: int = 0,
    validation_sectors: int = 2,
    regridded: bool = True,
    processes: int = 2,
    tile_cells: int = 36,
    step_cells: int = 4,
    validation_fraction: float = 0.1,
    block_tiles: float = 1.5,
    buffer_m: float | None = None,
    arrays: Literal["numpy", "cupy"] = "numpy",
    progress: bool = True,
) -> Path:
    """Turn survey files and rasters into tiles to learn from, and picks to judge on.

    Where the FILE.yaml has `bed_lowres: {from: surveys}`, the low-res bed is a spline in tension through the
    picks of `surveys` and `radar` that are not held out. What is learnt from has no say in the low-res bed
    that is learnt with: the blocks of the region (of `blocks_m`, 20 km) are dealt into `folds`, 2, and each
    fold has a low-res bed, and all that follows from it, from the picks of the others. A tile lies in blocks
    of one fold. Wherever the low-res bed comes from, the picks are made into cases in this way, from which
    the network that draws goes on learning: `train --network drawer --init pretrained`.

    Args:
        source: `sandbox` for a made sector with a known truth, or a FILE.yaml that names your own files.
        out: Folder to write. What was prepared there before stays as it is until all is done.
        seed: Seed of the sandbox and of the split.
        size_km: Edge of the sandbox's sector in kilometres.
        sectors: Of the sandbox: how many made sectors to learn from, each a world of its own with the truth
            everywhere; 0 for one sector with surveys to learn from, as in nature.
        validation_sectors: Besides, to select weights on.
        regridded: Whether the low-res bed of a sector is also shown gridded from some of the flights alone,
            outside of holes; else it knows every flight, as in the sandbox.
        processes: That make sectors side by side.
        tile_cells: Edge of a tile in cells of the map, a multiple of 4. The discriminator needs 32 or more;
            smaller ones can be learnt from with `train --adversarial_weight 0`.
        step_cells: Distance of neighbouring tiles, in cells of the map. With a multiple of 4 tiles start on
            low-res cells, as the blocks of a prediction do; the original's 3 reads between their cells.
        validation_fraction: Share of the tiles, and of the picks, to select weights on, above 0 and below 1.
        block_tiles: Edge of the blocks drawn for validation, in tiles.
        buffer_m: Least distance between training, validation and held-out data in metres;
            by default two low-res cells, the width by which the inputs of two neighbours overlap.
        arrays: numpy, or cupy to interpolate, fill gaps and cut tiles on a GPU.
        progress: Whether to show how far it is.

    Returns:
        The folder, which now holds a dataset.yaml.
    """
    file = _check_options(source, sectors=sectors, tile_cells=tile_cells, fraction=validation_fraction)
    require_at_least(1, step_cells=step_cells, block_tiles=block_tiles)
    require_at_least(1, validation_sectors=validation_sectors, processes=processes)
    require_at_least(0, seed=seed, buffer_m=buffer_m)
    from fieldwise.fields.arrays import choose_module
    from fieldwise.recipes.bed_topography.members.sectors import add_sectors
    from fieldwise.recipes.bed_topography.regions.folds import add_folds
    from fieldwise.recipes.bed_topography.regions.region import RECIPE, lowres_spacing
    from fieldwise.recipes.bed_topography.regions.sources import open_sources
    from fieldwise.sandbox.bed_topography import make_bed_topography
    from fieldwise.verbs.prepare import prepare_folder

    choose_module(arrays)  # refuses what is not there before anything is done
    options: Any = {"seed": seed, "size_km": size_km, "progress": progress}
    with prepare_folder(out, recipe=RECIPE, source=source, seed=seed) as draft:
        if sectors:
            options |= {"sectors": sectors, "validation": validation_sectors, "processes": processes}
            add_sectors(draft, regridded=regridded, **options)
            print(f"sectors: {sectors} to train on, {validation_sectors} to select weights on")
            return Path(out)
        if source == "sandbox":
            print("making a sector of Antarctica")
            file = make_bed_topography(draft.folder, **options)
        opened = open_sources(file, draft, arrays=arrays, progress=progress)
        buffer = 2 * lowres_spacing(opened.case) if buffer_m is None else buffer_m
        areas = opened.add_surveys(draft, buffer_m=buffer, seed=seed, progress=progress)
        folds = add_folds(opened, draft, fraction=validation_fraction, seed=seed, progress=progress)
        if not draft.facts["targets"]:
            further = any(each.split for each in draft.cases)
            more = ", or first `train --network drawer --init pretrained`" if further else ""
            print(f"no surveys to cut tiles from: draw with `predict --weights pretrained`{more}")
            return Path(out)
        block = block_tiles * tile_cells * opened.case.spacing
        split: dict[str, Any] = {"fraction": validation_fraction, "block": block, "buffer": buffer}
        split |= {"seed": seed, "held_out": areas}
        _cut_tiles(opened, draft, folds, split=split, tile_cells=tile_cells, step_cells=step_cells)
    print(f"{out}: prepared")
    return Path(out)


def _check_options(source: str, *, sectors: int, tile_cells: int, fraction: float) -> Path:
    """Refuse what nothing can be prepared by; give the FILE.yaml."""
    require_at_least(1, tile_cells=tile_cells)
    require_at_least(0, sectors=sectors)
    if sectors and source != "sandbox":
        raise InputError(f"--sectors: are made, and --source is {source}; leave one of them out")
    if tile_cells % UPSAMPLING:
        fitting = max(tile_cells // UPSAMPLING, 1) * UPSAMPLING
        raise InputError(f"--tile_cells: is {tile_cells}; give a multiple of {UPSAMPLING}, such as {fitting}")
    if not 0 < fraction < 1:
        raise InputError(f"--validation_fraction: is {fraction:g}; give a share between 0 and 1")
    if source != "sandbox" and not Path(source).exists():
        raise InputError(f"{source}: no such file; --source takes `sandbox` or a FILE.yaml")
    if tile_cells < SMALLEST_TILE:
        print(f"tiles of {tile_cells} cells are too small for a discriminator: train --adversarial_weight 0")
    return Path(source)


def _cut_tiles(
    opened: Sources,
    draft: Draft,
    folds: list[Any],
    *,
    split: dict[str, Any],
    tile_cells: int,
    step_cells: int,
) -> None:
    """Cut tiles where the surveys cover them whole, on ground and within blocks of one fold."""
    from fieldwise.recipes.bed_topography.regions.region import lowres_spacing
    from fieldwise.recipes.bed_topography.regions.surveys import open_targets
    from fieldwise.samples.patches import cut_patches

    print("cutting tiles")
    case, inside = opened.case, opened.tile_area()
    counts = cut_patches(
        case,
        open_targets(case).values(),
        target="bed",
        tile_cells=tile_cells,
        step_cells=step_cells,
        inside=inside,
        padding=lowres_spacing(case),
        split=split,
        folds=folds,
    )
    if not counts:
        where = " on grounded ice" if inside is not None else ""
        where += " within blocks of one fold" if folds else ""
        raise InputError(_too_large(tile_cells, case.spacing, where))
    draft.facts["tiles"] = {"cells": tile_cells, "step_cells": step_cells, "buffer_m": split["buffer"]}
    draft.facts["tiles"] |= counts
    print(f"tiles: {counts['training']} to train on, {counts['validation']} to select weights on")


def _too_large(tile_cells: int, spacing: float, where: str) -> str:
    """Say that no tile fits, and which smaller ones can be learnt from, and how."""
    larger = ", larger blocks_m" if "fold" in where else ""
    remedy = f"take denser surveys{larger} or smaller --tile_cells"
    if tile_cells <= SMALLEST_TILE:
        remedy += f"; below {SMALLEST_TILE} train with --adversarial_weight 0"
    return f"no survey covers a whole tile of {tile_cells * spacing / 1000:g} km{where}; {remedy}"
