"""The command line: quick, and a mistake is one line on standard error and status 2."""

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
import yaml

from fieldwise import __version__
from fieldwise.cli import join_lists, main, usage
from fieldwise.recipes import bed_topography, list_verbs
from fieldwise.verbs.options import TRAINING, Training

HELP = (
    "import sys, fieldwise.cli; sys.exit(fieldwise.cli.main(['--help']) or bool({heavy} & set(sys.modules)))"
)


def refusal(capsys, *words):
    """Run a command that must be refused, and give its one line."""
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("fieldwise: ")
    assert "Traceback" not in lines[0]
    return lines[0]


def test_help_is_quick_and_loads_nothing_heavy():
    heavy = {"torch", "lightning", "xarray", "numpy", "pandas", "pygmt", "jsonargparse"}
    command = [sys.executable, "-c", HELP.format(heavy=heavy)]
    durations = []
    for _ in range(3):  # the fastest counts: the machine may be busy with something else
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        durations.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
    assert min(durations) < 1
    for word in ("bed_topography", "prepare", "train", "predict", "evaluate", "download"):
        assert word in done.stdout


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_usage(capsys, words):
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("usage: fieldwise RECIPE VERB")


@pytest.mark.parametrize("words", [["ice_flow"], ["ice_flow", "-h"], ["ice_flow", "--help"]])
def test_usage_of_a_recipe(capsys, words):
    assert main(words) == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: fieldwise ice_flow VERB")
    assert [line.split()[0] for line in told.splitlines() if line.startswith("  ")] == [
        *("prepare", "train", "predict", "evaluate", "tune")
    ]


def test_module_and_command_are_one():
    done = subprocess.run([sys.executable, "-m", "fieldwise", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"fieldwise {__version__}\n")


def test_wrong_words(capsys):
    told = refusal(capsys, "bed")
    assert "'bed' is no recipe; choose bed_topography, " in told
    assert "or download, " in told
    line = refusal(capsys, "bed_topography", "learn")
    assert "'learn' is no verb of bed_topography; choose prepare, train, predict, evaluate, tune" in line


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--epochs", "3"], "epochs"),
        (["--max_epochs", "many"], "max_epochs"),
        (["--max_epochs", "1", "2"], "max_epochs"),
        (["--learning_rate", "fast"], "learning_rate"),
        (["--resume", "maybe"], "resume"),
        (["--config", "gone.yaml"], "gone.yaml"),
        (["stray"], "stray"),
    ],
)
def test_wrong_options(capsys, monkeypatch, tmp_path, options, named):
    monkeypatch.chdir(tmp_path)
    line = refusal(capsys, "bed_topography", "train", *options)
    assert named in line
    assert line.endswith("see `fieldwise bed_topography train --help`")
    assert list(tmp_path.iterdir()) == []


