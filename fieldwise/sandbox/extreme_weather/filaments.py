"""Long events: atmospheric rivers, and filaments of vapour that are too short to be one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import erf

from fieldwise.physics.extreme_weather.channels import BACKGROUND, RIVER
from fieldwise.physics.extreme_weather.sphere import RADIUS_KM, coriolis, direction_of, distance_km
from fieldwise.sandbox.extreme_weather.atmosphere import DENSITY
from fieldwise.sandbox.extreme_weather.events import MM_PER_H, Draw, Event, Fields, follow

POINTS = 161  # along the axis
MARKED_VAPOUR = 10.0  # kg/m2 of its own: out to there a river is marked
JET_WIDTH = 1.3  # of the wind, in widths of the vapour
PRESSURE_KM = 600.0  # how far from the axis its pressure reaches


@dataclass(frozen=True, kw_only=True, eq=False)
class Filament(Event):
    """A curved filament of vapour with a jet along it, balanced by pressure across."""

    tall: float  # degrees of latitude from its tail to its head, poleward
    long: float  # degrees of longitude, eastward
    bend: float  # how much of them its middle lies off the straight line
    vapour: float
    width_km: float
    jet: float

    def axis(self, hour: float) -> tuple[np.ndarray, np.ndarray]:
        """Latitudes and longitudes of its axis, from tail to head."""
        latitude, longitude = self.place(hour)
        along = np.linspace(-0.5, 0.5, POINTS)
        bow = self.bend * (1 - 4 * along**2)
        side = 1 if latitude > 0 else -1
        return latitude + side * self.tall * (along - bow / 2), longitude + self.long * (along + bow / 2)

    def render(self, latitude: np.ndarray, longitude: np.ndarray, hour: float) -> tuple[Fields, np.ndarray]:
        """Give its fields at places, and where its own vapour is that of a river."""
        rows, columns = self.axis(hour)
        axis = direction_of(rows, columns)
        tangent = np.gradient(axis, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        points = direction_of(latitude, longitude)
        away, nearest = cKDTree(axis).query(points)
        left = np.cross(axis, tangent)[nearest]
        signed = away * RADIUS_KM * np.sign(((points - axis[nearest]) * left).sum(axis=-1))
        along = nearest / (POINTS - 1)
        ends = np.sin(np.pi / 2 * np.clip(np.minimum(along, 1 - along) / 0.12, 0, 1)) ** 2
        strength = self.strength(hour)
        shape = strength * ends * np.exp(-0.5 * (signed / self.width_km) ** 2)
        vapour = self.vapour * (1.1 - 0.35 * along) * shape  # it rains out on its way
        width = JET_WIDTH * self.width_km
        speed = self.jet * strength**2 * ends * np.exp(-0.5 * (signed / width) ** 2)
        east, north = self._parts(rows, columns, tangent)
        push = DENSITY * coriolis(latitude) * self.jet * strength**2 * ends * width * 1e3 * np.sqrt(np.pi / 2)
        fields = {
            "TMQ": vapour,
            "U850": speed * east[nearest],
            "V850": speed * north[nearest],
            "PSL": -push * erf(signed / width / 2**0.5) * np.exp(-0.5 * (signed / PRESSURE_KM) ** 2),
            "T500": 1.0 * shape,
            "PRECT": 1.5 * MM_PER_H * shape,
        }
        return fields, vapour >= MARKED_VAPOUR

    @staticmethod
    def _parts(rows: np.ndarray, columns: np.ndarray, tangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the eastward and northward parts of the axis's direction."""
        lat, lon = np.radians(rows), np.radians(columns)
        eastward = np.stack([-np.sin(lon), np.cos(lon), 0 * lon], axis=-1)
        northward = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=-1)
        return (tangent * eastward).sum(axis=-1), (tangent * northward).sum(axis=-1)


def make_river(draw: Draw) -> Filament:
    """Make an atmospheric river: from the edge of the tropics far poleward and east, moving east.

    >>> from fieldwise.sandbox.extreme_weather.events import draw_event
    >>> river = draw_event(make_river, seed=7, kind="river", number=0, per_day=1.2)
    >>> rows, columns = river.axis(river.birth_h + 24)
    >>> bool(2500 < np.sum(distance_km(rows[1:], columns[1:], rows[:-1], columns[:-1])) < 6000)
    True
    """
    tall, long = draw.between(20, 28), draw.between(22, 40)
    tail, life, east = draw.between(22, 27), draw.between(60, 108), draw.between(6, 11)
    path = follow(draw.side * (tail + tall / 2), draw.longitude, lambda _: (east, 0.0), life)
    return Filament(
        **draw.course(RIVER, life, path),
        reach_km=_reach(tall, long, tail + tall / 2),
        tall=tall,
        long=long,
        bend=draw.between(-0.1, 0.35),
        vapour=draw.between(25, 32),
        width_km=draw.between(150, 210),
        jet=draw.between(20, 28),
    )


def make_short_filament(draw: Draw) -> Filament:
    """Make a decoy: a filament of vapour too short for a river, in hardly any wind of its own.

    >>> from fieldwise.sandbox.extreme_weather.events import draw_event
    >>> short = draw_event(make_short_filament, seed=7, kind="short_filament", number=0, per_day=0.6)
    >>> short.label, short.tall < 8, short.jet < 10
    (0, True, True)
    """
    tall, long = draw.between(3, 6), draw.between(3, 7)
    middle, life, east = draw.between(28, 44), draw.between(48, 84), draw.between(4, 9)
    path = follow(draw.side * middle, draw.longitude, lambda _: (east, 0.0), life)
    return Filament(
        **draw.course(BACKGROUND, life, path),
        reach_km=_reach(tall, long, middle),
        tall=tall,
        long=long,
        bend=draw.between(-0.1, 0.3),
        vapour=draw.between(15, 21),
        width_km=draw.between(110, 160),
        jet=draw.between(3, 7),
    )


def _reach(tall: float, long: float, latitude: float) -> float:
    """How far from its middle a filament does anything."""
    half = distance_km(latitude - tall / 2, 0.0, latitude - tall / 2, long / 2)
    return float(np.hypot(half, 111.2 * tall / 2) * 1.2 + 3 * PRESSURE_KM)
