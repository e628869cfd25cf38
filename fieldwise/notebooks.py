"""Notebooks executed one after the other, with parameters, for batch and clusters."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from fieldwise.errors import InputError, name_parameters

SUFFIX = ".ipynb"
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a mapping",
}


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
        progress: Whether to show what the notebooks print, as they print it.

    Returns:
        The executed notebooks.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    names = [names] if isinstance(names, str) else names
    given = split_parameters(parameters)
    known = {name: _parameters_of(name, folder) for name in names}
    everywhere = sorted(set().union(*known.values()))
    for key in given:
        if key not in everywhere:
            raise InputError(
                f"--parameters: no notebook takes {key}; "
                f"{', '.join(names) or 'none at all'} take {', '.join(everywhere) or 'none'}"
            )
    settings = {
        name: {key: read_value(key, value, like=own[key]) for key, value in given.items() if key in own}
        for name, own in known.items()
    }
    paths = []
    for name in names:
        path = Path(out) / f"{name}{SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"{name}{SUFFIX} {settings[name] or ''}".rstrip(), flush=True)
        try:
            papermill.execute_notebook(
                folder / f"{name}{SUFFIX}",
                path,
                parameters=settings[name],
                kernel_name="python3",
                cwd=folder,
                progress_bar=False,
                stdout_file=sys.stdout if progress else None,
                stderr_file=sys.stderr if progress else None,
                extra_arguments=["--IPKernelApp.log_level=40"],  # it warns that it listens on TCP
            )
        except PapermillExecutionError as error:
            # A user's mistake is told as the command line tells it; the traceback stands in the notebook.
            reason = f"{error.ename}: {name_parameters(error.evalue)}"
            raise InputError(f"{path}: In [{error.exec_count}]: {reason}") from error
        paths.append(path)
    return paths


def forget_kernel(model: dict[str, Any], **_: Any) -> None:
    """Drop what JupyterLab notes of the kernel in a notebook; its server calls this before it saves.

    To have opened a notebook is then no change of it: the notes differ from one Python to the next.

    >>> metadata = {"kernelspec": {"name": "python3"}, "language_info": {"version": "3.12.4"}}
    >>> forget_kernel({"type": "notebook", "content": {"metadata": metadata}})
    >>> metadata
    {'kernelspec': {'name': 'python3'}}
    """
    if model["type"] == "notebook":
        for key in ("language_info", "widgets"):
            model["content"]["metadata"].pop(key, None)


def _parameters_of(name: str, folder: Path) -> dict[str, Any]:
    """Give the parameters of a notebook and their own values; none where no cell is tagged so."""
    import nbformat
    import papermill

    path = folder / f"{name}{SUFFIX}"
    if not path.is_file():
        there = sorted(file.stem for file in folder.glob(f"*{SUFFIX}"))
        raise InputError(f"{path}: no such notebook; {folder} holds {', '.join(there) or 'none'}")
    try:
        found = papermill.inspect_notebook(path)
        return {key: _evaluate(entry["default"]) for key, entry in found.items()}
    except (ValueError, nbformat.ValidationError, AttributeError) as error:
        reason = str(error).partition("\n")[0][:100]
        raise InputError(f"{path}: is no notebook that can be run ({reason})") from error


def _evaluate(code: str) -> Any:
    """Give the value of a default, or nothing where it is worked out when the notebook runs."""
    try:
        return ast.literal_eval(code)
    except (ValueError, SyntaxError):
        return None


def split_parameters(given: str | list[str] | dict[str, Any] | None) -> dict[str, Any]:
    """Take parameters written as NAME=VALUE apart.

    >>> split_parameters(["size_km=100", "source=sandbox"])
    {'size_km': '100', 'source': 'sandbox'}
    >>> split_parameters("size_km")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --parameters: 'size_km' should be NAME=VALUE, such as size_km=100
    """
    if isinstance(given, dict):
        return given
    apart: dict[str, Any] = {}
    for pair in [given] if isinstance(given, str) else given or []:
        name, sign, value = str(pair).partition("=")
        if not sign or not name.isidentifier():
            raise InputError(f"--parameters: {pair!r} should be NAME=VALUE, such as size_km=100")
        apart[name] = value
    return apart


def read_value(name: str, given: Any, *, like: Any) -> Any:
    """Read a parameter as the kind of value that a notebook has for it; what is no text is YAML.

    `null` goes for every parameter, and any value for one that is nothing by default.

    >>> read_value("learning_rate", "1e-3", like=5e-5), read_value("run", "2024", like="model")
    (0.001, '2024')
    >>> read_value("bounds", "[0, 0, 9, 9]", like=None), read_value("inputs", "null", like=["a"])
    ([0, 0, 9, 9], None)
    >>> read_value("size_km", "wide", like=250.0)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --parameters: size_km=wide should be a number, such as 250.0
    """
    kind = type(like)
    value = _read_yaml(given) if isinstance(given, str) and (kind is not str or given == "null") else given
    if kind is float and type(value) is int:
        value = float(value)
    if value is None or like is None or type(value) is kind:
        return value
    raise InputError(f"--parameters: {name}={given} should be {KINDS[kind]}, such as {json.dumps(like)}")


def _read_yaml(text: str) -> Any:
    for kind in (int, float):  # to YAML 1e-3 is a text
        try:
            return kind(text)
        except ValueError:
            pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
