"""Winds around a low: Holland's profile of a cyclone, and the wind that balances a gradient of pressure."""

from __future__ import annotations

import numpy as np

AIR_DENSITY = 1.15  # kg/m3, near the surface in the tropics


def holland_pressure(
    radius_km: np.ndarray | float, *, deficit_pa: float, core_km: float, peakedness: float
) -> np.ndarray:
    """Give the pressure below that of the surroundings, Pa, after Holland (1980): -dp (1 - exp(-(R/r)^B)).

    Parameters
    ----------
    radius_km
        Distance from the middle, any shape.
    deficit_pa
        How much lower the pressure is in the middle.
    core_km
        Radius R of the strongest wind (exactly so where the Coriolis force is small).
    peakedness
        Holland's B, 1 to 2.5.

    >>> values = holland_pressure(np.array([0.0, 50.0, 1e6]), deficit_pa=4000, core_km=50, peakedness=1.3)
    >>> (values + 0.0).round(1).tolist()  # in the core 1 - 1/e of the deficit is left
    [-4000.0, -2528.5, -0.0]
    """
    ratio = _ratio(radius_km, core_km, peakedness)
    return deficit_pa * np.expm1(-ratio)


def holland_gradient(
    radius_km: np.ndarray | float, *, deficit_pa: float, core_km: float, peakedness: float
) -> np.ndarray:
    """Give how fast Holland's pressure rises outward, Pa/m: dp B/r (R/r)^B exp(-(R/r)^B).

    Parameters are those of :func:`holland_pressure`.

    >>> float(holland_gradient(50.0, deficit_pa=4000, core_km=50, peakedness=1.3).round(5))  # B dp / (e R)
    0.03826
    """
    ratio = _ratio(radius_km, core_km, peakedness)
    metres = np.maximum(np.asarray(radius_km, dtype=float) * 1e3, 1.0)
    return deficit_pa * peakedness / metres * ratio * np.exp(-ratio)


def _ratio(radius_km: np.ndarray | float, core_km: float, peakedness: float) -> np.ndarray:
    """(R/r)^B, as large as matters: at 700 nothing is left of the exponential."""
    radius = np.maximum(np.asarray(radius_km, dtype=float), 1e-3)
    return np.minimum((core_km / radius) ** peakedness, 700.0)


def deficit_of(wind_m_s: float, *, peakedness: float, density: float = AIR_DENSITY) -> float:
    """Give the pressure deficit (Pa) of a Holland vortex by its strongest wind: e rho v^2 / B (Holland 1980).

    >>> round(deficit_of(50.0, peakedness=1.3))
    6012
    """
    return float(np.e * density * wind_m_s**2 / peakedness)


def gradient_wind(
    pressure_gradient: np.ndarray | float,
    radius_km: np.ndarray | float,
    coriolis: float,
    *,
    density: float = AIR_DENSITY,
) -> np.ndarray:
    """Give the wind around a low (m/s, cyclonic above 0) that balances its pressure gradient.

    It solves v^2 / r + |f| v = p' / rho. Around a high, whose gradient may ask for more than any wind can
    balance, the strongest that there is, |f| r / 2, is given.

    Parameters
    ----------
    pressure_gradient
        Pa/m outward, any shape.
    radius_km
        Distance from the middle, of the same shape.
    coriolis
        Parameter f, 1/s; its sign does not matter.

    >>> v = gradient_wind(0.04, 50.0, 5e-5)
    >>> bool(np.isclose(v**2 / 50e3 + 5e-5 * v, 0.04 / 1.15))
    True
    """
    half = np.abs(coriolis) * np.asarray(radius_km, dtype=float) * 1e3 / 2
    push = np.asarray(pressure_gradient, dtype=float) / density * np.asarray(radius_km, dtype=float) * 1e3
    return np.sqrt(np.maximum(half**2 + push, 0)) - half
