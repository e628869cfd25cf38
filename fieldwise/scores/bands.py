"""How much structure a map has in bands of wavelength, beside the truth: in windows, without periodicity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fieldwise.errors import InputError

BANDS_M = (20e3, 10e3, 5e3, 2.5e3, 1250.0, 700.0)
WINDOW_CELLS = 128


@dataclass
class BandPowerSums:
    """Power of a map and of the truth in bands of wavelength, part by part, such as the blocks of a map.

    Each part is cut into square windows that begin half a window apart. Their means are taken off, they fade
    to their edges by Hann's window, and the squares of their Fourier transforms are summed by wavelength. A
    window that misses a value of either is left out.

    Parameters
    ----------
    spacing
        Edge of a cell.
    edges
        Of the bands, from long to short wavelengths, in the unit of the spacing.
    cells
        Edge of a window.

    >>> random = np.random.default_rng(0)
    >>> sums, bed = BandPowerSums(spacing=250.0), random.normal(size=(256, 256))
    >>> sums.add(0.5 * bed, bed)
    >>> sums.ratios.round(6).tolist()  # half as high: a quarter of the power in every band
    [0.25, 0.25, 0.25, 0.25, 0.25]
    """

    spacing: float
    edges: Sequence[float] = BANDS_M
    cells: int = WINDOW_CELLS
    drawn: np.ndarray = field(default_factory=lambda: np.zeros(0))
    true: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def add(self, values: np.ndarray, truth: np.ndarray) -> None:
        """Add a part of the map and of the truth, (y, x); one smaller than a window adds nothing.

        Of members, (member, y, x), the mean power counts, in the windows that are complete in all of them.
        """
        if values.shape[-2:] != truth.shape:
            raise InputError(f"a map of {values.shape} cells and a truth of {truth.shape} differ")
        if min(truth.shape) < self.cells:
            return
        members = values.reshape(-1, *truth.shape)
        known: Any = np.isfinite(members).all(axis=0) & np.isfinite(truth)
        complete: Any = self._windows(known).all(axis=(1, 2))
        drawn = np.mean([self._power(member, complete) for member in members], axis=0)
        for name, power in (("drawn", drawn), ("true", self._power(truth, complete))):
            before = getattr(self, name)
            setattr(self, name, before + power if before.size else power)

    def _windows(self, values: np.ndarray) -> np.ndarray:
        """Cut out all windows: (window, y, x)."""
        step = max(self.cells // 2, 1)
        windows = sliding_window_view(values, (self.cells, self.cells))[::step, ::step]
        return windows.reshape(-1, self.cells, self.cells)

    def _power(self, values: np.ndarray, complete: np.ndarray) -> np.ndarray:
        """Sum up the power of some windows by bands."""
        windows, taper = self._windows(values.astype(np.float64))[complete], np.hanning(self.cells + 1)[:-1]
        windows = (windows - windows.mean(axis=(1, 2), keepdims=True)) * np.outer(taper, taper)
        power = (np.abs(np.fft.rfft2(windows)) ** 2).sum(axis=0)
        band = self._bands()
        inside = band >= 0
        return np.bincount(band[inside], power[inside], len(self.edges) - 1)

    @property
    def ratios(self) -> np.ndarray:
        """Power of the map over that of the truth, one number a band."""
        if not self.true.any():
            raise InputError(f"no window of {self.cells} cells is complete; judge a larger part")
        return self.drawn / self.true

    @property
    def wavelengths(self) -> list[float]:
        """The geometric middle of each band.

        >>> [round(middle) for middle in BandPowerSums(250.0, edges=(4000.0, 1000.0)).wavelengths]
        [2000]
        """
        return [float(np.sqrt(long * short)) for long, short in zip(self.edges, self.edges[1:])]

    def _bands(self) -> np.ndarray:
        """Number the band of each wave of a window; -1 of those in none."""
        across, along = np.fft.fftfreq(self.cells, self.spacing), np.fft.rfftfreq(self.cells, self.spacing)
        wavenumber = np.hypot(across[:, None], along)
        band = np.searchsorted(1 / np.array(self.edges), wavenumber, side="right") - 1
        return np.where(band < len(self.edges) - 1, band, -1)
