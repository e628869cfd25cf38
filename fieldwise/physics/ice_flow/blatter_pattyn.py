"""The Blatter-Pattyn energy of flowing ice as a differentiable function.

Ice whose inertia is nothing and whose vertical stress is its weight flows so that, of all horizontal
velocities, it takes those with the least of (Blatter 1995; Pattyn 2003; Colinge and Rappaz 1999)

    J = integral over the ice of  2 n / (n + 1) A^(-1/n) e^((n + 1) / n)  +  rho g (u s_x + v s_y)
      + integral over the bed of  m / (m + 1) C |u_b|^((m + 1) / m)

    e^2 = u_x^2 + v_y^2 + u_x v_y + (u_y + v_x)^2 / 4 + (u_z^2 + v_z^2) / 4

with Glen's exponent n = 3, the rate factor A, Weertman's exponent m = 3 and the sliding coefficient C.
J is convex: its minimum is the solution, and its value tells how far from it any other velocity is.

**Grid.** Velocities live in the middle of cells and on nodes between bed and surface. Each cell and layer
takes e^2 as the mean over its four quadrants, each with the differences to its own two neighbours, so
nothing that wiggles from cell to cell is free of charge, and the energy turns with the domain. At the
margin the difference to the side of the ice stands for both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldwise.errors import InputError
from fieldwise.physics.ice_flow.profiles import GLEN_EXPONENT, Layers

DENSITY = 910.0  # kg m-3
GRAVITY = 9.81  # m s-2
WEIGHT = DENSITY * GRAVITY * 1e-6  # MPa a metre of ice
WEERTMAN_EXPONENT = 3.0
RATE_FACTOR = 78.0  # MPa-3 a-1, ice at the melting point
SLIDING_COEFFICIENT = 0.0464  # MPa (m/a)^(-1/3)
REGULARISATION = 1e-4  # a-1 of strain rate, m/a of sliding
MINIMUM_THICKNESS = 1.0  # m; thinner ice does not move

Parameter = float | Tensor


@dataclass(frozen=True)
class Geometry:
    """What the energy takes from the ice before any velocity; constant while one looks for the minimum.

    Tensors have the dimensions (batch, layer or node, y, x), or (1, layer or node, 1, cell) once packed;
    pairs are for x and for y.
    """

    layers: Layers
    spacing: tuple[Tensor, Tensor]
    periodic: bool
    neighbours: tuple[tuple[Tensor, Tensor], ...]  # of a packed one: cells before and after; else empty
    ice: Tensor  # 1 where there is ice, else 0
    moving: Tensor  # 1 for the nodes that may move: those in ice, less the bed where that is frozen
    edges: tuple[Edges, Edges]
    lift: tuple[Tensor, Tensor]  # slope of the layers
    lift_jump: tuple[Tensor, Tensor]
    shear: Tensor  # from a difference across a layer to shear, 1/m
    stiffness: Tensor  # MPa a^(-1/n) m
    drag: Tensor  # MPa (m/a)^(-1/m)
    drive: Tensor  # (2, batch, node, y, x): weight of the ice down the slope, MPa
    at_rest: Tensor  # what the regularisation adds to ice at rest
    cells: Tensor  # (batch,): how many carry ice

    def differences(self, field: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Give the slopes of a field to the cells before and after, in x and in y."""
        if not self.neighbours:
            axes = zip((-1, -2), self.spacing)
            return [differences(field, axis, step, periodic=self.periodic) for axis, step in axes]
        return [
            ((field - field.index_select(-1, before)) / step, (field.index_select(-1, after) - field) / step)
            for (before, after), step in zip(self.neighbours, self.spacing)
        ]


@dataclass(frozen=True)
class Edges:
    """Weights of the differences to the neighbour before and the one after, along one direction."""

    before: Tensor
    after: Tensor
    both: Tensor  # 1/2 where both count

    @classmethod
    def of(cls, before: Tensor, after: Tensor) -> Edges:
        """Weigh differences that count (1) or not (0): where only one does, it stands for both."""
        return cls(before * (1 - after / 2), after * (1 - before / 2), before * after / 2)

    def slope(self, before: Tensor, after: Tensor) -> Tensor:
        """Average the differences to the neighbours before and after."""
        return self.before * before + self.after * after

    def jump(self, before: Tensor, after: Tensor) -> Tensor:
        """Give half the jump from the one difference to the other."""
        return self.both * (after - before)


