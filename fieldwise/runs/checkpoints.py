"""Checkpoints that appear whole or not at all, and chance that goes on where it was."""

from __future__ import annotations

import io
import random
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

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        content = io.BytesIO()  # torch's own writing to a file hides the reason when the disk is full
        torch.save(checkpoint, content)
        with replace_when_done(path) as partial:
            partial.write_bytes(content.getbuffer())


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


class SeedEpochs(Callback):
    """Draw by chance as a function of seed and epoch alone, so that a resumed run draws alike.

    Parameters
    ----------
    seed
        Of the run.
    first
        Epoch that the run begins with, or goes on with.
    """

    def __init__(self, seed: int, *, first: int = 0) -> None:
        self.seed, self.first = seed, first

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the seed of the first epoch, before its order is drawn."""
        self._set(trainer, self.first)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the seed of every other epoch."""
        if trainer.current_epoch != self.first:
            self._set(trainer, trainer.current_epoch)

    def _set(self, trainer: Trainer, epoch: int) -> None:
        words = np.random.SeedSequence([self.seed, epoch, trainer.global_rank]).generate_state(3)
        torch.manual_seed(int(words[0]))
        np.random.seed(words[1])
        random.seed(int(words[2]))
