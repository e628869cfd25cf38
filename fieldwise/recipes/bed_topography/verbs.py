"""The four verbs of the recipe: prepare, train, predict, evaluate."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from fieldwise.blocks import lay_out
from fieldwise.datasets import DESCRIPTION, Dataset, open_entry, prepare_inputs, write_yaml
from fieldwise.errors import InputError
from fieldwise.grids import Bounds, Grid, open_field, write_cog, write_netcdf
from fieldwise.recipes.bed_topography.options import require_at_least
from fieldwise.recipes.bed_topography.own_files import UPSAMPLING, list_files, read_own_files
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


def train(
    *,
    data: Path = Path("data"),
    run: Path = Path("model"),
    max_epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 1.6e-4,
    weight_decay: float = 0.0,
    decay_epochs: int = 0,
    num_residual_blocks: int = 12,
    residual_scaling: float = 0.1,
    content_weight: float = 1e-2,
    adversarial_weight: float = 2e-2,
    topographic_weight: float = 2e-3,
    structural_weight: float = 5.25,
    adversarial_from_epoch: int = 0,
    departure: bool = True,
    augment: Literal["none", "north_south", "all"] = "none",
    inputs: list[str] | str | None = None,
    patience: int | None = None,
    seed: int = 42,
    resume: bool = True,
    accelerator: str = "auto",
    devices: int | str = "auto",
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed"] = "32-true",
    progress: bool = True,
) -> Path:
    """Train the generator on tiles; keep the weights that are best on the validation tiles, and the last.

    Args:
        data: Prepared folder.
        run: Folder for checkpoints, logs, settings and figures. One that holds an unfinished run goes on.
        max_epochs: Passes over the training tiles.
        batch_size: Tiles a step.
        learning_rate: Of Adam.
        weight_decay: Of Adam, decoupled from the gradient.
        decay_epochs: Epochs in which the learning rate falls to nothing along half a cosine; 0: it stays.
        num_residual_blocks: Residual-in-residual dense blocks of the generator.
        residual_scaling: Factor on each residual.
        content_weight: Weight of the mean absolute error in metres.
        adversarial_weight: Weight of the relativistic adversarial loss; 0 trains without a discriminator.
        topographic_weight: Weight of the departure from the low-res bed in the mean.
        structural_weight: Weight of the structural dissimilarity.
        adversarial_from_epoch: Epoch, counted from 0, from which the discriminator takes part.
        departure: Predict the departure from the cubic low-res bed, from detrended and scaled inputs;
            `false` predicts the bed itself from raw values, as the original does.
        augment: Show tiles mirrored north to south at random, or turned in all eight ways.
            Where ice flows one way, turning in every way makes learning longer, mirroring does not.
        inputs: Names of the inputs to learn from; by default all, or, of raw values, the published ones.
        patience: Epochs without improvement after which training stops.
        seed: Of weights and order.
        resume: Go on from the last checkpoint in the run folder, if there is one.
        accelerator: cpu, gpu or auto.
        devices: How many of them.
        precision: Of the numbers; bf16-mixed is faster where the device has it.
        progress: Whether to show how far it is.

    Returns:
        Path of the best checkpoint.
    """
    from lightning.pytorch import seed_everything

    from fieldwise.figures import draw_loss_curves
    from fieldwise.recipes.bed_topography.networks import check_resumable, choose_device
    from fieldwise.recipes.bed_topography.samples import VECTORS, choose_inputs, read_samples
    from fieldwise.samples import SYMMETRIES, make_loader
    from fieldwise.tasks import AdversarialTask
    from fieldwise.tracking import make_trainer, open_run, read_metrics, record_provenance

    settings = {key: value for key, value in locals().items() if key in train.__annotations__}
    require_at_least(1, max_epochs=max_epochs, batch_size=batch_size, patience=patience)
    choose_device(accelerator)
    dataset = Dataset(data)
    names = choose_inputs(dataset, inputs, departure=departure)
    training, description = read_samples(dataset, "training", names, departure=departure)
    validation, _ = read_samples(dataset, "validation", names, departure=departure, like=description)
    checkpoint = open_run(run, settings, resume=resume)
    if checkpoint:
        check_resumable(checkpoint, description)
    seed_everything(seed, verbose=False)
    task = AdversarialTask(
        inputs=[
            {"name": name, "channels": entry["channels"], "spacing_m": entry["spacing_m"]}
            for name, entry in description["inputs"].items()
        ],
        lowres_spacing_m=dataset.lowres_spacing_m,
        num_residual_blocks=num_residual_blocks,
        residual_scaling=residual_scaling,
        initial_weights=1.0 if departure else 0.1,
        tile_size=dataset.description["tiles"]["cells"],
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        decay_epochs=decay_epochs,
        content_weight=content_weight,
        adversarial_weight=adversarial_weight,
        topographic_weight=topographic_weight,
        structural_weight=structural_weight,
        adversarial_from_epoch=adversarial_from_epoch,
        departure_scale_m=description["departure_scale_m"],
        description=description,
    )
    trainer = make_trainer(
        run,
        max_epochs=max_epochs,
        monitor="val_rmse_m",
        patience=patience,
        accelerator=accelerator,
        devices=devices,
        precision=precision,
        progress=progress,
    )
    trainer.fit(
        task,
        make_loader(
            training,
            batch_size=batch_size,
            shuffle_seed=seed,
            symmetries=SYMMETRIES[augment],
            vectors=list(VECTORS),
        ),
        make_loader(validation, batch_size=batch_size),
        ckpt_path=checkpoint,
        weights_only=True,
    )
    if trainer.interrupted:
        raise KeyboardInterrupt
    best = Path(run) / "checkpoints" / "best.ckpt"
    record_provenance(
        Path(run) / "provenance.json",
        seed=seed,
        inputs=[Path(data) / "provenance.json", best],
        tiles=len(training["bed"]),
    )
    figures = Path(run) / "figures"
    figures.mkdir(exist_ok=True)
    draw_loss_curves(read_metrics(run)).savefig(figures / "loss_curves.png", dpi=150)
    return best


def predict(
    *,
    run: Path = Path("model"),
    data: Path = Path("data"),
    out: Path = Path("model/deepbedmap_dem.tif"),
    bounds: tuple[float, float, float, float] | None = None,
    block_cells: int = 512,
    halo_cells: int | None = None,
    weights: Literal["best", "last"] = "best",
    accelerator: str = "auto",
    progress: bool = True,
) -> Path:
    """Draw the bed over the whole region, or over a bounding box, block by block.

    Args:
        run: Run folder of a trained generator.
        data: Prepared folder.
        out: Map to write: .tif (cloud-optimised GeoTIFF, float32, NaN as nodata) or .nc (CF-NetCDF).
        bounds: West, south, east, north in the CRS of the data; by default the whole region.
        block_cells: Edge of a block in cells of the map; memory depends on this alone.
        halo_cells: Extra cells around a block; by default twice what the network is measured to need,
            so that the blocks leave no seam of a centimetre.
        weights: The best by validation, or the last.
        accelerator: cpu, gpu or auto.
        progress: Whether to show how far it is.

    Returns:
        Path of the map. A killed run goes on where it was when called again.
    """
    from fieldwise.predict import measure_halo, predict_domain
    from fieldwise.recipes.bed_topography.networks import load_network, make_function, make_reader
    from fieldwise.tracking import hash_file, recall_measure

    out = Path(out)
    if out.suffix not in {".tif", ".nc"}:
        raise InputError(f"{out}: a map is written as .tif or .nc")
    require_at_least(1, block_cells=block_cells)
    require_at_least(0, halo_cells=halo_cells)
    dataset = Dataset(data)
    checkpoint = Path(run) / "checkpoints" / f"{weights}.ckpt"
    network = load_network(checkpoint, dataset, accelerator=accelerator)
    function, reader = make_function(network), make_reader(dataset, network.description)
    grid = _map_grid(dataset, bounds)
    digest = hash_file(checkpoint)
    fingerprint = f"{digest} {hash_file(dataset.folder / DESCRIPTION)}"
    if halo_cells is None:
        # Where a deformable convolution reaches farther than at the places probed, the seam would show: a
        # network was seen to need 72 cells somewhere in its domain where probes told 40.
        halo_cells = 2 * recall_measure(
            Path(run) / "halo.json",
            fingerprint,
            lambda: measure_halo(
                function, reader, dataset.grid, domain=dataset.region, alignment_cells=UPSAMPLING
            ),
        )
        if progress:
            tqdm.write(f"halo: {halo_cells} cells, twice what the network needs where it was probed")
    raster = out if out.suffix == ".tif" else out.with_suffix(".tif.partial.tif")
    predict_domain(
        function,
        reader,
        grid,
        path=raster,
        block_cells=block_cells,
        halo_cells=halo_cells,
        fingerprint=fingerprint,
        name="bed",
        tags={"long_name": "bed elevation", "generator_sha256": digest, "halo_cells": str(halo_cells)},
        progress=progress,
        domain=dataset.region,
        alignment_cells=UPSAMPLING,
    )
    if out.suffix == ".nc":
        write_netcdf(open_field(raster).rename("bed"), out)
        raster.unlink()
    return out


def _map_grid(dataset: Dataset, bounds: Bounds | None) -> Grid:
    """Give the grid of a bounding box, on the cells of the whole region's map."""
    if bounds is None:
        return dataset.grid
    west, south, east, north = bounds
    if west >= east or south >= north:
        raise InputError(f"--bounds {bounds}: give west, south, east, north, in this order")
    origin = np.array([dataset.region[0], dataset.region[1]] * 2)
    edges = (np.array(bounds, dtype=float) - origin) / dataset.spacing_m
    cells = [*np.floor(edges[:2] + 1e-6), *np.ceil(edges[2:] - 1e-6)]
    west, south, east, north = (np.array(cells) * dataset.spacing_m + origin).tolist()
    grid = Grid(west, south, east, north, dataset.spacing_m, dataset.crs)
    lay_out(grid, dataset.region, UPSAMPLING)  # refuses a box beyond the data before anything is computed
    return grid


def evaluate(
    *,
    run: Path = Path("model"),
    data: Path = Path("data"),
    prediction: Path = Path("model/deepbedmap_dem.tif"),
    figures: bool = True,
) -> dict[str, Any]:
    """Judge a map at held-out radar picks, against cubic and spline interpolation and any known truth.

    Args:
        run: Run folder; scores.json and figures go there.
        data: Prepared folder.
        prediction: Map to judge.
        figures: Whether to draw the figures too.

    Returns:
        The scores, as they stand in scores.json.
    """
    from fieldwise.recipes.bed_topography.judgement import format_scores, score_map
    from fieldwise.tracking import write_json

    dataset = Dataset(data)
    scores = score_map(dataset, Path(prediction))
    write_json(scores, Path(run) / "scores.json")
    print(format_scores(scores))
    if figures:
        from fieldwise.recipes.bed_topography.figures import save_figures

        for path in save_figures(dataset, Path(prediction), Path(run) / "figures"):
            print(path)
    return scores
