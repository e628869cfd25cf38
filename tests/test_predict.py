import json
import os
import re
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made_domains import Applied, Counting, Noise, grid_of_cells, predict, smoother

from fieldwise.errors import InputError
from fieldwise.verbs.domains import partials
from fieldwise.verbs.domains.contents import Output
from fieldwise.verbs.predict import choose_frames, predict_to

TWO = (Output("mean", "m"), Output("positive", dtype="int8", flags=("no", "yes")))


def two_channels(inputs):
    mean = smoother(3)(inputs)
    return np.stack([mean, mean > 0]).astype(np.float32)


def test_a_map_is_drawn_without_rounded_convolutions(tmp_path):
    allowed, seen = torch.backends.cudnn.allow_tf32, []

    def function(inputs):
        seen.append(torch.backends.cudnn.allow_tf32)
        return inputs["noise"]

    predict(function, Noise(8, 8), tmp_path / "map.tif", block_cells=8, halo_cells=0)
    assert allowed
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("block_cells", [7, 16, 40, 1000])
def test_tiled_equals_untiled_exactly(tmp_path, block_cells):
    reader, function = Noise(53, 61), smoother(5)
    untiled = function({"noise": reader.values[0]})
    tiled = predict(function, reader, tmp_path / "map.tif", block_cells=block_cells, halo_cells=5)
    np.testing.assert_array_equal(tiled, untiled)


@pytest.mark.parametrize(("block_cells", "side"), [(8, 18), (24, 34), (100, 53)])
def test_windows_for_a_gpu_have_one_size_and_give_the_same(tmp_path, block_cells, side):
    """A block and its margins of 5 cells, or the domain; those at its edges reach farther inward."""
    reader = Noise(53, 61)
    predictor = Applied(smoother(5), reader)
    predictor.device = torch.device("cuda")  # which nothing of it is moved to
    out = tmp_path / "map.tif"
    options = {"block_cells": block_cells, "halo_cells": 5, "progress": False, "readers": 2}
    predict_to(out, predictor, reader.case, **options)
    with rasterio.open(out) as result:
        np.testing.assert_array_equal(result.read(1), smoother(5)({"noise": reader.values[0]}))
    shapes = {(bottom - top, right - left) for top, left, bottom, right in reader.windows}
    assert shapes == {(side, 61 if side == 53 else side)}


def test_a_halo_one_cell_too_short_shows(tmp_path):
    reader, function = Noise(30, 30), smoother(5)
    tiled = predict(function, reader, tmp_path / "map.tif", block_cells=10, halo_cells=4)
    assert np.abs(tiled - function({"noise": reader.values[0]})).max() > 1e-3


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
            Path(folder) / "map.tif",
            grid=grid_of_cells(top, left, bottom, right),
            block_cells=data.draw(st.integers(1, 30)),
            halo_cells=data.draw(st.integers(radius, radius + 3)),
            alignment=alignment,
            readers=data.draw(st.integers(1, 4)),
        )
    padded = np.pad(reader.values[0], radius)  # zeros beyond the data, as at the edge of the last window
    whole = function({"noise": padded})[radius : radius + rows, radius : radius + columns]
    np.testing.assert_array_equal(tiled, whole[top:bottom, left:right])
    for window in reader.windows:
        assert all(edge % alignment == 0 for edge in window)
        assert min(window[:2]) >= 0
        assert window[2] < rows + alignment
        assert window[3] < columns + alignment


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("block_cells", [16, 100])
def test_outputs_and_frames_tiled_equal_untiled(tmp_path, suffix, block_cells):
    reader = Noise(33, 40, frames=5)
    out = tmp_path / f"maps{suffix}"
    predict(two_channels, reader, out, outputs=TWO, block_cells=block_cells, halo_cells=3, frames=[0, 3, 4])
    expected = np.stack([two_channels({"noise": reader.values[frame]}) for frame in (0, 3, 4)])
    with xr.open_dataset(out, engine="zarr" if suffix == ".zarr" else "h5netcdf") as maps:
        np.testing.assert_array_equal(maps["mean"], expected[:, 0])
        np.testing.assert_array_equal(maps["positive"], expected[:, 1])
        assert maps["mean"].dims == ("time", "y", "x")
        assert maps["time"].values.tolist() == [0, 3, 4]
        assert (maps["mean"].dtype, maps["positive"].dtype) == (np.float32, np.int8)
    assert os.listdir(tmp_path) == [out.name]


