"""Networks that turn with their inputs: rotate or mirror the map, and the result does so exactly.

``EquivariantConvNet(in_channels, out_channels, *, vectors={}, layers=16, filters=32, kernel_size=3,
activation="leaky_relu", dropout=0.0, residual=True, dilations=(1,))`` is told which channels are components
of vectors, as :meth:`fieldwise.samples.signatures.Signature.vectors` says it. Thickness, slope to the east
and to the north, and a flow parameter to the mean velocity and that of the surface:

    EquivariantConvNet(4, 4, vectors={"inputs": [(1, 2)], "targets": [(0, 1), (2, 3)]})

It maps (batch, in_channels, y, x) to (batch, out_channels, y, x). ``Symmetrised(network, *, vectors={})``
makes any other network equivariant, at eight times its cost.

Rows run from north to south; of a vector the channel of the component to the east (along x) comes first,
then that of the one to the north. Both components must have one scale. A grid spacing is one more scalar.

The group convolution (Cohen and Welling 2016, arXiv:1602.07576; steerable to vectors as in Weiler and Cesa
2019, arXiv:1911.08251): features come in orbits of eight, one for each way to turn the map; a kernel is
stored once and used in its eight turned versions, which only reorders its numbers and flips signs. What is
computed is thus one plain stack of convolutions of as many filters, at the cost of the plain network and
with an eighth of its parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.networks.convnet import (
    ConvNet,
    check_channels,
    check_sizes,
    choose_convolution,
    make_activation,
    make_dropout,
    pass_fields,
    repeat_dilations,
    soften,
)
from fieldwise.symmetries import ORDER, compose, inverse, list_axis_symmetries, turn_axes, turn_channels

# Channels of "inputs" and of "targets" that are components of vectors: to the east, to the north.
Vectors = Mapping[str, Sequence[Sequence[int]]]
NO_VECTORS: Vectors = {}
Turns = list[tuple[np.ndarray, np.ndarray]]  # for each symmetry: the channel to take, and its sign


class EquivariantConvNet(nn.Module):
    """A `ConvNet` that commutes with the four rotations and four mirrorings of the map.

    Parameters
    ----------
    in_channels, out_channels : int
        Number of input and output fields.
    vectors : mapping of str to sequence of pairs of int
        Channels of `inputs` and of `targets` that are components of vectors: (to the east, to the north).
    layers, filters, kernel_size, activation, dropout, dilations
        As of `ConvNet`; filters is a multiple of eight.
    residual : bool
        Whether each layer adds to the features of the one before. Few orbits and no bias on vectors let a
        deep stack without it fall silent early in training.

    Raises
    ------
    InputError
        If an option is out of range, or a channel belongs to two vectors.

    Examples
    --------
    Thickness and slope to velocity; turned by a quarter, the slope to the east becomes one to the north:

    >>> network = EquivariantConvNet(3, 2, vectors={"inputs": [(1, 2)], "targets": [(0, 1)]}, layers=3)
    >>> thickness, east, north = torch.randn(3, 1, 9, 7)
    >>> velocity = network(torch.stack([thickness, east, north], 1))
    >>> turned = [field.rot90(dims=(-2, -1)) for field in (thickness, -north, east)]
    >>> velocity_turned = network(torch.stack(turned, 1))
    >>> torch.allclose(velocity_turned[:, 0], -velocity[:, 1].rot90(dims=(-2, -1)), atol=1e-5)
    True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        vectors: Vectors = NO_VECTORS,
        layers: int = 16,
        filters: int = 32,
        kernel_size: int = 3,
        activation: str = "leaky_relu",
        dropout: float = 0.0,
        residual: bool = True,
        dilations: Sequence[int] = (1,),
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels, layers=layers)
        choose_convolution(2, kernel_size)
        if filters < ORDER or filters % ORDER:
            raise InputError(f"filters is {filters}; give a multiple of 8, one for each way to turn the map")
        self.options: dict[str, Any] = {
            "layers": layers,
            "filters": filters,
            "kernel_size": kernel_size,
            "activation": activation,
            "dropout": dropout,
            "residual": residual,
            "dilations": dilations,
        }
        self.in_channels, self.residual = in_channels, residual
        orbits = filters // ORDER
        first, regular = turns_of_channels(in_channels, vectors.get("inputs", ())), turns_of_orbits(orbits)
        self.convolutions = nn.ModuleList(
            ConvolutionToOrbits(regular if number else first, orbits, kernel_size, dilation=dilation)
            for number, dilation in enumerate(repeat_dilations(dilations, layers))
        )
        self.activation = make_activation(activation)
        self.dropout = make_dropout(dropout)
        self.output = ConvolutionFromOrbits(
            orbits, turns_of_channels(out_channels, vectors.get("targets", ()))
        )
        if residual:
            soften(self.convolutions[1:])

    def forward(self, fields: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, out_channels, y, x).

        With a mask (batch, 1, y, x) the map ends where it is 0, and the result is 0 there.
        """
        check_channels(fields, self.in_channels, 2)
        return pass_fields(self, fields, mask)

    def to_plain(self) -> ConvNet:
        """Give the plain network that computes the same, with every kernel in its eight versions.

        >>> network = EquivariantConvNet(1, 2, vectors={"targets": [(0, 1)]}, layers=2)
        >>> thickness = torch.randn(1, 1, 8, 8)
        >>> torch.allclose(network.to_plain()(thickness), network(thickness), atol=1e-6)
        True
        """
        plain = ConvNet(self.in_channels, self.output.out_channels, **self.options)
        with torch.no_grad():
            for target, source in zip([*plain.convolutions, plain.output], [*self.convolutions, self.output]):
                target.weight.copy_(source.expand_weight())
                target.bias.copy_(source.expand_bias())
        return plain.train(self.training)


class ConvolutionToOrbits(nn.Module):
    """A convolution to orbits of eight features, the eight turned versions of one kernel each.

    Parameters
    ----------
    turns : list of pairs of arrays
        How the channels that it reads turn.
    orbits : int
        Number of orbits it makes.
    kernel_size : int
        Cells on a side of the kernel, odd.
    dilation : int
        Steps in cells from tap to tap.
    """

    index: Tensor
    signs: Tensor | None

    def __init__(self, turns: Turns, orbits: int, kernel_size: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.in_channels, self.padding = len(turns[0][0]), dilation * (kernel_size // 2)
        self.kernel_size, self.dilation = (kernel_size, kernel_size), (dilation, dilation)
        self.kernel = nn.Parameter(torch.empty(orbits, self.in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(orbits))
        _draw_kernel(self.kernel, self.in_channels, orbits * ORDER)
        versions = _turn_numbered(self.kernel.shape, turns, axis=1)
        _register(self, np.stack(versions, axis=1).reshape(orbits * ORDER, *self.kernel.shape[1:]))

    def expand_weight(self) -> Tensor:
        """Lay out the kernels of all features: (orbits * 8, in_channels, k, k)."""
        return _expand(self.kernel, self.index, self.signs)

    def expand_bias(self) -> Tensor:
        """Lay out the biases of all features: (orbits * 8,)."""
        return self.bias.repeat_interleave(ORDER)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve (batch, in_channels, y, x) to (batch, orbits * 8, y, x)."""
        return functional.conv2d(
            features,
            self.expand_weight(),
            self.expand_bias(),
            padding=self.padding,
            dilation=self.dilation,
        )


