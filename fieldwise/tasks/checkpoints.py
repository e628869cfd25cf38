"""What a checkpoint holds, and how a task is rebuilt from one."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import lightning
import torch

from fieldwise.errors import InputError

PREFIX = "network."  # of a network's weights in the state of its task
Task = TypeVar("Task", bound=lightning.LightningModule)


def load_checkpoint(path: str | Path, kind: type[Task]) -> Task:
    """Rebuild a task of a kind from a checkpoint alone, with weights and signature, on the CPU.

    Only tensors and plain types are read: a file that holds any other object is refused, not unpickled.

    Raises
    ------
    InputError
        If the file cannot be read, is no checkpoint or is one of another network.

    Examples
    --------
    >>> import tempfile
    >>> from fieldwise.tasks.field import FieldTask
    >>> options = {"in_channels": 3, "out_channels": 2, "kernel_size": 1}
    >>> task = FieldTask(network="torch.nn.Conv2d", network_options=options, signature={"recipe": "tides"})
    >>> path = Path(tempfile.mkdtemp()) / "last.ckpt"
    >>> torch.save({"hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}, path)
    >>> load_checkpoint(path, FieldTask).signature
    {'recipe': 'tides'}
    """
    checkpoint = read_checkpoint(path)
    try:
        task = kind(**checkpoint["hyper_parameters"])
        task.load_state_dict(checkpoint["state_dict"])
    except (TypeError, RuntimeError, InputError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(
            f"{path} is a checkpoint of another network ({reason}); give one that this version has trained"
        ) from None
    return task.eval()


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what a checkpoint holds: at least ``hyper_parameters`` and ``state_dict``, on the CPU.

    Only tensors and plain types are read: a file that holds any other object is refused, not unpickled.

    >>> read_checkpoint("model/README.md")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/README.md cannot be read as a checkpoint (...); give a .ckpt ...
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
        raise InputError(
            f"{path} cannot be read as a checkpoint ({reason}); give a .ckpt file that train has written"
        ) from None
    if not isinstance(checkpoint, dict) or not {"hyper_parameters", "state_dict"} <= checkpoint.keys():
        raise InputError(
            f"{path} holds no hyper_parameters and state_dict; give a .ckpt file that train has written"
        )
    return checkpoint


def pick_network(state: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the weights of the network, under its own names, out of the state of its task.

    >>> pick_network({"network.weight": 1.0, "departure_share": 0.5})
    {'weight': 1.0}
    """
    return {name.removeprefix(PREFIX): each for name, each in state.items() if name.startswith(PREFIX)}


def check_plain(value: Any, path: str = "") -> None:
    """Refuse what a checkpoint could not be read back with: all but str, numbers, lists, tuples and dicts.

    >>> check_plain({"seed": 7, "names": ["thk"]})
    >>> check_plain({"folder": Path("data")})
    Traceback (most recent call last):
    fieldwise.errors.InputError: folder is a pathlib...Path, which checkpoints must not hold; ...
    """
    if type(value) is dict:
        for key, item in value.items():
            check_plain(key, f"{path}.{key}")
            check_plain(item, f"{path}.{key}")
    elif type(value) in (list, tuple):
        for number, item in enumerate(value):
            check_plain(item, f"{path}[{number}]")
    elif type(value) not in (str, int, float, bool, type(None)):
        raise InputError(
            f"{path.lstrip('.')} is a {type(value).__module__}.{type(value).__name__}, which checkpoints "
            "must not hold; convert it to a str, int, float, list or dict"
        )
