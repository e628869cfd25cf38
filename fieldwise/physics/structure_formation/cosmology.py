"""A flat universe of cold matter and a cosmological constant: how fast it expands, how structure grows in it.

Growth to first and second order follows from ordinary differential equations (Bouchet and others 1995),

    D'' + (2 + (ln E)') D' = 3/2 Omega_m(a) D,    D2'' + (2 + (ln E)') D2' = 3/2 Omega_m(a) (D2 - D^2)

with a dash for the derivative by ln a, and D(1) = 1; early on D2 is -3/7 D^2. D also has a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fieldwise.errors import InputError

if TYPE_CHECKING:
    from scipy.integrate import OdeSolution

RADIUS_8 = 8.0  # Mpc/h, of the sphere in which sigma8 is measured
CMB_TEMPERATURE = 2.725  # K
DISPLACEMENT_TODAY = 6.0  # Mpc/h, about the root mean square of a component
EARLIEST = 1e-3  # scale factor from which growth is followed; matter alone counts before


@dataclass(frozen=True)
class Cosmology:
    """Numbers of a flat universe.

    Parameters
    ----------
    omega_m
        Share of matter today, in (0, 1].
    sigma8
        Root mean square of the linear density contrast in spheres of 8 Mpc/h today, above 0.
    hubble
        Expansion rate today in 100 km/s/Mpc.
    spectral_index
        Of the primordial power spectrum.
    omega_b
        Share of baryons today, in [0, omega_m].

    Raises
    ------
    InputError
        Where a number lies outside its range.

    >>> Cosmology(omega_m=1.2)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --omega_m: is 1.2; give a share of matter above 0, at most 1
    """

    omega_m: float = 0.3
    sigma8: float = 0.8
    hubble: float = 0.7
    spectral_index: float = 0.96
    omega_b: float = 0.045

    def __post_init__(self) -> None:
        """Refuse numbers that no universe has."""
        check_omega_m(self.omega_m)
        for name in ("sigma8", "hubble"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise InputError(f"--{name}: is {value:g}; give a number above 0")
        if not 0 <= self.omega_b <= self.omega_m:
            raise InputError(
                f"--omega_b: is {self.omega_b:g}; give a share of baryons from 0 to omega_m, {self.omega_m:g}"
            )


class Growth(NamedTuple):
    """Growth factors of first and second order and their rates, d ln D / d ln a."""

    first: np.ndarray
    second: np.ndarray
    first_rate: np.ndarray
    second_rate: np.ndarray


def check_omega_m(omega_m: float) -> None:
    """Refuse a share of matter outside (0, 1].

    >>> check_omega_m(1.5)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --omega_m: is 1.5; give a share of matter above 0, at most 1
    """
    if not 0 < omega_m <= 1:
        raise InputError(f"--omega_m: is {omega_m:g}; give a share of matter above 0, at most 1")


def scale_factor_at(redshift: float) -> float:
    """Give the scale factor 1 / (1 + z) at a redshift, 0 or above.

    >>> scale_factor_at(1.0)
    0.5
    """
    if not redshift >= 0:
        raise InputError(f"--redshift: is {redshift:g}; give 0 for today or a redshift above 0")
    return 1 / (1 + redshift)


def expansion_rate(scale_factor: np.ndarray | float, omega_m: float) -> np.ndarray:
    """Give the expansion rate E(a) = H / H0 of a flat universe.

    >>> expansion_rate(1.0, 0.3).item(), expansion_rate(0.25, 1.0).item()
    (1.0, 8.0)
    """
    return np.sqrt(omega_m * np.asarray(scale_factor, dtype=float) ** -3 + 1 - omega_m)


def grow(scale_factor: np.ndarray | float, omega_m: float) -> Growth:
    """Give the growth factors and rates of first and second order, by integration.

    Parameters
    ----------
    scale_factor
        Any shape, from 0.001 to 1.
    omega_m
        Share of matter today.

    Returns
    -------
    Growth
        Arrays of the same shape: D, 1 today; D2, negative; d ln D / d ln a; d ln D2 / d ln a.

    >>> growth = grow([0.01, 1.0], omega_m=1.0)  # without a cosmological constant D = a, D2 = -3/7 a^2
    >>> growth.first.round(6).tolist(), (growth.second * 7).round(6).tolist()
    ([0.01, 1.0], [-0.0003, -3.0])
    """
    scale_factor = np.asarray(scale_factor, dtype=float)
    if not ((scale_factor >= EARLIEST) & (scale_factor <= 1)).all():
        raise InputError(
            f"--scale_factor: is {scale_factor.min():g} to {scale_factor.max():g}; "
            f"give values from {EARLIEST:g} to 1 (today)"
        )
    solution = _solve_growth(float(omega_m))
    first, first_slope, second, second_slope = solution(np.log(scale_factor).ravel()).reshape(
        4, *scale_factor.shape
    )
    today = solution(0.0)[0]
    return Growth(first / today, second / today**2, first_slope / first, second_slope / second)


@lru_cache(maxsize=4096)
def _solve_growth(omega_m: float) -> OdeSolution:
    """Integrate D, D', D2 and D2' over ln a, with D = a at the start."""
    from scipy.integrate import solve_ivp  # takes a second to load

    check_omega_m(omega_m)

    def derive(log_a: float, state: np.ndarray) -> list[float]:
        first, first_slope, second, second_slope = state
        share = omega_m / (omega_m + (1 - omega_m) * np.exp(3 * log_a))  # of matter at that time
        friction = 2 - 1.5 * share
        return [
            first_slope,
            1.5 * share * first - friction * first_slope,
            second_slope,
            1.5 * share * (second - first**2) - friction * second_slope,
        ]

    begin = [EARLIEST, EARLIEST, -3 / 7 * EARLIEST**2, -6 / 7 * EARLIEST**2]
    return solve_ivp(
        derive, (np.log(EARLIEST), 0.0), begin, method="DOP853", rtol=1e-9, atol=1e-16, dense_output=True
    ).sol


def growth_factor(omega_m: float, redshift: float = 0.0) -> float:
    """Give the linear growth factor D, 1 today, in closed form: a 2F1(1, 1/3; 11/6; -a^3 (1 - Om) / Om).

    >>> growth_factor(1.0, redshift=1.0), round(growth_factor(0.3, redshift=1.0), 4)
    (0.5, 0.6118)
    """
    from scipy.special import hyp2f1

    check_omega_m(omega_m)
    a, ratio = scale_factor_at(redshift), 1 - 1 / omega_m
    return float(a * hyp2f1(1, 1 / 3, 11 / 6, a**3 * ratio) / hyp2f1(1, 1 / 3, 11 / 6, ratio))


def growth_rate(omega_m: float, redshift: float = 0.0) -> float:
    """Give the linear growth rate f = d ln D / d ln a in closed form.

    >>> growth_rate(1.0), round(growth_rate(0.3), 3)  # about Omega_m^0.55
    (1.0, 0.513)
    """
    from scipy.special import hyp2f1

    check_omega_m(omega_m)
    x = scale_factor_at(redshift) ** 3 * (1 - 1 / omega_m)
    return float(1 + 6 / 11 * x * hyp2f1(2, 4 / 3, 17 / 6, x) / hyp2f1(1, 1 / 3, 11 / 6, x))


def displacement_scale(omega_m: float = 0.31, redshift: float = 0.0) -> float:
    """Give the size of a displacement, 6 D(z) Mpc/h: what map2map divides displacements by.

    >>> displacement_scale(), round(displacement_scale(0.3, redshift=1.0), 3)
    (6.0, 3.671)
    """
    return DISPLACEMENT_TODAY * growth_factor(omega_m, redshift)


def velocity_scale(omega_m: float = 0.31, redshift: float = 0.0) -> float:
    """Give the size of a peculiar velocity, 6 D H f / (1 + z) km/s: what map2map divides velocities by.

    >>> velocity_scale(1.0), round(velocity_scale(0.31), 1)
    (600.0, 313.4)
    """
    a = scale_factor_at(redshift)
    rate = 100 * float(expansion_rate(a, omega_m)) * growth_rate(omega_m, redshift)
    return displacement_scale(omega_m, redshift) * rate * a


def transfer_function(wavenumber: np.ndarray | float, cosmology: Cosmology) -> np.ndarray:
    """Give how much of a primordial fluctuation is left, after Eisenstein & Hu (1998), without wiggles.

    Their equations 26 and 28 to 31.

    Parameters
    ----------
    wavenumber
        In h/Mpc, any shape.
    cosmology
        What the universe is made of.

    >>> transfer_function([0.0, 0.01, 0.1, 1.0], Cosmology()).round(4).tolist()
    [1.0, 0.7863, 0.1352, 0.0047]
    """
    k = np.asarray(wavenumber, dtype=float)
    matter, baryons = cosmology.omega_m * cosmology.hubble**2, cosmology.omega_b * cosmology.hubble**2
    share = cosmology.omega_b / cosmology.omega_m
    sound_horizon = 44.5 * np.log(9.83 / matter) / np.sqrt(1 + 10 * baryons**0.75)  # Mpc
    damping = 1 - 0.328 * np.log(431 * matter) * share + 0.38 * np.log(22.3 * matter) * share**2
    shape = damping + (1 - damping) / (1 + (0.43 * k * cosmology.hubble * sound_horizon) ** 4)
    q = k * (CMB_TEMPERATURE / 2.7) ** 2 / (cosmology.omega_m * cosmology.hubble * shape)
    log = np.log(2 * np.e + 1.8 * q)
    return log / (log + (14.2 + 731 / (1 + 62.5 * q)) * q**2)


def power_spectrum(wavenumber: np.ndarray | float, cosmology: Cosmology) -> np.ndarray:
    """Give the linear power spectrum of the density contrast today, (Mpc/h)^3; 0 at wavenumber 0.

    Parameters
    ----------
    wavenumber
        In h/Mpc, any shape.
    cosmology
        Its sigma8 sets the height.

    >>> power_spectrum([0.0, 0.02, 0.2], Cosmology()).round(-1).tolist()
    [0.0, 22420.0, 1840.0]
    """
    return _normalise(cosmology) * _unnormalised(np.asarray(wavenumber, dtype=float), cosmology)


def _unnormalised(k: np.ndarray, cosmology: Cosmology) -> np.ndarray:
    return np.where(k > 0, np.abs(k) ** cosmology.spectral_index, 0) * transfer_function(k, cosmology) ** 2


@lru_cache(maxsize=4096)
def _normalise(cosmology: Cosmology) -> float:
    """Compare sigma8 with the variance that the bare spectrum has in spheres of 8 Mpc/h."""
    log_k = np.linspace(np.log(1e-5), np.log(1e2), 4001)
    k = np.exp(log_k)
    x = k * RADIUS_8
    sphere = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    # Below x = 0.01 the difference loses its digits; the series 1 - x^2 / 10 does not.
    sphere = np.where(x < 0.01, 1 - x**2 / 10, sphere)
    variance = np.trapezoid(k**3 / (2 * np.pi**2) * _unnormalised(k, cosmology) * sphere**2, log_k)
    return cosmology.sigma8**2 / float(variance)
