"""The entries of a FILE.yaml, each of which names a gridded file: opened as fields."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.datums import parse_datum
from fieldwise.fields.formats import open_field
from fieldwise.fields.heights import Heights
from fieldwise.fields.resampling import align

FIELD_KEYS = {"path", "variable", "variables", "x", "y", "crs"}
INPUT_KEYS = FIELD_KEYS | {"spacing_m", "fill_from", "degrade", "averages", "units", "datum"}


def open_entry(
    entry: Mapping[str, Any], *, folder: Path, crs: str, heights: Heights | None = None
) -> list[xr.DataArray]:
    """Open what one entry of a FILE.yaml names: one field, or one for each of its `variables`.

    Parameters
    ----------
    entry
        ``path``, and where the file needs it ``variable`` or ``variables``, ``x``, ``y``, ``crs``, ``datum``.
    folder
        Folder that relative paths start from.
    crs
        CRS to bring the fields to.
    heights
        For heights: the vertical datum to bring them to.

    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> home = Path(tempfile.mkdtemp())
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> from fieldwise.fields.rasters import write_netcdf
    >>> grid = Grid(0, 0, 900, 900, 450, "EPSG:3031")
    >>> velocity = xr.Dataset({name: make_field(np.ones((2, 2)), grid, name=name) for name in ("VX", "VY")})
    >>> _ = write_netcdf(velocity, home / "velocity.nc")
    >>> entry = {"path": "velocity.nc", "variables": ["VX", "VY"]}
    >>> [field.name for field in open_entry(entry, folder=home, crs="EPSG:3031")]
    ['VX', 'VY']
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str):
        raise InputError(f"{entry!r}: an input is written as {{path: FILE, spacing_m: NUMBER}}")
    unknown = set(entry) - INPUT_KEYS
    if unknown:
        raise InputError(
            f"{entry['path']}: unknown key {', '.join(sorted(unknown))}; "
            f"known are {', '.join(sorted(INPUT_KEYS))}"
        )
    names = entry.get("variables") or [entry.get("variable")]
    keys = {key: entry[key] for key in ("x", "y", "crs") if key in entry}
    fields = [open_field(folder / entry["path"], variable=name, **keys) for name in names]
    if entry.get("datum"):
        fields = [_state_datum(field, entry) for field in fields]
    fields = [align(field, crs) for field in fields]
    return [heights.bring(field) for field in fields] if heights else fields


def _state_datum(field: xr.DataArray, entry: Mapping[str, Any]) -> xr.DataArray:
    """Add what the entry says of the vertical datum to what the file says."""
    datum = parse_datum(entry["datum"])
    of_file = field.attrs.get(DATUM, datum)
    if of_file != datum:
        raise InputError(
            f"{entry['path']}: counts from the {of_file} by its own account, from the {datum} by the "
            "FILE.yaml; take `datum` away there, or correct the file"
        )
    return field.assign_attrs({DATUM: datum})


def fill_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Give the entry of the coarser file that gaps are filled from; by default it has the same datum.

    >>> fill_entry({"path": "fine.tif", "datum": "ellipsoid", "fill_from": "coarse.tif"})
    {'datum': 'ellipsoid', 'variable': None, 'path': 'coarse.tif'}
    """
    coarse = entry["fill_from"]
    if not isinstance(coarse, Mapping):
        coarse = {"variable": entry.get("variable"), "path": coarse}
    return ({"datum": entry["datum"]} if "datum" in entry else {}) | dict(coarse)
