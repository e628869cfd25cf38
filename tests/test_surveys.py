"""Surveys read through their pipelines; expected values by pyproj and by hand."""

import json
import zipfile

import numpy as np
import pyproj
import pytest
from made_surveys import CRESIS, ROOT, SAME, TO_POLAR, read_rows, write_pipeline

from fieldwise.errors import InputError
from fieldwise.surveys import read_survey
from fieldwise.surveys.pipelines import load_pipeline

# --- reading ------------------------------------------------------------------------------------------


def test_longitude_and_latitude_become_metres(tmp_path):
    table = read_rows(tmp_path, "LON,LAT,Z\n0,-71,5\n90,-71,6\n", TO_POLAR, header="LON,LAT,Z")
    expected = pyproj.Proj("EPSG:3031")(0, -71)[1]
    assert expected == pytest.approx(2082760, abs=1)  # polar stereographic, true scale at 71 S
    np.testing.assert_allclose(table["x"], [0, expected], atol=1e-3)
    np.testing.assert_allclose(table["y"], [expected, 0], atol=1e-3)
    assert table["z"].tolist() == [5, 6]
    assert table.attrs["crs"] == "EPSG:3031"


def test_cresis_bed_is_elevation_less_bottom(tmp_path):
    text = f"{CRESIS}\n-75,-100,1,2,900.5,2009_1,300,1500.25,1\n-75,-101,1,2,900,2009_1,300,-9999.00,1\n"
    table = read_rows(
        tmp_path, text, TO_POLAR, header=CRESIS, na_values=-9999, converters={"Z": "ELEVATION-BOTTOM"}
    )
    assert table["z"].tolist() == [-599.75]  # 900.5 - 1500.25; the second row has no bottom


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("a - b", -1), ("-a", -2), ("+b", 3), ("2 * (a + b)", 10), ("b/a", 1.5),
        ("a-b-1", -2), ("a - (b - 1)", 0), ("1e3*a", 2000), ("z", 7), ("0.5", 0.5),
    ],
)  # fmt: skip
def test_converters_are_arithmetic(tmp_path, expression, value):
    table = read_rows(tmp_path, "x,y,a,b,z\n0,0,2,3,7\n", header="x,y,a,b,z", converters={"Z": expression})
    assert table["z"].tolist() == [value]


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')", "a.real", "a[0]", "abs(a)", "a if b else z", "a > b", "a ** b",
        "a // b", "lambda: 1", "'text'", "True", "1j", "a,b", "a; b", "", "(a", "-" * 9999 + "a", 5, None,
    ],
)  # fmt: skip
def test_anything_but_arithmetic_is_refused(tmp_path, expression):
    with pytest.raises(
        InputError, match=r"survey.json: step 1 \(readers.text\): converters holds "
    ) as caught:
        read_rows(tmp_path, "x,y,a,b,z\n", header="x,y,a,b,z", converters={"Z": expression})
    assert repr(str(expression)[:80]) in str(caught.value)


def test_division_by_zero_leaves_the_row_out(tmp_path):
    table = read_rows(tmp_path, "x,y,t\n0,0,4\n1,1,0\n", header="x,y,t", converters={"Z": "8/t"})
    assert table["z"].tolist() == [2]


def test_several_files_come_in_the_order_of_their_names(tmp_path):
    for name, z in (("2007t2.txt", 2), ("2007t1.txt", 1), ("2008t1.txt", 9)):
        (tmp_path / name).write_text(f"x\ty\tz\n0\t0\t{z}\n")
    table = read_survey(write_pipeline(tmp_path, filename="2007t?.txt", separator="\t", header="x\ty\tz"))
    assert table["z"].tolist() == [1, 2]
    assert table.index.tolist() == [0, 1]


def test_a_zip_stands_for_its_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "flights.zip", "w") as archive:
        archive.writestr("../W02.xyz", "title\n  3 4   5\n")
        archive.writestr("W01.xyz", "title\n0 1 2\n0 1 *\n")
    before = sorted(tmp_path.parent.iterdir())
    path = write_pipeline(tmp_path, filename="flights.zip", separator="\\s+", header="x y z", na_values="*")
    assert read_survey(path).to_numpy().tolist() == [[3, 4, 5], [0, 1, 2]]
    assert sorted(tmp_path.parent.iterdir()) == before


def test_missing_values_and_incomplete_rows_are_left_out(tmp_path):
    text = "x,y,z\n1,1,-9999\n2,2,\n3,3,none\n4,4,4\n\n5,5\n6,nan,6\n7,7,inf\n8,8,-9999.0\n9,9,9"
    assert read_rows(tmp_path, text, na_values=[-9999, "none"])["x"].tolist() == [4, 9]


@pytest.mark.parametrize("separator", [" ", r"\s+"])
def test_white_space_may_be_of_any_width(tmp_path, separator):
    table = read_rows(tmp_path, "title\n 1   2 3\n4\t5  6 \n", separator=separator, header=r"x\s+y\s+z")
    assert table.to_numpy().tolist() == [[1, 2, 3], [4, 5, 6]]


def test_comments_on_top_do_not_count_as_rows(tmp_path):
    text = "#project: made\n#units: m\nlongitude,latitude,bed\n0,-80,1\n"
    table = read_rows(tmp_path, text, TO_POLAR, comment="#", header="lon,lat,bed", converters={"Z": "bed"})
    assert table["z"].tolist() == [1]


def test_usecols_and_dropcols_choose_between_columns(tmp_path):
    text = "X,Y,x,y,Z\n0,-80,111,222,1\n"
    for choice in ({"usecols": ["x", "y", "Z"]}, {"dropcols": "X,Y"}):
        assert read_rows(tmp_path, text, header="X,Y,x,y,Z", **choice)["x"].tolist() == [111]


