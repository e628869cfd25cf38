"""The ways to turn fields of square cells, and the vectors on them: maps, and boxes by their axes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

# quarter turns counter-clockwise (0 to 3), after mirroring west and east (4 to 7)
ORDER = 8


def turn_channels(fields: Tensor, symmetry: int, pairs: Sequence[tuple[int, ...]] = ()) -> Tensor:
    """Rotate or mirror a map together with the vectors on it.

    Parameters
    ----------
    fields
        (batch, channel, y, x) or (batch, channel, z, y, x), rows from north to south.
    symmetry
        0 to 7: quarter turns counter-clockwise (0 to 3), after mirroring west and east (4 to 7).
    pairs
        Channels that are components of vectors: (to the east, to the north).

    >>> flow = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)  # two eastward, one northward
    >>> turn_channels(flow, 1, [(0, 1)]).flatten().tolist()  # a quarter turn counter-clockwise
    [-1.0, 2.0]
    """
    if symmetry >= 4:
        fields = fields.flip(-1)
    fields = torch.rot90(fields, symmetry % 4, dims=(-2, -1))
    if not pairs:
        return fields
    channels = list(fields.unbind(1))
    for east, north in pairs:
        if symmetry >= 4:
            channels[east] = -channels[east]
        for _ in range(symmetry % 4):
            channels[east], channels[north] = -channels[north], channels[east]
    return torch.stack(channels, dim=1)


def compose(second: int, first: int) -> int:
    """Name the symmetry that does `first`, then `second`.

    >>> compose(1, 4), compose(4, 1)  # mirroring and turning do not commute
    (5, 7)
    """
    sense = -1 if second >= 4 else 1
    return (second + sense * first) % 4 + 4 * ((second >= 4) != (first >= 4))


def inverse(symmetry: int) -> int:
    """Name the symmetry that undoes this one; every mirroring undoes itself.

    >>> [inverse(symmetry) for symmetry in range(8)]
    [0, 3, 2, 1, 4, 5, 6, 7]
    """
    return symmetry if symmetry >= 4 else -symmetry % 4


class AxisSymmetry(NamedTuple):
    """A symmetry of the square or the cube: which axis comes to each place, and which are reversed."""

    order: tuple[int, ...]
    flips: tuple[bool, ...]

    @property
    def inverse(self) -> AxisSymmetry:
        """The symmetry that undoes this one.

        >>> AxisSymmetry((1, 2, 0), (True, False, False)).inverse
        AxisSymmetry(order=(2, 0, 1), flips=(False, True, False))
        """
        places = sorted(range(len(self.order)), key=self.order.__getitem__)
        return AxisSymmetry(tuple(places), tuple(self.flips[place] for place in places))

    def before(self, sides: Sequence[Any]) -> list[Any]:
        """Give what each axis must have, a size or (before, after), so that the turned one has `sides`.

        >>> AxisSymmetry((1, 0), (True, False)).before([(1, 2), (3, 4)])
        [(3, 4), (2, 1)]
        """
        wanted = list(sides)
        for axis, flip, side in zip(self.order, self.flips, sides, strict=True):
            wanted[axis] = side[::-1] if flip and isinstance(side, tuple) else side
        return wanted


@functools.cache
def list_axis_symmetries(dimensions: int) -> tuple[AxisSymmetry, ...]:
    """List the symmetries of the square (8) or the cube (48), that which changes nothing first.

    >>> [len(list_axis_symmetries(dimensions)) for dimensions in (2, 3)]
    [8, 48]
    >>> list_axis_symmetries(2)[0]
    AxisSymmetry(order=(0, 1), flips=(False, False))
    """
    orders = itertools.permutations(range(dimensions))
    flips = list(itertools.product((False, True), repeat=dimensions))
    return tuple(AxisSymmetry(order, each) for order in orders for each in flips)


def turn_axes(fields: Tensor, symmetry: AxisSymmetry, vectors: Sequence[tuple[int, ...]] = ()) -> Tensor:
    """Permute and reverse the axes of fields together with the vectors on them.

    Parameters
    ----------
    fields
        (batch, channel, *cells), with as many axes of cells as the symmetry has.
    symmetry
        Of :func:`list_axis_symmetries`.
    vectors
        Channels that are the components of a vector along the axes, in their order: a reversed axis negates
        its component, a permutation moves the components with the axes.

    >>> flow = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)  # two along the first axis, one along the second
    >>> turn_axes(flow, AxisSymmetry((1, 0), (False, True)), [(0, 1)]).flatten().tolist()
    [1.0, -2.0]
    """
    turned = fields.permute(0, 1, *(2 + axis for axis in symmetry.order))
    turned = turned.flip([2 + place for place, flip in enumerate(symmetry.flips) if flip])
    if not vectors:
        return turned
    channels, old = list(turned.unbind(1)), turned.unbind(1)
    for vector in vectors:
        for channel, axis, flip in zip(vector, symmetry.order, symmetry.flips, strict=True):
            channels[channel] = -old[vector[axis]] if flip else old[vector[axis]]
    return torch.stack(channels, dim=1)
