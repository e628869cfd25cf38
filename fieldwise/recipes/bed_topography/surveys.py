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
from fieldwise.samples.datasets import Dataset
from fieldwise.samples.rules import list_entries
from fieldwise.scores.fields import sample_at_points
from fieldwise.surveys import grid_survey, read_survey, region_of
from fieldwise.surveys.gridding import MASK_CELLS

LINE_GAP_M = 2000.0  # picks farther apart than this belong to different flights
LINE_PICKS = 10  # with fewer a flight, on average, picks are in no order along lines
HELD_OUT = "held_out.nc"


def _read_picks(
    entry: Mapping[str, Any], dataset: Dataset, *, folder: Path, heights: Heights | None = None
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
    if not same_crs(crs, dataset.crs):
        raise InputError(
            f"{pipeline}: ends in {crs_label(crs)}, the data are in {crs_label(dataset.crs)}; set out_srs to "
            "that"
        )
    west, south, east, north = dataset.region
    inside = table["x"].between(west, east) & table["y"].between(south, north)
    if not inside.any():
        raise InputError(f"{pipeline}: none of its {len(table)} picks lies in the region of the other data")
    table = table[inside].reset_index(drop=True)
    if by_thickness:
        table = _hang_from_surface(table, dataset, pipeline)
    elif heights is not None:
        table = _bring_picks(table, entry, heights, pipeline)
    return table.assign(survey=pipeline.stem, flight=number_flights(table, cell=dataset.lowres_spacing_m))


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


def _hang_from_surface(table: pd.DataFrame, dataset: Dataset, pipeline: Path) -> pd.DataFrame:
    """Give the bed as the surface of the data less the ice thickness of the survey."""
    surface = sample_at_points(dataset.field("surface_elevation"), table["x"], table["y"])
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
    dataset: Dataset,
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
    >>> from fieldwise.samples.datasets import write_yaml
    >>> home = Path(tempfile.mkdtemp())
    >>> facts = {"crs": "EPSG:3413", "region": [0, 0, 4000, 4000], "spacing_m": 250, "lowres_spacing_m": 1000}
    >>> dataset = Dataset(write_yaml({**facts, "inputs": {}}, home / "dataset.yaml").parent)
    >>> _ = write_cog(make_field(np.zeros((16, 16)), dataset.grid, name="bed"), home / "radar.tif")
    >>> source = {"beds": {"glacier": {"path": "radar.tif"}}, "held_out": {"areas": [[0, 0, 500, 1000]]}}
    >>> options = {"folder": home, "heights": Heights(), "buffer_m": 1000, "seed": 7, "report": print}
    >>> entries, boxes = prepare_targets(source, dataset, **options)
    held out: 8 picks in 1 areas of 0.5 km2
    >>> entries["targets"], entries["held_out"], boxes.tolist()
    ({'glacier': 'surveys/glacier.tif'}, 'held_out.nc', [[0.0, 0.0, 500.0, 1000.0]])
    """
    surveys = {
        Path(entry["path"]).stem: _read_picks(entry, dataset, folder=folder, heights=heights)
        for entry in list_entries(source.get("surveys"))
    }
    beds = {}
    for stem, entry in source.get("beds", {}).items():
        field = open_entry(entry, folder=folder, crs=dataset.crs, heights=heights)[0]
        values = cut(field, [dataset.region], spacing=dataset.spacing_m)[0]
        beds[stem] = _bed_on(dataset.grid, values, dataset)
    if not surveys and not beds:
        raise InputError("the FILE.yaml names neither `surveys` nor `beds`; there is nothing to learn from")
    cells = [field.to_series().dropna().reset_index() for field in beds.values()]
    held_out = choose_held_out(source, [*surveys.values(), *cells], seed=seed, buffer_m=buffer_m)
    targets, judged = _write_targets(surveys, beds, held_out, dataset, report)
    flown, cells_flown = _read_held_out_surveys(source, dataset, folder=folder, heights=heights)
    _write_held_out([*judged, *flown], dataset, datum=heights.datum)
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
    dataset: Dataset,
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
        fields[stem] = _grid_on_map(picks, dataset, within=dataset.lowres_spacing_m)
        count, reach_m = int(fields[stem].notnull().sum()), MASK_CELLS * dataset.spacing_m
        report(
            f"{stem}: {len(picks)} picks, {count} cells of {dataset.spacing_m:g} m within {MASK_CELLS} cells "
            f"({reach_m / 1000:g} km) of them"
        )
    paths = {}
    for stem, field in fields.items():
        values, apart = held_out.part_bed(field, stem)
        judged += [apart] if stem in beds else []
        paths[stem] = f"surveys/{stem}.tif"
        write_cog(field.copy(data=values), dataset.folder / paths[stem])
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


def _bed_on(grid: Grid, values: np.ndarray, dataset: Dataset) -> xr.DataArray:
    datum = dataset.description.get(DATUM)
    return make_field(values, grid, name="bed", long_name="gridded picks", vertical_datum=datum)


def _read_held_out_surveys(
    source: Mapping[str, Any], dataset: Dataset, *, folder: Path, heights: Heights
) -> tuple[list[pd.DataFrame], np.ndarray]:
    """Read the surveys that are held out as a whole, and list the low-res cells with a pick of theirs."""
    held_out = source.get("held_out") or {}
    entries = list_entries(held_out.get("surveys"))
    tables = [_read_picks(entry, dataset, folder=folder, heights=heights) for entry in entries]
    cell = dataset.lowres_spacing_m
    boxes = [np.empty((0, 4))]
    for table in tables if held_out.get("keep_training_away", True) else []:
        corners = np.unique(np.floor(table[["x", "y"]].to_numpy() / cell), axis=0) * cell
        boxes.append(np.hstack([corners, corners + cell]))
    return tables, np.concatenate(boxes)


def _write_held_out(tables: list[pd.DataFrame], dataset: Dataset, *, datum: str | None) -> None:
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
    write_netcdf(xr.Dataset(variables, attrs={"crs": dataset.crs}), dataset.folder / HELD_OUT)


def read_held_out(dataset: Dataset) -> pd.DataFrame:
    """Read the picks kept aside: x, y, z in metres, flight and survey.

    >>> import tempfile
    >>> from fieldwise.samples.datasets import write_yaml
    >>> home = Path(tempfile.mkdtemp())
    >>> picks = {"x": [10.0, 20.0], "y": [0.0, 0.0], "z": [-90.0, -80.0], "flight": [0, 0]}
    >>> columns = {name: ("pick", values) for name, values in picks.items()}
    >>> _ = write_netcdf(xr.Dataset(columns | {"survey": ("pick", ["2010tr"] * 2)}), home / "held_out.nc")
    >>> facts = {"crs": "EPSG:3413", "region": [0, 0, 4000, 4000], "spacing_m": 250, "lowres_spacing_m": 1000}
    >>> facts |= {"inputs": {}, "held_out": "held_out.nc"}
    >>> read_held_out(Dataset(write_yaml(facts, home / "dataset.yaml").parent))["z"].tolist()
    [-90.0, -80.0]
    """
    name = dataset.description.get("held_out")
    if not name:
        raise InputError(
            f"{dataset.folder}: nothing is held out; name surveys, areas or blocks under `held_out` in the "
            "FILE.yaml"
        )
    with xr.open_dataset(dataset.folder / name, engine="h5netcdf") as opened:
        return opened.to_dataframe().reset_index(drop=True)


def grid_held_out(picks: pd.DataFrame, dataset: Dataset, *, around: bool = False) -> xr.DataArray:
    """Grid held-out picks over the whole region, or over the box around them; missing away from them.

    >>> import tempfile
    >>> from fieldwise.samples.datasets import write_yaml
    >>> home = Path(tempfile.mkdtemp())
    >>> facts = {"crs": "EPSG:3413", "region": [0, 0, 8000, 8000], "spacing_m": 250, "lowres_spacing_m": 1000}
    >>> dataset = Dataset(write_yaml({**facts, "inputs": {}}, home / "dataset.yaml").parent)
    >>> picks = pd.DataFrame({"x": np.arange(4125.0, 5000, 250), "y": 4125.0, "z": -90.0})
    >>> field = grid_held_out(picks, dataset)
    >>> field.shape, float(field.max()), bool(field[0, 0].isnull())  # the corner is far away from the picks
    ((32, 32), -90.0, True)
    >>> grid_of(grid_held_out(picks, dataset, around=True)).bounds
    (4000.0, 4000.0, 5000.0, 5000.0)
    """
    return _grid_on_map(picks, dataset, within=dataset.lowres_spacing_m if around else None)


def _grid_on_map(picks: pd.DataFrame, dataset: Dataset, *, within: float | None = None) -> xr.DataArray:
    """Grid picks on the cells of the map, wherever its corner lies: on all, or on the cells around the picks.

    Parameters
    ----------
    within
        The box around the picks is rounded outward to whole steps of this width from the corner.
    """
    west, south, east, north = dataset.region
    moved = picks.assign(x=picks["x"] - west, y=picks["y"] - south)
    region = (0.0, 0.0, east - west, north - south)
    if within:
        around = Grid.around(region_of(moved, spacing=dataset.spacing_m), within, dataset.crs).bounds
        region = overlap(around, region) or region
    field = grid_survey(moved, region=region, spacing=dataset.spacing_m, crs=dataset.crs)
    left, bottom, right, top = grid_of(field).bounds
    grid = Grid(left + west, bottom + south, right + west, top + south, dataset.spacing_m, dataset.crs)
    return _bed_on(grid, load_values(field), dataset)


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


def open_targets(dataset: Dataset) -> dict[str, xr.DataArray]:
    """Open the gridded surveys of a prepared folder.

    >>> import tempfile
    >>> from fieldwise.samples.datasets import write_yaml
    >>> home, grid = Path(tempfile.mkdtemp()), Grid(0, 0, 4000, 4000, 250, "EPSG:3413")
    >>> _ = write_cog(make_field(np.zeros(grid.shape), grid, name="bed"), home / "surveys" / "2010tr.tif")
    >>> facts = {"crs": "EPSG:3413", "region": [0, 0, 4000, 4000], "spacing_m": 250, "lowres_spacing_m": 1000}
    >>> facts |= {"inputs": {}, "targets": {"2010tr": "surveys/2010tr.tif"}}
    >>> targets = open_targets(Dataset(write_yaml(facts, home / "dataset.yaml").parent))
    >>> {name: field.shape for name, field in targets.items()}
    {'2010tr': (16, 16)}
    """
    return {name: open_field(dataset.folder / path) for name, path in dataset.description["targets"].items()}
