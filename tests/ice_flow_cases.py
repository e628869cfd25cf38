"""Tiny glaciers in the folder layout of the ice-flow emulator, quick to make and with a known flow."""

from pathlib import Path

import numpy as np
import xarray as xr

from fieldwise.recipes import ice_flow
from fieldwise.samples.prepared import Prepared

SPACING = 100.0
RATE, SLIDING = 78.0, 0.0464
WEIGHT = 910 * 9.81e-6  # MPa a metre
QUIET = {"accelerator": "cpu", "tracker": "none", "progress": False}
TINY = {"layers": 2, "filters": 8, "patch_size": 16, "batch_size": 8, "seed": 3, "max_epochs": 2} | QUIET
SPLITS = {"train": ("north", "south"), "valid": ("east",), "test": ("west",)}


def write_cases(folder: Path, *, cells=(24, 24), frames=2, splits=None, crs=None) -> Path:
    """Write an ex.nc a case, y ascending as the original's files come."""
    random = np.random.default_rng(0)
    for split, names in (splits or SPLITS).items():
        for name in names:
            path = folder / split / name / "ex.nc"
            path.parent.mkdir(parents=True)
            write_netcdf(dome(cells, frames, random, crs=crs), path)
    return folder


def open_cases(data, *splits):
    """Give the cases of a prepared folder."""
    return Prepared(data, recipe="ice_flow").cases(*splits)


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    dataset.to_netcdf(path, engine="h5netcdf")


def dome(cells, frames, random, *, crs=None) -> xr.Dataset:
    """Make a dome on a slope that grows from frame to frame, with its shallow-ice velocity."""
    rows, columns = cells
    y, x = ((np.arange(count) + 0.5) * SPACING for count in cells)
    centre = random.uniform(0.4, 0.6, 2) * np.array([columns, rows]) * SPACING
    distance2 = (x - centre[0]) ** 2 + (y[:, None] - centre[1]) ** 2
    reach2 = (0.35 * min(cells) * SPACING) ** 2
    heights = 120 + 20 * np.arange(frames)
    thickness = np.stack([height * np.clip(1 - distance2 / reach2, 0, None) for height in heights])
    topg = np.broadcast_to(2000 + 0.1 * x - 0.05 * y[:, None], thickness.shape)
    values = {"thk": thickness, "topg": topg, "usurf": topg + thickness}
    values |= shallow_velocity(thickness, values["usurf"])
    values["arrhenius"] = np.full_like(thickness, RATE)
    values["slidingco"] = np.full_like(thickness, SLIDING)
    fields = {name: (("time", "y", "x"), each.astype(np.float32)) for name, each in values.items()}
    made = xr.Dataset(fields, coords={"time": 10.0 * np.arange(frames), "y": y, "x": x})
    return made if crs is None else made.rio.write_crs(crs)


def shallow_velocity(thickness, surface) -> dict[str, np.ndarray]:
    """Give the shallow-ice velocity of Glen's and Weertman's laws at bed, in the mean and at the surface."""
    north, east = np.gradient(surface, SPACING, axis=(1, 2))  # rows go north here
    stress = (WEIGHT * thickness) ** 3 * (east**2 + north**2)
    slide, deform = 1 / SLIDING**3, 2 * RATE / 4 * thickness
    velocity = {}
    for place, share in (("velbase", 0.0), ("bar", 0.8), ("velsurf", 1.0)):
        factor = -(slide + share * deform) * stress
        velocity |= {f"u{place}": factor * east, f"v{place}": factor * north}
    return velocity


def frames_of(source, tmp_path, name="data"):
    return ice_flow.prepare(source=str(source), out=tmp_path / name, progress=False)
