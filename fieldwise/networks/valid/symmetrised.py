"""Any network of boxes, averaged over the symmetries of the square or the cube."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.symmetries import list_axis_symmetries, turn_axes

Vectors = Sequence[tuple[int, ...]]


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

    Examples
    --------
    >>> first = nn.Conv2d(2, 2, 1, bias=False)
    >>> _ = nn.init.constant_(first.weight, 0.5)  # mixes the components, as no vector can
    >>> network = AxisSymmetrised(first, dimensions=2, inputs=[(0, 1)], outputs=[(0, 1)])
    >>> flow = torch.tensor([3.0, 1.0]).view(1, 2, 1, 1)
    >>> network(flow).flatten().tolist()  # a half of it, which is what is left of the mixing
    [1.5, 0.5]
    """

    def __init__(self, network: nn.Module, *, dimensions: int, inputs: Vectors, outputs: Vectors) -> None:
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
