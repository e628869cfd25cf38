"""From made seasons to scores: what a network tells, what is written, and what it is judged by."""

import itertools
import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from fieldwise.physics.extreme_weather.channels import CHANNELS
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.recipes import extreme_weather
from fieldwise.recipes.extreme_weather.cases import grid_of_case
from fieldwise.recipes.extreme_weather.train import describe_fields
from fieldwise.runs import read_metrics
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.weather.deepcam import read_sample, write_sample
from fieldwise.samples.weather.records import part_by_periods
from fieldwise.scores import pick, read_scores, value_of
from fieldwise.tasks import ClassTask, load_checkpoint

QUIET = {"accelerator": "cpu", "tracker": "none", "progress": False}
TINY = {"batch_size": 2, "max_epochs": 2, "seed": 3, "precision": "32-true"} | QUIET
SMALL = {"network": "unet", "network_options": {"blocks": 2, "filters": 4}, "coarsen": [1, 4]} | TINY


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weather") / "data"
    shares = (0.4, 0.3, 0.3)
    return extreme_weather.prepare(
        out=folder, spacing_degrees=5.6, days=1.25, shares=shares, seed=5, progress=False
    )


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weather_run")
    extreme_weather.train(data=data, run=folder, **SMALL)
    return folder


@pytest.fixture(scope="module")
def prediction(data, run):
    return extreme_weather.predict(run=run, data=data, out=run / "prediction", progress=False)


def case_of(data, split):
    return Prepared(data).cases(split)[0]


# --- prepare --------------------------------------------------------------------------------------


def test_a_case_holds_what_the_sample_of_its_time_does(data):
    case = case_of(data, "training")
    assert case.shape == (32, 64)
    sample = read_sample(data / "sandbox" / "data-2001-08-01-02-1.h5")
    assert case.frame_times[2] == 13872 + 6  # hours from 2000-01-01 to 2001-08-01: 578 days
    for name in CHANNELS:
        np.testing.assert_array_equal(case.stack([name], frame=2)[0], sample.fields[name])
    np.testing.assert_array_equal(case.stack(["planted"], frame=2)[0], sample.labels[0])
    np.testing.assert_array_equal(case.stack(["labeller"], frame=2)[0], sample.labels[1])
    wind = np.hypot(sample.fields["U850"], sample.fields["V850"])
    np.testing.assert_allclose(case.stack(["IVT"], frame=2)[0], sample.fields["TMQ"] * wind, rtol=1e-5)


def test_splits_are_seasons_of_their_own(data):
    fields = [case_of(data, split).stack(["TMQ"])[0] for split in ("training", "validation", "test")]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(fields[one] - fields[other]).max() > 1


def test_periods_of_a_run_do_not_touch(data, tmp_path):
    """A folder of one run is parted by time; no hour is in two cases, and the gap is kept."""
    one_run = tmp_path / "one"
    for number in range(12):
        path = sorted((data / "sandbox").glob("*-1.h5"))[0]
        sample = read_sample(path)
        write_sample(one_run, sample.time + 3 * number, sample.fields, sample.labels)
    options = {"shares": (0.5, 0.25, 0.25), "gap_hours": 6.0, "labellers": False, "progress": False}
    prepared = Prepared(extreme_weather.prepare(source=str(one_run), out=tmp_path / "data", **options))
    hours = [
        case.frame_times for split in ("training", "validation", "test") for case in prepared.cases(split)
    ]
    assert [each[0] - hours[0][0] for each in hours] == [0, 18, 30]  # 33 h less 2 x 6: parts of 10.5 and 5.25
    assert all(later[0] - earlier[-1] > 6 for earlier, later in itertools.pairwise(hours))
    assert {"labels", "further_labels"} <= prepared.cases("test")[0].files.keys()


