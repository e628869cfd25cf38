"""Stretches of consecutive hours as cases of a prepared folder: one array a field, an hour a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError
from fieldwise.samples.cases import Case
from fieldwise.samples.hours.periods import time_of
from fieldwise.samples.prepared import Draft
from fieldwise.samples.signatures import Variable
from fieldwise.samples.weather.records import TIME

RECIPE = "temperature_forecast"
SUNSHINE = "sunshine"  # how strongly the sun shines, 0 to 1: known for the hours to come too
CONTEXT_H, HORIZON_H = 12, 12  # of a sequence, where nothing else is said


@dataclass(frozen=True)
class Stretch:
    """Consecutive hours of one split, on one grid.

    Attributes
    ----------
    name, split
        As its case is to be called.
    hours
        (hour,) since the year 2000.
    frames
        Gives the fields of each hour, name to (rows, columns), from north to south.
    latitude, longitude
        (rows,) and (columns,) degrees north and east.
    units
        Of the fields.
    periodic
        Whether fields go on at the other side.
    """

    name: str
    split: str
    hours: np.ndarray
    frames: Iterable[Mapping[str, np.ndarray]] = field(repr=False)
    latitude: np.ndarray = field(repr=False)
    longitude: np.ndarray = field(repr=False)
    units: Mapping[str, str] = field(repr=False)
    periodic: bool = False


def write_case(stretch: Stretch, draft: Draft, *, progress: bool = False) -> Case:
    """Write a stretch into a prepared folder, and describe its case.

    Raises
    ------
    InputError
        Where a value is missing or infinite, by field and hour, or grids differ.

    >>> import tempfile
    >>> from fieldwise.samples.prepared import draft_folder
    >>> axes = {"latitude": np.array([50.0, 49.75]), "longitude": np.array([0.0, 0.25])}
    >>> frames = [{"t2m": np.full((2, 2), 280.0)}] * 3
    >>> stretch = Stretch("march", "test", np.arange(3.0), frames, **axes, units={"t2m": "K"})
    >>> with draft_folder(Path(tempfile.mkdtemp()) / "data", recipe=RECIPE) as draft:
    ...     case = write_case(stretch, draft)
    >>> case.frames, case.spacing, case.variables["t2m"].units
    (3, 0.25, 'K')
    """
    check_plain_name(stretch.name, "case", kind="folder")
    home, shape = Path(stretch.split) / stretch.name, (len(stretch.latitude), len(stretch.longitude))
    globe = {"latitude": stretch.latitude.tolist(), "longitude": stretch.longitude.tolist()}
    if draft.facts.setdefault("globe", globe) != globe:
        raise InputError(f"{stretch.name}: lies on another grid than {draft.cases[0].name}; give one grid")
    draft.facts["step_h"] = 1
    (draft.folder / home).mkdir(parents=True)
    np.save(draft.folder / home / "time.npy", np.asarray(stretch.hours, dtype=np.float64))
    written: dict[str, np.ndarray] = {}
    told = tqdm(
        stretch.frames, stretch.name, total=len(stretch.hours), unit="hour", disable=not progress, leave=False
    )
    for frame, fields in enumerate(told):
        for name, values in fields.items():
            if name not in written:
                path = draft.folder / home / f"{check_plain_name(name, 'field')}.npy"
                written[name] = np.lib.format.open_memmap(
                    path, mode="w+", dtype=np.float32, shape=(len(stretch.hours), *shape)
                )
            written[name][frame] = values
            if not np.isfinite(written[name][frame]).all():
                raise InputError(
                    f"{name}: has values that are missing or infinite at {time_of(stretch.hours[frame])}; "
                    "mend them"
                )
    return draft.add(
        Case(
            stretch.name,
            stretch.split,
            draft.folder,
            {name: Variable(name, units=stretch.units.get(name, "1")) for name in written},
            {name: (home / f"{name}.npy").as_posix() for name in written},
            abs(float(stretch.latitude[0] - stretch.latitude[-1])) / max(1, shape[0] - 1),
            shape,
            spacing_units="degrees",
            periodic=stretch.periodic,
            frames=len(stretch.hours),
            times=(home / "time.npy").as_posix(),
            time=dict(TIME),
        )
    )
