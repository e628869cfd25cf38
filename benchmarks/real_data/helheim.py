"""Helheim glacier, Greenland: the whole chain on real data, from files to a judged map of the bed.

Run it with `python benchmarks/real_data/helheim.py --out FOLDER [--files FOLDER]`. Bed, surface, velocity and
accumulation on 200 x 300 cells of 150 m, and radar picks of ice thickness, are examples of PINNICLE; they are
looked for in $FIELDWISE_DATA, or in ../shared/data beside the repository.

The bed (BedMachine Greenland) averaged to 600 m is the low-res input, the bed itself the target. Training
sees the north; the south, a block of 30 x 15 km with a trough of its own, is judged on, and so are the picks.
What the numbers cannot show: BedMachine was made with these picks, and they lie a kilometre apart everywhere,
so training keeps away from none of those in the north. BedMachine itself, the last column, is tens of metres
off the picks: there no map that is learnt from it can stand out. And an average of cells is no height of a
point: `prepare` turns averages into heights whose cubic interpolation has them ("cubic"), the baseline to
beat in a degraded bed, and "cubic of averages" takes them for heights. What a network gains over it, it has
learnt of what beds are like between averages: it reads the bed alone, since with surface, velocity and
accumulation it gains less on the validation block, which lies in the north.

With `--members 32` the network of the package that draws (`--weights`) is judged too. It has learnt from
cells of 250 m: the glacier is shown to it 5/3 times as large, in all three directions, so that slopes and
what of the bed comes through to the surface stay as they are. With `--fine_tune EPOCHS` it first goes on
learning from BedMachine in the north, cell by cell as picks.
"""

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import scipy.io
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, grid_of, load_values, make_field
from fieldwise.fields.rasters import write_netcdf
from fieldwise.fields.resampling import degrade
from fieldwise.fields.tiles import cut
from fieldwise.figures import draw_map
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.judgement import baselines
from fieldwise.recipes.bed_topography.members.scores import read_members
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.recipes.bed_topography.regions.surveys import read_held_out
from fieldwise.samples.rules import write_yaml
from fieldwise.scores import EnsembleSums, bias, mae, rmse, sample_at_points

FILES = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).parents[3] / "shared" / "data"))
FIELDS, TRACKS = "helheim_subdomain_data.h5", "helheim_flight_tracks.mat"
CRS, SPACING_M, FACTOR = "EPSG:3413", 150.0, 4
COORDINATES = {"x": "surf_x", "y": "surf_y", "crs": CRS}
UNSEEN = (269_500.0, -2_586_950.0, 299_500.0, -2_571_950.0)  # the south: a third of the domain
BLOCK_TILES = 2.0  # one block, two tiles wide, of the 30 x 30 km that are not held out is to validate on
SEED = 7  # draws a block in a corner, which leaves most tiles to train on
SETTINGS = {  # on the validation block, the bed alone is 6 % better than cubic, all inputs 5 %
    "network": "generator",
    "inputs": "bed_lowres",
    "augment": "all",
    "max_epochs": 8,
    "batch_size": 16,
    "learning_rate": 4e-4,
    "num_residual_blocks": 2,
    "residual_scaling": 0.2,
    "adversarial_weight": 0.0,
}
MEASURES = {"RMSE": rmse, "MAE": mae, "bias": bias}
MEAN = "members' mean"
PATCHES = 20  # an epoch for each that fits into the north: it is small
STRETCH = 250.0 / SPACING_M  # by which the glacier is made larger for the network that draws


def write_source(files: Path, out: Path) -> Path:
    """Write the survey of the tracks and the FILE.yaml, as a user would for files of one's own.

    Returns
    -------
    Path
        helheim.yaml; the survey, its pipeline and the fields lie beside it.
    """
    for name in (FIELDS, TRACKS):
        if not (files / name).exists():
            raise InputError(f"{files / name}: no such file; name the folder that holds it with --files")
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(files / FIELDS, out / FIELDS)
    _write_survey(files / TRACKS, out)
    fields = {"path": FIELDS, **COORDINATES}
    bed = {**fields, "variable": "bed_BedMachine"}
    fine = {**fields, "spacing_m": SPACING_M}
    inputs = {
        "bed_lowres": {**bed, "degrade": FACTOR},
        "surface_elevation": {**fine, "variable": "surf_elv"},
        "ice_velocity": {**fine, "variables": ["surf_vx", "surf_vy"]},
        "snow_accumulation": {**fine, "variable": "surf_SMB", "units": "m a-1"},
    }
    source = {
        "crs": CRS,
        "spacing_m": SPACING_M,
        "lowres_spacing_m": FACTOR * SPACING_M,
        "inputs": inputs,
        "beds": {"bedmachine": bed},
        "held_out": {"surveys": ["tracks.json"], "keep_training_away": False, "areas": [list(UNSEEN)]},
        "truth": bed,
    }
    return write_yaml(source, out / "helheim.yaml")


