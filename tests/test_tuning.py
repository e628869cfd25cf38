"""A study: what it searches, that it resumes and is shared, what is given up, what its command does."""

import contextlib
import json
import math
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest
import torch
from optuna.trial import TrialState
from PIL import Image

from conftest import write_own_files
from fieldwise.cli import main
from fieldwise.errors import InputError
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography import studies, tuning

PAUSE_S = float(os.environ.get("PAUSE_S", 0))  # an epoch of pretended training
PUBLISHED = {  # Table B1 of Leong & Horgan (2020)
    "learning_rate": (1e-4, 2e-4),
    "num_residual_blocks": (8, 14),
    "residual_scaling": (0.1, 0.5),
    "batch_size": (64, 128),
    "max_epochs": (90, 150),
}
SMALL = {
    "learning_rate": (1e-4, 1e-3),
    "num_residual_blocks": (1, 1),
    "residual_scaling": (0.1, 0.3),
    "batch_size": (8, 16),
    "max_epochs": (1, 2),
    "fixed": {"adversarial_weight": 0.0, "structural_weight": 0.0},
    "accelerator": "cpu",
    "tracker": "none",
}


def words_of(options):
    """Write options as a command has them."""
    words = []
    for name, value in options.items():
        if name == "fixed":
            words += [word for key, one in value.items() for word in (f"--fixed.{key}", str(one))]
        else:
            words += [f"--{name}", *map(str, value if isinstance(value, tuple) else [value])]
    return words


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    source = write_own_files(folder / "files")
    return bed_topography.prepare(
        source=str(source), out=folder / "data", tile_cells=36, step_cells=24, progress=False
    )


@pytest.fixture(scope="module")
def tuned(prepared, tmp_path_factory):
    """A study of three trials that were trained, in two parts, and its best options."""
    study = tmp_path_factory.mktemp("study") / "study.db"
    tuning.tune(data=prepared, study=study, trials=2, **SMALL)
    return study, tuning.tune(data=prepared, study=study, trials=3, progress=False, **SMALL)


def pretend(settings, *, callbacks):
    """Stand in for training, in no time: errors as a formula has them, checkpoints of nothing."""
    part = settings["run"] / "logs" / f"part_{len(list(settings['run'].glob('logs/part_*')))}"
    weights = settings["run"] / "checkpoints" / "best.ckpt"
    part.mkdir(parents=True)
    weights.parent.mkdir(exist_ok=True)
    weights.touch()
    lines = ["epoch,val_rmse_m"]
    for epoch in range(settings["max_epochs"]):
        error = (
            abs(math.log(settings["learning_rate"] / 4e-4)) + settings["residual_scaling"] + 1 / (epoch + 1)
        )
        lines.append(f"{epoch},{error}")
        (part / "metrics.csv").write_text("\n".join(lines))
        metrics = {"val_rmse_m": torch.tensor(error), "val_psnr": torch.tensor(150.0)}
        for callback in callbacks:
            callback.on_validation_end(SimpleNamespace(callback_metrics=metrics, current_epoch=epoch), None)
        time.sleep(PAUSE_S)
    return weights


@pytest.fixture
def pretending(monkeypatch):
    monkeypatch.setattr(tuning, "fit_generator", pretend)


def load(study):
    return optuna.load_study(study_name="bed_topography", storage=f"sqlite:///{study}")


def metrics_of(study, number):
    return pd.read_csv(study.with_suffix("") / f"trial_{number:04d}" / "logs" / "part_0" / "metrics.csv")


# --- what is searched ------------------------------------------------------------------------------


def test_ranges_are_those_published():
    assert {name: tuning.tune.__kwdefaults__[name] for name in PUBLISHED} == PUBLISHED


