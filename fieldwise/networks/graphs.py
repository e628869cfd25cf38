"""The architecture of a network as a graph, in the DOT language that Graphviz and many other tools read.

``write_dot(network, "generator.dot")`` runs the network once and writes what it did: an ellipse for each
input, a box for each layer with the shape of its result and the number of its parameters, and an arrow for
each result that a layer reads. ``dot -Tsvg generator.dot -o generator.svg`` draws it, where Graphviz is
installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError, times
from fieldwise.networks.layers import INPUT, Layer, list_layers


def write_dot(network: nn.Module, path: str | Path, *example: Tensor | Mapping[str, Tensor]) -> Path:
    """Write the architecture of a network as a DOT file, told by the network itself.

    Parameters
    ----------
    network : on any device; it is left in the mode it is in
    path : of the file; one that is there is replaced
    example : what the network takes: tensors (batch, channels, ...), or a mapping from names to them; a
        network with a method ``make_example`` needs none

    Raises
    ------
    InputError
        Where there is no example.

    Examples
    --------
    >>> import tempfile
    >>> from fieldwise.networks.esrgan import Generator
    >>> path = write_dot(Generator(num_residual_blocks=1), Path(tempfile.mkdtemp()) / "generator.dot")
    >>> text = path.read_text()
    >>> text.count(" -> "), "surface_elevation" in text
    (63, True)
    """
    if not example:
        make_example = getattr(network, "make_example", None)
        if not callable(make_example):
            name = type(network).__name__
            raise InputError(f"{name} tells no example of what it takes; give one to write_dot")
        example = (make_example(),)
    text = format_dot(list_layers(network, *example), name=type(network).__name__)
    with replace_when_done(Path(path)) as partial:
        partial.write_text(text)
    return Path(path)


def format_dot(layers: Iterable[Layer], *, name: str = "network") -> str:
    r"""Put layers, and what feeds which, in the words of the DOT language.

    >>> field = Layer("field", INPUT, (), 1, (1, 9, 9))
    >>> print(format_dot([field, Layer("0", "Conv2d", ("field",), 1, (8, 9, 9), (3, 3))]))
    digraph "network" {
      node [shape=box];
      "field" [label="field\n1 x 9 x 9", shape=ellipse];
      "0" [label="0\nConv2d 3 x 3\n8 x 9 x 9"];
      "field" -> "0";
    }
    <BLANKLINE>
    """
    lines = [f"digraph {_quote(name)} {{", "  node [shape=box];"]
    layers = list(layers)
    for layer in layers:
        shape = ", shape=ellipse" if layer.kind == INPUT else ""
        lines.append(f"  {_quote(layer.name)} [label={_quote(_describe(layer))}{shape}];")
    lines += [f"  {_quote(source)} -> {_quote(layer.name)};" for layer in layers for source in layer.sources]
    return "\n".join([*lines, "}", ""])


def _describe(layer: Layer) -> str:
    """Say in a few lines what a layer is, makes and has learnt."""
    words = "" if layer.kind == INPUT else layer.kind
    if layer.kernel:
        words += f" {times(layer.kernel)}"
        if set(layer.stride) - {1}:
            words += f", stride {times(layer.stride)}"
    if layer.scaling != 1:
        words += f", the last times {layer.scaling:g}"
    if layer.activation:
        words += f", {layer.activation}"
    learnt = f"{layer.parameters} parameters" if layer.parameters else ""
    return "\\n".join(filter(None, [layer.name, words, times(layer.shape), learnt]))


def _quote(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