def _write_survey(tracks: Path, out: Path) -> None:
    """Write the picks as text with its pipeline; the bed lies by the ice thickness below the surface."""
    columns = scipy.io.loadmat(tracks)
    picks = pd.DataFrame({name.upper(): columns[name].ravel() for name in ("x", "y", "thickness")})
    surface = open_field(out / FIELDS, variable="surf_elv", **COORDINATES)
    picks["SURFACE"] = sample_at_points(surface, picks["X"], picks["Y"])
    picks = picks.dropna()  # those outside the domain, where no surface is known
    picks.round(3).to_csv(out / "tracks.csv", index=False)
    reader = {
        "type": "readers.text",
        "filename": "tracks.csv",
        "skip": 1,
        "header": list(picks),
        "converters": {"Z": "SURFACE-THICKNESS"},
    }
    projection = {"type": "filters.reprojection", "in_srs": CRS, "out_srs": CRS}
    (out / "tracks.json").write_text(json.dumps({"pipeline": [reader, projection]}, indent=2))


def write_stretched(out: Path) -> Path:
    """Write the glacier larger, in all three directions, with BedMachine's cells in the north as picks."""
    larger = out / "stretched"
    larger.mkdir(exist_ok=True)
    fields = {}
    for name in ("bed_BedMachine", "surf_elv", "surf_vx", "surf_vy"):
        field = open_field(out / FIELDS, variable=name, **COORDINATES)
        grid = grid_of(field)
        grid = Grid(*(edge * STRETCH for edge in grid.bounds), grid.spacing * STRETCH, CRS)
        values = load_values(field) * (1 if name.startswith("surf_v") else STRETCH)
        fields[name] = make_field(values, grid, name=name, units="m a-1" if name[5] == "v" else "m")
    write_netcdf(xr.Dataset(fields), larger / "fields.nc")
    x, y = np.meshgrid(grid.x, grid.y)
    west, south, east, north = (edge * STRETCH for edge in UNSEEN)
    apart = (x > west) & (x < east) & (y > south) & (y < north)
    picks = {"X": x[~apart], "Y": y[~apart], "Z": fields["bed_BedMachine"].values[~apart]}
    pd.DataFrame(picks).round(3).to_csv(larger / "north.csv", index=False)
    reader = {"type": "readers.text", "filename": "north.csv", "skip": 1, "header": list(picks)}
    projection = {"type": "filters.reprojection", "in_srs": CRS, "out_srs": CRS}
    (larger / "north.json").write_text(json.dumps({"pipeline": [reader, projection]}))
    named: dict[str, Any] = {"path": "fields.nc", "spacing_m": 250}
    source = {
        "crs": CRS,
        "spacing_m": 250,
        "lowres_spacing_m": 1000,
        "inputs": {
            "bed_lowres": {"path": "fields.nc", "variable": "bed_BedMachine", "degrade": FACTOR},
            "surface_elevation": {**named, "variable": "surf_elv"},
            "ice_velocity": {**named, "spacing_m": 500, "variables": ["surf_vx", "surf_vy"]},
        },
        "radar": ["north.json"],
    }
    return write_yaml(source, larger / "helheim.yaml")


def draw_members(out: Path, *, members: int, weights: str, fine_tune: int) -> dict[str, xr.DataArray]:
    """Let the network that draws go on learning, if it shall, and draw: mean and members, in true size."""
    larger = out / "stretched"
    data = bed_topography.prepare(source=str(write_stretched(out)), out=larger / "data", progress=False)
    if fine_tune:
        how: Any = {"init": weights, "max_epochs": fine_tune, "patches_per_tile": PATCHES, "augment": "all"}
        bed_topography.train(
            data=data, run=larger / "run", resume=False, tracker="none", progress=False, **how
        )
        weights = "best"
    how = {"weights": weights, "members": members, "keep_members": True, "progress": False}
    path = bed_topography.predict(run=larger / "run", data=data, out=larger / "bed.tif", **how)
    drawn = open_field(path).load()
    grid = grid_of(drawn)
    grid = Grid(*(edge / STRETCH for edge in grid.bounds), SPACING_M, CRS)
    kept = read_members(path, *(slice(0, size) for size in drawn.shape))
    assert kept is not None
    fields = {MEAN: drawn.values} | {f"member {number}": each for number, each in enumerate(kept)}
    return {name: make_field(values / STRETCH, grid, name="bed") for name, values in fields.items()}


