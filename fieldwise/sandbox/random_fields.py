"""Gaussian random fields of a given spectrum, and filters that change slowly from place to place."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import fft, ndimage

Shape = tuple[int, int]


def wavenumbers(shape: Shape, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Give the wavenumbers east and north of each mode of ``scipy.fft.rfft2``.

    Parameters
    ----------
    shape
        Rows (north to south) and columns (west to east) of the grid.
    spacing
        Cell size in metres.

    Returns
    -------
    tuple of numpy.ndarray
        Angular wavenumbers in rad/m: (1, columns // 2 + 1) to the east, (rows, 1) to the north.

    >>> east, north = wavenumbers((4, 4), 250.0)
    >>> (2 * np.pi / east[0, 1:]).round().tolist(), (2 * np.pi / north[1:2, 0]).round().tolist()
    ([1000.0, 500.0], [-1000.0])
    """
    east = 2 * np.pi * fft.rfftfreq(shape[1], spacing)[None, :]
    north = -2 * np.pi * fft.fftfreq(shape[0], spacing)[:, None]  # rows run southward
    return east, north


def power_law_spectrum(
    along: np.ndarray,
    across: np.ndarray,
    *,
    slope: float = 3.2,
    rolloff_m: float = 60e3,
    stretch: float = 2.0,
) -> np.ndarray:
    """Give the shape of a power spectrum that falls as wavenumber to the power -slope.

    A self-affine surface of Hurst exponent H has the two-dimensional power spectrum
    k^(-2 (H + 1)): a slope of 3.2 is H = 0.6. Beyond the roll-off wavelength the spectrum is flat,
    so that the variance is finite.

    Parameters
    ----------
    along, across
        Wavenumbers along and across the grain of the field, rad/m.
    slope
        Fall of power with wavenumber, > 2.
    rolloff_m
        Wavelength across the grain beyond which power no longer grows.
    stretch
        How many times longer features are along the grain than across it.

    >>> k = 2 * np.pi / 1000.0
    >>> ratio = power_law_spectrum(0.0, k) / power_law_spectrum(0.0, 2 * k)
    >>> round(float(np.log2(ratio)), 2)
    3.2
    """
    corner = 2 * np.pi / rolloff_m
    return (corner**2 + (stretch * along) ** 2 + across**2) ** (-slope / 2)


def variance_of(spectrum: np.ndarray, columns: int, spacing: float) -> float:
    """Sum a power spectral density (m2 per (rad/m)2 x 4 pi2, rfft2 layout) to the variance it stands for.

    >>> variance_of(np.full((8, 5), 100.0**2), 8, 100.0)
    1.0
    """
    doubled = spectrum[:, 1 : (columns + 1) // 2]  # these stand for their mirror images as well
    return float(spectrum.sum() + doubled.sum()) / (spectrum.shape[0] * columns * spacing**2)


def filter_locally(
    values: np.ndarray, responses: Iterable[np.ndarray], weights: Iterable[np.ndarray]
) -> np.ndarray:
    """Filter a periodic field by several responses and blend the results by weights of place.

    Where the weights change over lengths that are long against the responses', this is a filter that
    is stationary locally, though not as a whole.

    Parameters
    ----------
    values
        (y, x).
    responses
        In the layout of ``scipy.fft.rfft2``.
    weights
        (y, x) each, summing to one over the responses in every cell.

    >>> field = np.random.default_rng(7).standard_normal((8, 8))
    >>> same = filter_locally(field, [np.ones((8, 5))] * 2, [np.full((8, 8), 0.25), np.full((8, 8), 0.75)])
    >>> bool(np.allclose(same, field, atol=1e-6))
    True
    """
    spectrum = fft.rfft2(values.astype(np.float32))
    total = np.zeros(values.shape, dtype=np.float32)
    for response, weight in zip(responses, weights, strict=True):
        total += weight * fft.irfft2(spectrum * response.astype(np.complex64), values.shape)
    return total


def filter_locally_adjoint(
    values: np.ndarray, responses: Iterable[np.ndarray], weights: Iterable[np.ndarray]
) -> np.ndarray:
    """Apply the adjoint of `filter_locally`: weigh first, then filter by the conjugate responses and sum.

    >>> rng = np.random.default_rng(7)
    >>> a, b, weight = rng.standard_normal((3, 8, 8))
    >>> response = [fft.rfft2(rng.standard_normal((8, 8)))]
    >>> left = (filter_locally(a, response, [weight]) * b).sum()
    >>> right = (a * filter_locally_adjoint(b, response, [weight])).sum()
    >>> bool(np.isclose(left, right, rtol=1e-4))
    True
    """
    total: np.ndarray | float = 0.0
    for response, weight in zip(responses, weights, strict=True):
        weighed = fft.rfft2((weight * values).astype(np.float32))
        total = total + weighed * np.conj(response).astype(np.complex64)
    return fft.irfft2(np.asarray(total), values.shape)


def draw_patches(
    shape: Shape, *, fraction: float, length_cells: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw the cells of scattered patches that cover a fraction of a grid, as clouds leave holes.

    Parameters
    ----------
    shape
        Of the grid.
    fraction
        Share of the cells inside patches, 0 to 1.
    length_cells
        Scale of a patch.

    >>> patches = draw_patches((200, 300), fraction=0.05, length_cells=4, rng=np.random.default_rng(7))
    >>> round(float(patches.mean()), 3)
    0.05
    """
    step = max(1, int(length_cells / 3))  # a coarse draw is smooth enough once it is interpolated
    coarse = rng.standard_normal((shape[0] // step + 2, shape[1] // step + 2)).astype(np.float32)
    coarse = ndimage.gaussian_filter(coarse, length_cells / step / 2)
    rows = ndimage.zoom(coarse, (shape[0] / coarse.shape[0], shape[1] / coarse.shape[1]), order=1)
    return rows > np.quantile(rows, 1 - fraction)
