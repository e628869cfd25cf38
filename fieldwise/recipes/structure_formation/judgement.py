"""Predicted boxes beside the true ones: errors, spectra, clustering and ensembles, box by box."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fieldwise.errors import InputError, first_line
from fieldwise.recipes.structure_formation.predict import name_file
from fieldwise.samples.cases import Case
from fieldwise.scores import (
    EnsembleSums,
    ErrorSums,
    SpectrumSums,
    bispectrum,
    density_distance,
    density_of,
    equilateral_triangles,
    into_redshift_space,
    make_score,
    power_multipoles,
    squeezed_triangles,
)

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the Nyquist wavenumber, at which spectra are told
THEORIES = {"first_order": "displacement_linear", "second_order": "displacement_second_order"}
MEMBER = "member"  # of an ensemble, each judged alone
Boxes = dict[str, np.ndarray]  # who says so -> (channel, *cells)


@dataclass
class Judgement:
    """Sums over boxes, from which all scores of one field are made.

    Parameters
    ----------
    spacing
        Edge of a cell, Mpc/h.
    variable, unit
        Name of the field, and what it is in.

    >>> judgement = Judgement(spacing=4.0, variable="displacement")
    >>> truth = np.random.default_rng(0).normal(size=(2, 16, 16))
    >>> judgement.add({"prediction": 0.5 * truth}, truth)
    >>> [round(row["value"], 3) for row in judgement.rows("test") if row["measure"] == "relative_l2"]
    [0.5]
    """

    spacing: float
    variable: str
    unit: str = "Mpc/h"
    errors: dict[str, ErrorSums] = field(default_factory=dict)
    spectra: dict[str, SpectrumSums] = field(default_factory=dict)
    densities: dict[str, SpectrumSums] = field(default_factory=dict)
    clustering: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    ensemble: EnsembleSums = field(default_factory=EnsembleSums)
    of_members: SpectrumSums | None = None

    def add(
        self,
        told: Mapping[str, np.ndarray],
        truth: np.ndarray,
        *,
        members: np.ndarray | None = None,
        moving: Mapping[str, np.ndarray] | None = None,
        redshift: float = 0.0,
        expansion_rate: float = 100.0,
    ) -> None:
        """Take in one box.

        Parameters
        ----------
        told
            Who -> (channel, *cells).
        members
            (member, channel, *cells) of an ensemble, whose mean is the prediction.
        moving
            Who -> velocity in km/s, where it is known, the truth's under `truth`: for redshift space.
        redshift, expansion_rate
            Of the box, and its H in units of km/s/(Mpc/h).
        """
        for name, values in told.items():
            self.errors.setdefault(name, ErrorSums()).add(values, truth)
            self._spectra(name).add(values, truth)
        if members is not None:
            self.ensemble.add(members, truth)
            for member in members:
                if self.of_members is None:
                    self.of_members = SpectrumSums(self.spacing)
                self.of_members.add(member, truth)
        if self.is_displacement(truth):
            self._add_densities(
                told, truth, moving or {}, {"redshift": redshift, "expansion_rate": expansion_rate}
            )

    def is_displacement(self, truth: np.ndarray) -> bool:
        """Tell whether the field says where matter goes."""
        return self.variable.startswith("displacement") and len(truth) == truth.ndim - 1

    def _spectra(self, name: str) -> SpectrumSums:
        return self.spectra.setdefault(name, SpectrumSums(self.spacing))

    def _add_densities(
        self,
        told: Mapping[str, np.ndarray],
        truth: np.ndarray,
        moving: Mapping[str, np.ndarray],
        space: Mapping[str, float],
    ) -> None:
        true = density_of(truth, spacing=self.spacing)
        true_numbers = _describe(true, self.spacing) | self._see_redshift(truth, moving.get("truth"), space)
        for name, values in told.items():
            density = density_of(values, spacing=self.spacing)
            sums = self.densities.setdefault(name, SpectrumSums(self.spacing))
            sums.add(density[None], true[None])
            numbers = _describe(density, self.spacing) | self._see_redshift(values, moving.get(name), space)
            own = {key: numbers[key] / true_numbers[key] for key in numbers if true_numbers.get(key)}
            own["density_pdf_distance"] = density_distance(density, true)
            self.clustering.setdefault(name, []).append(own)

    def _see_redshift(
        self, displacement: np.ndarray, velocity: np.ndarray | None, space: Mapping[str, float]
    ) -> dict[str, float]:
        """Measure the monopole of the power in redshift space up to half the Nyquist wavenumber."""
        if velocity is None:
            return {}
        seen = into_redshift_space(displacement, velocity, axis=0, **space)
        density = density_of(seen, spacing=self.spacing)
        wavenumber, monopole, _ = power_multipoles(density, spacing=self.spacing, axis=0)
        return {"redshift_space_power_ratio": float(monopole[wavenumber <= np.pi / self.spacing / 2].sum())}

    def rows(self, against: str) -> Iterator[dict[str, Any]]:
        """Give all scores, one a row; those of spectra with their wavenumber, in h/Mpc."""
        of = None if self.variable == "displacement" else self.variable
        for name, errors in self.errors.items():
            yield make_score(against, "relative_l2", "1", name, errors.relative_l2, of=of)
        every = {**self.spectra, **({MEMBER: self.of_members} if self.of_members else {})}
        for prefix, spectra in (("", every), ("density_", self.densities)):
            for name, sums in spectra.items():
                yield from _tell_spectra(against, prefix, name, sums, of)
        for name, numbers in self.clustering.items():
            for measure in numbers[0]:
                mean = float(np.mean([each[measure] for each in numbers]))
                yield make_score(against, measure, "1", name, mean, of=of)
        if self.of_members is not None:
            yield make_score(against, "crps", self.unit, "prediction", self.ensemble.crps, of=of)
            for name, errors in self.errors.items():
                if name != "prediction":  # the score of a single field is its mean absolute error
                    yield make_score(against, "crps", self.unit, name, errors.mae, of=of)
            yield make_score(against, "coverage_90", "1", "prediction", self.ensemble.coverage(0.9), of=of)
            ratio = self.ensemble.spread_error_ratio
            yield make_score(against, "spread_error_ratio", "1", "prediction", ratio, of=of)


def _tell_spectra(
    against: str, prefix: str, name: str, sums: SpectrumSums, of: str | None
) -> Iterator[dict[str, Any]]:
    for share in SHARES:
        at = sums.at(share)
        place = {"at": round(at["wavenumber"], 4), "nyquist": share, "of": of}
        yield make_score(against, f"{prefix}power_ratio", "1", name, at["power_ratio"], **place)
        if name != MEMBER:
            yield make_score(
                against, f"{prefix}cross_correlation", "1", name, at["cross_correlation"], **place
            )


def _describe(density: np.ndarray, spacing: float) -> dict[str, float]:
    """Measure the bispectrum of a density: summed over equilateral triangles, and over squeezed ones."""
    if len(set(density.shape)) > 1:
        return {}
    cells, numbers = len(density), {}
    for kind, triangles in (
        ("equilateral", equilateral_triangles(cells)),
        ("squeezed", squeezed_triangles(cells)),
    ):
        known = [each for each in triangles if max(each) <= cells // 4]
        numbers[f"bispectrum_{kind}_ratio"] = float(np.nansum(bispectrum(density, known, spacing=spacing)))
    return numbers


def open_boxes(
    prediction: Path, case: Case, names: Sequence[str], *, first: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read what was predicted for a box: (channel, *cells), and (member, channel, *cells) of its members.

    Parameters
    ----------
    prediction
        What the verb predict wrote: a folder, or the file of one box.
    names, first
        Of the channels, and the place of the first in an array without names.

    Raises
    ------
    InputError
        Where the file is missing, damaged or of another box.
    """
    if not prediction.exists():
        raise InputError(f"{prediction}: no such file; write it with `fieldwise structure_formation predict`")
    path = prediction
    if prediction.is_dir() and prediction.suffix != ".zarr":
        every = [prediction / name_file(case.name, kind) for kind in ("nc", "zarr", "npy")]
        path = next((each for each in every if each.exists()), every[0])
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
            values = values.take(range(first, first + len(names)), axis=-1 - len(case.shape))
            members = values if values.ndim == len(case.shape) + 2 else None
            found = values.mean(axis=0) if members is not None else values
        else:
            found, members = _read_dataset(path, names)
    except (OSError, ValueError, LookupError) as error:
        reason = first_line(error)
        raise InputError(f"{path}: cannot be read ({reason}); predict all boxes of {case.split}") from None
    if found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise InputError(f"{path}: holds values that are no finite numbers; predict again")
    if found.shape[1:] != case.shape:
        raise InputError(f"{path}: holds {found.shape} values, box {case} {case.shape}; predict again")
    return found, members


def _read_dataset(path: Path, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray | None]:
    engine: Any = "zarr" if path.suffix == ".zarr" else "h5netcdf"
    with xr.open_dataset(path, engine=engine) as opened:
        found = np.stack([opened[name].values for name in names])
        if f"{names[0]}_{MEMBER}" not in opened:
            return found, None
        return found, np.stack([opened[f"{name}_{MEMBER}"].values for name in names], axis=1)
