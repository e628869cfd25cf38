import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate

from fieldwise.errors import InputError
from fieldwise.fields import rasters
from fieldwise.fields.grids import Grid
from fieldwise.verbs.domains import lay_out, measure_halo, predict_domain

WEST, NORTH, SPACING = -4000.0, 9000.0, 250.0


def grid_of_cells(top, left, bottom, right):
    west, north = WEST + left * SPACING, NORTH - top * SPACING
    return Grid(
        west,
        NORTH - bottom * SPACING,
        WEST + right * SPACING,
        north,
        SPACING,
        "EPSG:3031",
    )


class Noise:
    """White noise on a domain of rows x columns, read by window; beyond the domain, zeros."""

    def __init__(self, rows, columns, seed=0):
        self.values = np.random.default_rng(seed).normal(size=(rows, columns))
        self.domain = grid_of_cells(0, 0, rows, columns).bounds
        self.windows = []

    def __call__(self, bounds):
        west, south, east, north = bounds
        top, bottom = round((NORTH - north) / SPACING), round((NORTH - south) / SPACING)
        left, right = round((west - WEST) / SPACING), round((east - WEST) / SPACING)
        self.windows.append((top, left, bottom, right))
        window = np.zeros((bottom - top, right - left))
        part = self.values[top:bottom, left:right]
        window[: part.shape[0], : part.shape[1]] = part
        return {"noise": window}


def smoother(radius):
    """A weighted mean that sees `radius` cells on each side and zeros beyond the window's edge."""
    weights = np.random.default_rng(1).uniform(0.5, 1.5, (2 * radius + 1, 2 * radius + 1))
    return lambda inputs: correlate(inputs["noise"], weights, mode="constant").astype(np.float32)


def predict(function, reader, grid, path, **options):
    options = {"domain": reader.domain, "progress": False} | options
    predict_domain(function, reader, grid, path=path, **options)
    with rasterio.open(path) as result:
        return result.read(1)


@pytest.mark.parametrize("block_cells", [7, 16, 40, 1000])
def test_tiled_equals_untiled_exactly(tmp_path, block_cells):
    reader, function = Noise(53, 61), smoother(5)
    untiled = function({"noise": reader.values})
    tiled = predict(
        function,
        reader,
        grid_of_cells(0, 0, 53, 61),
        tmp_path / "map.tif",
        block_cells=block_cells,
        halo_cells=5,
    )
    np.testing.assert_array_equal(tiled, untiled)


def test_a_halo_one_cell_too_short_shows(tmp_path):
    reader, function = Noise(30, 30), smoother(5)
    tiled = predict(
        function,
        reader,
        grid_of_cells(0, 0, 30, 30),
        tmp_path / "map.tif",
        block_cells=10,
        halo_cells=4,
    )
    assert np.abs(tiled - function({"noise": reader.values})).max() > 1e-3


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_box_block_and_alignment_equal_the_whole_domain(data):
    rows, columns = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 24))
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    bottom, right = data.draw(st.integers(top + 1, rows)), data.draw(st.integers(left + 1, columns))
    alignment, radius = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 4))
    reader, function = Noise(rows, columns), smoother(radius)
    with tempfile.TemporaryDirectory() as folder:
        tiled = predict(
            function,
            reader,
            grid_of_cells(top, left, bottom, right),
            Path(folder) / "map.tif",
            block_cells=data.draw(st.integers(1, 30)),
            halo_cells=data.draw(st.integers(radius, radius + 3)),
            alignment_cells=alignment,
        )
    padded = np.pad(reader.values, radius)  # zeros beyond the data, as at the edge of the last window
    whole = function({"noise": padded})[radius : radius + rows, radius : radius + columns]
    np.testing.assert_array_equal(tiled, whole[top:bottom, left:right])
    for window in reader.windows:
        assert all(edge % alignment == 0 for edge in window)
        assert min(window[:2]) >= 0
        assert window[2] < rows + alignment
        assert window[3] < columns + alignment


