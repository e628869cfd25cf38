"""Windows on fields: slide, split by area with a buffer, cut, save and load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import geopandas
import numpy as np
import shapely
import xarray as xr

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields.arrays import module_of, to_host
from fieldwise.fields.grids import Bounds, Grid, crs_name, grid_of, load_values

Method = Literal["linear", "cubic"]

CELLS_IN_CACHE = 2**16  # of what is interpolated at a time
GROUP_CELLS = 4096  # windows are read in groups this wide, so that no more of a large raster is in memory


def slide_windows(
    field: xr.DataArray, *, tile_cells: int, step_cells: int, inside: shapely.Geometry | None = None
) -> np.ndarray:
    """Slide a window over a field and keep the places where no cell is missing.

    Parameters
    ----------
    field
        (y, x), NaN where missing.
    tile_cells, step_cells
        Edge of the square window and distance between neighbouring windows, in cells.
    inside
        Area in which the whole window must lie.

    Returns
    -------
    numpy.ndarray
        (n, 4) west, south, east, north.

    >>> from fieldwise.fields.grids import make_field
    >>> values = np.ones((3, 4)); values[0, 0] = np.nan
    >>> field = make_field(values, Grid(0, 0, 400, 300, 100, "EPSG:3031"), name="bed")
    >>> slide_windows(field, tile_cells=3, step_cells=1)
    array([[100.,   0., 400., 300.]])
    """
    grid = grid_of(field)
    if min(grid.shape) < tile_cells:
        return np.empty((0, 4))
    values = load_values(field)
    xp = module_of(values)
    missing = xp.zeros((grid.shape[0] + 1, grid.shape[1] + 1), dtype=np.int64)
    missing[1:, 1:] = xp.isnan(values).cumsum(0).cumsum(1)
    first, last = np.s_[:-tile_cells:step_cells], np.s_[tile_cells::step_cells]
    count = missing[last, last] - missing[first, last] - missing[last, first] + missing[first, first]
    row, column = np.nonzero(to_host(count == 0))
    west = grid.west + column * step_cells * grid.spacing
    north = grid.north - row * step_cells * grid.spacing
    size = tile_cells * grid.spacing
    windows = np.stack([west, north - size, west + size, north], axis=1)
    if inside is not None and len(windows):
        shapely.prepare(inside)
        windows = windows[shapely.contains(inside, shapely.box(*windows.T))]
    return windows


def touches(windows: np.ndarray, areas: np.ndarray, *, buffer: float = 0.0) -> np.ndarray:
    """Tell which windows come nearer to any of the areas (boxes) than a buffer.

    >>> touches(np.array([[0, 0, 1, 1], [3, 0, 4, 1]]), np.array([[1.5, 0, 2, 1]]), buffer=0.9)
    array([ True, False])
    """
    near = np.zeros(len(windows), dtype=bool)
    for west, south, east, north in areas:
        near |= (
            (windows[:, 0] < east + buffer)
            & (windows[:, 2] > west - buffer)
            & (windows[:, 1] < north + buffer)
            & (windows[:, 3] > south - buffer)
        )
    return near


def split_by_area(
    windows: np.ndarray,
    *,
    block: float,
    buffer: float,
    fraction: float = 0.1,
    seed: int = 42,
    held_out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Split windows into training and validation by area, so that the two never share a cell.

    The plane is divided into square blocks; whole blocks are drawn for validation until they hold
    the wanted share of windows. A validation window lies wholly inside such a block, a training
    window keeps the buffer away from every one of them, both keep it away from what is held out.

    Parameters
    ----------
    windows
        (n, 4) west, south, east, north.
    block, buffer
        Edge of the blocks and least distance between the splits, in the windows' units.
    fraction
        Share of the windows to validate on, of those that can serve.
    seed
        Of the draw.
    held_out
        (m, 4) boxes kept for judging.

    Returns
    -------
    tuple of numpy.ndarray
        Indices of training and of validation windows.

    >>> windows = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [4, 0, 5, 1], [9, 0, 10, 1]], dtype=float)
    >>> split_by_area(windows, block=2, buffer=1, fraction=0.5, seed=1)
    (array([2, 3]), array([0, 1]))
    """
    if len(windows) == 0:
        raise InputError("no window to split; the surveys hold no area as large as a tile inside the region")
    away = np.empty((0, 4)) if held_out is None else held_out
    usable = ~touches(windows, away, buffer=buffer)
    origin = windows[:, :2].min(axis=0)
    first = np.floor((windows[:, :2] - origin) / block + 1e-9).astype(int)
    last = np.ceil((windows[:, 2:] - origin) / block - 1e-9).astype(int) - 1
    whole = usable & (first == last).all(axis=1)
    blocks, counts = np.unique(first[whole], axis=0, return_counts=True)
    chosen = np.zeros(len(blocks), dtype=bool)
    for index in np.random.default_rng(seed).permutation(len(blocks)):
        if counts[chosen].sum() >= fraction * counts.sum() or chosen.sum() == len(blocks) - 1:
            break
        chosen[index] = True
    corners = origin + blocks[chosen] * block
    areas = np.hstack([corners, corners + block])
    inside = (first[:, None, :] == blocks[chosen][None]).all(axis=2).any(axis=1)
    validation = np.flatnonzero(whole & inside)
    training = np.flatnonzero(usable & ~touches(windows, areas, buffer=buffer))
    if len(training) == 0 or len(validation) == 0:
        raise InputError(
            f"{len(windows)} windows cannot be split with blocks of {block:g} and a buffer of {buffer:g}; "
            "take smaller blocks, or surveys over a larger area"
        )
    return training, validation


