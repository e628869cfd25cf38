"""Prediction that is killed, runs out of disk or out of memory."""

import errno
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_domains import Noise, predict, smoother

from fieldwise.errors import InputError
from fieldwise.fields import rasters

SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from scipy.ndimage import uniform_filter
from fieldwise.fields.grids import Grid
from fieldwise.samples.cases import Case
from fieldwise.verbs.predict import predict_to
from made_domains import Applied
path, cells, block, frames, pause = sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5])
def read(bounds, frame):
    window = Grid(*bounds, 1, "EPSG:3031")
    return {"wave": np.sin(window.x / 50 + frame) + np.cos(window.y / 70)[:, None]}
def smooth(inputs):
    time.sleep(pause)
    return uniform_filter(inputs["wave"], 9, mode="constant")
bounds = (0, 0, cells, cells)
case = Case("wave", None, Path("nowhere"), {}, {}, 1, (cells, cells), bounds, "EPSG:3031", frames=frames)
options = {"block_cells": block, "halo_cells": 4, "progress": False}
predict_to(path, Applied(smooth, read), case, **options)
"""


def run_script(path, cells, block, frames=1, pause=0.0):
    numbers = [str(number) for number in (path, cells, block, frames, pause)]
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": paths}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *numbers], env=env)


def wait_for_blocks(folder, number, process):
    deadline = time.monotonic() + 60
    while len(list(folder.glob("*.npy"))) < number:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_process_goes_on_where_it_was(tmp_path, how):
    path, partial = tmp_path / "map.tif", tmp_path / "map.tif.partial"
    killed = run_script(path, 64, 8, pause=0.05)
    wait_for_blocks(partial, 5, killed)
    killed.send_signal(how)
    assert killed.wait(timeout=10) != 0
    assert not path.exists()
    finished = {file.name: file.stat().st_mtime_ns for file in partial.glob("*.npy")}
    assert 5 <= len(finished) < 64
    resumed = run_script(path, 64, 8, pause=0.01)
    wait_for_blocks(partial, len(finished) + 5, resumed)
    after = {file.name: file.stat().st_mtime_ns for file in partial.glob("*.npy")}
    assert finished.items() <= after.items()
    assert resumed.wait(timeout=60) == 0
    assert run_script(tmp_path / "straight.tif", 64, 8).wait(timeout=60) == 0
    assert path.read_bytes() == (tmp_path / "straight.tif").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["map.tif", "straight.tif"]


def peak_of(*arguments):
    process = run_script(*arguments)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_memory_does_not_grow_with_the_domain(tmp_path, suffix):
    """The larger map alone is 64 MB, a fifth of the smaller run's peak."""
    small, large = (peak_of(tmp_path / f"{cells}{suffix}", cells, 512) for cells in (2048, 4096))
    assert large < 1.1 * small


def test_memory_does_not_grow_with_the_frames(tmp_path):
    """All frames together are 80 MB."""
    few, many = (peak_of(tmp_path / f"{frames}.nc", 256, 256, frames) for frames in (20, 320))
    assert many < 1.1 * few


@pytest.mark.parametrize("when", ["block", "map"])
def test_disk_full_is_one_line_and_leaves_no_map(tmp_path, monkeypatch, when):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "map.tif"
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if when == "block" else (rasters, "finish_cog")), full)
        with pytest.raises(InputError, match=r"^[^\n]*map\.tif[^\n]*disk is full[^\n]*$"):
            predict(smoother(0), Noise(20, 20), path, block_cells=10)
    assert os.listdir(tmp_path) == ([] if when == "block" else ["map.tif.partial"])  # with all blocks
    predict(smoother(0), Noise(20, 20), path, block_cells=10)
    assert os.listdir(tmp_path) == ["map.tif"]


@pytest.mark.parametrize(
    ("name", "limit", "finished"),
    [("map.tif", 100_000, 4), ("map.tif", 10_000, 0), ("map.nc", 100_000, 4), ("map.nc", 10_000, 0)],
)
def test_file_that_cannot_grow_is_one_line(tmp_path, name, limit, finished):
    """The system refuses to let any file grow beyond a size: the map's (262 kB), or a block's (40 kB)."""
    path = tmp_path / name
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises((InputError, OSError)) as caught:
            predict(smoother(0), Noise(200, 200), path, block_cells=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not path.exists()
    assert len(list(tmp_path.glob(f"{name}.partial/*.npy"))) == finished
    if finished:
        assert re.fullmatch(rf".*{name}: writing breaks off .* disk is not full.*", str(caught.value))
    predict(smoother(0), Noise(200, 200), path, block_cells=100)
    assert os.listdir(tmp_path) == [name]


def test_a_zarr_of_before_is_replaced_whole(tmp_path):
    path = tmp_path / "map.zarr"
    (path / "old").mkdir(parents=True)
    predict(smoother(0), Noise(20, 20), path)
    assert not (path / "old").exists()