def test_result_is_a_cog_that_says_what_it_holds(tmp_path):
    reader = Noise(600, 700)

    def with_a_gap(inputs):
        return np.where(inputs["noise"] > 0, inputs["noise"], np.nan)

    grid = grid_of_cells(0, 0, 600, 700)
    path = tmp_path / "new folder" / "map.tif"
    predict(with_a_gap, reader, grid, path, name="bed", tags={"fingerprint": "abc"}, block_cells=256)
    with rasterio.open(path) as result:
        assert result.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert result.profile["compress"] == "deflate"
        assert result.dtypes == ("float32",)
        assert np.isnan(result.nodata)
        assert result.crs.to_epsg() == 3031
        assert result.bounds == grid.bounds
        assert result.overviews(1)
        assert (result.descriptions, result.units) == (("bed",), ("m",))
        assert result.tags()["fingerprint"] == "abc"
        expected = with_a_gap({"noise": reader.values}).astype(np.float32)
        np.testing.assert_array_equal(result.read(1), expected)
    assert os.listdir(path.parent) == ["map.tif"]


class Counting:
    """Counts calls; breaks off at one of them with an error of choice."""

    def __init__(self, function, fail_at=None, error=RuntimeError):
        self.function, self.fail_at, self.error, self.calls = function, fail_at, error, 0

    def __call__(self, inputs):
        self.calls += 1
        if self.calls == self.fail_at:
            raise self.error("broken off")
        return self.function(inputs)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_resume_computes_only_the_missing_blocks(tmp_path, error):
    grid, options = grid_of_cells(0, 0, 40, 40), {"block_cells": 10, "halo_cells": 3}
    predict(smoother(3), Noise(40, 40), grid, tmp_path / "straight.tif", **options)
    with pytest.raises(error, match="broken off"):
        predict(Counting(smoother(3), 8, error), Noise(40, 40), grid, tmp_path / "map.tif", **options)
    assert not (tmp_path / "map.tif").exists()
    second, reader = Counting(smoother(3)), Noise(40, 40)
    predict(second, reader, grid, tmp_path / "map.tif", **options)
    assert second.calls == len(reader.windows) == 16 - 7
    assert (tmp_path / "map.tif").read_bytes() == (tmp_path / "straight.tif").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["map.tif", "straight.tif"]


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "other"},
        {"halo_cells": 4},
        {"block_cells": 20},
        {"alignment_cells": 2},
    ],
)
def test_another_plan_starts_anew(tmp_path, capsys, change):
    grid, options = grid_of_cells(0, 0, 40, 40), {"block_cells": 10, "halo_cells": 3, "fingerprint": "one"}
    with pytest.raises(RuntimeError):
        predict(Counting(smoother(3), 8), Noise(40, 40), grid, tmp_path / "map.tif", **options)
    second, options = Counting(smoother(3)), options | change
    predict(second, Noise(40, 40), grid, tmp_path / "map.tif", **options)
    assert second.calls == (40 // options["block_cells"]) ** 2
    assert "map.tif.partial: unfinished work of other inputs or settings" in capsys.readouterr().err


@pytest.mark.parametrize("left_behind", ["", "{not json", None])
def test_a_broken_plan_starts_anew(tmp_path, left_behind):
    partial = tmp_path / "map.tif.partial"
    partial.mkdir()
    (partial / "0_0.npy").write_bytes(b"not a block")
    if left_behind is not None:
        (partial / "plan.json").write_text(left_behind)
    tiled = predict(smoother(0), Noise(8, 8), grid_of_cells(0, 0, 8, 8), tmp_path / "map.tif")
    assert tiled.shape == (8, 8)


SCRIPT = """
import sys, time
import numpy as np
from scipy.ndimage import uniform_filter
from fieldwise.fields.grids import Grid
from fieldwise.verbs.domains import predict_domain
path, cells, block, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
def read_inputs(bounds):
    window = Grid(*bounds, 1, "EPSG:3031")
    return {"wave": np.sin(window.x / 50) + np.cos(window.y / 70)[:, None]}
def smooth(inputs):
    time.sleep(pause)
    return uniform_filter(inputs["wave"], 9, mode="constant")
grid = Grid(0, 0, cells, cells, 1, "EPSG:3031")
predict_domain(smooth, read_inputs, grid, path=path, block_cells=block, halo_cells=4, progress=False)
"""


def run_script(path, cells, block, pause=0.0):
    arguments = [
        sys.executable,
        "-c",
        SCRIPT,
        str(path),
        str(cells),
        str(block),
        str(pause),
    ]
    return subprocess.Popen(arguments, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"})


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


def test_memory_does_not_grow_with_the_domain(tmp_path):
    """The larger map alone is 64 MB, a third of the smaller run's peak."""
    peaks = []
    for cells in (2048, 4096):
        process = run_script(tmp_path / f"{cells}.tif", cells, 512)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks.append(usage.ru_maxrss)
    assert peaks[1] < 1.1 * peaks[0]


def test_reader_and_writer_errors_surface(tmp_path, monkeypatch):
    grid = grid_of_cells(0, 0, 40, 40)

    def broken_reader(bounds):
        raise InputError("surface.tif: reading breaks off")

    with pytest.raises(InputError, match=r"surface\.tif"):
        predict_domain(smoother(0), broken_reader, grid, path=tmp_path / "map.tif", progress=False)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(PermissionError("locked")))
    with pytest.raises(PermissionError, match="locked"):
        predict(smoother(0), Noise(40, 40), grid, tmp_path / "map.tif", block_cells=10)
    assert not (tmp_path / "map.tif").exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read-", "write-"))]


def test_reading_goes_ahead_by_a_bounded_number_of_blocks(tmp_path):
    reader = Noise(40, 40)
    ahead: list[int] = []

    def slow(inputs):
        time.sleep(0.01)
        ahead.append(len(reader.windows) - len(ahead))
        return inputs["noise"]

    predict(slow, reader, grid_of_cells(0, 0, 40, 40), tmp_path / "map.tif", block_cells=10)
    assert len(ahead) == 16
    assert 2 <= max(ahead) <= 3  # the block at hand and two more


@pytest.mark.parametrize("when", ["block", "map"])
def test_disk_full_is_one_line_and_leaves_no_map(tmp_path, monkeypatch, when):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    grid, path = grid_of_cells(0, 0, 20, 20), tmp_path / "map.tif"
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if when == "block" else (rasters.rasterio.shutil, "copy")), full)
        with pytest.raises(InputError, match=r"^[^\n]*map\.tif[^\n]*disk is full[^\n]*$"):
            predict(smoother(0), Noise(20, 20), grid, path, block_cells=10)
    assert os.listdir(tmp_path) == ["map.tif.partial"]
    predict(smoother(0), Noise(20, 20), grid, path, block_cells=10)
    assert os.listdir(tmp_path) == ["map.tif"]


