"""What radar knows of the bed: surveys gridded to learn from, picks kept aside to judge on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.datums import parse_datum
from fieldwise.fields.entries import open_entry
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import (
    Grid,
    crs_label,
    crs_name,
    grid_of,
    load_values,
    make_field,
    overlap,
    same_crs,
)
from fieldwise.fields.heights import Heights
from fieldwise.fields.rasters import write_cog, write_netcdf
from fieldwise.fields.tiles import cut
from fieldwise.recipes.bed_topography.held_out import HeldOut, choose_held_out
from fieldwise.recipes.bed_topography.region import lowres_spacing
from fieldwise.samples.cases import Case
from fieldwise.samples.rules import list_entries
from fieldwise.scores import sample_at_points
from fieldwise.surveys import grid_survey, read_survey, region_of
from fieldwise.surveys.gridding import MASK_CELLS

LINE_GAP_M = 2000.0  # picks farther apart than this belong to different flights
LINE_PICKS = 10  # with fewer a flight, on average, picks are in no order along lines
HELD_OUT = "held_out.nc"


def _read_picks(
    entry: Mapping[str, Any], case: Case, *, folder: Path, heights: Heights | None = None
) -> pd.DataFrame:
    """Read the picks of one survey that lie inside the region, numbered by flight.

    Parameters
    ----------
    entry
        ``path`` of the pipeline; ``datum`` that its heights count from; ``bed_from: thickness`` where the bed
        is to be the data's surface less the survey's ice thickness, so that a bed below a surface of another
        year, or of another datum, is not mixed with the data's.
    folder
        Folder that relative paths start from.
    heights
        The vertical datum to bring heights to.

    Returns
    -------
    pandas.DataFrame
        x, y, z in metres, ``survey``, and ``flight``, counted from 0 along the file.
    """
    pipeline = folder / entry["path"]
    by_thickness = entry.get("bed_from") == "thickness"
    table = read_survey(pipeline, measured="thickness" if by_thickness else "z")
    crs = crs_name(table.attrs["crs"])
    if not same_crs(crs, case.grid.crs):
        there, here = crs_label(crs), crs_label(case.grid.crs)
        raise InputError(f"{pipeline}: ends in {there}, the data are in {here}; set out_srs to that")
    west, south, east, north = case.grid.bounds
    inside = table["x"].between(west, east) & table["y"].between(south, north)
    if not inside.any():
        raise InputError(f"{pipeline}: none of its {len(table)} picks lies in the region of the other data")
    table = table[inside].reset_index(drop=True)
    if by_thickness:
        table = _hang_from_surface(table, case, pipeline)
    elif heights is not None:
        table = _bring_picks(table, entry, heights, pipeline)
    return table.assign(survey=pipeline.stem, flight=number_flights(table, cell=lowres_spacing(case)))


def number_flights(picks: pd.DataFrame, *, cell: float) -> np.ndarray:
    """Number the flights along a table of picks; a gap of two kilometres begins the next.

    Means of cells come in no order along lines: where neighbours in the table are a cell or more apart by
    their median, or a flight would have less than ten picks, the whole table counts as one.

    >>> line = pd.DataFrame({"x": [*range(0, 3000, 100), *range(9000, 12000, 100)], "y": 0})
    >>> np.bincount(number_flights(line, cell=1000)).tolist()
    [30, 30]
    >>> np.unique(number_flights(line.sample(frac=1, random_state=1), cell=1000)).tolist()
    [0]
    """
    steps = np.hypot(np.diff(picks["x"]), np.diff(picks["y"]))
    flight = np.concatenate([[0], np.cumsum(steps > LINE_GAP_M)])
    short = len(picks) < LINE_PICKS * (flight[-1] + 1)
    return np.zeros_like(flight) if short or (len(steps) and np.median(steps) >= cell) else flight


def _hang_from_surface(table: pd.DataFrame, case: Case, pipeline: Path) -> pd.DataFrame:
    """Give the bed as the surface of the data less the ice thickness of the survey."""
    surface = sample_at_points(case.field("surface_elevation"), table["x"], table["y"])
    table = table.assign(z=surface - table["thickness"]).drop(columns="thickness")
    table = table[table["z"].notna()].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{pipeline}: the surface elevation is missing under all of its picks")
    return table


def _bring_picks(
    table: pd.DataFrame, entry: Mapping[str, Any], heights: Heights, pipeline: Path
) -> pd.DataFrame:
    """Bring the heights of picks to the vertical datum of the data."""
    for sign, geoid in heights.offsets(parse_datum(entry["datum"]) if "datum" in entry else None):
        table = table.assign(z=table["z"] + sign * sample_at_points(geoid, table["x"], table["y"]))
        if table["z"].isna().any():
            name = geoid.encoding.get("source", geoid.name)
            raise InputError(f"{name}: does not cover the picks of {pipeline}; give a wider geoid")
    return table


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
        ``surveys``, ``beds``, and ``held_out``, with surveys, areas and blocks to judge on.
    buffer_m
        Distance that tiles keep from what is held out; blocks may ask for more.
    seed
        Of the blocks that are drawn.
    report
        Called with one line for each survey, and for what is held out.

    Returns
    -------
    tuple
        Entries of the description: ``targets`` (name to the path of its grid), ``held_out`` (path of the
        picks to judge on, None where there are none) and ``held_out_areas``; and (m, 4) boxes that tiles must
        keep `buffer_m` away from.

    >>> import tempfile
    >>> from fieldwise.samples.examples import make_prepared
    >>> home = Path(tempfile.mkdtemp())
    >>> case = make_prepared({}, shape=(16, 16), folder=home).cases()[0]
    >>> _ = write_cog(make_field(np.zeros((16, 16)), case.grid, name="bed"), home / "radar.tif")
    >>> source = {"beds": {"glacier": {"path": "radar.tif"}}, "held_out": {"areas": [[0, 0, 500, 1000]]}}
    >>> options = {"folder": home, "heights": Heights(), "buffer_m": 1000, "seed": 7, "report": print}
    >>> entries, boxes = prepare_targets(source, case, **options)
    held out: 8 picks in 1 areas of 0.5 km2
    >>> entries["targets"], entries["held_out"], boxes.tolist()
    ({'glacier': 'surveys/glacier.tif'}, 'held_out.nc', [[0.0, 0.0, 500.0, 1000.0]])
    """
    surveys = {
        Path(entry["path"]).stem: _read_picks(entry, case, folder=folder, heights=heights)
        for entry in list_entries(source.get("surveys"))
    }
    beds = {}
    for stem, entry in source.get("beds", {}).items():
        field = open_entry(entry, folder=folder, crs=case.grid.crs, heights=heights)[0]
        values = cut(field, [case.grid.bounds], spacing=case.spacing)[0]
        beds[stem] = _bed_on(case.grid, values, case)
    if not surveys and not beds:
        raise InputError("the FILE.yaml names neither `surveys` nor `beds`; there is nothing to learn from")
    cells = [field.to_series().dropna().reset_index() for field in beds.values()]
    held_out = choose_held_out(source, [*surveys.values(), *cells], seed=seed, buffer_m=buffer_m)
    targets, judged = _write_targets(surveys, beds, held_out, case, report)
    flown, cells_flown = _read_held_out_surveys(source, case, folder=folder, heights=heights)
    _write_held_out([*judged, *flown], case, datum=heights.datum)
    entries = {
        "targets": targets,
        "held_out": HELD_OUT if judged or flown else None,
        "held_out_areas": held_out.areas.tolist(),
    }
    return entries, np.concatenate([held_out.widened(buffer_m), cells_flown])


