"""Boxes as users have them: one file a field, named by patterns, opened but not read."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError, first_line
from fieldwise.fields.formats import UNREADABLE
from fieldwise.samples.prepared import SPLITS
from fieldwise.samples.rules import Rule, check_table, is_number, is_table, list_whole_files, read_rules

CHANNELS_AND_SPACE = (3, 4)  # dimensions of a field: (channel, x, y) or (channel, x, y, z)


def _is_pattern(value: Any) -> bool:
    if is_table(value):
        return set(value) <= {"path", "variable"} and isinstance(value.get("path"), str)
    return isinstance(value, str)


def _are_fields(value: Any) -> bool:
    return is_table(value) and bool(value) and all(map(_is_pattern, value.values()))


def _are_numbers(value: Any) -> bool:
    return is_table(value) and all(
        isinstance(name, str) and all(map(_is_finite, each if isinstance(each, list) else [each]))
        for name, each in value.items()
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_power_of_two(value: Any) -> bool:
    return type(value) is int and value >= 1 and not value & (value - 1)


FIELDS = Rule(_are_fields, "lines such as `density: PATTERN` or `density: {path: PATTERN, variable: NAME}`")
NUMBERS = Rule(_are_numbers, "lines such as `omega_m: 0.31`, or a list with one number for each file")
SPLIT_RULES = {"inputs": FIELDS, "targets": FIELDS, "besides": FIELDS, "numbers": NUMBERS}
RULES = {
    "spacing": Rule(is_number, "the edge of a cell of the targets"),
    "spacing_units": Rule(lambda value: isinstance(value, str), "a unit such as Mpc h-1"),
    "units": Rule(is_table, "lines such as `displacement: Mpc h-1`"),
    "periodic": Rule(lambda value: isinstance(value, bool), "true or false"),
    "scale_factor": Rule(
        _is_power_of_two, "1, 2, 4 or another power of two: cells of the targets on the edge of an input's"
    ),
    **dict.fromkeys(SPLITS, Rule(is_table, "inputs and, but for boxes to predict only, targets")),
}


@dataclass(frozen=True)
class BoxSource:
    """A box as a user's files hold it: variable to file, the numbers of the box, and its split."""

    name: str
    split: str
    files: Mapping[str, tuple[Path, str | None]]
    numbers: Mapping[str, float] = field(default_factory=dict)

    def open(self) -> dict[str, Any]:
        """Open its fields, (channel, *cells)."""
        return {name: open_box_field(*file) for name, file in self.files.items()}

    def fingerprint(self) -> dict[Path, tuple[int, int]]:
        """Give what changes of each of its files, and of those of a Zarr store, when it is written again."""
        stats = {path: os.stat(path) for path in list_whole_files(path for path, _ in self.files.values())}
        return {path: (each.st_mtime_ns, each.st_size) for path, each in stats.items()}


@dataclass(frozen=True)
class BoxList:
    """What a FILE.yaml says: its boxes, which fields are read and which are given, and of what they are."""

    boxes: list[BoxSource]
    inputs: list[str]
    targets: list[str]
    spacing: float
    spacing_units: str
    units: dict[str, str]
    periodic: bool
    scale_factor: int


def read_box_list(file: Path, *, spacing_units: str = "m") -> BoxList:
    """List the boxes that the patterns of a FILE.yaml match.

    ::

        spacing: 2.0              # edge of a cell of the targets
        periodic: true
        scale_factor: 1           # cells of the targets on the edge of one of the inputs
        training:
          inputs:                 # fields, joined along their channels in this order
            displacement_linear: train/*/linear.npy
          targets:
            displacement: {path: train/*/nbody.h5, variable: disp}
          numbers: {omega_m: 0.31}  # what holds for a box as a whole; a list for one a file
        test:
          inputs: {displacement_linear: test/*/linear.npy}

    The files that a pattern matches are taken in the order of their names; the first of one field belongs to
    the first of every other.

    Raises
    ------
    InputError
        Naming the pattern that matches nothing, or the lists of unequal length.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> for name in ("a_in", "b_in", "a_out"):
    ...     np.save(home / f"{name}.npy", np.zeros((1, 8, 8)))
    >>> head = "spacing: 1.0\\ntraining:\\n"
    >>> _ = (home / "own.yaml").write_text(head + "  inputs: {rho: '*_in.npy'}")
    >>> [box.name for box in read_box_list(home / "own.yaml").boxes]
    ['a_in', 'b_in']
    >>> _ = (home / "own.yaml").write_text(head + "  inputs: {rho: '*_in.npy'}\\n  targets: {v: '*_out.npy'}")
    >>> read_box_list(home / "own.yaml")
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...own.yaml: training: rho matches 2 files, v 1; ...
    """
    content = read_rules(file, RULES, required=("spacing",))
    wanted = [split for split in SPLITS if split in content]
    if not wanted:
        raise InputError(f"{file}: names no boxes; give `training`, `validation` or `test` with `inputs`")
    boxes: list[BoxSource] = []
    for split in wanted:
        check_table(content[split], SPLIT_RULES, f"{file}: {split}")
        if "inputs" not in content[split]:
            raise InputError(f"{file}: {split}: lacks inputs; give lines such as `density: PATTERN`")
        boxes += _match_boxes(content[split], split, file)
    sides = {
        side: {split: list(content[split].get(side, ())) for split in wanted}
        for side in ("inputs", "targets")
    }
    for side, lists in sides.items():
        different = {tuple(names) for names in lists.values() if names}
        if len(different) > 1:
            told = "; ".join(f"{split} has {', '.join(names)}" for split, names in lists.items() if names)
            raise InputError(f"{file}: the {side} differ: {told}; name the same fields, in one order")
    return BoxList(
        boxes,
        inputs=next(iter(sides["inputs"].values())),
        targets=next((names for names in sides["targets"].values() if names), []),
        spacing=float(content["spacing"]),
        spacing_units=content.get("spacing_units", spacing_units),
        units={name: str(unit) for name, unit in content.get("units", {}).items()},
        periodic=content.get("periodic", True),
        scale_factor=content.get("scale_factor", 1),
    )


