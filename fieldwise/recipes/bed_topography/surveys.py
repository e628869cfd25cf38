"""What radar knows of the bed: surveys gridded to learn from, picks kept aside to judge on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyproj
import shapely
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.datums import parse_datum
from fieldwise.fields.entries import open_entry
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, crs_name, grid_of, load_values, make_field, overlap
from fieldwise.fields.heights import Heights
from fieldwise.fields.rasters import write_cog, write_netcdf
from fieldwise.fields.tiles import cut
from fieldwise.recipes.bed_topography.own_files import list_entries
from fieldwise.recipes.bed_topography.region import lowres_spacing
from fieldwise.samples.cases import Case
from fieldwise.scores import sample_at_points
from fieldwise.surveys import grid_survey, read_survey, region_of

LINE_GAP_M = 2000.0  # picks farther apart than this belong to different flights


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
    if pyproj.CRS(crs) != pyproj.CRS(case.grid.crs):
        raise InputError(f"{pipeline}: ends in {crs}, the data are in {case.grid.crs}; set out_srs to that")
    west, south, east, north = case.grid.bounds
    inside = table["x"].between(west, east) & table["y"].between(south, north)
    if not inside.any():
        raise InputError(f"{pipeline}: none of its {len(table)} picks lies in the region of the other data")
    table = table[inside].reset_index(drop=True)
    if by_thickness:
        table = _hang_from_surface(table, case, pipeline)
    elif heights is not None:
        table = _bring_picks(table, entry, heights, pipeline)
    jump = np.hypot(np.diff(table["x"]), np.diff(table["y"])) > LINE_GAP_M
    return table.assign(survey=pipeline.stem, flight=np.concatenate([[0], np.cumsum(jump)]))


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


def grid_targets(
    source: Mapping[str, Any], case: Case, *, folder: Path, heights: Heights, report: Any
) -> dict[str, str]:
    """Make a grid of the bed from each survey, and from each finished grid, of a FILE.yaml.

    Surveys are gridded on whole low-res cells, so that tiles start on them.

    Returns
    -------
    dict
        Name to the path of its grid in the prepared folder.

    >>> import tempfile
    >>> from fieldwise.samples.examples import make_prepared
    >>> home = Path(tempfile.mkdtemp())
    >>> case = make_prepared({}, shape=(16, 16), folder=home).cases()[0]
    >>> _ = write_cog(make_field(np.zeros((16, 16)), case.grid, name="bed"), home / "radar.tif")
    >>> source = {"beds": {"glacier": {"path": "radar.tif"}}}
    >>> grid_targets(source, case, folder=home, heights=Heights(), report=print)
    {'glacier': 'surveys/glacier.tif'}
    """
    paths = {}
    for survey in list_entries(source.get("surveys")):
        picks = _read_picks(survey, case, folder=folder, heights=heights)
        field = _grid_on_map(picks, case, within=lowres_spacing(case))
        stem = Path(survey["path"]).stem
        paths[stem] = f"surveys/{stem}.tif"
        write_cog(field, case.folder / paths[stem])
        report(f"{stem}: {len(picks)} picks, {int(field.notnull().sum())} cells of {case.spacing:g} m")
    for stem, entry in source.get("beds", {}).items():
        field = open_entry(entry, folder=folder, crs=case.grid.crs, heights=heights)[0]
        values = cut(field, [case.grid.bounds], spacing=case.spacing)[0]
        paths[stem] = f"surveys/{stem}.tif"
        bed = make_field(values, case.grid, name="bed", vertical_datum=case.facts.get(DATUM))
        write_cog(bed, case.folder / paths[stem])
    if not paths:
        raise InputError("the FILE.yaml names neither `surveys` nor `beds`; there is nothing to learn from")
    return paths


def keep_aside(
    source: Mapping[str, Any], case: Case, *, folder: Path, heights: Heights
) -> tuple[str | None, np.ndarray]:
    """Save the picks that are held out for judging, and tell the areas that training must keep away from.

    Returns
    -------
    tuple
        Path of the picks in the prepared folder (None where no survey is held out), and
        (m, 4) boxes: every low-res cell with a held-out pick, and the areas that are named.

    >>> import json
    >>> import tempfile
    >>> from fieldwise.samples.examples import make_prepared
    >>> home = Path(tempfile.mkdtemp())
    >>> case = make_prepared({}, shape=(16, 16), folder=home).cases()[0]
    >>> _ = (home / "flight.csv").write_text("X,Y,Z\\n2100,1500,-90\\n2900,1500,-80\\n")
    >>> reader = {"type": "readers.text", "filename": "flight.csv", "separator": ",", "skip": 1,
    ...           "header": "X,Y,Z"}
    >>> projection = {"type": "filters.reprojection", "in_srs": "EPSG:3413", "out_srs": "EPSG:3413"}
    >>> _ = (home / "flight.json").write_text(json.dumps({"pipeline": [reader, projection]}))
    >>> source = {"held_out": {"surveys": ["flight.json"]}}
    >>> path, areas = keep_aside(source, case, folder=home, heights=Heights())
    >>> path, areas.tolist()  # both picks lie in one low-res cell
    ('held_out.nc', [[2000.0, 1000.0, 3000.0, 2000.0]])
    """
    held_out = source.get("held_out") or {}
    areas = [read_areas(source)]
    entries = list_entries(held_out.get("surveys"))
    if not entries:
        return None, areas[0]
    tables = [_read_picks(entry, case, folder=folder, heights=heights) for entry in entries]
    first = 0
    for table in tables:
        table["flight"] += first
        first = int(table["flight"].max()) + 1
    picks = pd.concat(tables, ignore_index=True)
    cell = lowres_spacing(case)
    for table in tables if held_out.get("keep_training_away", True) else []:
        corners = np.unique(np.floor(table[["x", "y"]].to_numpy() / cell), axis=0) * cell
        areas.append(np.hstack([corners, corners + cell]))
    path = "held_out.nc"
    columns = {"x": picks["x"], "y": picks["y"], "z": picks["z"], "flight": picks["flight"].astype("int32")}
    variables = {name: ("pick", values.to_numpy()) for name, values in columns.items()}
    for name in "xyz":
        variables[name] += ({"units": "m"},)  # type: ignore[assignment]
    if heights.datum:
        variables["z"][-1][DATUM] = heights.datum
    survey = {"survey": ("pick", picks["survey"].to_numpy(dtype=str))}
    write_netcdf(xr.Dataset(variables | survey, attrs={"crs": case.grid.crs}), case.folder / path)
    return path, np.concatenate(areas)


def read_areas(source: Mapping[str, Any]) -> np.ndarray:
    """Read the areas that a FILE.yaml holds out: (m, 4) west, south, east, north.

    >>> read_areas({"held_out": {"areas": [[0, 0, 9000, 4500]]}}).tolist()
    [[0.0, 0.0, 9000.0, 4500.0]]
    """
    named = (source.get("held_out") or {}).get("areas") or []
    wrong = InputError(f"held_out areas: {named!r} should be a list of [west, south, east, north]")
    try:
        areas = np.array(named, dtype=float).reshape(len(named), 4)
    except (TypeError, ValueError) as error:
        raise wrong from error
    if (areas[:, :2] >= areas[:, 2:]).any():
        raise wrong
    return areas


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
        raise InputError(f"{case.folder}: no survey is held out; name some under `held_out` in the FILE.yaml")
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
    datum = case.facts.get(DATUM)
    return make_field(load_values(field), grid, name="bed", long_name="gridded picks", vertical_datum=datum)


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
    >>> targets = {"2010tr": "surveys/2010tr.tif"}
    >>> targets = open_targets(make_prepared({}, shape=(16, 16), folder=home, targets=targets).cases()[0])
    >>> {name: field.shape for name, field in targets.items()}
    {'2010tr': (16, 16)}
    """
    return {name: open_field(case.folder / path) for name, path in case.facts["targets"].items()}
