"""Maps whose blocks are written in place into one tiled file."""

import errno
import os
import signal
import time

import numpy as np
import pytest
import rasterio
from made_domains import Counting, Noise, predict, smoother
from rasterio.windows import Window
from test_predict_broken_off import run_script

from fieldwise.errors import InputError
from fieldwise.fields import rasters
from fieldwise.verbs.domains import mosaics

BLOCKS = {"block_cells": 512, "halo_cells": 3}
SHAPE = 1100, 700  # three rows of two blocks


def break_off(path, at):
    with pytest.raises(RuntimeError, match="broken off"):
        predict(Counting(smoother(3), at), Noise(*SHAPE), path, **BLOCKS)


def listed(path):
    return (path.with_name(f"{path.name}.partial") / "finished.txt").read_text().splitlines()


def test_blocks_lie_in_one_file_and_give_the_untiled_map(tmp_path):
    path, reader = tmp_path / "map.tif", Noise(*SHAPE)
    break_off(path, 5)
    assert sorted(os.listdir(f"{path}.partial")) == ["finished.txt", "plan.json", "tiled.tif"]
    assert [line.split()[0] for line in listed(path)] == ["0_0_0", "0_0_512", "0_512_0", "0_512_512"]
    again = Counting(smoother(3))
    tiled = predict(again, reader, path, **BLOCKS)
    assert again.calls == 2
    np.testing.assert_array_equal(tiled, smoother(3)({"noise": reader.values[0]}))
    assert predict(smoother(3), reader, tmp_path / "straight.tif", **BLOCKS) is not None
    assert path.read_bytes() == (tmp_path / "straight.tif").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["map.tif", "straight.tif"]


def test_a_block_that_is_torn_is_drawn_again(tmp_path):
    path = tmp_path / "map.tif"
    break_off(path, 5)
    with rasterio.open(f"{path}.partial/tiled.tif", "r+") as torn:
        torn.write(np.zeros((1, 512, 512), "f4"), window=Window(0, 512, 512, 512))
    again = Counting(smoother(3))
    tiled = predict(again, Noise(*SHAPE), path, **BLOCKS)
    assert again.calls == 3
    np.testing.assert_array_equal(tiled, smoother(3)({"noise": Noise(*SHAPE).values[0]}))


@pytest.mark.parametrize("left", [0, 100, 4000])
def test_a_file_that_is_torn_is_drawn_anew(tmp_path, left):
    path = tmp_path / "map.tif"
    break_off(path, 5)
    tiled = tmp_path / "map.tif.partial" / "tiled.tif"
    tiled.write_bytes(tiled.read_bytes()[:left])
    drawn = predict(smoother(3), Noise(*SHAPE), path, **BLOCKS)
    np.testing.assert_array_equal(drawn, smoother(3)({"noise": Noise(*SHAPE).values[0]}))


def test_a_killed_process_goes_on_where_it_was(tmp_path):
    path = tmp_path / "map.tif"
    killed = run_script(path, 1536, 512, pause=0.3)
    deadline = time.monotonic() + 60
    while not (tmp_path / "map.tif.partial" / "finished.txt").exists() or len(listed(path)) < 4:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(timeout=10) != 0
    assert not path.exists()
    assert run_script(path, 1536, 512).wait(timeout=60) == 0
    assert run_script(tmp_path / "straight.tif", 1536, 512).wait(timeout=60) == 0
    assert path.read_bytes() == (tmp_path / "straight.tif").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["map.tif", "straight.tif"]


@pytest.mark.parametrize("place", [(os, "fsync"), (mosaics, "finish_cog")])
def test_a_full_disk_is_one_line_and_leaves_no_map(tmp_path, monkeypatch, place):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "map.tif"
    with monkeypatch.context() as patch:
        patch.setattr(*place, full)
        with pytest.raises(InputError, match=r"^[^\n]*map\.tif[^\n]*disk is full[^\n]*$"):
            predict(smoother(3), Noise(*SHAPE), path, **BLOCKS)
    begun = place[1] == "finish_cog"  # else not even the first block could be kept
    assert os.listdir(tmp_path) == (["map.tif.partial"] if begun else [])
    predict(smoother(3), Noise(*SHAPE), path, **BLOCKS)
    assert os.listdir(tmp_path) == ["map.tif"]


def test_what_gdal_loses_without_a_word_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(rasters.rasterio.io.DatasetWriter, "write", lambda *arguments, **options: None)
    with pytest.raises(InputError, match=r"map\.tif.*reads back different"):
        predict(smoother(3), Noise(*SHAPE), tmp_path / "map.tif", **BLOCKS)
    assert not (tmp_path / "map.tif").exists()


@pytest.mark.parametrize(("block_cells", "in_place"), [(512, True), (300, False)])
def test_blocks_that_cut_tiles_are_joined_at_the_end(tmp_path, block_cells, in_place):
    """A tile that belongs to several blocks would be packed time and again, and leave gaps in the file."""
    path = tmp_path / "map.tif"
    with pytest.raises(RuntimeError):
        predict(Counting(smoother(3), 4), Noise(*SHAPE), path, block_cells=block_cells)
    assert (tmp_path / "map.tif.partial" / "tiled.tif").exists() == in_place
