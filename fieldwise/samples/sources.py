"""Frames of independent cases as users have them, and how they get into a prepared folder."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError, first_line
from fieldwise.fields.formats import AXES, UNREADABLE, open_fields
from fieldwise.fields.grids import crs_name
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import SPLITS, Draft
from fieldwise.samples.rules import Rule, check_table, is_table, read_rules
from fieldwise.samples.signatures import group_fields

WORDS = {"train": "training", "valid": "validation", **{split: split for split in SPLITS}}  # of splits
BLOCK_BYTES = 2**26  # of a case in memory
CF_TIME = ("units", "calendar")  # what time is counted in


def _is_source(value: Any) -> bool:
    if is_table(value):
        return set(value) <= {"path", "variable"} and isinstance(value.get("path"), str)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return number or isinstance(value, str)


CASES = Rule(lambda value: is_table(value) and bool(value), "an entry for each case")
SOURCE = Rule(_is_source, "a variable's name, a number, or {path: FILE, variable: NAME}")
NAME = Rule(lambda value: isinstance(value, str), "the name of a variable in the file")
CASE_RULES = {
    "split": Rule(lambda value: value in WORDS, f"one of {', '.join(SPLITS)}"),
    "path": NAME,
    "variables": Rule(is_table, "lines such as `thk: NAME`"),
    "crs": Rule(lambda value: isinstance(value, str | int), "a CRS such as EPSG:32632"),
    **dict.fromkeys(AXES, NAME),
}


@dataclass(frozen=True)
class Source:
    """Frames of one case in canonical order, opened but not read.

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


def open_cases(place: str | Path, *, file: str) -> list[Source]:
    """Open the cases of a FILE.yaml, or of a folder; see :func:`read_case_list` and :func:`open_folder`.

    >>> open_cases("no/such/folder", file="ex.nc")
    Traceback (most recent call last):
    fieldwise.errors.InputError: no/such/folder: no such file; --source takes `sandbox`, a folder or ...
    """
    place = Path(place)
    if not place.exists():
        raise InputError(f"{place}: no such file; --source takes `sandbox`, a folder or a FILE.yaml")
    if not place.is_dir() and place.suffix not in (".yaml", ".yml"):
        raise InputError(f"{place}: is no .yaml; --source takes `sandbox`, a folder or a FILE.yaml")
    return open_folder(place, file=file) if place.is_dir() else read_case_list(place)


def open_folder(folder: str | Path, *, file: str) -> list[Source]:
    """Open every case of a folder that holds training/, test/ and maybe validation/, with one folder a case.

    Parameters
    ----------
    folder
        The words train and valid are read too.
    file
        Name of the NetCDF of a case, where its folder does not hold an array for each variable.

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
    >>> case = open_folder(folder, file="ex.nc")[0]
    >>> case.name, case.spacing_m, case.variables["thk"].values.tolist()  # the north comes first
    ('aletsch', 100.0, [[[3.0, 4.0], [1.0, 2.0]]])
    """
    folder = Path(folder)
    cases = []
    for split in WORDS:
        for place in sorted(path for path in (folder / split).glob("*") if path.is_dir()):
            if (place / file).exists():
                cases.append(_open_entry(place.name, {"split": split, "path": file}, place))
            elif any(place.glob("*.npy")):
                cases.append(_open_entry(place.name, {"split": split, "path": "."}, place))
            else:
                raise InputError(f"{place}: holds neither {file} nor <variable>.npy")
    if not cases:
        raise InputError(f"{folder}: holds no case; lay them out as {folder}/training/CASE/{file}")
    return cases


