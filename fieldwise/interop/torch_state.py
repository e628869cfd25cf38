"""Weights in files of PyTorch: plain tensors alone, never objects, and those of the network expected."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.errors import InputError, first_line

State = Mapping[str, Tensor]


def read_plain(path: str | Path, remedy: str) -> Any:
    """Read a file of `torch.save` with tensors and plain types; one that holds code is refused, not run.

    Parameters
    ----------
    path : of the file
    remedy : what to give instead, the end of the message of an error

    Raises
    ------
    InputError
        Where the file is missing, broken or holds any other object.

    Examples
    --------
    >>> read_plain("model/README.md", "give weights")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/README.md: cannot be read as plain tensors (...); give weights
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; {remedy}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of old kinds of files, which are read or refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, AttributeError, TypeError) as error:
        reason = f"{type(error).__name__}: {first_line(error)[:80]}"
    except pickle.UnpicklingError as error:
        told = [line for line in str(error).splitlines() if "Unsupported" in line or "GLOBAL" in line]
        reason = (told or [first_line(error)])[0].strip()[:80]
    raise InputError(f"{path}: cannot be read as plain tensors ({reason}); {remedy}")


def pick_state(path: str | Path, content: Any, remedy: str, *, part: str = "model") -> dict[str, Tensor]:
    """Take the weights of a network, by name, from what a file holds: a checkpoint, or the weights alone.

    Names may begin with "module.", as those of a distributed network do; they are given without it.

    Parameters
    ----------
    path, remedy : as of :func:`read_plain`, for the message of an error
    content : what the file holds
    part : name of the weights in a checkpoint

    Examples
    --------
    >>> pick_state("a.cpt", {"epoch": 3, "model": {"module.bias": torch.zeros(1)}}, "give weights")
    {'bias': tensor([0.])}
    """
    if isinstance(content, dict) and part in content:
        content = content[part]
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: holds no weights; {remedy}")
    for key, value in content.items():
        if not isinstance(value, Tensor) or value.layout is not torch.strided or value.is_complex():
            raise InputError(f"{path}: {str(key)[:60]} is no plain tensor; {remedy}")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def fill_network(path: str | Path, kind: str, network: nn.Module, state: State, remedy: str) -> nn.Module:
    """Give a network that was made without memory its weights, in its types; one of other weights is refused.

    Parameters
    ----------
    path, remedy : as of :func:`read_plain`, for the message of an error
    kind : what the network is called there
    network : made on the device "meta"
    state : name to weight

    Returns
    -------
    Module
        The network, in evaluation mode, on the CPU.

    Raises
    ------
    InputError
        Where weights are missing, surplus or misshapen, or hold numbers that are not finite.

    Examples
    --------
    >>> with torch.device("meta"):
    ...     network = nn.Linear(2, 1, bias=False)
    >>> fill_network("a.pt", "line", network, {"weight": torch.ones(1, 2)}, "give it")(torch.ones(2)).item()
    2.0
    >>> fill_network("a.pt", "line", network, {"weight": torch.ones(1, 3)}, "give it")
    Traceback (most recent call last):
    fieldwise.errors.InputError: a.pt: weight has the shape (1, 3), not (1, 2); give it
    """
    wanted = network.state_dict()
    for word, names in (
        ("lacks", wanted.keys() - state.keys()),
        ("has besides", state.keys() - wanted.keys()),
    ):
        if names:
            raise InputError(f"{path}: the {kind} {word} {name_some(sorted(names))}; {remedy}")
    filled = {}
    for name, like in wanted.items():
        if state[name].shape != like.shape:
            shapes = f"{tuple(state[name].shape)}, not {tuple(like.shape)}"
            raise InputError(f"{path}: {name} has the shape {shapes}; {remedy}")
        filled[name] = state[name].to(like.dtype, copy=True, memory_format=torch.contiguous_format)
        if not filled[name].isfinite().all():
            raise InputError(f"{path}: {name} holds numbers that are not finite; {remedy}")
    network.load_state_dict(filled, assign=True)
    return network.eval()


def name_some(names: Iterable[Any], most: int = 3) -> str:
    """List the first of some names, cut to a length, and how many more there are.

    >>> name_some("abcde")
    'a, b, c and 2 more'
    """
    listed = [" ".join(str(name).split())[:60] for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
