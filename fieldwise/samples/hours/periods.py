"""Periods of splits: by share, by months, by dates or by folds, kept apart by a buffer, without gaps.

Times are hours since the year 2000; a period holds its first hour and ends before its end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fieldwise.errors import InputError
from fieldwise.samples.prepared import SPLITS
from fieldwise.samples.sources import WORDS
from fieldwise.samples.weather.records import EPOCH, HOUR, check_shares

NAMES = {**WORDS, "val": "validation"}
GIVES_WAY = ("validation", "training", "test")  # the first leaves room for the others, the last for none
EXAMPLE = '{"train": {"2013": [1, 2]}, "val": {"2014": [1]}, "test": [["2015-01-01", "2015-01-20"]]}'


class Period(NamedTuple):
    """Hours of one split, from the first up to the end."""

    split: str
    first: int
    end: int

    def __str__(self) -> str:
        """Write it as people do."""
        return f"{self.split} {time_of(self.first)} to {time_of(self.end - 1)}"


def time_of(hour: float) -> str:
    """Write an hour since 2000 as a time.

    >>> time_of(168312)
    '2019-03-15T00'
    """
    return str(EPOCH + int(hour) * HOUR)


def part_by_shares(hours: np.ndarray, shares: Sequence[float]) -> list[Period]:
    """Part the time from the first hour to the last by shares of the splits, in their order.

    >>> [str(period) for period in part_by_shares(np.arange(240), (0.5, 0.2, 0.3))]
    ['training 2000-01-01T00 to 2000-01-05T23', 'validation 2000-01-06T00 to 2000-01-07T23',
     'test 2000-01-08T00 to 2000-01-10T23']
    """
    check_shares(shares)
    first, end = int(hours[0]), int(hours[-1]) + 1
    edges = [first + round((end - first) * sum(shares[:number])) for number in range(len(SPLITS))] + [end]
    return [Period(split, *edges[number : number + 2]) for number, split in enumerate(SPLITS)]


def part_by_folds(hours: np.ndarray, folds: int, fold: int) -> list[Period]:
    """Part the time into folds of one length: one is the test, the next validation, and the rest training.

    >>> [(period.split, period.first) for period in part_by_folds(np.arange(100), 5, 4)]
    [('validation', 0), ('training', 20), ('test', 80)]
    """
    if not 3 <= folds <= len(hours) or not 0 <= fold < folds:
        raise InputError(f"--fold: is {fold} of {folds}; give 0 to --folds less 1, of 3 folds at least")
    first, end = int(hours[0]), int(hours[-1]) + 1
    edges = [first + (end - first) * number // folds for number in range(folds + 1)]
    words = {fold: "test", (fold + 1) % folds: "validation"}
    parts = [Period(words.get(n, "training"), edges[n], edges[n + 1]) for n in range(folds)]
    return join_periods(parts)


def read_periods(file: str | Path) -> list[Period]:
    """Read which months, or dates, belong to which split.

    The file is JSON: for each of train, val and test either a year to its months, or a list of first and last
    days: ``{"train": {"2013": [1, 2]}, "val": {"2014": [1]}, "test": [["2015-01-01", "2015-01-20"]]}``.

    Raises
    ------
    InputError
        Where the file is no such JSON, splits overlap, or one of them is missing.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "split.json"
    >>> _ = file.write_text('{"train": {"2013": [1, 2]}, "val": {"2014": [1]}, "test": {"2013": [2]}}')
    >>> read_periods(file)
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...: training 2013-01-01T00 to 2013-02-28T23 overlaps test 2013-02-01T00 ...
    """
    file = Path(file)
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; give one such as {EXAMPLE}") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: is no JSON ({error}); give {EXAMPLE}") from None
    if not isinstance(content, Mapping) or {NAMES.get(name) for name in content} != {*SPLITS}:
        raise InputError(f"{file}: names other splits than train, val and test; give {EXAMPLE}")
    try:
        periods = [Period(NAMES[name], *ends) for name, said in content.items() for ends in _read_ends(said)]
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{file}: {error}; give {EXAMPLE}") from None
    try:
        return join_periods(periods)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def _read_ends(said: Any) -> list[tuple[int, int]]:
    """Read years to months, or lists of first and last days."""
    if isinstance(said, Mapping):
        months = [
            np.datetime64(f"{int(year):04d}-{int(m):02d}") for year, all_of in said.items() for m in all_of
        ]
        spans = [(month, month + 1) for month in months]
    else:
        days = [(np.datetime64(first, "D"), np.datetime64(last, "D")) for first, last in said]
        spans = [(first, last + 1) for first, last in days]
    ends = [tuple(int((each.astype("datetime64[h]") - EPOCH) / HOUR) for each in span) for span in spans]
    if not ends or any(first >= end for first, end in ends):
        raise ValueError("a split has no hours, or ends before it begins")
    return [(first, end) for first, end in ends]


def join_periods(periods: Iterable[Period]) -> list[Period]:
    """Put periods in order, and join those of a split that follow each other; overlaps are refused.

    >>> join_periods([Period("test", 24, 48), Period("test", 0, 24)])
    [Period(split='test', first=0, end=48)]
    """
    joined: list[Period] = []
    for period in sorted(periods, key=lambda period: (period.first, period.end)):
        before = joined[-1] if joined else None
        if before and period.first < before.end:
            raise InputError(f"{before} overlaps {period}; give each hour to one split, once")
        if before and before.split == period.split and before.end == period.first:
            joined[-1] = before._replace(end=period.end)
        else:
            joined.append(period)
    return joined


def months_of(hours: Iterable[float]) -> list[str]:
    """List the months that hours lie in, in order.

    >>> months_of(range(700, 1500, 24))
    ['2000-01', '2000-02', '2000-03']
    """
    return list(dict.fromkeys(time_of(hour)[:7] for hour in hours))


def keep_apart(periods: Sequence[Period], buffer_h: int) -> list[Period]:
    """Shorten periods so that so many hours lie between any two splits.

    Validation gives way to training and test, training gives way to test, and test is kept whole.

    >>> month = [Period("training", 0, 480), Period("validation", 480, 576), Period("test", 576, 744)]
    >>> keep_apart(month, 24)[1]
    Period(split='validation', first=504, end=552)
    """
    kept = []
    for period in periods:
        parts = [period]
        for other in periods:
            if GIVES_WAY.index(other.split) > GIVES_WAY.index(period.split):
                lower, upper = other.first - buffer_h, other.end + buffer_h
                parts = [
                    piece
                    for part in parts
                    for piece in (
                        part._replace(end=min(part.end, lower)),
                        part._replace(first=max(part.first, upper)),
                    )
                    if piece.first < piece.end
                ]
        kept += parts
    return sorted(kept, key=lambda period: period.first)


def cut_runs(
    hours: np.ndarray,
    periods: Sequence[Period],
    *,
    sequence_h: int,
    gaps: Literal["refuse", "split"] = "refuse",
) -> list[tuple[Period, slice]]:
    """Cut periods into runs of hours that follow each other: what each spans, and its places in `hours`.

    Runs shorter than a sequence are left out.

    Parameters
    ----------
    hours
        (hour,) that there are, in order.
    periods
        Of splits.
    sequence_h
        Hours that are read together.
    gaps
        Whether hours that are missing within a period are refused, or part it.

    Raises
    ------
    InputError
        Where hours are missing, or a split is left without a run as long as a sequence.

    >>> hours = np.array([0, 1, 2, 3, 6, 7, 8, 9])
    >>> everything = [Period(split, 10 * n, 10 * n + 10) for n, split in enumerate(SPLITS)]
    >>> hours = np.concatenate([hours, np.arange(10, 30)])
    >>> runs = cut_runs(hours, everything, sequence_h=4, gaps="split")
    >>> [(run.split, cells.start, cells.stop) for run, cells in runs]
    [('training', 0, 4), ('training', 4, 8), ('validation', 8, 18), ('test', 18, 28)]
    >>> cut_runs(hours, everything, sequence_h=4)
    Traceback (most recent call last):
    fieldwise.errors.InputError: training 2000-01-01T00 to 2000-01-01T09: lacks 2 of 10 ...
    """
    runs = []
    for period in periods:
        inside = np.flatnonzero((hours >= period.first) & (hours < period.end))
        missing = np.setdiff1d(np.arange(period.first, period.end), hours[inside])
        if missing.size and (gaps == "refuse" or not inside.size):
            raise InputError(
                f"{period}: lacks {missing.size} of {period.end - period.first} hours, first "
                f"{time_of(missing[0])}; fetch them"
                + (", or give --gaps split" if inside.size else ", or leave the period out")
            )
        for part in np.split(inside, np.flatnonzero(np.diff(hours[inside]) != 1) + 1):
            if len(part) >= sequence_h:
                first, end = int(hours[part[0]]), int(hours[part[-1]]) + 1
                runs.append((Period(period.split, first, end), slice(int(part[0]), int(part[-1]) + 1)))
    for split in SPLITS:
        if all(run.split != split for run, _ in runs):
            raise InputError(
                f"{split}: is left without {sequence_h} hours that follow each other, as a sequence needs; "
                "give it a longer period, or a shorter --buffer_hours"
            )
    return runs
