"""Tracks of storms and rivers: what they come to, where they are, and files of them."""

from fieldwise.scores.tracks.census import (
    count_present,
    find_landfalls,
    genesis_map,
    occurrence_map,
    summarise_tracks,
)
from fieldwise.scores.tracks.files import read_tracks, write_geojson, write_tracks

__all__ = [
    "count_present",
    "find_landfalls",
    "genesis_map",
    "occurrence_map",
    "read_tracks",
    "summarise_tracks",
    "write_geojson",
    "write_tracks",
]
