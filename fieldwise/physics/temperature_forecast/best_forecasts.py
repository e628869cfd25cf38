"""The least error that any forecast of a made weather can have, and what simple forecasts come to.

Who knows the laws of a :class:`TemperatureWorld` and its whole state at an hour (air and cloud in every cell
without noise, and the wind of the hour before) can do no better than give the distribution of what follows.
Its mean has the least mean squared error, and itself it has the least continuous ranked probability score
(CRPS); both are averages over independent draws X and X' of it: ``E (X - X')^2 / 2`` and ``E |X - X'| / 2``.
Who sees less, such as twelve noisy maps, does worse or as well, never better: these are bounds for all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from scipy.special import erf, expit

from fieldwise.physics.temperature_forecast.sunshine import DAY_H
from fieldwise.physics.temperature_forecast.worlds import TemperatureWorld

NODES = 20  # of Gaussian quadrature: of clouds, and of the hours of daylight
CLOUDINESS = 2.0  # cover is 1 / (1 + exp(-2 c))


def cover(cloud: np.ndarray) -> np.ndarray:
    """Give the share of the sky that clouds cover, 0 to 1.

    >>> cover(np.array([0.0, 2.0])).round(2).tolist()
    [0.5, 0.98]
    """
    return expit(CLOUDINESS * cloud)


def best_possible(world: TemperatureWorld, leads_h: int = 24) -> dict[str, list[float]]:
    """Give the least mean squared error (K2) and CRPS (K) by lead, from 1 hour on, averaged over all hours.

    With one wind the error is ``spread^2 (1 - memory^(2 L)) + noise^2`` and what is not known of clouds. With
    several, the mean of the distribution lies between what each would bring.

    >>> best = best_possible(TemperatureWorld(), 12)
    >>> [round(best["mse"][lead - 1], 2) for lead in (1, 3, 6, 12)]
    [0.31, 0.85, 1.6, 2.9]
    >>> two = best_possible(TemperatureWorld(winds=((1.0, 0.5), (1.0, -0.5))), 12)
    >>> round(two["mse"][11], 2)
    5.05
    """
    best: dict[str, list[float]] = {"mse": [], "crps": []}
    for lead in range(1, leads_h + 1):
        pairs, apart = [], []
        for start in _starts(world):
            weights, ways = world.paths(start, lead)
            pairs.append(np.outer(weights, weights).ravel())
            apart.append((ways[:, None] - ways).reshape(-1, 2))
        found, places = np.unique(np.concatenate(apart).round(9), axis=0, return_inverse=True)
        weights = np.bincount(places, np.concatenate(pairs)) / len(pairs)
        alike = world.memory ** (2 * lead) * world.correlation(found)
        best["mse"].append((weights @ _mean_square(world, alike)).item())
        best["crps"].append((weights @ _mean_rank(world, alike)).item())
    return best


def error_of_yesterday(world: TemperatureWorld) -> float:
    """Give the mean squared error (K2) of the same hour the day before.

    >>> round(error_of_yesterday(TemperatureWorld()), 1)
    19.5
    """
    return 2 * _over_paths(world, DAY_H, lambda alike: _mean_square(world, alike))


def error_of_climatology(world: TemperatureWorld) -> float:
    """Give the mean squared error (K2) of the mean of each hour of the day, known from endless data.

    >>> round(error_of_climatology(TemperatureWorld()), 1)
    9.5
    """
    return _mean_square(world, np.zeros(())).item()


def error_of_last_value(world: TemperatureWorld, lead_h: int) -> float:
    """Give the mean squared error (K2) of the last map, averaged over all hours of the day.

    >>> [round(error_of_last_value(TemperatureWorld(), lead), 1) for lead in (1, 3, 6, 12)]
    [1.4, 8.5, 20.6, 27.1]
    """
    today, later = sun_of_hours(), sun_of_hours(lead_h)
    together, apart = (today**2).mean(), (today * later).mean()

    def error(alike: np.ndarray) -> np.ndarray:
        air = 2 * world.spread_k**2 * (1 - alike) + 2 * world.noise_k**2
        first = _mean_over_cloud(np.ones(()), lambda c, _: (1 - world.shading * c) ** 2)
        cross = _mean_over_cloud(alike, lambda c, d: (1 - world.shading * c) * (1 - world.shading * d))
        return air + 2 * world.warming_k**2 * (together * first - apart * cross)

    return _over_paths(world, lead_h, error)


def sun_of_hours(later_h: int = 0) -> np.ndarray:
    """Give how strongly the sun shines at points of a whole day, so many hours later: (point,).

    >>> round((sun_of_hours() ** 2).mean().item(), 6)
    0.25
    """
    angle = 2 * np.pi * (np.arange(240) / 240 + later_h / DAY_H)
    return np.maximum(0, -np.cos(angle))


def _mean_square(world: TemperatureWorld, alike: np.ndarray) -> np.ndarray:
    """Give half the mean squared difference (K2) of temperatures whose air correlates so: (...).

    The hour of the day is the same; averaged over all hours.
    """
    shaded = world.warming_k * world.shading
    apart = _mean_over_cloud(np.ones(()), lambda c, d: c * d) - _mean_over_cloud(alike, lambda c, d: c * d)
    return world.spread_k**2 * (1 - alike) + world.noise_k**2 + shaded**2 / 4 * apart


def _mean_rank(world: TemperatureWorld, alike: np.ndarray) -> np.ndarray:
    """Give half the mean absolute difference (K) of temperatures whose air correlates so: (...).

    The hour of the day is the same; averaged over all hours.
    """
    variance = 2 * world.spread_k**2 * (1 - alike) + 2 * world.noise_k**2
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    shades = world.warming_k * world.shading * np.cos(np.pi / 2 * nodes)  # of the hours of daylight

    def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        wide, difference = variance[..., None, None], first - second
        days = [w * mean_of_folded(s * difference, wide) for s, w in zip(shades, weights, strict=True)]
        return mean_of_folded(np.zeros(()), wide) / 2 + np.sum(days, axis=0) / 4

    return _mean_over_cloud(alike, apart) / 2


def mean_of_folded(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Give the mean of the absolute value of a normal variable.

    >>> mean_of_folded(np.array([0.0, 9.0]), np.array(1.0)).round(3).tolist()  # sqrt(2 / pi), and 9
    [0.798, 9.0]
    """
    spread = np.sqrt(variance)
    return spread * np.sqrt(2 / np.pi) * np.exp(-(mean**2) / (2 * variance)) + mean * erf(
        mean / (spread * np.sqrt(2))
    )


