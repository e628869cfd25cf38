"""Records of weather: the times of one run in order, opened but not read, and how they are parted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.samples.prepared import SPLITS
from fieldwise.samples.weather.deepcam import NAME, read_sample, time_of

EPOCH = np.datetime64("2000-01-01T00", "h")
TIME = {"units": "hours since 2000-01-01 00:00:00", "calendar": "standard"}  # as CF says it
HOUR = np.timedelta64(1, "h")
DEEPCAM_SEED = 12345


@dataclass(frozen=True)
class Record:
    """The times of one run of a model, or of a part of it.

    Parameters
    ----------
    name
        As its case is to be called.
    grid
        Where the cells lie, rows from north to south.
    hours
        Since the year 2000, of the times.
    read
        Gives the fields of a time, by its place among those of the run: name to (rows, columns).
    files
        That it is read from.
    split
        Training, validation or test; None before it is parted.
    places
        Of its times among those of the run; all by default.
    """

    name: str
    grid: GlobalGrid
    hours: np.ndarray
    read: Callable[[int], dict[str, np.ndarray]]
    files: tuple[Path, ...] = ()
    split: str | None = None
    places: Sequence[int] = ()

    def __post_init__(self) -> None:
        """Refuse times that are not in order; take all places where none are named."""
        if not self.places:
            object.__setattr__(self, "places", range(len(self.hours)))
        steps = np.diff(self.hours)
        if (steps <= 0).any():
            at = int(np.argmax(steps <= 0))
            time = EPOCH + int(self.hours[at + 1]) * HOUR
            raise InputError(
                f"{self.name}: time {time} follows {EPOCH + int(self.hours[at]) * HOUR}; "
                "give each time once, in order"
            )

    def __len__(self) -> int:
        """Count the times."""
        return len(self.places)

    def part(self, numbers: Sequence[int], split: str) -> Record:
        """Give the times of these numbers, in their order, as a record of a split."""
        places = [self.places[number] for number in numbers]
        name, hours = f"{self.name}_{split}", self.hours[list(numbers)]
        return replace(self, name=name, split=split, hours=hours, places=places)


def open_samples(folder: str | Path) -> list[Record]:
    """Open a folder of DeepCAM's samples, in it or below: a record for each run.

    Sets of labels are called ``labels_0`` and so on.

    Raises
    ------
    InputError
        Where there are none, two have one time and run, or they differ in shape.

    >>> import tempfile
    >>> from fieldwise.physics.extreme_weather.channels import CHANNELS
    >>> from fieldwise.samples.weather.deepcam import write_sample
    >>> folder, fields = tempfile.mkdtemp(), {name: np.zeros((5, 8)) for name in CHANNELS}
    >>> for hour in ("2001-08-01T03", "2001-08-01T00"):
    ...     _ = write_sample(folder, np.datetime64(hour), fields, (np.eye(5, 8),), run=4)
    >>> (record,) = open_samples(folder)
    >>> record.name, record.hours.tolist(), list(record.read(0))[-2:]
    ('run_4', [13872.0, 13875.0], ['ZBOT', 'labels_0'])
    """
    folder = Path(folder)
    files = [path for path in sorted(folder.rglob("data-*.h5")) if NAME.fullmatch(path.name)]
    if not files:
        raise InputError(f"{folder}: holds no sample of DeepCAM; give a folder with data-YYYY-MM-DD-SS-R.h5")
    runs: dict[int, list[tuple[np.datetime64, Path]]] = {}
    for path in files:
        time, run = time_of(path)
        runs.setdefault(run, []).append((time, path))
    return [_open_run(run, sorted(timed)) for run, timed in sorted(runs.items())]


def _open_run(run: int, timed: Sequence[tuple[np.datetime64, Path]]) -> Record:
    paths = tuple(path for _, path in timed)
    grid = read_sample(paths[0]).grid

    def read(place: int) -> dict[str, np.ndarray]:
        sample = read_sample(paths[place])
        if sample.grid.shape != grid.shape:
            raise InputError(
                f"{paths[place]}: has {sample.grid.shape} cells, {paths[0].name} {grid.shape}; "
                "give samples of one grid"
            )
        labels = {f"labels_{number}": classes for number, classes in enumerate(sample.labels)}
        return sample.fields | labels

    hours = np.array([(time - EPOCH) / HOUR for time, _ in timed])
    return Record(f"run_{run}", grid, hours, read, paths)


def part_by_runs(records: Sequence[Record], shares: Sequence[float]) -> list[Record]:
    """Part records by whole runs, in their order: none is seen in two splits.

    Parameters
    ----------
    shares
        Of the runs, for training, validation and test; each gets one at least.

    >>> grid = GlobalGrid.regular(5, 8)
    >>> runs = [Record(f"run_{number}", grid, np.arange(2.0), lambda place: {}) for number in range(4)]
    >>> [record.split for record in part_by_runs(runs, (0.8, 0.1, 0.1))]
    ['training', 'training', 'validation', 'test']
    """
    check_shares(shares)
    if len(records) < len(SPLITS):
        raise InputError(
            f"there are {len(records)} runs for {', '.join(SPLITS)}; give three, or --split period"
        )
    splits = _deal(len(records), shares)
    return [replace(record, split=split) for record, split in zip(records, splits, strict=True)]


def part_by_periods(records: Sequence[Record], shares: Sequence[float], gap_h: float) -> list[Record]:
    """Part each record into one period for each split, with a gap between, so that no event is in two.

    Parameters
    ----------
    shares
        Of the times, for training, validation and test.
    gap_h
        Hours that are left out between two periods: longer than what lives in them.

    Raises
    ------
    InputError
        Where the times do not suffice for three periods.

    >>> season = Record("run_1", GlobalGrid.regular(5, 8), 3.0 * np.arange(100), lambda place: {})
    >>> parts = part_by_periods([season], (0.8, 0.1, 0.1), gap_h=24.0)
    >>> [(part.name, len(part), part.hours[0].item()) for part in parts]
    [('run_1_training', 67, 0.0), ('run_1_validation', 8, 225.0), ('run_1_test', 9, 273.0)]
    """
    check_shares(shares)
    parts = []
    for record in records:
        hours = record.hours - record.hours[0]
        room = hours[-1] - 2 * gap_h
        ends = [room * sum(shares[: number + 1]) + number * gap_h for number in range(len(SPLITS))]
        for split, begin, end in zip(SPLITS, (0.0, ends[0] + gap_h, ends[1] + gap_h), ends, strict=True):
            inside = np.flatnonzero((hours >= begin) & (hours < end + (split == "test")))
            if not inside.size:
                raise InputError(
                    f"{record.name}: {hours[-1]:g} hours with gaps of {gap_h:g} leave no {split} period; "
                    "give longer ones, or a shorter --gap_hours"
                )
            parts.append(record.part(inside.tolist(), split))
    return parts


def part_by_years(records: Sequence[Record], shares: Sequence[float], gap_h: float) -> list[Record]:
    """Part records by calendar years, the same in all runs: the first for training, the last for the test.

    Parameters
    ----------
    shares
        Of the years, for training, validation and test; each gets one at least.
    gap_h
        Hours left out at the beginning of a period that follows another.

    Raises
    ------
    InputError
        Where there are fewer than three years.

    >>> hours = 24.0 * np.arange(4 * 365)
    >>> season = Record("run_1", GlobalGrid.regular(5, 8), hours, lambda place: {})
    >>> parts = part_by_years([season], (0.8, 0.1, 0.1), gap_h=240.0)
    >>> [(part.name, str(EPOCH + int(part.hours[0]) * HOUR)) for part in parts][1:]
    [('run_1_validation', '2002-01-10T00'), ('run_1_test', '2003-01-10T00')]
    """
    check_shares(shares)
    of_records = [_years_of(record.hours) for record in records]
    years = np.unique(np.concatenate(of_records)).tolist()
    if len(years) < len(SPLITS):
        raise InputError(
            f"there are times of {len(years)} years for {', '.join(SPLITS)}; give three, or --split period"
        )
    known = dict(zip(years, _deal(len(years), shares), strict=True))
    parts = []
    for record, own in zip(records, of_records, strict=True):
        splits = np.array([known[year] for year in own.tolist()])
        for split in dict.fromkeys(splits.tolist()):
            inside = np.flatnonzero(splits == split)
            begin = record.hours[inside[0] - 1] + gap_h if inside[0] else -np.inf
            kept = inside[record.hours[inside] >= begin]
            if kept.size:
                parts.append(record.part(kept.tolist(), split))
    _check_filled(parts, "give longer ones, or a shorter --gap_hours")
    return parts


def part_as_deepcam(records: Sequence[Record]) -> list[Record]:
    """Part DeepCAM's samples as its own script does, at random: 80, 10 and 10 of 100 files.

    The files of all runs, sorted by name, are shuffled by NumPy's legacy generator with the seed 12345; a
    time for training and one for the test may be three hours apart, and show the same storm. After
    ``split_data.py`` of https://github.com/azrael417/mlperf-deepcam.

    >>> season = Record("run_1", GlobalGrid.regular(5, 8), 3.0 * np.arange(100), lambda place: {})
    >>> season = replace(season, files=[Path(f"{number:02d}.h5") for number in range(100)])
    >>> parts = part_as_deepcam([season])
    >>> [(part.name, len(part)) for part in parts], parts[2].hours[:3].tolist()
    ([('run_1_training', 80), ('run_1_validation', 10), ('run_1_test', 10)], [3.0, 42.0, 87.0])
    """
    names = sorted(path.name for record in records for path in record.files)
    np.random.RandomState(DEEPCAM_SEED).shuffle(names)
    learnt, judged = (int(len(names) * share) for share in (0.8, 0.1))
    ends = {"training": (0, learnt), "validation": (learnt, learnt + judged), "test": (learnt + judged, None)}
    chosen = {split: frozenset(names[slice(*pair)]) for split, pair in ends.items()}
    parts = []
    for record in records:
        for split in SPLITS:
            inside = [number for number, path in enumerate(record.files) if path.name in chosen[split]]
            if inside:
                parts.append(record.part(inside, split))
    _check_filled(parts, "give ten samples or more")
    return parts


def _years_of(hours: np.ndarray) -> np.ndarray:
    times = EPOCH + np.floor(hours).astype(int) * HOUR
    return times.astype("datetime64[Y]").astype(int) + 1970


def _deal(count: int, shares: Sequence[float]) -> list[str]:
    """Give each of so many, in their order, a split.

    >>> _deal(4, (0.8, 0.1, 0.1))
    ['training', 'training', 'validation', 'test']
    """
    later = [max(1, round(share * count)) for share in shares[1:]]
    first = max(1, count - sum(later))
    return (["training"] * first + ["validation"] * later[0] + ["test"] * later[1])[:count]


def _check_filled(parts: Sequence[Record], remedy: str) -> None:
    missing = [split for split in SPLITS if split not in {part.split for part in parts}]
    if missing:
        raise InputError(f"there is no time for {', '.join(missing)}; {remedy}")


def check_shares(shares: Sequence[float]) -> None:
    """Refuse shares of the splits that are not three, above 0, and together all.

    >>> check_shares((0.8, 0.1, 0.1))
    >>> check_shares((0.8, 0.2))
    Traceback (most recent call last):
    fieldwise.errors.InputError: --shares: are 0.8 0.2; give three above 0, for training, ...
    """
    if len(shares) != len(SPLITS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise InputError(
            f"--shares: are {' '.join(f'{share:g}' for share in shares)}; give three above 0, for "
            f"{', '.join(SPLITS)}, that add up to 1"
        )
