"""A glacier's frames as they come: a folder with `ex.nc` or `<variable>.npy`, or files named one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj  # before anything that may load eccodes: the other order crashes the interpreter
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.grids import crs_name
from fieldwise.samples.datasets import read_yaml

SPLITS = ("train", "valid", "test")
NETCDF = "ex.nc"
COORDINATES = ("x", "y", "time")
METRES = ("m", "metre", "metres", "meter", "meters", "")
UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, TypeError)  # what damaged files lead to
CF_TIME = ("units", "calendar")  # what time is counted in
CASE_KEYS = {"split", "path", "variables", "crs", *COORDINATES}
ENTRY_KEYS = {"path", "variable"}
assert pyproj


@dataclass(frozen=True)
class Case:
    """Frames of one glacier in canonical order, opened but not read.

    Each variable is (time, y, x) with y from north to south and x from west to east. `place` is the file or
    folder to name in errors, `sources` the file of each variable, `time` what the times are counted in (CF).
    """

    name: str
    split: str
    variables: dict[str, xr.DataArray]
    x: np.ndarray
    y: np.ndarray
    times: np.ndarray
    place: Path
    sources: dict[str, Path]
    time: dict[str, str] = field(default_factory=dict)
    crs: str | None = None

    @property
    def spacing_m(self) -> float:
        """Edge of a cell."""
        return float(f"{abs(self.x[-1] - self.x[0]) / (len(self.x) - 1):.9g}")


def open_folder(folder: str | Path) -> list[Case]:
    """Open every case of a folder that holds train/, test/ and, maybe, valid/, with one folder a case.

    Raises
    ------
    InputError
        Where there is no case, or one cannot be opened, by name.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "test" / "aletsch").mkdir(parents=True)
    >>> values = {"x": [50.0, 150.0], "y": [50.0, 150.0], "thk": [[1.0, 2.0], [3.0, 4.0]]}
    >>> for name, each in values.items():
    ...     np.save(folder / "test" / "aletsch" / f"{name}.npy", each)
    >>> case = open_folder(folder)[0]
    >>> case.name, case.spacing_m, case.variables["thk"].values.tolist()  # the north comes first
    ('aletsch', 100.0, [[[3.0, 4.0], [1.0, 2.0]]])
    """
    folder = Path(folder)
    cases = []
    for split in SPLITS:
        places = sorted(path for path in (folder / split).glob("*") if path.is_dir())
        cases += [_open_case(path, split=split) for path in places]
    if not cases:
        raise InputError(f"{folder}: holds no case; lay them out as {folder}/train/CASE/{NETCDF}")
    return cases


def _open_case(folder: Path, *, split: str) -> Case:
    """Open the `ex.nc` of a folder, or its `<variable>.npy`, x.npy and y.npy."""
    if (folder / NETCDF).exists():
        return _make_case(folder.name, split, {None: folder / NETCDF})
    files = {path.stem: path for path in sorted(folder.glob("*.npy"))}
    if not files:
        raise InputError(f"{folder}: holds neither {NETCDF} nor <variable>.npy")
    missing = [f"{name}.npy" for name in ("x", "y") if name not in files]
    if missing:
        raise InputError(f"{folder}: lacks {' and '.join(missing)}, which tell the grid; add the coordinates")
    arrays = {name: _map_array(path) for name, path in files.items()}
    axes = {name: arrays.pop(name) for name in COORDINATES if name in arrays}
    for name, values in axes.items():
        if values.ndim != 1 or values.dtype.kind not in "fiu":
            raise InputError(
                f"{files[name]}: holds {values.dtype} {values.shape}; give numbers along one axis"
            )
    x, y, times = (np.asarray(axes.get(name, ()), dtype=np.float64) for name in COORDINATES)
    variables = {name: _named(array, files[name], y, x) for name, array in arrays.items()}
    return _canonical(Case(folder.name, split, variables, x, y, times, place=folder, sources=files))


def _map_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as an array ({error})") from None


def _named(array: np.ndarray, path: Path, y: np.ndarray, x: np.ndarray) -> xr.DataArray:
    if array.ndim not in (2, 3) or array.shape[-2:] != (y.size, x.size):
        raise InputError(
            f"{path}: has the shape {array.shape}, the grid {y.size} x {x.size} cells; give (time, y, x)"
        )
    return xr.DataArray(array, dims=("time", "y", "x")[-array.ndim :])


def read_case_list(file: Path) -> list[Case]:
    """Open the cases that a FILE.yaml names.

    ::

        cases:
          aletsch:
            split: test          # train, valid or test
            path: aletsch.nc     # NetCDF or Zarr
            variables:
              thk: thkobs                            # a variable of that file
              ubar: {path: other.zarr, variable: u}  # one of another file
              arrhenius: 78.0                        # a constant
            crs: EPSG:32632      # where the file tells none

    Raises
    ------
    InputError
        Naming the file, the case and the key that does not fit.

    Examples
    --------
    >>> import tempfile
    >>> folder, axis = Path(tempfile.mkdtemp()), [0.0, 100.0, 200.0]
    >>> glacier = xr.Dataset({"thkobs": (("y", "x"), np.full((3, 3), 80.0))}, {"y": axis, "x": axis})
    >>> _ = glacier.to_netcdf(folder / "aletsch.nc", engine="h5netcdf")
    >>> entry = "{split: test, path: aletsch.nc, variables: {thk: thkobs, arrhenius: 78.0}}"
    >>> _ = (folder / "own.yaml").write_text(f"cases: {{aletsch: {entry}}}")
    >>> case = read_case_list(folder / "own.yaml")[0]
    >>> {name: values.max().item() for name, values in case.variables.items()}
    {'thk': 80.0, 'arrhenius': 78.0}
    """
    content = read_yaml(file, required=("cases",))
    if set(content) != {"cases"} or not isinstance(content["cases"], Mapping) or not content["cases"]:
        raise InputError(f"{file}: should hold `cases:` with an entry a case; see `Your own glacier`")
    cases = []
    for name, entry in content["cases"].items():
        _check_entry(file, str(name), entry)
        cases.append(_open_entry(str(name), entry, folder=file.parent, file=file))
    return cases


def _check_entry(file: Path, name: str, entry: Any) -> None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str):
        raise InputError(f"{file}: case {name} is {entry!r}; give at least {{split: test, path: FILE}}")
    if Path(name).name != name or name.startswith("."):
        raise InputError(f"{file}: case {name!r} names a folder to be written; give a plain name")
    unknown = sorted(set(entry) - CASE_KEYS)
    if unknown:
        raise InputError(f"{file}: case {name}: {unknown[0]} is not known; known are {sorted(CASE_KEYS)}")
    if entry.get("split", "test") not in SPLITS:
        raise InputError(f"{file}: case {name}: split is {entry['split']!r}; give one of {', '.join(SPLITS)}")
    variables = entry.get("variables", {})
    if not isinstance(variables, Mapping):
        raise InputError(f"{file}: case {name}: variables are {variables!r}; give lines such as `thk: NAME`")
    for variable, source in variables.items():
        table = (
            isinstance(source, Mapping) and set(source) <= ENTRY_KEYS and isinstance(source.get("path"), str)
        )
        number = isinstance(source, int | float) and not isinstance(source, bool) and math.isfinite(source)
        if not (table or number or isinstance(source, str)):
            raise InputError(
                f"{file}: case {name}: {variable} is {source!r}; give a variable's name, a number, "
                "or {path: FILE, variable: NAME}"
            )


def _open_entry(name: str, entry: Mapping[str, Any], *, folder: Path, file: Path) -> Case:
    sources: dict[str | None, Any] = {}
    for variable, source in entry.get("variables", {}).items():
        if isinstance(source, str):
            sources[variable] = (folder / entry["path"], source)
        elif isinstance(source, Mapping):
            sources[variable] = (folder / source["path"], source.get("variable", variable))
        else:
            sources[variable] = float(source)
    if not sources:
        sources[None] = folder / entry["path"]
    names = {key: entry[key] for key in COORDINATES if key in entry}
    return _make_case(name, entry.get("split", "test"), sources, coordinates=names, crs=entry.get("crs"))


def _make_case(
    name: str,
    split: str,
    sources: Mapping[str | None, Any],
    *,
    coordinates: Mapping[str, str] | None = None,
    crs: str | None = None,
) -> Case:
    """Put a case together of files, of which None stands for all the variables that one holds.

    Parameters
    ----------
    sources
        Variable to (file, its name there) or to a number that holds everywhere.
    coordinates
        Names of the variables x, y and time where they are not these.
    crs
        Of files that tell none.
    """
    opened: dict[Path, xr.Dataset] = {}
    variables: dict[str, xr.DataArray] = {}
    files: dict[str, Path] = {}
    lacking: dict[Path, list[str]] = {}
    for variable, source in sources.items():
        if isinstance(source, float):
            continue
        path: Path = source[0] if isinstance(source, tuple) else source
        if path not in opened:
            opened[path] = _open_dataset(path, coordinates or {})
            _check_same_grid(*next(iter(opened.items())), path, opened[path])
        known = {str(each): field for each, field in opened[path].items() if {"x", "y"} <= set(field.dims)}
        if variable is None:
            variables |= known
            files |= dict.fromkeys(known, path)
        elif source[1] in known:
            variables[variable], files[variable] = known[source[1]], path
        else:
            lacking.setdefault(path, []).append(source[1])
    if lacking:
        each = [f"{path}: has no field {', '.join(names)} on x and y" for path, names in lacking.items()]
        raise InputError(f"{'; '.join(each)}; there are {', '.join(map(str, opened[path].data_vars))}")
    if not variables:
        raise InputError(f"{', '.join(map(str, opened)) or name}: holds no field on x and y")
    place, first = next(iter(opened.items()))
    y, x = (np.asarray(first[axis].values, dtype=np.float64) for axis in ("y", "x"))
    for variable, source in sources.items():
        if isinstance(source, float) and variable is not None:
            everywhere = np.broadcast_to(np.float32(source), (y.size, x.size))
            variables[variable] = xr.DataArray(everywhere, dims=("y", "x"))
    timed = "time" in first.coords and first["time"].ndim == 1
    found_crs = crs or first.rio.crs
    return _canonical(
        Case(
            name,
            split,
            variables,
            x,
            y,
            times=np.asarray(first["time"].values if timed else (), dtype=np.float64),
            place=place,
            sources=files,
            time={key: str(first["time"].attrs[key]) for key in CF_TIME if key in first["time"].attrs}
            if timed
            else {},
            crs=None if found_crs is None else crs_name(found_crs),
        )
    )


def _open_dataset(path: Path, coordinates: Mapping[str, str]) -> xr.Dataset:
    if not path.exists():
        raise InputError(f"{path}: no such file")
    try:
        if path.is_dir():
            engine = "zarr"
        else:
            with path.open("rb") as file:
                engine = "scipy" if file.read(3) == b"CDF" else "h5netcdf"
        # without chunks: Dask takes longer to plan the reading of a small field than to read it
        opened = xr.open_dataset(path, engine=engine, decode_coords="all", decode_times=False, cache=False)
        for each in opened.coords.values():
            each.load()
    except UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as NetCDF or Zarr ({reason})") from None
    opened = opened.rename({theirs: ours for ours, theirs in coordinates.items() if theirs in opened})
    time = [str(dim) for dim in opened.dims if str(dim) in ("t", "Time", "year")]
    if time and "time" not in opened.dims:
        opened = opened.rename({time[0]: "time"})
    missing = [axis for axis in ("x", "y") if axis not in opened.variables or opened[axis].ndim != 1]
    if missing:
        raise InputError(f"{path}: has no coordinate {' or '.join(missing)} of one dimension; name it")
    for axis in ("x", "y"):
        if (unit := opened[axis].attrs.get("units", "m")) not in METRES:
            raise InputError(f"{path}: {axis} is in {unit}; give a grid in metres")
        if opened[axis].size > 1 and (opened[axis][0] > opened[axis][-1]) == (axis == "x"):
            opened = opened.isel({axis: slice(None, None, -1)})
    return opened


def _check_same_grid(first: Path, there: xr.Dataset, path: Path, opened: xr.Dataset) -> None:
    for axis in ("x", "y"):
        ours, theirs = opened[axis].values, there[axis].values
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=1e-3, equal_nan=True):
            raise InputError(
                f"{path}: its {axis} ({_extent(ours)}) differ from those of {first} ({_extent(theirs)}); "
                "bring both to one grid"
            )


def _extent(values: np.ndarray) -> str:
    return f"{values.size} from {values.min():.10g} to {values.max():.10g}"


def _canonical(case: Case) -> Case:
    """Turn every field to (time, y, x), y from north to south; all must have as many frames, or one."""
    x, y = case.x, case.y
    for axis, values in (("x", x), ("y", y)):
        steps = np.diff(values)
        if values.size < 2 or not np.ptp(steps) < 0.01 * abs(steps.mean()):
            raise InputError(
                f"{case.place}: {axis} is not evenly spaced; give at least 2 cells, all of one width"
            )
    if abs(abs(x[1] - x[0]) - abs(y[1] - y[0])) > 1e-3 * abs(x[1] - x[0]):
        raise InputError(
            f"{case.place}: cells of {abs(x[1] - x[0]):g} by {abs(y[1] - y[0]):g} m are not square; "
            "bring the fields to square cells"
        )
    flips = {"x": slice(None, None, -1 if x[0] > x[-1] else 1)}
    flips["y"] = slice(None, None, -1 if y[0] < y[-1] else 1)
    fields = {}
    for variable, found in case.variables.items():
        each = found.drop_vars(list(found.coords))
        if "time" not in each.dims:
            each = each.expand_dims("time")
        if set(each.dims) != {"time", "y", "x"}:
            raise InputError(
                f"{case.sources[variable]}: {variable} has the dimensions {', '.join(map(str, found.dims))}; "
                "give time, y and x"
            )
        fields[variable] = each.transpose("time", "y", "x").isel(flips)
    frames = {variable: each.sizes["time"] for variable, each in fields.items()}
    if case.times.size > 1:
        frames["time"] = case.times.size
    count = max(frames[variable] for variable in fields)
    odd = [f"{variable} {number}" for variable, number in frames.items() if number not in (1, count)]
    if odd and count > 1:
        raise InputError(
            f"{case.place}: the numbers of frames differ: {', '.join(odd)} beside {count}; give one or all"
        )
    times = case.times if case.times.size == count else np.arange(count, dtype=np.float64)
    return replace(case, variables=fields, x=x[flips["x"]], y=y[flips["y"]], times=times)