def _write_targets(
    surveys: Mapping[str, pd.DataFrame],
    beds: Mapping[str, xr.DataArray],
    held_out: HeldOut,
    case: Case,
    report: Callable[[str], Any],
) -> tuple[dict[str, str], list[pd.DataFrame]]:
    """Grid what is to be learnt from, write it, and give what is held out of it."""
    fields, judged = dict(beds), []
    for stem, picks in surveys.items():
        picks, apart = held_out.part(picks)
        judged.append(apart)
        if picks.empty:
            report(f"{stem}: all of its picks are held out")
            continue
        fields[stem] = _grid_on_map(picks, case, within=lowres_spacing(case))
        count, reach_m = int(fields[stem].notnull().sum()), MASK_CELLS * case.spacing
        report(
            f"{stem}: {len(picks)} picks, {count} cells of {case.spacing:g} m within {MASK_CELLS} cells "
            f"({reach_m / 1000:g} km) of them"
        )
    paths = {}
    for stem, field in fields.items():
        values, apart = held_out.part_bed(field, stem)
        judged += [apart] if stem in beds else []
        paths[stem] = f"surveys/{stem}.tif"
        write_cog(field.copy(data=values), case.folder / paths[stem])
    judged = [table for table in judged if len(table)]
    if not paths:
        raise InputError("held_out takes all that there is to learn from; hold smaller areas out")
    if len(held_out.areas):
        if not judged:
            raise InputError("held_out areas: no survey or bed has data in them; name others")
        size = (held_out.areas[:, 2:] - held_out.areas[:, :2]).prod(axis=1).sum() / 1e6
        count = sum(len(table) for table in judged)
        report(f"held out: {count} picks in {len(held_out.areas)} areas of {size:g} km2")
    return paths, judged


