"""Weather drawn: maps of the globe, classes and tracks, and how far they can be believed."""

from fieldwise.figures.weather.classes import draw_confusion, draw_reliability
from fieldwise.figures.weather.globes import draw_class_maps, draw_frequency_maps

__all__ = ["draw_class_maps", "draw_confusion", "draw_frequency_maps", "draw_reliability"]
