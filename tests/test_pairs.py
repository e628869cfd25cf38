"""A notebook and its paired script hold the same cells; notebooks carry no outputs."""

from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = [
    "data_prep",
    "srgan_train",
    "deepbedmap",
    "paper_figures",
    "ice_flow",
    "structure_formation",
    "extreme_weather",
    "temperature_forecast",
    "test_ipynb",
]


def cells_of(path):
    """What a pair has in common: kind, text and tags of each cell."""
    notebook = jupytext.read(path)
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


@pytest.mark.parametrize("name", NAMES)
def test_pair_holds_the_same_cells(name):
    script, notebook = (cells_of(ROOT / f"{name}{suffix}") for suffix in (".py", ".ipynb"))
    assert script == notebook, f"{name}: the pair differs; `make pairs` writes notebooks anew from scripts"
    assert any(kind == "markdown" for kind, *_ in script)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_valid_and_carries_no_outputs(name):
    notebook = nbformat.read(ROOT / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("name", [name for name in NAMES if name != "test_ipynb"])
def test_parameters_can_be_set_by_papermill(name):
    tags = [tag for _, _, tags in cells_of(ROOT / f"{name}.ipynb") for tag in tags]
    assert tags.count("parameters") == 1
