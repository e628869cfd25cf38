"""Picks by flights: read inside a region, numbered, kept in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.datums import parse_datum
from fieldwise.fields.grids import Grid, crs_label, crs_name, same_crs
from fieldwise.fields.heights import Heights
from fieldwise.fields.rasters import write_netcdf
from fieldwise.fields.resampling import sample_at_points
from fieldwise.surveys.picks import read_survey

LINE_GAP_M = 2000.0  # picks farther apart than this belong to different flights
LINE_PICKS = 10  # with fewer a flight, on average, picks are in no order along lines


def read_flights(
    entry: Mapping[str, Any],
    grid: Grid,
    *,
    folder: Path,
    cell: float,
    heights: Heights | None = None,
    surface: xr.DataArray | None = None,
) -> pd.DataFrame:
    """Read the picks of one survey that lie inside a region, numbered by flight.

    Parameters
    ----------
    entry
        ``path`` of the pipeline; ``datum`` that its heights count from; ``bed_from: thickness`` where heights
        are to be the surface less the survey's ice thickness, so that a bed below a surface of another year,
        or of another datum, is not mixed with the data's.
    grid
        Of the region; its CRS is that in which the pipeline must end.
    folder
        Folder that relative paths start from.
    cell
        As of :func:`number_flights`.
    heights
        The vertical datum to bring heights to.
    surface
        What thickness hangs from.

    Returns
    -------
    pandas.DataFrame
        x, y, z in metres, ``survey``, and ``flight``, counted from 0 along the file.

    >>> import json, tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> _ = (home / "2010tr.csv").write_text("100,100,-90\\n9000,100,-80\\n")
    >>> steps = [{"type": "readers.text", "filename": "2010tr.csv", "header": "X,Y,Z"}]
    >>> steps += [{"type": "filters.reprojection", "in_srs": "EPSG:3031", "out_srs": "EPSG:3031"}]
    >>> _ = (home / "2010tr.json").write_text(json.dumps({"pipeline": steps}))
    >>> region = Grid(0, 0, 4000, 4000, 250, "EPSG:3031")
    >>> read_flights({"path": "2010tr.json"}, region, folder=home, cell=1000)["z"].tolist()
    [-90.0]
    """
    pipeline = folder / entry["path"]
    by_thickness = entry.get("bed_from") == "thickness"
    table = read_survey(pipeline, measured="thickness" if by_thickness else "z")
    crs = crs_name(table.attrs["crs"])
    if not same_crs(crs, grid.crs):
        there, here = crs_label(crs), crs_label(grid.crs)
        raise InputError(f"{pipeline}: ends in {there}, the data are in {here}; set out_srs to that")
    west, south, east, north = grid.bounds
    inside = table["x"].between(west, east) & table["y"].between(south, north)
    if not inside.any():
        raise InputError(f"{pipeline}: none of its {len(table)} picks lies in the region of the other data")
    table = table[inside].reset_index(drop=True)
    if by_thickness and surface is not None:
        table = _hang(table, surface, pipeline)
    elif heights is not None:
        table = _bring(table, entry, heights, pipeline)
    return table.assign(survey=pipeline.stem, flight=number_flights(table, cell=cell))


def _hang(table: pd.DataFrame, surface: xr.DataArray, pipeline: Path) -> pd.DataFrame:
    """Give the bed as the surface of the data less the ice thickness of the survey."""
    top = sample_at_points(surface, table["x"], table["y"])
    table = table.assign(z=top - table["thickness"]).drop(columns="thickness")
    table = table[table["z"].notna()].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{pipeline}: the surface elevation is missing under all of its picks")
    return table


def _bring(table: pd.DataFrame, entry: Mapping[str, Any], heights: Heights, pipeline: Path) -> pd.DataFrame:
    """Bring the heights of picks to the vertical datum of the data."""
    for sign, geoid in heights.offsets(parse_datum(entry["datum"]) if "datum" in entry else None):
        table = table.assign(z=table["z"] + sign * sample_at_points(geoid, table["x"], table["y"]))
        if table["z"].isna().any():
            name = geoid.encoding.get("source", geoid.name)
            raise InputError(f"{name}: does not cover the picks of {pipeline}; give a wider geoid")
    return table


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
    flight = np.concatenate([[0], np.cumsum(steps_of(picks) > LINE_GAP_M)])
    return flight if follow_lines(picks, cell=cell) else np.zeros_like(flight)


def follow_lines(picks: pd.DataFrame, *, cell: float) -> bool:
    """Tell whether picks come in an order along lines: by their median nearer than a cell to the next.

    >>> line = pd.DataFrame({"x": range(0, 3000, 100), "y": 0})
    >>> follow_lines(line, cell=1000), follow_lines(line.sample(frac=1, random_state=1), cell=1000)
    (True, False)
    """
    steps = steps_of(picks)
    lines = 1 + np.count_nonzero(steps > LINE_GAP_M)
    return bool(len(picks) >= LINE_PICKS * lines and np.median(steps) < cell)


def steps_of(picks: pd.DataFrame) -> np.ndarray:
    """Give the distance from each pick to the next, (n - 1,).

    >>> steps_of(pd.DataFrame({"x": [0.0, 300.0], "y": [0.0, 400.0]})).tolist()
    [500.0]
    """
    return np.hypot(np.diff(picks["x"]), np.diff(picks["y"]))


def longest_flight(picks: pd.DataFrame) -> pd.DataFrame:
    """Give the picks of the flight that reaches farthest in x or y.

    >>> picks = pd.DataFrame({"x": [0, 10, 0, 0], "y": [0, 0, 5, 25], "flight": [1, 1, 2, 2]})
    >>> longest_flight(picks)["flight"].tolist()
    [2, 2]
    """
    lengths = picks.groupby("flight")[["x", "y"]].agg(np.ptp).max(axis=1)
    return picks[picks["flight"] == lengths.idxmax()]


def find_line(picks: pd.DataFrame, *, width: float) -> pd.DataFrame:
    """Find the straight line of a width that meets most data, for picks that come in no order along lines.

    Lines in every direction are tried, 3 degrees apart; they are compared by how many pieces, as long as they
    are wide, hold a pick.

    Parameters
    ----------
    picks
        x and y of each.
    width
        Of the line, in metres.

    Returns
    -------
    pandas.DataFrame
        The picks of that line, in their order along it.

    >>> picks = pd.DataFrame({"x": [0.0, 900.0, 300.0, 600.0], "y": [0.0, 0.0, 700.0, 0.0]})
    >>> find_line(picks, width=300)["x"].tolist()
    [0.0, 600.0, 900.0]
    """
    places, best, most = picks[["x", "y"]].to_numpy() - picks[["x", "y"]].min().to_numpy(), picks, 0
    for angle in np.deg2rad(np.arange(0, 180, 3)):
        east, north = np.cos(angle), np.sin(angle)
        along, aside = places @ (east, north), places @ (-north, east)
        strip = np.floor(aside / width + 0.5)
        pieces = np.unique(np.stack([strip, np.floor(along / width)]), axis=1)
        strips, counts = np.unique(pieces[0], return_counts=True)
        if counts.max() > most:
            most, chosen = counts.max(), strip == strips[counts.argmax()]
            best = picks[chosen].iloc[np.argsort(along[chosen])]
    return best


def write_flights(tables: list[pd.DataFrame], path: Path, *, crs: str, datum: str | None = None) -> Path:
    """Write picks of several surveys into one NetCDF file, flights numbered through.

    >>> import tempfile
    >>> picks = pd.DataFrame({"x": [10.0], "y": 0.0, "z": -90.0, "flight": 0, "survey": "2010tr"})
    >>> write_flights([picks], Path(tempfile.mkdtemp()) / "picks.nc", crs="EPSG:3031").name
    'picks.nc'
    """
    numbered, first = [], 0
    for table in tables:
        numbered.append(table.assign(flight=table["flight"] + first))
        first = int(numbered[-1]["flight"].max()) + 1
    picks = pd.concat(numbered, ignore_index=True)
    attributes = {"units": "m"} | ({DATUM: datum} if datum else {})
    variables: dict[str, Any] = {
        name: ("pick", picks[name].to_numpy(), {"units": "m"} if name in "xy" else attributes)
        for name in "xyz"
    }
    variables["flight"] = ("pick", picks["flight"].to_numpy(dtype=np.int32))
    variables["survey"] = ("pick", picks["survey"].to_numpy(dtype=str))
    return write_netcdf(xr.Dataset(variables, attrs={"crs": crs}), path)


def open_flights(path: Path) -> pd.DataFrame:
    """Read what :func:`write_flights` wrote: x, y, z in metres, flight and survey.

    >>> import tempfile
    >>> picks = pd.DataFrame({"x": [10.0], "y": 0.0, "z": -90.0, "flight": 0, "survey": "2010tr"})
    >>> path = write_flights([picks, picks], Path(tempfile.mkdtemp()) / "picks.nc", crs="EPSG:3031")
    >>> open_flights(path)["flight"].tolist()
    [0, 1]
    """
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        return opened.to_dataframe().reset_index(drop=True)