def cut(
    field: xr.DataArray,
    bounds: np.ndarray | Sequence[Bounds],
    *,
    spacing: float,
    padding: float = 0.0,
    method: Method = "linear",
    extend: bool = False,
) -> Any:
    """Cut windows out of a field at a spacing of one's own.

    Training tiles and the blocks of a continent come through this one function, so they cannot
    disagree. Where the window's cells are the field's cells this is a slice; any other is separable
    interpolation between cell centres. Only what the windows need is read.

    Parameters
    ----------
    field
        (y, x), canonical.
    bounds
        (n, 4) west, south, east, north of windows of one size.
    spacing, padding
        Cell size of the result and width added on every side, in the field's units.
    method
        ``linear``, or ``cubic``: convolution of Keys (1981) with a = -1/2.
    extend
        Repeat the outermost cells beyond the field, instead of leaving what lies there missing.

    Returns
    -------
    numpy.ndarray
        (n, y, x) float32, rows from north to south, NaN beyond the field; of CuPy where the field is.

    >>> from fieldwise.fields.grids import make_field
    >>> ramp = make_field(np.tile([0.0, 10, 20, 30], (2, 1)), Grid(0, 0, 4, 2, 1, "EPSG:3031"), name="ramp")
    >>> cut(ramp, [(1, 0, 3, 2)], spacing=1).tolist()
    [[[10.0, 20.0], [10.0, 20.0]]]
    >>> cut(ramp, [(1, 0, 2, 1)], spacing=0.5)[0, 0].tolist()
    [7.5, 12.5]
    """
    windows = np.atleast_2d(np.asarray(bounds, dtype=float)) + np.array([-1, -1, 1, 1]) * padding
    grid = grid_of(field)
    counts = (windows[:, 3] - windows[:, 1]) / spacing, (windows[:, 2] - windows[:, 0]) / spacing
    shape = round(counts[0][0]), round(counts[1][0])
    if max(np.abs(counts[0] - shape[0]).max(), np.abs(counts[1] - shape[1]).max()) > 1e-3:
        raise InputError(
            f"windows of {counts[1][0]:g} x {counts[0][0]:g} cells of {spacing:g} m are not whole"
        )
    result = None if len(windows) else np.empty((0, *shape), dtype=np.float32)
    groups = np.floor((windows[:, :2] - [grid.west, grid.south]) / (GROUP_CELLS * grid.spacing))
    for group in np.unique(groups, axis=0):
        members = np.flatnonzero((groups == group).all(axis=1))
        pieces = _cut_group(field, grid, windows[members], shape, spacing, method, extend)
        for index, values in zip(members, pieces):
            if result is None:
                result = module_of(values).empty((len(windows), *shape), dtype=np.float32)
            result[index] = values
    return result


