"""Made valley glaciers: what is written, that it is the truth, and what is said where there is none."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.physics import ice_flow as physics
from fieldwise.sandbox import ice_flow as sandbox
from fieldwise.sandbox.ice_flow import make_ice_flow
from fieldwise.sandbox.valley import grow_ice, make_climate, make_valley

SMALL = {"size_cells": 32, "valleys": 3, "progress": False}
VELOCITIES = ["ubar", "vbar", "uvelsurf", "vvelsurf", "uvelbase", "vvelbase"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_ice_flow(tmp_path_factory.mktemp("ice_flow") / "data", snapshots=3, **SMALL)


@pytest.fixture(scope="module")
def cases(made):
    return {path.parents[1].name: read(path) for path in sorted(made.glob("*/*/ex.nc"))}


def read(path):
    return xr.load_dataset(path, decode_coords="all")


def test_each_split_has_its_own_valleys(made, cases):
    assert sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()) == [
        "report.json",
        "test/valley_002/ex.nc",
        "train/valley_000/ex.nc",
        "valid/valley_001/ex.nc",
    ]
    beds = [case["topg"].values[0] for case in cases.values()]
    starts = {(float(case["x"][0]), float(case["y"][0])) for case in cases.values()}
    assert len(starts) == 3
    for one, bed in enumerate(beds):
        for other in beds[one + 1 :]:
            assert np.abs(bed - other).mean() > 20


def test_files_have_the_names_units_and_order_of_real_ones(cases):
    for case in cases.values():
        assert case["thk"].dims == ("time", "y", "x")
        assert case["thk"].shape == (3, 32, 32)
        assert {*VELOCITIES, "thk", "usurf", "topg", "icemask", "arrhenius", "slidingco"} <= set(
            case.data_vars
        )
        assert case["thk"].attrs["units"] == "m"
        assert all(case[name].attrs["units"] == "m year-1" for name in VELOCITIES)
        assert case["arrhenius"].attrs["units"] == "MPa-3 year-1"
        assert (case["y"].diff("y") == 100).all()
        assert (case["x"].diff("x") == 100).all()
        assert case["thk"].rio.crs.to_epsg() == 32632
        assert all(np.isfinite(field).all() for field in case.data_vars.values())


def test_surface_lies_on_the_ice_and_nothing_moves_off_it(cases):
    for case in cases.values():
        np.testing.assert_allclose(case["usurf"], case["topg"] + case["thk"], atol=1e-3)
        ice = case["thk"].values > 0
        np.testing.assert_array_equal(case["icemask"].values, ice)
        assert case["thk"].values[ice].min() >= 1
        for name in VELOCITIES:
            assert not case[name].values[~ice].any()
        speed = np.hypot(case["uvelsurf"], case["vvelsurf"]).values
        assert speed[ice].min() > 0
        assert 5 < speed[ice].mean() < 1000


def test_flow_parameters_cover_their_range_and_hold_for_a_snapshot(cases):
    for case in cases.values():
        for name in ("arrhenius", "slidingco"):
            assert (case[name].values == case[name].values[:, :1, :1]).all()
        rates = np.sort(case["arrhenius"].values[:, 0, 0])
        # one in each third of 5 to 150 MPa-3 a-1
        assert ((rates >= [5, 53.3, 101.6]) & (rates <= [53.4, 101.7, 150])).all()
        sliding = case["slidingco"].values[:, 0, 0]
        assert (np.abs(np.log2(sliding / 0.0464)) <= 0.5 + 1e-6).all()


def test_velocities_are_those_of_least_energy(cases):
    case = cases["test"].isel(time=1)
    flow = physics.solve(
        case["thk"].values,
        case["usurf"].values,
        spacing_m=100.0,
        rate_factor=float(case["arrhenius"][0, 0]),
        sliding_coefficient=float(case["slidingco"][0, 0]),
        tolerance=1e-11,
    )
    for x, y, exact_x, exact_y in [
        ("uvelsurf", "vvelsurf", flow.velocity_x[-1], flow.velocity_y[-1]),
        ("uvelbase", "vvelbase", flow.velocity_x[0], flow.velocity_y[0]),
        ("ubar", "vbar", flow.mean_x, flow.mean_y),
    ]:
        apart = np.hypot(case[x] - exact_x.numpy(), case[y] - exact_y.numpy()).values.sum()
        assert apart < 3e-3 * np.hypot(exact_x, exact_y).sum()


def test_report_counts_what_was_made(made):
    report = json.loads((made / "report.json").read_text())
    assert [valley["split"] for valley in report["valleys"]] == ["train", "valid", "test"]
    assert [valley["snapshots"] for valley in report["valleys"]] == [3, 3, 3]
    assert report["left_out"] == []


def test_the_seed_fixes_everything(made, tmp_path, quick_growth, monkeypatch):
    case = "train/valley_000/ex.nc"
    other = read(make_ice_flow(tmp_path / "other", seed=8, snapshots=1, **SMALL) / case)
    monkeypatch.undo()
    again = read(make_ice_flow(tmp_path / "again", seed=7, snapshots=3, **SMALL) / case)
    assert again.identical(read(made / case))
    assert np.abs(again["topg"].values[0] - other["topg"].values[0]).mean() > 20


def test_processes_side_by_side_make_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "WORTH_PROCESSES", 1)
    shared = read(make_ice_flow(tmp_path / "shared", snapshots=1, **SMALL) / "valid/valley_001/ex.nc")
    monkeypatch.setattr(sandbox, "WORTH_PROCESSES", 10**9)
    alone = read(make_ice_flow(tmp_path / "alone", snapshots=1, **SMALL) / "valid/valley_001/ex.nc")
    for name in ("thk", "uvelsurf", "vvelbase"):
        np.testing.assert_allclose(shared[name], alone[name], rtol=1e-4, atol=1e-4)


@pytest.fixture
def quick_growth(monkeypatch):
    """A block of ice in the middle of the valley, without a past: all that the writing of files needs."""

    def grow(valley, climate, *, snapshots, **flow):
        rows, columns = np.indices(valley.bed_m.shape) - np.array(valley.bed_m.shape).reshape(2, 1, 1) / 2
        for number in range(snapshots):
            yield 10.0 * (number + 1), np.clip(100.0 - rows**2 - columns**2, 0, None)

    monkeypatch.setattr(sandbox, "grow_ice", grow)


def test_glaciers_advance_and_retreat():
    rng = np.random.default_rng(5)
    valley = make_valley(size_cells=32, spacing_m=100.0, azimuth=1.0, rng=rng)
    climate = make_climate(valley, rng=rng)
    grown = list(grow_ice(valley, climate, snapshots=6, rate_factor=78.0, sliding_coefficient=0.06))
    years, volumes = [year for year, _ in grown], [thickness.sum() for _, thickness in grown]
    np.testing.assert_allclose(np.diff(years), years[1] - years[0])
    largest = int(np.argmax(volumes))
    assert 0 < largest < 5
    assert volumes[0] < 0.9 * volumes[largest]
    assert volumes[-1] < 0.9 * volumes[largest]


@pytest.mark.parametrize("azimuth", np.linspace(0, 2 * np.pi, 5)[:-1])
def test_valleys_lead_where_they_are_told(azimuth):
    valley = make_valley(size_cells=32, spacing_m=100.0, azimuth=azimuth, rng=np.random.default_rng(2))
    slope_y, slope_x = np.gradient(valley.bed_m, valley.y, valley.x)
    down = -np.array([slope_x.mean(), slope_y.mean()])
    assert down @ [np.cos(azimuth), np.sin(azimuth)] > 0.9 * np.linalg.norm(down)


def fail_some(monkeypatch, failing):
    """Let the solver say that it has not converged, where `failing` of its calls so far says so."""
    calls = []

    def solve(*args, **kwargs):
        calls.append(args)
        flow = physics.solve(*args, **kwargs)
        return dataclasses.replace(flow, converged=not failing(len(calls)))

    monkeypatch.setattr(sandbox, "solve", solve)


def test_a_solver_that_fails_is_reported_and_its_snapshot_left_out(
    tmp_path, monkeypatch, quick_growth, capsys
):
    fail_some(monkeypatch, lambda call: call == 2)
    out = make_ice_flow(tmp_path / "data", snapshots=2, **SMALL)
    report = json.loads((out / "report.json").read_text())
    (left_out,) = report["left_out"]
    assert left_out["case"] == "valley_000"
    assert "no convergence" in left_out["reason"]
    assert read(out / "train/valley_000/ex.nc").sizes["time"] == 1
    assert "5 snapshots of 3 valleys" in (said := capsys.readouterr().out)
    assert "1 left out" in said


def test_a_split_without_any_flow_is_an_error_and_nothing_is_left(tmp_path, monkeypatch, quick_growth):
    fail_some(monkeypatch, lambda call: call == 3)
    with pytest.raises(InputError, match="no flow was found for test; take another seed"):
        make_ice_flow(tmp_path / "data", snapshots=1, **SMALL)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_valley_without_flow_is_reported_with_none(tmp_path, monkeypatch, quick_growth):
    fail_some(monkeypatch, lambda call: call == 1)
    out = make_ice_flow(tmp_path / "data", snapshots=1, **(SMALL | {"valleys": 4}))
    report = json.loads((out / "report.json").read_text())
    assert [valley["snapshots"] for valley in report["valleys"]] == [0, 1, 1, 1]
    assert [path.name for path in (out / "train").iterdir()] == ["valley_001"]


def test_data_of_another_origin_are_not_touched_but_its_own_are_replaced(tmp_path, quick_growth):
    theirs = tmp_path / "data" / "train" / "aletsch" / "ex.nc"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("years of work")
    with pytest.raises(InputError, match="not made by this command"):
        make_ice_flow(tmp_path / "data", snapshots=1, **SMALL)
    assert theirs.read_text() == "years of work"
    own = tmp_path / "own"
    for valleys in (4, 3):
        make_ice_flow(own, snapshots=1, **(SMALL | {"valleys": valleys}))
    assert len(list(own.glob("*/*/ex.nc"))) == 3


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"size_cells": 33}, "size_cells is 33; take an even number from 32 to 512"),
        ({"size_cells": 16}, "size_cells is 16"),
        ({"valleys": 2}, "valleys is 2; take 3 or more"),
        ({"snapshots": 0}, "snapshots is 0; take 1 or more"),
        ({"spacing_m": 1.0}, "spacing_m is 1; take 25 to 1000 m"),
    ],
)
def test_values_that_cannot_be_used_are_refused_before_anything_is_written(tmp_path, option, message):
    with pytest.raises(InputError, match=message):
        make_ice_flow(tmp_path / "data", **(SMALL | option))
    assert not (tmp_path / "data").exists()
