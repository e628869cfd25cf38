"""A made atmosphere without extremes: zonal means and red noise, in approximate balance.

The planet has no land, so that pressure at the ground is that at sea level. Waves are a sum of plane waves in
space, read where the sphere is: they know neither seam nor poles, are the same on every grid, and have a
stream function psi, from which winds follow, and heights and pressure by f psi.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from fieldwise.physics.extreme_weather.channels import CHANNELS
from fieldwise.physics.extreme_weather.sphere import DEGREE_KM, RADIUS_KM, GlobalGrid, coriolis
from fieldwise.physics.extreme_weather.transport import GRAVITY

GAS_CONSTANT = 287.05  # J/kg/K, of dry air
DENSITY = 1.2  # kg/m3
LAYERS = {"TREFHT": 0.215, "T500": 0.5, "T200": 0.285}  # weights in the mean of 1000 to 200 hPa, by log p
THICKNESS_PER_K = GAS_CONSTANT / GRAVITY * np.log(5)  # m, of the layer between 1000 and 200 hPa
LATITUDES = np.array([-90, -65, -50, -30, -15, 0, 15, 30, 50, 65, 90.0])
PRESSURES_HPA = np.array([992, 988, 1002, 1017, 1013, 1011, 1013, 1017, 1008, 1004, 1012.0])
KNOTS = GlobalGrid.regular(73, 144)  # where waves are summed; from there on by cubic splines
WAVES = 160
WAVELENGTHS_KM = (1800.0, 12_000.0)
MEMORY_H = 60.0  # about how long a wave stays as it is
NOISES = ("flow", "warmth", "vapour", "rain")

Fields = dict[str, np.ndarray]


@dataclass(frozen=True)
class RedNoise:
    """Four independent fields of waves on the sphere that change with time, by one seed.

    >>> noise = RedNoise(7)
    >>> knots = noise.at(0.0)["flow"]
    >>> knots.shape, bool(0.7 < knots.std() < 1.4), bool(np.ptp(knots[0]) < 1e-5)  # a pole is one place
    ((73, 144), True, True)
    """

    seed: int

    @cached_property
    def _basis(self) -> np.ndarray:
        """(cells, 2 waves): cosine and sine of every wave at the knots."""
        rng = np.random.default_rng([self.seed, 0])
        shortest, longest = np.log(WAVELENGTHS_KM)
        lengths = np.exp(rng.uniform(shortest, longest, WAVES))
        ways = rng.standard_normal((WAVES, 3))
        waves = ways / np.linalg.norm(ways, axis=1, keepdims=True) * 2 * np.pi * RADIUS_KM / lengths[:, None]
        phase = KNOTS.directions.reshape(-1, 3) @ waves.T
        heights = np.sqrt(lengths / lengths.mean())  # the longer, the higher: red
        heights *= np.sqrt(2 / (heights**2).sum())
        return np.concatenate([np.cos(phase) * heights, np.sin(phase) * heights], axis=1).astype(np.float32)

    def at(self, hour: float) -> Fields:
        """Give flow, warmth, vapour and rain of an hour at the knots, of variance 1 over times."""
        rng = np.random.default_rng([self.seed, 1])
        phases = rng.uniform(0, 2 * np.pi, (len(NOISES), WAVES))
        phases = phases + rng.standard_normal((len(NOISES), WAVES)) / MEMORY_H * hour
        weights = np.concatenate([np.cos(phases), -np.sin(phases)], axis=1).T.astype(np.float32)
        fields = (self._basis @ weights).T.reshape(len(NOISES), *KNOTS.shape)
        return dict(zip(NOISES, fields, strict=True))


class Spreader:
    """Brings fields from the knots to a grid, by cubic splines: values, and derivatives by angle.

    >>> grid = GlobalGrid.regular(121, 240)
    >>> wave = np.cos(np.radians(KNOTS.latitude))[:, None] * np.sin(np.radians(KNOTS.longitude))
    >>> spread = Spreader(grid).values(wave)
    >>> bool(np.allclose(spread[40], np.cos(np.radians(30)) * np.sin(np.radians(grid.longitude)), atol=1e-5))
    True
    """

    def __init__(self, grid: GlobalGrid) -> None:
        rows = CubicSpline(-np.radians(KNOTS.latitude), np.eye(KNOTS.shape[0]))
        around = np.radians(np.append(KNOTS.longitude, 360.0))
        closed = np.vstack([np.eye(KNOTS.shape[1]), np.eye(KNOTS.shape[1])[:1]])
        columns = CubicSpline(around, closed, bc_type="periodic")
        north, east = -np.radians(grid.latitude), np.radians(grid.longitude % 360)
        self._rows, self._row_slopes = rows(north), -rows(north, 1)
        self._columns, self._column_slopes = columns(east).T, columns(east, 1).T

    def values(self, knots: np.ndarray) -> np.ndarray:
        """Spread values (73, 144) over the grid."""
        return self._rows @ knots @ self._columns

    def slopes(self, knots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give derivatives by longitude and by latitude, per radian, on the grid."""
        return self._rows @ knots @ self._column_slopes, self._row_slopes @ knots @ self._columns


