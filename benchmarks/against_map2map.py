"""How fast a U-Net learns and maps periodic boxes, beside map2map's pipeline in plain PyTorch.

    python benchmarks/against_map2map.py

The other side is a re-statement of what map2map does (Li et al. 2021): .npy fields cropped and padded
periodically by 20 cells with NumPy, its U-Net of valid convolutions and batch norms in layers of torch.nn,
Adam and the mean squared error; a box mapped crop by crop, and put together. Ours are the same network with
the same weights through the engine (Crops, FieldTask, Lightning's trainer, predict_to), in float32 and bf16,
with the margin and, of whole periodic boxes, without; and the emulator that the recipe takes. Training is a
step on one box of 64³ cells, 3 channels to 3; prediction is of a box of 128³ in blocks of 64³.

Each is a process of its own. They take turns while the others wait, so that whatever else the machine does
weighs on all; ratios are of neighbouring turns, of processor time and of the clock, and the peak of memory
is each process's own, in brackets what is above all that it held before its first turn.
"""

import argparse
import contextlib
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PAD, CHANNELS, CROP = 20, 3, 64
SIZES = {"train": 64, "predict": 128}  # of the boxes
ROOM = "fieldwise.networks.valid"
WAYS = {  # name: network, precision, boundary
    "map2map": ("original", "32", "valid"),
    "U-Net": (f"{ROOM}.unet.UNet", "32", "valid"),
    "U-Net without margin": (f"{ROOM}.unet.UNet", "32", "periodic"),
    "U-Net, bf16": (f"{ROOM}.unet.UNet", "bf16", "valid"),
    "U-Net without margin, bf16": (f"{ROOM}.unet.UNet", "bf16", "periodic"),
    "emulator": (f"{ROOM}.emulator.ResidualEmulator", "32", "periodic"),
    "emulator, bf16": (f"{ROOM}.emulator.ResidualEmulator", "bf16", "periodic"),
}


class Stage(nn.Module):
    """Layers by name: c a convolution, b a batch norm, a a rectifier, d and u halve and double."""

    def __init__(self, read: int, given: int, plan: str) -> None:
        super().__init__()
        last = max(place for place, name in enumerate(plan) if name in "cdu")
        middle, layers = max(read, given), list[nn.Module]()
        for place, name in enumerate(plan):
            to = given if place == last else middle
            if name in "cdu":
                kind = nn.ConvTranspose3d if name == "u" else nn.Conv3d
                layers.append(kind(read, to, 3) if name == "c" else kind(read, to, 2, stride=2))
                read = to
            else:
                layers.append(nn.BatchNorm3d(read) if name == "b" else nn.LeakyReLU(0.01))
        self.convs = nn.Sequential(*layers)

    def forward(self, fields: Tensor) -> Tensor:
        return self.convs(fields)


