"""What the heights of a FILE.yaml count from: one vertical datum, or an error that names the files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fieldwise.fields.datums import ATTRIBUTE, ELLIPSOID, parse_datum
from fieldwise.fields.entries import fill_entry, open_entry
from fieldwise.fields.grids import Bounds, crs_name, grid_of
from fieldwise.fields.heights import Heights, open_geoids, settle_datum
from fieldwise.samples.rules import list_entries


def read_heights(
    source: Mapping[str, Any], *, folder: Path, elevations: tuple[str, ...], report: Callable[[str], Any]
) -> Heights:
    """Find out what each file of heights counts from, and to what all are brought.

    Besides inputs, beds, surveys, held-out picks, truth and bound are heights; nothing but the heads of the
    files is read. A survey whose bed comes from ice thickness counts from what the surface does.

    Parameters
    ----------
    source
        The content of the FILE.yaml: ``datum`` is what all heights are brought to (by default the ellipsoid
        where there is a ``geoid``, otherwise what the files agree on).
    folder
        Folder that relative paths start from.
    elevations
        Inputs that are heights; those that state a ``datum`` are so too.
    report
        Called with one line where files do not say what they count from.

    Raises
    ------
    InputError
        Where heights of different datums would be mixed, naming two files and the remedy; where a geoid is
        missing, is not in metres, or does not reach the heights.

    >>> import tempfile
    >>> import numpy as np
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> from fieldwise.fields.rasters import write_cog
    >>> home, grid = Path(tempfile.mkdtemp()), Grid(0, 0, 4000, 4000, 1000, "EPSG:3031")
    >>> _ = write_cog(make_field(np.zeros((4, 4)), grid, name="bed"), home / "bed.tif")
    >>> inputs = {"bed_lowres": {"path": "bed.tif", "datum": "ellipsoid"}}
    >>> source = {"crs": "EPSG:3031", "inputs": inputs, "surveys": ["2010tr.json"]}
    >>> read_heights(source, folder=home, elevations=("bed_lowres",), report=print).datum
    vertical datum: 2010tr.json state none and are taken to count from the WGS84 ellipsoid
    'WGS84 ellipsoid'
    """
    crs = crs_name(source["crs"])
    stated, bounds = _read_rasters(source, folder=folder, crs=crs, elevations=elevations)
    surveys = list_entries(source.get("surveys"))
    surveys += list_entries((source.get("held_out") or {}).get("surveys"))
    for entry in surveys:
        if entry.get("bed_from") != "thickness":
            stated[entry["path"]] = parse_datum(entry["datum"]) if "datum" in entry else None
    wanted = parse_datum(source["datum"]) if "datum" in source else None
    geoids = {}
    if source.get("geoid"):
        named = {datum for datum in [*stated.values(), wanted] if datum and datum != ELLIPSOID}
        geoids = open_geoids(source["geoid"], folder=folder, crs=crs, bounds=bounds, named=sorted(named))
    datum = settle_datum(stated, wanted=wanted, geoids=geoids)
    unknown = [name for name, value in stated.items() if value is None]
    if datum is None:
        report("vertical datum: no file states one; all heights are taken to count from the same")
    elif unknown:
        report(f"vertical datum: {', '.join(unknown)} state none and are taken to count from the {datum}")
    return Heights(datum, geoids)


def _read_rasters(
    source: Mapping[str, Any], *, folder: Path, crs: str, elevations: tuple[str, ...]
) -> tuple[dict[str, str | None], Bounds]:
    """Give what each raster of heights says it counts from, and the box around all of them."""
    inputs = source["inputs"]
    entries = [entry for name, entry in inputs.items() if name in elevations or "datum" in entry]
    entries += [fill_entry(entry) for entry in entries if entry.get("fill_from")]
    entries += source.get("beds", {}).values()
    entries += [source[key] for key in ("truth", "bound") if key in source]
    stated: dict[str, str | None] = {}
    boxes = []
    for entry in entries:
        label = " ".join(str(entry[key]) for key in ("path", "variable") if entry.get(key))
        for field in open_entry(entry, folder=folder, crs=crs):
            stated[label] = field.attrs.get(ATTRIBUTE)
            boxes.append(grid_of(field).bounds)
    west, south, east, north = zip(*boxes)
    return stated, (min(west), min(south), max(east), max(north))