def zonal_means(latitude: np.ndarray) -> Fields:
    """Give what the atmosphere is on average at latitudes, degrees: primary fields, each of their shape.

    Pressure has belts of high pressure at 30 degrees and of low pressure at the equator and at 60; winds at
    850 hPa balance it and the fall of temperature, near the equator as if the Earth still turned.

    >>> means = zonal_means(np.array([-45.0, 0.0, 15.0, 45.0]))
    >>> means["TMQ"].round(1).tolist(), means["U850"].round().tolist()
    ([11.3, 46.0, 38.6, 11.3], [10.0, 0.0, -1.0, 7.0])
    """
    lat = np.asarray(latitude, dtype=float)
    sine = np.abs(np.sin(np.radians(lat)))
    pressure = PchipInterpolator(LATITUDES, 100 * PRESSURES_HPA)
    surface, middle, top = (warm - fall * sine**3 for warm, fall in ((301, 52), (268, 32), (218, -4)))
    per_metre = 1 / (DEGREE_KM * 1e3)
    cooling = 3 * sine * np.sin(np.radians(lat)) * np.cos(np.radians(lat)) / (RADIUS_KM * 1e3)  # of sine^3
    low_layer = (52 * 0.75 + 32 * 0.25) * GAS_CONSTANT * np.log(1000 / 850)
    f = coriolis(lat)
    inverse = f / (f**2 + coriolis(10.0) ** 2)
    wind = inverse * (-pressure(lat, 1) * per_metre / DENSITY + low_layer * cooling)
    return {
        "TMQ": 4 + 42 * np.exp(-((lat / 34) ** 2)),
        "PSL": pressure(lat),
        "U850": wind,
        "V850": np.zeros_like(lat),
        "TREFHT": surface,
        "T500": middle,
        "T200": top,
        "PRECT": (1.0 + 5 * np.exp(-((lat / 10) ** 2)) + 2 * np.exp(-(((np.abs(lat) - 45) / 14) ** 2)))
        / 8.64e7,
    }


