"""Notebooks run in batch: which takes which parameter, and what a user is told when one fails."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from fieldwise.cli import main
from fieldwise.errors import InputError
from fieldwise.notebooks import run_notebooks

FLIGHT = """
# %% tags=["parameters"]
length_km = 10
bed_m = -500.0

# %%
from fieldwise.errors import InputError
if length_km < 0:
    raise InputError(f"length_km is {length_km}; give a length above 0")
print("flight of", length_km, "km over", bed_m, type(bed_m).__name__)
"""
REFUSED = """
# %% tags=["parameters"]
batch_size = 1

# %%
from fieldwise.errors import require_at_least
def train(**options):
    require_at_least(2, **options)
train(batch_size=batch_size)

# %%
print("trained")
"""
MAP = """
# %% tags=["parameters"]
bed_m = 0.0
title = "none"

# %%
print("map", title.strip(), bed_m)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Small notebooks: two that share one parameter, and one that fails."""
    for name, text in (("flight", FLIGHT), ("map", MAP), ("refused", REFUSED)):
        notebook = jupytext.reads(text, fmt="py:percent")
        notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python"}
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    return tmp_path


def printed(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.get("text", "") for output in outputs)


def test_each_notebook_takes_the_parameters_that_it_has(folder, capsys):
    """YAML alone would make a text of 1e-3 and a number of 79; papermill alone would set each in both."""
    words = ["--names", "flight", "map", "--folder", str(folder), "--out", str(folder / "out")]
    words += ["--parameters", "length_km=25", "bed_m=-1e3", "title=79", "--progress", "false"]
    assert main(["notebooks", *words]) == 0
    assert printed(folder / "out" / "flight.ipynb") == "flight of 25 km over -1000.0 float\n"
    assert printed(folder / "out" / "map.ipynb") == "map 79 -1000.0\n"
    assert "title" not in nbformat.read(folder / "out" / "flight.ipynb", 4).metadata.papermill.parameters
    assert capsys.readouterr().out.splitlines()[0].startswith("flight.ipynb {'length_km': 25")


def test_without_parameters_the_notebooks_own_hold(folder):
    (path,) = run_notebooks(names=["flight"], folder=folder, out=folder / "out", progress=False)
    assert printed(path) == "flight of 10 km over -500.0 float\n"


@pytest.mark.parametrize("progress", [True, False])
def test_what_they_print_is_shown(folder, capsys, progress):
    run_notebooks(names="map", folder=folder, out=folder / "out", progress=progress)
    assert ("map none 0.0" in capsys.readouterr().out) == progress


def test_a_default_that_is_worked_out_takes_anything(folder):
    text = (
        (folder / "map.ipynb").read_text().replace('\\"none\\"', "str(3)").replace("title.strip()", "title")
    )
    (folder / "map.ipynb").write_text(text)
    options = {"names": "map", "folder": folder, "out": folder / "out", "progress": False}
    (path,) = run_notebooks(parameters="title=[1, 2]", **options)
    assert printed(path) == "map [1, 2] 0.0\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--names", "flight", "--parameters", "length=3"], "no notebook takes length; flight take bed_m, "),
        (["--names", "flight", "--parameters", "length_km"], "'length_km' should be NAME=VALUE"),
        (
            ["--names", "flight", "--parameters", "length_km=[1"],
            "length_km=[1 should be a whole number, such",
        ),
        (["--names", "flight", "--parameters", "length_km=2.5"], "length_km=2.5 should be a whole number"),
        (["--names", "map", "--parameters", "bed_m=deep"], "bed_m=deep should be a number, such as 0.0"),
        (["--names", "flight", "--parameters", "bed_m=true"], "bed_m=true should be a number, such as -500"),
        (["--names", "fight"], "fight.ipynb: no such notebook; "),
        (["--names", "broken"], "broken.ipynb: is no notebook that can be run ("),
        (["--names", "flight", "--parameters", "length_km=-3"], "InputError: length_km is -3; give a length"),
    ],
)
def test_a_mistake_is_one_line(folder, capsys, words, message):
    (folder / "broken.ipynb").write_text("no JSON")
    common = ["--folder", str(folder), "--out", str(folder / "out"), "--progress", "false"]
    assert main(["notebooks", *words, *common]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fieldwise: ")]
    assert message in line


def test_a_misspelt_parameter_is_found_before_anything_runs(folder):
    with pytest.raises(InputError, match="no notebook takes titel"):
        run_notebooks(names=["flight", "map"], folder=folder, out=folder / "out", parameters="titel=x")
    assert not (folder / "out").exists()


def test_what_failed_can_be_read(folder):
    """The executed notebook stays, up to the cell that failed, with the traceback."""
    with pytest.raises(InputError, match=r"flight\.ipynb: In \[3\]: InputError"):
        run_notebooks(names=["flight", "map"], folder=folder, out=folder / "out", parameters="length_km=-1")
    kinds = [
        output.output_type
        for cell in nbformat.read(folder / "out" / "flight.ipynb", 4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    assert "error" in kinds
    assert not (folder / "out" / "map.ipynb").exists()


def test_a_refused_option_is_one_line_in_the_notebook_and_ends_it(folder, capfd):
    """As a parameter is called there, without dashes; the cell counts as failed, and none after it runs."""
    words = ["--names", "refused", "--folder", str(folder), "--out", str(folder / "out")]
    assert main(["notebooks", *words]) == 2
    cells = nbformat.read(folder / "out" / "refused.ipynb", as_version=4).cells
    (error,) = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert (error.output_type, error.ename) == ("error", "InputError")
    assert error.traceback == ["batch_size: is 1; give at least 2"]
    told = capfd.readouterr().err
    assert told.splitlines()[-1] == (
        f"fieldwise: {folder}/out/refused.ipynb: In [2]: InputError: batch_size: is 1; give at least 2"
    )
    assert "Kernel is running over TCP" not in told


def test_nbclient_fails_too(folder):
    """What other programs execute notebooks with."""
    notebook = nbformat.read(folder / "refused.ipynb", as_version=4)
    with pytest.raises(CellExecutionError, match="batch_size: is 1; give at least 2"):
        NotebookClient(notebook, kernel_name="python3").execute()
