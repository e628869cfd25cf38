"""Notebooks executed one after the other, with parameters, for batch and clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fieldwise.errors import InputError

SUFFIX = ".ipynb"


def run_notebooks(
    *,
    names: str | list[str],
    out: Path = Path("model/notebooks"),
    folder: Path = Path("."),
    parameters: str | list[str] | dict[str, Any] | None = None,
    progress: bool = True,
) -> list[Path]:
    """Execute notebooks with papermill; each takes those of the parameters that it has.

    Args:
        names: Notebooks in the order in which they run, such as data_prep srgan_train.
        out: Folder for the executed notebooks; one that fails is there up to the cell that failed.
        folder: Where the notebooks are, and where their relative paths start from.
        parameters: What to set, such as `size_km=100 max_epochs=1`, or a mapping in YAML.
        progress: Whether to show how far it is.

    Returns:
        The executed notebooks.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    names = [names] if isinstance(names, str) else names
    given = read_parameters(parameters)
    known = {name: _parameters_of(name, folder) for name in names}
    everywhere = sorted(set().union(*known.values()))
    for key in given:
        if key not in everywhere:
            raise InputError(
                f"--parameters: no notebook takes {key}; "
                f"{', '.join(names) or 'none at all'} take {', '.join(everywhere) or 'none'}"
            )
    paths = []
    for name, own in known.items():
        path = Path(out) / f"{name}{SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = {key: value for key, value in given.items() if key in own}
        print(f"{name}{SUFFIX} {settings or ''}".rstrip(), flush=True)
        try:
            papermill.execute_notebook(
                folder / f"{name}{SUFFIX}",
                path,
                parameters=settings,
                kernel_name="python3",
                cwd=folder,
                progress_bar=progress,
            )
        except PapermillExecutionError as error:
            # A user's mistake is told as the command line tells it; the traceback stands in the notebook.
            raise InputError(f"{path}: In [{error.exec_count}]: {error.ename}: {error.evalue}") from error
        paths.append(path)
    return paths


def _parameters_of(name: str, folder: Path) -> list[str]:
    """Name the parameters of a notebook; none where no cell is tagged so."""
    import nbformat
    import papermill

    path = folder / f"{name}{SUFFIX}"
    if not path.is_file():
        there = sorted(file.stem for file in folder.glob(f"*{SUFFIX}"))
        raise InputError(f"{path}: no such notebook; {folder} holds {', '.join(there) or 'none'}")
    try:
        return list(papermill.inspect_notebook(path))
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError) as error:
        raise InputError(f"{path}: is no notebook ({type(error).__name__})") from error


def read_parameters(given: str | list[str] | dict[str, Any] | None) -> dict[str, Any]:
    """Read parameters written as NAME=VALUE; values are numbers, or else YAML.

    >>> read_parameters(["size_km=100", "learning_rate=1e-3", "source=sandbox", "bounds=null"])
    {'size_km': 100, 'learning_rate': 0.001, 'source': 'sandbox', 'bounds': None}
    >>> read_parameters("size_km")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --parameters: 'size_km' should be NAME=VALUE, such as size_km=100
    """
    if isinstance(given, dict):
        return given
    read: dict[str, Any] = {}
    for pair in [given] if isinstance(given, str) else given or []:
        name, sign, value = str(pair).partition("=")
        try:
            if not sign or not name.isidentifier():
                raise ValueError
            read[name] = _read_value(value)
        except (ValueError, yaml.YAMLError) as error:
            raise InputError(f"--parameters: {pair!r} should be NAME=VALUE, such as size_km=100") from error
    return read


def _read_value(text: str) -> Any:
    for kind in (int, float):  # to YAML 1e-3 is a text
        try:
            return kind(text)
        except ValueError:
            pass
    return yaml.safe_load(text)
