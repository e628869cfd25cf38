"""Checkpoints that appear whole or not at all, and chance that goes on where it was."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from fieldwise.drafts import replace_when_done


class WholeCheckpoints(TorchCheckpointIO):
    """Written beside their place: Lightning writes to /tmp and copies, which a full disk cuts in half."""

    def __init__(self) -> None:
        super().__init__()
        self.watchers: list[Callable[[str], None]] = []  # told when one begins, "start", and ends, "stop"

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        for tell in self.watchers:
            tell("start")
        content = io.BytesIO()  # torch's own writing to a file hides the reason when the disk is full
        torch.save(checkpoint, content)
        with replace_when_done(path) as partial:
            partial.write_bytes(content.getbuffer())
        for tell in self.watchers:
            tell("stop")


class MovableCheckpoint(ModelCheckpoint):
    """Remembers the best score wherever its folder is now.

    Lightning forgets it when the folder has been moved, or was fetched, and would then take the first
    weights to come for the best.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of an earlier run, as if it had been in this folder."""
        here = Path(str(self.dirpath))

        def move(value: Any) -> Any:
            if isinstance(value, dict):
                return {move(name): item for name, item in value.items()}
            return (
                str(here / Path(value).name) if isinstance(value, str) and value.endswith(".ckpt") else value
            )

        moved = {name: move(value) for name, value in state_dict.items()}
        super().load_state_dict(moved | {"dirpath": str(here)})


class Patience(EarlyStopping):
    """Waits as long as it is told now, in a run that goes on too, whatever it was told before."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up how long nothing has improved."""
        super().load_state_dict(state_dict | {"patience": self.patience})


class Target(Callback):
    """Ends training once a metric of the validation samples has come to a value.

    Parameters
    ----------
    metric
        The larger, the better.
    value
        To be reached.
    option
        That names the value on the command line.

    >>> Target("val_iou", 0.82, option="target_iou").reached(0.83)
    True
    """

    def __init__(self, metric: str, value: float, *, option: str) -> None:
        self.metric, self.value, self.option, self.best = metric, value, option, -math.inf

    def reached(self, value: float) -> bool:
        """Take note of a further value, and tell whether the target has been reached."""
        self.best = max(self.best, value)
        return self.best >= self.value

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the epoch's value; the callbacks that write checkpoints come after this one."""
        if not trainer.sanity_checking and self.reached(float(trainer.callback_metrics[self.metric])):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint keeps."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what an earlier run has come to."""
        self.best = state_dict["best"]


class SeedEpochs(Callback):
    """Draw by chance as a function of seed and epoch alone, so that a resumed run draws alike.

    Parameters
    ----------
    seed
        Of the run.
    first
        Epoch that the run begins with, or goes on with.
    every
        Batches within an epoch after which it goes by their number too; 0 for none.
    """

    def __init__(self, seed: int, *, first: int = 0, every: int = 0) -> None:
        self.seed, self.first, self.every = seed, first, every

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the seed of the first epoch, before its order is drawn."""
        self._set(trainer, self.first)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the seed of every other epoch."""
        if trainer.current_epoch != self.first:
            self._set(trainer, trainer.current_epoch)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the seed where a run may go on within an epoch."""
        if self.every and batch_idx and batch_idx % self.every == 0:
            self._set(trainer, trainer.current_epoch, batch_idx)

    def _set(self, trainer: Trainer, epoch: int, *within: int) -> None:
        words = np.random.SeedSequence([self.seed, epoch, trainer.global_rank, *within]).generate_state(3)
        torch.manual_seed(int(words[0]))
        np.random.seed(words[1])
        random.seed(int(words[2]))


class SaveWithin(Callback):
    """Writes the last checkpoint within an epoch too.

    Parameters
    ----------
    path
        Of the checkpoint.
    every
        Batches, as of :class:`SeedEpochs`.
    """

    def __init__(self, path: str | Path, *, every: int) -> None:
        self.path, self.every = Path(path), every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write it, where batches follow."""
        if (batch_idx + 1) % self.every == 0 and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)