def differences(field: Tensor, axis: int, spacing: Tensor, *, periodic: bool) -> tuple[Tensor, Tensor]:
    """Give the slopes to the neighbours before and after each cell along an axis; 0 beyond closed borders.

    >>> before, after = differences(torch.tensor([0.0, 1.0, 3.0]), 0, torch.tensor(1.0), periodic=False)
    >>> before.tolist(), after.tolist()
    ([0.0, 1.0, 2.0], [1.0, 2.0, 0.0])
    """
    size = field.shape[axis]
    if periodic:
        first, last = field.narrow(axis, 0, 1), field.narrow(axis, size - 1, 1)
        steps = torch.cat([last, field, first], axis).diff(dim=axis)
    else:
        nothing = torch.zeros_like(field.narrow(axis, 0, 1))
        steps = torch.cat([nothing, field.diff(dim=axis), nothing], axis)
    steps = steps / spacing
    return steps.narrow(axis, 0, size), steps.narrow(axis, 1, size)


def measure_geometry(
    *,
    thickness: Tensor,
    surface: Tensor,
    spacing_m: Parameter,
    rate_factor: Parameter = RATE_FACTOR,
    sliding_coefficient: Parameter = SLIDING_COEFFICIENT,
    nodes: int = 6,
    y_descending: bool = False,
    periodic: bool = False,
    tilt: tuple[float, float] = (0.0, 0.0),
) -> Geometry:
    """Measure slopes, masks, stiffness, drag and drive of the ice, for `energy_of`.

    Parameters are those of `energy`.

    >>> ice = torch.tensor([[[0.0, 100.0, 100.0]]])  # rock, and two cells with ice
    >>> geometry = measure_geometry(thickness=ice, surface=ice, spacing_m=100.0)
    >>> geometry.ice.flatten().tolist(), geometry.cells.tolist()
    ([0.0, 1.0, 1.0], [2.0])
    """
    if thickness.ndim != 3 or thickness.shape != surface.shape:
        raise InputError(
            f"thickness of shape {tuple(thickness.shape)} and surface of {tuple(surface.shape)}: "
            "both must have the dimensions (batch, y, x)"
        )
    layers = Layers.between(nodes, like=thickness)
    x_spacing = _on_grid(spacing_m, thickness)
    spacing = (x_spacing, -x_spacing if y_descending else x_spacing)
    depth, surface = thickness[:, None], surface[:, None]  # (batch, 1, y, x)
    ice = (depth >= MINIMUM_THICKNESS).to(depth)
    safe = torch.where(ice > 0, depth, torch.ones_like(depth))
    edges, slopes, lift, lift_jump = [], [], [], []
    middle = ((layers.levels[1:] + layers.levels[:-1]) / 2)[:, None, None]
    for axis, step, incline in zip((-1, -2), spacing, tilt):
        rises = [s + incline for s in differences(surface, axis, step, periodic=periodic)]
        swells = differences(depth, axis, step, periodic=periodic)
        neighbours = _neighbours(ice, axis, periodic)
        edge = Edges.of(*(ice * icy for icy in neighbours))
        layer_slopes = [rise + (middle - 1) * swell for rise, swell in zip(rises, swells)]
        edges.append(edge)
        lift.append(edge.slope(*layer_slopes))
        lift_jump.append(edge.jump(*layer_slopes))
        slopes.append(_driving_slope(rises, neighbours, step, axis, ice, periodic))
    rate, coefficient = _on_grid(rate_factor, thickness), _on_grid(sliding_coefficient, thickness)
    frozen = torch.isinf(coefficient).expand_as(depth)
    power = GLEN_EXPONENT + 1
    stiffness = 2 * GLEN_EXPONENT / power * rate ** (-1 / GLEN_EXPONENT) * ice * depth
    stiffness = stiffness * layers.depth[:, None, None]
    bed = torch.where(frozen, torch.zeros_like(ice), ice)
    drag = torch.where(bed > 0, coefficient.expand_as(depth), torch.zeros_like(ice))
    drag = drag * (WEERTMAN_EXPONENT / (WEERTMAN_EXPONENT + 1))
    return Geometry(
        layers=layers,
        spacing=spacing,
        periodic=periodic,
        neighbours=(),
        ice=ice,
        moving=torch.cat([bed, ice.expand(-1, nodes - 1, -1, -1)], 1),
        edges=(edges[0], edges[1]),
        lift=(lift[0], lift[1]),
        lift_jump=(lift_jump[0], lift_jump[1]),
        shear=(layers.shear / layers.depth)[:, None, None] / safe,
        stiffness=stiffness,
        drag=drag,
        drive=WEIGHT * ice * depth * torch.stack(slopes) * layers.weights[:, None, None],
        at_rest=stiffness.sum(1, keepdim=True) * REGULARISATION ** (power / GLEN_EXPONENT)
        + drag * REGULARISATION ** (1 + 1 / WEERTMAN_EXPONENT),
        cells=ice.sum((1, 2, 3)).clamp(min=1),
    )


