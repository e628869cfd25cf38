"""Made sectors, flights or tiles to a trained network: the verb train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Unpack

from fieldwise.errors import InputError
from fieldwise.verbs.options import TRAINING, Training, with_options

# What is taken where nothing is asked for: of the generator as DeepBedMap was trained; of a drawer that
# learns from made sectors; and of one that has learnt from these and goes on with the flights over a region.
DRAWER: dict[str, Any] = {
    "learning_rate": 2e-3,
    "weight_decay": 0.01,
    "augment": "all",
    "max_epochs": 4,
    "batch_size": 8,
    "precision": "auto",
    "init_strict": True,
    "features": [64, 64, 96, 48, 32],
    "blocks": [1, 2, 3, 3, 3],
    "patch_cells": 128,
    "patches_per_tile": 1,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "generator": {
        "learning_rate": 1.6e-4,
        "weight_decay": 0.0,
        "augment": "none",
        "max_epochs": 100,
        "batch_size": 128,
        "precision": "32-true",
        "num_residual_blocks": 12,
        "residual_scaling": 0.1,
        "content_weight": 1e-2,
        "adversarial_weight": 2e-2,
        "topographic_weight": 2e-3,
        "structural_weight": 5.25,
        "flux_weight": 0.0,
        "adversarial_from_epoch": 0,
        "departure": True,
    },
    "drawer": DRAWER,
    "begun drawer": DRAWER | {"learning_rate": 2e-4, "max_epochs": 3, "batch_size": 4},
}
BY_NETWORK: Any = dict.fromkeys(("max_epochs", "batch_size", "precision"))


@with_options(Training, TRAINING, **BY_NETWORK)
def train(
    *,
    data: Path = Path("data"),
    run: Path = Path("model"),
    network: Literal["drawer", "generator"] = "drawer",
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    decay_epochs: int = 0,
    augment: Literal["none", "north_south", "all"] | None = None,
    inputs: list[str] | str | None = None,
    init: str | None = None,
    init_strict: bool | None = None,
    features: list[int] | int | None = None,
    blocks: list[int] | None = None,
    patch_cells: int | None = None,
    patches_per_tile: int | None = None,
    num_residual_blocks: int | None = None,
    residual_scaling: float | None = None,
    content_weight: float | None = None,
    adversarial_weight: float | None = None,
    topographic_weight: float | None = None,
    structural_weight: float | None = None,
    flux_weight: float | None = None,
    adversarial_from_epoch: int | None = None,
    departure: bool | None = None,
    **training: Unpack[Training],
) -> Path:
    """Train a network that draws beds; keep the weights that are best by validation, and the last.

    Without options the network that comes with the package, a drawer, goes on learning from what the flights
    over a region tell, where that betters it. On made sectors (`prepare --sectors`) a new one is trained.
    `--network generator` trains that of DeepBedMap on tiles, with the published settings. An option of the
    other network is refused.

    Args:
        data: Prepared folder.
        run: Folder for checkpoints, logs, settings and figures. One that holds an unfinished run goes on.
        network: drawer, which draws as many beds as are asked for, each as rough as a bed is; or generator,
            of DeepBedMap, which draws one.
        learning_rate: Of Adam; by default 1.6e-4 of a generator, 2e-3 of a new drawer, 2e-4 of one that goes
            on.
        weight_decay: Of Adam, decoupled from the gradient; by default 0 of a generator, 0.01 of a drawer.
        decay_epochs: Epochs in which the learning rate falls to nothing along half a cosine; 0: of a
            generator it stays, of a drawer it falls over all epochs.
        augment: Show tiles mirrored north to south at random, or turned in all eight ways; by default none of
            a generator, all of a drawer. Where ice flows one way, turning a generator's tiles in every way
            makes learning longer, mirroring does not.
        inputs: Names of the inputs to learn from; by default all, or, of raw values, the published ones.
        init: Of a drawer: weights to begin with, pretrained or pretrained_wide (see predict), none, or the
            path of a .ckpt or .safetensors; by default none for sectors, pretrained_wide for a region whose
            low-res bed is gridded `from: surveys`, and pretrained for another.
        init_strict: Of a drawer: whether every weight must be in that file and fit, as is the default; else
            those that fit are taken.
        features: Of a new drawer: channels at each resolution, the last that of the map and each coarser one
            of cells twice as large; by default 64, 64, 96, 48, 32, from four low-res cells on.
        blocks: Of a new drawer: at each resolution, likewise; by default 1, 2, 3, 3, 3.
        patch_cells: Of a drawer: edge of what it is shown, in cells of the map; by default 128.
        patches_per_tile: Of a drawer: patches an epoch for each time that one fits into a sector or region;
            by default 1.
        num_residual_blocks: Of a generator: residual-in-residual dense blocks, by default 12.
        residual_scaling: Of a generator: factor on each residual, by default 0.1.
        content_weight: Of a generator: weight of the mean absolute error in metres, by default 0.01.
        adversarial_weight: Of a generator: weight of the relativistic adversarial loss, by default 0.02; 0
            trains without a discriminator.
        topographic_weight: Of a generator: weight of the departure from the low-res bed in the mean, by
            default 0.002.
        structural_weight: Of a generator: weight of the structural dissimilarity, by default 5.25.
        flux_weight: Of a generator: weight of how far the bed is from conserving mass: outflow less
            accumulation of blocks of 16 cells, in metres of ice a year; by default 0. It needs surface,
            velocity and accumulation.
        adversarial_from_epoch: Of a generator: epoch from which the discriminator takes part, by default 0.
        departure: Of a generator: predict the departure from the cubic low-res bed, from detrended and scaled
            inputs, as is the default; `false` predicts the bed itself from raw values, as the original does.

    Returns:
        Path of the best checkpoint.
    """
    settings = {**locals(), **training}
    if network == "drawer":
        complete(settings, "drawer")  # refuses options of the generator
        from fieldwise.recipes.bed_topography.members.drawer import train_drawer

        return train_drawer(settings)
    from fieldwise.recipes.bed_topography.generator_training import train_generator

    settings = complete(settings, "generator")
    return train_generator(settings, {name: settings[name] for name in training})


def complete(settings: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Give settings with the defaults of a kind of training, of `DEFAULTS`, in the place of what is None.

    Raises
    ------
    InputError
        Where an option of another kind alone is given.

    >>> complete({"learning_rate": None, "batch_size": 64}, "generator")
    {'learning_rate': 0.00016, 'batch_size': 64}
    >>> complete({"num_residual_blocks": 12}, "drawer")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --num_residual_blocks: is an option of the generator; add --network generator
    """
    known = DEFAULTS[kind]
    for name, each in settings.items():
        others = [other for other, defaults in DEFAULTS.items() if name in defaults]
        if each is not None and others and kind not in others:
            raise InputError(f"--{name}: is an option of the {others[0]}; add --network {others[0]}")
    return {name: known.get(name) if each is None else each for name, each in settings.items()}
