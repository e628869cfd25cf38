"""Panels of maps, drawn by GMT: style, places on the page, light, colour bars."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from fieldwise.fields.grids import grid_of
from fieldwise.figures.panels import HIGHEST, METRES_A_KM, region_km
from fieldwise.surveys.gmt import load_gmt

if TYPE_CHECKING:
    import pygmt

LEFT_CM, RIGHT_CM = 1.2, 0.3  # what annotations and label take left of the first panel, and right of the last
BESIDE_CM = 1.05  # between panels, for the annotations of the right one
ROOM_CM = 1.05  # from a panel to the colour bar below
BAR_CM = 0.22  # thickness of a colour bar
MARGIN_CM = 4.0  # GMT cuts what lies off its page: axes and colour bars stand left of and below panels

STYLE = {
    "COLOR_NAN": "gray90",
    "FONT_ANNOT_PRIMARY": "7p,Helvetica",
    "FONT_LABEL": "7.5p,Helvetica",
    "FONT_TITLE": "8p,Helvetica-Bold",
    "MAP_ANNOT_OFFSET_PRIMARY": "3p",
    "MAP_FRAME_PEN": "0.6p",
    "MAP_FRAME_TYPE": "plain",
    "MAP_LABEL_OFFSET": "4p",
    "MAP_TICK_LENGTH_PRIMARY": "3p/1.5p",
    "MAP_TITLE_OFFSET": "5p",
}


def typeset(text: str) -> str:
    """Write plain text so that GMT shows it as it is, and raised digits raised.

    >>> typeset("Speed (m a⁻¹)"), typeset("a@b")
    ('Speed (m a@+-1@+)', 'a@@b')
    """
    text = text.replace("@", "@@").replace("+", r"\053").replace('"', "'")
    raised = {raised: digit for digit, raised in zip("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")}
    return re.sub("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda found: f"@+{''.join(raised[one] for one in found[0])}@+", text)


@dataclass(frozen=True)
class Panel:
    """Place of one map on the page: centimetres from the lower left corner, and the extent in km."""

    left: float
    bottom: float
    width: float
    height: float
    region: list[float]  # west, east, south, north in km, in GMT's order

    @property
    def projection(self) -> str:
        """GMT's linear projection that fills the panel."""
        return f"X{self.width}c/{self.height}c"


@contextlib.contextmanager
def styled_figure() -> Iterator[pygmt.Figure]:
    """Start a figure in the common style; the caller's own GMT settings come back afterwards.

    >>> with styled_figure() as figure:
    ...     figure.basemap(region=[0, 4, 0, 2], projection="X4c/2c", frame=True)
    """
    pygmt = load_gmt()
    with pygmt.config(**STYLE):
        yield pygmt.Figure()


def panel_width(width_cm: float, *, columns: int, gap: float) -> float:
    """Return the width of each of the panels that, with their annotations, fill a width in columns.

    >>> round(panel_width(17.0, columns=2, gap=1.5), 2)
    7.0
    """
    return (width_cm - LEFT_CM - RIGHT_CM - (columns - 1) * gap) / columns


def place_panels(
    fields: Iterable[xr.DataArray], *, columns: int, width: float, gap: tuple[float, float]
) -> list[Panel]:
    """Place maps row by row from the top left; each keeps its proportions.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> first, second = place_panels([bed, bed], columns=1, width=6.0, gap=(0, 1.0))
    >>> first.bottom - second.bottom, first.width, first.height, first.region
    (4.0, 6.0, 3.0, [0.0, 4.0, 0.0, 2.0])
    """
    regions = [region_km(field) for field in fields]
    slenderness = [(north - south) / (east - west) for west, east, south, north in regions]
    widths = [width * min(1.0, HIGHEST / slender) for slender in slenderness]
    heights = [width * slender for width, slender in zip(widths, slenderness, strict=True)]
    rows = [range(len(regions))[first : first + columns] for first in range(0, len(regions), columns)]
    panels = {}
    bottom = MARGIN_CM
    for row in reversed(rows):
        for column, index in enumerate(row):
            left = MARGIN_CM + column * (width + gap[0])
            panels[index] = Panel(left, bottom, widths[index], heights[index], regions[index])
        bottom += max(heights[index] for index in row) + gap[1]
    return [panels[index] for index in range(len(regions))]


def move_to(figure: pygmt.Figure, panel: Panel) -> Any:
    """Return a context in which the origin of the page is the panel's lower left corner.

    >>> panel = Panel(left=4, bottom=4, width=6, height=3, region=[0, 4, 0, 2])
    >>> with styled_figure() as figure, move_to(figure, panel):
    ...     figure.basemap(region=panel.region, projection=panel.projection, frame=True)
    """
    return figure.shift_origin(xshift=f"{panel.left}c", yshift=f"{panel.bottom}c")


