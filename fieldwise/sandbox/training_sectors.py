"""Made sectors to learn from, each a world of its own: the truth everywhere, and what a map-maker has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import shapely

from fieldwise.errors import InputError
from fieldwise.fields.gaps import fill_block, fill_narrow
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.resampling import block_mean
from fieldwise.fields.tiles import cut
from fieldwise.samples.inputs import WIDEST_GAP_CELLS
from fieldwise.sandbox import radar
from fieldwise.sandbox.observations import (
    LOWRES_SPACING,
    SURFACE_SPACING,
    VELOCITY_SPACING,
    grid_lowres_bed,
    see_accumulation,
    see_surface,
    see_velocity,
)
from fieldwise.sandbox.sector import CRS, Sector, check_size, make_sector
from fieldwise.sandbox.worlds import World, draw_world

WAVES = 400  # that the transfer is fitted to: enough, and quicker than the default
VELOCITY_CELL = 500.0  # as the recipe reads it
MOST_TIES, MOST_BLOCKS, MOST_LINES = 4, 4, 6
BLOCK_SIDE_M, BLOCK_SPACING_M = (8e3, 30e3), (400.0, 2000.0)


@dataclass(frozen=True)
class SectorFields:
    """A made sector as arrays: float32, rows from north to south, each over the whole of the box.

    Attributes
    ----------
    world, box
        What the sector is like; extent and CRS, at the 250 m of the truth.
    bed, grounded
        (y, x) at 250 m: the true bed (m), and where ice rests on it.
    bed_lowres
        (y, x) at 1 km, m, gridded from the sparse picks only.
    surface_elevation
        (y, x) at the spacing asked for, m: seen at 100 m with noise, holes filled, then averaged.
    ice_velocity
        (2, y, x) at 500 m, m/a to the east and north, with noise, narrow holes filled; NaN in wide ones.
    snow_accumulation
        (y, x) at 1 km, kg m-2 a-1.
    picks
        Radar picks inside the box: x, y, bed (m, with noise), the number of the line, and
        `in_lowres`: of the sparse lines behind `bed_lowres`, or of blocks and lines flown beside them.
    """

    world: World
    box: Grid
    bed: np.ndarray
    grounded: np.ndarray
    bed_lowres: np.ndarray
    surface_elevation: np.ndarray
    ice_velocity: np.ndarray
    snow_accumulation: np.ndarray
    picks: pd.DataFrame


def make_training_sector(
    *, seed: int, size_km: float = 128.0, world: World | None = None, surface_spacing_m: float = 500.0
) -> SectorFields:
    """Make a sector to learn from: the inputs as `prepare` would have them, before anything is derived.

    Parameters
    ----------
    seed
        Of everything drawn, of the world too where none is given.
    size_km
        Edge of the square sector, 60 to 400 km, a multiple of 2.
    surface_spacing_m
        Of the surface: 100, or a multiple that divides the sector.

    Raises
    ------
    InputError
        Where size or spacing cannot be used.

    >>> sector = make_training_sector(seed=7, size_km=60)
    >>> sector.bed.shape, sector.bed_lowres.shape, sector.surface_elevation.shape, sector.ice_velocity.shape
    ((240, 240), (60, 60), (120, 120), (2, 120, 120))
    >>> list(sector.picks)
    ['x', 'y', 'bed', 'line', 'in_lowres']
    """
    check_size(size_km)
    times = surface_spacing_m / SURFACE_SPACING
    if times < 1 or times % 1 or size_km * 1e3 % surface_spacing_m:
        raise InputError(
            f"surface_spacing_m is {surface_spacing_m:g}; take a multiple of 100 that divides {size_km:g} km"
        )
    streams = np.random.default_rng(seed).spawn(5)
    world = world or draw_world(streams[0])
    sector = make_sector(size_km * 1e3, world=world, rng=streams[1], waves=WAVES)
    sparse, beside = _fly_surveys(sector, rng=streams[2])
    return SectorFields(
        world=world,
        box=sector.box,
        bed=sector.crop(sector.bed_m).astype(np.float32),
        grounded=sector.fine(sector.sheet.inland_m, sector.box) > 0,
        bed_lowres=grid_lowres_bed(sparse, sector.box).values,
        surface_elevation=_fill_surface(sector, surface_spacing_m, rng=streams[3]),
        ice_velocity=_fill_velocity(sector, rng=streams[4]),
        snow_accumulation=see_accumulation(sector).values,
        picks=_list_picks(sparse, beside, sector.box),
    )


def _fly_surveys(sector: Sector, *, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Fly the sparse lines, northward or eastward, and beside them a few dense blocks and single lines."""
    world, box = sector.world, sector.box
    scene, wander = radar.Scene(sector.grid, sector.bed_m, sector.surface_m), world.line_wander_m
    sparse = radar.fly_sparse_lines(
        box,
        spacing_m=world.line_spacing_m,
        ties=int(rng.integers(1, MOST_TIES + 1)),
        wander_m=wander,
        rng=rng,
        first_m=rng.uniform(0, world.line_spacing_m),
        northward=bool(rng.integers(2)),
    )
    beside = []
    for _ in range(rng.integers(MOST_BLOCKS + 1)):
        side = rng.uniform(BLOCK_SIDE_M[0], min(BLOCK_SIDE_M[1], (box.east - box.west) / 3))
        west, south = rng.uniform(box.west, box.east - side), rng.uniform(box.south, box.north - side)
        spacing = float(np.exp(rng.uniform(*np.log(BLOCK_SPACING_M))))
        beside += radar.fly_block((west, south, west + side, south + side), line_spacing_m=spacing, rng=rng)
    for _ in range(rng.integers(MOST_LINES + 1)):
        beside.append(radar.fly_line(*_draw_crossing(box, rng), wander_m=wander, rng=rng))
    return (
        radar.measure(sparse, scene, world=world, season=2004, rng=rng),
        radar.measure(beside, scene, world=world, season=2005, rng=rng) if beside else None,
    )


