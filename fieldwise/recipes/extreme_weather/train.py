"""Labelled weather to a network that tells storms and rivers: the verb train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from fieldwise.errors import InputError, require_at_least
from fieldwise.verbs.options import TRAINING, Training, with_options

if TYPE_CHECKING:
    from fieldwise.samples.cases import Case
    from fieldwise.samples.signatures import Signature

HOME = "fieldwise.networks"
NETWORKS = {
    "cgnet": f"{HOME}.segmentation.cgnet.CGNet",
    "deeplab": f"{HOME}.segmentation.deeplab.DeepLab",
    "tiramisu": f"{HOME}.segmentation.tiramisu.Tiramisu",
    "unet": f"{HOME}.unet.UNet",
}
CHANNELS = ("TMQ", "U850", "V850", "PSL")  # of ClimateNet
CGNET_CELLS, CGNET_DEGREES = 8, 0.5  # on cells so many times as wide it tells classes; it is made for such


@with_options(Training, TRAINING, max_epochs=30, batch_size=4)
def train(
    *,
    data: Path = Path("data/extreme_weather"),
    run: Path = Path("model/extreme_weather"),
    channels: list[str] | None = None,
    target: str | None = None,
    scales: str = "spread",
    network: str = "cgnet",
    padding: Literal["zonal", "published"] = "zonal",
    network_options: dict[str, Any] | None = None,
    loss: str = "cross_entropy",
    weight_power: float = -0.125,
    balanced: bool = False,
    optimizer: str = "adamw",
    optimizer_options: dict[str, Any] | None = None,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-6,
    decay_epochs: int = 0,
    decay_at: list[int] | None = None,
    decay_factor: float = 0.1,
    warmup_steps: int = 0,
    clip_norm: float = 0.0,
    clip_share: float = 0.0,
    gradient_lag: bool = False,
    augment: Literal["none", "north_south"] = "north_south",
    coarsen: list[int] | None = None,
    target_iou: float | None = None,
    **training: Unpack[Training],
) -> Path:
    """Train a network to tell the classes of cells; keep the weights that overlap best, and the last.

    Args:
        data: Prepared folder.
        run: Folder for checkpoints, logs, settings and figures. One that holds an unfinished run goes on.
        channels: Fields to read; by default TMQ, U850, V850 and PSL.
        target: Whose classes to learn: planted, labels, labeller or second_labeller; by default the first of
            these that the folder has.
        scales: What is taken off fields and what they are divided by: mean and `spread` of the training
            cases, or their least value and range (`minmax`), as DeepCAM does; or those of its stats.h5.
        network: cgnet, deeplab, tiramisu, unet, or an import path. On cells wider than 0.5 degrees unet is
            better than cgnet.
        padding: `zonal` goes on at the other side and over the poles; `published` as the network's authors
            have it.
        network_options: Further arguments of the network, by name.
        loss: cross_entropy, focal, jaccard, dice, an import path, or a sum such as cross_entropy+0.5*jaccard.
        weight_power: Power of the frequency that a class has in training, by which it counts in
            cross_entropy and focal.
        balanced: Learn in each step from as many cells of each class as the rarest has in the batch.
        optimizer: adam, adamw, lamb or an import path.
        optimizer_options: Its further arguments, by name.
        learning_rate: Of the optimiser.
        weight_decay: Of the optimiser.
        decay_epochs: Epochs in which the rate falls to nothing along half a cosine; 0: it stays.
        decay_at: Epochs, from 0, at each of which it is multiplied by decay_factor.
        decay_factor: See there.
        warmup_steps: Steps in which it rises to what it is to be.
        clip_norm: Largest norm of the gradient; 0 for any.
        clip_share: Largest step of a layer, as a share of the length of its weights, as LARC has it; 0 for
            any.
        gradient_lag: Step along the gradient of the step before.
        augment: Show globes mirrored at the equator too, with the winds that belong to them.
        coarsen: Factors, such as [1, 2, 4], one of which is drawn for each batch: so many cells along each
            axis become one, fields as their mean, classes as that which covers most, so that the network
            reads coarser grids too. One that is given twice is drawn twice as often.
        target_iou: Mean IoU of images in validation at which training stops; 0.82 is DeepCAM's.

    Returns:
        Path of the best checkpoint. Beside, logs/mlperf.log has the events of MLPerf's DeepCAM.
    """
    settings: dict[str, Any] = {k: value for k, value in locals().items() if k != "training"} | training
    learnt, judged = check_settings(settings)
    from dataclasses import replace
    from functools import partial

    from fieldwise.losses.classes import class_weights
    from fieldwise.samples.frames import list_frames
    from fieldwise.samples.loaders import SYMMETRIES, FrameSampler, make_patch_loader
    from fieldwise.samples.weather.coarsening import make_mixed_loader
    from fieldwise.tasks.classes import MONITOR, ClassTask, parse_class_losses
    from fieldwise.verbs.train import train_run, watched_by

    widest = max(case.spacing for case in learnt)
    if network == "cgnet" and widest > CGNET_DEGREES:
        print(
            f"cgnet tells classes on cells of {CGNET_CELLS * widest:.2g} degrees; of data wider than "
            f"{CGNET_DEGREES:g} degrees --network unet tells them better"
        )
    signature = describe_fields(learnt, channels or CHANNELS, str(settings["target"]), scales=scales)
    factors = coarsen or [1]
    spacings = {case.spacing * factor for case in learnt for factor in factors}
    signature = replace(signature, spacings=tuple(sorted(spacings)))
    frames = list_frames(learnt, signature)
    sampler = FrameSampler(len(frames), seed=training["seed"], symmetries=SYMMETRIES[augment])
    options: Any = {"batch_size": training["batch_size"], "vectors": signature.vectors()}
    loaders = (
        make_mixed_loader(frames, sampler, factors, **options),
        make_patch_loader(list_frames(judged, signature)),
    )
    path, arguments = describe_network(network, signature, padding, network_options or {})
    samples = {"train_samples": len(frames), "eval_samples": len(loaders[1])}
    with watched_by(*_watch(settings, samples)):
        return train_run(
            partial(
                ClassTask,
                network=path,
                network_options=arguments,
                losses=parse_class_losses(loss),
                class_weights=class_weights(signature.facts["frequencies"], weight_power).tolist(),
                balanced=balanced,
                optimizer=optimizer,
                optimizer_options=optimizer_options,
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                decay_epochs=decay_epochs,
                decay_at=decay_at,
                decay_factor=decay_factor,
                warmup_steps=warmup_steps,
                clip_norm=clip_norm,
                clip_share=clip_share,
                gradient_lag=gradient_lag,
            ),
            loaders,
            signature,
            run=run,
            settings={name: value for name, value in settings.items() if name not in training},
            monitor=MONITOR,
            picture=draw_classes,
            sources=[Path(data) / "provenance.json"],
            **training,
        )


def check_settings(settings: dict[str, Any]) -> tuple[list[Case], list[Case]]:
    """Refuse settings that nothing can be trained with; give the cases to learn from and to judge by.

    The target, where none is named, is set to the first that there is.

    >>> import inspect
    >>> settings = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    >>> check_settings(settings | {"target_iou": 1.5})
    Traceback (most recent call last):
    fieldwise.errors.InputError: --target_iou: is 1.5; give a share above 0, up to 1
    """
    require_at_least(0, **{name: settings[name] for name in ("decay_epochs", "warmup_steps", "clip_norm")})
    if settings["target_iou"] is not None and not 0 < settings["target_iou"] <= 1:
        raise InputError(f"--target_iou: is {settings['target_iou']:g}; give a share above 0, up to 1")
    if settings["scales"] != "spread" and settings["augment"] != "none":
        raise InputError(f"--scales {settings['scales']}: winds are no vectors then; give --augment none too")
    from fieldwise.recipes.extreme_weather.cases import RECIPE, is_judge, judges_of
    from fieldwise.samples.prepared import Prepared
    from fieldwise.samples.weather.coarsening import check_factors
    from fieldwise.tasks.classes import parse_class_losses
    from fieldwise.verbs.train import check_training

    check_training(settings)
    parse_class_losses(settings["loss"])
    prepared = Prepared(settings["data"], recipe=RECIPE)
    learnt, judged = prepared.cases("training"), prepared.cases("validation")
    check_factors(settings["coarsen"] or [], learnt)
    known = judges_of(learnt[0])
    settings["target"] = settings["target"] or (known[0] if known else "labels")
    for case in learnt + judged:
        check_channels(case, settings["channels"] or CHANNELS)
        if settings["target"] not in case.files or not is_judge(settings["target"]):
            raise InputError(
                f"--target: case {case} has no classes {settings['target']}; it has "
                f"{', '.join(known) or 'none'}"
            )
    return learnt, judged


def check_channels(case: Case, channels: Sequence[str]) -> None:
    """Refuse channels that a case does not have, all of them at once, and those that are no fields.

    >>> from fieldwise.samples.examples import make_prepared
    >>> import numpy as np
    >>> (case,) = make_prepared({"TMQ": np.zeros((1, 2, 2)), "labels": np.zeros((1, 2, 2))}).cases()
    >>> check_channels(case, ["TMQ", "U850", "labels"])
    Traceback (most recent call last):
    fieldwise.errors.InputError: --channels: case region has no U850, labels; it has TMQ
    """
    from fieldwise.recipes.extreme_weather.cases import is_judge

    known = [name for name in case.files if not is_judge(name)]
    missing = [name for name in channels if name not in known]
    if missing or len(set(channels)) < len(channels):
        odd = missing or [name for name in channels if list(channels).count(name) > 1]
        what = "has no" if missing else "is read twice for"
        raise InputError(f"--channels: case {case} {what} {', '.join(odd)}; it has {', '.join(known)}")


def describe_fields(
    cases: Sequence[Case], channels: Sequence[str], target: str, *, scales: str = "spread"
) -> Signature:
    """Describe what a network reads and learns, with scales and the frequencies of classes in training.

    Components of a wind that stand side by side are a vector, with one scale; not where scales are minmax.

    >>> from fieldwise.samples.examples import make_prepared
    >>> import numpy as np
    >>> fields = {"TMQ": np.array([[[0.0, 4.0]]]), "labels": np.array([[[0, 2]]])}
    >>> cases = make_prepared(fields, split="training", classes=["background", "cyclone", "river"]).cases()
    >>> signature = describe_fields(cases, ["TMQ"], "labels", scales="minmax")
    >>> signature.inputs[0].scale, signature.facts["frequencies"]
    (Scale(mean=0.0, spread=4.0), [0.5, 0.0, 0.5])
    """
    import itertools
    from dataclasses import replace

    import numpy as np

    from fieldwise.recipes.extreme_weather.cases import RECIPE, WINDS
    from fieldwise.samples.frames import fit_signature
    from fieldwise.samples.scales import Scale
    from fieldwise.samples.signatures import AS_IT_IS, group_fields

    adjacent = [pair for pair in itertools.pairwise(channels) if pair in WINDS and scales == "spread"]
    units = {name: each.units for name, each in cases[0].variables.items()}
    grouped = [
        replace(each, name=" ".join(each.fields))
        for each in group_fields(channels, units=units, pairs=adjacent)
    ]
    classes = cases[0].facts["classes"]
    counts = np.zeros(len(classes), dtype=int)
    for case in cases:
        for frame in range(case.frames):
            told = case.stack([target], frame=frame).astype(int).ravel()
            counts += np.bincount(told, minlength=len(classes))
    signature = fit_signature(
        RECIPE,
        cases,
        inputs=grouped,
        outputs=[target],
        scales={target: AS_IT_IS},
        classes=list(classes),
        target=target,
        frequencies=(counts / counts.sum()).tolist(),
    )
    if scales == "spread":
        return signature
    ranges = {each.name: each.range or (0.0, 1.0) for each in signature.inputs}
    ranges |= {} if scales == "minmax" else read_ranges(scales, list(ranges))
    spans = {name: Scale(low, (high - low) or 1.0) for name, (low, high) in ranges.items()}
    return replace(
        signature, inputs=tuple(replace(each, scale=spans[each.name]) for each in signature.inputs)
    )


def read_ranges(file: str | Path, channels: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Read the least and greatest values of channels from DeepCAM's stats.h5.

    >>> read_ranges("stats.h5", ["IVT"])
    Traceback (most recent call last):
    fieldwise.errors.InputError: stats.h5: knows no IVT; it is of DeepCAM's channels, TMQ, U850, ...
    """
    from fieldwise.physics.extreme_weather.channels import CHANNELS as KNOWN
    from fieldwise.samples.weather.statistics import read_statistics

    unknown = [name for name in channels if name not in KNOWN]
    if unknown:
        raise InputError(
            f"{file}: knows no {', '.join(unknown)}; it is of DeepCAM's channels, {', '.join(KNOWN)}"
        )
    statistics = read_statistics(file)
    ends = zip(KNOWN, statistics.least.tolist(), statistics.greatest.tolist(), strict=True)
    return {name: (low, high) for name, low, high in ends if name in channels}


