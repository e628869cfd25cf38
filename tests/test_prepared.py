"""Prepared folders describe themselves; cases are read by window and frame, and never outside the folder."""

import numpy as np
import pytest
import yaml

from fieldwise.errors import InputError
from fieldwise.samples.cases import Case
from fieldwise.samples.examples import make_prepared
from fieldwise.samples.prepared import DESCRIPTION, Prepared, draft_folder
from fieldwise.samples.signatures import Variable

FRAMES = np.arange(2 * 4 * 6, dtype=np.float32).reshape(2, 4, 6)


@pytest.fixture
def glacier():
    return make_prepared({"thk": FRAMES, "rock": FRAMES[:1] + 100, "dX": 50.0}, spacing=50.0, split="test")


def describe(prepared, **changes):
    """Change the description of a prepared folder on disk."""
    file = prepared.folder / DESCRIPTION
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))


def test_cells_windows_and_the_whole_agree(glacier):
    (case,) = glacier.cases()
    whole = case.read(["thk"], frame=1)["thk"]
    np.testing.assert_array_equal(whole[0], FRAMES[1])
    cells = case.read(["thk"], window=(slice(1, 3), slice(2, 6)), frame=1)["thk"]
    np.testing.assert_array_equal(cells[0], FRAMES[1, 1:3, 2:6])
    window = case.read(["thk"], window=(100.0, 50.0, 300.0, 150.0), frame=1)["thk"]  # the same in metres
    np.testing.assert_array_equal(window, cells)
    many = case.read(["thk"], window=np.array([[100.0, 50.0, 300.0, 150.0]] * 2), frame=1)["thk"]
    np.testing.assert_array_equal(many, np.stack([cells, cells]))


def test_what_never_changes_is_kept_once_and_numbers_hold_everywhere(glacier):
    (case,) = glacier.cases()
    np.testing.assert_array_equal(case.read(["rock"], frame=1)["rock"][0], FRAMES[0] + 100)
    assert np.unique(case.read(["dX"])["dX"]).tolist() == [50.0]
    assert case.read(["dX"], window=(0, 0, 100, 100))["dX"].shape == (1, 2, 2)


def test_padding_repeats_the_outermost_cells(glacier):
    (case,) = glacier.cases()
    padded = case.read(["thk"], window=(0, 0, 300, 200), padding=50.0)["thk"][0]
    np.testing.assert_array_equal(padded, np.pad(FRAMES[0], 1, mode="edge"))


@pytest.mark.parametrize(
    "cells", [(-2, -1, 3, 8), (1, 2, 3, 4), (0, 4, 6, 9), (2, -3, 9, 0), (-5, 7, -2, 9), (5, 5, 7, 6)]
)
def test_windows_on_the_cells_are_read_as_they_are_cut(glacier, cells):
    """Top, left, bottom and right may lie beyond the case of 4 x 6 cells, whose edges are then repeated."""
    (case,) = glacier.cases()
    top, left, bottom, right = cells
    window = (50.0 * left, 200 - 50.0 * bottom, 50.0 * right, 200 - 50.0 * top)
    found = case.read(["thk"], window=window, frame=1)["thk"]
    np.testing.assert_array_equal(found, case.cut("thk", np.array([window]), frame=1))
    rows, columns = np.arange(top, bottom).clip(0, 3), np.arange(left, right).clip(0, 5)
    np.testing.assert_array_equal(found[0], FRAMES[1][rows][:, columns])


def test_a_window_between_the_cells_is_interpolated(glacier):
    (case,) = glacier.cases()
    found = case.read(["thk"], window=(25.0, 100.0, 125.0, 200.0))["thk"][0]
    np.testing.assert_array_equal(found, FRAMES[0, :2, :2] + 0.5)


def test_flat_variables_come_without_their_trend():
    surface = np.arange(16.0).reshape(4, 4)
    prepared = make_prepared({"surface": surface}, shape=(4, 4), spacing=1000.0, trends=["surface"])
    (case,) = prepared.cases()
    flat = Variable("surface", spacing=1000.0, flat=True)
    assert not case.read([flat])["surface"].any()
    np.testing.assert_array_equal(case.read(["surface"])["surface"][0], surface)


def test_in_three_dimensions_cells_are_read_by_slices(tmp_path):
    box = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(1, 2 * 3, 4, 5)
    with draft_folder(tmp_path / "box", recipe="own") as draft:
        np.save(draft.folder / "density.npy", box)
        variables, files = {"density": Variable("density")}, {"density": "density.npy"}
        draft.add(Case("box", "training", draft.folder, variables, files, 1.0, (6, 4, 5)))
    (case,) = Prepared(tmp_path / "box").cases("training")
    cells = (slice(1, 3), slice(0, 2), slice(4, 5))
    np.testing.assert_array_equal(case.read(["density"], window=cells)["density"], box[:, 1:3, 0:2, 4:5])
    with pytest.raises(InputError, match="lies on no map"):
        case.read(["density"], window=(0, 0, 1, 1))


def test_a_failed_draft_leaves_the_folder_as_it_was(tmp_path):
    target = tmp_path / "data"
    with pytest.raises(ZeroDivisionError), draft_folder(target, recipe="own"):
        1 / 0  # noqa: B018
    assert not target.exists()
    with draft_folder(target, recipe="own", seed=1):
        pass
    with pytest.raises(ZeroDivisionError), draft_folder(target, recipe="own", seed=2):
        1 / 0  # noqa: B018
    assert Prepared(target).description["seed"] == 1


@pytest.mark.parametrize("path", ["../evil.npy", "/etc/passwd", "a/../../evil.npy"])
def test_paths_out_of_the_folder_are_refused(glacier, path):
    entry = Prepared(glacier.folder).description["cases"][0]
    describe(glacier, cases=[entry | {"files": {"thk": path}}])
    with pytest.raises(InputError, match=r"leads out of .*; prepare the folder again"):
        Prepared(glacier.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "was prepared by another version of fieldwise; prepare again"),
        ({"cases": [{"name": "aletsch"}]}, "is damaged .*; prepare again"),
        ({"variables": None}, "is damaged .*; prepare again"),
    ],
)
def test_other_versions_and_damage_are_told(glacier, changes, message):
    describe(glacier, **changes)
    with pytest.raises(InputError, match=message):
        Prepared(glacier.folder)


def test_other_recipes_folders_are_refused(glacier):
    with pytest.raises(InputError, match="was prepared for bed_topography; prepare it for ice_flow"):
        Prepared(glacier.folder, recipe="ice_flow")
    with pytest.raises(InputError, match="is no prepared folder; make one with the verb prepare"):
        Prepared(glacier.folder.parent / "nowhere")


def test_a_missing_case_tells_those_that_are_there(glacier):
    with pytest.raises(InputError, match=r"holds no case in training; it holds test/region"):
        glacier.cases("training")
    assert glacier.cases("training", required=False) == []
    with pytest.raises(InputError, match=r"case test/region: lacks usurf, which the loss needs; it has thk"):
        glacier.cases()[0].check_has(["thk", "usurf"], why="the loss")
