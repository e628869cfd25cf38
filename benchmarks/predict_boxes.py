"""Periodic boxes of three sizes, mapped block by block: time against volume, and the peak of memory.

    python benchmarks/predict_boxes.py

Each box is mapped by predict_to in a process of its own, by the recipe's emulator with few features; what is
printed are processor time and the peak of memory as multiples of the smallest box's.
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

from fieldwise.networks.valid.emulator import ResidualEmulator
from fieldwise.samples.examples import make_box
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.signatures import Signature
from fieldwise.verbs.predict import predict_to
from fieldwise.verbs.predictors import Predictor


def make(cells: int) -> Path:
    """Prepare a box of white noise."""
    given = np.random.default_rng(1).normal(size=(3, cells, cells, cells)).astype(np.float32)
    return make_box({"linear": given}, split="test").folder


def predict(folder: Path, block_cells: int, features: int, blocks: int) -> dict[str, float]:
    """Map a box with random weights."""
    case = Prepared(folder).cases()[0]
    variables = (case.variables["linear"],)
    network = ResidualEmulator(3, 3, features=features, blocks=blocks, bypass=True)
    torch.nn.init.normal_(network.last.weight, std=0.1)
    predictor = Predictor(network, Signature("benchmark", variables, variables, stacked=True, dimensions=3))
    start = time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        out = Path(tempfile.mkdtemp()) / "box.npy"
        predict_to(out, predictor, case, block_cells=block_cells, halo_cells=0, progress=False)
    spent = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"processor_s": spent, "peak_mb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[64, 96, 128])
    parser.add_argument("--block_cells", type=int, default=32)
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="map this box here and print its cost as JSON")
    options = parser.parse_args()
    size = options.block_cells, options.features, options.blocks
    if options.folder:
        print(json.dumps(predict(options.folder, *size)))
        return
    flags = [f"--{name}={getattr(options, name)}" for name in ("block_cells", "features", "blocks")]
    found = []
    for cells in options.cells:
        command = [sys.executable, __file__, f"--folder={make(cells)}", *flags]
        found.append(
            json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) | {"cells": cells}
        )
        first, last = found[0], found[-1]
        volume = (last["cells"] / first["cells"]) ** 3
        print(
            f"{cells}³ in blocks of {options.block_cells}³: {volume:.0f} times the volume in "
            f"{last['processor_s'] / first['processor_s']:.2f} times the time ({last['processor_s']:.2f} s), "
            f"{last['peak_mb'] / first['peak_mb']:.3f} times the memory ({last['peak_mb']:.0f} MB)",
            flush=True,
        )


if __name__ == "__main__":
    main()
