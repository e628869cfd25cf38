"""Draw boxes of two and three dimensions: slices, densities, spectra and members of an ensemble."""

from fieldwise.figures.volumes.members import draw_members
from fieldwise.figures.volumes.slices import draw_densities, draw_slices
from fieldwise.figures.volumes.spectra import draw_spectra

__all__ = ["draw_densities", "draw_members", "draw_slices", "draw_spectra"]
