"""Steps of vertical_datum.feature."""

import numpy as np
import pytest
import xarray as xr
import yaml
from pytest_bdd import given, parsers, scenarios, then, when

from conftest import CORNER_X, CORNER_Y, SIZE_M, hills
from fieldwise.errors import InputError
from fieldwise.fields.datums import parse_datum
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.judgement import score_map
from fieldwise.recipes.bed_topography.regions.region import open_region

scenarios("vertical_datum.feature")

BOX = (CORNER_X, CORNER_Y, CORNER_X + SIZE_M, CORNER_Y + SIZE_M)
GEOID = "EIGEN-GL04C"


def read(file):
    return yaml.safe_load(file.read_text())


def edit(file, **keys):
    file.write_text(yaml.safe_dump(read(file) | keys))


def entry_of(source, name):
    """Give the entry of a FILE.yaml that a scientist's word stands for."""
    return {
        "low-res bed": source["inputs"]["bed_lowres"],
        "surface": source["inputs"]["surface_elevation"],
        "survey": source["surveys"][0],
        "held-out": source["held_out"]["surveys"][0],
    }[name]


def write_geoid(file, height=-30.0, *, box=BOX, units="m"):
    grid = Grid.around((box[0] - 5000, box[1] - 5000, box[2] + 5000, box[3] + 5000), 5000, "EPSG:3031")
    field = make_field(np.full(grid.shape, height, "f4"), grid, name="geoid", units=units)
    write_cog(field, file.parent / "geoid.tif")


@pytest.fixture
def told():
    """Lines that were shown while preparing."""
    return []


@given("a user's own files, all of them above the ellipsoid", target_fixture="file")
def _(own_files):
    source = read(own_files)
    source["surveys"] = [{"path": "dense.json"}]
    source["held_out"]["surveys"] = [{"path": "judge.json"}]
    for name in ("low-res bed", "surface", "survey", "held-out"):
        entry_of(source, name)["datum"] = "ellipsoid"
    own_files.write_text(yaml.safe_dump(source))
    return own_files


@given("a geoid raster EIGEN-GL04C that lies -30 m from the ellipsoid everywhere")
def _(file):
    write_geoid(file)


@given(parsers.re(r"the (?P<name>low-res bed|surface|survey|held-out) counts from (?P<datum>.+)"))
def _(file, name, datum):
    source = read(file)
    entry_of(source, name)["datum"] = datum
    file.write_text(yaml.safe_dump(source))


@given("the geoid raster is named")
def _(file):
    edit(file, geoid={"path": "geoid.tif", "name": GEOID})


@given(parsers.parse("the map is to count from {datum}"))
def _(file, datum):
    edit(file, datum=datum)


@given("it is not there")
def _(file):
    (file.parent / "geoid.tif").unlink()


@given("it covers half of the bed")
def _(file):
    write_geoid(file, box=(BOX[0], BOX[1], BOX[0] + SIZE_M / 2, BOX[3]))


@given("it lies elsewhere")
def _(file):
    write_geoid(file, box=(0, 0, SIZE_M, SIZE_M))


@given("it is in centimetres")
def _(file):
    write_geoid(file, -3000.0, units="cm")


@given("it holds the elevation of the bed")
def _(file):
    write_geoid(file, -480.0)


@given("it is another one, EGM2008")
def _(file):
    edit(file, geoid={"path": "geoid.tif", "name": "EGM2008"})


@given(parsers.parse("{who} says what it counts from"))
def _(file, who):
    source = read(file)
    for name in ("low-res bed", "surface", "survey", "held-out"):
        if who == "no file" or name != "surface":
            del entry_of(source, name)["datum"]
    file.write_text(yaml.safe_dump(source))


