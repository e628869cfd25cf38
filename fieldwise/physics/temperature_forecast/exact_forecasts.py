"""The exact forecast of a made weather from its state at an hour: mean, spread and CRPS of what may come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import fft

from fieldwise.physics.temperature_forecast.best_forecasts import cover, mean_of_folded, normal_nodes
from fieldwise.physics.temperature_forecast.worlds import TemperatureWorld

NODES = 8  # of Gaussian quadrature over the cloud of a cell


class Branch(NamedTuple):
    """What is expected if the air goes one way: its probability, and temperature but for the cloud."""

    probability: float
    clear: (
        np.ndarray
    )  # (rows, columns) K, without clouds, known but for noise of `ExactForecast.spread_of_air`
    covers: np.ndarray  # (node, rows, columns) that clouds may have, as probable as the weights of the nodes


@dataclass(frozen=True, eq=False)
class ExactForecast:
    """The distribution of t2m after an hour at which air, cloud and the wind before are known.

    Parameters
    ----------
    world
        Whose laws hold.
    air, cloud
        Modes of rfft2 of both at the hour.
    start_h
        The hour; winds last from hour 0 of the world.
    mean_k
        What temperatures vary about.
    wind
        That of the hour before; by default the first.

    >>> world = TemperatureWorld(shape=(8, 8))
    >>> nothing = np.zeros((8, 5), complex)
    >>> forecast = ExactForecast(world, nothing, nothing, start_h=0)
    >>> mean, spread = forecast.moments(1, sun=np.zeros(8))
    >>> mean[0, 0].round(6).item(), spread[0, 0].round(4).item()  # sqrt(9 (1 - 0.985^2) + 0.15^2)
    (280.0, 0.539)
    """

    world: TemperatureWorld
    air: np.ndarray
    cloud: np.ndarray
    start_h: int
    mean_k: float = 280.0
    wind: tuple[float, float] | None = None

    def moments(self, lead_h: int, sun: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the mean and the standard deviation (K) at a lead: (rows, columns) each.

        Parameters
        ----------
        lead_h
            Hours from the start.
        sun
            How strongly it shines then, (columns,) or (rows, columns).
        """
        shaded = self._shaded(sun)
        _, weights = normal_nodes(NODES)
        first = second = np.zeros(self.world.shape)
        for branch in self._branches(lead_h, sun):
            values = branch.clear - shaded * branch.covers
            first = first + branch.probability * np.einsum("n,nyx->yx", weights, values)
            second = second + branch.probability * np.einsum(
                "n,nyx->yx", weights, (values - self.mean_k) ** 2
            )
        spread = np.sqrt(second - (first - self.mean_k) ** 2 + self.spread_of_air(lead_h) ** 2)
        return first, spread

    def crps(self, lead_h: int, sun: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Give the continuous ranked probability score (K) of the distribution: (rows, columns).

        It is ``E |X - truth| - E |X - X'| / 2``: the noise by the closed form of a normal variable, clouds by
        quadrature.
        """
        shaded, width = self._shaded(sun), self.spread_of_air(lead_h)
        _, weights = normal_nodes(NODES)
        branches = list(self._branches(lead_h, sun))
        drawn = np.concatenate([branch.clear - shaded * branch.covers for branch in branches])
        chances = np.concatenate([branch.probability * weights for branch in branches])
        off = mean_of_folded(drawn - truth, np.array(width**2))
        score = np.einsum("n,nyx->yx", chances, off)
        for chance, values in zip(chances, drawn, strict=True):
            apart = mean_of_folded(drawn - values, np.array(2 * width**2))
            score -= chance / 2 * np.einsum("n,nyx->yx", chances, apart)
        return score

    def spread_of_air(self, lead_h: int) -> float:
        """Give the standard deviation (K) of what is unknown beside cloud and way: fading air, and noise."""
        fresh = 1 - self.world.memory ** (2 * lead_h)
        return float(np.sqrt(self.world.spread_k**2 * fresh + self.world.noise_k**2))

    def _shaded(self, sun: np.ndarray) -> np.ndarray:
        return self.world.warming_k * self.world.shading * np.asarray(sun)

    def _branches(self, lead_h: int, sun: np.ndarray) -> Iterator[Branch]:
        kept = self.world.memory**lead_h
        nodes, _ = normal_nodes(NODES)
        fresh = np.sqrt(1 - kept**2) * nodes[:, None, None]
        probabilities, ways = self.world.paths(self.start_h, lead_h)
        for probability, way in zip(probabilities, ways + self._correction(lead_h), strict=True):
            air, cloud = (
                kept * fft.irfft2(self.world.shift(modes, way), s=self.world.shape)
                for modes in (self.air, self.cloud)
            )
            clear = self.mean_k + self.world.spread_k * air + self.world.warming_k * np.asarray(sun)
            yield Branch(float(probability), clear, cover(cloud + fresh))

    def _correction(self, lead_h: int) -> np.ndarray:
        """Give the cells, (2,), by which the wind that is known leads elsewhere than the first one does."""
        lasts = -self.start_h % self.world.wind_hours
        wind = self.wind or self.world.winds[0]
        return min(lasts, lead_h) * (np.array(wind) - self.world.winds[0])
