"""Whether matter ends up where it does in truth: density and momentum of displaced particles on a mesh.

Displacements and velocities are fields of particles, (batch, dimension, *space), each standing where its
particle started (Lagrangian). What they come to on a mesh (Eulerian) is a sum over particles, differentiable
in both. Options of the mesh are those of `physics.structure_formation.deposit.displacement_to_density`:
``spacing``, the cell size in the unit of the displacement, ``scale_factor``, ``padding``, ``periodic`` and
``cloud``.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.physics.structure_formation.deposit import (
    common_mean,
    displacement_to_density,
    displacement_to_momentum,
)

ERRORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
}


def density_loss(prediction: Tensor, truth: Tensor, *, error: str = "mse", **mesh: Any) -> Tensor:
    """Return the error of the density, rho over mean, that a displacement comes to.

    Both are taken less the mean displacement they have in common.

    Parameters
    ----------
    prediction, truth : Tensor
        (batch, dimension, *space).
    error : str
        `mse` or `mae`.
    **mesh
        Options of the mesh, see the module.

    Examples
    --------
    One of four particles in a row moves into the cell of the next, which then holds two:

    >>> moved = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    >>> density_loss(moved, torch.zeros(1, 1, 4), spacing=1.0, error="mae", mean=torch.zeros(1, 1)).item()
    0.5
    """
    mesh = {"mean": common_mean(prediction, truth), **mesh}
    return _find(error)(*(displacement_to_density(field, **mesh) for field in (prediction, truth)))


def momentum_loss(prediction: Tensor, truth: Tensor, *, error: str = "mse", **mesh: Any) -> Tensor:
    """Return the error of the momentum, density times mean velocity, that particles carry on a mesh.

    Parameters
    ----------
    prediction, truth : Tensor
        (batch, 2 dimensions, *space): displacement, then velocity in any unit.
    error : str
        `mse` or `mae`.
    **mesh
        Options of the mesh, see the module.

    Examples
    --------
    >>> still, moving = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4)
    >>> moving[:, 2:] = 3.0
    >>> momentum_loss(moving, still, spacing=1.0).item()
    9.0
    """
    (displacement, velocity), (true_displacement, true_velocity) = (_split(prediction), _split(truth))
    mesh = {"mean": common_mean(displacement, true_displacement), **mesh}
    return _find(error)(
        displacement_to_momentum(displacement, velocity, **mesh),
        displacement_to_momentum(true_displacement, true_velocity, **mesh),
    )


def lagrangian_eulerian_loss(
    prediction: Tensor, truth: Tensor, *, weight: float = 3.0, error: str = "mse", **mesh: Any
) -> Tensor:
    """Return log(L^weight E): L the error of particles, E that of the density (and momentum) they come to.

    The logarithm makes the units of either of no account: what counts is by which share each falls. Used so
    by emulators of displacements (Jamieson et al. 2023, arXiv:2206.04594) and, with velocities and momenta as
    two more factors, of the whole of phase space (Jamieson et al. 2024, arXiv:2408.07699).

    Parameters
    ----------
    prediction, truth : Tensor
        (batch, dimensions, *space), displacement; or twice the channels, displacement and velocity.
    weight : float
        Of the logarithms of the errors of particles.
    error : str
        `mse` or `mae`.
    **mesh
        Options of the mesh, see the module.

    Examples
    --------
    Ten times the velocity's error is a hundred times both its square and the momentum's, so 4 ln 100 more:

    >>> truth = torch.zeros(1, 4, 4, 4)
    >>> generator = torch.Generator().manual_seed(0)
    >>> near = truth + 0.1 * torch.randn(truth.shape, generator=generator)
    >>> far = near * torch.tensor([1.0, 1.0, 10.0, 10.0]).view(1, 4, 1, 1)
    >>> losses = [lagrangian_eulerian_loss(field, truth, spacing=1.0).item() for field in (near, far)]
    >>> print(f"{losses[1] - losses[0]:.3f}")
    18.421
    """
    dimensions = truth.ndim - 2
    compare = _find(error)
    parts = [(prediction, truth)]
    eulerian = [density_loss(prediction[:, :dimensions], truth[:, :dimensions], error=error, **mesh)]
    if truth.shape[1] != dimensions:
        parts = list(zip(_split(prediction), _split(truth), strict=True))
        eulerian.append(momentum_loss(prediction, truth, error=error, **mesh))
    lagrangian = [compare(*pair) for pair in parts]
    least = torch.finfo(truth.dtype).tiny
    factors = [(weight, value) for value in lagrangian] + [(1.0, value) for value in eulerian]
    return torch.stack([power * value.clamp(min=least).log() for power, value in factors]).sum()


def _split(fields: Tensor) -> tuple[Tensor, Tensor]:
    dimensions = fields.ndim - 2
    if fields.shape[1] != 2 * dimensions:
        raise InputError(
            f"{fields.shape[1]} channels in {dimensions} dimensions are no displacement and velocity; "
            f"give {2 * dimensions}"
        )
    return fields[:, :dimensions], fields[:, dimensions:]


def _find(error: str) -> Callable[[Tensor, Tensor], Tensor]:
    if error not in ERRORS:
        raise InputError(f"--error: is {error}; give {' or '.join(ERRORS)}")
    return ERRORS[error]
