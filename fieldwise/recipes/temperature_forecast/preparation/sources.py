"""Weather of a user's own files as stretches of hours: extracted, parted, with the sun of every hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fieldwise.errors import InputError
from fieldwise.physics.temperature_forecast.sunshine import cosine_of_zenith
from fieldwise.recipes.temperature_forecast.cases import CONTEXT_H, HORIZON_H, SUNSHINE, Stretch
from fieldwise.samples.hours.months import Extracted, extract_months
from fieldwise.samples.hours.names import name_data_set
from fieldwise.samples.hours.periods import (
    Period,
    cut_runs,
    keep_apart,
    months_of,
    part_by_folds,
    part_by_shares,
    read_periods,
    time_of,
)
from fieldwise.samples.hours.requests import read_request


def open_months(
    file: str | Path,
    out: Path,
    *,
    split: Path | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> tuple[Extracted, tuple[Path, ...]]:
    """Extract what a FILE.yaml asks for, or open what is extracted already; name the files it came from too.

    Where splits name their months, only these are extracted.

    >>> open_months("era5.yaml", Path("data"))
    Traceback (most recent call last):
    fieldwise.errors.InputError: era5.yaml: no such file
    """
    request, only = read_request(file), None
    if split is not None:
        only = months_of(hour for period in read_periods(split) for hour in range(period.first, period.end))
    return extract_months(request, out, only=only, workers=workers, progress=progress), request.files


def part_hours(
    extracted: Extracted,
    *,
    shares: Sequence[float],
    split: Path | None,
    folds: int,
    fold: int | None,
    buffer_h: int,
    gaps: Literal["refuse", "split"],
) -> list[Stretch]:
    """Part what was extracted into stretches of hours, by months, folds or shares.

    Raises
    ------
    InputError
        Where hours are missing, splits overlap, or one is left without a whole sequence.

    >>> axes = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    >>> extracted = Extracted({}, np.arange(240.0), *axes, {"t2m": "K"}, [])
    >>> options = {"split": None, "folds": 5, "fold": 4, "buffer_h": 12, "gaps": "refuse"}
    >>> for stretch in part_hours(extracted, shares=(0.6, 0.2, 0.2), **options):
    ...     print(stretch.split, stretch.name)
    validation 2000-01-01T00_to_2000-01-02T11
    training 2000-01-03T00_to_2000-01-08T11
    test 2000-01-09T00_to_2000-01-10T23
    """
    hours = extracted.hours
    if gaps == "refuse" and extracted.lacking:
        raise InputError(f"{'; '.join(extracted.lacking[:3])}; fetch them, or give --gaps split")
    if split is not None and fold is not None:
        raise InputError("--split: names the months of splits, and --fold parts by folds; give one of them")
    if split is not None:
        periods = read_periods(split)
    elif fold is not None:
        periods = part_by_folds(hours, folds, fold)
    else:
        periods = part_by_shares(hours, shares)
    sequence_h = CONTEXT_H + HORIZON_H
    runs = cut_runs(hours, keep_apart(periods, buffer_h), sequence_h=sequence_h, gaps=gaps)
    return [_stretch(extracted, period, cells) for period, cells in runs]


def _stretch(extracted: Extracted, period: Period, cells: slice) -> Stretch:
    name = f"{time_of(period.first)}_to_{time_of(period.end - 1)}"
    hours, axes = extracted.hours[cells], (extracted.latitude, extracted.longitude)
    frames = _Frames(extracted, cells)
    return Stretch(name, period.split, hours, frames, *axes, {**extracted.units, SUNSHINE: "1"})


class _Frames:
    """The fields of some hours, one after the other, with the sun; read anew each time."""

    def __init__(self, extracted: Extracted, cells: slice) -> None:
        self.extracted, self.cells = extracted, cells

    def __iter__(self) -> Iterator[Mapping[str, np.ndarray]]:
        told = self.extracted
        for hour, fields in zip(told.hours[self.cells], told.frames(self.cells), strict=True):
            sun = cosine_of_zenith(np.array([hour]), told.latitude, told.longitude)[0]
            yield fields | {SUNSHINE: np.maximum(0, sun).astype(np.float32)}


def describe(extracted: Extracted, stretches: Sequence[Stretch]) -> dict[str, Any]:
    """Describe a data set as AMBS does in its metadata.json: name, frame, coordinates, variables and split.

    >>> hours, axes = np.arange(24.0), (np.array([50.25, 50.0]), np.array([350.0, 350.25]))
    >>> extracted = Extracted({}, hours, *axes, {"t2m": "K"}, [])
    >>> stretch = Stretch("january", "test", hours, [], *axes, {"t2m": "K"})
    >>> described = describe(extracted, [stretch])
    >>> described["dataset"], described["data_split"]
    ('Y2000M01to01-2_2-50.00N350.00E-t2m', {'test': {'2000': [1]}})
    """
    months = months_of(extracted.hours)
    latitude, longitude = extracted.latitude, extracted.longitude
    corner, shape = (float(latitude[-1]), float(longitude[0])), (len(latitude), len(longitude))
    split: dict[str, dict[str, list[int]]] = {}
    for stretch in stretches:
        years = split.setdefault(stretch.split, {})
        for month in months_of(stretch.hours):
            years.setdefault(month[:4], []).append(int(month[5:]))
    return {
        "dataset": name_data_set(months, shape, corner, extracted.units),
        "sw_corner_frame": {"lat": corner[0], "lon": corner[1]},
        "frame_size": {"nx": shape[1], "ny": shape[0]},
        "coordinates": {"lat": latitude.tolist(), "lon": longitude.tolist()},
        "variables": {f"var{number}": name for number, name in enumerate(extracted.units, start=1)},
        "data_split": {name: {y: sorted({*m}) for y, m in years.items()} for name, years in split.items()},
        "notes": extracted.notes,
        "stretches": {stretch.name: stretch.split for stretch in stretches},
    }