def in_km(field: xr.DataArray) -> xr.DataArray:
    """Return a field as GMT reads it: coordinates in km, y upward, float32, cells (not nodes).

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> in_km(bed).values.tolist(), in_km(bed)["y"].values.tolist()
    ([[4.0, 5.0, 6.0, 7.0], [0.0, 1.0, 2.0, 3.0]], [0.5, 1.5])
    """
    grid = grid_of(field)
    load_gmt()  # tells xarray of cells and nodes
    upward = xr.DataArray(
        field.to_numpy().astype(np.float32)[::-1],
        dims=("y", "x"),
        coords={"y": grid.y[::-1] / METRES_A_KM, "x": grid.x / METRES_A_KM},
    )
    upward.gmt.registration = 1
    return upward


def lighting(fields: Iterable[xr.DataArray], *, strength: float) -> str:
    """Return GMT's options for light from the north-west that saturates on strong slopes.

    One slope gets one shade in all the fields, so that of two panels the rougher looks rougher.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> lighting([bed, 2 * bed], strength=0.5)
    '+a315+nt0.5/.../0'
    """
    gradient = load_gmt().grdgradient
    slopes = np.concatenate([gradient(in_km(field), azimuth=315).to_numpy().ravel() for field in fields])
    slopes = slopes[np.isfinite(slopes)]
    typical = float(np.sqrt(np.mean(slopes**2))) if slopes.size else 0.0
    return f"+a315+nt{strength}/{typical or 1.0}/0"


def set_colours(colour_map: str, limits: tuple[float, float]) -> None:
    """Set the colours that GMT draws with from now on; values beyond the limits get those of the ends.

    >>> set_colours("batlow", (0, 7))
    """
    load_gmt().makecpt(cmap=colour_map, series=list(limits), background=True, overrule_bg=True)


def draw_colour_bar(figure: pygmt.Figure, label: str, *, position: str) -> None:
    """Draw a colour bar of the current colours.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> (panel,) = place_panels([bed], columns=1, width=6.0, gap=(0, 0))
    >>> with styled_figure() as figure, move_to(figure, panel):
    ...     set_colours("batlow", (0, 7))
    ...     draw_field(figure, bed, panel, heading="Bed")
    ...     draw_colour_bar(figure, "Bed (m)", position=below_panel(panel))
    """
    figure.colorbar(position=position, frame=[f"xaf+l{typeset(label)}"])


def below_panel(panel: Panel, *, room: float = ROOM_CM, share: float = 0.8) -> str:
    """Place a colour bar below a panel; the room in cm holds the panel's annotations and label.

    >>> below_panel(Panel(left=4, bottom=4, width=10, height=5, region=[0, 4, 0, 2]), room=1, share=0.5)
    'x5.0c/-1c+w5.0c/0.22c+jTC+h+e'
    """
    return f"x{panel.width / 2}c/{-room}c+w{panel.width * share}c/{BAR_CM}c+jTC+h+e"


def draw_field(
    figure: pygmt.Figure,
    field: xr.DataArray,
    panel: Panel,
    *,
    heading: str | None = None,
    shading: str | None = None,
    west: bool = True,
    south: bool = True,
) -> None:
    """Draw one panel with the current colours, frame in km and title; label its western and southern axis.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> (panel,) = place_panels([bed], columns=1, width=6.0, gap=(0, 0))
    >>> with styled_figure() as figure, move_to(figure, panel):
    ...     set_colours("batlow", (0, 7))
    ...     draw_field(figure, bed, panel, heading="Bed")
    """
    sides = "WSne" + (f"+t{typeset(heading)}" if heading else "")
    easting, northing = "+lEasting (km)" if south else "", "+lNorthing (km)" if west else ""
    figure.grdimage(
        in_km(field),
        region=panel.region,
        projection=panel.projection,
        shading=shading,
        frame=[sides, f"xaf{easting}", f"yaf{northing}"],
    )


def draw_common_bar(figure: pygmt.Figure, panels: list[Panel], label: str, *, open_ends: str = "") -> None:
    """Draw one colour bar below panels; values may exceed both ends, or only the upper (f).

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> (panel,) = place_panels([bed], columns=1, width=6.0, gap=(0, 0))
    >>> with styled_figure() as figure, move_to(figure, panel):
    ...     set_colours("batlow", (0, 7))
    ...     draw_field(figure, bed, panel, heading="Bed")
    >>> draw_common_bar(figure, [panel], "Bed (m)", open_ends="f")
    """
    left, right = min(panel.left for panel in panels), max(panel.left + panel.width for panel in panels)
    lowest = min(panels, key=lambda panel: panel.bottom)
    row = Panel(left, lowest.bottom, right - left, lowest.height, lowest.region)
    with move_to(figure, row):
        figure.basemap(region=[0, 1, 0, 1], projection=row.projection, frame="+n")
        share = min(0.85, 9 / row.width)
        draw_colour_bar(figure, label, position=below_panel(row, share=share) + open_ends)
