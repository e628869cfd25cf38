"""The graph of a Keras model: which layer reads what of which others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fieldwise.errors import InputError
from fieldwise.interop.keras_layers import (
    READERS,
    Concatenation,
    Weights,
    make_named_activation,
    to_module,
)
from fieldwise.networks.cells import order_in_memory
from fieldwise.networks.convnet import check_channels

INPUT = "input_1"  # the name of the input in what is written


@dataclass(frozen=True)
class Node:
    """One use of a layer, and the nodes that it reads."""

    name: str
    inputs: tuple[str, ...]
    module: nn.Module


@dataclass(frozen=True)
class Graph:
    """Nodes, each after those that it reads, the output last, and what the input is like."""

    channels: int
    dimensions: int
    nodes: list[Node]

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        made = {INPUT: self.channels}
        for node in self.nodes:
            before = [made[name] for name in node.inputs]
            own = sum(before) if isinstance(node.module, Concatenation) else before[0]
            made[node.name] = getattr(node.module, "out_channels", own)
        return made[self.nodes[-1].name]


class KerasNetwork(nn.Module):
    """A model of Keras as a network of torch: channels first, one input, one output."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.steps = nn.ModuleList(node.module for node in graph.nodes)

    def forward(self, fields: Tensor) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, out_channels, y, x)."""
        check_channels(fields, self.graph.channels, self.graph.dimensions)
        made = {INPUT: order_in_memory(fields)}
        for node, step in zip(self.graph.nodes, self.steps):
            made[node.name] = step(*(made[name] for name in node.inputs))
        return made[self.graph.nodes[-1].name]


def read_graph(description: dict[str, Any], weights: dict[str, Weights], path: Path) -> Graph:
    """Build the graph of a model from its description and the arrays of its layers.

    Parameters
    ----------
    description : dict
        What Keras 2 or 3 saves as model_config, of a functional or a sequential model.
    weights : dict
        Arrays of each layer, by its name.
    path : path
        The file, for errors.

    Raises
    ------
    InputError
        If the model has several inputs or outputs, or layers that are not known; all of these are named.

    Examples
    --------
    >>> layers = [
    ...     {"class_name": "InputLayer", "config": {"name": "fields", "batch_input_shape": [None, 8, 8, 3]}},
    ...     {"class_name": "Activation", "config": {"name": "rectified", "activation": "relu"}},
    ... ]
    >>> graph = read_graph({"class_name": "Sequential", "config": layers}, {}, Path("model.h5"))
    >>> graph.channels, [(node.name, node.inputs, node.module) for node in graph.nodes]
    (3, [('rectified/0', ('input_1',), ReLU())])
    """
    kind, config = description["class_name"], description["config"]
    if kind == "Sequential":
        layers, output = _chain(config["layers"] if isinstance(config, dict) else config, path)
    elif kind in ("Functional", "Model"):
        layers, output = config["layers"], _single_end(config, path)
    else:
        raise InputError(f"{path} holds a {kind}, not a functional or sequential model; export one of these")
    _refuse_unknown(layers, path)
    name, shape = _read_input(layers, path)
    calls = _read_calls(layers, path)
    modules = {
        layer["config"]["name"]: _make_modules(layer, weights, path)
        for layer in layers
        if layer["class_name"] != "InputLayer"
    }
    nodes: list[Node] = []
    done = {f"{name}/0": INPUT}  # calls, and the nodes that give their results
    while calls:  # each call once all that it reads is made
        ready = [call for call, inputs in calls.items() if done.keys() >= set(inputs)]
        if not ready:
            raise InputError(f"{path}: its layers read each other in a circle; export it again")
        for call in ready:
            module, *activation = modules[call.rpartition("/")[0]]
            done[call] = f"{call}/activated" if activation else call
            nodes.append(Node(call, tuple(done[name] for name in calls.pop(call)), module))
            nodes += [Node(done[call], (call,), function) for function in activation]
    return Graph(shape[-1], len(shape) - 2, _needed_for(done[output], nodes))


def _make_modules(layer: dict[str, Any], weights: dict[str, Weights], path: Path) -> list[nn.Module]:
    """Make the module of a layer, and one more where its settings name an activation."""
    kind, config = layer["class_name"], layer["config"]
    place = f"{path}, layer {config['name']}"
    modules = [to_module(kind, config, weights.get(config["name"], []), place)]
    if kind != "Activation" and config.get("activation") not in (None, "linear"):
        modules.append(make_named_activation(config["activation"], place))
    return modules


def _chain(layers: list[dict[str, Any]], path: Path) -> tuple[list[dict[str, Any]], str]:
    """Write out what a sequential model leaves unsaid: an input, and that each layer reads the one before."""
    if layers and layers[0]["class_name"] != "InputLayer":
        shape = layers[0]["config"].get("batch_input_shape")
        first = {"class_name": "InputLayer", "config": {"name": INPUT, "batch_input_shape": shape}}
        layers = [first, *layers]
    if not layers:
        raise InputError(f"{path} holds a model without layers; export it again")
    names = [layer["config"]["name"] for layer in layers]
    chained = [
        layer | {"inbound_nodes": [[[before, 0, 0, {}]]] if before else []}
        for before, layer in zip([None, *names], layers)
    ]
    return chained, f"{names[-1]}/0"


def _single_end(config: dict[str, Any], path: Path) -> str:
    """Name the call that gives the output."""
    ends = config["output_layers"]
    ends = ends if isinstance(ends[0], list) else [ends]
    if len(ends) != 1:
        raise InputError(
            f"{path} has {len(ends)} outputs; models with one are known, concatenate them in Keras"
        )
    return f"{ends[0][0]}/{ends[0][1]}"


def _refuse_unknown(layers: list[dict[str, Any]], path: Path) -> None:
    unknown = [
        f"{layer['config'].get('name', layer.get('name'))} ({layer['class_name']})"
        for layer in layers
        if layer["class_name"] not in (*READERS, "InputLayer")
    ]
    if unknown:
        raise InputError(
            f"{path} has layers that are not known: {', '.join(unknown)}; {', '.join(READERS)} are"
        )


def _read_input(layers: list[dict[str, Any]], path: Path) -> tuple[str, list[int]]:
    """Give the name of the input and its shape, of which the channels must be known."""
    inputs = [layer["config"] for layer in layers if layer["class_name"] == "InputLayer"]
    if len(inputs) != 1:
        raise InputError(
            f"{path} has {len(inputs)} inputs; models with one are known, concatenate them in Keras"
        )
    shape = inputs[0].get("batch_input_shape") or inputs[0].get("batch_shape")
    if not shape or len(shape) not in (4, 5) or not isinstance(shape[-1], int):
        raise InputError(f"{path} reads arrays of shape {shape}; (batch, y, x, channels) is known")
    return inputs[0]["name"], shape


def _read_calls(layers: list[dict[str, Any]], path: Path) -> dict[str, tuple[str, ...]]:
    """Give the calls of every layer, named layer/number, and the calls whose results they read."""
    calls = {}
    for layer in layers:
        if layer["class_name"] == "InputLayer":
            continue
        name = layer["config"]["name"]
        for number, inbound in enumerate(layer["inbound_nodes"]):
            settings = inbound["kwargs"] if isinstance(inbound, dict) else _settings_of(inbound)
            if any(value not in (None, False) for value in settings.values()):
                raise InputError(f"{path}, layer {name}: is called with {settings}, which is not known")
            tensors = _histories(inbound["args"]) if isinstance(inbound, dict) else inbound
            calls[f"{name}/{number}"] = tuple(f"{tensor[0]}/{tensor[1]}" for tensor in tensors)
    return calls


def _settings_of(inbound: list[list[Any]]) -> dict[str, Any]:
    return {key: value for tensor in inbound for key, value in (tensor[3] if len(tensor) > 3 else {}).items()}


def _histories(arguments: Any) -> list[list[Any]]:
    """Find the tensors among the arguments of a call, as Keras 3 writes them."""
    if isinstance(arguments, list):
        return [history for item in arguments for history in _histories(item)]
    if isinstance(arguments, dict) and arguments.get("class_name") == "__keras_tensor__":
        return [arguments["config"]["keras_history"]]
    return []


def _needed_for(output: str, nodes: list[Node]) -> list[Node]:
    """Keep what the output depends on, in order; the output is then the last."""
    needed = {output}
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return [node for node in nodes if node.name in needed]
