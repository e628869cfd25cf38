"""Cutting tiles of all inputs: fieldwise against one xarray interpolation a tile, the way of the original.

Run it with `python benchmarks/cut_tiles.py [--data DATA] [--tiles 4000]`. DATA is a folder that the verb
prepare wrote; where there is none, rasters of noise over 250 x 250 km at the spacings of DeepBedMap stand in.
Fieldwise is timed from opening the files to the last array. xarray has its fields in memory beforehand,
and is timed on a sample of the tiles, which is scaled to all of them; on this sample the two results are
compared. Tiles start on cells of 1 km (step 4 of 250 m), and then on every third cell of 250 m as in the
original, where most inputs have to be interpolated.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr

from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog, write_netcdf
from fieldwise.recipes.bed_topography.regions.region import RECIPE, lowres_spacing, open_region
from fieldwise.samples.cases import Case
from fieldwise.samples.inputs import add_inputs, prepare_inputs
from fieldwise.samples.prepared import DESCRIPTION, draft_folder

TILE_M, PADDING_M, SAMPLE = 9000.0, 1000.0, 100
SPACING_M, EXTENT_M, CRS = 250.0, 250_000.0, "EPSG:3031"
INPUTS = {
    "bed_lowres": {"path": "bed.tif", "spacing_m": 1000},
    "surface_elevation": {"path": "surface.tif", "spacing_m": 100},
    "ice_velocity": {"path": "velocity.nc", "variables": ["VX", "VY"], "spacing_m": 500},
    "snow_accumulation": {"path": "accumulation.tif", "spacing_m": 1000},
}


def make_stand_in(folder: Path) -> Case:
    """Prepare rasters of noise in the formats and at the spacings of the real ones."""
    random = np.random.default_rng(7)

    def noise(spacing: float) -> xr.DataArray:
        grid = Grid.around((0, 0, EXTENT_M, EXTENT_M), spacing, CRS)
        return make_field(random.normal(size=grid.shape).astype("float32"), grid, name="noise")

    for name, spacing in (("bed", 1000), ("surface", 100), ("accumulation", 1000)):
        write_cog(noise(spacing), folder / f"{name}.tif")
    write_netcdf(xr.Dataset({"VX": noise(450), "VY": noise(450)}), folder / "velocity.nc")
    source = {"crs": CRS, "inputs": INPUTS, "lowres_spacing_m": 1000.0}
    with draft_folder(folder / "data", recipe=RECIPE) as draft:
        described = prepare_inputs(source, folder=folder, out=draft.folder, units={}, detrended=())
        grid = Grid(*described["region"], SPACING_M, CRS)
        sizes = {"spacing": SPACING_M, "shape": grid.shape, "bounds": grid.bounds, "crs": CRS}
        add_inputs(draft.add(Case("region", None, draft.folder, {}, {}, **sizes)), described["inputs"])
    return open_region(folder / "data")


def choose_windows(case: Case, *, count: int, step_m: float) -> np.ndarray:
    """Draw places for tiles from those a step apart, anywhere that their padding fits in."""
    west, south, east, north = case.grid.bounds
    room = np.array([east - west, north - south]) - TILE_M - 2 * PADDING_M
    most = (room // step_m).astype(int)
    steps = np.random.default_rng(1).integers(0, most, size=(count, 2), endpoint=True)
    corners = np.array([west, south]) + PADDING_M + steps * step_m
    return np.hstack([corners, corners + TILE_M])


def cut_with_fieldwise(folder: Path, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Open the folder and cut every tile."""
    case = open_region(folder)
    return case.read(case.variables, window=windows, padding=PADDING_M)


def load_fields(case: Case) -> dict[str, list[xr.DataArray]]:
    """Load every channel of every input: on lazy ones xarray would take many times longer."""
    return {
        name: [case.field(field).load() for field in entry.fields] for name, entry in case.variables.items()
    }


def cut_with_xarray(
    case: Case, fields: dict[str, list[xr.DataArray]], windows: np.ndarray
) -> dict[str, np.ndarray]:
    """Interpolate every input of every tile at the centres of its cells, each with a call of its own."""
    arrays = {}
    for entry in case.variables.values():
        tiles = []
        for west, south, east, north in windows + np.array([-1, -1, 1, 1]) * PADDING_M:
            grid = Grid(west, south, east, north, entry.spacing or case.spacing, case.grid.crs)
            channels = [field.interp(x=grid.x, y=grid.y, method="linear") for field in fields[entry.name]]
            tiles.append([channel.values for channel in channels])
        arrays[entry.name] = np.array(tiles)
    return arrays


def compare(case: Case, *, tiles: int, step_m: float) -> None:
    """Time both ways on the same tiles, check that they agree, and print what came out."""
    windows = choose_windows(case, count=tiles, step_m=step_m)
    start = time.perf_counter()
    ours = cut_with_fieldwise(case.folder, windows)
    seconds = time.perf_counter() - start
    sample = min(SAMPLE, tiles)
    fields = load_fields(case)
    cut_with_xarray(case, fields, windows[:1])  # what it imports at its first call does not count
    start = time.perf_counter()
    theirs = cut_with_xarray(case, fields, windows[:sample])
    scaled = (time.perf_counter() - start) * tiles / sample
    print(f"{tiles} tiles on steps of {step_m:g} m:")
    print(f"  fieldwise  {seconds:8.2f} s, {1000 * seconds / tiles:.2f} ms a tile")
    print(f"  xarray     {scaled:8.2f} s, {1000 * scaled / tiles:.2f} ms a tile (scaled from {sample} tiles)")
    for name, values in theirs.items():
        difference = float(np.abs(values - ours[name][:sample]).max())
        spread = float(values.std())
        if not difference < 1e-5 * (spread + float(np.abs(values).max())):
            raise SystemExit(f"{name}: the two ways differ by {difference:g}")
        print(f"  {name:<18} {ours[name].shape}, largest difference {difference:.1e} of {spread:.1e}")
    print(f"  {scaled / seconds:.0f} times faster")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="prepared folder")
    parser.add_argument("--tiles", type=int, default=4000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if (options.data / DESCRIPTION).exists():
            case = open_region(options.data)
        else:
            print(f"{options.data} is no prepared folder: noise of {EXTENT_M / 1000:g} km stands in")
            case = make_stand_in(Path(folder))
        for step_m in (lowres_spacing(case), 3 * case.spacing):
            compare(case, tiles=options.tiles, step_m=step_m)


if __name__ == "__main__":
    main()
