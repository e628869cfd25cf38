"""Made weather hour by hour whose best forecast is known: air that the wind carries, or warm blobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from scipy import fft

from fieldwise.errors import InputError, require_at_least
from fieldwise.physics.temperature_forecast.best_forecasts import best_possible, cover
from fieldwise.physics.temperature_forecast.exact_forecasts import ExactForecast
from fieldwise.physics.temperature_forecast.sunshine import daily_sun
from fieldwise.physics.temperature_forecast.worlds import STEADY, TWO_VALUED, TemperatureWorld, Wind

MEAN_K, UPPER_MEAN_K = 280.0, 272.0
SPACING_DEGREES = 0.25
NORTH, WEST = 56.0, 0.0
WINDS: dict[str, tuple[Wind, ...]] = {"steady": STEADY, "two_valued": TWO_VALUED}
UNITS = {"t2m": "K", "t850": "K", "tcc": "1", "sunshine": "1"}
SPINS = (0.1, 0.25)  # least and greatest radius of a blob as a share of the grid


class State(NamedTuple):
    """Air and cloud at an hour as modes of rfft2, and the wind of the hour before."""

    air: np.ndarray
    cloud: np.ndarray
    wind: Wind


@dataclass(frozen=True)
class MadeWeather:
    """A stretch of made weather, an hour at a time; a part of a larger world, or all of it.

    Parameters
    ----------
    world
        Whose laws hold.
    hours
        How many.
    seed
        Of all that is drawn: a number, or several.
    margin_cells
        Left out at each side of the world: what comes in from there cannot be foreseen.

    >>> weather = MadeWeather(TemperatureWorld(shape=(8, 12)), hours=3, margin_cells=2)
    >>> {name: values.shape for name, values in next(iter(weather)).items()}
    {'t2m': (4, 8), 't850': (4, 8), 'tcc': (4, 8), 'sunshine': (4, 8)}
    """

    world: TemperatureWorld = TemperatureWorld()  # noqa: RUF009 - it is frozen
    hours: int = 24
    seed: int | tuple[int, ...] = 7
    margin_cells: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        require_at_least(0, margin_cells=self.margin_cells)
        require_at_least(1, hours=self.hours, cells=min(self.shape))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of what is seen of the world."""
        rows, columns = self.world.shape
        return rows - 2 * self.margin_cells, columns - 2 * self.margin_cells

    @property
    def latitude(self) -> np.ndarray:
        """(rows,): degrees north, from north to south."""
        return NORTH - SPACING_DEGREES * np.arange(self.shape[0])

    @property
    def longitude(self) -> np.ndarray:
        """(columns,): degrees east."""
        return WEST + SPACING_DEGREES * np.arange(self.shape[1])

    def states(self) -> Iterator[State]:
        """Give the state of the whole world at each hour."""
        rng = np.random.default_rng([3, *np.atleast_1d(self.seed)])
        memory, fresh = self.world.memory, np.sqrt(1 - self.world.memory**2)
        air, cloud, wind = self.world.draw(rng), self.world.draw(rng), self.world.winds[0]
        for hour in range(self.hours):
            yield State(air, cloud, wind)
            if hour % self.world.wind_hours == 0:
                wind = self.world.winds[rng.integers(len(self.world.winds))]
            air = memory * self.world.shift(air, wind) + fresh * self.world.draw(rng)
            cloud = memory * self.world.shift(cloud, wind) + fresh * self.world.draw(rng)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Give the fields of each hour, (rows, columns) float32 from north to south."""
        rng = np.random.default_rng([4, *np.atleast_1d(self.seed)])
        for hour, state in enumerate(self.states()):
            air, clouds = self._see(state.air), cover(self._see(state.cloud))
            sun = np.broadcast_to(self.sun(hour), self.shape)
            noise = rng.standard_normal((2, *self.shape))
            shaded = self.world.warming_k * (1 - self.world.shading * clouds) * sun
            fields = {
                "t2m": MEAN_K + self.world.spread_k * air + shaded + self.world.noise_k * noise[0],
                "t850": UPPER_MEAN_K + self.world.spread_k * air + self.world.upper_noise_k * noise[1],
                "tcc": clouds,
                "sunshine": sun,
            }
            yield {name: values.astype(np.float32) for name, values in fields.items()}

    def sun(self, hour: int) -> np.ndarray:
        """Give how strongly the sun shines at an hour, (columns,)."""
        return daily_sun(np.array([hour]), self.longitude)[0]

    def exact(self, state: State, hour: int) -> ExactForecast:
        """Give the exact forecast from the state at an hour, where the whole world is seen."""
        if self.margin_cells:
            raise InputError("margin_cells: of a part of a world there is no exact forecast; give 0")
        return ExactForecast(self.world, state.air, state.cloud, hour, mean_k=MEAN_K, wind=state.wind)

    def errors_of_exact(self, leads_h: int = 24) -> np.ndarray:
        """Give the mean squared error (K2) of the exact forecast of t2m from each hour: (hour, lead).

        A stretch may be easier or harder than all that there could be; a forecast of it is rightly set beside
        this. NaN where the stretch ends before.

        >>> errors = MadeWeather(TemperatureWorld(shape=(8, 8)), hours=4).errors_of_exact(2)
        >>> errors.shape, np.isnan(errors).sum(axis=0).tolist()
        ((4, 2), [1, 2])
        """
        truth = [fields["t2m"] for fields in self]
        errors = np.full((self.hours, leads_h), np.nan)
        for hour, state in enumerate(self.states()):
            exact = self.exact(state, hour)
            for lead in range(1, min(leads_h, self.hours - 1 - hour) + 1):
                mean, _ = exact.moments(lead, self.sun(hour + lead))
                errors[hour, lead - 1] = ((mean - truth[hour + lead]) ** 2).mean()
        return errors

    def best_possible(self, leads_h: int = 24) -> dict[str, dict[str, list[float]]]:
        """Give the least error of a forecast of t2m by lead, for the description of a prepared folder.

        Of a part of a world it is what one could do who sees all of it.
        """
        return {"t2m": best_possible(self.world, leads_h)}

    def _see(self, modes: np.ndarray) -> np.ndarray:
        """Give the cells of a field that are seen."""
        rows, columns = self.world.shape
        seen = (
            slice(self.margin_cells, rows - self.margin_cells),
            slice(self.margin_cells, columns - self.margin_cells),
        )
        return fft.irfft2(modes, s=self.world.shape)[seen]


def make_weather(
    *,
    hours: int,
    seed: int | tuple[int, ...],
    cells: int = 48,
    wind: Literal["steady", "two_valued"] = "steady",
    margin_cells: int = 0,
) -> MadeWeather:
    """Make weather on a square of cells, which may be the middle of a larger world.

    >>> make_weather(hours=24, seed=7, cells=32, margin_cells=8).world.shape
    (48, 48)
    """
    require_at_least(0, margin_cells=margin_cells)
    edge = cells + 2 * margin_cells
    world = replace(TemperatureWorld(), shape=(edge, edge), winds=WINDS[wind])
    return MadeWeather(world, hours, seed, margin_cells)


@dataclass(frozen=True)
class MovingBlobs:
    """Warm blobs that move straight on and bounce off the edges: their future follows from two maps.

    Parameters
    ----------
    cells
        Rows and columns of the square.
    hours
        How many.
    seed
        Of where they begin, how fast they move and how wide they are.
    blobs
        How many.

    >>> first, second = MovingBlobs(cells=16, hours=2)
    >>> first["t2m"].shape, bool(first["t2m"].max() > 285)
    ((16, 16), True)
    """

    cells: int = 48
    hours: int = 24
    seed: int | tuple[int, ...] = 7
    blobs: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        require_at_least(4, cells=self.cells)
        require_at_least(1, hours=self.hours, blobs=self.blobs)

    @property
    def latitude(self) -> np.ndarray:
        """(rows,): degrees north, from north to south."""
        return NORTH - SPACING_DEGREES * np.arange(self.cells)

    @property
    def longitude(self) -> np.ndarray:
        """(columns,): degrees east."""
        return WEST + SPACING_DEGREES * np.arange(self.cells)

    def centres(self) -> np.ndarray:
        """Give where blobs are, (hour, blob, 2) in cells from the north-west corner, row first.

        >>> paths = MovingBlobs(cells=16, hours=100).centres()
        >>> bool(paths.min() >= 0), bool(paths.max() <= 15), bool(np.abs(np.diff(paths, axis=0)).max() <= 1.5)
        (True, True, True)
        """
        rng = np.random.default_rng([5, *np.atleast_1d(self.seed)])
        edge = self.cells - 1
        begin = rng.uniform(0, edge, (self.blobs, 2))
        speed = rng.uniform(0.5, 1.5, (self.blobs, 2)) * rng.choice([-1, 1], (self.blobs, 2))
        free = begin + speed * np.arange(self.hours)[:, None, None]
        return edge - abs(free % (2 * edge) - edge)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Give the fields of each hour, (rows, columns) float32 from north to south."""
        rng = np.random.default_rng([6, *np.atleast_1d(self.seed)])
        radius = self.cells * rng.uniform(*SPINS, self.blobs) / 2
        places = np.arange(self.cells)
        for hour, centres in enumerate(self.centres()):
            rows, columns = (
                np.exp(-((places - centres[:, axis, None]) ** 2) / (2 * radius[:, None] ** 2))
                for axis in (0, 1)
            )
            sun = np.broadcast_to(daily_sun(np.array([hour]), self.longitude), (self.cells, self.cells))
            warm = MEAN_K + 10 * np.einsum("by,bx->yx", rows, columns)
            yield {"t2m": warm.astype(np.float32), "sunshine": sun.astype(np.float32)}

    def best_possible(self, leads_h: int = 24) -> dict[str, dict[str, list[float]]]:
        """Give the least error of a forecast of t2m by lead: none."""
        return {"t2m": {"mse": [0.0] * leads_h, "crps": [0.0] * leads_h}}
