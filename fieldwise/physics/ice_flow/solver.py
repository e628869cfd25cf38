"""The velocity of ice with the least Blatter-Pattyn energy."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fieldwise.errors import InputError
from fieldwise.physics.ice_flow.blatter_pattyn import (
    RATE_FACTOR,
    SLIDING_COEFFICIENT,
    Edges,
    Geometry,
    Parameter,
    energy_of,
    measure_geometry,
)
from fieldwise.physics.ice_flow.profiles import profile_nodes

TOLERANCE = 1e-6
CHECKED_EVERY = 10  # iterations
BEGUN_AT = (0, 20, 40)  # iterations at which the columns are factored
HISTORY = 50
SOFTEST = 1e-3  # strain rate (a-1) and sliding (m/a) below which the preconditioner takes ice as no stiffer


@dataclass(frozen=True)
class Flow:
    """What the solver found: velocities in m/a, (node, y, x) from the bed up, 0 off the ice."""

    velocity_x: Tensor
    velocity_y: Tensor
    mean_x: Tensor  # over depth, (y, x)
    mean_y: Tensor
    energy: float  # MPa m/a, mean over the cells with ice
    converged: bool
    iterations: int
    evaluations: int
    seconds: float
    last_decrease: float  # of the energy over the last ten iterations, as a share of it


def pack(geometry: Geometry) -> tuple[Geometry, Tensor]:
    """Keep the cells with ice only, in a row: a valley glacier fills a fifth of its domain.

    Returns
    -------
    tuple
        The packed geometry, and the indices of its cells in the flattened (batch, y, x).

    Examples
    --------
    >>> ice = torch.tensor([[[0.0, 100.0, 100.0]]])
    >>> packed, cells = pack(measure_geometry(thickness=ice, surface=ice, spacing_m=100.0))
    >>> cells.tolist(), packed.ice.flatten().tolist()
    ([1, 2], [1.0, 1.0])
    """
    batch, _, *shape = geometry.ice.shape
    icy = geometry.ice.flatten() > 0
    cells = icy.nonzero()[:, 0]
    rank = icy.cumsum(0) - 1
    index = torch.arange(icy.numel(), device=icy.device).reshape(batch, *shape)

    def near(axis: int, shift: int) -> Tensor:
        beside = index.roll(shift, axis).flatten()[cells]
        return rank[torch.where(icy[beside], beside, cells)]

    def row(field: Tensor) -> Tensor:
        spread = field.expand(*field.shape[:-4], batch, field.shape[-3], *shape)
        return spread.transpose(-4, -3).flatten(-3)[..., cells].unsqueeze(-2).unsqueeze(-4)

    def both(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return row(pair[0]), row(pair[1])

    x_edges, y_edges = (Edges(row(edge.before), row(edge.after), row(edge.both)) for edge in geometry.edges)
    packed = replace(
        geometry,
        neighbours=((near(-1, 1), near(-1, -1)), (near(-2, 1), near(-2, -1))),
        spacing=both(geometry.spacing),
        ice=row(geometry.ice),
        moving=row(geometry.moving),
        edges=(x_edges, y_edges),
        lift=both(geometry.lift),
        lift_jump=both(geometry.lift_jump),
        shear=row(geometry.shear),
        stiffness=row(geometry.stiffness),
        drag=row(geometry.drag),
        drive=row(geometry.drive),
        at_rest=row(geometry.at_rest),
        cells=geometry.cells.sum()[None],
    )
    return packed, cells


def _column_factors(geometry: Geometry, velocity: Tensor) -> Tensor:
    """Factor the stiffness of each column of ice on its own, at a velocity (2, batch, node, y, x).

    Ice is a hundred times wider than a layer is thick, so most of the stiffness is between nodes of a column.
    In the variable w with velocity = factors w, columns are as stiff one as the other, and the minimum
    is found in a tenth of the steps.

    Returns
    -------
    torch.Tensor
        (batch, y, x, node, node), upper triangular: the inverse of the transposed Cholesky factor.
    """
    layers, nodes = geometry.layers, velocity.shape[2]
    velocity = velocity * geometry.moving
    rise = velocity[:, :, 1:] - velocity[:, :, :-1]
    shear = rise * geometry.shear
    layer = velocity[:, :, :-1] + layers.upper[:, None, None] * rise
    rate = SOFTEST**2 + shear.square().sum(0) / 4
    for pair, edge, lift in zip(geometry.differences(layer), geometry.edges, geometry.lift):
        rate = rate + (edge.slope(*pair) - lift * shear).square().sum(0)
    viscosity = 4 / 3 * geometry.stiffness * rate ** (-1 / 3)
    tied = sum((edge.before + edge.after) / step**2 for edge, step in zip(geometry.edges, geometry.spacing))
    sheared = viscosity * geometry.shear**2 * (0.25 + sum(lift**2 for lift in geometry.lift))
    stretched = viscosity * tied
    matrix = torch.zeros(*rate.shape[:1], *rate.shape[2:], nodes, nodes, dtype=rate.dtype, device=rate.device)
    across = rate.new_tensor([-1.0, 1.0])
    for level in range(nodes - 1):
        mean = torch.stack([1 - layers.upper[level], layers.upper[level]])
        for part, vector in ((sheared, across), (stretched, mean)):
            block = part[:, level, :, :, None, None] * torch.outer(vector, vector)
            matrix[..., level : level + 2, level : level + 2] += block
    sliding = velocity[:, :, 0].square().sum(0) + SOFTEST**2
    matrix[..., 0, 0] += 4 / 3 * geometry.drag[:, 0] * sliding ** (-1 / 3)
    moving = geometry.moving.permute(0, 2, 3, 1)
    matrix = matrix * moving[..., None] * moving[..., None, :]
    largest = matrix.diagonal(dim1=-2, dim2=-1).amax(-1, keepdim=True).clamp(min=1e-12)
    matrix = matrix + torch.diag_embed((1 - moving + 1e-9) * largest)
    return torch.linalg.inv(torch.linalg.cholesky(matrix)).mT


def solve(
    thickness: Tensor | np.ndarray,
    surface: Tensor | np.ndarray,
    *,
    spacing_m: float,
    rate_factor: Parameter = RATE_FACTOR,
    sliding_coefficient: Parameter = SLIDING_COEFFICIENT,
    nodes: int = 6,
    start: tuple[Tensor, Tensor] | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = 1000,
    y_descending: bool = False,
    periodic: bool = False,
    tilt: tuple[float, float] = (0.0, 0.0),
) -> Flow:
    """Find the velocity with the least Blatter-Pattyn energy: L-BFGS in float64 on the cells with ice.

    First on two nodes, unless there is a start; then on all, each column made as stiff as any other.

    Parameters
    ----------
    thickness, surface
        Of the ice and its elevation, m, (y, x), as tensors or arrays.
    start
        Velocities (node, y, x) to begin with, such as those of the moment before.
    tolerance
        Share of the energy by which the last ten iterations may still lower it: what is missing is less.
        At 1e-6 speeds are within some 0.05 % of their limit.
    max_iterations
        After how many to give up; the flow then says that it has not converged.
    spacing_m, rate_factor, sliding_coefficient, y_descending, periodic, tilt
        As for `energy`; parameters are numbers or (y, x).

    Raises
    ------
    InputError
        Where shapes do not fit or values are not finite.

    A slab of 100 m on a slope of 0.1 and frozen bed has a closed form.

    >>> ice = torch.full((3, 3), 100.0)
    >>> frozen = {"sliding_coefficient": float("inf"), "periodic": True, "tilt": (-0.1, 0.0)}
    >>> flow = solve(ice, 0 * ice, spacing_m=100.0, **frozen)
    >>> at_surface = 2 * 78 / 4 * (910 * 9.81e-6 * 0.1) ** 3 * 100**4 / (1 + 4 * 0.1**2) ** 2
    >>> round(flow.velocity_x[-1, 0, 0].item() / at_surface, 2)
    1.0
    """
    began = time.perf_counter()
    thickness, surface, rate, sliding = (
        _checked(value, name)
        for value, name in (
            (thickness, "thickness"),
            (surface, "surface"),
            (rate_factor, "rate_factor"),
            (sliding_coefficient, "sliding_coefficient"),
        )
    )

    def measured(count: int) -> tuple[Geometry, Tensor]:
        return pack(
            measure_geometry(
                thickness=thickness,
                surface=surface,
                spacing_m=spacing_m,
                rate_factor=rate,
                sliding_coefficient=sliding,
                nodes=count,
                y_descending=y_descending,
                periodic=periodic,
                tilt=tilt,
            )
        )

    geometry, cells = measured(nodes)
    descent = Descent(0, 0, 0.0, 0.0, converged=cells.numel() == 0)
    velocity = torch.zeros(2, 1, nodes, 1, cells.numel(), dtype=torch.float64)
    if cells.numel():
        if start is None:
            pair = torch.zeros(2, 1, 2, 1, cells.numel(), dtype=torch.float64)
            pair, _ = _descend(measured(2)[0], pair, tolerance=1e-3, max_iterations=60)
            velocity = torch.stack([profile_nodes(part[:, 0], part[:, 1], nodes=nodes) for part in pair])
        else:
            begun = torch.stack([_checked(part, "start")[0] for part in start])
            velocity = begun.flatten(-2)[..., cells][:, None, :, None]
        velocity, descent = _descend(geometry, velocity, tolerance=tolerance, max_iterations=max_iterations)
    grids = velocity.new_zeros(2, nodes, thickness[0].numel())
    grids[..., cells] = (velocity * geometry.moving)[:, 0, :, 0]
    grids = grids.reshape(2, nodes, *thickness.shape[1:])
    means = (grids * geometry.layers.weights[:, None, None]).sum(1)
    return Flow(
        velocity_x=grids[0],
        velocity_y=grids[1],
        mean_x=means[0],
        mean_y=means[1],
        energy=descent.energy,
        converged=descent.converged,
        iterations=descent.iterations,
        evaluations=descent.evaluations,
        seconds=time.perf_counter() - began,
        last_decrease=descent.last_decrease,
    )


def _checked(value: Parameter | np.ndarray, name: str) -> Tensor:
    """Bring a user's field to float64 (batch, y, x); a value that is missing is an error."""
    if isinstance(value, np.ndarray):
        value = value.copy()  # torch takes no arrays that run backwards
    tensor = torch.as_tensor(value, dtype=torch.float64)
    frozen = name == "sliding_coefficient"  # where infinity has a meaning
    lacking = int((tensor.isnan() if frozen else ~tensor.isfinite()).sum())
    if lacking:
        raise InputError(f"{name}: {lacking} values are missing or infinite; fill them first")
    return tensor[None] if tensor.ndim >= 2 else tensor


