"""Applications: each chooses its variables, spacings and hyper-parameters, and has four verbs.

A recipe is a module or package with the functions prepare, train, predict, evaluate and such, listed in
``__all__``. Those of others are found by the entry point ``fieldwise.recipes`` of their package, or by path.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from fieldwise.errors import InputError

BUILT_IN = {
    "bed_topography": "a fine map of the bed under ice (DeepBedMap)",
    "ice_flow": "velocity of glaciers from their shape, as a solver would give it",
    "structure_formation": "displacements of matter from initial conditions, and finer ones (map2map)",
    "extreme_weather": "storms and rivers in weather, cell by cell, and their tracks (DeepCAM, ClimateNet)",
    "temperature_forecast": "hourly maps of temperature some hours ahead (AMBS)",
}
VERBS = {
    "prepare": "turn files into a prepared folder to learn from, and data to judge on",
    "train": "train a network; a run that was cut off goes on",
    "predict": "apply it to whole domains or a part of them, block by block",
    "evaluate": "judge the result on data that training has not seen",
    "tune": "search for the best options of train",
    "compare": "set several runs side by side",
}


def find_recipes() -> dict[str, str]:
    """List the recipes that are there by name, each with a caption, without loading any.

    >>> [name for name in find_recipes() if name in BUILT_IN]
    ['bed_topography', 'ice_flow', 'structure_formation', 'extreme_weather', 'temperature_forecast']
    """
    return {**BUILT_IN, **{name: f"from {entry.value}" for name, entry in _entry_points().items()}}


def load_recipe(name: str, *, besides: Sequence[str] = ()) -> Any:
    """Load a recipe by its name, the path of its Python file or folder, or its import path.

    Parameters
    ----------
    besides
        What else could have been meant, for the message.

    Raises
    ------
    InputError
        Where there is none, or it cannot be imported.

    >>> list_verbs(load_recipe("ice_flow"))
    ['prepare', 'train', 'predict', 'evaluate', 'tune']
    >>> load_recipe("bed")
    Traceback (most recent call last):
    fieldwise.errors.InputError: 'bed' is no recipe; choose bed_topography, ...
    """
    if name in BUILT_IN:
        return importlib.import_module(f"{__name__}.{name}")
    found = _entry_points().get(name)
    if found is not None:
        return _load(f"recipe {name} ({found.value})", found.load)
    if name.endswith(".py") or "/" in name or os.sep in name:
        return _load_path(Path(name))
    if "." in name:
        _search_first(Path.cwd())
        return _load(name, lambda: importlib.import_module(name))
    raise InputError(
        f"{name!r} is no recipe; choose {', '.join(find_recipes())}, the path or import path of your own"
        + (f", or {', '.join(besides)}" if besides else "")
    )


def list_verbs(recipe: Any) -> list[str]:
    """Name the verbs of a recipe: those in its ``__all__``, or those of the usual ones that it has.

    >>> list_verbs(load_recipe("bed_topography"))
    ['prepare', 'train', 'predict', 'evaluate', 'tune']
    """
    named = getattr(recipe, "__all__", None)
    verbs = [verb for verb in VERBS if (hasattr(recipe, verb) if named is None else verb in named)]
    others = (name for name in named or () if name not in VERBS)
    return verbs + [name for name in others if isinstance(vars(recipe).get(name, list_verbs), FunctionType)]


def load_verb(recipe: Any, name: str) -> Callable[..., Any]:
    """Get one verb of a recipe.

    >>> load_verb(load_recipe("ice_flow"), "learn")
    Traceback (most recent call last):
    fieldwise.errors.InputError: 'learn' is no verb of ice_flow; choose prepare, train, ..., tune
    """
    short, verbs = recipe.__name__.rpartition(".")[2], list_verbs(recipe)
    if name not in verbs:
        raise InputError(f"{name!r} is no verb of {short}; choose {', '.join(verbs) or 'another recipe'}")
    verb = _load(f"{short} {name}", lambda: getattr(recipe, name))
    if not isinstance(verb, FunctionType):
        raise InputError(f"{name!r} of {short} is no function; take it out of __all__")
    return verb


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=__name__) if entry.name not in BUILT_IN}


def _load_path(path: Path) -> Any:
    """Import a file or package, with its neighbours within reach, as Python does for a script."""
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{path}: no such recipe; give the path of its Python file")
    _search_first(path.resolve().parent)
    module = _load(str(path), lambda: importlib.import_module(path.resolve().stem))
    if Path(getattr(module, "__file__", None) or "").resolve() != file.resolve():
        raise InputError(f"{path}: another module is called {module.__name__} too; rename the file")
    return module


def _search_first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _load(name: str, load: Callable[[], Any]) -> Any:
    """Import something of somebody else's; whatever goes wrong is told in one line, with its place."""
    try:
        return load()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if "importlib" not in frame.filename and frame.filename != __file__
        ]
        place = f", in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
        raise InputError(
            f"{name}: cannot be imported ({type(error).__name__}: {error}{place}); "
            "mend it, or install what is missing"
        ) from error
