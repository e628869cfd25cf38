"""Frames as they come, brought into one order: orientation, slopes, resampling, masks, gaps."""

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from ice_flow_cases import SPACING, dome, open_cases, write_cases, write_netcdf
from scipy import ndimage

from fieldwise.errors import InputError
from fieldwise.physics.ice_flow.blatter_pattyn import WEIGHT, measure_geometry
from fieldwise.physics.ice_flow.slopes import derive_ice_slopes, derive_slopes
from fieldwise.recipes.ice_flow import prepare
from fieldwise.recipes.ice_flow.frames import resample_frame
from fieldwise.samples.prepared import SPLITS


def prepared(source, out, **options):
    return prepare(source=str(source), out=out, progress=False, **options)


def only_case(data):
    (case,) = open_cases(data)
    return case


@pytest.fixture
def one(tmp_path):
    """Give a function that writes a dataset as the only case of a source."""

    def write(dataset, name="source"):
        folder = tmp_path / name / "test" / "west"
        folder.mkdir(parents=True)
        write_netcdf(dataset, folder / "ex.nc")
        return tmp_path / name

    return write


@pytest.fixture
def glacier():
    return dome((20, 26), 2, np.random.default_rng(1))


def test_slopes_are_those_of_a_plane():
    x, y = np.arange(5) * 50.0, np.arange(4)[::-1] * 50.0
    slopes = derive_slopes(0.3 * x - 0.2 * y[:, None], 50.0)
    np.testing.assert_allclose(slopes[0], 0.3, rtol=1e-6)
    np.testing.assert_allclose(slopes[1], -0.2, rtol=1e-6)


@pytest.mark.parametrize("axis", ["y", "x"])
def test_a_file_and_its_flipped_twin_give_the_same(one, glacier, tmp_path, axis):
    twin = glacier.isel({axis: slice(None, None, -1)})
    first = only_case(prepared(one(glacier), tmp_path / "first"))
    second = only_case(prepared(one(twin, "twin"), tmp_path / "second"))
    assert first.variables == second.variables
    assert first.files == second.files
    for frame in range(2):
        both = (case.stack(first.files, frame=frame) for case in (first, second))
        np.testing.assert_array_equal(*both)
    assert first.grid == second.grid
    np.testing.assert_array_equal(first.frame_times, second.frame_times)


def test_rows_go_from_north_to_south_and_slopes_point_uphill(one, glacier, tmp_path):
    case = only_case(prepared(one(glacier), tmp_path / "data"))
    assert (np.diff(case.grid.y) < 0).all()
    np.testing.assert_array_equal(case.stack(["thk"])[0], glacier["thk"].values[0][::-1])
    east, north = case.stack(["slopsurfx", "slopsurfy"])
    by_xarray = glacier["usurf"].isel(time=0)
    expected = by_xarray.differentiate("y").isel(y=slice(None, None, -1)).values
    np.testing.assert_allclose(north[1:-1], expected[1:-1], atol=1e-5)
    np.testing.assert_allclose(east, by_xarray.differentiate("x").values[::-1], atol=1e-5)


def test_arrays_of_numpy_give_the_same_as_netcdf(one, glacier, tmp_path):
    folder = tmp_path / "arrays" / "test" / "west"
    folder.mkdir(parents=True)
    for name in [*glacier.data_vars, "x", "y", "time"]:
        np.save(folder / f"{name}.npy", glacier[name].values)
    first = only_case(prepared(one(glacier), tmp_path / "first"))
    second = only_case(prepared(tmp_path / "arrays", tmp_path / "second"))
    np.testing.assert_array_equal(*(case.stack(first.files, frame=1) for case in (first, second)))


def test_larger_cells_are_means_of_blocks_and_slopes_are_derived_anew(one, glacier, tmp_path):
    case = only_case(prepared(one(glacier), tmp_path / "data", resample=2))
    assert case.shape == (10, 13)
    assert case.spacing == 2 * SPACING
    whole = glacier["thk"].values[0][::-1]
    np.testing.assert_allclose(case.stack(["thk"])[0, 3, 5], whole[6:8, 10:12].mean(), rtol=1e-6)
    surface = case.stack(["usurf"])[0].astype(float)
    expected = (surface[4, 6] - surface[4, 4]) / (4 * SPACING)
    assert case.stack(["slopsurfx"])[0, 4, 5] == pytest.approx(expected, rel=1e-5)
    assert case.grid.x[0] == glacier["x"].values[:2].mean()


