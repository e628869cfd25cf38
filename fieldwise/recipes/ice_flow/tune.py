"""Hyper-parameters searched for: the verb tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal


def tune(
    *,
    data: Path = Path("data/ice_flow"),
    study: Path = Path("model/ice_flow/tuning.db"),
    trials: int = 60,
    learning_rate: tuple[float, float] = (5e-4, 5e-3),
    layers: tuple[int, int] = (8, 20),
    filters: tuple[int, ...] | int = (16, 32, 48),
    batch_size: tuple[int, ...] | int = (32, 64),
    max_epochs: tuple[int, int] = (60, 120),
    fixed: dict[str, Any] | None = None,
    min_epochs: int = 1,
    seed: int = 123,
    accelerator: str = "auto",
    tracker: Literal["none", "tensorboard", "comet"] = "tensorboard",
    progress: bool = True,
) -> dict[str, Any]:
    """Search for the hyper-parameters of the least validation loss; print the command that trains with them.

    Start it several times with the same study, on one machine or several that share the disk, and the
    processes share the work. One that was cut off goes on. Test cases have no say in the search.

    Args:
        data: Prepared folder.
        study: File of the study, .db (SQLite). The runs of its trials and its figures go to the folder of the
            same name; of the weights, only those of the best trial are kept.
        trials: How many trials the study shall hold in the end, those given up early counted.
        learning_rate: Least and greatest; searched on a logarithmic scale.
        layers: Least and greatest number of convolutions.
        filters: Numbers of features to choose from.
        batch_size: Sizes to choose from.
        max_epochs: Least and greatest.
        fixed: Other options of train, the same for all trials, such as --fixed.loss mse.
        min_epochs: Epochs before a trial can be given up for doing worse than others.
        seed: Of the search, and of the weights and order in each trial.
        accelerator: cpu, gpu or auto.
        tracker: Who is told of each trial; see train.
        progress: Whether to tell of each trial.

    Returns:
        Options of train that did best.
    """
    from fieldwise.recipes.ice_flow.signatures import RECIPE
    from fieldwise.recipes.ice_flow.train import check_settings, train
    from fieldwise.verbs.trials import Log, Target, list_choices
    from fieldwise.verbs.tune import search

    return search(
        train,
        check=check_settings,
        recipe=RECIPE,
        target=Target("val_loss", "validation loss"),
        ranges={
            "learning_rate": Log(*learning_rate),
            "layers": layers,
            "filters": list_choices(filters),
            "batch_size": list_choices(batch_size),
            "max_epochs": max_epochs,
        },
        data=data,
        study=study,
        trials=trials,
        fixed=fixed,
        min_epochs=min_epochs,
        seed=seed,
        accelerator=accelerator,
        tracker=tracker,
        progress=progress,
    )
