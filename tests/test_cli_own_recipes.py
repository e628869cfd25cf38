"""Recipes of others on the command line: found, listed, run with the options that every training shares."""

import importlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from refusals import refusal

from fieldwise.cli import main, usage
from fieldwise.verbs.options import TRAINING, Training

# --- recipes of others ------------------------------------------------------------------------------------

MADE = '''"""Means of fields."""

import json
import signal
import time
from pathlib import Path
from typing import Unpack

from fieldwise.verbs.options import TRAINING, Training, with_options

__all__ = ["WIDTH", "contrast", "train", "predict"]
WIDTH = 3


@with_options(Training, TRAINING, max_epochs=7)
def train(
    *, run: Path = Path("run"), rate: float = 0.5, signal_number: int = 0, **training: Unpack[Training]
) -> None:
    """Learn a mean.

    Args:
        run: Where it goes.
        rate: Of learning.
    """
    if signal_number:
        signal.raise_signal(signal_number)
    print(json.dumps({"run": str(run), "rate": rate, **training}))


def predict(*, out: Path, signal_number: int = 0) -> None:
    """Draw the mean."""
    if signal_number:
        signal.raise_signal(signal_number)


def contrast(*, names: list[str]) -> None:
    """Hold means against each other."""
    print(*names, sep="|")
'''


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Write a recipe of somebody else's; what importing it changes is undone."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "tools" / "means_of_fields.py"
    file.parent.mkdir()
    file.write_text(MADE)
    yield file
    for name in [name for name in sys.modules if name.startswith(("means_of", "tools"))]:
        del sys.modules[name]


@pytest.fixture(params=["path", "folder", "import path", "entry point"])
def word(request, made, tmp_path, monkeypatch):
    """Name the made recipe in each way that there is."""
    if request.param == "import path":
        return "tools.means_of_fields"
    if request.param == "folder":
        made.rename(made.with_name("__init__.py"))
        return "./tools"
    if request.param == "entry point":
        installed = tmp_path / "means-1.0.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: means\nVersion: 1.0\n")
        (installed / "entry_points.txt").write_text("[fieldwise.recipes]\nmeans = tools.means_of_fields\n")
        monkeypatch.syspath_prepend(tmp_path)
        return "means"
    return "tools/means_of_fields.py"


