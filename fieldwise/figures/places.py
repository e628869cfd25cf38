"""What figures of a large map look at: places known by name, or its roughest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

from fieldwise.fields.grids import Bounds, grid_of, load_values, overlap
from fieldwise.figures.panels import thin


@dataclass(frozen=True)
class Places:
    """Boxes (west, south, east, north) of the close-ups, of a view in perspective, and of a region.

    Close-ups are named by a letter, which a name may follow; limits are those of the colours.
    """

    closeups: dict[str, Bounds]
    view: Bounds
    region: Bounds
    limits: tuple[float, float] | None = None


def choose_places(
    field: xr.DataArray,
    *,
    known: Places | None = None,
    centre: tuple[float, ...] | None = None,
    width: float = math.inf,
) -> Places:
    """Choose what figures of a map look at: places known by name where it holds all, else its roughest.

    Parameters
    ----------
    field : (y, x) map
    known : places with names
    centre : of the region that is looked at; by default the middle of the map
    width : of that region at most; a map up to this wide is looked at as a whole

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> values = np.zeros((20, 20)); values[0, 0] = 90.0  # a peak in the north-west
    >>> field = make_field(values, Grid(0, 0, 5000, 5000, 250, "EPSG:3031"), name="bed")
    >>> choose_places(field).view, choose_places(field, width=1000).region
    ((0.0, 3000.0, 2000.0, 5000.0), (2000.0, 2000.0, 3000.0, 3000.0))
    """
    whole = grid_of(field).bounds
    if known and all(
        overlap(box, whole) == box for box in (*known.closeups.values(), known.view, known.region)
    ):
        return known
    thinned = thin(field, most_cells=2000)
    view = choose_boxes(thinned, count=1, share=0.4)
    middle = centre or ((whole[0] + whole[2]) / 2, (whole[1] + whole[3]) / 2)
    region = _frame(whole, middle, width=width)
    return Places(choose_boxes(thinned), next(iter(view.values()), whole), region)


def choose_boxes(field: xr.DataArray, *, count: int = 9, share: float = 0.16) -> dict[str, Bounds]:
    """Choose the roughest places of a map that do not overlap, named by letters.

    Parameters
    ----------
    field : (y, x); best thinned before
    count : of places, at most
    share : of the map's shorter edge that a place is wide

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> values = np.zeros((40, 40)); values[::2, 20:28] = 90.0
    >>> field = make_field(values, Grid(0, 0, 400, 400, 10, "EPSG:3031"), name="bed")
    >>> west, south, east, north = choose_boxes(field, count=1)["A"]
    >>> west < 280 and east > 200
    True
    """
    grid = grid_of(field)
    edge = max(2, round(share * min(grid.shape)))
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


def _frame(whole: Bounds, centre: tuple[float, ...], *, width: float) -> Bounds:
    """Give a box of a width around a place, moved so that it lies within the whole; or the whole."""
    if max(whole[2] - whole[0], whole[3] - whole[1]) <= width:
        return whole
    edges = []
    for middle, low, high in zip(centre, whole[:2], whole[2:]):
        size = min(width, high - low)
        first = min(max(middle - size / 2, low), high - size)
        edges.append((first, first + size))
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]
