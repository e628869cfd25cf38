"""A made sector of an ice sheet: its smooth shape, and the ice that flows down it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from fieldwise.fields.grids import Grid
from fieldwise.physics.mass_conservation import ICE_DENSITY
from fieldwise.sandbox.worlds import World


@dataclass(frozen=True)
class IceSheet:
    """Smooth fields on a coarse grid, each (y, x).

    Attributes
    ----------
    inland_m
        Distance from the grounding line, negative on the ice shelf.
    profile_m, bed_m
        Surface and bed without their undulations.
    relief_m
        Troughs and mountains, the part of the smooth bed that the profile does not account for.
    slope, direction
        Tangent of the surface's slope, and where the ice goes (rad from east).
    accumulation
        kg m-2 a-1.
    mean_speed
        Balance flux over thickness, m/a: the mean over the depth.
    slip
        Sliding over deformational velocity.
    """

    grid: Grid
    inland_m: np.ndarray
    profile_m: np.ndarray
    bed_m: np.ndarray
    relief_m: np.ndarray
    slope: np.ndarray
    direction: np.ndarray
    accumulation: np.ndarray
    mean_speed: np.ndarray
    slip: np.ndarray

    @property
    def thickness_m(self) -> np.ndarray:
        """Smooth ice thickness, at least 300 m."""
        return np.maximum(self.profile_m - self.bed_m, 300.0)

    @property
    def grounded(self) -> np.ndarray:
        """1 where ice rests on its bed, 0 where it floats, with a smooth step 4 km wide."""
        return smooth_step(self.inland_m / 4e3)


def smooth_step(values: np.ndarray) -> np.ndarray:
    """Rise smoothly from 0 at 0 to 1 at 1.

    >>> smooth_step(np.array([-1.0, 0.5, 2.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    clipped = np.clip(values, 0, 1)
    return clipped**2 * (3 - 2 * clipped)


def make_ice_sheet(
    grid: Grid, *, world: World, coast_x: float, centre_y: float, rng: np.random.Generator
) -> IceSheet:
    """Make the smooth part of a sector: a dome that drains to the west through its ice streams.

    Parameters
    ----------
    grid
        Coarse (about 2 km), reaching far enough inland that the flux is whole.
    coast_x, centre_y
        Mean x of the grounding line; y of the crest of the dome.

    >>> grid = Grid(0, -150e3, 300e3, 150e3, 4e3, "EPSG:3031")
    >>> sheet = make_ice_sheet(
    ...     grid, world=World(), coast_x=15e3, centre_y=0.0, rng=np.random.default_rng(7))
    >>> bool(sheet.mean_speed.max() > 20 * np.median(sheet.mean_speed))
    True
    """
    x, y = np.meshgrid(grid.x - coast_x, grid.y - centre_y)
    phases = rng.uniform(0, 2 * np.pi, 2)
    inland = (
        x - 2e3 * np.sin(2 * np.pi * y / 70e3 + phases[0]) - 1e3 * np.sin(2 * np.pi * y / 31e3 + phases[1])
    )
    strengths, offsets = _draw_streams(inland, y, world, rng)
    share = np.clip(inland / world.divide_m, 0, 2)
    dome = (1 - np.abs(1 - share) ** (4 / 3)) ** 0.6
    profile = world.coast_surface_m + world.profile_height_m * dome + 5e-4 * np.minimum(inland, 0)
    profile -= 250 * (y / 150e3) ** 2 * np.clip(share, 0, 1)
    for strength, offset in zip(strengths, offsets, strict=True):
        profile -= 130 * strength * smooth_step(inland / 40e3) * np.exp(-0.5 * (offset / 13e3) ** 2)
    profile = ndimage.gaussian_filter(profile, 3e3 / grid.spacing, mode="nearest")
    relief = _lay_relief(inland, y, strengths, offsets, world, rng)
    bed = relief + world.bed_level_m + world.bed_rise_m * np.clip(share, 0, 1)

    north, east = np.gradient(profile, -grid.spacing, grid.spacing)
    slope = np.clip(np.hypot(east, north), 0.002, 0.05)
    accumulation = world.accumulation_coast * np.exp(-np.maximum(inland, 0) / 70e3)
    accumulation += world.accumulation_inland
    accumulation *= 1 + 0.1 * np.sin(2 * np.pi * (y + 0.4 * x) / 120e3 + phases[0])
    flux = route_flux(profile, np.where(inland > 0, accumulation / ICE_DENSITY, 0.0), spacing=grid.spacing)
    flux = world.speed_factor * ndimage.gaussian_filter(flux, 4e3 / grid.spacing, mode="nearest")
    speed = np.clip(flux / np.maximum(profile - bed, 300.0), 2.0, world.speed_limit_m_a)
    return IceSheet(
        grid=grid,
        inland_m=inland,
        profile_m=profile,
        bed_m=bed,
        relief_m=relief,
        slope=slope,
        direction=np.arctan2(-north, -east),
        accumulation=accumulation,
        mean_speed=speed,
        slip=_slip_at(speed, world, grid.spacing),
    )


def _slip_at(speed: np.ndarray, world: World, spacing: float) -> np.ndarray:
    """Give the slip ratio of ice that moves at a mean speed (m/a)."""
    starts, full = world.sliding_starts_m_a, world.sliding_is_full_m_a
    fastness = np.clip(np.log(speed / starts) / np.log(full / starts), 0, 1)
    fastness = ndimage.gaussian_filter(fastness, 4e3 / spacing, mode="nearest")
    return world.slowest_slip * (world.fastest_slip / world.slowest_slip) ** fastness


def _draw_streams(
    inland: np.ndarray, y: np.ndarray, world: World, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draw the ice streams: strength, 1 at the coast and 0 at the head, and distance to the axis of each."""
    strengths, offsets = [], []
    for axis in world.stream_axes_m:
        start, tilt = axis + rng.uniform(-8e3, 8e3), rng.uniform(-0.25, 0.25)
        bend = rng.uniform(4e3, 9e3) * np.sin(
            2 * np.pi * inland / rng.uniform(80e3, 130e3) + rng.uniform(0, 6)
        )
        offsets.append(y - start - tilt * np.maximum(inland, 0) - bend)
        strengths.append(smooth_step(1.1 - inland / rng.uniform(130e3, 180e3)))
    return strengths, offsets


def _lay_relief(
    inland: np.ndarray,
    y: np.ndarray,
    strengths: list[np.ndarray],
    offsets: list[np.ndarray],
    world: World,
    rng: np.random.Generator,
) -> np.ndarray:
    """Lay troughs under the streams and mountain blocks between them."""
    relief, in_stream = np.zeros_like(y), np.zeros_like(y)
    for strength, offset in zip(strengths, offsets, strict=True):
        trough = strength * np.exp(-0.5 * (offset / world.trough_width_m) ** 2)
        relief -= world.trough_depth_m * trough
        in_stream = np.maximum(in_stream, trough)
    for _ in range(world.mountains):
        middle = rng.uniform(60e3, world.divide_m - 10e3), rng.uniform(-120e3, 120e3)
        turn, length, width = rng.uniform(0, np.pi), rng.uniform(12e3, 20e3), rng.uniform(5e3, 8e3)
        east, north = inland - middle[0], y - middle[1]
        along = east * np.cos(turn) + north * np.sin(turn)
        across = north * np.cos(turn) - east * np.sin(turn)
        shape = np.exp(-0.5 * ((along / length) ** 2 + (across / width) ** 2))
        relief += rng.uniform(world.mountain_height_m / 2, world.mountain_height_m) * shape * (1 - in_stream)
    return relief


def route_flux(surface: np.ndarray, source: np.ndarray, *, spacing: float) -> np.ndarray:
    """Route what falls on a surface down its slope: the balance flux through each cell.

    Every cell passes what it receives, and its own, to its lower neighbours of eight in proportion to
    the slope towards them; all cells together are one sparse linear system.

    Parameters
    ----------
    surface
        (y, x) elevation, m.
    source
        (y, x) what falls, m/a of ice.
    spacing
        Cell size, m.

    Returns
    -------
    numpy.ndarray
        Flux for each metre of width, m2/a.

    Notes
    -----
    Multiple flow directions after Freeman (1991), Computers & Geosciences 17(3), 413-422.

    >>> slide = np.tile(np.arange(4.0)[None, :], (3, 1))  # down to the west, 1 m/a everywhere
    >>> route_flux(slide, np.ones((3, 4)), spacing=1.0).sum(axis=0).tolist()
    [12.0, 9.0, 6.0, 3.0]
    """
    number = np.arange(surface.size).reshape(surface.shape)
    givers, takers, slopes = [], [], []
    rows, columns = surface.shape
    for down, right in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        here = slice(max(0, -down), rows - max(0, down)), slice(max(0, -right), columns - max(0, right))
        there = slice(max(0, down), rows - max(0, -down)), slice(max(0, right), columns - max(0, -right))
        fall = (surface[here] - surface[there]) / np.hypot(down, right)
        lower = fall > 0
        givers.append(number[here][lower])
        takers.append(number[there][lower])
        slopes.append(fall[lower] ** 1.5)  # sharper than 1, lest streams spread
    giver, taker, weight = (np.concatenate(part) for part in (givers, takers, slopes))
    weight /= np.bincount(giver, weight, minlength=surface.size)[giver]
    passed = sparse.csc_matrix((weight, (taker, giver)), shape=(surface.size, surface.size))
    through = spsolve(sparse.eye(surface.size, format="csc") - passed, source.ravel() * spacing**2)
    return through.reshape(surface.shape) / spacing