def test_files_of_ones_own_by_their_names(data, tmp_path):
    """ClimateNet's layout: a time a file, latitudes from the south, classes as LABELS."""
    case = case_of(data, "test")
    grid, names = grid_of_case(case), {"TMQ": "tcwv", "U850": "u", "V850": "v", "PSL": "msl"}
    for frame in range(3):
        values = {theirs: case.stack([ours], frame=frame) for ours, theirs in names.items()}
        values["LABELS"] = case.stack(["planted"], frame=frame)
        dims = ("time", "latitude", "longitude")
        axes = {"latitude": grid.latitude, "longitude": grid.longitude}
        time = ("time", [0.125 * frame], {"units": "days since 2001-03-01", "calendar": "noleap"})
        content = xr.Dataset({name: (dims, each) for name, each in values.items()}, {**axes, "time": time})
        content.isel(latitude=slice(None, None, -1)).to_netcdf(tmp_path / f"t{frame}.nc", engine="h5netcdf")
    variables = ", ".join(f"{ours}: {theirs}" for ours, theirs in names.items())
    entry = f"{{path: 't*.nc', split: test, variables: {{{variables}}}, labels: LABELS}}"
    (tmp_path / "own.yaml").write_text(f"cases: {{storm: {entry}}}")
    out = extreme_weather.prepare(
        source=str(tmp_path / "own.yaml"), out=tmp_path / "data", labellers=False, progress=False
    )
    own = case_of(out, "test")
    np.testing.assert_array_equal(own.frame_times, 10200 + np.array([0, 3, 6]))
    np.testing.assert_array_equal(
        own.stack(["TMQ", "labels"], frame=1), case.stack(["TMQ", "planted"], frame=1)
    )


def test_statistics_are_those_of_all_training_cells(data):
    case = case_of(data, "training")
    with h5py.File(data / "stats.h5") as file:
        for name in ("TMQ", "PSL", "V850"):
            values, channel = case.read_frames(name).astype(np.float64), CHANNELS.index(name)
            assert file["climate/mean"][channel] == pytest.approx(values.mean(), rel=1e-6)
            assert file["climate/sqmean"][channel] == pytest.approx((values**2).mean(), rel=1e-6)
            assert file["climate/minval"][channel] == pytest.approx(values.min(), rel=1e-6)
            assert file["climate/maxval"][channel] == pytest.approx(values.max(), rel=1e-6)
        assert file["climate/count"][0] == case.frames


# --- train ----------------------------------------------------------------------------------------


def test_scales_and_frequencies_are_those_of_training_alone(data):
    case = case_of(data, "training")
    signature = describe_fields([case], ["TMQ", "U850", "V850"], "planted")
    vapour, wind = signature.inputs
    values = case.read_frames("TMQ").astype(np.float64)
    assert (vapour.scale.mean, vapour.scale.spread) == pytest.approx((values.mean(), values.std()), rel=1e-6)
    speed = np.hypot(case.read_frames("U850"), case.read_frames("V850")).astype(np.float64)
    assert wind.scale.spread == pytest.approx(np.sqrt((speed**2).mean()), rel=1e-6)
    counts = np.bincount(case.read_frames("planted").astype(int).ravel(), minlength=3)
    assert signature.facts["frequencies"] == pytest.approx(list(counts / counts.sum()))


def test_minmax_brings_training_to_0_and_1(data):
    case = case_of(data, "training")
    signature = describe_fields([case], ["TMQ", "U850"], "planted", scales="minmax")
    assert describe_fields([case], ["TMQ", "U850"], "planted", scales=str(data / "stats.h5")) == signature
    scaled = signature.apply(case.read(signature.inputs, frame=0))
    everything = [signature.apply(case.read(signature.inputs, frame=frame)) for frame in range(case.frames)]
    for name in scaled:
        assert min(each[name].min() for each in everything) == pytest.approx(0, abs=1e-6)
        assert max(each[name].max() for each in everything) == pytest.approx(1, abs=1e-6)