@functools.lru_cache
def normal_nodes(number: int = NODES) -> tuple[np.ndarray, np.ndarray]:
    """Give points and weights that average over a standard normal variable.

    >>> nodes, weights = normal_nodes()
    >>> round((weights * nodes**4).sum().item(), 9)
    3.0
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(number)
    return nodes, weights / weights.sum()


def _mean_over_cloud(
    alike: np.ndarray, function: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Average a function of two covers of cloud over fields that correlate so: (...)."""
    nodes, weights = normal_nodes()
    alike = np.asarray(alike)[..., None, None]
    other = alike * nodes[:, None] + np.sqrt(np.maximum(0, 1 - alike**2)) * nodes
    return (function(cover(nodes[:, None]), cover(other)) * (weights[:, None] * weights)).sum((-2, -1))


def _over_paths(world: TemperatureWorld, lead_h: int, error: Callable[[np.ndarray], np.ndarray]) -> float:
    """Average over all ways that air may have gone for so many hours."""
    total = 0.0
    for start in _starts(world):
        weights, ways = world.paths(start, lead_h, known=False)
        total += (weights @ error(world.memory**lead_h * world.correlation(ways))).item()
    return total / len(_starts(world))


def _starts(world: TemperatureWorld) -> range:
    """Give the hours at which a forecast can begin that differ in what is known of the wind."""
    return range(world.wind_hours if len(world.winds) > 1 else 1)
