"""What a GPU makes of the engine: bf16 beside fp32 in training, maps beside those of the processor.

Run it with `python benchmarks/on_gpu.py --data DATA`, DATA being a prepared folder of bed_topography; without
a GPU it compares the processor with itself. Tiles of the published size are repeated until they fill a card;
the generator is the paper's, with twelve blocks. A line each: what was measured, and on which card.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import lightning
import numpy as np
import torch

from fieldwise.fields.formats import open_field
from fieldwise.networks.convolutions import deformable, on_gpu
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.generator import BedTask, choose_inputs, choose_options, read_samples
from fieldwise.recipes.bed_topography.regions.region import open_region
from fieldwise.samples.loaders import make_loader
from fieldwise.verbs.train import train_run

TILES, BATCH, EPOCHS = 2048, 128, 3
GPU = torch.cuda.is_available()


def repeat(arrays, count):
    """Repeat samples, (sample, ...), until there are so many of them."""
    if isinstance(arrays, dict):
        return {name: repeat(values, count) for name, values in arrays.items()}
    return np.resize(arrays, (count, *arrays.shape[1:]))


class Clock(lightning.Callback):
    """The time of each epoch, from its first step to its last."""

    def __init__(self):
        self.seconds = []

    def on_train_epoch_start(self, trainer, pl_module):
        torch.cuda.synchronize() if GPU else None
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer, pl_module):
        torch.cuda.synchronize() if GPU else None
        self.seconds.append(time.perf_counter() - self.started)


def time_training(case, precision, *, tiles, blocks, batch_size, compile=False):
    """Train the published network for some epochs: tiles a second, and where it arrives."""
    from fieldwise.verbs.train import watched_by

    names = choose_inputs(case, None, departure=True)
    learnt, signature = read_samples(case, "training", names, departure=True)
    inputs = [
        {"name": each.name, "channels": each.channels, "spacing_m": each.spacing} for each in signature.inputs
    ]
    options = choose_options(inputs, initial_weights=1.0, num_residual_blocks=blocks)
    scale_m = float(signature.outputs[0].scale.undo(np.ones(())))
    clock = Clock()
    loaders = (
        make_loader(repeat(learnt, tiles), batch_size=batch_size, shuffle_seed=1),
        make_loader(learnt, batch_size=batch_size),
    )
    with watched_by(clock):
        run = tempfile.mkdtemp()
        train_run(
            partial(BedTask, departure_scale_m=scale_m, shrink=True, **options),
            loaders,
            signature,
            run=run,
            settings={},
            monitor="val_rmse_m",
            max_epochs=EPOCHS,
            batch_size=batch_size,
            precision=precision,
            compile=compile,
            tracker="none",
            progress=False,
        )
    rate = tiles / min(clock.seconds[1:])
    what = f"{blocks} blocks with a discriminator, batches of {batch_size}, {precision}"
    what += ", compiled" if compile else ""
    print(f"training, {what}: {rate:.0f} tiles/s", flush=True)
    return rate


def time_call(function, turns=5):
    """Give the least seconds of some calls, after one to warm up."""
    seconds = []
    for _ in range(turns + 1):
        torch.cuda.synchronize() if GPU else None
        started = time.perf_counter()
        function()
        torch.cuda.synchronize() if GPU else None
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def compare_convolutions(side):
    """Time the ways to convolve at moved taps on a square map, and compare them with the plain one."""
    device = torch.device("cuda" if GPU else "cpu")
    maker = torch.Generator().manual_seed(0)
    features, weight = (torch.randn(size, generator=maker) for size in ((1, 64, side, side), (64, 64, 3, 3)))
    offsets = 2 * torch.randn((1, 18, side, side), generator=maker).to(device)
    features = features.to(device, memory_format=torch.channels_last)
    weight = weight.to(device)
    known = deformable._sample_and_weigh(features, offsets, weight)
    ways = {"plain": partial(deformable._sample_and_weigh, features, offsets, weight)}
    ways["by grid_sample"] = partial(on_gpu.convolve_by_grid, features, offsets, weight)
    for halved in (features, features.bfloat16()):
        if on_gpu.fits_kernel(halved, weight):
            name = f"kernel in {str(halved.dtype).removeprefix('torch.')}"
            ways[name] = partial(on_gpu.convolve_in_kernel, halved, offsets, weight)
        else:
            print(f"no kernel in {halved.dtype} on this device", flush=True)
    with torch.inference_mode():
        for name, way in ways.items():
            apart = float((way() - known).norm() / known.norm())
            took = 1000 * time_call(way)
            print(
                f"deformable convolution, {side} x {side}, {name}: {took:.1f} ms, {apart:.1e} apart",
                flush=True,
            )


def compare_maps(case, run):
    """Draw one map on the processor and on the card, tiled and whole."""
    maps = {}
    for name, accelerator, cells in (("cpu", "cpu", 1000), ("whole", "auto", 1000), ("tiled", "auto", 100)):
        out = Path(tempfile.mkdtemp()) / "map.tif"
        options = {"block_cells": cells, "accelerator": accelerator, "progress": False}
        bed_topography.predict(run=run, data=case.folder, out=out, **options)
        maps[name] = open_field(out).values
    for name in ("cpu", "tiled"):
        difference = np.nanmax(np.abs(maps[name] - maps["whole"]))
        print(f"map on the card beside {name}: at most {difference:.2g} m apart", flush=True)


def main():
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tiles", type=int, default=TILES if GPU else 32)
    parser.add_argument("--blocks", type=int, default=12 if GPU else 1)
    parser.add_argument("--batch_size", type=int, default=BATCH)
    parser.add_argument("--compile", action="store_true", help="train compiled networks too")
    options = parser.parse_args()
    size = {"tiles": options.tiles, "blocks": options.blocks, "batch_size": options.batch_size}
    print("card:", torch.cuda.get_device_name() if GPU else "none", flush=True)
    case = open_region(options.data)
    compare_convolutions(2304 if GPU else 200)
    rates = [time_training(case, precision, **size) for precision in ("32-true", "bf16-mixed", "auto")]
    print(f"bf16-mixed is {rates[1] / rates[0]:.2f} times as fast as 32-true", flush=True)
    if options.compile:
        time_training(case, "bf16-mixed", compile=True, **size)
    run = Path(tempfile.mkdtemp())
    quiet = {
        "network": "generator",
        "tracker": "none",
        "progress": False,
        "num_residual_blocks": 1,
        "max_epochs": 3,
        "batch_size": 8,
    }
    bed_topography.train(data=options.data, run=run, learning_rate=1e-3, residual_scaling=0.2, **quiet)
    compare_maps(case, run)


if __name__ == "__main__":
    main()