def test_suggestions_lie_in_the_ranges_and_differ():
    drawn = []
    for number in range(60):
        study = optuna.create_study(sampler=tuning.make_sampler(42, number))
        drawn.append(tuning.suggest(study.ask(), PUBLISHED))
    table = pd.DataFrame(drawn)
    for name in ("learning_rate", "num_residual_blocks", "residual_scaling", "max_epochs"):
        low, high = PUBLISHED[name]
        assert table[name].between(low, high).all()
        assert table[name].max() - table[name].min() > 0.7 * (high - low)
    assert set(table["num_residual_blocks"]) == set(range(8, 15))
    assert set(table["batch_size"]) == {64, 128}
    # Half of a logarithmic range lies below its geometric mean, 1.41e-4; of a plain one, below 1.5e-4.
    assert table["learning_rate"].nunique() == 60
    again = optuna.create_study(sampler=tuning.make_sampler(42, 7))
    assert tuning.suggest(again.ask(), PUBLISHED) == drawn[7]


# --- what a study leaves ---------------------------------------------------------------------------


def test_values_are_the_least_validation_errors(tuned):
    trials = load(tuned[0]).trials
    assert [trial.number for trial in trials if trial.state in studies.ENDED] == [0, 1, 2]
    for trial in trials:
        errors = metrics_of(tuned[0], trial.number)["val_rmse_m"].dropna()
        assert trial.value == pytest.approx(errors.min(), rel=1e-6)
        assert trial.intermediate_values == pytest.approx(errors.cummin().reset_index(drop=True).to_dict())


def test_a_study_goes_on_as_if_it_had_not_stopped(prepared, tmp_path, pretending):
    """Sampling depends on the seed, the trial's number and what earlier trials gave, on nothing else."""
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    for study, parts in ((one, [24]), (other, [2, 22, 24])):
        for trials in parts:
            tuning.tune(data=prepared, study=study, trials=trials, progress=False, **SMALL)
    assert [trial.params for trial in load(one).trials] == [trial.params for trial in load(other).trials]
    assert len({trial.params["learning_rate"] for trial in load(one).trials}) == 24


def test_a_study_that_is_done_trains_no_more(tuned, prepared, monkeypatch, capsys):
    monkeypatch.setattr(tuning, "fit_generator", None)
    assert tuning.tune(data=prepared, study=tuned[0], trials=3, **SMALL) == tuned[1]
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


def test_the_command_trains_the_best_network_again(tuned, prepared, tmp_path, monkeypatch, capsys):
    tuning.tune(data=prepared, study=tuned[0], trials=3, **SMALL)
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


def test_what_is_held_out_has_no_say(tuned, prepared, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    (data / "held_out.nc").unlink()
    tuning.tune(data=data, study=tmp_path / "study.db", trials=1, progress=False, **SMALL)
    assert load(tmp_path / "study.db").trials[0].value == load(tuned[0]).trials[0].value


# --- what is given up ------------------------------------------------------------------------------


def epochs_of(trial, errors, run, psnr=150.0):
    """Let a trial's watch see errors epoch by epoch."""
    watch = tuning.make_watch(trial, run)
    for epoch, error in enumerate(errors):
        metrics = {"val_rmse_m": torch.tensor(error), "val_psnr": torch.tensor(psnr)}
        watch.on_validation_end(SimpleNamespace(callback_metrics=metrics, current_epoch=epoch), None)
    return min(errors)


@pytest.mark.parametrize(
    ("errors", "psnr", "reason"),
    [
        ([50.0, float("nan")], 150.0, "the error is nan"),
        ([float("inf")], 150.0, "the error is inf"),
        ([5e9], -1.3, "the error is 5e+09 m"),
    ],
)
def test_hopeless_trials_are_given_up(tmp_path, errors, psnr, reason):
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    weights = tmp_path / "checkpoints" / "best.ckpt"
    weights.parent.mkdir()
    weights.touch()
    study.optimize(lambda trial: epochs_of(trial, errors, tmp_path, psnr), n_trials=1)
    (trial,) = study.trials
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["reason"] == reason
    assert not weights.exists()


def test_hyperband_gives_up_the_worse_and_spares_the_best(tmp_path):
    """Thirty trials, trial k tends to 10 k metres: many of the worse end early, the best does not."""
    ranges = SMALL | {"max_epochs": (9, 9)}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    tuning._Objective(study, tmp_path, ranges, {}, min_epochs=1)
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


def test_a_study_of_diverging_trials_says_so(prepared, tmp_path, refusal, capsys):
    ranges = SMALL | {"learning_rate": (1e29, 1e30), "batch_size": (1, 1)}  # a batch more, and all is lost
    study = tmp_path / "study.db"
    command = ["tune", "--data", prepared, "--study", study, "--trials", 2, *words_of(ranges)]
    line = refusal(*command)
    assert "every trial was given up; choose other ranges, or lower --learning_rate" in line
    trials = load(study).trials
    assert [trial.state for trial in trials] == [TrialState.PRUNED] * 2
    assert {trial.user_attrs["reason"] for trial in trials} == {"training diverged"}


# --- several processes, and interruptions ----------------------------------------------------------


def start(prepared, study, trials, *, pause_s, **changes):
    """Start a process that tunes with pretended training."""
    words = ["bed_topography", "tune", "--data", prepared, "--study", study, "--trials", trials]
    code = (
        "import sys; sys.path[:0] = ['tests', '.']; import test_tuning as t; from fieldwise.cli import main; "
        "t.tuning.fit_generator = t.pretend; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words), *words_of(SMALL | changes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PAUSE_S": str(pause_s)},
    )


