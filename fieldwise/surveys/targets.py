"""Surveys to the grids that are learnt from, less what is held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.grids import Grid
from fieldwise.fields.rasters import write_cog
from fieldwise.surveys.gridding import MASK_CELLS, grid_on_map
from fieldwise.surveys.held_out import HeldOut


def write_targets(
    surveys: Mapping[str, pd.DataFrame],
    finished: Mapping[str, xr.DataArray],
    held_out: HeldOut,
    grid: Grid,
    *,
    cell: float,
    folder: Path,
    report: Callable[[str], Any],
    name: str = "bed",
    datum: str | None = None,
) -> tuple[dict[str, str], list[pd.DataFrame]]:
    """Grid what is to be learnt from, write it, and give what is held out of it.

    Parameters
    ----------
    surveys
        Name to picks.
    finished
        Name to a field on the grid that others have gridded.
    held_out
        What to judge on.
    grid
        Of the map, on whose cells surveys are gridded.
    cell
        Surveys are gridded on whole steps of this width from the grid's corner.
    folder
        Fields go to ``surveys`` in it.
    report
        Called with one line for each survey, and for what is held out.
    name, datum
        Of what the surveys have measured, and the vertical datum that it counts from.

    Returns
    -------
    tuple
        Name to the path of its field, and tables of what is held out, none of which is empty.

    >>> import tempfile
    >>> import numpy as np
    >>> from fieldwise.fields.grids import make_field
    >>> grid, options = Grid(0, 0, 1000, 1000, 250, "EPSG:3031"), {"cell": 1000.0, "report": print}
    >>> known = {"glacier": make_field(np.zeros((4, 4)), grid, name="bed")}
    >>> west = HeldOut(np.array([[0.0, 0.0, 500.0, 1000.0]]), np.zeros(1))
    >>> write_targets({}, known, west, grid, folder=Path(tempfile.mkdtemp()), **options)[0]
    held out: 8 picks in 1 areas of 0.5 km2
    {'glacier': 'surveys/glacier.tif'}
    """
    fields, judged = dict(finished), []
    for stem, picks in surveys.items():
        picks, apart = held_out.part(picks)
        judged.append(apart)
        if picks.empty:
            report(f"{stem}: all of its picks are held out")
            continue
        fields[stem] = grid_on_map(picks, grid, within=cell, name=name, datum=datum)
        count, reach_m = int(fields[stem].notnull().sum()), MASK_CELLS * grid.spacing
        report(
            f"{stem}: {len(picks)} picks, {count} cells of {grid.spacing:g} m within {MASK_CELLS} cells "
            f"({reach_m / 1000:g} km) of them"
        )
    paths = {}
    for stem, field in fields.items():
        values, apart = held_out.part_bed(field, stem)
        judged += [apart] if stem in finished else []
        paths[stem] = f"surveys/{stem}.tif"
        write_cog(field.copy(data=values), folder / paths[stem])
    judged = [table for table in judged if len(table)]
    if not paths:
        raise InputError("held_out takes all that there is to learn from; hold smaller areas out")
    _tell_held_out(held_out, judged, report)
    return paths, judged


def _tell_held_out(held_out: HeldOut, judged: list[pd.DataFrame], report: Callable[[str], Any]) -> None:
    if len(held_out.areas):
        if not judged:
            raise InputError("held_out areas: no survey or bed has data in them; name others")
        size = (held_out.areas[:, 2:] - held_out.areas[:, :2]).prod(axis=1).sum() / 1e6
        count = sum(len(table) for table in judged)
        report(f"held out: {count} picks in {len(held_out.areas)} areas of {size:g} km2")
