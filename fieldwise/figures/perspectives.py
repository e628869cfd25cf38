"""Fields as landscapes, seen obliquely."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pygmt
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.figures.panels import (
    MARGIN_CM,
    METRES_A_KM,
    check_same_grid,
    common_limits,
    draw_colour_bar,
    in_km,
    lighting,
    quantity,
    region_km,
    styled_figure,
    thin,
    title,
    unit_text,
)

AZIMUTH, ELEVATION = 202.5, 60.0  # of the eye, degrees: the view of Leong & Horgan (2020)
WIDTH_CM = 8.0  # of a field's southern edge
AXES_CM = 3.0  # around a landscape, for annotations; a colour bar and a title take another such width


@dataclass(frozen=True)
class Landscape:
    """Region (km and m) and sizes on the page (cm) that four views share."""

    region: list[float]
    floor: float
    ceiling: float
    exaggeration: float

    @property
    def height(self) -> float:
        """Length of the western edge before the view is tilted."""
        west, east, south, north = self.region
        return WIDTH_CM * (north - south) / (east - west)

    @property
    def cm_a_metre(self) -> float:
        """Vertical scale."""
        return self.exaggeration * WIDTH_CM / ((self.region[1] - self.region[0]) * METRES_A_KM)

    @property
    def page_size(self) -> tuple[float, float]:
        """Width and height of the tilted box on the page."""
        along, across = abs(math.cos(math.radians(AZIMUTH))), abs(math.sin(math.radians(AZIMUTH)))
        depth = WIDTH_CM * across + self.height * along
        relief = (self.ceiling - self.floor) * self.cm_a_metre
        tilt = math.radians(ELEVATION)
        return WIDTH_CM * along + self.height * across, depth * math.sin(tilt) + relief * math.cos(tilt)


def draw_perspectives(
    fields: Mapping[str, xr.DataArray],
    *,
    difference: str = "difference",
    exaggeration: float = 10.0,
    colour_map: str = "oleron",
) -> pygmt.Figure:
    """Draw four elevations of one region as landscapes: three in one scale, a difference in its own.

    Parameters
    ----------
    fields : name of the panel -> (y, x) elevation in metres; four, all on one grid
    difference : name of the one that is the difference of two others; coloured around zero
    exaggeration : of the vertical against the horizontal
    colour_map : of GMT, for the elevations

    Raises
    ------
    InputError
        When there are not four fields, they are on different grids, or one holds no value.

    Examples
    --------
    >>> import numpy as np
    >>> from fieldwise.grids import Grid, make_field
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
    )
    width, height = view.page_size
    with styled_figure() as figure:
        for index, (name, field) in enumerate(thinned.items()):
            row, column = divmod(index, 2)
            left = MARGIN_CM + column * (width + AXES_CM)
            bottom = MARGIN_CM + (1 - row) * (height + 1.2 * AXES_CM)
            departs = name == difference
            compared, colours = ([field], "vik") if departs else (elevations, colour_map)
            limits = common_limits(compared, symmetric=departs)
            pygmt.makecpt(cmap=colours, series=list(limits), background=True, overrule_bg=True)
            with figure.shift_origin(xshift=f"{left}c", yshift=f"{bottom}c"):
                shading = lighting(compared, strength=0.4)
                floor = float(field.min()) if departs else view.floor
                _draw_landscape(figure, field, view, floor=floor, shading=shading)
                figure.text(
                    text=title(name),
                    position="TC",
                    offset="0c/0.4c",
                    font="10p,Helvetica-Bold",
                    no_clip=True,
                    region=[0, 1, 0, 1],
                    projection=f"X{width}c/{height}c",
                )
                position = f"x{width / 2}c/-0.9c+w{0.6 * width}c/0.28c+jTC+h+e"
                units = unit_text(elevations[0].attrs.get("units", "m"))
                label = f"{title(name)} ({units})" if departs else quantity(field)
                draw_colour_bar(figure, label, position=position)
    return figure


def _draw_landscape(
    figure: pygmt.Figure, field: xr.DataArray, view: Landscape, *, floor: float, shading: str
) -> None:
    """Draw one view on a floor of its own, in the vertical scale of all."""
    ceiling = max(float(field.max()), floor + view.ceiling - view.floor)
    figure.grdview(
        in_km(field),
        region=[*view.region, floor, ceiling],
        projection=f"X{WIDTH_CM}c/{view.height}c",
        zscale=f"{view.cm_a_metre}c",
        perspective=[AZIMUTH, ELEVATION],
        surftype="i200",
        plane=f"{floor}+ggray80",
        shading=shading,
        frame=["wSnE", "xaf+lEasting (km)", "yaf+lNorthing (km)"],
    )
