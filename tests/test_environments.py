"""Every way to install the project goes by the one list in pyproject.toml."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
BINDER = ROOT / ".binder" / "environment.yml"
# all but test_ipynb, which needs the tools of a developer
NOTEBOOKS = sorted({path.stem for path in ROOT.glob("*.ipynb")} - {"test_ipynb"})


def expand(requirements):
    """Follow what an extra takes from other extras."""
    for text in requirements:
        requirement = Requirement(text)
        if canonicalize_name(requirement.name) == PROJECT["name"]:
            for extra in requirement.extras:
                yield from expand(PROJECT["optional-dependencies"][extra])
        else:
            yield requirement


def listed(*extras):
    named = [text for extra in extras for text in PROJECT["optional-dependencies"][extra]]
    return list(expand([*PROJECT["dependencies"], *named]))


# --- one list ---------------------------------------------------------------------------------------------


def test_every_way_installs_the_same():
    wanted = ".[dev]"
    assert f"pip install --quiet --disable-pip-version-check -e '{wanted}'" in MAKEFILE
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    assert pip == [f"-e {wanted}"]
    pipfile = tomllib.loads((ROOT / "Pipfile").read_text())
    assert pipfile == {"packages": {"fieldwise": {"path": ".", "editable": True, "extras": ["dev"]}}}
    assert re.search(r"^RUN make install$", DOCKERFILE, flags=re.M)
    assert "pip install" not in DOCKERFILE.replace("PIP_", "")


def test_binder_builds_the_same_with_the_cpu_build_of_pytorch():
    """A real file, since a link may be refused; paths in it count from its own folder."""
    assert not BINDER.is_symlink()
    here, there = (yaml.safe_load(path.read_text()) for path in (ROOT / "environment.yml", BINDER))
    (torch,) = [entry for entry in PROJECT["dependencies"] if entry.startswith("torch>")]
    assert there["dependencies"].pop(-3) == torch.replace("torch", "pytorch-cpu")
    (pip,) = there["dependencies"][-1].values()
    there["dependencies"][-1]["pip"] = [line.replace("..", ".") for line in pip]
    assert pip == ["-e ..[dev]"]
    assert there == here


def test_conda_lists_no_python_package_of_its_own():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    names = {re.split(r"[<>=]", entry)[0] for entry in conda if isinstance(entry, str)}
    assert names == {"python", "gmt", "ghostscript", "pip"}
    (python,) = [entry for entry in conda if str(entry).startswith("python")]
    assert python == f"python{PROJECT['requires-python']}"


def test_what_is_listed_is_what_runs_here():
    """The tests run in what `make install` made: each requirement is there, in a version that is allowed."""
    wrong = []
    for requirement in listed("dev"):
        if requirement.marker and not requirement.marker.evaluate({"extra": "dev"}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement} is not installed")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement} but {found} is installed")
    assert wrong == [], "run `make install`"


def imported_names():
    """Give the top-level names that the code imports, wherever in a file, and one file that does."""
    names = {}
    files = [path for folder in ("fieldwise", "tests", "features", "benchmarks", "docs")
             for path in (ROOT / folder).rglob("*.py")]  # fmt: skip
    for path in [*files, *ROOT.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found = [node.module]
            else:
                continue
            names |= {name.split(".")[0]: path for name in found}
    return names


# What belongs to a package of the list, which needs it itself; and what is used only where it is present.
COMES_WITH = {
    "IPython": "ipykernel",
    "PIL": "tensorboard",
    "docstring_parser": "jsonargparse",
    "jupyter_server": "jupyterlab",
    "jupyterlab_server": "jupyterlab",
    "nbformat": "papermill",
    "packaging": "pytest",
    "sqlalchemy": "optuna",
    "traitlets": "ipykernel",
}
WHERE_PRESENT = {"torchvision", "google", "tensorflow", "triton"}


def test_what_the_code_imports_is_listed():
    """By itself, or as a part of what is; not only installed because something far away needs it."""
    allowed = {
        canonicalize_name(requirement.name) for requirement in listed(*PROJECT["optional-dependencies"])
    }
    own = {path.stem for path in ROOT.glob("*.py")} | {"fieldwise"}
    own |= {path.stem for folder in ("tests", "docs", "benchmarks") for path in (ROOT / folder).rglob("*.py")}
    distributions = packages_distributions() | {"cupy": ["cupy-cuda12x"]}
    missing = {}
    for name, path in imported_names().items():
        owners = {canonicalize_name(owner) for owner in distributions.get(name, [name])}
        known = name in own or name in sys.stdlib_module_names or name in {*WHERE_PRESENT, *COMES_WITH}
        if not known and not owners & allowed:
            missing[name] = str(path.relative_to(ROOT))
    assert missing == {}, "list them in pyproject.toml"
    for name, bringer in COMES_WITH.items():
        brought = {canonicalize_name(Requirement(text).name) for text in requires(bringer)}
        assert bringer in allowed
        assert {canonicalize_name(owner) for owner in distributions[name]} & brought, name


def show_recipe(*words):
    """Ask make what it would do, as a user does, not as a part of the `make test` that runs this."""
    around = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-n", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=around)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["demo"], "--names data_prep srgan_train deepbedmap paper_figures"),
        (["demo", "SEED=8"], "--parameters seed=8 --names data_prep srgan_train deepbedmap paper_figures"),
        (["demo-ice-flow"], "--names ice_flow"),
        (["demo-structure-formation"], "--names structure_formation"),
        (["demo-extreme-weather"], "--names extreme_weather"),
        (["demo-temperature-forecast"], "--names temperature_forecast"),
        (
            ["notebooks", "NOTEBOOKS=a b", "PARAMETERS=c=3 d=e", "SEED=8"],
            "--parameters c=3 d=e seed=8 --names a b",
        ),
    ],
)
def test_make_hands_notebooks_and_parameters_on(words, command):
    done = show_recipe(*words)
    line = " ".join(done.stdout.splitlines()[-1].split())
    assert line.endswith(f"fieldwise notebooks --out model/notebooks {command}")


def test_make_knows_every_notebook():
    done = show_recipe("pairs")
    names = re.search(r"for script in (.*); do", done.stdout)[1].split()
    assert sorted(names) == sorted([*NOTEBOOKS, "test_ipynb"])


@pytest.mark.parametrize("demo", ["demo-ice-flow", "demo-structure-formation"])
def test_only_beds_ask_for_gmt(demo):
    assert "gmt --version" in show_recipe("demo").stdout
    assert "gmt --version" not in show_recipe(demo).stdout


def test_settings_are_put_where_they_are_read():
    """By `make install` into the environment, in the image too; by a variable of conda's."""
    files = re.search(r"JUPYTER_SETTINGS := (.+)", MAKEFILE)[1].split()
    folder = ROOT / ".jupyter"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(files) == there == {"labconfig/default_setting_overrides.json", "jupyter_server_config.json"}
    done = show_recipe("-B", "packages").stdout
    for name in files:
        assert f"cp .jupyter/{name} .venv/etc/jupyter/{name}" in done
        installed = Path(sys.prefix) / "etc" / "jupyter" / name
        if installed.exists():
            assert installed.read_text() == (folder / name).read_text()
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda["variables"] == {"JUPYTER_CONFIG_PATH": ".jupyter"}