def _cut_group(
    field: xr.DataArray,
    grid: Grid,
    windows: np.ndarray,
    shape: tuple[int, int],
    spacing: float,
    method: Method,
    extend: bool,
) -> Iterator[Any]:
    """Read the box around neighbouring windows once, then interpolate first along y, then along x."""
    first_row = (grid.north - windows[:, 3] + spacing / 2) / grid.spacing - 0.5  # in cells, of the centre
    first_column = (windows[:, 0] - grid.west + spacing / 2) / grid.spacing - 0.5
    step = spacing / grid.spacing
    rows, row_weights = _stencil(first_row, step, shape[0], grid.shape[0], method, extend)
    columns, column_weights = _stencil(first_column, step, shape[1], grid.shape[1], method, extend)
    top, left = rows.min(), columns.min()
    values = load_values(field[top : rows.max() + 1, left : columns.max() + 1])
    rows, columns = rows - top, columns - left
    slices = _are_slices(rows, row_weights) & _are_slices(columns, column_weights)
    for index in range(len(windows)):  # one window at a time stays in the cache: faster than all at once
        row, column = int(rows[index].min()), int(columns[index].min())
        if slices[index]:
            yield values[row : row + shape[0], column : column + shape[1]]
        else:
            box = values[:, column : int(columns[index].max()) + 1]
            along_y = _weigh(box, rows[index], row_weights[index])
            yield _weigh(along_y, columns[index] - column, column_weights[index], axis=1)


