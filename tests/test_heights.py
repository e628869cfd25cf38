"""Heights above one datum: geoids of known height, sums by hand."""

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.datums import ELLIPSOID
from fieldwise.fields.entries import open_entry
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid, make_field
from fieldwise.fields.heights import Heights, open_geoid, open_geoids, settle_datum
from fieldwise.fields.rasters import write_cog, write_netcdf
from fieldwise.fields.tiles import cut

CRS = "EPSG:3031"
GRID = Grid(0, 0, 6000, 4000, 1000, CRS)
GEOID = "EIGEN-GL04C geoid"
BOX = GRID.bounds


def constant(value, *, grid=GRID, **attributes):
    return make_field(np.full(grid.shape, value, "float32"), grid, name="made", **attributes)


def write_raster(path, values, *, crs=CRS, west=0.0, north=4000.0, spacing=1000.0, **tags):
    """Write with nothing but rasterio, as other systems would."""
    transform = rasterio.transform.from_origin(west, north, spacing, spacing)
    height, width = values.shape
    crs = rasterio.CRS.from_wkt(pyproj.CRS(crs).to_wkt())
    with rasterio.open(
        path, "w", "GTiff", width, height, 1, dtype="float32", transform=transform, crs=crs
    ) as file:
        file.write(values.astype("float32"), 1)
        file.update_tags(**tags)
    return path


# --- what a file says, and what is written --------------------------------------------------------


@pytest.mark.parametrize(
    ("crs", "datum"), [("EPSG:3031+5773", "EGM96 geoid"), ("EPSG:3031+3855", "EGM2008 geoid"), (CRS, None)]
)
def test_a_compound_crs_tells_the_datum(tmp_path, crs, datum):
    field = open_field(write_raster(tmp_path / "bed.tif", np.ones((4, 6)), crs=crs))
    assert field.attrs.get("vertical_datum") == datum
    assert pyproj.CRS(field.rio.crs) == pyproj.CRS(CRS)
    stated = open_field(write_raster(tmp_path / "plain.tif", np.ones((4, 6))), crs=crs)
    assert stated.attrs.get("vertical_datum") == datum


@pytest.mark.parametrize("datum", [ELLIPSOID, GEOID])
def test_the_datum_is_kept_on_writing(tmp_path, datum):
    field = constant(1.0, vertical_datum=datum)
    write_cog(field, tmp_path / "a.tif")
    write_netcdf(field, tmp_path / "a.nc")
    field.to_dataset().to_zarr(tmp_path / "a.zarr", zarr_format=2)
    with rasterio.open(tmp_path / "a.tif") as opened:
        assert opened.tags()["vertical_datum"] == datum
    for name in ("a.tif", "a.nc", "a.zarr"):
        assert open_field(tmp_path / name).attrs["vertical_datum"] == datum
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as opened:
        assert opened["made"].attrs["vertical_datum"] == datum


def test_words_that_name_no_datum_say_nothing(tmp_path):
    path = write_raster(tmp_path / "bed.tif", np.ones((4, 6)), vertical_datum="mean sea level, more or less")
    assert "vertical_datum" not in open_field(path).attrs


def test_a_file_that_contradicts_itself(tmp_path):
    path = write_raster(tmp_path / "bed.tif", np.ones((4, 6)), crs="EPSG:3031+5773", vertical_datum=GEOID)
    with pytest.raises(InputError, match=rf"bed\.tif: its CRS names the EGM96 geoid, .* the {GEOID}"):
        open_field(path)


def test_an_entry_that_contradicts_its_file(tmp_path):
    write_raster(tmp_path / "bed.tif", np.ones((4, 6)), crs="EPSG:3031+5773")
    with pytest.raises(InputError, match=r"bed\.tif: counts from the EGM96 geoid by its own account"):
        open_entry({"path": "bed.tif", "datum": "ellipsoid"}, folder=tmp_path, crs=CRS)
    same = open_entry({"path": "bed.tif", "datum": "geoid EGM96"}, folder=tmp_path, crs=CRS)[0]
    assert same.attrs["vertical_datum"] == "EGM96 geoid"


# --- conversion -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "wanted", "expected"),
    [
        (GEOID, ELLIPSOID, 530.0),  # 500 m above a geoid that lies 30 m above the ellipsoid
        (ELLIPSOID, GEOID, 470.0),
        (GEOID, "EGM2008 geoid", 542.0),  # 30 m up to the ellipsoid's count, and 12 m more
        (GEOID, GEOID, 500.0),
        (None, ELLIPSOID, 500.0),
        (GEOID, None, 500.0),
    ],
)
@pytest.mark.parametrize("chunks", [None, 2])
def test_constant_geoids(stated, wanted, expected, chunks):
    heights = Heights(wanted, {GEOID: constant(30.0), "EGM2008 geoid": constant(-12.0)})
    bed = constant(500.0, vertical_datum=stated)
    brought = heights.bring(bed if chunks is None else bed.chunk(chunks))
    np.testing.assert_array_equal(brought.values, np.full(GRID.shape, expected))
    assert brought.attrs.get("vertical_datum") == (wanted or stated)
    assert brought.attrs["units"] == "m"


