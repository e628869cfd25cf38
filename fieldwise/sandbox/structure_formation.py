"""Made boxes of cosmic structure whose truth is known, and coarse boxes beside fine.

A box follows from a seed and its number alone: it has the same bits whatever boxes are made with it, in
whatever process of as many threads; with others, and on a GPU, it is the same to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from fieldwise.errors import InputError, require_at_least
from fieldwise.physics.structure_formation.cosmology import Cosmology, grow
from fieldwise.physics.structure_formation.initial_conditions import colour_noise, draw_white_noise, truncate
from fieldwise.physics.structure_formation.lagrangian import (
    displace_first_order,
    displace_second_order,
    perturb,
)
from fieldwise.physics.structure_formation.particle_mesh import Snapshot, evolve

PARTICLES = 2**16  # evolved at a time: as many as fit a processor's cache, with their mesh
FEWEST_CELLS = 8  # along an axis
FACTORS = (2, 4, 8)

Box = dict[str, np.ndarray]
Range = tuple[float, float]


@dataclass(frozen=True)
class _Universe:
    """What a box's contents depend on beside its noise."""

    cosmology: Cosmology
    scale_factor: float

    def describe(self) -> Box:
        growth = grow(self.scale_factor, self.cosmology.omega_m).first
        return {
            "omega_m": np.array(self.cosmology.omega_m, np.float32),
            "scale_factor": np.array(self.scale_factor, np.float32),
            "growth_factor": growth.astype(np.float32),
        }


def draw_boxes(
    numbers: Iterable[int],
    *,
    seed: int = 7,
    cells: int = 32,
    spacing_mpc: float = 4.0,
    dimensions: int = 3,
    cosmology: Cosmology = Cosmology(),  # noqa: B008 - it is frozen
    scale_factor: float = 1.0,
    steps: int = 10,
    omega_m_range: Range | None = None,
    scale_factor_range: Range | None = None,
    device: str = "cpu",
) -> Iterator[Box]:
    """Draw boxes of matter: what perturbation theory says of them, and what a particle mesh makes of them.

    Boxes are given one by one, so that few are in memory. On one core a box of 32^3 takes a quarter of a
    second to half of one, a box of 64^2 a hundredth.

    Parameters
    ----------
    numbers
        Of the boxes; with the seed, each decides all that is drawn for its box.
    seed
        Of all boxes.
    cells
        Along each axis, 8 or more.
    spacing_mpc
        Cell size in Mpc/h.
    dimensions
        2 or 3.
    cosmology
        Of all boxes.
    scale_factor
        When to look, above 0.1 and at most 1 (today).
    steps
        Of the particle mesh.
    omega_m_range, scale_factor_range
        Lowest and highest value, where each box is to draw its own.
    device
        Of torch: cpu, or cuda.

    Yields
    ------
    dict of numpy.ndarray
        Float32: ``displacement_linear``, ``displacement_second_order`` and the truth ``displacement`` in
        Mpc/h, ``velocity`` in km/s (axes, *cells); and of shape () ``omega_m``, ``scale_factor`` and
        ``growth_factor``.

    >>> (box,) = draw_boxes([3], cells=16, dimensions=2)
    >>> {name: values.shape for name, values in box.items() if values.ndim}
    {'displacement_linear': (2, 16, 16), 'displacement_second_order': (2, 16, 16),
     'displacement': (2, 16, 16), 'velocity': (2, 16, 16)}
    """

    def make(noise: torch.Tensor, universes: Sequence[_Universe]) -> dict[str, torch.Tensor]:
        each, times = [u.cosmology for u in universes], [u.scale_factor for u in universes]
        contrast = colour_noise(noise, spacing_mpc=spacing_mpc, cosmology=each)
        first = displace_first_order(contrast, spacing_mpc=spacing_mpc)
        second = displace_second_order(contrast, spacing_mpc=spacing_mpc)
        truth = _evolve(contrast, spacing_mpc, universes, steps)
        return {
            "displacement_linear": perturb(first, scale_factor=times, cosmology=each)[0],
            "displacement_second_order": perturb(first, second, scale_factor=times, cosmology=each)[0],
            "displacement": truth.displacement,
            "velocity": truth.velocity,
        }

    _check(cells, dimensions, spacing_mpc)
    draw = _drawer(seed, cosmology, scale_factor, omega_m_range, scale_factor_range)
    return _in_batches(numbers, make, seed, (cells,) * dimensions, draw, device)


