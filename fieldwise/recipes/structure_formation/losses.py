"""Losses in physical units: what predicted displacements and velocities come to on a mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fieldwise.errors import InputError
from fieldwise.losses import densities, spectra
from fieldwise.losses.cells import dice_loss
from fieldwise.samples.scales import read_scale

HERE = __name__
LOSSES = {
    "density": f"{HERE}.density",
    "momentum": f"{HERE}.momentum",
    "lagrangian_eulerian": f"{HERE}.lagrangian_eulerian",
    "power": f"{HERE}.power",
    "dice": f"{HERE}.dice",
}
Batch = Mapping[str, Any]
Plain = Mapping[str, Any]  # a signature in plain types
EXAMPLE: Plain = {  # for those below
    "outputs": [
        {"name": name, "fields": ["x", "y"], "scale": {"mean": 0.0, "spread": 1.0}}
        for name in ("displacement", "velocity")
    ],
    "spacings": [1.0],
    "facts": {"whole_boxes": True},
}


def density(prediction: Tensor, batch: Batch, signature: Plain) -> Tensor:
    """Return the mean squared error of the density that the displacement comes to.

    >>> still, moved = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4)
    >>> moved[0, 0, ::2, 0] = torch.tensor([1.0, -1.0])  # two of 16 particles, into the cell of a third
    >>> density(moved, {"targets": still}, EXAMPLE).item()  # (1 + 4 + 1) / 16
    0.375
    """
    return densities.density_loss(*_pick(prediction, batch, signature, "displacement"), **_mesh(signature))


def momentum(prediction: Tensor, batch: Batch, signature: Plain) -> Tensor:
    """Return the mean squared error of the momentum that displaced particles carry.

    >>> still, running = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4)
    >>> running[:, 2:] = 3.0
    >>> momentum(running, {"targets": still}, EXAMPLE).item()
    9.0
    """
    both = _pick(prediction, batch, signature, "displacement", "velocity")
    return densities.momentum_loss(*both, **_mesh(signature))


def lagrangian_eulerian(prediction: Tensor, batch: Batch, signature: Plain) -> Tensor:
    """Return the logarithm of the errors of displacement and density, multiplied.

    >>> truth = torch.zeros(1, 4, 4, 4)
    >>> near, far = (truth + size * torch.arange(4.0) for size in (0.01, 0.1))
    >>> losses = [lagrangian_eulerian(each, {"targets": truth}, EXAMPLE).item() for each in (near, far)]
    >>> losses[0] < losses[1]
    True
    """
    both = _pick(prediction, batch, signature, "displacement")
    return densities.lagrangian_eulerian_loss(*both, **_mesh(signature))


def power(prediction: Tensor, batch: Batch, signature: Plain) -> Tensor:
    """Return by how much the power spectrum is off, shell by shell.

    >>> truth = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> power(truth, {"targets": truth}, EXAMPLE).item()
    0.0
    """
    return spectra.power_loss(prediction, batch["targets"], relative=True)


def dice(prediction: Tensor, batch: Batch, signature: Plain) -> Tensor:
    """Return what two fields between 0 and 1 lack of covering each other.

    >>> sure = torch.full((1, 1, 8, 8), 20.0)  # before the sigmoid
    >>> round(dice(sure, {"targets": torch.ones(1, 1, 8, 8)}, EXAMPLE).item(), 4)
    0.0
    """
    return dice_loss(prediction.sigmoid(), batch["targets"], batch.get("mask"))


def check_losses(losses: Mapping[str, float], names: list[str]) -> None:
    """Refuse losses of fields that the network does not give.

    >>> check_losses({LOSSES["momentum"]: 1.0}, ["displacement"])
    Traceback (most recent call last):
    fieldwise.errors.InputError: --loss: momentum is of displacement and velocity; the targets are ...
    """
    one, both = ("displacement",), ("displacement", "velocity")
    needs: dict[str, tuple[str, ...]] = {"density": one, "lagrangian_eulerian": one, "momentum": both}
    for loss, wanted in needs.items():
        lacking = [each for each in wanted if not any(name.startswith(each) for name in names)]
        if LOSSES[loss] in losses and lacking:
            raise InputError(
                f"--loss: {loss} is of {' and '.join(wanted)}; the targets are {', '.join(names)}"
            )


def _pick(prediction: Tensor, batch: Batch, signature: Plain, *wanted: str) -> list[Tensor]:
    """Give prediction and truth of some variables, joined, in their own units and full precision."""
    picked: list[list[Tensor]] = [[], []]
    for want in wanted:
        first = 0
        for variable in signature["outputs"]:
            channels = len(variable["fields"])
            if variable["name"].startswith(want):
                scale = read_scale(variable["scale"])
                for found, values in zip(picked, (prediction, batch["targets"])):
                    found.append(scale.undo(values[:, first : first + channels].float()))  # type: ignore[arg-type]
                break
            first += channels
    return [torch.cat(found, dim=1) for found in picked]


def _mesh(signature: Plain) -> dict[str, Any]:
    """Give the options of the mesh: whether what is compared is a whole periodic box."""
    whole = bool(signature["facts"].get("whole_boxes"))
    return {"spacing": signature["spacings"][0], "periodic": whole}
