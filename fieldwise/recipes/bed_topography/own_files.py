"""A FILE.yaml that names a user's own files, checked as a whole before any of them is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyproj

from fieldwise.errors import InputError
from fieldwise.fields.datums import parse_datum
from fieldwise.fields.grids import crs_name
from fieldwise.fields.heights import GEOID_KEYS
from fieldwise.samples.datasets import read_yaml
from fieldwise.surveys.pipelines import load_pipeline

UPSAMPLING = 4  # cells of the map along one low-res cell
LOWRES = "bed_lowres"
REQUIRED = ("crs", "inputs", "spacing_m", "lowres_spacing_m")
HELD_OUT_KEYS = {"surveys", "areas", "keep_training_away"}
SURVEY_KEYS = {"path", "datum", "bed_from"}
BED_FROM = ("height", "thickness")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_entry(value: Any) -> bool:
    return (
        _is_table(value)
        and isinstance(value.get("path"), str)
        and all(_is_number(value.get(key) or 1) for key in ("spacing_m", "degrade", "buffer_m"))
        and _is_datum(value.get("datum", "ellipsoid"))
    )


def _is_datum(value: Any) -> bool:
    try:
        return bool(parse_datum(value))
    except InputError:
        return False


def _are_surveys(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, str)
        or (
            _is_table(entry)
            and isinstance(entry.get("path"), str)
            and set(entry) <= SURVEY_KEYS
            and _is_datum(entry.get("datum", "ellipsoid"))
            and entry.get("bed_from", "height") in BED_FROM
        )
        for entry in value
    )


def _are_geoids(value: Any) -> bool:
    return all(
        _is_table(entry)
        and isinstance(entry.get("path"), str)
        and isinstance(entry.get("name", ""), str)
        and set(entry) <= GEOID_KEYS
        for entry in (value if isinstance(value, list) else [value])
    )


def _is_held_out(value: Any) -> bool:
    return _is_table(value) and set(value) <= HELD_OUT_KEYS and _are_surveys(value.get("surveys") or [])


# What each key holds; `region` and the areas of `held_out` are checked where they are read.
CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "crs": (lambda value: isinstance(value, str | int), "a CRS such as EPSG:3031"),
    "spacing_m": (_is_number, "a number of metres such as 250"),
    "lowres_spacing_m": (_is_number, "a number of metres such as 1000"),
    "region": (lambda value: True, "[west, south, east, north]"),
    "inputs": (_is_table, "a table such as `bed_lowres: {path: FILE, spacing_m: 1000}`"),
    "datum": (_is_datum, "`ellipsoid` or `geoid NAME`, such as geoid EIGEN-GL04C"),
    "geoid": (_are_geoids, "an entry such as {path: FILE, name: EIGEN-GL04C}, or a list of them"),
    "surveys": (
        _are_surveys,
        "a list of pipelines such as [highres/2007tx.json], or of {path: PIPELINE, datum: ellipsoid, "
        "bed_from: height | thickness}",
    ),
    "beds": (_is_table, "a table such as `glacier: {path: FILE, variable: bed}`"),
    "grounding_line": (_is_entry, "an entry such as {path: FILE.shp, buffer_m: 10000}"),
    "held_out": (
        _is_held_out,
        "a table of surveys: [PIPELINE, ...], areas: [[w, s, e, n], ...]",
    ),
    "truth": (_is_entry, "an entry such as {path: FILE}"),
    "bound": (_is_entry, "an entry such as {path: FILE}"),
}


def read_own_files(file: Path) -> dict[str, Any]:
    """Read a FILE.yaml and check that every key is known and holds what it should.

    Raises
    ------
    InputError
        Naming the file, the key, and what should stand there.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "own.yaml"
    >>> _ = file.write_text("{crs: EPSG:3031, spacing_m: 250, lowres_spacing_m: 1000, inputs: [bed.tif]}")
    >>> read_own_files(file)
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...own.yaml: inputs is ['bed.tif']; give a table such as `bed_lowres: ...
    """
    source = {key: value for key, value in read_yaml(file, required=REQUIRED).items() if value is not None}
    for key, value in source.items():
        _check(file, key, value)
    for entry in _survey_tables(source):
        if entry.get("bed_from") == "thickness" and "surface_elevation" not in source.get("inputs", {}):
            raise InputError(f"{file}: {entry['path']}: bed_from thickness needs the input surface_elevation")
    for key in REQUIRED:
        if key not in source:
            raise InputError(f"{file}: {key} is empty; give {CHECKS[key][1]}")
    if LOWRES not in source["inputs"]:
        raise InputError(f"{file}: inputs lack {LOWRES}, the bed that is to be refined")
    if abs(source["lowres_spacing_m"] / source["spacing_m"] - UPSAMPLING) > 1e-6:
        raise InputError(f"{file}: lowres_spacing_m must be {UPSAMPLING} times spacing_m")
    if not pyproj.CRS(crs_name(source["crs"])).is_projected:
        raise InputError(f"{file}: crs {source['crs']} is not in metres; give a projection such as EPSG:3031")
    return source


def _check(file: Path, key: str, value: Any) -> None:
    if key not in CHECKS:
        raise InputError(f"{file}: {key} is not known; known are {', '.join(CHECKS)}")
    fits, example = CHECKS[key]
    if not fits(value):
        raise InputError(f"{file}: {key} is {value!r}; give {example}")
    for name, entry in value.items() if key in ("inputs", "beds") else ():
        if not _is_entry(entry):
            raise InputError(f"{file}: {name} is {entry!r}; give an entry such as {{path: FILE}}")


def list_entries(value: Any) -> list[dict[str, Any]]:
    """Give entries as tables, where a FILE.yaml may hold one or a list, and paths alone.

    >>> list_entries(["2007tx.json", {"path": "radar.json", "bed_from": "thickness"}])
    [{'path': '2007tx.json'}, {'path': 'radar.json', 'bed_from': 'thickness'}]
    """
    values = value if isinstance(value, list) else [value] if value else []
    return [dict(entry) if _is_table(entry) else {"path": entry} for entry in values]


def _survey_tables(source: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        *list_entries(source.get("surveys")),
        *list_entries((source.get("held_out") or {}).get("surveys")),
    ]


def list_files(source: Mapping[str, Any], folder: Path) -> list[Path]:
    """List every file that a FILE.yaml names, the text files of its surveys among them.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("bed.tif", "other.tif"):
    ...     (folder / name).touch()
    >>> [file.name for file in list_files({"inputs": {"bed_lowres": {"path": "bed.tif"}}}, folder)]
    ['bed.tif']
    """
    tables = (source.get("inputs", {}), source.get("beds", {}))
    entries = [entry for table in tables for entry in table.values()]
    entries += list_entries(source.get("geoid"))
    entries += [source[key] for key in ("grounding_line", "truth", "bound") if key in source]
    entries += [entry["fill_from"] for entry in entries if entry.get("fill_from")]
    named = [folder / (entry["path"] if _is_table(entry) else entry) for entry in entries]
    for entry in _survey_tables(source):
        pipeline = folder / entry["path"]
        named += [pipeline, *pipeline.parent.glob(load_pipeline(pipeline).filename)]
    # A Zarr store is a folder.
    inside = [part for path in named for part in (path.rglob("*") if path.is_dir() else [path])]
    return sorted({path for path in inside if path.is_file()})
