"""Whole-domain prediction with DeepBedMap's generator: time, halo, and peak memory for two domain sizes.

Run it with `python benchmarks/predict_domain.py` (one to two minutes on two free cores). Each prediction has
a process of its own, so that each peak of memory is its own. The weights are random: He's normal distribution
in full, ten times the untrained network's, so that the features travel as in a trained one. The output is
scaled to a standard deviation of 100 m, and the halo is measured to 1 mm.
"""

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from fieldwise.fields.grids import Bounds
from fieldwise.networks.channels import Channels
from fieldwise.networks.esrgan import DEEPBEDMAP_INPUTS, UPSCALING, Generator
from fieldwise.samples.cases import Case
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.domains.blocks import lay_out_case
from fieldwise.verbs.domains.probes import measure_halo
from fieldwise.verbs.predict import predict_to
from fieldwise.verbs.predictors import Predictor

LOWRES_M, SPACING_M, CRS = 1000.0, 250.0, "EPSG:3031"
PATTERN = np.random.default_rng(7).normal(size=(2, 1000, 1000)).astype(np.float32)
SPREAD_M = 100.0


def read_inputs(bounds: Bounds) -> dict[str, np.ndarray]:
    """Cut all inputs, padded by one low-resolution cell, from a pattern that repeats without end."""
    west, south, east, north = bounds
    padded = (west - LOWRES_M, south - LOWRES_M, east + LOWRES_M, north + LOWRES_M)
    return {channels.name: _cut(channels, padded) for channels in DEEPBEDMAP_INPUTS}


def _cut(channels: Channels, bounds: Bounds) -> np.ndarray:
    west, south, east, north = (round(edge / channels.spacing_m) for edge in bounds)
    rows, columns = np.arange(-north, -south) % 1000, np.arange(west, east) % 1000
    return PATTERN[: channels.channels, rows[:, None], columns]


class Pattern(Predictor):
    """A generator that draws from the pattern, its output scaled to metres."""

    scale = 1.0

    def read(self, case: Case, window: Bounds, frame: int) -> dict[str, np.ndarray]:
        return read_inputs(window)

    def alignment_cells(self, case: Case) -> int:
        return UPSCALING

    def __call__(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        return self.scale * self.apply(arrays)


def make_predictor(num_residual_blocks: int) -> Pattern:
    """Make a generator with weights ten times as large as an untrained one's."""
    torch.manual_seed(7)
    generator = Generator(num_residual_blocks=num_residual_blocks).eval()
    for name, parameter in generator.named_parameters():
        if name.endswith("weight") and "offset" not in name:
            parameter.data *= 10
    inputs = tuple(
        Variable(each.name, (each.name,) * each.channels, spacing=each.spacing_m)
        for each in DEEPBEDMAP_INPUTS
    )
    predictor = Pattern(generator, Signature("benchmark", inputs, (Variable("bed", units="m"),)))
    predictor.scale = SPREAD_M / float(predictor(read_inputs((0, 0, 50_000, 50_000))).std())
    return predictor


def predict(cells: int, num_residual_blocks: int, block_cells: int, halo_cells: int | None) -> dict:
    """Predict a square domain; without a halo, measure it first."""
    predictor = make_predictor(num_residual_blocks)
    bounds = (0.0, 0.0, cells * SPACING_M, cells * SPACING_M)
    case = Case("pattern", None, Path("pattern"), {}, {}, SPACING_M, (cells, cells), bounds, CRS)
    start = time.perf_counter()
    if halo_cells is None:
        halo_cells = measure_halo(predictor, read_inputs, lay_out_case(case, None, UPSCALING))
    measured = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        options = {"block_cells": block_cells, "halo_cells": halo_cells}
        predict_to(Path(folder) / "bed.tif", predictor, case, **options)
    return {
        "halo_cells": halo_cells,
        "halo_s": measured - start,
        "predict_s": time.perf_counter() - measured,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_own_process(**options: int) -> dict:
    flags = [f"--{name}={value}" for name, value in options.items()]
    output = subprocess.run([sys.executable, __file__, *flags], check=True, stdout=subprocess.PIPE).stdout
    return json.loads(output)


def compare(cells: int, block_cells: int) -> None:
    """Print the time with the whole generator, and the memory of two domains with a short one."""
    whole = in_own_process(cells=cells, num_residual_blocks=12, block_cells=block_cells)
    print(
        f"{cells} x {cells} cells, 12 residual blocks, blocks of {block_cells} cells, "
        f"{torch.get_num_threads()} threads: {whole['predict_s']:.1f} s with a halo of "
        f"{whole['halo_cells']} cells (measured in {whole['halo_s']:.1f} s), peak {whole['peak_mb']:.0f} MB"
    )
    sides, short_block = (cells // 2, cells), block_cells // 4
    short = {"num_residual_blocks": 2, "block_cells": short_block, "halo_cells": 16}
    small, large = (in_own_process(cells=side, **short)["peak_mb"] for side in sides)
    print(
        f"peak memory, 2 residual blocks, blocks of {short_block} cells: {small:.0f} MB for {sides[0]} x "
        f"{sides[0]} cells, {large:.0f} MB for {sides[1]} x {sides[1]}: {100 * (large / small - 1):+.1f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1000, help="cells on a side of the domain")
    parser.add_argument("--block_cells", type=int, default=512)
    parser.add_argument("--num_residual_blocks", type=int, help="predict once and print the numbers as JSON")
    parser.add_argument("--halo_cells", type=int, help="with --num_residual_blocks: do not measure the halo")
    options = parser.parse_args()
    if options.num_residual_blocks is None:
        compare(options.cells, options.block_cells)
    else:
        print(json.dumps(predict(**vars(options))))


if __name__ == "__main__":
    main()
