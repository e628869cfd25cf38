"""How much faster the networks are than the same ones in Chainer, on one CPU.

    make chainer
    python benchmarks/against_chainer.py

Both systems run in one process, with two threads that give way while they wait, and take turns, first one,
then the other, again and again, so that whatever else the machine does weighs on both. What is printed are
medians, and the median of the ratios of neighbouring runs. Networks, weights and batches are the same, and so
are the results, which is checked.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import lightning
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import chainer_reference as reference

from fieldwise.interop.chainer_npz import load_chainer_npz
from fieldwise.networks.esrgan import DEEPBEDMAP_INPUTS
from fieldwise.recipes.bed_topography.generator import BedTask, choose_options

RATIOS = {"X": 1, "W1": 10, "W2": 2, "W3": 1}  # cells of an input on a side of a low-resolution cell
TILE = 11  # low-resolution cells on a side of a training tile, with its border


def draw_batch(rows: int, columns: int, *, batch: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Draw inputs and truth of order one for a window of low-resolution cells, its border included."""
    random = np.random.default_rng(seed)
    shapes = {
        name: (batch, 2 if name == "W2" else 1, rows * ratio, columns * ratio)
        for name, ratio in RATIOS.items()
    }
    shapes["Y"] = (batch, 1, 4 * (rows - 2), 4 * (columns - 2))
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def to_tensors(batch: dict[str, np.ndarray]) -> dict:
    """Give a batch as the task takes it, in metres, with a base of zero."""
    inputs = {
        channels.name: torch.from_numpy(batch[name]) for channels, name in zip(DEEPBEDMAP_INPUTS, RATIOS)
    }
    bed, lowres = torch.from_numpy(batch["Y"]), torch.from_numpy(batch["X"])
    return {"inputs": inputs, "targets": bed, "bed_lowres": lowres, "base": torch.zeros_like(bed)}


def make_pair(blocks: int) -> tuple[BedTask, Any, Any]:
    """Make the networks in both systems, with the same weights and offsets of the order of a cell."""
    generator = reference.Generator(num_residual_blocks=blocks, residual_scaling=0.2)
    discriminator = reference.Discriminator()
    for layer in (generator.final_conv_layer1, generator.final_conv_layer2):
        layer.offset_conv.b.array[:] = np.random.default_rng(3).normal(size=18)
    inputs = [vars(channels) for channels in DEEPBEDMAP_INPUTS]
    task = BedTask(**choose_options(inputs, num_residual_blocks=blocks, residual_scaling=0.2))
    with tempfile.TemporaryDirectory() as folder:
        for network, ours in ((generator, task.network), (discriminator, task.discriminator)):
            reference.chainer.serializers.save_npz(Path(folder) / "weights.npz", network)
            load_chainer_npz(Path(folder) / "weights.npz", ours)
    return task, generator, discriminator


def measure(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def report(name: str, ours: list[float], theirs: list[float]) -> None:
    """Print medians without the first run, which warms up, and the median ratio of neighbouring runs."""
    ratio = statistics.median(second / first for first, second in zip(ours[1:], theirs[1:]))
    medians = statistics.median(ours[1:]), statistics.median(theirs[1:])
    print(f"{name}: fieldwise {medians[0]:.2f} s, Chainer {medians[1]:.2f} s, {ratio:.1f} times faster")


def compare_forward(cells: int, *, blocks: int, runs: int) -> None:
    """Time the generator over a window of cells x cells low-resolution cells, without gradients."""
    task, generator, _ = make_pair(blocks)
    batch = draw_batch(cells + 2, cells + 2, batch=1)
    given = {name: batch[name] for name in RATIOS}
    tensors = to_tensors(batch)["inputs"]
    task.eval()
    results: list[Any] = [None, None]

    def run_ours() -> None:
        with torch.inference_mode():
            results[0] = task(tensors).numpy()

    def run_theirs() -> None:
        with reference.chainer.no_backprop_mode(), reference.chainer.using_config("train", False):
            results[1] = generator(*given.values()).array

    ours, theirs = [], []
    for _ in range(runs + 1):
        ours.append(measure(run_ours))
        theirs.append(measure(run_theirs))
    difference = np.abs(results[0] - results[1]).max() / np.abs(results[1]).max()
    print(f"largest difference of the results: {difference:.1e} of the largest value")
    report(f"forward pass over {cells} x {cells} cells", ours, theirs)


class Turns(lightning.Callback):
    """After each training step of fieldwise, a step of Chainer on the same batch."""

    def __init__(self, step: Callable[[], object]) -> None:
        self.step, self.ours, self.theirs = step, [], []

    def on_train_batch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.ours.append(time.perf_counter() - self.start)
        self.theirs.append(measure(self.step))


def compare_training(tiles: int, *, blocks: int, runs: int) -> None:
    """Time one step of generator and discriminator, Adam included, on a batch of tiles."""
    task, generator, discriminator = make_pair(blocks)
    batch = draw_batch(TILE, TILE, batch=tiles)
    optimizers = reference.make_adam(generator), reference.make_adam(discriminator)
    turns = Turns(lambda: reference.train_step(generator, discriminator, optimizers, batch))
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[turns],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, torch.utils.data.DataLoader([to_tensors(batch)] * (runs + 1), batch_size=None))
    report(f"training step of {tiles} tiles", turns.ours, turns.theirs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=100, help="low-resolution cells on a side")
    parser.add_argument("--tiles", type=int, default=16, help="in a training step")
    parser.add_argument("--blocks", type=int, default=12, help="residual blocks of the generator")
    parser.add_argument("--runs", type=int, default=5, help="of each system, after one to warm up")
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {options.blocks} residual blocks")
    compare_forward(options.cells, blocks=options.blocks, runs=options.runs)
    compare_training(options.tiles, blocks=options.blocks, runs=options.runs)
