"""Fields as landscapes, seen obliquely."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xarray as xr

from fieldwise.errors import InputError
from fieldwise.figures.gmt import (
    MARGIN_CM,
    STYLE,
    draw_colour_bar,
    in_km,
    lighting,
    set_colours,
    styled_figure,
    typeset,
)
from fieldwise.figures.panels import (
    METRES_A_KM,
    PAGE_CM,
    check_same_grid,
    common_limits,
    elevation_limits,
    letter,
    quantity,
    region_km,
    thin,
    unit_text,
)

if TYPE_CHECKING:
    import pygmt

AZIMUTH, ELEVATION = 202.5, 60.0  # of the eye, degrees: the view of Leong & Horgan (2020)
AXES_CM = 1.65  # beside a landscape, for annotations; above and below it, for these, a colour bar and a title
BAR_CM = 2.4


@dataclass(frozen=True)
class Landscape:
    """Region (km and m) and sizes on the page (cm) that four views share."""

    region: list[float]
    floor: float
    ceiling: float
    exaggeration: float
    page_width: float  # of the turned and tilted box
    azimuth: float
    elevation: float

    @property
    def _turn(self) -> tuple[float, float]:
        """How much of an edge from west to east is seen across the page, and in depth."""
        return abs(math.cos(math.radians(self.azimuth))), abs(math.sin(math.radians(self.azimuth)))

    @property
    def near_sides(self) -> str:
        """The two sides that the eye is nearest to, as GMT names them: no relief hides their annotations."""
        south, west = 90 <= self.azimuth % 360 <= 270, self.azimuth % 360 >= 180
        return ("W" if west else "E") + ("S" if south else "N")

    @property
    def slenderness(self) -> float:
        """Length of the western edge over that of the southern one."""
        west, east, south, north = self.region
        return (north - south) / (east - west)

    @property
    def width(self) -> float:
        """Length of the southern edge before the view is turned."""
        across, deep = self._turn
        return self.page_width / (across + self.slenderness * deep)

    @property
    def cm_a_metre(self) -> float:
        """Vertical scale."""
        return self.exaggeration * self.width / ((self.region[1] - self.region[0]) * METRES_A_KM)

    @property
    def page_height(self) -> float:
        """Height of the turned and tilted box on the page."""
        across, deep = self._turn
        depth = self.width * (deep + self.slenderness * across)
        relief = (self.ceiling - self.floor) * self.cm_a_metre
        tilt = math.radians(self.elevation)
        return depth * math.sin(tilt) + relief * math.cos(tilt)


def draw_perspectives(
    fields: Mapping[str, xr.DataArray],
    *,
    difference: str = "difference",
    azimuth: float = AZIMUTH,
    elevation: float = ELEVATION,
    exaggeration: float = 10.0,
    colour_map: str = "oleron",
    width_cm: float = PAGE_CM,
) -> pygmt.Figure:
    """Draw four elevations of one region as landscapes: three in one scale, a difference in its own.

    Parameters
    ----------
    fields : name of the panel -> (y, x) elevation in metres; four, all on one grid
    difference : name of the one that is the difference of two others; coloured around zero
    azimuth, elevation : of the eye in degrees, clockwise from north and above the horizon
    exaggeration : of the vertical against the horizontal
    colour_map : of GMT, for the elevations
    width_cm : of the figure

    Raises
    ------
    InputError
        When there are not four fields, they are on different grids, or one holds no value.

    Examples
    --------
    >>> import numpy as np
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=9000, north=5000, spacing=250, crs="EPSG:3031")
    >>> bed = make_field(np.random.default_rng(0).normal(size=grid.shape), grid, name="bed")
    >>> figure = draw_perspectives({"prediction": bed, "cubic": bed, "difference": 0 * bed, "truth": bed})
    """
    if len(fields) != 4 or difference not in fields:
        raise InputError(f"four fields with {difference!r} are needed, not {list(fields)}; name them so")
    check_same_grid(fields)
    thinned = {name: thin(field, most_cells=300) for name, field in fields.items()}
    for name, field in thinned.items():
        if not bool(field.notnull().any()):
            raise InputError(f"{name} holds no value to draw; check that it covers the region")
    elevations = [field for name, field in thinned.items() if name != difference]
    view = Landscape(
        region_km(elevations[0]),
        min(float(field.min()) for field in elevations),
        max(float(field.max()) for field in elevations),
        exaggeration,
        (width_cm - 2 * AXES_CM) / 2,
        azimuth,
        elevation,
    )
    with styled_figure() as figure:
        for index, (name, field) in enumerate(thinned.items()):
            row, column = divmod(index, 2)
            left = MARGIN_CM + column * (view.page_width + AXES_CM)
            bottom = MARGIN_CM + (1 - row) * (view.page_height + BAR_CM)
            departs = name == difference
            compared, colours = ([field], "vik") if departs else (elevations, colour_map)
            limits = (
                common_limits(compared, symmetric=True)
                if departs
                else elevation_limits(compared, colour_map=colours)
            )
            set_colours(colours, limits)
            with figure.shift_origin(xshift=f"{left}c", yshift=f"{bottom}c"):
                shading = lighting(compared, strength=0.4)
                floor = float(field.min()) if departs else view.floor
                _draw_landscape(figure, field, view, floor=floor, shading=shading)
                _label(figure, view, letter(index, name), departs=departs, units=elevations[0])
    return figure


def _label(
    figure: pygmt.Figure, view: Landscape, heading: str, *, departs: bool, units: xr.DataArray
) -> None:
    """Write a title above a landscape, and draw its colour bar below."""
    frame = {"region": [0, 1, 0, 1], "projection": f"X{view.page_width}c/{view.page_height}c"}
    figure.text(text=typeset(heading), position="TL", font=STYLE["FONT_TITLE"], no_clip=True, **frame)
    width = view.page_width
    position = f"x{width / 2}c/-0.95c+w{0.7 * width}c/0.22c+jTC+h+e"
    label = f"Difference ({unit_text(units.attrs.get('units', 'm'))})" if departs else quantity(units)
    draw_colour_bar(figure, f"{label}, vertical × {view.exaggeration:.2g}", position=position)


def _draw_landscape(
    figure: pygmt.Figure, field: xr.DataArray, view: Landscape, *, floor: float, shading: str
) -> None:
    """Draw one view on a floor of its own, in the vertical scale of all."""
    ceiling = max(float(field.max()), floor + (view.ceiling - view.floor or 1.0))
    box = {
        "region": [*view.region, floor, ceiling],
        "projection": f"X{view.width}c/{view.width * view.slenderness}c",
        "zscale": f"{view.cm_a_metre}c",
        "perspective": [view.azimuth, view.elevation],
    }
    figure.grdview(in_km(field), surftype="i300", plane=f"{floor}+ggray80", shading=shading, **box)
    figure.basemap(frame=[view.near_sides, "xaf+lEasting (km)", "yaf+lNorthing (km)"], **box)
