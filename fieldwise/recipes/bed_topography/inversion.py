"""A first guess of the bed between flight lines: what physics reads off the ice surface, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
import rasterio.features
import scipy.ndimage
import shapely
from tqdm import tqdm

from fieldwise.fields.arrays import to_host
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.resampling import average_cells
from fieldwise.fields.tiles import cut
from fieldwise.recipes.bed_topography.region import INVERSION, LOWRES, SURFACE, VELOCITY, lowres_spacing
from fieldwise.samples.cases import Case

NEEDED = (LOWRES, SURFACE, VELOCITY)
BLOCK_CELLS, MARGIN_CELLS = 256, 40  # low-res cells that are inverted together, and of what lies around them
FADE_CELLS = 6  # low-res cells over which trust in the surface grows from the grounding line
SLIDING_SPEED = 10.0  # m/a; speed over this, within 1 to 30, is taken as the slip ratio, which hardly matters
STEEPEST, FLATTEST = 0.05, 0.002


def add_surface_inversion(
    case: Case, *, grounded: shapely.Geometry | None, progress: bool = True
) -> dict[str, Any]:
    """Derive the departure of the bed from its low-res map that the relief of the ice surface tells of.

    Only surface, low-res bed and velocity are used, no survey: nothing that is held out can leak.

    Parameters
    ----------
    case
        Prepared so far as to hold inputs and trends.
    grounded
        Area within the grounding line; None where all ice is grounded.

    Returns
    -------
    dict
        The entry of the input for the description; none where an input that it needs is not there.

    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.samples.examples import make_prepared
    >>> still = np.zeros((4, 4))
    >>> values = {"bed_lowres": still - 200, "surface_elevation": still + 800}
    >>> values["ice_velocity"] = [still + 50, still + 50]
    >>> prepared = make_prepared(values, shape=(16, 16), trends=["bed_lowres", "surface_elevation"])
    >>> case = prepared.cases()[0]
    >>> elsewhere = shapely.box(90_000, 0, 91_000, 1000)
    >>> entry = add_surface_inversion(case, grounded=elsewhere, progress=False)
    >>> entry["surface_inversion"]["paths"]
    ['inputs/surface_inversion.tif']
    >>> found = open_field(prepared.folder / "inputs" / "surface_inversion.tif")
    >>> float(abs(found).max())  # ice that floats tells of nothing
    0.0
    """
    if any(name not in case.variables for name in NEEDED) or case.variables[VELOCITY].channels != 2:
        return {}
    spacing = lowres_spacing(case)
    grid = case.grid_at(spacing)
    values = _invert_blocks(_read_places(case, grid, grounded), spacing=spacing, progress=progress)
    path = f"inputs/{INVERSION}.tif"
    field = make_field(values, grid, name=INVERSION, units="m", long_name="departure from the low-res bed")
    write_cog(field, case.folder / path)
    return {INVERSION: {"spacing_m": spacing, "units": "m", "paths": [path], "trends": []}}


def _read_places(case: Case, grid: Grid, grounded: shapely.Geometry | None) -> dict[str, np.ndarray]:
    """Read what the inversion takes, (y, x) each at low-res spacing, without gaps."""

    def read(field: Any) -> np.ndarray:
        values = cut(field, [grid.bounds], spacing=grid.spacing, extend=True)[0]
        return np.asarray(to_host(values), dtype=np.float64)

    fields = {
        "surface": read(average_cells(case.field(SURFACE), cell=grid.spacing)),
        "bed": read(case.field(LOWRES)),
    }
    trends = {"surface": read(case.trend(SURFACE)), "bed": read(case.trend(LOWRES))}
    speed = np.hypot(*(read(case.field(name)) for name in case.variables[VELOCITY].fields))
    trust = _trust(grounded, grid) * np.isfinite(fields["surface"]) * np.isfinite(fields["bed"])
    for name, trend in trends.items():
        fields[name] = np.where(np.isfinite(fields[name]), fields[name], np.nan_to_num(trend))
    regional = scipy.ndimage.gaussian_filter(np.nan_to_num(trends["surface"]), 3)
    southward, eastward = np.gradient(regional, grid.spacing)
    speed = np.exp(scipy.ndimage.gaussian_filter(np.log(np.maximum(np.nan_to_num(speed), 1)), 4))
    return fields | {
        "thickness_m": np.maximum(np.nan_to_num(trends["surface"] - trends["bed"]), 300),
        "slip": np.clip(speed / SLIDING_SPEED, 1, 30),
        "slope": np.clip(np.hypot(eastward, southward), FLATTEST, STEEPEST),
        "direction": np.arctan2(southward, -eastward),  # down the surface
        "trust": trust,
    }


def _trust(area: shapely.Geometry | None, grid: Grid) -> np.ndarray:
    """Give 1 well inside the grounded area, falling to 0 at the grounding line; 1 everywhere without one."""
    if area is None:
        return np.ones(grid.shape)
    transform = rasterio.transform.from_origin(grid.west, grid.north, grid.spacing, grid.spacing)
    grounded = rasterio.features.geometry_mask([area], grid.shape, transform, invert=True)
    if grounded.all():
        return np.ones(grid.shape)
    return np.clip(scipy.ndimage.distance_transform_edt(grounded) / FADE_CELLS, 0, 1)


def _invert_blocks(places: dict[str, np.ndarray], *, spacing: float, progress: bool) -> np.ndarray:
    """Invert block by block, each with a margin, in which the surface around it is felt."""
    from fieldwise.physics.surface_inversion import invert_surface

    shape = places["surface"].shape
    padded = {name: np.pad(values, MARGIN_CELLS, mode="symmetric") for name, values in places.items()}
    found = np.zeros(shape, dtype=np.float32)
    corners = [(r, c) for r in range(0, shape[0], BLOCK_CELLS) for c in range(0, shape[1], BLOCK_CELLS)]
    for row, column in tqdm(corners, desc="inverting the surface", disable=not progress or len(corners) < 2):
        rows, columns = min(BLOCK_CELLS, shape[0] - row), min(BLOCK_CELLS, shape[1] - column)
        around = np.s_[row : row + rows + 2 * MARGIN_CELLS, column : column + columns + 2 * MARGIN_CELLS]
        here: dict[str, Any] = {name: values[around] for name, values in padded.items()}
        if here["trust"].any():
            inner = np.s_[MARGIN_CELLS : MARGIN_CELLS + rows, MARGIN_CELLS : MARGIN_CELLS + columns]
            found[row : row + rows, column : column + columns] = invert_surface(**here, spacing=spacing)[
                inner
            ]
    return found * places["trust"].astype(np.float32)
