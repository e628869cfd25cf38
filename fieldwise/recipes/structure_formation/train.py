"""Boxes to a trained network: the verb train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Unpack

from fieldwise.errors import InputError, require_at_least
from fieldwise.recipes.structure_formation.prepare import RECIPE
from fieldwise.verbs.options import TRAINING, Training, with_options

if TYPE_CHECKING:
    from fieldwise.recipes.structure_formation.networks import Choice
    from fieldwise.samples.boxes.crops import Crops
    from fieldwise.samples.cases import Case
    from fieldwise.samples.signatures import Signature

OF_THE_NETWORK = ("features", "blocks", "init_std")
OF_THE_GAME = (
    "game",
    "conditional",
    "adversarial_weight",
    "adversarial_from_epoch",
    "critic_ratio",
    "penalty",
    "penalty_weight",
    "penalty_every",
    "instance_noise",
    "noise_epochs",
    "label_smoothing",
    "spectral_norm",
    "losses_until_adversarial",
    "discriminator_rate",
    "discriminator_optimizer_options",
)
OF_THE_RATE = ("learning_rate", "weight_decay", "warmup_steps", "plateau_epochs", "clip_norm")
OF_MEMBERS = ("proper_score", "crps")


@with_options(Training, TRAINING, max_epochs=24, batch_size=8)
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
    blocks: int | None = None,
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
    aug_shift: int = 0,
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
        blocks: Of an emulator or superresolver.
        init_std: Standard deviation that its kernels begin with.
        network_options: Further arguments of the network, by name.
        load_state: Weights to begin with: a state file of map2map, or best.ckpt of another run.
        load_state_strict: Whether every weight must be in that file and fit.
        crop: Cells of the inputs on the edges of a sample, 1 number or one an axis; by default whole boxes.
        crop_start: First cells of the crops.
        crop_stop: Where crops begin no more.
        crop_step: Cells from crop to crop; by default their size.
        in_pad: Cells of the inputs read around a crop, 1 number, one an axis or two an axis; by default as
            many as the network loses.
        tgt_pad: Cells of the targets read around a crop.
        augment: Show samples in the 8 or 48 ways to turn a square or cube, with their vectors.
        aug_shift: Crops begin up to so many cells later, along each axis.
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
        plateau_epochs: Instead, epochs without improvement after which the rate is a tenth; 0 for never.
        clip_norm: Largest norm of the gradient; 0 for any.

    Returns:
        Path of the best checkpoint.
    """
    settings = {name: value for name, value in locals().items() if name != "training"} | training
    plan = check_settings(settings)
    from functools import partial

    from fieldwise.samples.boxes.order import make_crop_loaders
    from fieldwise.tasks import AdversarialTask, FieldTask
    from fieldwise.verbs.train import train_run

    if plan.validation is plan.learnt:
        print("no validation boxes: weights are selected on the training boxes themselves")
    kind: Any = FieldTask if plan.opponent is None else AdversarialTask
    make_task = partial(kind, **plan.task)
    if load_state:
        make_task = partial(_begin_with, kind=make_task, path=load_state, strict=load_state_strict)
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


class Plan(NamedTuple):
    """What settings come to: the samples, what is read and given, and the arguments of the task."""

    signature: Signature
    learnt: Crops
    validation: Crops
    task: dict[str, Any]
    opponent: tuple[str, dict[str, Any]] | None


