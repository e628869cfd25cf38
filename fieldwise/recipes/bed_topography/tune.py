"""Hyper-parameters searched for: the verb tune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fieldwise.verbs.options import SEARCHING, Searching, with_options


@with_options(Searching, SEARCHING)
def tune(
    *,
    learning_rate: tuple[float, float] = (1e-4, 2e-4),
    num_residual_blocks: tuple[int, int] = (8, 14),
    residual_scaling: tuple[float, float] = (0.1, 0.5),
    batch_size: tuple[int, ...] | int = (64, 128),
    max_epochs: tuple[int, int] = (90, 150),
    **searching: Unpack[Searching],
) -> dict[str, Any]:
    """Search for the hyper-parameters of the least validation error, of the generator; print what trains so.

    Start it several times with the same study, on one machine or several that share the disk, and the
    processes share the work. One that was cut off goes on. Held-out surveys have no say in the search.

    Args:
        learning_rate: Least and greatest; searched on a logarithmic scale.
        num_residual_blocks: Least and greatest.
        residual_scaling: Least and greatest.
        batch_size: Sizes to choose from.
        max_epochs: Least and greatest.

    Returns:
        Options of train that did best.
    """
    from fieldwise.recipes.bed_topography.generator_training import check_settings
    from fieldwise.recipes.bed_topography.regions.region import open_region
    from fieldwise.recipes.bed_topography.train import complete, train
    from fieldwise.verbs.trials import Log, Target, list_choices
    from fieldwise.verbs.tune import search

    searching["fixed"] = {"network": "generator", **(searching["fixed"] or {})}
    return search(
        train,
        check=lambda asked: check_settings(complete(asked, "generator"), open_region(asked["data"])),
        recipe="bed_topography",
        target=Target("val_rmse_m", "validation RMSE", "m", hopeless=find_hopeless),
        ranges={
            "learning_rate": Log(*learning_rate),
            "num_residual_blocks": num_residual_blocks,
            "residual_scaling": residual_scaling,
            "batch_size": list_choices(batch_size),
            "max_epochs": max_epochs,
        },
        **searching,
    )


def find_hopeless(metrics: Mapping[str, float]) -> str | None:
    """Say so where the original gives up: its PSNR is negative, so the error more than 2**32 metres.

    >>> find_hopeless({"val_rmse_m": 45.0}) is None
    True
    >>> find_hopeless({"val_rmse_m": 1e10})
    'the error is 1e+10 m'
    """
    error = metrics["val_rmse_m"]
    return f"the error is {error:.3g} m" if error > 2**32 else None
