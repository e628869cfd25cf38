"""Cases of weather in a prepared folder: fields on the whole globe, and who says what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.channels import CHANNELS, CLASSES, UNITS
from fieldwise.physics.extreme_weather.cyclones import NEEDED
from fieldwise.physics.extreme_weather.labels import label_by_transport, label_by_vapour
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.physics.extreme_weather.transport import approximate_transport
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Draft
from fieldwise.samples.signatures import Variable
from fieldwise.samples.weather.records import EPOCH, HOUR, TIME, Record
from fieldwise.samples.weather.statistics import gather_statistics, write_statistics

RECIPE = "extreme_weather"
PLANTED, LABELS, LABELLER, SECOND = "planted", "labels", "labeller", "second_labeller"
# Who tells the classes of cells, in the order of trust; what they are called in scores.
JUDGES = {PLANTED: "planted masks", LABELS: "labels", LABELLER: "labeller", SECOND: "second labeller"}
TRANSPORT = "IVT"
ALL_UNITS = {**UNITS, TRANSPORT: "kg m-1 s-1"}
WINDS = (("U850", "V850"), ("UBOT", "VBOT"))  # components of vectors
TO_LABEL = (*NEEDED, TRANSPORT)


def write_case(record: Record, draft: Draft, *, made: bool, labellers: bool, progress: bool) -> Case:
    """Write the times of a record into a prepared folder, label them, and describe the case.

    The transport of vapour, where it is not among the fields, is approximated.

    Parameters
    ----------
    made
        Whether the source is a sandbox: its first labels are the planted ones, its second a labeller's.
    labellers
        Whether to label by both rules.

    Raises
    ------
    InputError
        Where a value is missing or infinite, labels hold what is no class, or times differ in what they have.
    """
    home = Path(str(record.split)) / record.name
    (draft.folder / home).mkdir(parents=True)
    np.save(draft.folder / home / "time.npy", record.hours)
    names = {"labels_0": PLANTED if made else LABELS, "labels_1": LABELLER if made else "further_labels"}
    written: dict[str, np.ndarray] = {}
    for frame, place in enumerate(tqdm(record.places, record.name, unit="time", disable=not progress)):
        fields = {names.get(name, name): values for name, values in record.read(place).items()}
        if TRANSPORT not in fields and {"TMQ", "U850", "V850"} <= fields.keys():
            fields[TRANSPORT] = approximate_transport(fields)
        _check(fields, record, frame, written)
        for name, values in fields.items():
            if name not in written:
                path = draft.folder / home / f"{name}.npy"
                kind, shape = np.uint8 if is_judge(name) else np.float32, (len(record), *record.grid.shape)
                written[name] = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
            written[name][frame] = values
    if labellers:
        _label(record, written, draft.folder / home)
        written |= dict.fromkeys((LABELLER, SECOND), np.empty(0))
    return draft.add(_describe(record, draft, home, sorted(written)))


def is_judge(name: str) -> bool:
    """Tell whether a field holds classes.

    >>> is_judge("planted"), is_judge("TMQ")
    (True, False)
    """
    return name in JUDGES or name == "further_labels"


def _check(fields: dict[str, np.ndarray], record: Record, frame: int, known: dict[str, Any]) -> None:
    where = f"{record.name} at {EPOCH + int(record.hours[frame]) * HOUR}"
    if known and known.keys() != fields.keys():
        odd = ", ".join(sorted(known.keys() ^ fields.keys()))
        raise InputError(f"{where}: {odd} is not there at all times; give the same fields at each")
    for name, values in fields.items():
        if values.shape != record.grid.shape:
            raise InputError(f"{where}: {name} has {values.shape} cells, not {record.grid.shape}")
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise InputError(f"{where}: {name} has {bad} values that are missing or infinite; mend them")
        if is_judge(name) and not np.isin(values, np.arange(len(CLASSES))).all():
            odd = np.setdiff1d(values, np.arange(len(CLASSES)))[0]
            raise InputError(f"{where}: {name} holds {odd:g}; classes are 0 to {len(CLASSES) - 1}")


def _label(record: Record, written: dict[str, np.ndarray], folder: Path) -> None:
    """Label by both rules, whatever of it is not there yet."""
    missing = [name for name in TO_LABEL if name not in written]
    if missing:
        raise InputError(
            f"{record.name}: lacks {', '.join(missing)}, which the labellers need; give --labellers false"
        )

    def times() -> Iterator[dict[str, np.ndarray]]:
        return ({name: written[name][frame] for name in TO_LABEL} for frame in range(len(record)))

    for name, label in ((LABELLER, label_by_vapour), (SECOND, label_by_transport)):
        if name not in written:
            np.save(folder / f"{name}.npy", label(times(), record.hours.tolist(), record.grid).classes)


def _describe(record: Record, draft: Draft, home: Path, names: Sequence[str]) -> Case:
    grid = record.grid
    globe = {"latitude": grid.latitude.tolist(), "longitude": grid.longitude.tolist()}
    if draft.facts.setdefault("globe", globe) != globe:
        raise InputError(f"{record.name}: lies on another grid than {draft.cases[0].name}; give one grid")
    draft.facts["classes"] = list(CLASSES)
    return Case(
        record.name,
        record.split,
        draft.folder,
        {name: Variable(name, units=ALL_UNITS.get(name, "1")) for name in names},
        {name: (home / f"{name}.npy").as_posix() for name in names},
        grid.row_step,
        grid.shape,
        spacing_units="degrees",
        frames=len(record),
        times=(home / "time.npy").as_posix(),
        time=dict(TIME),
    )


def write_stats(draft: Draft) -> None:
    """Write stats.h5, as DeepCAM has it, of the training cases, where they have all of its channels."""
    samples = [
        (case, frame)
        for case in draft.cases
        if case.split == "training" and {*CHANNELS} <= case.files.keys()
        for frame in range(case.frames)
    ]
    if samples:
        gathered = gather_statistics(lambda sample: sample[0].stack(CHANNELS, frame=sample[1]), samples)
        write_statistics(draft.folder / "stats.h5", gathered)


def grid_of_case(case: Case) -> GlobalGrid:
    """Give the grid that the cells of a case lie on.

    >>> from fieldwise.samples.examples import make_prepared
    >>> globe = {"latitude": [75.0, 25.0, -25.0, -75.0], "longitude": [0.0, 90.0, 180.0, 270.0]}
    >>> grid_of_case(make_prepared({"TMQ": np.zeros((1, 4, 4))}, globe=globe).cases()[0]).shape
    (4, 4)
    """
    globe = case.facts["globe"]
    return GlobalGrid(np.array(globe["latitude"]), np.array(globe["longitude"]))


def judges_of(case: Case) -> list[str]:
    """List who tells the classes of a case's cells, the most trusted first.

    >>> from fieldwise.samples.examples import make_prepared
    >>> judges_of(make_prepared({name: np.zeros((1, 2, 2)) for name in (SECOND, "TMQ", PLANTED)}).cases()[0])
    ['planted', 'second_labeller']
    """
    return [name for name in JUDGES if name in case.files]
