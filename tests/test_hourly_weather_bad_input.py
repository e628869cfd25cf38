"""Bad input of hourly weather at the command line: one line, status 2, and no prepared folder."""

import json

import numpy as np
import pandas as pd
import pytest
from hourly_files import START, dataset_of, truth_of, write_first, write_netcdf, write_tree

from fieldwise.cli import main

HOURS = list(range(120))


@pytest.fixture
def refused(capsys, tmp_path):
    """Give a function that prepares what a FILE.yaml says, is refused, and returns the one line."""

    def run(content, *words):
        (tmp_path / "own.yaml").write_text(content)
        source = ["--source", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "out")]
        capsys.readouterr()
        assert (
            main(["temperature_forecast", "prepare", *source, "--progress", "false", *map(str, words)]) == 2
        )
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("fieldwise: ")
        assert not (tmp_path / "out" / "dataset.yaml").exists()
        return lines[0]

    return run


@pytest.fixture
def era5(tmp_path):
    return write_netcdf(tmp_path / "a.nc", HOURS)


def write_grib(path, hours, *, number=167):
    times = [START + pd.Timedelta(hours=hour) for hour in hours]
    path.write_bytes(b"".join(write_first(truth_of(hour), time, number) for hour, time in zip(hours, times)))


def test_grib_without_the_variable(refused, tmp_path):
    write_grib(tmp_path / "a.grib", HOURS[:5], number=151)
    line = refused("{path: a.grib, variables: [t2m]}")
    assert "own.yaml: no file has t2m (2t, t2m, 2m_temperature)" in line
    assert "a.grib has msl" in line


def test_a_level_that_is_not_there(refused, era5):
    assert "no file has t850 (t, temperature, t850); " in refused("{path: a.nc, variables: [t2m, t850]}")


def test_a_grib_that_is_cut_off(refused, tmp_path):
    write_grib(tmp_path / "a.grib", HOURS[:5])
    (tmp_path / "a.grib").write_bytes((tmp_path / "a.grib").read_bytes()[:-20])
    assert "a.grib: breaks off in the message at byte" in refused("{path: a.grib, variables: [t2m]}")


def test_a_grib_that_is_none(refused, tmp_path):
    (tmp_path / "a.grib").write_text("<html>no such page</html>")
    assert "a.grib: is no GRIB, or damaged, at byte 0" in refused("{path: a.grib, variables: [t2m]}")


def test_an_hour_twice_in_a_grib(refused, tmp_path):
    write_grib(tmp_path / "a.grib", [0, 1, 2, 2, 3])
    assert "t2m: has 2013-01-30T02 twice; give each hour once" in refused("{path: a.grib, variables: [t2m]}")


def test_an_hour_in_two_files(refused, tmp_path):
    write_netcdf(tmp_path / "a.nc", HOURS[:60])
    write_netcdf(tmp_path / "b.nc", HOURS[59:])
    line = refused("{path: '*.nc', variables: [t2m]}")
    assert "t2m: has 2013-02-01T11 twice, in a.nc and b.nc" in line


def test_times_out_of_order(refused, tmp_path):
    write_netcdf(tmp_path / "a.nc", [0, 1, 3, 2, 4])
    assert "has 2013-01-30T02 after 2013-01-30T03" in refused("{path: a.nc, variables: [t2m]}")


def test_times_between_the_hours(refused, tmp_path):
    write_netcdf(tmp_path / "a.nc", [0, 1, 1.5, 2])
    assert "has times between the hours" in refused("{path: a.nc, variables: [t2m]}")


def test_an_hour_that_is_missing(refused, tmp_path):
    write_netcdf(tmp_path / "a.nc", [hour for hour in HOURS if hour != 50])
    line = refused("{path: a.nc, variables: [t2m]}", "--buffer_hours", 0, "--shares", "[0.6, 0.2, 0.2]")
    assert "lacks 1 of 72 hours, first 2013-02-01T02; fetch them, or give --gaps split" in line


