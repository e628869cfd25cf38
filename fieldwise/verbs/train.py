"""From samples to a trained network: what every application's training does, written once."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, get_args, get_type_hints

from fieldwise.errors import InputError, require_at_least
from fieldwise.verbs.options import TRAINING, Training, with_options

if TYPE_CHECKING:
    from fieldwise.samples.signatures import Signature
    from fieldwise.tasks import FieldTask

OF_THE_TRAINER = ("max_epochs", "patience", "accelerator", "devices", "progress", "tracker")


@with_options(Training, TRAINING)
def train_run(
    make_task: Callable[..., FieldTask],
    loaders: tuple[Any, Any],
    signature: Signature,
    *,
    run: str | Path,
    settings: Mapping[str, Any],
    monitor: str = "val_loss",
    picture: Callable[[Any, Any], Any] | None = None,
    callbacks: Sequence[Any] = (),
    sources: Iterable[Path] = (),
    **training: Unpack[Training],
) -> Path:
    """Train a network and leave a run folder: settings, weights, metrics, curves, provenance.

    Everything is checked before anything in the folder is touched. A run that was cut off goes on, to the
    weights that it would have had; one that has ended says so.

    Args:
        make_task: Gives the task, of `fieldwise.tasks`, when it is called with signature=..., a plain
            dictionary; it is called once, after the seed is set. `functools.partial(FieldTask, network=...)`.
        loaders: Of training and of validation batches.
        signature: What the network reads and gives; it travels in the checkpoints.
        run: Folder for checkpoints, logs, settings and figures.
        settings: What else the run depends on, for its record; a run goes on with the same alone.
        monitor: Metric of the validation batches, the least of which marks the best weights.
        picture: Draws the task's answer to a batch, (y, x, 3); by default input, prediction, truth, error.
        callbacks: Further callbacks of Lightning's.
        sources: Files whose sums go into the provenance.

    Returns:
        Path of the best checkpoint.
    """
    check_training(training)
    from lightning.pytorch import seed_everything

    from fieldwise.runs import find_checkpoint, fit, make_trainer, open_run
    from fieldwise.runs.checkpoints import SeedEpochs
    from fieldwise.runs.loggers import RecordRun
    from fieldwise.runs.pictures import draw_samples

    run, best = Path(run), Path(run) / "checkpoints" / "best.ckpt"
    every = {**settings, "run": run, **training}
    seed_everything(training["seed"], verbose=False)
    task: Any = make_task(signature=signature.to_dict())
    _check_batches(task, loaders[0])
    last = find_checkpoint(run, every, resume=training["resume"])
    done = _check_resumable(last, task, signature) if last else 0
    ended = last is not None and _has_ended(last, done, training)
    if ended and best.exists() and (run / "provenance.json").exists():
        _tell(f"{run}: nothing to do, {_describe_best(run, monitor)}; raise --max_epochs to go on")
        return best
    precision = _choose_precision(task, loaders[0], training)
    trainer = make_trainer(
        run,
        monitor=monitor,
        precision=precision,
        accumulate=training["accumulate"] if task.automatic_optimization else 1,
        callbacks=[
            SeedEpochs(training["seed"], first=done),
            RecordRun(every, picture=picture or draw_samples),
            *callbacks,
        ],
        anew=last is None,
        **{name: training[name] for name in OF_THE_TRAINER},  # type: ignore[literal-required]
    )
    if not task.automatic_optimization:
        task.accumulate = training["accumulate"]  # which takes its steps itself
    if trainer.is_global_zero:
        open_run(run, every, resume=training["resume"])
    started = time.perf_counter()
    if not ended:
        if last:
            _tell(f"{run}: goes on after epoch {done} of {training['max_epochs']}")
        fit(trainer, task, *loaders, ckpt_path=last, weights_only=True)
    if trainer.is_global_zero:
        facts = {"seed": training["seed"], "precision": precision, "samples": len(loaders[0].sampler)}
        facts["epochs"] = max(done, trainer.current_epoch)
        facts["training_seconds"] = round(time.perf_counter() - started, 1)
        _finish(trainer, run, every, inputs=[*sources, best], facts=facts)
        _tell(f"{best}: {_describe_best(run, monitor)}")
    return best


def check_training(training: Mapping[str, Any]) -> None:
    """Refuse options that no training can be carried out with, before any work is done.

    >>> check_training(TRAINING | {"seed": 2**32})
    Traceback (most recent call last):
    fieldwise.errors.InputError: --seed: is 4294967296; give a number below 2**32
    >>> check_training(TRAINING | {"devices": "x"})
    Traceback (most recent call last):
    fieldwise.errors.InputError: --devices: is x; give a number or auto
    """
    counts = ("max_epochs", "batch_size", "accumulate", "patience")
    require_at_least(1, **{name: training[name] for name in counts})
    require_at_least(0, seed=training["seed"])
    if training["seed"] >= 2**32:
        raise InputError(f"--seed: is {training['seed']}; give a number below 2**32")
    if not re.fullmatch(r"auto|[1-9]\d*", str(training["devices"])):
        raise InputError(f"--devices: is {training['devices']}; give a number or auto")
    for name in ("precision", "tracker"):
        choices = get_args(get_type_hints(Training)[name])
        if training[name] not in choices:
            raise InputError(f"--{name}: is {training[name]}; give one of {', '.join(choices)}")
    from fieldwise.tasks import choose_device

    device = choose_device(training["accelerator"])
    if training["precision"] == "16-mixed" and device.type == "cpu":
        raise InputError("--precision: 16-mixed needs a GPU; give bf16-mixed or 32-true")


def _check_batches(task: FieldTask, loader: Any) -> None:
    from fieldwise.tasks.adversarial import has_batch_norm

    if loader.batch_size == 1 and has_batch_norm(task):
        part = next(name for name, each in task.named_children() if has_batch_norm(each))
        raise InputError(
            f"--batch_size: is 1, from which the batch norm in the {part} learns nothing; give 2 or more"
        )


def _check_resumable(last: Path, task: FieldTask, signature: Signature) -> int:
    """Refuse to go on from a checkpoint of another network or signature; tell how many epochs are done."""
    from fieldwise.samples.signatures import Signature
    from fieldwise.tasks.checkpoints import read_checkpoint

    checkpoint = read_checkpoint(last)
    before = Signature.from_dict(checkpoint["hyper_parameters"].get("signature") or {}, last)
    before.check_same(signature, last)
    shapes, wanted = (
        {name: values.shape for name, values in state.items()}
        for state in (checkpoint["state_dict"], task.state_dict())
    )
    if shapes != wanted:
        raise InputError(f"{last}: holds another network; choose another --run, or --resume false")
    return int(checkpoint.get("epoch", -1)) + 1


def _has_ended(last: Path, done: int, training: Training) -> bool:
    """Tell whether all epochs are done, or those after which patience had run out."""
    from fieldwise.tasks.checkpoints import read_checkpoint

    if done >= training["max_epochs"]:
        return True
    states = read_checkpoint(last).get("callbacks", {})
    waited = [state["wait_count"] for state in states.values() if "wait_count" in state]
    patience = training["patience"]
    return patience is not None and any(count >= patience for count in waited)


def _choose_precision(task: FieldTask, loader: Any, training: Training) -> str:
    import torch

    from fieldwise.tasks import choose_device
    from fieldwise.tasks.precision import choose_precision

    if training["precision"] != "auto":
        return training["precision"]
    with torch.random.fork_rng(devices=[]):
        batch = next(iter(loader))
    precision, line = choose_precision(task, batch, choose_device(training["accelerator"]))
    if line:
        _tell(line)
    return precision


def _finish(
    trainer: Any, run: Path, settings: Mapping[str, Any], *, inputs: Sequence[Path], facts: Mapping[str, Any]
) -> None:
    """Leave provenance and learning curves in the run folder, and tell the trackers."""
    from fieldwise.figures import draw_loss_curves, save_figure
    from fieldwise.runs import close_trackers, read_metrics, record_provenance

    record_provenance(run / "provenance.json", inputs=inputs, **facts)
    figures: list[Path] = []
    try:
        figures += save_figure(draw_loss_curves(read_metrics(run)), run / "figures" / "loss_curves")[1:]
    except Exception as error:  # of any library that draws: the weights are there, and count
        print(f"no learning curves: {type(error).__name__}: {error}")
    close_trackers(trainer, settings, figures)


def _describe_best(run: Path, monitor: str) -> str:
    from fieldwise.runs import read_metrics

    metrics = read_metrics(run)
    if monitor not in metrics or not math.isfinite(metrics[monitor].min()):
        return f"no {monitor} was measured"
    best, epochs = metrics.loc[metrics[monitor].idxmin()], metrics["epoch"].nunique()
    return f"best of {epochs} epochs is epoch {best['epoch'] + 1:.0f}, {monitor} {best[monitor]:.4g}"


def _tell(line: str) -> None:
    """Print a line, from the first of several processes alone."""
    from lightning.pytorch.utilities import rank_zero_only

    rank_zero_only(print)(line)
