"""Maps seen from above: inputs, one large map, close-ups, roughness."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import geopandas
import numpy as np
import pygmt
import shapely
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.figures.panels import (
    METRES_A_KM,
    Panel,
    check_named,
    check_same_grid,
    common_limits,
    draw_colour_bar,
    in_km,
    lighting,
    move_to,
    place_panels,
    quantity,
    styled_figure,
    thin,
    title,
)
from fieldwise.grids import Bounds, grid_of

TILE_COLOUR = "#E69F00"
BOX_COLOUR = "#CC0066"
OUTLINE_PEN = "0.9p,black"


def draw_inputs(
    fields: Mapping[str, xr.DataArray],
    *,
    colour_maps: Mapping[str, str] | None = None,
    logarithmic: Collection[str] = (),
) -> pygmt.Figure:
    """Draw fields side by side, each with a colour bar of its own; their grids may differ.

    Parameters
    ----------
    fields : name of the panel -> (y, x) field with units
    colour_maps : GMT colour map of a panel, where it is not to be batlow
    logarithmic : names of panels whose colours follow the logarithm, such as a speed

    Raises
    ------
    InputError
        When there is no field, a field holds no value, or a logarithmic one nothing above zero.

    Examples
    --------
    >>> from fieldwise.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=2000, north=1000, spacing=250, crs="EPSG:3031")
    >>> bed = make_field(np.random.default_rng(0).normal(size=grid.shape), grid, name="bed")
    >>> figure = draw_inputs({"bed_lowres": bed})
    >>> figure.savefig("inputs.png")  # doctest: +SKIP
    """
    check_named(fields, "fields")
    thinned = {name: thin(field) for name, field in fields.items()}
    with styled_figure() as figure:
        columns = min(len(fields), 2)
        panels = place_panels(thinned.values(), columns=columns, width=7.0, gap=(2.2, 3.3))
        for (name, field), panel in zip(thinned.items(), panels, strict=True):
            log = name in logarithmic
            colour_map = (colour_maps or {}).get(name, "batlow")
            with move_to(figure, panel):
                steps = _make_colours(field, colour_map, log=log)
                _draw_field(figure, field, panel, heading=title(name))
                draw_colour_bar(figure, quantity(field), position=_below(panel, room=1.3), steps=steps)
    return figure


def _make_colours(field: xr.DataArray, colour_map: str, *, log: bool) -> str:
    """Set the colours of a field and return the steps of its colour bar."""
    if not log:
        pygmt.makecpt(cmap=colour_map, series=list(common_limits([field])), background=True, overrule_bg=True)
        return "af"
    positive = field.where(field > 0)
    if not bool(positive.notnull().any()):
        raise InputError(f"{field.name} has no value above zero; draw it without logarithm")
    low, high = common_limits([positive.copy(data=np.log10(positive.to_numpy()))])
    pygmt.makecpt(cmap=colour_map, series=[low, high], log=True, background=True, overrule_bg=True)
    return "a2" if high - low < 2 else "a1"


def _below(panel: Panel, *, room: float, share: float = 0.8) -> str:
    """Place a colour bar below a panel; the room in cm holds the panel's annotations and label."""
    width = max(panel.width * share, 5.0)  # on less, annotations meet
    return f"x{panel.width / 2}c/{-room}c+w{width}c/0.28c+jTC+h+e"


def _draw_field(
    figure: pygmt.Figure,
    field: xr.DataArray,
    panel: Panel,
    *,
    heading: str | None = None,
    shading: str | None = None,
) -> None:
    """Draw one panel with the current colours, frame in km and title."""
    sides = "WSne" + (f"+t{heading}" if heading else "")
    figure.grdimage(
        in_km(field),
        region=panel.region,
        projection=panel.projection,
        shading=shading,
        frame=[sides, "xaf+lEasting (km)", "yaf+lNorthing (km)"],
    )


def draw_map(
    field: xr.DataArray,
    *,
    tiles: geopandas.GeoDataFrame | None = None,
    boxes: Mapping[str, Bounds] | None = None,
    outline: geopandas.GeoDataFrame | None = None,
    tiles_label: str = "training tiles",
    outline_label: str = "outline",
    colour_map: str = "oleron",
    limits: tuple[float, float] | None = None,
) -> pygmt.Figure:
    """Draw one large shaded map with the area of tiles, named boxes and an outline on it.

    Parameters
    ----------
    field : (y, x) field with units; missing cells are grey
    tiles : polygons, such as training tiles, of which the edge of the covered area is drawn; in any CRS
    boxes : name -> west, south, east, north in the field's CRS
    outline : polygons or lines, such as a grounding line, in any CRS
    tiles_label, outline_label : names in the legend
    colour_map : of GMT; oleron changes colour at zero, for elevations around sea level
    limits : values at the two ends of the colour bar; 1st and 99th percentile by default

    Raises
    ------
    InputError
        When the field holds no value or a box lies outside it.

    Examples
    --------
    >>> from fieldwise.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=9000, north=5000, spacing=250, crs="EPSG:3031")
    >>> bed = make_field(np.random.default_rng(0).normal(size=grid.shape), grid, name="bed")
    >>> figure = draw_map(bed, boxes={"test": (1000, 1000, 4000, 4000)})
    """
    boxes = boxes or {}
    for name, bounds in boxes.items():
        _check_inside(field, name, bounds)
    thinned = thin(field)
    with styled_figure() as figure:
        (panel,) = place_panels([thinned], columns=1, width=15.0, gap=(2.2, 3.0))
        low, high = limits or common_limits([thinned])
        pygmt.makecpt(cmap=colour_map, series=[low, high], background=True, overrule_bg=True)
        with move_to(figure, panel):
            _draw_field(figure, thinned, panel, shading=lighting([thinned], strength=0.35))
            if outline is not None:
                _draw_shapes(figure, outline, field, pen=OUTLINE_PEN, label=title(outline_label))
            if tiles is not None:
                covered = tiles.geometry.to_crs(field.rio.crs).union_all()
                covered = geopandas.GeoSeries([covered], crs=field.rio.crs)
                label = f"{title(tiles_label)} ({len(tiles)})"
                _draw_shapes(figure, covered, field, pen=f"1.4p,{TILE_COLOUR}", label=label)
            _draw_boxes(figure, boxes)
            draw_colour_bar(figure, quantity(field), position=_below(panel, room=1.3, share=0.6))
            if tiles is not None or outline is not None:
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
    label: str,
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


