"""Glaciers that grow and shrink: shallow-ice evolution with a mass balance.

Ice thickness H changes by the divergence of its flux q and by the balance of snowfall and melt,

    H_t = balance - div q,    q = -D grad s,
    D = (2 A / (n + 2) H^(n + 2) + C^-n H^(n + 1)) (rho g)^n |grad s|^(n - 1)

with the surface s (Hutter 1983); the second term is sliding after Weertman with the exponent n.

- On steep beds the usual scheme takes more ice out of a cell than it holds. Here the thickness at each edge
  comes from the cell upstream, with the superbee limiter (Jarosch, Schoof and Anslow 2013).
- Rock that stands above the ice has none to give, and its slope does not drive the ice beside it.
- Time steps are linearly implicit: the change of a step is smoothed by the diffusion of n D, which bounds the
  step by how fast ice moves and not by the square of the cell. Volume is kept by construction; the little
  ice that would be less than none is set to none and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded

from fieldwise.errors import InputError

WEIGHT = 910.0 * 9.81e-6  # MPa a metre of ice
EXPONENT = 3  # of Glen's law and of Weertman's
COURANT = 0.25  # share of a cell that ice moves in a step
LONGEST_STEP = 0.5  # a, where snow falls

Balance = Callable[[np.ndarray], np.ndarray]
Turn = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Evolution:
    """What became of the ice: thickness in m, volumes in m3."""

    thickness: np.ndarray
    balance_volume: float  # that fell as snow, less what melted
    border_volume: float  # that left through the border
    clipped_volume: float  # that was made where thickness would have fallen below 0
    steps: int


@dataclass(frozen=True)
class _Flux:
    """Flow at one moment."""

    thinning: np.ndarray  # (y, x), m/a
    diffusivity_x: np.ndarray  # (y, x - 1), m2/a
    diffusivity_y: np.ndarray  # (y - 1, x)
    fastest: float  # m/a; bounds the time step


def evolve(
    thickness: np.ndarray,
    bed: np.ndarray,
    *,
    spacing_m: float,
    years: float,
    balance: Balance | None = None,
    rate_factor: float = 78.0,
    sliding_coefficient: float = np.inf,
    longest_step: float = LONGEST_STEP,
) -> Evolution:
    """Let ice flow for a time, as shallow ice.

    Parameters
    ----------
    thickness, bed
        m, (y, x). Ice that reaches the cells of the border leaves: a closed border would pile it up.
    spacing_m
        Cell size.
    years
        How long.
    balance
        From the elevation of the surface (m) to the mass balance in metres of ice a year; none if left out.
    rate_factor
        Of Glen's law, MPa-3 a-1.
    sliding_coefficient
        Of Weertman's law, MPa (m/a)^(-1/3); infinity where the bed is frozen.
    longest_step
        In years.

    Returns
    -------
    Evolution
        Thickness, never negative, and the budget: to rounding, volume changes by what the balance brought,
        less what left through the border, plus what was clipped.

    Raises
    ------
    InputError
        Where shapes differ or thickness is negative.

    >>> dome = 100.0 * np.outer([0, 0, 1, 0, 0], [0, 0, 1, 0, 0])
    >>> later = evolve(dome, np.zeros((5, 5)), spacing_m=1000.0, years=50.0)
    >>> bool(later.thickness[2, 2] < 100.0), round(float(later.thickness.sum()), 6)
    (True, 100.0)
    """
    thickness, bed = np.array(thickness, dtype=np.float64), np.asarray(bed, dtype=np.float64)
    if thickness.ndim != 2 or thickness.shape != bed.shape:
        raise InputError(f"thickness of shape {thickness.shape} does not fit a bed of {bed.shape}")
    if not thickness.min() >= 0:
        raise InputError(f"thickness: its least value is {thickness.min()}; ice is 0 m thick or more")
    creep = 2 * rate_factor / (EXPONENT + 2) * WEIGHT**EXPONENT
    slip = (WEIGHT / sliding_coefficient) ** EXPONENT
    left, brought, lost, clipped, steps = years, 0.0, 0.0, 0.0, 0
    while left > 0:
        flux = _flux(thickness, bed, spacing_m, creep, slip)
        step = min(left, longest_step, COURANT * spacing_m / max(flux.fastest, 1e-30))
        thickness += _change(flux, spacing_m, step)
        clipped -= float(np.minimum(thickness, 0).sum())
        np.maximum(thickness, 0, out=thickness)
        if balance is not None:
            gain = np.maximum(step * balance(bed + thickness), -thickness)
            gain[[0, -1]] = gain[:, [0, -1]] = 0
            thickness += gain
            brought += float(gain.sum())
        lost += float(thickness[[0, -1]].sum() + thickness[1:-1, [0, -1]].sum())
        thickness[[0, -1]] = thickness[:, [0, -1]] = 0
        left, steps = left - step, steps + 1
    area = spacing_m**2
    return Evolution(thickness, brought * area, lost * area, clipped * area, steps)


def _flux(thickness: np.ndarray, bed: np.ndarray, spacing: float, creep: float, slip: float) -> _Flux:
    """Work out how ice flows at this moment; each direction in turn is that of the columns."""
    surface = bed + thickness
    turns: tuple[Turn, Turn] = (np.asarray, np.transpose)
    upstream, rises = zip(*(_edges(turn(thickness), turn(surface), spacing) for turn in turns))
    thinning, diffusivities, fastest = np.zeros_like(thickness), [], 0.0
    for turn, edge, rise, other in zip(turns, upstream, rises, rises[::-1]):
        sideways = np.zeros((rise.shape[0], rise.shape[1] + 1))
        sideways[1:] += other.T
        sideways[:-1] += other.T
        across = (sideways[:, 1:] + sideways[:, :-1]) / 4
        pace = (creep * edge + slip) * edge**3 * (rise**2 + across**2)  # m/a for a slope of 1
        diffusivities.append(turn(pace * edge))
        flow = pace * edge * rise / spacing
        change = turn(thinning)  # a view
        change[:, :-1] -= flow
        change[:, 1:] += flow
        fastest = max(fastest, float((pace * np.abs(rise)).max()))
    return _Flux(thinning, diffusivities[0], diffusivities[1], fastest)


def _edges(thickness: np.ndarray, surface: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Give thickness upstream of the edges between columns, and the slope there, 0 where no ice is upstream.

    Within a cell thickness is linear, with the slope that the superbee limiter allows.

    >>> ice = np.array([[0.0, 0.0, 8.0, 12.0]])
    >>> thickness, slope = _edges(ice, ice + np.array([90.0, 60.0, 30.0, 0.0]), 10.0)
    >>> thickness.tolist(), slope.tolist()
    ([[0.0, 0.0, 12.0]], [[0.0, 0.0, -2.6]])
    """
    change = thickness[:, 1:] - thickness[:, :-1]
    rise = (surface[:, 1:] - surface[:, :-1]) / spacing
    before, after = change[:, :-1], change[:, 1:]
    least, most = np.minimum(abs(before), abs(after)), np.maximum(abs(before), abs(after))
    half = np.zeros_like(thickness)
    half[:, 1:-1] = np.where(before * after > 0, np.copysign(np.minimum(least, most / 2), after), 0.0)
    upstream = np.where(rise < 0, (thickness + half)[:, :-1], (thickness - half)[:, 1:])
    return upstream, np.where(upstream > 0, rise, 0.0)


def _change(flux: _Flux, spacing: float, step: float) -> np.ndarray:
    """Solve (1 - step div n D grad) change = -step thinning: banded Cholesky, as wide as a row is long."""
    rows, columns = flux.thinning.shape
    share = EXPONENT * step / spacing**2
    east, north = share * flux.diffusivity_x, share * flux.diffusivity_y
    bands = np.zeros((columns + 1, rows * columns))
    diagonal, right = np.ones((rows, columns)), np.zeros((rows, columns))
    diagonal[:, 1:] += east
    diagonal[:, :-1] += east
    diagonal[1:] += north
    diagonal[:-1] += north
    right[:, :-1] = -east
    bands[0], bands[1] = diagonal.ravel(), right.ravel()
    bands[columns, : north.size] = -north.ravel()
    known = (-step * flux.thinning).ravel()
    solved = solveh_banded(bands, known, lower=True, overwrite_ab=True, overwrite_b=True, check_finite=False)
    return solved.reshape(rows, columns)
