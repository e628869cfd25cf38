"""Tracks of storms and rivers: what they come to, where they are, whether they are real; their files."""

from fieldwise.scores.tracks.basins import basin_of
from fieldwise.scores.tracks.census import (
    count_present,
    find_landfalls,
    genesis_map,
    occurrence_map,
    summarise_tracks,
    take_census,
)
from fieldwise.scores.tracks.files import read_tracks, write_geojson, write_landfalls, write_tracks
from fieldwise.scores.tracks.matches import LEAST_H, TrackSums, add_cover

__all__ = [
    "LEAST_H",
    "TrackSums",
    "add_cover",
    "basin_of",
    "count_present",
    "find_landfalls",
    "genesis_map",
    "occurrence_map",
    "read_tracks",
    "summarise_tracks",
    "take_census",
    "write_geojson",
    "write_landfalls",
    "write_tracks",
]
