"""Draw fields, flights, networks and training curves; every `draw_` returns a figure.

Maps of regions with coastlines, and landscapes, are drawn by GMT (a pygmt.Figure), all else by matplotlib
(its Figure, which Jupyter shows by itself); :func:`save_figure` saves both. Only what GMT draws needs GMT.

Figures have the width of a journal's column, of one and a half, or of its page (8.3, 12 and 17 cm), with no
letter below 6 points; :func:`save_table` writes tables as Markdown, LaTeX and CSV.

Maps are in kilometres, those of the globe in degrees, and missing cells grey; colour maps are even ones that
colour-blind readers can tell apart (Crameri 2018); every colour bar names its quantity and unit; panels to be
compared share limits.
"""

from fieldwise.figures.architecture import draw_architecture
from fieldwise.figures.comparisons import draw_comparison, draw_inputs, draw_tiles
from fieldwise.figures.curves import (
    draw_error_histogram,
    draw_flight,
    draw_flight_members,
    draw_loss_curves,
)
from fieldwise.figures.forecasts import (
    draw_cases,
    draw_conditional_quantiles,
    draw_hours,
    draw_latency,
    draw_leads,
    draw_ranks,
)
from fieldwise.figures.maps import (
    draw_closeups,
    draw_map,
    draw_roughness,
    draw_shaded,
)
from fieldwise.figures.panels import Plate, Printed, print_plate, save_figure, try_to_draw
from fieldwise.figures.perspectives import draw_perspectives
from fieldwise.figures.places import Places, choose_boxes, choose_places
from fieldwise.figures.studies import (
    draw_study_courses,
    draw_study_history,
    draw_study_importance,
    draw_study_parameters,
)
from fieldwise.figures.tables import save_table
from fieldwise.figures.volumes import draw_densities, draw_members, draw_slices, draw_spectra
from fieldwise.figures.weather import (
    draw_class_maps,
    draw_confusion,
    draw_frequency_maps,
    draw_reliability,
)

__all__ = [
    "Places",
    "Plate",
    "Printed",
    "choose_boxes",
    "choose_places",
    "draw_architecture",
    "draw_cases",
    "draw_class_maps",
    "draw_closeups",
    "draw_comparison",
    "draw_conditional_quantiles",
    "draw_confusion",
    "draw_densities",
    "draw_error_histogram",
    "draw_flight",
    "draw_flight_members",
    "draw_frequency_maps",
    "draw_hours",
    "draw_inputs",
    "draw_latency",
    "draw_leads",
    "draw_loss_curves",
    "draw_map",
    "draw_members",
    "draw_perspectives",
    "draw_ranks",
    "draw_reliability",
    "draw_roughness",
    "draw_shaded",
    "draw_slices",
    "draw_spectra",
    "draw_study_courses",
    "draw_study_history",
    "draw_study_importance",
    "draw_study_parameters",
    "draw_tiles",
    "print_plate",
    "save_figure",
    "save_table",
    "try_to_draw",
]
