"""Estimates of fields, against the solution by dense matrices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import fft, linalg, sparse

from fieldwise.physics.local_filters import Information, estimate_in_window, filter_locally, wiener_estimate
from fieldwise.physics.spectra import wavenumbers

SPACING = 1000.0


def lay_filter(size: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Two responses, how they are weighed at each place, and the power of the field."""
    east, north = wavenumbers((size, size), SPACING)
    k = np.hypot(east, north) * SPACING
    turned = np.exp(-0.3 * k + 1j * 0.2 * east * SPACING * (np.abs(north) * SPACING < 3))
    filters = [turned, 0.5 * np.exp(-0.1 * k)]
    filters = [fft.rfft2(fft.irfft2(one, (size, size))) for one in filters]  # those of real kernels
    share = np.random.default_rng(7).random((size, size))
    return filters, np.stack([share, 1 - share]), 1e8 / (1 + k**2)


def matrix_of(linear: Callable[[np.ndarray], np.ndarray], size: int) -> np.ndarray:
    units = np.eye(size**2).reshape(-1, size, size)
    return np.stack([linear(unit).ravel() for unit in units], axis=1)


def covariance_of(power: np.ndarray, size: int) -> np.ndarray:
    return matrix_of(lambda unit: fft.irfft2(fft.rfft2(unit) * power / SPACING**2, (size, size)), size)


def solve(covariance: np.ndarray, seen: np.ndarray, noise: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Best linear estimate of a field of which `seen` is told, with noise of a covariance."""
    return covariance @ seen.T @ np.linalg.solve(seen @ covariance @ seen.T + noise, told)


def test_wiener_estimate_is_the_dense_solution():
    """From what is seen of a field through filters and noise."""
    filters, weights, signal = lay_filter(8)
    observed = np.random.default_rng(8).standard_normal((8, 8))
    blend = matrix_of(lambda unit: filter_locally(unit, filters, weights), 8)
    expected = solve(covariance_of(signal, 8), blend, 3e6 / SPACING**2 * np.eye(64), observed.ravel())
    estimate = wiener_estimate(
        observed,
        signal_power=signal,
        noise_power=np.full(signal.shape, 3e6),
        responses=filters,
        weights=weights,
        known=np.ones((8, 8)),
        spacing=SPACING,
    )
    np.testing.assert_allclose(estimate.ravel(), expected, atol=3e-3 * np.abs(expected).max())


@pytest.mark.parametrize("sums", [0, 20])
@pytest.mark.parametrize("cells", [0, 9])
def test_an_estimate_in_a_window_is_the_dense_solution(cells, sums):
    """From the middle of a field alone, with trust, noise and height of place, some values and some sums."""
    filters, weights, signal = lay_filter(12)
    rng, inner = np.random.default_rng(8), np.s_[2:10, 2:10]
    height, trust = rng.uniform(0.5, 2, (12, 12)), rng.uniform(0.2, 1, (8, 8))
    modes = np.hypot(*np.meshgrid(*[np.arange(8) * np.pi / 8] * 2, indexing="ij"))
    passed, noise = 1 - np.exp(-(modes**2)) / 2, 3e6 * (1 + 1 / (0.3 + modes**2))
    observed, values, summed = rng.standard_normal((3, 8, 8))
    matrix = np.where(rng.random((64, 64)) < 0.1, rng.standard_normal((64, 64)), 0)

    def see(field: np.ndarray) -> np.ndarray:
        shown = filter_locally(field, filters, weights)[inner]
        return trust * fft.idctn(fft.dctn(shown) * passed)

    known = rng.permutation(64)[:cells]
    shown = matrix_of(lambda unit: unit[inner], 12)
    seen = np.concatenate([matrix_of(see, 12), shown[known], matrix[:sums] @ shown])
    variances = matrix_of(lambda unit: fft.idctn(fft.dctn(unit) * noise), 8) / SPACING**2
    errors = linalg.block_diag(variances, 4.0 * np.eye(cells), 9.0 * np.eye(sums))
    covariance = height.ravel()[:, None] * covariance_of(signal, 12) * height.ravel()
    told = np.concatenate([observed.ravel(), values.ravel()[known], summed.ravel()[:sums]])
    expected = shown @ solve(covariance, seen, errors, told)
    certainty = np.where(np.isin(np.arange(64), known), 1 / 4.0, 0).reshape(8, 8)
    of_sums = np.where(np.arange(64) < sums, 1 / 9.0, 0).reshape(8, 8)
    said = Information.of(values, certainty) + Information.of(summed, of_sums, sparse.csr_array(matrix))
    estimate = estimate_in_window(
        observed,
        trust=trust,
        noise_power=noise,
        passed=passed,
        known=said,
        signal_power=signal,
        height=height,
        responses=filters,
        weights=weights,
        spacing=SPACING,
    )
    np.testing.assert_allclose(estimate.ravel(), expected, atol=3e-3 * np.abs(expected).max())
