"""The command line: quick, and a mistake is one line on standard error and status 2."""

import subprocess
import sys
import time

import pytest

from fieldwise import __version__
from fieldwise.cli import join_lists, main
from fieldwise.recipes import bed_topography

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


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["bed_topography"], ["bed_topography", "-h"]])
def test_usage(capsys, words):
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("usage: fieldwise RECIPE VERB")


def test_module_and_command_are_one():
    done = subprocess.run([sys.executable, "-m", "fieldwise", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"fieldwise {__version__}\n")


def test_wrong_words(capsys):
    told = refusal(capsys, "bed")
    assert "'bed' is no recipe; choose bed_topography, " in told
    assert "or download, " in told
    line = refusal(capsys, "bed_topography", "learn")
    assert "'learn' is no verb; choose prepare, train, predict, evaluate" in line


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
