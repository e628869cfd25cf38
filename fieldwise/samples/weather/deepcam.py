"""DeepCAM's samples: one HDF5 file a time, ``data-YYYY-MM-DD-SS-R.h5``.

In a file, rows go from south to north, and the channels come last; here, as everywhere in the package, rows
go from north to south. Neither coordinates nor names of channels are in the files: rows go from pole to pole,
columns from 0 degrees east, and the channels are those of `CHANNELS`, in their order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError, first_line
from fieldwise.physics.extreme_weather.channels import CHANNELS, CLASSES
from fieldwise.physics.extreme_weather.sphere import GlobalGrid

STEP_H = 3  # hours from one number in a day to the next
NAME = re.compile(r"data-(\d{4})-(\d\d)-(\d\d)-(\d\d)-(\d+)\.h5")


@dataclass(frozen=True)
class WeatherSample:
    """What a file holds.

    Attributes
    ----------
    time
        To the hour.
    run
        Of the climate model.
    fields
        By the names of channels, (rows, columns) float32, rows from north to south.
    labels
        Sets of classes, (rows, columns) uint8: 0 background, 1 tropical cyclone, 2 atmospheric river.
    instances
        (rows, columns) int32, which event a cell belongs to; None where the file does not tell.
    """

    time: np.datetime64
    run: int
    fields: dict[str, np.ndarray]
    labels: tuple[np.ndarray, ...]
    instances: np.ndarray | None = None

    @property
    def grid(self) -> GlobalGrid:
        """Where the cells lie."""
        return GlobalGrid.regular(*self.fields[CHANNELS[0]].shape)


def name_sample(time: np.datetime64, run: int) -> str:
    """Name the file of a time and a run.

    >>> name_sample(np.datetime64("2005-08-28T21"), 1)
    'data-2005-08-28-07-1.h5'
    """
    hour = time.astype("datetime64[h]")
    of_day = int((hour - time.astype("datetime64[D]")).astype(int))
    if of_day % STEP_H or hour != time:
        raise InputError(f"time: is {time}; DeepCAM's files are three-hourly, from 00 on")
    return f"data-{time.astype('datetime64[D]')}-{of_day // STEP_H:02d}-{run}.h5"


def time_of(path: str | Path) -> tuple[np.datetime64, int]:
    """Tell the time and the run of a file by its name; undoes `name_sample`.

    >>> time_of("data-2005-08-28-07-1.h5")
    (np.datetime64('2005-08-28T21','h'), 1)
    """
    found = NAME.fullmatch(Path(path).name)
    try:
        if not found or int(found[4]) >= 24 // STEP_H:
            raise ValueError
        day = np.datetime64("-".join(found.groups()[:3]), "h")
    except ValueError:
        raise InputError(f"{Path(path).name}: is no name of a sample; give data-YYYY-MM-DD-SS-R.h5") from None
    return day + STEP_H * int(found[4]), int(found[5])


def write_sample(
    folder: str | Path,
    time: np.datetime64,
    fields: Mapping[str, np.ndarray],
    labels: tuple[np.ndarray, ...],
    *,
    run: int = 1,
    instances: np.ndarray | None = None,
) -> Path:
    """Write a sample as DeepCAM's are.

    Datasets are ``climate/data`` (rows, columns, 16) float32, ``climate/labels_0`` and so on, and
    ``climate/data_stats`` (4, 16): mean, greatest, least value and standard deviation of each channel; beside
    these ``climate/instances``, where there are any.

    Parameters
    ----------
    folder
        To write to.
    time, run
        For the name.
    fields
        All 16 channels, (rows, columns), rows from north to south, pole to pole.
    labels
        Sets of classes, of the same shape.
    instances
        Which event a cell belongs to.

    Returns
    -------
    pathlib.Path
        The file.

    >>> import tempfile
    >>> fields = {name: np.full((5, 8), place) for place, name in enumerate(CHANNELS)}
    >>> path = write_sample(tempfile.mkdtemp(), np.datetime64("2001-08-01T03"), fields, (np.zeros((5, 8)),))
    >>> with h5py.File(path) as file:
    ...     file["climate/data"].shape, file["climate/data_stats"][0, :3].tolist()
    ((5, 8, 16), [0.0, 1.0, 2.0])
    """
    _check_channels(fields)
    data = np.stack([np.asarray(fields[name], np.float32)[::-1] for name in CHANNELS], axis=-1)
    cells = data.reshape(-1, len(CHANNELS)).astype(float)
    stats = np.stack([cells.mean(axis=0), cells.max(axis=0), cells.min(axis=0), cells.std(axis=0)])
    path = Path(folder) / name_sample(time, run)
    with replace_when_done(path) as partial, h5py.File(partial, "w") as file:
        file["climate/data"] = data
        file["climate/data_stats"] = stats.astype(np.float32)
        for place, classes in enumerate(labels):
            file[f"climate/labels_{place}"] = np.asarray(classes, np.uint8)[::-1]
        if instances is not None:
            file["climate/instances"] = np.asarray(instances, np.int32)[::-1]
    return path


def read_sample(path: str | Path, *, channels: tuple[str, ...] = CHANNELS) -> WeatherSample:
    """Read a sample of DeepCAM.

    Parameters
    ----------
    path
        A file whose name tells time and run.
    channels
        Which to read.

    Returns
    -------
    WeatherSample
        Rows from north to south.

    Raises
    ------
    InputError
        Where the file is missing, cut off or of another layout, a channel is unknown, or labels hold what is
        no class.

    >>> import tempfile
    >>> fields = {name: np.arange(40.0).reshape(5, 8) for name in CHANNELS}
    >>> labels = np.zeros((5, 8)), np.eye(5, 8)
    >>> sample = read_sample(write_sample(tempfile.mkdtemp(), np.datetime64("2001-08-01T03"), fields, labels))
    >>> str(sample.time), sample.run, bool((sample.fields["PSL"] == fields["PSL"]).all()), len(sample.labels)
    ('2001-08-01T03', 1, True, 2)
    """
    path = Path(path)
    time, run = time_of(path)
    unknown = [name for name in channels if name not in CHANNELS]
    if unknown:
        raise InputError(f"channels: know no {', '.join(unknown)}; give some of {', '.join(CHANNELS)}")
    if not path.is_file():
        raise InputError(f"{path} is not there; name a file of DeepCAM's layout")
    try:
        with h5py.File(path) as file:
            data = file["climate/data"]
            if data.ndim != 3 or data.shape[2] != len(CHANNELS):
                raise InputError(
                    f"{path}: climate/data is of shape {data.shape}; {len(CHANNELS)} channels belong last"
                )
            values = data[...][::-1]
            names = sorted(name for name in file["climate"] if name.startswith("labels_"))
            labels = tuple(_read_classes(path, name, file["climate"][name], data.shape[:2]) for name in names)
            instances = file["climate/instances"][...][::-1] if "instances" in file["climate"] else None
    except KeyError:
        raise InputError(f"{path}: holds no climate/data; it is not of DeepCAM's layout") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read as HDF5 ({first_line(error)[:100]}); fetch it again"
        ) from None
    fields = {name: np.ascontiguousarray(values[..., CHANNELS.index(name)], np.float32) for name in channels}
    return WeatherSample(time, run, fields, labels, instances)


def _read_classes(path: Path, name: str, dataset: h5py.Dataset, shape: tuple[int, ...]) -> np.ndarray:
    values = dataset[...]
    if values.shape != shape:
        raise InputError(
            f"{path}: climate/{name} is of shape {values.shape}, the data of {shape}; they must agree"
        )
    if not np.isin(values, np.arange(len(CLASSES))).all():
        odd = np.setdiff1d(values, np.arange(len(CLASSES)))[0]
        raise InputError(f"{path}: climate/{name} holds {odd:g}; classes are 0 to {len(CLASSES) - 1}")
    return values[::-1].astype(np.uint8)


def _check_channels(fields: Mapping[str, np.ndarray]) -> None:
    missing = [name for name in CHANNELS if name not in fields]
    if missing:
        raise InputError(f"fields: lack {', '.join(missing)}; a sample has all of {', '.join(CHANNELS)}")
