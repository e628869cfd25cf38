"""What a network reads by name: fields, each with its channels and the spacing of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fieldwise.errors import InputError


@dataclass(frozen=True)
class Channels:
    """One input of a network: its name, how many channels it has and the spacing of its cells.

    >>> Channels("ice_velocity", channels=2, spacing_m=500.0).spacing_m
    500.0
    """

    name: str
    channels: int
    spacing_m: float


def read_channels(inputs: Sequence[Channels | Mapping[str, Any]]) -> tuple[Channels, ...]:
    """Read what a network is to read, each with a name of its own.

    >>> read_channels([{"name": "bed_lowres", "channels": 1, "spacing_m": 1000.0}])
    (Channels(name='bed_lowres', channels=1, spacing_m=1000.0),)
    """
    try:
        known = tuple(each if isinstance(each, Channels) else Channels(**each) for each in inputs)
    except TypeError:
        raise InputError(f"inputs are {inputs}; give dicts of name, channels and spacing_m") from None
    names = [each.name for each in known]
    if not names or len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
        raise InputError(f"inputs are named {names}; give each a name of its own, of letters, digits and _")
    return known


def whole_ratio(channels: Channels, lowres_spacing_m: float) -> int:
    """Give the cells of an input along one of the low-resolution grid.

    >>> whole_ratio(Channels("ice_velocity", 2, 500.0), 1000.0)
    2
    """
    ratio = lowres_spacing_m / channels.spacing_m if channels.spacing_m > 0 else 0.0
    if round(ratio) < 1 or abs(ratio - round(ratio)) > 1e-6:
        raise InputError(
            f"input {channels.name} has a spacing of {channels.spacing_m} m, which does not divide the "
            f"low-resolution spacing of {lowres_spacing_m} m; resample it, e.g. to {lowres_spacing_m / 2} m"
        )
    return round(ratio)


def check_fields(
    fields: Mapping[str, Tensor], inputs: Sequence[Channels], lowres_spacing_m: float, *, least: int
) -> None:
    """Refuse a batch that lacks an input, or whose inputs do not lie on one window.

    Parameters
    ----------
    fields
        Name to (batch, channels, y, x).
    least
        Cells of the low-resolution grid that there must be along an axis.

    >>> import torch
    >>> check_fields({}, [Channels("bed_lowres", 1, 1000.0)], 1000.0, least=3)
    Traceback (most recent call last):
    fieldwise.errors.InputError: the network reads bed_lowres too; add it to the inputs []
    """
    missing = [channels.name for channels in inputs if channels.name not in fields]
    if missing:
        raise InputError(f"the network reads {', '.join(missing)} too; add it to the inputs {list(fields)}")
    ratios = [whole_ratio(channels, lowres_spacing_m) for channels in inputs]
    first = fields[inputs[0].name]
    rows, columns = (cells // ratios[0] for cells in first.shape[-2:])
    for channels, ratio in zip(inputs, ratios):
        expected = (len(first), channels.channels, rows * ratio, columns * ratio)
        shape = tuple(fields[channels.name].shape)
        if shape != expected or min(rows, columns) < least:
            raise InputError(
                f"input {channels.name} has shape {shape}, expected {expected} (batch, channels, y, x), "
                f"at least {least} low-resolution cells a side; cut all inputs on the same padded window"
            )
