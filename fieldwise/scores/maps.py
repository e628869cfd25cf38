"""Maps read and judged window by window, so that no more of them is in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.datums import require_datum
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, cover, crs_label, grid_of, load_values, make_field, overlap, same_crs
from fieldwise.fields.resampling import sample_at_points
from fieldwise.fields.tiles import read_tiles
from fieldwise.samples.cases import Case
from fieldwise.scores.errors import ErrorSums
from fieldwise.scores.tables import make_score
from fieldwise.scores.texture import RoughnessSums, roughness

ROUGHNESS_CELLS = 5
MEASURES = ("rmse", "mae", "bias")


def open_map(path: str | Path, case: Case) -> xr.DataArray:
    """Open a map of a case's region; one that lies elsewhere, or whose heights do, is refused.

    >>> import tempfile
    >>> from fieldwise.fields.rasters import write_cog
    >>> from fieldwise.samples.examples import make_prepared
    >>> case, far = make_prepared({}, shape=(4, 4)).cases()[0], Grid(-9000, 0, -8000, 1000, 250, "EPSG:3413")
    >>> path = write_cog(make_field(np.zeros((4, 4)), far, name="bed"), Path(tempfile.mkdtemp()) / "map.tif")
    >>> open_map(path, case)
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...map.tif: does not lie in the region of ...
    """
    field = open_field(path)
    if not same_crs(field.rio.crs, case.grid.crs):
        there, here = crs_label(field.rio.crs), crs_label(case.grid.crs)
        raise InputError(f"{path}: is in {there}, the data are in {here}; reproject it")
    require_datum(Path(path), field.attrs.get(DATUM), case.facts.get(DATUM))
    if overlap(grid_of(field).bounds, case.grid.bounds) is None:
        raise InputError(f"{path}: does not lie in the region of {case.folder}")
    return field


def sample_maps(
    read: Callable[[slice, slice], Mapping[str, xr.DataArray]],
    grid: Grid,
    x: np.ndarray,
    y: np.ndarray,
    *,
    block_cells: int = 2048,
) -> dict[str, np.ndarray]:
    """Read maps at points, from windows around those that lie together.

    Parameters
    ----------
    read
        Gives rows and columns of all maps: name to (y, x) field.
    grid
        Of the maps.
    x, y
        (n,) in its CRS.
    block_cells
        Points in a block of so many cells are read from one window.

    Returns
    -------
    dict
        Name to (n,), NaN beyond the grid.

    >>> from fieldwise.fields.grids import make_field
    >>> bed = make_field(np.arange(16.0).reshape(4, 4), Grid(0, 0, 400, 400, 100, "EPSG:3031"), name="bed")
    >>> points = np.array([150.0, 900.0]), np.array([350.0, 350.0])
    >>> sample_maps(lambda rows, columns: {"bed": bed[rows, columns]}, Grid(0, 0, 400, 400, 100, ""), *points)
    {'bed': array([ 1., nan])}
    """
    row = np.floor((grid.north - y) / grid.spacing).astype(int)
    column = np.floor((x - grid.west) / grid.spacing).astype(int)
    ny, nx = grid.shape
    inside = (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
    block = (row // block_cells) * (nx // block_cells + 1) + column // block_cells
    samples: dict[str, np.ndarray] = {}
    for number in np.unique(block[inside]):
        near = inside & (block == number)
        rows, columns = (
            slice(max(0, int(cells[near].min()) - 2), int(cells[near].max()) + 3) for cells in (row, column)
        )
        for name, field in read(rows, columns).items():
            values = samples.setdefault(name, np.full(len(x), np.nan))
            values[near] = sample_at_points(field, x[near], y[near])
    return samples


def score_blocks(
    read: Callable[[slice, slice, Grid], tuple[np.ndarray, dict[str, xr.DataArray]]],
    grid: Grid,
    *,
    against: str,
    unseen: Callable[[Grid], np.ndarray],
    unit: str = "m",
    block_cells: int = 2048,
) -> tuple[list[dict[str, Any]], float]:
    """Score maps against a truth where neither training nor selection has seen it, block by block.

    Parameters
    ----------
    read
        Gives rows and columns, whose grid is the third argument: the truth (y, x), and name to map.
    grid
        Of the maps.
    against, unit
        What the rows say of the truth.
    unseen
        Tells which cells of a grid, (y, x), are judged.
    block_cells
        Edge of what is read at a time, less a margin.

    Returns
    -------
    tuple
        Rows of RMSE, MAE, bias and roughness ratio, none where nothing is judged; and the share of the cells
        that are.

    >>> from fieldwise.fields.grids import cover
    >>> grid = Grid(0, 0, 800, 800, 100, "EPSG:3031")
    >>> known = np.random.default_rng(1).normal(size=(8, 8))
    >>> drawn = make_field(known + 3, grid, name="bed")
    >>> def read(rows, columns, here):
    ...     return known[rows, columns], {"prediction": drawn[rows, columns]}
    >>> options = {"against": "truth", "unseen": lambda here: cover(here, [(0, 0, 600, 800)])}
    >>> rows, share = score_blocks(read, grid, **options)
    >>> [round(row["value"], 3) for row in rows], share
    ([3.0, 3.0, 3.0, 1.0], 0.75)
    """
    errors: dict[str, ErrorSums] = {}
    textures: dict[str, RoughnessSums] = {}
    count = 0
    for rows, columns, core in _blocks(grid.shape, block_cells):
        west, north = grid.west + columns.start * grid.spacing, grid.north - rows.start * grid.spacing
        south, east = grid.north - rows.stop * grid.spacing, grid.west + columns.stop * grid.spacing
        here = Grid(west, south, east, north, grid.spacing, grid.crs)
        judged = unseen(here)
        count += int(judged[core].sum())
        if not judged[core].any():
            continue
        truth, fields = read(rows, columns, here)
        known = make_field(np.where(judged, truth, np.nan), here, name="truth")
        rough = load_values(roughness(known, cells=ROUGHNESS_CELLS))[core]
        for name, field in fields.items():
            errors.setdefault(name, ErrorSums()).add(load_values(field)[core], load_values(known)[core])
            predicted = load_values(roughness(field, cells=ROUGHNESS_CELLS))[core]
            textures.setdefault(name, RoughnessSums(ROUGHNESS_CELLS)).add(predicted, rough)
    scores = [
        make_score(against, measure, unit, name, getattr(sums, measure))
        for measure in MEASURES
        for name, sums in errors.items()
    ]
    scores += [
        make_score(against, "roughness_ratio", "1", name, sums.ratio) for name, sums in textures.items()
    ]
    return scores, count / float(np.prod(grid.shape))


def score_residuals(
    read: Callable[[slice, slice], Mapping[str, np.ndarray]],
    shape: tuple[int, int],
    *,
    cells: int,
    against: str,
    measure: str,
    unit: str,
    block_cells: int = 2048,
) -> list[dict[str, Any]]:
    """Score how far maps are from obeying a law: the root mean square of its residual, window by window.

    Parameters
    ----------
    read
        Gives the residuals of rows and columns of all maps: name to (..., block, block), NaN where the law
        does not hold. Blocks begin at the second row and column and end before the last.
    shape
        Rows and columns of the maps.
    cells
        Edge of a block.
    against, measure, unit
        What the rows say.
    block_cells
        Edge of what is read at a time, less a margin.

    Returns
    -------
    list
        A row for each name, over the blocks that all of them have; none where there is no such block.

    >>> mean = lambda rows, columns: {"prediction": np.full((rows.stop - rows.start - 2) // 2, 3.0)}
    >>> words = {"against": "mass conservation", "measure": "flux_residual", "unit": "m a-1"}
    >>> [(row["name"], row["value"]) for row in score_residuals(mean, (6, 6), cells=2, **words)]
    [('prediction', 3.0)]
    """
    sums: dict[str, ErrorSums] = {}
    step = max(block_cells // cells, 1) * cells
    for corner in itertools.product(*(range(0, size - cells - 1, step) for size in shape)):
        rows, columns = (slice(first, min(first + step + 2, size)) for first, size in zip(corner, shape))
        residuals = read(rows, columns)
        whole = np.all([np.isfinite(values) for values in residuals.values()], axis=0)
        for name, values in residuals.items():
            sums.setdefault(name, ErrorSums()).add(values[whole], np.zeros(whole.sum()))
    return [make_score(against, measure, unit, name, each.rmse) for name, each in sums.items() if each.count]


def _blocks(shape: tuple[int, int], cells: int) -> Iterator[tuple[slice, slice, tuple[slice, slice]]]:
    """Give rows and columns of blocks with a margin, for a cell's roughness hangs on others; and the core."""
    margin = ROUGHNESS_CELLS // 2
    for corner in itertools.product(*(range(0, size, cells) for size in shape)):
        starts = [max(first - margin, 0) for first in corner]
        stops = [min(first + cells + margin, size) for first, size in zip(corner, shape)]
        core = tuple(
            slice(first - start, min(first + cells, size) - start)
            for first, start, size in zip(corner, starts, shape)
        )
        yield slice(starts[0], stops[0]), slice(starts[1], stops[1]), (core[0], core[1])


def find_unseen(case: Case) -> Callable[[Grid], np.ndarray]:
    """Give the function that tells which cells (y, x) of a grid neither training nor selection has seen.

    These are those in held-out areas, or where there are none all outside the tiles, if there are such.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({}, shape=(2, 2), held_out_areas=[[0, 0, 250, 500]]).cases()[0]
    >>> find_unseen(case)(case.grid).tolist()
    [[True, False], [True, False]]
    """
    areas = case.facts.get("held_out_areas")
    boxes, tiles = np.array(areas or [], float).reshape(-1, 4), case.folder / "tiles.zarr"
    if not areas and tiles.exists():
        boxes = read_tiles(tiles)["bounds"].values
    west, south, east, north = boxes.T

    def unseen(grid: Grid) -> np.ndarray:
        near = (west < grid.east) & (east > grid.west) & (south < grid.north) & (north > grid.south)
        covered = cover(grid, boxes[near])
        return covered if areas else ~covered

    return unseen
