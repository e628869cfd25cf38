"""Power, transfer and phases of fields in periodic boxes of two or three dimensions, by wavenumber.

Nothing is tapered, as a periodic box has no edge; for a field that ends somewhere there is
:func:`fieldwise.scores.texture.radial_spectrum`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft

from fieldwise.errors import InputError


@dataclass(frozen=True)
class Modes:
    """The modes of a real field in a periodic box, in the layout of ``scipy.fft.rfftn``, and their shells.

    Shell i holds the wavenumbers above i - 1 and up to i fundamentals of the longest side. There is one for
    each fundamental up to the Nyquist wavenumber, where the sphere touches the faces of the cube of modes:
    what lies in the cube's corners, and the mean, belong to no shell that is reported.

    Parameters
    ----------
    shape : cells of the box, of two or three dimensions
    spacing : side of a cell, such as in Mpc/h

    Examples
    --------
    >>> modes = Modes((4, 4), 1.0)
    >>> modes.shell.tolist()  # sqrt(2) lies in the second shell, sqrt(8) in the third
    [[0, 1, 2], [1, 2, 3], [2, 3, 3], [1, 2, 3]]
    >>> modes.count.tolist()  # 4 of length 1; 4 of length sqrt(2) and, with its mirror image, 2 of 2
    [4.0, 6.0]
    """

    shape: tuple[int, ...]
    spacing: float

    @property
    def axes(self) -> list[np.ndarray]:
        """Wavenumbers along each axis, in fundamentals of the longest side, ready to be broadcast."""
        longest = max(self.shape)
        lengths = [fft.fftfreq(count) * longest for count in self.shape[:-1]]
        lengths.append(fft.rfftfreq(self.shape[-1]) * longest)
        return list(np.meshgrid(*lengths, indexing="ij", sparse=True))

    @property
    def length(self) -> np.ndarray:
        """Wavenumber of each mode, in fundamentals."""
        return np.sqrt(sum(along**2 for along in self.axes))

    @cached_property
    def shell(self) -> np.ndarray:
        """Number of the shell of each mode; 0 is the mean."""
        return np.ceil(self.length - 1e-9).astype(np.intp)  # 3-4-5 is in shell 5, whatever its rounding

    @property
    def shells(self) -> int:
        """How many shells there are."""
        return max(self.shape) // 2

    @property
    def weight(self) -> np.ndarray:
        """How many modes each one stands for: those inside of the last axis for their mirror images too."""
        weight = np.full(self.shape[-1] // 2 + 1, 2.0)
        weight[0] = 1.0
        if self.shape[-1] % 2 == 0:
            weight[-1] = 1.0
        return weight

    @property
    def fundamental(self) -> float:
        """Wavenumber of the longest wave that fits into the box, radians a unit of the spacing (h/Mpc)."""
        return 2 * np.pi / (max(self.shape) * self.spacing)

    @property
    def nyquist(self) -> float:
        """Wavenumber of a wave of two cells, radians a unit of the spacing (h/Mpc)."""
        return np.pi / self.spacing

    def sum_shells(self, values: np.ndarray) -> np.ndarray:
        """Sum a quantity of each mode, such as its power, over the shells, (shell)."""
        weighted = np.broadcast_to(values * self.weight, self.shell.shape)
        total = np.bincount(self.shell.ravel(), weights=weighted.ravel(), minlength=self.shells + 1)
        return total[1 : self.shells + 1]

    @cached_property
    def count(self) -> np.ndarray:
        """Count the modes of each shell."""
        return self.sum_shells(np.ones(1))

    @cached_property
    def wavenumber(self) -> np.ndarray:
        """Give the mean wavenumber of each shell, radians a unit of the spacing (h/Mpc)."""
        return self.fundamental * self.sum_shells(self.length) / self.count


def check_box(field: ArrayLike, *, name: str = "field") -> np.ndarray:
    """Return a box of two or three dimensions in double precision; refuse other shapes and missing values.

    >>> check_box([1.0, 2.0], name="density")
    Traceback (most recent call last):
    fieldwise.errors.InputError: density (2,) is no box; give two or three dimensions of 4 cells at least
    """
    values = np.asarray(field, dtype=np.float64)
    if values.ndim not in (2, 3) or min(values.shape) < 4:
        raise InputError(f"{name} {values.shape} is no box; give two or three dimensions of 4 cells at least")
    missing = values.size - int(np.count_nonzero(np.isfinite(values)))
    if missing:
        raise InputError(f"{name} misses {missing} values, and a spectrum needs all; cut a box without gaps")
    return values


def power_spectrum(field: ArrayLike, *, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the isotropic power spectrum of a field in a periodic box, the sum of its channels.

    Parameters
    ----------
    field : (channel, y, x) or (channel, z, y, x) values without gaps
    spacing : side of a cell, such as in Mpc/h

    Returns
    -------
    wavenumber : (shell,) mean of each shell, radians a unit of spacing (h/Mpc)
    power : (shell,) mean of each shell, in the field's units squared times the cell's volume ((Mpc/h)³):
        white noise of variance v has the power v spacing^dimensions at every wavenumber

    Raises
    ------
    InputError
        When the field is no box, or a value is missing.

    Notes
    -----
    Shells as in map2map: one fundamental wide, the mean left out, up to the Nyquist wavenumber.

    Examples
    --------
    >>> x = 2.0 * np.arange(16)  # Mpc/h
    >>> wave = np.broadcast_to(3 * np.cos(2 * np.pi * x / 8), (1, 16, 16))
    >>> wavenumber, power = power_spectrum(wave, spacing=2.0)
    >>> int(power.argmax()), round(float(power.max()), 6)  # 20 modes share 9 / 2 (32 Mpc/h)²
    (3, 230.4)
    """
    field = np.asarray(field)
    modes = Modes(field.shape[1:], spacing)
    power = sum(np.abs(transform) ** 2 for transform in _transforms(field, "field"))
    return modes.wavenumber, _density(modes, modes.sum_shells(np.asarray(power)) / modes.count)