def _on_grid(value: Parameter, like: Tensor) -> Tensor:
    """Bring a number, one of (batch,) or one of (batch, y, x) to (batch, 1, y, x) or what spreads to it."""
    tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return tensor[:, None] if tensor.ndim == 3 else tensor.reshape(-1, 1, 1, 1)


def _neighbours(mask: Tensor, axis: int, periodic: bool) -> tuple[Tensor, Tensor]:
    """Look at a mask of the neighbours before and after; 0 beyond closed borders."""
    before, after = mask.roll(1, axis), mask.roll(-1, axis)
    if not periodic:
        before.narrow(axis, 0, 1).zero_()
        after.narrow(axis, mask.shape[axis] - 1, 1).zero_()
    return before, after


def _driving_slope(
    rises: list[Tensor],
    neighbours: tuple[Tensor, Tensor],
    step: Tensor,
    axis: int,
    ice: Tensor,
    periodic: bool,
) -> Tensor:
    """Give the slope that drives the ice: rock that stands above its surface holds it and does not push."""
    inside = _neighbours(torch.ones_like(ice), axis, periodic)
    outward = (-step.sign(), step.sign())
    counts = [
        torch.where((icy > 0) | (rise * sign < 0), within, torch.zeros_like(within))
        for rise, icy, sign, within in zip(rises, neighbours, outward, inside)
    ]
    return Edges.of(*counts).slope(*rises)


def energy_of(geometry: Geometry, velocity_x: Tensor, velocity_y: Tensor) -> Tensor:
    """Give the energy of velocities (batch, node, y, x) in a geometry measured before; see `energy`.

    A rigid slab of 100 m that slides by 1 m/a down a slope of 0.1 costs friction, 3/4 C, and gains what its
    weight does, rho g H 0.1:

    >>> ice, rigid = torch.full((1, 3, 3), 100.0), torch.ones(1, 2, 3, 3)
    >>> slab = {"thickness": ice, "surface": 0 * ice, "spacing_m": 100.0, "nodes": 2}
    >>> geometry = measure_geometry(**slab, periodic=True, tilt=(-0.1, 0.0))
    >>> round(energy_of(geometry, rigid, 0 * rigid).item(), 4), round(0.75 * 0.0464 - 910 * 9.81e-6 * 10, 4)
    (-0.0545, -0.0545)
    """
    velocity = torch.stack([velocity_x, velocity_y]) * geometry.moving  # (2, batch, node, y, x)
    upper = geometry.layers.upper[:, None, None]
    below, above = velocity[:, :, :-1], velocity[:, :, 1:]
    shear = (above - below) * geometry.shear
    layer = below + upper * (above - below)
    slope, jump = [], []
    for pair, edge, lift, lift_jump in zip(
        geometry.differences(layer), geometry.edges, geometry.lift, geometry.lift_jump
    ):
        slope.append(edge.slope(*pair) - lift * shear)
        jump.append(edge.jump(*pair) - lift_jump * shear)
    (x_by_x, y_by_x), (x_by_y, y_by_y) = slope
    rate = x_by_x.square() + y_by_y.square() + x_by_x * y_by_y + (x_by_y + y_by_x).square() / 4
    rate = rate + jump[0][0].square() + jump[1][1].square() + (jump[0][1].square() + jump[1][0].square()) / 4
    rate = rate + shear.square().sum(0) / 4 + REGULARISATION**2
    viscous = (geometry.stiffness * rate ** ((GLEN_EXPONENT + 1) / (2 * GLEN_EXPONENT))).sum((1, 2, 3))
    sliding = velocity[:, :, :1].square().sum(0) + REGULARISATION**2
    friction = geometry.drag * sliding ** ((WEERTMAN_EXPONENT + 1) / (2 * WEERTMAN_EXPONENT))
    fall = (geometry.drive * velocity).sum((0, 2, 3, 4))
    rest = (friction - geometry.at_rest).sum((1, 2, 3))
    return (viscous + fall + rest) / geometry.cells