# --- the Dockerfile ---------------------------------------------------------------------------------------


def instructions():
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def test_dockerfile_has_no_fault_that_hadolint_knows():
    linter = Path(sys.executable).with_name("hadolint")
    command = str(linter) if linter.exists() else shutil.which("hadolint")
    if command is None:
        pytest.skip("hadolint has no package for this system")
    done = subprocess.run([command, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    broken = DOCKERFILE.replace("apt-get install -y ", "apt-get install ")
    done = subprocess.run([command, "-"], input=broken, capture_output=True, text=True)
    assert "DL3014" in done.stdout  # it does look


def test_dockerfile_is_one_that_binder_takes():
    """A base image with a tag, Binder's user, who owns the folder and runs JupyterLab."""
    image = dict(instructions())["FROM"]
    tag = re.fullmatch(r"python:(3\.\d+)-slim-bookworm", image)
    assert tag, image
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{tag[1]}.0")
    arguments = [words for name, words in instructions() if name == "ARG"]
    assert {argument.split("=")[0] for argument in arguments} >= {"NB_USER", "NB_UID"}
    users = [words for name, words in instructions() if name == "USER"]
    assert users[-1] == "${NB_USER}"
    assert json.loads(dict(instructions())["CMD"])[:2] == ["jupyter", "lab"]
    copies = [words for name, words in instructions() if name == "COPY"]
    assert all("--chown" in words for words in copies[1:])


def test_image_gets_what_it_copies_and_nothing_that_is_left_lying_about():
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    sources = [
        source
        for name, words in instructions()
        if name == "COPY"
        for source in words.split()[:-1]
        if not source.startswith("--")
    ]
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] not in ignored
    git = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    covered = {pattern.removeprefix("**/").removeprefix("!") for pattern in ignored} | {
        "lightning_logs",
        "gmt.history",
    }
    uncovered = {line.lstrip("!").strip("/") for line in git} - covered - {".venv", ".venv-*", ""}
    assert uncovered == set(), "in .gitignore, but not in .dockerignore"


# --- Colab and Binder -------------------------------------------------------------------------------------


def colab_cell(name):
    notebook = jupytext.read(ROOT / f"{name}.ipynb")
    (cell,) = [cell.source for cell in notebook.cells if cell.metadata.get("tags") == ["colab"]]
    return cell


def needed_by(names):
    """Follow what packages need, as they are installed here."""
    found, rest = set(), set(names)
    while rest:
        name = rest.pop()
        found.add(name)
        try:
            needs = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue
        needed = {
            canonicalize_name(need.name)
            for need in needs
            if not (need.marker and "extra" in str(need.marker))
        }
        rest |= needed - found
    return found


def address():
    return PROJECT["urls"]["Repository"].removeprefix("https://github.com/")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_badges_and_first_cells_name_one_repository(name):
    notebook = jupytext.read(ROOT / f"{name}.ipynb")
    link = f"https://colab.research.google.com/github/{address()}/blob/main/{name}.ipynb"
    assert f"]({link})" in notebook.cells[0].source
    assert f"https://github.com/{address()}" in colab_cell(name)
    assert colab_cell(name) == colab_cell("data_prep")
    assert notebook.cells[1].source == colab_cell(name)  # before anything is imported
    readme = (ROOT / "README.md").read_text()
    assert f"https://mybinder.org/v2/gh/{address()}/main?urlpath=lab" in readme


def test_first_cell_installs_on_colab_alone(monkeypatch):
    """Elsewhere nothing is run; there the clone, GMT, and what the notebooks need besides Colab's own."""
    ran, went = [], []
    monkeypatch.setattr(subprocess, "run", lambda words, check: ran.append(words))
    monkeypatch.setattr("os.chdir", went.append)
    exec(colab_cell("data_prep"), {})
    assert (ran, went) == ([], [])
    monkeypatch.setitem(sys.modules, "google.colab", object())
    exec(colab_cell("data_prep"), {})
    assert [words[0] for words in ran[:2]] == ["git", "make"]
    assert ran[2][1:4] == ["-m", "pip", "install"]
    (extras,) = re.findall(r"\[(.*)\]$", ran[2][-1])
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    wanted = {canonicalize_name(requirement.name) for requirement in listed(*extras.split(","))}
    assert needed_by(wanted) & {"ipykernel", "ipython", "ipywidgets", "jupyterlab", "jupyter-server"} == set()
    assert went == [ran[0][-1]] == ["/content/fieldwise"]


def test_address_is_set_everywhere(tmp_path):
    """`make address` on a copy changes every mention and nothing else."""
    for path in [
        ROOT / "Makefile",
        ROOT / "pyproject.toml",
        ROOT / "README.md",
        *ROOT.glob("*.ipynb"),
        *ROOT.glob("*.py"),
    ]:
        shutil.copy(path, tmp_path)
    subprocess.run(["make", "-s", "address", "REPOSITORY=ice/bed.map"], cwd=tmp_path, check=True)
    changed = 0
    for path in tmp_path.iterdir():
        before, after = (ROOT / path.name).read_text(), path.read_text()
        assert after == (before if path.name == "Makefile" else before.replace(address(), "ice/bed.map"))
        changed += after != before
    assert changed == 2 + 2 * len(NOTEBOOKS)
