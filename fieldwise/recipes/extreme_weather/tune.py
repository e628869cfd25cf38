"""Hyper-parameters searched for: the verb tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from fieldwise.verbs.options import SEARCHING, Searching, with_options


@with_options(
    Searching,
    SEARCHING,
    data=Path("data/extreme_weather"),
    study=Path("model/extreme_weather/tuning.db"),
    trials=30,
)
def tune(
    *,
    learning_rate: tuple[float, float] = (3e-4, 1e-2),
    weight_power: tuple[float, float] = (-0.5, 0.0),
    batch_size: tuple[int, ...] | int = (2, 4, 8),
    loss: tuple[str, ...] = ("cross_entropy", "focal", "cross_entropy+jaccard"),
    max_epochs: tuple[int, int] = (10, 30),
    **searching: Unpack[Searching],
) -> dict[str, Any]:
    """Search for the hyper-parameters of the best overlap in validation; print the command of that training.

    Start it several times with the same study, on one machine or several that share the disk, and the
    processes share the work. One that was cut off goes on. Test cases have no say in the search.

    Args:
        learning_rate: Least and greatest; searched on a logarithmic scale.
        weight_power: Least and greatest power of frequencies by which classes count.
        batch_size: Sizes to choose from.
        loss: Losses to choose from.
        max_epochs: Least and greatest.

    Returns:
        Options of train that did best.
    """
    from fieldwise.recipes.extreme_weather.cases import RECIPE
    from fieldwise.recipes.extreme_weather.train import check_settings, train
    from fieldwise.tasks.classes import MONITOR
    from fieldwise.verbs.trials import Log, Signed, Target, list_choices
    from fieldwise.verbs.tune import search

    return search(
        train,
        check=check_settings,
        recipe=RECIPE,
        target=Target(MONITOR, "1 less the IoU of validation"),
        ranges={
            "learning_rate": Log(*learning_rate),
            "weight_power": Signed(*weight_power),
            "batch_size": list_choices(batch_size),
            "loss": list_choices(loss),
            "max_epochs": max_epochs,
        },
        **searching,
    )
