"""The bed of a continent, end to end: inputs on the disk to a map on the disk, and where the time goes.

Run it with `python benchmarks/continent.py` (2000 x 2000 cells, a generator of two blocks, one to two minutes
on two cores), without a network with `--without_network`, and on a GPU with
`python benchmarks/continent.py --cells 6000 --num_residual_blocks 12 --folder FOLDER`. It makes the
published inputs as smooth fields with some noise, tiled as real mosaics are, each at a spacing of its own,
and a generator of random weights; then it runs the verb predict, tells the seconds of each part and what they
come to for the 18000 x 22000 cells of Antarctica. Parts of several threads go on at the same time, so the
wall's clock counts. To tell the parts from each other the program waits for a GPU after each of them: a
second run, untimed, tells what it takes without.
"""

import argparse
import json
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely
import torch

from fieldwise.fields.grids import Grid
from fieldwise.fields.rasters import write_cog_by_blocks
from fieldwise.networks.esrgan import DEEPBEDMAP_INPUTS, Generator
from fieldwise.recipes import bed_topography
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import draft_folder
from fieldwise.samples.scales import LengthScale, Scale
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.domains.clocks import timed

CONTINENT = 18000 * 22000  # cells of 250 m
SPACING_M, LOWRES_M, CRS = 250.0, 1000.0, "EPSG:3031"
STRIP_ROWS = 512  # in memory at a time
# Name to mean, size and wavelength of the waves, and noise, in the units of the field; and its own spacing.
FIELDS = {
    "bed_lowres": (-300.0, 400.0, 60e3, 5.0, 1000.0),
    "surface_elevation": (1800.0, 300.0, 40e3, 0.5, 100.0),
    "ice_velocity_1": (40.0, 60.0, 90e3, 0.5, 450.0),
    "ice_velocity_2": (-10.0, 60.0, 80e3, 0.5, 450.0),
    "snow_accumulation": (150.0, 50.0, 200e3, 1.0, 1000.0),
}
FLAT = ("bed_lowres", "surface_elevation")  # whose regional trend is taken off
SCALES = {
    "bed_lowres": Scale(0.0, 100.0),
    "surface_elevation": Scale(0.0, 50.0),
    "ice_velocity": LengthScale(10.0),
    "snow_accumulation": Scale(150.0, 50.0),
}


def write_waves(
    path: Path, bounds, *, mean: float, size: float, wavelength: float, noise: float, spacing: float
):
    """Write a field of crossing waves and noise, strip by strip."""
    grid = Grid.around(bounds, spacing, CRS)
    seed = sum(map(ord, path.stem))
    along_x = np.sin(2 * np.pi * grid.x / wavelength).astype(np.float32)
    along_y = np.cos(2 * np.pi * grid.y / (1.3 * wavelength)).astype(np.float32)

    def strips():
        for row in range(0, grid.shape[0], STRIP_ROWS):
            part = along_y[row : row + STRIP_ROWS]
            drawn = np.random.default_rng((seed, row)).standard_normal((len(part), grid.shape[1]), np.float32)
            yield row, 0, np.float32(mean) + size * part[:, None] * along_x + noise * drawn

    write_cog_by_blocks(strips(), grid, path, name=path.stem)


def make_inputs(folder: Path, cells: int) -> None:
    """Write a prepared folder: inputs, trends of two of them, and a grounding line that cuts the corners."""
    bounds = (0.0, 0.0, cells * SPACING_M, cells * SPACING_M)
    with draft_folder(folder, recipe="bed_topography") as draft:
        files, trends = {}, {}
        for name, (mean, size, wavelength, noise, spacing) in FIELDS.items():
            files[name] = f"inputs/{name}.tif"
            waves = {"mean": mean, "size": size, "wavelength": wavelength}
            write_waves(draft.folder / files[name], bounds, **waves, noise=noise, spacing=spacing)
            if name in FLAT:
                trends[name] = f"trends/{name}.tif"
                write_waves(draft.folder / trends[name], bounds, **waves, noise=0.0, spacing=LOWRES_M)
        variables = {each.name: each for each in describe_inputs()}
        known = {"bounds": bounds, "crs": CRS, "trends": trends}
        shape = (cells, cells)
        draft.add(Case("region", None, draft.folder, variables, files, SPACING_M, shape, **known))
        circle = shapely.Point(bounds[2] / 2, bounds[3] / 2).buffer(0.6 * bounds[2], quad_segs=2000)
        (draft.folder / "grounding_line.geojson").write_text(
            json.dumps(
                {
                    "type": "FeatureCollection",
                    "crs": {"type": "name", "properties": {"name": CRS}},
                    "features": [
                        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(circle)}
                    ],
                }
            )
        )
        draft.facts["grounding_line"] = "grounding_line.geojson"


