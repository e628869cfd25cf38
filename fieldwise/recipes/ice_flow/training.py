"""Frames to a trained emulator: the verb train."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from fieldwise.errors import InputError, require_at_least
from fieldwise.recipes.ice_flow.mapping import FieldMap, read_map, write_map
from fieldwise.recipes.ice_flow.prepared import PreparedCase, choose_cases

OF_THE_NETWORK = ("layers", "filters", "blocks", "kernel_size", "dilations", "activation", "dropout")
OF_THE_TRAINER = ("max_epochs", "patience", "accelerator", "devices", "precision", "progress", "tracker")
AT_LEAST_ONE = ("max_epochs", "batch_size", "patience", "patches_per_tile")
NOT_NEGATIVE = ("seed", "decay_epochs", "clip_norm", "regularization")


def train(
    *,
    data: Path = Path("data/ice_flow"),
    run: Path = Path("model/ice_flow"),
    maptype: str = "g15",
    scales: Literal["preset", "data"] = "preset",
    network: str = "equivariant",
    scaling: Literal["physics", "plain"] = "physics",
    layers: int | None = None,
    filters: int | None = None,
    blocks: int | None = None,
    kernel_size: int | None = None,
    dilations: list[int] | None = None,
    activation: str | None = None,
    dropout: float | None = None,
    network_options: dict[str, Any] | None = None,
    loss: str = "mae",
    regularization: float = 0.0,
    learning_rate: float = 2e-3,
    decay_epochs: int = 0,
    clip_norm: float = 0.5,
    max_epochs: int = 100,
    batch_size: int = 64,
    patch_size: int = 32,
    patches_per_tile: int = 5,
    thrice: float = 1.0,
    data_augmentation: bool = True,
    include_test_in_train: bool = False,
    patience: int | None = None,
    seed: int = 123,
    resume: bool = True,
    accelerator: str = "auto",
    devices: int | str = "auto",
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed"] = "32-true",
    progress: bool = True,
    tracker: Literal["none", "tensorboard", "comet"] = "tensorboard",
) -> Path:
    """Train an emulator of ice flow; keep the weights that are best on the validation cases, and the last.

    Args:
        data: Prepared folder.
        run: Folder for checkpoints, logs, settings and figures. One that holds an unfinished run goes on.
        maptype: f2, f10 to f17, smb, or a folder with fieldin.dat and fieldout.dat. g11, g13 and g15 are f11,
            f13 and f15 with the slopes that drive the ice, without those of rock beside it, and with the edge
            of a cell.
        scales: `preset` of the map type or its files, or suggested from the `data`: 1, 2 or 5 times a
            power of ten.
        network: cnn (the original's), unet, equivariant (turns with its inputs), or an import path.
        scaling: `physics` shows the network ice without units and takes its answer for a stress, which two
            exact symmetries of ice flow allow; `plain` maps scaled inputs to scaled outputs.
        layers: Convolutions of cnn and equivariant; 16 by default.
        filters: Features of each; 32 by default.
        blocks: Levels of unet; 4 by default.
        kernel_size: Edge of kernels; 3 by default.
        dilations: Cells from tap to tap of the kernels of cnn and equivariant, layer by layer: how far they
            see; 1 by default.
        activation: leaky_relu, the default, or relu.
        dropout: Share of features dropped while training; 0 by default.
        network_options: Further arguments of the network, by name.
        loss: mae, mse, energy (the physics alone, no velocities needed), or a sum such as mae+0.1*energy.
        regularization: Weight of the squares of all kernels in the loss (L2).
        learning_rate: Of Adam.
        decay_epochs: Epochs in which it falls to nothing along half a cosine; 0: it stays.
        clip_norm: Largest norm of the gradient; 0 for any.
        max_epochs: Passes, of so many patches as are drawn a frame.
        batch_size: Patches a step.
        patch_size: Edge of patches in cells; a negative one stands for the largest power of two that fits. An
            eighth of it is not judged beside edges that cut through a frame.
        patches_per_tile: Patches drawn for each time that one fits into a frame.
        thrice: Metres of ice that the centre of a patch must exceed.
        data_augmentation: Show patches turned and mirrored in all eight ways, with their vectors.
        include_test_in_train: Learn from the test cases too, for an emulator to be released; it then cannot
            be judged on them.
        patience: Epochs without improvement on the validation cases after which training stops.
        seed: Of weights, patches and order.
        resume: Go on from the last checkpoint in the run folder, if there is one.
        accelerator: cpu, gpu or auto.
        devices: How many of them.
        precision: Of the numbers.
        progress: Whether to show how far it is.
        tracker: What is told of the run besides metrics.csv: nothing, TensorBoard, or Comet too. Comet is
            online where COMET_API_KEY is in the environment; otherwise an archive is kept in the run folder.

    Returns:
        Path of the best checkpoint.
    """
    return fit_emulator({key: value for key, value in locals().items() if key in train.__annotations__})


def fit_emulator(settings: Mapping[str, Any], *, callbacks: Sequence[Any] = ()) -> Path:
    """Train with the settings of :func:`train`, and with further callbacks of Lightning's."""
    from lightning.pytorch import seed_everything

    from fieldwise.recipes.ice_flow.emulator import check_resumable
    from fieldwise.recipes.ice_flow.networks import describe_network
    from fieldwise.recipes.ice_flow.samples import describe, fit_map
    from fieldwise.runs import fit, make_trainer, open_run
    from fieldwise.tasks import FieldTask

    losses, fields, training, validation = check_settings(settings)
    if all(case.split == "train" for case in validation):
        tqdm.write("no validation cases: weights are selected on the training cases themselves")
    fields = fit_map(fields, training) if settings["scales"] == "data" else fields
    description = describe(fields, training) | {"maptype": str(settings["maptype"])}
    description["learnt_from"] = [str(case) for case in training]
    given = {name: settings[name] for name in OF_THE_NETWORK} | (settings["network_options"] or {})
    options = {name: value for name, value in given.items() if value is not None}
    loaders = _make_loaders(training, validation, fields, settings, with_physics=_needs_physics(losses))
    checkpoint = open_run(settings["run"], settings, resume=settings["resume"])
    if checkpoint:
        check_resumable(checkpoint, description)
    seed_everything(settings["seed"], verbose=False)
    path, arguments = describe_network(settings["network"], fields, options, scaling=settings["scaling"])
    task = FieldTask(
        network=path,
        network_options=arguments,
        losses=losses,
        l2=settings["regularization"],
        signature=description,
        **{name: settings[name] for name in ("learning_rate", "decay_epochs", "clip_norm")},
    )
    trainer = make_trainer(
        settings["run"],
        monitor="val_loss",
        callbacks=callbacks,
        **{name: settings[name] for name in OF_THE_TRAINER},
    )
    started = time.perf_counter()
    fit(trainer, task, *loaders, ckpt_path=checkpoint, weights_only=True)
    return _finish(trainer, settings, fields, seconds=time.perf_counter() - started)


def check_settings(
    settings: Mapping[str, Any],
) -> tuple[dict[str, float], FieldMap, list[PreparedCase], list[PreparedCase]]:
    """Refuse settings that nothing can be trained with, before anything is written.

    Returns
    -------
    tuple
        Losses, mapping, training cases and validation cases, as the settings name them.
    """
    from fieldwise.recipes.ice_flow.networks import check_scaling
    from fieldwise.tasks import choose_device

    require_at_least(1, **{name: settings[name] for name in AT_LEAST_ONE})
    require_at_least(0, **{name: settings[name] for name in NOT_NEGATIVE})
    require_at_least(1e-9, learning_rate=settings["learning_rate"])
    choose_device(settings["accelerator"])
    losses, fields = parse_losses(settings["loss"]), read_map(settings["maptype"])
    if settings["scaling"] == "physics":
        check_scaling(fields)
    training = choose_cases(
        settings["data"], "train", *(["test"] if settings["include_test_in_train"] else [])
    )
    validation = choose_cases(settings["data"], "valid", required=False) or training
    _check_variables([*training, *validation], fields, losses)
    return losses, fields, training, validation


def _make_loaders(
    training: list[PreparedCase],
    validation: list[PreparedCase],
    fields: FieldMap,
    settings: Mapping[str, Any],
    *,
    with_physics: bool,
) -> list[Any]:
    """Serve random patches to learn from, and whole frames to judge on."""
    from fieldwise.recipes.ice_flow.samples import choose_patch, find_centres, find_vectors, list_frames
    from fieldwise.samples.loaders import SYMMETRIES, PatchSampler, make_patch_loader

    cells = choose_patch(settings["patch_size"], training)
    centres = find_centres(training, thicker_than_m=settings["thrice"])
    frames = list_frames(training, fields, with_physics=with_physics, margin=cells // 8)
    iced = [number for number, mask in enumerate(centres) if mask.any()]  # the others have nothing to show
    sampler = PatchSampler(
        [centres[number] for number in iced],
        cells=cells,
        patches_per_tile=settings["patches_per_tile"],
        seed=settings["seed"],
        symmetries=SYMMETRIES["all" if settings["data_augmentation"] else "none"],
    )
    return [
        make_patch_loader(
            [frames[number] for number in iced],
            batch_size=settings["batch_size"],
            cells=cells,
            sampler=sampler,
            vectors=find_vectors(fields),
        ),
        make_patch_loader(list_frames(validation, fields, with_physics=with_physics)),
    ]


def _finish(trainer: Any, settings: Mapping[str, Any], fields: FieldMap, *, seconds: float) -> Path:
    """Leave the .dat files, the provenance and the learning curve beside the weights."""
    from fieldwise.figures import draw_loss_curves, try_to_draw
    from fieldwise.runs import close_trackers, read_metrics, record_provenance

    run = Path(settings["run"])
    best = run / "checkpoints" / "best.ckpt"
    if settings["scaling"] == "plain":
        _export(best, run, fields)
    else:
        write_map(fields, run)
    record_provenance(
        run / "provenance.json",
        seed=settings["seed"],
        inputs=[Path(settings["data"]) / "provenance.json", best],
        training_seconds=round(seconds, 1),
    )
    curves = try_to_draw(run / "figures" / "loss_curves", lambda: draw_loss_curves(read_metrics(run)))
    close_trackers(trainer, settings, curves)
    return best


def _export(best: Path, run: Path, fields: FieldMap) -> None:
    """Write model.h5, fieldin.dat and fieldout.dat for other models, where the network has layers for it."""
    from fieldwise.interop.emulators import save_emulator
    from fieldwise.tasks import FieldTask, load_checkpoint

    network = load_checkpoint(best, FieldTask).network
    try:
        save_emulator(network, run, inputs=fields.inputs, outputs=fields.outputs)
    except InputError as error:
        write_map(fields, run)
        tqdm.write(f"no model.h5 is written: {error}")


def parse_losses(text: str) -> dict[str, float]:
    """Read a sum of losses: names, each with a weight before it or not.

    >>> parse_losses("mae + 0.1*energy")
    {'mae': 1.0, 'fieldwise.recipes.ice_flow.energy.energy_loss': 0.1}
    >>> parse_losses("huber")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --loss: 'huber' is no loss; give mae, mse, energy, an import path, ...
    """
    from fieldwise.recipes.ice_flow.energy import LOSS

    losses: dict[str, float] = {}
    for term in text.split("+"):
        weight, _, name = term.strip().rpartition("*")
        name = LOSS if name.strip() == "energy" else name.strip()
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            value = -1.0
        if value <= 0 or not (name in ("mae", "mse") or "." in name):
            raise InputError(
                f"--loss: {term.strip()!r} is no loss; give mae, mse, energy, an import path, or a sum "
                "such as mae+0.1*energy"
            )
        losses[name] = losses.get(name, 0.0) + value
    return losses


def _needs_physics(losses: dict[str, float]) -> bool:
    return any(name not in ("mae", "mse") for name in losses)


def _check_variables(cases: list[PreparedCase], fields: FieldMap, losses: dict[str, float]) -> None:
    """Refuse cases that lack what the mapping or the loss reads."""
    from fieldwise.recipes.ice_flow.energy import LOSS, check_depths
    from fieldwise.recipes.ice_flow.samples import PHYSICS

    if LOSS in losses:
        check_depths(fields.outputs)
    wanted = [*fields.inputs, *fields.outputs, *(PHYSICS if _needs_physics(losses) else ())]
    for case in cases:
        case.check_has(dict.fromkeys(wanted), why="the mapping")
