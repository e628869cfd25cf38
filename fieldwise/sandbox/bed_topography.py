"""A made sector of Antarctica whose bed is known, observed as the real one is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import shapely
import xarray as xr
import yaml
from tqdm import tqdm

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds, Grid, make_field
from fieldwise.fields.rasters import write_cog, write_netcdf
from fieldwise.fields.resampling import block_mean
from fieldwise.fields.tiles import cut
from fieldwise.physics.local_filters import wiener_estimate
from fieldwise.physics.spectra import power_of, wavenumbers
from fieldwise.sandbox import radar
from fieldwise.sandbox.observations import (
    LOWRES_SPACING,
    SURFACE_SPACING,
    grid_lowres_bed,
    make_heights,
    see_accumulation,
    see_surface,
    see_velocity,
    surface_noise_power,
)
from fieldwise.sandbox.sector import CRS, MARGIN, SPACING, Sector, check_size, make_sector
from fieldwise.sandbox.worlds import World
from fieldwise.surveys.gmt import load_gmt

ASSUMPTIONS = (
    "Best linear estimate of the departure of the bed from the cubic low-res bed, given the surface, on 1 km "
    "cells. Known to it: transfer function with thickness, slip ratio, slope and direction of each place, "
    "spectra of the departure (taken as stationary) and of the noise of the surface, and the bed beyond the "
    "sector. Not used: velocity, accumulation, where the flight lines lie, what is finer than 1 km. A method "
    "with these can do a little better; one that has to learn the transfer will do worse."
)


def make_bed_topography(
    out: Path,
    *,
    seed: int = 7,
    size_km: float = 250.0,
    world: World | None = None,
    bound: bool = True,
    progress: bool = True,
) -> Path:
    """Make a sector of Antarctica with a known bed, in the formats and under the names of the real files.

    Parameters
    ----------
    out
        Folder to write to: highres/, lowres/, misc/, truth/ and sandbox.yaml.
    seed
        Of everything drawn: the same seed gives the same arrays.
    size_km
        Edge of the square sector, 60 to 400 km, a multiple of 2.
    world
        What the sector is like and how it is observed; the defaults of `World` where none is given.
    bound
        Whether to work out the best linear estimate too, which a map is judged beside; it takes a while.
    progress
        Whether to show a progress bar.

    Returns
    -------
    pathlib.Path
        sandbox.yaml, which names the files as a user would name his own.

    Raises
    ------
    InputError
        Where the size, or the world's spacing of lines, cannot be used.
    """
    world = world or World()
    check_size(size_km)
    spacing, most = world.line_spacing_m, size_km * 1e3 / 4
    if not 2e3 <= spacing <= most:
        raise InputError(f"line_spacing_m is {spacing:g}; take 2000 to {most:g}, a quarter of the size")
    load_gmt()  # the low-res bed needs it: said before anything is made
    out = Path(out)
    streams = iter(np.random.default_rng(seed).spawn(6))
    with tqdm(total=6, desc="sandbox", disable=not progress) as bar:

        def done(what: str) -> None:
            bar.set_postfix_str(what)
            bar.update()

        sector = make_sector(size_km * 1e3, world=world, rng=next(streams))
        done("bed and ice")
        surveys = _fly_surveys(sector, out / "highres", rng=next(streams))
        done("radar")
        lowres = grid_lowres_bed(surveys["sparse_lines"], sector.box)
        write_cog(lowres, out / "lowres" / "bedmap2_bed.tif")
        done("low-res bed")
        seen = see_surface(sector, rng=next(streams))
        write_cog(seen.fine, out / "misc" / "REMA_100m_dem.tif")
        write_cog(seen.filled, out / "misc" / "REMA_200m_dem_filled.tif")
        done("surface")
        _write_ice(sector, out / "misc", rng=next(streams))
        done("velocity, accumulation, grounding line")
        _write_bed(sector.crop(sector.bed_m), sector.box, out / "truth" / "bed.tif")
        if bound:
            _write_bound(sector, lowres, seen.noise, surveys, out / "truth")
        done("truth and bound")
    blocks = sorted(name for name in surveys if name.startswith("block"))
    return _write_sources(out, sector.box, blocks, bound=bound)


def place_blocks(box: Grid) -> tuple[dict[str, Bounds], list[float]]:
    """Place the dense survey blocks of a sector, and the corridors between their rows.

    Returns
    -------
    tuple
        Blocks by name, `held_out_block` among them, and the y of the middle of each corridor.

    >>> blocks, corridors = place_blocks(Grid(0, 0, 250e3, 250e3, 250, "EPSG:3031"))
    >>> len(blocks), blocks["held_out_block"], [round(y) for y in corridors]
    (7, (112000.0, 105000.0, 152000.0, 145000.0), [83333, 166667])
    """
    size = box.east - box.west
    side = max(0.16 * size, 14e3) // 1e3 * 1e3
    columns, rows = ((0.22, 0.53, 0.84), 3) if size >= 150e3 else ((0.32, 0.78), 2)
    sites = [(column, row) for row in range(rows) for column in columns]
    held_out = sites[len(columns) + 1]
    sites = [site for site in sites if site != held_out and site not in ((0.84, 0), (0.53, 2))]
    names = {f"block_{letter}": site for letter, site in zip("abcdef", sites)} | {"held_out_block": held_out}
    blocks = {}
    for name, (column, row) in names.items():
        west = np.floor((box.west + column * size - side / 2) / 1e3) * 1e3
        south = np.floor((box.south + (row + 0.5) / rows * size - side / 2) / 1e3) * 1e3
        blocks[name] = (float(west), float(south), float(west + side), float(south + side))
    return blocks, [box.south + row / rows * size for row in range(1, rows)]


def _fly_surveys(sector: Sector, folder: Path, *, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Fly the dense blocks, the sparse lines and the held-out flights; write and return their picks.

    Sparse lines run north to south, with three tie lines through the rows of blocks; held-out flights
    run west to east in the corridors, so that they meet every distance from the sparse lines.
    """
    box, world = sector.box, sector.world
    size, wander = box.east - box.west, world.line_wander_m
    blocks, corridors = place_blocks(box)
    flown = {name: radar.fly_block(bounds, line_spacing_m=500.0, rng=rng) for name, bounds in blocks.items()}
    flown["sparse_lines"] = radar.fly_sparse_lines(
        box, spacing_m=world.line_spacing_m, ties=len(corridors) + 1, wander_m=wander, rng=rng
    )
    aside = min(6e3, 0.05 * size)
    coast = box.west + max(world.shelf_share + 0.02, 0) * size
    flown["held_out_flights"] = [
        radar.fly_line((coast, y + off), (box.east, y + off), wander_m=wander, rng=rng)
        for y in corridors
        for off in (-aside, aside)
    ]
    scene = radar.Scene(sector.grid, sector.bed_m, sector.surface_m)
    tables = {}
    for year, (name, lines) in enumerate(flown.items(), start=2004):
        tables[name] = radar.measure(lines, scene, world=world, season=year, rng=rng)
        radar.write_survey(tables[name], folder, name, crs=CRS)
    return tables


