"""Which cells a tropical cyclone takes: by where its fields are largest, or by how far its winds reach."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from fieldwise.physics.extreme_weather.components import NEIGHBOURS
from fieldwise.physics.extreme_weather.cyclones import NEAR_KM, gale_on_cells
from fieldwise.physics.extreme_weather.sphere import DEGREE_KM, GlobalGrid, bearing

MASKED_BY = ("TMQ", "U850", "V850", "PRECT")  # whose largest values make a mask

Fields = Mapping[str, np.ndarray]


def mean_swirl(
    fields: Fields, grid: GlobalGrid, latitude: float, longitude: float, *, within_km: float = 1200.0
) -> tuple[np.ndarray, np.ndarray]:
    """Give the cyclonic wind around a place at 850 hPa, mean over rings.

    Returns
    -------
    tuple of numpy.ndarray
        Mean radius of the cells of each ring (km), and their mean wind (m/s); rings are as wide as cells, at
        least 50 km.

    >>> grid = GlobalGrid.regular(181, 360)
    >>> way = bearing(20.0, 180.0, grid.latitude[:, None], grid.longitude)
    >>> around = {"U850": -10 * np.cos(way), "V850": 10 * np.sin(way)}  # counterclockwise, but for the sphere
    >>> radius, wind = mean_swirl(around, grid, 20.0, 180.0)
    >>> radius[:2].round().tolist(), wind[1:3].round(1).tolist()
    ([80.0, 176.0], [10.0, 10.0])
    """
    window = grid.around(latitude, longitude, within_km)
    rows, columns = grid.latitude[window.rows, None], grid.longitude[None, window.columns]
    outward = bearing(rows, columns, latitude, longitude) + np.pi
    swirl = fields["V850"][window.cells] * np.sin(outward) - fields["U850"][window.cells] * np.cos(outward)
    width = max(50.0, grid.spacing_km)
    inside = window.distance_km <= within_km
    ring = (window.distance_km[inside] / width).astype(int)
    weight = grid.area_km2[window.cells][inside]
    total = np.bincount(ring, weight)
    mean = np.bincount(ring, weight * swirl[inside]) / np.maximum(total, 1e-12)
    radius = np.bincount(ring, weight * window.distance_km[inside]) / np.maximum(total, 1e-12)
    return radius[total > 0], mean[total > 0] * (-1 if latitude < 0 else 1)


def swirl_radius(
    fields: Fields, grid: GlobalGrid, latitude: float, longitude: float, *, wind_m_s: float
) -> float:
    """Give the radius (km) at which the mean cyclonic wind falls below a value, outside of its maximum.

    0 where it nowhere reaches it.

    >>> grid = GlobalGrid.regular(181, 360)
    >>> from fieldwise.physics.extreme_weather.sphere import distance_km
    >>> places = 20.0, 180.0, grid.latitude[:, None], grid.longitude
    >>> way, speed = bearing(*places), 4000 / np.maximum(distance_km(*places), 100)
    >>> around = {"U850": -speed * np.cos(way), "V850": speed * np.sin(way)}
    >>> round(swirl_radius(around, grid, 20.0, 180.0, wind_m_s=10.0))  # 4000 / 10, by rings 111 km wide
    405
    """
    return _fall_below(*mean_swirl(fields, grid, latitude, longitude), wind_m_s)


def _fall_below(radius: np.ndarray, wind: np.ndarray, level: float) -> float:
    top = int(wind.argmax())
    below = np.flatnonzero(wind[top:] < level)
    if wind[top] < level:
        return 0.0
    if not below.size:
        return float(radius[-1])
    at = top + int(below[0])
    return float(np.interp(-level, -wind[at - 1 : at + 1], radius[at - 1 : at + 1]))


def mask_by_percentiles(
    fields: Fields,
    grid: GlobalGrid,
    latitude: float,
    longitude: float,
    *,
    percentile: float = 93.0,
    margin_km: float = 734.0,
) -> np.ndarray:
    """Mark a cyclone after the labels of DeepCAM (TECA): where its fields are largest.

    In a box that reaches 6.6 degrees beyond the radius of gales, each of vapour, both winds at 850 hPa (their
    magnitudes) and rain gives the largest connected part above a percentile; the mask is their union. Parts
    that come nowhere near the middle are left out: the tropics at a box's edge may hold more vapour.

    Parameters
    ----------
    fields, grid
        The channels in ``MASKED_BY``, and where they lie.
    latitude, longitude
        Of the middle.
    percentile
        Of the values in the box, by area.
    margin_km
        Of the box beyond the radius.

    Returns
    -------
    numpy.ndarray
        Flat indices of the marked cells.

    >>> grid = GlobalGrid.regular(361, 720)
    >>> from fieldwise.physics.extreme_weather.sphere import distance_km
    >>> away = distance_km(15.0, 0.0, grid.latitude[:, None], grid.longitude)
    >>> fields = {name: np.maximum(5 - away / 400, 0) for name in MASKED_BY}
    >>> marked = mask_by_percentiles(fields, grid, 15.0, 0.0)
    >>> round(float(away.ravel()[marked].max()))  # a disc of 7 % of the box has 219 km, cells 55 km
    222
    """
    gale = swirl_radius(fields, grid, latitude, longitude, wind_m_s=gale_on_cells(grid.spacing_km))
    half_km = gale + margin_km
    window = grid.around(latitude, longitude, half_km * 2**0.5)
    north = np.abs(grid.latitude[window.rows] - latitude) * DEGREE_KM <= half_km
    east = np.abs((grid.longitude[window.columns] - longitude + 180) % 360 - 180)
    columns = east * DEGREE_KM * np.cos(np.radians(latitude)) <= half_km
    box = np.ix_(window.rows[north], window.columns[columns])
    core = window.distance_km[np.ix_(north, columns)] <= NEAR_KM + grid.spacing_km / 2
    weight, marked = grid.area_km2[box], np.zeros((north.sum(), columns.sum()), dtype=bool)
    for name in MASKED_BY:
        values = np.abs(fields[name][box]) if name in ("U850", "V850") else fields[name][box]
        parts, _ = ndimage.label(values > _percentile(values, weight, percentile), structure=NEIGHBOURS)
        areas = np.bincount(parts.ravel(), weight.ravel() * np.isin(parts, parts[core]).ravel())
        areas[0] = 0
        marked |= parts == areas.argmax() if areas.any() else False
    indices = np.arange(weight.size).reshape(weight.shape)
    rows, columns = np.unravel_index(indices[marked], weight.shape)
    return np.ravel_multi_index((box[0].ravel()[rows], box[1].ravel()[columns]), grid.shape)


def _percentile(values: np.ndarray, weight: np.ndarray, percentile: float) -> float:
    order = np.argsort(values, axis=None)
    passed = np.cumsum(weight.ravel()[order])
    return float(values.ravel()[order][np.searchsorted(passed, percentile / 100 * passed[-1])])


def mask_by_swirl(
    fields: Fields, grid: GlobalGrid, latitude: float, longitude: float, *, wind_m_s: float = 15.0
) -> np.ndarray:
    """Mark a cyclone as a disc: out to where the mean cyclonic wind at 850 hPa falls below a value.

    Or below three quarters of its greatest, where that is less, as that of small storms on wide cells.

    Returns
    -------
    numpy.ndarray
        Flat indices of the marked cells; that of the middle at least.

    >>> grid = GlobalGrid.regular(121, 240)
    >>> calm = {"U850": np.zeros(grid.shape), "V850": np.zeros(grid.shape)}
    >>> mask_by_swirl(calm, grid, 90.0, 0.0).tolist()[:2]
    [0, 1]
    """
    radius, wind = mean_swirl(fields, grid, latitude, longitude)
    level = min(wind_m_s, 0.75 * float(wind.max()))
    reach = max(_fall_below(radius, wind, level) if level > 0 else 0.0, grid.spacing_km / 2)
    window = grid.around(latitude, longitude, reach)
    rows, columns = np.nonzero(window.distance_km <= reach)
    return np.ravel_multi_index((window.rows[rows], window.columns[columns]), grid.shape)
