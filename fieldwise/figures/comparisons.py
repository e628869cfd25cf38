"""What is, what was predicted, and the difference, side by side."""

from __future__ import annotations

import pygmt
import xarray as xr

from fieldwise.figures.panels import (
    BESIDE_CM,
    PAGE_CM,
    below_panel,
    check_same_grid,
    common_limits,
    draw_colour_bar,
    draw_field,
    letter,
    move_to,
    panel_width,
    place_panels,
    quantity,
    styled_figure,
    thin,
    unit_text,
)

NAMES = ("true", "predicted", "difference")


def draw_comparison(
    truth: xr.DataArray,
    prediction: xr.DataArray,
    *,
    colour_map: str = "batlow",
    width_cm: float = PAGE_CM,
) -> pygmt.Figure:
    """Draw truth and prediction in one scale of colours, and prediction minus truth in one around zero.

    Parameters
    ----------
    truth, prediction : (y, x) fields on one grid, with units; missing cells are grey
    colour_map : of GMT, for both
    width_cm : of the figure

    Raises
    ------
    InputError
        When the fields are on different grids or hold no value.

    Examples
    --------
    >>> import numpy as np
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=2000, north=1000, spacing=250, crs="EPSG:3031")
    >>> speed = make_field(np.random.default_rng(0).random(grid.shape), grid, name="speed", units="m a-1")
    >>> figure = draw_comparison(speed, 1.1 * speed)
    """
    check_same_grid({"truth": truth, "prediction": prediction})
    fields = [thin(truth), thin(prediction)]
    fields.append(fields[0].copy(data=fields[1].to_numpy() - fields[0].to_numpy()))
    ends = [common_limits(fields[:2])] * 2 + [common_limits(fields[2:], symmetric=True)]
    units = unit_text(truth.attrs.get("units", ""))
    with styled_figure() as figure:
        width = panel_width(width_cm, columns=3, gap=BESIDE_CM)
        panels = place_panels(fields, columns=3, width=width, gap=(BESIDE_CM, 0))
        for index, (name, field, panel, series) in enumerate(zip(NAMES, fields, panels, ends, strict=True)):
            compared = name != "difference"
            label = quantity(truth) if compared else f"Difference ({units})" if units else "Difference"
            with move_to(figure, panel):
                cmap = colour_map if compared else "vik"
                pygmt.makecpt(cmap=cmap, series=list(series), background=True, overrule_bg=True)
                draw_field(figure, field, panel, heading=letter(index, name), west=not index)
                draw_colour_bar(figure, label, position=below_panel(panel, share=0.85))
    return figure
