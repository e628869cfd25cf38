"""Hyper-parameters searched for: the verb tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal


def tune(
    *,
    data: Path = Path("data/extreme_weather"),
    study: Path = Path("model/extreme_weather/tuning.db"),
    trials: int = 30,
    learning_rate: tuple[float, float] = (3e-4, 1e-2),
    weight_power: tuple[float, float] = (-0.5, 0.0),
    batch_size: tuple[int, ...] | int = (2, 4, 8),
    loss: tuple[str, ...] = ("cross_entropy", "focal", "cross_entropy+jaccard"),
    max_epochs: tuple[int, int] = (10, 30),
    fixed: dict[str, Any] | None = None,
    min_epochs: int = 1,
    seed: int = 42,
    accelerator: str = "auto",
    tracker: Literal["none", "tensorboard", "comet"] = "tensorboard",
    progress: bool = True,
) -> dict[str, Any]:
    """Search for the hyper-parameters of the best overlap in validation; print the command of that training.

    Start it several times with the same study, on one machine or several that share the disk, and the
    processes share the work. One that was cut off goes on. Test cases have no say in the search.

    Args:
        data: Prepared folder.
        study: File of the study, .db (SQLite). The runs of its trials and its figures go to the folder of the
            same name; of the weights, only those of the best trial are kept.
        trials: How many trials the study shall hold in the end, those given up early counted.
        learning_rate: Least and greatest; searched on a logarithmic scale.
        weight_power: Least and greatest power of frequencies by which classes count.
        batch_size: Sizes to choose from.
        loss: Losses to choose from.
        max_epochs: Least and greatest.
        fixed: Other options of train, the same for all trials, such as --fixed.network unet.
        min_epochs: Epochs before a trial can be given up for doing worse than others.
        seed: Of the search, and of the weights and order in each trial.
        accelerator: cpu, gpu or auto.
        tracker: Who is told of each trial; see train.
        progress: Whether to tell of each trial.

    Returns:
        Options of train that did best.
    """
    from fieldwise.recipes.extreme_weather.cases import RECIPE
    from fieldwise.recipes.extreme_weather.train import check_settings, train
    from fieldwise.tasks.classes import MONITOR
    from fieldwise.verbs.trials import Log, Target, list_choices
    from fieldwise.verbs.tune import search

    return search(
        train,
        check=check_settings,
        recipe=RECIPE,
        target=Target(MONITOR, "1 less the IoU of validation"),
        ranges={
            "learning_rate": Log(*learning_rate),
            "weight_power": weight_power,
            "batch_size": list_choices(batch_size),
            "loss": list_choices(loss),
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
