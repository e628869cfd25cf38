"""What the heights of a FILE.yaml count from: one vertical datum, or an error that names the files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE, ELLIPSOID, parse_datum
from fieldwise.fields.entries import fill_entry, open_entry
from fieldwise.fields.grids import Bounds, crs_name, grid_of
from fieldwise.fields.heights import Heights, open_geoids, settle_datum
from fieldwise.recipes.bed_topography.own_files import LOWRES, list_entries

ELEVATIONS = (LOWRES, "surface_elevation")


def read_heights(source: Mapping[str, Any], *, folder: Path, report: Callable[[str], Any]) -> Heights:
    """Find out what each file of heights counts from, and to what all are brought.

    Low-res bed, surface, beds, surveys, held-out picks, truth and bound are heights; nothing but the heads of
    the files is read. A survey whose bed comes from ice thickness counts from what the surface does.

    Parameters
    ----------
    source
        The content of the FILE.yaml: ``datum`` is what all heights are brought to (by default the ellipsoid
        where there is a ``geoid``, otherwise what the files agree on).
    folder
        Folder that relative paths start from.
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
    >>> read_heights(source, folder=home, report=print).datum
    vertical datum: 2010tr.json state none and are taken to count from the WGS84 ellipsoid
    'WGS84 ellipsoid'
    """
    crs = crs_name(source["crs"])
    stated, bounds = _read_rasters(source, folder=folder, crs=crs)
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
    source: Mapping[str, Any], *, folder: Path, crs: str
) -> tuple[dict[str, str | None], Bounds]:
    """Give what each raster of heights says it counts from, and the box around all of them."""
    inputs = source["inputs"]
    entries = [entry for name, entry in inputs.items() if name in ELEVATIONS or "datum" in entry]
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


def require_datum(path: Path, stated: str | None, wanted: str | None) -> None:
    """Refuse a map that counts from another vertical datum than what it is judged by.

    >>> require_datum(Path("map.tif"), None, "WGS84 ellipsoid")
    >>> require_datum(Path("map.tif"), "EIGEN-GL04C geoid", "WGS84 ellipsoid")
    Traceback (most recent call last):
    fieldwise.errors.InputError: map.tif: counts from the EIGEN-GL04C geoid, the data from the WGS84 ...
    """
    if stated and wanted and stated != wanted:
        raise InputError(
            f"{path}: counts from the {stated}, the data from the {wanted}; prepare the data with "
            "`datum` as the map has it, or convert the map"
        )