def draw_pairs(
    numbers: Iterable[int],
    *,
    factor: int = 2,
    seed: int = 7,
    cells: int = 32,
    spacing_mpc: float = 4.0,
    dimensions: int = 3,
    cosmology: Cosmology = Cosmology(),  # noqa: B008 - it is frozen
    scale_factor: float = 1.0,
    steps: int = 10,
    omega_m_range: Range | None = None,
    scale_factor_range: Range | None = None,
    device: str = "cpu",
) -> Iterator[Box]:
    """Draw pairs of a coarse and a fine box of the same matter, each evolved on its own.

    The coarse box begins with the long waves of the fine one, seen from the middle of its blocks of cells.

    Parameters
    ----------
    factor
        How many fine cells a coarse one has along each axis: 2, 4 or 8.
    cells, spacing_mpc
        Of the coarse box; cells even.
    numbers, seed, dimensions, cosmology, scale_factor, steps, omega_m_range, scale_factor_range, device
        As for :func:`draw_boxes`.

    Yields
    ------
    dict of numpy.ndarray
        Float32: ``displacement_low`` and ``velocity_low`` (axes, *cells), ``displacement_high`` and
        ``velocity_high`` (axes, *cells times factor), Mpc/h and km/s; and the numbers of :func:`draw_boxes`.

    >>> (pair,) = draw_pairs([3], factor=4, cells=8, dimensions=2)
    >>> pair["displacement_low"].shape, pair["displacement_high"].shape
    ((2, 8, 8), (2, 32, 32))
    """

    def make(noise: torch.Tensor, universes: Sequence[_Universe]) -> dict[str, torch.Tensor]:
        contrast = colour_noise(
            noise, spacing_mpc=spacing_mpc / factor, cosmology=[u.cosmology for u in universes]
        )
        low = _evolve(truncate(contrast, factor), spacing_mpc, universes, steps)
        high = _evolve(contrast, spacing_mpc / factor, universes, steps)
        return {
            "displacement_low": low.displacement,
            "velocity_low": low.velocity,
            "displacement_high": high.displacement,
            "velocity_high": high.velocity,
        }

    if factor not in FACTORS:
        raise InputError(f"--factor: is {factor}; give 2, 4 or 8")
    _check(cells, dimensions, spacing_mpc)
    if cells % 2:
        raise InputError(f"--cells: is {cells}; give an even number of coarse cells")
    draw = _drawer(seed, cosmology, scale_factor, omega_m_range, scale_factor_range)
    return _in_batches(numbers, make, seed, (cells * factor,) * dimensions, draw, device)


def _check(cells: int, dimensions: int, spacing_mpc: float) -> None:
    require_at_least(FEWEST_CELLS, cells=cells)
    if dimensions not in (2, 3):
        raise InputError(f"--dimensions: is {dimensions}; give 2 or 3")
    if not 0 < spacing_mpc < np.inf:
        raise InputError(f"--spacing_mpc: is {spacing_mpc:g}; give a cell size above 0")


def _evolve(
    contrast: torch.Tensor, spacing_mpc: float, universes: Sequence[_Universe], steps: int
) -> Snapshot:
    times = np.array([[universe.scale_factor] for universe in universes])
    each = [universe.cosmology for universe in universes]
    (snapshot,) = evolve(contrast, spacing_mpc=spacing_mpc, cosmology=each, scale_factors=times, steps=steps)
    return snapshot


def _drawer(
    seed: int, cosmology: Cosmology, scale_factor: float, omega_m: Range | None, scale_factors: Range | None
) -> Callable[[int], _Universe]:
    """Give what draws the universe of a box, by its number."""
    for name, limits in (("omega_m_range", omega_m), ("scale_factor_range", scale_factors)):
        if limits is not None and not limits[0] <= limits[1]:
            raise InputError(f"--{name}: is {list(limits)}; give the lowest value first")

    def draw(number: int) -> _Universe:
        rng = np.random.default_rng([seed, number, 1])  # not the noise's: phases stay as they are
        share, time = rng.random(2)
        matter = cosmology.omega_m if omega_m is None else omega_m[0] + share * (omega_m[1] - omega_m[0])
        if scale_factors is None:
            return _Universe(replace(cosmology, omega_m=matter), scale_factor)
        at = scale_factors[0] + time * (scale_factors[1] - scale_factors[0])
        return _Universe(replace(cosmology, omega_m=matter), at)

    return draw


def _in_batches(
    numbers: Iterable[int],
    make: Callable[[torch.Tensor, Sequence[_Universe]], dict[str, torch.Tensor]],
    seed: int,
    shape: tuple[int, ...],
    draw: Callable[[int], _Universe],
    device: str,
) -> Iterator[Box]:
    """Make as many boxes at a time as are fastest, and give them one by one."""
    size, remaining = max(1, PARTICLES // int(np.prod(shape))), iter(numbers)
    while some := list(islice(remaining, size)):
        universes = [draw(number) for number in some]
        noise = draw_white_noise(shape, [[seed, number] for number in some]).to(device)
        made = {name: values.cpu().numpy() for name, values in make(noise, universes).items()}
        for place, universe in enumerate(universes):
            yield {name: values[place].copy() for name, values in made.items()} | universe.describe()
