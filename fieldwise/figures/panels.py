"""What all figures share: style, limits, labels and places of panels."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pygmt
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.grids import grid_of

MOST_CELLS = 800  # a side and panel: more would be finer than print and slow to draw
METRES_A_KM = 1000.0
COLUMN_CM, MIDDLE_CM, PAGE_CM = 8.3, 12.0, 17.0  # widths of figures in a journal such as The Cryosphere
LEFT_CM, RIGHT_CM = 1.2, 0.3  # what annotations and label take left of the first panel, and right of the last
BESIDE_CM = 1.05  # between panels, for the annotations of the right one
ROOM_CM, NEAR_CM = 1.05, 0.6  # from a panel to the colour bar below, with and without a label of the axis
BAR_CM = 0.22  # thickness of a colour bar
BREAKING_MAPS = ("oleron", "bukavu", "fes")  # at zero
HIGHEST = 1.4  # height of a panel over its full width: a longer field is drawn narrower
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


def region_km(field: xr.DataArray) -> list[float]:
    """Return a field's outer edges in km, in GMT's order west, east, south, north.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> region_km(bed)
    [0.0, 4.0, 0.0, 2.0]
    """
    west, south, east, north = grid_of(field).bounds
    return [edge / METRES_A_KM for edge in (west, east, south, north)]


def thin(field: xr.DataArray, *, most_cells: int = MOST_CELLS) -> xr.DataArray:
    """Average blocks of cells so that no side keeps more than most_cells.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> thin(bed, most_cells=2).values.tolist()
    [[2.5, 4.5]]
    """
    step = math.ceil(max(field.shape) / most_cells)
    if step > 1:
        field = field.coarsen(x=step, y=step, boundary="trim").mean(keep_attrs=True)
    return field.compute()  # once: limits, light and drawing all read it


def in_km(field: xr.DataArray) -> xr.DataArray:
    """Return a field as GMT reads it: coordinates in km, y upward, float32, cells (not nodes).

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> in_km(bed).values.tolist(), in_km(bed)["y"].values.tolist()
    ([[4.0, 5.0, 6.0, 7.0], [0.0, 1.0, 2.0, 3.0]], [0.5, 1.5])
    """
    grid = grid_of(field)
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
    slopes = np.concatenate(
        [pygmt.grdgradient(in_km(field), azimuth=315).to_numpy().ravel() for field in fields]
    )
    slopes = slopes[np.isfinite(slopes)]
    typical = float(np.sqrt(np.mean(slopes**2))) if slopes.size else 0.0
    return f"+a315+nt{strength}/{typical or 1.0}/0"


def common_limits(
    fields: Iterable[xr.DataArray], *, symmetric: bool = False, percentile: float = 1.0
) -> tuple[float, float]:
    """Return round limits that hold all but the outermost percent at each end.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> common_limits([bed, 10 * bed]), common_limits([bed], symmetric=True, percentile=0)
    ((0.0, 69.0), (-7.0, 7.0))
    """
    values = np.concatenate([field.to_numpy().ravel() for field in fields])
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise InputError("fields hold no value to draw; check that they cover the box")
    low, high = (float(value) for value in np.percentile(values, [percentile, 100 - percentile]))
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    if high <= low:  # a constant field
        low, high = low - 0.5, high + 0.5
    step = 10.0 ** math.floor(math.log10((high - low) / 10))
    return math.floor(low / step) * step, math.ceil(high / step) * step


def elevation_limits(fields: Iterable[xr.DataArray], *, colour_map: str) -> tuple[float, float]:
    """Return round limits for elevations; where the colour map breaks at sea level, both sides get a share.

    Such a map gives each side all of its colours: a few islands of 20 m would shine like mountains. The
    smaller side is given a fifth of the bar at least.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=200, north=100, spacing=100, crs="EPSG:3031")
    >>> bed = make_field(np.array([[-800.0, 20.0]]), grid, name="bed")
    >>> elevation_limits([bed], colour_map="oleron"), elevation_limits([bed], colour_map="batlow")
    ((-800.0, 200.0), (-800.0, 20.0))
    """
    low, high = common_limits(fields)
    if colour_map in BREAKING_MAPS and low < 0 < high:
        least = max(-low, high) / 4
        low, high = min(low, -least), max(high, least)
    return low, high


def check_named(named: Mapping[str, Any], what: str) -> None:
    """Refuse a figure of nothing.

    >>> check_named({}, "boxes")
    Traceback (most recent call last):
    fieldwise.errors.InputError: no boxes to draw; give at least one, by name
    """
    if not named:
        raise InputError(f"no {what} to draw; give at least one, by name")


def check_same_grid(fields: Mapping[str, xr.DataArray]) -> None:
    """Refuse to compare fields that lie on different grids.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> check_same_grid({"bed": bed, "truth": bed + 1})
    >>> check_same_grid({"bed": bed, "part": bed[:, :2]})
    Traceback (most recent call last):
    fieldwise.errors.InputError: part is on ... and bed on ...; cut both on one grid
    """
    check_named(fields, "fields")
    first, *others = fields
    reference = grid_of(fields[first])
    for name in others:
        grid = grid_of(fields[name])
        near = np.allclose(grid.bounds, reference.bounds, rtol=0, atol=reference.spacing / 1000)
        if grid.shape != reference.shape or not near:
            raise InputError(f"{name} is on {grid} and {first} on {reference}; cut both on one grid")


def title(name: str) -> str:
    """Make a name readable: blanks for underscores, a capital first, nothing that GMT would typeset.

    >>> title("bed_lowres"), title("a@b")
    ('Bed lowres', 'A@@b')
    """
    words = name.replace("_", " ").replace("@", "@@").replace("+", r"\053").replace('"', "'")
    return words[:1].upper() + words[1:]


def letter(index: int, name: str) -> str:
    """Give a panel its letter and its name.

    >>> letter(1, "cubic")
    '(b) Cubic'
    """
    return f"({chr(ord('a') + index)}) {title(name)}"


def unit_text(units: str) -> str:
    """Typeset units for GMT.

    >>> unit_text("m a-1"), unit_text("m/yr")
    ('m a@+-1@+', 'm/yr')
    """
    return re.sub(r"(?<=[A-Za-z])(-?\d+)", r"@+\1@+", units)


def quantity(field: xr.DataArray) -> str:
    """Return a field's long name and unit, for a colour bar.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> quantity(bed), quantity(bed.assign_attrs(long_name="ice speed", units="m a-1"))
    ('Bed (m)', 'Ice speed (m a@+-1@+)')
    """
    name = title(str(field.attrs.get("long_name") or field.name or "value"))
    units = field.attrs.get("units", "")
    return f"{name} ({unit_text(units)})" if units else name


def draw_colour_bar(figure: pygmt.Figure, label: str, *, position: str, steps: str = "af") -> None:
    """Draw a colour bar; the steps a1 (decades) and a2 (1, 2, 5) are those of a logarithmic one.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=2000, spacing=1000, crs="EPSG:3031")
    >>> bed = make_field(np.arange(8.0).reshape(2, 4), grid, name="bed", units="m")
    >>> (panel,) = place_panels([bed], columns=1, width=6.0, gap=(0, 0))
    >>> with styled_figure() as figure, move_to(figure, panel):
    ...     pygmt.makecpt(cmap="batlow", series=[0, 7])
    ...     draw_field(figure, bed, panel, heading="Bed")
    ...     draw_colour_bar(figure, quantity(bed), position=below_panel(panel))
    """
    figure.colorbar(position=position, frame=[f"x{steps}+l{label}"], log=steps != "af")


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
    ...     pygmt.makecpt(cmap="batlow", series=[0, 7])
    ...     draw_field(figure, bed, panel, heading="Bed")
    """
    sides = "WSne" + (f"+t{heading}" if heading else "")
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
    ...     pygmt.makecpt(cmap="batlow", series=[0, 7])
    ...     draw_field(figure, bed, panel, heading="Bed")
    >>> draw_common_bar(figure, [panel], quantity(bed), open_ends="f")
    """
    left, right = min(panel.left for panel in panels), max(panel.left + panel.width for panel in panels)
    lowest = min(panels, key=lambda panel: panel.bottom)
    row = Panel(left, lowest.bottom, right - left, lowest.height, lowest.region)
    with move_to(figure, row):
        figure.basemap(region=[0, 1, 0, 1], projection=row.projection, frame="+n")
        share = min(0.85, 9 / row.width)
        draw_colour_bar(figure, label, position=below_panel(row, share=share) + open_ends)