def test_two_processes_share_a_study(prepared, tmp_path):
    """Both make the study at once; no trial is lost, none is done twice, none too many."""
    study = tmp_path / "a study?.db"
    started = [start(prepared, study, 16, pause_s=0.05) for _ in range(2)]
    printed = [process.communicate(timeout=500) for process in started]
    assert [process.returncode for process in started] == [0, 0], printed
    told = [line for out, _ in printed for line in out.splitlines() if line.startswith("trial ")]
    opened = optuna.load_study(study_name="bed_topography", storage=studies._storage(study))
    ended = [trial for trial in opened.trials if trial.state in studies.ENDED]
    assert len(ended) == 16
    assert sorted(int(line.split()[1].rstrip(":")) for line in told) == [trial.number for trial in ended]
    assert not [trial for trial in opened.trials if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
    assert len({trial.params["learning_rate"] for trial in ended}) == 16
    best = [next(line for line in out.splitlines() if line.startswith("best: ")) for out, _ in printed]
    assert best[0] == best[1]


def test_a_killed_trial_is_not_counted_and_begun_again(prepared, tmp_path, monkeypatch):
    study = tmp_path / "study.db"
    changes = {"max_epochs": (5, 5), "min_epochs": 5}
    process = start(prepared, study, 1, pause_s=1000, **changes)
    while not (study.exists() and any(trial.intermediate_values for trial in load(study).trials)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (killed,) = load(study).trials
    assert killed.state == TrialState.RUNNING

    monkeypatch.setattr(studies, "GRACE_S", 1)  # without a sign of life, as long as a trial is waited for
    begun = []

    def fit(settings, *, callbacks):
        begun.append(settings)
        return pretend(settings, callbacks=callbacks)

    monkeypatch.setattr(tuning, "fit_generator", fit)
    tuning.tune(data=prepared, study=study, trials=1, progress=False, **SMALL | changes)
    failed, again = load(study).trials
    assert [failed.state, again.state] == [TrialState.FAIL, TrialState.COMPLETE]
    assert again.params == killed.params
    assert again.intermediate_values[0] == killed.intermediate_values[0]
    assert begun[0]["run"] == study.with_suffix("") / "trial_0000"
    assert begun[0]["resume"] is True  # from where it was


@pytest.mark.parametrize("stop", [KeyboardInterrupt, InputError("out: the disk is full")])
def test_an_interrupted_trial_is_begun_again(prepared, tmp_path, monkeypatch, stop):
    study = tmp_path / "study.db"
    calls = []

    def fit(settings, *, callbacks):
        calls.append(settings)
        if len(calls) == 2:
            raise stop
        return pretend(settings, callbacks=callbacks)

    monkeypatch.setattr(tuning, "fit_generator", fit)
    with pytest.raises(stop if isinstance(stop, type) else type(stop)):
        tuning.tune(data=prepared, study=study, trials=2, progress=False, **SMALL)
    tuning.tune(data=prepared, study=study, trials=2, progress=False, **SMALL)
    states = [trial.state for trial in load(study).trials]
    assert states[1] == TrialState.FAIL
    assert [states[0] in studies.ENDED, states[2] in studies.ENDED, len(states)] == [True, True, 3]
    tuned = ("learning_rate", "residual_scaling", "batch_size", "max_epochs", "run")
    assert [calls[1][name] for name in tuned] == [calls[2][name] for name in tuned]
    assert (calls[1]["resume"], calls[2]["resume"]) == (False, True)


# --- bad input -------------------------------------------------------------------------------------


def spoil(path, kind, whole):
    """Write what is no study of this recipe."""
    if kind == "text":
        path.write_text("trial,value\n0,50\n" * 100)
    elif kind == "empty":
        path.touch()
    elif kind == "cut in half":
        content = whole.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif kind == "scribbled over":
        content = bytearray(whole.read_bytes())
        content[4096:] = bytes(len(content) - 4096)
        path.write_bytes(content)
    elif kind == "of another program":
        with contextlib.closing(sqlite3.connect(path)) as opened:
            opened.execute("CREATE TABLE recipes (name TEXT)")
            opened.commit()
    elif kind == "of something else":
        optuna.create_study(storage=f"sqlite:///{path}", study_name="cakes")
    elif kind == "a folder":
        path.mkdir()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "cannot be read as a study"),
        ("empty", "holds no study of bed_topography"),
        ("cut in half", "cannot be read"),
        ("scribbled over", "cannot be read"),
        ("of another program", "holds no study of bed_topography"),
        ("of something else", "holds no study of bed_topography"),
        ("a folder", "cannot be read as a study"),
    ],
)
def test_what_is_no_study(prepared, tuned, tmp_path, refusal, kind, message):
    study = tmp_path / "study.db"
    spoil(study, kind, tuned[0])
    before = study.read_bytes() if study.is_file() else None
    line = refusal("tune", "--data", prepared, "--study", study, *words_of(SMALL))
    assert message in line
    assert f"{study}: " in line
    assert (study.read_bytes() if study.is_file() else None) == before
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 7}, "holds a study with another seed; choose another --study"),
        ({"learning_rate": (1e-5, 1e-3)}, "holds a study with another learning_rate"),
        ({"fixed": {}}, "holds a study with another fixed"),
    ],
)
def test_a_study_keeps_to_its_settings(prepared, tuned, refusal, changes, message):
    line = refusal("tune", "--data", prepared, "--study", tuned[0], *words_of(SMALL | changes))
    assert message in line