@pytest.mark.parametrize(("limit", "finished"), [(100_000, 4), (10_000, 0)])
def test_file_that_cannot_grow_is_one_line(tmp_path, limit, finished):
    """The system refuses to let any file grow beyond a size: the map's (262 kB), or a block's (40 kB)."""
    grid, path = grid_of_cells(0, 0, 200, 200), tmp_path / "map.tif"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises((InputError, OSError)) as caught:
            predict(smoother(0), Noise(200, 200), grid, path, block_cells=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not path.exists()
    assert len(list(tmp_path.glob("map.tif.partial/*.npy"))) == finished
    if finished:
        assert re.fullmatch(r".*map\.tif: writing breaks off .* disk is not full.*", str(caught.value))
    predict(smoother(0), Noise(200, 200), grid, path, block_cells=100)


def test_box_outside_the_data_names_both(tmp_path):
    grid = Grid(-5000, 0, 1000, 500, 250, "EPSG:3031")
    with pytest.raises(InputError) as caught:
        predict(smoother(0), Noise(20, 20), grid, tmp_path / "map.tif")
    message = str(caught.value)
    assert "(-5000, 0, 1000, 500)" in message
    assert "(-4000, 4000, 1000, 9000)" in message
    assert "\n" not in message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "map.nc"}, r"map\.nc.*\.tif"),
        ({"grid": Grid(-3900, 8000, -3400, 8500, 250, "EPSG:3031")}, "no whole number of cells"),
        ({"alignment_cells": 0}, "alignment_cells is 0"),
        ({"function": lambda inputs: inputs["noise"][1:]}, r"shape \(19, 20\).*\(20, 20\)"),
    ],
)
def test_bad_input_is_one_line(tmp_path, options, message):
    reader = Noise(20, 20)
    options = {"function": smoother(0), "grid": grid_of_cells(0, 0, 20, 20), "path": "map.tif"} | options
    path = tmp_path / options.pop("path")
    with pytest.raises(InputError, match=message):
        predict_domain(
            options.pop("function"), reader, path=path, domain=reader.domain, progress=False, **options
        )
    assert not path.exists()


