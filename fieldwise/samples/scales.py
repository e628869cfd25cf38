"""Scales: bring values near zero and unity, and undo it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from fieldwise.errors import InputError


@dataclass(frozen=True)
class Scale:
    """Subtract a mean and divide by a spread, both in the unit of the values.

    >>> scale = Scale(mean=100.0, spread=50.0)
    >>> scale.apply(np.array([100.0, 200.0])).tolist()
    [0.0, 2.0]
    >>> scale.undo(scale.apply(np.array([100.0, 200.0]))).tolist()
    [100.0, 200.0]
    """

    mean: float
    spread: float

    def __post_init__(self) -> None:
        """Refuse a spread that cannot be divided by."""
        if not (np.isfinite(self.mean) and np.isfinite(self.spread) and self.spread > 0):
            raise InputError(f"a scale of mean {self.mean:g} and spread {self.spread:g} cannot be applied")

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale values."""
        return (values - self.mean) / self.spread

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Give scaled values their size back."""
        return values * self.spread + self.mean

    def to_dict(self) -> dict[str, float]:
        """Write the scale as plain numbers, to travel inside a checkpoint."""
        return asdict(self)


@dataclass(frozen=True)
class LengthScale:
    """Compress the length of vectors that spans orders of magnitude, and keep their direction.

    A vector v becomes asinh(|v| / knee) v / |v|: linear below the knee, logarithmic above it. Rotating
    before or after scaling gives the same, as it must where tiles are rotated.

    >>> scale = LengthScale(knee=10.0)
    >>> velocity = np.array([[[[3.0]], [[400.0]]]])  # (tile, component, y, x), m/a
    >>> scale.apply(velocity).round(2).ravel().tolist()
    [0.03, 4.38]
    >>> bool(np.allclose(scale.undo(scale.apply(velocity)), velocity))
    True
    """

    knee: float

    def __post_init__(self) -> None:
        """Refuse a knee that cannot be divided by."""
        if not (np.isfinite(self.knee) and self.knee > 0):
            raise InputError(f"a knee of {self.knee:g} cannot be divided by")

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale vectors whose components lie along the third axis from the end."""
        length = np.sqrt((values**2).sum(axis=-3, keepdims=True))
        return values * np.arcsinh(length / self.knee) / np.maximum(length, 1e-6 * self.knee)

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Give scaled vectors their length back."""
        length = np.sqrt((values**2).sum(axis=-3, keepdims=True))
        return values * self.knee * np.sinh(length) / np.maximum(length, 1e-6)

    def to_dict(self) -> dict[str, float]:
        """Write the scale as plain numbers, to travel inside a checkpoint."""
        return asdict(self)


AnyScale = Scale | LengthScale


def read_scale(numbers: dict[str, float]) -> AnyScale:
    """Read back what :meth:`to_dict` of a scale wrote.

    >>> read_scale({"knee": 10.0}), read_scale(Scale(1.0, 2.0).to_dict())
    (LengthScale(knee=10.0), Scale(mean=1.0, spread=2.0))
    """
    return LengthScale(**numbers) if "knee" in numbers else Scale(**numbers)


def fit_scale(values: np.ndarray) -> Scale:
    """Fit mean and standard deviation of what is not missing; a constant keeps a spread of 1.

    >>> fit_scale(np.array([0.0, 2.0, 4.0, np.nan]))
    Scale(mean=2.0, spread=1.632993161855452)
    """
    if not np.isfinite(values).any():
        raise InputError("no value to fit a scale to: all are missing")
    mean = float(np.nanmean(values, dtype=np.float64))
    spread = float(np.nanstd(values, dtype=np.float64))
    constant = spread <= 1e-9 * abs(mean)  # what rounding leaves of a spread is none
    return Scale(mean, 1.0 if constant else spread)


def fit_share(departure: np.ndarray, told: np.ndarray) -> float:
    """Fit which share of a first guess to believe: least squares, between 0 and 1.

    >>> told = np.array([2.0, -2.0, 4.0])
    >>> fit_share(0.5 * told, told), fit_share(-told, told), fit_share(told, 0 * told)
    (0.5, 0.0, 0.0)
    """
    power = float((told * told).sum())
    return min(1.0, max(0.0, float((departure * told).sum()) / power)) if power else 0.0
