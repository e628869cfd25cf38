"""Scales: bring values near zero and unity, and undo it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from fieldwise.errors import InputError
from fieldwise.networks.imports import import_by_path


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
        length = _call("sqrt", (values**2).sum(axis=-3, keepdims=True))
        return values * _call("arcsinh", length / self.knee) / length.clip(1e-6 * self.knee)

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Give scaled vectors their length back."""
        length = _call("sqrt", (values**2).sum(axis=-3, keepdims=True))
        return values * self.knee * _call("sinh", length) / length.clip(1e-6)

    def to_dict(self) -> dict[str, float]:
        """Write the scale as plain numbers, to travel inside a checkpoint."""
        return asdict(self)


class NamedScale:
    """A scale that is named by its import path; one of one's own is a dataclass that inherits from this.

    Its fields are plain numbers; `apply` and `undo` work alike on arrays of NumPy and of torch.
    """

    def apply(self, values: Any) -> Any:
        """Scale values."""
        raise NotImplementedError

    def undo(self, values: Any) -> Any:
        """Give scaled values their size back."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Write import path and numbers, to travel inside a checkpoint."""
        kind = type(self)
        return {"path": f"{kind.__module__}.{kind.__qualname__}", "options": asdict(cast(Any, self))}


@dataclass(frozen=True)
class Factor(NamedScale):
    """Divide by a number.

    >>> Factor(6.0).apply(np.array([3.0])).tolist()
    [0.5]
    """

    size: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a size that cannot be divided by."""
        if not (np.isfinite(self.size) and self.size > 0):
            raise InputError(f"a factor of {self.size:g} cannot be divided by")

    def apply(self, values: Any) -> Any:
        """Scale values."""
        return values / self.size

    def undo(self, values: Any) -> Any:
        """Give scaled values their size back."""
        return values * self.size


@dataclass(frozen=True)
class Logarithm(NamedScale):
    """Take the logarithm of values above `-floor`, to which `floor` is added; undo takes it off again.

    >>> scale = Logarithm(floor=1e-8)
    >>> bool(np.allclose(scale.undo(scale.apply(np.array([0.0, 2.0]))), [0.0, 2.0], atol=1e-12))
    True
    """

    floor: float = 1e-8

    def apply(self, values: Any) -> Any:
        """Scale values."""
        return _call("log", values + self.floor)

    def undo(self, values: Any) -> Any:
        """Give scaled values their size back."""
        return _call("exp", values) - self.floor


@dataclass(frozen=True)
class Exponential(NamedScale):
    """Take the exponential: the inverse of :class:`Logarithm`.

    >>> Exponential().apply(np.array([0.0])).tolist()
    [1.0]
    """

    floor: float = 0.0

    def apply(self, values: Any) -> Any:
        """Scale values."""
        return _call("exp", values) - self.floor

    def undo(self, values: Any) -> Any:
        """Give scaled values their size back."""
        return _call("log", values + self.floor)


@dataclass(frozen=True)
class Log1p(NamedScale):
    """Take the logarithm of 1 + values, exact near 0: for a density contrast.

    >>> Log1p().apply(np.array([0.0, np.e - 1])).tolist()
    [0.0, 1.0]
    """

    def apply(self, values: Any) -> Any:
        """Scale values."""
        return _call("log1p", values)

    def undo(self, values: Any) -> Any:
        """Give scaled values their size back."""
        return _call("expm1", values)


@dataclass(frozen=True)
class Expm1(NamedScale):
    """Take the exponential less 1: the inverse of :class:`Log1p`.

    >>> Expm1().undo(np.array([0.0])).tolist()
    [0.0]
    """

    def apply(self, values: Any) -> Any:
        """Scale values."""
        return _call("expm1", values)

    def undo(self, values: Any) -> Any:
        """Give scaled values their size back."""
        return _call("log1p", values)


def _call(name: str, values: Any) -> Any:
    """Call the tensor's own function of a name, or NumPy's, which arrays of CuPy answer too."""
    return getattr(values, name)() if hasattr(values, name) else getattr(np, name)(values)


AnyScale = Scale | LengthScale | NamedScale


def read_scale(entry: dict[str, Any]) -> AnyScale:
    """Read back what :meth:`to_dict` of a scale wrote; a path must name a :class:`NamedScale`.

    >>> read_scale({"knee": 10.0}), read_scale(Scale(1.0, 2.0).to_dict()), read_scale(Log1p().to_dict())
    (LengthScale(knee=10.0), Scale(mean=1.0, spread=2.0), Log1p())
    >>> read_scale({"path": "os.mkdir", "options": {}})
    Traceback (most recent call last):
    fieldwise.errors.InputError: os.mkdir is no NamedScale; give the import path of one
    """
    if "path" in entry:
        try:
            return import_by_path(entry["path"], kind=NamedScale)(**entry["options"])
        except TypeError as error:
            raise InputError(f"{entry['path']} cannot be made of {entry['options']}: {error}") from None
    return LengthScale(**entry) if "knee" in entry else Scale(**entry)


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
