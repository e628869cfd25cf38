"""How fast an ice-flow emulator learns, data pipeline included, beside the same network in Keras.

    python -m venv keras && keras/bin/pip install tensorflow-cpu
    python benchmarks/against_keras.py --keras_python keras/bin/python

Without --keras_python Keras runs on torch, in this environment. Both systems read the same frames from the
same files, cut patches of 32 x 32 cells around random cells with ice, and learn 16 layers of 32 filters from
batches of 64 by Adam, with gradients clipped to a norm of 0.5 and the mean absolute error as loss, from the
same weights. Ours moreover turns every patch in one of eight ways, vectors along with it, and leaves out of
the loss what carries no ice; it runs in the trainer that the recipe runs in. Keras runs the way of
2Dto2D-DLE: frames in memory, a sequence that cuts patches, fit.

Each system is a process of its own. They take turns, an epoch each, while the other waits, so that whatever
else the machine does weighs on both. What is printed are medians, of the clock and of the processor's time,
and the median of the ratios of neighbouring epochs; then where our time goes.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

INPUTS = {"thk": 2000.0, "slopsurfx": 1.5, "slopsurfy": 1.5, "strflowctrl": 200.0}
OUTPUTS = {"ubar": 1000.0, "vbar": 1000.0, "uvelsurf": 1000.0, "vvelsurf": 1000.0}
FRAMES, CELLS, PATCH, BATCH = 4, 128, 32, 64
PATCHES = FRAMES * 5 * (CELLS // PATCH) ** 2  # five for each tile: five batches


class Turns:
    """Wait for the word to go at the start of an epoch, and report at its end."""

    def start(self) -> None:
        sys.stdin.readline()
        self.clock, self.processor = time.perf_counter(), time.process_time()

    def report(self, loss: float) -> None:
        spent = {
            "seconds": time.perf_counter() - self.clock,
            "processor_seconds": time.process_time() - self.processor,
        }
        print(json.dumps(spent | {"loss": float(loss)}), flush=True)


def draw_frames(folder: Path) -> None:
    """Write smooth random frames, a third of them without ice."""
    random = np.random.default_rng(1)
    shape = (FRAMES, CELLS, CELLS)
    for name, scale in {**INPUTS, **OUTPUTS}.items():
        waves = np.fft.rfft2(random.normal(size=shape)) * np.exp(-np.arange(CELLS // 2 + 1) / 8)
        waves *= np.exp(-np.abs(np.fft.fftfreq(CELLS) * CELLS) / 8)[:, None]
        field = np.fft.irfft2(waves)
        field *= scale / field.std() / 4
        if name == "thk":
            field = np.maximum(field + scale / 10, 0)
        np.save(folder / f"{name}.npy", field.astype(np.float32))


def work_in_fieldwise(folder: Path, rounds: int, threads: int) -> None:
    import lightning
    import torch

    torch.set_num_threads(threads)

    class Reporter(lightning.pytorch.callbacks.Callback):
        turns = Turns()

        def on_train_epoch_start(self, *_: Any) -> None:
            self.turns.start()

        def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
            self.turns.report(trainer.callback_metrics["loss"])

    trainer = make_trainer(rounds, [Reporter()])
    trainer.fit(make_task(folder), make_loader(folder))


def make_trainer(epochs: int, callbacks: list[Any]) -> Any:
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=callbacks, enable_model_summary=False, **quiet
    )


def make_task(folder: Path) -> Any:
    import torch

    from fieldwise.tasks import FieldTask

    options = {"in_channels": len(INPUTS), "out_channels": len(OUTPUTS)}
    task = FieldTask(network="fieldwise.networks.convnet.ConvNet", network_options=options, clip_norm=0.5)
    task.network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return task


def make_loader(folder: Path) -> Any:
    """Serve patches as the recipe does, from its own reader of prepared cases."""
    from fieldwise.recipes.ice_flow.samples import find_centres, find_ice
    from fieldwise.recipes.ice_flow.signatures import make_signature
    from fieldwise.samples.cases import Case
    from fieldwise.samples.frames import list_frames
    from fieldwise.samples.loaders import SYMMETRIES, PatchSampler, make_patch_loader

    files: dict[str, str | float] = {name: f"{name}.npy" for name in (*INPUTS, *OUTPUTS)}
    case = Case("frames", "training", folder, {}, files, 100.0, (CELLS, CELLS), frames=FRAMES)
    signature = make_signature(INPUTS, OUTPUTS)
    sampler = PatchSampler(
        find_centres([case], thicker_than_m=1.0), cells=PATCH, seed=1, symmetries=SYMMETRIES["all"]
    )
    return make_patch_loader(
        list_frames([case], signature, where=find_ice),
        batch_size=BATCH,
        cells=PATCH,
        sampler=sampler,
        vectors=signature.vectors(),
    )


def work_in_keras(folder: Path, rounds: int, threads: int) -> None:
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    else:
        import torch

        torch.set_num_threads(threads)
    import keras

    class Patches(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self.random = np.random.default_rng(1)
            self.sides = [
                np.stack([np.load(folder / f"{name}.npy") / scale for name, scale in scales.items()], axis=-1)
                for scales in (INPUTS, OUTPUTS)
            ]
            self.centres = [np.argwhere(frame[..., 0] * INPUTS["thk"] > 1.0) for frame in self.sides[0]]

        def __len__(self) -> int:
            return PATCHES // BATCH

        def __getitem__(self, _: int) -> tuple[np.ndarray, ...]:
            batches: list[list[np.ndarray]] = [[], []]
            for frame in self.random.integers(FRAMES, size=BATCH):
                centre = self.random.choice(self.centres[frame])
                top, left = np.clip(centre - PATCH // 2, 0, CELLS - PATCH)
                for batch, side in zip(batches, self.sides):
                    batch.append(side[frame, top : top + PATCH, left : left + PATCH])
            return tuple(np.stack(batch) for batch in batches)

    class Reporter(keras.callbacks.Callback):
        turns = Turns()

        def on_epoch_begin(self, *_: Any) -> None:
            self.turns.start()

        def on_epoch_end(self, _: int, logs: dict[str, float]) -> None:
            self.turns.report(logs["loss"])

    model = keras.saving.load_model(folder / "model.h5", compile=False)
    model.compile(loss="mae", optimizer=keras.optimizers.Adam(1e-4, clipnorm=0.5))
    model.fit(Patches(), epochs=rounds, callbacks=[Reporter()], verbose=0)


class Worker:
    """A process that learns for an epoch each time it is asked to."""

    def __init__(self, python: str, system: str, folder: Path, options: argparse.Namespace) -> None:
        backend = "tensorflow" if options.keras_python else "torch"
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": backend, "OMP_WAIT_POLICY": "PASSIVE"}
        threads = str(options.threads)
        arguments = ["--work", system, "--folder", str(folder), "--rounds", str(options.rounds)]
        self.process = subprocess.Popen(
            [python, __file__, *arguments, "--threads", threads],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | quiet | {"OMP_NUM_THREADS": threads},
        )

    def run_epoch(self) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self.process.args} has ended with {self.process.wait()}")


def compare(options: argparse.Namespace, folder: Path) -> None:
    keras_python = options.keras_python or sys.executable
    ours = Worker(sys.executable, "fieldwise", folder, options)
    theirs = Worker(keras_python, "keras", folder, options)
    epochs = [(ours.run_epoch(), theirs.run_epoch()) for _ in range(options.rounds)]
    print(f"{PATCHES} patches an epoch, {options.rounds - 1} epochs each, {options.threads} threads")
    for key, words in (("seconds", "clock"), ("processor_seconds", "processor")):
        pairs = [(our[key], their[key]) for our, their in epochs[1:]]
        mine, other = (statistics.median(side) for side in zip(*pairs))
        ratio = statistics.median(their / our for our, their in pairs)
        print(
            f"{words}: fieldwise {mine:.2f} s ({PATCHES / mine:.0f} patches/s), Keras {other:.2f} s "
            f"({PATCHES / other:.0f} patches/s), {ratio:.2f} times faster"
        )
    print("losses of the last epoch:", *(f"{epoch['loss']:.4f}" for epoch in epochs[-1]))


def profile(folder: Path, threads: int) -> None:
    """Print which share of an epoch of ours goes where."""
    import torch

    torch.set_num_threads(threads)
    loader, task = make_loader(folder), make_task(folder)
    make_trainer(1, []).fit(task, loader)  # warms up
    trainer = make_trainer(1, [])
    start = time.perf_counter()
    patches = sum(len(batch["inputs"]) for batch in loader)
    loading = time.perf_counter() - start
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        trainer.fit(task, loader)
        total = time.perf_counter() - start
    groups = {
        "convolutions, forward": ("mkldnn_convolution",),
        "convolutions, backward": ("convolution_backward",),
        "rectifiers": ("leaky_relu",),
    }
    print(f"where {total:.2f} s of an epoch of {patches} patches go:")
    rest = total
    for name, words in groups.items():
        events = [event for event in profiler.key_averages() if any(word in event.key for word in words)]
        seconds = sum(event.self_cpu_time_total for event in events) / 1e6
        rest -= seconds
        print(f"  {name}: {seconds / total:.1%}")
    print(f"  reading, cutting and turning patches: {loading / total:.1%}")
    print(f"  loss, clipping, Adam, trainer: {(rest - loading) / total:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keras_python", help="python of an environment with Keras on TensorFlow")
    parser.add_argument("--rounds", type=int, default=8, help="epochs of each, the first to warm up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", choices=["fieldwise", "keras"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work = {"fieldwise": work_in_fieldwise, "keras": work_in_keras}[options.work]
        work(options.folder, options.rounds, options.threads)
        return
    import torch

    from fieldwise.interop.keras_h5 import save_keras_h5
    from fieldwise.networks.convnet import ConvNet

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_frames(folder)
        torch.manual_seed(1)
        network = ConvNet(len(INPUTS), len(OUTPUTS))
        torch.save(network.state_dict(), folder / "weights.pt")
        save_keras_h5(network, folder / "model.h5")
        compare(options, folder)
        profile(folder, options.threads)


if __name__ == "__main__":
    main()