def _write_ice(sector: Sector, folder: Path, *, rng: np.random.Generator) -> None:
    """Write ice velocity, accumulation and the polygon of the grounded ice."""
    write_netcdf(see_velocity(sector, rng=rng), folder / "antarctic_ice_vel_phase_map_v01.nc")
    write_cog(see_accumulation(sector), folder / "Arthern_accumulation_bedmap2_grid1.tif")
    _write_grounding_line(sector, folder)


def _write_grounding_line(sector: Sector, folder: Path) -> None:
    """Write the polygon of the grounded ice, from the coast to beyond the other edges of the sector."""
    inland, grid = sector.sheet.inland_m, sector.sheet.grid
    coast = [float(np.interp(0.0, row, grid.x)) for row in inland]
    ring = [*zip(coast, grid.y), (grid.east, grid.south), (grid.east, grid.north)]
    frame = geopandas.GeoDataFrame({"NAME": ["made sector"]}, geometry=[shapely.Polygon(ring)], crs=CRS)
    frame.to_file(folder / "GroundingLine_Antarctica_v2.shp")


def _write_bed(heights: np.ndarray, box: Grid, path: Path) -> None:
    write_cog(make_heights(heights, box, name="bed_elevation"), path)


def _write_bound(
    sector: Sector, lowres: xr.DataArray, noise: np.ndarray, surveys: dict[str, pd.DataFrame], folder: Path
) -> None:
    """Write the best linear estimate of the bed, and how far it and cubic resampling are off."""
    box = sector.box
    bed = sector.crop(sector.bed_m)
    cubic = cut(lowres, [box.bounds], spacing=SPACING, method="cubic")[0]
    estimate = cubic + _estimate_departure(sector, bed - cubic, noise)
    _write_bed(estimate, box, folder / "bed_wiener.tif")
    scene = radar.Scene(box, bed, bed)
    grounded = sector.crop(sector.fine(sector.sheet.inland_m)) > 0
    parts: dict[str, dict[str, float]] = {
        "": {},
        "_grounded": {},
        "_held_out_flights": {},
        "_held_out_block": {},
    }
    for name, guess in (("wiener", estimate), ("cubic", cubic)):
        error = guess - bed
        parts[""][name] = _rmse(error)
        parts["_grounded"][name] = _rmse(error[grounded])
        for survey in ("held_out_flights", "held_out_block"):
            picks = surveys[survey]
            parts[f"_{survey}"][name] = _rmse(
                scene.sample(error, picks["x"].to_numpy(), picks["y"].to_numpy())
            )
    known = {f"rmse_m{part}": values for part, values in parts.items()} | {"assumes": ASSUMPTIONS}
    with replace_when_done(folder / "bound.json") as partial:
        partial.write_text(json.dumps(known, indent=2) + "\n")


