"""A training of two channels to one that takes no time, and what it leaves."""

from functools import partial

import numpy as np
import torch
from lightning.pytorch import Callback
from torch import nn

from fieldwise.samples.loaders import make_loader
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.tasks import FieldTask
from fieldwise.verbs.train import train_run, watched_by

SIGNATURE = Signature("own", (Variable("thk"), Variable("slope")), (Variable("speed"),), stacked=True)
CONVOLUTION = {"in_channels": 2, "out_channels": 1, "kernel_size": 3, "padding": 1}
QUIET = {"accelerator": "cpu", "tracker": "none", "precision": "32-true", "progress": False}


class Forgetful(nn.Sequential):
    """A network that draws by chance while it learns."""

    def __init__(self):
        super().__init__(nn.Conv2d(2, 4, 3, padding=1), nn.Dropout(0.5), nn.Conv2d(4, 1, 1))


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(2, 1, 3, padding=1), nn.BatchNorm2d(1))


def make_arrays(count=8):
    inputs = np.random.default_rng(0).normal(size=(count, 2, 8, 8)).astype(np.float32)
    return {"inputs": inputs, "targets": inputs[:, :1] * 2}


def make_loaders(batch_size=4):
    arrays = make_arrays()
    training = make_loader(arrays, batch_size=batch_size, shuffle_seed=1)
    return training, make_loader(arrays, batch_size=4)


def train(run, *, signature=SIGNATURE, loaders=None, settings=None, callbacks=(), sources=(), **options):
    kinds = ("max_epochs", "patience", "accumulate", "seed", "resume", "devices", "compile", *QUIET)
    training = QUIET | {name: value for name, value in options.items() if name in kinds}
    task = {"network": "torch.nn.Conv2d", "network_options": CONVOLUTION, "learning_rate": 1e-2}
    task |= {name: value for name, value in options.items() if name not in kinds}
    with watched_by(*callbacks):
        return train_run(
            partial(task.pop("kind", FieldTask), **task),
            loaders or make_loaders(),
            signature,
            run=run,
            settings=settings or {"learning_rate": 1e-2},
            sources=sources,
            **({"max_epochs": 2} | training),
        )


class StopAfter(Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epochs:
            raise KeyboardInterrupt


def state_of(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def contents_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
