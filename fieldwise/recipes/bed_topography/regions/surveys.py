"""What radar knows of the bed: surveys gridded to learn from, picks kept aside to judge on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.entries import open_entry
from fieldwise.fields.formats import open_field, read_area
from fieldwise.fields.grids import make_field
from fieldwise.fields.heights import Heights
from fieldwise.fields.tiles import cut
from fieldwise.recipes.bed_topography.regions.region import SURFACE, lowres_spacing
from fieldwise.samples.cases import Case
from fieldwise.samples.rules import list_entries
from fieldwise.surveys import (
    cells_with,
    choose_held_out,
    grid_on_map,
    open_flights,
    read_flights,
    write_flights,
    write_targets,
)

PICKS_FILE = "held_out.nc"
GIVEN_FILE = "given.nc"


def prepare_targets(
    source: Mapping[str, Any],
    case: Case,
    *,
    folder: Path,
    heights: Heights,
    buffer_m: float,
    seed: int,
    report: Callable[[str], Any],
) -> tuple[dict[str, Any], np.ndarray]:
    """Make a grid of the bed from each survey and finished bed of a FILE.yaml; keep aside what is held out.

    Surveys are gridded on whole low-res cells, so that tiles start on them.

    Parameters
    ----------
    source
        ``surveys``, ``beds``, ``radar``, whose picks are given but not learnt from, and ``held_out``, with
        surveys, areas and blocks to judge on.
    buffer_m
        Distance that tiles keep from what is held out; blocks may ask for more.
    seed
        Of the blocks that are drawn.
    report
        Called with one line for each survey, and for what is held out.

    Returns
    -------
    tuple
        Entries of the description: ``targets`` (name to the path of its grid), ``given`` (path of the picks
        that a map may read), ``held_out`` (path of those to judge on), None each where there are none, and
        ``held_out_areas``; and (m, 4) boxes that tiles must
        keep `buffer_m` away from.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({}, shape=(16, 16), radar=np.zeros((16, 16))).cases()[0]
    >>> source = {"beds": {"TX": {"path": "radar.tif"}}, "held_out": {"areas": [[0, 0, 500, 1000]]}}
    >>> options = {"folder": case.folder, "heights": Heights(), "buffer_m": 1000, "seed": 7, "report": print}
    >>> entries, boxes = prepare_targets(source, case, **options)
    held out: 8 picks in 1 areas of 0.5 km2
    >>> entries["targets"], entries["held_out"], boxes.tolist()
    ({'TX': 'surveys/TX.tif'}, 'held_out.nc', [[0.0, 0.0, 500.0, 1000.0]])
    """
    aside, grid, cell = source.get("held_out") or {}, case.grid, lowres_spacing(case)

    def read(entries: list[dict[str, Any]]) -> list[pd.DataFrame]:
        surface = case.field(SURFACE) if SURFACE in case.files else None
        options: Any = {"folder": folder, "cell": cell, "heights": heights, "surface": surface}
        return [read_flights(entry, grid, **options) for entry in entries]

    named = list_entries(source.get("surveys"))
    surveys = dict(zip((Path(entry["path"]).stem for entry in named), read(named)))
    beds = _read_beds(source, case, folder=folder, heights=heights)
    told = read(list_entries(source.get("radar")))
    if not surveys and not beds and not told:
        raise InputError(
            "the FILE.yaml names neither `surveys` nor `beds` nor `radar`; there is nothing to learn from"
        )
    cells = [field.to_series().dropna().reset_index() for field in beds.values()]
    held_out = choose_held_out(aside, [*surveys.values(), *told, *cells], seed=seed, buffer_m=buffer_m)
    paths, judged = dict[str, str](), list[pd.DataFrame]()
    if surveys or beds:
        options: Any = {"cell": cell, "folder": case.folder, "datum": case.facts.get(DATUM)}
        paths, judged = write_targets(surveys, beds, held_out, grid, report=report, **options)
    judged += [apart for apart in (held_out.part(picks)[1] for picks in told) if len(apart)]
    given = [held_out.part(picks)[0] for picks in [*surveys.values(), *told]]
    given = [table for table in given if len(table)]
    if given:
        write_flights(given, case.folder / GIVEN_FILE, crs=grid.crs, datum=heights.datum)
    flown = read(list_entries(aside.get("surveys")))
    if judged or flown:
        write_flights([*judged, *flown], case.folder / PICKS_FILE, crs=grid.crs, datum=heights.datum)
    away = [cells_with(table, cell) for table in flown if aside.get("keep_training_away", True)]
    entries = {
        "targets": paths,
        "given": GIVEN_FILE if given else None,
        "held_out": PICKS_FILE if judged or flown else None,
        "held_out_areas": held_out.areas.tolist(),
    }
    return entries, np.concatenate([held_out.widened(buffer_m), *away])


def _read_beds(
    source: Mapping[str, Any], case: Case, *, folder: Path, heights: Heights
) -> dict[str, xr.DataArray]:
    """Read the finished beds of a FILE.yaml on the cells of the map."""
    grid, beds = case.grid, {}
    for stem, entry in source.get("beds", {}).items():
        field = open_entry(entry, folder=folder, crs=grid.crs, heights=heights)[0]
        values = cut(field, [grid.bounds], spacing=grid.spacing)[0]
        words: Any = {"name": "bed", "long_name": "gridded picks", "vertical_datum": case.facts.get(DATUM)}
        beds[stem] = make_field(values, grid, **words)
    return beds


def read_held_out(case: Case) -> pd.DataFrame:
    """Read the picks kept aside: x, y, z in metres, flight and survey.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({}, shape=(16, 16), held_out=PICKS_FILE).cases()[0]
    >>> picks = pd.DataFrame({"x": [10.0, 20.0], "y": 0.0, "z": [-90.0, -80.0], "flight": 0, "survey": "TX"})
    >>> path = write_flights([picks], case.folder / PICKS_FILE, crs=case.grid.crs)
    >>> read_held_out(case)["z"].tolist()
    [-90.0, -80.0]
    """
    name = case.facts.get("held_out")
    if not name:
        raise InputError(
            f"{case.folder}: nothing is held out; name surveys, areas or blocks under `held_out` in the "
            "FILE.yaml"
        )
    return open_flights(case.folder / name)


def read_given(case: Case) -> pd.DataFrame:
    """Read the picks that a map may read, and is to honour: x, y, z in metres, flight and survey.

    >>> from fieldwise.samples.examples import make_prepared
    >>> len(read_given(make_prepared({}, shape=(16, 16)).cases()[0]))  # where none are given
    0
    """
    if not case.facts.get("given"):
        return pd.DataFrame({key: np.empty(0) for key in ("x", "y", "z", "flight")} | {"survey": []})
    return open_flights(case.path_of("given"))


def grid_held_out(picks: pd.DataFrame, case: Case, *, around: bool = False) -> xr.DataArray:
    """Grid held-out picks over the whole region, or over the box around them; missing away from them.

    >>> from fieldwise.fields.grids import grid_of
    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({}, shape=(32, 32)).cases()[0]
    >>> picks = pd.DataFrame({"x": np.arange(4125.0, 5000, 250), "y": 4125.0, "z": -90.0})
    >>> grid_of(grid_held_out(picks, case, around=True)).bounds
    (4000.0, 4000.0, 5000.0, 5000.0)
    """
    within = lowres_spacing(case) if around else None
    return grid_on_map(picks, case.grid, within=within, datum=case.facts.get(DATUM))


def tile_area(source: Mapping[str, Any], *, folder: Path, crs: str) -> shapely.Geometry | None:
    """Give the area in which tiles may lie: within the buffered grounding line; None for anywhere.

    >>> import geopandas, tempfile
    >>> frame = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1000, 500)], crs="EPSG:3031")
    >>> frame.to_file(file := Path(tempfile.mkdtemp()) / "grounded.geojson")
    >>> source = {"grounding_line": {"path": file.name, "buffer_m": 200}}
    >>> tile_area(source, folder=file.parent, crs="EPSG:3031").bounds
    (-200.0, -200.0, 1200.0, 700.0)
    """
    entry = source.get("grounding_line")
    if not entry:
        return None
    return read_area(folder / entry["path"], crs=crs).buffer(float(entry.get("buffer_m", 0)))


def open_targets(case: Case) -> dict[str, xr.DataArray]:
    """Open the gridded surveys of a prepared folder.

    >>> from fieldwise.samples.examples import make_prepared
    >>> prepared = make_prepared({}, shape=(16, 16), radar=np.zeros((16, 16)), targets={"TX": "radar.tif"})
    >>> {name: field.shape for name, field in open_targets(prepared.cases()[0]).items()}
    {'TX': (16, 16)}
    """
    return {name: open_field(case.folder / path) for name, path in case.facts["targets"].items()}
