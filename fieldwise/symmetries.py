"""The eight ways to turn a map of square cells, and the vectors on it."""

from __future__ import annotations

from collections.abc import Sequence

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
