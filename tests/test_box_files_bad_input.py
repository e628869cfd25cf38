"""Boxes of a user's own files that cannot be used: each mistake told in one line, nothing lost by it."""

import os
from functools import partial

import numpy as np
import pytest
from files_of_boxes import (
    FIELD,
    SHAPE,
    refuse_list,
    write_boxes,
    write_zarr_group,
)

from fieldwise.cli import main
from fieldwise.samples.boxes import sources


@pytest.fixture
def home(tmp_path):
    return write_boxes(tmp_path)


@pytest.fixture
def refuse(home, capsys):
    return partial(refuse_list, home, capsys)


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": {"a": "nothing_*.npy"}}, "training: a: no file matches nothing_*.npy"),
        ({"inputs": {"a": "**bad.npy"}}, "training: a: no file matches **bad.npy"),
        ({"inputs": {"a": ""}}, "training: a: no file matches"),
        ({"inputs": {"a": "/"}}, "training: a: no file matches /"),
        (
            {"targets": {"displacement": "box_[01]/moved.npy"}},
            "training: displacement_linear matches 3 files, displacement 2; the lists must be equally long",
        ),
        (
            {"inputs": {"../a": "box_*/linear.npy"}},
            "field '../a' names a file to be written; give a plain name",
        ),
        ({"inputs": {"a/b": "box_*/linear.npy"}}, "field 'a/b' names a file to be written"),
        ({"inputs": None}, "training: lacks inputs"),
        ({"inputs": ["box_*/linear.npy"]}, "training: inputs is ['box_*/linear.npy']; give lines such as"),
        ({"inputs": {"a": {"file": "x"}}}, "training: inputs is {'a': {'file': 'x'}}; give lines such as"),
        ({"targets": {"displacement_linear": "box_*/moved.npy"}}, "displacement_linear is named twice"),
        (
            {"besides": {"displacement_x": "box_*/density.npy"}},
            "displacement_x and another field are both displacement_x; rename one",
        ),
        ({"numbers": {"omega_m": [0.3, 0.3]}}, "training: omega_m has 2 numbers for 3 boxes"),
        ({"numbers": {"omega_m": "much"}}, "training: numbers is {'omega_m': 'much'}; give lines such as"),
        ({"numbers": {"omega_m": float("inf")}}, "training: numbers is {'omega_m': inf}"),
        (
            {"numbers": {"omega_m": [0.3, 1.01, 0.3]}},
            "omega_m of box_1_linear is 1.01; give a number above 0, at",
        ),
        ({"numbers": {"omega_m": 0}}, "omega_m of box_0_linear is 0; give a number above 0, at most 1"),
        ({"numbers": {"sigma8": -0.8}}, "sigma8 of box_0_linear is -0.8; give a number above 0"),
        ({"spacing": -1}, "spacing is -1; give the edge of a cell"),
        ({"spacing": None}, "spacing is empty; give the edge of a cell"),
        ({"periodic": "perhaps"}, "periodic is 'perhaps'; give true or false"),
        ({"scale_factor": 3}, "scale_factor is 3; give 1, 2, 4 or another power of two"),
        ({"scale_factor": True}, "scale_factor is True; give 1, 2, 4"),
        ({"scale_factor": 0}, "scale_factor is 0; give 1, 2, 4"),
        (
            {"scale_factor": 2},
            "box_0/moved.npy: has 8 x 10 cells, where 16 x 20 belong to linear.npy with a scale factor of 2",
        ),
        ({"cells": 8}, "cells is not known; known are spacing, "),
        (
            {"test": {"inputs": {"density": "box_*/density.npy"}}},
            "the inputs differ: training has displacement_",
        ),
    ],
)
def test_lists_that_mean_nothing_are_refused(refuse, changes, message):
    assert message in refuse(**changes)


def test_a_list_without_boxes_is_refused(home, capsys):
    (home / "own.yaml").write_text("spacing: 1.0")
    assert main(["structure_formation", "prepare", "--source", str(home / "own.yaml")]) == 2
    assert "names no boxes; give `training`" in capsys.readouterr().err