class ConvolutionFromOrbits(nn.Module):
    """A linear mix of orbits, cell by cell, to scalars and vectors; vectors have no bias, which would point.

    Parameters
    ----------
    orbits : int
        Number of orbits that it reads.
    turns : list of pairs of arrays
        How the channels that it writes turn.
    """

    index: Tensor
    signs: Tensor | None
    bias_index: Tensor

    def __init__(self, orbits: int, turns: Turns) -> None:
        super().__init__()
        self.out_channels, self.kernel_size = len(turns[0][0]), (1, 1)
        self.kernel = nn.Parameter(torch.empty(self.out_channels, orbits, 1, 1))
        _draw_kernel(self.kernel, orbits * ORDER, self.out_channels)
        versions = _turn_numbered(self.kernel.shape, turns, axis=0)
        _register(self, np.stack(versions, axis=2).reshape(self.out_channels, orbits * ORDER, 1, 1))
        channels = np.arange(self.out_channels)
        scalar = np.all([(take == channels) & (signs > 0) for take, signs in turns], axis=0)
        self.bias = nn.Parameter(torch.zeros(int(scalar.sum())))
        # the scalars take their biases in order, the vectors a zero that is put behind the last
        places = np.where(scalar, np.cumsum(scalar) - 1, scalar.sum())
        self.register_buffer("bias_index", torch.from_numpy(places), persistent=False)

    def expand_weight(self) -> Tensor:
        """Lay out the kernels for all features: (out_channels, orbits * 8, 1, 1)."""
        return _expand(self.kernel, self.index, self.signs)

    def expand_bias(self) -> Tensor:
        """Lay out the biases, zero for vectors: (out_channels,)."""
        return functional.pad(self.bias, (0, 1))[self.bias_index]

    def forward(self, features: Tensor) -> Tensor:
        """Convolve (batch, orbits * 8, y, x) to (batch, out_channels, y, x)."""
        return functional.conv2d(features, self.expand_weight(), self.expand_bias())