def _bed_on(grid: Grid, values: np.ndarray, case: Case) -> xr.DataArray:
    datum = case.facts.get(DATUM)
    return make_field(values, grid, name="bed", long_name="gridded picks", vertical_datum=datum)


def _read_held_out_surveys(
    source: Mapping[str, Any], case: Case, *, folder: Path, heights: Heights
) -> tuple[list[pd.DataFrame], np.ndarray]:
    """Read the surveys that are held out as a whole, and list the low-res cells with a pick of theirs."""
    held_out = source.get("held_out") or {}
    entries = list_entries(held_out.get("surveys"))
    tables = [_read_picks(entry, case, folder=folder, heights=heights) for entry in entries]
    cell = lowres_spacing(case)
    boxes = [np.empty((0, 4))]
    for table in tables if held_out.get("keep_training_away", True) else []:
        corners = np.unique(np.floor(table[["x", "y"]].to_numpy() / cell), axis=0) * cell
        boxes.append(np.hstack([corners, corners + cell]))
    return tables, np.concatenate(boxes)


def _write_held_out(tables: list[pd.DataFrame], case: Case, *, datum: str | None) -> None:
    """Write the picks to judge on, flights numbered through, where there are any."""
    if not tables:
        return
    first = 0
    for number, table in enumerate(tables):
        tables[number] = table.assign(flight=table["flight"] + first)
        first = int(tables[number]["flight"].max()) + 1
    picks = pd.concat(tables, ignore_index=True)
    attributes = {"units": "m"} | ({DATUM: datum} if datum else {})
    variables: dict[str, Any] = {
        name: ("pick", picks[name].to_numpy(), {"units": "m"} if name in "xy" else attributes)
        for name in "xyz"
    }
    variables["flight"] = ("pick", picks["flight"].to_numpy(dtype=np.int32))
    variables["survey"] = ("pick", picks["survey"].to_numpy(dtype=str))
    write_netcdf(xr.Dataset(variables, attrs={"crs": case.grid.crs}), case.folder / HELD_OUT)


def read_held_out(case: Case) -> pd.DataFrame:
    """Read the picks kept aside: x, y, z in metres, flight and survey.

    >>> import tempfile
    >>> from fieldwise.samples.examples import make_prepared
    >>> home = Path(tempfile.mkdtemp())
    >>> picks = {"x": [10.0, 20.0], "y": [0.0, 0.0], "z": [-90.0, -80.0], "flight": [0, 0]}
    >>> columns = {name: ("pick", values) for name, values in picks.items()}
    >>> _ = write_netcdf(xr.Dataset(columns | {"survey": ("pick", ["2010tr"] * 2)}), home / "held_out.nc")
    >>> case = make_prepared({}, shape=(16, 16), folder=home, held_out="held_out.nc").cases()[0]
    >>> read_held_out(case)["z"].tolist()
    [-90.0, -80.0]
    """
    name = case.facts.get("held_out")
    if not name:
        raise InputError(
            f"{case.folder}: nothing is held out; name surveys, areas or blocks under `held_out` in the "
            "FILE.yaml"
        )
    with xr.open_dataset(case.folder / name, engine="h5netcdf") as opened:
        return opened.to_dataframe().reset_index(drop=True)


