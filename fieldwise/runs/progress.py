"""What a training says of itself while it runs: one bar that is overwritten, and one line an epoch."""

from __future__ import annotations

import logging
import math
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar

# Beginnings of what Lightning and tqdm warn of without anything for a user to do.
KNOWN_WARNINGS = (
    r"IProgress not found\.",  # Jupyter without ipywidgets: the lines are printed all the same
    r"Checkpoint directory .* exists and is not empty\.",  # a run that goes on
    r"Starting from v1\.9\.0, `tensorboardX` has been removed",
    r"The '\w+' does not have many workers",
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def ignore_known_warnings() -> None:
    """Keep quiet what would bury the progress and asks nothing of the user; other warnings are shown.

    Examples
    --------
    >>> import warnings
    >>> ignore_known_warnings()
    >>> with warnings.catch_warnings(record=True) as shown:
    ...     warnings.warn("Checkpoint directory model/checkpoints exists and is not empty.")
    ...     warnings.warn("Checkpoint directory is nearly full.")
    >>> [str(warning.message) for warning in shown]
    ['Checkpoint directory is nearly full.']
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips and advertisements
    for message in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def format_epoch(
    epoch: int, epochs: int | None, metrics: Mapping[str, float], *, best: str | None = None, seconds: float
) -> str:
    """Say in one line what an epoch came to.

    Parameters
    ----------
    epoch, epochs
        Its number, counted from one, and how many there will be at most; None where that is open.
    metrics
        Mean values over the epoch.
    best
        The metric whose value is better than in every epoch before, if there is one.
    seconds
        How long it took, validation included.

    Examples
    --------
    >>> format_epoch(3, 20, {"loss": 0.0123, "val_loss": 0.0145}, best="val_loss", seconds=9.07)
    'epoch 3/20: loss 0.0123, val_loss 0.0145 (best), 9.1 s'
    >>> format_epoch(3, None, {}, seconds=120)
    'epoch 3: 120.0 s'
    """
    parts = [f"{name} {value:.4g}{' (best)' * (name == best)}" for name, value in metrics.items()]
    return f"{_number(epoch, epochs)}: {', '.join([*parts, f'{seconds:.1f} s'])}"


def _number(epoch: int, epochs: int | None) -> str:
    return f"epoch {epoch}/{epochs}" if epochs else f"epoch {epoch}"


class EpochProgress(ProgressBar):
    """One bar for the whole run, and one line an epoch on standard output.

    The bar is a widget in Jupyter, text on standard error in a terminal, and is left out where neither can
    be overwritten, as in a log file. An epoch's line tells the metrics of the progress bar (those that a task
    logs with ``prog_bar=True``), the one that marks the best weights, and what each of them is in training.

    Examples
    --------
    >>> import lightning.pytorch as pl
    >>> trainer = pl.Trainer(callbacks=[EpochProgress()], logger=False, accelerator="cpu")
    >>> type(trainer.progress_bar_callback).__name__  # in place of Lightning's own
    'EpochProgress'
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown = True
        self._bar: Any = None
        self._begun = 0.0
        self._ended: tuple[int, float] | None = None  # an epoch that has not been told of, and its duration
        self._best = math.inf

    def disable(self) -> None:
        """Say nothing, as all processes but the first do."""
        self._shown = False

    def enable(self) -> None:
        """Say something again."""
        self._shown = True

    def print(self, *words: Any, **options: Any) -> None:
        """Print above the bar."""
        if self._shown:
            from tqdm import tqdm

            tqdm.write(options.get("sep", " ").join(map(str, words)), file=sys.stdout)
            sys.stdout.flush()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar, at the epoch from which the run goes on."""
        from tqdm.auto import tqdm

        monitored = _monitored(trainer)
        self._ended, self._best = None, math.inf
        if monitored is not None and monitored.best_model_score is not None:
            self._best = float(monitored.best_model_score)
        batches, epochs = trainer.num_training_batches, _epochs(trainer)
        self._bar = tqdm(
            initial=trainer.current_epoch * int(batches) if math.isfinite(batches) else 0,
            total=epochs * int(batches) if epochs and math.isfinite(batches) else None,
            unit="batch",
            leave=False,
            dynamic_ncols=True,
            disable=None if self._shown else True,
        )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell of the epoch before, whose metrics are whole by now, and name this one."""
        self._tell(trainer)
        self._begun = time.perf_counter()
        self._bar.set_description(_number(trainer.current_epoch + 1, _epochs(trainer)))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        self._bar.update()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time; the task may log more before the epoch is over."""
        self._ended = trainer.current_epoch + 1, time.perf_counter() - self._begun

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell of the last epoch, and take the bar away."""
        self._tell(trainer)
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the bar away before anything is said of the error."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _tell(self, trainer: Trainer) -> None:
        if self._ended is None:
            return
        (epoch, seconds), self._ended = self._ended, None
        monitored = _monitored(trainer)
        monitor = monitored.monitor if monitored is not None else None
        metrics = _choose(trainer.callback_metrics, [*trainer.progress_bar_metrics, monitor])
        best = None
        if monitor in metrics and metrics[monitor] < self._best:
            best, self._best = monitor, metrics[monitor]
        self.print(format_epoch(epoch, _epochs(trainer), metrics, best=best, seconds=seconds))


def _choose(logged: Mapping[str, Any], names: list[str | None]) -> dict[str, float]:
    """Give the named metrics once each, that of training before that of validation."""
    wanted = [word for name in names if name for word in (name.removeprefix("val_"), name)]
    return {name: float(logged[name]) for name in wanted if name in logged}


def _epochs(trainer: Trainer) -> int | None:
    return trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None


def _monitored(trainer: Trainer) -> ModelCheckpoint | None:
    """Find the checkpoint whose least score marks the best weights."""
    kept = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    return next((callback for callback in kept if callback.monitor and callback.mode == "min"), None)