class Symmetrised(nn.Module):
    """Any network, made equivariant: the mean of what it says of the map turned in all eight ways.

    Parameters
    ----------
    network : nn.Module
        Maps (batch, in_channels, y, x) to (batch, out_channels, y, x), for frames of any shape.
    vectors : mapping of str to sequence of pairs of int
        As of :class:`EquivariantConvNet`.

    Examples
    --------
    >>> network = Symmetrised(ConvNet(1, 2, layers=2), vectors={"targets": [(0, 1)]})
    >>> dome = torch.zeros(1, 1, 5, 5)
    >>> dome[0, 0, 2, 2] = 1.0
    >>> network(dome)[0, :, 2, 2].abs().max().item() < 1e-6  # at the summit flow has nowhere to go
    True
    """

    def __init__(self, network: nn.Module, *, vectors: Vectors = NO_VECTORS) -> None:
        super().__init__()
        self.network = network
        self.vectors = {side: [tuple(each[:2]) for each in pairs] for side, pairs in vectors.items()}

    def forward(self, fields: Tensor) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, out_channels, y, x)."""
        pairs, answer_pairs = (self.vectors.get(side, []) for side in ("inputs", "targets"))
        total = self.network(fields)
        for symmetry in range(1, ORDER):
            answer = self.network(turn_channels(fields, symmetry, pairs))
            total = total + turn_channels(answer, inverse(symmetry), answer_pairs)
        return total / ORDER


def turns_of_channels(channels: int, pairs: Sequence[Sequence[int]]) -> Turns:
    """Say for every symmetry which channel takes whose place, and with which sign.

    Raises
    ------
    InputError
        Where a channel is none, or belongs to two vectors.

    >>> take, signs = turns_of_channels(3, [(1, 2)])[1]
    >>> take.tolist(), signs.tolist()  # of a vector in 1 and 2, turned: 2 points west, 1 points north
    ([0, 2, 1], [1, -1, 1])
    """
    components = [channel for pair in pairs for channel in pair[:2]]
    if len(set(components)) < 2 * len(pairs) or not set(components) <= set(range(channels)):
        raise InputError(
            f"vectors are {[tuple(pair) for pair in pairs]} of {channels} channels; give for each the "
            "numbers of two channels, to the east and to the north, that belong to no other"
        )
    turns = []
    for symmetry in range(ORDER):
        numbered = np.arange(1, channels + 1)
        for east, north, *_ in pairs:
            if symmetry >= 4:
                numbered[east] *= -1
            for _ in range(symmetry % 4):
                numbered[east], numbered[north] = -numbered[north], numbered[east]
        turns.append((np.abs(numbered) - 1, np.sign(numbered)))
    return turns


def turns_of_orbits(orbits: int) -> Turns:
    """Say for every symmetry which feature of an orbit takes whose place.

    >>> turns_of_orbits(1)[1][0].tolist()  # a quarter turn later, and mirrored ones the other way
    [3, 0, 1, 2, 7, 4, 5, 6]
    """
    starts = ORDER * np.arange(orbits)[:, None]
    ones = np.ones(ORDER * orbits, dtype=int)
    return [
        ((starts + [compose(inverse(symmetry), member) for member in range(ORDER)]).reshape(-1), ones)
        for symmetry in range(ORDER)
    ]


def _turn_numbered(shape: tuple[int, ...], turns: Turns, *, axis: int) -> list[np.ndarray]:
    """Number the weights of a kernel from 1 and turn it in all eight ways; a minus is a sign that flips."""
    numbered = np.arange(1, np.prod(shape) + 1).reshape(shape)
    versions = []
    for symmetry, (take, signs) in enumerate(turns):
        turned = np.flip(numbered, -1) if symmetry >= 4 else numbered
        turned = np.rot90(turned, symmetry % 4, axes=(-2, -1))
        factors = signs.reshape([-1 if number == axis else 1 for number in range(4)])
        versions.append(np.take(turned, take, axis=axis) * factors)
    return versions


def _register(module: nn.Module, numbered: np.ndarray) -> None:
    module.register_buffer("index", torch.from_numpy(np.abs(numbered) - 1), persistent=False)
    signs = torch.from_numpy(np.sign(numbered).astype(np.float32))
    module.register_buffer("signs", None if (signs > 0).all() else signs, persistent=False)


def _expand(kernel: Tensor, index: Tensor, signs: Tensor | None) -> Tensor:
    weight = kernel.reshape(-1)[index]
    return weight if signs is None else weight * signs


def _draw_kernel(kernel: Tensor, in_channels: int, out_channels: int) -> None:
    """Draw from Glorot's uniform distribution for the convolution that is computed, not the stored kernel."""
    limit = (6 / (kernel[0, 0].numel() * (in_channels + out_channels))) ** 0.5
    nn.init.uniform_(kernel, -limit, limit)


