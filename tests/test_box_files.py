"""Boxes of a user's own files: every format, and what is prepared of them."""

from functools import partial

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr
from files_of_boxes import (
    FIELD,
    SHAPE,
    WHOLE,
    prepare,
    refuse_list,
    write,
    write_boxes,
    write_zarr_group,
)

from fieldwise.samples.prepared import DESCRIPTION, Prepared


@pytest.fixture
def home(tmp_path):
    return write_boxes(tmp_path)


@pytest.fixture
def refuse(home, capsys):
    return partial(refuse_list, home, capsys)


# --- formats ----------------------------------------------------------------------------------------


def write_hdf5(path, values):
    with h5py.File(path, "w") as file:
        file["disp"] = values
        file["steps"] = np.arange(3)


def write_netcdf(path, values, **options):
    xr.Dataset({"disp": (("axis", "y", "x"), values), "steps": ("time", np.arange(3))}).to_netcdf(
        path, **options
    )


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