def test_a_study_that_another_process_holds(prepared, tuned, tmp_path, monkeypatch, refusal):
    monkeypatch.setattr(studies, "WAIT_S", 0.1)
    study = Path(shutil.copy(tuned[0], tmp_path / "study.db"))
    with contextlib.closing(sqlite3.connect(study, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        line = refusal("tune", "--data", prepared, "--study", study, *words_of(SMALL))
    assert re.search(r"study\.db: .*locked.*; end the process that holds it, or choose another", line)


def test_a_study_keeps_to_its_data(prepared, tuned, tmp_path, refusal):
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    content = json.loads((data / "provenance.json").read_text())
    content["sha256"] = dict.fromkeys(content["sha256"], "0" * 64)
    (data / "provenance.json").write_text(json.dumps(content))
    line = refusal("tune", "--data", data, "--study", tuned[0], *words_of(SMALL))
    assert "holds a study with another data; choose another --study" in line


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
        (["--batch_size", "[]"], "--batch_size: names no size; give some"),
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
def test_tune_refuses(prepared, tmp_path, monkeypatch, refusal, words, message):
    monkeypatch.chdir(tmp_path)
    given = {"--data": [prepared], "--study": [tmp_path / "study.db"], "--trials": [1]}
    common = [word for name, value in given.items() if name not in words for word in (name, *value)]
    small = {name: value for name, value in SMALL.items() if f"--{name}" not in words}
    line = refusal("tune", *common, *words_of(small), *words)
    assert re.search(message, line), line
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not list(tmp_path.rglob("*.db"))  # which would hold the next search to this one's settings


def test_ice_flow_has_no_tune(capsys):
    assert main(["ice_flow", "tune"]) == 2
    assert "ice_flow has no verb tune; choose " in capsys.readouterr().err