def truncate(path):
    np.save(path, FIELD)
    os.truncate(path, 300)


SPOILERS = {
    "truncated": (truncate, "linear.npy: cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "linear.npy: cannot be read"),
    "text": (lambda path: path.write_text("displacement"), "linear.npy: cannot be read"),
    "objects": (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "linear.npy: cannot be read"),
    "complex": (
        lambda path: np.save(path, FIELD.astype(complex)),
        "is complex128 of shape (2, 8, 10); a field",
    ),
    "words": (lambda path: np.save(path, np.full(SHAPE, "a")), "a field has numbers (channel, x, y)"),
    "without channels": (lambda path: np.save(path, FIELD[0]), "is float32 of shape (8, 10); a field has"),
    "five axes": (lambda path: np.save(path, FIELD[None, None]), "is float32 of shape (1, 1, 2, 8, 10)"),
    "no channel": (lambda path: np.save(path, FIELD[:0]), "is float32 of shape (0, 8, 10); a field has"),
    "no cells": (lambda path: np.save(path, FIELD[:, :0]), "is float32 of shape (2, 0, 10); a field has"),
    "other cells": (
        lambda path: np.save(path, FIELD[:, :4]),
        "box_1/moved.npy: has 8 x 10 cells, where 4 x 10 belong to linear.npy",
    ),
    "other channels": (
        lambda path: np.save(path, np.ones((3, 8, 10))),
        "case box_1_linear: displacement_linear has 3 channels, in 2-D, of 4 a cell, and others in",
    ),
    "nan": (
        lambda path: np.save(path, np.where(FIELD > 0, FIELD, np.nan)),
        f"case box_1_linear: displacement_linear_x: {(FIELD[0] <= 0).sum()} values are missing or infinite",
    ),
    "beyond float32": (
        lambda path: np.save(path, 1e300 * FIELD.astype(float)),
        "80 values are missing or inf",
    ),
}


@pytest.mark.parametrize("spoiler", SPOILERS)
def test_a_file_that_is_no_such_field_is_refused_by_name(home, refuse, spoiler):
    spoil, message = SPOILERS[spoiler]
    spoil(home / "box_1" / "linear.npy")
    assert message in refuse()


@pytest.mark.parametrize("suffix", ["h5", "nc", "zarr", "tif"])
def test_a_damaged_file_of_another_format_is_refused_by_name(home, refuse, suffix):
    path = home / f"damaged.{suffix}"
    if suffix == "zarr":
        path.mkdir()
    else:
        path.write_bytes(b"CDF\x01..." if suffix == "nc" else b"\x89HDF...")
    assert refuse(inputs={"given": path.name}, targets=None).startswith(f"{path}: cannot be read")


@pytest.mark.parametrize("side", ["linear", "moved"])
def test_a_file_that_changes_while_it_is_read_is_refused_by_name(home, refuse, monkeypatch, side):
    path, opening = home / "box_1" / f"{side}.npy", sources.BoxSource.open

    def open_and_touch(box):
        if box.name == "box_1_linear":
            os.utime(path, ns=(1, 1))
        return opening(box)

    monkeypatch.setattr(sources.BoxSource, "open", open_and_touch)
    assert refuse() == f"{path}: changed while it was read; prepare again when it is finished"


def test_a_chunk_of_a_zarr_store_that_changes_is_noticed(tmp_path):
    write_zarr_group(tmp_path / "given.zarr", FIELD)
    box = sources.BoxSource("given", "test", {"given": (tmp_path / "given.zarr", "disp")})
    before = box.fingerprint()
    chunk = next(path for path in (tmp_path / "given.zarr" / "disp").rglob("*") if path.is_file())
    os.utime(chunk, ns=(1, 1))
    assert [path for path, found in box.fingerprint().items() if before[path] != found] == [chunk]