def test_a_geoid_is_interpolated_between_its_cells():
    """On the plane 0.01 x the geoid has 5 m at x = 500, whatever its spacing."""
    coarse = Grid(-4000, -4000, 12_000, 8000, 4000, CRS)
    plane = make_field(np.tile(0.01 * coarse.x, (3, 1)).astype("float32"), coarse, name="geoid")
    brought = Heights(ELLIPSOID, {GEOID: plane}).bring(constant(0.0, vertical_datum=GEOID).chunk(3))
    np.testing.assert_allclose(brought.values, np.tile([5, 15, 25, 35, 45, 55], (4, 1)), atol=1e-5)


def test_nothing_is_read_before_it_is_asked_for():
    import dask.array

    lazy = dask.array.full((40_000, 50_000), 500.0, chunks=1000, dtype="float32")
    grid = Grid(0, 0, 50_000, 40_000, 1, CRS)
    bed = make_field(lazy, grid, name="bed", vertical_datum=GEOID)
    geoid = constant(30.0, grid=Grid(-1000, -1000, 51_000, 41_000, 1000, CRS))
    brought = Heights(ELLIPSOID, {GEOID: geoid}).bring(bed)
    assert (cut(brought, [(20_000, 9000, 20_020, 9010)], spacing=1) == 530).all()


def test_missing_heights_stay_missing_and_need_no_geoid():
    values = np.full(GRID.shape, 500.0, "float32")
    values[:, 3:] = np.nan
    geoid = constant(30.0, grid=Grid(0, 0, 3000, 4000, 1000, CRS))
    bed = make_field(values, GRID, name="bed", vertical_datum=GEOID)
    brought = Heights(ELLIPSOID, {GEOID: geoid}).bring(bed).values
    np.testing.assert_array_equal(brought[:, :3], 530)
    assert np.isnan(brought[:, 3:]).all()


def test_a_geoid_that_does_not_cover_the_heights():
    geoid = constant(30.0, grid=Grid(0, 0, 3000, 4000, 1000, CRS))
    geoid.encoding["source"] = "geoid.tif"
    bed = constant(500.0, vertical_datum=GEOID)
    bed.encoding["source"] = "bed.tif"
    with pytest.raises(InputError, match=r"geoid\.tif: does not cover bed\.tif at x 3500, y 3500"):
        Heights(ELLIPSOID, {GEOID: geoid}).bring(bed).load()


@pytest.mark.parametrize("height", [3000.0, -2500.0])
def test_a_geoid_in_centimetres_or_no_geoid_at_all(height):
    geoid = constant(height)
    with pytest.raises(InputError, match=f"made: holds {abs(height):.0f}, but no geoid is farther than"):
        Heights(ELLIPSOID, {GEOID: geoid}).bring(constant(500.0, vertical_datum=GEOID)).load()


# --- geoid files ----------------------------------------------------------------------------------


