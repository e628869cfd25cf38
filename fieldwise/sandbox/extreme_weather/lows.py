"""Round events: tropical cyclones, and what is like them but is none: cold lows and blobs of vapour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fieldwise.physics.extreme_weather.channels import BACKGROUND, CYCLONE
from fieldwise.physics.extreme_weather.sphere import bearing, coriolis, distance_km
from fieldwise.physics.extreme_weather.transport import GRAVITY
from fieldwise.physics.extreme_weather.vortices import (
    deficit_of,
    gradient_wind,
    holland_gradient,
    holland_pressure,
)
from fieldwise.sandbox.extreme_weather.atmosphere import GAS_CONSTANT, LAYERS, THICKNESS_PER_K, zonal_means
from fieldwise.sandbox.extreme_weather.events import MM_PER_H, Draw, Event, Fields, follow

MARKED_WIND = 15.0  # m/s, of a cyclone's own: out to there it is marked
WEAKEST_WIND = 18.0  # m/s, at its strongest place: below, nothing is marked
WARM_ABOVE = 0.8  # of the warming at 500 hPa, at 200 hPa
COLD_ABOVE = -0.2  # of the cooling of a cold low
DRYNESS = 0.3  # share of the usual vapour that a cold low lacks


def _swirl(
    latitude: np.ndarray, longitude: np.ndarray, middle: tuple[float, float], wind: np.ndarray
) -> Fields:
    """Give eastward and northward parts of a cyclonic wind around a place."""
    outward = bearing(latitude, longitude, *middle) + np.pi
    side = 1 if middle[0] > 0 else -1
    return {"U850": -side * wind * np.cos(outward), "V850": side * wind * np.sin(outward)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Cyclone(Event):
    """A tropical cyclone: a Holland vortex with a warm core, in vapour and rain.

    The low fades with height: temperature is what nine tenths of its depth at the ground ask for, by the
    hypsometric equation. Winds balance the pressure. Beyond its reach nothing is left.
    """

    peak_wind: float
    core_km: float
    peakedness: float
    vapour: float

    def render(self, latitude: np.ndarray, longitude: np.ndarray, hour: float) -> tuple[Fields, np.ndarray]:
        """Give its fields at places, and where its own wind is that of a storm."""
        middle, strongest = self.place(hour), self.peak_wind * self.strength(hour)
        radius = distance_km(latitude, longitude, *middle)
        shape = {
            "deficit_pa": deficit_of(strongest, peakedness=self.peakedness),
            "core_km": self.core_km,
            "peakedness": self.peakedness,
        }
        inside = np.clip(1 - (radius / self.reach_km) ** 2, 0, None)
        slope = -4 * inside * radius / self.reach_km**2 / 1e3  # of inside^2, per metre
        bare = holland_pressure(radius, **shape)
        pressure = bare * inside**2
        gradient = holland_gradient(radius, **shape) * inside**2 + bare * slope
        wind = gradient_wind(np.maximum(gradient, 0), radius, float(coriolis(middle[0])))
        lift = 0.9 * GAS_CONSTANT * 300 / GRAVITY * -pressure / 1e5
        warm = lift / (THICKNESS_PER_K * (LAYERS["T500"] + WARM_ABOVE * LAYERS["T200"]))
        share = strongest / 50
        rain = 9 * share * np.exp(-radius / 140) * (radius < self.reach_km)
        fields = {
            "PSL": pressure,
            "T500": warm,
            "T200": WARM_ABOVE * warm,
            "TMQ": self.vapour * min(share, 1) * np.exp(-0.5 * (radius / 250) ** 2),
            "PRECT": MM_PER_H * rain,
        }
        calm = radius < self.core_km
        marked = ((wind >= MARKED_WIND) | calm) & (strongest >= WEAKEST_WIND)
        return fields | _swirl(latitude, longitude, middle, wind), marked


@dataclass(frozen=True, kw_only=True, eq=False)
class ColdLow(Event):
    """A decoy: a deep low with a cold, dry core, as those of middle latitudes."""

    deficit_pa: float
    width_km: float
    cooling_k: float

    def render(self, latitude: np.ndarray, longitude: np.ndarray, hour: float) -> tuple[Fields, np.ndarray]:
        """Give its fields at places, and where it is."""
        middle, strength = self.place(hour), self.strength(hour)
        radius = distance_km(latitude, longitude, *middle)
        shape = strength * np.exp(-0.5 * (radius / self.width_km) ** 2)
        usual = zonal_means(np.array([middle[0]]))["TMQ"][0]
        gradient = self.deficit_pa * shape * radius / self.width_km**2 / 1e3
        wind = gradient_wind(gradient, radius, float(coriolis(middle[0])))
        fields = {
            "PSL": -self.deficit_pa * shape,
            "T500": -self.cooling_k * shape,
            "T200": -COLD_ABOVE * self.cooling_k * shape,
            "TMQ": -DRYNESS * usual * strength * np.exp(-0.5 * (radius / self.width_km / 1.5) ** 2),
            "PRECT": 0.8 * MM_PER_H * shape,
        }
        return fields | _swirl(latitude, longitude, middle, wind), shape > 0.6


@dataclass(frozen=True, kw_only=True, eq=False)
class MoistBlob(Event):
    """A decoy: a round blob of vapour that no jet carries."""

    vapour: float
    width_km: float

    def render(self, latitude: np.ndarray, longitude: np.ndarray, hour: float) -> tuple[Fields, np.ndarray]:
        """Give its fields at places, and where it is."""
        radius = distance_km(latitude, longitude, *self.place(hour))
        shape = self.strength(hour) * np.exp(-0.5 * (radius / self.width_km) ** 2)
        return {"TMQ": self.vapour * shape, "PRECT": 0.6 * MM_PER_H * shape}, shape > 0.6


def make_cyclone(draw: Draw) -> Cyclone:
    """Make a tropical cyclone: born in the tropics, it goes west and poleward, then turns east.

    >>> from fieldwise.sandbox.extreme_weather.events import draw_event
    >>> storm = draw_event(make_cyclone, seed=7, kind="cyclone", number=0, per_day=0.4)
    >>> (storm.longitude[48] < storm.longitude[0]).item(), storm.latitude[0] < storm.latitude[-1] < 45
    (True, np.True_)
    """
    life, west, poleward = draw.between(120, 216), draw.between(3.5, 6), draw.between(1.2, 2.2)
    begin = draw.between(9, 15)

    def velocity(latitude: float) -> tuple[float, float]:
        turned = np.clip((abs(latitude) - 17) / 14, 0, 1)
        turned = turned**2 * (3 - 2 * turned)
        return -west + (west + 8) * turned, draw.side * poleward * (1 + turned)

    path = follow(draw.side * begin, draw.longitude, velocity, life)
    return Cyclone(
        **draw.course(CYCLONE, life, path),
        reach_km=1300.0,
        peak_wind=draw.between(38, 65),
        core_km=draw.between(50, 85),
        peakedness=draw.between(1.3, 1.6),
        vapour=draw.between(14, 20),
    )


def make_cold_low(draw: Draw) -> ColdLow:
    """Make a cold low, which goes east.

    >>> from fieldwise.sandbox.extreme_weather.events import draw_event
    >>> low = draw_event(make_cold_low, seed=7, kind="cold_low", number=1, per_day=0.6)
    >>> low.label, 28 < abs(low.latitude[0]) < 58
    (0, np.True_)
    """
    life, east, width = draw.between(60, 120), draw.between(7, 12), draw.between(260, 420)
    latitude, depth = draw.between(35, 58), draw.between(1200, 2600)
    path = follow(draw.side * latitude, draw.longitude, lambda _: (east, 0.0), life)
    return ColdLow(
        **draw.course(BACKGROUND, life, path),
        reach_km=3.5 * width,
        deficit_pa=depth * np.sin(np.radians(latitude)),  # so that winds are as strong at all latitudes
        width_km=width,
        cooling_k=draw.between(5, 8),
    )


def make_moist_blob(draw: Draw) -> MoistBlob:
    """Make a round blob of vapour, which drifts east.

    >>> from fieldwise.sandbox.extreme_weather.events import draw_event
    >>> blob = draw_event(make_moist_blob, seed=7, kind="moist_blob", number=1, per_day=0.6)
    >>> fields, inside = blob.render(*(np.array(x) for x in blob.place(blob.birth_h + blob.life_h / 2)), 1e9)
    >>> sorted(fields), bool(inside)  # long after its end
    (['PRECT', 'TMQ'], False)
    """
    life, east, width = draw.between(48, 96), draw.between(3, 8), draw.between(180, 270)
    path = follow(draw.side * draw.between(24, 42), draw.longitude, lambda _: (east, 0.0), life)
    return MoistBlob(
        **draw.course(BACKGROUND, life, path),
        reach_km=4 * width,
        vapour=draw.between(15, 20),
        width_km=width,
    )
