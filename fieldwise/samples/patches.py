"""Tiles cut from a case where targets are known, split by area, for training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import shapely
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.arrays import to_host
from fieldwise.fields.tiles import cut, slide_windows, split_by_area, write_bounds, write_tiles
from fieldwise.samples.cases import Case


def cut_patches(
    case: Case,
    targets: Iterable[xr.DataArray],
    *,
    target: str,
    tile_cells: int,
    step_cells: int,
    inside: Any = None,
    padding: float = 0.0,
    split: dict[str, Any],
    folds: Sequence[tuple[Case, shapely.Geometry]] = (),
) -> dict[str, int]:
    """Slide windows over targets, split them, cut them and every input, and save tiles.zarr and .geojson.

    Parameters
    ----------
    case
        Of whose variables all are inputs.
    targets
        Fields in metres at the spacing of the case, missing where nothing is known.
    target
        What they are called among the tiles.
    tile_cells, step_cells, inside
        As of :func:`fieldwise.fields.tiles.slide_windows`.
    padding
        Width by which inputs reach beyond a tile.
    split
        Options of :func:`fieldwise.fields.tiles.split_by_area`.
    folds
        Cases of the same variables, each with an area: tiles within it are cut from that case, and those
        that lie in several of the areas are left out. Which fold a tile is of, counted from 1, is kept.

    Returns
    -------
    dict
        How many tiles each split has; none where no target has room for a tile.

    >>> from fieldwise.fields.grids import make_field
    >>> from fieldwise.fields.tiles import read_tiles
    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.zeros((4, 4))}, shape=(16, 16)).cases()[0]
    >>> radar, split = make_field(np.zeros((16, 16)), case.grid, name="bed"), {"block": 1000, "buffer": 0}
    >>> cut_patches(case, [radar], target="bed", tile_cells=4, step_cells=4, split=split | {"fraction": 0.2})
    {'training': 12, 'validation': 4}
    >>> read_tiles(case.folder / "tiles.zarr", "training")["bed"].shape
    (12, 1, 4, 4)
    """
    windows, found = [], []
    for field in targets:
        places = slide_windows(field, tile_cells=tile_cells, step_cells=step_cells, inside=inside)
        windows.append(places)
        if len(places):
            found.append(cut(field, places, spacing=case.spacing)[:, None])
    every = np.concatenate(windows)
    number = _find_fold(every, [area for _, area in folds])
    usable = number >= 0
    if not usable.any():
        return {}
    every, known, number = every[usable], np.concatenate(found)[usable], number[usable]
    cases = [each for each, _ in folds] or [case]

    def read(seen: Case, mine: np.ndarray) -> dict[str, np.ndarray]:
        arrays = seen.read(case.variables, window=every[mine], padding=padding)
        return {name: to_host(values) for name, values in arrays.items()}

    arrays = read_by_case(cases, number, read)
    whole = np.all([np.isfinite(values).all(axis=(1, 2, 3)) for values in arrays.values()], axis=0)
    if not whole.any():
        raise InputError(f"each of the {len(every)} tiles has gaps in {', '.join(arrays)}; fill them first")
    every, number, arrays[target] = every[whole], number[whole], known
    training, validation = split_by_area(every, **split)
    chosen = np.concatenate([training, validation])
    splits = ["training"] * len(training) + ["validation"] * len(validation)
    arrays = {name: values[np.flatnonzero(whole)[chosen]] for name, values in arrays.items()}
    spacing = {name: each.spacing or case.spacing for name, each in case.variables.items()}
    units = {name: each.units for name, each in case.variables.items()} | {target: "m"}
    write_tiles(
        arrays,
        case.folder / "tiles.zarr",
        windows=every[chosen],
        splits=splits,
        spacing_m=spacing | {target: case.spacing},
        units=units,
        crs=case.grid.crs,
        folds=number[chosen] + 1 if folds else None,
    )
    write_bounds(every[chosen], case.folder / "tiles.geojson", crs=case.grid.crs, splits=splits)
    return {"training": len(training), "validation": len(validation)}


def read_by_case(
    cases: Sequence[Case],
    number: np.ndarray,
    read: Callable[[Case, np.ndarray], Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Read arrays of tiles, each from the case that it is of, and put them together in their order.

    Parameters
    ----------
    number
        (tile,) which of the cases.
    read
        Gives arrays (tile, ...) by name, of a case and the indices of its tiles.

    >>> from fieldwise.samples.examples import make_prepared
    >>> cases = [make_prepared({"bed": level}, shape=(4, 4)).cases()[0] for level in (-90.0, -80.0)]
    >>> def read(case, mine):
    ...     return {"bed": np.full(len(mine), case.files["bed"]), "tile": mine}
    >>> read_by_case(cases, np.array([1, 0, 1]), read)
    {'bed': array([-80., -90., -80.]), 'tile': array([0, 1, 2])}
    """
    if len(cases) == 1:
        return dict(read(cases[0], np.arange(len(number))))
    mine = [np.flatnonzero(number == each) for each in range(len(cases))]
    parts = [read(case, each) for case, each in zip(cases, mine, strict=True) if len(each)]
    order = np.argsort(np.concatenate(mine))
    return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}


def _find_fold(windows: np.ndarray, areas: Sequence[shapely.Geometry]) -> np.ndarray:
    """Number the area that each window lies in, from 0, -1 of those in none; without areas all have 0."""
    if not areas or not len(windows):
        return np.zeros(len(windows), dtype=int)
    number = np.full(len(windows), -1)
    for each, area in enumerate(areas):
        shapely.prepare(area)
        number[shapely.contains(area, shapely.box(*windows.T))] = each
    return number
