"""Gaps of a field, filled block by block: from a coarser field, and narrow ones from what is around them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.arrays import module_of, ndimage_of
from fieldwise.fields.grids import grid_of, load_values
from fieldwise.fields.rasters import tags_of, write_cog_by_blocks
from fieldwise.fields.tiles import cut

BLOCK_CELLS = 2048
SWEEPS = 6  # over a gap, for each cell of its half width: what is left of the first guess is then 1e-8


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
                block = fine[row : row + BLOCK_CELLS, column : column + BLOCK_CELLS]
                west, north = grid.west + column * grid.spacing, grid.north - row * grid.spacing
                yield row, column, fill_block(load_values(block), (west, north), grid.spacing, coarse)

    name, units = str(fine.name), str(fine.attrs.get("units", "m"))
    return write_cog_by_blocks(filled_blocks(), grid, path, name=name, units=units, tags=tags_of(fine))


def fill_block(values: Any, corner: tuple[float, float], spacing: float, coarse: xr.DataArray) -> Any:
    """Fill what a block of a fine mosaic misses from a coarser field, interpolated linearly.

    Parameters
    ----------
    values
        (y, x) of NumPy or CuPy, NaN where missing.
    corner, spacing
        West and north edge of the block, and its cell size.
    coarse
        (y, x) of the same kind, in the CRS of the block.

    >>> import numpy as np
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> coarse = make_field(np.full((2, 2), 5.0), Grid(0, 0, 4, 4, 2, "EPSG:3031"), name="surface")
    >>> fill_block(np.array([[1.0, np.nan]]), (0, 2), 1, coarse).tolist()
    [[1.0, 5.0]]
    """
    xp = module_of(values)
    gaps = xp.isnan(values)
    if not gaps.any():
        return values
    (west, north), (rows, columns) = corner, values.shape
    bounds = west, north - rows * spacing, west + columns * spacing, north
    return xp.where(gaps, cut(coarse, [bounds], spacing=spacing)[0], values)


def fill_from_neighbours(field: xr.DataArray, path: Path, *, reach: int) -> tuple[int, int]:
    """Write a field with its narrow gaps filled by :func:`fill_narrow`, block by block.

    Parameters
    ----------
    field
        (y, x), NaN where missing.
    path
        GeoTIFF to write (cloud-optimised).
    reach
        Half the width, in cells, of the widest gap that is filled.

    Returns
    -------
    tuple
        How many missing cells were filled, and how many stay missing.

    >>> import tempfile
    >>> import numpy as np
    >>> home = Path(tempfile.mkdtemp())
    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> field = make_field(np.array([[7.0, np.nan], [7, 7]]), Grid(0, 0, 2, 2, 1, "EPSG:3031"), name="snow")
    >>> fill_from_neighbours(field, home / "filled.tif", reach=3)
    (1, 0)
    >>> open_field(home / "filled.tif").values.tolist()
    [[7.0, 7.0], [7.0, 7.0]]
    """
    missing = left = 0
    margin = 2 * SWEEPS * reach + 2 * reach  # cells farther away have no say

    def filled_blocks() -> Iterator[tuple[int, int, Any]]:
        nonlocal missing, left
        for row in range(0, field.shape[0], BLOCK_CELLS):
            for column in range(0, field.shape[1], BLOCK_CELLS):
                values = load_values(field[row : row + BLOCK_CELLS, column : column + BLOCK_CELLS])
                count = int(module_of(values).isnan(values).sum())
                missing += count
                if count:
                    top, start = max(0, row - margin), max(0, column - margin)
                    bottom, right = row + BLOCK_CELLS + margin, column + BLOCK_CELLS + margin
                    around = load_values(field[top:bottom, start:right])
                    around = fill_narrow(around, reach=reach, first=(top + start) % 2)
                    rows, columns = slice(row - top, None), slice(column - start, None)
                    values = around[rows, columns][:BLOCK_CELLS, :BLOCK_CELLS]
                    left += int(module_of(values).isnan(values).sum())
                yield row, column, values
        if missing == field.size:
            source = field.encoding.get("source", field.name)
            raise InputError(f"{source}: every value is missing; check its nodata value and variable")

    name, units = str(field.name or path.stem), str(field.attrs.get("units", ""))
    write_cog_by_blocks(filled_blocks(), grid_of(field), path, name=name, units=units, tags=tags_of(field))
    return missing - left, left


def fill_narrow(values: Any, *, reach: int, first: int = 0) -> Any:
    """Fill narrow gaps as a membrane would span them: each filled cell is the mean of its four neighbours.

    What lies on a plane comes back on it, and nothing exceeds what is known around. A gap is narrow where
    nothing of it is farther than `reach` from what is known **and** no open ground begins within `reach`:
    the morphological closing of the known cells by a disc. So a wide gap keeps its whole width.

    Parameters
    ----------
    values
        (y, x) of NumPy or CuPy, NaN where missing.
    reach
        Half the width, in cells, of the widest gap that is filled.
    first
        Colour, 0 or 1, of the first cell on the chessboard of the whole field, of which this is a part.

    Notes
    -----
    Laplace's equation by successive over-relaxation, red and black cells in turn (Young 1954,
    doi 10.1090/S0002-9947-1954-0059635-7), in a fixed number of sweeps: a cell depends on none farther away
    than twice their number, so that blocks with a margin join without a seam.

    >>> import numpy as np
    >>> fill_narrow(np.array([[1.0, np.nan, np.nan, 4.0]]), reach=2).round(6).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """
    xp, ndimage = module_of(values), ndimage_of(values)
    known = ~xp.isnan(values)
    if bool(known.all()) or not bool(known.any()):
        return values
    distance, nearest = ndimage.distance_transform_edt(~known, return_indices=True)
    wanted, within = ~known, distance <= reach
    if not bool(within.all()):
        wanted &= ndimage.distance_transform_edt(within) > reach
    row, column = xp.nonzero(wanted)
    guess = values[nearest[0][row, column], nearest[1][row, column]]
    # A rim of missing cells: every cell has four neighbours then.
    spread = xp.pad(values, 1, mode="constant", constant_values=xp.nan)
    width = spread.shape[1]
    flat, cell = spread.ravel(), (row + 1) * width + column + 1
    flat[cell] = guess
    halves = [_neighbours(flat, cell[((row + column + first) & 1) == colour], width) for colour in (0, 1)]
    relaxation = 2 / (1 + math.sin(math.pi / (2 * reach + 1)))
    for _ in range(SWEEPS * reach):
        for own, around, weights in halves:
            step = (flat[around] * weights).sum(axis=0) - flat[own]
            flat[own] = flat[own] + relaxation * step
    return flat.reshape(spread.shape)[1:-1, 1:-1]


def _neighbours(flat: Any, own: Any, width: int) -> tuple[Any, Any, Any]:
    """Give cells, their four neighbours (4, n), and weights that leave out neighbours without a value."""
    xp = module_of(flat)
    around = xp.stack([own - width, own - 1, own + 1, own + width])
    valid = xp.isfinite(flat[around])
    shares = valid.astype(flat.dtype)
    return own, xp.where(valid, around, own), shares / xp.maximum(shares.sum(axis=0), 1)
