"""Sets of figures: each with its caption and what it needs, and the places on a map that they look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds, grid_of, load_values, overlap
from fieldwise.figures.panels import save_figure, thin

if TYPE_CHECKING:
    import pygmt
    from matplotlib.figure import Figure

SCREEN_SHARE = 0.45  # of the pixels of print: a page of 17 cm is 900 wide
VIEW_SHARE = 0.4  # edge of a view, as a share of the map's shorter one


@dataclass(frozen=True)
class Plate:
    """One figure of a set: what it shows, how it is drawn of some material, and what it cannot do without."""

    caption: str
    draw: Callable[[Any], Figure | pygmt.Figure]
    needs: str = ""
    can_be_drawn: Callable[[Any], bool] = lambda material: True


@dataclass(frozen=True)
class Printed:
    """A figure in its files, or why there is none; Jupyter shows it."""

    name: str
    caption: str
    png: Path | None = None
    pdf: Path | None = None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """Give Jupyter the picture, half as large again as in print."""
        if self.png is None:
            return {"text/plain": self.caption}
        picture = self.png.read_bytes()
        width = int.from_bytes(picture[16:20], "big")  # in pixels, from the header of a PNG
        metadata = {"image/png": {"width": round(width * SCREEN_SHARE)}}
        return {"image/png": picture, "text/plain": str(self.png)}, metadata


def print_plate(plates: Mapping[str, Plate], name: str, material: Any, folder: str | Path) -> Printed:
    """Draw one figure of a set and save it as PDF and PNG; say so where the material does not allow it.

    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> plates = {"empty": Plate("Nothing.", lambda material: Figure(), "radar", lambda material: material)}
    >>> print_plate(plates, "empty", True, tempfile.mkdtemp()).caption
    'Nothing.'
    >>> print_plate(plates, "empty", False, "figures")
    Printed(name='empty', caption='empty: not drawn; it needs radar', png=None, pdf=None)
    """
    plate = plates[name]
    if not plate.can_be_drawn(material):
        return Printed(name, f"{name}: not drawn; it needs {plate.needs}")
    try:
        figure = plate.draw(material)
    except InputError as error:  # such as radar that lies elsewhere than the region that is looked at
        return Printed(name, f"{name}: not drawn; {error}")
    pdf, png = save_figure(figure, Path(folder) / name)
    return Printed(name, plate.caption, png, pdf)


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
    view = choose_boxes(thinned, count=1, share=VIEW_SHARE)
    middle = centre or ((whole[0] + whole[2]) / 2, (whole[1] + whole[3]) / 2)
    region = frame_place(whole, middle, width=width)
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


def frame_place(whole: Bounds, centre: tuple[float, ...], *, width: float) -> Bounds:
    """Give a box of a width around a place, moved so that it lies within the whole, or the whole.

    >>> frame_place((0, 0, 900, 300), (800, 100), width=400)
    (500, 0, 900, 300)
    """
    if max(whole[2] - whole[0], whole[3] - whole[1]) <= width:
        return whole
    edges = []
    for middle, low, high in zip(centre, whole[:2], whole[2:]):
        size = min(width, high - low)
        first = min(max(middle - size / 2, low), high - size)
        edges.append((first, first + size))
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]
