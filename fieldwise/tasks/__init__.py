"""How networks are trained: what one step does, what is logged, what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path

from fieldwise.tasks.adversarial import AdversarialTask
from fieldwise.tasks.checkpoints import load_checkpoint
from fieldwise.tasks.devices import choose_device
from fieldwise.tasks.field import FieldTask

__all__ = ["AdversarialTask", "FieldTask", "choose_device", "load_checkpoint", "load_task"]


def load_task(path: str | Path) -> AdversarialTask:
    """Rebuild an adversarial task from a checkpoint alone; see :func:`load_checkpoint`.

    Examples
    --------
    >>> load_task("model/README.md")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/README.md cannot be read as a checkpoint (...); give a .ckpt ...
    """
    return load_checkpoint(path, AdversarialTask)
