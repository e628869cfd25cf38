"""Filters that change slowly from place to place, and what they have made of a field undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import fft, sparse
from scipy.optimize import nnls
from scipy.sparse.linalg import LinearOperator, cg, matrix_power, splu

from fieldwise.physics.spectra import wavenumbers

POWERS = (0, 1, 2)  # of the Laplacian, that stand in for the inverse of a covariance


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


@dataclass(frozen=True)
class Information:
    """What linear observations say of a field, y = A d + n: in this form that of several adds up.

    Attributes
    ----------
    precision
        Sparse (cell, cell): A* A over the variance of n.
    told
        (cell,) A* y over that variance.
    """

    precision: Any
    told: np.ndarray

    @classmethod
    def of(cls, observed: np.ndarray, certainty: np.ndarray, matrix: Any = None) -> Information:
        """Give what observations say.

        Parameters
        ----------
        observed
            (y, x) y.
        certainty
            (y, x) one over the variance of its errors, which are independent; 0 where nothing is known.
        matrix
            Sparse (cell, cell) A; by default single cells are observed.

        >>> at = np.array([[4.0, 0.0]])  # known in one of two cells
        >>> both = Information.of(np.array([[7.0, 0.0]]), at) + Information.of(np.array([[9.0, 0.0]]), at)
        >>> both.precision.toarray().tolist(), (both.told / 8).tolist()
        ([[8.0, 0.0], [0.0, 0.0]], [8.0, 0.0])
        """
        weights = sparse.diags_array(certainty.ravel())
        weighed = weights if matrix is None else matrix.T @ weights
        precision = weighed if matrix is None else weighed @ matrix
        return cls(precision.tocsr().astype(np.float32), (weighed @ observed.ravel()).astype(np.float32))

    def __add__(self, other: Information) -> Information:
        """Give what both say, of observations whose errors are independent."""
        return Information(self.precision + other.precision, self.told + other.told)


def wiener_estimate(
    observed: np.ndarray,
    *,
    signal_power: np.ndarray,
    noise_power: np.ndarray,
    responses: Sequence[np.ndarray] | np.ndarray,
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
    trust = spacing**2 / noise_power

    def see(field: np.ndarray) -> np.ndarray:
        return filter_locally(field, responses, weights)

    def tell(misfit: np.ndarray) -> np.ndarray:
        return filter_locally_adjoint(_filter(misfit, trust), responses, weights)

    return _solve(
        tell(observed.astype(np.float32)),
        told=lambda field: tell(see(field)),
        precondition=_damp(certainty=_mean_gain(responses, weights) / noise_power, signal_power=signal_power),
        signal_power=signal_power,
        height=known,
        spacing=spacing,
        iterations=iterations,
    )


def estimate_in_window(
    observed: np.ndarray,
    *,
    trust: np.ndarray,
    noise_power: np.ndarray,
    passed: np.ndarray,
    known: Information,
    signal_power: np.ndarray,
    height: np.ndarray,
    responses: Sequence[np.ndarray] | np.ndarray,
    weights: np.ndarray,
    spacing: float,
    iterations: int = 60,
) -> np.ndarray:
    """Estimate a field from what a window shows of it, filtered, high-passed, noisy, and what else is known.

    The field goes on around the window, as a periodic one, and nothing is seen of it there. Seen is
    y = W H A d + n: A is a filter that changes from place to place, H one that lets relief pass and is the
    same everywhere, W a trust of place, and n noise of power N. H and N are those of the window alone,
    mirrored at its edges (cosine modes), so that what lies beyond does not disturb it. The system is that of
    :func:`wiener_estimate`, with what is known of d besides as further observations: of values in single
    cells, where A vanishes, this is simple kriging.

    Parameters
    ----------
    observed, trust
        (y, x) y and W, in the window.
    noise_power, passed
        N and H, in the layout of ``scipy.fft.dctn`` of the window.
    known
        Of d in the cells of the window.
    signal_power
        Of d / `height`, in the layout of ``scipy.fft.rfft2`` of the whole field.
    height
        (y, x) of the whole field, in whose middle the window lies: how high d is expected to be.
    responses, weights
        The filter A of the whole field, as for `filter_locally`.
    spacing
        Cell size, m.
    iterations
        Of the conjugate gradients.

    Returns
    -------
    numpy.ndarray
        (y, x) in the window.

    >>> rng, level = np.random.default_rng(7), np.ones((8, 8))
    >>> y, at = rng.standard_normal((8, 8)), np.zeros((8, 8))
    >>> at[3, 4] = 1e4  # where d is known well
    >>> told = estimate_in_window(y, trust=level, noise_power=level, passed=level, spacing=1.0,
    ...     known=Information.of(0 * y + 7, at), signal_power=np.ones((16, 9)), height=np.ones((16, 16)),
    ...     responses=[np.ones((16, 9))], weights=np.ones((1, 16, 16)))
    >>> float(told[3, 4].round(2)), bool(np.allclose(told[5:], y[5:] / 2, atol=1e-5))
    (7.0, True)
    """
    around = [((whole - part) // 2, -((part - whole) // 2)) for whole, part in zip(height.shape, trust.shape)]
    inner = tuple(slice(before, before + part) for (before, _), part in zip(around, trust.shape))
    precision = spacing**2 / noise_power

    def see(field: np.ndarray) -> np.ndarray:
        return trust * _filter_by_cosines(filter_locally(field, responses, weights)[inner], passed)

    def tell(misfit: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        told = _filter_by_cosines(trust * _filter_by_cosines(misfit, precision), passed)
        told = filter_locally_adjoint(np.pad(told, around), responses, weights)
        return told + np.pad(otherwise.reshape(trust.shape), around)

    # Of a wave of the whole field as much is told as of the cosine mode that is as long.
    modes = np.hypot(*wavenumbers(height.shape, 1.0)) / np.pi * trust.shape[0]
    certainty = (passed**2 / noise_power)[np.minimum(modes, trust.shape[0] - 1).astype(int), 0]
    certainty *= _mean_gain(responses, height * weights * np.pad(trust, around))
    options: Any = {"certainty": certainty, "signal_power": signal_power}
    alone = not known.precision.count_nonzero()
    return _solve(
        tell(observed.astype(np.float32), known.told),
        told=lambda field: tell(see(field), known.precision @ field[inner].ravel()),
        precondition=_damp(**options) if alone else _factor(known, height, inner, spacing, **options),
        signal_power=signal_power,
        height=height,
        spacing=spacing,
        iterations=iterations,
    )[inner]


def _filter(values: np.ndarray, response: np.ndarray) -> np.ndarray:
    return fft.irfft2(fft.rfft2(values) * response.astype(np.float32), values.shape)


def _filter_by_cosines(values: np.ndarray, response: np.ndarray) -> np.ndarray:
    return fft.idctn(fft.dctn(values) * response.astype(np.float32))


def _mean_gain(responses: Sequence[np.ndarray] | np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Give by how much a filter changes the power of white noise, as a mean over all places."""
    together = np.einsum("iyx,jyx->ij", weights, weights) / weights[0].size
    return (np.tensordot(together, responses, 1) * np.conj(responses)).sum(axis=0).real


