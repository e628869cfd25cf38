"""How much vapour the wind carries through a column of air, IVT: from its parts or from what is at hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fieldwise.errors import InputError

GRAVITY = 9.80665


def vapour_transport(
    eastward: np.ndarray, northward: np.ndarray, humidity: np.ndarray, pressure_hpa: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Integrate the transport of vapour over pressure levels, by trapezia: (1/g) of q v dp.

    Levels below the ground are to be missing (NaN) in any of the fields; they count as empty.

    Parameters
    ----------
    eastward, northward
        Winds (levels, ...), m/s.
    humidity
        Specific (levels, ...), kg/kg.
    pressure_hpa
        (levels,), in either order.

    Returns
    -------
    tuple of numpy.ndarray
        Eastward and northward transport (...), kg m-1 s-1.

    Raises
    ------
    InputError
        Where there are fewer than 2 levels, not in order, or shapes differ.

    >>> levels = np.array([1000.0, 500.0])
    >>> u, v = vapour_transport(np.full((2, 1), 10.0), np.zeros((2, 1)), np.full((2, 1), 0.01), levels)
    >>> round(float(u[0]), 1), float(v[0])  # 0.01 x 10 x 50000 / g
    (509.9, 0.0)
    """
    levels = np.asarray(pressure_hpa, dtype=float)
    steps = np.diff(levels)
    if levels.ndim != 1 or steps.size < 1 or not ((steps > 0).all() or (steps < 0).all()):
        raise InputError(f"pressure_hpa: is {levels.tolist()}; give two levels or more in order")
    if not eastward.shape == northward.shape == humidity.shape or len(eastward) != levels.size:
        raise InputError(
            f"winds and humidity: shapes {eastward.shape}, {northward.shape} and {humidity.shape} do not "
            f"fit {levels.size} levels; give all on the same levels and cells"
        )
    thickness = (100 * np.abs(steps)).reshape(-1, *[1] * (eastward.ndim - 1))
    carried = []
    for wind in (eastward, northward):
        flux = np.asarray(wind, dtype=float) * humidity
        carried.append(np.nansum((flux[1:] + flux[:-1]) / 2 * thickness, axis=0) / GRAVITY)
    return carried[0], carried[1]


def approximate_transport(fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """Give about how much vapour is carried, kg m-1 s-1, where only its column and the low wind are known.

    As if all vapour moved with the wind at 850 hPa. Half of it lies below that level on average, where
    winds are weaker, and half above, where they are stronger.

    Parameters
    ----------
    fields
        ``TMQ`` (kg m-2), ``U850`` and ``V850`` (m/s), all of one shape.

    >>> float(approximate_transport({"TMQ": np.array(40.0), "U850": np.array(15.0), "V850": np.array(20.0)}))
    1000.0
    """
    missing = [name for name in ("TMQ", "U850", "V850") if name not in fields]
    if missing:
        raise InputError(f"fields: lack {', '.join(missing)}; give them, or the transport as IVT")
    return np.asarray(fields["TMQ"], dtype=float) * np.hypot(fields["U850"], fields["V850"])
