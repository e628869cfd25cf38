"""How the learning rate changes in the course of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from fieldwise.errors import InputError, require_at_least


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the rate of all that an optimiser teaches.

    >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    >>> set_learning_rate(optimizer, 0.1)
    >>> optimizer.param_groups[0]["lr"]
    0.1
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def fall_along_cosine(epoch: float, decay_epochs: int) -> float:
    """Give the share of the learning rate that is left: nothing after so many epochs; 0 keeps it as it is.

    >>> [round(fall_along_cosine(epoch, 4), 3) for epoch in (0, 1, 2, 3, 4, 5)]  # (1 + cos(pi epoch / 4)) / 2
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    >>> fall_along_cosine(5, 0)
    1.0
    """
    done = min(epoch / decay_epochs, 1) if decay_epochs else 0
    return 0.5 + 0.5 * math.cos(math.pi * done)


def fall_in_steps(epoch: float, decay_at: Sequence[int], factor: float) -> float:
    """Give the share of the learning rate that is left, if each of some epochs multiplies it by a factor.

    >>> [fall_in_steps(epoch, [2, 4], 0.5) for epoch in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """
    return float(factor ** sum(epoch >= each for each in decay_at))


def check_rate(**rates: float) -> None:
    """Refuse a learning rate with which nothing is learnt.

    >>> check_rate(discriminator_rate=-1.0)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --discriminator_rate: is -1, with which nothing is learnt; give a number ...
    """
    for name, rate in rates.items():
        if not 0 < rate < math.inf:
            raise InputError(f"--{name}: is {rate:g}, with which nothing is learnt; give a number above 0")


def check_factor(**factors: float) -> None:
    """Refuse what a learning rate is multiplied by, to lower it, where it does not.

    >>> check_factor(decay_factor=1.5)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --decay_factor: is 1.5; give more than 0 and less than 1
    """
    for name, factor in factors.items():
        if not 0 < factor < 1:
            raise InputError(f"--{name}: is {factor:g}; give more than 0 and less than 1")


class PlateauDecay(Callback):
    """Lowers the learning rate whenever the validation loss has not improved for some epochs.

    A callback of Lightning's, so that what it has seen travels in the checkpoint: a resumed run goes on with
    the same rates, and the same patience left.

    Parameters
    ----------
    epochs
        Without a new least `val_loss`, after which the rate is lowered; 0 never lowers it.
    factor
        What it is multiplied by, each time.

    Raises
    ------
    InputError
        If the factor is not between 0 and 1.

    >>> plateau = PlateauDecay(2, 0.5)
    >>> for loss in (3.0, 4.0, 3.0, 2.0, 2.0, 5.0):
    ...     plateau.note(loss)
    ...     print(plateau.share, end=" ")
    1.0 1.0 0.5 0.5 0.5 0.25
    """

    def __init__(self, epochs: int, factor: float) -> None:
        require_at_least(0, plateau_epochs=epochs)
        check_factor(plateau_factor=factor)
        self.epochs, self.factor = epochs, factor
        self.least, self.worse, self.lowered = math.inf, 0, 0

    @property
    def share(self) -> float:
        """What is left of the learning rate."""
        return self.factor**self.lowered

    def note(self, loss: float) -> None:
        """Take note of the validation loss of one more epoch."""
        self.least, self.worse = (loss, 0) if loss < self.least else (self.least, self.worse + 1)
        if self.worse == self.epochs > 0:
            self.lowered, self.worse = self.lowered + 1, 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the epoch's loss; the callbacks that write checkpoints come after this one."""
        if not trainer.sanity_checking and "val_loss" in trainer.callback_metrics:
            self.note(float(trainer.callback_metrics["val_loss"]))

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint keeps."""
        return {"least": self.least, "worse": self.worse, "lowered": self.lowered}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what an earlier run has seen."""
        self.least, self.worse, self.lowered = (state_dict[name] for name in ("least", "worse", "lowered"))
