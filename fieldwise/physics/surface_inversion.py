"""What the ice says of the bed below: the transfer to its surface undone, and its mass conserved."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage, sparse
from tqdm import tqdm

from fieldwise.physics.local_filters import Information, estimate_in_window, filter_locally
from fieldwise.physics.mass_conservation import flux_matrix
from fieldwise.physics.spectra import variance_of, wavenumbers, wavenumbers_of_cosines
from fieldwise.physics.surface_transfer import expand_transfer

# How far velocity is off in each cell, by itself and as a share of it: further than satellites measure it to,
# since neighbours are off alike, and ice also thickens, thins and melts below.
FLOW_M_A, FLOW_SHARE = 4.0, 0.01
THINNEST_M = 50.0  # ice, as far as mass conservation is concerned
RADAR_NOISE_M = 20.0  # of a pick, and of what it stands for: the mean of its cell
REGIONAL_M = 10e3  # wavelength at which the regional misfit is given; it grows with the cube of wavelength
LONGEST_M = 300e3
SURFACE_NOISE_M = 0.5
RELIEF_M = 6e3  # standard deviation of the Gaussian that divides relief from the regional course
BED_RELIEF_M, HEIGHT_M = 30e3, 15e3  # the same of the bed, and over what its height is averaged
BLOCK_CELLS, MARGIN_CELLS = 256, 40  # that are inverted together, and of what lies around them
BEYOND_CELLS = 20  # on each side of what is seen, where the bed goes on
PLACES_STEP = 4  # parameters of the transfer are smooth: they are looked at in every fourth cell


class Doubt(NamedTuple):
    """How many times further than usual observations may be from what is expected of them.

    Attributes
    ----------
    surface
        Of the ice surface and what the transfer makes of the bed, as in made sectors; infinite where the
        surface is not to be asked at all.
    flow
        Of the velocity and one that conserves mass: the error in the outflow of a cell is that of velocities
        which are off by 4 m/a and 1 %, cell by cell; infinite where mass is not to be asked.
    """

    surface: float = 1.0
    flow: float = math.inf


class Expectation(NamedTuple):
    """What is expected of the departure of a bed from its low-res map, and of the surface above.

    Attributes
    ----------
    share, height_m
        Height of the departure as a share of that of the relief of the low-res bed, and what it is at least.
    rolloff_m, slope
        Wavelength beyond which it has no more power, and the fall of its power with wavenumber.
    misfit, regional
        How far the surface is from what the transfer makes of the bed, as shares of its own relief: at all
        wavelengths, and at 10 km; that grows with wavelength, because the ice has a course of its own.
    """

    share: float
    height_m: float
    rolloff_m: float
    slope: float
    misfit: float
    regional: float


# With radar, which says of itself where there is little to depart from, more can be expected; chosen on ten
# made sectors (benchmarks/surface_and_radar.py).
OF_SURFACE = Expectation(0.0, 50.0, 10e3, 3.2, 0.16, 0.4)
OF_BOTH = Expectation(1.0, 20.0, 60e3, 2.8, 0.18, 0.2)


def invert_surface(
    surface: np.ndarray,
    bed: np.ndarray,
    *,
    thickness_m: np.ndarray,
    slip: np.ndarray,
    slope: np.ndarray,
    direction: np.ndarray,
    trust: np.ndarray,
    spacing: float,
    picked: np.ndarray | None = None,
    eastward: np.ndarray | None = None,
    northward: np.ndarray | None = None,
    accumulation: np.ndarray | float = 0.0,
    doubt: Doubt = Doubt(),  # noqa: B008 - it is frozen
    iterations: int = 60,
) -> np.ndarray:
    """Estimate how a bed departs from its low-res map, from the relief of the ice surface above.

    The surface that the low-res bed would cause is taken off the observed one; the rest is undone by the
    Wiener filter of a transfer that changes from place to place. The method goes back to Gudmundsson &
    Raymond (2008, https://doi.org/10.5194/tc-2-167-2008); Ockenden et al. (2022,
    https://doi.org/10.5194/tc-16-3867-2022) map beds of Antarctica's ice streams with it.

    Parameters
    ----------
    surface, bed
        (y, x) elevation of the surface and of the low-res bed, m.
    thickness_m, slip, slope, direction
        (y, x) each, smooth: parameters of `surface_transfer`, the direction of flow in rad from east.
    trust
        (y, x) 1 where ice is grounded, 0 where it floats and its surface says nothing of the bed.
    spacing
        Cell size, m: about a kilometre, since shorter waves do not come through.
    picked
        (y, x) departure that radar has found, m, missing in the cells that it has not seen. With it the
        estimate is that of surface and radar together: as far from the flights as the surface tells, and
        where it tells nothing, simple kriging of the departures. None is as good as none in any cell.
    eastward, northward
        (y, x) velocity in the mean over depth, m/a, missing where it is not known. Where `doubt` says so, the
        estimate is also that of a bed over which ice that moves so conserves mass.
    accumulation
        That it then balances, in metres of ice a year.
    doubt
        Of what surface and velocity tell.
    iterations
        Of the conjugate gradients.

    Returns
    -------
    numpy.ndarray
        (y, x) departure, m; near zero where nothing tells.

    >>> y, x = np.mgrid[0:64, 0:64] * 1e3
    >>> hill = 100 * np.exp(-0.5 * ((x - 32e3) ** 2 + (y - 32e3) ** 2) / 2e3**2)
    >>> flow = {"thickness_m": 1000.0, "slip": 10.0, "slope": 0.01, "direction": 0.0}
    >>> flow = {name: np.full(hill.shape, value) for name, value in flow.items()}
    >>> from fieldwise.physics.surface_transfer import surface_transfer
    >>> ratio = surface_transfer(*wavenumbers(hill.shape, 1e3), thickness_m=1e3, slip=10.0, slope=0.01)
    >>> seen = np.fft.irfft2(np.fft.rfft2(hill) * ratio, hill.shape)  # under a flat low-res bed
    >>> found = invert_surface(seen, 0 * hill, **flow, trust=np.ones(hill.shape), spacing=1e3)
    >>> bool(np.corrcoef(found.ravel(), hill.ravel())[0, 1] > 0.7), bool(found.max() > 30)
    (True, True)

    A flight across it tells how high it is:

    >>> picked = np.where(y == 32e3, hill, np.nan)
    >>> found = invert_surface(seen, 0 * hill, **flow, trust=np.ones(hill.shape), spacing=1e3, picked=picked)
    >>> bool(found.max() > 90)
    True
    """
    picked = np.full(surface.shape, np.nan) if picked is None else picked
    expected = OF_BOTH if np.isfinite(picked).any() else OF_SURFACE
    flow = {"thickness_m": thickness_m, "slip": slip, "slope": slope, "direction": direction}
    signal, height = _expect(expected, bed, picked, spacing)
    known = Information.of(np.nan_to_num(picked), np.isfinite(picked) / RADAR_NOISE_M**2)
    if eastward is not None and northward is not None and math.isfinite(doubt.flow):
        known += _balance_mass(
            np.stack([eastward, northward]),
            accumulation,
            thickness=np.maximum(surface - bed, THINNEST_M),
            error=doubt.flow * thickness_m,
            grounded=trust > 0,
            spacing=spacing,
        )
    return estimate_in_window(
        **_see_through(surface, bed, flow, trust, expected, doubt=doubt.surface, spacing=spacing),
        known=known,
        signal_power=signal,
        height=height,
        spacing=spacing,
        iterations=iterations,
    )


def _see_through(
    surface: np.ndarray,
    bed: np.ndarray,
    flow: Mapping[str, np.ndarray],
    trust: np.ndarray,
    expected: Expectation,
    *,
    doubt: float,
    spacing: float,
) -> dict[str, Any]:
    """Give what the surface shows that the low-res bed does not cause, and how departures show in it.

    All by the names of what `estimate_in_window` takes.
    """
    wider = {name: np.pad(values, BEYOND_CELLS, mode="edge") for name, values in flow.items()}
    places: dict[str, Any] = {name: values[::PLACES_STEP, ::PLACES_STEP] for name, values in wider.items()}
    local = expand_transfer(**places, rng=np.random.default_rng(0), terms=24)
    shape = wider["slip"].shape
    weights = np.stack([_refine(plane, shape) for plane in local.weights])
    responses = local.responses(*wavenumbers(shape, spacing))

    relief = find_relief(bed, BED_RELIEF_M / spacing)
    caused = filter_locally(np.pad(relief, BEYOND_CELLS, mode="symmetric"), responses, weights)
    caused = caused[BEYOND_CELLS:-BEYOND_CELLS, BEYOND_CELLS:-BEYOND_CELLS]
    cells = RELIEF_M / spacing
    spread = ndimage.gaussian_filter(find_relief(surface, cells) ** 2, cells)
    weight = trust / doubt / np.sqrt(spread + SURFACE_NOISE_M**2)

    k = wavenumbers_of_cosines(surface.shape, spacing)
    passed = 1 - np.exp(-((k * RELIEF_M) ** 2) / 2)  # what is left of each wavelength in the relief
    longest = np.maximum(k, 2 * np.pi / LONGEST_M)
    misfit = expected.misfit**2 + expected.regional**2 * (2 * np.pi / REGIONAL_M / longest) ** 6
    return {
        "observed": weight * find_relief(surface - caused, cells),
        "trust": weight.astype(np.float32),
        "noise_power": misfit * np.maximum(passed, 1e-3) ** 2 * spacing**2,
        "passed": passed,
        "responses": responses,
        "weights": weights,
    }


def _expect(
    expected: Expectation,
    bed: np.ndarray,
    picked: np.ndarray,
    spacing: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Give power of unit variance and height (m) of a departure, beyond the window too.

    Its height follows that of the relief of the bed, and that of what is picked.
    """
    shape = bed.shape[0] + 2 * BEYOND_CELLS, bed.shape[1] + 2 * BEYOND_CELLS
    waves = np.hypot(*wavenumbers(shape, spacing)) * expected.rolloff_m / (2 * np.pi)
    signal = (1 + waves**2) ** (-expected.slope / 2)
    signal /= variance_of(signal, shape[1], spacing)
    cells = HEIGHT_M / spacing
    relief = ndimage.gaussian_filter(find_relief(bed, cells) ** 2, cells)
    variance = expected.share**2 * relief + expected.height_m**2
    if np.isfinite(picked).any():
        variance += np.nanmean(np.square(picked, dtype=np.float64))
    return signal, np.pad(np.sqrt(variance).astype(np.float32), BEYOND_CELLS, mode="edge")


def _balance_mass(
    velocity: np.ndarray,
    accumulation: np.ndarray | float,
    *,
    thickness: np.ndarray,
    error: np.ndarray,
    grounded: np.ndarray,
    spacing: float,
) -> Information:
    """Say what is known of a departure d because the ice above conserves mass: u . grad ln H + div u = a / H.

    The thickness H is the given one less d; around that one this, times H, is taken to be linear in d. Were
    div(H u) = a asked instead, thin ice would conserve mass better than thick, however it moves. (Further
    steps, around what was found, better what lies between flights, and run away where there are none.)
    Velocities that are off by 1 m/a, each cell's by itself, are `error` / spacing off in the outflow.
    """
    known = grounded & np.isfinite(velocity).all(axis=0)
    velocity = np.nan_to_num(velocity)
    matrix = flux_matrix(velocity, spacing_m=spacing)
    surplus = (matrix @ thickness.ravel()).reshape(known.shape) - accumulation
    matrix = matrix - sparse.diags_array((surplus / thickness).ravel())
    off = error / spacing * np.hypot(FLOW_M_A, FLOW_SHARE * np.hypot(*velocity))
    whole = ndimage.minimum_filter(known, 3, mode="constant", cval=0)
    return Information.of(surplus, whole / off**2, matrix)


def find_relief(values: np.ndarray, cells: float) -> np.ndarray:
    """Take off what a Gaussian of so many cells leaves; a slope goes on beyond the edges, and has no relief.

    >>> slope = np.arange(40.0) + np.zeros((30, 1))
    >>> float(abs(find_relief(slope, 3)).max().round(9))
    0.0
    """
    return values - smooth_sloping(values, cells)


def smooth_sloping(values: np.ndarray, cells: float) -> np.ndarray:
    """Smooth with a Gaussian of so many cells, beyond whose edges slopes go on.

    >>> slope = np.arange(40.0) + np.zeros((30, 1))
    >>> bool(np.allclose(smooth_sloping(slope, 3), slope))
    True
    """
    aside = round(4 * cells)
    wider = np.pad(values, aside, mode="reflect", reflect_type="odd")
    inner = tuple(slice(aside, aside + size) for size in values.shape)
    return ndimage.gaussian_filter(wider, cells)[inner]


def _refine(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Interpolate values of every fourth cell to all of them."""
    positions = np.meshgrid(*(np.arange(size) / PLACES_STEP for size in shape), indexing="ij")
    return ndimage.map_coordinates(plane, positions, order=1, mode="nearest").astype(np.float32)


def invert_blocks(
    places: Mapping[str, np.ndarray],
    trust: np.ndarray,
    *,
    spacing: float,
    doubt: Doubt = Doubt(),  # noqa: B008 - it is frozen
    progress: bool = False,
) -> np.ndarray:
    """Invert block by block, each with a margin in which the surface around it is felt: (y, x) float32.

    Parameters
    ----------
    places
        (y, x) each: what :func:`invert_surface` takes by name, but for the trust, and without gaps but for
        what is picked and velocities.
    trust
        (y, x) from 0 to 1; what the surface alone tells is multiplied by it once more.
    doubt
        As of :func:`invert_surface`.

    >>> level = np.zeros((6, 6))
    >>> places = {"surface": level + 900, "bed": level, "thickness_m": level + 900, "slip": level + 1}
    >>> places |= {"slope": level + 0.01, "direction": level}
    >>> float(abs(invert_blocks(places, 1 + level, spacing=1000.0)).max().round(6))
    0.0
    """
    fields: dict[str, Any] = {**places, "trust": trust}
    found = np.zeros(trust.shape, dtype=np.float32)
    corners = [tuple(range(0, size, BLOCK_CELLS)) for size in trust.shape]
    blocks = list(itertools.product(*corners))
    for block in tqdm(blocks, desc="inverting the surface", disable=not progress or len(blocks) < 2):
        before = [min(MARGIN_CELLS, first) for first in block]
        around = tuple(
            slice(first - margin, first + BLOCK_CELLS + MARGIN_CELLS) for first, margin in zip(block, before)
        )
        here = {name: values[around] for name, values in fields.items()}
        if here["trust"].any() or "picked" in here:
            inner = tuple(slice(margin, margin + BLOCK_CELLS) for margin in before)
            outer = tuple(slice(first, first + BLOCK_CELLS) for first in block)
            found[outer] = invert_surface(**here, spacing=spacing, doubt=doubt)[inner]
    return found if "picked" in places else found * trust.astype(np.float32)
