"""Boxes of a user's own files: every format, each mistake told in one line, and nothing lost by it."""

import os

import h5py
import numpy as np
import pytest
import xarray as xr
import yaml
import zarr

from fieldwise.cli import main
from fieldwise.recipes import structure_formation
from fieldwise.samples.boxes import sources
from fieldwise.samples.prepared import DESCRIPTION, Prepared

SHAPE = (2, 8, 10)
FIELD = (10 * np.random.default_rng(0).normal(size=SHAPE)).astype(np.float32)
WHOLE = np.rint(FIELD)  # what integers hold


def write(folder, **files):
    """Write arrays under names such as `a_in`, as .npy."""
    folder.mkdir(exist_ok=True)
    for name, values in files.items():
        np.save(folder / f"{name}.npy", values)
    return folder


@pytest.fixture
def home(tmp_path):
    """Three boxes, of linear and true displacement, and densities."""
    for number in range(3):
        fields = {"linear": FIELD + number, "moved": 2 * FIELD + number, "density": FIELD[:1] * 0 + number}
        write(tmp_path / f"box_{number}", **fields)
    return tmp_path


LISTED = {
    "inputs": {"displacement_linear": "box_*/linear.npy"},
    "targets": {"displacement": "box_*/moved.npy"},
}


def write_list(home, *, split="training", spacing=4.0, **changes):
    """Write a FILE.yaml: LISTED, with keys of the split or of the whole changed, or taken away by None."""
    of_split = {
        key: changes.pop(key) for key in ("inputs", "targets", "numbers", "besides") if key in changes
    }
    entry = {key: value for key, value in (LISTED | of_split).items() if value is not None}
    file = home / "own.yaml"
    file.write_text(yaml.safe_dump({"spacing": spacing, split: entry} | changes, sort_keys=False))
    return file


def prepare(home, **changes):
    file = write_list(home, **changes)
    out = structure_formation.prepare(source=str(file), out=home / "data", progress=False)
    return Prepared(out, recipe="structure_formation")