def _are_slices(taps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Tell which windows have cells that follow one another and are taken as they are."""
    return (weights[..., 0] == 1).all(axis=1) & (np.diff(taps[..., 0], axis=1) == 1).all(axis=1)


def _weigh(values: Any, taps: np.ndarray, weights: np.ndarray, *, axis: int = 0) -> Any:
    """Sum weighted rows, or columns; taps without weight are left out: a missing neighbour does not count."""
    xp, sizes = module_of(values), list(values.shape)
    sizes[axis] = len(taps)
    step = max(1, CELLS_IN_CACHE // sizes[1]) if xp is np else sizes[0]
    total = xp.zeros(sizes, np.float32)
    pairs = [(xp.asarray(tap), xp.asarray(each)) for tap, each in zip(taps.T, weights.T) if each.any()]
    for rows in (slice(first, first + step) for first in range(0, sizes[0], step)):
        for tap, weight in pairs:
            along = weight[rows, None] if axis == 0 else weight
            part = values[tap[rows]] if axis == 0 else xp.take(values[rows], tap, axis=1)
            total[rows] += xp.where(along == 0, np.float32(0), part * along)
    return total


def _stencil(
    first: np.ndarray, step: float, count: int, size: int, method: Method, extend: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Give for each cell of each window the cells to read, and their weights: (n, count, taps)."""
    position = first[:, None] + step * np.arange(count)
    position = np.where(np.abs(position - np.rint(position)) < 1e-4, np.rint(position), position)
    beyond = (position < -0.5) | (position > size - 0.5)
    position = np.clip(position, 0, size - 1)
    lower = np.floor(position)
    fraction = position - lower
    if method == "linear":
        offsets, weights = [0, 1], [1 - fraction, fraction]
    elif method == "cubic":
        f = fraction
        offsets = [-1, 0, 1, 2]
        weights = [
            ((-0.5 * f + 1) * f - 0.5) * f,
            (1.5 * f - 2.5) * f * f + 1,
            ((-1.5 * f + 2) * f + 0.5) * f,
            (0.5 * f - 0.5) * f * f,
        ]
    else:
        raise InputError(f"unknown method {method!r}; take linear or cubic")
    taps = np.clip(lower[..., None] + np.array(offsets), 0, size - 1).astype(np.int64)
    stacked = np.stack(weights, axis=-1).astype(np.float32)
    if not extend:
        stacked[beyond] = np.nan
    return taps, stacked


def bounds_path(path: str | Path, crs: str) -> Path:
    """Name the file of windows in a CRS: by its EPSG code, or plainly where it has none.

    >>> bounds_path("tiles.geojson", "+proj=tmerc +k=0.9").name
    'tiles_local.geojson'
    """
    path, name = Path(path), crs_name(crs)
    code = name.removeprefix("EPSG:") if name.startswith("EPSG:") else "local"
    return path.with_name(f"{path.stem}_{code}.geojson")


def write_bounds(windows: np.ndarray, path: str | Path, *, crs: str, splits: Sequence[str]) -> Path:
    """Write windows as GeoJSON polygons with their split: in `crs`, and beside it in EPSG:4326.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> windows = np.array([[0, 0, 9000, 9000]])
    >>> path = write_bounds(windows, home / "tiles.geojson", crs="EPSG:3031", splits=["training"])
    >>> path.name, read_bounds(home / "tiles.geojson", crs="EPSG:3031").total_bounds.tolist()
    ('tiles_3031.geojson', [0.0, 0.0, 9000.0, 9000.0])
    """
    frame = geopandas.GeoDataFrame({"split": list(splits)}, geometry=shapely.box(*windows.T), crs=crs)
    for target in (crs, "EPSG:4326"):
        with replace_when_done(bounds_path(path, target)) as partial:
            frame.to_crs(target).to_file(partial, driver="GeoJSON")
    return bounds_path(path, crs)


def read_bounds(path: str | Path, *, crs: str) -> geopandas.GeoDataFrame:
    """Read windows that :func:`write_bounds` wrote; GeoJSON itself cannot tell of a CRS without a code.

    >>> import tempfile
    >>> path, windows = Path(tempfile.mkdtemp()) / "tiles.geojson", np.array([[0, 0, 9000, 9000]])
    >>> _ = write_bounds(windows, path, crs="EPSG:3031", splits=["training"])
    >>> read_bounds(path, crs="EPSG:3031")["split"].tolist()
    ['training']
    """
    return geopandas.read_file(bounds_path(path, crs)).set_crs(crs, allow_override=True)


def write_tiles(
    arrays: Mapping[str, np.ndarray],
    path: str | Path,
    *,
    windows: np.ndarray,
    splits: Sequence[str],
    spacing_m: Mapping[str, float],
    units: Mapping[str, str],
    crs: str,
    folds: Sequence[int] | np.ndarray | None = None,
) -> Path:
    """Save tiles as one Zarr store that names its variables, units and spacings.

    Parameters
    ----------
    arrays
        Name to (tile, channel, y, x).
    windows, splits
        (tile, 4) bounds without padding, and the split each tile belongs to.
    spacing_m, units
        For each name.
    folds
        Number of the fold that each tile belongs to, if there are some.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> path = write_tiles({"bed": np.zeros((2, 1, 36, 36), np.float32)}, home / "tiles.zarr",
    ...                    windows=np.zeros((2, 4)), splits=["training", "validation"],
    ...                    spacing_m={"bed": 250}, units={"bed": "m"}, crs="EPSG:3031")
    >>> read_tiles(path, "validation")["bed"].shape
    (1, 1, 36, 36)
    """
    path = Path(path)
    variables = {
        name: (
            ("tile", f"{name}_channel", f"{name}_y", f"{name}_x"),
            values,
            {"spacing_m": spacing_m[name], "units": units[name]},
        )
        for name, values in arrays.items()
    }
    coordinates = {"bounds": (("tile", "edge"), windows), "split": ("tile", np.array(splits, dtype="<U10"))}
    if folds is not None:
        coordinates["fold"] = ("tile", np.asarray(folds))
    coordinates["edge"] = ("edge", np.array(["west", "south", "east", "north"]))
    dataset = xr.Dataset(variables, coords=coordinates, attrs={"crs": crs})
    with replace_when_done(path) as partial:
        dataset.to_zarr(partial, zarr_format=2, consolidated=True)
    return path


def read_tiles(path: str | Path, split: str | None = None) -> xr.Dataset:
    """Open a store of tiles, lazily, of one split or of all.

    Raises
    ------
    InputError
        Where there is no store, or it is not one of tiles.

    >>> read_tiles("no/such/tiles.zarr")
    Traceback (most recent call last):
    fieldwise.errors.InputError: no/such/tiles.zarr...
    """
    path = Path(path)
    try:
        dataset = xr.open_zarr(path, consolidated=True)
        splits = dataset["split"].values
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: is no store of tiles; make one with the verb prepare") from error
    return dataset if split is None else dataset.isel(tile=np.flatnonzero(splits == split))
