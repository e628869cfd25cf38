"""How far predicted values are from true ones; a pair that misses a value (NaN) is left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fieldwise.errors import InputError


def errors_of(prediction: ArrayLike, truth: ArrayLike) -> np.ndarray:
    """Return prediction minus truth, flat, without the pairs that miss a value.

    Raises
    ------
    InputError
        When the shapes differ or no pair is complete.

    Examples
    --------
    >>> errors_of([1.0, 2.0, np.nan], [0.0, 4.0, 5.0])
    array([ 1., -2.])
    """
    predicted, true = np.asarray(prediction, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if predicted.shape != true.shape:
        raise InputError(f"prediction {predicted.shape} and truth {true.shape} differ; give pairs of values")
    difference = (predicted - true).ravel()
    difference = difference[~np.isnan(difference)]
    if difference.size == 0:
        raise InputError("prediction and truth share no point; check that the points lie inside the field")
    return difference


def root_mean_square(errors: ArrayLike) -> float:
    """Return the square root of the mean of squares, in the units of the errors.

    Examples
    --------
    >>> root_mean_square([3.0, -3.0])
    3.0
    """
    return float(np.sqrt(np.mean(np.square(errors, dtype=np.float64))))


def rmse(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Return the root-mean-square error over all complete pairs; InputError when there is none.

    Examples
    --------
    >>> rmse([1.0, 2.0, np.nan], [1.0, 4.0, 5.0])  # sqrt((0 + 4) / 2)
    1.4142135623730951
    """
    return root_mean_square(errors_of(prediction, truth))


def mae(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Return the mean absolute error over all complete pairs; InputError when there is none.

    Examples
    --------
    >>> mae([1.0, 2.0, np.nan], [2.0, 4.0, 5.0])
    1.5
    """
    return float(np.mean(np.abs(errors_of(prediction, truth))))


def bias(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Return the mean of prediction minus truth over all complete pairs; InputError when there is none.

    Examples
    --------
    >>> bias([1.0, 2.0, np.nan], [2.0, 4.0, 5.0])  # too low by 1 and by 2
    -1.5
    """
    return float(np.mean(errors_of(prediction, truth)))


def relative_l1(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Return the sum of absolute errors over the sum of absolute true values; NaN where these are 0.

    Examples
    --------
    >>> relative_l1([11.0, 9.0], [10.0, 10.0])
    0.1
    """
    predicted, true = np.asarray(prediction), np.asarray(truth)
    total = np.abs(true).sum(dtype=np.float64)
    return float(np.abs(predicted - true).sum(dtype=np.float64) / total) if total else float("nan")


def relative_l2(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Return the norm of the errors over that of the truth, ‖p − t‖ / ‖t‖, over all cells and channels.

    NaN where the truth is 0 throughout; InputError when shapes differ or no pair is complete.

    Examples
    --------
    >>> relative_l2([3.0, 5.0, np.nan], [3.0, 4.0, 7.0])  # 1 / 5
    0.2
    """
    errors_of(prediction, truth)  # refuses what cannot be compared
    sums = ErrorSums()
    sums.add(prediction, truth)
    return sums.relative_l2


@dataclass
class ErrorSums:
    """Errors of pairs that come part by part, such as the blocks of a map; the scores are those of all.

    ``size`` is the sum of the absolute true values, ``energy`` that of their squares.

    Examples
    --------
    >>> sums = ErrorSums()
    >>> sums.add([1.0, 2.0, np.nan], [1.0, 4.0, 5.0])
    >>> sums.add([7.0], [6.0])  # errors 0, -2; 1
    >>> sums.count, sums.mae, round(3 * sums.rmse**2, 6), round(3 * sums.bias, 6)
    (3, 1.0, 5.0, -1.0)
    """

    count: int = 0
    total: float = 0.0
    absolute: float = 0.0
    squares: float = 0.0
    size: float = 0.0
    energy: float = 0.0

    def add(self, prediction: ArrayLike, truth: ArrayLike) -> None:
        """Add the complete pairs of one part."""
        true = np.asarray(truth, dtype=np.float64)
        errors = np.asarray(prediction, dtype=np.float64) - true
        known = ~np.isnan(errors)
        errors = errors[known]
        self.count += errors.size
        self.total += float(errors.sum())
        self.absolute += float(np.abs(errors).sum())
        self.squares += float(np.square(errors).sum())
        self.size += float(np.abs(true[known]).sum())
        self.energy += float(np.square(true[known]).sum())

    @property
    def rmse(self) -> float:
        """The root-mean-square error."""
        return float(np.sqrt(self._mean(self.squares)))

    @property
    def mae(self) -> float:
        """The mean absolute error."""
        return self._mean(self.absolute)

    @property
    def bias(self) -> float:
        """The mean of prediction minus truth."""
        return self._mean(self.total)

    @property
    def relative_l1(self) -> float:
        """The sum of absolute errors over that of absolute true values; NaN where these are 0."""
        return self.absolute / self.size if self.size else float("nan")

    @property
    def relative_l2(self) -> float:
        """The norm of the errors over that of the true values; NaN where this is 0."""
        return float(np.sqrt(self.squares / self.energy)) if self.energy else float("nan")

    def _mean(self, total: float) -> float:
        if self.count == 0:
            raise InputError(
                "prediction and truth share no point; check that the points lie inside the field"
            )
        return total / self.count
