"""Frames to a trained emulator: the verb train."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from fieldwise.errors import InputError, require_at_least
from fieldwise.recipes.ice_flow.signatures import RECIPE, SIDES, read_signature, scales_of, write_map
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.signatures import Signature


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
    from lightning.pytorch import seed_everything

    from fieldwise.recipes.ice_flow.networks import describe_network
    from fieldwise.recipes.ice_flow.samples import check_directions, fit_signature
    from fieldwise.runs import fit, make_trainer, open_run
    from fieldwise.tasks import FieldTask, choose_device, load_checkpoint

    settings = {key: value for key, value in locals().items() if key in train.__annotations__}
    require_at_least(1, max_epochs=max_epochs, batch_size=batch_size, patience=patience)
    require_at_least(1, patches_per_tile=patches_per_tile)
    require_at_least(0, seed=seed, decay_epochs=decay_epochs, clip_norm=clip_norm)
    require_at_least(0, regularization=regularization)
    require_at_least(1e-9, learning_rate=learning_rate)
    choose_device(accelerator)
    losses, signature = parse_losses(loss), read_signature(maptype)
    describe_network(network, signature, {}, scaling=scaling)  # what it refuses is told before data are read
    if data_augmentation or network == "equivariant":
        check_directions(signature)
    prepared = Prepared(data, recipe=RECIPE)
    training = prepared.cases("training", *(["test"] if include_test_in_train else []))
    validation = prepared.cases("validation", required=False) or training
    _check_variables([*training, *validation], signature, losses)
    signature = fit_signature(signature, training, rescale=scales == "data")
    signature = signature.with_facts(learnt_from=[str(case) for case in training])
    given: dict[str, Any] = {"layers": layers, "filters": filters, "blocks": blocks}
    given |= {"kernel_size": kernel_size, "dilations": dilations}
    given |= {"activation": activation, "dropout": dropout}
    given |= network_options or {}
    options = {name: value for name, value in given.items() if value is not None}
    loaders = _make_loaders(training, validation, signature, settings, with_physics=_needs_physics(losses))
    checkpoint = open_run(run, settings, resume=resume)
    if checkpoint:
        before = load_checkpoint(checkpoint, FieldTask).description
        Signature.from_dict(before, checkpoint).check_same(signature, checkpoint)
    seed_everything(seed, verbose=False)
    path, arguments = describe_network(network, signature, options, scaling=scaling)
    task = FieldTask(
        network=path,
        network_options=arguments,
        losses=losses,
        learning_rate=learning_rate,
        decay_epochs=decay_epochs,
        clip_norm=clip_norm,
        l2=regularization,
        description=signature.to_dict(),
    )
    trainer = make_trainer(
        run,
        max_epochs=max_epochs,
        monitor="val_loss",
        patience=patience,
        accelerator=accelerator,
        devices=devices,
        precision=precision,
        progress=progress,
        tracker=tracker,
    )
    started = time.perf_counter()
    fit(trainer, task, *loaders, ckpt_path=checkpoint, weights_only=True)
    return _finish(trainer, settings, signature, seconds=time.perf_counter() - started)


def _make_loaders(
    training: list[Case],
    validation: list[Case],
    signature: Signature,
    settings: dict[str, Any],
    *,
    with_physics: bool,
) -> list[Any]:
    """Serve random patches to learn from, and whole frames to judge on."""
    from fieldwise.recipes.ice_flow.samples import choose_patch, find_centres, list_frames
    from fieldwise.samples.loaders import SYMMETRIES, PatchSampler, make_patch_loader

    cells = choose_patch(settings["patch_size"], training)
    centres = find_centres(training, thicker_than_m=settings["thrice"])
    frames = list_frames(training, signature, with_physics=with_physics, margin=cells // 8)
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
            vectors=signature.vectors(),
        ),
        make_patch_loader(list_frames(validation, signature, with_physics=with_physics)),
    ]


def _finish(trainer: Any, settings: dict[str, Any], signature: Signature, *, seconds: float) -> Path:
    """Leave the .dat files, the provenance and the learning curve beside the weights."""
    from fieldwise.figures import draw_loss_curves, save_figure
    from fieldwise.runs import close_trackers, read_metrics, record_provenance

    run = Path(settings["run"])
    best = run / "checkpoints" / "best.ckpt"
    if settings["scaling"] == "plain":
        _export(best, run, signature)
    else:
        write_map(signature, run)
    record_provenance(
        run / "provenance.json",
        seed=settings["seed"],
        inputs=[Path(settings["data"]) / "provenance.json", best],
        training_seconds=round(seconds, 1),
    )
    _, curves = save_figure(draw_loss_curves(read_metrics(run)), run / "figures" / "loss_curves")
    close_trackers(trainer, settings, [curves])
    return best


def _export(best: Path, run: Path, signature: Signature) -> None:
    """Write model.h5, fieldin.dat and fieldout.dat for other models, where the network has layers for it."""
    from fieldwise.interop.emulators import save_emulator
    from fieldwise.tasks import FieldTask, load_checkpoint

    network = load_checkpoint(best, FieldTask).network
    try:
        sides = {side: scales_of(signature, side) for side in SIDES}
        save_emulator(network, run, **sides)
    except InputError as error:
        write_map(signature, run)
        tqdm.write(f"no model.h5 is written: {error}")


def parse_losses(text: str) -> dict[str, float]:
    """Read a sum of losses: names, each with a weight before it or not.

    >>> parse_losses("mae + 0.1*energy")
    {'mae': 1.0, 'fieldwise.recipes.ice_flow.physics.energy_loss': 0.1}
    >>> parse_losses("huber")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --loss: 'huber' is no loss; give mae, mse, energy, an import path, ...
    """
    from fieldwise.recipes.ice_flow.physics import LOSS

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


def _check_variables(cases: list[Case], signature: Signature, losses: dict[str, float]) -> None:
    """Refuse cases that lack what the mapping or the loss reads."""
    from fieldwise.recipes.ice_flow.physics import LOSS, check_depths
    from fieldwise.recipes.ice_flow.samples import PHYSICS

    if LOSS in losses:
        check_depths(signature.fields("outputs"))
    wanted = [*signature.fields("inputs"), *signature.fields("outputs")]
    wanted += PHYSICS if _needs_physics(losses) else ()
    for case in cases:
        case.check_has(dict.fromkeys(wanted), why="the mapping")
    if cases and all(case.split == "training" for case in cases):
        tqdm.write("no validation cases: weights are selected on the training cases themselves")