def test_result_is_a_cog_that_says_what_it_holds(tmp_path):
    reader = Noise(600, 700)

    def with_a_gap(inputs):
        return np.where(inputs["noise"] > 0, inputs["noise"], np.nan)

    path = tmp_path / "new folder" / "map.tif"
    predict(with_a_gap, reader, path, attributes={"weights": "abc"}, fingerprint="f", block_cells=256)
    with rasterio.open(path) as result:
        assert result.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert result.profile["compress"] == "deflate"
        assert result.dtypes == ("float32",)
        assert np.isnan(result.nodata)
        assert result.crs.to_epsg() == 3031
        assert result.bounds == reader.grid.bounds
        assert result.overviews(1)
        assert (result.descriptions, result.units) == (("bed",), ("m",))
        assert (result.tags()["weights"], result.tags()["predictor"]) == ("abc", "f")
        expected = with_a_gap({"noise": reader.values[0]}).astype(np.float32)
        np.testing.assert_array_equal(result.read(1), expected)
    assert os.listdir(path.parent) == ["map.tif"]


def test_the_last_line_says_what_was_written(tmp_path, capsys):
    path = tmp_path / "maps.nc"
    predict(smoother(0), Noise(8, 9, frames=2), path)
    assert re.fullmatch(rf"{path}: 2 frames of 8 x 9 cells in \d+\.\d s\n", capsys.readouterr().out)


def test_seconds_count_the_blocks_that_were_computed(tmp_path):
    seconds = []
    predict(smoother(0), Noise(8, 9, frames=2), tmp_path / "maps.nc", block_cells=5, seconds=seconds)
    assert len(seconds) == 2 * 4
    assert min(seconds) > 0


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_resume_computes_only_the_missing_blocks(tmp_path, error):
    options = {"block_cells": 10, "halo_cells": 3}
    predict(smoother(3), Noise(40, 40), tmp_path / "straight.tif", **options)
    with pytest.raises(error, match="broken off"):
        predict(Counting(smoother(3), 8, error), Noise(40, 40), tmp_path / "map.tif", **options)
    assert not (tmp_path / "map.tif").exists()
    second, reader = Counting(smoother(3)), Noise(40, 40)
    predict(second, reader, tmp_path / "map.tif", **options)
    assert second.calls == len(reader.windows) == 16 - 7
    assert (tmp_path / "map.tif").read_bytes() == (tmp_path / "straight.tif").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["map.tif", "straight.tif"]


@pytest.mark.parametrize(("group_bytes", "finished"), [(1, 7), (2 * 4 * 100, 6)])
def test_resume_goes_on_with_the_missing_frames(tmp_path, monkeypatch, group_bytes, finished):
    """Blocks of 10 x 10 cells, 400 bytes a frame: one frame a file, or two. The eighth frame breaks off."""
    monkeypatch.setattr(partials, "GROUP_BYTES", group_bytes)
    reader, out = Noise(10, 20, frames=6), tmp_path / "maps.zarr"
    options = {"block_cells": 10, "halo_cells": 2}
    with pytest.raises(RuntimeError, match="broken off"):
        predict(Counting(smoother(2), 8), reader, out, **options)
    second = Counting(smoother(2))
    predict(second, reader, out, **options)
    assert second.calls == 12 - finished
    with xr.open_dataset(out, engine="zarr") as maps:
        expected = [smoother(2)({"noise": frame}) for frame in reader.values]
        np.testing.assert_array_equal(maps["bed"], np.stack(expected))


