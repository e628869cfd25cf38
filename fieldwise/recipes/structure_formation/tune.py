"""Hyper-parameters searched for: the verb tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from fieldwise.verbs.options import SEARCHING, Searching, with_options


@with_options(
    Searching,
    SEARCHING,
    data=Path("data/structure_formation"),
    study=Path("model/structure_formation/tuning.db"),
    trials=40,
)
def tune(
    *,
    learning_rate: tuple[float, float] = (5e-4, 8e-3),
    features: tuple[int, ...] | int = (32, 64, 96),
    blocks: tuple[int, int] = (2, 8),
    batch_size: tuple[int, ...] | int = (2, 4, 8),
    max_epochs: tuple[int, int] = (4, 16),
    **searching: Unpack[Searching],
) -> dict[str, Any]:
    """Search for the hyper-parameters of the least validation loss; print the command that trains with them.

    Start it several times with the same study, on one machine or several that share the disk, and the
    processes share the work. One that was cut off goes on. Test boxes have no say in the search.

    Args:
        learning_rate: Least and greatest; searched on a logarithmic scale.
        features: Numbers of channels to choose from.
        blocks: Least and greatest number.
        batch_size: Sizes to choose from.
        max_epochs: Least and greatest.

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
        **searching,
    )
