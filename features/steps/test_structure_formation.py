"""Steps of structure_formation.feature."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from pytest_bdd import given, parsers, scenarios, then, when

from fieldwise.errors import InputError
from fieldwise.interop.map2map_state import save_map2map
from fieldwise.networks.valid.unet import UNet
from fieldwise.recipes import structure_formation
from fieldwise.samples.prepared import Prepared
from fieldwise.scores import pick

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from boxes_of_matter import SMALL, evaluate, predict, prepare, train

scenarios("structure_formation.feature")


def open_case(data, split="test"):
    return Prepared(data).cases(split)[0]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Keep what several scenarios begin with: a name to the folder that was made."""
    return {"folder": tmp_path_factory.mktemp("known")}


@given(parsers.parse("made boxes in {dimensions:d} dimensions"), target_fixture="data")
def _(dimensions, known):
    if dimensions not in known:
        options = {"dimensions": 3, "cells": 8} if dimensions == 3 else {}
        known[dimensions] = prepare(known["folder"] / f"boxes_{dimensions}", **options)
    return known[dimensions]


@given("pairs of coarse and fine boxes", target_fixture="data")
def _(tmp_path):
    return prepare(tmp_path / "data", cells=8, scale_factor=2)


@given("an emulator that has learnt from them", target_fixture="run")
def _(data, known):
    if data not in known:
        known[data] = train(data, known["folder"] / f"run_of_{data.name}", learning_rate=0.01, **SMALL)
    return known[data]


@given("an emulator that reads the growth factor", target_fixture="run")
def _(data, tmp_path):
    return train(data, tmp_path / "run", learning_rate=0.01, style=["growth_factor"], **SMALL)


@given("a super-resolver that has learnt from them", target_fixture="run")
def _(data, tmp_path):
    return train(data, tmp_path / "run", learning_rate=0.01, network_options=SMALL)


@when("I predict the boxes that it has not seen", target_fixture="prediction")
def _(run, data, tmp_path):
    return predict(run, data, tmp_path / "prediction")


@when("I evaluate the prediction", target_fixture="scores")
def _(run, data, prediction):
    return evaluate(run, data, prediction)["scores"]


@then(parsers.parse("the scores tell {measures} of {names}"))
def _(request, measures, names):
    wanted = [(measure, name) for measure in measures.split(", ") for name in names.split(", ")]
    if "scores" not in request.fixturenames:
        run, data, prediction = map(request.getfixturevalue, ("run", "data", "prediction"))
        scores = evaluate(run, data, prediction)["scores"]
    else:
        scores = request.getfixturevalue("scores")
    for measure, name in wanted:
        rows = pick(scores, against="test", measure=measure, name=name)
        assert rows, (measure, name)
        assert all(np.isfinite(row["value"]) for row in rows)


@then("each power ratio stands beside its wavenumber")
def _(scores):
    wavenumbers = [row["at"] for row in pick(scores, measure="power_ratio", name="prediction")]
    assert len(wavenumbers) == 4
    assert wavenumbers == sorted(wavenumbers)
    assert 0 < wavenumbers[0] < wavenumbers[-1] <= np.pi / 4.0 + 1e-9  # the Nyquist wavenumber of 4 Mpc/h


# --- boxes of one's own -------------------------------------------------------------------------------


@given("fields of my own as files in the other order of bytes", target_fixture="own")
def _(tmp_path):
    for number in range(3):
        values = np.random.default_rng(number).normal(size=(2, 16, 16))
        np.save(tmp_path / f"linear_{number}.npy", values.astype(">f8"))
        np.save(tmp_path / f"moved_{number}.npy", (2 * values).astype(">f4"))
    fields = "inputs: {displacement_linear: linear_*.npy}, targets: {displacement: moved_*.npy}"
    (tmp_path / "own.yaml").write_text(f"{{spacing: 4.0, training: {{{fields}}}}}")
    return tmp_path / "own.yaml"


@when("I prepare them by a list of patterns", target_fixture="data")
def _(own, tmp_path):
    return structure_formation.prepare(source=str(own), out=tmp_path / "data", progress=False)


@then("the first file of one field belongs to the first of the other")
def _(data):
    for case in Prepared(data).cases("training"):
        read = case.read(["displacement_linear", "displacement"])
        np.testing.assert_allclose(read["displacement"], 2 * read["displacement_linear"], rtol=1e-6)