def list_contents(folder):
    """Give every file of a folder with what is in it."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refuse(home, capsys):
    """Give a function that prepares what must be refused in one line, which it returns; nothing changes."""

    def run(**changes):
        file = write_list(home, **changes)
        before = list_contents(home)
        capsys.readouterr()
        command = ["structure_formation", "prepare", "--source", str(file), "--out", str(home / "data")]
        assert main([*command, "--progress", "false"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert list_contents(home) == before
        return line.removeprefix("fieldwise: ")

    return run


# --- formats ----------------------------------------------------------------------------------------


def write_hdf5(path, values):
    with h5py.File(path, "w") as file:
        file["disp"] = values
        file["steps"] = np.arange(3)


def write_netcdf(path, values, **options):
    xr.Dataset({"disp": (("axis", "y", "x"), values), "steps": ("time", np.arange(3))}).to_netcdf(
        path, **options
    )


def write_zarr_group(path, values):
    group = zarr.open_group(path, mode="w")
    for name, each in (("disp", values), ("steps", np.arange(3))):
        group.create_array(name, shape=each.shape, dtype=each.dtype)[...] = each


WRITERS = {
    "big.npy": lambda path, values: np.save(path, values.astype(">f8")),
    "single.npy": lambda path, values: np.save(path, values),
    "half.npy": lambda path, values: np.save(path, values.astype(np.float16)),
    "columns.npy": lambda path, values: np.save(path, np.asfortranarray(values)),
    "short.npy": lambda path, values: np.save(path, values.astype(">i2")),
    "flag.npy": lambda path, values: np.save(path, values > 0),
    "disp.h5": write_hdf5,
    "four.nc": lambda path, values: write_netcdf(path, values, engine="h5netcdf"),
    "classic.nc": lambda path, values: write_netcdf(path, values, engine="scipy"),
    "packed.nc": lambda path, values: write_netcdf(
        path,
        values,
        engine="h5netcdf",
        encoding={"disp": {"dtype": "i2", "scale_factor": 0.5, "add_offset": 3.0, "_FillValue": -9999}},
    ),
    "group.zarr": write_zarr_group,
    "array.zarr": lambda path, values: zarr.save_array(path, values),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_and_kind_of_numbers_is_read(tmp_path, name):
    WRITERS[name](tmp_path / name, WHOLE)
    expected = WHOLE > 0 if name == "flag.npy" else WHOLE
    prepared = prepare(tmp_path, inputs={"given": name}, targets=None)
    (case,) = prepared.cases("training")
    found = case.read(["given"])["given"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_a_variable_is_named_where_a_file_has_several(home, refuse):
    with h5py.File(home / "two.h5", "w") as file:
        file["first"], file["second"] = FIELD, 2 * FIELD
    known = {"targets": None, "split": "test"}
    told = refuse(inputs={"a": "two.h5"}, **known)
    assert told == f"{home}/two.h5: name the variable; there are first, second"
    told = refuse(inputs={"a": {"path": "two.h5", "variable": "third"}}, **known)
    assert told == f"{home}/two.h5: has no third; there are first, second"
    prepared = prepare(home, inputs={"a": {"path": "two.h5", "variable": "second"}}, **known)
    np.testing.assert_array_equal(prepared.cases()[0].read(["a"])["a"], 2 * FIELD)


def test_missing_values_of_netcdf_are_missing(home, refuse):
    values = FIELD.copy()
    values[1, 2, 3] = np.nan
    write_netcdf(
        home / "gap.nc", values, engine="h5netcdf", encoding={"disp": {"_FillValue": np.float32(1e30)}}
    )
    told = refuse(inputs={"given": "gap.nc"}, targets=None)
    assert told.startswith("case gap: given_y: 1 values are missing or infinite")


# --- what is prepared -------------------------------------------------------------------------------


def test_fields_keep_their_order_names_and_numbers(home):
    inputs = {"displacement_linear": "box_*/linear.npy", "density": "box_*/density.npy"}
    numbers = {"omega_m": [0.2, 0.3, 0.4], "redshift": 0}
    prepared = prepare(home, inputs=inputs, numbers=numbers, units={"density": "kg"})
    assert prepared.description["inputs"] == ["displacement_linear", "density"]
    assert prepared.description["targets"] == ["displacement"]
    cases = prepared.cases("training")
    assert [case.name for case in cases] == ["box_0_linear", "box_1_linear", "box_2_linear"]
    assert [case.numbers for case in cases] == [
        {"omega_m": each, "redshift": 0.0} for each in (0.2, 0.3, 0.4)
    ]
    for number, case in enumerate(cases):
        read = case.read(["displacement_linear", "density", "displacement"])
        np.testing.assert_array_equal(read["displacement_linear"], FIELD + number)
        assert np.unique(read["density"]).tolist() == [number]
        np.testing.assert_array_equal(read["displacement"], 2 * FIELD + number)
        assert (case.spacing, case.spacing_units, case.shape, case.periodic) == (
            4.0,
            "Mpc h-1",
            (8, 10),
            True,
        )
    variables = prepared.variables
    assert {name: each.units for name, each in variables.items()} == {
        "displacement_linear": "Mpc h-1",
        "density": "kg",
        "displacement": "Mpc h-1",
    }
    assert [each.vector for each in variables.values()] == [True, False, True]


def test_boxes_without_targets_are_only_to_be_predicted(home):
    prepared = prepare(home, split="test", targets=None, periodic=False, spacing_units="km")
    assert prepared.description["targets"] == []
    assert [(case.periodic, case.spacing_units) for case in prepared.cases("test")] == [(False, "km")] * 3


@pytest.mark.parametrize("besides", [None, "fine", "coarse"])
def test_cells_of_coarser_inputs_are_as_many_times_larger(tmp_path, besides):
    """Whether the fine field is there, or is to be predicted."""
    fine = np.kron(FIELD, np.ones((1, 4, 4), np.float32))
    write(tmp_path, coarse=FIELD, fine=fine)
    targets = {"fine": "fine.npy"} if besides is None else None
    beside = {"other": f"{besides}.npy"} if besides else None
    known = {"inputs": {"coarse": "coarse.npy"}, "targets": targets, "besides": beside}
    prepared = prepare(tmp_path, scale_factor=4, spacing=0.5, **known)
    assert prepared.variables["coarse"].spacing == 2.0
    assert prepared.variables.get("other", prepared.variables["coarse"]).spacing == (
        0.5 if besides == "fine" else 2.0
    )
    (case,) = prepared.cases()
    assert (case.spacing, case.shape) == (0.5, (32, 40))
    np.testing.assert_array_equal(prepared.cases()[0].read(["coarse"])["coarse"], FIELD)


def test_three_dimensions_are_told_from_the_files(tmp_path):
    write(tmp_path, given=np.ones((3, 4, 5, 6)))
    (case,) = prepare(tmp_path, inputs={"given": "given.npy"}, targets=None).cases()
    assert (case.shape, case.variables["given"].fields) == ((4, 5, 6), ("given_x", "given_y", "given_z"))


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.npy", "b.npy"], ["a", "b"]),
        (["one/field.npy", "two/field.npy"], ["one_field", "two_field"]),
        (["one/x/field.npy", "two/x/field.npy"], ["one_x_field", "two_x_field"]),
        (["field.npy"], ["field"]),
    ],
)
def test_boxes_are_called_by_as_many_folders_as_tell_them_apart(tmp_path, paths, names):
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / path, FIELD)
    prepared = prepare(tmp_path, inputs={"given": "**/*.npy"}, targets=None)
    assert [case.name for case in prepared.cases()] == names


def test_absolute_patterns_are_taken_as_they_are(home):
    prepared = prepare(
        home, inputs={"displacement_linear": str(home / "box_[12]" / "linear.npy")}, targets=None
    )
    assert len(prepared.cases()) == 2


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


# --- folders that were there before -----------------------------------------------------------------


def test_a_refused_list_leaves_what_was_prepared_before(home, refuse):
    prepare(home)
    np.save(home / "box_2" / "linear.npy", np.full(SHAPE, np.nan))
    assert "case box_2_linear: displacement_linear_x" in refuse()
    assert len(Prepared(home / "data").cases("training")) == 3


def test_boxes_that_are_prepared_no_more_are_taken_away(home):
    prepare(home)
    prepared = prepare(home, inputs={"displacement_linear": "box_0/linear.npy"}, targets=None)
    assert [case.name for case in prepared.cases()] == ["linear"]
    arrays = sorted(path.relative_to(home / "data").as_posix() for path in (home / "data").rglob("*.npy"))
    assert arrays == [f"training/linear/displacement_linear_{axis}.npy" for axis in "xy"]
    assert not (home / "data" / "training" / "box_0_linear").exists()


def test_files_of_ones_own_in_the_folder_stay(home):
    """Whatever the folder is that they lie in."""
    notes = home / "data" / "training" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    write(home / "data" / "test", raw=FIELD)
    for _ in range(2):
        prepare(home)
    prepare(home, inputs={"a": "data/test/raw.npy"}, targets=None)
    assert notes.read_text() == "mine"
    np.testing.assert_array_equal(np.load(home / "data" / "test" / "raw.npy"), FIELD)


def test_files_that_would_be_replaced_are_not_read(home, refuse):
    prepare(home)
    told = refuse(inputs={"a": "data/training/box_0_linear/displacement_x.npy"}, targets=None)
    assert "displacement_x.npy: would be replaced by what is prepared from it; give another --out" in told


def test_a_description_that_leads_elsewhere_is_refused(home):
    prepared = prepare(home)
    file = prepared.folder / DESCRIPTION
    whole = file.read_text()
    for old, new in (
        ("training/box_0_linear/displacement_x.npy", "../box_0/moved.npy"),
        ("name: box_0_linear", "name: ../../box_0_linear"),
    ):
        file.write_text(whole.replace(old, new))
        with pytest.raises(ValueError, match=r"\.\./"):
            Prepared(prepared.folder)


def test_an_array_that_is_not_that_of_its_box_is_refused(home):
    (case, *_) = prepare(home).cases()
    np.save(case.folder / case.files["displacement_x"], np.zeros((1, 4, 5), np.float32))
    with pytest.raises(ValueError, match=r"displacement_x.npy: holds \(4, 5\) cells, not \(8, 10\); prepare"):
        case.read(["displacement"])
