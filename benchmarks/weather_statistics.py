"""Time and memory of the statistics of channels over more and more of DeepCAM's files, by threads.

python benchmarks/weather_statistics.py --files 32 128 --threads 1 2 --cells 384 576
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fieldwise.physics.extreme_weather.channels import CHANNELS
from fieldwise.samples.weather.deepcam import read_sample, write_sample
from fieldwise.samples.weather.statistics import gather_statistics


def read(path: Path) -> np.ndarray:
    fields = read_sample(path).fields
    return np.stack([fields[name] for name in CHANNELS])


def gather(folder: Path, count: int, threads: int) -> None:
    """Print seconds and peak memory of this process."""
    import dask

    files = sorted(folder.glob("*.h5"))[:count]
    read(files[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    with dask.config.set(num_workers=threads):
        gather_statistics(read, files)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{count} files, {threads} threads: {seconds:.2f} s, {count / seconds:.1f} files/s, "
        f"peak {peak / 1024:.0f} MB, {(peak - before) / 1024:.0f} MB above one file",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cells", type=int, nargs=2, default=(384, 576))
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        gather(options.folder, options.files[0], options.threads[0])
        return
    with tempfile.TemporaryDirectory() as name:
        random = np.random.default_rng(0)
        fields = {each: random.normal(size=options.cells) for each in CHANNELS}
        labels = (np.zeros(options.cells, np.uint8),)
        for number in range(max(options.files)):
            write_sample(name, np.datetime64("2001-01-01T00") + 3 * number, fields, labels)
        for threads in options.threads:
            for count in options.files:  # a process each: the peak is its own
                numbers = ["--files", str(count), "--threads", str(threads)]
                subprocess.run([sys.executable, __file__, *numbers, "--folder", name], check=True)


if __name__ == "__main__":
    main()
