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
    return spread(share_out(positions, shape, cloud=cloud, periodic=periodic), positions, values, shape)


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
    return gather(share_out(positions, mesh.shape[2:], cloud=cloud, periodic=periodic), positions, mesh)


def spread(
    axes: list[list[Share]], positions: torch.Tensor, values: torch.Tensor | None, shape: Sequence[int]
) -> torch.Tensor:
    """Deposit where the shares of the particles are known already: see :func:`share_out`.

    >>> between = torch.tensor([[[0.5], [0.0]]])  # of one box, one particle between two cells of a column
    >>> spread(share_out(between, (2, 2), cloud="cic"), between, None, (2, 2)).tolist()
    [[[[0.5, 0.0], [0.5, 0.0]]]]
    """
    boxes = len(positions)
    carried = None if values is None else values.transpose(0, 1).flatten(1)
    mesh = [
        positions.new_zeros(boxes * math.prod(shape)) for _ in range(1 if values is None else values.shape[1])
    ]
    for index, weight in _combine(axes):
        for channel, cells in enumerate(mesh):  # one axis at a time: of more, index_add_ is slow
            cells.index_add_(0, index, weight if carried is None else weight * carried[channel])
    return torch.stack([cells.reshape(boxes, *shape) for cells in mesh], dim=1)


def gather(axes: list[list[Share]], positions: torch.Tensor, mesh: torch.Tensor) -> torch.Tensor:
    """Sample where the shares of the particles are known already: see :func:`share_out`.

    >>> between, mesh = torch.tensor([[[0.5], [0.0]]]), torch.tensor([[[[1.0, 9.0], [3.0, 9.0]]]])
    >>> gather(share_out(between, (2, 2), cloud="cic"), between, mesh).tolist()
    [[[2.0]]]
    """
    cells = [channel.flatten() for channel in mesh.unbind(1)]
    read = [torch.zeros_like(positions[:, 0]).flatten() for _ in cells]
    for index, weight in _combine(axes):
        for value, channel in zip(read, cells, strict=True):
            value.addcmul_(weight, channel.index_select(0, index))
    return torch.stack([value.reshape(positions[:, 0].shape) for value in read], dim=1)


def share_out(
    positions: torch.Tensor, shape: Sequence[int], *, cloud: Cloud, periodic: bool = True
) -> list[list[Share]]:
    """Give, for each axis, the cells that clouds reach and how much of them lies there.

    Each share is a pair of (boxes * particles): where the cell stands on the flattened meshes of all boxes,
    which is the sum over axes, and the part of the cloud, which is their product.

    >>> (row,) = share_out(torch.tensor([[[1.25]]]), (4,), cloud="cic")
    >>> [(cell.item(), part.item()) for cell, part in row]
    [(1, 0.75), (2, 0.25)]
    """
    boxes, dimensions = positions.shape[:2]
    if dimensions != len(shape):
        raise InputError(f"positions have {dimensions} components, the mesh {len(shape)} axes; give as many")
    cells = math.prod(shape)
    kind = torch.int32 if boxes * cells < 2**31 else torch.int64  # half the memory to move
    begin = cells * torch.arange(boxes, dtype=kind, device=positions.device)[:, None]
    axes = []
    for axis, along in enumerate(shape):
        stride = math.prod(shape[axis + 1 :])
        shares = _share_axis(positions[:, axis].flatten(1), along, cloud, periodic, kind)
        axes.append([(torch.add(begin, i, alpha=stride).flatten(), w.flatten()) for i, w in shares])
        begin = torch.zeros_like(begin)  # a box counts once
    return axes


def _combine(axes: list[list[Share]]) -> Iterator[Share]:
    if len(axes) == 1:
        yield from axes[0]
        return
    for index, weight in axes[0]:
        yield from _combine([[(index + further, weight * share) for further, share in axes[1]], *axes[2:]])


def _share_axis(
    position: torch.Tensor, cells: int, cloud: Cloud, periodic: bool, kind: torch.dtype
) -> list[Share]:
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
    # Positions that are no numbers give values that are none, in a cell that exists.
    if periodic:
        first = first.remainder(cells).nan_to_num(0).to(kind)
        indices = [first + step for step in range(len(weights))]
        return [(torch.where(i < cells, i, i - cells), w) for i, w in zip(indices, weights, strict=True)]
    first = first.clamp(-3, cells).nan_to_num(0).to(kind)  # clouds beyond the mesh lie outside it as well
    indices = [first + step for step in range(len(weights))]
    return [
        (index.clamp(0, cells - 1), weight * ((index >= 0) & (index < cells)))
        for index, weight in zip(indices, weights, strict=True)
    ]


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
        Cells of the field added on every side, to hold the mass that flows out of a box that is not
        periodic.
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
    momentum = deposit(positions, velocity.to(positions.dtype), shape, cloud=cloud, periodic=periodic)
    return momentum * scale_factor ** len(shape)


def common_mean(*displacements: torch.Tensor) -> torch.Tensor:
    """Give the mean displacement of fields taken together, (boxes, dimensions).

    >>> common_mean(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)).tolist()
    [[0.5, 0.5]]
    """
    return torch.stack([field.flatten(2).mean(2) for field in displacements]).mean(0)


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
    if displacement.dtype in (torch.float16, torch.bfloat16):
        displacement = displacement.float()  # cells beyond the 256th have no bf16
    mean = common_mean(displacement) if mean is None else mean
    moved = displacement - mean.reshape(*mean.shape, *[1] * (displacement.dim() - 2))
    positions = (lattice_of(displacement) + padding + moved / spacing) * scale_factor
    return positions, [(cells + 2 * padding) * scale_factor for cells in displacement.shape[2:]]
