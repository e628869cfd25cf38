"""Steps of survey_to_grid.feature."""

import json

import numpy as np
import pandas as pd
import pytest
from pytest_bdd import given, parsers, scenarios, then, when

from fieldwise.errors import InputError
from fieldwise.surveys import grid_survey, read_survey

scenarios("survey_to_grid.feature")

CRESIS = "LAT,LON,UTCTIMESOD,THICK,ELEVATION,FRAME,SURFACE,BOTTOM,QUALITY"


def write_pipeline(folder, filename, header, *, in_srs="EPSG:3031", **reader):
    reader = {"type": "readers.text", "filename": filename, "skip": 1, "header": header, **reader}
    projection = {"type": "filters.reprojection", "in_srs": in_srs, "out_srs": "EPSG:3031"}
    (folder / "flight.json").write_text(json.dumps({"pipeline": [reader, projection]}))


def picks_at(x, y, z):
    table = pd.DataFrame({"x": np.ravel(x), "y": np.ravel(y), "z": np.ravel(z)}, dtype=float)
    table.attrs["crs"] = "EPSG:3031"
    return table


@given("a flight of 10 km along the meridian 0 from 71 degrees south with a bed at -600 m")
def _(tmp_path):
    degrees = -71 - np.arange(0, 10_000, 50) / 111_600  # length of a degree of latitude near 71 S
    table = pd.DataFrame({"LON": 0.0, "LAT": degrees, "BED": -600.0})
    table.to_csv(tmp_path / "flight.csv", index=False)


@given("a pipeline that projects it from EPSG:4326 to EPSG:3031")
def _(tmp_path):
    write_pipeline(tmp_path, "flight.csv", "LON,LAT,BED", in_srs="EPSG:4326", converters={"Z": "BED"})


@given("a CReSIS file whose aircraft is at 900 m and whose range to the bottom is 1500 m")
def _(tmp_path):
    rows = [f"-75.{i},-100.{i},3600,1200,900,2009101601001,300,1500,1" for i in range(10)]
    (tmp_path / "flight.csv").write_text("\n".join([CRESIS, *rows]))


@given("a pipeline with the converter Z = ELEVATION-BOTTOM")
def _(tmp_path):
    write_pipeline(tmp_path, "flight.csv", CRESIS, in_srs="EPSG:4326", converters={"Z": "ELEVATION-BOTTOM"})


@given("five picks of 10, 11, 12, 13 and 900 m in one cell of 250 m", target_fixture="survey")
def _():
    return picks_at([125] * 5, [125] * 5, [10, 900, 12, 11, 13])


@given(parsers.parse("two parallel flights {gap:d} m apart"), target_fixture="survey")
def _(gap):
    along = np.arange(25, 10_000, 50)
    x, y = np.meshgrid(along, [125, 125 + gap])
    return picks_at(x, y, 0 * x)


@given("flights 1 km apart over a bed that falls by 20 m each km", target_fixture="survey")
def _():
    x, y = np.meshgrid(np.arange(25, 10_000, 50), np.arange(125, 10_000, 1000))
    return picks_at(x, y, -0.02 * x)


@given("the files 2007t1.txt, 2007t2.txt and istar07.txt with 10 picks each")
def _(tmp_path):
    for name in ("2007t1.txt", "2007t2.txt", "istar07.txt"):
        (tmp_path / name).write_text("x\ty\tz\n" + "0\t0\t-5\n" * 10)


@given("a pipeline for 2007t?.txt")
def _(tmp_path):
    write_pipeline(tmp_path, "2007t?.txt", "x\ty\tz", separator="\t")


@given("the file lacks the column BED")
def _(tmp_path):
    (tmp_path / "flight.csv").write_text("LON,LAT\n0,-71\n")


@given("the file has text for a bed")
def _(tmp_path):
    (tmp_path / "flight.csv").write_text("LON,LAT,BED\n0,-71,-600\n0,-71.1,deep\n")


@given("the file has only missing values")
def _(tmp_path):
    (tmp_path / "flight.csv").write_text("LON,LAT,BED\n0,-71,\n0,,-600\n")


@given("the file is gone")
def _(tmp_path):
    (tmp_path / "flight.csv").unlink()


@given("the pipeline names no CRS")
def _(tmp_path):
    steps = json.loads((tmp_path / "flight.json").read_text())["pipeline"]
    (tmp_path / "flight.json").write_text(json.dumps({"pipeline": steps[:1]}))


@given("the pipeline names the CRS Mars")
def _(tmp_path):
    write_pipeline(tmp_path, "flight.csv", "LON,LAT,BED", in_srs="Mars", converters={"Z": "BED"})


@given("the pipeline is no JSON")
def _(tmp_path):
    (tmp_path / "flight.json").write_text("pipeline: flight.csv")


@given("the pipeline runs a command")
def _(tmp_path):
    command = {"Z": "__import__('os').system('true')"}
    write_pipeline(tmp_path, "flight.csv", "LON,LAT,BED", in_srs="EPSG:4326", converters=command)


@when("I read the survey", target_fixture="survey")
def _(tmp_path):
    return read_survey(tmp_path / "flight.json")


@when("I read the survey and grid it at 250 m", target_fixture="grid")
def _(tmp_path):
    return grid_survey(read_survey(tmp_path / "flight.json"), spacing=250)


@when("I grid them at 250 m", target_fixture="grid")
def _(survey):
    return grid_survey(survey, spacing=250)


@when("I try to read the survey", target_fixture="complaint")
def _(tmp_path):
    with pytest.raises(InputError) as caught:
        read_survey(tmp_path / "flight.json")
    return str(caught.value)


@then("the grid is in EPSG:3031 with cells of 250 m")
def _(grid):
    assert grid.rio.crs.to_epsg() == 3031
    assert np.diff(grid["x"]).tolist() == [250.0] * (grid.sizes["x"] - 1)
    assert np.diff(grid["y"]).tolist() == [-250.0] * (grid.sizes["y"] - 1)


@then("its northern edge is at 2083 km, the first edge of a cell beyond the first pick")
def _(grid):
    # 71 S on the meridian 0 is at y = 2082760 m; the next edge of a 250 m cell to the north is 2083000 m
    assert float(grid["y"][0]) + 125 == 2_083_000


@then("the bed is -600 m wherever there is one")
def _(grid):
    assert int(grid.notnull().sum()) >= 40  # 10 km of cells
    assert float(np.abs(grid + 600).max()) < 0.01


@then("every pick is at -600 m")
def _(survey):
    assert survey["z"].tolist() == [-600.0] * 10


@then("that cell is at 12 m")
def _(grid):
    assert float(grid.sel(x=125, y=125)) == pytest.approx(12, abs=0.01)


@then(parsers.parse("the cells halfway between them are {state}"))
def _(grid, state):
    middle = grid.sel(y=(grid["y"][0] + grid["y"][-1]) / 2, method="nearest")
    assert bool(middle.notnull().all()) == (state == "known")
    assert bool(middle.isnull().all()) == (state == "missing")


@then("the grid falls by 20 m each km too")
def _(grid):
    fall = grid.values[:, 4:] - grid.values[:, :-4]  # four cells are one km
    np.testing.assert_allclose(fall, -20, atol=0.05)


@then(parsers.parse("it has {count:d} picks"))
def _(survey, count):
    assert len(survey) == count
