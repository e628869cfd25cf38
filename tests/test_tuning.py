"""A search: what it searches, what it leaves, what is given up, what its command does."""

import inspect
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest
import torch
from optuna.trial import TrialState
from PIL import Image
from searching import SMALL, load, metrics_of, pretend_to_train, words_of

from fieldwise.cli import main
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.tune import find_hopeless
from fieldwise.verbs import studies
from fieldwise.verbs.trials import Log, Target, make_watch, suggest

PUBLISHED = {  # Table B1 of Leong & Horgan (2020)
    "learning_rate": (1e-4, 2e-4),
    "num_residual_blocks": (8, 14),
    "residual_scaling": (0.1, 0.5),
    "batch_size": (64, 128),
    "max_epochs": (90, 150),
}
RANGES = PUBLISHED | {"learning_rate": Log(1e-4, 2e-4), "batch_size": [64, 128]}
ERROR = Target("val_rmse_m", "validation RMSE", "m", hopeless=find_hopeless)


# --- what is searched ------------------------------------------------------------------------------


def test_ranges_are_those_published():
    options = inspect.signature(bed_topography.tune).parameters
    assert {name: options[name].default for name in PUBLISHED} == PUBLISHED


def test_suggestions_lie_in_the_ranges_and_differ():
    drawn = []
    for number in range(60):
        study = optuna.create_study(sampler=studies.make_sampler(42, number))
        drawn.append(suggest(study.ask(), RANGES))
    table = pd.DataFrame(drawn)
    for name in ("learning_rate", "num_residual_blocks", "residual_scaling", "max_epochs"):
        low, high = PUBLISHED[name]
        assert table[name].between(low, high).all()
        assert table[name].max() - table[name].min() > 0.7 * (high - low)
    assert set(table["num_residual_blocks"]) == set(range(8, 15))
    assert set(table["batch_size"]) == {64, 128}
    # Half of a logarithmic range lies below its geometric mean, 1.41e-4; of a plain one, below 1.5e-4.
    assert table["learning_rate"].nunique() == 60
    again = optuna.create_study(sampler=studies.make_sampler(42, 7))
    assert suggest(again.ask(), RANGES) == drawn[7]


# --- what a study leaves ---------------------------------------------------------------------------


def test_values_are_the_least_validation_errors(tuned):
    trials = load(tuned[0]).trials
    assert [trial.number for trial in trials if trial.state in studies.ENDED] == [0, 1, 2]
    for trial in trials:
        errors = metrics_of(tuned[0], trial.number)["val_rmse_m"].dropna()
        assert trial.value == pytest.approx(errors.min(), rel=1e-6)
        assert trial.intermediate_values == pytest.approx(errors.cummin().reset_index(drop=True).to_dict())


def test_a_study_goes_on_as_if_it_had_not_stopped(tuning_data, tmp_path, pretending):
    """Sampling depends on the seed, the trial's number and what earlier trials gave, on nothing else."""
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    for study, parts in ((one, [24]), (other, [2, 22, 24])):
        for trials in parts:
            bed_topography.tune(data=tuning_data, study=study, trials=trials, progress=False, **SMALL)
    assert [trial.params for trial in load(one).trials] == [trial.params for trial in load(other).trials]
    assert len({trial.params["learning_rate"] for trial in load(one).trials}) == 24


def test_a_study_that_is_done_trains_no_more(tuned, tuning_data, monkeypatch, capsys):
    pretend_to_train(monkeypatch, None)
    assert bed_topography.tune(data=tuning_data, study=tuned[0], trials=3, **SMALL) == tuned[1]
    assert "3 trials, " in capsys.readouterr().out


def test_weights_of_the_best_trial_alone_are_kept(tuned):
    best = load(tuned[0]).best_trial.number
    kept = sorted(path.relative_to(tuned[0].parent) for path in tuned[0].parent.rglob("*.ckpt"))
    folder = Path("study") / f"trial_{best:04d}" / "checkpoints"
    assert kept == [folder / "best.ckpt", folder / "last.ckpt"]


def test_figures_are_pictures(tuned):
    names = {"study_history", "study_courses", "study_parameters"}
    paths = {path.stem: path for path in (tuned[0].with_suffix("") / "figures").glob("*.png")}
    assert paths.keys() >= names
    for path in paths.values():
        with Image.open(path) as picture:
            assert len(picture.convert("L").getcolors(256)) > 2


