"""Maps seen from above: one large map, close-ups, members beside their spread, roughness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import geopandas
import numpy as np
import shapely
import xarray as xr
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds, grid_of
from fieldwise.figures.gmt import (
    BESIDE_CM,
    Panel,
    below_panel,
    draw_colour_bar,
    draw_common_bar,
    draw_field,
    lighting,
    move_to,
    panel_width,
    place_panels,
    set_colours,
    styled_figure,
    typeset,
)
from fieldwise.figures.panels import (
    METRES_A_KM,
    MIDDLE_CM,
    PAGE_CM,
    check_named,
    check_same_grid,
    common_limits,
    elevation_limits,
    letter,
    quantity,
    thin,
    title,
)

if TYPE_CHECKING:
    import pygmt

TILE_COLOUR = "#E69F00"
BOX_COLOUR = "#CC0066"
OUTLINE_PEN, COAST_PEN = "0.7p,black", "0.7p,black,1_2"
LETTER_CM = 0.16  # width of a letter in the name of a box
TILE_PEN = f"1p,{TILE_COLOUR},5_2"


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
        set_colours(colour_map, limits or elevation_limits([thinned], colour_map=colour_map))
        with move_to(figure, panel):
            draw_field(figure, thinned, panel, shading=lighting([thinned], strength=0.35))
            if coastline is not None:
                _draw_shapes(figure, coastline, field, pen=COAST_PEN, label="Coastline")
            if outline is not None:
                _draw_shapes(figure, outline, field, pen=OUTLINE_PEN, label=typeset(title(outline_label)))
            if tiles is not None:
                covered = tiles.geometry.to_crs(field.rio.crs).union_all()
                covered = geopandas.GeoSeries([covered], crs=field.rio.crs)
                _draw_shapes(figure, covered, field, pen="1.6p,black")
                label = typeset(f"{title(tiles_label)} ({len(tiles)})")
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
            text=typeset(title(name)),
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
    parts = {}
    for name, (west, south, east, north) in boxes.items():
        _check_inside(field, name, (west, south, east, north))
        parts[name] = field.sel(x=slice(west, east), y=slice(north, south))
    return draw_shaded(parts, colour_map=colour_map, limits=limits, width_cm=width_cm)


def draw_shaded(
    fields: Mapping[str, xr.DataArray],
    *,
    spread: xr.DataArray | None = None,
    colour_map: str = "batlow",
    spread_map: str = "lajolla",
    limits: tuple[float, float] | None = None,
    width_cm: float = PAGE_CM,
) -> pygmt.Figure:
    """Draw up to nine fields, such as members of one place, lit alike and in one scale of colours.

    Parameters
    ----------
    fields : name -> (y, x) field with units
    spread : (y, x) field with units, for a last panel: unlit, in colours of its own from zero up
    colour_map, limits, width_cm : as of :func:`draw_closeups`
    spread_map : of GMT, for the spread

    Raises
    ------
    InputError
        When there are no fields or more than nine panels.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=4000, north=4000, spacing=250, crs="EPSG:3031")
    >>> bed = make_field(np.random.default_rng(0).normal(size=grid.shape), grid, name="bed")
    >>> figure = draw_shaded({"truth": bed, "half": bed / 2}, spread=abs(bed).rename("spread"))
    """
    check_named(fields, "boxes")
    parts = {name: thin(field, most_cells=400) for name, field in fields.items()}
    shown = [*parts.values()] if spread is None else [*parts.values(), spread]
    count = len(shown)
    if count > 9:
        raise InputError(f"{count} boxes do not fit on one page; give at most 9")
    with styled_figure() as figure:
        shading = lighting(parts.values(), strength=0.5)
        columns = min(count, 3)
        width = panel_width(width_cm, columns=columns, gap=BESIDE_CM)
        panels = place_panels(shown, columns=columns, width=width, gap=(BESIDE_CM, 1.1))
        set_colours(colour_map, limits or elevation_limits(parts.values(), colour_map=colour_map))
        for index, ((name, part), panel) in enumerate(zip(parts.items(), panels)):
            west, south = index % columns == 0, (index // columns + 1) * columns >= count
            with move_to(figure, panel):
                draw_field(figure, part, panel, heading=title(name), shading=shading, west=west, south=south)
        last, under = panels[-1], panels
        if spread is not None:  # the bar stands left of the spread, or right of one that begins a row
            under = [each for each in panels if each.left < last.left]
            under = under or [each for each in panels if each.left > last.left]
        draw_common_bar(figure, under, quantity(next(iter(parts.values()))))
        if spread is not None:
            _draw_spread(figure, thin(spread, most_cells=400), last, spread_map, west=count % columns == 1)
    return figure


def _draw_spread(
    figure: pygmt.Figure, spread: xr.DataArray, panel: Panel, colour_map: str, *, west: bool
) -> None:
    """Draw a spread from zero up, with a colour bar of its own below."""
    set_colours(colour_map, (0, common_limits([spread], percentile=0.2)[1]))
    with move_to(figure, panel):
        draw_field(figure, spread, panel, heading=title(str(spread.name)), west=west)
    draw_common_bar(figure, [panel], quantity(spread), open_ends="f")


def draw_roughness(
    fields: Mapping[str, xr.DataArray],
    *,
    elevation: xr.DataArray | None = None,
    transect: tuple[ArrayLike, ArrayLike] | None = None,
    elevation_map: str = "oleron",
    colour_map: str = "lapaz",
    width_cm: float = PAGE_CM,
) -> pygmt.Figure:
    """Draw maps of roughness side by side in one scale of colours, from zero up, with the elevation if given.

    Parameters
    ----------
    fields : name of the panel -> (y, x) roughness as `fieldwise.scores.fields` gives it, all on one grid
    elevation : (y, x) field with units, for a first panel of its own
    transect : x and y of a line to draw on the elevation, in its CRS, from A to B
    elevation_map, colour_map : of GMT, for elevation and roughness
    width_cm : of the figure

    Raises
    ------
    InputError
        When there is no field, a field is on another grid, or none holds a value.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=9000, north=5000, spacing=250, crs="EPSG:3031")
    >>> rough = make_field(np.random.default_rng(0).random(grid.shape), grid, name="roughness")
    >>> figure = draw_roughness({"prediction": rough, "truth": rough})
    """
    check_same_grid(fields)
    rough = [thin(field, most_cells=500) for field in fields.values()]
    names = [f"roughness of {name}" if elevation is not None else name for name in fields]
    first = [] if elevation is None else [thin(elevation, most_cells=500)]
    columns = {1: 1, 2: 2, 4: 2}.get(len(first + rough), 3)
    width = panel_width(width_cm, columns=columns, gap=BESIDE_CM)
    with styled_figure() as figure:
        panels = place_panels(first + rough, columns=columns, width=width, gap=(BESIDE_CM, 1.1))
        if elevation is not None:
            _draw_elevation(figure, first[0], panels, transect, elevation_map)
        _, high = common_limits(rough, percentile=0.2)
        set_colours(colour_map, (0, high))
        for index, (name, field) in enumerate(zip(names, rough), start=len(first)):
            with move_to(figure, panels[index]):
                heading = letter(index, name) if len(panels) > 1 else title(name)
                west, south = index % columns == 0, (index // columns + 1) * columns >= len(panels)
                draw_field(figure, field, panels[index], heading=heading, west=west, south=south)
        under = panels if elevation is None else panels[columns - 1 :: columns]
        draw_common_bar(figure, under, quantity(rough[0]), open_ends="f")
    return figure


def _draw_elevation(
    figure: pygmt.Figure,
    field: xr.DataArray,
    panels: list[Panel],
    transect: tuple[ArrayLike, ArrayLike] | None,
    colour_map: str,
) -> None:
    """Draw the panel of the elevation and its colour bar, below the first column of panels."""
    set_colours(colour_map, elevation_limits([field], colour_map=colour_map))
    shading = lighting([field], strength=0.35)
    with move_to(figure, panels[0]):
        heading = letter(0, str(field.attrs.get("long_name") or field.name or "elevation"))
        draw_field(figure, field, panels[0], heading=heading, shading=shading, south=False)
        if transect is not None:
            x, y = (np.asarray(values, dtype=np.float64) / METRES_A_KM for values in transect)
            figure.plot(x=x, y=y, pen="2p,white")
            figure.plot(x=x, y=y, pen="1p,black")
            ends = {"x": [x[0], x[-1]], "y": [y[0], y[-1]], "text": ["A", "B"]}
            style = {"font": "7p,Helvetica-Bold", "fill": "white", "clearance": "0.04c", "no_clip": True}
            figure.text(**ends, **style, justify="CB", offset="0c/0.12c")
    draw_common_bar(figure, [panel for panel in panels if panel.left == panels[0].left], quantity(field))
