"""Tiles to a trained generator: the verb train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fieldwise.errors import InputError, require_at_least
from fieldwise.samples.datasets import Dataset

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
    "adversarial_from_epoch",
)
AT_LEAST_ONE = ("max_epochs", "batch_size", "patience", "num_residual_blocks")
NOT_NEGATIVE = ("learning_rate", "seed", *OF_THE_TASK[3:])
OF_THE_TRAINER = ("max_epochs", "patience", "accelerator", "devices", "precision", "progress", "tracker")


def train(
    *,
    data: Path = Path("data"),
    run: Path = Path("model"),
    max_epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 1.6e-4,
    weight_decay: float = 0.0,
    decay_epochs: int = 0,
    num_residual_blocks: int = 12,
    residual_scaling: float = 0.1,
    content_weight: float = 1e-2,
    adversarial_weight: float = 2e-2,
    topographic_weight: float = 2e-3,
    structural_weight: float = 5.25,
    adversarial_from_epoch: int = 0,
    departure: bool = True,
    augment: Literal["none", "north_south", "all"] = "none",
    inputs: list[str] | str | None = None,
    patience: int | None = None,
    seed: int = 42,
    resume: bool = True,
    accelerator: str = "auto",
    devices: int | str = "auto",
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed"] = "32-true",
    progress: bool = True,
    tracker: Literal["none", "tensorboard", "comet"] = "tensorboard",
) -> Path:
    """Train the generator on tiles; keep the weights that are best on the validation tiles, and the last.

    Args:
        data: Prepared folder.
        run: Folder for checkpoints, logs, settings and figures. One that holds an unfinished run goes on.
        max_epochs: Passes over the training tiles.
        batch_size: Tiles a step.
        learning_rate: Of Adam.
        weight_decay: Of Adam, decoupled from the gradient.
        decay_epochs: Epochs in which the learning rate falls to nothing along half a cosine; 0: it stays.
        num_residual_blocks: Residual-in-residual dense blocks of the generator.
        residual_scaling: Factor on each residual.
        content_weight: Weight of the mean absolute error in metres.
        adversarial_weight: Weight of the relativistic adversarial loss; 0 trains without a discriminator.
        topographic_weight: Weight of the departure from the low-res bed in the mean.
        structural_weight: Weight of the structural dissimilarity.
        adversarial_from_epoch: Epoch, counted from 0, from which the discriminator takes part.
        departure: Predict the departure from the cubic low-res bed, from detrended and scaled inputs;
            `false` predicts the bed itself from raw values, as the original does.
        augment: Show tiles mirrored north to south at random, or turned in all eight ways.
            Where ice flows one way, turning in every way makes learning longer, mirroring does not.
        inputs: Names of the inputs to learn from; by default all, or, of raw values, the published ones.
        patience: Epochs without improvement after which training stops.
        seed: Of weights and order.
        resume: Go on from the last checkpoint in the run folder, if there is one.
        accelerator: cpu, gpu or auto.
        devices: How many of them.
        precision: Of the numbers; bf16-mixed is faster where the device has it.
        progress: Whether to show how far it is.
        tracker: Who is told of the run, besides metrics.csv: nobody, TensorBoard, or Comet too; the latter
            online where COMET_API_KEY is in the environment, otherwise as an archive in the run folder.

    Returns:
        Path of the best checkpoint.
    """
    return fit_generator({key: value for key, value in locals().items() if key in train.__annotations__})


def fit_generator(settings: Mapping[str, Any], *, callbacks: Sequence[Any] = ()) -> Path:
    """Train with the settings of :func:`train`, and with further callbacks of Lightning's."""
    from lightning.pytorch import seed_everything

    from fieldwise.recipes.bed_topography.networks import check_resumable
    from fieldwise.recipes.bed_topography.pictures import draw_tiles
    from fieldwise.recipes.bed_topography.samples import VECTORS, choose_inputs, read_samples
    from fieldwise.runs import fit, make_trainer, open_run
    from fieldwise.runs.loggers import RecordRun
    from fieldwise.samples.loaders import SYMMETRIES, make_loader
    from fieldwise.tasks import AdversarialTask

    run, departure, seed = Path(settings["run"]), settings["departure"], settings["seed"]
    dataset = Dataset(settings["data"])
    check_settings(settings, dataset)
    names = choose_inputs(dataset, settings["inputs"], departure=departure)
    training, description = read_samples(dataset, "training", names, departure=departure)
    validation, _ = read_samples(dataset, "validation", names, departure=departure, like=description)
    checkpoint = open_run(run, settings, resume=settings["resume"])
    if checkpoint:
        check_resumable(checkpoint, description)
    seed_everything(seed, verbose=False)
    task = AdversarialTask(
        inputs=[
            {"name": name, "channels": entry["channels"], "spacing_m": entry["spacing_m"]}
            for name, entry in description["inputs"].items()
        ],
        lowres_spacing_m=dataset.lowres_spacing_m,
        initial_weights=1.0 if departure else 0.1,
        tile_size=dataset.description["tiles"]["cells"],
        departure_scale_m=description["departure_scale_m"],
        shrink=departure,
        description=description,
        **{name: settings[name] for name in OF_THE_TASK},
    )
    trainer = make_trainer(
        run,
        monitor="val_rmse_m",
        callbacks=[RecordRun(settings, network="generator", picture=draw_tiles), *callbacks],
        **{name: settings[name] for name in OF_THE_TRAINER},
    )
    fit(
        trainer,
        task,
        make_loader(
            training,
            batch_size=settings["batch_size"],
            shuffle_seed=seed,
            symmetries=SYMMETRIES[settings["augment"]],
            vectors=list(VECTORS),
        ),
        make_loader(validation, batch_size=settings["batch_size"]),
        ckpt_path=checkpoint,
        weights_only=True,
    )
    return _finish(trainer, settings, tiles=len(training["bed"]))


