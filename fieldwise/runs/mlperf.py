"""A training told as MLPerf's benchmarks tell theirs: an event a line, with times in milliseconds.

The events are those of DeepCAM in MLPerf HPC (https://github.com/mlcommons/hpc), the lines those of MLPerf's
own library: ``:::MLLOG`` and an object of JSON. Each part of a run that was cut off begins anew.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from fieldwise.errors import InputError

MARK = ":::MLLOG "
LOG = Path("logs") / "mlperf.log"  # in the run folder
OPTIONS = {  # of an optimiser, and what MLPerf calls them
    "lr": "base_learning_rate",
    "betas": "betas",
    "eps": "epsilon",
    "weight_decay": "weight_decay",
}
KINDS = {"start": "INTERVAL_START", "stop": "INTERVAL_END"}


class MLPerfLog(Callback):
    """Write the events of a training to ``logs/mlperf.log`` in the run folder.

    Parameters
    ----------
    run
        Run folder.
    benchmark
        What is learnt.
    facts
        Keys of MLPerf to their values, told before training begins, such as ``seed`` and ``train_samples``.
    batch_size
        Samples a step and process.
    metric
        Of validation, as its accuracy.
    target
        Of the metric, with which the run is a success; any will do by default.
    every
        Steps from one report of rate, loss and accuracy to the next; there is one an epoch at least.
    accuracy
        Gives that of the batch just learnt from, of the task and the batch.
    """

    def __init__(
        self,
        run: str | Path,
        *,
        benchmark: str,
        facts: Mapping[str, Any],
        batch_size: int,
        metric: str,
        target: float | None = None,
        every: int = 100,
        accuracy: Callable[[Any, Any], float] | None = None,
    ) -> None:
        self.path, self.benchmark, self.facts = Path(run) / LOG, benchmark, dict(facts)
        self.batch_size, self.metric, self.target = batch_size, metric, target
        self.every, self.accuracy = every, accuracy
        self.begun, self.running, self.reached = time.time(), False, target is None
        self.silent = False  # as all processes but the first are

    def tell(self, key: str, value: Any = None, *, at: float | None = None, **where: int) -> None:
        """Write one event; its key tells the beginning and end of an interval from a point in time."""
        if self.silent:
            return
        kind = KINDS.get(key.rpartition("_")[2], "POINT_IN_TIME")
        milliseconds = round(1000 * (time.time() if at is None else at))
        event = {"namespace": "", "time_ms": milliseconds, "event_type": kind, "key": key, "value": value}
        metadata = {"file": Path(__file__).name, "lineno": 0} | where
        with self.path.open("a") as file:
            file.write(MARK + json.dumps(event | {"metadata": metadata}) + "\n")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell what is submitted, and with which settings."""
        self.silent = not trainer.is_global_zero
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.tell("init_start", at=self.begun)
        submission = {"benchmark": self.benchmark, "org": "none", "division": "open", "status": "research"}
        submission["platform"] = f"{trainer.world_size} x {trainer.accelerator.name()}, {platform.machine()}"
        for name, value in submission.items():
            self.tell(f"submission_{name}", value)
        self.tell("cache_clear", False)  # what the system has read before may still be in memory
        samples = self.batch_size * trainer.world_size * trainer.accumulate_grad_batches
        for key, value in (self.facts | {"global_batch_size": samples}).items():
            self.tell(key, value)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell of the optimiser, that the run begins, and from now on when weights are saved."""
        optimizer = trainer.optimizers[0]
        self.tell("opt_name", type(optimizer).__name__.lower())
        for name, key in OPTIONS.items():
            if name in optimizer.defaults:
                self.tell(f"opt_{key}", optimizer.defaults[name])
        self.tell("init_stop")
        self.tell("run_start")
        self.running = True
        if trainer.fit_loop.restarted_mid_epoch:
            self.tell("epoch_start", **_place(trainer))
        writer: Any = trainer.strategy.checkpoint_io
        writer.watchers.append(lambda event: self.tell(f"save_{event}", **_place(trainer)))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell that an epoch begins."""
        self.tell("epoch_start", **_place(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell that it has ended."""
        self.tell("epoch_stop", **_place(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell rate, loss and accuracy now and then."""
        due = not (trainer.global_step % self.every or (batch_idx + 1) % trainer.accumulate_grad_batches)
        if not due and not trainer.is_last_batch:
            return
        place = _place(trainer)
        self.tell("learning_rate", trainer.optimizers[0].param_groups[0]["lr"], **place)
        self.tell("train_loss", float(outputs["loss"]), **place)
        if self.accuracy is not None:
            self.tell("train_accuracy", self.accuracy(pl_module, batch), **place)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell that validation begins."""
        if self.running:
            self.tell("eval_start", **_place(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell how good the network is, and whether that is good enough."""
        if not self.running:
            return
        place, value = _place(trainer), float(trainer.callback_metrics[self.metric])
        self.tell("eval_accuracy", value, **place)
        self.tell("eval_loss", float(trainer.callback_metrics["val_loss"]), **place)
        if self.target is not None and value >= self.target:
            self.tell("target_accuracy_reached", self.target, **place)
            self.reached = True
        self.tell("eval_stop", **place)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell whether the run is a success."""
        self._stop(trainer, "success" if self.reached else "aborted")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Tell that it is none."""
        self._stop(trainer, "aborted")

    def _stop(self, trainer: Trainer, status: str) -> None:
        if self.running:
            self.running = False
            self.tell("run_stop", {"status": status}, **_place(trainer))


def _place(trainer: Trainer) -> dict[str, int]:
    return {"epoch_num": trainer.current_epoch + 1, "step_num": trainer.global_step}


def read_mlperf(path: str | Path) -> list[dict[str, Any]]:
    """Read the events of a log of MLPerf's; other lines, such as what was printed, are passed over.

    Returns
    -------
    list of dict
        With ``key``, ``value``, ``time_ms``, ``event_type`` and ``metadata``.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mlperf.log"
    >>> _ = path.write_text('epoch 1\\n:::MLLOG {"key": "seed", "value": 7, "metadata": {}}\\n')
    >>> read_mlperf(path)
    [{'key': 'seed', 'value': 7, 'metadata': {}}]
    """
    try:
        lines = Path(path).read_text().splitlines()
        return [json.loads(line.partition(MARK)[2]) for line in lines if MARK in line]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a log of MLPerf's ({error}); name another") from None
