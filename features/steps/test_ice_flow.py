"""Steps of ice_flow.feature."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from pytest_bdd import given, parsers, scenarios, then, when

from fieldwise.errors import InputError
from fieldwise.recipes import ice_flow
from fieldwise.recipes.ice_flow.networks import load_emulator
from fieldwise.runs import read_metrics
from fieldwise.samples.loaders import turn
from fieldwise.scores import pick, read_scores, value_of

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from ice_flow_cases import open_cases, write_cases

scenarios("ice_flow.feature")

TINY = {"layers": 2, "filters": 8, "patch_size": 16, "batch_size": 8, "seed": 3, "max_epochs": 1}
TINY |= {"accelerator": "cpu", "tracker": "none", "progress": False}
TURNS = {
    "turned by a quarter": 1,
    "turned by a half": 2,
    "turned by three quarters": 3,
    "mirrored west to east": 4,
    "mirrored north to south": 6,
}


@given("glaciers whose flow is known, in folders train, valid and test", target_fixture="source")
def _(tmp_path):
    return write_cases(tmp_path / "source")


@given("they are prepared", target_fixture="data")
def _(source, tmp_path):
    return ice_flow.prepare(source=str(source), out=tmp_path / "data", progress=False)


@pytest.fixture
def train(data, tmp_path):
    """Give a function that trains a tiny emulator, and returns its run folder."""

    def run(**changes):
        ice_flow.train(**{"data": data, "run": tmp_path / "run"} | TINY | changes)
        return tmp_path / "run"

    return run


@when(parsers.parse("I train an emulator of map type {maptype} for 1 epoch"), target_fixture="run")
def _(train, maptype):
    return train(maptype=maptype)


@given(parsers.parse("an emulator with {network}"), target_fixture="run")
def _(train, network):
    return train(network=network.split()[0])


@given(parsers.parse("an emulator with {network} symmetrised"), target_fixture="run")
def _(train, network):
    return train(network=network)


@when(parsers.parse("I train an emulator with the loss energy for {epochs:d} epochs"), target_fixture="run")
def _(train, epochs):
    return train(loss="energy", max_epochs=epochs, learning_rate=1e-3)


@then(parsers.parse("it reads {names}"))
def _(run, names):
    assert load_emulator(run).signature.fields("inputs") == names.split(", ")


@then(parsers.parse("it gives {names}"))
def _(run, names):
    assert load_emulator(run).signature.fields("outputs") == names.split(", ")


@when(parsers.re("the glacier is (?P<turned>turned.*|mirrored.*)"), target_fixture="answers")
def _(run, data, turned, request):
    symmetrise = "symmetrised" in request.node.name
    emulator = load_emulator(run, symmetrise=symmetrise)
    (case,) = open_cases(data, "test")
    inputs, ice = emulator.read_frame(case, 0)
    vectors = emulator.signature.vectors()
    moved = turn(
        {"inputs": torch.from_numpy(inputs)[None], "ice": torch.from_numpy(ice)[None, None]},
        TURNS[turned],
        vectors=vectors,
    )
    straight = {"targets": torch.from_numpy(emulator.apply(inputs, ice))[None]}
    expected = turn(straight, TURNS[turned], vectors=vectors)["targets"][0]
    return emulator.apply(moved["inputs"][0].numpy(), moved["ice"][0, 0].numpy()), expected.numpy()


@then(parsers.re("its predicted flow is (?P<turned>.*) too"))
def _(answers):
    found, expected = answers
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@when("I predict the test glaciers", target_fixture="prediction")
def _(run, data, tmp_path):
    return ice_flow.predict(run=run, data=data, out=tmp_path / "prediction", progress=False)


@then("the velocity is exactly 0 wherever there is no ice")
def _(prediction, data):
    for case in open_cases(data, "test"):
        with xr.open_dataset(prediction / f"{case.name}.nc", decode_times=False) as opened:
            for frame in range(case.frames):
                rock = case.stack(["thk"], frame=frame)[0] <= 0
                assert rock.any()
                assert all((opened[name].values[frame][rock] == 0).all() for name in ("ubar", "vvelsurf"))


@then("somewhere on the ice it is not")
def _(prediction):
    with xr.open_dataset(prediction / "west.nc", decode_times=False) as opened:
        assert np.abs(opened["uvelsurf"].values).max() > 0


@given(parsers.parse("a glacier in the projection {crs}"), target_fixture="glacier")
def _(crs, tmp_path):
    source = write_cases(tmp_path / "projected", splits={"test": ["mine"]}, frames=1, crs=crs)
    return ice_flow.prepare(source=str(source), out=tmp_path / "glacier", progress=False)


@when(parsers.parse("I predict it as {file}"), target_fixture="result")
def _(run, glacier, file, tmp_path):
    return ice_flow.predict(run=run, data=glacier, out=tmp_path / file, progress=False)


@then(parsers.parse("{file} lies in the projection {crs} on the grid of the glacier"))
def _(result, file, crs, glacier):
    import rasterio

    grid = open_cases(glacier, "test")[0].grid
    assert result.name == file
    if result.suffix == ".tif":
        with rasterio.open(result) as opened:
            assert opened.crs.to_string() == crs
            assert opened.shape == grid.shape
            assert opened.xy(0, 0) == (grid.x[0], grid.y[0])
            assert opened.descriptions[0] == "uvelbase"
    else:
        with xr.open_dataset(result, decode_coords="all", decode_times=False) as opened:
            assert opened.rio.crs.to_string() == crs
            np.testing.assert_array_equal(opened["y"], grid.y)
            assert opened["ubar"].attrs["units"] == "m year-1"


@when("I predict a glacier three times as thick", target_fixture="warning")
def _(run, tmp_path, capsys):
    source = write_cases(tmp_path / "thick", splits={"test": ["thick"]})
    path = source / "test" / "thick" / "ex.nc"
    with xr.open_dataset(path, decode_times=False) as opened:
        thick = opened.load().assign(thk=3 * opened["thk"])
    path.unlink()
    thick.to_netcdf(path, engine="h5netcdf")
    data = ice_flow.prepare(source=str(source), out=tmp_path / "thick_data", progress=False)
    capsys.readouterr()
    ice_flow.predict(run=run, data=data, out=tmp_path / "thick.nc", progress=False)
    with xr.open_dataset(tmp_path / "thick.nc", decode_times=False) as opened:
        assert opened["beyond_training"].values.any()
    return capsys.readouterr().out


@then("I am warned that thk leaves what training has seen")
def _(warning):
    assert "warning: case test/thick: inputs leave what training has seen" in warning
    assert "thk" in warning


@when("I evaluate the prediction", target_fixture="scores")
def _(run, data, prediction):
    return ice_flow.evaluate(run=run, data=data, prediction=prediction, figures=False, progress=False)


@then(parsers.parse("the scores tell {names}"))
def _(scores, names, run):
    told = {row["measure"] for row in pick(scores["scores"], against="test", name="prediction")}
    assert set(names.split(", ")) <= told
    assert read_scores(run / "scores.json") == scores


@then("the leakage is exactly 0")
def _(scores):
    assert value_of(scores["scores"], measure="leakage") == 0


@then("the symmetry error is below 2 %")
def _(scores):
    assert 0 <= value_of(scores["scores"], measure="symmetry_error") < 0.02


@then("the energy of its flow falls")
def _(run):
    losses = read_metrics(run)["val_loss"].dropna().tolist()
    assert losses[-1] < losses[0]


@when(parsers.parse("I try to train with {setting} = {value}"), target_fixture="complaint")
def _(train, setting, value, tmp_path):
    number = int(value) if value.isdigit() else value
    with pytest.raises(InputError) as caught:
        train(**{setting: number})
    assert not list(tmp_path.rglob("*.ckpt"))
    return str(caught.value)