@dataclass(frozen=True)
class Atmosphere:
    """Weather without extremes on a grid: zonal means and waves, by seed and hour.

    >>> calm = Atmosphere(GlobalGrid.regular(91, 180), seed=7).primary(12.0)
    >>> sorted(calm), round(float(np.hypot(calm["U850"], calm["V850"]).max())) < 40
    (['PRECT', 'PSL', 'T200', 'T500', 'TMQ', 'TREFHT', 'U850', 'V850'], True)
    """

    grid: GlobalGrid
    seed: int

    @cached_property
    def _noise(self) -> RedNoise:
        return RedNoise(self.seed)

    @cached_property
    def _spreader(self) -> Spreader:
        return Spreader(self.grid)

    @cached_property
    def _means(self) -> Fields:
        return {name: values[:, None] for name, values in zonal_means(self.grid.latitude).items()}

    def primary(self, hour: float) -> Fields:
        """Give the fields of an hour that all others follow from, (rows, columns) each."""
        noise, spread = self._noise.at(hour), self._spreader
        psi = 8e6 * _storminess(KNOTS.latitude)[:, None] * noise["flow"]  # m2/s
        east, north = spread.slopes(psi)
        metres = RADIUS_KM * 1e3
        shrunk = np.maximum(np.cos(np.radians(self.grid.latitude)), 0.01)[:, None]
        flow, warmth, vapour, rain = (spread.values(noise[name]) for name in NOISES)
        f = coriolis(self.grid.latitude)[:, None]
        balanced = f * spread.values(psi)
        cyclonic = 0.7 * flow * np.sign(f)  # highs are warm
        warm = _storminess(self.grid.latitude)[:, None] * (cyclonic + 0.7 * warmth)
        means = self._means
        return {
            "TMQ": means["TMQ"] * np.exp(0.11 * vapour),
            "PSL": means["PSL"] + DENSITY * balanced,
            "U850": means["U850"] - north / metres,
            "V850": means["V850"] + east / (metres * shrunk),
            "TREFHT": means["TREFHT"] + 1.0 * warmth,
            "T500": means["T500"] + 2.0 * warm,
            "T200": means["T200"] + 1.0 * warm,
            "PRECT": means["PRECT"] * np.exp(1.2 * rain + 0.6 * vapour - 0.9),
        }


def _storminess(latitude: np.ndarray) -> np.ndarray:
    """How strong waves are: weaker in the tropics."""
    return 0.35 + 0.65 * (1 - np.exp(-((latitude / 30) ** 2)))


def complete(primary: Fields, latitude: np.ndarray) -> Fields:
    """Give all 16 channels from the primary fields, float32, in their order.

    Heights follow from pressure and temperature by the hypsometric equation; the lowest wind is that of 850
    hPa, slowed by a fifth and turned by 20 degrees towards low pressure; humidity near the ground is a
    share of what saturates the air.

    Parameters
    ----------
    primary
        What :meth:`Atmosphere.primary` gives, with events added, (rows, columns) each.
    latitude
        (rows,), degrees.

    >>> means = {name: values[:, None] for name, values in zonal_means(np.array([20.0, -20.0])).items()}
    >>> fields = complete(means, np.array([20.0, -20.0]))
    >>> tuple(fields) == CHANNELS, fields["Z200"].round(-2).ravel().tolist()
    (True, [12400.0, 12400.0])
    """
    p = primary
    side = np.tanh(latitude / 5)[:, None] * np.sin(np.radians(20))
    u, v = 0.8 * p["U850"], 0.8 * p["V850"]
    z1000 = GAS_CONSTANT * p["TREFHT"] / GRAVITY * np.log(p["PSL"] / 1e5)
    mean = sum(weight * p[name] for name, weight in LAYERS.items())
    celsius = p["TREFHT"] - 273.15
    saturated = 0.622 * 611.2 * np.exp(17.67 * celsius / (celsius + 243.5)) / p["PSL"]
    usual = zonal_means(latitude)["TMQ"][:, None]
    moisture = np.clip(0.78 + 0.1 * (p["TMQ"] / usual - 1), 0.3, 0.98)
    turned = np.cos(np.radians(20))
    fields = {
        **{name: p[name] for name in ("TMQ", "U850", "V850")},
        "UBOT": turned * u - side * v,
        "VBOT": turned * v + side * u,
        "QREFHT": moisture * saturated,
        "PS": p["PSL"],
        **{name: p[name] for name in ("PSL", "T200", "T500", "PRECT")},
        "TS": p["TREFHT"] + 1.2,
        "TREFHT": p["TREFHT"],
        "Z1000": z1000,
        "Z200": z1000 + THICKNESS_PER_K * mean,
        "ZBOT": 63.0 * p["TREFHT"] / 288.0,
    }
    return {name: np.asarray(fields[name], dtype=np.float32) for name in CHANNELS}
