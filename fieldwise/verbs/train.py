"""From samples to a trained network: what every application's training does, written once."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, get_args, get_type_hints

from fieldwise.errors import InputError, require_at_least
from fieldwise.verbs.options import TRAINING, Training

if TYPE_CHECKING:
    from fieldwise.samples.signatures import Signature
    from fieldwise.tasks import FieldTask


WATCHING: ContextVar[tuple[Any, ...]] = ContextVar("WATCHING", default=())


@contextmanager
def watched_by(*callbacks: Any) -> Iterator[None]:
    """Let further callbacks of Lightning's watch every training that begins within.

    >>> with watched_by("a callback"):
    ...     WATCHING.get()
    ('a callback',)
    """
    token = WATCHING.set((*WATCHING.get(), *callbacks))
    try:
        yield
    finally:
        WATCHING.reset(token)


def train_run(
    make_task: Callable[..., FieldTask],
    loaders: tuple[Any, Any],
    signature: Signature,
    *,
    run: str | Path,
    settings: Mapping[str, Any],
    monitor: str = "val_loss",
    picture: Callable[[Any, Any], Any] | None = None,
    sources: Iterable[Path] = (),
    begun: bool = False,
    **given: Unpack[Training],
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
        settings: What else the run depends on, for its record, such as the `locals()` with which the verb
            begins; a run goes on with the same alone.
        monitor: Metric of the validation batches, the least of which marks the best weights.
        picture: Draws the task's answer to a batch, (y, x, 3); by default input, prediction, truth, error.
        sources: Files whose sums go into the provenance.
        begun: Whether the network begins with weights that are worth keeping: they are judged first, and stay
            the best where training makes nothing better of them.
        given: Options of `verbs.options.Training`; those that are not given have their defaults.

    Returns:
        Path of the best checkpoint.

    >>> import tempfile
    >>> from functools import partial
    >>> import numpy as np
    >>> from fieldwise.samples.loaders import make_loader
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> from fieldwise.tasks import FieldTask
    >>> ones = np.ones((4, 1, 8, 8))
    >>> loaders = (make_loader({"inputs": ones, "targets": 2 * ones}, batch_size=2),) * 2
    >>> convolution = {"in_channels": 1, "out_channels": 1, "kernel_size": 1}
    >>> task = partial(FieldTask, network="torch.nn.Conv2d", network_options=convolution, learning_rate=0.1)
    >>> signature = Signature("own", (Variable("thk"),), (Variable("speed"),), stacked=True)
    >>> quiet = {"accelerator": "cpu", "tracker": "none", "progress": False, "precision": "32-true"}
    >>> best = train_run(task, loaders, signature, run=tempfile.mkdtemp(), settings={}, max_epochs=1, **quiet)
    /.../checkpoints/best.ckpt: best of 1 epochs is epoch 1, val_loss ...
    """
    training: Training = {**TRAINING, **given}
    check_training(training)
    from fieldwise.runs import find_checkpoint, fit, keep_beginning, open_run
    from fieldwise.tasks.devices import few_threads

    run, best = Path(run), Path(run) / "checkpoints" / "best.ckpt"
    own = {name: value for name, value in settings.items() if name != "training"}
    every = {**own, "run": run, **training}
    task = _make_task(make_task, signature, loaders[0], seed=training["seed"])
    last = find_checkpoint(run, every, resume=training["resume"])
    done = _check_resumable(last, task, signature) if last else 0
    remedy = _find_remedy(last, done, training) if last else None
    if remedy and best.exists() and (run / "provenance.json").exists():
        _tell(f"{run}: nothing to do, {_describe_best(run, monitor)}; {remedy}")
        return best
    precision = _choose_precision(task, loaders[0], training)
    told = _watch(every, picture, WATCHING.get(), first=done)
    more = {"precision": precision, "callbacks": told, "share_samples": not _shares_samples(loaders[0])}
    trainer = _make_trainer(task, run, monitor, training, anew=not last, **more)
    if trainer.is_global_zero:
        open_run(run, every, resume=training["resume"])
    if training["compile"]:
        _compile(task)
    started, first = time.perf_counter(), math.inf
    if not remedy:
        if last:
            _tell(f"{run}: goes on after epoch {done} of {training['max_epochs']}")
        elif begun:
            first = keep_beginning(trainer, task, loaders[1])
        with few_threads(task.network):
            fit(trainer, task, *loaders, ckpt_path=last, weights_only=True)
    if trainer.is_global_zero:
        facts = {"seed": training["seed"], "precision": precision, "epochs": max(done, trainer.current_epoch)}
        facts["samples"] = len(getattr(loaders[0], "sampler", loaders[0]))
        facts["training_seconds"] = round(time.perf_counter() - started, 1)
        _finish(trainer, run, every, inputs=[*sources, best], facts=facts)
        _tell(f"{best}: {_describe_best(run, monitor, first)}")
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
    counts = ("max_epochs", "batch_size", "accumulate", "save_batches", "patience")
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
    if training["sync_batch_norm"] and device.type == "cpu":
        raise InputError("--sync_batch_norm: needs GPUs; leave it out")


