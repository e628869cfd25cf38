"""Tiles to a trained generator: the verb train."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from fieldwise.errors import InputError, require_at_least
from fieldwise.recipes.bed_topography.prepare import SMALLEST_TILE
from fieldwise.verbs.options import TRAINING, Training, with_options

if TYPE_CHECKING:
    from fieldwise.samples.cases import Case

OF_THE_TASK = (
    "num_residual_blocks",
    "residual_scaling",
    "learning_rate",
    "weight_decay",
    "decay_epochs",
    "content_weight",
    "adversarial_weight",
    "topographic_weight",
    "structural_weight",
    "flux_weight",
    "adversarial_from_epoch",
)


@with_options(Training, TRAINING, max_epochs=100, batch_size=128, precision="32-true")
def train(
    *,
    data: Path = Path("data"),
    run: Path = Path("model"),
    learning_rate: float = 1.6e-4,
    weight_decay: float = 0.0,
    decay_epochs: int = 0,
    num_residual_blocks: int = 12,
    residual_scaling: float = 0.1,
    content_weight: float = 1e-2,
    adversarial_weight: float = 2e-2,
    topographic_weight: float = 2e-3,
    structural_weight: float = 5.25,
    flux_weight: float = 0.0,
    adversarial_from_epoch: int = 0,
    departure: bool = True,
    augment: Literal["none", "north_south", "all"] = "none",
    inputs: list[str] | str | None = None,
    network: Literal["generator", "drawer"] = "generator",
    features: list[int] | int = [96, 96, 64, 48, 24],  # noqa: B006
    blocks: list[int] = [2, 2, 2, 2, 3],  # noqa: B006
    patch_cells: int = 128,
    patches_per_tile: int = 1,
    init: str | None = None,
    init_strict: bool = True,
    **training: Unpack[Training],
) -> Path:
    """Train the generator on tiles; keep the weights that are best on the validation tiles, and the last.

    Args:
        data: Prepared folder.
        run: Folder for checkpoints, logs, settings and figures. One that holds an unfinished run goes on.
        learning_rate: Of Adam.
        weight_decay: Of Adam, decoupled from the gradient.
        decay_epochs: Epochs in which the learning rate falls to nothing along half a cosine; 0: it stays.
        num_residual_blocks: Residual-in-residual dense blocks of the generator.
        residual_scaling: Factor on each residual.
        content_weight: Weight of the mean absolute error in metres.
        adversarial_weight: Weight of the relativistic adversarial loss; 0 trains without a discriminator.
        topographic_weight: Weight of the departure from the low-res bed in the mean.
        structural_weight: Weight of the structural dissimilarity.
        flux_weight: Weight of how far the bed is from conserving mass: outflow less accumulation of blocks of
            16 cells, in metres of ice a year. It needs surface, velocity and accumulation.
        adversarial_from_epoch: Epoch, counted from 0, from which the discriminator takes part.
        departure: Predict the departure from the cubic low-res bed, from detrended and scaled inputs;
            `false` predicts the bed itself from raw values, as the original does.
        augment: Show tiles mirrored north to south at random, or turned in all eight ways.
            Where ice flows one way, turning in every way makes learning longer, mirroring does not.
        inputs: Names of the inputs to learn from; by default all, or, of raw values, the published ones.
        network: generator, of DeepBedMap, which draws one map; or drawer, which draws members and learns from
            sectors (`prepare --sectors`).
        features: Of a drawer: channels at each resolution, from four low-res cells to one of the map.
        blocks: Of a drawer: at each resolution, likewise.
        patch_cells: Of a drawer: edge of what it is shown, in cells of the map.
        patches_per_tile: Of a drawer: patches an epoch for each time that one fits into a sector.
        init: Of a drawer: weights to begin with, pretrained or the path of a .ckpt or .safetensors.
        init_strict: Whether every weight must be in that file and fit; else those that fit are taken.

    Returns:
        Path of the best checkpoint.
    """
    settings = {**locals(), **training}
    if network == "drawer":
        from fieldwise.recipes.bed_topography.members.drawer import train_drawer

        return train_drawer(settings, training)
    import numpy as np

    from fieldwise.recipes.bed_topography.generator import (
        BedTask,
        choose_inputs,
        choose_options,
        draw_tiles,
        read_samples,
    )
    from fieldwise.recipes.bed_topography.region import VELOCITY, open_region
    from fieldwise.samples.loaders import SYMMETRIES, make_loader
    from fieldwise.verbs.train import check_training, train_run

    check_training(training)
    case = open_region(data)
    check_settings(settings, case)
    names = choose_inputs(case, inputs, departure=departure)
    options: Any = {"departure": departure, "flow": flux_weight > 0}
    learnt, signature = read_samples(case, "training", names, **options)
    judged, _ = read_samples(case, "validation", names, like=signature, **options)
    inputs_read = [
        {"name": each.name, "channels": each.channels, "spacing_m": each.spacing} for each in signature.inputs
    ]
    options = choose_options(
        inputs_read,
        lowres_spacing_m=signature.facts["lowres_spacing_m"],
        initial_weights=1.0 if departure else 0.1,
        tile_size=case.facts["tiles"]["cells"],
        **{name: settings[name] for name in OF_THE_TASK},
    )
    scale_m = float(signature.outputs[0].scale.undo(np.ones(())))  # that an output of 1 stands for
    make_task = partial(BedTask, departure_scale_m=scale_m, shrink=departure, **options)
    batch_size = training["batch_size"]
    loaders = (
        make_loader(
            learnt,
            batch_size=batch_size,
            shuffle_seed=training["seed"],
            symmetries=SYMMETRIES[augment],
            vectors=signature.vectors() | ({VELOCITY: [(0, 1)]} if flux_weight else {}),
        ),
        make_loader(judged, batch_size=batch_size),
    )
    best = train_run(
        make_task,
        loaders,
        signature,
        run=run,
        settings=settings,
        monitor="val_rmse_m",
        picture=draw_tiles,
        sources=[case.folder / "provenance.json"],
        **training,
    )
    for line in _conclude(Path(run), case) if departure else ():
        print(line)
    return best


def _conclude(run: Path, case: Case) -> list[str]:
    """Say what was fitted and decides the map, and whether it is better than what needs no training."""
    from fieldwise.fields.tiles import read_tiles
    from fieldwise.recipes.bed_topography.generator import cut_smooth
    from fieldwise.recipes.bed_topography.predictor import describe_shares, load_bed_predictor
    from fieldwise.recipes.bed_topography.region import INVERSION, LOWRES
    from fieldwise.runs import read_metrics
    from fieldwise.scores import make_score, rmse, score_all, verdict

    against, tiles = "validation tiles", read_tiles(case.folder / "tiles.zarr", "validation")
    truth, names = tiles["bed"].values[:, 0], [name for name in (LOWRES, INVERSION) if name in case.variables]
    smooth = cut_smooth(case, tiles, names)
    beds = {"cubic": smooth[LOWRES]}
    if INVERSION in smooth:
        beds["inversion"] = smooth[LOWRES] + smooth[INVERSION]
    reached = float(read_metrics(run)["val_rmse_m"].min())
    rows = [make_score(against, "rmse", "m", "prediction", reached)]
    rows += score_all(against, {("rmse", "m"): rmse}, beds, truth)
    shares = describe_shares(load_bed_predictor(run, case, accelerator="cpu"))
    return [shares, verdict(rows, against=against, measure="rmse")]


def check_settings(settings: Mapping[str, Any], case: Case) -> None:
    """Refuse settings that nothing can be trained with, before anything is written.

    >>> import inspect
    >>> import numpy as np
    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.zeros((2, 2))}, shape=(8, 8), tiles={"cells": 24}).cases()[0]
    >>> defaults = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    >>> check_settings(defaults, case)
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...: holds tiles of 24 cells, too small for a discriminator, ...
    """
    from fieldwise.recipes.bed_topography.generator import choose_inputs
    from fieldwise.recipes.bed_topography.region import find_flux_gap
    from fieldwise.verbs.train import check_training

    check_training(settings)
    require_at_least(1, num_residual_blocks=settings["num_residual_blocks"])
    require_at_least(0, **{name: settings[name] for name in OF_THE_TASK[3:]})
    choose_inputs(case, settings["inputs"], departure=settings["departure"])
    gap = find_flux_gap(case) if settings["flux_weight"] else None
    if gap:
        raise InputError(
            f"--flux_weight: {case.folder} {gap}; name what is missing in the FILE.yaml, or give 0"
        )
    if "tiles" not in case.facts:
        raise InputError(
            f"{case.folder}: holds no tiles, since its FILE.yaml names neither surveys nor beds to learn "
            "from; draw with `predict --weights pretrained`"
        )
    cells = case.facts["tiles"]["cells"]
    if settings["adversarial_weight"] and cells < SMALLEST_TILE:
        raise InputError(
            f"{case.folder}: holds tiles of {cells} cells, too small for a discriminator, which needs "
            f"{SMALLEST_TILE}; train with --adversarial_weight 0, or prepare with --tile_cells 36"
        )
