"""From picks to a grid: block median, spline in tension, mask."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.grids import (
    Bounds,
    Grid,
    crs_label,
    crs_name,
    cut_blocks,
    grid_of,
    load_values,
    make_field,
    overlap,
)
from fieldwise.surveys.gmt import load_gmt

# Solved in blocks: a continental survey would not fit into memory, and from about 1000 x 1000 nodes on GMT
# stops at its 500th iteration, not converged. What lies farther off than the overlap moves the spline
# by decimetres even between lines 10 km apart (measured; picks are uncertain by 10-20 m).
BLOCK_CELLS = 256
OVERLAP_CELLS = 32
SIDE_BY_SIDE = 4  # blocks; fewer are solved sooner than processes start
MASK_CELLS = 3  # farther from every pick than this the bed is a guess
REACH_SLACK = 1e-4  # of a cell: degrees with seven decimals are off by less, and decide no tie
MOST_CELLS = 10**9
COLUMNS = ["x", "y", "z"]


def region_of(table: pd.DataFrame, *, spacing: float = 250.0) -> Bounds:
    """Return the box around all picks, rounded outward to the spacing; at least one cell.

    >>> region_of(pd.DataFrame({"x": [10.0, 740.0], "y": [-1.0, 250.0]}), spacing=250)
    (0.0, -250.0, 750.0, 250.0)
    """
    if table.empty:
        raise InputError("a table without picks has no region; read a survey with valid rows")
    x, y = table["x"], table["y"]
    bounds = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
    west, south, east, north = Grid.around(bounds, spacing, "").bounds
    return west, south, max(east, west + spacing), max(north, south + spacing)


def grid_survey(
    table: pd.DataFrame,
    *,
    region: Bounds | None = None,
    spacing: float = 250.0,
    tension: float = 0.35,
    mask_cells: int | None = MASK_CELLS,
    crs: str | None = None,
) -> xr.DataArray:
    """Grid picks: block median, spline in tension, masked far from any pick.

    GMT's ``surface`` solves on the nodes of a gridline grid. Its region is drawn in by half a cell here, so
    that its nodes **are** the centres of the wanted cells: the pixel registration is exact and nothing is
    resampled, which would blur. The plane of least squares is taken off before the medians and added in
    the end, so that an inclined plane comes back as it is: the median height on a slope need not be the
    height at the median position.

    Parameters
    ----------
    table
        Picks with columns x, y, z; CRS in ``attrs["crs"]``, as from `read_survey`.
    region
        West, south, east, north, rounded outward to the spacing; default `region_of` the table. Picks up to
        some cells outside take part, so that a part of a survey is gridded like the whole.
    spacing
        Size of a cell (m).
    tension
        0 is the smoothest spline, 1 the one without overshoot (Smith & Wessel 1990,
        doi 10.1190/1.1442837).
    mask_cells
        Cells whose centre is farther than this many spacings from every pick are NaN; None masks nothing.
    crs
        CRS of the picks, where the table does not say it.

    Returns
    -------
    xarray.DataArray
        Field ``z`` (y, x), float32, metres, on ``Grid.around(region, spacing, crs)``.

    Raises
    ------
    InputError
        No pick in the region, an unknown CRS or one in degrees, options out of range.

    Examples
    --------
    >>> picks = pd.DataFrame({"x": [125.0, 375.0, 375.0, 375.0], "y": [125.0] * 4, "z": [9.0, 3, 5, 90]})
    >>> field = grid_survey(picks, spacing=250, crs="EPSG:3031")  # the median of 3, 5, 90 is 5
    >>> field.values.round(2).tolist()
    [[9.0, 5.0]]
    """
    picks, crs = _check_picks(table, crs or table.attrs.get("crs"))
    _check_options(spacing, tension, mask_cells)
    box = region or region_of(pd.DataFrame(picks, columns=COLUMNS), spacing=spacing)
    grid = Grid.around(box, spacing, crs)
    if grid.shape[0] * grid.shape[1] > MOST_CELLS:
        raise InputError(
            f"region {grid.bounds} at {spacing:g} m has {grid.shape[0]} x {grid.shape[1]} cells; "
            "check the CRS of the picks or choose a smaller region"
        )
    if not len(_within(picks, grid.bounds, 0)):
        raise InputError(
            f"none of {len(picks)} picks is in region {grid.bounds}; they span {region_of(table)}"
        )
    near = _within(picks, grid.bounds, OVERLAP_CELLS * spacing)
    plane = _fit_plane(near)
    departures = np.column_stack([near[:, :2], near[:, 2] - plane(near[:, 0], near[:, 1])])
    medians = _block_medians(departures, grid)
    values = np.full(grid.shape, np.nan, np.float32)
    blocks, reached = [], []
    for rows, columns, block in cut_blocks(grid, max(grid.shape) if mask_cells is None else BLOCK_CELLS):
        wanted = np.ones(block.shape, bool) if mask_cells is None else _reached(block, near, mask_cells)
        if wanted.any():
            blocks.append(block)
            reached.append((rows, columns, wanted))
    for block, (rows, columns, wanted), surface in zip(blocks, reached, _splines(blocks, medians, tension)):
        surface = surface + plane(block.x[None, :], block.y[:, None])
        values[rows, columns] = np.where(wanted, surface, np.nan)
    return make_field(values, grid, name="z", long_name="gridded picks")


def grid_on_map(
    table: pd.DataFrame,
    grid: Grid,
    *,
    within: float | None = None,
    mask_cells: int | None = MASK_CELLS,
    name: str = "bed",
    datum: str | None = None,
) -> xr.DataArray:
    """Grid picks on the cells of a map, wherever its corner lies: on all, or on those around the picks.

    Parameters
    ----------
    table
        Picks with columns x, y, z.
    grid
        Of the map.
    within
        The box around the picks is rounded outward to whole steps of this width from the corner.
    mask_cells
        As of :func:`grid_survey`.
    name, datum
        Of the result, and the vertical datum that the picks count from.

    >>> picks = pd.DataFrame({"x": np.arange(4125.0, 5000, 250), "y": 4125.0, "z": -90.0})
    >>> field = grid_on_map(picks, Grid(0, 0, 8000, 8000, 250, "EPSG:3413"))
    >>> field.shape, float(field.max()), bool(field[0, 0].isnull())  # the corner is far away from the picks
    ((32, 32), -90.0, True)
    """
    west, south, east, north = grid.bounds
    moved = table.assign(x=table["x"] - west, y=table["y"] - south)
    region = (0.0, 0.0, east - west, north - south)
    if within:
        around = Grid.around(region_of(moved, spacing=grid.spacing), within, grid.crs).bounds
        region = overlap(around, region) or region
    options: Any = {"spacing": grid.spacing, "mask_cells": mask_cells, "crs": grid.crs}
    field = grid_survey(moved, region=region, **options)
    left, bottom, right, top = grid_of(field).bounds
    here = replace(grid, west=left + west, south=bottom + south, east=right + west, north=top + south)
    return make_field(load_values(field), here, name=name, long_name="gridded picks", vertical_datum=datum)


def spline_cells(
    field: xr.DataArray, grid: Grid, *, tension: float = 0.35, margin: float = 0.0
) -> xr.DataArray:
    """Draw a spline in tension through the centres of a coarse field's cells, on a finer grid.

    Parameters
    ----------
    field
        (y, x); missing cells do not count.
    grid
        Of the result.
    tension
        As of :func:`grid_survey`.
    margin
        Width around the grid from which cells take part too.

    >>> from fieldwise.fields.grids import make_field
    >>> coarse = make_field(np.full((6, 6), -90.0), Grid(0, 0, 6000, 6000, 1000, "EPSG:3031"), name="bed")
    >>> fine = spline_cells(coarse, Grid(1000, 1000, 5000, 5000, 500, "EPSG:3031"))
    >>> fine.shape, float(fine.min()), float(fine.max())
    ((8, 8), -90.0, -90.0)
    """
    around = field.sel(
        x=slice(grid.west - margin, grid.east + margin), y=slice(grid.north + margin, grid.south - margin)
    )
    x, y = np.meshgrid(around["x"].values, around["y"].values)
    z = load_values(around)
    valid = np.isfinite(z)
    half = grid.spacing / 2
    spline = load_gmt().surface(
        x=x[valid], y=y[valid], z=z[valid],
        region=[grid.west + half, grid.east - half, grid.south + half, grid.north - half],
        spacing=grid.spacing,  # nodes are the centres of the map's cells
        tension=tension, verbose="q",
    )  # fmt: skip
    name = str(field.name)
    return make_field(
        np.asarray(spline)[::-1].astype(np.float32), grid, name=name, long_name="spline in tension"
    )


def _check_picks(table: pd.DataFrame, crs: str | None) -> tuple[np.ndarray, str]:
    """Return the picks as an array (n, 3) of finite numbers, and their CRS."""
    missing = [axis for axis in COLUMNS if axis not in table]
    if missing:
        raise InputError(
            f"the table has no column {missing[0]}; present are {', '.join(map(str, table)) or 'none'}"
        )
    if crs is None:
        raise InputError("the CRS of the picks is not known; give crs, such as EPSG:3031")
    if not pyproj.CRS(crs_name(crs)).is_projected:
        raise InputError(f"the picks are in {crs_label(crs)}, whose unit is the degree; project them first")
    picks = table[COLUMNS].to_numpy(np.float64)
    picks = picks[np.isfinite(picks).all(axis=1)]
    if not len(picks):
        raise InputError("no pick has x, y and z; read a survey with valid rows")
    return picks, crs_name(crs)


def _check_options(spacing: float, tension: float, mask_cells: int | None) -> None:
    if not spacing > 0:
        raise InputError(f"spacing is {spacing}, but must be a length above 0 m")
    if not 0 <= tension <= 1:
        raise InputError(f"tension is {tension}, but must lie between 0 and 1")
    if mask_cells is not None and not 1 <= mask_cells <= OVERLAP_CELLS:
        raise InputError(
            f"mask_cells is {mask_cells}, but must lie between 1 and {OVERLAP_CELLS}, or be None"
        )


def _within(picks: np.ndarray, bounds: Bounds, margin: float) -> np.ndarray:
    """Picks inside a box with a margin around it."""
    x, y = picks[:, 0], picks[:, 1]
    west, south, east, north = bounds
    inside = (x >= west - margin) & (x <= east + margin) & (y >= south - margin) & (y <= north + margin)
    return picks[inside]


def _padded(grid: Grid, cells: float) -> Grid:
    margin = cells * grid.spacing
    return replace(
        grid,
        west=grid.west - margin,
        south=grid.south - margin,
        east=grid.east + margin,
        north=grid.north + margin,
    )


def _block_medians(picks: np.ndarray, grid: Grid) -> np.ndarray:
    """Replace the picks of each cell by the medians of their x, y and z."""
    west, south, east, north = _padded(grid, OVERLAP_CELLS + 1).bounds
    return load_gmt().blockmedian(
        picks, region=[west, east, south, north], spacing=grid.spacing, registration="p",
        output_type="numpy", verbose="q",
    )  # fmt: skip


def _fit_plane(picks: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Fit the plane of least squares; across a single straight line it is level."""
    centre = picks[:, :2].mean(axis=0)
    width = max(np.ptp(picks[:, :2], axis=0).max(), 1.0)
    design = np.column_stack([np.ones(len(picks)), (picks[:, :2] - centre) / width])
    level, slope_x, slope_y = np.linalg.lstsq(design, picks[:, 2], rcond=1e-6)[0]
    return lambda x, y: level + (slope_x * (x - centre[0]) + slope_y * (y - centre[1])) / width


