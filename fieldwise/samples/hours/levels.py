"""Between levels of the air: the pressure of model levels, and fields at a pressure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fieldwise.errors import InputError


def pressures_of_levels(
    levels: Sequence[float], coefficients: Sequence[float], ground_hpa: np.ndarray
) -> np.ndarray:
    """Give the pressure (hPa) in the middle of model levels: (level, rows, columns).

    Between levels it is ``a + b p`` with the pressure p at the ground; a level lies halfway between the two
    around it (Simmons and Burridge 1981, https://doi.org/10.1175/1520-0493(1981)109<0758:AEAAMC>2.0.CO;2).

    Parameters
    ----------
    levels
        Numbers from 1 at the top.
    coefficients
        a (Pa) of all boundaries from the top down, then b.
    ground_hpa
        (rows, columns).

    >>> pressures_of_levels([1, 2], [0.0, 20000, 0, 0, 0.2, 1], np.array([[1000.0]]))[:, 0, 0].tolist()
    [200.0, 700.0]
    """
    a, b = np.split(np.asarray(coefficients, dtype=float), 2)
    places = np.asarray(levels, dtype=int)
    if not len(a) or places.max(initial=0) >= len(a):
        raise InputError(
            f"model levels: {len(a)} coefficients are given for level {places.max(initial=0)}; fetch the "
            "file with its vertical coordinates (pv)"
        )
    bounds = a[:, None, None] / 100 + b[:, None, None] * ground_hpa
    return (bounds[places - 1] + bounds[places]) / 2


def levels_around(pressure: np.ndarray, level_hpa: float) -> np.ndarray:
    """Name those of some levels that are needed to interpolate to a pressure anywhere: their places.

    Parameters
    ----------
    pressure
        (level, rows, columns) hPa, in any order of levels, the same everywhere.
    level_hpa
        To interpolate to.

    >>> pressure = np.array([300.0, 500, 700, 850, 1000])[:, None, None] * np.array([[1.0, 0.8]])
    >>> levels_around(pressure, 600.0).tolist()  # between 500 and 700 here, 560 and 680 there
    [1, 2, 3]
    """
    if len(pressure) < 2:
        raise InputError(f"level: {level_hpa:g} hPa cannot be found from one level; fetch those around it")
    below = np.clip((pressure < level_hpa).sum(axis=0), 1, len(pressure) - 1)
    return np.argsort(pressure.mean(axis=(1, 2)))[below.min() - 1 : below.max() + 1]


def interpolate_pressure(values: np.ndarray, pressure: np.ndarray, level_hpa: float) -> np.ndarray:
    """Interpolate to a pressure, linearly in its logarithm: (level, rows, columns) to (rows, columns).

    Below the lowest level, as under mountains, the value of that level is given.

    Parameters
    ----------
    values, pressure
        On two levels at least, pressure in hPa, in any order.
    level_hpa
        To interpolate to.

    Raises
    ------
    InputError
        Where all levels lie below it somewhere.

    >>> values, pressure = np.array([[[10.0]], [[20.0]]]), np.array([[[400.0]], [[900.0]]])
    >>> interpolate_pressure(values, pressure, 600.0).tolist()  # the geometric mean of both
    [[15.0]]
    >>> interpolate_pressure(values, pressure, 950.0).tolist()
    [[20.0]]
    """
    order = np.argsort(pressure, axis=0)
    values, heights = (np.take_along_axis(each, order, axis=0) for each in (values, np.log(pressure)))
    wanted = np.log(level_hpa)
    if (heights[0] > wanted).any():
        raise InputError(f"level: {level_hpa:g} hPa lies above all levels in places; fetch higher ones")
    lower = np.clip((heights < wanted).sum(axis=0), 1, len(heights) - 1)[None]
    (high, low), (top, bottom) = (
        [np.take_along_axis(each, lower - 1, axis=0)[0], np.take_along_axis(each, lower, axis=0)[0]]
        for each in (heights, values)
    )
    share = np.clip((wanted - high) / (low - high), 0, 1)
    return (top + share * (bottom - top)).astype(values.dtype)
