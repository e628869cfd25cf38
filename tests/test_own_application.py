"""docs/own_application.md, executed: a whole new application in few lines, with all that the engine gives."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from fieldwise.cli import main
from fieldwise.scores import read_scores, value_of

PAGE = (Path(__file__).parents[1] / "docs" / "own_application.md").read_text(encoding="utf-8")
CODE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
COMMANDS = [line.split()[1:] for line in re.findall(r"^fieldwise .*$", PAGE, re.MULTILINE)]
MOST_LINES = 120
QUIET = ["--seed", "3", "--accelerator", "cpu", "--tracker", "none", "--progress", "false"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Save the page's code, and make its data, as the page says."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "downscaling.py").write_text(CODE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["downscaling.py", "prepare", "--cells", "64"]) == 0
        assert main(["downscaling.py", "train", "--batch_size", "8", *QUIET]) == 0
        assert main(["downscaling.py", "predict"]) == 0
        assert main(["downscaling.py", "evaluate"]) == 0
    yield folder
    sys.modules.pop("downscaling", None)


def values_of(path):
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        return opened["temperature"].values, opened["temperature"].attrs["units"], opened.rio.crs.to_epsg()


def test_it_is_short():
    assert len(CODE.splitlines()) <= MOST_LINES
    assert [words[1] for words in COMMANDS] == ["prepare", "train", "predict", "evaluate", "train"]


def test_the_network_beats_interpolation(home):
    rows = read_scores(home / "model" / "downscaling" / "scores.json")["scores"]
    found = {
        name: value_of(rows, measure="rmse", name=name) for name in ("prediction", "cubic", "coarse map")
    }
    assert found["prediction"] < 0.95 * found["cubic"] < found["coarse map"]


def test_tiled_equals_untiled(home, monkeypatch):
    monkeypatch.chdir(home)
    whole, units, epsg = values_of("model/downscaling/map.nc")
    assert (whole.shape, units, epsg) == ((4, 64, 64), "K", 3035)
    for cells in ("16", "25"):
        out = f"tiled_{cells}.nc"
        assert main(["downscaling.py", "predict", "--out", out, "--block_cells", cells]) == 0
        np.testing.assert_allclose(values_of(out)[0], whole, atol=1e-3)


def test_a_killed_training_goes_on_to_the_same_weights(home, tmp_path):
    """Killed after an epoch; the same command then gives the weights of a run that was not."""
    options = ["--layers", "3", "--max_epochs", "4", *QUIET, "--run"]
    words = [sys.executable, "-m", "fieldwise", "downscaling.py", "train", *options]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([*words, whole], cwd=home, capture_output=True, check=True)
    process = subprocess.Popen([*words, cut], cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (cut / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run([*words, cut], cwd=home, capture_output=True, text=True, check=True)
    assert "goes on after epoch" in done.stdout
    ours, theirs = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (cut, whole)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_is_on_record(home):
    run = home / "model" / "downscaling"
    assert (run / "figures" / "loss_curves.png").exists()
    assert "temperature_4km" in (home / "data" / "downscaling" / "dataset.yaml").read_text()
    for file in ("config.yaml", "provenance.json", "scores.csv"):
        assert (run / file).stat().st_size > 0


def test_it_can_be_tuned(home, monkeypatch, capsys):
    pytest.importorskip("optuna")
    monkeypatch.chdir(home)
    from fieldwise.recipes import load_recipe

    own = load_recipe("downscaling.py")
    from fieldwise.verbs.trials import Log, Target
    from fieldwise.verbs.tune import search

    best = search(
        own.train,
        recipe="downscaling.py",
        target=Target("val_loss", "validation error"),
        data=Path("data/downscaling"),
        study=Path("study.db"),
        trials=1,
        ranges={"learning_rate": Log(1e-3, 1e-2)},
        fixed={"max_epochs": 1},
        tracker="none",
        accelerator="cpu",
        progress=False,
    )
    assert 1e-3 <= best["learning_rate"] <= 1e-2
    assert "fieldwise downscaling.py train" in capsys.readouterr().out


def test_mistakes_are_one_line(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    assert main(["downscaling.py", "train", "--layers", "many"]) == 2
    assert main(["downscaling.py", "train", "--data", "."]) == 2
    assert main(["bed_topography", "train", "--data", "data/downscaling"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "was prepared for downscaling; prepare it for bed_topography" in lines[2]
