"""Fields followed through time: a network that goes on from what came before, hour by hour."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fieldwise.errors import InputError, require_at_least
from fieldwise.tasks.field import FieldTask

FEEDBACKS = ("free", "scheduled")


def share_of_truth(step: int, steps: float) -> float:
    """Give the share of frames that a network is shown the truth of, as it is weaned from it: scheduled.

    The inverse sigmoid of Bengio et al. (2015, arXiv:1506.03099): k / (k + exp(step / k)).

    >>> [round(share_of_truth(step, 900), 3) for step in (0, 900, 6122, 10000)]  # half at k ln k
    [0.999, 0.997, 0.5, 0.013]
    """
    return 1 / (1 + math.exp(min(step / steps, 700.0)) / steps)


class RolloutTask(FieldTask):
    """Train a network that tells the next frames of fields from the last ones.

    A batch: `inputs`, (batch, context, channel, y, x); `targets`, (batch, horizon, channel, y, x); and where
    something is known of all frames, `forcing`, (batch, context + horizon, forcing, y, x). The network is
    called with inputs, `horizon`, and `forcing` where there is any; with scheduled feedback also with `truth`
    and `fed`, (batch, horizon) bool: where it is True the true frame before is read instead of the network's
    own. Losses see frames as samples: (batch * horizon, channel, y, x). In validation a network always goes
    on from its own frames, and is judged by the judged channels alone.

    Parameters
    ----------
    context, horizon : int
        Frames that are read, and told.
    feedback : str
        `free`: the network goes on from its own frames; `scheduled`: in training from true ones at first, of
        which ever fewer are shown, see :func:`share_of_truth`.
    feedback_steps : float
        k of that schedule, in steps.
    judged : int
        Channels, the first ones, that are judged.
    others_weight : float
        Weight in training of the losses of the other channels.
    lead_power : float
        Maps of the L-th frame are divided by L to this power before losses compare them: errors that grow as
        those of a random walk then weigh the same at all leads with 0.5.
    kl_weight : float
        Weight in training of how far codes are from those that a forecast draws, of a network that has an
        `encode`: frames (batch, time, channel, y, x) to mean and logarithm of the variance, (batch, time,
        code, ...).
    options
        As of :class:`fieldwise.tasks.FieldTask`.

    Raises
    ------
    InputError
        If an option does not fit, or the network takes no feedback.

    Examples
    --------
    >>> network = "fieldwise.networks.forecasting.convlstm.ConvLSTM"
    >>> task = RolloutTask(network=network, network_options={"channels": 1, "features": 4}, context=2,
    ...                    horizon=3, losses={"mse": 1.0})
    >>> task.draw({"inputs": torch.zeros(1, 2, 1, 8, 8)}).shape
    torch.Size([1, 3, 1, 8, 8])
    >>> told, true = torch.zeros(1, 3, 1, 8, 8), torch.full((1, 3, 1, 8, 8), 2.0)
    >>> task.add_up(told, {"targets": true})[0].item()  # 2 squared
    4.0
    """

    lead_weights: Tensor  # (horizon, 1, 1, 1)

    def __init__(
        self,
        *,
        context: int,
        horizon: int,
        feedback: str = "free",
        feedback_steps: float = 900.0,
        judged: int = 1,
        others_weight: float = 0.0,
        lead_power: float = 0.0,
        kl_weight: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        require_at_least(1, context=context, horizon=horizon, judged=judged)
        require_at_least(0, others_weight=others_weight, lead_power=lead_power, kl_weight=kl_weight)
        if feedback not in FEEDBACKS:
            raise InputError(f"--feedback: is {feedback!r}; give {' or '.join(FEEDBACKS)}")
        if not feedback_steps > 0:
            raise InputError(f"--feedback_steps: is {feedback_steps:g}; give more than 0")
        name, takes = type(self.network).__name__, inspect.signature(self.network.forward).parameters
        if feedback == "scheduled" and "fed" not in takes:
            raise InputError(f"--feedback: {name} is not told what it has told before; give free")
        if kl_weight and not hasattr(self.network, "encode"):
            raise InputError(f"--kl_weight: {name} has no code; give 0, or another network")
        self.context, self.horizon = context, horizon
        self.feedback, self.feedback_steps = feedback, feedback_steps
        self.judged, self.others_weight, self.kl_weight = judged, others_weight, kl_weight
        leads = torch.arange(1, horizon + 1, dtype=torch.float32)
        self.register_buffer("lead_weights", leads[:, None, None, None] ** -lead_power, persistent=False)
        self.step = 0  # batches of this training, those of earlier epochs counted

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Count the batches, as a function of what a checkpoint holds alone."""
        super().on_train_batch_start(batch, batch_index)
        self.step = self.current_epoch * int(self.trainer.num_training_batches) + batch_index

    def draw(self, batch: Mapping[str, Any]) -> Tensor:
        """Return what the network tells of the horizon, (batch, horizon, channel, y, x)."""
        return self.network(batch["inputs"], **self.find_options(batch))

    def find_options(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Give what the network is called with beside its inputs."""
        options: dict[str, Any] = {"horizon": self.horizon}
        if "forcing" in batch:
            options["forcing"] = batch["forcing"]
        if self.training and self.feedback == "scheduled":
            options |= {"truth": batch["targets"], "fed": self.choose_fed(batch["inputs"])}
        return options

    def choose_fed(self, inputs: Tensor) -> Tensor:
        """Draw which frames the network is shown the truth of, (batch, horizon) bool.

        The numbers are those of an epoch's seed, in their order: a run that goes on draws alike.
        """
        drawn = torch.rand(len(inputs), self.horizon)
        return (drawn < share_of_truth(self.step, self.feedback_steps)).to(inputs.device)

    def add_up(self, prediction: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the losses, and each without its weight."""
        total, terms = super().add_up(*self._pick(prediction, batch, slice(None, self.judged)))
        if self.training and self.others_weight and batch["targets"].shape[2] > self.judged:
            others, _ = super().add_up(*self._pick(prediction, batch, slice(self.judged, None)))
            total = total + self.others_weight * others
        if self.training and self.kl_weight:
            total = total + self.kl_weight * divergence(*self.encode(batch))
        return total, terms

    def encode(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Give mean and logarithm of the variance of the codes that training knows: of the context alone."""
        network: Any = self.network
        return network.encode(batch["inputs"])

    def _pick(
        self, prediction: Tensor, batch: Mapping[str, Any], channels: slice
    ) -> tuple[Tensor, Mapping[str, Any]]:
        """Take some channels, weighted by the lead, and frames as samples."""
        told, true = (
            (maps[..., channels, :, :] * self.lead_weights).flatten(-5, -4)
            for maps in (prediction, batch["targets"])
        )
        return told, {**batch, "targets": true}


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of normal codes from standard ones: a sum over a code's numbers.

    The mean over batch, time and cells; both are (batch, time, code, ...).

    >>> zero, two = torch.zeros(1, 3, 4), torch.full((1, 3, 4), 2.0)
    >>> divergence(zero, zero).item(), divergence(two, zero).item()  # 2 squared / 2 of each of four numbers
    (0.0, 8.0)
    """
    return ((mean.square() + log_variance.exp() - log_variance - 1) / 2).sum(2).mean()
