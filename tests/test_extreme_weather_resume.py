"""Telling storms that is killed in the middle goes on where it was."""

import os
import signal
import subprocess
import sys

import pytest

from fieldwise.recipes import extreme_weather
from fieldwise.recipes.extreme_weather.predictor import ClassPredictor
from fieldwise.verbs.domains import partials

QUIET = {"accelerator": "cpu", "progress": False}
# A frame a piece; the process kills itself when it is to compute its fifth.
SCRIPT = """
import os, signal, sys
from fieldwise.recipes import extreme_weather
from fieldwise.recipes.extreme_weather.predictor import ClassPredictor
from fieldwise.verbs.domains import partials
partials.GROUP_BYTES, told = 1, ClassPredictor.__call__
counted = []
def count(self, arrays):
    counted.append(1)
    if len(counted) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return told(self, arrays)
ClassPredictor.__call__ = count
run, data, out = sys.argv[1:]
extreme_weather.predict(run=run, data=data, out=out, accelerator="cpu", progress=False)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("resumed")
    options = {"spacing_degrees": 5.6, "days": 4.0, "shares": (0.3, 0.2, 0.5), "progress": False}
    extreme_weather.prepare(out=home / "data", **options)
    small = {"network": "unet", "network_options": {"blocks": 2, "filters": 2}, "max_epochs": 1}
    extreme_weather.train(data=home / "data", run=home / "run", tracker="none", **small, **QUIET)
    return home


def test_a_killed_prediction_goes_on_to_the_same_files(made, monkeypatch):
    out, straight = made / "out", made / "straight"
    words = [sys.executable, "-c", SCRIPT, str(made / "run"), str(made / "data"), str(out)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
    assert subprocess.run(words, env=env, check=False).returncode == -signal.SIGKILL
    (partial,) = out.iterdir()
    finished = {path.name for path in partial.glob("*.npy")}
    assert 1 <= len(finished) <= 4
    monkeypatch.setattr(partials, "GROUP_BYTES", 1)
    told, counted = ClassPredictor.__call__, []
    monkeypatch.setattr(
        ClassPredictor, "__call__", lambda self, arrays: counted.append(1) or told(self, arrays)
    )
    options = {"run": made / "run", "data": made / "data", **QUIET}
    extreme_weather.predict(out=out, **options)
    assert len(counted) == 16 - len(finished)
    extreme_weather.predict(out=straight, **options)
    assert len(counted) == 32 - len(finished)
    names = sorted(path.name for path in straight.iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    for kind in ("cyclones", "rivers"):
        assert {f"run_3_{kind}.csv", f"run_3_{kind}.geojson", f"run_3_{kind}_landfalls.csv"} <= {*names}
    for name in names:
        assert (out / name).read_bytes() == (straight / name).read_bytes(), name
