"""A study in its file: shared by processes, cut off, of other settings or data, or none at all."""

import contextlib
import json
import re
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from searching import SMALL, load, pretend, pretend_to_train, start, words_of

from fieldwise.errors import InputError
from fieldwise.recipes import bed_topography
from fieldwise.verbs import studies

# --- several processes, and interruptions ----------------------------------------------------------


def test_two_processes_share_a_study(tuning_data, tmp_path):
    """Both make the study at once; no trial is lost, none is done twice, none too many."""
    study = tmp_path / "a study?.db"
    started = [start(tuning_data, study, 16, pause_s=0.05) for _ in range(2)]
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


def test_a_killed_trial_is_not_counted_and_begun_again(tuning_data, tmp_path, monkeypatch):
    study = tmp_path / "study.db"
    changes = {"max_epochs": (5, 5), "min_epochs": 5}
    process = start(tuning_data, study, 1, pause_s=1000, **changes)
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

    pretend_to_train(monkeypatch, fit)
    bed_topography.tune(data=tuning_data, study=study, trials=1, progress=False, **SMALL | changes)
    failed, again = load(study).trials
    assert [failed.state, again.state] == [TrialState.FAIL, TrialState.COMPLETE]
    assert again.params == killed.params
    assert again.intermediate_values[0] == killed.intermediate_values[0]
    assert begun[0]["run"] == study.with_suffix("") / "trial_0000"
    assert begun[0]["resume"] is True  # from where it was


@pytest.mark.parametrize("stop", [KeyboardInterrupt, InputError("out: the disk is full")])
def test_an_interrupted_trial_is_begun_again(tuning_data, tmp_path, monkeypatch, stop):
    study = tmp_path / "study.db"
    calls = []

    def fit(settings, *, callbacks):
        calls.append(settings)
        if len(calls) == 2:
            raise stop
        return pretend(settings, callbacks=callbacks)

    pretend_to_train(monkeypatch, fit)
    with pytest.raises(stop if isinstance(stop, type) else type(stop)):
        bed_topography.tune(data=tuning_data, study=study, trials=2, progress=False, **SMALL)
    bed_topography.tune(data=tuning_data, study=study, trials=2, progress=False, **SMALL)
    states = [trial.state for trial in load(study).trials]
    assert states[1] == TrialState.FAIL
    assert [states[0] in studies.ENDED, states[2] in studies.ENDED, len(states)] == [True, True, 3]
    tuned = ("learning_rate", "residual_scaling", "batch_size", "max_epochs", "run")
    assert [calls[1][name] for name in tuned] == [calls[2][name] for name in tuned]
    assert (calls[1]["resume"], calls[2]["resume"]) == (False, True)


# --- what is no study of this search -----------------------------------------------------------------


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
def test_what_is_no_study(tuning_data, tuned, tmp_path, refusal, kind, message):
    study = tmp_path / "study.db"
    spoil(study, kind, tuned[0])
    before = study.read_bytes() if study.is_file() else None
    line = refusal("tune", "--data", tuning_data, "--study", study, *words_of(SMALL))
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
def test_a_study_keeps_to_its_settings(tuning_data, tuned, refusal, changes, message):
    line = refusal("tune", "--data", tuning_data, "--study", tuned[0], *words_of(SMALL | changes))
    assert message in line


def test_a_study_that_another_process_holds(tuning_data, tuned, tmp_path, monkeypatch, refusal):
    monkeypatch.setattr(studies, "WAIT_S", 0.1)
    study = Path(shutil.copy(tuned[0], tmp_path / "study.db"))
    with contextlib.closing(sqlite3.connect(study, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        line = refusal("tune", "--data", tuning_data, "--study", study, *words_of(SMALL))
    assert re.search(r"study\.db: .*locked.*; end the process that holds it, or choose another", line)


def test_a_study_keeps_to_its_data(tuning_data, tuned, tmp_path, refusal):
    data = tmp_path / "data"
    shutil.copytree(tuning_data, data)
    content = json.loads((data / "provenance.json").read_text())
    content["sha256"] = dict.fromkeys(content["sha256"], "0" * 64)
    (data / "provenance.json").write_text(json.dumps(content))
    line = refusal("tune", "--data", data, "--study", tuned[0], *words_of(SMALL))
    assert "holds a study with another data; choose another --study" in line
