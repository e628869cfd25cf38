"""The rules of a FILE.yaml: what each key holds, checked as a whole before any file is opened.

A recipe states its keys as data, a :class:`Rule` for each; what is alike in all is here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fieldwise.drafts import check_plain_name, replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields.datums import parse_datum
from fieldwise.fields.heights import GEOID_KEYS

SURVEY_KEYS = {"path", "datum", "bed_from"}
HELD_OUT_KEYS = {"surveys", "areas", "blocks", "keep_training_away"}
BLOCK_KEYS = {"km", "share", "buffer_km"}


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
        raise InputError(
            f"{path}: is no YAML ({' '.join(str(error).split())}); give a text file of `key: value` lines"
        ) from error
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
class Rule:
    """What a key holds: a check, and what to give where it fails."""

    fits: Callable[[Any], bool]
    example: str


def is_number(value: Any) -> bool:
    """Tell a finite number above 0.

    >>> is_number(250), is_number("250"), is_number(-1), is_number(True)
    (True, False, False, False)
    """
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    )


def is_table(value: Any) -> bool:
    """Tell a table of keys and values.

    >>> is_table({"path": "bed.tif"}), is_table("bed.tif")
    (True, False)
    """
    return isinstance(value, Mapping)


def is_datum(value: Any) -> bool:
    """Tell the name of a vertical datum.

    >>> is_datum("ellipsoid"), is_datum("geoid EGM96"), is_datum("sea level")
    (True, True, False)
    """
    try:
        return bool(parse_datum(value))
    except InputError:
        return False


def is_entry(value: Any) -> bool:
    """Tell an entry that names a file, as `{path: FILE, spacing_m: 1000}`; its numbers must be some.

    >>> is_entry({"path": "bed.tif", "spacing_m": 1000}), is_entry({"path": "bed.tif", "degrade": "fine"})
    (True, False)
    """
    return (
        is_table(value)
        and isinstance(value.get("path"), str)
        and all(is_number(value.get(key) or 1) for key in ("spacing_m", "degrade", "buffer_m"))
        and isinstance(value.get("averages", False), bool)
        and is_datum(value.get("datum", "ellipsoid"))
    )


def is_list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Make the check of a list from that of what is in it.

    >>> is_list_of(is_number)([1, 2]), is_list_of(is_number)(1)
    (True, False)
    """
    return lambda value: isinstance(value, list) and all(fits(each) for each in value)


def is_survey(value: Any) -> bool:
    """Tell a survey: the path of its pipeline, or a table of it.

    >>> is_survey("2007tx.json"), is_survey({"path": "2007tx.json", "bed_from": "colour"})
    (True, False)
    """
    return isinstance(value, str) or (
        is_table(value)
        and isinstance(value.get("path"), str)
        and set(value) <= SURVEY_KEYS
        and is_datum(value.get("datum", "ellipsoid"))
        and value.get("bed_from", "height") in ("height", "thickness")
    )


def are_geoids(value: Any) -> bool:
    """Tell the entry of a geoid, or a list of such.

    >>> are_geoids({"path": "geoid.tif", "name": "EGM96"}), are_geoids([{"path": 3}])
    (True, False)
    """
    return all(
        is_table(entry)
        and isinstance(entry.get("path"), str)
        and isinstance(entry.get("name", ""), str)
        and set(entry) <= GEOID_KEYS
        for entry in (value if isinstance(value, list) else [value])
    )


def is_held_out(value: Any) -> bool:
    """Tell what is held out: surveys, areas (which are checked where they are read), and blocks to draw.

    >>> is_held_out({"blocks": {"km": 20}}), is_held_out({"blocks": {"km": 20, "share": 1}})
    (True, False)
    """
    return (
        is_table(value)
        and set(value) <= HELD_OUT_KEYS
        and is_list_of(is_survey)(value.get("surveys") or [])
        and ("blocks" not in value or _are_blocks(value["blocks"]))
    )


def _are_blocks(value: Any) -> bool:
    return (
        is_table(value)
        and set(value) <= BLOCK_KEYS
        and is_number(value.get("km"))
        and is_number(value.get("share", 0.15))
        and value.get("share", 0.15) < 1
        and (value.get("buffer_km", 0) == 0 or is_number(value["buffer_km"]))
    )


