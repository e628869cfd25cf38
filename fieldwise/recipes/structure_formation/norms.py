"""The norms that displacements and velocities are divided by, as functions of cosmology and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from fieldwise.errors import InputError
from fieldwise.networks.imports import import_by_path
from fieldwise.physics.structure_formation.cosmology import displacement_scale, velocity_scale
from fieldwise.samples.scales import AnyScale, Expm1, Exponential, Factor, Log1p, Logarithm, NamedScale


@dataclass(frozen=True)
class DisplacementNorm(NamedScale):
    """Divide displacements in Mpc/h by 6 D(z), as map2map does.

    >>> DisplacementNorm().apply(6.0)
    1.0
    """

    omega_m: float = 0.31
    z: float = 0.0

    @cached_property
    def size(self) -> float:
        """What is divided by, in Mpc/h."""
        return displacement_scale(self.omega_m, self.z)

    def apply(self, values: Any) -> Any:
        """Scale values."""
        return values / self.size

    def undo(self, values: Any) -> Any:
        """Give scaled values their size back."""
        return values * self.size


@dataclass(frozen=True)
class VelocityNorm(DisplacementNorm):
    """Divide velocities in km/s by 6 D H f / (1 + z), as map2map does.

    >>> round(VelocityNorm(omega_m=1.0).size)  # D = f = 1, H = 100
    600
    """

    @cached_property
    def size(self) -> float:
        """What is divided by, in km/s."""
        return velocity_scale(self.omega_m, self.z)


NORMS: dict[str, type[NamedScale]] = {
    "identity": Factor,
    "log": Logarithm,
    "exp": Exponential,
    "log1p": Log1p,
    "expm1": Expm1,
    "displacement": DisplacementNorm,
    "velocity": VelocityNorm,
}


def choose_norms(
    names: Sequence[str], wanted: Sequence[str] | None, options: Mapping[str, Any], *, flag: str
) -> dict[str, AnyScale]:
    """Give the norms of some variables; those that are fitted to the data are left out.

    Parameters
    ----------
    names
        Of the variables.
    wanted
        A norm for each: `fit`, one of `NORMS`, or the import path of a
        :class:`fieldwise.samples.scales.NamedScale`. None fits all.
    options
        Arguments, each for those norms that take it.
    flag
        Option that names them, for messages.

    >>> choose_norms(["displacement"], ["displacement"], {"z": 2.0}, flag="--in_norms")
    {'displacement': DisplacementNorm(omega_m=0.31, z=2.0)}
    >>> choose_norms(["density"], ["sqrt"], {}, flag="--in_norms")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --in_norms: 'sqrt' is no norm; give fit, identity, log, ... or an import path
    """
    if wanted is None:
        return {}
    if len(wanted) != len(names):
        raise InputError(f"{flag}: names {len(wanted)} norms for {', '.join(names)}; give one for each")
    chosen: dict[str, AnyScale] = {}
    for name, norm in zip(names, wanted):
        if norm == "fit":
            continue
        if norm not in NORMS and "." not in norm:
            raise InputError(f"{flag}: {norm!r} is no norm; give fit, {', '.join(NORMS)}, or an import path")
        kind: Any = NORMS.get(norm) or import_by_path(norm, kind=NamedScale)
        taken = {each.name for each in fields(kind)}
        chosen[name] = kind(**{key: value for key, value in options.items() if key in taken})
    return chosen