def test_small_frames_share_a_file(tmp_path):
    def stop_at_the_end(inputs):
        return inputs["noise"]

    reader = Noise(8, 8, frames=300)
    with pytest.raises(RuntimeError):
        predict(Counting(stop_at_the_end, 300), reader, tmp_path / "maps.nc")
    assert not list((tmp_path / "maps.nc.partial").glob("*.npy"))
    predict(stop_at_the_end, reader, tmp_path / "maps.nc")
    with xr.open_dataset(tmp_path / "maps.nc", engine="h5netcdf") as maps:
        np.testing.assert_array_equal(maps["bed"], reader.values.astype(np.float32))


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "other"},
        {"halo_cells": 4},
        {"block_cells": 20},
        {"alignment": 2},
        {"outputs": (Output("other", "m"),)},
    ],
)
def test_another_plan_starts_anew(tmp_path, capsys, change):
    options = {"block_cells": 10, "halo_cells": 3, "fingerprint": "one"}
    with pytest.raises(RuntimeError):
        predict(Counting(smoother(3), 8), Noise(40, 40), tmp_path / "map.tif", **options)
    second, options = Counting(smoother(3)), options | change
    predict(second, Noise(40, 40), tmp_path / "map.tif", **options)
    assert second.calls == (40 // options["block_cells"]) ** 2
    assert "map.tif.partial: unfinished work of other inputs or settings" in capsys.readouterr().err


def test_another_case_starts_anew(tmp_path):
    with pytest.raises(RuntimeError):
        predict(Counting(smoother(0), 2), Noise(20, 20), tmp_path / "map.nc", block_cells=10)
    second = Counting(smoother(0))
    predict(second, Noise(20, 20, frames=2), tmp_path / "map.nc", frames=0, block_cells=10)
    assert second.calls == 4


@pytest.mark.parametrize("left_behind", ["", "{not json", None])
def test_a_broken_plan_starts_anew(tmp_path, left_behind):
    partial = tmp_path / "map.tif.partial"
    partial.mkdir()
    (partial / "0_0_0.npy").write_bytes(b"not a block")
    if left_behind is not None:
        (partial / "plan.json").write_text(left_behind)
    assert predict(smoother(0), Noise(8, 8), tmp_path / "map.tif").shape == (8, 8)


def test_plan_is_readable(tmp_path):
    with pytest.raises(RuntimeError):
        predict(Counting(smoother(0), 1), Noise(9, 9), tmp_path / "map.tif", fingerprint="f")
    plan = json.loads((tmp_path / "map.tif.partial" / "plan.json").read_text())
    assert plan["fingerprint"].startswith("f test/made ")
    assert (plan["spacing"], plan["cells"], plan["frames"]) == (250, [0, 0, 9, 9], [0])


def test_reader_and_writer_errors_surface(tmp_path, monkeypatch):
    def broken_reader(bounds, frame):
        raise InputError("surface.tif: reading breaks off")

    case = Noise(40, 40).case
    with pytest.raises(InputError, match=r"surface\.tif"):
        predict_to(tmp_path / "map.tif", Applied(smoother(0), broken_reader), case, halo_cells=0)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(PermissionError("locked")))
    with pytest.raises(PermissionError, match="locked"):
        predict(smoother(0), Noise(40, 40), tmp_path / "map.tif", block_cells=10)
    assert not (tmp_path / "map.tif").exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read-", "write-"))]


@pytest.mark.parametrize("readers", [1, 2, 4])
def test_reading_goes_ahead_by_a_bounded_number_of_blocks(tmp_path, readers):
    reader = Noise(40, 40)
    ahead: list[int] = []

    def slow(inputs):
        time.sleep(0.01)
        ahead.append(len(reader.windows) - len(ahead))
        return inputs["noise"]

    predict(slow, reader, tmp_path / "map.tif", block_cells=10, readers=readers)
    assert len(ahead) == 16
    assert readers <= max(ahead) <= readers + 1  # the block at hand and one more a reader


def test_readers_read_at_the_same_time(tmp_path):
    reader, both = Noise(20, 40), threading.Barrier(2, timeout=10)

    def read(bounds, frame):
        both.wait()  # for another reader, of the other block
        return reader(bounds, frame)

    predictor = Applied(smoother(0), read)
    predict_to(tmp_path / "map.tif", predictor, reader.case, block_cells=20, halo_cells=0, progress=False)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ((-5000, 4000, 1000, 9000), r"\(-5000, 4000, 1000, 9000\).*\(-4000, 4000, 1000, 9000\)"),
        ((1000, 4000, -4000, 9000), "give west, south, east, north, in this order"),
    ],
)
def test_box_outside_the_data_is_one_line(tmp_path, window, message):
    reader = Noise(20, 20)
    with pytest.raises(InputError, match=rf"^[^\n]*{message}[^\n]*$"):
        predict_to(tmp_path / "map.tif", Applied(smoother(0), reader), reader.case, window=window)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "map.grd"}, r"map\.grd.*\.tif, \.nc or \.zarr"),
        ({"path": "map.tif", "frames": None}, r"map\.tif: a \.tif holds one frame, not 2"),
        ({"frames": 2}, "--frame: is 2, but case test/made has 2, from 0"),
        ({"frames": -1}, "--frame: is -1"),
        ({"frames": []}, "no frame is chosen"),
        ({"alignment": 0}, "alignment_cells is 0"),
        ({"block_cells": 0}, "--block_cells: is 0"),
        ({"halo_cells": -1}, "--halo_cells: is -1"),
        ({"readers": 0}, "--readers: is 0"),
        ({"function": lambda inputs: inputs["noise"][1:]}, r"shape \(19, 20\).*\(20, 20\)"),
        ({"outputs": TWO}, r"shape \(1, 20, 20\).*mean, positive"),
    ],
)
def test_bad_input_is_one_line(tmp_path, options, message):
    options = {"function": smoother(0), "path": "map.nc", "frames": 0} | options
    path = tmp_path / options.pop("path")
    with pytest.raises(InputError, match=message):
        predict(options.pop("function"), Noise(20, 20, frames=2), path, **options)
    assert not path.exists()


def test_one_frame_or_several_are_chosen():
    case = Noise(2, 2, frames=4).case
    assert choose_frames(case, None) == (0, 1, 2, 3)
    assert choose_frames(case, 2) == (2,)
    assert choose_frames(case, [3, 1]) == (3, 1)
