"""The norms that displacements and velocities are divided by, as functions of cosmology and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fieldwise.errors import InputError
from fieldwise.networks.imports import import_by_path
from fieldwise.physics.structure_formation.cosmology import displacement_scale, velocity_scale
from fieldwise.samples.scales import AnyScale, Expm1, Exponential, Factor, Log1p, Logarithm, NamedScale
from fieldwise.samples.signatures import Variable


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
        taken = _list_options(norm)
        kind: Any = NORMS.get(norm) or import_by_path(norm, kind=NamedScale)
        chosen[name] = kind(**{key: value for key, value in options.items() if key in taken})
    return chosen


def _list_options(norm: str) -> set[str]:
    kind: Any = NORMS.get(norm) or import_by_path(norm, kind=NamedScale)
    if not is_dataclass(kind):
        raise InputError(f"{norm} is no dataclass; give the import path of one that inherits from NamedScale")
    return {each.name for each in fields(kind)}


def check_norm_options(options: Mapping[str, Any], *norms: Sequence[str] | None) -> None:
    """Refuse options that no norm takes.

    >>> check_norm_options({"omegam": 0.3}, ["displacement"], None)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --norm_options: omegam is of none of the norms; they take omega_m, z
    """
    named = {norm for some in norms for norm in some or () if norm != "fit"}
    taken = {option for norm in named for option in _list_options(norm)}
    for option in options:
        if option not in taken:
            told = ", ".join(sorted(taken)) or "no options; name one by --in_norms or --tgt_norms"
            raise InputError(f"--norm_options: {option} is of none of the norms; they take {told}")


def check_norms(variables: Sequence[Variable], *, flag: str) -> None:
    """Refuse norms that leave no numbers of the values that training sees.

    >>> check_norms([Variable("flow", scale=Logarithm(), range=(-2.0, 2.0))], flag="--in_norms")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --in_norms: Logarithm leaves no numbers of flow, -2 to 2; choose another
    """
    for each in variables:
        with np.errstate(all="ignore"):
            scaled = each.scale.apply(np.array(each.range or (), dtype=np.float32))
        if not np.isfinite(scaled).all() and each.range:
            told = f"{each.name}, {each.range[0]:.6g} to {each.range[1]:.6g}"
            raise InputError(
                f"{flag}: {type(each.scale).__name__} leaves no numbers of {told}; choose another"
            )
