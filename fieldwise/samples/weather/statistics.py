"""Statistics of channels over many samples, and DeepCAM's file of them, ``stats.h5``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError, first_line
from fieldwise.physics.extreme_weather.channels import CHANNELS

NAMES = {"mean": "mean", "square": "sqmean", "least": "minval", "greatest": "maxval"}  # in stats.h5
AT_ONCE = 64  # samples whose statistics are under way


@dataclass(frozen=True)
class Statistics:
    """Of each channel, (channel,): mean, mean of squares, least and greatest value; of how many samples.

    >>> one = Statistics.of(np.array([[[1.0, 3.0]]]))
    >>> both = one.join(Statistics.of(np.array([[[5.0, 5.0]]])))
    >>> both.count, both.mean.tolist(), both.square.tolist(), both.greatest.tolist()
    (2, [3.5], [15.0], [5.0])
    """

    count: int
    mean: np.ndarray
    square: np.ndarray
    least: np.ndarray
    greatest: np.ndarray

    @classmethod
    def of(cls, sample: np.ndarray) -> Statistics:
        """Take them of a sample, (channel, rows, columns)."""
        cells = np.asarray(sample, dtype=np.float64).reshape(len(sample), -1)
        return cls(1, cells.mean(1), (cells**2).mean(1), cells.min(1), cells.max(1))

    def join(self, other: Statistics) -> Statistics:
        """Give those of both, which are of samples of one size."""
        count = self.count + other.count
        share = other.count / count
        return Statistics(
            count,
            (1 - share) * self.mean + share * other.mean,
            (1 - share) * self.square + share * other.square,
            np.minimum(self.least, other.least),
            np.maximum(self.greatest, other.greatest),
        )

    @property
    def spread(self) -> np.ndarray:
        """(channel,): standard deviation."""
        return np.sqrt(np.maximum(self.square - self.mean**2, 0))


def gather_statistics(read: Callable[[Any], np.ndarray], samples: Iterable[Any]) -> Statistics:
    """Gather statistics of samples in parallel, with no more than some of them in memory.

    Parameters
    ----------
    read
        Gives a sample, (channel, rows, columns), of what names it.
    samples
        What names them, such as paths.

    Raises
    ------
    InputError
        Where there is no sample.

    >>> gathered = gather_statistics(lambda value: np.full((1, 2, 2), value), [1.0, 2.0, 6.0])
    >>> gathered.count, gathered.mean.tolist()
    (3, [3.0])
    """
    import dask

    names, total = list(samples), None
    for first in range(0, len(names), AT_ONCE):
        parts = [
            dask.delayed(lambda name: Statistics.of(read(name)))(name) for name in names[first:][:AT_ONCE]
        ]
        for part in dask.compute(*parts, scheduler="threads"):
            total = part if total is None else total.join(part)
    if total is None:
        raise InputError("there is no sample to take statistics of; name one at least")
    return total


def write_statistics(path: str | Path, statistics: Statistics) -> Path:
    """Write statistics of DeepCAM's 16 channels as its stats.h5: ``climate/count``, ``mean`` and others.

    >>> import tempfile
    >>> random = np.random.default_rng(0).normal(size=(16, 4, 4))
    >>> path = write_statistics(Path(tempfile.mkdtemp()) / "stats.h5", Statistics.of(random))
    >>> bool(np.allclose(read_statistics(path).mean, random.mean((1, 2)), atol=1e-6))
    True
    """
    _check(statistics, "statistics")
    path = Path(path)
    with replace_when_done(path) as partial, h5py.File(partial, "w") as file:
        file["climate/count"] = np.full(len(CHANNELS), statistics.count, np.float32)
        for name, theirs in NAMES.items():
            file[f"climate/{theirs}"] = getattr(statistics, name).astype(np.float32)
    return path


def read_statistics(path: str | Path) -> Statistics:
    """Read DeepCAM's stats.h5.

    Raises
    ------
    InputError
        Where the file is missing, cut off, of another layout, or of other channels.

    >>> read_statistics("no/stats.h5")
    Traceback (most recent call last):
    fieldwise.errors.InputError: no/stats.h5: no such file; give the stats.h5 that belongs to the samples
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the stats.h5 that belongs to the samples")
    try:
        with h5py.File(path) as file:
            known = {name: np.ravel(file[f"climate/{theirs}"][...]) for name, theirs in NAMES.items()}
            count = int(np.ravel(file["climate/count"][...])[0])
    except KeyError:
        raise InputError(f"{path}: holds no climate/{', '.join(NAMES.values())}; give a stats.h5") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read as HDF5 ({first_line(error)[:100]}); make it anew") from None
    statistics = Statistics(count, **{name: values.astype(np.float64) for name, values in known.items()})
    _check(statistics, str(path))
    return statistics


def _check(statistics: Statistics, where: str) -> None:
    for name in NAMES:
        values = getattr(statistics, name)
        if values.shape != (len(CHANNELS),) or not np.isfinite(values).all():
            raise InputError(
                f"{where}: {name} is of {values.size} channels; give numbers of all {len(CHANNELS)}: "
                f"{', '.join(CHANNELS)}"
            )
