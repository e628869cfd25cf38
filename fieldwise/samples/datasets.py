"""A user's own files, named in one FILE.yaml, prepared into a folder that every verb reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields.arrays import ArrayModule, module_of
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import (
    Bounds,
    Grid,
    move_field,
)
from fieldwise.fields.tiles import cut

DESCRIPTION = "dataset.yaml"  # written last: a folder that holds it is whole
# Widths, in low-res cells, of the Gaussians that make a regional trend, and the spread of relief around it.
TREND_CELLS, SPREAD_CELLS = 4, 6


def read_yaml(path: str | Path, *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a mapping from YAML; a broken file, or one without what is required, is an error by name.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> _ = (home / "own.yaml").write_text("crs: EPSG:3031")
    >>> read_yaml(home / "own.yaml", required=("crs", "inputs"))
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...own.yaml: lacks inputs; see `Your own data` in the README
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: should hold `key: value` lines; see `Your own data` in the README")
    missing = [key for key in required if key not in content]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; see `Your own data` in the README")
    return content


def write_yaml(content: Mapping[str, Any], path: str | Path) -> Path:
    """Write plain values as YAML, whole or not at all.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> read_yaml(write_yaml({"spacing_m": 250}, home / "own.yaml"))
    {'spacing_m': 250}
    """
    with replace_when_done(path) as partial:
        partial.write_text(yaml.safe_dump(dict(content), sort_keys=False))
    return Path(path)


@dataclass(frozen=True)
class Input:
    """One input of a recipe in a prepared folder: a field for each of its channels."""

    name: str
    spacing_m: float
    units: str
    paths: tuple[str, ...]
    trend_paths: tuple[str, ...] = ()
    spread_paths: tuple[str, ...] = ()


class Dataset:
    """A prepared folder: its inputs, opened lazily, and the region where all of them are.

    Parameters
    ----------
    folder
        What the verb prepare wrote.
    arrays
        numpy, or cupy to cut windows on a GPU: they then come as CuPy's arrays.

    Raises
    ------
    InputError
        Where the folder is not a prepared one.
    """

    def __init__(self, folder: str | Path, *, arrays: ArrayModule = "numpy") -> None:
        self.folder = Path(folder)
        file = self.folder / DESCRIPTION
        if not file.exists():
            raise InputError(f"{self.folder}: is no prepared folder; make one with the verb prepare")
        required = ("crs", "region", "spacing_m", "lowres_spacing_m", "inputs")
        self.description = read_yaml(file, required=required)
        self.crs: str = self.description["crs"]
        self.spacing_m = float(self.description["spacing_m"])
        self.lowres_spacing_m = float(self.description["lowres_spacing_m"])
        west, south, east, north = self.description["region"]
        self.region: Bounds = (west, south, east, north)
        self.inputs = {
            name: Input(
                name,
                entry["spacing_m"],
                entry["units"],
                *(tuple(entry.get(key, [])) for key in ("paths", "trends", "spreads")),
            )
            for name, entry in self.description["inputs"].items()
        }
        self._fields = {
            path: move_field(open_field(self.folder / path), arrays)
            for entry in self.inputs.values()
            for path in (*entry.paths, *entry.trend_paths, *entry.spread_paths)
        }

    @property
    def grid(self) -> Grid:
        """The grid of the whole region at the spacing of the map."""
        return self.grid_at(self.spacing_m)

    def grid_at(self, spacing_m: float) -> Grid:
        """Give the grid of the whole region at a spacing of one's own."""
        return Grid(*self.region, spacing_m, self.crs)

    def trend(self, name: str, channel: int = 0) -> xr.DataArray:
        """Give the regional trend of one channel of an input as a field."""
        return self._fields[self.inputs[name].trend_paths[channel]]

    def field(self, name: str, channel: int = 0) -> xr.DataArray:
        """Give one channel of an input as a field."""
        return self._fields[self.inputs[name].paths[channel]]

    def open(self, key: str) -> xr.DataArray:
        """Open a further field that the description names, such as the truth of a sandbox."""
        if not self.description.get(key):
            raise InputError(f"{self.folder}: names no {key}; add it to the FILE.yaml and prepare again")
        return open_field(self.folder / self.description[key])

    def read(
        self,
        windows: np.ndarray,
        *,
        padding: float = 0.0,
        flat: bool = False,
        names: Iterable[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Cut windows out of inputs, each at its own spacing.

        Parameters
        ----------
        windows
            (n, 4) bounds.
        padding
            Width added on every side, in metres.
        flat
            Take the regional trend off the inputs that have one, and divide by the spread where there is one.
        names
            Of the inputs to read; all by default.

        Returns
        -------
        dict
            Name to (n, channel, y, x).
        """
        arrays = {}
        for name in self.inputs if names is None else names:
            entry = self.inputs[name]
            arrays[name] = self._cut_all(
                entry.paths, windows=windows, spacing_m=entry.spacing_m, padding=padding
            )
        return self.flatten(arrays, windows, padding=padding) if flat else arrays

    def flatten(
        self, arrays: dict[str, np.ndarray], windows: np.ndarray, *, padding: float
    ) -> dict[str, np.ndarray]:
        """Take trends off, and divide by spreads, in arrays that were cut on these windows."""
        flat = dict(arrays)
        for name in arrays:
            entry = self.inputs[name]
            cut_all = partial(self._cut_all, windows=windows, spacing_m=entry.spacing_m, padding=padding)
            if entry.trend_paths:
                flat[name] = flat[name] - cut_all(entry.trend_paths)
            if entry.spread_paths:
                flat[name] = flat[name] / cut_all(entry.spread_paths)
        return flat

    def _cut_all(
        self, paths: tuple[str, ...], *, windows: np.ndarray, spacing_m: float, padding: float
    ) -> np.ndarray:
        channels = [
            cut(self._fields[path], windows, spacing=spacing_m, padding=padding, extend=True)
            for path in paths
        ]
        return module_of(channels[0]).stack(channels, axis=1)