def test_geoid_files_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match=r"gone\.tif: no such file"):
        open_geoid({"path": "gone.tif"}, folder=tmp_path, crs=CRS, bounds=BOX)
    write_cog(constant(30.0, units="cm"), tmp_path / "cm.tif")
    with pytest.raises(InputError, match=r"cm\.tif: is in cm; .* wanted in metres"):
        open_geoid({"path": "cm.tif"}, folder=tmp_path, crs=CRS, bounds=BOX)
    write_cog(constant(30.0), tmp_path / "here.tif")
    with pytest.raises(InputError, match=r"here\.tif: does not cover \(90000, 0, 99000, 9000\)"):
        open_geoid({"path": "here.tif"}, folder=tmp_path, crs=CRS, bounds=(90e3, 0, 99e3, 9e3))
    content = (tmp_path / "here.tif").read_bytes()
    (tmp_path / "half.tif").write_bytes(content[: len(content) // 2])
    for crs, bounds in ((CRS, BOX), ("EPSG:32702", (4e5, 1e6, 5e5, 1.1e6))):
        with pytest.raises(InputError, match=r"half\.tif: reading breaks off"):
            open_geoid({"path": "half.tif"}, folder=tmp_path, crs=crs, bounds=bounds)
    (tmp_path / "text.tif").write_text("30 m")
    with pytest.raises(InputError, match=r"text\.tif: cannot be read"):
        open_geoid({"path": "text.tif"}, folder=tmp_path, crs=CRS, bounds=BOX)


def globe(spacing, *, first, rows_from):
    """Give a geoid of 40 sin(2 lon) cos(lat) + 10 metres over the whole globe, in cells of some degrees."""
    longitude = first + spacing * np.arange(round(360 / spacing))
    latitude = rows_from - spacing * np.arange(round(180 / spacing))
    lon, lat = np.meshgrid(np.radians(longitude), np.radians(latitude))
    return 40 * np.sin(2 * lon) * np.cos(lat) + 10


@pytest.mark.parametrize("first", [-179.75, 0.25])
@pytest.mark.parametrize("at", [(0.0, 0.0), (0.0, -1.5e6), (0.0, 1.5e6), (-1.5e6, 0.0), (-1.6e6, -0.3e6)])
def test_a_global_geoid_in_degrees(tmp_path, first, at):
    """Counted from -180 or from 0 degrees, at the pole and across the date line: the closed form."""
    values = globe(0.5, first=first, rows_from=89.75)
    path = write_raster(
        tmp_path / "globe.tif", values, crs="EPSG:4326", west=first - 0.25, north=90, spacing=0.5
    )
    west, south = at[0] - 100e3, at[1] - 100e3
    grid = Grid(west, south, west + 200e3, south + 200e3, 10e3, CRS)
    geoid = open_geoid({"path": path.name}, folder=tmp_path, crs=CRS, bounds=grid.bounds)
    found = cut(geoid, [grid.bounds], spacing=10e3)[0]
    x, y = np.meshgrid(grid.x, grid.y)
    lon, lat = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    expected = 40 * np.sin(2 * np.radians(lon)) * np.cos(np.radians(lat)) + 10
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_geoids_have_names(tmp_path):
    write_cog(constant(30.0), tmp_path / "a.tif")
    write_cog(constant(-12.0), tmp_path / "b.tif")
    keys = {"folder": tmp_path, "crs": CRS, "bounds": BOX}
    alone = open_geoids({"path": "a.tif"}, named=[GEOID], **keys)
    assert list(alone) == [GEOID]
    both = [{"path": "a.tif", "name": "EIGEN-GL04C"}, {"path": "b.tif", "name": "EGM2008 geoid"}]
    opened = open_geoids(both, named=[GEOID], **keys)
    assert {name: float(field[0, 0]) for name, field in opened.items()} == {GEOID: 30, "EGM2008 geoid": -12}
    with pytest.raises(InputError, match=r"a\.tif: which geoid is it\? Add its `name`"):
        open_geoids({"path": "a.tif"}, named=[GEOID, "EGM2008 geoid"], **keys)


# --- settling -------------------------------------------------------------------------------------


def test_what_is_settled_on():
    """What is asked for; else the ellipsoid where a geoid leads there; else what the files agree on."""
    mixed = {"a": GEOID, "b": ELLIPSOID, "c": None}
    assert settle_datum(mixed, wanted=ELLIPSOID, geoids={GEOID: 0}) == ELLIPSOID
    assert settle_datum(mixed, wanted=GEOID, geoids={GEOID: 0}) == GEOID
    assert settle_datum(mixed, geoids={GEOID: 0}) == ELLIPSOID
    assert settle_datum({"a": GEOID, "c": None}) == GEOID
    assert settle_datum({"a": None}) is None
    assert settle_datum({"a": None}, wanted=GEOID) == GEOID


@pytest.mark.parametrize(
    ("stated", "wanted", "geoids", "message"),
    [
        (
            {"bed.tif": GEOID, "dem.tif": ELLIPSOID}, None, {},
            f"bed.tif: heights above the {GEOID}, dem.tif: above the {ELLIPSOID}; these cannot be mixed: "
            "name the geoid's height above the ellipsoid in the FILE.yaml, "
            "`geoid: {path: FILE, name: EIGEN-GL04C}`",
        ),
        (
            {"bed.tif": GEOID}, ELLIPSOID, {},
            f"bed.tif: heights above the {GEOID}, `datum` asks for the {ELLIPSOID}; these cannot be mixed",
        ),
        (
            {"bed.tif": GEOID, "dem.tif": ELLIPSOID}, None, {"EGM96 geoid": 0},
            "{path: FILE, name: EIGEN-GL04C}",
        ),
        ({"bed.tif": GEOID}, "EGM96 geoid", {GEOID: 0}, "{path: FILE, name: EGM96}"),
    ],
)  # fmt: skip
def test_mixing_is_an_error_that_names_the_files(stated, wanted, geoids, message):
    with pytest.raises(InputError) as caught:
        settle_datum(stated, wanted=wanted, geoids=geoids)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