@given(
    parsers.parse(
        "a survey that flew when the surface was {lowering:d} m higher, and knows the ice thickness"
    )
)
def _(file, lowering):
    """The bed sank with the surface since: of the same thickness, it was as much higher then."""
    grid = Grid(*BOX, 100, "EPSG:3031")
    write_cog(make_field(np.full(grid.shape, 900.0, "f4"), grid, name="surface"), file.parent / "surface.tif")
    pipeline, table = file.parent / "dense.json", file.parent / "dense.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    text = "X,Y,THICK,ELEVATION,BOTTOM\n"
    for x, y, elevation, bottom in rows:
        thickness = 900 - float(hills(float(x), float(y)))
        text += f"{x},{y},{thickness},{float(elevation) + lowering},{bottom}\n"
    table.write_text(text)
    old, new = '["X", "Y", "ELEVATION", "BOTTOM"]', '["X", "Y", "THICK", "ELEVATION", "BOTTOM"]'
    pipeline.write_text(pipeline.read_text().replace(old, new))


@given(parsers.parse("its bed is to come from {source}"))
def _(file, source):
    edit(file, surveys=[{"path": "dense.json", "bed_from": source}])


@given("the sandbox, prepared to count from the ellipsoid", target_fixture="dataset")
def _(sandbox):
    dataset = open_region(sandbox)
    dataset.facts["vertical_datum"] = "WGS84 ellipsoid"
    return dataset


@given(parsers.parse("a map of it that counts from {datum}"), target_fixture="drawn")
def _(dataset, tmp_path, datum):
    bed = dataset.open("truth").load()
    return write_cog(bed.assign_attrs(vertical_datum=parse_datum(datum)), tmp_path / "map.tif")


@when("I prepare them", target_fixture="dataset")
def _(file, tmp_path, told, capsys):
    data = bed_topography.prepare(source=str(file), out=tmp_path / "data", step_cells=8, progress=False)
    told += capsys.readouterr().out.splitlines()
    return open_region(data)


@when("I try to prepare them", target_fixture="complaint")
def _(file, tmp_path):
    with pytest.raises(InputError) as caught:
        bed_topography.prepare(source=str(file), out=tmp_path / "data", progress=False)
    assert not (tmp_path / "data").exists()
    return str(caught.value)


@when("I try to judge it", target_fixture="complaint")
def _(dataset, drawn):
    with pytest.raises(InputError) as caught:
        score_map(dataset, drawn)
    return str(caught.value)


@then(parsers.parse("the heights of the low-res bed are changed by {metres:d} m"))
def _(dataset, file, metres):
    assert_changed(dataset.field("bed_lowres"), open_field(file.parent / "bed_lowres.tif"), metres)


def assert_changed(field, original, metres):
    np.testing.assert_allclose(field.values, original.values + metres, atol=1e-3)


@then(
    parsers.parse(
        "those of the surface by {surface:d} m, of the survey by {survey:d} m, "
        "of the held-out picks by {picks:d} m"
    )
)
def _(dataset, file, surface, survey, picks):
    assert_changed(dataset.field("surface_elevation"), open_field(file.parent / "surface.tif"), surface)
    assert_survey_changed(dataset, survey)
    with xr.open_dataset(dataset.folder / "held_out.nc", engine="h5netcdf") as held_out:
        expected = hills(held_out["x"].values, held_out["y"].values) + picks
        np.testing.assert_allclose(held_out["z"], expected, atol=0.01)


@then(parsers.parse("the heights of the survey are changed by {metres:d} m"))
def _(dataset, metres):
    assert_survey_changed(dataset, metres)


def assert_survey_changed(dataset, metres):
    """Picks lie on every kilometre; the spline between them is near the hills."""
    gridded = open_field(dataset.folder / "surveys" / "dense.tif")
    departure = gridded.values - hills(*np.meshgrid(gridded["x"], gridded["y"]))
    assert np.nanmedian(departure) == pytest.approx(metres, abs=0.5)


@then(parsers.parse("the folder, its rasters and its picks say that they count from {datum}"))
def _(dataset, datum):
    wanted = parse_datum(datum)
    assert dataset.facts["vertical_datum"] == wanted
    for name in ("inputs/bed_lowres", "inputs/surface_elevation", "surveys/dense"):
        assert open_field(dataset.folder / f"{name}.tif").attrs["vertical_datum"] == wanted
    with xr.open_dataset(dataset.folder / "held_out.nc", engine="h5netcdf") as held_out:
        assert held_out["z"].attrs["vertical_datum"] == wanted


@then(parsers.parse('I hear "{line}"'))
def _(told, line):
    assert any(line in heard for heard in told), told