def test_recipes_of_others_are_found(capsys, word):
    assert main([word, "contrast", "--names", "a", "b"]) == 0
    assert capsys.readouterr().out == "a|b\n"
    assert main([word]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: fieldwise {word} VERB [--option ... | --help]\n\nMeans of fields.\n")
    assert [line.split()[0] for line in told.splitlines() if line.startswith("  ")] == [
        *("train", "predict", "contrast")
    ]
    assert "contrast        Hold means against each other." in told
    line = refusal(capsys, word, "prepare")
    assert re.search(r"'prepare' is no verb of \w+; choose train, predict, contrast$", line)


def test_help_lists_installed_recipes(capsys, monkeypatch):
    assert "means" not in usage()
    entry = importlib.metadata.EntryPoint("means", "tools.means_of_fields", "fieldwise.recipes")
    monkeypatch.setattr("fieldwise.recipes._entry_points", lambda: {"means": entry})
    assert re.search(r"^  means +from tools.means_of_fields$", usage(), flags=re.MULTILINE)
    assert "temperature_forecast, means, " in refusal(capsys, "mean")


def test_without_a_list_the_usual_verbs_count(capsys, made):
    made.write_text(MADE.replace("__all__ =", "also ="))
    assert "choose train, predict" in (line := refusal(capsys, "tools/means_of_fields.py", "contrast"))
    assert not line.endswith("contrast")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "tools/means_of_fields.py: no such recipe; give the path of its Python file"),
        (
            "import nowhere_at_all",
            "No module named 'nowhere_at_all', in {file}, line 1); mend it, or install",
        ),
        ("\n\n1 / 0", "ZeroDivisionError: division by zero, in {file}, line 3); mend it"),
        ("def train(:", "SyntaxError: "),
        ("raise SystemExit(3)", "SystemExit: 3, in {file}, line 1); mend it"),
        ("train = 3", "'train' of means_of_fields is no function"),
        ("def train(rate): pass", "cannot be a command (With fail_untyped=True"),
        ("def prepare(): pass", "'train' is no verb of means_of_fields; choose prepare"),
        ("x = 1", "'train' is no verb of means_of_fields; choose another recipe"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_one_line(capsys, made, content, told):
    made.unlink() if content is None else made.write_text(content)
    line = refusal(capsys, "tools/means_of_fields.py", "train")
    assert told.format(file=made) in line


def test_two_modules_of_one_name(capsys, made):
    (made.parent / "json.py").write_text(MADE)
    line = refusal(capsys, "tools/json.py", "train")
    assert "tools/json.py: another module is called json too; rename the file" in line
    assert "No module named 'gone'" in refusal(capsys, "gone.recipe", "train")


# --- options that every training shares --------------------------------------------------------------------


def test_shared_options_have_help_and_defaults(capsys, made):
    assert main(["tools/means_of_fields.py", "train", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "--max_epochs MAX_EPOCHS Passes over the training samples. (type: int, default: 7)" in told
    assert "--rate RATE Of learning. (type: float, default: 0.5)" in told
    assert "--resume {true,false} Go on from the last checkpoint" in told
    assert "--tracker {none,tensorboard,comet}" in told
    for name in Training.__annotations__:
        assert f"--{name} " in told


def test_shared_options_come_whole(capsys, made):
    words = ["train", "--batch_size", "5", "--devices", "2", "--patience", "4", "--resume", "false"]
    assert main(["tools/means_of_fields.py", *words]) == 0
    changed = {"batch_size": 5, "devices": 2, "patience": 4, "resume": False}
    expected = {"run": "run", "rate": 0.5, **TRAINING, "max_epochs": 7, **changed}
    assert json.loads(capsys.readouterr().out) == expected


def test_shared_options_are_written_and_read(capsys, made, tmp_path):
    assert main(["tools/means_of_fields.py", "train", "--max_epochs", "3", "--print_config"]) == 0
    (tmp_path / "run.yaml").write_text(capsys.readouterr().out)
    assert main(["tools/means_of_fields.py", "train", "--config", "run.yaml", "--seed", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["max_epochs"], told["seed"]) == (3, 1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--max_epochs", "many"], "--max_epochs: Expected a int. Got value: many"),
        (["--tracker", "mlflow"], "--tracker: "),
        (["--precision", "8"], "--precision: "),
        (["--epochs", "3"], "--epochs"),
        (["--training", "3"], "--training"),
    ],
)
def test_shared_options_are_checked(capsys, made, words, told):
    line = refusal(capsys, "tools/means_of_fields.py", "train", *words)
    assert told in line
    assert line.endswith("; see `fieldwise tools/means_of_fields.py train --help`")


# --- stopping ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
@pytest.mark.parametrize(
    ("left", "words", "again"),
    [
        (None, ["predict", "--out", "map.tif"], "begins anew"),
        ("map.tif.partial/plan.json", ["predict", "--out", "map.tif"], "goes on where it was"),
        ("run/config.yaml", ["train"], "begins anew"),
        ("run/checkpoints/last.ckpt", ["train"], "goes on where it was"),
        ("run/checkpoints/last.ckpt", ["train", "--resume", "false"], "begins anew"),
        ("run/checkpoints/last.ckpt", ["predict", "--out", "map.tif"], "begins anew"),
    ],
)
def test_a_stopped_verb_says_how_it_goes_on(capsys, made, tmp_path, number, word, left, words, again):
    if left:
        (tmp_path / left).parent.mkdir(parents=True)
        (tmp_path / left).touch()
    assert main(["tools/means_of_fields.py", *words, "--signal_number", str(int(number))]) == 128 + number
    assert capsys.readouterr().err == f"{word}; the same command {again}\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


SLOW = '''"""A training that takes its time."""

import time
from pathlib import Path


def train(*, run: Path = Path("run")) -> None:
    """Learn slowly."""
    import torch
    from lightning.pytorch import LightningModule
    from fieldwise.runs import fit, make_trainer

    class Slow(LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def training_step(self, batch, number):
            time.sleep(0.05)
            return (self.weight * batch).sum()

        def validation_step(self, batch, number):
            self.log("loss", 1.0)

    options = {"accelerator": "cpu", "progress": False, "tracker": "none", "monitor": "loss"}
    loader = torch.utils.data.DataLoader(torch.ones(4, 1))
    fit(make_trainer(run, max_epochs=2000, **options), Slow(), loader, loader)
'''


def test_a_terminated_training_does_not_pass_for_a_finished_one(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "fieldwise", "./slow.py", "train"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as training:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
            assert training.poll() is None, training.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        training.terminate()
        _, told = training.communicate(timeout=60)
    assert training.returncode == 143
    assert told.splitlines()[-1] == "terminated; the same command goes on where it was"
    assert "Traceback" not in told


def test_waiting_threads_give_way_unless_told_otherwise(monkeypatch, capsys):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