def check_settings(settings: Mapping[str, Any], dataset: Dataset) -> None:
    """Refuse settings that nothing can be trained with, before anything is written.

    >>> import tempfile
    >>> from fieldwise.samples.datasets import write_yaml
    >>> home = Path(tempfile.mkdtemp())
    >>> facts = {"crs": "EPSG:3413", "region": [0, 0, 4000, 4000], "spacing_m": 250, "lowres_spacing_m": 1000}
    >>> dataset = Dataset(write_yaml({**facts, "inputs": {}}, home / "dataset.yaml").parent)
    >>> check_settings({**train.__kwdefaults__, "learning_rate": 0.0}, dataset)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --learning_rate: is 0, with which nothing is learnt; give a number above 0
    """
    from fieldwise.recipes.bed_topography.networks import choose_device
    from fieldwise.recipes.bed_topography.samples import choose_inputs

    require_at_least(1, **{name: settings[name] for name in AT_LEAST_ONE})
    require_at_least(0, **{name: settings[name] for name in NOT_NEGATIVE})
    if settings["learning_rate"] == 0:
        raise InputError("--learning_rate: is 0, with which nothing is learnt; give a number above 0")
    if settings["seed"] >= 2**32:
        raise InputError(f"--seed: is {settings['seed']}; give a number below 2**32")
    choose_device(settings["accelerator"])
    choose_inputs(dataset, settings["inputs"], departure=settings["departure"])


def _finish(trainer: Any, settings: Mapping[str, Any], *, tiles: int) -> Path:
    """Leave provenance and figures in the run folder, and tell the trackers."""
    from fieldwise.figures import draw_loss_curves, try_to_draw
    from fieldwise.runs import close_trackers, read_metrics, record_provenance

    run = Path(settings["run"])
    best = run / "checkpoints" / "best.ckpt"
    record_provenance(
        run / "provenance.json",
        seed=settings["seed"],
        inputs=[Path(settings["data"]) / "provenance.json", best],
        tiles=tiles,
    )
    curves = try_to_draw(run / "figures" / "loss_curves", lambda: draw_loss_curves(read_metrics(run)))
    close_trackers(trainer, settings, curves)
    return best
