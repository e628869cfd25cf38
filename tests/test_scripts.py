"""Scripts of all steps: the plain ones run, and those for SLURM are what sbatch takes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fieldwise.cli import main
from fieldwise.errors import InputError
from fieldwise.recipes.scripts import write_scripts

OF_SBATCH = {"job-name", "output", "nodes", "ntasks-per-node", "cpus-per-task", "mem", "time"}
OF_SBATCH |= {"partition", "account", "gres"}
OWN = '''"""Sums."""
from pathlib import Path
__all__ = ["prepare", "train", "predict", "evaluate"]
def prepare(*, source: str = "sandbox", out: Path = Path("d"), count: int = 1) -> None:
    """Write numbers."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "numbers").write_text(source + " " + "1 " * count)
def train(*, data: Path = Path("d"), run: Path = Path("r")) -> None:
    """Count them."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "count").write_text(str(len((data / "numbers").read_text().split()) - 1))
def predict(*, data: Path = Path("d"), run: Path = Path("r"), out: Path = Path("p")) -> None:
    """Double it."""
    out.write_text(str(2 * int((run / "count").read_text())))
def evaluate(*, data: Path = Path("d"), run: Path = Path("r"), prediction: Path = Path("p")) -> None:
    """Say it."""
    print("evaluated", prediction.read_text())
'''


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A recipe of one's own in a folder with a space, from which the scripts are written and run."""
    home = tmp_path / "my work"
    home.mkdir()
    (home / "sums.py").write_text(OWN)
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "sums", raising=False)
    return home


def run_script(path: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run([path], capture_output=True, text=True, env=environment, check=False)


def test_plain_scripts_run_from_the_first_step_to_the_last(own):
    paths = write_scripts(recipe="./sums.py", out=own / "scripts", options=["prepare.count=21"])
    assert [path.name for path in paths] == [
        *("1_prepare.sh", "2_train.sh", "3_predict.sh", "4_evaluate.sh", "run_all.sh")
    ]
    done = run_script(paths[-1])
    assert (done.returncode, done.stdout) == (0, "evaluated 42\n"), done.stderr


def test_a_step_that_fails_ends_all(own):
    paths = write_scripts(recipe="./sums.py", out=own / "scripts", options=["prepare.count=many"])
    done = run_script(paths[-1])
    assert done.returncode == 2
    assert "--count" in done.stderr
    assert not (own / "model").exists()


def test_scripts_for_slurm_hold_what_sbatch_takes(own):
    """Directives stand before the first command, each with a name that sbatch knows, and bash reads all."""
    wanted = {"partition": "gpu", "account": "deepacf", "gpus": 4, "environment": Path(".venv")}
    paths = write_scripts(recipe="./sums.py", out=own / "scripts", scheduler="slurm", **wanted)
    for path in paths:
        subprocess.run(["bash", "-n", path], check=True)
        lines = path.read_text().splitlines()
        marked = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
        assert marked == list(range(1, len(marked) + 1))
        names = [re.fullmatch(r"#SBATCH --([\w-]+)=\S+", lines[number])[1] for number in marked]
        assert set(names) <= OF_SBATCH
        assert len(set(names)) == len(names)
    train = paths[1].read_text()
    assert "#SBATCH --ntasks-per-node=4\n#SBATCH --gres=gpu:4\n" in train
    assert train.endswith(
        "source .venv/bin/activate\nsrun fieldwise ./sums.py train --data data/sums --run model/sums\n"
    )
    assert "gres" not in paths[0].read_text() + paths[3].read_text()
    chain = paths[-1].read_text()
    assert chain.count("--dependency=") == 3


def test_jobs_wait_for_each_other(own):
    """A stand-in for sbatch gives each job a number, and notes for whom it waits."""
    paths = write_scripts(recipe="./sums.py", out=own / "scripts", scheduler="slurm")
    stand_in = own / "sbatch"
    stand_in.write_text('#!/bin/bash\necho "$*" >> log\necho "$(wc -l < log);cluster"\n')
    stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{own}:{os.environ['PATH']}"}
    done = subprocess.run([paths[-1]], env=environment, capture_output=True, text=True, check=True)
    told = [line.split()[1] for line in (own / "log").read_text().splitlines()[1:]]
    assert told == [f"--dependency=afterok:{number}" for number in (1, 2, 3)]
    assert done.stdout == "last job: 4;cluster\n"


def test_what_is_asked_for_in_the_terminal(own, monkeypatch, capsys):
    answers = iter(["./sums.py", "", "d", "r", "none", "prepare.count=3"])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert main(["scripts", "--out", str(own / "scripts"), "--ask", "true"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("run_all.sh")
    text = (own / "scripts" / "1_prepare.sh").read_text()
    assert text.endswith("fieldwise ./sums.py prepare --source sandbox --out d --count 3\n")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"recipe": None}, "--recipe: is missing; name one, or give --ask true"),
        ({"options": ["train.max_epochs=20"]}, "--options: train takes no max_epochs; see `fieldwise"),
        ({"options": ["max_epochs=20"]}, "'max_epochs=20' should be STEP.OPTION=VALUE"),
        ({"steps": ["learn"]}, "'learn' is no verb of sums; choose prepare, train, predict, evaluate"),
        ({"scheduler": "slurm", "time": "4 hours"}, "--time: is '4 hours'; give HH:MM:SS"),
        ({"scheduler": "slurm", "partition": "a\n#SBATCH --mail"}, "--partition"),
        ({"scheduler": "pbs"}, "--scheduler: is 'pbs'; give none or slurm"),
    ],
)
def test_wrong_choices_are_told_and_nothing_is_written(own, options, told):
    with pytest.raises(InputError, match=re.escape(told)):
        write_scripts(**{"recipe": "./sums.py", "out": own / "scripts"} | options)
    assert not (own / "scripts").exists()


def test_scripts_of_forecasts_run_from_the_sandbox_to_the_scores(own):
    """The steps of a real recipe, a process each: its own defaults but for the size."""
    small = ["prepare.days=11", "prepare.cells=8", "train.network_options.carried=2", "train.max_epochs=1"]
    small += ["train.stride=24", "train.accelerator=cpu", "predict.every=3", "evaluate.figures=false"]
    small += ["evaluate.draws=10"]
    paths = write_scripts(recipe="temperature_forecast", out=own / "scripts", options=small)
    done = run_script(paths[-1])
    assert done.returncode == 0, done.stderr
    scores = json.loads((own / "model" / "temperature_forecast" / "scores.json").read_text())["scores"]
    assert {"prediction", "persistence", "best_possible"} <= {row["name"] for row in scores}
