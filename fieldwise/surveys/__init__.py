"""Surveys: tables of picks through a JSON pipeline, parted by flights and areas, and from picks to a grid."""

from fieldwise.surveys.dense import REACH_CELLS, find_dense, lay_out
from fieldwise.surveys.flights import (
    LINE_GAP_M,
    find_line,
    follow_lines,
    longest_flight,
    number_flights,
    open_flights,
    read_flights,
    steps_of,
    write_flights,
)
from fieldwise.surveys.gridding import grid_on_map, grid_survey, region_of, spline_cells
from fieldwise.surveys.held_out import HeldOut, cells_with, choose_held_out
from fieldwise.surveys.picks import read_survey
from fieldwise.surveys.targets import write_targets

__all__ = [
    "LINE_GAP_M",
    "REACH_CELLS",
    "HeldOut",
    "cells_with",
    "choose_held_out",
    "find_dense",
    "find_line",
    "follow_lines",
    "grid_on_map",
    "grid_survey",
    "lay_out",
    "longest_flight",
    "number_flights",
    "open_flights",
    "read_flights",
    "read_survey",
    "region_of",
    "spline_cells",
    "steps_of",
    "write_flights",
    "write_targets",
]
