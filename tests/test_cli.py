"""The command line: quick, and a mistake is one line on standard error and status 2."""

import importlib
import importlib.metadata
import subprocess
import sys
import time

import pytest
import yaml
from refusals import refusal

from fieldwise import __version__
from fieldwise.cli import join_lists, main
from fieldwise.recipes import bed_topography, list_verbs

HELP = (
    "import sys, fieldwise.cli; sys.exit(fieldwise.cli.main(['--help']) or bool({heavy} & set(sys.modules)))"
)


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