def check_settings(settings: Mapping[str, Any]) -> Plan:
    """Refuse settings that nothing can be trained with, before anything is written.

    >>> import inspect
    >>> settings = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    >>> check_settings(settings | {"clip_norm": -1.0})
    Traceback (most recent call last):
    fieldwise.errors.InputError: --clip_norm: is -1; give at least 0
    """
    for name in ("clip_norm", "aug_add", "aug_mul", "aug_shift", "shuffle_distance", "workers"):
        require_at_least(0, **{name: settings[name]})
    require_at_least(1, members=settings["members"])
    from fieldwise.samples.prepared import Prepared
    from fieldwise.verbs.train import check_training

    check_training(settings)
    prepared = Prepared(settings["data"], recipe=RECIPE)
    cases = prepared.cases("training")
    judged = prepared.cases("validation", required=False)
    names = {side: _choose_fields(side, settings[side], prepared) for side in ("inputs", "targets")}
    for case in [*cases, *judged]:
        case.check_has([field for each in names.values() for field in _fields(case, each)], why="training")
    scale_factor = _find_scale_factor(cases[0], **names)
    whole = cases[0].periodic and not settings["crop"] and settings["in_pad"] is None
    network = _choose_network(settings, cases[0], names, scale_factor, whole)
    signature = _describe(settings, cases, names, whole_boxes=whole)
    crops = _cut(settings, network.padding, signature, cases, judged)
    task, opponent = _choose_task(settings, signature, network, names, scale_factor)
    return Plan(signature, *crops, task, opponent)


def _choose_fields(side: str, wanted: list[str] | None, prepared: Any) -> list[str]:
    chosen = wanted or list(prepared.description.get(side, ()))
    missing = [name for name in chosen if name not in prepared.variables]
    if missing or not chosen:
        there = ", ".join(prepared.variables)
        what = f"lacks {', '.join(missing)}" if missing else "names none"
        raise InputError(f"--{side}: {prepared.folder} {what}; it has {there}")
    return chosen


def _fields(case: Case, names: list[str]) -> list[str]:
    return [field for name in names for field in case.variables[name].fields]


def _find_scale_factor(case: Case, inputs: list[str], targets: list[str]) -> int:
    """Tell how many cells the targets have on the edge of an input's; each side has one spacing."""
    spacings = []
    for names in (inputs, targets):
        found = {case.variables[name].spacing or case.spacing for name in names}
        if len(found) > 1:
            raise InputError(f"{', '.join(names)}: have cells of different sizes; choose fields of one size")
        spacings.append(found.pop())
    if spacings[1] != case.spacing:
        raise InputError(
            f"--targets: {', '.join(targets)} are coarser than the boxes; give the finest fields"
        )
    return round(spacings[0] / spacings[1])


def _choose_network(
    settings: Mapping[str, Any], case: Case, names: dict[str, list[str]], scale_factor: int, whole: bool
) -> Choice:
    from fieldwise.recipes.structure_formation.networks import choose_network

    given = {name: settings[name] for name in OF_THE_NETWORK if settings[name] is not None}
    return choose_network(
        settings["network"],
        given | (settings["network_options"] or {}),
        channels=(len(_fields(case, names["inputs"])), len(_fields(case, names["targets"]))),
        dimensions=len(case.shape),
        scale_factor=scale_factor,
        style=settings["style"] or (),
        whole_boxes=whole,
    )


def _describe(
    settings: Mapping[str, Any], cases: list[Case], names: dict[str, list[str]], *, whole_boxes: bool
) -> Signature:
    """Describe what is read and given; fields of one kind that are fitted share the scale of the target."""
    from fieldwise.recipes.structure_formation.norms import check_norm_options, check_norms, choose_norms
    from fieldwise.samples.frames import fit_signature

    style = settings["style"] or []
    scales: dict[str, Any] = {}
    check_norm_options(settings["norm_options"] or {}, settings["in_norms"], settings["tgt_norms"])
    for side, flag in (("inputs", "in_norms"), ("targets", "tgt_norms")):
        options = settings["norm_options"] or {}
        scales |= choose_norms(names[side], settings[flag], options, flag=f"--{flag}")
    for case in cases:
        case.check_numbers(style)
    seen = [[case.numbers[name] for case in cases] for name in style]
    facts = {"style": list(style), "whole_boxes": whole_boxes, "spacing_units": cases[0].spacing_units}
    facts["style_range"] = [[min(values), max(values)] for values in seen]
    sides: dict[str, Any] = {"inputs": names["inputs"], "outputs": names["targets"]}
    signature = fit_signature(RECIPE, cases, scales=scales, **sides).with_facts(**facts)
    of_kind = {
        each.name.partition("_")[0]: each.scale for each in signature.outputs if each.name not in scales
    }
    inputs = tuple(
        each
        if each.name in scales
        else replace(each, scale=of_kind.get(each.name.partition("_")[0], each.scale))
        for each in signature.inputs
    )
    for variables, flag in ((inputs, "--in_norms"), (signature.outputs, "--tgt_norms")):
        check_norms(variables, flag=flag)
    return replace(signature, inputs=inputs)