def describe_inputs() -> list[Variable]:
    """Describe the published inputs as a prepared folder does."""
    variables = []
    for each in DEEPBEDMAP_INPUTS:
        fields = tuple(name for name in FIELDS if name.startswith(each.name))
        flat, vector = each.name in FLAT, each.channels > 1
        variables.append(Variable(each.name, fields, "m", each.spacing_m, flat=flat, vector=vector))
    return variables


def make_run(run: Path, num_residual_blocks: int) -> None:
    """Leave the checkpoint of a generator whose departures are as large as a trained one's."""
    torch.manual_seed(7)
    inputs = [{"name": c.name, "channels": c.channels, "spacing_m": c.spacing_m} for c in DEEPBEDMAP_INPUTS]
    options = {"inputs": inputs, "num_residual_blocks": num_residual_blocks, "initial_weights": 1.0}
    network = Generator(**options)
    torch.nn.init.normal_(network.final_conv_layer2.deform_conv.weight, std=0.06)
    scaled = tuple(replace(each, scale=SCALES[each.name]) for each in describe_inputs())
    bed = Variable("bed", units="m", spacing=SPACING_M, scale=Scale(0.0, 50.0))
    facts = {"departure": True, "lowres_spacing_m": LOWRES_M}
    signature = Signature("bed_topography", scaled, (bed,), facts=facts, spacings=(SPACING_M,))
    hyper = {"network": "fieldwise.networks.esrgan.Generator", "network_options": options}
    hyper["signature"] = signature.to_dict()
    state = {f"network.{name}": values for name, values in network.state_dict().items()}
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state, "hyper_parameters": hyper}, run / "checkpoints" / "best.ckpt")


def draw_nothing(generator: Generator, inputs: dict) -> torch.Tensor:
    """Stand in for the generator, to measure everything else."""
    rows, columns = (4 * (size - 2) for size in inputs["bed_lowres"].shape[-2:])
    return inputs["bed_lowres"].new_zeros(1, 1, rows, columns)


def predict(folder: Path, **options) -> dict[str, float]:
    """Draw the map anew: seconds by part, and by the wall's clock and the processor's."""
    out = folder / "map.tif"
    out.unlink(missing_ok=True)
    wall, processor = time.perf_counter(), time.process_time()
    bed_topography.predict(run=folder / "run", data=folder / "data", out=out, progress=False, **options)
    return {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}


def measure(folder: Path, cells: int, **options) -> None:
    """Predict twice, and print the parts."""
    with timed() as seconds:
        seconds |= predict(folder, **options)
    untimed = predict(folder, **options)
    continent = CONTINENT / cells**2
    print(f"{'part':18} {'seconds':>8} {'continent':>10}")
    for part, each in [*seconds.items(), *((f"{part}, untimed", each) for part, each in untimed.items())]:
        print(f"{part:18} {each:8.2f} {each * continent:10.1f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak of memory {peak:.0f} MB, {(folder / 'map.tif').stat().st_size / cells**2:.2f} bytes a cell")


def main() -> None:
    """Make what is not there, predict, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=2000, help="on a side of the region, a multiple of 4")
    parser.add_argument("--num_residual_blocks", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where inputs and map lie, and are found again")
    parser.add_argument("--block_cells", type=int)
    parser.add_argument("--halo_cells", type=int, default=144, help="as twice what a trained network needs")
    parser.add_argument("--precision")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--without_network", action="store_true")
    options = vars(parser.parse_args())
    cells, blocks, folder = (options.pop(name) for name in ("cells", "num_residual_blocks", "folder"))
    if options.pop("without_network"):
        Generator.forward = draw_nothing
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    print(f"{cells} x {cells} cells, {blocks} residual blocks, card: {card}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        home = (folder or Path(temporary)) / f"{cells}"
        if not (home / "data" / "dataset.yaml").exists():
            started = time.perf_counter()
            make_inputs(home / "data", cells)
            print(f"inputs made in {time.perf_counter() - started:.1f} s", flush=True)
        make_run(home / "run", blocks)
        measure(home, cells, **{name: value for name, value in options.items() if value is not None})


if __name__ == "__main__":
    main()
