"""Judge fields: errors, texture, vectors, how sure a score is, and scores as one long table."""

from fieldwise.fields.resampling import sample_at_points
from fieldwise.scores.errors import ErrorSums, bias, errors_of, mae, relative_l1, rmse, root_mean_square
from fieldwise.scores.maps import find_unseen, open_map, sample_maps, score_blocks
from fieldwise.scores.outputs import OutputSums
from fieldwise.scores.skill import bootstrap_interval, score_points, verdict
from fieldwise.scores.tables import (
    format_table,
    format_values,
    label_of,
    make_score,
    pick,
    read_scores,
    score_all,
    tabulate,
    to_csv,
    value_of,
)
from fieldwise.scores.texture import (
    RoughnessSums,
    radial_spectrum,
    roughness,
    roughness_along_track,
    roughness_ratio,
    tells_roughness,
)
from fieldwise.scores.vectors import compare_observed, cosines_of, direction_cosine, speed_of

__all__ = [
    "ErrorSums",
    "OutputSums",
    "RoughnessSums",
    "bias",
    "bootstrap_interval",
    "compare_observed",
    "cosines_of",
    "direction_cosine",
    "errors_of",
    "find_unseen",
    "format_table",
    "format_values",
    "label_of",
    "mae",
    "make_score",
    "open_map",
    "pick",
    "radial_spectrum",
    "read_scores",
    "relative_l1",
    "rmse",
    "root_mean_square",
    "roughness",
    "roughness_along_track",
    "roughness_ratio",
    "sample_at_points",
    "sample_maps",
    "score_all",
    "score_blocks",
    "score_points",
    "speed_of",
    "tabulate",
    "tells_roughness",
    "to_csv",
    "value_of",
    "verdict",
]