def _cut(
    settings: Mapping[str, Any], padding: int, signature: Signature, cases: list[Case], judged: list[Case]
) -> tuple[Crops, Crops]:
    """Cut the boxes to learn from, and those to judge by, which no change is made to."""
    from fieldwise.samples.boxes.crops import Augmentation, Crops, Cutting

    cutting = Cutting(
        settings["crop"] or (),
        settings["crop_start"] or (),
        settings["crop_stop"] or (),
        settings["crop_step"] or (),
        input_padding=[padding] if settings["in_pad"] is None else settings["in_pad"],
        target_padding=settings["tgt_pad"] or [0],
    )
    changes = Augmentation(
        symmetries=settings["augment"],
        shift=settings["aug_shift"],
        offset=settings["aug_add"],
        factor=settings["aug_mul"],
        seed=settings["seed"],
    )
    held = settings["shuffle_distance"] + 1
    learnt = Crops(cases, signature, cutting, augmentation=changes, open_cases=held)
    return learnt, Crops(judged, signature, cutting, open_cases=held) if judged else learnt


def _choose_task(
    settings: Mapping[str, Any],
    signature: Signature,
    network: Choice,
    names: dict[str, list[str]],
    scale_factor: int,
) -> tuple[dict[str, Any], tuple[str, dict[str, Any]] | None]:
    """Give the arguments of the task, and the discriminator if there is one."""
    from fieldwise.recipes.structure_formation.losses import LOSSES, check_losses
    from fieldwise.recipes.structure_formation.networks import check_members, choose_discriminator
    from fieldwise.tasks.field import parse_losses

    seen = sum(each.channels for each in signature.outputs)
    seen += sum(each.channels for each in signature.inputs) if settings["conditional"] else 0
    opponent = choose_discriminator(
        settings["discriminator"],
        settings["discriminator_options"] or {},
        channels=seen,
        dimensions=signature.dimensions,
        scale_factor=scale_factor,
    )
    members, loss = settings["members"], settings["loss"]
    if members is None:
        members = 2 if "superresolution" in network.path and opponent is None else 1
    check_members(members, network)
    if loss == "auto":
        loss = "proper_score" if members > 1 else "mse"
    losses = {loss: 1.0} if loss in OF_MEMBERS else parse_losses(loss, **LOSSES)
    check_losses(losses, names["targets"])
    decay = settings["decay_epochs"]
    if decay is None:
        decay = 0 if settings["plateau_epochs"] else settings["max_epochs"]
    task = {
        "network": network.path,
        "network_options": network.options,
        "losses": losses,
        "members": members,
        "optimizer": settings["optimizer"],
        "optimizer_options": settings["optimizer_options"],
        "decay_epochs": decay,
        **{name: settings[name] for name in OF_THE_RATE},
    }
    if opponent is None:
        return task, None
    game = {name: settings[name] for name in OF_THE_GAME}
    return task | {"discriminator": opponent[0], "discriminator_options": opponent[1], **game}, opponent


def _begin_with(*, kind: Any, path: Path, strict: bool, **options: Any) -> Any:
    """Make a task whose network begins with weights of a file."""
    from fieldwise.recipes.structure_formation.networks import begin_with

    task = kind(**options)
    begin_with(task.network, path, strict=strict)
    return task
