"""Write fieldwise/README.md, the captioned index: one line for every public class and function.

Captions are the first paragraphs of docstrings; modules stand in the order of the layers, from the ground up.
Run it with `make index`. The code is read, not imported.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "fieldwise"
HEAD = """# fieldwise: the index

One line for every public class and function, from the ground up: what stands further down uses what
stands above it. Written by `make index` from the docstrings; `help(fieldwise.fields.formats.open_field)`
tells more.
"""
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Module:
    """One module with what is public in it."""

    name: str  # with dots, below the package
    path: Path
    tree: ast.Module

    @property
    def caption(self) -> str:
        """First paragraph of the docstring."""
        return caption_of(self.tree)

    @property
    def public(self) -> list[Definition]:
        """Classes and functions at the top level whose names do not begin with an underscore."""
        return [
            node for node in self.tree.body if isinstance(node, Definition) and not node.name.startswith("_")
        ]


def caption_of(node: Definition | ast.Module) -> str:
    """Give the first paragraph of a docstring in one line; empty where there is none."""
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def read_modules(root: Path = ROOT) -> list[Module]:
    """Read all modules of the package, from the ground up, by name within a layer."""
    modules = []
    for path in (root / PACKAGE).rglob("*.py"):
        parts = path.relative_to(root / PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name and name != "__main__":
            modules.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    ranks = {name: rank for rank, name in _layers(root)}
    return sorted(modules, key=lambda module: (-ranks.get(module.name.split(".")[0], -1), module.name))


def _layers(root: Path) -> Iterator[tuple[int, str]]:
    """Give each module below the package its place in the contract of layers, 0 being the top."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    for rank, layer in enumerate(layers):
        for name in layer.split("|"):
            yield rank, name.strip().removeprefix(f"{PACKAGE}.")


def write_index(root: Path = ROOT) -> str:
    """Write the text of the index."""
    parts = [HEAD]
    for module in read_modules(root):
        if module.public:
            file = module.path.relative_to(root / PACKAGE).as_posix()
            parts.append(f"\n## [{module.name}]({file})\n{module.caption}\n\n| | |\n|---|---|\n")
            parts += [f"| `{node.name}` | {_cell(caption_of(node))} |\n" for node in module.public]
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    (ROOT / PACKAGE / "README.md").write_text(write_index(), encoding="utf-8")