def _reached(grid: Grid, picks: np.ndarray, cells: int) -> np.ndarray:
    """Tell the cells (y, x) whose centre is at most so many spacings from a pick.

    For each pick only the cells around its own can be in reach; going through their offsets one by one
    is exact and needs no tree of millions of picks.
    """
    ny, nx = grid.shape
    near = _within(picks, grid.bounds, cells * grid.spacing)
    column = (near[:, 0] - grid.west) / grid.spacing
    row = (grid.north - near[:, 1]) / grid.spacing
    own_column, own_row = np.floor(column).astype(int), np.floor(row).astype(int)
    reached = np.zeros(grid.shape, bool)
    for down, right in itertools.product(range(-cells, cells + 1), repeat=2):
        i, j = own_row + down, own_column + right
        hit = (i + 0.5 - row) ** 2 + (j + 0.5 - column) ** 2 <= (cells + REACH_SLACK) ** 2
        hit &= (i >= 0) & (i < ny) & (j >= 0) & (j < nx)
        reached[i[hit], j[hit]] = True
    return reached


def _splines(blocks: list[Grid], medians: np.ndarray, tension: float) -> Iterator[np.ndarray]:
    """Solve the splines of blocks, side by side where there are some."""
    from joblib import Parallel, cpu_count, delayed

    processes = min(cpu_count(), len(blocks)) if len(blocks) >= SIDE_BY_SIDE else 1
    return Parallel(processes, return_as="generator")(
        delayed(_spline)(block, _within(medians, _padded(block, OVERLAP_CELLS).bounds, 0), tension)
        for block in blocks
    )


def _spline(grid: Grid, near: np.ndarray, tension: float) -> np.ndarray:
    """Solve the spline in tension, from medians near, at the cells of a grid (y north to south, x)."""
    padded = _padded(grid, OVERLAP_CELLS)
    if np.ptp(near[:, 2]) < 1e-6:  # GMT has no scale to solve a level surface by
        return np.full(grid.shape, near[0, 2])
    west, south, east, north = _padded(padded, -0.5).bounds
    surface = load_gmt().surface(
        near, region=[west, east, south, north], spacing=grid.spacing, tension=tension, verbose="q"
    )
    inner = slice(OVERLAP_CELLS, -OVERLAP_CELLS)
    return surface.values[::-1][inner, inner]
