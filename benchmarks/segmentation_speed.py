"""Samples a second of DeepLabv3+ in training, and of its input pipeline, against a plain PyTorch loop.

    python benchmarks/segmentation_speed.py --cells 768 1152 --steps 2 --rounds 1

The loop is of the kind that DeepCAM's is (Kurth et al. 2018): a data set that opens an HDF5 file a sample
and brings channels to between 0 and 1, weighted cross-entropy, Adam, float32, and the mean IoU of a sample of
validation at the end. It trains the same network, its maps in PyTorch's usual order. Ours is what `fieldwise
extreme_weather train` runs: the prepared folder, the task, Lightning. The first step of each is not timed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader, Dataset

from fieldwise.losses.classes import class_weights
from fieldwise.networks.segmentation import deeplab
from fieldwise.physics.extreme_weather.channels import CHANNELS
from fieldwise.recipes import extreme_weather
from fieldwise.recipes.extreme_weather.train import describe_fields, describe_network
from fieldwise.samples.frames import list_frames
from fieldwise.samples.loaders import FrameSampler, make_patch_loader
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.weather.deepcam import write_sample
from fieldwise.samples.weather.statistics import read_statistics
from fieldwise.tasks import ClassTask
from fieldwise.tasks.classes import iou_of_images

FREQUENCIES = (0.986268, 0.00045787, 0.0132743)  # of DeepCAM's classes


def draw_samples(folder: Path, shape: tuple[int, int], count: int) -> None:
    """Write samples of noise, with a patch of each class."""
    random = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint8)
    labels[shape[0] // 4 : shape[0] // 3, : shape[1] // 8], labels[-40:-30, 40:60] = 2, 1
    for number in range(count):
        fields = {name: random.normal(size=shape).astype(np.float32) for name in CHANNELS}
        write_sample(folder, np.datetime64("2001-08-01T00") + 3 * number, fields, (labels,))


class PlainSamples(Dataset):
    """A file a sample, all channels of it between 0 and 1."""

    def __init__(self, files: list[Path], stats: Path) -> None:
        told = read_statistics(stats)
        self.files, self.low = files, told.least.reshape(-1, 1, 1).astype(np.float32)
        self.share = (1 / (told.greatest - told.least)).reshape(-1, 1, 1).astype(np.float32)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        with h5py.File(self.files[number]) as file:
            data, labels = file["climate/data"][...], file["climate/labels_0"][...]
        return self.share * (np.transpose(data, (2, 0, 1)) - self.low), labels.astype(np.int64)


def now() -> np.ndarray:
    """Give the seconds of clock and processor."""
    return np.array([time.perf_counter(), time.process_time()])


def train_plainly(loader: DataLoader, judged: DataLoader, steps: int) -> np.ndarray:
    """Give the seconds of so many steps and a validation, after one to warm up."""
    torch.manual_seed(1)
    with patch.object(deeplab, "order_in_memory", lambda fields: fields):
        network = deeplab.DeepLab(len(CHANNELS), 3).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-6)
        criterion = torch.nn.CrossEntropyLoss(weight=class_weights(FREQUENCIES), reduction="none")
        started = now()
        for step, (inputs, labels) in enumerate(loader):
            if step == 1:
                started = now()
            optimizer.zero_grad()
            criterion(network(inputs), labels).mean().backward()
            optimizer.step()
            if step == steps:
                break
        network.eval()
        with torch.no_grad():
            for inputs, labels in judged:
                iou_of_images(network(inputs).argmax(1), labels, 3)
        return now() - started


class Clock(Callback):
    """Times an epoch and its validation, but for the first step."""

    seconds = np.zeros(2)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self.seconds = -now()

    def on_validation_end(self, *_: Any) -> None:
        self.seconds += now()


def train_ours(
    loader: DataLoader, judged: DataLoader, signature: Any, padding: str, precision: str, steps: int
) -> np.ndarray:
    """Give the seconds of the same through task and trainer."""
    torch.manual_seed(1)
    path, options = describe_network("deeplab", signature, padding, {})
    weights = class_weights(FREQUENCIES).tolist()
    task = ClassTask(
        network=path, network_options=options, class_weights=weights, weight_decay=1e-6, clip_norm=0.0
    )
    clock = Clock()
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=steps + 1,
        accelerator="cpu",
        precision=precision,  # type: ignore[arg-type]
        callbacks=[clock],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, loader, judged)
    return clock.seconds


def time_reading(loader: DataLoader, count: int) -> np.ndarray:
    """Give the seconds a sample of reading alone, what is read already lying in memory."""
    for _ in loader:
        pass
    started = now()
    for _ in loader:
        pass
    return (now() - started) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs=2, default=(768, 1152))
    parser.add_argument("--steps", type=int, default=2, help="timed in each round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--padding", choices=["zonal", "published"], default="published")
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--reading_only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape, count = tuple(options.cells), options.steps + 1
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        draw_samples(home / "samples", shape, count + 2)
        shares = (count / (count + 2), 1 / (count + 2), 1 / (count + 2))
        how: Any = {"shares": shares, "gap_hours": 0.0, "labellers": False, "progress": False}
        data = extreme_weather.prepare(source=str(home / "samples"), out=home / "data", **how)
        files = sorted((home / "samples").glob("*.h5"))
        plain, plain_judged = (
            DataLoader(PlainSamples(part, data / "stats.h5"), batch_size=1, shuffle=len(part) > 1)
            for part in (files[:count], files[count : count + 1])
        )
        prepared = Prepared(data)
        learnt, judged = prepared.cases("training"), prepared.cases("validation")
        signature = describe_fields(learnt, CHANNELS, "labels", scales="minmax")
        frames = list_frames(learnt, signature)
        ours = make_patch_loader(frames, sampler=FrameSampler(len(frames), seed=1))
        ours_judged = make_patch_loader(list_frames(judged, signature))
        compare("reading", [partial(time_reading, plain, 1), partial(time_reading, ours, 1)], 3, count)
        if not options.reading_only:
            made: list[Callable[[], np.ndarray]] = [
                partial(train_plainly, plain, plain_judged, options.steps),
                partial(
                    train_ours,
                    ours,
                    ours_judged,
                    signature,
                    options.padding,
                    options.precision,
                    options.steps,
                ),
            ]
            compare("training", made, options.rounds, options.steps)


def compare(what: str, pair: list[Callable[[], np.ndarray]], rounds: int, count: int) -> None:
    """Let both take turns, and print how many samples they go through in a second."""
    seconds = np.array(
        [[run() for run in pair] for _ in range(rounds)]
    )  # (round, plain or ours, clock or processor)
    for number, kind in enumerate(("clock", "processor")):
        theirs, ours = np.median(seconds[:, :, number], axis=0)
        ratio = np.median(seconds[:, 0, number] / seconds[:, 1, number])
        rates = f"plain {count / theirs:.3f} samples/s, ours {count / ours:.3f}"
        print(f"{what}, {kind}: {rates}, {ratio:.2f} times faster", flush=True)


if __name__ == "__main__":
    main()
