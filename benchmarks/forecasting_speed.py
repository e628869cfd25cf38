"""How fast ConvLSTM and SAVP learn, beside plain PyTorch re-statements of how the originals do it.

    python benchmarks/forecasting_speed.py

The other side works frame by frame: in each of 23 steps, those of the known frames too, inputs and hidden
state are joined and convolved together, in float32 and PyTorch's usual order of memory; SAVP makes kernels,
masks and a new map in each step, and joins planes of its code to the inputs of every layer. It reads one
serialised record after another, as from a TFRecord file. Ours are the same networks in the engine's way:
memory-mapped hours, what is not recurrent at once, channels last, without and with bf16. A step of training
is one batch: reading, forecast, loss (ConvLSTM: squares; SAVP: absolute values, and how far the codes of the
truth are from the prior; its discriminators are left out on both sides), gradients, Adam. Maps of 56 x 92
cells, 3 variables, 12 hours to 12, batches of 4, as AMBS has them.

The ways take turns, so that whatever else the machine does weighs on all; the least of the turns is taken, of
the clock and of processor time. SimVP's frames per second are those of forecasts of WeatherBench's 32 x 64
cells, 12 of each sequence, in batches of 4. A member of 12 hours on 48 x 48 cells is timed with the noise of
all hours drawn at once, plane by plane, and with fresh noise; `--members_only` times nothing else.
"""

import argparse
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fieldwise.networks.convolutions.cdna import compose, make_kernels, move
from fieldwise.networks.forecasting.advection import StochasticAdvection
from fieldwise.networks.forecasting.convlstm import ConvLSTM
from fieldwise.networks.forecasting.savp import SAVP, TransitionEncoder
from fieldwise.networks.forecasting.simvp import SimVP
from fieldwise.networks.noise import WorldNoise

CELLS, CHANNELS, CONTEXT, HORIZON = (56, 92), 3, 12, 12
FRAMES = CONTEXT + HORIZON


class JoinedCell(nn.Module):
    """A ConvLSTM cell that convolves inputs and hidden state together."""

    def __init__(self, read, features, normed=False):
        super().__init__()
        self.convolution = nn.Conv2d(read + features, 4 * features, 5, padding=2, bias=not normed)
        sizes = (4 * features, features) if normed else ()
        self.norms = nn.ModuleList(nn.InstanceNorm2d(size, affine=True) for size in sizes)
        self.features = features

    def forward(self, inputs, memory):
        if memory is None:
            zeros = inputs.new_zeros(len(inputs), self.features, *inputs.shape[2:])
            memory = zeros, zeros
        cell, hidden = memory
        gates = self.convolution(torch.cat([inputs, hidden], dim=1))
        gates = self.norms[0](gates) if self.norms else gates
        write, keep, show, made = gates.chunk(4, dim=1)
        cell = torch.sigmoid(keep + 1) * cell + torch.sigmoid(write) * torch.tanh(made)
        cell = self.norms[1](cell) if self.norms else cell
        hidden = torch.sigmoid(show) * torch.tanh(cell)
        return hidden, (cell, hidden)


