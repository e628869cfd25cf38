"""How far forecasts are from what came, frame by frame: (..., y, x) twice makes (...).

What came may lack leading dimensions: several forecasts of it, (name, lead, y, x), are judged at once. Means
over cells count each by its weight, such as its area, (y, x); all cells alike where there is none. What looks
at neighbours (similarity) has no weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from fieldwise.errors import InputError

WINDOW = 7  # cells a side, of the structural similarity
LUMINANCE, CONTRAST = 0.01, 0.03  # that stabilise it where there is neither, in shares of the data's range
PUBLISHED_RANGES = {"psnr": 1.0, "ssim": 2.0}  # that AMBS takes for kelvins


def area_weights(latitude: ArrayLike, columns: int) -> np.ndarray:
    """Give the share that each cell of a grid of latitude and longitude has in its area, (y, x).

    >>> area_weights([60.0, 0.0], 2).round(4).tolist()  # cos 60° is a half
    [[0.1667, 0.1667], [0.3333, 0.3333]]
    """
    height = np.cos(np.deg2rad(np.asarray(latitude, dtype=np.float64)))
    weights = np.repeat(height[:, None], columns, axis=1)
    return weights / weights.sum()


def mean_over_cells(values: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Average over the cells, (..., y, x) to (...).

    >>> mean_over_cells([[[1.0, 4.0]]], np.array([[2.0, 1.0]])).tolist()
    [2.0]
    """
    values = np.asarray(values, dtype=np.float64)
    if weights is None:
        return values.mean(axis=(-2, -1))
    return (values * weights).sum(axis=(-2, -1)) / weights.sum()


