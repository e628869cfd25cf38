"""Maps read and judged window by window, so that no more of them is in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.datums import require_datum
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, cover, crs_label, cut_blocks, grid_of, load_values, overlap, same_crs
from fieldwise.fields.resampling import sample_at_points
from fieldwise.fields.tiles import read_tiles
from fieldwise.samples.cases import Case
from fieldwise.scores.errors import ErrorSums
from fieldwise.scores.tables import make_score
from fieldwise.scores.texture import RoughnessSums, roughness

ROUGHNESS_CELLS = 5
MEASURES = ("rmse", "mae", "bias")
Read = Callable[[slice, slice], Mapping[str, xr.DataArray]]  # rows and columns of some maps, by their names


def open_map(path: str | Path, case: Case) -> xr.DataArray:
    """Open a map of a case's region; one that lies elsewhere, or whose heights do, is refused.

    >>> import tempfile
    >>> from fieldwise.fields.rasters import write_cog
    >>> from fieldwise.samples.examples import make_prepared
    >>> case, far = make_prepared({}, shape=(4, 4)).cases()[0], Grid(-9000, 0, -8000, 1000, 250, "EPSG:3413")
    >>> from fieldwise.fields.grids import make_field
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


class Known(NamedTuple):
    """A part of a map in which the truth is known.

    Rows and columns of the map; the truth there, (y, x), NaN where it is unknown or not to be judged on; and
    the core of these cells, which counts: the rest is a margin, for a cell's roughness hangs on others.
    """

    rows: slice
    columns: slice
    truth: np.ndarray
    core: tuple[slice, slice] = (slice(None), slice(None))


def know_blocks(
    truth: Callable[[Grid], np.ndarray], grid: Grid, *, block_cells: int = 2048
) -> Iterator[Known]:
    """Give the blocks of a map in which a truth is known.

    Parameters
    ----------
    truth
        Gives the truth on a grid, (y, x), NaN where it is unknown or not to be judged on.
    grid
        Of the map.
    block_cells
        Edge of a block, less a margin.

    >>> grid = Grid(0, 0, 800, 800, 100, "EPSG:3031")
    >>> west = lambda here: np.where(here.x < 300, 7.0, np.nan) * np.ones(here.shape)
    >>> [(known.rows.start, known.columns, known.core[1]) for known in know_blocks(west, grid, block_cells=4)]
    [(0, slice(0, 6, None), slice(0, 4, None)), (2, slice(0, 6, None), slice(0, 4, None))]
    """
    for block in cut_blocks(grid, block_cells):
        rows, columns, core = widen(*block[:2], grid.shape, margin=ROUGHNESS_CELLS // 2)
        known = truth(grid.part(rows, columns))
        if np.isfinite(known[core]).any():
            yield Known(rows, columns, known, core)


def read_at_points(
    read: Read, grid: Grid, x: np.ndarray, y: np.ndarray, *, block_cells: int = 2048
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
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

    Yields
    ------
    tuple
        Which of the points lie in one block, and name to the values there. Those beyond the grid never come.

    >>> from fieldwise.fields.grids import make_field
    >>> bed = make_field(np.arange(16.0).reshape(4, 4), Grid(0, 0, 400, 400, 100, "EPSG:3031"), name="bed")
    >>> x, y = np.array([150.0, 900.0]), np.array([350.0, 350.0])
    >>> list(read_at_points(lambda *cells: {"bed": bed[cells]}, grid_of(bed), x, y))
    [(array([0]), {'bed': array([1.])})]
    """
    row = np.floor((grid.north - y) / grid.spacing).astype(int)
    column = np.floor((x - grid.west) / grid.spacing).astype(int)
    ny, nx = grid.shape
    inside = np.flatnonzero((row >= 0) & (row < ny) & (column >= 0) & (column < nx))
    block = (row[inside] // block_cells) * (nx // block_cells + 1) + column[inside] // block_cells
    order = np.argsort(block, kind="stable")
    for near in np.split(inside[order], np.flatnonzero(np.diff(block[order])) + 1):
        if len(near):
            rows, columns = (
                slice(max(0, int(cells[near].min()) - 2), min(int(cells[near].max()) + 3, size))
                for cells, size in zip((row, column), grid.shape)
            )
            fields = read(rows, columns)
            yield near, {name: sample_at_points(field, x[near], y[near]) for name, field in fields.items()}


def sample_maps(
    read: Read, grid: Grid, x: np.ndarray, y: np.ndarray, *, block_cells: int = 2048
) -> dict[str, np.ndarray]:
    """Read maps at points, as :func:`read_at_points` does: name to (n,), NaN beyond the grid.

    >>> from fieldwise.fields.grids import make_field
    >>> bed = make_field(np.arange(16.0).reshape(4, 4), Grid(0, 0, 400, 400, 100, "EPSG:3031"), name="bed")
    >>> x, y = np.array([150.0, 900.0]), np.array([350.0, 350.0])
    >>> sample_maps(lambda *cells: {"bed": bed[cells]}, grid_of(bed), x, y)
    {'bed': array([ 1., nan])}
    """
    samples: dict[str, np.ndarray] = {}
    for near, values in read_at_points(read, grid, x, y, block_cells=block_cells):
        for name, told in values.items():
            samples.setdefault(name, np.full(len(x), np.nan))[near] = told
    return samples


def score_blocks(
    read: Read, known: Iterable[Known], *, against: str, unit: str = "m"
) -> tuple[list[dict[str, Any]], int]:
    """Score maps against a truth, block by block.

    Parameters
    ----------
    read
        Gives rows and columns of all maps: name to (y, x) field.
    known
        Where the truth is known, as of :func:`know_blocks`.
    against, unit
        What the rows say of the truth.

    Returns
    -------
    tuple
        Rows of RMSE, MAE, bias and roughness ratio, none where nothing is judged; and how many cells are.

    >>> from fieldwise.fields.grids import make_field
    >>> grid = Grid(0, 0, 800, 800, 100, "EPSG:3031")
    >>> true = np.random.default_rng(1).normal(size=(8, 8))
    >>> drawn = make_field(true + 3, grid, name="bed")
    >>> known = [Known(slice(0, 8), slice(0, 6), true[:, :6])]
    >>> rows, cells = score_blocks(lambda *cells: {"prediction": drawn[cells]}, known, against="truth")
    >>> [round(row["value"], 3) for row in rows], cells
    ([3.0, 3.0, 3.0, 1.0], 48)
    """
    errors: dict[str, ErrorSums] = {}
    textures: dict[str, RoughnessSums] = {}
    count = 0
    for rows, columns, values, core in known:
        count += int(np.isfinite(values[core]).sum())
        fields = read(rows, columns)
        truth = next(iter(fields.values())).copy(data=values)
        rough = load_values(roughness(truth, cells=ROUGHNESS_CELLS))[core]
        for name, field in fields.items():
            errors.setdefault(name, ErrorSums()).add(load_values(field)[core], values[core])
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
    return scores, count


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


def widen(
    rows: slice, columns: slice, shape: tuple[int, int], *, margin: int
) -> tuple[slice, slice, tuple[slice, slice]]:
    """Widen a part of a map by some cells, where it has them: rows, columns, and where in these the part is.

    >>> widen(slice(0, 4), slice(2, 6), (8, 8), margin=1)
    (slice(0, 5, None), slice(1, 7, None), (slice(0, 4, None), slice(1, 5, None)))
    """
    (top, bottom), (left, right) = (
        (max(side.start - margin, 0), min(side.stop + margin, size))
        for side, size in zip((rows, columns), shape)
    )
    core = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    return slice(top, bottom), slice(left, right), core


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
