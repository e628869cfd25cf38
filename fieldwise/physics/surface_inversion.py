"""What the surface of the ice says of the bed below: the transfer from bed to surface undone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from fieldwise.physics.local_filters import Points, filter_locally, wiener_estimate
from fieldwise.physics.spectra import variance_of, wavenumbers
from fieldwise.physics.surface_transfer import expand_transfer

# What a departure of the bed from its low-res map is expected to be like: its standard deviation and the
# wavelength beyond which it has no more power; and how far the surface is from what the transfer makes of
# the bed, as shares of its own relief: at all wavelengths, and at 10 km, growing with the cube of wavelength
# because the ice has a course of its own.
DEPARTURE_M, ROLLOFF_M = 50.0, 10e3
# The same before radar is asked too: it says of itself where there is little to depart from. Of made sectors
# with 4 to 24 km between flights, and all, 70 or 30 % of these shown, the estimate is best with about these.
UNKNOWN_M, UNKNOWN_ROLLOFF_M = 100.0, 40e3
RADAR_NOISE_M = 20.0  # of a pick, and of what it stands for: the mean of its cell
MISFIT, REGIONAL_MISFIT, REGIONAL_M = 0.16, 0.4, 10e3
SURFACE_NOISE_M = 0.5
RELIEF_M = 6e3  # standard deviation of the Gaussian that divides relief from the regional course
BLOCK_CELLS, MARGIN_CELLS = 256, 40  # that are inverted together, and of what lies around them
PLACES_STEP = 4  # parameters of the transfer are smooth: they are looked at in every fourth cell


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
    iterations: int = 40,
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
        where it tells nothing, simple kriging of the departures.
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
    places = {"thickness_m": thickness_m, "slip": slip, "slope": slope, "direction": direction}
    sparse: dict[str, Any] = {name: values[::PLACES_STEP, ::PLACES_STEP] for name, values in places.items()}
    local = expand_transfer(**sparse, rng=np.random.default_rng(0), terms=24)
    weights = np.stack([_refine(plane, surface.shape) for plane in local.weights])
    east, north = wavenumbers(surface.shape, spacing)
    responses = local.responses(east, north)

    cells = RELIEF_M / spacing
    caused = filter_locally(_relief(bed, 5 * cells), responses, weights)
    spread = np.sqrt(ndimage.gaussian_filter(_relief(surface, cells) ** 2, cells) + SURFACE_NOISE_M**2)
    weight = (trust / spread).astype(np.float32)

    k = np.hypot(east, north)
    passed = 1 - np.exp(-((k * RELIEF_M) ** 2) / 2)  # what is left of each wavelength in the relief
    height, rolloff = (DEPARTURE_M, ROLLOFF_M) if picked is None else (UNKNOWN_M, UNKNOWN_ROLLOFF_M)
    signal = (1 + (k * rolloff / (2 * np.pi)) ** 2) ** -1.6
    signal *= height**2 / variance_of(signal, surface.shape[1], spacing)
    longest = np.maximum(k, 2 * np.pi / 300e3)
    misfit = MISFIT**2 + REGIONAL_MISFIT**2 * (2 * np.pi / REGIONAL_M / longest) ** 6
    return wiener_estimate(
        _relief(surface - caused, cells) * weight,
        signal_power=signal,
        noise_power=misfit * np.maximum(passed, 1e-3) ** 2 * spacing**2,
        responses=(responses * passed).astype(np.complex64),
        weights=weights * weight,
        known=np.ones(surface.shape, np.float32),
        spacing=spacing,
        points=None if picked is None else _known_points(picked),
        iterations=iterations,
    )


def _known_points(picked: np.ndarray) -> Points:
    certainty = np.isfinite(picked) / RADAR_NOISE_M**2
    return Points(np.nan_to_num(picked).astype(np.float32), certainty.astype(np.float32))


def _relief(values: np.ndarray, cells: float) -> np.ndarray:
    return values - ndimage.gaussian_filter(values, cells)


def _refine(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Interpolate values of every fourth cell to all of them."""
    positions = np.meshgrid(*(np.arange(size) / PLACES_STEP for size in shape), indexing="ij")
    return ndimage.map_coordinates(plane, positions, order=1, mode="nearest").astype(np.float32)


def invert_blocks(
    places: Mapping[str, np.ndarray],
    trust: np.ndarray,
    *,
    spacing: float,
    progress: bool = False,
) -> np.ndarray:
    """Invert block by block, each with a margin in which the surface around it is felt: (y, x) float32.

    Parameters
    ----------
    places
        (y, x) each: what :func:`invert_surface` takes by name, but for the trust, and without gaps but for
        what is picked.
    trust
        (y, x) from 0 to 1; what the surface alone tells is multiplied by it once more.

    >>> level = np.zeros((6, 6))
    >>> places = {"surface": level + 900, "bed": level, "thickness_m": level + 900, "slip": level + 1}
    >>> places |= {"slope": level + 0.01, "direction": level}
    >>> float(abs(invert_blocks(places, 1 + level, spacing=1000.0)).max().round(6))
    0.0
    """
    shape = trust.shape
    padded = {
        name: np.pad(values, MARGIN_CELLS, mode="symmetric")
        for name, values in {**places, "trust": trust}.items()
    }
    found = np.zeros(shape, dtype=np.float32)
    corners = [(r, c) for r in range(0, shape[0], BLOCK_CELLS) for c in range(0, shape[1], BLOCK_CELLS)]
    for row, column in tqdm(corners, desc="inverting the surface", disable=not progress or len(corners) < 2):
        rows, columns = min(BLOCK_CELLS, shape[0] - row), min(BLOCK_CELLS, shape[1] - column)
        around = np.s_[row : row + rows + 2 * MARGIN_CELLS, column : column + columns + 2 * MARGIN_CELLS]
        here: dict[str, Any] = {name: values[around] for name, values in padded.items()}
        if here["trust"].any() or "picked" in here:
            inner = np.s_[MARGIN_CELLS : MARGIN_CELLS + rows, MARGIN_CELLS : MARGIN_CELLS + columns]
            found[row : row + rows, column : column + columns] = invert_surface(**here, spacing=spacing)[
                inner
            ]
    return found if "picked" in places else found * trust.astype(np.float32)