def test_validation_measures_the_overlap(data, run):
    """What stands in metrics.csv is what a count over the cells gives."""
    task = load_checkpoint(run / "checkpoints" / "last.ckpt", ClassTask)
    case = case_of(data, "validation")
    signature = describe_fields([case_of(data, "training")], ["TMQ", "U850", "V850", "PSL"], "planted")
    overlaps = []
    for frame in range(case.frames):
        inputs = np.concatenate(list(signature.apply(case.read(signature.inputs, frame=frame)).values()))
        with torch.no_grad():
            told = task(torch.from_numpy(inputs[None].astype(np.float32))).argmax(1).numpy()[0]
        true = case.stack(["planted"], frame=frame)[0]
        of_classes = []
        for number in range(3):
            either = ((told == number) | (true == number)).sum()
            of_classes.append(((told == number) & (true == number)).sum() / either if either else 1.0)
        overlaps.append(np.mean(of_classes))
    assert read_metrics(run)["val_iou"].dropna().iloc[-1] == pytest.approx(np.mean(overlaps), abs=1e-5)


def test_a_run_cut_off_goes_on_to_the_same_weights(data, run, tmp_path):
    for epochs in (1, 2):
        extreme_weather.train(data=data, run=tmp_path / "run", **{**SMALL, "max_epochs": epochs})
    whole, parts = (
        load_checkpoint(folder / "checkpoints" / "last.ckpt", ClassTask).state_dict()
        for folder in (run, tmp_path / "run")
    )
    for name, values in whole.items():
        assert torch.equal(values, parts[name]), name


def test_training_stops_at_a_target(data, tmp_path):
    extreme_weather.train(data=data, run=tmp_path, target_iou=0.01, **{**SMALL, "max_epochs": 9})
    assert read_metrics(tmp_path)["epoch"].max() == 0


def test_a_search_ends_with_the_command_of_its_best_trial(data, tmp_path, capsys):
    """Powers of frequencies, below 0, are searched as they stand."""
    fixed = {"network": "unet", "network_options": {"blocks": 1, "filters": 2}, "precision": "32-true"}
    quiet = {"accelerator": "cpu", "tracker": "none", "progress": False}
    best = extreme_weather.tune(
        data=data, study=tmp_path / "study.db", trials=2, max_epochs=(1, 1), fixed=fixed, **quiet
    )
    assert -0.5 <= best["weight_power"] <= 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert command.startswith("fieldwise extreme_weather train --network unet")
    assert f"--weight_power {best['weight_power']}" in command


@pytest.mark.parametrize("network", ["cgnet", "tiramisu"])
def test_networks_by_name(data, tmp_path, network, capsys):
    options = {"cgnet": {"blocks": [1, 1]}, "tiramisu": {"blocks": [1, 1], "growth": 4, "stem": 4}}[network]
    best = extreme_weather.train(
        data=data,
        run=tmp_path,
        network=network,
        network_options=options,
        loss="focal+0.5*jaccard",
        **{**TINY, "max_epochs": 1},
    )
    assert best.exists()
    assert ("--network unet tells them better" in capsys.readouterr().out) == (network == "cgnet")


# --- predict --------------------------------------------------------------------------------------


def test_predicted_file_says_what_it_is(data, prediction):
    case = case_of(data, "test")
    with xr.open_dataset(prediction / "run_3.nc") as opened:
        assert opened["class"].dims == ("time", "lat", "lon")
        assert opened["class"].dtype == np.int8
        assert opened["class"].attrs["flag_values"].tolist() == [0, 1, 2]
        assert opened["class"].attrs["flag_meanings"] == "background tropical_cyclone atmospheric_river"
        assert opened["lat"].attrs["units"] == "degrees_north"
        np.testing.assert_allclose(opened["lat"], np.linspace(90, -90, 32))
        assert opened["time"].to_numpy()[0] == np.datetime64("2001-08-01T00")
        assert opened.sizes["time"] == case.frames
        shares = np.stack([opened[name] for name in opened.data_vars if name.startswith("probability_of_")])
        np.testing.assert_allclose(shares.sum(0), 1, atol=1e-5)
        np.testing.assert_array_equal(shares.argmax(0), opened["class"])