@then("a training of one epoch leaves a network")
def _(data, tmp_path):
    run = train(data, tmp_path / "run", **SMALL)
    assert (run / "checkpoints" / "best.ckpt").exists()


# --- blocks, members and velocities ------------------------------------------------------------------


@when(parsers.parse("I predict a box as a whole and in blocks of {cells:d} cells"), target_fixture="boxes")
def _(run, data, cells, tmp_path):
    paths = [
        predict(run, data, tmp_path / f"{name}.npy", block_cells=size)
        for name, size in (("whole", None), ("blocks", cells))
    ]
    return [np.load(path) for path in paths]


@then("both agree to rounding")
def _(boxes):
    whole, blocks = boxes
    assert np.abs(whole).max() > 0
    np.testing.assert_allclose(blocks, whole, rtol=0, atol=3e-6 * np.abs(whole).max())


@given("a box of initial conditions alone, of another size", target_fixture="alone")
def _(tmp_path):
    np.save(tmp_path / "linear.npy", np.random.default_rng(0).normal(size=(2, 12, 20)))
    text = "{spacing: 4.0, test: {inputs: {displacement_linear: linear.npy}}}"
    (tmp_path / "alone.yaml").write_text(text)
    source = str(tmp_path / "alone.yaml")
    return structure_formation.prepare(source=source, out=tmp_path / "alone", progress=False)


@when("I predict it", target_fixture="box")
def _(run, alone, tmp_path):
    return np.load(predict(run, alone, tmp_path / "box.npy"))


@then("the prediction has the size of that box")
def _(box):
    assert box.shape == (2, 12, 20)
    assert np.isfinite(box).all()


@when(parsers.parse("I draw {members:d} members of a box"), target_fixture="prediction")
def _(run, data, members, tmp_path):
    return predict(run, data, tmp_path / "prediction", members=members, keep_members=True, kind="npy")


@then("they differ from each other")
def _(prediction):
    members = np.load(prediction / "box_0005_out.npy")
    assert members.shape == (3, 2, 16, 16)
    assert members.std(axis=0).min() > 0


@then(parsers.parse("the first two are those that I get when I draw {members:d}"))
def _(run, data, prediction, members, tmp_path):
    again = predict(run, data, tmp_path / "again.npy", members=members, keep_members=True)
    np.testing.assert_array_equal(np.load(again), np.load(prediction / "box_0005_out.npy")[:members])


@when("I predict the boxes with their velocity", target_fixture="prediction")
def _(run, data, tmp_path):
    return predict(run, data, tmp_path / "prediction", velocity=True)


@then(parsers.parse("each displacement has a velocity in {units}"))
def _(prediction, units):
    with xr.open_dataset(prediction / "box_0005.nc", engine="h5netcdf") as opened:
        for axis in "xy":
            velocity = opened[f"velocity_{axis}"]
            assert velocity.attrs["units"] == units
            assert velocity.shape == opened[f"displacement_{axis}"].shape
            assert float(abs(velocity).max()) > 0


# --- weights of others, and mistakes ------------------------------------------------------------------


@given("a state file as map2map writes it", target_fixture="published")
def _(tmp_path):
    torch.manual_seed(0)
    network = UNet(2, 2, dimensions=2, features=4).eval()
    save_map2map(network, tmp_path / "state_128.pt")
    return network, tmp_path / "state_128.pt"


@when("I predict the boxes with these weights", target_fixture="prediction")
def _(published, data, tmp_path):
    return predict(tmp_path, data, tmp_path / "prediction", weights=str(published[1]), kind="npy")


@then("the prediction is what the network of that file gives")
def _(published, data, prediction):
    fields = open_case(data).read(["displacement_linear"])["displacement_linear"]
    around = np.pad(fields, [(0, 0), (20, 20), (20, 20)], mode="wrap")
    with torch.inference_mode():
        expected = published[0](torch.from_numpy(around)[None])[0].numpy()
    np.testing.assert_allclose(
        np.load(prediction / "box_0005_out.npy"), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@when(parsers.parse("I try to train with {setting} = {value}"), target_fixture="complaint")
def _(data, setting, value, tmp_path):
    listed = {"crop": [value], "in_pad": [value], "style": [value]}.get(setting, value)
    numbers = [int(each) for each in listed] if setting in ("crop", "in_pad") else listed
    with pytest.raises(InputError) as caught:
        train(data, tmp_path / "run", **{setting: numbers})
    assert not (tmp_path / "run").exists()
    return str(caught.value)
