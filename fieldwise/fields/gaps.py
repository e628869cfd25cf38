"""Gaps of a field, filled block by block: from a coarser field, and from what is known around them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.arrays import module_of
from fieldwise.fields.grids import grid_of, load_values
from fieldwise.fields.rasters import tags_of, write_cog_by_blocks
from fieldwise.fields.tiles import cut

BLOCK_CELLS = 2048
SEARCH_CELLS = 200  # missing cells are filled from known ones up to this far away


def fill_gaps(fine: xr.DataArray, coarse: xr.DataArray, path: str | Path) -> Path:
    """Fill what a fine mosaic misses from a coarser one, block by block, and write the result.

    Parameters
    ----------
    fine, coarse
        (y, x) in one CRS, both of NumPy or both of CuPy; the coarse one is interpolated linearly to the fine
        cells.
    path
        GeoTIFF to write (cloud-optimised), on the grid of the fine one.

    >>> import tempfile
    >>> import numpy as np
    >>> home = Path(tempfile.mkdtemp())
    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> fine = make_field(np.array([[1.0, np.nan], [1, 1]]), Grid(0, 0, 2, 2, 1, "EPSG:3031"), name="surface")
    >>> coarse = make_field(np.full((2, 2), 5.0), Grid(0, 0, 4, 4, 2, "EPSG:3031"), name="surface")
    >>> open_field(fill_gaps(fine, coarse, home / "filled.tif")).values.tolist()
    [[1.0, 5.0], [1.0, 1.0]]
    """
    grid = grid_of(fine)

    def filled_blocks() -> Iterator[tuple[int, int, Any]]:
        for row in range(0, grid.shape[0], BLOCK_CELLS):
            for column in range(0, grid.shape[1], BLOCK_CELLS):
                values = load_values(fine[row : row + BLOCK_CELLS, column : column + BLOCK_CELLS])
                xp = module_of(values)
                gaps = xp.isnan(values)
                if gaps.any():
                    west, north = grid.west + column * grid.spacing, grid.north - row * grid.spacing
                    east = west + values.shape[1] * grid.spacing
                    south = north - values.shape[0] * grid.spacing
                    other = cut(coarse, [(west, south, east, north)], spacing=grid.spacing)[0]
                    values = xp.where(gaps, other, values)
                yield row, column, values

    name, units = str(fine.name), str(fine.attrs.get("units", "m"))
    return write_cog_by_blocks(filled_blocks(), grid, path, name=name, units=units, tags=tags_of(fine))


def fill_from_neighbours(field: xr.DataArray, path: Path) -> float:
    """Write a field with missing cells filled by :func:`fill_by_distance`, block by block.

    Cells without a known one up to :data:`SEARCH_CELLS` away, along rows and along columns, stay missing.

    Returns
    -------
    float
        Share of the cells that were missing.

    >>> import tempfile
    >>> import numpy as np
    >>> home = Path(tempfile.mkdtemp())
    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> field = make_field(np.array([[7.0, np.nan], [7, 7]]), Grid(0, 0, 2, 2, 1, "EPSG:3031"), name="snow")
    >>> fill_from_neighbours(field, home / "filled.tif"), open_field(home / "filled.tif").values.tolist()
    (0.25, [[7.0, 7.0], [7.0, 7.0]])
    """
    missing = 0
    margin = 2 * SEARCH_CELLS  # a cell may be filled from one that is filled itself

    def filled_blocks() -> Iterator[tuple[int, int, Any]]:
        nonlocal missing
        for row in range(0, field.shape[0], BLOCK_CELLS):
            for column in range(0, field.shape[1], BLOCK_CELLS):
                values = load_values(field[row : row + BLOCK_CELLS, column : column + BLOCK_CELLS])
                count = int(module_of(values).isnan(values).sum())
                missing += count
                if count:
                    top, left = max(0, row - margin), max(0, column - margin)
                    bottom, right = row + BLOCK_CELLS + margin, column + BLOCK_CELLS + margin
                    around = fill_by_distance(load_values(field[top:bottom, left:right]), reach=SEARCH_CELLS)
                    first, start = row - top, column - left
                    values = around[first : first + BLOCK_CELLS, start : start + BLOCK_CELLS]
                yield row, column, values
        if missing == field.size:
            source = field.encoding.get("source", field.name)
            raise InputError(f"{source}: every value is missing; check its nodata value and variable")

    name, units = str(field.name or path.stem), str(field.attrs.get("units", ""))
    write_cog_by_blocks(filled_blocks(), grid_of(field), path, name=name, units=units, tags=tags_of(field))
    return missing / field.size


def fill_by_distance(values: Any, *, reach: int) -> Any:
    """Fill missing cells from the nearest known ones in their row and column, weighted by inverse distance.

    What lies on a plane comes back on it, wherever known cells stand on both sides. A cell that has none in
    its row and column is filled from those of them that were filled.

    Parameters
    ----------
    values
        (y, x) of NumPy or CuPy, NaN where missing.
    reach
        Cells with no known one up to this far away, along rows and along columns, stay missing.

    >>> import numpy as np
    >>> fill_by_distance(np.array([[1.0, np.nan, np.nan, 4.0]]), reach=5).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """
    xp = module_of(values)
    known = ~xp.isnan(values)
    filled = _fill_from_axes(values, known, reach)
    if xp.isnan(filled).any():
        near = _near(_near(known, reach).T, reach).T
        again = _fill_from_axes(filled, ~xp.isnan(filled), reach)
        filled = xp.where(near, again, xp.nan)
    return filled


def _fill_from_axes(values: Any, known: Any, reach: int) -> Any:
    """Fill what has a known cell up or down, left or right of it."""
    xp = module_of(values)
    row, column = xp.nonzero(~known)
    total = xp.zeros(row.shape, values.dtype)
    weight = xp.zeros(row.shape, values.dtype)
    for turned in (False, True):
        field, mask, i, j = (values.T, known.T, column, row) if turned else (values, known, row, column)
        for sign in (1, -1):  # what lies before the cell, and after it
            steps = _steps_back(mask[::sign], reach)[::sign][i, j]
            found = steps <= reach
            share = xp.where(found, 1 / steps.astype(values.dtype), 0)
            total += xp.where(found, share * field[xp.where(found, i - sign * steps, 0), j], 0)
            weight += share
    filled = values.copy()
    filled[row, column] = xp.where(weight > 0, total / xp.where(weight > 0, weight, 1), xp.nan)
    return filled


def _steps_back(known: Any, reach: int) -> Any:
    """Count the rows from each cell back to the nearest known one above it; more than reach for none.

    The distance looked back doubles with each pass.
    """
    xp = module_of(known)
    steps = xp.where(known, 0, reach + 1).astype("int16")
    width = 1
    while width <= reach:
        steps[width:] = xp.minimum(steps[width:], steps[:-width] + width)
        width *= 2
    return steps


def _near(known: Any, reach: int) -> Any:
    """Tell the cells that have a known one in their column within reach."""
    return (_steps_back(known, reach) <= reach) | (_steps_back(known[::-1], reach)[::-1] <= reach)
