"""What the pages of the documentation name is there: files, headings, commands with their options."""

import ast
import re
import shlex
import tomllib
from pathlib import Path

import jupytext
import papermill
import pytest
import yaml

from fieldwise.cli import main
from fieldwise.recipes.bed_topography.train import complete

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", "features/README.md"]
PAGES += ["docs/antarctica.md", "docs/map2map.md", "docs/extreme_weather.md"]
FREE = {"data", "run", "block_cells"}  # folders; and the map is the same in blocks of any size
README = (ROOT / "README.md").read_text(encoding="utf-8")


def anchors_of(text):
    """Headings as GitHub makes anchors of them, outside of blocks of code."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target.read_text(encoding="utf-8")), link


def commands_of(text):
    """Give the commands of blocks of code and of code in the text that name a recipe, a verb and options."""
    blocks = "".join(re.findall(r"^```(?:bash)?\n(.*?)^```$", text, flags=re.M | re.S)).replace("\\\n", " ")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for line in [*blocks.splitlines(), *re.findall(r"`([^`\n]+)`", prose)]:
        words = shlex.split(line.replace("'", ""), comments=True)
        if words[:1] == ["fieldwise"] and len(words) > 3 and "…" not in line and "|" not in line:
            yield words[1:]


@pytest.mark.parametrize(
    ("page", "least"), [("README.md", 6), ("docs/antarctica.md", 12), ("docs/old_weights.md", 1)]
)
def test_commands_have_the_options_that_are_named(page, least, capsys):
    commands = list(commands_of((ROOT / page).read_text(encoding="utf-8")))
    assert len(commands) >= least
    for words in commands:
        assert main([*words, "--print_config"]) == 0, (words, capsys.readouterr().err)


def test_the_demo_by_hand_is_the_demo(capsys):
    """Each option of the README's four commands has the value that the notebooks have; none is left out."""
    notebooks = {"prepare": "data_prep", "train": "srgan_train", "predict": "deepbedmap"}
    by_hand = [words for words in commands_of(README) if words[1] in notebooks][: len(notebooks)]
    assert [words[1] for words in by_hand] == list(notebooks)
    for words in by_hand:
        capsys.readouterr()
        assert main([*words, "--print_config"]) == 0
        given = yaml.safe_load(capsys.readouterr().out)
        given = complete(given, "generator") if words[1] == "train" else given
        for name, entry in papermill.inspect_notebook(ROOT / f"{notebooks[words[1]]}.ipynb").items():
            if name in given and name not in FREE:
                assert given[name] == ast.literal_eval(entry["default"]), name


def test_every_notebook_and_feature_is_listed():
    for path in ROOT.glob("*.ipynb"):
        assert f"({path.name})" in README, path.name
    page = (ROOT / "features" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "features").glob("*.feature"):
        assert f"[{path.name}]({path.name})" in page, path.name


def test_every_layer_is_in_the_table():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    names = {name.strip().removeprefix("fieldwise.") for layer in layers for name in layer.split("|")}
    assert {name for name in names if f"`{name}`" not in page} == set()
    targets = set(re.findall(r"`make ([a-z-]+)", page + README))
    assert targets
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))


def test_examples_of_commands_are_found():
    """The search above finds what it should: blocks, continued lines, code in the text."""
    text = "```bash\nfieldwise a b --c 1 \\\n  --d 2  # so\n```\nor `fieldwise e f --g 3`, not `fieldwise h`"
    assert list(commands_of(text)) == [["a", "b", "--c", "1", "--d", "2"], ["e", "f", "--g", "3"]]
    assert anchors_of("# Two words, so\n```\n# none\n```\n") == {"two-words-so"}


def test_citation_names_the_paper_of_each_application():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    dois = {reference["doi"] for reference in citation["references"]}
    recipes = ("ice_flow", "structure_formation", "extreme_weather", "temperature_forecast")
    for name in ("paper_figures", *recipes):
        text = jupytext.read(ROOT / f"{name}.ipynb").cells[0].source
        assert any(doi in text for doi in dois), name
