"""Networks in Keras' .h5 files: read without TensorFlow or Keras, and written for both.

``load_keras_h5(path)`` gives a network of torch that maps (batch, channels, y, x), ``save_keras_h5(network,
path)`` writes one. A file's description of the network is read as plain data, and built from layers known
here; nothing that a file holds is run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from torch import nn

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.interop.keras_graphs import INPUT, Graph, KerasNetwork, Node, read_graph
from fieldwise.interop.keras_layers import to_layer
from fieldwise.interop.keras_traces import trace

Layers = list[tuple[Node, str, dict[str, Any], list[np.ndarray]]]  # with class, settings and weights

KERAS_VERSION = "2.4.0"  # whose words are written; that version and all later ones read them


def load_keras_h5(path: str | Path) -> KerasNetwork:
    """Read a whole model that Keras 2 or 3 has saved as .h5, with its weights.

    Raises
    ------
    InputError
        If the file is cut off or holds no model, or a layer is not known; all unknown ones are named.

    Examples
    --------
    >>> import tempfile
    >>> from fieldwise.networks.convnet import ConvNet
    >>> path = save_keras_h5(ConvNet(4, 2, layers=2), Path(tempfile.mkdtemp()) / "model.h5")
    >>> import torch
    >>> load_keras_h5(path)(torch.zeros(1, 4, 9, 7)).shape
    torch.Size([1, 2, 9, 7])
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not there; give a model.h5 that Keras has saved")
    try:
        with h5py.File(path) as file:
            description = _read_description(file, path)
            return KerasNetwork(read_graph(description, _read_weights(file), path)).eval()
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:100]
        raise InputError(
            f"{path} cannot be read as HDF5 ({reason}); it may be cut off, copy or export it again"
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        reason = f"{type(error).__name__}: {str(error)[:80]}"
        raise InputError(
            f"{path}: its description of the model is damaged ({reason}); export it again"
        ) from None


def _read_description(file: h5py.File, path: Path) -> dict[str, Any]:
    if "model_config" not in file.attrs or "model_weights" not in file:
        raise InputError(f"{path} holds no whole model; save it with model.save('model.h5') in Keras")
    text = file.attrs["model_config"]
    return json.loads(text.decode() if isinstance(text, bytes) else text)


def _read_weights(file: h5py.File) -> dict[str, list[np.ndarray]]:
    """Read the arrays of every layer in Keras' order."""
    weights = {}
    for name, group in file["model_weights"].items():
        stored = [key.decode() if isinstance(key, bytes) else str(key) for key in _read_names(group)]
        weights[name] = [np.asarray(group[key]) for key in stored]
    return weights


def _read_names(group: h5py.Group) -> list[Any]:
    """Read the names of a layer's arrays, which Keras spreads over several attributes if they are many."""
    if "weight_names" in group.attrs:
        return list(group.attrs["weight_names"])
    names: list[Any] = []
    while f"weight_names{len(names)}" in group.attrs:
        names += list(group.attrs[f"weight_names{len(names)}"])
    return names


def save_keras_h5(network: nn.Module, path: str | Path) -> Path:
    """Write a network as a model that Keras (2.4 and later, TensorFlow or not) reads back with its weights.

    `ConvNet`, `UNet`, `EquivariantConvNet` (as the plain stack that it computes) and what `load_keras_h5`
    gives can be written. Keras sees (batch, y, x, channels). The written U-Net takes frames whose sides are
    multiples of 2 ** (blocks - 1) only: widening others is not part of the file.

    Raises
    ------
    InputError
        If the network, or one of its layers, has no counterpart in Keras.

    Examples
    --------
    >>> save_keras_h5(nn.LSTM(1, 1), "model.h5")
    Traceback (most recent call last):
    fieldwise.errors.InputError: a network of type LSTM has no counterpart in Keras here; export it as ONNX
    """
    path, graph = Path(path), trace(network)
    layers = [(node, *_require_layer(node)) for node in graph.nodes]
    with replace_when_done(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = KERAS_VERSION, "tensorflow"
        file.attrs["model_config"] = json.dumps(_describe(graph, layers))
        _write_weights(file.create_group("model_weights"), layers)
    return path


def _require_layer(node: Node) -> tuple[str, dict[str, Any], list[np.ndarray]]:
    layer = to_layer(node.module)
    if layer is None:
        raise InputError(
            f"layer {node.name} ({type(node.module).__name__}) has no counterpart in Keras here; "
            "export the network as ONNX"
        )
    return layer


def _describe(graph: Graph, layers: Layers) -> dict[str, Any]:
    shape = [None, *[None] * graph.dimensions, graph.channels]
    first = {"name": INPUT, "batch_input_shape": shape, "dtype": "float32", "sparse": False, "ragged": False}
    entries: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "config": first, "name": INPUT, "inbound_nodes": []}
    ]
    entries += [
        {
            "class_name": kind,
            "config": {"name": node.name, "trainable": True, "dtype": "float32"} | config,
            "name": node.name,
            "inbound_nodes": [[[name, 0, 0, {}] for name in node.inputs]],
        }
        for node, kind, config, _ in layers
    ]
    ends = {"input_layers": [[INPUT, 0, 0]], "output_layers": [[layers[-1][0].name, 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "model", "layers": entries} | ends}


def _write_weights(group: h5py.Group, layers: Layers) -> None:
    group.attrs["keras_version"], group.attrs["backend"] = KERAS_VERSION, "tensorflow"
    group.attrs["layer_names"] = np.array([INPUT.encode(), *(node.name.encode() for node, *_ in layers)])
    group.create_group(INPUT).attrs["weight_names"] = np.array([], dtype="S1")
    for node, _, _, arrays in layers:
        names = [f"{node.name}/{part}:0" for part in ("kernel", "bias")[: len(arrays)]]
        layer = group.create_group(node.name)
        layer.attrs["weight_names"] = np.array([name.encode() for name in names], dtype="S")
        for name, array in zip(names, arrays):
            layer[name] = array
