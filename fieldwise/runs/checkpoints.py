"""Checkpoints that appear whole or not at all, and go on in a folder that was moved."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

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