def _draw_boxes(figure: pygmt.Figure, boxes: Mapping[str, Bounds]) -> None:
    for name, bounds in boxes.items():
        west, south, east, north = (edge / METRES_A_KM for edge in bounds)
        x, y = [west, east, east, west, west], [south, south, north, north, south]
        figure.plot(x=x, y=y, pen="2.2p,white")
        figure.plot(x=x, y=y, pen=f"1.3p,{BOX_COLOUR}")
        figure.text(
            x=west,
            y=north,
            text=title(name),
            justify="TL",
            offset="0.08c/-0.08c",
            font=f"8p,Helvetica-Bold,{BOX_COLOUR}",
            fill="white",
            clearance="0.05c",
        )


def draw_closeups(
    field: xr.DataArray,
    boxes: Mapping[str, Bounds],
    *,
    colour_map: str = "batlow",
    limits: tuple[float, float] | None = None,
) -> pygmt.Figure:
    """Draw up to nine boxes of a field, lit from the north-west, in one scale of colours.

    Parameters
    ----------
    field : (y, x) field with units
    boxes : name -> west, south, east, north in the field's CRS
    colour_map : of GMT
    limits : values at the two ends of the colour bar; 1st and 99th percentile of all boxes by default

    Raises
    ------
    InputError
        When there are no boxes or more than nine, or one lies outside the field or on missing values only.

    Examples
    --------
    >>> from fieldwise.grids import Grid, make_field
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
        panels = place_panels(parts.values(), columns=columns, width=6.0, gap=(2.0, 2.2))
        low, high = limits or common_limits(parts.values())
        pygmt.makecpt(cmap=colour_map, series=[low, high], background=True, overrule_bg=True)
        for (name, part), panel in zip(parts.items(), panels, strict=True):
            with move_to(figure, panel):
                _draw_field(figure, part, panel, heading=title(name), shading=shading)
        _draw_common_bar(figure, panels, quantity(field))
    return figure


def _draw_common_bar(figure: pygmt.Figure, panels: list[Panel], label: str, *, open_ends: str = "") -> None:
    """Draw one colour bar below all panels; values may exceed both ends, or only the upper (f)."""
    left, right = panels[0].left, max(panel.left + panel.width for panel in panels)
    lowest = min(panels, key=lambda panel: panel.bottom)
    row = Panel(left, lowest.bottom, right - left, lowest.height, lowest.region)
    with move_to(figure, row):
        figure.basemap(region=[0, 1, 0, 1], projection=row.projection, frame="+n")
        share = min(0.8, 12 / row.width)
        draw_colour_bar(figure, label, position=_below(row, room=1.3, share=share) + open_ends)


def draw_roughness(fields: Mapping[str, xr.DataArray], *, colour_map: str = "lapaz") -> pygmt.Figure:
    """Draw maps of roughness side by side in one scale of colours, from zero up.

    Parameters
    ----------
    fields : name of the panel -> (y, x) roughness as `fieldwise.scores` gives it, all on one grid
    colour_map : of GMT

    Raises
    ------
    InputError
        When there is no field, a field is on another grid, or none holds a value.

    Examples
    --------
    >>> from fieldwise.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=9000, north=5000, spacing=250, crs="EPSG:3031")
    >>> rough = make_field(np.random.default_rng(0).random(grid.shape), grid, name="roughness")
    >>> figure = draw_roughness({"prediction": rough, "truth": rough})
    """
    check_same_grid(fields)
    thinned = {name: thin(field, most_cells=500) for name, field in fields.items()}
    with styled_figure() as figure:
        panels = place_panels(thinned.values(), columns=min(len(fields), 3), width=6.5, gap=(2.0, 2.2))
        _, high = common_limits(thinned.values(), percentile=0.2)
        pygmt.makecpt(cmap=colour_map, series=[0, high], background=True, overrule_bg=True)
        for (name, field), panel in zip(thinned.items(), panels, strict=True):
            with move_to(figure, panel):
                _draw_field(figure, field, panel, heading=title(name))
        _draw_common_bar(figure, panels, quantity(next(iter(fields.values()))), open_ends="f")
    return figure
