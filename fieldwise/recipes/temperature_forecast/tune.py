"""Hyper-parameters searched for: the verb tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from fieldwise.verbs.options import SEARCHING, Searching, with_options


@with_options(
    Searching,
    SEARCHING,
    data=Path("data/temperature_forecast"),
    study=Path("model/temperature_forecast/tuning.db"),
    trials=30,
)
def tune(
    *,
    network: tuple[str, ...] = ("advection", "convlstm", "simvp"),
    learning_rate: tuple[float, float] = (3e-4, 1e-2),
    batch_size: tuple[int, ...] | int = (2, 4, 8),
    others_weight: tuple[float, float] = (0.0, 1.0),
    max_epochs: tuple[int, int] = (5, 20),
    **searching: Unpack[Searching],
) -> dict[str, Any]:
    """Search for the hyper-parameters of the least validation loss; print the command that trains with them.

    Start it several times with the same study, on one machine or several that share the disk, and the
    processes share the work. One that was cut off goes on. Test cases have no say in the search.

    Args:
        network: Networks to choose from.
        learning_rate: Least and greatest; searched on a logarithmic scale.
        batch_size: Sizes to choose from.
        others_weight: Least and greatest weight of the other fields beside the target.
        max_epochs: Least and greatest.

    Returns:
        Options of train that did best.
    """
    from fieldwise.recipes.temperature_forecast.cases import RECIPE
    from fieldwise.recipes.temperature_forecast.plan import check_settings
    from fieldwise.recipes.temperature_forecast.train import train
    from fieldwise.verbs.trials import Log, Target, list_choices
    from fieldwise.verbs.tune import search

    return search(
        train,
        check=check_settings,
        recipe=RECIPE,
        target=Target("val_loss", "validation loss"),
        ranges={
            "network": list_choices(network),
            "learning_rate": Log(*learning_rate),
            "batch_size": list_choices(batch_size),
            "others_weight": others_weight,
            "max_epochs": max_epochs,
        },
        **searching,
    )
