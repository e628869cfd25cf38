"""What the settings of a training come to, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from fieldwise.errors import InputError, require_at_least
from fieldwise.recipes.structure_formation.prepare import RECIPE

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
OF_THE_RATE = (
    "learning_rate",
    "weight_decay",
    "warmup_steps",
    "plateau_epochs",
    "plateau_factor",
    "clip_norm",
)
OF_MEMBERS = ("proper_score", "crps")


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
    >>> from fieldwise.recipes.structure_formation import train
    >>> settings = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    >>> check_settings(settings | {"clip_norm": -1.0})
    Traceback (most recent call last):
    fieldwise.errors.InputError: --clip_norm: is -1; give at least 0
    """
    for name in ("clip_norm", "aug_add", "aug_mul", "shuffle_distance", "workers"):
        require_at_least(0, **{name: settings[name]})
    require_at_least(1, members=settings["members"])
    if settings["conditional"] and settings["discriminator"] == "none":
        raise InputError(
            "--conditional: there is no discriminator to see the inputs; name one, or leave it out"
        )
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
    _try_out(network, opponent, signature, crops[0])
    return Plan(signature, *crops, task, opponent)


def _try_out(network: Choice, opponent: Any, signature: Signature, crops: Crops) -> None:
    """Pass shapes without numbers through the networks, which refuse samples that are too small for them."""
    import torch

    from fieldwise.networks.valid.blocks import narrow
    from fieldwise.tasks.field import make_network

    shapes, style = crops.shapes(), signature.facts["style"]
    with torch.device("meta"), torch.no_grad():
        beside = {"style": torch.empty(1, len(style))} if style else {}
        fields = torch.empty(1, sum(each.channels for each in signature.inputs), *shapes["inputs"])
        made = _pass(make_network(network.path, network.options), fields, beside)
        if made is None or opponent is None:
            return
        sizes = [min(pair) for pair in zip(made.shape[2:], shapes["targets"])]
        seen = narrow(made[:, :1], sizes).expand(2, opponent[1]["in_channels"], *sizes)
        _pass(make_network(*opponent), seen, {})


def _pass(network: Any, fields: Any, beside: dict[str, Any]) -> Any:
    """Give what comes of a tensor without numbers; None where a network cannot do without them."""
    try:
        return network.eval()(fields, **beside)
    except InputError:
        raise
    except Exception:
        return None


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
    for side, flag in (("inputs", "in_norms"), ("targets", "tgt_norms")):
        options = settings["norm_options"] or {}
        scales |= choose_norms(names[side], settings[flag], options, flag=f"--{flag}")
    check_norm_options(settings["norm_options"] or {}, settings["in_norms"], settings["tgt_norms"])
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
        shift=settings["aug_shift"] or (),
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