def test_layout_counts_from_the_domain_not_the_box():
    """By hand: box from cell (5, 6) to (11, 9), aligned to 4: rows 4-12, columns 4-12."""
    layout = lay_out(grid_of_cells(5, 6, 11, 9), grid_of_cells(0, 0, 30, 30).bounds, 4)
    assert layout.target == (5, 6, 11, 9)
    assert layout.window(layout.target, 0) == (4, 4, 12, 12)
    assert layout.window(layout.target, 4) == (0, 0, 16, 16)
    assert layout.limits == (0, 0, 32, 32)
    assert layout.blocks(4) == [(5, 6, 8, 8), (5, 8, 8, 9), (8, 6, 11, 8), (8, 8, 11, 9)]


@settings(max_examples=20, deadline=None)
@given(radius=st.integers(0, 13), alignment=st.integers(1, 5))
def test_measured_halo_is_the_radius_rounded_up(radius, alignment):
    reader = Noise(120, 130)
    grid = grid_of_cells(0, 0, 120, 130)
    halo = measure_halo(
        smoother(radius), reader, grid, alignment_cells=alignment, probe_cells=10, longest_cells=16
    )
    assert halo == -(-radius // alignment) * alignment


def test_measured_halo_is_the_longest_where_none_will_do():
    def everything(inputs):
        return inputs["noise"] + np.cumsum(np.ones(inputs["noise"].shape), axis=0)

    halo = measure_halo(
        everything, Noise(90, 90), grid_of_cells(0, 0, 90, 90), longest_cells=20, probe_cells=8
    )
    assert halo == 20


def test_measured_halo_counts_a_value_missing_in_one_as_different():
    def missing_near_the_edge(inputs):  # of the window: the outer 6 cells
        values = np.full(inputs["noise"].shape, np.nan)
        values[6:-6, 6:-6] = 0.0
        return values

    halo = measure_halo(
        missing_near_the_edge, Noise(90, 90), grid_of_cells(0, 0, 90, 90), longest_cells=16, probe_cells=8
    )
    assert halo == 6


def test_measured_halo_makes_tiled_equal_untiled_for_a_long_tail(tmp_path):
    """Weights that fall off by a factor of e each cell: the tolerance decides, not the radius of 16."""
    distance = np.hypot(*np.mgrid[-16:17, -16:17])
    weights = np.exp(-distance)

    def tail(inputs):
        return correlate(inputs["noise"], weights, mode="constant")

    reader, grid = Noise(100, 100), grid_of_cells(0, 0, 100, 100)
    halo = measure_halo(tail, reader, grid, longest_cells=24, alignment_cells=4)
    assert 8 <= halo < 16  # exp(-4) = 2e-2 is too much, exp(-12) = 6e-6 is nothing
    untiled = tail({"noise": reader.values})
    for block_cells in (28, 40, 60):
        options = {"halo_cells": halo, "alignment_cells": 4, "block_cells": block_cells}
        tiled = predict(tail, reader, grid, tmp_path / f"{block_cells}.tif", **options)
        assert np.abs(tiled - untiled).max() < 1e-2


def test_plan_is_readable(tmp_path):
    with pytest.raises(RuntimeError):
        predict(
            Counting(smoother(0), 1),
            Noise(9, 9),
            grid_of_cells(0, 0, 9, 9),
            tmp_path / "map.tif",
            fingerprint="f",
        )
    plan = json.loads((tmp_path / "map.tif.partial" / "plan.json").read_text())
    assert plan["fingerprint"] == "f"
    assert plan["grid"]["spacing"] == 250
