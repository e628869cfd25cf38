"""A made sector of Antarctica on one fine grid: its bed, its surface, and how its ice moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from scipy import ndimage

from fieldwise.errors import InputError
from fieldwise.fields.grids import Grid, cover, make_field
from fieldwise.fields.resampling import block_mean
from fieldwise.fields.tiles import cut
from fieldwise.physics.local_filters import filter_locally
from fieldwise.physics.mass_conservation import sliding_depth_factor
from fieldwise.physics.spectra import power_law_spectrum, variance_of, wavenumbers
from fieldwise.physics.surface_transfer import LocalTransfer, expand_transfer
from fieldwise.sandbox.flow_classes import FlowClass, classify_flow
from fieldwise.sandbox.ice_sheet import IceSheet, make_ice_sheet
from fieldwise.sandbox.worlds import World

CRS = "EPSG:3031"
WEST, CENTRE_Y = -1_500_000.0, -275_000.0
SPACING, COARSE_SPACING = 250.0, 2000.0
MARGIN = 25_000.0  # around the sector, so that the periodic transforms do not meet themselves in it


@dataclass(frozen=True)
class Sector:
    """The made sector: its world, smooth ice sheet, fine bed and surface with a margin, box to show."""

    world: World
    grid: Grid
    box: Grid
    sheet: IceSheet
    bed_m: np.ndarray
    surface_m: np.ndarray
    transfer: LocalTransfer

    def crop(self, values: np.ndarray) -> np.ndarray:
        """Cut the margin off a field of the sector's grid."""
        margin = round((self.box.west - self.grid.west) / self.grid.spacing)
        return values[..., margin:-margin, margin:-margin]

    def fine(self, values: np.ndarray, grid: Grid | None = None) -> np.ndarray:
        """Interpolate one of the ice sheet's fields to a finer grid."""
        field = _blank_field(self.sheet.grid).copy(data=values)
        grid = grid or self.grid
        return cut(field, [grid.bounds], spacing=grid.spacing, method="cubic")[0]

    def see(self, undulation: np.ndarray) -> np.ndarray:
        """Give the undulation of the surface above one of the bed, both on the sector's grid.

        It is computed at twice the spacing: no wave that short reaches the surface.
        """
        coarse = replace(self.grid, spacing=2 * self.grid.spacing)
        halved = block_mean(undulation, 2)
        responses = self.transfer.responses(*wavenumbers(halved.shape, coarse.spacing))
        weights = (self.fine(plane, coarse) for plane in self.transfer.weights)
        seen = filter_locally(halved, responses, weights)
        field = make_field(seen, coarse, name="surface")
        return cut(field, [self.grid.bounds], spacing=self.grid.spacing, method="cubic", extend=True)[0]


@lru_cache(maxsize=4)
def _blank_field(grid: Grid) -> xr.DataArray:
    """Make a field to put values into: its coordinates and CRS take longer than interpolating it."""
    return make_field(np.empty(grid.shape), grid, name="field")


def check_size(size_km: float) -> None:
    """Refuse a sector of a size that cannot be made.

    >>> check_size(61)
    Traceback (most recent call last):
    fieldwise.errors.InputError: size_km is 61; take an even number of kilometres from 60 to 400
    """
    if not 60 <= size_km <= 400 or size_km % 2:
        raise InputError(f"size_km is {size_km:g}; take an even number of kilometres from 60 to 400")


