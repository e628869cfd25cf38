"""A trainer that keeps the best and the last weights, and the trackers that it reports to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fieldwise.errors import InputError

Tracker = Literal["none", "tensorboard", "comet"]


def make_trainer(
    run: str | Path,
    *,
    max_epochs: int,
    monitor: str,
    patience: int | None = None,
    accumulate: int = 1,
    accelerator: str = "auto",
    devices: int | str = "auto",
    sync_batch_norm: bool = False,
    precision: str = "32-true",
    progress: bool = True,
    tracker: Tracker = "tensorboard",
    callbacks: Sequence[Any] = (),
    anew: bool = False,
    share_samples: bool = True,
) -> Any:
    """Set up a Lightning trainer that logs to CSV and to trackers and keeps the best and the last weights.

    Parameters
    ----------
    run
        Run folder: ``logs/part_0/metrics.csv``, ``logs/tensorboard``, ``checkpoints/best.ckpt`` and
        ``checkpoints/last.ckpt``.
    monitor
        Validation metric whose least value marks the best weights.
    patience
        Epochs without improvement after which training stops; None never stops early.
    accumulate
        Batches whose gradients are added up for one step.
    accelerator, devices, precision
        As Lightning takes them.
    sync_batch_norm
        Whether batch norms see the batches of all processes.
    tracker
        ``none`` logs to CSV alone, ``tensorboard`` to TensorBoard too, ``comet`` to Comet as well.
    callbacks
        Further callbacks of Lightning's.
    anew
        Whether the run begins anew, whatever the folder still holds.
    share_samples
        Whether the trainer shares the samples among several processes; not where the loaders do.

    Raises
    ------
    InputError
        Where Lightning cannot use the devices.

    Examples
    --------
    >>> import tempfile
    >>> quiet = {"progress": False, "tracker": "none", "accelerator": "cpu"}
    >>> trainer = make_trainer(tempfile.mkdtemp(), max_epochs=3, monitor="valid_loss", **quiet)
    >>> trainer.max_epochs, [(kept.filename, kept.monitor) for kept in trainer.checkpoint_callbacks]
    (3, [('best', 'valid_loss'), ('last', None)])
    """
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import CSVLogger
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    from fieldwise.runs.checkpoints import MovableCheckpoint, Patience, WholeCheckpoints
    from fieldwise.runs.loggers import CometRecord, TensorBoardRecord
    from fieldwise.runs.progress import EpochProgress, ignore_known_warnings

    ignore_known_warnings()
    run = Path(run)
    checkpoints = run / "checkpoints"
    every: list[Callback] = [
        MovableCheckpoint(checkpoints, "best", monitor=monitor, mode="min", enable_version_counter=False),
        MovableCheckpoint(checkpoints, "last", save_top_k=1, monitor=None, enable_version_counter=False),
        *callbacks,
    ]
    if patience is not None:
        every.append(Patience(monitor, patience=patience, check_finite=False))
    if progress:
        every.append(EpochProgress())
    part = 0 if anew else len(list(run.glob("logs/part_*")))
    loggers: list[Any] = [CSVLogger(run, name="logs", version=f"part_{part}")]
    if tracker != "none":
        loggers.append(TensorBoardRecord(run))
    if tracker == "comet":
        loggers.append(CometRecord(run))
    try:
        return Trainer(
            max_epochs=max_epochs,
            accumulate_grad_batches=accumulate,
            accelerator=accelerator,
            devices=devices,
            sync_batchnorm=sync_batch_norm,
            precision=precision,  # type: ignore[arg-type]
            callbacks=every,
            plugins=[WholeCheckpoints()],
            logger=loggers,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
            deterministic="warn",
            use_distributed_sampler=share_samples,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"--devices: is {devices} on {accelerator} ({reason}); give a number or auto"
        ) from None


def fit(trainer: Any, task: Any, *loaders: Any, **options: Any) -> None:
    """Train; Ctrl-C comes out as a KeyboardInterrupt, as everywhere else, and SIGTERM ends with status 143.

    Lightning ends the whole program with other statuses instead, after SIGTERM with the one of success, and
    leaves Ctrl-C without effect, in a notebook too. What a handler of one's own raises comes out as it is.

    Parameters
    ----------
    trainer, task
        As from :func:`make_trainer`, and one of :mod:`fieldwise.tasks`.
    loaders, options
        As the trainer's own ``fit`` takes them.
    """
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(task, *loaders, **options)
    except SIGTERMException:
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from None
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)


def keep_beginning(trainer: Any, task: Any, loader: Any) -> float:
    """Judge the weights that a task begins with, and keep them as the best until others are better.

    Parameters
    ----------
    trainer, task
        As from :func:`make_trainer`, before its fit, and one of :mod:`fieldwise.tasks`.
    loader
        Of validation batches.

    Returns
    -------
    float
        What the best weights are told by.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from fieldwise.samples.loaders import make_loader
    >>> from fieldwise.tasks import FieldTask
    >>> task = FieldTask(network="torch.nn.Identity", losses={"mae": 1.0})
    >>> ones = np.ones((1, 1, 4, 4))
    >>> loader = make_loader({"inputs": ones, "targets": 3 * ones}, batch_size=1)
    >>> quiet = {"progress": False, "tracker": "none", "accelerator": "cpu"}
    >>> trainer = make_trainer(tempfile.mkdtemp(), max_epochs=1, monitor="val_loss", **quiet)
    >>> keep_beginning(trainer, task, loader)  # 1 where it should be 3
    2.0
    """
    best = next(callback for callback in trainer.checkpoint_callbacks if callback.monitor)
    trainer.validate(task, loader, verbose=False)
    score, path = trainer.callback_metrics[best.monitor].clone(), str(Path(best.dirpath) / "best.ckpt")
    trainer.save_checkpoint(path)
    best.best_model_path = best.kth_best_model_path = path
    best.best_model_score = best.kth_value = score
    best.best_k_models = {path: score}
    return float(score)


def close_trackers(trainer: Any, settings: Mapping[str, Any], figures: Sequence[Path] = ()) -> None:
    """Tell the trackers of a run that has ended: what its settings led to, its figures, its files.

    Parameters
    ----------
    trainer
        As made by :func:`make_trainer`, after its fit.
    settings
        Parameters of the run.
    figures
        Pictures to keep with it.
    """
    from lightning.pytorch.callbacks import ModelCheckpoint

    from fieldwise.runs.loggers import CometRecord, TensorBoardRecord

    kept = [callback for callback in trainer.callbacks if isinstance(callback, ModelCheckpoint)]
    best = {
        f"best_{callback.monitor}": float(callback.best_model_score)
        for callback in kept
        if callback.monitor and callback.best_model_score is not None
    }
    for logger in trainer.loggers:
        if isinstance(logger, CometRecord | TensorBoardRecord):
            logger.record_end(settings, best, list(figures))
