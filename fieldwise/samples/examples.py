"""Small prepared folders, for examples and tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fieldwise.fields.grids import Bounds, Grid, make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Draft, Prepared, draft_folder
from fieldwise.samples.signatures import Variable

CRS = "EPSG:3413"


def make_prepared(
    fields: Mapping[str, Any],
    *,
    shape: tuple[int, int] | None = None,
    spacing: float = 250.0,
    crs: str = CRS,
    recipe: str = "bed_topography",
    name: str = "region",
    split: str | None = None,
    trends: Iterable[str] = (),
    units: Mapping[str, str] = {},
    folder: Path | None = None,
    **facts: Any,
) -> Prepared:
    """Write a prepared folder of one case, whose south-west corner is the origin.

    Parameters
    ----------
    fields
        Name to (y, x), kept as a raster of whatever spacing makes it cover the case; to (frame, y, x) on the
        case's own cells, kept as an array; to a number that holds everywhere; or to a list of any of these,
        the components of a vector.
    shape
        Rows and columns of the case's cells; by default those of the first (frame, y, x).
    spacing, crs
        Of the case's cells.
    trends
        Fields that are written as their own regional trends as well.
    units
        Of fields that are not in metres.
    facts
        Whatever else the description shall say; values (y, x) are written as rasters and named.

    >>> prepared = make_prepared({"bed_lowres": np.full((4, 4), -90.0)}, shape=(16, 16))
    >>> prepared.variables["bed_lowres"].spacing, prepared.cases()[0].bounds
    (1000.0, (0.0, 0.0, 4000.0, 4000.0))
    >>> prepared.cases()[0].read(["bed_lowres"], window=(1000, 1000, 3000, 2000))["bed_lowres"].shape
    (1, 1, 2)
    """
    channels = {key: each if isinstance(each, list) else [each] for key, each in fields.items()}
    values = {
        f"{key}_{number}" if len(every) > 1 else key: np.asarray(each, dtype=np.float32)
        for key, every in channels.items()
        for number, each in enumerate(every, start=1)
    }
    rows, columns = shape or next(each.shape[-2:] for each in values.values() if each.ndim == 3)
    bounds = (0.0, 0.0, columns * spacing, rows * spacing)
    frames = max((len(each) for each in values.values() if each.ndim == 3), default=1)
    target = folder or Path(tempfile.mkdtemp())
    with draft_folder(target, recipe=recipe) as draft:
        variables, files = {}, {}
        for key, each in values.items():
            files[key] = _write(draft, key, each, _grid(each, bounds, spacing, crs))
        for key, every in channels.items():
            names = tuple(name for name in values if name == key or (len(every) > 1 and name[:-2] == key))
            first = values[names[0]]
            fine = _grid(first, bounds, spacing, crs).spacing if first.ndim == 2 else None
            variables[key] = Variable(key, names, units.get(key, "m"), fine, vector=len(every) > 1)
        regional: dict[str, Any] = {key: files[key] for key in trends}
        draft.add(
            Case(
                name,
                split,
                draft.folder,
                variables,
                files,
                spacing,
                (rows, columns),
                bounds=bounds,
                crs=crs,
                trends=regional,
                frames=frames,
            )
        )
        for key, fact in facts.items():
            if isinstance(fact, np.ndarray):
                fact = _write(draft, key, fact, _grid(fact, bounds, spacing, crs))
            draft.facts[key] = fact
    return Prepared(target)


def make_box(
    fields: Mapping[str, np.ndarray], *, split: str, spacing: float = 1.0, **options: Any
) -> Prepared:
    """Write a prepared folder of one periodic box, of variables (channel, *cells).

    >>> box = make_box({"displacement": np.zeros((3, 4, 4, 4))}, split="test").cases()[0]
    >>> box.read(["displacement"], window=(slice(-1, 5),) * 3)["displacement"].shape
    (3, 6, 6, 6)
    """
    target = Path(tempfile.mkdtemp())
    with draft_folder(target, recipe="structure_formation") as draft:
        draft.add_box("box", split, fields, spacing=spacing, **options)
    return Prepared(target)


def _grid(values: np.ndarray, bounds: Bounds, spacing: float, crs: str) -> Grid:
    """Give the grid of values: (y, x) have whatever spacing makes them cover the case."""
    return Grid(*bounds, bounds[2] / values.shape[1] if values.ndim == 2 else spacing, crs)


def _write(draft: Draft, name: str, values: np.ndarray, grid: Grid) -> str | float:
    if values.ndim == 0:
        return float(values)
    if values.ndim == 3:
        np.save(draft.folder / f"{name}.npy", values)
        return f"{name}.npy"
    write_cog(make_field(values, grid, name=name), draft.folder / f"{name}.tif")
    return f"{name}.tif"
