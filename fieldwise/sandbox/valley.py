"""Made mountain valleys and a climate in which glaciers grow and shrink in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, spatial

from fieldwise.fields.resampling import block_mean
from fieldwise.physics.shallow_ice import Balance, evolve
from fieldwise.physics.spectra import power_law_spectrum, wavenumbers

STEP_M = 25.0  # between the points that draw a valley's floor
FIRST_YEARS = 60.0  # until the first snapshot: ice needs to gather
CLIMATE_YEARS = 10.0  # for which the snow line stays where it is
SETTLING_YEARS = 1.0
BLEND_M = 30.0  # over which elevation one valley passes into another


@dataclass(frozen=True)
class Valley:
    """A valley without its ice; y ascends with the rows."""

    x: np.ndarray  # m, centres of the cells
    y: np.ndarray
    bed_m: np.ndarray  # (y, x)
    gathers: np.ndarray  # 0 to 1: share of the snowfall that stays, less on high walls
    floor_m: np.ndarray  # elevation along the floor of the main valley, from its head down
    azimuth: float  # rad from x towards y: where the main valley leads


@dataclass(frozen=True)
class Climate:
    """Mass balance that grows with elevation up to a bound, under a snow line that falls and then rises."""

    gradient: float  # m a-1 a metre
    most: float  # m a-1
    low_m: float  # snow line while the glacier advances
    high_m: float  # and at the end of its retreat
    advance_years: float
    retreat_years: float

    def snow_line(self, year: float) -> float:
        """Give the elevation at which as much snow falls as melts."""
        share = np.clip((year - self.advance_years) / (0.5 * self.retreat_years), 0, 1)
        return float(self.low_m + share * (self.high_m - self.low_m))

    def balance(self, year: float, gathers: np.ndarray) -> Balance:
        """Give the mass balance (m/a) of that year as a function of the elevation of the surface (m)."""
        line = self.snow_line(year)

        def rate(surface: np.ndarray) -> np.ndarray:
            rate = np.minimum(self.gradient * (surface - line), self.most)
            return np.where(rate > 0, rate * gathers, rate)

        return rate


def make_valley(*, size_cells: int, spacing_m: float, azimuth: float, rng: np.random.Generator) -> Valley:
    """Draw a valley: a winding floor that falls in steps, walls, side valleys and rough rock.

    Parameters
    ----------
    size_cells
        Edge of the square domain.
    spacing_m
        Cell size.
    azimuth
        Where the valley leads, rad from x towards y.
    rng
        Of everything else.

    Examples
    --------
    >>> valley = make_valley(size_cells=32, spacing_m=100.0, azimuth=0.0, rng=np.random.default_rng(7))
    >>> middle, wall = valley.bed_m[14:18].mean(axis=0), valley.bed_m[0]
    >>> bool(middle[8] > middle[24]), bool((wall > middle).all())  # it leads east, below its walls
    (True, True)
    """
    edge = size_cells * spacing_m
    x = (np.arange(size_cells) + 0.5) * spacing_m - edge / 2
    points = np.stack(np.meshgrid(x, x), -1)  # (y, x, 2)
    path, floor = _draw_main(edge, azimuth, rng)
    width, wall, power = rng.uniform(0.06, 0.15) * edge, rng.uniform(250, 600), rng.uniform(1.6, 2.8)
    branches = [_carve(points, path, floor, width, wall, power)]
    for side in rng.permutation([-1, 1])[: rng.integers(0, 3)]:
        at = int(rng.uniform(0.2, 0.55) * len(path))
        path_in, floor_in = _draw_side(edge, path[at], floor[at], azimuth + side * rng.uniform(0.7, 1.4), rng)
        narrower = rng.uniform(0.5, 0.9)
        branches.append(_carve(points, path_in, floor_in, width * narrower, wall, power))
    above = np.min([height for _, height in branches], axis=0)
    bed = -BLEND_M * np.log(np.sum([np.exp(-bed / BLEND_M) for bed, _ in branches], axis=0))
    bed = ndimage.gaussian_filter(bed, 1.0, mode="nearest") + _roughness(size_cells, spacing_m, rng)
    gathers = np.clip(1.6 - 2 * above / wall, 0, 1)
    return Valley(x, x, bed, gathers, floor, azimuth)


def _draw_main(edge: float, azimuth: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the floor of the main valley, from its head to beyond the border: points and elevations (m)."""
    head, end = rng.uniform(0.36, 0.44) * edge, 0.75 * edge
    along = np.arange(-head, end, STEP_M)
    winding = (
        rng.uniform(0, 0.06)
        * edge
        * np.sin(2 * np.pi * along / (rng.uniform(0.7, 1.5) * edge) + rng.uniform(0, 2 * np.pi))
    )
    steep, gentle = rng.uniform(0.15, 0.4), rng.uniform(0.04, 0.2)
    slope = gentle + max(steep - gentle, 0) * np.exp(-(along + head) / (0.3 * edge))
    length, phase = rng.uniform(0.2, 0.5) * edge, rng.uniform(0, 2 * np.pi)
    slope = slope + rng.uniform(0, 0.9) * gentle * np.sin(2 * np.pi * along / length + phase)
    floor = rng.uniform(2800, 3400) - np.cumsum(slope) * STEP_M
    return _place(along, winding, azimuth, np.zeros(2)), floor