def make_sector(
    size: float, *, rng: np.random.Generator, world: World | None = None, waves: int = 1500
) -> Sector:
    """Make bed and surface of a sector whose edge is `size` metres; `waves` as in `expand_transfer`.

    >>> sector = make_sector(60e3, rng=np.random.default_rng(7))
    >>> sector.crop(sector.bed_m).shape, bool((sector.surface_m > sector.bed_m).all())
    ((240, 240), True)
    """
    world = world or World()
    box, grid, coarse = _lay_grids(size, world)
    shape_rng, bed_rng, class_rng, transfer_rng = rng.spawn(4)
    sheet = make_ice_sheet(
        coarse,
        world=world,
        coast_x=WEST + world.shelf_share * size,
        centre_y=(box.south + box.north) / 2,
        rng=shape_rng,
    )
    flow: dict[str, Any] = {
        "thickness_m": sheet.thickness_m,
        "slip": sheet.slip,
        "slope": sheet.slope,
        "direction": sheet.direction,
    }
    west, south, east, north = grid.bounds
    aside = 2 * COARSE_SPACING  # which cubic interpolation reaches to
    near = cover(coarse, [(west - aside, south - aside, east + aside, north + aside)])
    local = expand_transfer(**flow, rng=transfer_rng, where=near, waves=waves)
    bare = Sector(world, grid, box, sheet, np.empty(0), np.empty(0), local)
    classes, coarse_weights = classify_flow(**flow, rng=class_rng)
    weights = np.maximum(np.stack([bare.fine(plane) for plane in coarse_weights]), 0)
    weights /= weights.sum(axis=0)
    smooth_bed, profile = bare.fine(sheet.bed_m), bare.fine(sheet.profile_m)
    bed = smooth_bed + _draw_roughness(grid, world, classes, weights, bed_rng)
    bed = np.minimum(bed, profile - 150)  # no nunataks
    undulation = bed - smooth_bed + bare.fine(sheet.relief_m)
    surface = np.maximum(profile + bare.fine(sheet.grounded) * bare.see(undulation), bed + 50)
    return replace(bare, bed_m=bed, surface_m=surface)


def _lay_grids(size: float, world: World) -> tuple[Grid, Grid, Grid]:
    """Lay the box to show, the fine grid with its margin, and the coarse one, which reaches the divide."""
    south = np.round((CENTRE_Y - size / 2) / 1e3) * 1e3
    box = Grid(WEST, south, WEST + size, south + size, SPACING, CRS)
    grid = Grid(box.west - MARGIN, box.south - MARGIN, box.east + MARGIN, box.north + MARGIN, SPACING, CRS)
    aside = max(size, 260e3) / 2 + 32e3
    inland = max(size, world.divide_m + 50e3) + 32e3  # of a small sector too the ice comes from the divide
    middle = south + size / 2
    coarse = Grid(grid.west - 8e3, middle - aside, WEST + inland, middle + aside, COARSE_SPACING, CRS)
    return box, grid, coarse


def _draw_roughness(
    grid: Grid, world: World, classes: list[FlowClass], weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw the random part of the bed, with its grain along the flow of each place."""
    east, north = wavenumbers(grid.shape, grid.spacing)

    def amplitude(one: FlowClass) -> np.ndarray:
        spectrum = power_law_spectrum(
            *one.along_and_across(east, north),
            slope=world.bed_spectral_slope,
            rolloff_m=world.bed_rolloff_m,
            stretch=world.bed_stretch,
        )
        variance = variance_of(spectrum, grid.shape[1], grid.spacing)
        return np.sqrt(spectrum / variance) * world.bed_roughness_m / grid.spacing

    white = rng.standard_normal(grid.shape, dtype=np.float32)
    return filter_locally(white, (amplitude(one) for one in classes), weights)


def ice_velocity(sector: Sector) -> tuple[np.ndarray, np.ndarray]:
    """Give the velocity of the ice surface to the east and north (m/a) on the sector's grid.

    The balance flux is divided by the thickness as the ice feels it (smoothed over 3 km, since
    stresses carry over about that far); sliding and deformation by a linear law make the surface
    faster than the mean over depth.
    """
    sheet = sector.sheet
    slip = sector.fine(sheet.slip)
    felt = ndimage.gaussian_filter(sector.surface_m - sector.bed_m, 3e3 / SPACING, mode="nearest")
    flux = np.maximum(sector.fine(sheet.mean_speed * sheet.thickness_m), 0)
    speed = flux / np.maximum(felt, 200) / sliding_depth_factor(slip)
    east, north = sector.fine(np.cos(sheet.direction)), sector.fine(np.sin(sheet.direction))
    length = np.maximum(np.hypot(east, north), 1e-3)
    speed = np.clip(speed, 0, sector.world.speed_limit_m_a)
    return speed * east / length, speed * north / length