NUMBER_OF_METRES = Rule(is_number, "a number of metres such as 250")
CRS = Rule(lambda value: isinstance(value, str | int), "a CRS such as EPSG:3031")
DATUM = Rule(is_datum, "`ellipsoid` or `geoid NAME`, such as geoid EIGEN-GL04C")
ENTRY = Rule(is_entry, "an entry such as {path: FILE}")
GEOIDS = Rule(are_geoids, "an entry such as {path: FILE, name: EIGEN-GL04C}, or a list of them")
SURVEYS = Rule(
    is_list_of(is_survey),
    "a list of pipelines such as [highres/2007tx.json], or of {path: PIPELINE, datum: ellipsoid, "
    "bed_from: height | thickness}",
)
HELD_OUT = Rule(
    is_held_out,
    "a table of surveys: [PIPELINE, ...], areas: [[w, s, e, n], ...], "
    "blocks: {km: 20, share: 0.15, buffer_km: 3}",
)


def check_table(table: Mapping[str, Any], rules: Mapping[str, Rule], place: str) -> None:
    """Refuse keys that no rule knows, and values that do not fit.

    >>> check_table({"spacing_m": "fine"}, {"spacing_m": NUMBER_OF_METRES}, "own.yaml")
    Traceback (most recent call last):
    fieldwise.errors.InputError: own.yaml: spacing_m is 'fine'; give a number of metres such as 250
    """
    for key, value in table.items():
        if key not in rules:
            raise InputError(f"{place}: {key} is not known; known are {', '.join(rules)}")
        if not rules[key].fits(value):
            raise InputError(f"{place}: {key} is {value!r}; give {rules[key].example}")


def check_entries(table: Mapping[str, Any], place: str, *, what: str) -> None:
    """Check a table of entries by name: each name is one of a file to be written, each entry names a file.

    >>> check_entries({"bed_lowres": "bed.tif"}, "own.yaml", what="input")
    Traceback (most recent call last):
    fieldwise.errors.InputError: own.yaml: bed_lowres is 'bed.tif'; give an entry such as {path: FILE}
    """
    for name, entry in table.items():
        check_plain_name(name, f"{place}: {what}")
        if not is_entry(entry):
            raise InputError(f"{place}: {name} is {entry!r}; give {ENTRY.example}")


def read_rules(file: Path, rules: Mapping[str, Rule], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a FILE.yaml by a recipe's rules; a key without a value counts as one that is not there.

    Raises
    ------
    InputError
        Naming the file, the key, and what should stand there.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "own.yaml"
    >>> _ = file.write_text("{crs: EPSG:3031, spacing_m: 250, step: 3}")
    >>> read_rules(file, {"crs": CRS, "spacing_m": NUMBER_OF_METRES}, required=("crs",))
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...own.yaml: step is not known; known are crs, spacing_m
    """
    source = {key: value for key, value in read_yaml(file, required=required).items() if value is not None}
    check_table(source, rules, str(file))
    for key in required:
        if key not in source:
            raise InputError(f"{file}: {key} is empty; give {rules[key].example}")
    return source


def list_entries(value: Any) -> list[dict[str, Any]]:
    """Give entries as tables, where a FILE.yaml may hold one or a list, and paths alone.

    >>> list_entries(["2007tx.json", {"path": "radar.json", "bed_from": "thickness"}])
    [{'path': '2007tx.json'}, {'path': 'radar.json', 'bed_from': 'thickness'}]
    """
    values = value if isinstance(value, list) else [value] if value else []
    return [dict(entry) if is_table(entry) else {"path": entry} for entry in values]


def list_whole_files(paths: Iterable[Path]) -> list[Path]:
    """List the files among paths, and those within folders, as a Zarr store is one; each once, in order.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "flow.zarr").mkdir()
    >>> for name in ("bed.tif", "flow.zarr/.zgroup"):
    ...     (folder / name).touch()
    >>> named = [folder / name for name in ("flow.zarr", "bed.tif", "gone.tif")]
    >>> [path.name for path in list_whole_files(named)]
    ['bed.tif', '.zgroup']
    """
    inside = [part for path in paths for part in (path.rglob("*") if path.is_dir() else [path])]
    return sorted({path for path in inside if path.is_file()})
