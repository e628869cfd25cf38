"""Small searches for hyper-parameters, trained or pretended, for the tests of tune."""

import functools
import inspect
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pandas as pd
import torch

PAUSE_S = float(os.environ.get("PAUSE_S", 0))  # an epoch of pretended training
SMALL = {
    "learning_rate": (1e-4, 1e-3),
    "num_residual_blocks": (1, 1),
    "residual_scaling": (0.1, 0.3),
    "batch_size": (8, 16),
    "max_epochs": (1, 2),
    "fixed": {"adversarial_weight": 0.0, "structural_weight": 0.0},
    "accelerator": "cpu",
    "tracker": "none",
}


def words_of(options):
    """Write options as a command has them."""
    words = []
    for name, value in options.items():
        if name == "fixed":
            words += [word for key, one in value.items() for word in (f"--fixed.{key}", str(one))]
        else:
            words += [f"--{name}", *map(str, value if isinstance(value, tuple) else [value])]
    return words


def pretend(settings, *, callbacks):
    """Stand in for training, in no time: errors as a formula has them, checkpoints of nothing."""
    part = settings["run"] / "logs" / f"part_{len(list(settings['run'].glob('logs/part_*')))}"
    weights = settings["run"] / "checkpoints" / "best.ckpt"
    part.mkdir(parents=True)
    weights.parent.mkdir(exist_ok=True)
    weights.touch()
    lines = ["epoch,val_rmse_m"]
    for epoch in range(settings["max_epochs"]):
        error = (
            abs(math.log(settings["learning_rate"] / 4e-4)) + settings["residual_scaling"] + 1 / (epoch + 1)
        )
        lines.append(f"{epoch},{error}")
        (part / "metrics.csv").write_text("\n".join(lines))
        metrics = {"val_rmse_m": torch.tensor(error)}
        for callback in callbacks:
            callback.on_validation_end(SimpleNamespace(callback_metrics=metrics, current_epoch=epoch), None)
        time.sleep(PAUSE_S)
    return weights


def stand_in(pretended=pretend):
    """Give a verb train with the options of the bed's that only pretends."""
    from fieldwise.recipes.bed_topography import train
    from fieldwise.verbs.train import WATCHING

    @functools.wraps(train)
    def stands_in(**settings):
        return pretended(settings, callbacks=WATCHING.get())

    stands_in.__signature__ = inspect.signature(train)
    return stands_in


def pretend_to_train(monkeypatch, pretended=pretend):
    """Let searches of the bed pretend to train."""
    verb = stand_in(pretended)
    monkeypatch.setattr(sys.modules["fieldwise.recipes.bed_topography.train"], "train", verb)


def load(study):
    return optuna.load_study(study_name="bed_topography", storage=f"sqlite:///{study}")


def metrics_of(study, number):
    return pd.read_csv(study.with_suffix("") / f"trial_{number:04d}" / "logs" / "part_0" / "metrics.csv")


def start(tuning_data, study, trials, *, pause_s, **changes):
    """Start a process that tunes with pretended training."""
    words = ["bed_topography", "tune", "--data", tuning_data, "--study", study, "--trials", trials]
    code = (
        "import sys; sys.path[:0] = ['tests', '.']; from searching import stand_in; "
        "from fieldwise.cli import main; pretended = stand_in(); "
        "sys.modules['fieldwise.recipes.bed_topography.train'].train = pretended; "
        "sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words), *words_of(SMALL | changes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PAUSE_S": str(pause_s)},
    )