def test_a_month_that_is_missing(refused, era5, tmp_path):
    split = {"train": {"2013": [1]}, "val": {"2013": [3]}, "test": [["2013-02-01", "2013-02-03"]]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    line = refused("{path: a.nc, variables: [t2m]}", "--split", tmp_path / "split.json", "--gaps", "split")
    assert "validation 2013-03-01T00 to 2013-03-31T23: lacks 744 of 744 hours" in line
    assert "leave the period out" in line


def test_a_month_that_is_incomplete(refused, era5, tmp_path):
    split = {
        "train": {"2013": [1]},
        "val": [["2013-02-01", "2013-02-01"]],
        "test": [["2013-02-03", "2013-02-03"]],
    }
    (tmp_path / "split.json").write_text(json.dumps(split))
    words = "--split", tmp_path / "split.json", "--buffer_hours", 0
    line = refused("{path: a.nc, variables: [t2m]}", *words)
    assert "training 2013-01-01T00 to 2013-01-31T23: lacks 696 of 744 hours, first 2013-01-01T00" in line


def test_a_variable_that_lacks_hours(refused, era5, tmp_path):
    write_netcdf(tmp_path / "b.nc", HOURS[:-30], name="msl", units="Pa")
    line = refused("{path: '*.nc', variables: [t2m, msl]}")
    assert "msl: lacks 30 hours that others have, first 2013-02-02T18; fetch them, or give" in line


@pytest.mark.parametrize(
    ("units", "add", "words"),
    [
        ("Pa", 0, "t2m is in 'Pa', which cannot be brought to K"),
        (
            "K",
            -273.15,
            "which are no temperatures in K; state its units in the FILE.yaml, such as units: degC",
        ),
        ("", -273.15, "which are no temperatures in K"),
        ("degC", 0, "which are no temperatures in degC; state its units"),
    ],
)
def test_units_that_do_not_fit(refused, tmp_path, units, add, words):
    write_netcdf(tmp_path / "a.nc", HOURS, units=units, add=add)
    assert words in refused("{path: a.nc, variables: [t2m]}")


@pytest.mark.parametrize(
    ("area", "words"),
    [
        (
            "{corner: [60.0, 0.0], cells: [4, 4]}",
            "area: the corner 60 N 0 E lies outside the data, 48 to 52 N",
        ),
        ("{corner: [49.0, 20.0], cells: [4, 4]}", "area: the corner 49 N 20 E lies outside the data"),
        ("{corner: [50.0, 0.0], cells: [4, 9]}", "reaches out of the data"),
        ("{corner: [48.0, 1.0], cells: [9, 4]}", "reaches out of the data"),
        ("{corner: [48.0, 0.0], cells: [4, 400]}", "area: reaches to 247.5 N, over the pole"),
        ("{box: [91, 0, 49, 1]}", "area: reaches to 91 N, over the pole"),
        ("{box: [60, -1, 49, 1]}", "reaches out of the data"),
        ("{box: [49, -1, 51, 1]}", "is empty"),
        ("{corner: [48.0, 0.0]}", "area: give corner and cells, or box alone"),
        ("{corner: [48.0, 0.0], cells: [4.5, 3]}", "cells is [4.5, 3]; give [columns, rows]"),
    ],
)
def test_an_area_that_does_not_fit(refused, era5, area, words):
    assert words in refused(f"{{path: a.nc, variables: [t2m], area: {area}}}")


def test_a_sequence_longer_than_the_data(refused, tmp_path):
    write_netcdf(tmp_path / "a.nc", HOURS[:20])
    line = refused("{path: a.nc, variables: [t2m]}", "--buffer_hours", 0)
    assert "training: is left without 24 hours that follow each other, as a sequence needs" in line


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ('{"train": {"2013": [1, 2]}, "val": {"2013": [2]}, "test": {"2013": [3]}}', "overlaps validation"),
        ('{"train": {"2013": [1]}, "val": {"2013": [2]}}', "names other splits than train, val and test"),
        ('{"train": {"2013": [13]}, "val": {"2013": [2]}, "test": {"2013": [3]}}', "split.json: "),
        ('{"train": {"2013": 1}, "val": {"2013": [2]}, "test": {"2013": [3]}}', "split.json: "),
        ('{"train": {}, "val": {"2013": [2]}, "test": {"2013": [3]}}', "a split has no hours"),
        ("{train: 2013}", "is no JSON"),
    ],
)
def test_splits_that_do_not_fit(refused, era5, tmp_path, split, words):
    (tmp_path / "split.json").write_text(split)
    assert words in refused("{path: a.nc, variables: [t2m]}", "--split", tmp_path / "split.json")


def test_folds_that_do_not_fit(refused, era5):
    assert "--fold: is 5 of 5" in refused("{path: a.nc, variables: [t2m]}", "--fold", 5)