def _rmse(error: np.ndarray) -> float:
    return round(float(np.sqrt(np.mean(np.square(error, dtype=np.float64)))), 3)


def _estimate_departure(sector: Sector, departure: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Estimate the departure of the bed from its low-res map (m) from the noisy surface, on cells of 1 km."""
    cells, kilometre = round(LOWRES_SPACING / SPACING), replace(sector.grid, spacing=LOWRES_SPACING)
    grounded = sector.fine(sector.sheet.grounded, kilometre)
    padded = np.pad(departure, round(MARGIN / SPACING))
    seen = sector.fine(sector.sheet.grounded) * sector.see(padded)
    noise = block_mean(noise, round(LOWRES_SPACING / SURFACE_SPACING))
    seen = block_mean(seen, cells) + np.pad(noise, round(MARGIN / LOWRES_SPACING), mode="reflect")
    coarse = block_mean(padded, cells)
    inside = block_mean(np.pad(np.ones_like(departure), round(MARGIN / SPACING)), cells)
    east, north = wavenumbers(coarse.shape, LOWRES_SPACING)
    estimate = wiener_estimate(
        seen,
        signal_power=power_of(coarse, spacing=LOWRES_SPACING, share=float(inside.mean())),
        noise_power=surface_noise_power(sector.world, east, north),
        responses=sector.transfer.responses(east, north),
        weights=grounded * np.stack([sector.fine(plane, kilometre) for plane in sector.transfer.weights]),
        known=inside,
        spacing=LOWRES_SPACING,
    )
    field = make_field(estimate, kilometre, name="departure")
    return cut(field, [sector.box.bounds], spacing=SPACING, method="cubic")[0]


def _write_sources(out: Path, box: Grid, blocks: list[str], *, bound: bool) -> Path:
    """Write sandbox.yaml: the files of the sandbox, listed as a user lists his own.

    Rasters say themselves what their heights count from; for text files the list says it.
    """
    sources = {
        "crs": CRS,
        "spacing_m": int(SPACING),
        "lowres_spacing_m": int(LOWRES_SPACING),
        "region": [int(edge) for edge in box.bounds],
        "inputs": {
            "bed_lowres": {"path": "lowres/bedmap2_bed.tif", "spacing_m": 1000},
            "surface_elevation": {
                "path": "misc/REMA_100m_dem.tif",
                "fill_from": "misc/REMA_200m_dem_filled.tif",
                "spacing_m": 100,
            },
            "ice_velocity": {
                "path": "misc/antarctic_ice_vel_phase_map_v01.nc",
                "variables": ["VX", "VY"],
                "spacing_m": 500,
            },
            "snow_accumulation": {"path": "misc/Arthern_accumulation_bedmap2_grid1.tif", "spacing_m": 1000},
        },
        "surveys": _list_surveys(blocks),
        "radar": _list_surveys(["sparse_lines"]),
        "grounding_line": {"path": "misc/GroundingLine_Antarctica_v2.shp", "buffer_m": 10000},
        "held_out": {"surveys": _list_surveys(["held_out_flights", "held_out_block"])},
        "truth": {"path": "truth/bed.tif"},
    }
    if bound:
        sources["bound"] = {"path": "truth/bed_wiener.tif"}
    path = out / "sandbox.yaml"
    with replace_when_done(path) as partial:
        partial.write_text(
            "# A made sector of Antarctica whose bed is known. Paths are relative to this file.\n"
            "# highres/sparse_lines.json holds the picks that the low-res bed was gridded from.\n"
            + yaml.safe_dump(sources, sort_keys=False)
        )
    return path


def _list_surveys(names: Iterable[str]) -> list[dict[str, str]]:
    return [{"path": f"highres/{name}.json", "datum": "ellipsoid"} for name in names]
