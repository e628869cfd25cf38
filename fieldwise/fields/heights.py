"""Heights above one vertical datum: told apart, converted with geoids, never mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pyproj
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE, ELLIPSOID, parse_datum
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Bounds, Grid, grid_of, load_values, make_field, same_crs
from fieldwise.fields.tiles import cut

# A geoid lies between 107 m below the ellipsoid (south of India) and 86 m above it (New Guinea).
HIGHEST_GEOID_M = 120.0
METRES = {"", "m", "metre", "metres", "meter", "meters"}
DEGREE_M = 111_195.0  # along a meridian
GEOID_KEYS = {"path", "name", "variable", "x", "y", "crs", "units"}


@dataclass(frozen=True)
class Heights:
    """The vertical datum that all heights of a data set are brought to.

    Parameters
    ----------
    datum
        As in a field's ``vertical_datum``; None where no file says what it counts from.
    geoids
        Vertical datum to the geoid's height above the ellipsoid, in metres.

    >>> from fieldwise.fields.grids import make_field, same_crs
    >>> grid = Grid(0, 0, 2000, 2000, 1000, "EPSG:3031")
    >>> bed = make_field(np.full((2, 2), -500.0), grid, name="bed", vertical_datum="EIGEN-GL04C geoid")
    >>> geoid = make_field(np.full((2, 2), -30.0), grid, name="geoid")
    >>> above_ellipsoid = Heights("WGS84 ellipsoid", {"EIGEN-GL04C geoid": geoid}).bring(bed)
    >>> above_ellipsoid.values.tolist(), above_ellipsoid.vertical_datum
    ([[-530.0, -530.0], [-530.0, -530.0]], 'WGS84 ellipsoid')
    """

    datum: str | None = None
    geoids: Mapping[str, xr.DataArray] = field(default_factory=dict)

    def offsets(self, stated: str | None) -> list[tuple[float, xr.DataArray]]:
        """Give signs and geoids whose heights are to be added to heights above a datum.

        A height above the ellipsoid is that above a geoid plus the geoid's own.
        """
        if stated is None or self.datum is None or stated == self.datum:
            return []
        steps = [(1.0, stated), (-1.0, self.datum)]
        missing = [name for _, name in steps if name != ELLIPSOID and name not in self.geoids]
        if missing:
            raise InputError(
                _remedy(f"heights above the {stated} among those above the {self.datum}", missing)
            )
        return [(sign, self.geoids[name]) for sign, name in steps if name != ELLIPSOID]

    def bring(self, heights: xr.DataArray) -> xr.DataArray:
        """Bring heights (y, x) in metres to the datum, lazily; those that state none are taken to be."""
        if self.datum is None:
            return heights
        brought = heights
        for sign, geoid in self.offsets(heights.attrs.get(ATTRIBUTE)):
            brought = _add(brought, geoid, sign)
        brought.encoding["source"] = heights.encoding.get("source", heights.name)
        return brought.assign_attrs({ATTRIBUTE: self.datum})


def settle_datum(
    stated: Mapping[str, str | None], *, wanted: str | None = None, geoids: Mapping[str, Any] | None = None
) -> str | None:
    """Settle what datum the heights of several files are brought to, or say why they cannot be mixed.

    Parameters
    ----------
    stated
        File to the datum that it, or its user, states; None for none.
    wanted
        The datum that is asked for, if one is.
    geoids
        Datums of the geoids that are at hand.

    Returns
    -------
    str or None
        What is wanted; else the ellipsoid where there are geoids to get there; else the one datum that is
        stated; None where none is.

    >>> settle_datum({"bed.tif": "EIGEN-GL04C geoid", "surface.tif": "WGS84 ellipsoid"})
    Traceback (most recent call last):
    fieldwise.errors.InputError: bed.tif: heights above the EIGEN-GL04C geoid, surface.tif: above the ...
    """
    known = {name: datum for name, datum in stated.items() if datum}
    datums = list(dict.fromkeys(known.values()))
    target = wanted or (ELLIPSOID if geoids else datums[0] if datums else None)
    others = [datum for datum in datums if datum != target]
    if others:
        missing = [name for name in (*others, target) if name != ELLIPSOID and name not in (geoids or {})]
        if missing:
            first = {datum: file for file, datum in reversed(known.items())}
            one, two = (others[0], target) if target not in datums[:1] else (target, others[0])
            told = f"{first[one]}: heights above the {one}, " if one in first else ""
            told += f"{first[two]}: above the {two}" if two in first else f"`datum` asks for the {two}"
            raise InputError(_remedy(told, missing))
    return target


def _remedy(wrong: str, missing: Sequence[str | None]) -> str:
    name = str(missing[0]).removesuffix(" geoid")
    return (
        f"{wrong}; these cannot be mixed: name the geoid's height above the ellipsoid in the FILE.yaml, "
        f"`geoid: {{path: FILE, name: {name}}}`, or correct `datum`"
    )


def open_geoid(entry: Mapping[str, Any], *, folder: Path, crs: str, bounds: Bounds) -> xr.DataArray:
    """Open a geoid raster (its height above the ellipsoid, metres) in a CRS, around what is to be converted.

    One in another CRS, such as one of the whole globe in degrees, is interpolated at its own spacing.

    Raises
    ------
    InputError
        Where the file is missing, is not in metres, or does not reach the bounds.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> from fieldwise.fields.grids import make_field, same_crs
    >>> from fieldwise.fields.rasters import write_cog
    >>> grid = Grid(0, 0, 9000, 9000, 1000, "EPSG:3031")
    >>> _ = write_cog(make_field(np.full((9, 9), -30.0), grid, name="geoid"), home / "geoid.tif")
    >>> entry, box = {"path": "geoid.tif"}, (3000, 3000, 5000, 5000)
    >>> open_geoid(entry, folder=home, crs="EPSG:3031", bounds=box).shape  # two cells more on every side
    (6, 6)
    """
    file = folder / entry["path"]
    keys = {key: entry[key] for key in ("variable", "x", "y", "crs") if key in entry}
    geoid = open_field(file, **keys)
    units = str(entry.get("units") or geoid.attrs.get("units", "")).strip()
    if units.lower() not in METRES:
        raise InputError(f"{file}: is in {units}; a geoid's height above the ellipsoid is wanted in metres")
    if not same_crs(geoid.rio.crs, crs):
        geoid = _resample(geoid, crs, bounds, file=str(file))
    grid = grid_of(geoid)
    west, south, east, north = bounds
    margin = 2 * grid.spacing
    around = geoid.sel(x=slice(west - margin, east + margin), y=slice(north + margin, south - margin))
    if min(around.shape) < 2:
        raise InputError(
            f"{file}: does not cover {tuple(round(edge) for edge in bounds)}; give a wider geoid"
        )
    around = around.copy(data=load_values(around))
    around.encoding["source"] = str(file)
    return around


def _resample(geoid: xr.DataArray, crs: str, bounds: Bounds, *, file: str) -> xr.DataArray:
    """Bring a geoid to another CRS over the bounds alone: the other pole has no place in a polar one."""
    spacing = grid_of(geoid).spacing
    if geoid.rio.crs.is_geographic:
        geoid = _around_the_globe(geoid)
        spacing *= DEGREE_M
    west, south, east, north = bounds
    margin = 2 * spacing
    grid = Grid.around((west - margin, south - margin, east + margin, north + margin), spacing, crs)
    # Point by point: a warp that is approximated along rows goes astray across the date line and the pole.
    to_geoid = pyproj.Transformer.from_crs(crs, geoid.rio.crs, always_xy=True)
    x, y = to_geoid.transform(*np.meshgrid(grid.x, grid.y))
    x, y = _onto_centres(x, geoid["x"].values), _onto_centres(y, geoid["y"].values)
    values = geoid.interp(x=(("y", "x"), x), y=(("y", "x"), y))
    values.encoding["source"] = file
    return make_field(load_values(values), grid, name=str(geoid.name))


def _onto_centres(positions: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Move what lies in the outer halves of the outermost cells to their centres."""
    half = abs(centres[1] - centres[0]) / 2
    inner = np.clip(positions, centres.min(), centres.max())
    return np.where(np.abs(inner - positions) <= half, inner, positions)