class AxisSymmetrised(nn.Module):
    """Turns its input in all 8 or 48 ways, and gives the mean of what a network says, turned back.

    Parameters
    ----------
    network : nn.Module
        Maps (batch, channel, *space) to such, with as much cut off on all sides alike.
    dimensions : int
        2 or 3.
    inputs, outputs : sequence of tuples
        Channels that are the components of a vector along the axes, in their order.

    >>> first = nn.Conv2d(2, 2, 1, bias=False)
    >>> _ = nn.init.constant_(first.weight, 0.5)  # mixes the components, as no vector can
    >>> network = AxisSymmetrised(first, dimensions=2, inputs=[(0, 1)], outputs=[(0, 1)])
    >>> flow = torch.tensor([3.0, 1.0]).view(1, 2, 1, 1)
    >>> network(flow).flatten().tolist()  # a half of it, which is what is left of the mixing
    [1.5, 0.5]
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        dimensions: int,
        inputs: Sequence[tuple[int, ...]],
        outputs: Sequence[tuple[int, ...]],
    ) -> None:
        super().__init__()
        self.network, self.dimensions = network, dimensions
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.margin = int(getattr(network, "margin", 0))

    @property
    def boundary(self) -> str:
        """That of the network, where it has one."""
        return str(self.network.boundary)

    @boundary.setter
    def boundary(self, boundary: str) -> None:
        self.network.boundary = boundary  # type: ignore[assignment]

    def forward(self, fields: Tensor, style: Tensor | None = None) -> Tensor:
        """Map (batch, channel, *space)."""
        options: dict[str, Any] = {} if style is None else {"style": style}
        every = list_axis_symmetries(self.dimensions)
        total = torch.zeros(())
        for symmetry in every:
            answer = self.network(turn_axes(fields, symmetry, self.inputs), **options)
            total = total + turn_axes(answer, symmetry.inverse, self.outputs)
        return total / len(every)
