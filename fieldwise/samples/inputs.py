"""The inputs that a FILE.yaml names: opened, aligned, filled where gaps are narrow, and written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.arrays import ArrayModule
from fieldwise.fields.entries import fill_entry, open_entry
from fieldwise.fields.formats import open_field
from fieldwise.fields.gaps import fill_from_neighbours, fill_gaps
from fieldwise.fields.grids import Bounds, crs_name, grid_of, move_field, overlap
from fieldwise.fields.heights import Heights
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.resampling import degrade
from fieldwise.fields.trends import regional_spread, regional_trend

# Widths, in low-res cells, of the Gaussians that make a regional trend, and the spread of relief around it.
TREND_CELLS, SPREAD_CELLS = 4, 6


def prepare_inputs(
    source: Mapping[str, Any],
    *,
    folder: Path,
    out: Path,
    units: Mapping[str, str],
    detrended: tuple[str, ...],
    levelled: tuple[str, ...] = (),
    elevations: tuple[str, ...] = (),
    heights: Heights | None = None,
    arrays: ArrayModule = "numpy",
    report: Any = print,
) -> dict[str, Any]:
    """Open, align and fill every input of a FILE.yaml, and write what differs from the files themselves.

    Parameters
    ----------
    source
        The content of the FILE.yaml: ``crs``, ``spacing_m``, ``lowres_spacing_m``, ``inputs``, ``region``.
    folder
        Folder that relative paths start from.
    out
        Prepared folder; fields go to ``inputs``, ``trends`` and ``spreads`` in it.
    units
        Units of each input where the FILE.yaml gives none.
    detrended, levelled
        Inputs that get a regional trend, and those of them whose relief is also brought to one spread.
    elevations, heights
        Inputs that are heights (those that state a ``datum`` are so too), and the datum to bring them to.
    arrays
        numpy, or cupy to fill gaps and work out trends on a GPU.
    report
        Called with one line for each thing that a user should know.

    Returns
    -------
    dict
        The description of the inputs, and the region that all of them cover.

    >>> import tempfile
    >>> import numpy as np
    >>> home = Path(tempfile.mkdtemp())
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> bed = make_field(np.zeros((8, 8)), Grid(500, 500, 8500, 8500, 1000, "EPSG:3031"), name="bed")
    >>> _ = write_cog(bed, home / "bed.tif")
    >>> source = {"crs": "EPSG:3031", "lowres_spacing_m": 1000, "inputs": {"bed_lowres": {"path": "bed.tif"}}}
    >>> description = prepare_inputs(source, folder=home, out=home / "data", units={}, detrended=())
    >>> description["region"], description["inputs"]["bed_lowres"]["paths"]
    ([500.0, 500.0, 8500.0, 8500.0], ['inputs/bed_lowres.tif'])
    """
    crs, lowres_m = crs_name(source["crs"]), float(source["lowres_spacing_m"])
    inputs: dict[str, Any] = {}
    region = _read_region(source)
    origin: tuple[float, float] | None = None  # of the first input at the low-res spacing
    if not isinstance(source["inputs"], Mapping):
        raise InputError("inputs: should name each one, as in `bed_lowres: {path: FILE, spacing_m: NUMBER}`")
    for name, entry in source["inputs"].items():
        levels = heights if name in elevations or "datum" in entry else None
        fields = open_entry(entry, folder=folder, crs=crs, heights=levels)
        spacing_m = float(
            entry.get("spacing_m") or grid_of(fields[0]).spacing * int(entry.get("degrade") or 1)
        )
        _check_spacing(name, spacing_m, lowres_m)
        paths, trends, spreads = [], [], []
        for number, field in enumerate(fields):
            stem = name if len(fields) == 1 else f"{name}_{number + 1}"
            path = out / "inputs" / f"{stem}.tif"
            field = _filled(
                field, entry, folder=folder, path=path, heights=levels, arrays=arrays, report=report
            )
            shared = overlap(region, grid_of(field).bounds) if region else grid_of(field).bounds
            if shared is None:
                raise InputError(
                    f"{entry['path']}: lies at {_box(grid_of(field).bounds)}, the inputs before it "
                    f"(or the region) at {_box(region)}; they do not overlap"
                )
            region = shared
            if origin is None and abs(grid_of(field).spacing - lowres_m) < 1e-6:
                origin = grid_of(field).west, grid_of(field).south
            paths.append(f"inputs/{stem}.tif")
            if name in detrended:
                trend = regional_trend(field, cell=lowres_m, width=TREND_CELLS * lowres_m)
                write_cog(trend, out / "trends" / f"{stem}.tif")
                trends.append(f"trends/{stem}.tif")
            if name in levelled:
                spread = regional_spread(field, trend, width=SPREAD_CELLS * lowres_m)
                write_cog(spread, out / "spreads" / f"{stem}.tif")
                spreads.append(f"spreads/{stem}.tif")
        unit = entry.get("units") or units.get(name, "")
        inputs[name] = {
            "spacing_m": spacing_m,
            "units": unit,
            "paths": paths,
            "trends": trends,
            "spreads": spreads,
        }
    return {"crs": crs, "region": list(_whole_cells(region, lowres_m, origin or (0, 0))), "inputs": inputs}


def _read_region(source: Mapping[str, Any]) -> Bounds | None:
    """Give the region that a FILE.yaml asks for, if it does."""
    if not source.get("region"):
        return None
    try:
        west, south, east, north = (float(edge) for edge in source["region"])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"region: {source['region']!r} is not four numbers: west, south, east, north"
        ) from error
    if west >= east or south >= north:
        raise InputError(f"region: {source['region']} should be west, south, east, north, in this order")
    return west, south, east, north


def _check_spacing(name: str, spacing_m: float, lowres_m: float) -> None:
    if spacing_m <= 0 or abs(lowres_m / spacing_m - round(lowres_m / spacing_m)) > 1e-6:
        raise InputError(f"{name}: a spacing of {spacing_m:g} m does not divide the low-res {lowres_m:g} m")


def _filled(
    field: xr.DataArray,
    entry: Mapping[str, Any],
    *,
    folder: Path,
    path: Path,
    heights: Heights | None,
    arrays: ArrayModule,
    report: Any,
) -> xr.DataArray:
    """Write one channel without gaps; those that a coarser file cannot fill are filled from neighbours."""
    field = move_field(field, arrays)
    if entry.get("degrade"):
        field = degrade(field, int(entry["degrade"]), crs=crs_name(field.rio.crs))
    if entry.get("fill_from"):
        coarse = open_entry(fill_entry(entry), folder=folder, crs=crs_name(field.rio.crs), heights=heights)
        fill_gaps(field, move_field(coarse[0], arrays), path)
        filled = move_field(open_field(path), arrays)
        if not filled.isnull().any():
            return filled
        field = filled
    share = fill_from_neighbours(field, path)
    if share:
        report(f"{path.stem}: {share:.1%} of its cells were missing and were filled from their neighbours")
    return move_field(open_field(path), arrays)


def _whole_cells(region: Bounds | None, spacing: float, origin: tuple[float, float]) -> Bounds:
    """Round inward to whole cells of the low-res input, so that every window starts on one."""
    if region is None:
        raise InputError("the FILE.yaml names no input")
    starts = [math.ceil((edge - first) / spacing - 1e-6) for edge, first in zip(region[:2], origin)]
    stops = [math.floor((edge - first) / spacing + 1e-6) for edge, first in zip(region[2:], origin)]
    if starts[0] >= stops[0] or starts[1] >= stops[1]:
        raise InputError(f"the inputs share only {_box(region)}, less than one cell of {spacing:g} m")
    west, south, east, north = (
        first + count * spacing for first, count in zip(origin * 2, (*starts, *stops))
    )
    return west, south, east, north


def _box(bounds: Bounds | None) -> str:
    return "(" + ", ".join(f"{edge:.0f}" for edge in bounds or ()) + ")"
