"""Hyper-parameters searched for: the verb tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from fieldwise.verbs.options import SEARCHING, Searching, with_options


@with_options(
    Searching, SEARCHING, data=Path("data/ice_flow"), study=Path("model/ice_flow/tuning.db"), seed=123
)
def tune(
    *,
    learning_rate: tuple[float, float] = (5e-4, 5e-3),
    layers: tuple[int, int] = (8, 20),
    filters: tuple[int, ...] | int = (16, 32, 48),
    batch_size: tuple[int, ...] | int = (32, 64),
    max_epochs: tuple[int, int] = (60, 120),
    **searching: Unpack[Searching],
) -> dict[str, Any]:
    """Search for the hyper-parameters of the least validation loss; print the command that trains with them.

    Start it several times with the same study, on one machine or several that share the disk, and the
    processes share the work. One that was cut off goes on. Test cases have no say in the search.

    Args:
        learning_rate: Least and greatest; searched on a logarithmic scale.
        layers: Least and greatest number of convolutions.
        filters: Numbers of features to choose from.
        batch_size: Sizes to choose from.
        max_epochs: Least and greatest.

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
        **searching,
    )
