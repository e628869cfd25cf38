"""Frames to a trained emulator: the verb train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Unpack

from fieldwise.errors import InputError, require_at_least
from fieldwise.verbs.options import TRAINING, Training, with_options

if TYPE_CHECKING:
    from fieldwise.samples.cases import Case
    from fieldwise.samples.signatures import Signature

LOSS = "fieldwise.recipes.ice_flow.physics.energy_loss"
OF_THE_NETWORK = ("layers", "filters", "blocks", "kernel_size", "dilations", "activation", "dropout")


# velocity is the cube of what a network says: no number of less digits by default
@with_options(Training, TRAINING, seed=123, precision="32-true")
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
    patch_size: int = 32,
    patches_per_tile: int = 5,
    thrice: float = 1.0,
    data_augmentation: bool = True,
    include_test_in_train: bool = False,
    **training: Unpack[Training],
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
        patch_size: Edge of patches in cells; a negative one stands for the largest power of two that fits. An
            eighth of it is not judged beside edges that cut through a frame.
        patches_per_tile: Patches drawn for each time that one fits into a frame.
        thrice: Metres of ice that the centre of a patch must exceed.
        data_augmentation: Show patches turned and mirrored in all eight ways, with their vectors.
        include_test_in_train: Learn from the test cases too, for an emulator to be released; it then cannot
            be judged on them.

    Returns:
        Path of the best checkpoint.
    """
    settings = {name: value for name, value in locals().items() if name != "training"} | training
    plan = check_settings(settings)
    from functools import partial

    from fieldwise.recipes.ice_flow.networks import describe_network
    from fieldwise.recipes.ice_flow.samples import find_ice
    from fieldwise.samples.frames import fit_ranges, round_scales
    from fieldwise.tasks import FieldTask
    from fieldwise.verbs.train import train_run

    if not any(case.split == "validation" for case in plan.validation):
        print("no validation cases: weights are selected on the training cases themselves")
    signature = fit_ranges(plan.signature, plan.training, where=find_ice)
    signature = round_scales(signature) if scales == "data" else signature
    signature = signature.with_facts(learnt_from=[str(case) for case in plan.training])
    given = {name: settings[name] for name in OF_THE_NETWORK} | (network_options or {})
    options = {name: value for name, value in given.items() if value is not None}
    path, arguments = describe_network(network, signature, options, scaling=scaling)
    best = train_run(
        partial(
            FieldTask,
            network=path,
            network_options=arguments,
            losses=plan.losses,
            l2=regularization,
            learning_rate=learning_rate,
            decay_epochs=decay_epochs,
            clip_norm=clip_norm,
        ),
        _make_loaders(plan, signature, settings),
        signature,
        run=run,
        settings={name: value for name, value in settings.items() if name not in training},
        sources=[Path(data) / "provenance.json"],
        **training,
    )
    _export(best, Path(run), signature, plain=scaling == "plain")
    return best


class Plan(NamedTuple):
    """What settings come to: losses with their weights, what is read and given, and the cases.

    A loss that looks at more than predicted and true values reads something besides.
    """

    losses: dict[str, float]
    signature: Signature
    training: list[Case]
    validation: list[Case]
    read_besides: dict[str, tuple[str, ...]]


def check_settings(settings: Mapping[str, Any]) -> Plan:
    """Refuse settings that nothing can be trained with, before anything is written.

    >>> import inspect
    >>> settings = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    >>> check_settings(settings | {"clip_norm": -1.0})
    Traceback (most recent call last):
    fieldwise.errors.InputError: --clip_norm: is -1; give at least 0
    """
    for name in ("decay_epochs", "clip_norm", "regularization"):
        require_at_least(0, **{name: settings[name]})
    require_at_least(1, patches_per_tile=settings["patches_per_tile"])
    from fieldwise.recipes.ice_flow.networks import describe_network
    from fieldwise.recipes.ice_flow.physics import PHYSICS, check_depths
    from fieldwise.recipes.ice_flow.signatures import RECIPE, check_directions, read_signature
    from fieldwise.samples.prepared import Prepared
    from fieldwise.tasks.field import parse_losses
    from fieldwise.verbs.train import check_training

    losses = parse_losses(settings["loss"], energy=LOSS)
    check_training(settings)
    signature = read_signature(settings["maptype"])
    describe_network(settings["network"], signature, {}, scaling=settings["scaling"])
    if settings["data_augmentation"] or settings["network"] == "equivariant":
        check_directions(signature)
    if LOSS in losses:
        check_depths(signature.fields("outputs"))
    prepared = Prepared(settings["data"], recipe=RECIPE)
    training = prepared.cases("training", *(["test"] if settings["include_test_in_train"] else []))
    validation = prepared.cases("validation", required=False) or training
    besides: dict[str, tuple[str, ...]] = {} if losses.keys() <= {"mae", "mse"} else {"physics": PHYSICS}
    wanted = [*signature.fields("inputs"), *signature.fields("outputs"), *besides.get("physics", ())]
    for case in [*training, *validation]:
        case.check_has(dict.fromkeys(wanted), why="the mapping")
    return Plan(losses, signature, training, validation, besides)


def _make_loaders(plan: Plan, signature: Signature, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Serve random patches to learn from, and whole frames to judge on."""
    from fieldwise.recipes.ice_flow.samples import find_centres, find_ice
    from fieldwise.samples.frames import choose_patch, list_frames
    from fieldwise.samples.loaders import SYMMETRIES, PatchSampler, make_patch_loader

    cells = choose_patch(settings["patch_size"], plan.training)
    centres = find_centres(plan.training, thicker_than_m=settings["thrice"])
    frames = list_frames(
        plan.training, signature, where=find_ice, margin=cells // 8, besides=plan.read_besides
    )
    iced = [number for number, mask in enumerate(centres) if mask.any()]  # the others have nothing to show
    sampler = PatchSampler(
        [centres[number] for number in iced],
        cells=cells,
        patches_per_tile=settings["patches_per_tile"],
        seed=settings["seed"],
        symmetries=SYMMETRIES["all" if settings["data_augmentation"] else "none"],
    )
    patches = make_patch_loader(
        [frames[number] for number in iced],
        batch_size=settings["batch_size"],
        cells=cells,
        sampler=sampler,
        vectors=signature.vectors(),
    )
    judged = list_frames(plan.validation, signature, where=find_ice, besides=plan.read_besides)
    return patches, make_patch_loader(judged)


def _export(best: Path, run: Path, signature: Signature, *, plain: bool) -> None:
    """Leave the .dat files and, where the network has layers for it, model.h5 for other models."""
    from fieldwise.interop.emulators import save_emulator
    from fieldwise.recipes.ice_flow.signatures import SIDES, scales_of, write_map
    from fieldwise.tasks import FieldTask, load_checkpoint

    write_map(signature, run)
    if plain:
        try:
            sides = {side: scales_of(signature, side) for side in SIDES}
            save_emulator(load_checkpoint(best, FieldTask).network, run, **sides)
        except InputError as error:
            print(f"no model.h5 is written: {error}")
