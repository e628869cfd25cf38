"""Weights in the files of DeepBedMap's original, Chainer's ``.npz``, to and from the networks of fieldwise.

>>> import tempfile
>>> from fieldwise.networks.esrgan import Generator
>>> trained, other = Generator(num_residual_blocks=1), Generator(num_residual_blocks=1)
>>> path = Path(tempfile.mkdtemp()) / "srgan_generator_model_weights.npz"
>>> save_chainer_npz(trained, path)
>>> load_chainer_npz(path, other)
>>> torch.equal(other.final_conv_layer2.deform_conv.weight, trained.final_conv_layer2.deform_conv.weight)
True

Chainer is not needed: a ``.npz`` is a ZIP archive of plain arrays. What a file holds besides plain numbers is
refused, never unpickled.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor, nn

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError

# What the original calls its inputs: the field to be refined, and three that help.
INPUT_KEYS = {
    "bed_lowres": "X",
    "surface_elevation": "W1",
    "ice_velocity": "W2",
    "snow_accumulation": "W3",
}
PLAIN_KEYS = {"weight": "W", "bias": "b"}
NORM_KEYS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "avg_mean",
    "running_var": "avg_var",
    "num_batches_tracked": "N",
}
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
REMEDY = "give weights that chainer.serializers.save_npz has written of this network"


def chainer_keys(network: nn.Module) -> dict[str, str]:
    """Name every number that a network has learnt as Chainer does: key in a ``.npz`` to name in PyTorch.

    >>> from fieldwise.networks.esrgan import Discriminator, Generator
    >>> list(chainer_keys(Generator(num_residual_blocks=1)))[:3]
    ['input_block/conv_on_X/W', 'input_block/conv_on_X/b', 'input_block/conv_on_W1/W']
    >>> chainer_keys(Discriminator())["batch_norm9/avg_var"]
    'batch_norm9.running_var'
    """
    keys = {}
    for name in network.state_dict():
        owner, _, last = name.rpartition(".")
        layer = network.get_submodule(owner)
        last = (NORM_KEYS if isinstance(layer, BATCH_NORMS) else PLAIN_KEYS).get(last, last)
        owner = re.sub(r"\bconv_on_(\w+)", lambda found: f"conv_on_{_input_key(found[1])}", owner)
        keys["/".join([*owner.split("."), last]).lstrip("/")] = name
    return keys


def _input_key(name: str) -> str:
    return INPUT_KEYS.get(name, name)


def save_chainer_npz(network: nn.Module, path: str | Path) -> None:
    """Write what a network has learnt as a ``.npz`` that ``chainer.serializers.load_npz`` reads.

    Parameters
    ----------
    network : on any device; numbers keep their type, and every array its shape
    path : of the file; one that is there is replaced when the new one is whole

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "linear.npz"
    >>> save_chainer_npz(nn.Sequential(nn.Linear(3, 2)), path)
    >>> sorted(np.load(path).files)
    ['0/W', '0/b']
    """
    state = network.state_dict()
    arrays = {key: state[name].detach().cpu().numpy() for key, name in chainer_keys(network).items()}
    with replace_when_done(Path(path)) as partial, partial.open("wb") as stream:
        np.savez(stream, **arrays)


@torch.no_grad()
def load_chainer_npz(path: str | Path, network: nn.Module) -> None:
    """Read a ``.npz`` that ``chainer.serializers.save_npz`` has written into a network, in place.

    Numbers take the network's type and device. The network must have been made as the other one was: the
    residual scaling, which is no weight, is in no file.

    Parameters
    ----------
    path : of the file
    network : a Generator or Discriminator, or any network of convolutions, linear layers and batch norms
        whose layers bear the same names

    Raises
    ------
    InputError
        Where the file is missing or broken, holds other keys than the network or other shapes, anything but
        numbers, or numbers that are not finite. The network then keeps the weights that it had.

    Examples
    --------
    >>> from fieldwise.networks.esrgan import Discriminator
    >>> load_chainer_npz("model/README.md", Discriminator())
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/README.md: is no .npz file; give weights that chainer...
    """
    path = Path(path)
    keys, state = chainer_keys(network), network.state_dict()
    found = read_shapes(path)
    _check_keys(path, missing=keys.keys() - found.keys(), extra=found.keys() - keys.keys())
    for key, name in keys.items():
        shape = tuple(state[name].shape)
        if found[key] != shape:
            raise InputError(f"{path}: {key} has the shape {found[key]}, not {shape}; {REMEDY}")
    values = _read_values(path, keys)  # all of them, before the first is changed
    for key, name in keys.items():
        state[name].copy_(values[key])


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Read the keys of a ``.npz`` and the shapes of its arrays, without reading the arrays.

    Raises
    ------
    InputError
        Where the file is missing or is no ``.npz``, or an array holds anything but numbers.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.npz"
    >>> np.savez(path, **{"final_conv/W": np.zeros((64, 1, 3, 3)), "final_conv/b": np.zeros(64)})
    >>> read_shapes(path)
    {'final_conv/W': (64, 1, 3, 3), 'final_conv/b': (64,)}
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; give the .npz file with the weights")
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                if not entry.endswith(".npy"):
                    raise InputError(f"{path}: {entry} is no array; {REMEDY}")
                with archive.open(entry) as stream:
                    shapes[entry.removesuffix(".npy")] = _read_shape(stream, f"{path}: {entry}")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError):
        raise InputError(f"{path}: is no .npz file; {REMEDY}") from None
    return shapes


def _read_shape(stream: IO[bytes], name: str) -> tuple[int, ...]:
    try:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(stream)
    except ValueError:
        raise InputError(f"{name} is broken; {REMEDY}") from None
    if dtype.kind not in "fiu":
        raise InputError(f"{name} holds {dtype}, not numbers; {REMEDY}")
    return shape


def _read_values(path: Path, keys: Iterable[str]) -> dict[str, Tensor]:
    values = {}
    with np.load(path, allow_pickle=False) as archive:
        for key in keys:
            try:
                array = archive[key]
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError):
                raise InputError(f"{path}: {key} is broken or cut short; copy the file once more") from None
            array = array.astype(np.float64)  # from whatever width and order of bytes
            if not (np.abs(array) <= np.finfo(np.float32).max).all():
                raise InputError(f"{path}: {key} holds numbers that are not finite in float32; {REMEDY}")
            values[key] = torch.from_numpy(array)
    return values


def _check_keys(path: Path, *, missing: Iterable[str], extra: Iterable[str]) -> None:
    faults = [
        f"{word} {_name_some(sorted(names))}"
        for word, names in (("lacks", missing), ("has besides", extra))
        if names
    ]
    if faults:
        raise InputError(f"{path}: {', '.join(faults)}; {REMEDY}")


def _name_some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