def read_case_list(file: Path) -> list[Source]:
    """Open the cases that a FILE.yaml names.

    ::

        cases:
          aletsch:
            split: test          # training, validation or test
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
    cases = read_rules(file, {"cases": CASES}, required=("cases",))["cases"]
    for name, entry in cases.items():
        if not is_table(entry) or not isinstance(entry.get("path"), str):
            raise InputError(f"{file}: case {name} is {entry!r}; give at least {{split: test, path: FILE}}")
        check_plain_name(name, f"{file}: case", kind="folder")
        check_table(entry, CASE_RULES, f"{file}: case {name}")
        for variable, source in entry.get("variables", {}).items():
            check_plain_name(variable, f"{file}: case {name}: variable")
            check_table({variable: source}, {variable: SOURCE}, f"{file}: case {name}")
    return [_open_entry(str(name), entry, file.parent) for name, entry in cases.items()]


def _open_entry(name: str, entry: Mapping[str, Any], folder: Path) -> Source:
    """Put a case together: each variable from a file, or a number that holds everywhere."""
    place, variables = folder / entry["path"], entry.get("variables", {})
    named = {
        variable: source if is_table(source) else {"path": entry["path"], "variable": source}
        for variable, source in variables.items()
        if is_table(source) or isinstance(source, str)
    }
    sources = {
        variable: (folder / source["path"], source.get("variable", variable))
        for variable, source in named.items()
    }
    axes = {axis: entry[axis] for axis in AXES if axis in entry}
    places = dict.fromkeys(path for path, _ in sources.values()) or [place]
    opened = {path: open_fields(path, coordinates=axes) for path in places}
    sources = sources or {str(each): (place, str(each)) for each in opened[place].data_vars}
    _check_fields(opened, sources)
    fields = {variable: opened[path][theirs] for variable, (path, theirs) in sources.items()}
    first = next(iter(opened.values()))
    shape = first.sizes["y"], first.sizes["x"]
    for variable in variables.keys() - named.keys():
        everywhere = np.broadcast_to(np.float32(variables[variable]), shape)
        fields[variable] = xr.DataArray(everywhere, dims=("y", "x"))
    time = first["time"] if "time" in first.coords and first["time"].ndim == 1 else None
    crs = entry.get("crs") or first.rio.crs
    return Source(
        name,
        WORDS[entry.get("split", "test")],
        {variable: _with_time(each) for variable, each in fields.items()},
        x=first["x"].values.astype(np.float64),
        y=first["y"].values.astype(np.float64),
        times=_frame_times(fields, time, next(iter(opened))),
        place=next(iter(opened)),
        sources={variable: _file_of(*source) for variable, source in sources.items()},
        time={} if time is None else {key: str(time.attrs[key]) for key in CF_TIME if key in time.attrs},
        crs=None if crs is None else crs_name(crs),
    )


def _check_fields(opened: Mapping[Path, xr.Dataset], sources: Mapping[str, tuple[Path, str]]) -> None:
    """Refuse files that lack what is wanted of them, and files on different grids."""
    first = next(iter(opened))
    lacking = []
    for path, there in opened.items():
        for axis in ("x", "y"):
            theirs, ours = there[axis].values, opened[first][axis].values
            if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=1e-3):
                raise InputError(
                    f"{path}: its {axis} ({_extent(theirs)}) differ from those of {first} ({_extent(ours)}); "
                    "bring both to one grid"
                )
        names = [name for file, name in sources.values() if file == path and name not in there.data_vars]
        if names:
            known = ", ".join(map(str, there.data_vars)) or "none"
            lacking.append(f"{path}: has no field {', '.join(names)} on x and y; there are {known}")
    if lacking:
        raise InputError("; ".join(lacking))
    if not sources:
        raise InputError(f"{first}: holds no field on x and y")


def _extent(values: np.ndarray) -> str:
    return f"{values.size} from {values.min():.10g} to {values.max():.10g}"


def _file_of(path: Path, name: str) -> Path:
    array = path / f"{name}.npy"
    return array if array.exists() else path


def _with_time(fields: xr.DataArray) -> xr.DataArray:
    plain = fields.drop_vars(list(fields.coords))
    return plain if "time" in plain.dims else plain.expand_dims("time")


def _frame_times(fields: Mapping[str, xr.DataArray], time: xr.DataArray | None, place: Path) -> np.ndarray:
    """Give the times of the frames, of which all fields must have as many, or one."""
    frames = {variable: each.sizes.get("time", 1) for variable, each in fields.items()}
    count = max(frames.values())
    if time is not None and time.size > 1:
        frames["time"] = time.size
    odd = [f"{variable} {number}" for variable, number in frames.items() if number not in (1, count)]
    if odd and count > 1:
        raise InputError(
            f"{place}: the numbers of frames differ: {', '.join(odd)} beside {count}; give one or all"
        )
    matching = time is not None and time.size == count
    return time.values.astype(np.float64) if matching else np.arange(count, dtype=np.float64)  # type: ignore[union-attr]


def hold_out(cases: list[Source], fraction: float, *, seed: int) -> list[Source]:
    """Move some of the training cases to validation, where there are none for it.

    >>> axis, nowhere = np.arange(2.0), Path()
    >>> glaciers = [Source(name, "training", {}, axis, axis, axis, nowhere, {}) for name in ("rhone", "aar")]
    >>> [case.split for case in hold_out(glaciers, 0.2, seed=7)]
    held out for validation: aar
    ['training', 'validation']
    """
    training = [number for number, case in enumerate(cases) if case.split == "training"]
    if any(case.split == "validation" for case in cases) or not training or fraction <= 0:
        return cases
    if len(training) == 1:
        tqdm.write(
            f"one case to learn from, {cases[training[0]].name}: weights are selected on its own frames"
        )
        return cases
    count = min(max(1, round(fraction * len(training))), len(training) - 1)
    drawn = set(np.random.default_rng(seed).choice(training, size=count, replace=False).tolist())
    tqdm.write(f"held out for validation: {', '.join(cases[number].name for number in sorted(drawn))}")
    return [
        replace(case, split="validation") if number in drawn else case for number, case in enumerate(cases)
    ]


def read_frames(
    case: Source, fields: dict[str, xr.DataArray], *, step: int
) -> Iterator[dict[str, np.ndarray]]:
    """Give one frame after the other, read some at a time.

    >>> axis = np.arange(2.0)
    >>> thk = xr.DataArray(np.arange(8.0).reshape(2, 2, 2), dims=("time", "y", "x"))
    >>> glacier = Source("aar", "test", {"thk": thk}, axis, axis, axis, Path(), {})
    >>> [frame["thk"][0, 0].item() for frame in read_frames(glacier, glacier.variables, step=1)]
    [0.0, 4.0]
    """
    frame_bytes = 4 * len(fields) * len(case.y) * len(case.x)
    stride = step * max(1, BLOCK_BYTES // frame_bytes)
    for start in range(0, len(case.times), stride):
        block = {}
        for name, values in fields.items():
            chosen = slice(start, start + stride, step) if values.sizes["time"] > 1 else slice(None)
            try:
                block[name] = np.asarray(values[chosen].values, dtype=np.float32)
            except UNREADABLE as error:
                reason = f"{name} cannot be read ({first_line(error)})"
                raise InputError(f"{case.sources[name]}: {reason}; copy the file again") from None
        for number in range(max(len(values) for values in block.values())):
            yield {name: values[min(number, len(values) - 1)] for name, values in block.items()}


def write_frames(
    draft: Draft,
    source: Source,
    frames: Iterable[Mapping[str, np.ndarray]],
    *,
    times: np.ndarray,
    shape: tuple[int, int],
    spacing: float,
    static: Collection[str] = (),
    constants: Mapping[str, float] | None = None,
    units: Mapping[str, str] | None = None,
) -> Case:
    """Write the frames of a case one by one into a prepared folder, and describe it.

    Parameters
    ----------
    frames
        Name to (y, x) for each of the times, rows from north to south.
    shape, spacing
        Of the cells, of which the north-western corner is that of the source.
    static
        Fields that never change, kept once.
    constants
        Fields that are a number everywhere.
    units
        Of fields; those unknown are 1.

    >>> import tempfile
    >>> from fieldwise.samples.prepared import draft_folder
    >>> axis, frames = np.array([50.0, 150.0]), [{"thk": np.full((2, 2), depth)} for depth in (80.0, 70.0)]
    >>> glacier, shape = Source("aar", "test", {}, axis, axis[::-1], np.arange(2.0), Path(), {}), (2, 2)
    >>> with draft_folder(tempfile.mkdtemp(), recipe="ice_flow") as draft:
    ...     case = write_frames(draft, glacier, frames, times=np.arange(2.0), shape=shape, spacing=100.0)
    ...     case.read_frames("thk").max(axis=(1, 2)).tolist()
    [80.0, 70.0]
    """
    folder = Path(source.split) / source.name
    (draft.folder / folder).mkdir(parents=True)
    np.save(draft.folder / folder / "time.npy", times)
    written: dict[str, np.ndarray] = {}
    for frame, arrays in enumerate(frames):
        for name, values in arrays.items():
            if name not in written:
                count = 1 if name in static else len(times)
                written[name] = np.lib.format.open_memmap(
                    draft.folder / folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=(count, *shape)
                )
            written[name][min(frame, len(written[name]) - 1)] = values
    west, north = source.x[0] - source.spacing_m / 2, source.y[0] + source.spacing_m / 2
    files: dict[str, str | float] = {name: (folder / f"{name}.npy").as_posix() for name in sorted(written)}
    files |= constants or {}
    case = Case(
        source.name,
        source.split,
        draft.folder,
        {each.name: each for each in group_fields(files, units=units or {})},
        files,
        spacing,
        shape,
        bounds=(west, north - shape[0] * spacing, west + shape[1] * spacing, north),
        crs=source.crs,
        frames=len(times),
        times=(folder / "time.npy").as_posix(),
        time=source.time,
    )
    draft.add(case)
    return case