def _around_the_globe(geoid: xr.DataArray) -> xr.DataArray:
    """Count longitudes from -180 degrees; a global field gets its neighbours beyond both ends."""
    spacing = grid_of(geoid).spacing
    east, first = np.unique((geoid["x"].values + 180) % 360 - 180, return_index=True)
    geoid = geoid.isel(x=first).assign_coords(x=east)
    if abs(east[-1] - east[0] + spacing - 360) > 1e-3 * spacing:
        return geoid
    before, after = geoid[:, -1:], geoid[:, :1]
    parts = [before.assign_coords(x=east[-1:] - 360), geoid, after.assign_coords(x=east[:1] + 360)]
    return xr.concat(parts, dim="x").rio.write_crs(geoid.rio.crs)


def _add(heights: xr.DataArray, geoid: xr.DataArray, sign: float) -> xr.DataArray:
    """Add a geoid, chunk by chunk when these are read; where it is missing, that is an error by name."""
    grid = grid_of(heights)
    file = heights.encoding.get("source", heights.name)

    def shift(values: np.ndarray, block_info: Any = None) -> np.ndarray:
        (top, bottom), (left, right) = block_info[0]["array-location"]
        west, north = grid.west + left * grid.spacing, grid.north - top * grid.spacing
        box = (west, grid.north - bottom * grid.spacing, grid.west + right * grid.spacing, north)
        offset = cut(geoid, [box], spacing=grid.spacing)[0]
        lacking = np.argwhere(np.isnan(offset) & ~np.isnan(values))
        if len(lacking):
            x, y = grid.x[left + lacking[0, 1]], grid.y[top + lacking[0, 0]]
            raise InputError(
                f"{_name(geoid)}: does not cover {file} at x {x:.0f}, y {y:.0f}; give a wider geoid"
            )
        if np.abs(offset[~np.isnan(offset)]).max(initial=0.0) > HIGHEST_GEOID_M:
            raise InputError(
                f"{_name(geoid)}: holds {np.nanmax(np.abs(offset)):.0f}, but no geoid is farther than 107 m "
                "from the ellipsoid; give its height above the ellipsoid in metres"
            )
        return (values + sign * offset).astype(np.float32)

    lazy = dask.array.asarray(heights.data)
    moved = lazy.map_blocks(shift, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    return heights.copy(data=moved)


def _name(geoid: xr.DataArray) -> str:
    return str(geoid.encoding.get("source") or geoid.name)


def open_geoids(
    entries: Any, *, folder: Path, crs: str, bounds: Bounds, named: list[str]
) -> dict[str, xr.DataArray]:
    """Open the geoids of a FILE.yaml: one entry or a list of them, each with a path and the geoid's name.

    Parameters
    ----------
    entries
        ``{path: FILE, name: NAME}``, or a list; a single one may leave out the name where only one geoid is
        named by the files.
    named
        The geoids that the files name.

    Returns
    -------
    dict
        Vertical datum to field.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> from fieldwise.fields.grids import make_field, same_crs
    >>> from fieldwise.fields.rasters import write_cog
    >>> grid = Grid(0, 0, 9000, 9000, 1000, "EPSG:3031")
    >>> _ = write_cog(make_field(np.full((9, 9), -30.0), grid, name="geoid"), home / "geoid.tif")
    >>> entry, box = {"path": "geoid.tif", "name": "EIGEN-GL04C"}, (3000, 3000, 5000, 5000)
    >>> list(open_geoids(entry, folder=home, crs="EPSG:3031", bounds=box, named=[]))
    ['EIGEN-GL04C geoid']
    """
    geoids = {}
    for entry in entries if isinstance(entries, list) else [entries]:
        name = entry.get("name") or (named[0] if len(named) == 1 else None)
        if name is None:
            raise InputError(
                f"{entry['path']}: which geoid is it? Add its `name` (the files name "
                f"{', '.join(named) or 'none'})"
            )
        datum = name if str(name).endswith(" geoid") else parse_datum(f"geoid {name}")
        geoids[datum] = open_geoid(entry, folder=folder, crs=crs, bounds=bounds)
    return geoids
