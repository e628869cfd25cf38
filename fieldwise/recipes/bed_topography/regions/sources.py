"""A FILE.yaml opened: its inputs on one grid, what follows from them, and its surveys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from fieldwise.errors import InputError
from fieldwise.fields.arrays import ArrayModule
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.formats import read_area
from fieldwise.fields.grids import Grid
from fieldwise.fields.heights import Heights
from fieldwise.recipes.bed_topography.prepare import UNITS
from fieldwise.recipes.bed_topography.regions.derivation import add_lowres, derive_inputs
from fieldwise.recipes.bed_topography.regions.radar import find_radar
from fieldwise.recipes.bed_topography.regions.region import (
    ELEVATIONS,
    LOWRES,
    VECTORS,
    list_files,
    read_own_files,
)
from fieldwise.recipes.bed_topography.regions.surveys import prepare_targets, read_given, tile_area
from fieldwise.samples.cases import Case
from fieldwise.samples.inputs import add_inputs, prepare_inputs, read_heights
from fieldwise.samples.prepared import Draft
from fieldwise.surveys.gmt import load_gmt

DETRENDED = ("bed_lowres", "surface_elevation")
LEVELLED = ("surface_elevation",)
LINKED = ("truth", "bound")  # known fields to judge on


@dataclass(frozen=True)
class Sources:
    """What a FILE.yaml names, its inputs brought to the grid of one case."""

    case: Case
    config: dict[str, Any]
    file: Path
    heights: Heights
    grounded: shapely.Geometry | None

    @property
    def folder(self) -> Path:
        """Folder that relative paths start from."""
        return self.file.parent

    @property
    def grids_lowres(self) -> bool:
        """Whether the low-res bed is gridded from the picks, and not named."""
        return "from" in self.config["inputs"][LOWRES]

    def add_surveys(self, draft: Draft, *, buffer_m: float, seed: int, progress: bool = True) -> np.ndarray:
        """Grid the surveys, keep aside what is held out, and add what radar tells by itself as inputs.

        Where the low-res bed is to be gridded from the picks it is so from those that are not held out.

        Returns
        -------
        numpy.ndarray
            (m, 4) boxes that training must keep away from.
        """
        print("gridding the surveys")
        options: Any = {"folder": self.folder, "heights": self.heights, "seed": seed, "report": print}
        known, areas = prepare_targets(self.config, self.case, buffer_m=buffer_m, **options)
        draft.facts |= known
        picks = read_given(self.case)
        if self.grids_lowres:
            if picks.empty:
                raise InputError(
                    f"{self.file}: held_out takes all picks, and {LOWRES} is to be gridded from them; hold "
                    "smaller areas out"
                )
            print("gridding the low-res bed, reading the bed off the surface")
            add_lowres(self.case, picks, grounded=self.grounded, progress=progress)
        add_inputs(self.case, find_radar(self.case, picks))
        return areas

    def tile_area(self) -> shapely.Geometry | None:
        """Give the area in which tiles may lie; None for anywhere."""
        return tile_area(self.config, folder=self.folder, crs=str(self.case.crs))


def open_sources(
    file: Path, draft: Draft, *, arrays: ArrayModule = "numpy", progress: bool = True
) -> Sources:
    """Bring the inputs that a FILE.yaml names to one grid, and derive what follows from them."""
    config, folder = read_own_files(file), file.parent
    gridded = "from" in config["inputs"][LOWRES]
    if config.get("surveys") or gridded:
        load_gmt()  # grids them; better missed now than after all inputs are filled
    named = config | {"inputs": {name: entry for name, entry in config["inputs"].items() if "path" in entry}}
    draft.sources, draft.home = list_files(named, folder), folder
    heights = read_heights(named, folder=folder, elevations=ELEVATIONS, report=print)
    draft.facts |= {DATUM: heights.datum} if heights.datum else {}
    print("opening, aligning and filling the inputs")
    described = prepare_inputs(
        named,
        folder=folder,
        out=draft.folder,
        units=UNITS,
        detrended=DETRENDED,
        levelled=LEVELLED,
        elevations=ELEVATIONS,
        heights=heights,
        arrays=arrays,
        report=print,
    )
    crs, spacing = described["crs"], float(config["spacing_m"])
    west, south, east, north = described["region"]
    grid = Grid(west, south, east, north, spacing, crs)
    case = Case("region", None, draft.folder, {}, {}, spacing, grid.shape, bounds=grid.bounds, crs=crs)
    case = draft.add(replace(case, arrays=arrays))
    add_inputs(case, described["inputs"], vectors=VECTORS)
    grounded = _keep_known(config, draft, heights=heights, crs=crs)
    if not gridded:
        print("reading the bed off the surface")
        derive_inputs(case, grounded=grounded, progress=progress)
    return Sources(case, config, file, heights, grounded)


def _keep_known(config: dict[str, Any], draft: Draft, *, heights: Heights, crs: str) -> Any:
    """Keep a known truth, the bound, grounding line and coast in the folder; give the grounded area."""
    for key in LINKED:
        if config.get(key):
            draft.keep_field(key, config[key], crs=crs, heights=heights)
    if not config.get("grounding_line"):
        return None
    line = Path(draft.home or "") / config["grounding_line"]["path"]
    area = read_area(line, crs=crs)
    draft.keep_area("grounding_line", area, crs=crs)
    for coast in sorted(line.parent.glob("Coastline*.shp"))[:1]:
        draft.keep_area("coastline", read_area(coast, crs=crs), crs=crs)
    return area