def mean_squared_error(
    forecast: ArrayLike, observed: ArrayLike, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """Give the mean over cells of the squared differences.

    >>> mean_squared_error([[[1.0, 3.0]]], [[[1.0, 1.0]]]).tolist()
    [2.0]
    """
    return mean_over_cells(np.square(_differences(forecast, observed)), weights)


def mean_error(forecast: ArrayLike, observed: ArrayLike, *, weights: np.ndarray | None = None) -> np.ndarray:
    """Give the mean over cells of forecast minus observed: the bias.

    >>> mean_error([[[1.0, 3.0]]], [[[1.0, 1.0]]]).tolist()
    [1.0]
    """
    return mean_over_cells(_differences(forecast, observed), weights)


def mean_absolute_error(
    forecast: ArrayLike, observed: ArrayLike, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """Give the mean over cells of the absolute differences: the CRPS of a forecast that is one map.

    >>> mean_absolute_error([[[0.0, 3.0]]], [[[1.0, 1.0]]]).tolist()
    [1.5]
    """
    return mean_over_cells(np.abs(_differences(forecast, observed)), weights)


def _differences(forecast: ArrayLike, observed: ArrayLike) -> np.ndarray:
    predicted, came = np.asarray(forecast, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if came.ndim < 2 or predicted.shape[predicted.ndim - came.ndim :] != came.shape:
        raise InputError(f"forecast {predicted.shape} and observed {came.shape} differ; give (..., y, x)")
    return predicted - came


def peak_signal_to_noise(squared_error: ArrayLike, *, data_range: float) -> np.ndarray:
    """Give the PSNR in dB, 10 log₁₀(R² / MSE), of mean squared errors; infinite where they are 0.

    Parameters
    ----------
    squared_error
        Mean over cells.
    data_range
        Greatest minus least value of the data. Published scores of temperature forecasts (AMBS) take 1, on
        kelvins: they are 20 log₁₀ R lower.

    >>> peak_signal_to_noise([0.01, 1.0], data_range=10.0).tolist()
    [40.0, 20.0]
    """
    with np.errstate(divide="ignore"):
        return 10 * np.log10(data_range**2 / np.asarray(squared_error, dtype=np.float64))


def structural_similarity(
    forecast: ArrayLike, observed: ArrayLike, *, data_range: float | tuple[float, ...]
) -> np.ndarray:
    """Give the SSIM of Wang et al. (2004), the mean over all windows of 7 x 7 cells within the map.

    In each window, of equal weights, (2 μₓμᵧ + C₁)(2 σₓᵧ + C₂) / ((μₓ² + μᵧ² + C₁)(σₓ² + σᵧ² + C₂)), with
    sample (co)variances, C₁ = (0.01 R)² and C₂ = (0.03 R)²: as scikit-image has it by default.

    Parameters
    ----------
    forecast, observed
        (..., y, x), of 7 cells a side at least.
    data_range
        R, greatest minus least value of the data. Published scores (AMBS) have 2, on kelvins. Of several
        ranges there are several scores, along a first axis.

    Raises
    ------
    InputError
        When a side is shorter, or the shapes differ.

    Examples
    --------
    >>> observed = np.random.default_rng(0).normal(280.0, 5.0, (1, 16, 16))
    >>> blurred = ndimage.uniform_filter(observed, (0, 3, 3))
    >>> structural_similarity(np.stack([observed, blurred]), np.stack(2 * [observed]),
    ...                       data_range=30.0).round(2).tolist()
    [[1.0], [0.23]]
    """
    _differences(forecast, observed)  # refuses what cannot be compared
    x, y = np.asarray(forecast, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if min(x.shape[-2:]) < WINDOW:
        raise InputError(f"maps of {x.shape[-2:]} have no window of {WINDOW} cells; give larger ones")
    mean_x, mean_y = _window_means(x), _window_means(y)
    sample = WINDOW**2 / (WINDOW**2 - 1)
    variances = sample * (_window_means(x * x) - mean_x**2 + _window_means(y * y) - mean_y**2)
    common = sample * (_window_means(x * y) - mean_x * mean_y)
    ranges = np.reshape(data_range, (*np.shape(data_range), *(1,) * x.ndim))
    first, second = (LUMINANCE * ranges) ** 2, (CONTRAST * ranges) ** 2
    above = (2 * mean_x * mean_y + first) * (2 * common + second)
    below = (mean_x**2 + mean_y**2 + first) * (variances + second)
    return (above / below).mean(axis=(-2, -1))


def _window_means(values: np.ndarray) -> np.ndarray:
    """Average over all whole windows."""
    size = (*(0,) * (values.ndim - 2), WINDOW, WINDOW)
    edge = WINDOW // 2
    return ndimage.uniform_filter(values, size)[..., edge:-edge, edge:-edge]


def anomaly_correlation(
    forecast: ArrayLike,
    observed: ArrayLike,
    *,
    climatology: ArrayLike,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Give the ACC: the correlation over cells of what departs from climatology, means not taken off.

    Parameters
    ----------
    forecast, observed
        (..., y, x).
    climatology
        (..., y, x), of the month and hour that each frame is valid at, not of the init time: an hour off, the
        diurnal cycle counts as an anomaly that both share.
    weights
        Of the cells.

    Returns
    -------
    (...); NaN where a forecast does not depart from climatology.

    Examples
    --------
    >>> anomaly_correlation([[2.0, -1.0]], [[4.0, -2.0]], climatology=[[0.0, 0.0]]).round(6).tolist()
    1.0
    """
    _differences(forecast, observed)
    normal = np.asarray(climatology, dtype=np.float64)
    predicted, came = np.asarray(forecast) - normal, np.asarray(observed) - normal
    common = np.asarray(mean_over_cells(predicted * came, weights))
    sizes = mean_over_cells(predicted**2, weights) * mean_over_cells(came**2, weights)
    return np.divide(common, np.sqrt(sizes), out=np.full(common.shape, np.nan), where=sizes > 0)


def gradient_ratio(
    forecast: ArrayLike,
    observed: ArrayLike,
    *,
    weights: np.ndarray | None = None,
    narrowing: ArrayLike = 1.0,
) -> np.ndarray:
    """Give the mean size of the horizontal gradient over that of what came: below 1 is too smooth.

    Parameters
    ----------
    forecast, observed
        (..., y, x).
    weights
        Of the cells.
    narrowing
        Distance from column to column over that from row to row, such as (y, 1) of cosines of latitude.

    Returns
    -------
    (...); NaN where what came is flat.

    Examples
    --------
    >>> slope = np.arange(4.0) * np.ones((4, 1))
    >>> gradient_ratio(0.8 * slope, slope).round(6).tolist()
    0.8
    """
    _differences(forecast, observed)
    predicted, came = (mean_over_cells(_steepness(each, narrowing), weights) for each in (forecast, observed))
    return np.divide(predicted, came, out=np.full(predicted.shape, np.nan), where=came > 0)


def _steepness(values: ArrayLike, narrowing: ArrayLike) -> np.ndarray:
    down, across = np.gradient(np.asarray(values, dtype=np.float64), axis=(-2, -1))
    return np.sqrt(down**2 + (across / np.asarray(narrowing)) ** 2)
