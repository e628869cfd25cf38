"""Where matter goes by perturbation theory: displacements of first and second order.

    x = q + D psi1 + D2 psi2,    psi1 = -grad phi,    laplacian phi = delta,
    psi2 = grad phi2,    laplacian phi2 = sum over i < j of (phi_ii phi_jj - phi_ij^2)

from its place q at the start, with the growth factors D and D2, D2 about -3/7 D^2, and the linear contrast
delta of today (Bouchet and others 1995; Scoccimarro 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch

from fieldwise.physics.structure_formation.cosmology import Cosmology, Growth, expansion_rate, grow
from fieldwise.physics.structure_formation.modes import (
    inverse_square,
    odd_wave_vector,
    to_cells,
    to_modes,
    wave_vector,
)

KILOMETRES_PER_SECOND = 100.0  # H0 times 1 Mpc/h


def displace_first_order(contrast: torch.Tensor, *, spacing_mpc: float) -> torch.Tensor:
    """Give psi1, the displacement of linear theory today.

    Parameters
    ----------
    contrast
        (boxes, *cells), linear density contrast of today.
    spacing_mpc
        Cell size in Mpc/h.

    Returns
    -------
    torch.Tensor
        (boxes, dimensions, *cells) in Mpc/h, components in the order of the axes.

    >>> x = torch.arange(8.0)  # a wave of 8 cells; matter gathers where it is dense
    >>> psi = displace_first_order(torch.cos(2 * torch.pi * x / 8).expand(1, 8, 8), spacing_mpc=1.0)
    >>> torch.allclose(psi[0, 1, 0], -8 / (2 * torch.pi) * torch.sin(2 * torch.pi * x / 8), atol=1e-6)
    True
    """
    return _gradient_of_inverse(contrast, spacing_mpc)


def displace_second_order(contrast: torch.Tensor, *, spacing_mpc: float) -> torch.Tensor:
    """Give psi2, what D2 multiplies: tides bend the paths. Shapes and units are those of psi1.

    >>> wave = torch.cos(2 * torch.pi * torch.arange(8.0) / 8).expand(1, 8, 8)
    >>> float(displace_second_order(wave, spacing_mpc=1.0).abs().max())  # a plane wave bends nothing
    0.0
    """
    shape = contrast.shape[1:]
    even, odd = wave_vector(shape, spacing_mpc, contrast), odd_wave_vector(shape, spacing_mpc, contrast)
    potential = to_modes(contrast) * inverse_square(shape, spacing_mpc, contrast)

    def derive(along: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
        return to_cells(potential * (along * across), shape)

    straight = [derive(k, k) for k in even]
    source = torch.zeros_like(contrast)
    for i, j in combinations(range(len(shape)), 2):
        source += straight[i] * straight[j] - derive(odd[i], odd[j]) ** 2
    return -_gradient_of_inverse(source, spacing_mpc)


def _gradient_of_inverse(source: torch.Tensor, spacing_mpc: float) -> torch.Tensor:
    """Solve laplacian phi = source and give -grad phi."""
    shape = source.shape[1:]
    potential = to_modes(source) * inverse_square(shape, spacing_mpc, source)
    gradient = [to_cells(potential * (1j * k), shape) for k in odd_wave_vector(shape, spacing_mpc, source)]
    return torch.stack(gradient, dim=1)


def per_box(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """Give numbers, one a box or one for all, a shape that multiplies (boxes, ...).

    >>> per_box(np.array([1.0, 2.0]), torch.zeros(2, 3, 4, 4)).shape
    torch.Size([2, 1, 1, 1])
    """
    return torch.as_tensor(np.asarray(values), dtype=like.dtype, device=like.device).reshape(
        -1, *[1] * (like.dim() - 1)
    )


def perturb(
    first: torch.Tensor,
    second: torch.Tensor | None = None,
    *,
    scale_factor: float | Sequence[float] | np.ndarray = 1.0,
    cosmology: Cosmology | Sequence[Cosmology],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give displacement and peculiar velocity at a scale factor, to first or to second order.

    Parameters
    ----------
    first, second
        psi1 and psi2, (boxes, dimensions, *cells) in Mpc/h; without psi2, to first order.
    scale_factor
        One for all boxes, or one a box.
    cosmology
        Likewise.

    Returns
    -------
    displacement
        In Mpc/h, comoving.
    velocity
        a dx/dt in km/s.

    >>> psi = torch.ones(1, 2, 4, 4)
    >>> displacement, velocity = perturb(psi, scale_factor=0.5, cosmology=Cosmology(omega_m=1.0))
    >>> displacement[0, 0, 0, 0].item(), round(velocity[0, 0, 0, 0].item(), 3)  # 100 a E f D = 100 / sqrt(2)
    (0.5, 70.711)
    """
    growth, rate = grow_each(scale_factor, cosmology)
    d1, d2 = per_box(growth.first, first), per_box(growth.second, first)
    f1, f2 = per_box(growth.first_rate * rate, first), per_box(growth.second_rate * rate, first)
    if second is None:
        return first * d1, first * (d1 * f1)
    return first * d1 + second * d2, first * (d1 * f1) + second * (d2 * f2)


def grow_each(
    scale_factor: float | Sequence[float] | np.ndarray, cosmology: Cosmology | Sequence[Cosmology]
) -> tuple[Growth, np.ndarray]:
    """Give the growth of every box, and a H in km/s per Mpc/h, which turns d / d ln a into a velocity.

    Parameters
    ----------
    scale_factor
        One for all boxes, (boxes,) or (boxes, times).
    cosmology
        One for all boxes, or one a box.

    Returns
    -------
    growth, rate
        Of the shape of the scale factors, with a leading axis of boxes, or of length 1 where all are alike.

    >>> growth, rate = grow_each(0.25, [Cosmology(omega_m=1.0)])
    >>> growth.first.round(6).tolist(), rate.tolist()
    ([0.25], [200.0])
    """
    each = [cosmology] if isinstance(cosmology, Cosmology) else list(cosmology)
    a = np.atleast_1d(np.asarray(scale_factor, dtype=float))
    a = np.broadcast_to(a, (max(len(each), len(a)), *a.shape[1:]))
    each = each * (len(a) // len(each))
    growth = [grow(at, one.omega_m) for at, one in zip(a, each, strict=True)]
    rate = [KILOMETRES_PER_SECOND * at * expansion_rate(at, one.omega_m) for at, one in zip(a, each)]
    return Growth(*map(np.stack, zip(*growth))), np.stack(rate)