def _draw_side(
    edge: float, mouth: np.ndarray, mouth_m: float, azimuth: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the floor of a side valley that leads along an azimuth into its mouth."""
    along = np.arange(0, rng.uniform(0.2, 0.35) * edge, STEP_M)
    floor = mouth_m + rng.uniform(0, 60) + rng.uniform(0.1, 0.35) * along
    return _place(-along, 0 * along, azimuth, mouth), floor


def _place(along: np.ndarray, across: np.ndarray, azimuth: float, origin: np.ndarray) -> np.ndarray:
    """Turn distances along and across an azimuth into points (x, y)."""
    cosine, sine = np.cos(azimuth), np.sin(azimuth)
    return origin + np.stack([along * cosine - across * sine, along * sine + across * cosine], -1)


def _carve(
    points: np.ndarray, path: np.ndarray, floor: np.ndarray, width: float, wall: float, power: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give the bed around a valley, and its height above the floor; walls level out at a crest."""
    distance, nearest = spatial.cKDTree(path).query(points)
    rise = (distance / width) ** power
    height = wall * rise / (1 + rise / 2)
    return floor[nearest] + height, height


def _roughness(size: int, spacing: float, rng: np.random.Generator) -> np.ndarray:
    """Draw rough rock: a self-affine field without the wavelengths that cells cannot carry."""
    east, north = wavenumbers((2 * size, 2 * size), spacing)
    spectrum = power_law_spectrum(east, north, slope=4.0, rolloff_m=3000.0, stretch=1.0)
    noise = np.fft.rfft2(rng.standard_normal((2 * size, 2 * size)))
    field = np.fft.irfft2(noise * np.sqrt(spectrum), s=(2 * size, 2 * size))[:size, :size]
    return rng.uniform(5, 25) * field / field.std()


def make_climate(valley: Valley, *, rng: np.random.Generator) -> Climate:
    """Draw a climate whose snow line crosses the valley, low at first and then high.

    >>> flat = np.zeros((8, 8))
    >>> valley = Valley(np.arange(8.0), np.arange(8.0), flat, flat + 1, np.linspace(3000, 2000, 50), 0.0)
    >>> climate = make_climate(valley, rng=np.random.default_rng(7))
    >>> bool(2000 < climate.low_m < climate.high_m < 3000)
    True
    """
    inside = valley.floor_m[: int(len(valley.floor_m) * 0.7)]  # the rest lies beyond the border
    low, high = np.quantile(inside, [rng.uniform(0.45, 0.65), rng.uniform(0.8, 0.95)])
    return Climate(
        gradient=rng.uniform(0.005, 0.012),
        most=rng.uniform(1.0, 2.5),
        low_m=low,
        high_m=high,
        advance_years=rng.uniform(150, 250),
        retreat_years=rng.uniform(80, 150),
    )


def grow_ice(
    valley: Valley,
    climate: Climate,
    *,
    snapshots: int,
    rate_factor: float,
    sliding_coefficient: float,
) -> Iterator[tuple[float, np.ndarray]]:
    """Grow a glacier from bare rock and let it shrink again, as shallow ice.

    Years pass on cells twice as large, where a step costs a tenth; before each snapshot the ice settles on
    the cells of the valley.

    Yields
    ------
    tuple
        Years since bare rock, evenly spaced, and thickness (m); a single one is of the end of the advance.

    Examples
    --------
    >>> x, flat = 100.0 * np.arange(8), np.zeros((8, 8))
    >>> valley = Valley(x, x, flat + 2500, flat + 1, np.array([2500.0]), 0.0)
    >>> climate = Climate(gradient=0.01, most=2.0, low_m=2400, high_m=2400, advance_years=5, retreat_years=5)
    >>> flow = {"rate_factor": 78.0, "sliding_coefficient": 0.05}
    >>> year, thickness = next(grow_ice(valley, climate, snapshots=1, **flow))
    >>> year, round(float(thickness.max()))  # 1 m a year and more, for 5 years, and one to settle
    (5.0, 6)
    """
    flow = {"rate_factor": rate_factor, "sliding_coefficient": sliding_coefficient}
    spacing = float(valley.x[1] - valley.x[0])
    bed, gathers = block_mean(valley.bed_m, 2), block_mean(valley.gathers, 2)
    last = climate.advance_years + climate.retreat_years
    thickness, now = np.zeros_like(bed), 0.0
    first = climate.advance_years if snapshots == 1 else min(FIRST_YEARS, last / snapshots)
    for year in np.linspace(first, last, snapshots):
        while now < year - 1e-9:
            years = min(CLIMATE_YEARS, year - now)
            balance = climate.balance(now + years / 2, gathers)
            thickness = evolve(
                thickness, bed, spacing_m=2 * spacing, years=years, balance=balance, **flow
            ).thickness
            now += years
        fine = ndimage.zoom(thickness, 2, order=1, mode="nearest", grid_mode=True)
        balance = climate.balance(now, valley.gathers)
        settled = evolve(
            fine, valley.bed_m, spacing_m=spacing, years=SETTLING_YEARS, balance=balance, **flow
        ).thickness
        yield float(year), settled
