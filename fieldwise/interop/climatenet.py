"""ClimateNet's model folders, ``weights.pth`` and ``config.json``, to and from our CGNet.

>>> import tempfile
>>> folder, labels = Path(tempfile.mkdtemp()) / "storms", ["background", "cyclone", "river"]
>>> trained, fields = CGNet(1, 3, blocks=(1, 2)), {"TMQ": {"mean": 19.2, "std": 15.8}}
>>> save_cgnet(trained, folder, fields=fields, labels=labels)
>>> torch.equal(load_cgnet(folder).classifier[0].conv.weight, trained.classifier[0].conv.weight)
True
>>> read_configuration(folder)["fields"]
{'TMQ': {'mean': 19.2, 'std': 15.8}}

ClimateNet (Prabhat et al. 2021, doi 10.5194/gmd-14-107-2021) is not needed. Only tensors and plain types are
read: a file that holds any other object is refused, never unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fieldwise.drafts import replace_together
from fieldwise.errors import InputError, first_line
from fieldwise.interop.torch_state import fill_network, name_some, pick_state, read_plain
from fieldwise.networks.segmentation.cgnet import CGNet

VARIABLES = (
    *("TMQ", "U850", "V850", "UBOT", "VBOT", "QREFHT", "PS", "PSL"),
    *("T200", "T500", "PRECT", "TS", "TREFHT", "Z1000", "Z200", "ZBOT"),
)
WEIGHTS, CONFIGURATION = "weights.pth", "config.json"
# What ClimateNet wants in a configuration beside architecture, fields and labels, and what it had there.
SETTINGS = {
    "seed": 42,
    "lr": 1e-3,
    "train_batch_size": 4,
    "pred_batch_size": 8,
    "epochs": 15,
    "description": "",
}
LEVELS = ("level2", "level3")  # stages of several blocks
NUMBERS = (int, float, np.integer, np.floating)
LARGEST = 1e30  # mean or standard deviation of a field
BEGIN, END = "level1_0.conv.weight", "classifier.0.conv.weight"
REMEDY = f"give a folder of ClimateNet, with {WEIGHTS} of its CGNet and {CONFIGURATION}"


def load_cgnet(folder: str | Path, *, further_fields: Sequence[str] = ()) -> nn.Module:
    """Read ClimateNet's network from its folder, in evaluation mode, on the CPU.

    It reads the fields of the configuration, in that order, each less its mean and divided by its standard
    deviation, and gives scores of the labels.

    Parameters
    ----------
    folder : with weights.pth and config.json
    further_fields : as of :func:`read_configuration`

    Returns
    -------
    Module
        `fieldwise.networks.segmentation.cgnet.CGNet`, in float32, with the published padding.

    Raises
    ------
    InputError
        Where a file is missing, broken or holds code, another network, other channels or classes than
        configured, missing, surplus or misshapen weights, or numbers that are not finite.

    Examples
    --------
    >>> load_cgnet("model")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/config.json: no such file; give a folder of ClimateNet, with ...
    """
    configuration = read_configuration(folder, further_fields=further_fields)
    path = Path(folder) / WEIGHTS
    state = pick_state(path, read_plain(path, REMEDY), REMEDY)
    if not {BEGIN, END} <= state.keys() or min(state[BEGIN].ndim, state[END].ndim) < 2:
        raise InputError(f"{path}: holds no CGNet of ClimateNet ({name_some(state)}); {REMEDY}")
    channels, classes = state[BEGIN].shape[1], state[END].shape[0]
    _check_sizes(configuration, channels, classes, f"{path} is of a network with")
    blocks = [
        1 + len({key.split(".")[1] for key in state if key.startswith(f"{level}.")}) for level in LEVELS
    ]
    with torch.device("meta"):
        network = CGNet(channels, classes, blocks=(blocks[0], blocks[1]))
    return fill_network(path, "CGNet", network, state, REMEDY)


def read_configuration(folder: str | Path, *, further_fields: Sequence[str] = ()) -> dict[str, Any]:
    """Read what a network of ClimateNet reads and gives: names and scales of fields, labels.

    Parameters
    ----------
    folder : with config.json
    further_fields : names that may stand there beside those of ClimateNet's own data

    Returns
    -------
    dict
        Fields, name to mean and std, and labels, a list; architecture and settings of training beside.

    Raises
    ------
    InputError
        Where the file is missing, no JSON of this kind, or names an unknown field.

    Examples
    --------
    >>> read_configuration("model")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/config.json: no such file; give a folder of ClimateNet, with ...
    """
    path = Path(folder) / CONFIGURATION
    if not path.is_file():
        raise InputError(f"{path}: no such file; {REMEDY}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON ({first_line(error)[:80]}); {REMEDY}") from None
    if not isinstance(content, dict) or not {"architecture", "fields", "labels"} <= content.keys():
        raise InputError(f"{path}: has no architecture, fields and labels; {REMEDY}")
    if content["architecture"] != "cgnet":
        raise InputError(
            f"{path}: architecture is {str(content['architecture'])[:60]!r}, not 'cgnet'; {REMEDY}"
        )
    _check_fields(path, content["fields"])
    _check_labels(path, content["labels"])
    unknown = [name for name in content["fields"] if name not in (*VARIABLES, *further_fields)]
    if unknown:
        raise InputError(
            f"{path}: {name_some(unknown)} is not in ClimateNet's data, {', '.join(VARIABLES)}; take of "
            "these, or name it in further_fields"
        )
    return content


def save_cgnet(
    network: nn.Module,
    folder: str | Path,
    *,
    fields: Mapping[str, Mapping[str, float]],
    labels: Sequence[str],
    **settings: Any,
) -> None:
    """Write a network as a folder that ClimateNet reads.

    Parameters
    ----------
    network : `fieldwise.networks.segmentation.cgnet.CGNet`, with the published padding
    folder : of weights.pth and config.json; those that are there are replaced when the new ones are whole
    fields : name to mean and std, in the order of the channels
    labels : names of the classes, in their order
    **settings : seed, lr, train_batch_size, pred_batch_size, epochs, description

    Raises
    ------
    InputError
        Where ClimateNet has no such network, or fields, labels or settings are not of this kind.

    Examples
    --------
    >>> save_cgnet(CGNet(2, 2), "out", fields={"TMQ": {"mean": 19.2, "std": 15.8}}, labels=["sky", "storm"])
    Traceback (most recent call last):
    fieldwise.errors.InputError: the network has 2 channels and 2 classes; named are fields TMQ and labels ...
    """
    if not isinstance(network, CGNet):
        raise InputError(
            f"{type(network).__name__} is no network of ClimateNet; save it as a checkpoint instead"
        )
    if network.beyond == "zonal":
        raise InputError("ClimateNet's network wraps over the poles; save it as a checkpoint instead")
    _check_fields(CONFIGURATION, fields)
    _check_labels(CONFIGURATION, labels)
    if settings.keys() - SETTINGS:
        raise InputError(
            f"{name_some(settings.keys() - SETTINGS)}: is no setting; take {', '.join(SETTINGS)}"
        )
    scales = {name: {key: float(scale[key]) for key in ("mean", "std")} for name, scale in fields.items()}
    described = {"fields": scales, "labels": list(labels)}
    _check_sizes(described, network.in_channels, network.out_channels, "the network has")
    content = {"architecture": "cgnet", **SETTINGS, **settings, **described}
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    with replace_together(folder, last=WEIGHTS) as draft:
        (draft / CONFIGURATION).write_text(
            json.dumps(content, indent=4, ensure_ascii=False), encoding="utf-8"
        )
        torch.save(state, draft / WEIGHTS)


def _check_fields(path: str | Path, fields: Any) -> None:
    if not isinstance(fields, Mapping) or not fields:
        raise InputError(f"{path}: fields are {repr(fields)[:60]}; give each name its mean and std")
    for name, scale in fields.items():
        numbers: list[Any] = [scale.get(key) for key in ("mean", "std")] if isinstance(scale, Mapping) else []
        if not numbers or not all(map(_is_finite, numbers)) or numbers[1] <= 0:
            raise InputError(
                f"{path}: field {name_some([name])} has {repr(scale)[:60]}; give a mean, and a std above 0"
            )


def _is_finite(value: Any) -> bool:
    number = isinstance(value, NUMBERS) and not isinstance(value, bool)
    return number and abs(value) < LARGEST


def _check_labels(path: str | Path, labels: Any) -> None:
    names = list(labels) if isinstance(labels, list | tuple) else []
    if len(names) < 2 or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{path}: labels are {repr(labels)[:60]}; list the names of two classes or more")
    if len(set(names)) < len(names):
        raise InputError(f"{path}: labels are {name_some(names)}; give each class a name of its own")


def _check_sizes(configuration: Mapping[str, Any], channels: int, classes: int, whose: str) -> None:
    fields, labels = configuration["fields"], configuration["labels"]
    if (len(fields), len(labels)) != (channels, classes):
        raise InputError(
            f"{whose} {channels} channels and {classes} classes; named are fields {name_some(fields, 16)} "
            f"and labels {name_some(labels, 16)}: name each channel and class"
        )