def test_the_globe_goes_on_at_its_other_side(data, run, tmp_path):
    """A network that pads zonally tells the same of a globe that begins at another longitude."""
    from fieldwise.recipes.extreme_weather.predictor import load_teller

    teller, case = load_teller(run, accelerator="cpu"), case_of(data, "test")
    arrays = case.read(teller.signature.inputs)
    turned = teller({name: np.roll(values, 8, axis=-1) for name, values in arrays.items()})
    np.testing.assert_allclose(np.roll(turned[1:], -8, axis=-1), teller(arrays)[1:], atol=1e-5)


def test_a_run_that_saw_coarser_grids_tells_of_them_and_warns_of_finer_ones(data, run, tmp_path, capsys):
    """Cells of 5.8 and 23 degrees were seen; those of 12 lie between, those of 3.8 do not."""
    for spacing, warned in ((10.0, False), (3.75, True)):
        coarse = extreme_weather.prepare(
            out=tmp_path / f"{spacing}", spacing_degrees=spacing, days=0.9, seed=6, progress=False
        )
        out = extreme_weather.predict(run=run, data=coarse, out=tmp_path / "maps.nc", progress=False)
        with xr.open_dataset(out) as maps:
            assert maps["class"].shape[1:] == case_of(coarse, "test").shape
        assert ("warning: case test/run_3: cells of" in capsys.readouterr().out) == warned


def test_networks_of_climatenet_and_deepcam_tell(data, tmp_path):
    """Published files are read from their folders, with scales of their own; the answer is the network's."""
    from fieldwise.interop.climatenet import save_cgnet
    from fieldwise.networks.segmentation.cgnet import CGNet

    torch.manual_seed(0)
    network, case = CGNet(2, 3, blocks=(1, 1)).eval(), case_of(data, "test")
    fields = {"TMQ": {"mean": 19.0, "std": 15.0}, "PSL": {"mean": 1e5, "std": 1e3}}
    save_cgnet(network, tmp_path / "storms", fields=fields, labels=["background", "cyclone", "river"])
    out = extreme_weather.predict(
        run=tmp_path / "storms", data=data, out=tmp_path / "maps.nc", progress=False
    )
    inputs = (case.stack(["TMQ", "PSL"]) - [[[19.0]], [[1e5]]]) / [[[15.0]], [[1e3]]]
    with torch.no_grad():
        wanted = network(torch.from_numpy(inputs[None].astype(np.float32))).softmax(1)[0, 2].numpy()
    with xr.open_dataset(out) as maps:
        np.testing.assert_allclose(maps["probability_of_river"][0], wanted, atol=1e-5)


def test_tracks_lie_beside(prediction):
    table = pd.read_csv(prediction / "run_3_rivers.csv", skiprows=[1])
    assert {"SID", "ISO_TIME", "LAT", "LON", "WMO_WIND", "WMO_PRES"} <= {*table.columns}
    drawn = json.loads((prediction / "run_3_rivers.geojson").read_text())
    assert len(drawn["features"]) == table["NUMBER"].nunique()


