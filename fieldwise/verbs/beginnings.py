"""Weights that a training begins with: another run's, published ones, or those of other programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fieldwise.errors import InputError
from fieldwise.interop.map2map_state import read_state
from fieldwise.tasks.checkpoints import pick_network
from fieldwise.tasks.weights import SUFFIX, read_trained


def begin_task(make_task: Callable[..., Any], path: Path, *, strict: bool = True) -> Callable[..., Any]:
    """Give a function that makes a task whose network begins with the weights of a file.

    >>> import tempfile, torch
    >>> from types import SimpleNamespace
    >>> file = Path(tempfile.mkdtemp()) / "state_1.pt"
    >>> torch.save({"model": {"weight": torch.full((1, 1), 3.0), "bias": torch.zeros(1)}}, file)
    >>> make = begin_task(lambda: SimpleNamespace(network=nn.Linear(1, 1)), file)
    >>> make().network.weight.item()
    3.0
    """
    return partial(_begin, make_task, path, strict)


def _begin(make_task: Callable[..., Any], path: Path, strict: bool, **options: Any) -> Any:
    task = make_task(**options)
    begin_with(task.network, path, strict=strict)
    return task


def begin_with(network: nn.Module, path: Path, *, strict: bool = True) -> None:
    """Give a network the weights of a checkpoint of another run, a file of weights, or a state of map2map.

    Parameters
    ----------
    strict
        Whether all must be there and no other; otherwise those that fit by name and shape are taken.

    Raises
    ------
    InputError
        Where the file cannot be read, or its weights are another network's.

    >>> import tempfile, torch
    >>> file = Path(tempfile.mkdtemp()) / "state_1.pt"
    >>> torch.save({"model": nn.Conv2d(1, 1, 1).state_dict()}, file)
    >>> begin_with(nn.Conv2d(1, 1, 3), file)
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...state_1.pt: holds another network's weights (weight); ...
    """
    state = _read(Path(path))
    wanted = network.state_dict()
    fitting = {key: each for key, each in state.items() if key in wanted and each.shape == wanted[key].shape}
    odd = sorted((wanted.keys() | state.keys()) - fitting.keys())
    if (strict and odd) or not fitting:
        told = ", ".join(odd[:3]) + (f" and {len(odd) - 3} more" if len(odd) > 3 else "")
        raise InputError(
            f"{path}: holds another network's weights ({told}); choose the network and options that it was "
            "trained with, or --load_state_strict false"
        )
    broken = [key for key, each in fitting.items() if not each.isfinite().all()]
    if broken:
        raise InputError(f"{path}: {broken[0]} holds numbers that are not finite; take another file")
    network.load_state_dict(fitting, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network, by name."""
    if path.suffix not in (".ckpt", SUFFIX):
        return read_state(path)
    return pick_network(read_trained(path)["state_dict"])
