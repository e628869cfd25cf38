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

    Examples
    --------
    >>> import torch
    >>> physics = torch.tensor([100.0, 500.0, 78.0, 0.0464]).view(1, 4, 1, 1).expand(1, 4, 3, 3)
    >>> batch = {"physics": physics, "spacing_m": torch.full((1, 1, 1, 1), 100.0)}
    >>> names = ("ubar", "vbar", "uvelsurf", "vvelsurf")
    >>> description = {"outputs": {name: {"scale": 1000.0} for name in names}}
    >>> answers = [torch.full((1, 4, 3, 3), speed) for speed in (0.0, 0.1, 0.2)]
    >>> still, slow, fast = (energy_loss(answer, batch, description) for answer in answers)
    >>> bool(still < slow < fast)  # flat ice is best at rest
    True
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

    Examples
    --------
    >>> import torch
    >>> names = {"uvelbase": 10.0, "vvelbase": 0.0, "uvelsurf": 50.0, "vvelsurf": 0.0}
    >>> velocity = {name: torch.full((1, 1, 1), speed) for name, speed in names.items()}
    >>> [node.flatten().tolist() for node in find_nodes(velocity)]  # bed and surface
    [[10.0, 50.0], [0.0, 0.0]]
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
    """Refuse a mapping that does not tell how velocity changes with depth.

    >>> check_depths(["ubar", "vbar", "uvelsurf", "vvelsurf"])
    >>> check_depths(["ubar", "vbar"])
    Traceback (most recent call last):
    fieldwise.errors.InputError: energy: ubar, vbar do not tell how velocity changes with depth; ...
    """
    known = [place for place in ("bar", "velbase", "velsurf") if {f"u{place}", f"v{place}"} <= set(names)]
    if len(known) < 2:
        raise InputError(
            f"energy: {', '.join(names)} do not tell how velocity changes with depth; take a map type with "
            "mean and surface velocity, such as f13 or f15"
        )