def test_smaller_cells_follow_cubic_splines_within_the_range_and_the_ice():
    x = np.arange(12.0)
    parabola = ((x - 5) ** 2)[None].repeat(12, axis=0)
    thickness = np.where(x > 5, 100.0, 0.0)[None].repeat(12, axis=0)
    finer = resample_frame({"usurf": parabola, "thk": thickness}, 0.5)
    centres = (np.arange(24) + 0.5) / 2 - 0.5
    # beside the edges a spline must guess
    np.testing.assert_allclose(finer["usurf"][10, 6:-6], ((centres - 5) ** 2)[6:-6], atol=0.05)
    assert finer["usurf"].min() >= parabola.min()
    assert (finer["thk"][:, :12] == 0).all()
    assert finer["thk"].max() == 100


@pytest.mark.parametrize("factor", [0, 1.5, -1, 0.3])
def test_odd_factors_are_refused(one, glacier, tmp_path, factor):
    with pytest.raises(InputError, match="--resample: is"):
        prepared(one(glacier), tmp_path / "data", resample=factor)


def test_every_third_frame(one, tmp_path):
    source = one(dome((12, 12), 8, np.random.default_rng(2)))
    case = only_case(prepared(source, tmp_path / "data", step=3))
    assert case.frames == 3
    assert case.frame_times.tolist() == [0, 30, 60]


def test_one_frame_without_a_time_dimension(one, glacier, tmp_path):
    case = only_case(prepared(one(glacier.isel(time=0, drop=True)), tmp_path / "data"))
    assert case.frames == 1
    assert case.stack(["thk"]).shape == (1, 20, 26)


def test_what_never_changes_serves_every_frame(one, glacier, tmp_path):
    glacier["topg"] = glacier["topg"].isel(time=0, drop=True)
    case = only_case(prepared(one(glacier), tmp_path / "data"))
    np.testing.assert_array_equal(case.stack(["topg"]), case.stack(["topg"], frame=1))


def test_a_mask_takes_the_ice_away(one, glacier, tmp_path):
    glacier["icemask"] = xr.where(glacier["x"] > glacier["x"].mean(), 1.0, 0.0) + 0 * glacier["thk"]
    case = only_case(prepared(one(glacier), tmp_path / "data"))
    assert (case.stack(["thk"])[0, :, :13] == 0).all()
    assert (case.stack(["thk"])[0, :, 13:] > 0).any()


def test_gaps_are_refused_with_file_variable_and_count_over_all_frames(one, glacier, tmp_path):
    glacier["ubar"].values[0, 3, 4:9] = np.nan
    glacier["ubar"].values[1, 3, 4:6] = np.inf
    glacier["thk"].values[1, 0, 0] = np.nan
    source = one(glacier)
    with pytest.raises(InputError) as caught:
        prepared(source, tmp_path / "data")
    message = str(caught.value)
    assert message.startswith(f"{source}/test/west/ex.nc: thk has 1, ubar has 7 missing values; ")
    assert not (tmp_path / "data").exists()
    assert only_case(prepared(source, tmp_path / "data", variables=["topg", "usurf"])).frames == 2


def test_gaps_are_told_file_by_file(glacier, tmp_path):
    folder = tmp_path / "source" / "test" / "west"
    folder.mkdir(parents=True)
    glacier["usurf"].values[1, 3, 4:9] = np.nan
    glacier["thk"].values[0, 0, 0] = np.nan
    for name in ("thk", "usurf", "x", "y"):
        np.save(folder / f"{name}.npy", glacier[name].values)
    with pytest.raises(InputError) as caught:
        prepared(tmp_path / "source", tmp_path / "data")
    assert f"{folder}/thk.npy: thk has 1; {folder}/usurf.npy: usurf has 5 missing" in str(caught.value)


def test_what_was_prepared_before_outlives_a_failure(one, glacier, tmp_path):
    data = prepared(one(glacier), tmp_path / "data")
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    glacier["ubar"].values[0, 0, 0] = np.nan
    with pytest.raises(InputError):
        prepared(one(glacier, "worse"), data)
    assert before == {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}


def test_a_source_is_not_written_over(glacier, tmp_path):
    folder = tmp_path / "source" / "test" / "west"
    folder.mkdir(parents=True)
    for name in ("thk", "usurf", "x", "y"):
        np.save(folder / f"{name}.npy", glacier[name].values)
    with pytest.raises(InputError, match="would be replaced by what is prepared from it"):
        prepared(tmp_path / "source", tmp_path / "source")
    np.testing.assert_array_equal(np.load(folder / "y.npy"), glacier["y"])


def test_validation_cases_are_whole_glaciers_drawn_by_the_seed(tmp_path):
    names = [f"valley{number}" for number in range(6)]
    source = write_cases(tmp_path / "source", cells=(8, 8), splits={"train": names, "test": ["last"]})

    def split(seed):
        cases = open_cases(prepared(source, tmp_path / f"data{seed}", seed=seed, validation_fraction=0.34))
        return {key: [case.name for case in cases if case.split == key] for key in SPLITS}

    first = split(1)
    assert len(first["validation"]) == 2
    assert sorted(first["training"] + first["validation"]) == names
    assert first["test"] == ["last"]
    assert len({tuple(split(seed)["validation"]) for seed in range(2, 7)}) > 1


