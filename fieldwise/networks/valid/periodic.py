"""Boxes without an edge: fields that go on, beyond each side, with what lies at the opposite one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.errors import InputError

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
BOUNDARIES = ("periodic", "valid")


class Boundary:
    """What a network takes to lie beyond the cells that it is given; may be set at any time.

    `boundary` is "periodic": what is at the opposite side, n cells give n; or "valid": the fields carry their
    margin, n cells give n - 2 margin.

    >>> Boundary().boundary
    'valid'
    """

    _boundary = "valid"

    @property
    def boundary(self) -> str:
        """What lies beyond the cells that are given: "periodic" or "valid"."""
        return self._boundary

    @boundary.setter
    def boundary(self, boundary: str) -> None:
        if boundary not in BOUNDARIES:
            raise InputError(f"boundary is {boundary!r}; take {' or '.join(BOUNDARIES)}")
        self._boundary = boundary

    def widen(self, fields: Tensor) -> Tensor:
        """Add the cell on every side that a convolution takes off; where fields carry their margin, none."""
        return wrap_around(fields, 1) if self.boundary == "periodic" else fields


def wrap_around(fields: Tensor, cells: int) -> Tensor:
    """Continue (batch, channel, *space) periodically by so many cells on every side.

    The same as ``torch.nn.functional.pad(..., mode="circular")``, which forgets that channels come last in
    memory and records every copy that it makes: with the convolution that follows, training takes about half
    the time of it. It can be differentiated backward and forward.

    Parameters
    ----------
    fields : Tensor
        At least as many cells an axis as are to be added.

    >>> wrap_around(torch.arange(4.0).view(1, 1, 2, 2), 1)[0, 0].tolist()
    [[3.0, 2.0, 3.0, 2.0], [1.0, 0.0, 1.0, 0.0], [3.0, 2.0, 3.0, 2.0], [1.0, 0.0, 1.0, 0.0]]
    """
    return _WrapAround.apply(fields, cells)


def put_channels_last(fields: Tensor) -> Tensor:
    """Put the channels of a cell beside each other in memory, where (batch, channel, *space) is on a CPU.

    >>> put_channels_last(torch.zeros(1, 2, 3, 3, 3)).stride()
    (54, 1, 18, 6, 2)
    """
    if fields.device.type != "cpu":
        return fields
    return fields.contiguous(memory_format=CHANNELS_LAST[fields.ndim])


def put_kernels_last(network: nn.Module) -> None:
    """Put the channels of all kernels of a network last in memory, as CPUs and GPUs convolve fastest.

    >>> layer = nn.Conv2d(2, 4, 3)
    >>> put_kernels_last(layer)
    >>> layer.weight.stride()
    (18, 1, 6, 2)
    """
    for parameter in network.parameters():
        if parameter.ndim > 2:
            parameter.data = put_channels_last(parameter.data)


class _WrapAround(torch.autograd.Function):
    """A copy and two thin copies an axis; its derivative adds what was copied to where it came from."""

    generate_vmap_rule = True

    @staticmethod
    def forward(fields: Tensor, cells: int) -> Tensor:
        sizes = fields.shape[2:]
        order = CHANNELS_LAST[fields.ndim]
        wrapped = torch.empty(
            (*fields.shape[:2], *(size + 2 * cells for size in sizes)),
            dtype=fields.dtype,
            device=fields.device,
            memory_format=order if fields.is_contiguous(memory_format=order) else torch.contiguous_format,
        )
        views = [wrapped]  # whole in all axes, then without what is added in the first, the first two, …
        for axis, size in enumerate(sizes, start=2):
            views.append(views[-1].narrow(axis, cells, size))
        views[-1].copy_(fields)
        for axis in reversed(range(2, fields.ndim)):
            view, size = views[axis - 2], sizes[axis - 2]
            view.narrow(axis, 0, cells).copy_(view.narrow(axis, size, cells))
            view.narrow(axis, size + cells, cells).copy_(view.narrow(axis, cells, cells))
        return wrapped

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.cells = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        cells, gradient = ctx.cells, gradients[0].clone()
        for axis in range(2, gradient.ndim):
            size = gradient.shape[axis] - 2 * cells
            gradient.narrow(axis, size, cells).add_(gradient.narrow(axis, 0, cells))
            gradient.narrow(axis, cells, cells).add_(gradient.narrow(axis, size + cells, cells))
            gradient = gradient.narrow(axis, cells, size)
        return gradient, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return wrap_around(tangents[0], ctx.cells)
