"""The command line: `fieldwise RECIPE VERB --option …`, made from the signatures of the recipes."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import signal
import sys
from collections.abc import Sequence

from fieldwise import __version__
from fieldwise.errors import InputError

RECIPES = {
    "bed_topography": "a fine map of the bed under ice (DeepBedMap)",
    "ice_flow": "velocity of glaciers from their shape, as a solver would give it",
}
VERBS = {
    "prepare": "turn files into tiles to learn from and data to judge on",
    "train": "train a network; a run that was cut off goes on",
    "predict": "apply it to the whole region or a bounding box, block by block",
    "evaluate": "judge the result on data that training has not seen",
    "tune": "search for the best options of train (bed_topography)",
}
COMMANDS = {  # what serves every recipe
    "download": ("fieldwise.downloads.sources", "download_data"),
    "fetch": ("fieldwise.runs", "fetch_run"),
    "notebooks": ("fieldwise.notebooks", "run_notebooks"),
}
USAGE = """usage: fieldwise RECIPE VERB [--option ...]
       fieldwise download [--names FILE ...] [--folder FOLDER]
       fieldwise fetch --experiment KEY_OR_ZIP [--run RUN]
       fieldwise notebooks --names NOTEBOOK ... [--parameters NAME=VALUE ...]

Learn maps between gridded fields.

recipes:
{recipes}

verbs:
{verbs}

`fieldwise RECIPE VERB --help` lists the options of a verb; `--config FILE.yaml` reads them from a
file, `--print_config` writes one. `fieldwise download --help` fetches the files of data_list.yml;
`fieldwise notebooks --help` executes notebooks with parameters.
"""


def usage() -> str:
    """Say what the command line offers, without loading any of it.

    >>> print(usage().splitlines()[0])
    usage: fieldwise RECIPE VERB [--option ...]
    """
    lists = [
        "\n".join(f"  {name:<16}{caption}" for name, caption in table.items()) for table in (RECIPES, VERBS)
    ]
    return USAGE.format(recipes=lists[0], verbs=lists[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; a user's mistake is one line on standard error and status 2.

    >>> main(["--version"]) == 0
    fieldwise 0.1.0
    True
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in {"-h", "--help"}:
        print(usage(), end="")
        return 0
    if words[0] == "--version":
        print(f"fieldwise {__version__}")
        return 0
    if words[0] not in {*RECIPES, *COMMANDS}:
        return _refuse(f"{words[0]!r} is no recipe; choose {', '.join(RECIPES)}, or {', '.join(COMMANDS)}")
    try:
        return _run(words)
    except InputError as error:
        return _refuse(str(error))
    except SystemExit as stop:  # of --help and --print_config
        return int(stop.code or 0)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        if error.errno in {
            errno.ENOSPC,
            errno.EACCES,
            errno.ENOENT,
            errno.EEXIST,
            errno.EISDIR,
            errno.ENOTDIR,
            errno.EROFS,
        }:
            return _refuse(f"{error.filename or 'output'}: {error.strerror}")
        raise
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 128 + signal.SIGINT


def _run(words: list[str]) -> int:
    from jsonargparse import ArgumentError, ArgumentParser

    if words[0] in COMMANDS:
        module, attribute = COMMANDS[words[0]]
        function = getattr(importlib.import_module(module), attribute)
        name, rest = words[0], words[1:]
    else:
        if len(words) == 1 or words[1] in {"-h", "--help"}:
            print(usage(), end="")
            return 0
        if words[1] not in VERBS:
            return _refuse(f"{words[1]!r} is no verb; choose {', '.join(VERBS)}")
        recipe = importlib.import_module(f"fieldwise.recipes.{words[0]}")
        function = getattr(recipe, words[1], None)
        if function is None:
            return _refuse(f"{words[0]} has no verb {words[1]}; choose {', '.join(recipe.__all__)}")
        name, rest = " ".join(words[:2]), words[2:]
    caption = (function.__doc__ or "").split("\n\n")[0]
    parser = ArgumentParser(prog=f"fieldwise {name}", description=caption, exit_on_error=False)
    parser.add_argument("--config", action="config", help="read options from this YAML file")
    parser.add_function_arguments(function, as_group=False)
    try:
        options = parser.parse_args(join_lists(rest)).as_dict()
    except ArgumentError as error:
        return _refuse(f"{_plain(str(error))}; see `fieldwise {name} --help`")
    del options["config"]
    function(**options)
    return 0


def _plain(message: str) -> str:
    """Say what is wrong with an option in a user's words, not the parser's."""
    message = re.sub(r'Parser key "([\w.]+)":', r"--\1:", message)
    message = re.sub(r"Does not validate against any of the Union subtypes.*Errors:", "", message, flags=re.S)
    message = re.sub(r"- Expected a <class 'NoneType'>\s*|Given value type: \S+ \S+\s*", "", message)
    return re.sub(r"<class '([\w.]+)'>", r"\1", message)


def join_lists(words: Sequence[str]) -> list[str]:
    """Write several words behind one option as the list that the parser expects.

    >>> join_lists(["--bounds", "-4", "0", "4", "9", "--run", "model", "--inputs", "a", "b"])
    ['--bounds', '[-4,0,4,9]', '--run', 'model', '--inputs', '[a,b]']
    >>> join_lists(["--parameters", "seed=7", "inputs=[a, b]"])
    ['--parameters', '[seed=7,"inputs=[a, b]"]']
    """
    joined: list[list[str]] = []
    for word in words:
        if word.startswith("--") or word == "-h" or not joined:
            joined.append([word])
        else:
            joined[-1].append(word)
    lists = (
        [group[0], f"[{','.join(map(_quote_lists, group[1:]))}]"] if len(group) > 2 else group
        for group in joined
    )
    return [word for group in lists for word in group]


def _quote_lists(word: str) -> str:
    """Quote NAME=VALUE with a list in it, which would be taken apart within another list."""
    return json.dumps(word) if re.match(r"\w+=.*[][{},]", word) else word


def _refuse(message: str) -> int:
    print(f"fieldwise: {' '.join(message.split())}", file=sys.stderr)
    return 2