def test_own_files_of_several_kinds(glacier, tmp_path):
    shape = glacier[["thk", "usurf"]].rename(thk="H").isel(time=0, drop=True)
    shape.rio.write_crs("EPSG:32632").to_netcdf(tmp_path / "shape.nc", engine="h5netcdf")
    flow = glacier[["ubar", "vbar"]].isel(time=0, drop=True).isel(y=slice(None, None, -1))
    flow.to_zarr(tmp_path / "flow.zarr")
    variables = {"thk": "H", "usurf": "usurf", "arrhenius": 50}
    variables |= {name: {"path": "flow.zarr", "variable": name} for name in ("ubar", "vbar")}
    entry = {"split": "test", "path": "shape.nc", "variables": variables}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"cases": {"mine": entry}}))
    case = only_case(prepared(tmp_path / "own.yaml", tmp_path / "data"))
    assert case.crs == "EPSG:32632"
    np.testing.assert_array_equal(case.stack(["thk"])[0], glacier["thk"].values[0][::-1])
    np.testing.assert_array_equal(case.stack(["ubar"])[0], glacier["ubar"].values[0][::-1])
    assert (case.stack(["arrhenius"]) == 50).all()


def test_memory_holds_some_frames_at_a_time(one, tmp_path, monkeypatch):
    """The source is read in blocks of frames, and of what is prepared only what is looked at."""
    asked = []
    values = xr.DataArray.values.fget

    def spy(self):
        asked.append(self.shape)
        return values(self)

    source = one(dome((12, 12), 7, np.random.default_rng(2)))
    whole = only_case(prepared(source, tmp_path / "whole", variables=["thk", "topg"], step=2))
    monkeypatch.setattr("fieldwise.samples.sources.BLOCK_BYTES", 3 * 2 * 4 * 144)
    monkeypatch.setattr(xr.DataArray, "values", property(spy))
    case = only_case(prepared(source, tmp_path / "data", variables=["thk", "topg"], step=2))
    assert [shape for shape in asked if len(shape) == 3] == 2 * [(3, 12, 12)] + 2 * [(1, 12, 12)]
    for frame in range(4):
        both = (each.stack(case.files, frame=frame) for each in (case, whole))
        np.testing.assert_array_equal(*both)
    assert isinstance(case._array("thk", 0), np.memmap)


def test_slopes_that_drive_the_ice_are_those_of_the_surface_inside_it(glacier):
    usurf, thk = (glacier[name].values[0][::-1].astype(float) for name in ("usurf", "thk"))
    ice, surface = derive_ice_slopes(usurf, thk, SPACING), derive_slopes(usurf, SPACING)
    inside = ndimage.binary_erosion(thk >= 1)
    for one, other in zip(ice, surface):
        np.testing.assert_allclose(one[inside], other[inside], atol=1e-6)
        assert (one[thk < 1] == 0).all()


def test_a_wall_beside_the_ice_does_not_push_it():
    """Cells from west to east: a wall, ice that falls by 1 m a cell to the east, and lower ground."""
    usurf = np.array([[500.0, 100.0, 99.0, 98.0, 0.0]] * 3)
    thk = np.array([[0.0, 50.0, 50.0, 50.0, 0.0]] * 3)
    slopes = derive_ice_slopes(usurf, thk, 1.0)[0]
    np.testing.assert_allclose(slopes[1], [0, -1, -1, (98 - 99 + 0 - 98) / 2, 0])
    turned = derive_ice_slopes(usurf.T[::-1], thk.T[::-1], 1.0)[1]  # the wall now in the south
    np.testing.assert_allclose(turned[::-1, 1], slopes[1])


def test_the_solver_is_driven_by_the_same_slopes(glacier):
    usurf, thk = (glacier[name].values[0][::-1].astype(float) for name in ("usurf", "thk"))
    fields = {
        "thickness": torch.from_numpy(thk.copy())[None],
        "surface": torch.from_numpy(usurf.copy())[None],
    }
    geometry = measure_geometry(**fields, spacing_m=SPACING, nodes=2, y_descending=True)
    ice = thk >= 1
    stress = geometry.drive[:, 0].sum(dim=1)[:, ice] / (WEIGHT * thk[ice])
    slopes = derive_ice_slopes(usurf, thk, SPACING)
    np.testing.assert_allclose(stress.numpy(), slopes[:, ice], atol=1e-6)
