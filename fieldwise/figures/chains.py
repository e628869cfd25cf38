"""The layers of a network as chains of steps to draw: branches of inputs, blocks, what feeds what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

CONTAINERS = ("Sequential", "ModuleList")  # hold layers and compute nothing of their own
NORMALISATIONS = ("BatchNorm", "InstanceNorm", "GroupNorm", "LayerNorm")
LONGEST_LINE = 24  # letters along a box


class Layer(Protocol):
    """What a drawing needs to know of a layer; `fieldwise.networks.layers` makes such."""

    @property
    def name(self) -> str:
        """Where it stands, such as ``input_block.conv_on_bed_lowres``."""

    @property
    def kind(self) -> str:
        """Class of the module, or ``input``, ``sum``, ``concatenation``."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the layers that feed it."""

    @property
    def channels(self) -> int:
        """How many it reads."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its result: (channels, y, x)."""

    @property
    def kernel(self) -> tuple[int, ...]:
        """Cells of a kernel, if it has one."""

    @property
    def stride(self) -> tuple[int, ...]:
        """Cells that the kernel moves by."""

    @property
    def parameters(self) -> int:
        """How many numbers it has learnt."""

    @property
    def activation(self) -> str:
        """What its result passes through."""

    @property
    def scaling(self) -> float:
        """Factor on the last source of a sum."""

    @property
    def modules(self) -> tuple[str, ...]:
        """Classes of the modules around it, outermost first."""


@dataclass(frozen=True)
class Step:
    """One element of a chain: a layer with its normalisation, a sum, or a block of layers, maybe repeated."""

    layers: tuple[Layer, ...]  # of a block that is repeated, those of all its repetitions
    block: str = ""  # where the first repetition of a block stands
    count: int = 1

    @property
    def is_sum(self) -> bool:
        """Whether it only adds."""
        return not self.block and self.layers[0].kind == "sum"

    @property
    def kind(self) -> str:
        """Class of the block or of the layer."""
        return self.layers[0].modules[self.block.count(".")] if self.block else self.layers[0].kind

    @property
    def name(self) -> str:
        """What it is, in words."""
        return spell(self.kind)

    @property
    def details(self) -> list[str]:
        """Kernel, normalisation and activation of a layer, in one line or two; how often a block comes."""
        if self.block:
            return [f"× {self.count}"] if self.count > 1 else []
        norms = [spell(layer.kind).lower() for layer in self.layers[1:]]
        lines = [
            describe_kernel(self.layers[0]),
            ", ".join(filter(None, [*norms, self.layers[-1].activation])),
        ]
        lines = [line for line in lines if line]
        return [", ".join(lines)] if lines and sum(map(len, lines)) < LONGEST_LINE else lines

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its result."""
        return self.layers[-1].shape


def spell(kind: str) -> str:
    """Put the name of a class into words.

    >>> spell("WindowConvolution"), spell("Conv2d"), spell("ResidualInResidualBlock")
    ('Window convolution', 'Convolution', 'Residual in residual block')
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", re.sub(r"\dd$", "", kind))
    words = ["convolution" if word.lower() == "conv" else word.lower() for word in words]
    return " ".join(words)[:1].upper() + " ".join(words)[1:]


def describe_kernel(layer: Layer) -> str:
    """Say how large a kernel is, and by how much it moves where that is more than one cell.

    >>> import torch
    >>> from fieldwise.networks.layers import list_layers
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.Conv2d(8, 1, 3))
    >>> layers = list_layers(network, torch.zeros(1, 1, 9, 9))
    >>> [describe_kernel(layer) for layer in layers if layer.kernel]
    ['3 × 3, stride 2', '3 × 3']
    """
    kernel = " × ".join(map(str, layer.kernel))
    if not set(layer.stride) - {1}:
        return kernel
    uneven = len(set(layer.stride)) > 1
    return f"{kernel}, stride {' × '.join(map(str, layer.stride)) if uneven else layer.stride[0]}"


def split_branches(layers: Sequence[Layer]) -> tuple[list[Layer], list[Layer], list[Layer]]:
    """Split layers into the inputs, those that read one input each where there are several, and the rest.

    >>> import torch
    >>> from fieldwise.networks.layers import list_layers
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.Conv2d(8, 1, 3))
    >>> layers = list_layers(network, torch.zeros(1, 1, 9, 9))
    >>> [[layer.name for layer in part] for part in split_branches(layers)]
    [['input'], [], ['0', '1']]
    """
    inputs = [layer for layer in layers if layer.kind == "input"]
    names = {layer.name for layer in inputs}
    joints = ("sum", "concatenation")
    branches = [
        layer
        for layer in layers
        if len(inputs) > 1 and layer.kind not in joints and layer.sources and set(layer.sources) <= names
    ]
    drawn = names | {layer.name for layer in branches}
    return inputs, branches, [layer for layer in layers if layer.name not in drawn]


