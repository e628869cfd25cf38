"""Wavenumbers and power spectra of gridded fields, in the layout of ``scipy.fft.rfft2``."""

from __future__ import annotations

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


def wavenumbers_of_cosines(shape: Shape, spacing: float) -> np.ndarray:
    """Give the wavenumber of each mode of ``scipy.fft.dctn`` of a grid, rad/m: (rows, columns).

    >>> wavelengths = 2 * np.pi / wavenumbers_of_cosines((4, 4), 250.0)[1, 1:3]
    >>> [round(float(each)) for each in wavelengths]
    [1414, 894]
    """
    north, east = (np.pi * np.arange(size) / size / spacing for size in shape)
    return np.hypot(north[:, None], east)


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


def power_of(values: np.ndarray, *, spacing: float, share: float, width: float = 3.0) -> np.ndarray:
    """Estimate a power spectral density (m2 per (rad/m)2 x 4 pi2) as a smoothed periodogram, rfft2 layout.

    Parameters
    ----------
    values
        (y, x) m, zero outside the part that is known.
    spacing
        Cell size, m.
    share
        Share of the cells that are known.
    width
        Standard deviation of the smoothing, in modes.

    >>> white = np.random.default_rng(7).standard_normal((128, 128))
    >>> density = power_of(white, spacing=100.0, share=1.0)
    >>> round(float(density.mean() / 100.0**2), 1)
    1.0
    """
    density = np.abs(fft.fft2(values)) ** 2 * spacing**2 / (values.size * share)
    smoothed = ndimage.gaussian_filter(density, width, mode="wrap")
    return smoothed[:, : values.shape[1] // 2 + 1]
