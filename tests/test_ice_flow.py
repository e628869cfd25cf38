"""From frames to maps: what an emulator learns and gives."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from ice_flow_cases import TINY, frames_of, open_cases, write_cases, write_netcdf

from fieldwise.interop.emulators import load_emulator as load_files
from fieldwise.interop.onnx_file import save_onnx
from fieldwise.networks.convnet import ConvNet
from fieldwise.recipes import ice_flow
from fieldwise.recipes.ice_flow.networks import Emulator, load_emulator
from fieldwise.recipes.ice_flow.samples import find_centres, find_ice
from fieldwise.recipes.ice_flow.signatures import make_signature, read_signature, scales_of, write_map
from fieldwise.runs import read_metrics
from fieldwise.samples.frames import choose_patch, fit_ranges
from fieldwise.scores import format_table, value_of
from fieldwise.verbs.domains import partials


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ice_flow")
    source = write_cases(folder / "source", crs="EPSG:32632")
    return ice_flow.prepare(source=str(source), out=folder / "data", progress=False)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ice_flow_run")
    ice_flow.train(data=data, run=folder, **TINY)
    return folder


@pytest.fixture(scope="module")
def prediction(data, run):
    return ice_flow.predict(run=run, data=data, out=run / "prediction", progress=False)


# --- training -------------------------------------------------------------------------------------


def test_a_run_is_on_record(run):
    for name in ("config.yaml", "provenance.json", "fieldin.dat", "fieldout.dat", "figures/loss_curves.pdf"):
        assert (run / name).exists(), name
    assert read_signature(run) == read_signature("g15")
    facts = json.loads((run / "provenance.json").read_text())
    assert facts["training_seconds"] > 0
    metrics = read_metrics(run)
    assert metrics["val_loss"].notna().sum() == 2
    signature = load_emulator(run).signature
    assert signature.facts["learnt_from"] == ["training/north", "training/south"]
    assert {each.name: each.range for each in signature.inputs}["arrhenius"] == (78, 78)


def test_training_that_was_cut_off_goes_on_to_the_same_bits(data, run, tmp_path):
    ice_flow.train(data=data, run=tmp_path, **(TINY | {"max_epochs": 1}))
    ice_flow.train(data=data, run=tmp_path, **TINY)
    first, second = (load_emulator(folder, weights="last").network.state_dict() for folder in (run, tmp_path))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_it_learns(data, tmp_path):
    """On frames whose flow is shallow ice alone, the network has only its first error to unlearn."""
    ice_flow.train(data=data, run=tmp_path, **(TINY | {"max_epochs": 12, "learning_rate": 3e-3}))
    losses = read_metrics(tmp_path)["val_loss"].dropna().tolist()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("network", ["cnn", "unet", "fieldwise.networks.convnet.ConvNet"])
def test_the_original_settings_and_any_network(data, tmp_path, network):
    options = {"layers": None, "filters": None} if network == "unet" else {}
    options |= {"blocks": 2} if network == "unet" else {}
    plain = {"network": network, "scaling": "plain", "max_epochs": 1, "maptype": "f2"}
    ice_flow.train(data=data, run=tmp_path, **(TINY | plain | options))
    emulator = load_emulator(tmp_path)
    (case,) = open_cases(data, "test")
    assert emulator.apply(*emulator.read_frame(case, 0)).shape == (2, 24, 24)


def test_a_plain_network_is_left_for_other_models_too(data, tmp_path):
    ice_flow.train(
        data=data, run=tmp_path, **(TINY | {"network": "cnn", "scaling": "plain", "max_epochs": 1})
    )
    emulator, files = load_emulator(tmp_path), load_files(tmp_path)
    (case,) = open_cases(data, "test")
    inputs, _ = emulator.read_frame(case, 1)
    scaled = torch.from_numpy(inputs / np.array(list(files.inputs.values()))[:, None, None]).float()[None]
    with torch.inference_mode():
        torch.testing.assert_close(files.network(scaled), emulator.network(scaled), atol=1e-6, rtol=1e-5)


def test_scales_may_come_from_the_data(data, tmp_path):
    ice_flow.train(data=data, run=tmp_path, **(TINY | {"scales": "data", "maptype": "f2", "max_epochs": 1}))
    scales = scales_of(read_signature(tmp_path), "inputs")
    assert scales["thk"] == 200  # the thickest ice is 140 m
    assert scales["slopsurfx"] == scales["slopsurfy"]
    assert scales == scales_of(load_emulator(tmp_path).signature, "inputs")


def test_a_mapping_of_ones_own(data, tmp_path):
    folder = tmp_path / "fields"
    folder.mkdir()
    inputs = {"thk": 100.0, "usurf": 1000.0, "dX": 100.0}
    write_map(make_signature(inputs, {"ubar": 50.0, "vbar": 50.0}), folder)
    settings = TINY | {"maptype": str(folder), "scaling": "plain", "max_epochs": 1}
    ice_flow.train(data=data, run=tmp_path / "run", **settings)
    emulator = load_emulator(tmp_path / "run")
    inputs, _ = emulator.read_frame(open_cases(data, "test")[0], 0)
    assert (inputs[2] == 100).all()


def test_the_test_cases_are_learnt_from_only_when_asked(data, tmp_path):
    ice_flow.train(data=data, run=tmp_path, **(TINY | {"include_test_in_train": True, "max_epochs": 1}))
    assert "test/west" in load_emulator(tmp_path).signature.facts["learnt_from"]


def test_one_case_of_one_frame_is_enough(tmp_path):
    source = write_cases(tmp_path / "source", splits={"train": ["only"]}, frames=1)
    data = frames_of(source, tmp_path)
    ice_flow.train(data=data, run=tmp_path / "run", **(TINY | {"patch_size": 24, "max_epochs": 1}))
    out = ice_flow.predict(
        run=tmp_path / "run", data=data, out=tmp_path / "only.nc", split="training", progress=False
    )
    with xr.open_dataset(out, decode_times=False) as opened:
        assert opened["ubar"].shape == (1, 24, 24)
        assert opened.rio.crs is None


@pytest.mark.parametrize(("asked", "cells"), [(-1, 16), (24, 24), (7, 7)])
def test_edge_of_patches(data, asked, cells):
    assert choose_patch(asked, open_cases(data, "training")) == cells


def test_centres_of_patches_are_thick_enough(data):
    cases = open_cases(data, "training")
    masks = find_centres(cases, thicker_than_m=100)
    assert len(masks) == 4
    thickness = cases[0].stack(["thk"], frame=1)[0]
    np.testing.assert_array_equal(masks[1], thickness > 100)


def test_ranges_are_those_of_the_ice_and_turn_with_vectors(data):
    cases = open_cases(data, "training")
    ranges = {
        each.name: each.range for each in fit_ranges(read_signature("f2"), cases, where=find_ice).inputs
    }
    assert ranges["thk"][0] > 1
    slopes = np.stack(
        [case.stack(["slopsurfx", "slopsurfy"], frame=frame) for case in cases for frame in (0, 1)]
    )
    on_ice = np.stack([find_ice(case, frame) for case in cases for frame in (0, 1)])
    longest = np.abs(slopes).max(axis=1)[on_ice].max()
    assert ranges["slopsurf"] == (-longest, longest)


# --- prediction -----------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["equivariant", "unet"])
def test_blocks_give_the_same_as_the_whole(data, run, tmp_path, network):
    if network == "unet":
        run = tmp_path / "run"
        options = {"network": "unet", "layers": None, "filters": None, "blocks": 2, "max_epochs": 1}
        ice_flow.train(data=data, run=run, **(TINY | options))
    whole = ice_flow.predict(run=run, data=data, out=tmp_path / "whole.nc", progress=False)
    parts = ice_flow.predict(run=run, data=data, out=tmp_path / "parts.nc", block_cells=3, progress=False)
    first, other = (xr.load_dataset(path, decode_times=False) for path in (whole, parts))
    for name in first.data_vars.keys() - {"spatial_ref"}:
        np.testing.assert_allclose(first[name], other[name], atol=2e-4 * float(abs(first[name]).max()))


def test_the_emulator_is_written_as_onnx(data, run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install fieldwise[onnx]")
    emulator = load_emulator(run)
    sides = {side: scales_of(emulator.signature, side) for side in ("inputs", "outputs")}
    path = save_onnx(emulator.network, tmp_path / "emulator.onnx", **sides)
    frame = open_cases(data, "test")[0].stack(sides["inputs"])[None]
    frame /= np.array(list(sides["inputs"].values()), dtype=np.float32)[:, None, None]
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: frame})
    with torch.inference_mode():
        expected = emulator.network(torch.from_numpy(frame)).numpy()
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_prediction_says_what_it_is(run, tmp_path):
    source = write_cases(tmp_path / "source", splits={"test": ["west"]}, crs="EPSG:32632")
    path = source / "test" / "west" / "ex.nc"
    dated = xr.load_dataset(path, decode_times=False)
    dated["time"].attrs = {"units": "days since 2000-01-01", "calendar": "standard"}
    write_netcdf(dated, path)
    out = ice_flow.predict(
        run=run, data=frames_of(source, tmp_path), out=tmp_path / "west.nc", frame=1, progress=False
    )
    with xr.open_dataset(out) as opened:
        assert opened["time"].values == np.datetime64("2000-01-11")
        assert opened["uvelsurf"].attrs["standard_name"] == "land_ice_surface_x_velocity"
        assert opened["vbar"].attrs["units"] == "m year-1"  # to UDUNITS a-1 is no time
        mapping = opened["vbar"].attrs.get("grid_mapping") or opened["vbar"].encoding["grid_mapping"]
        assert opened[mapping].attrs["grid_mapping_name"] == "transverse_mercator"
        assert opened["x"].attrs["standard_name"] == "projection_x_coordinate"
        assert not any("_FillValue" in opened[dim].encoding for dim in ("time", "y", "x"))


def test_times_of_emulator_and_solver_stand_beside_each_other(data, run, tmp_path, capsys):
    ice_flow.predict(run=run, data=data, out=tmp_path / "out", solver_frames=1, progress=False)
    assert "ms a frame of 24 x 24 cells; the solver takes" in capsys.readouterr().out
    times = json.loads((tmp_path / "out" / "times.json").read_text())["west"]
    assert times["solver_s"] > times["emulator_s"] > 0


def test_within_the_trained_range_nothing_is_warned_of(data, run, tmp_path, capsys):
    ice_flow.predict(run=run, data=data, out=tmp_path / "out", split="training", progress=False)
    assert "warning" not in capsys.readouterr().out


def test_cells_of_another_size_are_warned_of(run, tmp_path, capsys):
    source = write_cases(tmp_path / "source", splits={"test": ["west"]})
    data = ice_flow.prepare(source=str(source), out=tmp_path / "data", resample=2, progress=False)
    ice_flow.predict(run=run, data=data, out=tmp_path / "west.nc", progress=False)
    assert "case test/west: cells of 200 m, training has seen 100 m; bring" in capsys.readouterr().out


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_prediction_that_was_cut_off_goes_on_with_the_missing_frames(run, tmp_path, monkeypatch, error):
    """Five frames, each in a file of its own; the fourth breaks off."""
    source = write_cases(tmp_path / "source", splits={"test": ["long"]}, frames=5)
    options = {"run": run, "data": frames_of(source, tmp_path), "progress": False}
    straight = ice_flow.predict(out=tmp_path / "straight.nc", **options)
    answer, seen = Emulator.__call__, []

    def break_off(emulator, arrays):
        seen.append(arrays["thk"].copy())
        if len(seen) == 4:
            raise error("broken off")
        return answer(emulator, arrays)

    monkeypatch.setattr(partials, "GROUP_BYTES", 1)
    monkeypatch.setattr(Emulator, "__call__", break_off)
    with pytest.raises(error, match="broken off"):
        ice_flow.predict(out=tmp_path / "out", **options)
    assert not (tmp_path / "out" / "long.nc").exists()
    ice_flow.predict(out=tmp_path / "out", **options)
    (case,) = open_cases(options["data"], "test")
    for given, frame in zip(seen, [0, 1, 2, 3, 3, 4], strict=True):
        np.testing.assert_array_equal(given, case.stack(["thk"], frame=frame))
    with xr.open_dataset(straight) as expected, xr.open_dataset(tmp_path / "out" / "long.nc") as found:
        xr.testing.assert_equal(found, expected)


# --- other emulators, real glaciers ---------------------------------------------------------------


def test_an_emulator_of_other_models_predicts(data, tmp_path):
    from fieldwise.interop.emulators import save_emulator

    torch.manual_seed(0)
    sides = {side: scales_of(read_signature("f11"), side) for side in ("inputs", "outputs")}
    save_emulator(ConvNet(5, 2, layers=2), tmp_path, **sides)
    out = ice_flow.predict(run=tmp_path, data=data, out=tmp_path / "west.nc", progress=False)
    with xr.open_dataset(out, decode_times=False) as opened:
        assert float(abs(opened["ubar"]).max()) > 0


@pytest.fixture(scope="module")
def aletsch():
    path = Path(__file__).parents[1] / "benchmarks" / "real_data" / "aletsch.py"
    spec = importlib.util.spec_from_file_location("aletsch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_perfect_emulator_of_an_observed_glacier(data, run, aletsch):
    emulator = load_emulator(run)
    (case,) = open_cases(data, "test")
    observed = emulator.apply(*emulator.read_frame(case, 0))[-2:].copy()
    observed *= 40 / np.abs(observed).max()
    observed[:, 3, 3:9] = np.nan
    scores = aletsch.compare_with_observed(emulator, case, observed, name="ours")
    assert value_of(scores, measure="correlation") == pytest.approx(1)
    assert value_of(scores, measure="direction_cosine") == pytest.approx(1, abs=1e-6)
    assert value_of(scores, measure="leakage") == 0
    assert "leakage of network (m/a)" in format_table(scores)


def test_an_observed_glacier_is_a_case(tmp_path, aletsch):
    axis = [0.0, 100.0, 200.0]
    fields = {"thkinit": np.full((3, 3), 80.0), "usurfobs": np.eye(3)}
    fields |= {"uvelsurfobs": np.full((3, 3), 7.0), "vvelsurfobs": np.arange(9.0).reshape(3, 3)}
    dataset = xr.Dataset({name: (("y", "x"), each) for name, each in fields.items()}, {"y": axis, "x": axis})
    write_netcdf(dataset, tmp_path / "glacier.nc")
    case = aletsch.prepare_observed(tmp_path / "glacier.nc", tmp_path / "data", crs="EPSG:32632")
    assert str(case) == "test/glacier"
    assert case.stack(["thk", "arrhenius"])[:, 0, 0].tolist() == [80, 78]
    velocity = aletsch.read_observed_velocity(tmp_path / "glacier.nc", crs="EPSG:32632")
    assert velocity[:, 0].tolist() == [[7, 7, 7], [6, 7, 8]]  # the north is the last row of the file
