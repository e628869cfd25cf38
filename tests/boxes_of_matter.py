"""Tiny boxes of cosmic structure, a quick way to train on them, and networks whose answer is known."""

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from fieldwise.recipes import structure_formation
from fieldwise.samples.prepared import Prepared
from fieldwise.tasks.checkpoints import read_checkpoint

FEW = {"steps": 4, "boxes": 4, "validation_boxes": 1, "test_boxes": 1, "progress": False}
TRAIN = {"batch_size": 2, "max_epochs": 1, "seed": 3, "warmup_steps": 0, "precision": "32-true"}
TRAIN |= {"accelerator": "cpu", "tracker": "none", "progress": False}
SMALL = {"features": 4, "blocks": 1}
THIN = {"network": "generator", "network_options": {"most_features": 4, "least_features": 2}}
ASLEEP = {"learning_rate": 1e-30}  # weights stay, to the last bit
UNCHANGED = {"network": "boxes_of_matter.Unchanged", **ASLEEP}
AXES = "xyz"


def prepare(out, **options):
    """Make the sandbox, by default flat and each box of a cosmology and time of its own."""
    of_flat = {"cells": 16, "omega_m_range": (0.2, 0.4), "redshift_range": (0.0, 1.0)}
    return structure_formation.prepare(out=out, **(FEW | (options or of_flat)))


def train(data, run, **options):
    """Train and give the run folder."""
    structure_formation.train(data=data, run=run, **(TRAIN | options))
    return run


def train_styled(flat, run):
    """Train an emulator that reads growth factor and share of matter, so fast that both count."""
    known = {"style": ["omega_m", "growth_factor"], "learning_rate": 0.03, "max_epochs": 4, **SMALL}
    return train(flat, run, **known)


def train_ensemble(pairs, run):
    return train(pairs, run, network_options={"features": 4, "blocks": 1}, learning_rate=0.01, max_epochs=2)


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


def open_case(data, split="test"):
    return Prepared(data, recipe="structure_formation").cases(split)[0]


def read_truth(data, name="displacement"):
    return open_case(data).read([name])[name]


def read_weights(run, name="last"):
    return read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["state_dict"]


def open_mean(path, channels):
    if path.suffix == ".npy":
        return np.load(path)[:channels]
    with xr.open_dataset(path, engine="zarr" if path.suffix == ".zarr" else "h5netcdf") as opened:
        return np.stack([opened[f"displacement_{axis}"].values for axis in AXES[:channels]])
