"""How the learning rate changes in the course of training."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch


def set_learning_rate(
    optimizers: Iterable[torch.optim.Optimizer], learning_rate: float, epoch: float, *, decay_epochs: int
) -> None:
    """Set the rate as a function of the epoch alone, so that a resumed run goes on with the same.

    It falls to nothing along half a cosine in `decay_epochs` epochs; 0 keeps it as it is.

    >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    >>> set_learning_rate([optimizer], 0.1, 5, decay_epochs=10)
    >>> round(optimizer.param_groups[0]["lr"], 6)
    0.05
    """
    done = min(epoch / decay_epochs, 1) if decay_epochs else 0
    share = 0.5 + 0.5 * math.cos(math.pi * done)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * share
