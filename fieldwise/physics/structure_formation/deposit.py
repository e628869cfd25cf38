"""Mass on a mesh from particles, and values of a mesh where particles are; differentiable in the positions.

Clouds have the shape of a cell (cloud in cell, ``"cic"``: 2 cells share it along each axis) or of a triangle
two cells wide (triangular-shaped cloud, ``"tsc"``: 3 cells) (Hockney & Eastwood 1988). Positions count in
cells of the mesh; position 0 is the middle of the first cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from fieldwise.errors import InputError

Cloud = Literal["cic", "tsc"]
Share = tuple[torch.Tensor, torch.Tensor]  # cells, and what part of the cloud lies in them


def deposit(
    positions: torch.Tensor,
    values: torch.Tensor | None,
    shape: Sequence[int],
    *,
    cloud: Cloud = "cic",
    periodic: bool = True,
) -> torch.Tensor:
    """Spread what particles carry over the cells of a mesh.

    Parameters
    ----------
    positions
        (boxes, dimensions, *particles), in cells.
    values
        (boxes, channels, *particles): what each carries; None where each has mass 1.
    shape
        Cells of the mesh along each axis.
    cloud
        Its shape.
    periodic
        Whether what leaves on one side comes in on the other; otherwise it is lost.

    Returns
    -------
    torch.Tensor
        (boxes, channels, *shape): sums over particles. A box's mass is kept where it is periodic.

    >>> deposit(torch.tensor([[[0.25], [2.0]]]), None, (3, 3))[0, 0].tolist()  # one particle
    [[0.0, 0.0, 0.75], [0.0, 0.0, 0.25], [0.0, 0.0, 0.0]]
    """
    boxes, cells = len(positions), math.prod(shape)
    channels = 1 if values is None else values.shape[1]
    carried = None if values is None else values.reshape(boxes, channels, -1)
    mesh = positions.new_zeros(boxes * channels * cells)
    for index, weight in _share_out(positions, shape, cloud, periodic):
        for channel in range(channels):
            share = weight if carried is None else weight * carried[:, channel]
            mesh.index_add_(
                0, (index + _first_cells(boxes, channels, channel, cells, index)).flatten(), share.flatten()
            )
    return mesh.reshape(boxes, channels, *shape)


def sample(
    mesh: torch.Tensor, positions: torch.Tensor, *, cloud: Cloud = "cic", periodic: bool = True
) -> torch.Tensor:
    """Read a mesh where particles are: the transpose of the deposit.

    Parameters
    ----------
    mesh
        (boxes, channels, *cells).
    positions
        (boxes, dimensions, *particles), in cells.
    cloud, periodic
        As for the deposit; beyond a mesh that is not periodic, values count as 0.

    Returns
    -------
    torch.Tensor
        (boxes, channels, *particles).

    >>> sample(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]), torch.tensor([[[0.5], [0.25]]])).tolist()
    [[[1.25]]]
    """
    boxes, channels, *shape = mesh.shape
    flat, cells = mesh.reshape(-1), math.prod(shape)
    read = mesh.new_zeros(boxes, channels, math.prod(positions.shape[2:]))
    for index, weight in _share_out(positions, shape, cloud, periodic):
        for channel in range(channels):
            at = index + _first_cells(boxes, channels, channel, cells, index)
            read[:, channel] += weight * flat.index_select(0, at.flatten()).reshape(weight.shape)
    return read.reshape(boxes, channels, *positions.shape[2:])


def _first_cells(boxes: int, channels: int, channel: int, cells: int, like: torch.Tensor) -> torch.Tensor:
    """Give where a channel of each box begins on the flattened meshes, (boxes, 1)."""
    return ((torch.arange(boxes, device=like.device) * channels + channel) * cells)[:, None]


def _share_out(
    positions: torch.Tensor, shape: Sequence[int], cloud: Cloud, periodic: bool
) -> Iterator[Share]:
    """Give one cell after another that a cloud reaches: (boxes, particles), cells counted along the last axis."""
    flat = positions.flatten(2)
    if flat.shape[1] != len(shape):
        raise InputError(
            f"positions have {flat.shape[1]} components, the mesh {len(shape)} axes; give as many"
        )
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    axes = [
        [(index * stride, weight) for index, weight in _share_axis(flat[:, axis], cells, cloud, periodic)]
        for axis, (cells, stride) in enumerate(zip(shape, strides, strict=True))
    ]
    return _combine(axes)


def _combine(axes: list[list[Share]]) -> Iterator[Share]:
    if len(axes) == 1:
        yield from axes[0]
        return
    for index, weight in axes[0]:
        for further, share in _combine(axes[1:]):
            yield index + further, weight * share


def _share_axis(position: torch.Tensor, cells: int, cloud: Cloud, periodic: bool) -> list[Share]:
    """Give the cells along one axis that a cloud reaches, and how much of it lies in each."""
    if cloud == "cic":
        first = position.detach().floor()
        beyond = position - first
        weights = [1 - beyond, beyond]
    elif cloud == "tsc":
        nearest = position.detach().round()
        beyond = position - nearest
        weights = [0.5 * (0.5 - beyond) ** 2, 0.75 - beyond**2, 0.5 * (0.5 + beyond) ** 2]
        first = nearest - 1
    else:
        raise InputError(f"--cloud: is {cloud}; give cic or tsc")
    shares = []
    for step, weight in enumerate(weights):
        index = first.long() + step
        if periodic:
            index = index.remainder(cells)
        else:
            weight = weight * ((index >= 0) & (index < cells))
            index = index.clamp(0, cells - 1)
        shares.append((index, weight))
    return shares


def lattice_of(displacement: torch.Tensor) -> torch.Tensor:
    """Give where the particles of a displacement field started, in cells: (dimensions, *cells).

    >>> lattice_of(torch.zeros(1, 2, 2, 2))[1].tolist()
    [[0.0, 1.0], [0.0, 1.0]]
    """
    axes = [
        torch.arange(cells, dtype=displacement.dtype, device=displacement.device)
        for cells in displacement.shape[2:]
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def displacement_to_density(
    displacement: torch.Tensor,
    *,
    spacing: float,
    mean: torch.Tensor | None = None,
    scale_factor: int = 1,
    padding: int = 0,
    periodic: bool = True,
    cloud: Cloud = "cic",
) -> torch.Tensor:
    """Turn displacements of particles into the density of matter, from Lagrangian to Eulerian.

    Every cell holds a particle of mass 1 in its middle, which the displacement moves.

    Parameters
    ----------
    displacement
        (boxes, dimensions, *cells).
    spacing
        Cell size, in the unit of the displacement.
    mean
        (boxes, dimensions) or what broadcasts to it: a displacement that is taken off first, as it moves
        everything alike and would push mass off the mesh; the boxes' own if left out. Give fields that are
        compared the same: :func:`common_mean`.
    scale_factor
        How many times finer the mesh is than the cells; particles start on every so many cells of it.
    padding
        Cells added on every side, of the field; they hold the mass that flows out of a box that is not periodic.
    periodic
        Whether the box is.
    cloud
        Its shape.

    Returns
    -------
    torch.Tensor
        (boxes, 1, *mesh): rho over mean, 1 on average where mass is kept; the mesh has
        (cells + 2 padding) scale_factor cells along each axis.

    >>> still = torch.zeros(1, 2, 2, 2)
    >>> displacement_to_density(still, spacing=4.0).flatten().tolist()
    [1.0, 1.0, 1.0, 1.0]
    >>> displacement_to_density(still, spacing=4.0, scale_factor=2).sum().item()  # cells a quarter as large
    16.0
    """
    positions, shape = _positions(displacement, spacing, mean, scale_factor, padding, periodic)
    density = deposit(positions, None, shape, cloud=cloud, periodic=periodic)
    return density * scale_factor ** len(shape)


def displacement_to_momentum(
    displacement: torch.Tensor,
    velocity: torch.Tensor,
    *,
    spacing: float,
    mean: torch.Tensor | None = None,
    scale_factor: int = 1,
    padding: int = 0,
    periodic: bool = True,
    cloud: Cloud = "cic",
) -> torch.Tensor:
    """Turn displacements and velocities of particles into momentum: density times mean velocity.

    Parameters
    ----------
    velocity
        (boxes, channels, *cells), in any unit.
    displacement, spacing, mean, scale_factor, padding, periodic, cloud
        As for :func:`displacement_to_density`.

    Returns
    -------
    torch.Tensor
        (boxes, channels, *mesh), in the unit of the velocity.

    >>> still, wind = torch.zeros(1, 2, 2, 2), torch.full((1, 1, 2, 2), 300.0)
    >>> displacement_to_momentum(still, wind, spacing=4.0).flatten().tolist()
    [300.0, 300.0, 300.0, 300.0]
    """
    positions, shape = _positions(displacement, spacing, mean, scale_factor, padding, periodic)
    return deposit(positions, velocity, shape, cloud=cloud, periodic=periodic) * scale_factor ** len(shape)


def common_mean(*displacements: torch.Tensor) -> torch.Tensor:
    """Give the mean displacement that fields have in common, (boxes, dimensions); no gradient flows through it.

    >>> common_mean(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)).tolist()
    [[0.5, 0.5]]
    """
    return torch.stack([field.detach().flatten(2).mean(2) for field in displacements]).mean(0)


def _positions(
    displacement: torch.Tensor,
    spacing: float,
    mean: torch.Tensor | None,
    scale_factor: int,
    padding: int,
    periodic: bool,
) -> tuple[torch.Tensor, list[int]]:
    """Give positions in cells of the mesh, and the cells of the mesh."""
    if periodic and padding:
        raise InputError(
            f"--padding: is {padding}; a periodic box takes none: give 0, or say it is not periodic"
        )
    mean = common_mean(displacement) if mean is None else mean
    moved = displacement - mean.reshape(*mean.shape, *[1] * (displacement.dim() - 2))
    positions = (lattice_of(displacement) + padding + moved / spacing) * scale_factor
    return positions, [(cells + 2 * padding) * scale_factor for cells in displacement.shape[2:]]
