"""The places that figures look at: those of the paper where a map shows Antarctica, else the roughest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from fieldwise.fields.grids import Bounds, grid_of, load_values
from fieldwise.figures.panels import thin
from fieldwise.samples.cases import Case

# Of Leong & Horgan (2020, https://doi.org/10.5194/tc-14-3687-2020), in EPSG:3031, metres.
PINE_ISLAND: Bounds = (-1_631_500.0, -259_000.0, -1_536_500.0, -95_000.0)
THWAITES: Bounds = (-1_550_000.0, -550_000.0, -1_250_000.0, -300_000.0)
CLOSEUP_HALF_M = 100_000.0
CLOSEUP_CENTRES = {
    "Scott Glacier": (-200_000.0, -400_000.0),
    "Whillans Ice Stream": (-400_000.0, -550_000.0),
    "Bindschadler Ice Stream": (-550_000.0, -800_000.0),
    "Evans Ice Stream": (-1_500_000.0, 350_000.0),
    "Rutford Ice Stream": (-1_300_000.0, 150_000.0),
    "Foundation Ice Stream": (-600_000.0, 350_000.0),
    "Totten Glacier": (2_250_000.0, -1_050_000.0),
    "Byrd Glacier": (400_000.0, -950_000.0),
    "Gamburtsev Mountains": (800_000.0, 200_000.0),
}
ANTARCTIC_LIMITS_M = (-2000.0, 4500.0)  # of the colours
CLOSEUP_SHARE, VIEW_SHARE = (
    0.16,
    0.4,
)  # edges of a close-up and of a view, as shares of the map's shorter edge
LARGEST_REGION_M = 400_000.0  # a map up to this wide is looked at as a whole


@dataclass(frozen=True)
class Places:
    """Boxes (west, south, east, north) of the close-ups, of the view in perspective, and of the roughness.

    Close-ups are named by a letter, which a name may follow.
    """

    closeups: dict[str, Bounds]
    view: Bounds
    region: Bounds
    limits: tuple[float, float] | None = None  # of the colours of elevations


def choose_places(case: Case, prediction: xr.DataArray, *, picks: pd.DataFrame | None) -> Places:
    """Choose what figures look at: the paper's places where the map holds all of them, else its roughest.

    Parameters
    ----------
    case
        Prepared folder.
    prediction
        (y, x) map of the bed.
    picks
        Held-out radar, if there is any: of a large map, the region around the longest flight is looked at.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.fields.grids import make_field
    >>> home = Path(tempfile.mkdtemp())
    >>> case = make_prepared({}, shape=(20, 20), folder=home).cases()[0]
    >>> values = np.zeros((20, 20)); values[0, 0] = 90.0  # a peak in the north-west
    >>> places = choose_places(case, make_field(values, case.grid, name="bed"), picks=None)
    >>> places.view, places.region
    ((0.0, 3000.0, 2000.0, 5000.0), (0.0, 0.0, 5000.0, 5000.0))
    """
    if case.grid.crs == "EPSG:3031" and case.facts.get("source") != "sandbox":
        half = CLOSEUP_HALF_M
        named = {
            f"{letter} {name}": (x - half, y - half, x + half, y + half)
            for letter, (name, (x, y)) in zip("ABCDEFGHI", CLOSEUP_CENTRES.items())
        }
        if all(_lies_in(box, grid_of(prediction).bounds) for box in (*named.values(), PINE_ISLAND, THWAITES)):
            return Places(named, PINE_ISLAND, THWAITES, ANTARCTIC_LIMITS_M)
    thinned = thin(prediction, most_cells=2000)
    view = choose_boxes(thinned, count=1, share=VIEW_SHARE)
    whole = grid_of(prediction).bounds
    return Places(choose_boxes(thinned), next(iter(view.values()), whole), _region(whole, picks))


def _lies_in(box: Bounds, outer: Bounds) -> bool:
    return box[0] >= outer[0] and box[1] >= outer[1] and box[2] <= outer[2] and box[3] <= outer[3]


def _region(whole: Bounds, picks: pd.DataFrame | None) -> Bounds:
    """Give a map as a whole, or, of a large one, the region around its longest flight or its middle."""
    west, south, east, north = whole
    if max(east - west, north - south) <= LARGEST_REGION_M:
        return whole
    x, y = (west + east) / 2, (south + north) / 2
    if picks is not None and len(picks):
        flight = longest_flight(picks)
        x, y = ((flight[name].min() + flight[name].max()) / 2 for name in "xy")
    edges = []
    for centre, low, high in ((x, west, east), (y, south, north)):
        size = min(LARGEST_REGION_M, high - low)
        first = min(max(centre - size / 2, low), high - size)
        edges.append((first, first + size))
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]


def longest_flight(picks: pd.DataFrame) -> pd.DataFrame:
    """Give the picks of the flight that reaches farthest in x or y.

    >>> picks = pd.DataFrame({"x": [0, 10, 0, 0], "y": [0, 0, 5, 25], "flight": [1, 1, 2, 2]})
    >>> longest_flight(picks)["flight"].tolist()
    [2, 2]
    """
    lengths = picks.groupby("flight")[["x", "y"]].agg(np.ptp).max(axis=1)
    return picks[picks["flight"] == lengths.idxmax()]


def choose_boxes(field: xr.DataArray, *, count: int = 9, share: float = CLOSEUP_SHARE) -> dict[str, Bounds]:
    """Choose the roughest places of a map that do not overlap, named by letters.

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
