"""A user's own files, named in one FILE.yaml, prepared into a folder that every verb reads."""

from __future__ import annotations

import math
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
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.entries import fill_entry, open_entry
from fieldwise.fields.gaps import fill_from_neighbours, fill_gaps
from fieldwise.fields.grids import (
    Bounds,
    Grid,
    crs_name,
    grid_of,
    load_values,
    make_field,
    move_field,
    open_field,
    overlap,
    write_cog,
)
from fieldwise.fields.heights import Heights
from fieldwise.fields.tiles import cut
from fieldwise.fields.trends import regional_spread, regional_trend

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


def degrade(field: xr.DataArray, factor: int, *, crs: str) -> xr.DataArray:
    """Average blocks of cells: a low-res field made from a fine one.

    >>> field = make_field(np.arange(16.0).reshape(4, 4), Grid(0, 0, 4, 4, 1, "EPSG:3413"), name="bed")
    >>> degrade(field, 2, crs="EPSG:3413").values.tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    grid = grid_of(field)
    rows, columns = (size // factor for size in grid.shape)
    values = load_values(field)[: rows * factor, : columns * factor]
    means = values.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    spacing = grid.spacing * factor
    coarse = Grid(
        grid.west, grid.north - rows * spacing, grid.west + columns * spacing, grid.north, spacing, crs
    )
    units, datum = field.attrs.get("units", "m"), field.attrs.get(DATUM)
    coarse_field = make_field(means, coarse, name=str(field.name), units=units, vertical_datum=datum)
    coarse_field.encoding["source"] = field.encoding.get("source", field.name)
    return coarse_field


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


def prepare_inputs(
    source: Mapping[str, Any],
    *,
    folder: Path,
    out: Path,
    units: Mapping[str, str],
    detrended: tuple[str, ...],
    levelled: tuple[str, ...] = (),
    elevations: tuple[str, ...] = (),
    heights: Heights | None = None,
    arrays: ArrayModule = "numpy",
    report: Any = print,
) -> dict[str, Any]:
    """Open, align and fill every input of a FILE.yaml, and write what differs from the files themselves.

    Parameters
    ----------
    source
        The content of the FILE.yaml: ``crs``, ``spacing_m``, ``lowres_spacing_m``, ``inputs``, ``region``.
    folder
        Folder that relative paths start from.
    out
        Prepared folder; fields go to ``inputs``, ``trends`` and ``spreads`` in it.
    units
        Units of each input where the FILE.yaml gives none.
    detrended, levelled
        Inputs that get a regional trend, and those of them whose relief is also brought to one spread.
    elevations, heights
        Inputs that are heights (those that state a ``datum`` are so too), and the datum to bring them to.
    arrays
        numpy, or cupy to fill gaps and work out trends on a GPU.
    report
        Called with one line for each thing that a user should know.

    Returns
    -------
    dict
        The description of the inputs, and the region that all of them cover.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> bed = make_field(np.zeros((8, 8)), Grid(500, 500, 8500, 8500, 1000, "EPSG:3031"), name="bed")
    >>> _ = write_cog(bed, home / "bed.tif")
    >>> source = {"crs": "EPSG:3031", "lowres_spacing_m": 1000, "inputs": {"bed_lowres": {"path": "bed.tif"}}}
    >>> description = prepare_inputs(source, folder=home, out=home / "data", units={}, detrended=())
    >>> description["region"], description["inputs"]["bed_lowres"]["paths"]
    ([500.0, 500.0, 8500.0, 8500.0], ['inputs/bed_lowres.tif'])
    """
    crs, lowres_m = crs_name(source["crs"]), float(source["lowres_spacing_m"])
    inputs: dict[str, Any] = {}
    region = _read_region(source)
    origin: tuple[float, float] | None = None  # of the first input at the low-res spacing
    if not isinstance(source["inputs"], Mapping):
        raise InputError("inputs: should name each one, as in `bed_lowres: {path: FILE, spacing_m: NUMBER}`")
    for name, entry in source["inputs"].items():
        levels = heights if name in elevations or "datum" in entry else None
        fields = open_entry(entry, folder=folder, crs=crs, heights=levels)
        spacing_m = float(
            entry.get("spacing_m") or grid_of(fields[0]).spacing * int(entry.get("degrade") or 1)
        )
        _check_spacing(name, spacing_m, lowres_m)
        paths, trends, spreads = [], [], []
        for number, field in enumerate(fields):
            stem = name if len(fields) == 1 else f"{name}_{number + 1}"
            path = out / "inputs" / f"{stem}.tif"
            field = _filled(
                field, entry, folder=folder, path=path, heights=levels, arrays=arrays, report=report
            )
            shared = overlap(region, grid_of(field).bounds) if region else grid_of(field).bounds
            if shared is None:
                raise InputError(
                    f"{entry['path']}: lies at {_box(grid_of(field).bounds)}, the inputs before it "
                    f"(or the region) at {_box(region)}; they do not overlap"
                )
            region = shared
            if origin is None and abs(grid_of(field).spacing - lowres_m) < 1e-6:
                origin = grid_of(field).west, grid_of(field).south
            paths.append(f"inputs/{stem}.tif")
            if name in detrended:
                trend = regional_trend(field, cell=lowres_m, width=TREND_CELLS * lowres_m)
                write_cog(trend, out / "trends" / f"{stem}.tif")
                trends.append(f"trends/{stem}.tif")
            if name in levelled:
                spread = regional_spread(field, trend, width=SPREAD_CELLS * lowres_m)
                write_cog(spread, out / "spreads" / f"{stem}.tif")
                spreads.append(f"spreads/{stem}.tif")
        unit = entry.get("units") or units.get(name, "")
        inputs[name] = {
            "spacing_m": spacing_m,
            "units": unit,
            "paths": paths,
            "trends": trends,
            "spreads": spreads,
        }
    return {"crs": crs, "region": list(_whole_cells(region, lowres_m, origin or (0, 0))), "inputs": inputs}


def _read_region(source: Mapping[str, Any]) -> Bounds | None:
    """Give the region that a FILE.yaml asks for, if it does."""
    if not source.get("region"):
        return None
    try:
        west, south, east, north = (float(edge) for edge in source["region"])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"region: {source['region']!r} is not four numbers: west, south, east, north"
        ) from error
    if west >= east or south >= north:
        raise InputError(f"region: {source['region']} should be west, south, east, north, in this order")
    return west, south, east, north


def _check_spacing(name: str, spacing_m: float, lowres_m: float) -> None:
    if spacing_m <= 0 or abs(lowres_m / spacing_m - round(lowres_m / spacing_m)) > 1e-6:
        raise InputError(f"{name}: a spacing of {spacing_m:g} m does not divide the low-res {lowres_m:g} m")


def _filled(
    field: xr.DataArray,
    entry: Mapping[str, Any],
    *,
    folder: Path,
    path: Path,
    heights: Heights | None,
    arrays: ArrayModule,
    report: Any,
) -> xr.DataArray:
    """Write one channel without gaps; those that a coarser file cannot fill are filled from neighbours."""
    field = move_field(field, arrays)
    if entry.get("degrade"):
        field = degrade(field, int(entry["degrade"]), crs=crs_name(field.rio.crs))
    if entry.get("fill_from"):
        coarse = open_entry(fill_entry(entry), folder=folder, crs=crs_name(field.rio.crs), heights=heights)
        fill_gaps(field, move_field(coarse[0], arrays), path)
        filled = move_field(open_field(path), arrays)
        if not filled.isnull().any():
            return filled
        field = filled
    share = fill_from_neighbours(field, path)
    if share:
        report(f"{path.stem}: {share:.1%} of its cells were missing and were filled from their neighbours")
    return move_field(open_field(path), arrays)


def _whole_cells(region: Bounds | None, spacing: float, origin: tuple[float, float]) -> Bounds:
    """Round inward to whole cells of the low-res input, so that every window starts on one."""
    if region is None:
        raise InputError("the FILE.yaml names no input")
    starts = [math.ceil((edge - first) / spacing - 1e-6) for edge, first in zip(region[:2], origin)]
    stops = [math.floor((edge - first) / spacing + 1e-6) for edge, first in zip(region[2:], origin)]
    if starts[0] >= stops[0] or starts[1] >= stops[1]:
        raise InputError(f"the inputs share only {_box(region)}, less than one cell of {spacing:g} m")
    west, south, east, north = (
        first + count * spacing for first, count in zip(origin * 2, (*starts, *stops))
    )
    return west, south, east, north


def _box(bounds: Bounds | None) -> str:
    return "(" + ", ".join(f"{edge:.0f}" for edge in bounds or ()) + ")"