def _solve(
    right: np.ndarray,
    *,
    told: Callable[[np.ndarray], np.ndarray],
    precondition: Callable[[np.ndarray], np.ndarray],
    signal_power: np.ndarray,
    height: np.ndarray,
    spacing: float,
    iterations: int,
) -> np.ndarray:
    """Solve for the field of which `right` tells, by conjugate gradients for the white noise behind it."""
    shape, size = right.shape, (right.size, right.size)
    amplitude = np.sqrt(signal_power) / spacing

    def normal(white: np.ndarray) -> np.ndarray:
        field = height * _filter(white.reshape(shape), amplitude)
        return white + _filter(height * told(field), amplitude).ravel()

    white, _ = cg(
        LinearOperator(size, matvec=normal, dtype=np.float32),
        _filter(height * right, amplitude).ravel(),
        rtol=1e-5,
        maxiter=iterations,
        M=LinearOperator(
            size, matvec=lambda white: precondition(white.reshape(shape)).ravel(), dtype=np.float32
        ),
    )
    return height * _filter(white.astype(np.float32).reshape(shape), amplitude)


def _damp(*, certainty: np.ndarray, signal_power: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Precondition for what is told of each mode, everywhere as much."""
    damping = 1 / (1 + certainty * signal_power)
    return lambda white: _filter(white, damping)


def _factor(
    known: Information,
    height: np.ndarray,
    inner: tuple[slice, ...],
    spacing: float,
    *,
    certainty: np.ndarray,
    signal_power: np.ndarray,
) -> Callable[[np.ndarray], np.ndarray]:
    """Precondition for what is known of single cells and of their neighbours, and told of each mode.

    The covariance of the field is undone by spectra; near by, what undoes it is a sum of powers of the
    Laplacian, and so sparse that, with what is known, it can be factored.
    """
    laplacian, symbol = _laplacian((height.shape[0], height.shape[1]))
    wanted = (spacing**2 * (1 / signal_power + certainty)).ravel()
    parts, _ = nnls(np.stack([symbol.ravel() ** power / wanted for power in POWERS], axis=1), 0 * wanted + 1)
    cells = np.arange(height.size).reshape(height.shape)[inner].ravel()
    embed = sparse.csr_array((height[inner].ravel(), (cells, range(cells.size))), (height.size, cells.size))
    total = embed @ known.precision @ embed.T
    for power, part in zip(POWERS, parts):
        total = total + part * matrix_power(laplacian, power)
    factors = splu(
        sparse.csc_matrix(total, dtype=np.float32),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0,
        options={"SymmetricMode": True},
    )
    inverse = spacing / np.sqrt(signal_power)

    def precondition(white: np.ndarray) -> np.ndarray:
        told = factors.solve(_filter(white, inverse).ravel().astype(np.float32))
        return _filter(told.reshape(height.shape), inverse)

    return precondition


def _laplacian(shape: tuple[int, int]) -> tuple[Any, np.ndarray]:
    """Give minus the Laplacian of cells of size 1: sparse, and by wave in the layout of ``rfft2``."""
    along = [
        sparse.diags_array([-np.ones(size - 1), np.full(size, 2.0), -np.ones(size - 1)], offsets=[-1, 0, 1])
        for size in shape
    ]
    rows, columns = (sparse.eye_array(size) for size in shape)
    east, north = wavenumbers(shape, 1.0)
    symbol = 4 - 2 * np.cos(east) - 2 * np.cos(north)
    return sparse.csr_array(sparse.kron(along[0], columns) + sparse.kron(rows, along[1])), symbol