def grid_held_out(picks: pd.DataFrame, case: Case, *, around: bool = False) -> xr.DataArray:
    """Grid held-out picks over the whole region, or over the box around them; missing away from them.

    >>> import tempfile
    >>> from fieldwise.samples.examples import make_prepared
    >>> home = Path(tempfile.mkdtemp())
    >>> case = make_prepared({}, shape=(32, 32), folder=home).cases()[0]
    >>> picks = pd.DataFrame({"x": np.arange(4125.0, 5000, 250), "y": 4125.0, "z": -90.0})
    >>> field = grid_held_out(picks, case)
    >>> field.shape, float(field.max()), bool(field[0, 0].isnull())  # the corner is far away from the picks
    ((32, 32), -90.0, True)
    >>> grid_of(grid_held_out(picks, case, around=True)).bounds
    (4000.0, 4000.0, 5000.0, 5000.0)
    """
    return _grid_on_map(picks, case, within=lowres_spacing(case) if around else None)


def _grid_on_map(picks: pd.DataFrame, case: Case, *, within: float | None = None) -> xr.DataArray:
    """Grid picks on the cells of the map, wherever its corner lies: on all, or on the cells around the picks.

    Parameters
    ----------
    within
        The box around the picks is rounded outward to whole steps of this width from the corner.
    """
    west, south, east, north = case.grid.bounds
    moved = picks.assign(x=picks["x"] - west, y=picks["y"] - south)
    region = (0.0, 0.0, east - west, north - south)
    if within:
        around = Grid.around(region_of(moved, spacing=case.spacing), within, case.grid.crs).bounds
        region = overlap(around, region) or region
    field = grid_survey(moved, region=region, spacing=case.spacing, crs=case.grid.crs)
    left, bottom, right, top = grid_of(field).bounds
    grid = Grid(left + west, bottom + south, right + west, top + south, case.spacing, case.grid.crs)
    return _bed_on(grid, load_values(field), case)


def read_grounded_area(path: Path, *, crs: str) -> shapely.Geometry:
    """Read the area within a grounding line, in a CRS.

    >>> import tempfile
    >>> frame = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1000, 500)], crs="EPSG:3031")
    >>> path = Path(tempfile.mkdtemp()) / "grounded.geojson"
    >>> frame.to_file(path)
    >>> read_grounded_area(path, crs="EPSG:3031").bounds
    (0.0, 0.0, 1000.0, 500.0)
    """
    try:
        frame = geopandas.read_file(path)
    except Exception as error:  # pyogrio's errors share no base class with what it wraps
        raise InputError(f"{path}: cannot be read as polygons ({str(error).splitlines()[0]})") from error
    if frame.crs is None:
        raise InputError(f"{path}: holds no CRS; its .prj file is missing")
    return frame.to_crs(crs).union_all()


def tile_area(source: Mapping[str, Any], *, folder: Path, crs: str) -> shapely.Geometry | None:
    """Give the area in which tiles may lie: within the buffered grounding line; None for anywhere.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> frame = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1000, 500)], crs="EPSG:3031")
    >>> frame.to_file(home / "grounded.geojson")
    >>> source = {"grounding_line": {"path": "grounded.geojson", "buffer_m": 200}}
    >>> tile_area(source, folder=home, crs="EPSG:3031").bounds
    (-200.0, -200.0, 1200.0, 700.0)
    """
    entry = source.get("grounding_line")
    if not entry:
        return None
    return read_grounded_area(folder / entry["path"], crs=crs).buffer(float(entry.get("buffer_m", 0)))


def open_targets(case: Case) -> dict[str, xr.DataArray]:
    """Open the gridded surveys of a prepared folder.

    >>> import tempfile
    >>> from fieldwise.samples.examples import make_prepared
    >>> home, grid = Path(tempfile.mkdtemp()), Grid(0, 0, 4000, 4000, 250, "EPSG:3413")
    >>> _ = write_cog(make_field(np.zeros(grid.shape), grid, name="bed"), home / "surveys" / "2010tr.tif")
    >>> paths = {"2010tr": "surveys/2010tr.tif"}
    >>> targets = open_targets(make_prepared({}, shape=(16, 16), folder=home, targets=paths).cases()[0])
    >>> {name: field.shape for name, field in targets.items()}
    {'2010tr': (16, 16)}
    """
    return {name: open_field(case.folder / path) for name, path in case.facts["targets"].items()}