class PlainConvLSTM(nn.Module):
    """AMBS's: one cell of 64 features, a mix cell by cell, each step gives a frame."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = JoinedCell(CHANNELS, 64), nn.Conv2d(64, CHANNELS, 1)

    def forward(self, frames):
        memory, made = None, []
        for step in range(FRAMES - 1):
            hidden, memory = self.cell(frames[:, step] if step < CONTEXT else made[-1], memory)
            made.append(self.head(hidden))
        return torch.stack(made[CONTEXT - 1 :], dim=1)

    def learn(self, frames):
        return functional.mse_loss(self(frames), frames[:, CONTEXT:])


class PlainLayer(nn.Module):
    """A layer of SAVP: planes of the code joined, a convolution, a norm, a rectifier, a memory or none."""

    def __init__(self, read, features, size, *, stride=1, doubling=False, memory=True):
        super().__init__()
        self.doubling = doubling
        self.convolution = nn.Conv2d(read + 16, features, size, stride, size // 2, bias=False)
        self.norm = nn.InstanceNorm2d(features, affine=True)
        self.cell = JoinedCell(features + 16, features, normed=True) if memory else None

    def forward(self, features, code, memory):
        features = join(features, code)
        if self.doubling:
            features = functional.interpolate(features, scale_factor=2, mode="bilinear")
        features = torch.relu(self.norm(self.convolution(features)))
        return (features, None) if self.cell is None else self.cell(join(features, code), memory)


def join(features, code):
    return torch.cat([features, code[:, :, None, None].expand(-1, -1, *features.shape[2:])], dim=1)


def make_head(read, given):
    first = nn.Conv2d(32, 32, 3, padding=1, bias=False)
    return nn.ModuleList(
        [
            nn.Sequential(first, nn.InstanceNorm2d(32, affine=True), nn.ReLU()),
            nn.Conv2d(read, given, 3, padding=1),
        ]
    )


class PlainSAVP(nn.Module):
    """The generator of SAVP for maps of 32 cells and more, with its encoder."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                PlainLayer(2 * CHANNELS, 32, 5, stride=2),
                PlainLayer(32, 64, 3, stride=2),
                PlainLayer(64, 32, 3, doubling=True),
                PlainLayer(64, 32, 3, doubling=True, memory=False),
            ]
        )
        self.codes = nn.LSTMCell(16, 16)
        self.kernels = nn.Linear(64 * CELLS[0] // 4 * CELLS[1] // 4, 4 * 25)
        self.new_map, self.masks = make_head(32, CHANNELS), make_head(32 + 7 * CHANNELS, 7)
        self.encoder = TransitionEncoder(2 * CHANNELS, 64, 16)

    def forward(self, frames, code):
        memories, recalled, made = [None] * 4, None, []
        for step in range(FRAMES - 1):
            previous = frames[:, step] if step < CONTEXT else made[-1]
            recalled = self.codes(code[:, step], recalled)
            frame, memories = self.step(previous, frames[:, 0], recalled[0], memories)
            made.append(frame)
        return torch.stack(made[CONTEXT - 1 :], dim=1)

    def step(self, previous, first, code, memories):
        features, kept, seen = torch.cat([previous, first], dim=1), [], []
        for number, (layer, memory) in enumerate(zip(self.layers, memories, strict=True)):
            features = torch.cat([features, seen[0]], dim=1) if number == 3 else features
            features, memory = layer(features, code, memory)
            kept.append(memory)
            seen.append(features)
        moved = move(previous, make_kernels(self.kernels(seen[1].flatten(1)), 5), beyond="zeros")
        new = self.new_map[1](self.new_map[0](features))
        maps = torch.cat([moved, torch.stack([previous, first, new], dim=1)], dim=1)
        shown = torch.cat([self.masks[0](features), maps.flatten(1, 2)], dim=1)
        return compose(maps, torch.softmax(self.masks[1](shown), dim=1)), kept

    def learn(self, frames):
        return learn_savp(self, frames, lambda code: self(frames, code))


class OurConvLSTM(ConvLSTM):
    def learn(self, frames):
        return functional.mse_loss(self(frames[:, :CONTEXT]).float(), frames[:, CONTEXT:])


class OurSAVP(SAVP):
    def learn(self, frames):
        return learn_savp(self, frames, lambda code: self(frames[:, :CONTEXT], code=code))


def learn_savp(network, frames, forecast):
    mean, log_variance = network.encoder(torch.cat([frames[:, :-1], frames[:, 1:]], dim=2))
    mean, log_variance = mean.float(), log_variance.float()
    made = forecast(mean + torch.exp(log_variance / 2) * torch.randn_like(mean)).float()
    apart = (mean.square() + log_variance.exp() - log_variance - 1).sum(-1).mean() / 2
    return 100 * (made - frames[:, CONTEXT:]).abs().mean() + 0.01 * apart


def write_data(folder, hours):
    """Write the same hours as an array and as records of sequences, each after its length and checksums."""
    values = np.random.default_rng(0).normal(size=(hours, CHANNELS, *CELLS)).astype(np.float32)
    np.save(folder / "hours.npy", values)
    with open(folder / "records", "wb") as file:
        for start in range(hours - FRAMES + 1):
            payload = np.moveaxis(values[start : start + FRAMES], 1, -1).tobytes()
            file.write(struct.pack("<QI", len(payload), 0) + payload + struct.pack("<I", 0))


def read_records(folder, batch_size):
    """Give batch after batch, for ever."""
    while True:
        with open(folder / "records", "rb") as file:
            batch = []
            while head := file.read(12):
                payload = file.read(struct.unpack("<QI", head)[0])
                file.read(4)
                sequence = np.frombuffer(payload, np.float32).reshape(FRAMES, *CELLS, CHANNELS)
                batch.append(np.moveaxis(sequence, -1, 1).copy())
                if len(batch) == batch_size:
                    yield torch.from_numpy(np.stack(batch))
                    batch = []


def read_hours(folder, batch_size):
    """Give batch after batch, for ever."""
    hours, begin = np.load(folder / "hours.npy", mmap_mode="r"), 0
    while True:
        starts = [(begin + number) % (len(hours) - FRAMES + 1) for number in range(batch_size)]
        yield torch.from_numpy(np.stack([hours[start : start + FRAMES] for start in starts]))
        begin += batch_size


class Way:
    """One way to learn, with the times of its steps: clock and processor."""

    def __init__(self, network, batches, *, half=False):
        self.network, self.batches, self.half, self.times = network, batches, half, []
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def step(self):
        clock, processor = time.perf_counter(), time.process_time()
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            loss = self.network.learn(next(self.batches))
        loss.backward()
        self.optimizer.step()
        self.times.append((time.perf_counter() - clock, time.process_time() - processor))


def compare(name, ways, turns, batch_size):
    for turn, (label, way) in ((turn, each) for turn in range(turns) for each in ways.items()):
        way.step()
        print(f"  {name}, turn {turn + 1}: {label} {way.times[-1][0]:.2f} s", flush=True)
    least = {label: np.min(way.times, axis=0) for label, way in ways.items()}
    for label, (clock, processor) in least.items():
        by = least["original"] / least[label]
        print(
            f"{name:<9} {label:<10} {clock:7.2f} s a step {batch_size * HORIZON / clock:8.2f} frames/s "
            f"{by[0]:5.2f} times, of processor time ({processor:.2f} s) {by[1]:5.2f}",
            flush=True,
        )


def time_simvp(seconds):
    for translator in ("gsta", "convmixer"):
        network, inputs = SimVP(1, translator=translator).eval(), torch.randn(4, 12, 1, 32, 64)
        for half in (False, True):
            count, clock, processor = 0, time.perf_counter(), time.process_time()
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                while time.process_time() - processor < seconds:
                    network(inputs)
                    count += HORIZON * len(inputs)
            took = count / (time.perf_counter() - clock), count / (time.process_time() - processor)
            kind = f"{translator:<9} {'bf16' if half else 'float32'}"
            print(f"SimVP {kind}: {took[0]:.0f} frames/s, of processor time {took[1]:.0f}", flush=True)


def time_members(seconds):
    """Print what a member of the demo's network takes, processor time in milliseconds; the least of many."""
    network = StochasticAdvection(CHANNELS, forcing=1, padding="circular")
    world = WorldNoise(seed=0, member=0, origin=(0, 0), window=(48, 48), period=(48, 48))
    known, forcing = torch.randn(1, 12, CHANNELS, 48, 48), torch.randn(1, 24, 1, 48, 48)
    ways = {"at once": world, "plane by plane": lambda *asked: world(*asked), "fresh": None}
    for name, noise in ways.items():
        took, ends = [], time.process_time() + seconds
        while time.process_time() < ends:
            begin = time.process_time()
            with torch.inference_mode():
                network(known, forcing=forcing, noise=noise)
            took.append(time.process_time() - begin)
        print(f"a member, noise {name}: {1000 * min(took):.1f} ms")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of SimVP, and of members")
    parser.add_argument("--members_only", action="store_true", help="time members alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.members_only:
        return time_members(options.seconds)
    torch.manual_seed(0)
    size = options.batch_size
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_data(folder, 60)
        for name, plain, ours in (("SAVP", PlainSAVP, OurSAVP), ("ConvLSTM", PlainConvLSTM, OurConvLSTM)):
            ways = {
                "original": Way(plain(), read_records(folder, size)),
                "ours": Way(ours(CHANNELS, padding="zeros"), read_hours(folder, size)),
                "ours, bf16": Way(ours(CHANNELS, padding="zeros"), read_hours(folder, size), half=True),
            }
            compare(name, ways, options.turns, size)
    time_simvp(options.seconds)
    time_members(options.seconds)


if __name__ == "__main__":
    main()
