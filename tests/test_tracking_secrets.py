"""The key of Comet reaches Comet and nothing else: no file, no log, no notebook."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from comet_server import serving
from nbclient import NotebookClient

from conftest import write_own_files
from fieldwise.recipes import bed_topography

KEY = "sEcReTkEy0123456789aBcDeFgHiJkLm"
OPTIONS = {
    "network": "generator",
    "max_epochs": 1,
    "num_residual_blocks": 1,
    "batch_size": 4,
    "adversarial_weight": 0,
    "accelerator": "cpu",
    "tracker": "comet",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    source = write_own_files(folder / "files")
    return bed_topography.prepare(
        source=str(source), out=folder / "data", tile_cells=36, step_cells=12, progress=False
    )


@pytest.fixture
def surroundings(tmp_path):
    """Give a home, a folder for temporary files and a working folder, all new, to look through afterwards."""
    for name in ("home", "temporary", "work"):
        (tmp_path / name).mkdir()
    return {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "MPLCONFIGDIR": str(tmp_path / "home"),
        "IPYTHONDIR": str(tmp_path / "home"),
        "COMET_LOGGING_FILE": str(tmp_path / "work" / "comet.log"),
        "COMET_LOGGING_FILE_LEVEL": "DEBUG",
    }


def files_with(secret, folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    return [path for path in files if secret.encode() in path.read_bytes()]


def test_key_of_a_command(prepared, tmp_path, surroundings):
    """Train and fetch as a user would, with Comet's own log at its most talkative."""
    run = tmp_path / "work" / "run"
    train = ["bed_topography", "train", "--data", str(prepared), "--run", str(run)]
    train += [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]
    printed = ""
    with serving(KEY) as server:
        environment = os.environ | surroundings | {"COMET_API_KEY": KEY, "COMET_URL_OVERRIDE": server.url}

        def fieldwise(*words):
            command = [sys.executable, "-m", "fieldwise", *words]
            done = subprocess.run(
                command, env=environment, cwd=tmp_path / "work", capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, done.stderr
            return done.stdout + done.stderr

        printed += fieldwise(*train)
        experiment = server.experiments[-1]
        fetched = tmp_path / "work" / "fetched"
        printed += fieldwise("fetch", "--experiment", experiment, "--run", str(fetched))
        assert KEY in server.keys_seen
        sent = [content for _, content in [*server.assets.values(), *server.images]]
    assert experiment in printed
    assert (fetched / "checkpoints" / "best.ckpt").read_bytes() == (
        run / "checkpoints" / "best.ckpt"
    ).read_bytes()
    assert (tmp_path / "work" / "comet.log").stat().st_size > 0
    assert KEY not in printed
    assert files_with(KEY, tmp_path) == []
    assert not [content for content in sent if KEY.encode() in content]
    assert KEY not in str([server.parameters, server.metrics, server.graphs])


def test_key_in_a_notebook_that_is_refused(prepared, tmp_path, surroundings, monkeypatch):
    """Comet's client logs a key that the server does not know; it must not stand in the notebook's output."""
    wrong = KEY[::-1]
    run = tmp_path / "work" / "run"
    cell = f"""
from pathlib import Path
from fieldwise.recipes import bed_topography
bed_topography.train(data=Path({str(prepared)!r}), run=Path({str(run)!r}), progress=False, **{OPTIONS!r})
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    kernels = Path(sys.prefix) / "share" / "jupyter"
    with serving(KEY) as server:
        for name, value in surroundings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("COMET_API_KEY", wrong)
        monkeypatch.setenv("COMET_URL_OVERRIDE", server.url)
        monkeypatch.setenv("JUPYTER_PATH", str(kernels))
        executed = NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
        assert wrong in server.keys_seen
    nbformat.write(executed, tmp_path / "work" / "executed.ipynb")
    written = (tmp_path / "work" / "executed.ipynb").read_text()
    assert "The given API key '(key)' is invalid" in written
    assert len(list((run / "logs" / "comet").glob("*.zip"))) == 1
    assert files_with(wrong, tmp_path) == []
