"""Byrd Glacier, Antarctica: the pretrained network beside interpolation, at radar picks in blocks held out.

Run it with `python benchmarks/real_data/byrd.py --out FOLDER [--files FOLDER] [--folds 5]`; with
`--fine_tune EPOCHS` the network goes on learning from the given picks before it draws, with `--members 0`
none draws, and with `--kriging` (`pip install -e '.[benchmarks]'`) kriging is compared too. What is prepared
in FOLDER already is taken from there. Radar thickness averaged in 26,915 cells of 500 m (Bedmap 1 to 3), the
surface of BedMachine v3.4 and ice velocity at the picks (NSIDC-0754) are looked for in $FIELDWISE_DATA, or in
../shared/data beside the repository.

The picks of every fifth block of 20 km, drawn at random, are held out, and so is what lies within 5 km of
them; the low-res bed of 1 km is a spline in tension through the other picks, as a map-maker has it
(`bed_lowres: {from: surveys}`). All that is compared at the held-out picks has seen the same others: linear
interpolation, the spline, ordinary kriging, the surface inversion, what surface, radar and velocity tell
together (`radar_inversion`), and a network that comes with the package, which has learnt from made sectors
alone unless it is fine-tuned. Shelf ice is left out; the bed is
the surface less the thickness. Velocity between the picks is interpolated, which a user of NSIDC-0754 would
not need.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog, write_netcdf
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.judgement import baselines
from fieldwise.recipes.bed_topography.members.scores import read_members
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.samples.rules import write_yaml
from fieldwise.scores import EnsembleSums, bias, mae, rmse, sample_at_points

FILES = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).parents[3] / "shared" / "data"))
GRIDDED, PICKS = "byrd/byrd_bedmachine.nc", "byrd/training_byrd_points_txyvxvys.csv"
CRS, SPACING_M, LOWRES_M = "EPSG:3031", 250.0, 1000.0
REGION = [350e3, -1000e3, 549e3, -801e3]
BLOCK_M, BUFFER_M = 20e3, 5e3
NEIGHBOURS, REACH_M = 48, 40e3  # picks that are kriged from, six an octant, and how far away they may be
FLOATING = 3  # in BedMachine's mask
SEED, MEMBERS = 7, 32
BESIDES = ("z", "blocks", "speed")  # of the picks that are judged, beside what the maps tell
FAST_M_A = 30.0  # of the median pick of a block


def read_picks(files: Path) -> tuple[xr.Dataset, pd.DataFrame]:
    """Read BedMachine, and the picks of grounded ice: x, y, z, vx, vy."""
    for name in (GRIDDED, PICKS):
        if not (files / name).exists():
            raise InputError(f"{files / name}: no such file; name the folder that holds it with --files")
    gridded = xr.open_dataset(files / GRIDDED, engine="h5netcdf").load()
    picks = pd.read_csv(files / PICKS)
    place = {"x": xr.DataArray(picks["x"]), "y": xr.DataArray(picks["y"])}
    grounded = gridded["mask"].sel(**place, method="nearest").values != FLOATING
    return gridded, picks.assign(z=picks["s"] - picks["t"])[grounded].reset_index(drop=True)


def draw_folds(picks: pd.DataFrame, folds: int) -> np.ndarray:
    """Give the fold of each pick: blocks of 20 km are dealt out at random."""
    block = (picks["x"] // BLOCK_M).astype(int) * 1000 + (picks["y"] // BLOCK_M).astype(int)
    names = np.random.default_rng(SEED).permutation(block.unique())
    return block.map(dict(zip(names, np.arange(len(names)) % folds))).to_numpy()


def keep_away(picks: pd.DataFrame, judged: np.ndarray) -> pd.DataFrame:
    """Give the picks that lie 5 km and more from every block that is judged."""
    corners = np.unique(np.floor(picks.loc[judged, ["x", "y"]].to_numpy() / BLOCK_M), axis=0) * BLOCK_M
    x, y = picks["x"].to_numpy(), picks["y"].to_numpy()
    near = np.zeros(len(picks), dtype=bool)
    for west, south in corners:
        near |= (abs(x - west - BLOCK_M / 2) < BLOCK_M / 2 + BUFFER_M) & (
            abs(y - south - BLOCK_M / 2) < BLOCK_M / 2 + BUFFER_M
        )
    return picks[~near]


def write_source(gridded: xr.Dataset, picks: pd.DataFrame, given: pd.DataFrame, out: Path) -> Path:
    """Write surface, velocity and the given picks, and a FILE.yaml that names them."""
    out.mkdir(parents=True, exist_ok=True)
    half = 250.0
    x, y = gridded["x"].values, gridded["y"].values
    grid = Grid(x.min() - half, y.min() - half, x.max() + half, y.max() + half, 500.0, CRS)
    write_cog(
        make_field(gridded["surface"].values, grid, name="surface_elevation", units="m"), out / "surface.tif"
    )
    points, where = picks[["x", "y"]].to_numpy(), np.meshgrid(grid.x, grid.y)
    flow = xr.Dataset()
    for name in ("vx", "vy"):
        between = LinearNDInterpolator(points, picks[name])(*where)
        values = np.where(np.isnan(between), NearestNDInterpolator(points, picks[name])(*where), between)
        flow[name] = make_field(values.astype(np.float32), grid, name=name, units="m a-1")
    write_netcdf(flow, out / "velocity.nc")
    given[["x", "y", "z"]].rename(columns=str.upper).round(3).to_csv(out / "given.csv", index=False)
    reader = {"type": "readers.text", "filename": "given.csv", "skip": 1, "header": ["X", "Y", "Z"]}
    projection = {"type": "filters.reprojection", "in_srs": CRS, "out_srs": CRS}
    (out / "given.json").write_text(json.dumps({"pipeline": [reader, projection]}))
    inputs = {
        "bed_lowres": {"from": "surveys", "blocks_m": BLOCK_M},
        "surface_elevation": {"path": "surface.tif", "spacing_m": 500},
        "ice_velocity": {"path": "velocity.nc", "variables": ["vx", "vy"], "spacing_m": 500},
    }
    source = {
        "crs": CRS,
        "spacing_m": SPACING_M,
        "lowres_spacing_m": LOWRES_M,
        "region": REGION,
        "inputs": inputs,
        "radar": ["given.json"],
    }
    return write_yaml(source, out / "byrd.yaml")


def train_on(data: Path, run: Path, weights: str, epochs: int) -> None:
    """Let the network go on learning, slowly, from how far the given picks lie from the low-res bed."""
    bed_topography.train(
        network="drawer",
        init=weights,
        data=data,
        run=run,
        max_epochs=epochs,
        learning_rate=2e-4,
        batch_size=4,
        augment="all",
        tracker="none",
        progress=False,
    )


def krige(given: pd.DataFrame, judged: pd.DataFrame) -> np.ndarray:
    """Give the bed at picks by ordinary kriging from those around each: (pick,), m.

    The variogram, an exponential with a nugget, is fitted by GSTools to the given picks; GStatSim kriges.
    """
    from gstatsim import Interpolation
    from gstools import Exponential, vario_estimate

    lags_km, points_km = np.arange(0, 60.5), given[["x", "y"]].to_numpy().T / 1e3
    sample: Any = {"sampling_size": 4000, "sampling_seed": SEED}
    guess = {"len_scale": 15.0, "var": float(given["z"].var()), "nugget": 1e3}
    model = Exponential(dim=2)
    model.fit_variogram(*vario_estimate(points_km, given["z"], lags_km, **sample), init_guess=guess)
    reach = 3e3 * model.len_scale  # where 95 % of the sill is reached, as GStatSim counts
    variogram = [0, model.nugget, reach, reach, model.sill, "Exponential"]
    told = pd.Series(np.nan, index=judged.index)
    for (west, south), table in judged.groupby([judged["x"] // BLOCK_M, judged["y"] // BLOCK_M]):
        away = np.maximum(
            *(abs(given[axis] - (corner + 0.5) * BLOCK_M) for axis, corner in zip("xy", (west, south)))
        )
        near, places = given[away < BLOCK_M / 2 + REACH_M], table[["x", "y"]].to_numpy()
        options: Any = {"num_points": NEIGHBOURS, "vario": variogram, "radius": REACH_M, "quiet": True}
        told[table.index] = Interpolation.okrige(places, near, "x", "y", "z", **options)[0]
    return told.to_numpy()


def draw_members(data: Path, out: Path, options: argparse.Namespace) -> Path:
    """Maybe train on, and draw members of the bed."""
    weights = options.weights
    if options.fine_tune:
        train_on(data, out / "run", weights, options.fine_tune)
        weights = "best"
    return bed_topography.predict(
        run=out / "run",
        data=data,
        out=out / "bed.tif",
        weights=weights,
        members=options.members,
        keep_members=True,
        progress=False,
    )


def run_fold(
    gridded: xr.Dataset, picks: pd.DataFrame, judged: np.ndarray, out: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Prepare, draw members where they are asked for, and read all maps at the picks that are judged."""
    given, data, table = keep_away(picks, judged), out / "data", picks[judged]
    if not (data / "dataset.yaml").exists():
        source = write_source(gridded, picks, given, out)
        bed_topography.prepare(source=str(source), out=data, progress=False)
    x, y, case = table["x"], table["y"], open_region(data)
    told = {"z": table["z"].to_numpy(), "blocks": (x // BLOCK_M * 1000 + y // BLOCK_M).to_numpy()}
    bed = make_field(np.zeros(case.grid.shape), case.grid, name="bed")
    maps = baselines(case, bed)
    if options.members:
        drawn = draw_members(data, out, options)
        maps["prediction"] = open_field(drawn).load()
        members = read_members(drawn, *(slice(0, size) for size in bed.shape))
        assert members is not None
        told["members"] = np.stack([sample_at_points(bed.copy(data=member), x, y) for member in members])
    told["speed"] = np.hypot(table["vx"], table["vy"]).to_numpy()
    told |= {name: sample_at_points(field, x, y) for name, field in maps.items()}
    told["linear"] = LinearNDInterpolator(given[["x", "y"]], given["z"])(x, y)
    return told | ({"kriging": krige(given, table)} if options.kriging else {})


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--files", type=Path, default=FILES, help="folder of the downloaded files")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--fine_tune", type=int, default=0, help="epochs to train on, on the given picks")
    parser.add_argument("--members", type=int, default=MEMBERS, help="that the network draws; 0 for none")
    parser.add_argument("--kriging", action="store_true", help="compare with kriging too: some minutes")
    options = parser.parse_args(arguments)
    gridded, picks = read_picks(options.files)
    fold = draw_folds(picks, options.folds)
    homes = [options.out / f"fold_{number}_of_{options.folds}" for number in range(options.folds)]
    parts = [run_fold(gridded, picks, fold == number, home, options) for number, home in enumerate(homes)]
    names = [name for name in parts[0] if name not in (*BESIDES, "members")]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in [*names, *BESIDES]}
    known = np.all([np.isfinite(joined[name]) for name in names], axis=0)
    print(f"{known.sum()} held-out picks of {len(known)} where every map tells something")
    of_blocks, speed = {}, pd.Series(joined["speed"][known]).groupby(joined["blocks"][known]).median()
    for name in names:
        values, z = joined[name][known], joined["z"][known]
        errors = pd.Series(values - z).groupby(joined["blocks"][known]).agg(lambda each: rmse(each, 0 * each))
        of_blocks[name] = errors
        of_all = f"RMSE {rmse(values, z):6.1f}  MAE {mae(values, z):6.1f}  bias {bias(values, z):6.1f} m"
        print(
            f"{name:<16} {of_all}; mean RMSE of {len(errors)} blocks {errors.mean():6.1f} m, "
            f"{errors[speed > FAST_M_A].mean():6.1f} m of {(speed > FAST_M_A).sum()} with fast ice"
        )
    for name, errors in of_blocks.items():
        better = {other: int((errors < of_blocks[other]).sum()) for other in ("linear", "inversion")}
        print(f"{name:<16} better than linear in {better['linear']}, than inversion in {better['inversion']}")
    if options.members:
        sums = EnsembleSums()
        for part in parts:
            sums.add(part["members"], part["z"])
        sure = f"coverage of the 90 % interval {sums.coverage(0.9):.1%}"
        print(f"CRPS {sums.crps:.1f} m, {sure}, spread : error {sums.spread_error_ratio:.2f}")


if __name__ == "__main__":
    main()
