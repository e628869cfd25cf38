"""Tiny boxes of cosmic structure, a quick way to train on them, and networks whose answer is known."""

import torch
from torch import Tensor, nn

from fieldwise.recipes import structure_formation

FEW = {"steps": 4, "boxes": 4, "validation_boxes": 1, "test_boxes": 1, "progress": False}
TRAIN = {"batch_size": 2, "max_epochs": 1, "seed": 3, "warmup_steps": 0, "precision": "32-true"}
TRAIN |= {"accelerator": "cpu", "tracker": "none", "progress": False}
SMALL = {"features": 4, "blocks": 1}
THIN = {"network": "generator", "network_options": {"most_features": 4, "least_features": 2}}
ASLEEP = {"learning_rate": 1e-30}  # weights stay, to the last bit


def prepare(out, **options):
    """Make the sandbox, by default flat and each box of a cosmology and time of its own."""
    of_flat = {"cells": 16, "omega_m_range": (0.2, 0.4), "redshift_range": (0.0, 1.0)}
    return structure_formation.prepare(out=out, **(FEW | (options or of_flat)))


def train(data, run, **options):
    """Train and give the run folder."""
    structure_formation.train(data=data, run=run, **(TRAIN | options))
    return run


def predict(run, data, out, **options):
    known = {"accelerator": "cpu", "progress": False} | options
    return structure_formation.predict(run=run, data=data, out=out, **known)


def evaluate(run, data, prediction, **options):
    known = {"figures": False, "progress": False} | options
    return structure_formation.evaluate(run=run, data=data, prediction=prediction, **known)


class Unchanged(nn.Module):
    """Gives what it reads."""

    def __init__(self, in_channels: int, out_channels: int, dimensions: int, style_numbers: int = 0) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.ones(()))

    def forward(self, fields: Tensor, style: Tensor | None = None) -> Tensor:
        """Map (batch, channel, *cells) to the same."""
        return self.share * fields
