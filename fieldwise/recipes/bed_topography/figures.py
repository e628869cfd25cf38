"""The figures of a judged map of the bed."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pygmt
import xarray as xr

from fieldwise import figures
from fieldwise.datasets import Dataset
from fieldwise.errors import InputError
from fieldwise.grids import Bounds, grid_of, load_values, make_field, open_field, replace_when_done
from fieldwise.recipes.bed_topography.judgement import baselines
from fieldwise.recipes.bed_topography.regional import DERIVED
from fieldwise.recipes.bed_topography.surveys import grid_held_out, read_held_out
from fieldwise.scores import roughness, roughness_along_track, sample_at_points
from fieldwise.tiles import cut

CAPTIONS = {
    "inputs": "What the network is given: the coarse bed, the surface, the flow of the ice, the snowfall.",
    "bed_map": "The bed as drawn, with the tiles learnt from and the places that the next figures look at.",
    "closeups": "Close-ups, lit from the north-west.",
    "perspectives": "One place in perspective: as drawn, as interpolated, their difference, and the truth.",
    "roughness": "Roughness, the standard deviation in 5 x 5 cells: as drawn, as interpolated, and in truth.",
    "flight": "Bed and its roughness along the longest held-out flight.",
    "error_histogram": "Errors at held-out radar picks.",
}
TITLES = {"bed_lowres": "low-res bed"}
CLOSEUP_SHARE = 0.16  # edge of a close-up, as a share of the map's shorter edge


def save_figures(dataset: Dataset, path: Path, folder: Path) -> list[Path]:
    """Draw every figure that the data allow, as PNG; those of radar or truth need radar or truth.

    Returns
    -------
    list
        Paths of the figures, in the order of :data:`CAPTIONS`.
    """
    prediction = open_field(path).rename("bed").load()
    prediction.attrs = {"units": "m", "long_name": "bed elevation"}
    cubic = baselines(dataset, prediction, spline=False)["cubic"]
    truth = _find_truth(dataset, prediction)
    drawn = {
        "inputs": draw_inputs(dataset),
        "bed_map": _draw_map(dataset, prediction),
        "closeups": figures.draw_closeups(prediction, choose_boxes(prediction)),
    }
    if truth is not None:
        drawn["perspectives"] = _draw_perspectives(prediction, cubic, truth)
        drawn["roughness"] = _draw_roughness(prediction, cubic, truth)
    if dataset.description.get("held_out"):
        picks = read_held_out(dataset)
        drawn["flight"] = _draw_flight(prediction, cubic, picks)
        errors = {
            name: sample_at_points(field, picks["x"], picks["y"]) - picks["z"].to_numpy()
            for name, field in (("prediction", prediction), ("cubic", cubic))
        }
        drawn["error_histogram"] = figures.draw_error_histogram(errors)
    folder.mkdir(parents=True, exist_ok=True)
    return [_save(figure, folder / f"{name}.png") for name, figure in drawn.items() if figure is not None]


def _save(figure: pygmt.Figure, path: Path) -> Path:
    with replace_when_done(path) as partial:
        figure.savefig(partial, dpi=200)
    return path


def choose_boxes(field: xr.DataArray, *, count: int = 9) -> dict[str, Bounds]:
    """Choose the roughest places of a map that do not overlap, named by letters.

    >>> from fieldwise.grids import Grid
    >>> values = np.zeros((40, 40)); values[::2, 20:28] = 90.0
    >>> field = make_field(values, Grid(0, 0, 400, 400, 10, "EPSG:3031"), name="bed")
    >>> west, south, east, north = choose_boxes(field, count=1)["A"]
    >>> west < 280 and east > 200
    True
    """
    grid = grid_of(field)
    edge = max(2, round(CLOSEUP_SHARE * min(grid.shape)))
    rows, columns = (size // edge for size in grid.shape)
    values = load_values(field)[: rows * edge, : columns * edge].reshape(rows, edge, columns, edge)
    with np.errstate(all="ignore"):
        spread = np.nan_to_num(values.std(axis=(1, 3)), nan=-1.0)
    boxes: dict[str, Bounds] = {}
    for index in np.argsort(-spread, axis=None)[:count]:
        row, column = np.unravel_index(index, spread.shape)
        if spread[row, column] < 0:
            continue
        west = grid.west + int(column) * edge * grid.spacing
        north = grid.north - int(row) * edge * grid.spacing
        boxes[chr(ord("A") + len(boxes))] = (
            west,
            north - edge * grid.spacing,
            west + edge * grid.spacing,
            north,
        )
    return boxes


def _find_truth(dataset: Dataset, like: xr.DataArray) -> xr.DataArray | None:
    """Give the known truth on the grid of a map, or the gridded held-out radar, or nothing."""
    grid = grid_of(like)
    if dataset.description.get("truth"):
        field = dataset.open("truth")
    elif dataset.description.get("held_out"):
        field = grid_held_out(read_held_out(dataset), dataset)
    else:
        return None
    return make_field(cut(field, [grid.bounds], spacing=grid.spacing)[0], grid, name="bed", long_name="truth")


def draw_inputs(dataset: Dataset) -> pygmt.Figure:
    """Draw what a prepared folder gives to the network; of vectors, the length."""
    fields = {}
    for name, entry in dataset.inputs.items():
        if name not in DERIVED and len(entry.paths) == 1:
            title = TITLES.get(name, name)
            words = title.replace("_", " ")
            fields[title] = dataset.field(name).rename(name).assign_attrs(units=entry.units, long_name=words)
    if "ice_velocity" in dataset.inputs:
        speed = np.hypot(*(load_values(dataset.field("ice_velocity", channel)) for channel in (0, 1)))
        grid = grid_of(dataset.field("ice_velocity"))
        fields["ice_speed"] = make_field(np.maximum(speed, 0.1), grid, name="ice_speed", units="m a-1")
    return figures.draw_inputs(fields, logarithmic=["ice_speed"] if "ice_speed" in fields else [])


def _draw_map(dataset: Dataset, prediction: xr.DataArray) -> pygmt.Figure:
    file = next(iter(sorted(dataset.folder.glob(f"tiles_{dataset.crs.split(':')[-1]}.geojson"))), None)
    line = dataset.description.get("grounding_line")
    return figures.draw_map(
        prediction,
        tiles=geopandas.read_file(file) if file else None,
        tiles_label="training and validation tiles",
        boxes=choose_boxes(prediction),
        outline=geopandas.read_file(dataset.folder / line) if line else None,
        outline_label="grounding line",
    )


def _window(field: xr.DataArray, bounds: Bounds) -> xr.DataArray:
    west, south, east, north = bounds
    return field.sel(x=slice(west, east), y=slice(north, south))


def _draw_perspectives(
    prediction: xr.DataArray, cubic: xr.DataArray, truth: xr.DataArray
) -> pygmt.Figure | None:
    """Draw the roughest place of which the truth is known."""
    boxes = choose_boxes(truth, count=1)
    if not boxes:
        return None
    part = {
        name: _window(field, boxes["A"])
        for name, field in (("prediction", prediction), ("cubic", cubic), ("truth", truth))
    }
    relief = float(part["truth"].max() - part["truth"].min())
    west, _, east, _ = boxes["A"]
    difference = (part["prediction"] - part["cubic"].values).assign_attrs(units="m")
    return figures.draw_perspectives(
        {
            "prediction": part["prediction"],
            "cubic": part["cubic"],
            "difference": difference,
            "truth": part["truth"],
        },
        exaggeration=min(10.0, (east - west) / 2 / max(relief, 1.0)),  # no taller than half as wide
    )


def _draw_roughness(prediction: xr.DataArray, cubic: xr.DataArray, truth: xr.DataArray) -> pygmt.Figure:
    fields = {"prediction": prediction, "cubic": cubic, "truth": truth}
    return figures.draw_roughness({name: roughness(field) for name, field in fields.items()})


def _draw_flight(prediction: xr.DataArray, cubic: xr.DataArray, picks: pd.DataFrame) -> pygmt.Figure | None:
    """Draw the longest held-out flight that the map covers."""
    covered = picks[np.isfinite(sample_at_points(prediction, picks["x"], picks["y"]))]
    if covered.empty:
        raise InputError("the map covers no held-out pick; no flight to draw")
    lengths = covered.groupby("flight")[["x", "y"]].agg(np.ptp).max(axis=1)
    flight = covered[covered["flight"] == lengths.idxmax()]
    step = np.hypot(flight["x"].diff(), flight["y"].diff()).fillna(0)
    # Even steps of a cell, so that roughness along the track means the same for radar and map.
    distance = step.cumsum().to_numpy()
    even = np.arange(0, distance[-1], grid_of(prediction).spacing)
    x, y, z = (np.interp(even, distance, flight[name]) for name in "xyz")
    profiles = {
        "radar": z,
        "prediction": sample_at_points(prediction, x, y),
        "cubic": sample_at_points(cubic, x, y),
    }
    rough = {name: roughness_along_track(values) for name, values in profiles.items()}
    if np.median(step[1:]) > 2 * grid_of(prediction).spacing:
        del rough["radar"]  # picks thinned to wide steps tell nothing of roughness
    return figures.draw_flight(even / 1000, profiles, roughness=rough)
