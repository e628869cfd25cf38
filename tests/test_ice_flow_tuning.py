"""Hyper-parameters of an emulator: the same search as any other recipe's."""

import shutil

import optuna
import pytest
from ice_flow_cases import write_cases

from fieldwise.cli import main
from fieldwise.errors import InputError
from fieldwise.recipes import ice_flow
from fieldwise.runs import read_metrics

SMALL = {
    "learning_rate": (1e-3, 4e-3),
    "layers": (2, 3),
    "filters": 8,
    "batch_size": (8, 16),
    "max_epochs": (1, 2),
    "fixed": {"patch_size": 16},
    "accelerator": "cpu",
    "tracker": "none",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ice_flow")
    source = write_cases(folder / "source", crs="EPSG:32632")
    return ice_flow.prepare(source=str(source), out=folder / "data", progress=False)


@pytest.fixture(scope="module")
def tuned(data, tmp_path_factory):
    study = tmp_path_factory.mktemp("study") / "study.db"
    return study, ice_flow.tune(data=data, study=study, trials=2, **SMALL)


def test_a_search_finds_the_least_validation_loss(tuned):
    study, options = tuned
    trials = optuna.load_study(study_name="ice_flow", storage=f"sqlite:///{study}").trials
    assert len(trials) == 2
    for trial in trials:
        run = study.with_suffix("") / f"trial_{trial.number:04d}"
        assert trial.value == pytest.approx(read_metrics(run)["val_loss"].min(), rel=1e-6)
        assert 1e-3 <= trial.params["learning_rate"] <= 4e-3
        assert trial.params["layers"] in (2, 3)
        assert trial.params["batch_size"] in (8, 16)
    best = min(trials, key=lambda trial: trial.value)
    assert options.items() >= best.params.items()
    assert options["patch_size"] == 16
    kept = {path.parents[1].name for path in study.parent.rglob("*.ckpt")}
    assert kept == {f"trial_{best.number:04d}"}


def test_a_search_ends_with_a_command(tuned, data, capsys):
    study, options = tuned
    assert ice_flow.tune(data=data, study=study, trials=2, **SMALL) == options
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2].startswith("best: trial ")
    assert "validation loss" in printed[-2]
    assert printed[-1].startswith("fieldwise ice_flow train --patch_size 16 --data ")


def test_test_cases_have_no_say(tuned, data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    for path in (tmp_path / "data").rglob("west/*.npy"):
        path.write_bytes(b"")
    ice_flow.tune(data=tmp_path / "data", study=tmp_path / "study.db", trials=1, progress=False, **SMALL)
    values = [
        optuna.load_study(study_name="ice_flow", storage=f"sqlite:///{study}").trials[0].value
        for study in (tuned[0], tmp_path / "study.db")
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": (0, 3)}, "--layers: is 0 3; give numbers above 0"),
        ({"filters": ()}, "--filters: names nothing to choose from; give some"),
        ({"fixed": {"layers": 3}}, "--fixed.layers: is set by tune; give --layers instead"),
        ({"fixed": {"loss": "huber"}}, "--loss: 'huber' is no loss"),
        ({"fixed": {"maptype": "f99"}}, "f99"),
    ],
)
def test_what_cannot_be_searched(data, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        ice_flow.tune(data=data, study=tmp_path / "study.db", trials=1, **SMALL | changes)
    assert not list(tmp_path.iterdir())


def test_a_study_belongs_to_its_recipe(tuned, data, tmp_path):
    study = tmp_path / "study.db"
    optuna.create_study(storage=f"sqlite:///{study}", study_name="bed_topography")
    with pytest.raises(InputError, match="holds no study of ice_flow; choose another --study"):
        ice_flow.tune(data=data, study=study, trials=1, **SMALL)


def test_a_recipe_without_tune_says_so(monkeypatch, capsys):
    monkeypatch.delattr(ice_flow, "tune")
    monkeypatch.setattr(ice_flow, "__all__", ["evaluate", "predict", "prepare", "train"])
    assert main(["ice_flow", "tune"]) == 2
    assert (
        "'tune' is no verb of ice_flow; choose prepare, train, predict, evaluate" in capsys.readouterr().err
    )