def test_a_census_lies_beside(prediction):
    """What a cell's share of times is, and how many are there at a time, by counts of classes and lines."""
    with (
        xr.open_dataset(prediction / "run_3.nc") as maps,
        xr.open_dataset(prediction / "run_3_census.nc") as census,
    ):
        share = 100 * (maps["class"] == 2).mean("time")
        np.testing.assert_allclose(census["rivers_frequency"], share)
        assert census["rivers_frequency"].attrs["units"] == "%"
        np.testing.assert_array_equal(census["time"], maps["time"])
        table = pd.read_csv(prediction / "run_3_rivers.csv", skiprows=[1], parse_dates=["ISO_TIME"])
        lines = table["ISO_TIME"].value_counts().reindex(census["time"].to_index(), fill_value=0)
        np.testing.assert_array_equal(census["rivers_present"], lines)
    landfalls = pd.read_csv(prediction / "run_3_rivers_landfalls.csv")
    assert [*landfalls.columns] == ["NUMBER", "BASIN", "ISO_TIME", "LAT", "LON"]


# --- evaluate -------------------------------------------------------------------------------------


def test_a_zarr_is_judged_as_the_same_maps_in_netcdf(data, run, prediction, tmp_path):
    out = extreme_weather.predict(run=run, data=data, out=tmp_path / "maps.zarr", progress=False)
    assert (tmp_path / "maps_census.nc").exists()
    quiet = {"data": data, "figures": False, "progress": False}
    scores = [
        extreme_weather.evaluate(run=tmp_path / "judged", prediction=path, **quiet)["scores"]
        for path in (out, prediction)
    ]
    assert str(scores[0]) == str(scores[1])  # as text: what is not there is NaN in both


def test_scores_are_written_and_read(data, run, prediction):
    extreme_weather.evaluate(run=run, data=data, prediction=prediction, figure_frames=1, progress=False)
    rows = read_scores(run / "scores.json")["scores"]
    assert {row["name"] for row in pick(rows, against="planted masks")} == {
        "prediction",
        "labeller",
        "second_labeller",
    }
    assert {row["name"] for row in pick(rows, against="labeller")} == {"prediction", "second_labeller"}
    assert {row["name"] for row in pick(rows, against="tracks", measure="storms")} == {
        "planted",
        "prediction",
        "labeller",
        "second_labeller",
    }
    for name in ("run_3_000", "run_3_cyclones", "run_3_rivers", "confusion", "reliability"):
        assert (run / "figures" / f"{name}.png").exists()


def test_labellers_are_judged_as_a_count_over_the_cells_says(data, run, prediction):
    judged = extreme_weather.evaluate(
        run=run, data=data, prediction=prediction, figures=False, progress=False
    )
    case = case_of(data, "test")
    told, true = case.read_frames("labeller"), case.read_frames("planted")
    either = ((told == 2) | (true == 2)).sum()
    pooled = ((told == 2) & (true == 2)).sum() / either
    where = {
        "against": "planted masks",
        "measure": "iou_pooled",
        "name": "labeller",
        "at": "atmospheric river",
    }
    assert either > 0
    assert value_of(judged["scores"], **where) == pytest.approx(pooled)


def test_a_perfect_prediction_scores_1(data, run, prediction, tmp_path):
    case = case_of(data, "test")
    with xr.open_dataset(prediction / "run_3.nc") as opened:
        perfect = opened.load()
    perfect["class"].values[:] = case.read_frames("planted")
    perfect.to_netcdf(tmp_path / "run_3.nc", engine="h5netcdf")
    judged = extreme_weather.evaluate(
        run=tmp_path, data=data, prediction=tmp_path, figures=False, progress=False
    )
    rows = pick(judged["scores"], against="planted masks", name="prediction")
    assert {row["value"] for row in rows if row["measure"].startswith("iou")} == {1.0}
    assert value_of(rows, measure="found", at="atmospheric river") == 1
    assert value_of(rows, measure="false", at="atmospheric river") == 0


def test_periods_leave_no_room_where_gaps_are_too_long():
    from fieldwise.errors import InputError
    from fieldwise.samples.weather.records import Record

    season = Record("run_1", GlobalGrid.regular(5, 8), 3.0 * np.arange(10), lambda place: {})
    with pytest.raises(InputError, match="leave no training period"):
        part_by_periods([season], (0.8, 0.1, 0.1), gap_h=240.0)
