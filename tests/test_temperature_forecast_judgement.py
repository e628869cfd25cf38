"""Forecasts judged from files to scores, words, figures and a comparison; what is bad is refused."""

import json
import re

import numpy as np
import pytest
import xarray as xr

from fieldwise.cli import main
from fieldwise.errors import InputError
from fieldwise.figures import panels
from fieldwise.recipes.temperature_forecast.compare import compare
from fieldwise.recipes.temperature_forecast.evaluate import evaluate
from fieldwise.recipes.temperature_forecast.judgement.examples import make_hours, write_forecasts
from fieldwise.recipes.temperature_forecast.judgement.scores import say
from fieldwise.scores import pick, read_scores, value_of
from fieldwise.scores.forecasts import ForecastScores, read_results, resample_blocks

RECIPE = "fieldwise.recipes.temperature_forecast"
LEADS = (1, 2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    globe = {"latitude": np.linspace(57, 50, 8).tolist(), "longitude": np.linspace(0, 7, 8).tolist()}
    return make_hours(hours=24 * 6, folder=tmp_path_factory.mktemp("data") / "hours", globe=globe)


@pytest.fixture(scope="module", autouse=True)
def quick_figures():
    """Save figures as small pictures alone: full size takes seconds."""

    def save(figure, stem):
        path = stem.with_name(f"{stem.name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=30)
        return path, path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "save_figure", save)
        yield


@pytest.fixture(scope="module")
def judged(prepared, tmp_path_factory):
    """Three runs: half a kelvin too warm, a kelvin too warm, and one with twenty members."""
    home = tmp_path_factory.mktemp("runs")
    (case,) = prepared.cases("test")
    kinds = {"near": {"error": 0.5}, "far": {"error": 1.0}, "drawn": {"error": 0.8, "members": 20}}
    for name, options in kinds.items():
        write_forecasts(home / name / "prediction" / "second.nc", case, **options)
        given = {"run": home / name, "data": prepared.folder, "prediction": home / name / "prediction"}
        evaluate(**given, draws=200, figures=name == "drawn", progress=False)
    return home


def test_scores_are_those_of_the_errors_that_were_made(judged):
    rows = read_scores(judged / "near" / "scores.json")["scores"]
    assert {row["against"] for row in rows} == {"test"}
    for lead in LEADS:
        assert value_of(rows, measure="mse", name="prediction", lead_h=lead) == pytest.approx(0.25, rel=1e-4)
        assert value_of(rows, measure="bias", name="prediction", lead_h=lead) == pytest.approx(0.5, rel=1e-4)
        assert value_of(rows, measure="crps", name="prediction", lead_h=lead) == pytest.approx(0.5, rel=1e-4)
        ratio = value_of(rows, measure="gradient_ratio", name="prediction", lead_h=lead)
        assert ratio == pytest.approx(1, rel=1e-4)
        published, own = (
            value_of(rows, measure=measure, name="prediction", lead_h=lead)
            for measure in ("psnr_published", "psnr")
        )
        assert published == pytest.approx(-10 * np.log10(0.25), rel=1e-3)
        data_range = read_scores(judged / "near" / "scores.json")["data_range"]
        assert own - published == pytest.approx(20 * np.log10(data_range))
        assert value_of(rows, measure="mse", name="best_possible", lead_h=lead) == [0.1, 0.2][lead - 1]
    # White noise of 2 K: two days of it differ by twice the variance; the mean of 6 days leaves 1 + 1 / 6.
    assert value_of(rows, measure="mse", name="persistence", lead_h=1) == pytest.approx(8, rel=0.05)
    assert value_of(rows, measure="mse", name="climatology", lead_h=1) == pytest.approx(
        4 * (1 + 1 / 6), rel=0.05
    )
    hours = pick(rows, measure="mse", name="persistence")
    assert {row["hour_utc"] for row in hours if "hour_utc" in row} == {*range(24)}
    assert not any(row["measure"] == "acc" and row["name"] == "climatology" for row in rows)


def test_members_that_are_like_what_came(judged):
    """What came is their mean: a truth too near to it, of which 0.8² / 20 is left of its error."""
    rows = read_scores(judged / "drawn" / "scores.json")["scores"]
    assert value_of(rows, measure="mse", name="prediction", lead_h=2) == pytest.approx(0.64 / 20, rel=0.05)
    assert value_of(rows, measure="mse", name="member", lead_h=2) == pytest.approx(0.64, rel=0.05)
    assert value_of(rows, measure="spread_skill", name="prediction", lead_h=2) == pytest.approx(
        np.sqrt(0.64 * 21 / 20 / (0.64 / 20)), rel=0.05
    )
    assert value_of(rows, measure="coverage_90", name="prediction", lead_h=2) == pytest.approx(1, abs=1e-3)
    # A normal ensemble at its mean scores (√2 − 1) / √π of its deviation (Gneiting & Raftery 2007).
    crps = value_of(rows, measure="crps", name="prediction", lead_h=2)
    assert crps == pytest.approx(0.8 * (np.sqrt(2) - 1) / np.sqrt(np.pi), rel=0.05)
    ranks = read_results(judged / "drawn")["rank_count"]
    assert ranks.sel(fcst_hour=1).argmax().item() == 10


def test_crps_of_an_ensemble_is_not_that_of_its_mean(prepared, tmp_path):
    """Where members were not kept, nothing is said of it; that of one map is its mean absolute error."""
    path = write_forecasts(tmp_path / "second.nc", prepared.cases("test")[0])
    spoil(path, lambda forecasts: forecasts.assign(t2m_spread=forecasts["t2m"]))
    scores = evaluate(run=tmp_path, data=prepared.folder, prediction=path, figures=False, progress=False)
    assert not pick(scores["scores"], measure="crps", name="prediction")
    assert pick(scores["scores"], measure="crps", name="last_value")


def test_figures_are_drawn(judged):
    drawn = {path.stem for path in (judged / "drawn" / "figures").glob("*.png")}
    expected = {"leads", "hours", "ranks", "quantiles_02h", "spectra_prediction", "spectra_member"}
    assert drawn >= expected | {"cases_010_to_050", "cases_060_to_100"}


def test_words_tell_what_the_scores_mean(prepared, tmp_path, capsys):
    (case,) = prepared.cases("test")
    path = write_forecasts(tmp_path / "second.nc", case, error=0.1)
    evaluate(run=tmp_path, data=prepared.folder, prediction=path, figures=False, progress=False)
    said = capsys.readouterr().out
    assert "MSE against damped persistence: better at 1 and 2 h (paired, blocks of 1 day)" in said
    assert "MSE is 0.10 of the best possible at 1 h, 0.05 at 2 h" in said
    assert (
        "MSE is below the best possible by more than sampling error at 1 and 2 h: the network has seen"
        in said
    )


@pytest.mark.parametrize(("share", "suspected"), [(1.0, 0), (0.6, 40)])
def test_only_what_chance_does_not_explain_is_suspected(share, suspected):
    """Errors of eight days, each day's as large as a tenth of the best possible more or less, by chance."""
    counted = 0
    for seed in range(40):
        days = share * (1 + 0.1 * np.random.default_rng(seed).normal(size=8))
        scores = ForecastScores([1, 2], units="K", target="t2m")
        for hour in range(8 * 24):
            squares = days[hour // 24] * np.array([0.1, 0.2])
            scores.add("march", hour, {"mse": {"prediction": squares, "persistence": 8 + 0 * squares}})
        results = scores.dataset()
        results["best_possible_mse"] = ("fcst_hour", [0.1, 0.2])
        words = [*say(results, *resample_blocks(results, days=7, draws=50, seed=0))]
        counted += any("has seen the answer" in line for line in words)
    assert counted == suspected


@pytest.mark.parametrize(("share", "suspected"), [(0.02, False), (-0.02, True)])
def test_the_exact_forecast_of_the_same_times_is_a_sharper_bound(tmp_path, capsys, share, suspected):
    """On an easy stretch the exact forecast errs less than expected: in pairs, 2 % tell."""
    prepared = make_hours(hours=24 * 6, folder=tmp_path / "data")
    (case,) = prepared.cases("test")
    path = write_forecasts(tmp_path / "second.nc", case, error=0.2)
    day = np.arange(case.frames) // 24
    exact = 0.04 / (1 + share + 0.002 * np.sin(day))
    np.save(tmp_path / "data" / "exact.npy", np.repeat(exact[:, None], 24, axis=1))
    described = (tmp_path / "data" / "dataset.yaml").read_text()
    files = "best_possible: {t2m: {mse: [0.1, 0.2], files: {second: exact.npy}}}\n"
    kept = re.sub(r"(?m)^best_possible:\n(?:[ -].*\n)*", files, described)
    assert files in kept
    (tmp_path / "data" / "dataset.yaml").write_text(kept)
    given = {"data": prepared.folder, "prediction": path, "figures": False, "progress": False}
    scores = evaluate(run=tmp_path / "run", **given)["scores"]
    expected = 0.04 / (1 + share)
    assert value_of(scores, measure="mse", name="best_possible", lead_h=2) == pytest.approx(
        expected, rel=3e-3
    )
    said = capsys.readouterr().out
    assert f"MSE is {1 + share:.2f} of the best possible at 1 h" in said
    assert ("has seen the answer" in said) == suspected


def test_area_weights_follow_the_latitude(prepared, tmp_path):
    (case,) = prepared.cases("test")
    path = write_forecasts(tmp_path / "second.nc", case)
    forecasts = xr.load_dataset(path, engine="h5netcdf", decode_times=False)
    forecasts["t2m"][..., 0, :] += 1.5  # a row in the north is off by 2 K, the others by half a kelvin
    forecasts.to_netcdf(path, engine="h5netcdf")
    cosines = np.cos(np.deg2rad(np.linspace(57, 50, 8)))
    expected = {True: np.average([4, *7 * [0.25]], weights=cosines), False: np.mean([4, *7 * [0.25]])}
    for area_weights, value in expected.items():
        given = {"data": prepared.folder, "prediction": path, "area_weights": area_weights}
        scores = evaluate(run=tmp_path, **given, figures=False, progress=False)["scores"]
        assert value_of(scores, measure="mse", name="prediction", lead_h=1) == pytest.approx(value, rel=1e-4)


def test_short_cases_are_judged_beside_what_needs_no_day(tmp_path):
    prepared = make_hours(hours=20, folder=tmp_path / "data")
    path = write_forecasts(tmp_path / "second.nc", prepared.cases("test")[0])
    scores = evaluate(run=tmp_path, data=prepared.folder, prediction=path, figures=False, progress=False)
    assert {row["name"] for row in scores["scores"]} >= {"prediction", "last_value"}
    assert not pick(scores["scores"], name=["persistence", "damped_persistence"])


def test_rows_name_the_split_that_was_judged(tmp_path):
    prepared = make_hours(hours=30, folder=tmp_path / "data")
    path = write_forecasts(tmp_path / "first.nc", prepared.cases("training")[0])
    options = {"split": "training", "figures": False, "progress": False}
    runs = [tmp_path / name for name in ("one", "two")]
    for run in runs:
        told = evaluate(run=run, data=prepared.folder, prediction=path, **options)
        assert {row["against"] for row in told["scores"]} == {"training"}
    compared = compare(runs=runs, out=tmp_path / "compared", figures=False)
    assert {row["against"] for row in compared["scores"]} == {"training"}


def test_runs_are_compared_over_what_they_share(judged, tmp_path, capsys):
    (judged / "near" / "latency.json").write_text('{"seconds_per_forecast": 0.02, "device": "cpu"}')
    runs = [judged / name for name in ("near", "far", "drawn")]
    compared = compare(runs=runs, out=tmp_path / "compared", draws=200)
    rows = compared["scores"]
    assert value_of(rows, measure="mse", name="far", lead_h=1) == pytest.approx(1, rel=1e-4)
    assert value_of(rows, measure="mse_difference", name="far", lead_h=1) == pytest.approx(0.75, rel=1e-3)
    reference = value_of(rows, measure="mse", name="damped_persistence", lead_h=1)
    skill = value_of(rows, measure="skill_score", name="near", lead_h=1)
    assert skill == pytest.approx(1 - 0.25 / reference, rel=1e-3)
    said = capsys.readouterr().out
    assert "MSE of far against near: worse at 1 and 2 h (paired, blocks of 1 day)" in said
    assert "MSE of drawn against near: better at 1 and 2 h" in said
    assert "not in the figure of latency, as no latency.json tells it: far, drawn" in said
    drawn = {path.stem for path in (tmp_path / "compared" / "figures").glob("*.png")}
    assert drawn == {"leads", "skill", "differences", "accuracy_latency"}
    assert json.loads((tmp_path / "compared" / "scores.json").read_text())["n_init_times"] == 24 * 6 - 24 - 2


def test_an_experiment_without_results_is_refused_by_name(judged, tmp_path, capsys):
    words = [RECIPE, "compare", "--runs", str(judged / "near"), str(tmp_path / "none")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{tmp_path / 'none'}: holds no results.nc; judge it with" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": ["one"]}, "--labels: names 1 for 2 runs"),
        ({"labels": ["a", "a"]}, "--labels: two runs are called a"),
        ({"labels": ["persistence", "a"]}, "--labels: persistence is the name of a baseline"),
        (
            {"reference": "tomorrow"},
            "--reference: 'tomorrow' was not judged; give one of persistence, damped_",
        ),
        ({"block_days": 0}, "--block_days: is 0; give at least 1"),
    ],
)
def test_comparisons_that_make_no_sense_are_refused(judged, tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        compare(runs=[judged / "near", judged / "far"], out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def spoil(path, change):
    forecasts = xr.load_dataset(path, engine="h5netcdf", decode_times=False)
    change(forecasts).to_netcdf(path, engine="h5netcdf")


def with_a_gap(forecasts):
    forecasts["t2m"][30, 0, 0, 0] = np.nan
    return forecasts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_a_gap, "second.nc: t2m misses values at init time"),
        (lambda forecasts: forecasts.isel(lat=slice(4)), "has 4 x 8 cells, case test/second 8 x 8"),
        (lambda forecasts: forecasts.rename(t2m="msl"), "case test/second: lacks msl, which judging needs"),
        (lambda forecasts: forecasts.drop_vars("t2m"), "holds no forecasts; name the field"),
        (
            lambda forecasts: forecasts.assign_coords(init_time=forecasts["init_time"] + 0.5),
            "init time .* is none of case test/second",
        ),
        (lambda forecasts: forecasts.drop_attrs(), "second.nc: init_time: time is counted in ''"),
        (
            lambda forecasts: forecasts.isel(init_time=[-1]).assign_coords(
                init_time=forecasts["init_time"][[-1]] + 1
            ),
            "of no init time all 2 leads were observed in 144 frames",
        ),
        (lambda forecasts: forecasts.assign_coords(fcst_hour=[3, 6]), "fcst_hour is 3, 6; predict each step"),
    ],
)
def test_forecasts_that_do_not_fit_are_refused(prepared, tmp_path, change, said):
    path = write_forecasts(tmp_path / "second.nc", prepared.cases("test")[0])
    spoil(path, change)
    run = tmp_path / "run"
    with pytest.raises(InputError, match=said):
        evaluate(run=run, data=prepared.folder, prediction=path, figures=False, progress=False)
    assert not run.exists()


def test_climatology_without_the_hour_is_refused(prepared, tmp_path):
    path = write_forecasts(tmp_path / "second.nc", prepared.cases("test")[0])
    globe = prepared.cases()[0].facts["globe"]
    places = {"month": range(1, 13), "lat": globe["latitude"], "lon": globe["longitude"]}
    monthly = xr.DataArray(np.zeros((12, 8, 8)), places, name="t2m")
    monthly.to_netcdf(tmp_path / "monthly.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"monthly\.nc: t2m is of month, lat, lon, without hour"):
        evaluate(
            run=tmp_path / "run",
            data=prepared.folder,
            prediction=path,
            climatology=tmp_path / "monthly.nc",
            progress=False,
        )
