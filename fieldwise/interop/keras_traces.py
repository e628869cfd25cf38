"""Networks of this package as graphs of Keras' layers."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from fieldwise.errors import InputError
from fieldwise.interop.keras_graphs import INPUT, Graph, KerasNetwork, Node
from fieldwise.interop.keras_layers import Addition, Concatenation
from fieldwise.networks.convnet import ConvNet
from fieldwise.networks.equivariant import EquivariantConvNet
from fieldwise.networks.unet import UNet


class Trace:
    """A graph that grows; each node gets a name of its own.

    >>> growing = Trace()
    >>> growing.add(nn.LeakyReLU(), growing.add(nn.LeakyReLU(), INPUT))
    'leakyrelu_1'
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.counts: dict[str, int] = {}

    def add(self, module: nn.Module, *inputs: str) -> str:
        """Add a module that reads these nodes and give its name; one that changes nothing is left out."""
        if isinstance(module, nn.Identity):
            return inputs[0]
        kind = type(module).__name__.lower()
        number = self.counts.get(kind, 0)
        self.counts[kind] = number + 1
        name = f"{kind}_{number}" if number else kind
        self.nodes.append(Node(name, inputs, module))
        return name


def trace(network: nn.Module) -> Graph:
    """Write a network of this package down as a graph, with its own modules.

    Raises
    ------
    InputError
        If the network is of a type that has no counterpart.

    Examples
    --------
    >>> [node.name for node in trace(ConvNet(4, 2, layers=1)).nodes]
    ['conv2d', 'leakyrelu', 'conv2d_1']
    """
    if isinstance(network, KerasNetwork):
        return _trace_keras(network)
    if isinstance(network, EquivariantConvNet):
        return _trace_convnet(network.to_plain())
    if isinstance(network, ConvNet):
        return _trace_convnet(network)
    if isinstance(network, UNet):
        return _trace_unet(network)
    raise InputError(
        f"a network of type {type(network).__name__} has no counterpart in Keras here; export it as ONNX"
    )


def _trace_keras(network: KerasNetwork) -> Graph:
    """Give the nodes new names: those of a file that was read may hold marks that Keras does not take."""
    growing, names = Trace(), {INPUT: INPUT}
    for node in network.graph.nodes:
        names[node.name] = growing.add(node.module, *(names[name] for name in node.inputs))
    return replace(network.graph, nodes=growing.nodes)


def _trace_convnet(network: ConvNet) -> Graph:
    growing, name = Trace(), INPUT
    for number, convolution in enumerate(network.convolutions):
        made = _trace_layer(growing, network, convolution, name)
        name = growing.add(Addition(), name, made) if network.residual and number else made
    growing.add(network.output, name)
    return Graph(network.in_channels, network.dimensions, growing.nodes)


def _trace_unet(network: UNet) -> Graph:
    growing, name, seen = Trace(), INPUT, []
    for number, block in enumerate(network.down):
        name = growing.add(network.pool, name) if number else name
        for convolution in block.children():
            name = _trace_layer(growing, network, convolution, name)
        seen.append(name)
    seen.pop()
    for enlarge, block in zip(network.enlarge, network.up):
        enlarged = growing.add(network.activation, growing.add(enlarge, name))
        name = growing.add(Concatenation(), enlarged, seen.pop())
        for convolution in block.children():
            name = _trace_layer(growing, network, convolution, name)
    growing.add(network.output, name)
    return Graph(network.in_channels, network.dimensions, growing.nodes)


def _trace_layer(growing: Trace, network: ConvNet | UNet, convolution: nn.Module, name: str) -> str:
    rectified = growing.add(network.activation, growing.add(convolution, name))
    return growing.add(network.dropout, rectified)
