"""Training the generator of DeepBedMap: its settings checked, its tiles read, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fieldwise.errors import InputError, require_at_least
from fieldwise.fields.tiles import read_tiles
from fieldwise.recipes.bed_topography.generator import (
    BedTask,
    choose_inputs,
    choose_options,
    cut_smooth,
    draw_tiles,
    read_samples,
)
from fieldwise.recipes.bed_topography.predictor import describe_shares, load_bed_predictor
from fieldwise.recipes.bed_topography.prepare import SMALLEST_TILE
from fieldwise.recipes.bed_topography.regions.region import (
    INVERSION,
    LOWRES,
    VELOCITY,
    find_flux_gap,
    open_region,
)
from fieldwise.runs import read_metrics
from fieldwise.samples.cases import Case
from fieldwise.samples.loaders import SYMMETRIES, make_loader
from fieldwise.scores import make_score, rmse, score_all, verdict
from fieldwise.verbs.train import check_training, train_run

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


def train_generator(settings: Mapping[str, Any], training: Mapping[str, Any]) -> Path:
    """Train the generator on tiles; keep the weights that are best on the validation tiles, and the last."""
    check_training(training)
    case, departure = open_region(settings["data"]), settings["departure"]
    check_settings(settings, case)
    loaders, signature = _open_tiles(case, settings, training)
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
    best = train_run(
        make_task,
        loaders,
        signature,
        run=settings["run"],
        settings=settings,
        monitor="val_rmse_m",
        picture=draw_tiles,
        sources=[case.folder / "provenance.json"],
        **training,
    )
    for line in _conclude(Path(settings["run"]), case) if departure else ():
        print(line)
    return best


def _open_tiles(case: Case, settings: Mapping[str, Any], training: Mapping[str, Any]) -> Any:
    """Read the tiles: loaders of those to learn from and to judge by, and what they are."""
    departure, batch_size = settings["departure"], training["batch_size"]
    names = choose_inputs(case, settings["inputs"], departure=departure)
    options: Any = {"departure": departure, "flow": settings["flux_weight"] > 0}
    learnt, signature = read_samples(case, "training", names, **options)
    judged, _ = read_samples(case, "validation", names, like=signature, **options)
    training_loader = make_loader(
        learnt,
        batch_size=batch_size,
        shuffle_seed=training["seed"],
        symmetries=SYMMETRIES[settings["augment"]],
        vectors=signature.vectors() | ({VELOCITY: [(0, 1)]} if settings["flux_weight"] else {}),
    )
    return (training_loader, make_loader(judged, batch_size=batch_size)), signature


def _conclude(run: Path, case: Case) -> list[str]:
    """Say what was fitted and decides the map, and whether it is better than what needs no training."""
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
    >>> from fieldwise.recipes.bed_topography.train import complete, train
    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.zeros((2, 2))}, shape=(8, 8), tiles={"cells": 24}).cases()[0]
    >>> defaults = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    >>> check_settings(complete(defaults, "generator"), case)
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...: holds tiles of 24 cells, too small for a discriminator, ...
    """
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
