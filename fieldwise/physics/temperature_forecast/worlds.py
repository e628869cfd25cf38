"""A made weather that the wind carries along and that fades, whose laws are known to the last number.

Air A and cloud c are Gaussian fields of one spectrum on a grid that goes on at its other side. From one hour
to the next, ``A(t + 1) = memory Shift(A(t)) + sqrt(1 - memory^2) eta``: exact for any shift, as it is made in
Fourier space. Temperature is ``mean + spread A + warming (1 - shading C) sun + noise``, where
``C = 1 / (1 + exp(-2 c))`` is the share of the sky that is covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy import fft

from fieldwise.errors import InputError, require_at_least

Wind = tuple[float, float]
STEADY: tuple[Wind, ...] = ((1.0, 0.5),)
TWO_VALUED: tuple[Wind, ...] = ((1.0, 0.5), (1.0, -0.5))


@dataclass(frozen=True)
class TemperatureWorld:
    """What a made weather is like.

    Parameters
    ----------
    shape
        Rows and columns of the grid, which goes on at its other side.
    memory
        Correlation of the air with what it was an hour before, where it came from.
    winds
        Cells an hour to the east and to the south. Of several one is drawn, all being equally probable, for
        every `wind_hours`; nothing tells which one comes next.
    wind_hours
        How long a wind lasts, counted from hour 0.
    spread_k, noise_k, upper_noise_k
        Standard deviations in kelvin: of the air, and of the noise in t2m and in t850.
    warming_k, shading
        What the sun adds at its highest, and which share of that clouds take away.
    length_cells
        Scale of the air, 2 or more: it correlates as ``exp(-(distance / length)^2 / 2)``, but for
        its mean over the grid, which is 0.

    >>> world = TemperatureWorld()
    >>> round(world.correlation((0.0, 0.0)).item(), 6), round(world.correlation((1.0, 0.5)).item(), 2)
    (1.0, 0.96)
    """

    shape: tuple[int, int] = (48, 48)
    memory: float = 0.985
    winds: tuple[Wind, ...] = STEADY
    wind_hours: int = 12
    spread_k: float = 3.0
    noise_k: float = 0.15
    upper_noise_k: float = 0.05
    warming_k: float = 6.0
    shading: float = 0.7
    length_cells: float = 4.0

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        require_at_least(4, cells=min(self.shape))
        require_at_least(
            2, length_cells=self.length_cells
        )  # shorter waves cannot be moved by parts of a cell
        require_at_least(1, winds=len(self.winds), wind_hours=self.wind_hours)
        if not 0 <= self.memory < 1:
            raise InputError(f"memory: is {self.memory:g}; give 0 or more, below 1")

    @cached_property
    def wavenumbers(self) -> tuple[np.ndarray, np.ndarray]:
        """(1, columns // 2 + 1) to the east and (rows, 1) to the south, radians a cell, as of rfft2."""
        rows, columns = self.shape
        return 2 * np.pi * fft.rfftfreq(columns)[None], 2 * np.pi * fft.fftfreq(rows)[:, None]

    @cached_property
    def spectrum(self) -> np.ndarray:
        """(rows, columns // 2 + 1): power of each mode, 1 on average, in the layout of rfft2.

        The mean has none.
        """
        east, south = self.wavenumbers
        power = np.exp(-(self.length_cells**2) * (east**2 + south**2) / 2)
        power[0, 0] = 0
        return power / ((power * self._weights).sum() / np.prod(self.shape))

    @cached_property
    def _weights(self) -> np.ndarray:
        """(columns // 2 + 1,): how many modes of fft2 one of rfft2 stands for."""
        weights = np.full(self.shape[1] // 2 + 1, 2.0)
        weights[0] = 1
        return weights  # the shortest waves have next to no power, whatever they stand for

    def correlation(self, displacement: np.ndarray | Wind) -> np.ndarray:
        """Give the correlation of the air at places so many cells apart to the east and south, (..., 2).

        It is ``sum S(k) cos(k d)`` over all modes.
        """
        moved = np.asarray(displacement, dtype=float)
        east, south = self.wavenumbers
        power = self.spectrum * self._weights / np.prod(self.shape)
        phases = moved[..., :1, None] * east + moved[..., 1:, None] * south
        return (power * np.cos(phases)).sum((-2, -1))

    def shift(self, modes: np.ndarray, displacement: np.ndarray | Wind) -> np.ndarray:
        """Move a field, given by its modes of rfft2, so many cells to the east and south.

        >>> world = TemperatureWorld(shape=(4, 6))
        >>> wave = np.sin(2 * np.pi * np.arange(6) / 6) * np.ones((4, 1))
        >>> moved = fft.irfft2(world.shift(fft.rfft2(wave), (1.0, 0.5)), s=world.shape)
        >>> bool(np.allclose(moved, np.roll(wave, 1, axis=1)))
        True
        """
        east, south = self.wavenumbers
        return modes * np.exp(-1j * displacement[0] * east) * np.exp(-1j * displacement[1] * south)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the modes of a field of the world's spectrum, of variance 1."""
        return fft.rfft2(rng.standard_normal(self.shape)) * np.sqrt(self.spectrum)

    def paths(self, start_h: int, lead_h: int, *, known: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """List the ways that air may go from an hour on: probabilities (path,), and cells (path, 2).

        Parameters
        ----------
        start_h, lead_h
            Hour to begin at, and how many hours to go on.
        known
            Leave the wind of the hour before out of the draw, as who has seen that hour knows it; its part of
            the way then counts as that of the first wind.

        >>> two = TemperatureWorld(winds=((1.0, 0.0), (-1.0, 0.0)))
        >>> two.paths(11, 3)  # an hour with a wind that is known, then two with another draw
        (array([0.5, 0.5]), array([[ 3.,  0.],
               [-1.,  0.]]))
        """
        blocks, hours = np.unique(np.arange(start_h, start_h + lead_h) // self.wind_hours, return_counts=True)
        choices = [
            self.winds[:1] if known and b == (start_h - 1) // self.wind_hours else self.winds for b in blocks
        ]
        ways = [hours @ np.array(chosen) for chosen in product(*choices)] if lead_h else [np.zeros(2)]
        found, counts = np.unique(np.round(ways, 9), axis=0, return_counts=True)
        order = np.lexsort(-found.T[::-1])
        return (counts / counts.sum())[order], found[order]
