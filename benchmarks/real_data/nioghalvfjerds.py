"""Nioghalvfjerds glacier, Greenland: radar picks through a survey pipeline to a grid of 250 m and tiles.

Run it with `python benchmarks/real_data/nioghalvfjerds.py --out FOLDER [--files FOLDER]`. The 104,292 picks
on 60 x 60 km are the demo data of GStatSim; they are looked for in $FIELDWISE_DATA, or in ../shared/data
beside the repository. Beside the picks there is no other field here, so the tiles hold the bed alone.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import geopandas
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.tiles import cut, slide_windows, split_by_area, write_bounds, write_tiles
from fieldwise.figures import draw_map
from fieldwise.surveys import grid_survey, read_survey

FILES = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).parents[3] / "shared" / "data"))
PICKS = "nioghalvfjerds_bed_picks.csv"
CRS, SPACING_M = "EPSG:3413", 250.0
TILE_CELLS = 36


def write_pipeline(files: Path, out: Path) -> Path:
    """Write the pipeline of the picks: columns X, Y, Bed, with nothing to project."""
    if not (files / PICKS).exists():
        raise InputError(f"{files / PICKS}: no such file; name the folder that holds it with --files")
    reader = {
        "type": "readers.text",
        "filename": str((files / PICKS).resolve()),
        "skip": 1,
        "header": ["X", "Y", "Bed"],
        "converters": {"Z": "Bed"},
    }
    projection = {"type": "filters.reprojection", "in_srs": CRS, "out_srs": CRS}
    out.mkdir(parents=True, exist_ok=True)
    path = out / "nioghalvfjerds.json"
    path.write_text(json.dumps({"pipeline": [reader, projection]}, indent=2))
    return path


def cut_tiles(field: xr.DataArray, out: Path, *, step_cells: int, seed: int) -> dict[str, int]:
    """Slide windows over the gridded bed, split them by area, and save tiles.zarr and tiles_*.geojson."""
    windows = slide_windows(field, tile_cells=TILE_CELLS, step_cells=step_cells)
    tile_m, lowres_m = TILE_CELLS * SPACING_M, 4 * SPACING_M
    training, validation = split_by_area(windows, block=1.5 * tile_m, buffer=2 * lowres_m, seed=seed)
    splits = ["training"] * len(training) + ["validation"] * len(validation)
    chosen = windows[[*training, *validation]]
    write_tiles(
        {"bed": cut(field, chosen, spacing=SPACING_M)[:, None]},
        out / "tiles.zarr",
        windows=chosen,
        splits=splits,
        spacing_m={"bed": SPACING_M},
        units={"bed": "m"},
        crs=CRS,
    )
    write_bounds(chosen, out / "tiles.geojson", crs=CRS, splits=splits)
    return {"windows": len(windows), "training": len(training), "validation": len(validation)}


def run_chain(files: Path, out: Path, *, step_cells: int = 4, seed: int = 7) -> dict[str, Any]:
    """Read, grid, cut and draw.

    Returns
    -------
    dict
        Numbers of ``picks``, of ``cells`` with a bed and ``all_cells``, of ``windows``, ``training`` and
        ``validation`` tiles, and the ``seconds`` of each step.
    """
    pipeline = write_pipeline(files, out)
    clock = {"start": time.perf_counter()}
    picks = read_survey(pipeline)
    clock["read"] = time.perf_counter()
    field = grid_survey(picks, spacing=SPACING_M).rename("bed").assign_attrs(long_name="bed elevation")
    write_cog(field, out / "bed.tif")
    clock["grid"] = time.perf_counter()
    counts = cut_tiles(field, out, step_cells=step_cells, seed=seed)
    clock["tiles"] = time.perf_counter()
    tiles = geopandas.read_file(out / "tiles_3413.geojson")
    draw_map(field, tiles=tiles, tiles_label="training and validation tiles").savefig(
        out / "bed.png", dpi=150
    )
    clock["figure"] = time.perf_counter()
    seconds = {step: clock[step] - before for before, step in zip(clock.values(), list(clock)[1:])}
    cells = {"cells": int(field.notnull().sum()), "all_cells": field.size}
    return {"picks": len(picks), **cells, **counts, "seconds": seconds}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--files", type=Path, default=FILES, help="folder of the downloaded files")
    parser.add_argument("--step_cells", type=int, default=4, help="distance of neighbouring tiles, in cells")
    options = parser.parse_args(arguments)
    result = run_chain(options.files, options.out, step_cells=options.step_cells)
    seconds = result.pop("seconds")
    print(
        "{picks} picks, {cells} of {all_cells} cells of 250 m, {windows} windows: "
        "{training} tiles to train on, {validation} to validate on".format(**result)
    )
    print("seconds:", ", ".join(f"{step} {value:.1f}" for step, value in seconds.items()))
    print(options.out / "bed.png")


if __name__ == "__main__":
    main()