@dataclass(frozen=True)
class Descent:
    """How a search for the least energy went."""

    iterations: int
    evaluations: int
    energy: float
    last_decrease: float
    converged: bool


class Search:
    """L-BFGS from a velocity, in the variable that makes all columns as stiff one as the other."""

    def __init__(self, geometry: Geometry, velocity: Tensor):
        self.geometry, self.origin = geometry, velocity
        self.factors = _column_factors(geometry, velocity)
        self.change = torch.zeros_like(velocity).requires_grad_()
        self.optimizer = torch.optim.LBFGS(
            [self.change],
            max_iter=CHECKED_EVERY,
            max_eval=5 * CHECKED_EVERY,
            history_size=HISTORY,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

    def velocity(self) -> Tensor:
        """Give the velocity reached."""
        return self.origin + torch.einsum("byxij,cbjyx->cbiyx", self.factors, self.change)

    def energy(self) -> Tensor:
        """Give its energy, and leave the gradient to the optimiser."""
        self.optimizer.zero_grad()
        energy = energy_of(self.geometry, *self.velocity()).sum()
        energy.backward()
        return energy

    def advance(self) -> tuple[Tensor, float]:
        """Go on for a few iterations; give the velocity reached and its energy."""
        self.optimizer.step(self.energy)
        with torch.no_grad():
            velocity = self.velocity()
            return velocity, float(energy_of(self.geometry, *velocity).sum())

    def spent(self) -> tuple[int, int]:
        """Give iterations and evaluations so far."""
        state = self.optimizer.state[self.change]
        return state["n_iter"], state["func_evals"]


def _descend(
    geometry: Geometry, velocity: Tensor, *, tolerance: float, max_iterations: int
) -> tuple[Tensor, Descent]:
    """Lower the energy until ten iterations lower it by less than the tolerance, as a share of it.

    The search begins anew, with columns factored at the velocity reached, after 20 and after 40 iterations;
    from there on it keeps what it has learnt. One that finds nothing lower, or nothing finite, has failed.
    """
    iterations = evaluations = 0
    energy = float(energy_of(geometry, *velocity).sum())
    decrease, converged = float("inf"), False
    while iterations < max_iterations and not converged:
        if iterations in BEGUN_AT:
            search, before = Search(geometry, velocity), (iterations, evaluations)
        lowered, reached = search.advance()
        steps, calls = search.spent()
        advanced = before[0] + steps > iterations
        iterations, evaluations = before[0] + steps, before[1] + calls
        if not (reached <= energy and advanced):  # NaN too
            break
        decrease = (energy - reached) / max(abs(reached), 1e-30)
        velocity, energy = lowered, reached
        converged = decrease < tolerance
    return velocity, Descent(iterations, evaluations, energy, decrease, converged)