def test_a_corrupt_store(refused, tmp_path):
    dataset_of(HOURS).to_zarr(tmp_path / "a.zarr", zarr_format=2)
    (tmp_path / "a.zarr" / ".zmetadata").write_text("{")
    (tmp_path / "a.zarr" / ".zgroup").write_text("{")
    assert "a.zarr: cannot be read as NetCDF, HDF5, Zarr or GRIB" in refused(
        "{path: a.zarr, variables: [t2m]}"
    )


def test_a_store_with_a_damaged_chunk(refused, tmp_path):
    dataset_of(HOURS).to_zarr(tmp_path / "a.zarr", zarr_format=2)
    chunk = next(path for path in (tmp_path / "a.zarr" / "t2m").iterdir() if path.name[0].isdigit())
    chunk.write_bytes(chunk.read_bytes()[:40])
    assert "2 of 2 months failed: 2013-01: " in refused("{path: a.zarr, variables: [t2m]}")


def test_a_level_from_one_level(refused, tmp_path):
    dataset = dataset_of(HOURS, name="t").expand_dims(level=[700])
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    line = refused("{path: a.nc, variables: [t850]}")
    assert "a.nc: level: 850 hPa cannot be found from one level; fetch those around it" in line


def test_values_that_are_missing(refused, tmp_path):
    dataset = dataset_of(HOURS)
    dataset["t2m"][30, 2, 2] = np.nan
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    line = refused("{path: a.nc, variables: [t2m]}", "--buffer_hours", 0, "--shares", "[0.5, 0.25, 0.25]")
    assert "t2m: has values that are missing or infinite at 2013-01-31T06" in line


def test_files_on_two_grids(refused, tmp_path):
    write_netcdf(tmp_path / "a.nc", HOURS[:60])
    other = dataset_of(HOURS[60:])
    other.assign_coords(lat=other["lat"] + 0.25).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    assert "lies on another grid than" in refused("{path: '*.nc', variables: [t2m]}")


def test_model_levels_without_the_pressure_at_the_ground(refused, tmp_path):
    tree = write_tree(tmp_path / "era5", HOURS[:3])
    pv = (0.0, 5000.0, 10000.0, 0.0, 0.0, 0.1, 0.6, 1.0)
    for hour, path in enumerate(sorted(tree.rglob("*_ml.grb"))):
        time = START + pd.Timedelta(hours=hour)
        levels = [write_first(truth_of(hour), time, 130, kind=109, level=level, pv=pv) for level in (2, 3)]
        path.write_bytes(b"".join(levels))
    line = refused("{path: era5, variables: [t850]}")
    assert "_ml.grb: tells no pressure at the ground of 2013-01-30T00, which model levels need" in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{path: b.nc, variables: [t2m]}", "own.yaml: there is no file b.nc; check the path"),
        ("{variables: [t2m]}", "own.yaml: lacks path"),
        ("{path: a.nc, variables: []}", "variables is []; give names such as"),
        (
            "{path: a.nc, variables: {t2m: {level: 850}}}",
            "level is not known; known are name, level_hpa, units",
        ),
        ("{path: a.nc, variables: {../t2m: t2m}}", "names a file to be written"),
        ("{path: a.nc, variables: [t2m], steps: 3}", "steps is not known"),
    ],
)
def test_a_file_yaml_that_does_not_fit(refused, era5, content, words):
    assert words in refused(content)


def test_sandbox_options_that_do_not_fit(capsys, tmp_path):
    words = ["temperature_forecast", "prepare", "--out", str(tmp_path / "out")]
    for more, told in (
        (["--days", "3"], "--days: 3 leave 11 hours of validation; give more, for 24 hours at least"),
        (["--world", "blobs", "--wind", "two_valued"], "--world: blobs know no --wind"),
        (["--shares", "[0.9, 0.2, 0.1]"], "--shares: are 0.9 0.2 0.1"),
        (
            ["--tree", "true"],
            "the sandbox draws each split by itself; leave out --split, --fold, --extracted",
        ),
        (["--cells", "2"], "--cells: is 2; give at least 4"),
        (["--margin_cells", "-1"], "--margin_cells: is -1; give at least 0"),
    ):
        capsys.readouterr()
        assert main([*words, *more]) == 2
        assert told in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