def _make_task(make_task: Callable[..., FieldTask], signature: Signature, loader: Any, *, seed: int) -> Any:
    """Make the task, with weights that the seed decides, and refuse batches that it cannot learn from."""
    from lightning.pytorch import seed_everything

    from fieldwise.tasks.adversarial import has_batch_norm

    seed_everything(seed, verbose=False)
    task = make_task(signature=signature.to_dict())
    alone = getattr(loader, "batch_size", None) == 1 and not task.lone_samples
    if alone and has_batch_norm(task):
        part = next(name for name, each in task.named_children() if has_batch_norm(each))
        raise InputError(
            f"--batch_size: is 1, from which the batch norm in the {part} learns nothing; give 2 or more"
        )
    return task


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
    batches = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.batch_progress", {})
    return int(checkpoint.get("epoch", -1)) + bool(batches.get("is_last_batch", True))


def _find_remedy(last: Path, done: int, training: Training) -> str | None:
    """Say what makes a run go on that has ended: its epochs are done, its patience, or its target reached."""
    from fieldwise.runs.checkpoints import Target
    from fieldwise.tasks.checkpoints import read_checkpoint

    if done >= training["max_epochs"]:
        return "raise --max_epochs to go on"
    states = read_checkpoint(last).get("callbacks", {})
    for each in WATCHING.get():
        if isinstance(each, Target) and states.get(each.state_key, {"best": -math.inf})["best"] >= each.value:
            return f"raise --{each.option} to go on"
    waited = [state["wait_count"] for state in states.values() if "wait_count" in state]
    patience = training["patience"]
    ran_out = patience is not None and any(count >= patience for count in waited)
    return "raise --patience to go on" if ran_out else None


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


def _compile(task: FieldTask) -> None:
    """Have the networks of a task compiled at their first step; their weights keep their names."""
    import torch

    torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is
    for network in (task.network, getattr(task, "discriminator", None)):
        if network is not None:
            network.compile()


def _watch(settings: Mapping[str, Any], picture: Any, callbacks: Sequence[Any], *, first: int) -> list[Any]:
    """List the callbacks of every training, and further ones."""
    from fieldwise.runs.checkpoints import SaveWithin, SeedEpochs
    from fieldwise.runs.loggers import RecordRun
    from fieldwise.runs.pictures import draw_samples

    record = RecordRun(settings, picture=picture or draw_samples)
    group = settings["accumulate"]
    every = -(-(settings["save_batches"] or 0) // group) * group  # no gradients are half added up
    saving = [SaveWithin(settings["run"] / "checkpoints" / "last.ckpt", every=every)] if every else []
    return [SeedEpochs(settings["seed"], first=first, every=every), record, *callbacks, *saving]


def _shares_samples(loader: Any) -> bool:
    """Tell whether a loader gives each of several processes samples of its own."""
    return getattr(getattr(loader, "sampler", None), "shares_samples", False)


def _make_trainer(task: Any, run: Path, monitor: str, training: Training, **more: Any) -> Any:
    from fieldwise.runs import make_trainer

    accumulate = training["accumulate"]
    if not task.automatic_optimization:  # it takes its steps itself
        task.accumulate, accumulate = accumulate, 1
    return make_trainer(
        run,
        max_epochs=training["max_epochs"],
        monitor=monitor,
        patience=training["patience"],
        accumulate=accumulate,
        accelerator=training["accelerator"],
        devices=training["devices"],
        sync_batch_norm=training["sync_batch_norm"],
        progress=training["progress"],
        tracker=training["tracker"],
        **more,
    )


def _finish(
    trainer: Any, run: Path, settings: Mapping[str, Any], *, inputs: Sequence[Path], facts: Mapping[str, Any]
) -> None:
    """Leave provenance and learning curves in the run folder, and tell the trackers."""
    from fieldwise.figures import draw_loss_curves, try_to_draw
    from fieldwise.runs import close_trackers, read_metrics, record_provenance

    record_provenance(run / "provenance.json", inputs=inputs, **facts)
    curves = try_to_draw(run / "figures" / "loss_curves", lambda: draw_loss_curves(read_metrics(run)))
    close_trackers(trainer, settings, curves)


def _describe_best(run: Path, monitor: str, first: float = math.inf) -> str:
    from fieldwise.runs import read_metrics

    metrics = read_metrics(run)
    if monitor not in metrics or not math.isfinite(metrics[monitor].min()):
        return f"no {monitor} was measured"
    best, epochs = metrics.loc[metrics[monitor].idxmin()], metrics["epoch"].nunique()
    if first <= best[monitor]:
        return f"no epoch bettered the weights that it began with, {monitor} {first:.4g}"
    return f"best of {epochs} epochs is epoch {best['epoch'] + 1:.0f}, {monitor} {best[monitor]:.4g}"


def _tell(line: str) -> None:
    """Print a line, from the first of several processes alone."""
    from lightning.pytorch.utilities import rank_zero_only

    rank_zero_only(print)(line)
