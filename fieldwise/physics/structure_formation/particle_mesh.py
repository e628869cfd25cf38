"""Matter under its own gravity: particles that feel the mean field on a mesh, from a = 0.1 to today.

Steps are kick, drift, kick, with momentum p = a^2 dx/dt in units of H0 and the potential
laplacian Phi = 3/2 Omega_m delta. Their factors are those of FastPM (Feng and others 2016), such that linear
theory is met however few the steps,

    kick = (G(a1) - G(a0)) / (3/2 Omega_m D(ar)),    drift = (D(a1) - D(a0)) / G(ar),    G = a^3 E dD/da.

The mesh is twice as fine as the lattice, clouds are triangular, the gradient is a four-point difference and
no window is deconvolved. This choice defines the truth. Of a lattice of particles, clouds in cells with a
spectral gradient make forces up to 1.4 times too strong, as the lattice's own harmonics fold back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from fieldwise.errors import InputError
from fieldwise.physics.structure_formation.cosmology import Cosmology
from fieldwise.physics.structure_formation.deposit import gather, lattice_of, share_out, spread
from fieldwise.physics.structure_formation.lagrangian import (
    KILOMETRES_PER_SECOND,
    displace_first_order,
    displace_second_order,
    grow_each,
    per_box,
    perturb,
)
from fieldwise.physics.structure_formation.modes import inverse_square, to_cells, to_modes

START = 0.1  # scale factor up to which second-order theory holds
REFINEMENT = 2  # mesh cells a particle, along each axis


class Snapshot(NamedTuple):
    """Matter at one time: displacement in Mpc/h and velocity a dx/dt in km/s, (boxes, dimensions, *cells)."""

    displacement: torch.Tensor
    velocity: torch.Tensor


def evolve(
    contrast: torch.Tensor,
    *,
    spacing_mpc: float,
    cosmology: Cosmology | Sequence[Cosmology],
    scale_factors: Sequence[float] | np.ndarray = (1.0,),
    steps: int = 10,
) -> list[Snapshot]:
    """Follow matter from second-order theory at a = 0.1 to one or more scale factors.

    Parameters
    ----------
    contrast
        (boxes, *cells), linear density contrast of today, in 2 or 3 dimensions.
    spacing_mpc
        Cell size in Mpc/h.
    cosmology
        One for all boxes, or one a box.
    scale_factors
        When to look, ascending, above 0.1 and at most 1: (times,) for all boxes, or (boxes, times).
    steps
        Steps of equal length to the last of them; those before lie on steps, so that there may be a few more.

    Returns
    -------
    list of Snapshot
        One a time.

    >>> wave = 0.01 * torch.cos(2 * torch.pi * torch.arange(16.0) / 16).expand(1, 16, 16)
    >>> (now,) = evolve(wave, spacing_mpc=4.0, cosmology=Cosmology())
    >>> ratio = now.displacement[0, 1, 0] / displace_first_order(wave, spacing_mpc=4.0)[0, 1, 0]
    >>> round(float(ratio[4]), 2)  # long waves grow nearly as in linear theory
    0.99
    """
    times, looks = plan_times(scale_factors, steps)
    growth, rate = grow_each(times, cosmology)
    growing = growth.first * growth.first_rate * times * rate / KILOMETRES_PER_SECOND  # G
    first, second = (
        solve(contrast, spacing_mpc=spacing_mpc) for solve in (displace_first_order, displace_second_order)
    )
    displacement, velocity = perturb(first, second, scale_factor=times[:, 0], cosmology=cosmology)
    momentum = velocity * per_box(times[:, 0] / KILOMETRES_PER_SECOND, velocity)

    def factor(difference: np.ndarray, reference: np.ndarray) -> torch.Tensor:
        return per_box(difference / reference, contrast[:, None])

    snapshots = []
    pull = attract(displacement, spacing_mpc)
    for now in range(0, times.shape[1] - 1, 2):
        half, then = now + 1, now + 2
        kick = factor(growing[:, half] - growing[:, now], growth.first[:, now])
        momentum = momentum + pull * kick
        drift = factor(growth.first[:, then] - growth.first[:, now], growing[:, half])
        displacement = displacement + momentum * drift
        pull = attract(displacement, spacing_mpc)
        kick = factor(growing[:, then] - growing[:, half], growth.first[:, then])
        momentum = momentum + pull * kick
        if then in looks:
            speed = per_box(KILOMETRES_PER_SECOND / times[:, then], momentum)
            snapshots.append(Snapshot(displacement, momentum * speed))
    return snapshots


def plan_times(scale_factors: Sequence[float] | np.ndarray, steps: int) -> tuple[np.ndarray, set[int]]:
    """Give the scale factors of all steps and half steps, (boxes, 2 steps + 1), and which are looked at.

    >>> times, looks = plan_times([0.5, 1.0], steps=4)
    >>> times[0].round(3).tolist(), sorted(looks)
    ([0.1, 0.2, 0.3, 0.4, 0.5, 0.625, 0.75, 0.875, 1.0], [4, 8])
    """
    if steps < 1:
        raise InputError(f"--steps: is {steps}; give at least 1")
    looks = np.atleast_2d(np.asarray(scale_factors, dtype=float))
    edges = np.concatenate([np.full((len(looks), 1), START), looks], axis=1)
    lengths = np.diff(edges, axis=1)
    if not ((lengths > 0).all() and (looks <= 1).all()):
        raise InputError(
            f"--scale_factor: is {scale_factors}; give values above {START}, ascending, at most 1"
        )
    shares = lengths.mean(0) / lengths.mean(0).sum()
    counts = np.maximum(1, np.rint(steps * shares)).astype(int)
    parts = [
        edges[:, [part]] + lengths[:, [part]] * np.arange(2 * count) / (2 * count)
        for part, count in enumerate(counts)
    ]
    return np.concatenate([*parts, edges[:, [-1]]], axis=1), set((2 * counts.cumsum()).tolist())


def attract(displacement: torch.Tensor, spacing_mpc: float) -> torch.Tensor:
    """Give -grad of the inverse Laplacian of the density contrast where the particles are.

    Parameters
    ----------
    displacement
        (boxes, dimensions, *cells) in Mpc/h.
    spacing_mpc
        Cell size in Mpc/h.

    Returns
    -------
    torch.Tensor
        Of the same shape, in Mpc/h; times 3/2 Omega_m / a it is the acceleration in comoving units.

    >>> float(attract(torch.zeros(1, 2, 4, 4), 4.0).abs().max()) < 1e-6  # the lattice does not pull
    True
    """
    shape = [cells * REFINEMENT for cells in displacement.shape[2:]]
    size = spacing_mpc / REFINEMENT
    positions = (lattice_of(displacement) + displacement / spacing_mpc) * REFINEMENT
    shares = share_out(positions, shape, cloud="tsc")
    density = spread(shares, positions, None, shape)[:, 0] * REFINEMENT ** len(shape)
    potential = to_cells(to_modes(density) * inverse_square(shape, size, density), shape)
    # The inverse Laplacian is minus this, so that its gradient is the pull itself.
    pull = torch.stack([difference(potential, axis, size) for axis in range(1, density.dim())]).transpose(
        0, 1
    )
    return gather(shares, positions, pull)


def difference(field: torch.Tensor, axis: int, spacing: float) -> torch.Tensor:
    """Derive a periodic field along an axis from four neighbours, to fourth order.

    >>> x = torch.arange(64.0) * 2 * torch.pi / 64
    >>> torch.allclose(difference(x.sin(), 0, 2 * torch.pi / 64), x.cos(), atol=1e-5)
    True
    """
    cells = field.shape[axis]
    around = torch.cat([field.narrow(axis, cells - 2, 2), field, field.narrow(axis, 0, 2)], dim=axis)
    near = around.narrow(axis, 3, cells) - around.narrow(axis, 1, cells)
    far = around.narrow(axis, 4, cells) - around.narrow(axis, 0, cells)
    return torch.sub(near, far, alpha=1 / 8) * (2 / (3 * spacing))
