"""How matter clusters in a periodic box: density, in redshift space too, and what no power spectrum tells.

Boxes are (y, x) or (z, y, x); displacements and velocities (component, *box), component i along axis i.
Densities are in units of their mean, 1 + δ.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft

from fieldwise.errors import InputError
from fieldwise.scores.spectra import Modes, check_box

Triangle = tuple[int, int, int]
LEAST_DENSITY, MOST_DENSITY = 0.01, 1000.0  # ends of the bins of a density PDF
BINS_A_DECADE = 10


def density_of(displacement: ArrayLike, *, spacing: float) -> np.ndarray:
    """Return the density of particles moved from the sites of a lattice, by cloud-in-cell.

    Parameters
    ----------
    displacement : (component, *box) comoving, in the unit of spacing (Mpc/h); any length, the box is periodic
    spacing : distance of the sites, which are the centres of the cells of the density

    Returns
    -------
    (*box) density over its mean; its mean is 1

    Raises
    ------
    InputError
        When there is not one component for each axis, or a value is missing.

    Notes
    -----
    A particle is a cube of one cell, shared out among the 2^dimensions cells that it overlaps (Hockney &
    Eastwood 1981).

    Examples
    --------
    >>> displacement = np.zeros((2, 4, 4))
    >>> displacement[1, 0, 0] = 0.5  # Mpc/h: of one particle, a quarter of a cell along x
    >>> density_of(displacement, spacing=2.0)[0].tolist()
    [0.75, 1.25, 1.0, 1.0]
    """
    moved = _check_vectors(displacement, "displacement")
    shape = moved.shape[1:]
    density = np.zeros(int(np.prod(shape)))
    sites = np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True)
    places = [along / spacing + site for along, site in zip(moved, sites)]
    lower = [np.floor(place) for place in places]
    beyond = [place - floor for place, floor in zip(places, lower)]
    for corner in product((0, 1), repeat=len(shape)):
        cells = tuple(floor.astype(np.intp) + step for floor, step in zip(lower, corner))
        cell = np.ravel_multi_index(cells, shape, mode="wrap").ravel()
        share = np.prod([part if step else 1 - part for part, step in zip(beyond, corner)], axis=0)
        density += np.bincount(cell, weights=share.ravel(), minlength=density.size)
    return density.reshape(shape)


def _check_vectors(vectors: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(vectors, dtype=np.float64)
    if values.ndim not in (3, 4) or len(values) != values.ndim - 1:
        raise InputError(
            f"{name} {values.shape} has not one component an axis; give (2, y, x) or (3, z, y, x)"
        )
    for component in values:
        check_box(component, name=name)
    return values


def into_redshift_space(
    displacement: ArrayLike,
    velocity: ArrayLike,
    *,
    axis: int,
    redshift: float = 0.0,
    expansion_rate: float = 100.0,
) -> np.ndarray:
    """Return displacements as they look along a line of sight, where velocities add to redshifts.

    Parameters
    ----------
    displacement : (component, *box) comoving, Mpc/h
    velocity : (component, *box) peculiar, km/s
    axis : line of sight, far away
    redshift : at which the box is seen
    expansion_rate : Hubble rate H(z), km/s a Mpc/h; 100 is that of today

    Returns
    -------
    (component, *box) Mpc/h: along the axis, v (1 + z) / H(z) is added (Kaiser 1987)

    Raises
    ------
    InputError
        When shapes differ, there is no such axis, or the expansion rate is not above zero.

    Examples
    --------
    >>> still = np.zeros((2, 4, 4))
    >>> seen = into_redshift_space(still, still + 300.0, axis=1)  # 300 km/s are 3 Mpc/h
    >>> seen[:, 0, 0].tolist()
    [0.0, 3.0]
    """
    moved, speed = _check_vectors(displacement, "displacement"), _check_vectors(velocity, "velocity")
    if moved.shape != speed.shape:
        raise InputError(f"displacement {moved.shape} and velocity {speed.shape} differ; give equal boxes")
    if not 0 <= axis < len(moved):
        raise InputError(f"axis {axis} is none of the {len(moved)} of the box; give 0 to {len(moved) - 1}")
    if not (expansion_rate > 0 and redshift > -1):
        raise InputError(
            f"expansion rate {expansion_rate} at redshift {redshift} is of no expanding world; give 100 at 0"
        )
    seen = moved.copy()
    seen[axis] += speed[axis] * (1 + redshift) / expansion_rate
    return seen


def equilateral_triangles(cells: int) -> list[Triangle]:
    """List the equilateral triangles that a box of so many cells a side holds without aliasing.

    >>> equilateral_triangles(16)
    [(1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4), (5, 5, 5)]
    """
    return [(side, side, side) for side in range(1, (cells - 1) // 3 + 1)]


def squeezed_triangles(cells: int, *, short_side: int = 2) -> list[Triangle]:
    """List isosceles triangles with a short side: how small scales know of a wave far longer than they.

    >>> squeezed_triangles(16)
    [(2, 4, 4), (2, 5, 5), (2, 6, 6)]
    """
    sides = range(2 * short_side, (cells - 1 - short_side) // 2 + 1)
    return [(short_side, side, side) for side in sides]


def bispectrum(density: ArrayLike, triangles: list[Triangle], *, spacing: float) -> np.ndarray:
    """Return the bispectrum of a field in a periodic box, the mean over all closed triangles of some sides.

    Parameters
    ----------
    density : (y, x) or (z, y, x) field, all sides equally long
    triangles : three sides each, as numbers of shells: side i is i - 1 < |k| ≤ i fundamentals, as of
        :class:`fieldwise.scores.spectra.Modes`
    spacing : side of a cell, such as in Mpc/h

    Returns
    -------
    (triangle,) in the field's units cubed times the cell's volume squared ((Mpc/h)⁶ in three dimensions); NaN
    where no three modes of such shells close

    Raises
    ------
    InputError
        When the field is no box, its sides differ, or sides of a triangle are together too long.

    Notes
    -----
    The product of three copies of the field, each with the modes of one shell only, sums over all triangles
    at once; the same of the shells alone counts them (Scoccimarro 2015). Sides that together reach the number
    of cells would also close by aliasing, and are refused.

    Examples
    --------
    >>> x = 2 * np.pi * np.arange(16) / 16
    >>> waves = np.cos(2 * x) + np.cos(2 * x[:, None]) + np.cos(2 * x + 2 * x[:, None])  # 2 + 2 = (2, 2)
    >>> skewed, none = bispectrum(waves, [(2, 2, 3), (4, 4, 4)], spacing=1.0)
    >>> bool(skewed > 1), abs(round(float(none), 6))
    (True, 0.0)
    """
    field = check_box(density, name="density")
    if len(set(field.shape)) > 1:
        raise InputError(f"density {field.shape} has unequal sides, which a bispectrum needs; cut a cube")
    modes, transform = Modes(field.shape, spacing), fft.rfftn(field)
    totals = []
    for triangle in triangles:
        if min(triangle) < 1 or sum(triangle) >= len(field):
            raise InputError(
                f"triangle {triangle} needs sides of 1 or more, together below {len(field)} cells"
            )
        filtered = {side: _in_shell(modes, transform, side) for side in set(triangle)}
        totals.append(np.prod([filtered[side] for side in triangle], axis=0).sum())
    counts = np.array([_count_triangles(field.shape, triangle) for triangle in triangles])
    scale = field.size * spacing ** (2 * field.ndim)  # of inverse transforms, each over the number of cells
    return scale * np.divide(totals, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _in_shell(modes: Modes, transform: np.ndarray, side: int) -> np.ndarray:
    """Give the field that the modes of one shell make."""
    return fft.irfftn(np.where(modes.shell == side, transform, 0), modes.shape)


@lru_cache(maxsize=1024)
def _count_triangles(shape: tuple[int, ...], triangle: Triangle) -> float:
    """Count the closed triangles of a box; once for all boxes of a shape."""
    modes = Modes(shape, 1.0)
    ones = np.ones(modes.shell.shape)
    filtered = {side: _in_shell(modes, ones, side) for side in set(triangle)}
    count = np.prod([filtered[side] for side in triangle], axis=0).sum()
    return float(np.round(count * np.prod(shape, dtype=np.float64) ** 2))


def density_bins() -> np.ndarray:
    """Give the edges of the bins of a density PDF, a tenth of a decade each.

    >>> edges = density_bins()
    >>> edges[[0, 10, 20, -1]].round(6).tolist()
    [0.01, 0.1, 1.0, 1000.0]
    """
    decades = np.log10(MOST_DENSITY / LEAST_DENSITY)
    return np.geomspace(LEAST_DENSITY, MOST_DENSITY, round(BINS_A_DECADE * decades) + 1)


def density_pdf(density: ArrayLike, *, edges: np.ndarray | None = None) -> np.ndarray:
    """Return the probability density of the logarithm of 1 + δ, a decade: its sum over decades is 1.

    Parameters
    ----------
    density : (...) in units of its mean
    edges : (bin + 1,) ascending, above zero; :func:`density_bins` where not given

    Returns
    -------
    (bin,) a decade; what lies beyond the edges, such as empty cells, counts in the outermost bins

    Raises
    ------
    InputError
        When edges do not ascend from above zero, or a density is missing.

    Examples
    --------
    >>> density_pdf([0.0, 0.5, 1.5, 2.0], edges=np.array([0.1, 1.0, 10.0, 1000.0])).tolist()
    [0.5, 0.5, 0.0]
    """
    edges = density_bins() if edges is None else np.asarray(edges, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not (edges[0] > 0 and (np.diff(edges) > 0).all()):
        raise InputError(
            "edges of a density PDF do not ascend from above zero; give 0.1, 1 and 10, for example"
        )
    values = _check_density(density, "density")
    bins = np.searchsorted(edges[1:-1], values, side="right")
    counts = np.bincount(bins, minlength=len(edges) - 1)
    return counts / values.size / np.diff(np.log10(edges))


def density_distance(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Return the Wasserstein distance between the distributions of two densities.

    It says how far shares of the cells must be moved along 1 + δ; with as many cells in both it is the mean
    distance of the sorted values.

    Raises
    ------
    InputError
        When they have not as many cells, or a density is missing.

    Examples
    --------
    >>> density_distance([2.0, 1.0, 0.0], [0.0, 1.0, 5.0])  # places do not matter; 2 goes to 5
    1.0
    """
    predicted, true = _check_density(prediction, "prediction"), _check_density(truth, "truth")
    if predicted.size != true.size:
        raise InputError(f"prediction has {predicted.size} cells and truth {true.size}; give equal boxes")
    return float(np.abs(np.sort(predicted) - np.sort(true)).mean())


def _check_density(density: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(density, dtype=np.float64).ravel()
    missing = int(np.count_nonzero(np.isnan(values)))
    if missing or not values.size:
        raise InputError(f"{name} misses {missing or 'all'} values; its distribution needs all of a box")
    return values