def _match_boxes(entry: Mapping[str, Any], split: str, file: Path) -> list[BoxSource]:
    """Put together the boxes of one split."""
    matched: dict[str, list[tuple[Path, str | None]]] = {}
    for side in ("inputs", "targets", "besides"):
        for name, given in entry.get(side, {}).items():
            check_plain_name(name, f"{file}: {split}: field")
            if name in matched:
                raise InputError(f"{file}: {split}: {name} is named twice; give each field a name of its own")
            pattern = given if isinstance(given, str) else given["path"]
            variable = None if isinstance(given, str) else given.get("variable")
            paths = _glob(file.parent, pattern)
            if not paths:
                raise InputError(f"{file}: {split}: {name}: no file matches {pattern}; check the pattern")
            matched[name] = [(path, variable) for path in paths]
    counts = {name: len(paths) for name, paths in matched.items()}
    if len(set(counts.values())) > 1:
        first, *others = counts
        told = ", ".join(f"{name} {counts[name]}" for name in others)
        raise InputError(
            f"{file}: {split}: {first} matches {counts[first]} files, {told}; the lists must be equally long"
        )
    many = next(iter(counts.values()))
    numbers = {name: each if isinstance(each, list) else [each] * many for name, each in _numbers(entry)}
    for name, each in numbers.items():
        if len(each) != many:
            raise InputError(f"{file}: {split}: {name} has {len(each)} numbers for {many} boxes")
    names = name_boxes([path for path, _ in next(iter(matched.values()))])
    return [
        BoxSource(
            name,
            split,
            {key: paths[place] for key, paths in matched.items()},
            {key: float(each[place]) for key, each in numbers.items()},
        )
        for place, name in enumerate(names)
    ]


def _numbers(entry: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(entry.get("numbers", {}).items())


def _glob(home: Path, pattern: str) -> list[Path]:
    """List what matches a pattern, in the order of the names; one that means nothing matches nothing."""
    anchor = Path(pattern).anchor
    try:
        return sorted(Path(anchor or home).glob(pattern.removeprefix(anchor)))
    except (ValueError, IndexError):
        return []


def name_boxes(paths: Sequence[Path]) -> list[str]:
    """Name boxes after their files, with as many folders before as make the names different.

    >>> name_boxes([Path("box_0/linear.npy"), Path("box_1/linear.npy")])
    ['box_0_linear', 'box_1_linear']
    """
    names: list[str] = []
    for depth in range(max(len(path.parts) for path in paths)):
        names = ["_".join([*path.parts[:-1][-depth or len(path.parts) :], path.stem]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def open_box_field(path: Path, variable: str | None = None) -> Any:
    """Open one field, (channel, *cells), as something whose slices are read when they are asked for.

    Parameters
    ----------
    path
        An array .npy of whatever kind of numbers and order of bytes; NetCDF, HDF5 or Zarr.
    variable
        Of a file that holds several.

    Raises
    ------
    InputError
        Where the file cannot be read, or is no such field.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "displacement.npy"
    >>> np.save(file, np.ones((2, 8, 8), dtype=">f8"))
    >>> open_box_field(file).shape
    (2, 8, 8)
    """
    values = _open_array(path) if path.suffix == ".npy" else _open_variable(path, variable)
    kind = np.dtype(values.dtype).kind
    if len(values.shape) not in CHANNELS_AND_SPACE or kind not in "fiub" or 0 in values.shape:
        raise InputError(
            f"{path}: is {np.dtype(values.dtype).name} of shape {tuple(values.shape)}; a field has numbers "
            "(channel, x, y) or (channel, x, y, z)"
        )
    return values


def _open_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}); copy the file again") from None


def _open_variable(path: Path, variable: str | None) -> Any:
    try:
        store: Any = _open_store(path)
        if isinstance(store, zarr.Array):
            return store
        known = [name for name in store if len(getattr(store[name], "shape", ())) in CHANNELS_AND_SPACE]
        name = variable or (known[0] if len(known) == 1 else None)
        if name is None or name not in store:
            raise InputError(
                f"{path}: {'has no ' + variable if variable else 'name the variable'}; there are "
                f"{', '.join(known) or 'no fields'}"
            )
        return store[name]
    except InputError:
        raise
    except (*UNREADABLE, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}); copy the file again") from None


def _open_store(path: Path) -> Any:
    """Open a file of several variables: name to what has a shape and slices.

    NetCDF says how its numbers are packed, and which of them are missing.
    """
    if path.is_dir():
        return zarr.open(path, mode="r")
    import h5py

    with path.open("rb") as stream:
        classic = stream.read(3) == b"CDF"
    if classic or path.suffix == ".nc":
        return xr.open_dataset(path, engine="scipy" if classic else "h5netcdf", decode_times=False)
    return h5py.File(path, "r")
