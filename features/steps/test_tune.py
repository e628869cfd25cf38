"""Steps of tune.feature."""

import json
import shutil
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest
import torch
from pytest_bdd import given, parsers, scenarios, then, when

from conftest import write_own_files
from fieldwise.errors import InputError
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.tune import find_hopeless
from fieldwise.verbs.trials import Target, make_watch

scenarios("tune.feature")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    source = write_own_files(folder / "files")
    return bed_topography.prepare(source=str(source), out=folder / "data", step_cells=24, progress=False)


@given("a survey of my own, prepared", target_fixture="data")
def _(prepared):
    return prepared


@given("ranges for a quick search", target_fixture="ranges")
def _():
    return {
        "learning_rate": (1e-4, 1e-3),
        "num_residual_blocks": (1, 1),
        "residual_scaling": (0.1, 0.3),
        "batch_size": (8, 16),
        "max_epochs": (1, 1),
        "fixed": {"adversarial_weight": 0.0},
        "accelerator": "cpu",
        "tracker": "none",
    }


@pytest.fixture
def search(data, ranges, tmp_path, capsys):
    """Give a function that searches in one study, with the ranges but for what is given; capsys hears it."""

    def run(**changes):
        options = {"data": data, "study": tmp_path / "study.db"} | ranges | changes
        bed_topography.tune(**options, progress=False)
        return optuna.load_study(study_name="bed_topography", storage=f"sqlite:///{options['study']}")

    return run


@when(parsers.parse("I search with {trials:d} trials"), target_fixture="study")
def _(search, trials):
    return search(trials=trials)


@when(parsers.parse("I search with {first:d} trials, and later with {then:d}"), target_fixture="study")
def _(search, first, then):
    search(trials=first)
    return search(trials=then)


@when(parsers.parse("a trial's validation error is {errors}"), target_fixture="study")
def _(errors, tmp_path):
    def follow(trial):
        watch = make_watch(trial, tmp_path, Target("val_rmse_m", "validation RMSE", hopeless=find_hopeless))
        for epoch, word in enumerate(errors.split(", ")):
            error = torch.tensor(float(word), dtype=torch.float64)
            metrics = {"val_rmse_m": error}
            watch.on_validation_end(SimpleNamespace(callback_metrics=metrics, current_epoch=epoch), None)
        return 0.0

    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    study.optimize(follow, n_trials=1)
    return study


@when(parsers.parse("I try to search with {option} = {value}"), target_fixture="complaint")
def _(search, option, value, tmp_path):
    words = value.split(", ")
    if words[0][0].isdigit():
        kind = int if all(word.isdigit() for word in words) else float
        words = [kind(word) for word in words]
    given = tuple(words) if len(words) > 1 else words[0]
    changes = {"fixed": {option[6:]: given}} if option.startswith("fixed.") else {option: given}
    with pytest.raises(InputError) as caught:
        search(**({"trials": 1} | changes))
    assert not list(tmp_path.rglob("*.ckpt"))
    return str(caught.value)


@when("I try to go on with another survey", target_fixture="complaint")
def _(search, data, tmp_path):
    shutil.copytree(data, tmp_path / "other")
    content = json.loads((data / "provenance.json").read_text())
    content["sha256"] = dict.fromkeys(content["sha256"], "0" * 64)
    (tmp_path / "other" / "provenance.json").write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        search(data=tmp_path / "other", trials=2)
    return str(caught.value)


@then(parsers.parse("the study holds {count:d} trials"))
def _(study, count):
    assert len(study.trials) == count
    assert all(trial.state.is_finished() for trial in study.trials)


@then("the best trial is the one with the least validation error")
def _(study, tmp_path):
    errors = [
        pd.read_csv(tmp_path / "study" / f"trial_{number:04d}" / "logs" / "part_0" / "metrics.csv")[
            "val_rmse_m"
        ]
        for number in range(len(study.trials))
    ]
    least = [error.min() for error in errors]
    assert study.best_trial.number == least.index(min(least))


@then("I am shown the command that trains with its hyper-parameters")
def _(study, capsys):
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed.startswith("fieldwise bed_topography train ")
    for name, value in study.best_params.items():
        assert f"--{name} {value} " in f"{printed} "


@then("only the weights of the best trial are kept")
def _(study, tmp_path):
    kept = {path.parents[1].name for path in tmp_path.rglob("*.ckpt")}
    assert kept == {f"trial_{study.best_trial.number:04d}"}


@then(parsers.parse("there are figures of the search: {names}"))
def _(names, tmp_path):
    for name in names.split(", "):
        assert (tmp_path / "study" / "figures" / f"{name}.png").stat().st_size > 1000


@then("no hyper-parameters were tried twice")
def _(study):
    rates = [trial.params["learning_rate"] for trial in study.trials]
    assert len(set(rates)) == len(rates)


@then(parsers.parse("the trial is given up after {epochs:d} epochs"))
def _(study, epochs):
    (trial,) = study.trials
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert len(trial.intermediate_values) == epochs