def _draw_crossing(box: Grid, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draw where a straight line of any direction enters and leaves a box."""
    x, y, angle = rng.uniform(box.west, box.east), rng.uniform(box.south, box.north), rng.uniform(0, np.pi)
    far = 2 * (box.east - box.west)
    east, north = far * np.cos(angle), far * np.sin(angle)
    crossing = shapely.LineString([(x - east, y - north), (x + east, y + north)]) & shapely.box(*box.bounds)
    return list(crossing.coords)


def _list_picks(sparse: pd.DataFrame, beside: pd.DataFrame | None, box: Grid) -> pd.DataFrame:
    """Put picks where the bed was seen, inside the box, into one table; lines are numbered through."""
    tables = [sparse.assign(in_lowres=True)]
    if beside is not None:
        tables.append(beside.assign(in_lowres=False, line=beside["line"] + sparse["line"].max() + 1))
    table = pd.concat(tables, ignore_index=True)
    table["bed"] = table["ELEVATION"] - table["BOTTOM"]
    inside = table["x"].between(box.west, box.east) & table["y"].between(box.south, box.north)
    seen = inside & (table["BOTTOM"] != radar.MISSING)
    return table.loc[seen, ["x", "y", "bed", "line", "in_lowres"]].reset_index(drop=True)


def _fill_surface(sector: Sector, spacing: float, *, rng: np.random.Generator) -> np.ndarray:
    """See the surface, fill its holes from the smoother source, and average it."""
    seen, box = see_surface(sector, rng=rng), sector.box
    filled = fill_block(seen.fine.values, (box.west, box.north), SURFACE_SPACING, seen.filled)
    return block_mean(filled, round(spacing / SURFACE_SPACING))


def _fill_velocity(sector: Sector, *, rng: np.random.Generator) -> np.ndarray:
    """See the velocity, fill its narrow holes from around them, and bring it to the recipe's cells."""
    grid = Grid.around(sector.box.bounds, VELOCITY_SPACING, CRS)
    reach = round(WIDEST_GAP_CELLS * LOWRES_SPACING / VELOCITY_SPACING / 2)
    filled = [
        make_field(fill_narrow(field.values, reach=reach), grid, name=str(field.name))
        for field in see_velocity(sector, rng=rng).values()
    ]
    return np.stack([cut(field, [sector.box.bounds], spacing=VELOCITY_CELL)[0] for field in filled])
