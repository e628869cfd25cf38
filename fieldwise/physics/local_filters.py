"""Filters that change slowly from place to place, and what they have made of a field undone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import fft
from scipy.sparse.linalg import LinearOperator, cg


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


class Points(NamedTuple):
    """What is known of a field in single cells: (y, x) each."""

    values: np.ndarray
    certainty: np.ndarray  # one over the variance of their errors; 0 in cells of which nothing is known


def wiener_estimate(
    observed: np.ndarray,
    *,
    signal_power: np.ndarray,
    noise_power: np.ndarray,
    responses: Sequence[np.ndarray] | np.ndarray,
    weights: np.ndarray,
    known: np.ndarray,
    spacing: float,
    points: Points | None = None,
    iterations: int = 100,
) -> np.ndarray:
    """Estimate a stationary field from what a locally stationary filter and noise have made of it.

    With y = A d + n, where d and n are independent Gaussian fields of power P and N, the linear
    estimate of least mean square error is d = S (1 + S* A* A S / N)^-1 S* A* y / N, S being the
    square root of the covariance of d. Where A multiplies each mode by T this is Wiener's filter,
    P T* / (|T|^2 P + N); here A changes from place to place, a blend of such filters by place would
    amplify what leaks from one class into the next, and so the system is solved by conjugate gradients.
    Values of d that are known at points, to within errors of their own, join it as further observations:
    where A vanishes this is simple kriging.

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
    points
        What is known of d in single cells.
    iterations
        Of the conjugate gradients.

    >>> rng, modes = np.random.default_rng(7), np.ones((16, 9))
    >>> y = rng.standard_normal((16, 16))
    >>> half = wiener_estimate(y, signal_power=modes, noise_power=modes, responses=[modes],
    ...     weights=np.ones((1, 16, 16)), known=np.ones((16, 16)), spacing=1.0)
    >>> bool(np.allclose(half, y / 2, atol=1e-5))
    True

    A cell in which d is known well:

    >>> at = np.zeros((16, 16))
    >>> at[3, 4] = 1e4
    >>> told = wiener_estimate(y, signal_power=modes, noise_power=modes, responses=[modes],
    ...     weights=np.ones((1, 16, 16)), known=np.ones((16, 16)), spacing=1.0, points=Points(0 * y + 7, at))
    >>> float(told[3, 4].round(2)), bool(np.allclose(told[5:], half[5:], atol=1e-2))
    (7.0, True)
    """
    shape = observed.shape
    amplitude = (np.sqrt(signal_power) / spacing).astype(np.float32)
    trust = (spacing**2 / noise_power).astype(np.float32)
    values, certainty = points or Points(*np.zeros((2, 1, 1), np.float32))

    def spread(white: np.ndarray) -> np.ndarray:
        return known * fft.irfft2(fft.rfft2(white.reshape(shape)) * amplitude, shape)

    def gather(field: np.ndarray) -> np.ndarray:
        return fft.irfft2(fft.rfft2(known * field) * amplitude, shape)

    def weigh(misfit: np.ndarray, at_points: np.ndarray) -> np.ndarray:
        trusted = fft.irfft2(fft.rfft2(misfit) * trust, shape)
        return gather(filter_locally_adjoint(trusted, responses, weights) + certainty * at_points)

    def normal(white: np.ndarray) -> np.ndarray:
        field = spread(white)
        return white + weigh(filter_locally(field, responses, weights), field).ravel()

    # of white noise, as a mean over all places
    together = np.einsum("iyx,jyx->ij", weights, weights) / observed.size
    gain = (np.tensordot(together, responses, 1) * np.conj(responses)).sum(axis=0).real
    told = gain / noise_power + float(np.mean(certainty)) / spacing**2
    damping = (1 / (1 + told * signal_power)).astype(np.float32)

    def precondition(white: np.ndarray) -> np.ndarray:
        return fft.irfft2(fft.rfft2(white.reshape(shape)) * damping, shape).ravel()

    size = (observed.size, observed.size)
    white, _ = cg(
        LinearOperator(size, matvec=normal, dtype=np.float32),
        weigh(observed.astype(np.float32), values).ravel(),
        rtol=1e-4,
        maxiter=iterations,
        M=LinearOperator(size, matvec=precondition, dtype=np.float32),
    )
    return spread(white.astype(np.float32))
