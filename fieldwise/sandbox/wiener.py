"""The best linear estimate of the bed from its low-res map and the ice surface above it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft, ndimage
from scipy.sparse.linalg import LinearOperator, cg

from fieldwise.sandbox.random_fields import filter_locally, filter_locally_adjoint


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


def wiener_estimate(
    observed: np.ndarray,
    *,
    signal_power: np.ndarray,
    noise_power: np.ndarray,
    responses: Sequence[np.ndarray],
    weights: np.ndarray,
    known: np.ndarray,
    spacing: float,
    iterations: int = 100,
) -> np.ndarray:
    """Estimate a stationary field from what a locally stationary filter and noise have made of it.

    With y = A d + n, where d and n are independent Gaussian fields of power P and N, the linear
    estimate of least mean square error is d = S (1 + S* A* A S / N)^-1 S* A* y / N, S being the
    square root of the covariance of d. Where A multiplies each mode by T this is Wiener's filter,
    P T* / (|T|^2 P + N); here A changes from place to place, a blend of such filters by place would
    amplify what leaks from one class into the next, and so the system is solved by conjugate gradients.

    Parameters
    ----------
    observed
        (y, x) y.
    signal_power, noise_power
        P and N, in the layout of ``scipy.fft.rfft2``.
    responses, weights
        The filter A, as for `filter_locally`.
    known
        (y, x) zero where d is known to vanish, one elsewhere.
    spacing
        Cell size, m.
    iterations
        Of the conjugate gradients.

    >>> rng, modes = np.random.default_rng(7), np.ones((16, 9))
    >>> y = rng.standard_normal((16, 16))
    >>> half = wiener_estimate(y, signal_power=modes, noise_power=modes, responses=[modes],
    ...     weights=np.ones((1, 16, 16)), known=np.ones((16, 16)), spacing=1.0)
    >>> bool(np.allclose(half, y / 2, atol=1e-5))
    True
    """
    shape = observed.shape
    amplitude = (np.sqrt(signal_power) / spacing).astype(np.float32)
    trust = (spacing**2 / noise_power).astype(np.float32)

    def spread(white: np.ndarray) -> np.ndarray:
        return known * fft.irfft2(fft.rfft2(white.reshape(shape)) * amplitude, shape)

    def gather(field: np.ndarray) -> np.ndarray:
        return fft.irfft2(fft.rfft2(known * field) * amplitude, shape)

    def weigh(misfit: np.ndarray) -> np.ndarray:
        trusted = fft.irfft2(fft.rfft2(misfit) * trust, shape)
        return gather(filter_locally_adjoint(trusted, responses, weights))

    def normal(white: np.ndarray) -> np.ndarray:
        return white + weigh(filter_locally(spread(white), responses, weights)).ravel()

    gain = sum(
        np.abs(response) ** 2 * weight.mean() for response, weight in zip(responses, weights, strict=True)
    )
    damping = (1 / (1 + gain * signal_power / noise_power)).astype(np.float32)

    def precondition(white: np.ndarray) -> np.ndarray:
        return fft.irfft2(fft.rfft2(white.reshape(shape)) * damping, shape).ravel()

    size = (observed.size, observed.size)
    white, _ = cg(
        LinearOperator(size, matvec=normal, dtype=np.float32),
        weigh(observed.astype(np.float32)).ravel(),
        rtol=1e-4,
        maxiter=iterations,
        M=LinearOperator(size, matvec=precondition, dtype=np.float32),
    )
    return spread(white.astype(np.float32))