def energy(
    velocity_x: Tensor,
    velocity_y: Tensor,
    *,
    thickness: Tensor,
    surface: Tensor,
    spacing_m: Parameter,
    rate_factor: Parameter = RATE_FACTOR,
    sliding_coefficient: Parameter = SLIDING_COEFFICIENT,
    y_descending: bool = False,
    periodic: bool = False,
    tilt: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """Give the Blatter-Pattyn energy of ice that moves with a velocity, mean over the cells with ice.

    Parameters
    ----------
    velocity_x, velocity_y
        m/a, (batch, node, y, x), nodes evenly spaced from the bed up, 2 or more; see `profile_nodes`.
        What they hold off the ice is not looked at.
    thickness, surface
        Of the ice and its elevation (that of the ground where there is no ice), m, (batch, y, x).
    spacing_m
        Cell size, or one for each member of the batch.
    rate_factor
        Of Glen's law, MPa-3 a-1: a number, (batch,) or (batch, y, x).
    sliding_coefficient
        Of Weertman's law, MPa (m/a)^(-1/3), of the same kinds; infinity where the bed is frozen.
    y_descending
        Whether rows run from north to south; `velocity_y` is positive to the north either way.
    periodic
        Whether the domain repeats itself in both directions.
    tilt
        Slopes in x and y to add to surface and bed; only so can a periodic domain be inclined.

    Returns
    -------
    torch.Tensor
        (batch,), MPa m/a; 0 for ice at rest, and least, below 0, for ice that flows as it must.

    Raises
    ------
    InputError
        Where shapes do not fit.

    A slab of 100 m on a slope of 0.1 and frozen bed: half as fast as it must be is not the least energy.

    >>> ice = {"thickness": torch.full((1, 3, 3), 100.0), "surface": torch.zeros(1, 3, 3)}
    >>> ice |= {"spacing_m": 100.0, "periodic": True, "tilt": (-0.1, 0.0)}
    >>> ice["sliding_coefficient"] = float("inf")
    >>> speed = 2 * 78 / 4 * (910 * 9.81e-6 * 0.1) ** 3 * 100**4 / (1 + 4 * 0.1**2) ** 2
    >>> surface_speeds = speed * torch.tensor([0.0, 0.5, 1.0, 1.5])
    >>> from fieldwise.physics.ice_flow.profiles import profile_nodes
    >>> nodes = profile_nodes(torch.zeros(1, 3, 3), torch.ones(1, 3, 3), nodes=6)
    >>> [round(energy(v * nodes, 0 * nodes, **ice).item(), 4) for v in surface_speeds]
    [-0.0, -0.0372, -0.0459, -0.039]
    """
    if velocity_x.ndim != 4 or velocity_x.shape != velocity_y.shape:
        raise InputError(
            f"velocities of shape {tuple(velocity_x.shape)} and {tuple(velocity_y.shape)}: "
            "both must have the dimensions (batch, node, y, x)"
        )
    geometry = measure_geometry(
        thickness=thickness,
        surface=surface,
        spacing_m=spacing_m,
        rate_factor=rate_factor,
        sliding_coefficient=sliding_coefficient,
        nodes=velocity_x.shape[1],
        y_descending=y_descending,
        periodic=periodic,
        tilt=tilt,
    )
    return energy_of(geometry, velocity_x, velocity_y)
