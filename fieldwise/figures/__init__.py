"""Draw fields, flights and training curves with GMT; every function returns a pygmt.Figure and saves nothing.

Maps are in kilometres and missing cells grey; colour maps are scientific ones that colour-blind readers can
tell apart (Crameri 2018); every colour bar names its quantity and unit; panels to be compared share limits.
"""

from fieldwise.figures.curves import draw_error_histogram, draw_flight, draw_loss_curves
from fieldwise.figures.maps import draw_closeups, draw_inputs, draw_map, draw_roughness
from fieldwise.figures.perspectives import draw_perspectives

__all__ = [
    "draw_closeups",
    "draw_error_histogram",
    "draw_flight",
    "draw_inputs",
    "draw_loss_curves",
    "draw_map",
    "draw_perspectives",
    "draw_roughness",
]
