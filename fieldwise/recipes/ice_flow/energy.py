"""The energy of flow as a loss, and how far predicted flow is from the least energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fieldwise.errors import InputError
from fieldwise.physics.ice_flow import energy, profile_nodes, profile_surface

LOSS = "fieldwise.recipes.ice_flow.energy.energy_loss"


def energy_loss(prediction: Tensor, batch: Mapping[str, Tensor], description: Mapping[str, Any]) -> Tensor:
    """Return the Blatter-Pattyn energy of predicted flow, the mean over the batch, in MPa m/a.

    It is least, and below zero, where the flow is right; no target is looked at.

    Parameters
    ----------
    prediction
        (batch, outputs, y, x), scaled.
    batch
        `physics`, (batch, 4, y, x): thickness, surface, rate factor, sliding coefficient;
        `spacing_m`, (batch, 1, 1, 1).
    description
        Of the emulator: names and scales of the outputs.
    """
    scales = {name: entry["scale"] for name, entry in description["outputs"].items()}
    channels = zip(scales, prediction.unbind(1), strict=True)
    velocity = {name: values * scales[name] for name, values in channels}
    thickness, surface, rate, sliding = batch["physics"].unbind(1)
    return energy(
        *find_nodes(velocity),
        thickness=thickness,
        surface=surface,
        spacing_m=batch["spacing_m"].flatten(),
        rate_factor=rate,
        sliding_coefficient=sliding,
        y_descending=True,
    ).mean()


def find_nodes(velocity: Mapping[str, Tensor], *, nodes: int = 2) -> list[Tensor]:
    """Spread predicted flow over nodes from bed to surface: [to the east, to the north].

    Raises
    ------
    InputError
        Where less than two of base, mean and surface velocity are predicted.
    """
    check_depths(velocity)
    columns = []
    for axis in "uv":
        known = {name[1:]: values for name, values in velocity.items() if name[0] == axis}
        if "velbase" not in known:
            known["velbase"] = 5 * known["bar"] - 4 * known["velsurf"]  # the inverse of profile_mean
        if "velsurf" not in known:
            known["velsurf"] = profile_surface(known["velbase"], known["bar"])
        columns.append(profile_nodes(known["velbase"], known["velsurf"], nodes=nodes))
    return columns


def check_depths(names: Mapping[str, Any]) -> None:
    """Refuse a mapping that does not tell how velocity changes with depth."""
    known = [place for place in ("bar", "velbase", "velsurf") if {f"u{place}", f"v{place}"} <= set(names)]
    if len(known) < 2:
        raise InputError(
            f"energy: {', '.join(names)} do not tell how velocity changes with depth; take a map type with "
            "mean and surface velocity, such as f13 or f15"
        )