def feeding(layers: Sequence[Layer]) -> dict[str, tuple[str, ...]]:
    """Tell which layers feed each one, through any concatenations between them.

    >>> import torch
    >>> from fieldwise.networks.layers import list_layers
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.Conv2d(8, 1, 3))
    >>> layers = list_layers(network, torch.zeros(1, 1, 9, 9))
    >>> feeding(layers)
    {'input': (), '0': ('input',), '1': ('0',)}
    """
    joints = {layer.name: layer.sources for layer in layers if layer.kind == "concatenation"}

    def reach(sources: tuple[str, ...]) -> Iterator[str]:
        for name in sources:
            if name in joints:
                yield from reach(joints[name])
            else:
                yield name

    return {layer.name: tuple(dict.fromkeys(reach(layer.sources))) for layer in layers}


def fold(layers: Sequence[Layer], *, inside: str = "") -> list[Step]:
    """Fold the layers within a module into a chain of steps; equal blocks in a row become one.

    Concatenations are left out: :func:`feeding` looks through them.

    >>> import torch
    >>> from fieldwise.networks.layers import list_layers
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.Conv2d(8, 1, 3))
    >>> layers = list_layers(network, torch.zeros(1, 1, 9, 9))
    >>> [(step.name, step.shape) for step in fold(layers)]
    [('Input', (1, 9, 9)), ('Convolution', (8, 4, 4)), ('Convolution', (1, 2, 2))]
    """
    depth = len(inside.split(".")) if inside else 0
    within = [
        layer
        for layer in layers
        if layer.kind != "concatenation" and (not inside or layer.name.startswith(f"{inside}."))
    ]
    steps: list[Step] = []
    for word, group in groupby(within, key=lambda layer: layer.name.split(".")[depth]):
        members = tuple(group)
        path = f"{inside}.{word}" if inside else word
        if members[0].name == path:
            steps += [Step((layer,)) for layer in members]
        elif members[0].modules[depth] in CONTAINERS:
            steps += fold(members, inside=path)
        else:
            steps.append(Step(members, block=path))
    return _with_norms(_merge_equal(steps))


def _merge_equal(steps: list[Step]) -> list[Step]:
    """Make one step of equal blocks in a row that are numbered, not named."""
    merged: list[Step] = []
    for step in steps:
        last = merged[-1] if merged else None
        numbered = last and all(one.block.split(".")[-1].isdigit() for one in (last, step))
        if last and numbered and _form(last)[: len(step.layers)] == _form(step):
            merged[-1] = replace(last, layers=last.layers + step.layers, count=last.count + 1)
        else:
            merged.append(step)
    return merged


def _form(step: Step) -> list[tuple]:
    return [(layer.kind, layer.shape, layer.kernel, layer.parameters) for layer in step.layers]


def _with_norms(steps: list[Step]) -> list[Step]:
    """Put each normalisation with the layer that it follows."""
    joined: list[Step] = []
    for step in steps:
        norm = not step.block and step.kind.startswith(NORMALISATIONS)
        if norm and joined and not joined[-1].block and not joined[-1].is_sum:
            joined[-1] = replace(joined[-1], layers=joined[-1].layers + step.layers)
        else:
            joined.append(step)
    return joined


def connections(steps: Sequence[Step], sources: Mapping[str, tuple[str, ...]]) -> set[tuple[int, int]]:
    """Tell which steps of a chain feed which, by their numbers; -1 is whatever comes before the chain.

    >>> import torch
    >>> from fieldwise.networks.layers import list_layers
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.Conv2d(8, 1, 3))
    >>> layers = list_layers(network, torch.zeros(1, 1, 9, 9))
    >>> sorted(connections(fold(layers[1:]), feeding(layers)))
    [(-1, 0), (0, 1)]
    """
    number = {layer.name: index for index, step in enumerate(steps) for layer in step.layers}
    pairs = {
        (number.get(source, -1), index)
        for index, step in enumerate(steps)
        for layer in step.layers
        for source in sources[layer.name]
    }
    return {(first, second) for first, second in pairs if first != second}