SAY_LOADED = """
import sys
from fieldwise.cli import main
from fieldwise.recipes import BUILT_IN, list_verbs, load_recipe
for recipe in BUILT_IN:
    for verb in list_verbs(load_recipe(recipe)):
        assert main([recipe, verb, "--help"]) == 0
        for words in (["--nothing", "1"], ["--data", "{"], ["--bounds", "1"], ["--max_epochs", "many"]):
            assert main([recipe, verb, *words, "--progress", "maybe"]) == 2
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
NEURAL = {"torch", "lightning", "matplotlib", "pygmt", "optuna"}
SPATIAL = {"xarray", "pandas", "rasterio", "geopandas", "scipy", "dask", "h5py", "zarr"}


@pytest.fixture(scope="module")
def looked_up():
    """Ask every verb for help and have its options refused, in one process; give what that has loaded."""
    done = subprocess.run([sys.executable, "-c", SAY_LOADED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_what_is_looked_up_or_refused_loads_no_networks(looked_up):
    assert looked_up & NEURAL == set()
    assert "jsonargparse" in looked_up


def test_what_is_looked_up_or_refused_loads_no_fields(looked_up):
    assert looked_up & SPATIAL == set()


def test_recipes_are_light_to_import():
    code = "import sys; from fieldwise.recipes import bed_topography, ice_flow; print(dir(bed_topography)); "
    code += "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, modules = done.stdout.splitlines()
    assert "'evaluate'" in names
    assert set(modules.split()) & (NEURAL | SPATIAL | {"numpy", "yaml", "jsonargparse"}) == set()


def test_a_verb_is_a_function_even_where_its_module_has_its_name(tmp_path, monkeypatch):
    """As in a package with the file train.py, which Python would put in the place of the function train."""
    package = tmp_path / "means_package"
    package.mkdir()
    (package / "__init__.py").write_text("from means_package.train import train\n__all__ = ['train']\n")
    (package / "train.py").write_text("def train():\n    return 7\n\ndef help():\n    return 8\n")
    monkeypatch.syspath_prepend(tmp_path)
    means = importlib.import_module("means_package")
    assert importlib.import_module("means_package.train").help() == 8
    assert means.train() == 7
    assert list_verbs(means) == ["train"]
    for name in ("means_package", "means_package.train"):
        del sys.modules[name]


def test_a_mistake_in_the_data_is_one_line(capsys, tmp_path):
    """From a process of its own: what a user sees, warnings of libraries and all."""
    command = ["bed_topography", "prepare", "--source", str(tmp_path / "gone.yaml")]
    done = subprocess.run(
        [sys.executable, "-m", "fieldwise", *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "gone.yaml: no such file" in done.stderr
    assert list(tmp_path.iterdir()) == []
    line = refusal(capsys, "bed_topography", "evaluate", "--data", str(tmp_path))
    assert "is no prepared folder; make one with the verb prepare" in line


@pytest.fixture
def calls(monkeypatch):
    """Record what the verb predict is called with, behind its own signature."""
    import functools

    recorded = []

    @functools.wraps(bed_topography.predict)
    def record(**options):
        recorded.append(options)

    monkeypatch.setattr(bed_topography, "predict", record)
    return recorded


@pytest.mark.parametrize(
    "words",
    [
        ["--bounds", "-1500000", "-3e5", "-1.4e6", "-200000"],
        ["--bounds", "[-1500000, -300000, -1400000, -200000]"],
        ["--bounds=[-1500000,-300000,-1400000,-200000]"],
    ],
)
def test_bounds_as_four_words_or_a_list(calls, words):
    assert main(["bed_topography", "predict", *words, "--block_cells", "64"]) == 0
    assert calls[0]["bounds"] == (-1.5e6, -3e5, -1.4e6, -2e5)
    assert calls[0]["block_cells"] == 64


def test_three_bounds_are_too_few(capsys, calls):
    assert "bounds" in refusal(capsys, "bed_topography", "predict", "--bounds", "1", "2", "3")
    assert calls == []


def test_config_written_is_config_read(capsys, calls, tmp_path):
    assert main(["bed_topography", "predict", "--halo_cells", "24", "--print_config"]) == 0
    file = tmp_path / "run.yaml"
    file.write_text(capsys.readouterr().out)
    assert main(["bed_topography", "predict", "--config", str(file), "--block_cells", "99"]) == 0
    assert (calls[0]["halo_cells"], calls[0]["block_cells"]) == (24, 99)


@pytest.mark.parametrize("verb", ["prepare", "train", "predict", "evaluate"])
def test_every_verb_describes_its_options(capsys, verb):
    assert main(["bed_topography", verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--data" in text or "--out" in text
    assert "--print_config" in text


def test_help_behind_an_option(capsys):
    assert join_lists(["--run", "model", "-h"]) == ["--run", "model", "-h"]
    assert main(["bed_topography", "predict", "--run", "model", "-h"]) == 0
    assert "--bounds" in capsys.readouterr().out


def test_a_single_word_is_a_list_where_only_lists_are_taken(capsys):
    words = ["--crop", "32", "--style", "omega_m", "--in_norms", "[log1p]", "--tgt_pad", "null"]
    assert main(["structure_formation", "train", *words, "--print_config"]) == 0
    options = yaml.safe_load(capsys.readouterr().out)
    found = {name: options[name] for name in ("crop", "style", "in_norms", "tgt_pad")}
    assert found == {"crop": [32], "style": ["omega_m"], "in_norms": ["log1p"], "tgt_pad": None}
    assert main(["structure_formation", "train", "--crop", "many", "--print_config"]) == 2


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