def describe_network(
    network: str, signature: Signature, padding: str, options: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Give the import path of a network that fits a signature, and its arguments.

    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> signature = Signature("own", (Variable("TMQ"),), (), facts={"classes": ["none", "river"]})
    >>> describe_network("unet", signature, "zonal", {"blocks": 3})
    ('fieldwise.networks.unet.UNet', {'in_channels': 1, 'out_channels': 2, 'padding': 'zonal', 'blocks': 3})
    """
    import inspect

    from fieldwise.networks.imports import import_by_path

    path = NETWORKS.get(network, network)
    if "." not in path:
        raise InputError(f"--network: {network!r} is unknown; give {', '.join(NETWORKS)} or an import path")
    kind: Any = import_by_path(path)
    sizes = {"in_channels": len(signature.fields("inputs")), "out_channels": len(signature.facts["classes"])}
    padded = {"padding": padding} if "padding" in inspect.signature(kind).parameters else {}
    return path, {**sizes, **padded, **options}


def draw_classes(task: Any, batch: Mapping[str, Any]) -> Any:
    """Draw samples of a batch: the first channel, predicted and true classes, and where they differ.

    >>> from types import SimpleNamespace
    >>> import torch
    >>> scores, truth = torch.zeros(1, 2, 4, 8), torch.ones(1, 1, 4, 8)
    >>> draw_classes(SimpleNamespace(draw=lambda batch: scores), {"inputs": truth, "targets": truth}).shape[2]
    3
    """
    from types import SimpleNamespace

    from fieldwise.runs.pictures import draw_samples

    teller = SimpleNamespace(draw=lambda part: task.draw(part).argmax(1, keepdim=True).float())
    return draw_samples(teller, batch)


def _watch(settings: Mapping[str, Any], samples: Mapping[str, int]) -> list[Any]:
    """Give what tells of a training in MLPerf's words, and what ends it once the overlap is large enough."""
    from fieldwise.runs.checkpoints import Target
    from fieldwise.runs.mlperf import MLPerfLog

    log = MLPerfLog(
        settings["run"],
        benchmark="deepcam",
        facts={
            **samples,
            "seed": settings["seed"],
            "opt_learning_rate_warmup_steps": settings["warmup_steps"],
            "opt_learning_rate_decay_boundary_epochs": settings["decay_at"] or [],
            "opt_learning_rate_decay_factor": settings["decay_factor"],
        },
        batch_size=settings["batch_size"],
        metric="val_iou",
        target=settings["target_iou"],
        accuracy=lambda task, batch: float(task.measure_overlap(batch).mean()),
    )
    target = settings["target_iou"]
    return [log] if target is None else [Target("val_iou", target, option="target_iou"), log]
