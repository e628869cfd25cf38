"""What a FILE.yaml of this recipe holds: its keys, and what must fit together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyproj

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError
from fieldwise.fields.grids import crs_label, crs_name
from fieldwise.fields.heights import GEOID_KEYS
from fieldwise.samples.rules import (
    CRS,
    DATUM,
    ENTRY,
    NUMBER_OF_METRES,
    Rule,
    check_entries,
    is_datum,
    is_entry,
    is_list_of,
    is_number,
    is_table,
    list_entries,
    list_whole_files,
    read_rules,
)
from fieldwise.surveys.pipelines import load_pipeline

UPSAMPLING = 4  # cells of the map along one low-res cell
LOWRES = "bed_lowres"
REQUIRED = ("crs", "inputs", "spacing_m", "lowres_spacing_m")
HELD_OUT_KEYS = {"surveys", "areas", "blocks", "keep_training_away"}
BLOCK_KEYS = {"km", "share", "buffer_km"}
SURVEY_KEYS = {"path", "datum", "bed_from"}
BED_FROM = ("height", "thickness")


def _is_survey(value: Any) -> bool:
    return isinstance(value, str) or (
        is_table(value)
        and isinstance(value.get("path"), str)
        and set(value) <= SURVEY_KEYS
        and is_datum(value.get("datum", "ellipsoid"))
        and value.get("bed_from", "height") in BED_FROM
    )


def _are_geoids(value: Any) -> bool:
    return all(
        is_table(entry)
        and isinstance(entry.get("path"), str)
        and isinstance(entry.get("name", ""), str)
        and set(entry) <= GEOID_KEYS
        for entry in (value if isinstance(value, list) else [value])
    )


def _is_held_out(value: Any) -> bool:
    return (
        is_table(value)
        and set(value) <= HELD_OUT_KEYS
        and is_list_of(_is_survey)(value.get("surveys") or [])
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


# `region` and the areas of `held_out` are checked where they are read.
RULES = {
    "crs": CRS,
    "spacing_m": NUMBER_OF_METRES,
    "lowres_spacing_m": Rule(is_number, "a number of metres such as 1000"),
    "region": Rule(lambda value: True, "[west, south, east, north]"),
    "inputs": Rule(is_table, "a table such as `bed_lowres: {path: FILE, spacing_m: 1000}`"),
    "datum": DATUM,
    "geoid": Rule(_are_geoids, "an entry such as {path: FILE, name: EIGEN-GL04C}, or a list of them"),
    "surveys": Rule(
        is_list_of(_is_survey),
        "a list of pipelines such as [highres/2007tx.json], or of {path: PIPELINE, datum: ellipsoid, "
        "bed_from: height | thickness}",
    ),
    "beds": Rule(is_table, "a table such as `glacier: {path: FILE, variable: bed}`"),
    "grounding_line": Rule(is_entry, "an entry such as {path: FILE.shp, buffer_m: 10000}"),
    "held_out": Rule(
        _is_held_out,
        "a table of surveys: [PIPELINE, ...], areas: [[w, s, e, n], ...], "
        "blocks: {km: 20, share: 0.15, buffer_km: 3}",
    ),
    "truth": ENTRY,
    "bound": ENTRY,
}


def read_own_files(file: Path) -> dict[str, Any]:
    """Read a FILE.yaml and check that every key is known and holds what it should, pipelines among it.

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
    source = read_rules(file, RULES, required=REQUIRED)
    for key, what in (("inputs", "input"), ("beds", "bed")):
        check_entries(source.get(key, {}), str(file), what=what)
    if LOWRES not in source["inputs"]:
        raise InputError(f"{file}: inputs lack {LOWRES}, the bed that is to be refined")
    if abs(source["lowres_spacing_m"] / source["spacing_m"] - UPSAMPLING) > 1e-6:
        raise InputError(f"{file}: lowres_spacing_m must be {UPSAMPLING} times spacing_m")
    if not pyproj.CRS(crs_name(source["crs"])).is_projected:
        label = crs_label(source["crs"])
        raise InputError(f"{file}: crs {label} is not in metres; give a projection such as EPSG:3031")
    _check_surveys(source, file)
    return source


def _check_surveys(source: Mapping[str, Any], file: Path) -> None:
    """See that surveys have names of their own, that their pipelines are some, and what a bed comes from."""
    taken: dict[str, str] = dict.fromkeys(source.get("beds", {}), "a bed")
    for entry in list_entries(source.get("surveys")):
        stem = check_plain_name(Path(entry["path"]).stem, f"{file}: survey")
        if stem in taken:
            raise InputError(f"{file}: {entry['path']} has the name of {taken[stem]}; rename one of them")
        taken[stem] = entry["path"]
    for entry in _survey_tables(source):
        if entry.get("bed_from") == "thickness" and "surface_elevation" not in source["inputs"]:
            raise InputError(f"{file}: {entry['path']}: bed_from thickness needs the input surface_elevation")
        measured = "thickness" if entry.get("bed_from") == "thickness" else "z"
        pipeline = load_pipeline(file.parent / entry["path"])
        pipeline.axis(measured)
        pipeline.files()


def _survey_tables(source: Mapping[str, Any]) -> list[dict[str, Any]]:
    held_out = (source.get("held_out") or {}).get("surveys")
    return [*list_entries(source.get("surveys")), *list_entries(held_out)]


def list_files(source: Mapping[str, Any], folder: Path) -> list[Path]:
    """List every file that a FILE.yaml names, the text files of its surveys among them.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("bed.tif", "other.tif"):
    ...     (folder / name).touch()
    >>> [file.name for file in list_files({"inputs": {"bed_lowres": {"path": "bed.tif"}}}, folder)]
    ['bed.tif']
    """
    entries = [entry for key in ("inputs", "beds") for entry in source.get(key, {}).values()]
    entries += list_entries(source.get("geoid"))
    entries += [source[key] for key in ("grounding_line", "truth", "bound") if key in source]
    entries += [entry["fill_from"] for entry in entries if entry.get("fill_from")]
    named = [folder / entry["path"] for entry in list_entries(entries)]
    for entry in _survey_tables(source):
        pipeline = folder / entry["path"]
        named += [pipeline, *load_pipeline(pipeline).files()]
    return list_whole_files(named)
