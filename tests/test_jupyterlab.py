"""JupyterLab opens the pairs, and leaves them as they are."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
NAMES = sorted(path.stem for path in ROOT.glob("*.ipynb"))


def test_lab_opens_the_paired_scripts_as_notebooks(monkeypatch):
    """What JupyterLab's own server reads, and what Jupytext's manager makes of a script."""
    from jupyter_server.services.contents.largefilemanager import LargeFileManager
    from jupyterlab_server.settings_utils import _get_overrides
    from jupytext import build_sync_jupytext_contents_manager_class

    folder = ROOT / ".jupyter"
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(folder))
    overrides, error = _get_overrides("no such folder")
    assert not error
    viewers = overrides["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers["python"] == "Jupytext Notebook"
    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(root_dir=str(ROOT))
    model = manager.get("data_prep.py", type="notebook", content=True)
    assert model["type"] == "notebook"
    assert {cell["cell_type"] for cell in model["content"]["cells"]} == {"markdown", "code"}


@pytest.mark.parametrize("suffix", [".ipynb", ".py"])
@pytest.mark.parametrize("name", NAMES)
def test_to_open_and_save_a_notebook_changes_neither_of_its_pair(tmp_path, name, suffix):
    """With what JupyterLab adds when it has a kernel, and the server's own settings."""
    from jupyter_server.services.contents.largefilemanager import LargeFileManager
    from jupytext import build_sync_jupytext_contents_manager_class
    from traitlets.config import Config

    pair = [ROOT / f"{name}.py", ROOT / f"{name}.ipynb"]
    for path in [*pair, ROOT / "pyproject.toml"]:
        shutil.copy(path, tmp_path)
    settings = json.loads((ROOT / ".jupyter" / "jupyter_server_config.json").read_text())
    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(
        root_dir=str(tmp_path), config=Config(settings)
    )
    content = manager.get(f"{name}{suffix}", type="notebook", content=True)["content"]
    language = {"name": "python", "version": "3.99.1", "codemirror_mode": {"name": "ipython", "version": 3}}
    content["metadata"]["language_info"] = language
    manager.save({"type": "notebook", "format": "json", "content": content}, f"{name}{suffix}")
    for path in pair:
        assert (tmp_path / path.name).read_text() == path.read_text()


def test_headers_filter_what_would_change_with_the_reader():
    """What the project's setting gives to new notebooks stands in each of them."""
    setting = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["jupytext"]
    for path in ROOT.glob("*.ipynb"):
        assert jupytext.read(path).metadata["jupytext"] == {"formats": "ipynb,py:percent"} | setting


def test_outputs_are_stripped_before_a_commit(tmp_path):
    """Outputs, counts and notes of the kernel go; cells keep their names, so that nothing else changes."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    (hook,) = [hook for hook in hooks if hook["id"] == "outputs"]
    assert (hook["entry"].split()[0], hook["types"]) == (".venv/bin/nbstripout", ["jupyter"])
    original = (ROOT / "ice_flow.ipynb").read_text()
    notebook = json.loads(original)
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.99.1"}
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    cell |= {"outputs": [{"output_type": "stream", "name": "stdout", "text": ["done"]}], "execution_count": 4}
    path = tmp_path / "ice_flow.ipynb"
    path.write_text(json.dumps(notebook))
    command = [Path(sys.executable).with_name("nbstripout"), *hook["entry"].split()[1:], path]
    subprocess.run(command, check=True)
    assert path.read_text() == original