def test_the_pipelines_of_the_real_surveys_are_valid():
    paths = sorted((ROOT / "highres").glob("*.json"))
    assert len(paths) >= 22
    assert {load_pipeline(path).out_srs for path in paths} == {"EPSG:3031"}


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[1]", "not a pipeline"), ('{"pipeline": []}', "not a pipeline"),
     ('{"pipeline": [3]}', "not a pipeline"), ("\x00", "not JSON"),
     ('{"pipeline": [{"type": "readers.las"}]}', "step 1 is 'readers.las'; readers.text is needed there")],
)  # fmt: skip
def test_files_that_are_no_pipelines(tmp_path, text, message):
    (tmp_path / "survey.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_survey(tmp_path / "survey.json")
    assert "survey.json" in str(caught.value)


def test_a_pipeline_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none.json: cannot be read \(No such file"):
        read_survey(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        ({"filename": "*.dat"}, r"no file matches '\*.dat'"),
        ({"filename": 3}, "filename is 3, but must be a file name or glob"),
        ({"seperator": ","}, "seperator is not known; known are filename, separator"),
        ({"separator": "::"}, "separator is '::', but must be one character"),
        ({"skip": "one"}, "skip is 'one', but must be a number of rows"),
        ({"skip": -1}, "skip is -1"),
        ({"skip": True}, "skip is True"),
        ({"header": None}, "header is None, but must be column names"),
        ({"header": "x,y,,z"}, "header holds"),
        ({"header": "x,y,z,z"}, "header names 'z' twice"),
        ({"header": "x,y,Z,z"}, "header has Z and z; name the one for z in usecols"),
        ({"header": "x,y,THICK"}, "header has no column for z; present are x, y, THICK; call one Z or"),
        ({"usecols": "x,y,BED"}, "usecols names the column 'BED'; present are x, y, z"),
        ({"usecols": "x,y"}, "no column for z; present are x, y;"),
        ({"dropcols": "z"}, "no column for z"),
        ({"dropcols": ["w"]}, "dropcols names the column 'w'"),
        ({"converters": {"Z": "TOP-z"}}, "converters names the column 'TOP'; present are x, y, z"),
        ({"converters": "Z"}, "converters is 'Z', but must be a table"),
        ({"na_values": {"z": 1}}, "na_values is {'z': 1}"),
        ({"na_values": [None]}, "na_values is "),
    ],
)
def test_readers_that_are_wrong(tmp_path, reader, message):
    with pytest.raises(InputError, match=message) as caught:
        read_rows(tmp_path, "x,y,z\n0,0,0\n", **reader)
    assert "survey.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{**SAME, "in_srs": "EPSG:99999"}], r"step 2 \(filters.reprojection\): in_srs is an unknown CRS"),
        ([{**SAME, "out_srs": "mars"}], "out_srs is an unknown CRS 'mars'"),
        ([{"type": "filters.reprojection", "in_srs": "EPSG:3031"}], "out_srs is missing; give a CRS"),
        ([{"type": "filters.range"}], "step 2 is 'filters.range'; filters.reprojection is needed there"),
        ([SAME, {"type": "writers.gdal"}], "step 3 is 'writers.gdal'; the only steps are readers.text and"),
    ],
)
def test_projections_that_are_wrong(tmp_path, steps, message):
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path, "x,y,z\n0,0,0\n", *steps)


def test_a_pipeline_without_a_crs(tmp_path):
    path = write_pipeline(tmp_path)
    path.write_text(json.dumps({"pipeline": json.loads(path.read_text())["pipeline"][:1]}))
    with pytest.raises(InputError, match=r"no CRS; add the step filters.reprojection"):
        read_survey(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,z\n", r"no valid row in \*.csv"),
        ("", r"no valid row in \*.csv"),
        ("x,y,z\n1,2,\n", "no valid row"),
        ("x,y,z\n1,2,3\n1,2,deep\n", r"picks.csv: row 3, column z: 'deep' is no number"),
        ("x,y,z\n\n1,2,3\nTrue,2,3\n", r"picks.csv: row 4, column x: 'True' is no number"),
        ("x,z\n1,2\n", "has 2 columns where survey.json names 3, lacks y; its first row is '1,2'"),
        ("x y z\n1 2 3\n", "has 1 columns where survey.json names 3"),
        ("y,x,z\n1,2,3\n", "column x stands elsewhere than survey.json says .the file's order is y, x, z."),
        ('x,y,z\n1,2,3\n1,"2,3\n', "picks.csv: not a table"),
    ],
)
def test_tables_that_are_wrong(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_rows(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_row_with_too_many_values(tmp_path):
    with pytest.raises(InputError, match=r"picks.csv: row 3 has more values than the 3 columns"):
        read_rows(tmp_path, "x,y,z\n1,2,3\n1,2,3,4\n")


def test_swapped_columns_are_found_where_they_leave_the_earth(tmp_path):
    with pytest.raises(
        InputError, match=r"1 of 2 picks have no place in EPSG:3031 .*columns of x and y swapped"
    ):
        read_rows(tmp_path, "x,y,z\n-75,-80,1\n-75,-100,1\n", TO_POLAR)


def test_a_zip_that_is_none(tmp_path):
    (tmp_path / "a.zip").write_text("truncated")
    with pytest.raises(InputError, match=r"a.zip: cannot be read .*download it again"):
        read_survey(write_pipeline(tmp_path, filename="a.zip"))
