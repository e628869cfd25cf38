"""Surveys: tables of picks through a JSON pipeline, and from picks to a grid."""

from fieldwise.surveys.gridding import grid_survey, region_of
from fieldwise.surveys.picks import read_survey

__all__ = ["grid_survey", "read_survey", "region_of"]
