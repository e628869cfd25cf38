"""Boxes to a trained network: the verb train."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Unpack

from fieldwise.recipes.structure_formation.plan import check_settings
from fieldwise.verbs.options import TRAINING, Training, with_options


@with_options(Training, TRAINING, max_epochs=4, batch_size=2)
def train(
    *,
    data: Path = Path("data/structure_formation"),
    run: Path = Path("model/structure_formation"),
    inputs: list[str] | None = None,
    targets: list[str] | None = None,
    in_norms: list[str] | None = None,
    tgt_norms: list[str] | None = None,
    norm_options: dict[str, float] | None = None,
    style: list[str] | None = None,
    network: str = "auto",
    features: int | None = None,
    blocks: int | list[int] | None = None,
    init_std: float | None = None,
    network_options: dict[str, Any] | None = None,
    load_state: Path | None = None,
    load_state_strict: bool = True,
    crop: list[int] | None = None,
    crop_start: list[int] | None = None,
    crop_stop: list[int] | None = None,
    crop_step: list[int] | None = None,
    in_pad: list[int] | None = None,
    tgt_pad: list[int] | None = None,
    augment: bool = True,
    aug_shift: list[int] | None = None,
    aug_add: float = 0.0,
    aug_mul: float = 0.0,
    shuffle_distance: int = 8,
    share_files: bool = False,
    workers: int = 0,
    loss: str = "auto",
    members: int | None = None,
    discriminator: str = "none",
    discriminator_options: dict[str, Any] | None = None,
    game: Literal["relativistic", "bce", "least_squares", "wasserstein"] = "bce",
    conditional: bool = False,
    adversarial_weight: float = 1.0,
    adversarial_from_epoch: int = 0,
    critic_ratio: int = 1,
    penalty: Literal["none", "r1", "wgan_gp"] = "none",
    penalty_weight: float = 10.0,
    penalty_every: int = 1,
    instance_noise: float = 0.0,
    noise_epochs: int = 0,
    label_smoothing: float = 0.0,
    spectral_norm: bool = False,
    losses_until_adversarial: bool = False,
    discriminator_rate: float | None = None,
    discriminator_optimizer_options: dict[str, Any] | None = None,
    optimizer: str = "adam",
    optimizer_options: dict[str, Any] | None = None,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.0,
    decay_epochs: int | None = None,
    warmup_steps: int = 50,
    plateau_epochs: int = 0,
    plateau_factor: float = 0.1,
    clip_norm: float = 1.0,
    **training: Unpack[Training],
) -> Path:
    """Train a network on boxes; keep the weights that are best on the validation boxes, and the last.

    Args:
        data: Prepared folder.
        run: Folder for checkpoints, logs, settings and figures. One that holds an unfinished run goes on.
        inputs: Fields to read, joined along their channels; those that the data name by default.
        targets: Fields to give.
        in_norms: A norm for each input: fit (to order one, fields of one kind alike), identity, log, exp,
            log1p, expm1, displacement, velocity, or the import path of one.
        tgt_norms: A norm for each target.
        norm_options: Arguments of norms, such as --norm_options.omega_m 0.31 --norm_options.z 2.
        style: Numbers of each box that the network reads beside its fields, such as omega_m, growth_factor.
        network: emulator (residual, one resolution), unet, vnet, generator (of the SR-GAN), superresolver, or
            an import path; auto takes emulator, or superresolver where targets are finer.
        features: Channels within the network.
        blocks: Of an emulator, or of a superresolver at all resolutions or at each, from the coarsest on.
        init_std: Standard deviation that its kernels begin with.
        network_options: Further arguments of the network, by name.
        load_state: Weights to begin with: a state file of map2map, best.ckpt of another run, or .safetensors.
        load_state_strict: Whether every weight must be in that file and fit.
        crop: Cells of the inputs on the edges of a sample, 1 number or one an axis; by default whole boxes.
        crop_start: First cells of the crops.
        crop_stop: Where crops begin no more.
        crop_step: Cells from crop to crop; by default their size.
        in_pad: Cells of the inputs read around a crop, 1 number, one an axis or two an axis; by default as
            many as the network loses.
        tgt_pad: Cells of the targets read around a crop.
        augment: Show samples in the 8 or 48 ways to turn a square or cube, with their vectors.
        aug_shift: Crops begin less than so many cells later; 1 number or one an axis.
        aug_add: Standard deviation of what is added to samples, in scaled units.
        aug_mul: Standard deviation of the logarithm of what samples are multiplied by.
        shuffle_distance: How many files a crop may be moved away from its own; 0 takes file after file.
        share_files: Whether each of several processes reads files of its own.
        workers: Processes that read ahead.
        loss: mse, mae, density, momentum, lagrangian_eulerian, power, dice, an import path, or a sum such as
            mse+0.1*density; of members proper_score or crps. By default mse, or proper_score.
        members: Fields drawn of each sample and scored together; 2 by default of a superresolver, else 1.
        discriminator: none, discriminator (of the SR-GAN), patchgan, patchgan42, or an import path.
        discriminator_options: Its further arguments.
        game: How the two score each other.
        conditional: Show the discriminator the inputs too.
        adversarial_weight: Of the discriminator's opinion beside the losses.
        adversarial_from_epoch: Epoch from which it takes part.
        critic_ratio: Steps of the discriminator for one of the network.
        penalty: On steep scores.
        penalty_weight: Of it.
        penalty_every: Steps for one with the penalty.
        instance_noise: Standard deviation of noise on what the discriminator sees.
        noise_epochs: Epochs in which it fades.
        label_smoothing: What the label of true fields is short of 1.
        spectral_norm: Whether the discriminator's kernels are kept at norm 1.
        losses_until_adversarial: Whether the network learns by its losses only until the discriminator takes
            part, and from it alone thereafter.
        discriminator_rate: Its learning rate; that of the network by default.
        discriminator_optimizer_options: Of its optimiser, beside those of the network's.
        optimizer: adam, adamw, or an import path.
        optimizer_options: Its further arguments.
        learning_rate: Of the optimiser.
        weight_decay: Likewise.
        decay_epochs: Epochs in which the rate falls to nothing along half a cosine; 0: it stays.
        warmup_steps: Steps in which it rises at first, and then falls step by step; 0: epoch by epoch.
        plateau_epochs: Instead, epochs without improvement after which the rate is lowered; 0 for never.
        plateau_factor: What it is then multiplied by.
        clip_norm: Largest norm of the gradient; 0 for any.

    Returns:
        Path of the best checkpoint.
    """
    settings = {name: value for name, value in locals().items() if name != "training"} | training
    plan = check_settings(settings)
    from functools import partial

    from fieldwise.samples.boxes.order import make_crop_loaders
    from fieldwise.tasks import AdversarialTask, FieldTask
    from fieldwise.verbs.beginnings import begin_task
    from fieldwise.verbs.train import train_run

    if plan.validation is plan.learnt:
        print("no validation boxes: weights are selected on the training boxes themselves")
    kind: Any = FieldTask if plan.opponent is None else AdversarialTask
    make_task: Any = partial(kind, **plan.task)
    if load_state:
        make_task = begin_task(make_task, load_state, strict=load_state_strict)
    order: dict[str, Any] = {"batch_size": training["batch_size"], "seed": training["seed"]}
    order |= {"distance": shuffle_distance, "share_files": share_files, "workers": workers}
    return train_run(
        make_task,
        make_crop_loaders(plan.learnt, plan.validation, **order),
        plan.signature,
        run=run,
        monitor="val_loss" if plan.opponent is None else "val_error",
        settings={name: value for name, value in settings.items() if name not in training},
        sources=[Path(data) / "provenance.json"],
        **training,
    )