def judge(data: Path, prediction: Path, members: dict[str, xr.DataArray] | None = None) -> pd.DataFrame:
    """Score the map, its baselines and BedMachine itself: at the picks, and in the unseen block.

    Parameters
    ----------
    members
        Their mean and each of them, as of :func:`draw_members`.

    Returns
    -------
    pandas.DataFrame
        A row for each place and measure (m), a column for each map.
    """
    dataset = open_region(data)
    drawn = open_field(prediction).load()
    maps = {"prediction": drawn, **baselines(dataset, drawn)}
    truth, grid = dataset.open("truth").load(), grid_of(drawn)
    averages = cut(degrade(truth, FACTOR, crs=CRS), [grid.bounds], spacing=SPACING_M, method="cubic")[0]
    maps["cubic of averages"] = make_field(averages, grid, name="bed")
    maps |= {name: field for name, field in (members or {}).items() if name == MEAN}
    maps["bedmachine"] = truth
    picks = read_held_out(dataset)
    picks = picks[picks["survey"] == "tracks"]  # not the cells of BedMachine that are held out too
    west, south, east, north = UNSEEN
    unseen = picks["x"].between(west, east) & picks["y"].between(south, north)
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for place, table in (("seen part", picks[~unseen]), ("unseen block", picks[unseen])):
        samples = {name: sample_at_points(field, table["x"], table["y"]) for name, field in maps.items()}
        for measure, function in MEASURES.items():
            errors = {name: function(values, table["z"]) for name, values in samples.items()}
            rows[f"{len(table)} picks, {place}", measure] = errors
    block = {
        name: load_values(field.sel(x=slice(west, east), y=slice(north, south)))
        for name, field in maps.items()
    }
    for measure, function in MEASURES.items():
        errors = {name: function(values, block["bedmachine"]) for name, values in block.items()}
        rows[f"{block['bedmachine'].size} cells, unseen block", measure] = errors
    return pd.DataFrame(rows).T


def run_chain(
    files: Path,
    out: Path,
    *,
    settings: dict[str, Any],
    step_cells: int = 4,
    seed: int = SEED,
    figures: bool = True,
    drawing: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Prepare, train, predict, evaluate; with `drawing`, as of :func:`draw_members`, draw members too.

    Returns
    -------
    dict
        ``scores`` of the recipe, ``table`` of :func:`judge`, ``seconds`` of each verb, and in ``ensemble``
        what is told of the members.
    """
    data, run, prediction = out / "data", out / "run", out / "run" / "helheim_bed.tif"
    clock = {"start": time.perf_counter()}
    source = write_source(files, out)
    bed_topography.prepare(
        source=str(source), out=data, seed=seed, step_cells=step_cells, block_tiles=BLOCK_TILES
    )
    clock["prepare"] = time.perf_counter()
    bed_topography.train(data=data, run=run, resume=False, accelerator="cpu", **settings)
    clock["train"] = time.perf_counter()
    bed_topography.predict(run=run, data=data, out=prediction, accelerator="cpu")
    clock["predict"] = time.perf_counter()
    scores = bed_topography.evaluate(run=run, data=data, prediction=prediction, figures=figures)
    if figures:
        drawn = open_field(prediction).rename("bed").assign_attrs(units="m")
        tiles = geopandas.read_file(data / "tiles_3413.geojson")
        figure = draw_map(
            drawn, tiles=tiles, tiles_label="training and validation tiles", boxes={"unseen": UNSEEN}
        )
        figure.savefig(run / "figures" / "unseen_block.png", dpi=150)
    clock["evaluate"] = time.perf_counter()
    members = draw_members(out, **drawing) if drawing else {}
    clock["members"] = time.perf_counter()
    seconds = {verb: clock[verb] - before for before, verb in zip(clock.values(), list(clock)[1:])}
    table, told = judge(data, prediction, members), describe_members(data, members) if members else ""
    return {"scores": scores, "table": table, "seconds": seconds, "ensemble": told}


def describe_members(data: Path, members: dict[str, xr.DataArray]) -> str:
    """Say how sure the members are of the unseen block."""
    west, south, east, north = UNSEEN
    fields = [open_region(data).open("truth"), *(bed for name, bed in members.items() if name != MEAN)]
    cells = {"x": slice(west, east), "y": slice(north, south)}
    truth, *drawn = (load_values(field.sel(cells)) for field in fields)
    beds, sums = np.stack(drawn), EnsembleSums()
    sums.add(beds, truth)
    one = rmse(beds, np.broadcast_to(truth, beds.shape))
    told = f"CRPS {sums.crps:.2f} m, coverage of the 90 % interval {sums.coverage(0.9):.1%}"
    told += f", spread : error {sums.spread_error_ratio:.2f}, RMSE of one member {one:.2f} m"
    return f"unseen block, members: {told}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--files", type=Path, default=FILES, help="folder of the downloaded files")
    parser.add_argument("--seed", type=int, default=SEED, help="of the draw of the validation block")
    parser.add_argument("--no-figures", dest="figures", action="store_false")
    for name, value in SETTINGS.items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help="as of the verb train")
    parser.add_argument("--members", type=int, default=0, help="that the pretrained network draws")
    parser.add_argument("--weights", default="pretrained_wide", help="of the network that draws")
    parser.add_argument("--fine_tune", type=int, default=0, help="epochs that it first learns in the north")
    options = parser.parse_args(arguments)
    drawing = {name: getattr(options, name) for name in ("members", "weights", "fine_tune")}
    settings = {name: getattr(options, name) for name in SETTINGS}
    result = run_chain(
        options.files,
        options.out,
        settings=settings,
        seed=options.seed,
        figures=options.figures,
        drawing=drawing if options.members else None,
    )
    print("\nHelheim glacier: errors in metres")
    print(result["table"].round(2).to_string())
    print(result["ensemble"])
    print("seconds:", ", ".join(f"{verb} {value:.0f}" for verb, value in result["seconds"].items()))


if __name__ == "__main__":
    main()
