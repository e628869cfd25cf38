"""Maps seen from above: inputs, one large map, close-ups."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import geopandas
import numpy as np
import pygmt
import shapely
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds, grid_of
from fieldwise.figures.panels import (
    BESIDE_CM,
    METRES_A_KM,
    MIDDLE_CM,
    NEAR_CM,
    PAGE_CM,
    ROOM_CM,
    Panel,
    below_panel,
    check_named,
    common_limits,
    draw_colour_bar,
    draw_common_bar,
    draw_field,
    elevation_limits,
    letter,
    lighting,
    move_to,
    panel_width,
    place_panels,
    quantity,
    styled_figure,
    thin,
    title,
)

TILE_COLOUR = "#E69F00"
BOX_COLOUR = "#CC0066"
OUTLINE_PEN, COAST_PEN = "0.7p,black", "0.7p,black,1_2"
LETTER_CM = 0.16  # width of a letter in the name of a box
TILE_PEN = f"1p,{TILE_COLOUR},5_2"


def draw_inputs(
    fields: Mapping[str, xr.DataArray],
    *,
    colour_maps: Mapping[str, str] | None = None,
    logarithmic: Collection[str] = (),
    width_cm: float = PAGE_CM,
) -> pygmt.Figure:
    """Draw fields side by side, each with a colour bar of its own; their grids may differ.

    Parameters
    ----------
    fields : name of the panel -> (y, x) field with units
    colour_maps : GMT colour map of a panel, where it is not to be batlow
    logarithmic : names of panels whose colours follow the logarithm, such as a speed
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is no field, a field holds no value, or a logarithmic one nothing above zero.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=2000, north=1000, spacing=250, crs="EPSG:3031")
    >>> bed = make_field(np.random.default_rng(0).normal(size=grid.shape), grid, name="bed")
    >>> figure = draw_inputs({"bed_lowres": bed})
    """
    check_named(fields, "fields")
    thinned = {name: thin(field) for name, field in fields.items()}
    with styled_figure() as figure:
        columns = 2 if len(fields) in (2, 4) else min(len(fields), 3)
        width = panel_width(width_cm, columns=columns, gap=BESIDE_CM)
        panels = place_panels(thinned.values(), columns=columns, width=width, gap=(BESIDE_CM, 2.5))
        for index, ((name, field), panel) in enumerate(zip(thinned.items(), panels, strict=True)):
            log = name in logarithmic
            colour_map = (colour_maps or {}).get(name, "batlow")
            with move_to(figure, panel):
                steps = _make_colours(field, colour_map, log=log)
                heading = letter(index, name) if len(fields) > 1 else title(name)
                below = (index // columns + 1) * columns >= len(fields)  # in the last row
                draw_field(figure, field, panel, heading=heading, west=index % columns == 0, south=below)
                position = below_panel(panel, room=ROOM_CM if below else NEAR_CM, share=0.85)
                draw_colour_bar(figure, quantity(field), position=position, steps=steps)
    return figure


def _make_colours(field: xr.DataArray, colour_map: str, *, log: bool) -> str:
    """Set the colours of a field and return the steps of its colour bar."""
    if not log:
        limits = elevation_limits([field], colour_map=colour_map)
        pygmt.makecpt(cmap=colour_map, series=list(limits), background=True, overrule_bg=True)
        return "af"
    positive = field.where(field > 0)
    if not bool(positive.notnull().any()):
        raise InputError(f"{field.name} has no value above zero; draw it without logarithm")
    low, high = common_limits([positive.copy(data=np.log10(positive.to_numpy()))])
    pygmt.makecpt(cmap=colour_map, series=[low, high], log=True, background=True, overrule_bg=True)
    return "a2" if high - low < 2 else "a1"


def draw_map(
    field: xr.DataArray,
    *,
    tiles: geopandas.GeoDataFrame | None = None,
    boxes: Mapping[str, Bounds] | None = None,
    outline: geopandas.GeoDataFrame | None = None,
    coastline: geopandas.GeoDataFrame | None = None,
    tiles_label: str = "training tiles",
    outline_label: str = "outline",
    colour_map: str = "oleron",
    limits: tuple[float, float] | None = None,
    width_cm: float = MIDDLE_CM,
) -> pygmt.Figure:
    """Draw one large shaded map with the area of tiles, named boxes, an outline and a coastline on it.

    Parameters
    ----------
    field : (y, x) field with units; missing cells are grey
    tiles : polygons, such as training tiles, of which the edge of the covered area is drawn; in any CRS
    boxes : name -> west, south, east, north in the field's CRS
    outline : polygons or lines, such as a grounding line, in any CRS
    coastline : polygons or lines, in any CRS
    tiles_label, outline_label : names in the legend
    colour_map : of GMT; oleron changes colour at zero, for elevations around sea level
    limits : values at the two ends of the colour bar; 1st and 99th percentile by default
    width_cm : of the figure

    Raises
    ------
    InputError
        When the field holds no value or a box lies outside it.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=9000, north=5000, spacing=250, crs="EPSG:3031")
    >>> bed = make_field(np.random.default_rng(0).normal(size=grid.shape), grid, name="bed")
    >>> figure = draw_map(bed, boxes={"test": (1000, 1000, 4000, 4000)})
    """
    boxes = boxes or {}
    for name, bounds in boxes.items():
        _check_inside(field, name, bounds)
    thinned = thin(field)
    with styled_figure() as figure:
        (panel,) = place_panels(
            [thinned], columns=1, width=panel_width(width_cm, columns=1, gap=0), gap=(0, 0)
        )
        low, high = limits or elevation_limits([thinned], colour_map=colour_map)
        pygmt.makecpt(cmap=colour_map, series=[low, high], background=True, overrule_bg=True)
        with move_to(figure, panel):
            draw_field(figure, thinned, panel, shading=lighting([thinned], strength=0.35))
            if coastline is not None:
                _draw_shapes(figure, coastline, field, pen=COAST_PEN, label="Coastline")
            if outline is not None:
                _draw_shapes(figure, outline, field, pen=OUTLINE_PEN, label=title(outline_label))
            if tiles is not None:
                covered = tiles.geometry.to_crs(field.rio.crs).union_all()
                covered = geopandas.GeoSeries([covered], crs=field.rio.crs)
                _draw_shapes(figure, covered, field, pen="1.6p,black")
                label = f"{title(tiles_label)} ({len(tiles)})"
                _draw_shapes(figure, covered, field, pen=TILE_PEN, label=label)
            _draw_boxes(figure, boxes, panel)
            draw_colour_bar(figure, quantity(field), position=below_panel(panel, share=0.6))
            if any(shapes is not None for shapes in (tiles, outline, coastline)):
                figure.legend(position="JTL+jBL+o0c/0.1c", box=False)
    return figure


def _check_inside(field: xr.DataArray, name: str, bounds: Bounds) -> None:
    west, south, east, north = bounds
    extent = grid_of(field).bounds
    outside = west < extent[0] or south < extent[1] or east > extent[2] or north > extent[3]
    if outside or west >= east or south >= north:
        raise InputError(f"box {name} {tuple(bounds)} is not west, south, east, north in {extent}; mend it")


def _draw_shapes(
    figure: pygmt.Figure,
    shapes: geopandas.GeoDataFrame | geopandas.GeoSeries,
    field: xr.DataArray,
    *,
    pen: str,
    label: str | None = None,
) -> None:
    """Draw the lines and edges of shapes, in one call however many they are."""
    west, south, east, north = grid_of(field).bounds
    geometry = shapes.geometry.to_crs(field.rio.crs)
    lines = geometry.boundary.where(geometry.geom_type.isin(["Polygon", "MultiPolygon"]), geometry)
    lines = lines.clip_by_rect(west, south, east, north)
    lines = lines[~(lines.is_empty | lines.isna())].explode()
    if len(lines):
        # As plain numbers, not as shapes, which GMT takes for degrees; a row of NaN ends a line.
        gap = np.full((1, 2), np.nan)
        rows = [part for line in lines for part in (shapely.get_coordinates(line) / METRES_A_KM, gap)]
        figure.plot(data=np.concatenate(rows), pen=pen, label=label)


def _draw_boxes(figure: pygmt.Figure, boxes: Mapping[str, Bounds], panel: Panel) -> None:
    """Draw boxes with their names: inside, or beside where the box is too small for the name."""
    scale = panel.width / (panel.region[1] - panel.region[0])  # centimetres of a kilometre
    for name, bounds in boxes.items():
        west, south, east, north = (edge / METRES_A_KM for edge in bounds)
        x, y = [west, east, east, west, west], [south, south, north, north, south]
        figure.plot(x=x, y=y, pen="1.8p,white")
        figure.plot(x=x, y=y, pen=f"1p,{BOX_COLOUR}")
        inside = min(east - west, north - south) * scale > LETTER_CM * (len(name) + 2)
        short = len(name) <= 2  # stands above a small box, a longer name left of it
        height = north if inside or short else (south + north) / 2
        figure.text(
            x=west,
            y=height,
            text=title(name),
            justify="TL" if inside else "BL" if short else "RM",
            offset="0.07c/-0.07c" if inside else "0.04c/0.08c" if short else "-0.08c/0c",
            font=f"7p,Helvetica-Bold,{BOX_COLOUR}",
            fill="white",
            clearance="0.04c",
        )


def draw_closeups(
    field: xr.DataArray,
    boxes: Mapping[str, Bounds],
    *,
    colour_map: str = "batlow",
    limits: tuple[float, float] | None = None,
    width_cm: float = PAGE_CM,
) -> pygmt.Figure:
    """Draw up to nine boxes of a field, lit from the north-west, in one scale of colours.

    Parameters
    ----------
    field : (y, x) field with units
    boxes : name -> west, south, east, north in the field's CRS
    colour_map : of GMT
    limits : values at the two ends of the colour bar; 1st and 99th percentile of all boxes by default
    width_cm : of the figure

    Raises
    ------
    InputError
        When there are no boxes or more than nine, or one lies outside the field or on missing values only.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=9000, north=5000, spacing=250, crs="EPSG:3031")
    >>> bed = make_field(np.random.default_rng(0).normal(size=grid.shape), grid, name="bed")
    >>> figure = draw_closeups(bed, {"west": (0, 0, 4000, 4000), "east": (5000, 0, 9000, 4000)})
    """
    check_named(boxes, "boxes")
    if len(boxes) > 9:
        raise InputError(f"{len(boxes)} boxes do not fit on one page; give at most 9")
    parts = {}
    for name, (west, south, east, north) in boxes.items():
        _check_inside(field, name, (west, south, east, north))
        parts[name] = thin(field.sel(x=slice(west, east), y=slice(north, south)), most_cells=400)
    with styled_figure() as figure:
        shading = lighting(parts.values(), strength=0.5)
        columns = min(len(boxes), 3)
        width = panel_width(width_cm, columns=columns, gap=BESIDE_CM)
        panels = place_panels(parts.values(), columns=columns, width=width, gap=(BESIDE_CM, 1.1))
        low, high = limits or elevation_limits(parts.values(), colour_map=colour_map)
        pygmt.makecpt(cmap=colour_map, series=[low, high], background=True, overrule_bg=True)
        for index, ((name, part), panel) in enumerate(zip(parts.items(), panels, strict=True)):
            west, south = index % columns == 0, (index // columns + 1) * columns >= len(parts)
            with move_to(figure, panel):
                draw_field(figure, part, panel, heading=title(name), shading=shading, west=west, south=south)
        draw_common_bar(figure, panels, quantity(field))
    return figure
