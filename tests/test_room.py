"""Room on the disk and in memory, told before anything is computed."""

import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from fieldwise.errors import InputError
from fieldwise.samples.examples import make_prepared
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.domains import room
from fieldwise.verbs.predict import predict_to
from fieldwise.verbs.predictors import Predictor

Usage = namedtuple("Usage", "total used free")


class Rough(torch.nn.Module):
    def forward(self, fields, noise):
        return fields + noise(0, fields.shape, fields)


def draw(out, **options):
    (case,) = make_prepared({"bed": np.zeros((1, 40, 50))}).cases()
    signature = Signature("own", (Variable("bed"),), (Variable("bed"),), stacked=True)
    wanted = {"members": 6, "keep_members": True, "progress": False, "tell": False, "halo_cells": 0}
    return predict_to(out, Predictor(Rough(), signature), case, **wanted, **options)


def test_a_map_that_the_disk_cannot_take_is_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    """Mean, spread, three quantiles and six members of 2000 cells, 4 bytes each, 1.5 times: 132 kB."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**9, 0, 131_999))
    with pytest.raises(InputError, match=r"bed\.nc: takes 0\.0 GB while it is written.*draw fewer members"):
        draw(tmp_path / "bed.nc")
    assert not (tmp_path / "bed.nc").exists()
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**9, 0, 132_000))
    assert draw(tmp_path / "bed.nc").exists()


def test_members_that_memory_cannot_hold_are_refused(tmp_path, monkeypatch):
    """Six members of 40 x 50 cells, three copies of 4 bytes: 144 kB."""
    monkeypatch.setattr(room.os, "sysconf", lambda name: {"SC_PHYS_PAGES": 35, "SC_PAGE_SIZE": 4096}[name])
    with pytest.raises(InputError, match=r"--members: 6 of a block of 40 x 50 cells take .* of memory"):
        draw(tmp_path / "bed.nc")
    monkeypatch.setattr(room.os, "sysconf", lambda name: {"SC_PHYS_PAGES": 36, "SC_PAGE_SIZE": 4096}[name])
    assert Path(draw(tmp_path / "bed.nc")).exists()
