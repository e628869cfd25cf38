"""A made sector as a map-maker sees it: bed from sparse lines, surface, velocity, accumulation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr
from scipy import ndimage
from scipy.interpolate import make_interp_spline

from fieldwise.fields.datums import ELLIPSOID
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.resampling import block_mean
from fieldwise.fields.tiles import cut
from fieldwise.sandbox import radar
from fieldwise.sandbox.patches import draw_patches
from fieldwise.sandbox.sector import CRS, Sector, ice_velocity
from fieldwise.sandbox.worlds import World
from fieldwise.surveys.gmt import load_gmt

LOWRES_SPACING, SURFACE_SPACING, VELOCITY_SPACING = 1000.0, 100.0, 450.0


@dataclass(frozen=True)
class SeenSurface:
    """The surface of a sector as it is seen.

    Attributes
    ----------
    fine
        At 100 m, with noise, missing in the holes.
    filled
        At 200 m, where the holes are filled from another, smoother source.
    noise
        (y, x) of the fine one, m, holes included.
    """

    fine: xr.DataArray
    filled: xr.DataArray
    noise: np.ndarray


def make_heights(values: np.ndarray, grid: Grid, *, name: str) -> xr.DataArray:
    """Make a field of heights over the ellipsoid.

    >>> make_heights(np.zeros((2, 2)), Grid(0, 0, 500, 500, 250, "EPSG:3031"), name="bed").attrs["units"]
    'm'
    """
    return make_field(values, grid, name=name, vertical_datum=ELLIPSOID)


def grid_lowres_bed(picks: pd.DataFrame, box: Grid) -> xr.DataArray:
    """Grid the sparse picks at 1 km as a spline in tension: block median, then GMT surface.

    >>> x, y = (1000.0 * axis.ravel() for axis in np.mgrid[0:6, 0:6] + 0.5)
    >>> picks = pd.DataFrame({"x": x, "y": y, "ELEVATION": 900.0, "BOTTOM": 1300.0})  # bed at -400 m
    >>> lowres = grid_lowres_bed(picks, Grid(0, 0, 6000, 6000, 250, "EPSG:3031"))
    >>> lowres.shape, round(float(lowres.mean()))
    ((6, 6), -400)
    """
    picked = picks[picks["BOTTOM"] != radar.MISSING]
    points = pd.DataFrame({"x": picked["x"], "y": picked["y"], "z": picked["ELEVATION"] - picked["BOTTOM"]})
    half = LOWRES_SPACING / 2
    region = [box.west + half, box.east - half, box.south + half, box.north - half]  # nodes are cell centres
    pygmt = load_gmt()
    medians = pygmt.blockmedian(points, region=region, spacing=LOWRES_SPACING)
    gridded = pygmt.surface(medians, region=region, spacing=LOWRES_SPACING, tension=0.35, verbose="error")
    lowres = replace(box, spacing=LOWRES_SPACING)
    return make_heights(gridded.values[::-1].astype(np.float32), lowres, name="bed_elevation")


def see_surface(sector: Sector, *, rng: np.random.Generator) -> SeenSurface:
    """See the surface at 100 m with the noise and holes of the sector's world, and filled at 200 m.

    >>> from fieldwise.sandbox.sector import make_sector
    >>> sector = make_sector(60e3, rng=np.random.default_rng(7), world=World(surface_holes=0.1))
    >>> seen = see_surface(sector, rng=np.random.default_rng(7))
    >>> seen.fine.shape, seen.filled.shape, round(float(seen.fine.isnull().mean()), 3)
    ((600, 600), (300, 300), 0.1)
    """
    world, grid = sector.world, replace(sector.box, spacing=SURFACE_SPACING)
    surface = make_interp_spline(sector.grid.y[::-1], sector.surface_m[::-1])(grid.y[::-1])[::-1]
    surface = make_interp_spline(sector.grid.x, surface.T)(grid.x).T.astype(np.float32)
    noise = world.surface_noise_m * rng.standard_normal(grid.shape, dtype=np.float32)
    shared = ndimage.gaussian_filter(
        rng.standard_normal(grid.shape, dtype=np.float32), world.surface_blur_m / SURFACE_SPACING, mode="wrap"
    )
    noise += world.surface_blurred_noise_m / shared.std() * shared
    holes = draw_patches(grid.shape, fraction=world.surface_holes, length_cells=40, rng=rng)
    seen = surface + noise
    filled = block_mean(np.where(holes, surface + ndimage.gaussian_filter(noise, 5), seen), 2)
    name = "surface_elevation"
    return SeenSurface(
        make_heights(np.where(holes, np.nan, seen), grid, name=name),
        make_heights(filled, replace(grid, spacing=2 * SURFACE_SPACING), name=name),
        noise,
    )


def surface_noise_power(world: World, east: np.ndarray, north: np.ndarray) -> np.ndarray:
    """Give the power of the noise of the surface (m2 per (rad/m)2 x 4 pi2) by wavenumber, rad/m.

    >>> world = World(surface_noise_m=1.0, surface_blurred_noise_m=1e-9)
    >>> float(surface_noise_power(world, np.array(0.0), np.array(1e-3)).round())  # 1 m2 x (100 m)2
    10000.0
    """
    blur, blurred = world.surface_blur_m, world.surface_blurred_noise_m
    white = world.surface_noise_m**2 * SURFACE_SPACING**2
    return white + blurred**2 * 4 * np.pi * blur**2 * np.exp(-(east**2 + north**2) * blur**2)


def see_velocity(sector: Sector, *, rng: np.random.Generator) -> xr.Dataset:
    """See the ice velocity to the east and north of the grid (m/a), VX and VY, at 450 m with noise and holes.

    >>> from fieldwise.sandbox.sector import make_sector
    >>> velocity = see_velocity(make_sector(60e3, rng=np.random.default_rng(7)), rng=np.random.default_rng(7))
    >>> bool(velocity["VX"].mean() < 0)  # the ice goes west
    True
    """
    world = sector.world
    grid = Grid.around(sector.box.bounds, VELOCITY_SPACING, CRS)
    holes = draw_patches(grid.shape, fraction=world.velocity_holes, length_cells=10, rng=rng)
    dataset = xr.Dataset()
    for name, values in zip(("VX", "VY"), ice_velocity(sector), strict=True):
        field = make_field(values, sector.grid, name=name)
        sampled = cut(field, [grid.bounds], spacing=VELOCITY_SPACING)[0]
        sampled += world.velocity_noise_m_a * rng.standard_normal(grid.shape, dtype=np.float32)
        long_name = f"ice velocity to the {'east' if name == 'VX' else 'north'} of the grid"
        dataset[name] = make_field(
            np.where(holes, np.nan, sampled), grid, name=name, units="m/year", long_name=long_name
        )
    return dataset


def see_accumulation(sector: Sector) -> xr.DataArray:
    """See the accumulation of snow at 1 km, without error.

    >>> from fieldwise.sandbox.sector import make_sector
    >>> see_accumulation(make_sector(60e3, rng=np.random.default_rng(7))).attrs["units"]
    'kg m-2 a-1'
    """
    kilometre = replace(sector.box, spacing=LOWRES_SPACING)
    values = sector.fine(sector.sheet.accumulation, kilometre)
    return make_field(values, kilometre, name="snow_accumulation", units="kg m-2 a-1")
