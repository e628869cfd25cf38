"""Made fields to draw, and the picture of a figure."""

import warnings

import numpy as np
import pygmt
import rasterio
from matplotlib.figure import Figure

from fieldwise.fields.grids import Grid, make_field

GRID = Grid(-1_000_000.0, -500_000.0, -980_000.0, -490_000.0, 250.0, "EPSG:3031")
EAST = Grid(-990_000.0, -500_000.0, -970_000.0, -490_000.0, 250.0, "EPSG:3031")
GREY = (229, 229, 229)  # gray90, of missing cells


def made(*, grid=GRID, seed=0):
    x, y = np.meshgrid(grid.x, grid.y)
    waves = 200 * np.sin(x / 2000) * np.cos(y / 3000)
    values = waves + np.random.default_rng(seed).normal(scale=10, size=grid.shape)
    return make_field(values, grid, name="bed")


def holed():
    field = made()
    field[5:15, 10:30] = np.nan
    return field


def empty():
    return made() * np.nan


def share_of(picture, colour, *, tolerance=2):
    return np.mean(np.all(np.abs(picture - np.reshape(colour, (3, 1, 1))) <= tolerance, axis=0))


def save_picture(folder, figure):
    """Save a figure coarsely and give its picture, (3, rows, columns)."""
    assert isinstance(figure, pygmt.Figure | Figure)
    path = folder / "figure.png"
    figure.savefig(path, dpi=100)
    assert path.stat().st_size > 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as picture:
            return picture.read()[:3].astype(int)