def _density(modes: Modes, squares: np.ndarray) -> np.ndarray:
    """Turn squares of unscaled transforms into power spectral density."""
    return squares * modes.spacing ** len(modes.shape) / np.prod(modes.shape)


def _transforms(field: np.ndarray, name: str) -> Iterator[np.ndarray]:
    """Transform channel after channel: of a large box, only one at a time is held."""
    if field.ndim not in (3, 4):
        raise InputError(
            f"{name} {field.shape} is not (channel, y, x) or (channel, z, y, x); add the channels"
        )
    for channel in field:
        yield fft.rfftn(check_box(channel, name=name))


@dataclass
class SpectrumSums:
    """Spectra of predictions and of the truth, box by box; what is compared is the mean over the boxes.

    Parameters
    ----------
    spacing : side of a cell, such as in Mpc/h

    Notes
    -----
    The transfer function is √(P_prediction / P_truth), and the cross-correlation coefficient
    P_cross / √(P_prediction P_truth): 1 where all phases are right. The powers of the channels are summed.

    Examples
    --------
    >>> truth = np.random.default_rng(0).normal(size=(3, 16, 16, 16))
    >>> sums = SpectrumSums(spacing=4.0)
    >>> sums.add(0.9 * truth, truth)
    >>> {name: round(value, 4) for name, value in sums.at(0.5).items()}
    {'wavenumber': 0.3468, 'power_ratio': 0.81, 'transfer': 0.9, 'cross_correlation': 1.0}
    """

    spacing: float
    modes: Modes | None = None
    boxes: int = 0
    predicted: np.ndarray | float = 0.0  # sums of squares over the shells and boxes
    true: np.ndarray | float = 0.0
    common: np.ndarray | float = 0.0

    def add(self, prediction: ArrayLike, truth: ArrayLike) -> None:
        """Add a box, (channel, y, x) or (channel, z, y, x), all of one shape.

        Raises
        ------
        InputError
            When shapes differ, from each other or from the boxes before, or a value is missing.
        """
        prediction, truth = np.asarray(prediction), np.asarray(truth)
        if prediction.shape != truth.shape:
            raise InputError(
                f"prediction {prediction.shape} and truth {truth.shape} differ; give equal boxes"
            )
        modes = self.modes or Modes(truth.shape[1:], self.spacing)
        if modes.shape != truth.shape[1:]:
            raise InputError(f"box {truth.shape[1:]} differs from {modes.shape} before; sum each shape alone")
        channels = zip(_transforms(prediction, "prediction"), _transforms(truth, "truth"))
        for predicted, true in channels:
            self.predicted = self.predicted + modes.sum_shells(np.abs(predicted) ** 2)
            self.true = self.true + modes.sum_shells(np.abs(true) ** 2)
            self.common = self.common + modes.sum_shells((predicted * true.conj()).real)
        self.modes, self.boxes = modes, self.boxes + 1

    @property
    def wavenumber(self) -> np.ndarray:
        """Mean wavenumber of each shell, radians a unit of the spacing (h/Mpc)."""
        return self._filled.wavenumber

    @property
    def nyquist(self) -> float:
        """Wavenumber of a wave of two cells."""
        return np.pi / self.spacing

    @property
    def power(self) -> np.ndarray:
        """Power spectrum of the prediction, as of :func:`power_spectrum`."""
        return self._mean(self.predicted)

    @property
    def true_power(self) -> np.ndarray:
        """Power spectrum of the truth."""
        return self._mean(self.true)

    @property
    def power_ratio(self) -> np.ndarray:
        """Power of the prediction over that of the truth; NaN where the truth has none."""
        return _ratio(self.power, self.true_power)

    @property
    def transfer(self) -> np.ndarray:
        """Square root of the power ratio."""
        return np.sqrt(self.power_ratio)

    @property
    def cross_correlation(self) -> np.ndarray:
        """Cross-correlation coefficient; NaN where one of both has no power."""
        return _ratio(self._mean(self.common), np.sqrt(self.power * self.true_power))

    def at(self, share: float) -> dict[str, float]:
        """Give the scores in the shell that holds a share of the Nyquist wavenumber, above 0 and up to 1.

        The shell's own mean wavenumber stands beside them: it is up to a fundamental below.
        """
        if not 0 < share <= 1:
            raise InputError(
                f"share {share} of the Nyquist wavenumber is not in (0, 1]; give 0.5, for example"
            )
        shell = max(1, int(np.ceil(share * self._filled.shells - 1e-9))) - 1
        names = ("wavenumber", "power_ratio", "transfer", "cross_correlation")
        return {name: float(getattr(self, name)[shell]) for name in names}

    @property
    def _filled(self) -> Modes:
        if self.modes is None:
            raise InputError("no box was added, so there is no spectrum; add a prediction and its truth")
        return self.modes

    def _mean(self, total: np.ndarray | float) -> np.ndarray:
        return _density(self._filled, np.asarray(total) / self._filled.count / self.boxes)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def power_multipoles(density: ArrayLike, *, spacing: float, axis: int) -> tuple[np.ndarray, ...]:
    """Return monopole and quadrupole of the power spectrum of a field seen along an axis.

    Parameters
    ----------
    density : (y, x) or (z, y, x) field, such as the density contrast in redshift space
    spacing : side of a cell, such as in Mpc/h
    axis : line of sight

    Returns
    -------
    wavenumber, monopole, quadrupole : (shell,) each, in the units of :func:`power_spectrum`

    Notes
    -----
    With μ the cosine of the angle between a mode and the line of sight, P(k, μ) = P₀ + P₂ ℒ₂(μ) + …: in three
    dimensions the quadrupole is 5 ⟨P ℒ₂⟩ with Legendre's ℒ₂ = (3 μ² − 1) / 2 (Hamilton 1998). On a circle,
    cos 2θ = 2 μ² − 1 is what is orthogonal to the mean: in two dimensions it is 2 ⟨P (2 μ² − 1)⟩.

    Examples
    --------
    >>> x = np.arange(16)
    >>> wave = np.broadcast_to(np.cos(2 * np.pi * x / 8), (16, 16, 16))
    >>> for axis in (2, 0):  # along the wave, and across
    ...     wavenumber, monopole, quadrupole = power_multipoles(wave, spacing=4.0, axis=axis)
    ...     print(round(float(quadrupole[1] / monopole[1]), 6))
    5.0
    -2.5
    """
    values = check_box(density, name="density")
    if not -values.ndim <= axis < values.ndim:
        raise InputError(
            f"axis {axis} is none of the {values.ndim} of the density; give 0 to {values.ndim - 1}"
        )
    modes = Modes(values.shape, spacing)
    cosine_squared = _ratio(modes.axes[axis] ** 2 + 0 * modes.length, modes.length**2)
    cosine_squared.flat[0] = 0.0  # the mean has no direction
    spherical = values.ndim == 3
    quadratic = 2.5 * (3 * cosine_squared - 1) if spherical else 2 * (2 * cosine_squared - 1)
    power = np.abs(fft.rfftn(values)) ** 2
    count = modes.count
    monopole, quadrupole = (
        _density(modes, modes.sum_shells(power * factor) / count) for factor in (1.0, quadratic)
    )
    return modes.wavenumber, monopole, quadrupole