class Original(nn.Module):
    """The U-Net of map2map, layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_l0, self.down_l0 = Stage(CHANNELS, 64, "cacba"), Stage(64, 64, "dba")
        self.conv_l1, self.down_l1 = Stage(64, 64, "cbacba"), Stage(64, 64, "dba")
        self.conv_c = Stage(64, 64, "cbacba")
        self.up_r1, self.conv_r1 = Stage(64, 64, "uba"), Stage(128, 64, "cbacba")
        self.up_r0, self.conv_r0 = Stage(64, 64, "uba"), Stage(128, CHANNELS, "cac")

    def forward(self, fields: Tensor) -> Tensor:
        first = self.conv_l0(fields)
        second = self.conv_l1(self.down_l0(first))
        inner = self.up_r1(self.conv_c(self.down_l1(second)))
        inner = self.conv_r1(torch.cat([second[..., 4:-4, 4:-4, 4:-4], inner], dim=1))
        inner = torch.cat([first[..., 16:-16, 16:-16, 16:-16], self.up_r0(inner)], dim=1)
        return self.conv_r0(inner) + fields[..., PAD:-PAD, PAD:-PAD, PAD:-PAD]


def cut(path: Path, starts: tuple[int, ...], pad: int) -> Tensor:
    """Load a field and cut a crop, periodically padded, as map2map does for each sample."""
    field = np.load(path, mmap_mode="r")
    for axis, start in enumerate(starts, start=1):
        field = np.take(field, np.arange(start - pad, start + CROP + pad), axis=axis, mode="wrap")
    return torch.from_numpy(field.astype(np.float32))[None]


def train_original(folder: Path, way: str, turn: Callable) -> None:
    network = Original()
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    while turn.wait():
        given, wanted = (
            cut(folder / "train_in.npy", (0, 0, 0), PAD),
            cut(folder / "train_out.npy", (0, 0, 0), 0),
        )
        loss = nn.functional.mse_loss(network(given), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        turn.report(loss=loss.item())


def predict_original(folder: Path, way: str, turn: Callable) -> None:
    network = Original().eval()
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    cells = SIZES["predict"]
    while turn.wait():
        whole = np.empty((CHANNELS, cells, cells, cells), np.float32)
        with torch.no_grad():
            for starts in product(range(0, cells, CROP), repeat=3):
                inner = (slice(None), *(slice(start, start + CROP) for start in starts))
                whole[inner] = network(cut(folder / "predict_in.npy", starts, PAD))[0].numpy()
        np.save(folder / f"{way}.npy", whole)
        turn.report()


class Turns:
    """Wait for the word to go, and report what a turn took."""

    idle = 0

    def wait(self) -> bool:
        self.idle = self.idle or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        going = sys.stdin.readline().strip() == "go"
        self.clock, self.processor = time.perf_counter(), time.process_time()
        return going

    def report(self, **beside: float) -> None:
        spent = {"clock": time.perf_counter() - self.clock, "processor": time.process_time() - self.processor}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        memory = {"peak_mb": peak / 1024, "above_mb": (peak - self.idle) / 1024}
        print(json.dumps(spent | memory | beside), flush=True)


def open_box(folder: Path, work: str) -> tuple[Any, Any]:
    """Prepare a box for the engine: its case, and the signature of a map of it, without scaling."""
    from fieldwise.samples.examples import make_box
    from fieldwise.samples.signatures import Signature

    fields = {
        "linear": np.load(folder / f"{work}_in.npy"),
        "displacement": np.load(folder / f"{work}_out.npy"),
    }
    case = make_box(fields, split="training").cases()[0]
    inputs, outputs = (case.variables["linear"],), (case.variables["displacement"],)
    return case, Signature("structure_formation", inputs, outputs, stacked=True, dimensions=3)


def make_task(folder: Path, way: str) -> Any:
    from fieldwise.tasks import FieldTask

    network, _, boundary = WAYS[way]
    options = {"in_channels": CHANNELS, "out_channels": CHANNELS, "boundary": boundary}
    task = FieldTask(network=network, network_options=options, losses={"mse": 1.0}, clip_norm=0)
    if network.endswith("UNet"):
        task.network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return task


def train_ours(folder: Path, way: str, turn: Turns | None) -> None:
    """Train a step each time one is told to, or one alone."""
    import lightning

    from fieldwise.samples.boxes.crops import Crops, Cutting
    from fieldwise.samples.boxes.order import make_crop_loaders

    class Reporter(lightning.pytorch.callbacks.Callback):
        def on_train_epoch_start(self, trainer: Any, _: Any) -> None:
            if turn and not turn.wait():
                sys.exit()

        def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
            if turn:
                turn.report(loss=float(trainer.callback_metrics["loss"]))

    case, signature = open_box(folder, "train")
    crops = Crops([case], signature, Cutting(input_padding=[PAD if WAYS[way][2] == "valid" else 0]))
    loader, _ = make_crop_loaders(crops, crops, batch_size=1, seed=1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    precision = "bf16-mixed" if WAYS[way][1] == "bf16" else "32-true"
    options = {"max_epochs": -1 if turn else 1, "accelerator": "cpu", "precision": precision}
    trainer = lightning.Trainer(**options, **quiet, enable_model_summary=False, callbacks=[Reporter()])
    trainer.fit(make_task(folder, way), loader)


def predict_ours(folder: Path, way: str, turn: Turns | None) -> None:
    """Map the box each time one is told to, or once."""
    from fieldwise.verbs.predict import predict_to
    from fieldwise.verbs.predictors import Predictor

    _, precision, boundary = WAYS[way]
    whole = way.startswith("U-Net without")

    class Halved(Predictor):
        def infer(self, inputs: Any, **options: Any) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                return super().infer(inputs, **options)

        padding_cells = 0 if whole else Predictor.padding_cells

    case, signature = open_box(folder, "predict")
    predictor = Halved(make_task(folder, way).network, signature)
    predictor.network.boundary = boundary if whole else "valid"
    block_cells = SIZES["predict"] if whole else CROP
    while turn is None or turn.wait():
        with contextlib.redirect_stdout(sys.stderr):
            options = {"block_cells": block_cells, "halo_cells": 0, "progress": False}
            predict_to(folder / f"{way}.npy", predictor, case, **options)
        if turn is None:
            return
        turn.report()


def start(work: str, way: str, folder: Path, threads: int) -> subprocess.Popen:
    flags = ["--work", work, "--way", way, "--folder", str(folder), "--threads", str(threads)]
    return subprocess.Popen(
        [sys.executable, __file__, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
    )


def take_turn(worker: subprocess.Popen) -> dict[str, float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    while line := worker.stdout.readline():
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"{worker.args} has ended with {worker.wait()}")


def compare(work: str, ways: list[str], folder: Path, options: argparse.Namespace) -> None:
    """Let all take turns, the first to warm up where there are several, and print ratios."""
    turns: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    workers = {way: start(work, way, folder, options.threads) for way in ways}
    for _, way in product(range(options.rounds), ways):
        turns[way].append(take_turn(workers[way]))
        print(f"{work}, {way}: {turns[way][-1]}", file=sys.stderr, flush=True)
    for worker in workers.values():
        worker.communicate("stop\n")
    skipped = 1 if options.rounds > 1 else 0
    print(f"{work}, {options.threads} threads, {options.rounds - skipped} turns each")
    theirs = turns["map2map"]
    for way, mine in turns.items():
        ratios = {
            key: statistics.median(their[key] / my[key] for their, my in list(zip(theirs, mine))[skipped:])
            for key in ("processor", "clock")
        }
        seconds = statistics.median(my["processor"] for my in mine[skipped:])
        print(
            f"  {way}: {ratios['processor']:.2f} times as fast ({ratios['clock']:.2f} by the clock; "
            f"{seconds:.2f} s of processor), peak {mine[-1]['peak_mb']:.0f} MB "
            f"({mine[-1]['above_mb']:.0f} above)",
            end="",
        )
        if work == "train" and "U-Net" in way:
            print(f", first loss {mine[0]['loss'] / theirs[0]['loss'] - 1:+.1e} apart", end="")
        if work == "predict" and "U-Net" in way:
            made, expected = (np.load(folder / f"{each}.npy") for each in (way, "map2map"))
            print(
                f", at most {np.abs(made - expected).max() / expected.std():.1e} of the spread apart", end=""
            )
        print(flush=True)


def profile(work: Callable, folder: Path, way: str) -> None:
    """Print where the time of a turn of ours goes."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        work(folder, way, None)
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    print(f"{work.__name__}, {way}: ", end="")
    print(*(f"{event.key} {event.self_cpu_time_total / total:.1%}" for event in events[:9]), sep=", ")


def draw_boxes(folder: Path) -> None:
    """Write boxes of white noise, and weights that the networks begin with, batch norms as if learnt."""
    random = np.random.default_rng(1)
    for work, cells in SIZES.items():
        for side in ("in", "out"):
            field = random.normal(size=(CHANNELS, cells, cells, cells)).astype(np.float32)
            np.save(folder / f"{work}_{side}.npy", field)
    torch.manual_seed(1)
    network = Original()
    for name, value in network.named_buffers():
        if value.ndim:
            value.uniform_(0.5, 1.5) if name.endswith("var") else value.normal_(std=0.1)
    torch.save(network.state_dict(), folder / "weights.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="turns of each, the first to warm up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--works", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--work", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ours = {"train": train_ours, "predict": predict_ours}
    if options.work:
        theirs = {"train": train_original, "predict": predict_original}
        work = (theirs if options.way == "map2map" else ours)[options.work]
        work(options.folder, options.way, Turns())
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_boxes(folder)
        for each in options.works:
            compare(each, options.ways, folder, options)
        for each in options.works:
            for way in [way for way in options.ways if way.startswith("U-Net")]:
                profile(ours[each], folder, way)


if __name__ == "__main__":
    main()
