"""Forecasts against a discriminator of sequences: ConvLSTM-GAN's game, and SAVP's of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import require_at_least
from fieldwise.networks.forecasting.discriminators import VideoDiscriminator
from fieldwise.networks.layers import evaluating
from fieldwise.tasks.adversarial import AdversarialTask
from fieldwise.tasks.rollout import RolloutTask


class AdversarialRolloutTask(RolloutTask, AdversarialTask):
    """Train a network to forecast so that a discriminator takes its sequences for true ones.

    The discriminator is shown the judged channels of the horizon, (batch, horizon, channel, y, x).

    Parameters
    ----------
    options
        As of :class:`RolloutTask` and :class:`fieldwise.tasks.AdversarialTask`.

    Examples
    --------
    >>> home = "fieldwise.networks.forecasting"
    >>> task = AdversarialRolloutTask(
    ...     network=f"{home}.convlstm.ConvLSTM", network_options={"channels": 2, "features": 4}, context=2,
    ...     horizon=4, discriminator=f"{home}.discriminators.SequenceDiscriminator", game="bce",
    ...     discriminator_options={"channels": 1, "features": [4, 4]})
    >>> task.discriminator(task.show(torch.zeros(2, 4, 2, 16, 16), {})).shape
    torch.Size([2, 1, 1, 4, 4])
    """

    def show(self, field: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Return what the discriminator sees of a forecast, true or drawn."""
        return field[:, :, : self.judged]


class SAVPTask(AdversarialRolloutTask):
    """Train SAVP: forecasts from codes of the truth, and from drawn ones, each against a judge of its own.

    After Lee et al. 2018, arXiv:1804.01523. In training a network draws twice: once with codes that its
    `encode` finds in the true sequence, once with codes drawn by chance. The losses and the distance of
    features, of the first judge, are of the former; the discriminator is a :class:`PairOfJudges`. In
    validation codes are drawn.

    Parameters
    ----------
    feature_weight : float
        Of the distance of features: 1 less the cosine between the channels, mean over places, summed over
        the layers.
    options
        As of :class:`AdversarialRolloutTask`.

    Examples
    --------
    >>> home, small = "fieldwise.networks.forecasting", {"channels": 1, "features": 4}
    >>> task = SAVPTask(network=f"{home}.savp.SAVP", network_options=small | {"code_features": 4},
    ...                 context=2, horizon=4, discriminator="fieldwise.tasks.rivals.PairOfJudges",
    ...                 discriminator_options=small, game="least_squares", kl_weight=0.01).train()
    >>> batch = {"inputs": torch.zeros(2, 2, 1, 16, 16), "targets": torch.zeros(2, 4, 1, 16, 16)}
    >>> task.draw(batch).shape  # those of the truth's codes first
    torch.Size([4, 4, 1, 16, 16])
    """

    def __init__(self, *, feature_weight: float = 10.0, **options: Any) -> None:
        super().__init__(**options)
        require_at_least(0, feature_weight=feature_weight)
        self.feature_weight = feature_weight

    def draw(self, batch: Mapping[str, Any]) -> Tensor:
        """Return a forecast with drawn codes; in training before it one with codes of the truth."""
        drawn = super().draw(batch)
        if not self.training:
            return drawn
        mean, log_variance = self.encode(batch)
        code = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        known = self.network(batch["inputs"], code=code, **self.find_options(batch))
        return torch.cat([known, drawn])

    def encode(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Give mean and logarithm of the variance of the truth's codes, (batch, transition, code)."""
        return super().encode({"inputs": torch.cat([batch["inputs"], batch["targets"]], dim=1)})

    def add_up(self, prediction: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the losses of the forecast with codes of the truth, and each."""
        return super().add_up(prediction[: len(batch["targets"])], batch)

    def show(self, field: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Return what the judges see, (2 batch, horizon, channel, y, x): of one sequence each the same."""
        seen = super().show(field, batch)
        return seen if len(seen) > len(batch["targets"]) else torch.cat([seen, seen])

    def _loss_of_network(self, prediction: Tensor, batch: Mapping[str, Any]) -> Tensor:
        loss = super()._loss_of_network(prediction, batch)
        judges: Any = self.opponent
        if judges is None or not self.training or not self.feature_weight:
            return loss
        with evaluating(judges):
            told, true = (
                judges.of_known.judge(self.show(each, batch)[: len(batch["targets"])])[1]
                for each in (prediction, batch["targets"])
            )
        return loss + self.feature_weight * feature_distance(told, true)


class PairOfJudges(nn.Module):
    """Two discriminators of sequences, the first for the first half of a batch, the other for the second.

    Parameters
    ----------
    options
        As of `fieldwise.networks.forecasting.discriminators.VideoDiscriminator`.

    >>> PairOfJudges(1, features=4)(torch.zeros(6, 4, 1, 16, 16)).shape
    torch.Size([6, 1])
    """

    def __init__(self, channels: int, **options: Any) -> None:
        super().__init__()
        self.of_known = VideoDiscriminator(channels, **options)
        self.of_drawn = VideoDiscriminator(channels, **options)

    def forward(self, sequences: Tensor) -> Tensor:
        """Map (2 batch, time, channel, y, x) to scores, (2 batch, 1)."""
        known, drawn = sequences.chunk(2)
        return torch.cat([self.of_known(known), self.of_drawn(drawn)])


def feature_distance(told: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
    """Return 1 less the cosine between the channels of features, mean over places, summed over layers.

    Parameters
    ----------
    told, true
        Of each layer (batch, channel, *places); no gradient goes to the latter.

    >>> one, other = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[3.0], [4.0]]])
    >>> round(feature_distance([one, one], [one, other]).item(), 6)  # 0 + 1 - 3 / 5
    0.4
    """
    apart = [1 - functional.cosine_similarity(a, b.detach(), dim=1).mean() for a, b in zip(told, true)]
    return torch.stack(apart).sum()
