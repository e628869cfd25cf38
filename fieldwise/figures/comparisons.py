"""What is, what was predicted, and the difference, side by side."""

from __future__ import annotations

import pygmt
import xarray as xr

from fieldwise.figures.panels import (
    check_same_grid,
    common_limits,
    draw_colour_bar,
    in_km,
    move_to,
    place_panels,
    quantity,
    styled_figure,
    thin,
    title,
    unit_text,
)

NAMES = ("true", "predicted", "difference")


def draw_comparison(
    truth: xr.DataArray,
    prediction: xr.DataArray,
    *,
    colour_map: str = "batlow",
    difference_map: str = "vik",
    limits: tuple[float, float] | None = None,
    difference_limit: float | None = None,
) -> pygmt.Figure:
    """Draw truth and prediction in one scale of colours, and prediction minus truth in one around zero.

    Parameters
    ----------
    truth, prediction : (y, x) fields on one grid, with units; missing cells are grey
    colour_map, difference_map : of GMT
    limits : values at the two ends of the first colour bar; 1st and 99th percentile by default
    difference_limit : value at the ends of the second; 99th percentile of the differences by default

    Raises
    ------
    InputError
        When the fields are on different grids or hold no value.

    Examples
    --------
    >>> import numpy as np
    >>> from fieldwise.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=2000, north=1000, spacing=250, crs="EPSG:3031")
    >>> speed = make_field(np.random.default_rng(0).random(grid.shape), grid, name="speed", units="m a-1")
    >>> figure = draw_comparison(speed, 1.1 * speed)
    """
    check_same_grid({"truth": truth, "prediction": prediction})
    fields = [thin(truth), thin(prediction)]
    fields.append(fields[0].copy(data=fields[1].to_numpy() - fields[0].to_numpy()))
    ends = limits or common_limits(fields[:2])
    if difference_limit is None:
        difference_limit = common_limits(fields[2:], symmetric=True)[1]
    with styled_figure() as figure:
        panels = place_panels(fields, columns=3, width=5.5, gap=(1.6, 2.6))
        for name, field, panel in zip(NAMES, fields, panels, strict=True):
            compared = name != "difference"
            low, high = ends if compared else (-difference_limit, difference_limit)
            with move_to(figure, panel):
                cmap = colour_map if compared else difference_map
                pygmt.makecpt(cmap=cmap, series=[low, high], background=True, overrule_bg=True)
                figure.grdimage(
                    in_km(field),
                    region=panel.region,
                    projection=panel.projection,
                    frame=[f"WSne+t{title(name)}", "xaf+lEasting (km)", "yaf+lNorthing (km)"],
                )
                units = unit_text(truth.attrs.get("units", ""))
                label = quantity(truth) if compared else f"Difference ({units})" if units else "Difference"
                position = f"x{panel.width / 2}c/-1.3c+w{0.8 * panel.width}c/0.25c+jTC+h+e"
                draw_colour_bar(figure, label, position=position)
    return figure
