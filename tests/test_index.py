"""The index tells of every public function, and every public function tells of itself."""

import ast
import doctest
import importlib
import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("make_index", ROOT / "docs" / "make_index.py")
make_index = importlib.util.module_from_spec(SPEC)
importlib.sys.modules["make_index"] = make_index
SPEC.loader.exec_module(make_index)

# Where an example in the docstring would need what only a longer computation makes: how many public functions
# of a module or package have none, and why. A new function there needs one; who adds one lowers the number.
WITHOUT_EXAMPLE = {
    "interop": (1, "takes seconds to export to ONNX; see the tests"),
    "notebooks": (1, "starts kernels; shown in the README"),
    "recipes.bed_topography": (
        15,
        "the verbs, both trainings, figures of maps, weights from files; see the tests",
    ),
    "recipes.ice_flow": (5, "the five verbs, and what they do to whole data sets; shown by the notebooks"),
    "recipes.extreme_weather": (9, "the five verbs, and what writes their files; see the tests"),
    "recipes.temperature_forecast": (7, "the verbs, and what writes their files; see the tests"),
    "samples.hours": (1, "needs a file of GRIB; see the tests"),
    "recipes.structure_formation": (8, "the five verbs, and what reads their files; shown by the notebook"),
    "sandbox": (
        8,
        "makes or reads whole data sets; an event is made by `draw_event`, which is given its maker",
    ),
    "runs": (4, "needs a training, or an experiment at Comet; see the tests"),
    "downloads": (1, "needs a server"),
    "verbs": (1, "searches, which needs many trainings; see docs/own_application.md"),
}


def functions():
    return [
        (f"{module.name}.{node.name}", node)
        for module in make_index.read_modules()
        for node in module.public
        if isinstance(node, ast.FunctionDef)
    ]


def test_index_is_what_the_docstrings_say():
    committed = (ROOT / "fieldwise" / "README.md").read_text(encoding="utf-8")
    wanted = make_index.write_index()
    missing = sorted(set(wanted.splitlines()) - set(committed.splitlines()))
    assert committed == wanted, f"fieldwise/README.md: run `make index`; new or changed: {missing[:5]}"


def test_index_names_what_python_finds():
    """Independently of how the index is made: what is defined in a module stands in its table."""
    index = (ROOT / "fieldwise" / "README.md").read_text(encoding="utf-8")
    for name in (
        "fields.grids",
        "fields.tiles",
        "scores.texture",
        "verbs.predict",
        "recipes.bed_topography.judgement",
    ):
        module = importlib.import_module(f"fieldwise.{name}")
        section = index.partition(f"\n## [{name}](")[2].partition("\n## ")[0]
        found = [
            key
            for key, value in vars(module).items()
            if callable(value)
            and getattr(value, "__module__", "") == module.__name__
            and not key.startswith("_")
        ]
        assert found
        assert [key for key in found if f"| `{key}` |" not in section] == []


def test_every_module_and_public_name_has_a_caption():
    silent = []
    for module in make_index.read_modules():
        silent += [] if module.caption or not module.public else [module.name]
        silent += [f"{module.name}.{node.name}" for node in module.public if not make_index.caption_of(node)]
    assert silent == [], "write a docstring; its first paragraph is the caption in fieldwise/README.md"


def teaches(node):
    """Whether an example that is run calls the function."""
    examples = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
    run = [example.source for example in examples if not example.options.get(doctest.SKIP)]
    return any(re.search(rf"\b{node.name}\(", source) for source in run)


def test_public_functions_teach_by_an_example():
    without = {key: [] for key in ["", *WITHOUT_EXAMPLE]}
    for name, node in functions():
        if not teaches(node):
            key = next((key for key in WITHOUT_EXAMPLE if name.startswith(f"{key}.")), "")
            without[key].append(name)
    assert without.pop("") == [], "give each an example that calls it"
    for key, names in without.items():
        assert len(names) <= WITHOUT_EXAMPLE[key][0], f"give new ones an example: {names}"
        assert len(names) >= WITHOUT_EXAMPLE[key][0], f"{key}: lower the number to {len(names)}"


def test_an_example_that_is_not_run_does_not_count():
    text = 'def melt():\n    """Melt.\n\n    >>> melt(){}\n    """'
    taught = {
        end: teaches(ast.parse(text.format(end)).body[0])
        for end in ("", "  # doctest: +SKIP", "\n    >>> 1 + 1")
    }
    assert taught == {"": True, "  # doctest: +SKIP": False, "\n    >>> 1 + 1": True}
    assert not teaches(ast.parse(text.replace(">>> melt()", ">>> smelt()").format("")).body[0])


def test_index_of_a_made_package(tmp_path):
    """A package of two modules, its index worked out by hand."""
    package = tmp_path / "fieldwise"
    package.mkdir()
    (package / "__init__.py").write_text('"""All."""\n')
    (package / "snow.py").write_text(
        '"""Snow."""\n\ndef fall(x):\n    """Let | fall,\n    softly.\n\n    More."""\n\ndef _melt(): ...\n'
    )
    (package / "air.py").write_text('"""Air."""\n\nclass Wind:\n    """Moves."""\n')
    (tmp_path / "pyproject.toml").write_text(
        "[[tool.importlinter.contracts]]\nlayers = ['fieldwise.snow', 'fieldwise.air']\n"
    )
    body = make_index.write_index(tmp_path).removeprefix(make_index.HEAD)
    assert body == (
        "\n## [air](air.py)\nAir.\n\n| | |\n|---|---|\n| `Wind` | Moves. |\n"
        "\n## [snow](snow.py)\nSnow.\n\n| | |\n|---|---|\n| `fall` | Let \\| fall, softly. |\n"
    )
