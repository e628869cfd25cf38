"""Weights of a network alone, to be handed on: a .safetensors with what the network reads and gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError, first_line
from fieldwise.tasks.checkpoints import PREFIX, read_checkpoint

SUFFIX = ".safetensors"
KEY = "fieldwise"  # of the description in the file
KEPT = ("network", "network_options", "signature")


def save_weights(checkpoint: str | Path, path: str | Path, **facts: Any) -> Path:
    """Write the weights of a checkpoint in half precision, with all that it takes to use them.

    Parameters
    ----------
    checkpoint
        Of a run, such as checkpoints/best.ckpt.
    path
        File to write; one that is there is replaced when the new one is whole.
    facts
        Where the weights come from, in plain types: the command, the data, the scores.

    >>> import tempfile
    >>> from fieldwise.tasks import FieldTask
    >>> home, sizes = Path(tempfile.mkdtemp()), {"in_features": 1, "out_features": 1}
    >>> task = FieldTask(network="torch.nn.Linear", network_options=sizes)
    >>> checkpoint = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    >>> torch.save(checkpoint, home / "best.ckpt")
    >>> content = read_weights(save_weights(home / "best.ckpt", home / "linear.safetensors", seed=7))
    >>> content["facts"], sorted(content["state_dict"])
    ({'seed': 7}, ['network.bias', 'network.weight'])
    """
    content = read_checkpoint(Path(checkpoint))
    held = {name: each for name, each in content["state_dict"].items() if name.startswith(PREFIX)}
    halved = {
        name: (each.half() if each.is_floating_point() else each).contiguous() for name, each in held.items()
    }
    described = {name: content["hyper_parameters"][name] for name in KEPT} | {"facts": facts}
    with replace_when_done(Path(path)) as partial:
        save_file(halved, partial, metadata={KEY: json.dumps(described)})
    return Path(path)


def read_weights(path: str | Path) -> dict[str, Any]:
    """Read what :func:`save_weights` wrote, in the form of a checkpoint: nothing in it is ever executed.

    Returns
    -------
    dict
        ``state_dict``, float32; ``hyper_parameters``, with the network's import path, its options and the
        signature; and ``facts``.

    >>> read_weights("README.md")
    Traceback (most recent call last):
    fieldwise.errors.InputError: README.md: holds no weights (...); give a .safetensors of fieldwise
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = dict(json.loads((file.metadata() or {})[KEY]))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: holds no weights ({first_line(error)}); give a .safetensors of fieldwise"
        ) from None
    full = {name: each.float() if each.dtype == torch.float16 else each for name, each in state.items()}
    return {"state_dict": full, "facts": described.pop("facts", {}), "hyper_parameters": described}


def read_trained(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of a run, or a file of weights that :func:`save_weights` wrote, by its suffix.

    >>> read_trained("nowhere.safetensors")
    Traceback (most recent call last):
    fieldwise.errors.InputError: nowhere.safetensors: holds no weights (...); give a .safetensors of fieldwise
    """
    path = Path(path)
    return read_weights(path) if path.suffix == SUFFIX else read_checkpoint(path)