def test_the_command_trains_the_best_network_again(tuned, tuning_data, tmp_path, monkeypatch, capsys):
    bed_topography.tune(data=tuning_data, study=tuned[0], trials=3, **SMALL)
    line = capsys.readouterr().out.splitlines()[-1]
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)
    assert words[0] == "fieldwise"
    words[words.index("--run") + 1] = str(tmp_path / "run")
    assert main([*words[1:], "--accelerator", "cpu", "--progress", "false", "--tracker", "none"]) == 0
    number = load(tuned[0]).best_trial.number
    one, other = (
        torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        for folder in (tmp_path / "run", tuned[0].with_suffix("") / f"trial_{number:04d}")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_held_out_has_no_say(tuned, tuning_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tuning_data, data)
    (data / "held_out.nc").unlink()
    bed_topography.tune(data=data, study=tmp_path / "study.db", trials=1, progress=False, **SMALL)
    assert load(tmp_path / "study.db").trials[0].value == load(tuned[0]).trials[0].value


# --- what is given up ------------------------------------------------------------------------------


def epochs_of(trial, errors, run):
    """Let a trial's watch see errors epoch by epoch."""
    watch = make_watch(trial, run, ERROR)
    for epoch, error in enumerate(errors):
        metrics = {"val_rmse_m": torch.tensor(error)}
        watch.on_validation_end(SimpleNamespace(callback_metrics=metrics, current_epoch=epoch), None)
    return min(errors)


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ([50.0, float("nan")], "the error is nan"),
        ([float("inf")], "the error is inf"),
        ([5e9], "the error is 5e+09 m"),  # a PSNR of -1.3 dB as published
    ],
)
def test_hopeless_trials_are_given_up(tmp_path, errors, reason):
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    weights = tmp_path / "checkpoints" / "best.ckpt"
    weights.parent.mkdir()
    weights.touch()
    study.optimize(lambda trial: epochs_of(trial, errors, tmp_path), n_trials=1)
    (trial,) = study.trials
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["reason"] == reason
    assert not weights.exists()


def test_hyperband_gives_up_the_worse_and_spares_the_best(tmp_path):
    """Thirty trials, trial k tends to 10 k metres: many of the worse end early, the best does not."""
    pruner = studies.make_pruner(least=1, most=9)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0), pruner=pruner)
    study.optimize(
        lambda trial: epochs_of(trial, [10.0 * trial.number + 5 / (n + 1) for n in range(9)], tmp_path),
        n_trials=30,
    )
    states = [trial.state for trial in study.trials]
    assert states[0] == TrialState.COMPLETE
    assert states[10:].count(TrialState.PRUNED) >= 10
    epochs = {len(trial.intermediate_values) for trial in study.trials if trial.state == TrialState.PRUNED}
    assert epochs <= {1, 2, 3, 4}


def test_the_least_error_so_far_is_what_counts(tmp_path):
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    study.optimize(lambda trial: epochs_of(trial, [50.0, 40.0, 90.0], tmp_path), n_trials=1)
    assert study.trials[0].intermediate_values == {0: 50.0, 1: 40.0, 2: 40.0}


def test_a_study_of_diverging_trials_says_so(tuning_data, tmp_path, refusal, capsys):
    ranges = SMALL | {"learning_rate": (1e29, 1e30), "batch_size": (1, 1)}  # a batch more, and all is lost
    study = tmp_path / "study.db"
    command = ["tune", "--data", tuning_data, "--study", study, "--trials", 2, *words_of(ranges)]
    line = refusal(*command)
    assert "every trial was given up; choose other ranges, or lower --learning_rate" in line
    trials = load(study).trials
    assert [trial.state for trial in trials] == [TrialState.PRUNED] * 2
    assert {trial.user_attrs["reason"] for trial in trials} == {"training diverged"}


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "."], "is no prepared folder"),
        (["--study", "study"], "--study: is study; give a name that ends in .db"),
        (["--trials", 0], "--trials: is 0; give at least 1"),
        (["--learning_rate", "2e-4", "1e-4"], "--learning_rate: is 0.0002 to 0.0001; give the least first"),
        (["--learning_rate", "0", "1e-4"], "--learning_rate: is 0.0 0.0001; give numbers above 0"),
        (["--learning_rate", "nan", "1e-4"], "--learning_rate"),
        (["--learning_rate", "1e-4"], "--learning_rate"),
        (["--num_residual_blocks", 0, 2], "--num_residual_blocks: is 0 2; give numbers above 0"),
        (["--batch_size", "[]"], "--batch_size: names nothing to choose from; give some"),
        (["--max_epochs", "many", "more"], "--max_epochs"),
        (["--min_epochs", 9], "--min_epochs: is 9; give 1 to 2"),
        (["--fixed.momentum", 0.9], "--fixed.momentum: train has no such option"),
        (["--fixed.seed", 9], "--fixed.seed: is set by tune; give --seed instead, or leave it out"),
        (["--fixed.augment", "twice"], "--fixed.augment: "),
        (["--fixed.inputs", "gravity"], "holds no gravity"),
        (["--fixed.weight_decay", -1], "--weight_decay: is -1; give at least 0"),
        (["--seed", -1], "--seed: is -1; give at least 0"),
        (["--accelerator", "abacus"], "--accelerator: is 'abacus'; give cpu, gpu or auto"),
    ],
)
def test_tune_refuses(tuning_data, tmp_path, monkeypatch, refusal, words, message):
    monkeypatch.chdir(tmp_path)
    given = {"--data": [tuning_data], "--study": [tmp_path / "study.db"], "--trials": [1]}
    common = [word for name, value in given.items() if name not in words for word in (name, *value)]
    small = {name: value for name, value in SMALL.items() if f"--{name}" not in words}
    line = refusal("tune", *common, *words_of(small), *words)
    assert re.search(message, line), line
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not list(tmp_path.rglob("*.db"))  # which would hold the next search to this one's settings
