"""Tiles cut from a case where targets are known, split by area, for training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
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
    windows, known = [], []
    for field in targets:
        found = slide_windows(field, tile_cells=tile_cells, step_cells=step_cells, inside=inside)
        windows.append(found)
        if len(found):
            known.append(cut(field, found, spacing=case.spacing)[:, None])
    every = np.concatenate(windows)
    if not len(every):
        return {}
    read = case.read(case.variables, window=every, padding=padding)
    arrays = {name: to_host(values) for name, values in read.items()}
    whole = np.all([np.isfinite(values).all(axis=(1, 2, 3)) for values in arrays.values()], axis=0)
    if not whole.any():
        raise InputError(f"each of the {len(every)} tiles has gaps in {', '.join(arrays)}; fill them first")
    every, arrays[target] = every[whole], np.concatenate(known)
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
    )
    write_bounds(every[chosen], case.folder / "tiles.geojson", crs=case.grid.crs, splits=splits)
    return {"training": len(training), "validation": len(validation)}
