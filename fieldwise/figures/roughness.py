"""Roughness of the bed on maps, beside the bed itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pygmt
import xarray as xr
from numpy.typing import ArrayLike

from fieldwise.figures.panels import (
    BESIDE_CM,
    METRES_A_KM,
    PAGE_CM,
    Panel,
    check_same_grid,
    common_limits,
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
    fields : name of the panel -> (y, x) roughness as `fieldwise.scores` gives it, all on one grid
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
        pygmt.makecpt(cmap=colour_map, series=[0, high], background=True, overrule_bg=True)
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
    low, high = elevation_limits([field], colour_map=colour_map)
    pygmt.makecpt(cmap=colour_map, series=[low, high], background=True, overrule_bg=True)
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
