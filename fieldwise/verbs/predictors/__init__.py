"""Trained networks as plain functions from the fields of a window to maps in physical units."""

from fieldwise.verbs.predictors.applied import (
    BEYOND,
    STYLE,
    WHOLE,
    Arrays,
    Predictor,
    draw_window,
    to_float32,
)
from fieldwise.verbs.predictors.loaded import load_predictor

__all__ = [
    "BEYOND",
    "STYLE",
    "WHOLE",
    "Arrays",
    "Predictor",
    "draw_window",
    "load_predictor",
    "to_float32",
]
