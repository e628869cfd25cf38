"""Which network maps boxes to boxes: its import path and arguments, and what it wants read around a crop."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from fieldwise.errors import InputError
from fieldwise.networks.imports import import_by_path

ROOM = "fieldwise.networks.valid"
NETWORKS = {
    "emulator": f"{ROOM}.emulator.ResidualEmulator",
    "unet": f"{ROOM}.unet.UNet",
    "vnet": f"{ROOM}.vnet.VNet",
    "generator": f"{ROOM}.srgan.SuperResolutionGenerator",
    "superresolver": f"{ROOM}.superresolution.StochasticSuperResolver",
}
DISCRIMINATORS = {
    "discriminator": f"{ROOM}.srgan.SuperResolutionDiscriminator",
    "patchgan": f"{ROOM}.patchgan.PatchGAN",
    "patchgan42": f"{ROOM}.patchgan.PatchGAN42",
}
DRAWS = ("generator", "superresolver")  # give another field each time


class Choice(NamedTuple):
    """A network by import path and arguments, and the cells of the input that it reads around a crop."""

    path: str
    options: dict[str, Any]
    padding: int


def choose_network(
    name: str,
    options: Mapping[str, Any],
    *,
    channels: tuple[int, int],
    dimensions: int,
    scale_factor: int,
    style: Sequence[str] = (),
    whole_boxes: bool,
) -> Choice:
    """Give import path and arguments of a network, and how far beyond a crop it reads.

    Parameters
    ----------
    name
        Of `NETWORKS`, `auto` for the one that fits, or an import path.
    options
        Further arguments.
    channels
        Read and given.
    scale_factor
        Cells given for one that is read, along an axis.
    style
        Names of the numbers that it reads beside fields.
    whole_boxes
        Whether samples are whole periodic boxes: a network that can wraps around them.

    Raises
    ------
    InputError
        Where there is no such network, or it does not take what it is to.

    >>> choice = choose_network("vnet", {"features": 8}, channels=(3, 3), dimensions=3, scale_factor=1,
    ...                         whole_boxes=False)
    >>> choice.options, choice.padding
    ({'in_channels': 3, 'out_channels': 3, 'dimensions': 3, 'boundary': 'valid', 'features': 8}, 20)
    """
    if name == "auto":
        name = "superresolver" if scale_factor > 1 else "emulator"
    if name not in NETWORKS and "." not in name:
        raise InputError(f"--network: is {name!r}; give auto, {', '.join(NETWORKS)}, or an import path")
    path = NETWORKS.get(name, name)
    kind = import_by_path(path, kind=nn.Module)
    taken = inspect.signature(kind).parameters
    known: dict[str, Any] = {
        "in_channels": channels[0],
        "out_channels": channels[1],
        "dimensions": dimensions,
    }
    if scale_factor > 1 and "scale_factor" not in taken:
        fitting = ", ".join(DRAWS)
        raise InputError(
            f"--network: {name} gives no finer cells; for a scale factor of {scale_factor} take {fitting}"
        )
    if scale_factor > 1:
        known["scale_factor"] = scale_factor
    elif name in DRAWS:
        raise InputError(
            f"--network: {name} makes fields finer, and the scale factor is 1; take emulator or unet"
        )
    if style and "style_numbers" not in taken:
        raise InputError(f"--style: {name} reads no numbers; take emulator, unet, vnet or generator")
    if style:
        known["style_numbers"] = len(style)
    wraps = "boundary" in taken
    if wraps:
        known["boundary"] = "periodic" if whole_boxes else "valid"
    arguments = {**known, **options}
    try:
        network = kind(**arguments)
    except TypeError as error:
        raise InputError(f"--network_options: {name} cannot be made of {dict(options)} ({error})") from None
    return Choice(path, arguments, 0 if wraps and whole_boxes else int(getattr(network, "margin", 0)))


def check_members(members: int, network: Choice) -> None:
    """Refuse to draw several fields with a network that gives the same one each time.

    >>> check_members(2, Choice("torch.nn.Conv2d", {}, 0))
    Traceback (most recent call last):
    fieldwise.errors.InputError: --members: is 2, and Conv2d draws the same field each time; give 1, or ...
    """
    kind = import_by_path(network.path, kind=nn.Module)
    if members > 1 and "noise" not in inspect.signature(kind.forward).parameters:
        raise InputError(
            f"--members: is {members}, and {kind.__name__} draws the same field each time; give 1, or the "
            f"network {' or '.join(DRAWS)}"
        )


def choose_discriminator(
    name: str | None,
    options: Mapping[str, Any],
    *,
    channels: int,
    dimensions: int,
    scale_factor: int = 1,
) -> tuple[str, dict[str, Any]] | None:
    """Give import path and arguments of a discriminator that sees so many channels; None for none.

    >>> choose_discriminator("patchgan", {}, channels=3, dimensions=2)
    ('fieldwise.networks.valid.patchgan.PatchGAN', {'in_channels': 3, 'dimensions': 2})
    """
    if name is None or name == "none":
        return None
    if name not in DISCRIMINATORS and "." not in name:
        there = ", ".join(DISCRIMINATORS)
        raise InputError(f"--discriminator: is {name!r}; give none, {there}, or an import path")
    path = DISCRIMINATORS.get(name, name)
    taken = inspect.signature(import_by_path(path, kind=nn.Module)).parameters
    known = {"in_channels": channels, "dimensions": dimensions}
    if "scale_factor" in taken:
        known["scale_factor"] = max(scale_factor, 2)
    return path, {**known, **options}
