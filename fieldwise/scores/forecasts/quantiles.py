"""What came where so much was forecast, and what was forecast where so much came: conditional quantiles.

The joint distribution of forecasts and observations is told by either with the marginal of the other
(Murphy & Winkler 1987): p(observed | forecast) says what a forecast is worth, p(forecast | observed) how well
what comes is told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fieldwise.errors import InputError

QUANTILES = (0.05, 0.5, 0.95)
PARTS = 10  # of a bin, that quantiles are told by
Side = Literal["forecast", "observed"]


@dataclass
class ConditionalQuantiles:
    """Counts of pairs of forecast and observed values, part by part; memory grows with their range alone.

    Quantiles are interpolated within a tenth of a bin, and are that sure.

    Parameters
    ----------
    width
        Of the bins of what is given, in the units of the values.

    Examples
    --------
    >>> pairs = ConditionalQuantiles(width=1.0)
    >>> pairs.add(forecast=[280.5] * 100, observed=np.arange(280.005, 281.005, 0.01))
    >>> table = pairs.table(given="forecast")
    >>> table["middle"].tolist(), table["quantiles"][:, 0].round(2).tolist(), table["count"].tolist()
    ([280.5], [280.05, 280.5, 280.95], [100])
    """

    width: float = 1.0
    first: int = 0  # number of the first bin of both axes
    counts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))

    def add(self, forecast: ArrayLike, observed: ArrayLike) -> None:
        """Add pairs of values, of one shape; those that miss one add nothing."""
        both = [np.asarray(each, dtype=np.float64).ravel() for each in (forecast, observed)]
        if both[0].shape != both[1].shape:
            raise InputError(f"forecast {both[0].shape} and observed {both[1].shape} differ; give pairs")
        known = np.isfinite(both[0]) & np.isfinite(both[1])
        if not known.any():
            return
        parts = np.floor(np.stack(both)[:, known] / self.width * PARTS).astype(np.int64)
        self._cover(int(parts.min()) // PARTS, int(parts.max()) // PARTS + 1)
        size = len(self.counts)
        rows, columns = parts - self.first * PARTS
        self.counts += np.bincount(rows * size + columns, minlength=size**2).reshape(size, size)

    def _cover(self, low: int, high: int) -> None:
        """Make room for the bins from low up to high."""
        if not self.counts.size:
            self.first = low
        below = max(0, self.first - low)
        above = max(0, high - self.first - len(self.counts) // PARTS)
        if below or above:
            self.counts = np.pad(self.counts, [(below * PARTS, above * PARTS)] * 2)
            self.first -= below

    def table(self, *, given: Side, least: int = 1) -> dict[str, np.ndarray]:
        """Give ``middle`` and ``count`` of each bin of what is given, and the ``quantiles`` of the other.

        Parameters
        ----------
        given
            Whose bins they are.
        least
            Pairs that a bin needs; others are left out.

        Returns
        -------
        dict
            (bin,), (bin,), and (quantile, bin) of 5, 50 and 95 %.
        """
        counts = self.counts if given == "forecast" else self.counts.T
        whole = counts.reshape(-1, PARTS, len(counts)).sum(axis=1)  # a row each bin of what is given
        filled = np.flatnonzero(whole.sum(axis=1) >= max(least, 1))
        edges = (self.first * PARTS + np.arange(len(counts) + 1)) * self.width / PARTS
        quantiles = [_quantiles(row, edges) for row in whole[filled]]
        return {
            "middle": (self.first + filled + 0.5) * self.width,
            "count": whole[filled].sum(axis=1),
            "quantiles": np.array(quantiles).reshape(-1, len(QUANTILES)).T,
        }


def _quantiles(counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Interpolate quantiles of counts, as if the values of a part were spread evenly over it."""
    filled = np.flatnonzero(counts)
    below = np.append(0, np.cumsum(counts[filled]))
    wanted = np.asarray(QUANTILES) * below[-1]
    part = np.searchsorted(below, wanted).clip(1) - 1
    share = (wanted - below[part]) / counts[filled[part]]
    return edges[filled[part]] + share * (edges[1] - edges[0])
