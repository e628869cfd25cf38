"""Surveys: tables of picks through a JSON pipeline, parted by flights and areas, and from picks to a grid."""

from fieldwise.surveys.flights import (
    longest_flight,
    number_flights,
    open_flights,
    read_flights,
    write_flights,
)
from fieldwise.surveys.gridding import grid_on_map, grid_survey, region_of, spline_cells
from fieldwise.surveys.held_out import HeldOut, cells_with, choose_held_out
from fieldwise.surveys.picks import read_survey
from fieldwise.surveys.targets import write_targets

__all__ = [
    "HeldOut",
    "cells_with",
    "choose_held_out",
    "grid_on_map",
    "grid_survey",
    "longest_flight",
    "number_flights",
    "open_flights",
    "read_flights",
    "read_survey",
    "region_of",
    "spline_cells",
    "write_flights",
    "write_targets",
]
