"""Files and folders appear whole or not at all."""

import os

import pytest

from fieldwise.drafts import check_inside, check_plain_name, replace_together
from fieldwise.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """A finished folder with a store, and a file that is nobody's but the user's."""
    folder = tmp_path / "data"
    for name in ("inputs/bed.tif", "tiles.zarr/bed/0.0", "tiles.zarr/bed/0.1", "inputs/my_notes.txt", "done"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("old")
    return folder


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


def write_draft(draft):
    for name in ("inputs/bed.tif", "tiles.zarr/bed/0.0", "inputs/new/surface.tif", "done"):
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).write_text("new")


def test_a_draft_takes_its_place_among_what_is_there(folder):
    """A store is replaced as one: no chunk of the old one is left among the new ones."""
    with replace_together(folder, last="done") as draft:
        write_draft(draft)
        assert set(contents(folder)) >= {"inputs/my_notes.txt", "tiles.zarr/bed/0.1"}
    assert contents(folder) == {
        "inputs/bed.tif": "new",
        "inputs/my_notes.txt": "old",
        "inputs/new/surface.tif": "new",
        "tiles.zarr/bed/0.0": "new",
        "done": "new",
    }


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt, OSError])
def test_after_an_error_all_is_as_it_was(folder, error):
    before = contents(folder)

    def fail():
        with replace_together(folder, last="done") as draft:
            write_draft(draft)
            raise error("no more")

    with pytest.raises(error):
        fail()
    assert contents(folder) == before
    assert not list(folder.glob(".*"))


def test_a_move_that_breaks_off_leaves_the_folder_incomplete(folder, monkeypatch):
    """Old and new files lie side by side then: the mark of completeness must not be there."""
    move, moved = os.replace, []

    def move_one(source, target):
        if moved:
            raise OSError("pulled out")
        moved.append(target)
        move(source, target)

    monkeypatch.setattr(os, "replace", move_one)
    with pytest.raises(OSError, match="pulled out"), replace_together(folder, last="done") as draft:
        write_draft(draft)
    assert moved[0].name != "done"
    assert not (folder / "done").exists()


def test_no_empty_folder_is_left_where_none_was(tmp_path):
    with pytest.raises(InputError), replace_together(tmp_path / "new", last="done"):
        raise InputError("nothing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bed_lowres", "Aletsch 2", "gl-1", "é", 7])
def test_plain_names(name):
    assert check_plain_name(name, "own.yaml: input") == str(name)


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/b", "a\\b", ".x", "..", "", " ", "a\nb", "a\0", None, "a" * 200]
)
def test_names_that_are_not_plain(name):
    with pytest.raises(
        InputError, match=r"own\.yaml: input .* names a file to be written; give a plain name"
    ):
        check_plain_name(name, "own.yaml: input")


@pytest.mark.parametrize("path", ["../bed.tif", "/bed.tif", "a/../../bed.tif", "..", None])
def test_paths_that_lead_out_of_a_folder(tmp_path, path):
    with pytest.raises(InputError, match=r"dataset\.yaml: .* leads out of"):
        check_inside(tmp_path, path, "dataset.yaml")
    assert check_inside(tmp_path, "a/../bed.tif", "dataset.yaml") == tmp_path / "a" / ".." / "bed.tif"
