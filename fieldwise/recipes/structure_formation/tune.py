"""Hyper-parameters searched for: the verb tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal


def tune(
    *,
    data: Path = Path("data/structure_formation"),
    study: Path = Path("model/structure_formation/tuning.db"),
    trials: int = 40,
    learning_rate: tuple[float, float] = (5e-4, 8e-3),
    features: tuple[int, ...] | int = (32, 64, 96),
    blocks: tuple[int, int] = (2, 8),
    batch_size: tuple[int, ...] | int = (2, 4, 8),
    max_epochs: tuple[int, int] = (4, 16),
    fixed: dict[str, Any] | None = None,
    min_epochs: int = 1,
    seed: int = 42,
    accelerator: str = "auto",
    tracker: Literal["none", "tensorboard", "comet"] = "tensorboard",
    progress: bool = True,
) -> dict[str, Any]:
    """Search for the hyper-parameters of the least validation loss; print the command that trains with them.

    Start it several times with the same study, on one machine or several that share the disk, and the
    processes share the work. One that was cut off goes on. Test boxes have no say in the search.

    Args:
        data: Prepared folder.
        study: File of the study, .db (SQLite). The runs of its trials and its figures go to the folder of the
            same name; of the weights, only those of the best trial are kept.
        trials: How many trials the study shall hold in the end, those given up early counted.
        learning_rate: Least and greatest; searched on a logarithmic scale.
        features: Numbers of channels to choose from.
        blocks: Least and greatest number.
        batch_size: Sizes to choose from.
        max_epochs: Least and greatest.
        fixed: Other options of train, the same for all trials, such as --fixed.loss mae.
        min_epochs: Epochs before a trial can be given up for doing worse than others.
        seed: Of the search, and of the weights and order in each trial.
        accelerator: cpu, gpu or auto.
        tracker: Who is told of each trial; see train.
        progress: Whether to tell of each trial.

    Returns:
        Options of train that did best.
    """
    from fieldwise.recipes.structure_formation.plan import check_settings
    from fieldwise.recipes.structure_formation.prepare import RECIPE
    from fieldwise.recipes.structure_formation.train import train
    from fieldwise.verbs.trials import Log, Target, list_choices
    from fieldwise.verbs.tune import search

    return search(
        train,
        check=check_settings,
        recipe=RECIPE,
        target=Target("val_loss", "validation loss"),
        ranges={
            "learning_rate": Log(*learning_rate),
            "features": list_choices(features),
            "blocks": blocks,
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
