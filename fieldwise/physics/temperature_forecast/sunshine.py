"""How strongly the sun shines: by the real sun, and by that of the made weather, which keeps no seasons."""

from __future__ import annotations

import numpy as np

DAY_H = 24
EPOCH = np.datetime64("2000-01-01T00", "h")


def cosine_of_zenith(hours: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Give the cosine of the angle between the sun and the zenith; below 0 the sun is down.

    Declination and equation of time are the Fourier series of Spencer (1971), as in Iqbal, An Introduction to
    Solar Radiation (1983); the declination is good to 0.04 degrees.

    Parameters
    ----------
    hours
        (time,) since 2000-01-01 00 UTC.
    latitude, longitude
        (rows,) and (columns,) degrees north and east.

    Returns
    -------
    numpy.ndarray
        (time, rows, columns), -1 to 1.

    >>> noon = (np.datetime64("2019-06-21T12", "h") - EPOCH).astype(float)
    >>> high, low = cosine_of_zenith(np.array([noon]), np.array([23.44, -66.56]), np.array([0.0]))[0, :, 0]
    >>> round(high.item(), 3), abs(round(low.item(), 3))  # overhead; on the horizon
    (1.0, 0.0)
    """
    times = EPOCH.astype("datetime64[s]") + np.round(np.asarray(hours) * 3600).astype("timedelta64[s]")
    days = times.astype("datetime64[D]")
    of_day = (times - days).astype(float) / 3600
    of_year = (days - days.astype("datetime64[Y]")).astype(float) + of_day / DAY_H
    angle = 2 * np.pi * of_year / 365
    one, two, three = (np.exp(1j * number * angle) for number in (1, 2, 3))
    declination = 0.006918 - 0.399912 * one.real + 0.070257 * one.imag
    declination += -0.006758 * two.real + 0.000907 * two.imag - 0.002697 * three.real + 0.001480 * three.imag
    ahead = 0.000075 + 0.001868 * one.real - 0.032077 * one.imag - 0.014615 * two.real - 0.040849 * two.imag
    turned = 2 * np.pi * (of_day / DAY_H - 0.5) + ahead
    hour_angle = turned[:, None] + np.radians(np.asarray(longitude, dtype=float))
    north = np.radians(np.asarray(latitude, dtype=float))[:, None]
    declination = declination[:, None, None]
    return (
        np.sin(north) * np.sin(declination)
        + np.cos(north) * np.cos(declination) * np.cos(hour_angle)[:, None]
    )


def daily_sun(hours: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Give how strongly the sun of the made weather shines, 0 to 1: (time, columns).

    Every day is alike, twelve hours long, and the sun stands highest at noon of local time.

    >>> daily_sun(np.array([0.0, 6.0, 12.0, 16.0]), np.array([0.0, 90.0])).round(2).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.0]]
    """
    local = np.asarray(hours, dtype=float)[:, None] / DAY_H + np.asarray(longitude, dtype=float) / 360
    return np.maximum(0.0, -np.cos(2 * np.pi * local))
