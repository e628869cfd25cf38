"""What befalls a made atmosphere: where and when an event is, and what it adds to the fields.

An event follows from a seed, its kind, its number and how often its kind begins. It adds means over cells, so
that on every grid it is the same event, seen more or less sharply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldwise.physics.extreme_weather.sphere import DEGREE_KM, GlobalGrid, Window

MM_PER_H = 1 / 3.6e6  # m/s
FINEST_KM = 85.0  # cells wider than this are means of several points
GOLDEN = (5**0.5 - 1) / 2  # longitudes that never come near each other

Fields = dict[str, np.ndarray]


@dataclass(frozen=True)
class Patch:
    """What an event adds at a moment: in a window, sums to the primary fields, and which cells it marks."""

    window: Window
    fields: Fields
    mask: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Event:
    """One event: when it is and where it goes. Kinds of events say what it does to the fields.

    Parameters
    ----------
    kind
        What it is called.
    number
        Of its kind.
    label
        The class of the cells that it marks; 0 for a decoy.
    birth_h, life_h
        When it begins and how long it lasts, hours.
    latitude, longitude
        Where it is every hour from its birth on, degrees; longitudes run on beyond 360.
    reach_km
        Beyond which it does nothing.
    """

    kind: str
    number: int
    label: int
    birth_h: float
    life_h: float
    latitude: np.ndarray
    longitude: np.ndarray
    reach_km: float

    def lives(self, hour: float) -> bool:
        """Whether it has begun and not ended."""
        return self.birth_h < hour < self.birth_h + self.life_h

    def strength(self, hour: float) -> float:
        """From 0 at birth to 1 and back to 0."""
        return float(np.sin(np.pi * np.clip((hour - self.birth_h) / self.life_h, 0, 1)) ** 0.5)

    def place(self, hour: float) -> tuple[float, float]:
        """Latitude and longitude, 0 to 360, of its middle."""
        age = np.arange(self.latitude.size)
        latitude, longitude = (
            float(np.interp(hour - self.birth_h, age, path)) for path in (self.latitude, self.longitude)
        )
        return latitude, longitude % 360

    def patch(self, grid: GlobalGrid, hour: float) -> Patch:
        """Give what it adds to the cells of a grid at an hour."""
        window = grid.around(*self.place(hour), self.reach_km)
        count = int(np.ceil(grid.spacing_km / FINEST_KM))
        parts = (np.arange(count) + 0.5) / count - 0.5
        north = grid.latitude[window.rows] + parts[:, None] * grid.row_step
        east = grid.longitude[window.columns] + parts[:, None] * 360 / grid.longitude.size
        fields, inside = self.render(north[:, None, :, None], east[None, :, None, :], hour)
        means = {name: values.mean(axis=(0, 1)) for name, values in fields.items()}
        return Patch(window, means, inside.mean(axis=(0, 1)) >= 0.5)

    def render(self, latitude: np.ndarray, longitude: np.ndarray, hour: float) -> tuple[Fields, np.ndarray]:
        """Give what it adds to primary fields at places, and whether they belong to it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Draw:
    """What an event is drawn from: its own random numbers, and when and in which sector it begins."""

    kind: str
    number: int
    rng: np.random.Generator
    birth_h: float
    side: int
    longitude: float

    def between(self, low: float, high: float) -> float:
        """Draw a number evenly."""
        return float(self.rng.uniform(low, high))

    def course(self, label: int, life_h: float, path: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
        """Give what every event is made of: what it is, and when and where."""
        return {
            "kind": self.kind,
            "number": self.number,
            "label": label,
            "birth_h": self.birth_h,
            "life_h": life_h,
            "latitude": path[0],
            "longitude": path[1],
        }


def draw_event(make: Callable[[Draw], Event], *, seed: int, kind: str, number: int, per_day: float) -> Event:
    """Draw an event of a kind: the same whatever else is drawn.

    Event n begins within the nth interval between events since 2000; hemispheres take turns, and those that
    follow each other begin far from each other in longitude.

    Parameters
    ----------
    make
        Makes the event from what is drawn.
    seed
        Of the season.
    kind
        What it is called; each kind has random numbers of its own.
    number
        Of the event, below 0 before 2000.
    per_day
        How many begin in a day on average.

    >>> draw_event(lambda draw: (draw.birth_h // 12, draw.side), seed=7, kind="river", number=3, per_day=2)
    (3.0, -1)
    """
    code = int.from_bytes(kind.encode()[:4])
    rng = np.random.default_rng([seed, code, number % 2**32])
    offset = np.random.default_rng([seed, code]).random()
    birth = (number + rng.random()) * 24 / per_day
    longitude = 360 * ((number * GOLDEN + offset + 0.05 * rng.random()) % 1)
    return make(Draw(kind, number, rng, birth, 1 if number % 2 == 0 else -1, longitude))


def follow(
    latitude: float, longitude: float, velocity: Callable[[float], tuple[float, float]], life_h: float
) -> tuple[np.ndarray, np.ndarray]:
    """Follow a place every hour, moving at the velocity (m/s east and north) that its latitude has.

    >>> latitude, longitude = follow(0.0, 350.0, lambda latitude: (10.0, 0.0), 48.0)
    >>> latitude.size, float(longitude[-1].round(2))  # 10 m/s for 49 hours are 15.86 degrees
    (50, 365.86)
    """
    path = [(latitude, longitude)]
    for _ in range(int(np.ceil(life_h)) + 1):
        lat, lon = path[-1]
        east, north = velocity(lat)
        per_degree = DEGREE_KM / 3.6  # m/s that make a degree an hour
        path.append((lat + north / per_degree, lon + east / (per_degree * np.cos(np.radians(lat)))))
    latitudes, longitudes = np.array(path).T
    return latitudes, longitudes
