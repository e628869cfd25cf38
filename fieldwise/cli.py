"""The command line: `fieldwise RECIPE VERB --option …`, made from the signatures of the recipes."""

from __future__ import annotations

import contextlib
import errno
import inspect
import json
import os
import pkgutil
import re
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from fieldwise import __version__
from fieldwise.errors import InputError
from fieldwise.recipes import VERBS, find_recipes, list_verbs, load_recipe, load_verb

COMMANDS = {  # what serves every recipe
    "download": "fieldwise.downloads.sources:download_data",
    "fetch": "fieldwise.runs:fetch_run",
    "notebooks": "fieldwise.notebooks:run_notebooks",
    "scripts": "fieldwise.recipes.scripts:write_scripts",
}
UNFINISHED = {"out": ".partial", "study": ""}  # option: what is appended to its path while it is unfinished
MENDABLE = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
USAGE = """usage: fieldwise RECIPE VERB [--option ...]
       fieldwise download [--names FILE ...] [--folder FOLDER]
       fieldwise fetch --experiment KEY_OR_ZIP [--run RUN]
       fieldwise notebooks --names NOTEBOOK ... [--parameters NAME=VALUE ...]
       fieldwise scripts --recipe RECIPE [--scheduler slurm] [--options STEP.OPTION=VALUE ...]

Learn maps between gridded fields.

recipes, or the path of your own (RECIPE.py) or its import path:
{recipes}

verbs:
{verbs}

`fieldwise RECIPE VERB --help` lists the options of a verb; `--config FILE.yaml` reads them from a
file, `--print_config` writes one. `fieldwise download --help` fetches the files of data_list.yml;
`fieldwise notebooks --help` executes notebooks with parameters; `fieldwise scripts --help` writes
scripts of all steps, for a shell or a cluster.
"""


class Terminated(KeyboardInterrupt):
    """The signal SIGTERM, which a scheduler sends; what stops on Ctrl-C stops on it too."""


def usage() -> str:
    """Say what the command line offers, without loading any of it.

    >>> print(usage().splitlines()[0])
    usage: fieldwise RECIPE VERB [--option ...]
    """
    return USAGE.format(recipes=_table(find_recipes()), verbs=_table(VERBS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; a user's mistake is one line on standard error and status 2.

    >>> main(["--version"]) == 0
    fieldwise 0.1.0
    True
    """
    # Waiting threads give way: on shared cores spinning ones would slow training down several times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in {"-h", "--help"}:
        print(usage(), end="")
        return 0
    if words[0] == "--version":
        print(f"fieldwise {__version__}")
        return 0
    try:
        return _run(words)
    except InputError as error:
        return _refuse(str(error))
    except SystemExit as stop:  # of --help and --print_config
        return int(stop.code or 0)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        if isinstance(error, MENDABLE) or error.errno in {errno.ENOSPC, errno.EROFS}:
            return _refuse(f"{error.filename or 'output'}: {error.strerror}")
        raise
    except KeyboardInterrupt as stop:
        return _stop(stop, again="begins anew")


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM come out as an exception, once, where nobody handles it; Lightning then calls this too."""
    received = []

    def terminate(*_: object) -> None:
        received.append(True)
        if len(received) == 1:  # a second one, to all processes of a group, must not break the tidying up
            raise Terminated

    free = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if not free or threading.current_thread() != threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if received:  # Lightning may end the program in a way of its own, even as if all were well
            raise Terminated from None
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(words: list[str]) -> int:
    if words[0] in COMMANDS:
        function = pkgutil.resolve_name(COMMANDS[words[0]])
        name, rest = words[0], words[1:]
    else:
        recipe = load_recipe(words[0], besides=list(COMMANDS))
        if len(words) == 1 or words[1] in {"-h", "--help"}:
            print(_usage_of(words[0], recipe), end="")
            return 0
        function = load_verb(recipe, words[1])
        name, rest = " ".join(words[:2]), words[2:]
    options = _parse(function, name, rest)
    try:
        with _terminable():
            function(**options)
    except KeyboardInterrupt as stop:
        goes_on = _goes_on(name.split()[-1], options)
        return _stop(stop, again="goes on where it was" if goes_on else "begins anew")
    return 0


def _usage_of(name: str, recipe: Any) -> str:
    verbs = {verb: VERBS.get(verb) or _caption(getattr(recipe, verb)) for verb in list_verbs(recipe)}
    head = f"usage: fieldwise {name} VERB [--option ... | --help]\n\n{_caption(recipe)}"
    return f"{head}\n\nverbs:\n{_table(verbs)}\n"


def _caption(documented: Any) -> str:
    return " ".join((documented.__doc__ or "").split("\n\n")[0].split())


def _parse(function: Callable[..., Any], name: str, words: Sequence[str]) -> dict[str, Any]:
    """Make options of words, as the signature of a function says."""
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(prog=f"fieldwise {name}", description=_caption(function), exit_on_error=False)
    parser.add_argument("--config", action="config", help="read options from this YAML file")
    resolved = _resolve(function)
    hints = {each.name: each.annotation for each in inspect.signature(resolved).parameters.values()}
    lists = {f"--{option}" for option, hint in hints.items() if _is_list(hint)}
    try:
        parser.add_function_arguments(resolved, as_group=False)
    except ValueError as error:
        raise InputError(f"{name}: cannot be a command ({error})") from error
    try:
        options = parser.parse_args(join_lists(words, lists=lists)).as_dict()
    except ArgumentError as error:
        raise InputError(f"{_plain(str(error))}; see `fieldwise {name} --help`") from None
    return {name: value for name, value in options.items() if name != "config"}


def _resolve(function: Callable[..., Any]) -> Callable[..., Any]:
    """Stand in for a function with the annotations of its parameters evaluated.

    Where they are text, jsonargparse would load what their module imports for the type checker alone.
    """
    signature = inspect.signature(function)
    parameters = signature.parameters.values()
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return function
    texts = {parameter.name: parameter.annotation for parameter in parameters}
    try:
        names = vars(sys.modules[function.__module__])
        hints = get_type_hints(SimpleNamespace(__annotations__=texts), names, include_extras=True)
    except NameError:
        return function

    def resolved() -> None: ...

    resolved.__doc__, resolved.__module__ = function.__doc__, function.__module__
    whole = [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters]
    vars(resolved)["__signature__"] = signature.replace(parameters=whole)
    return resolved


def _goes_on(verb: str, options: Mapping[str, Any]) -> bool:
    """Tell whether a verb that was stopped has left something that the same command would go on with."""
    if options.get("resume") is False:
        return False
    if verb == "train":
        return os.path.exists(f"{options.get('run')}/checkpoints/last.ckpt")
    paths = [f"{options[name]}{suffix}" for name, suffix in UNFINISHED.items() if options.get(name)]
    return verb == "download" or any(map(os.path.exists, paths))


def _stop(stop: KeyboardInterrupt, *, again: str) -> int:
    """Say what happens when the command is given again; give the status of a program ended by a signal."""
    terminated = isinstance(stop, Terminated)
    print(f"{'terminated' if terminated else 'interrupted'}; the same command {again}", file=sys.stderr)
    return 128 + (signal.SIGTERM if terminated else signal.SIGINT)


def _table(captions: Mapping[str, str]) -> str:
    width = max(16, 1 + max(map(len, captions), default=0))
    return "\n".join(f"  {name:<{width}}{caption}".rstrip() for name, caption in captions.items())


def _plain(message: str) -> str:
    """Say what is wrong with an option in a user's words, not the parser's."""
    message = re.sub(r'Parser key "([\w.]+)":', r"--\1:", message)
    message = re.sub(r"Does not validate against any of the Union subtypes.*Errors:", "", message, flags=re.S)
    message = re.sub(r"- Expected a <class 'NoneType'>\s*|Given value type: \S+ \S+\s*", "", message)
    return re.sub(r"<class '([\w.]+)'>", r"\1", message)


def _is_list(hint: Any) -> bool:
    """Tell whether an option takes a list, and nothing else but null.

    >>> _is_list(list[int] | None), _is_list(tuple[float, ...]), _is_list(str | list[str])
    (True, True, False)
    """
    kinds = set(get_args(hint)) - {NoneType} if isinstance(hint, UnionType) else {hint}
    return all(get_origin(kind) in (list, tuple) for kind in kinds)


def join_lists(words: Sequence[str], *, lists: Collection[str] = ()) -> list[str]:
    """Write the words behind an option as the list that the parser expects.

    Several words are a list; a single one is where its option is among the `lists`.

    >>> join_lists(["--crop", "32", "--run", "model", "--in_pad", "[1]"], lists={"--crop", "--in_pad"})
    ['--crop', '[32]', '--run', 'model', '--in_pad', '[1]']
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
    return [word for option, *values in joined for word in (option, *_join(values, option in lists))]


def _join(values: list[str], alone: bool) -> list[str]:
    """Make one word of several, or of one that stands alone for a list."""
    if len(values) < 2 and not (alone and values and values[0][:1] != "[" and values[0] != "null"):
        return values
    return [f"[{','.join(map(_quote_lists, values))}]"]


def _quote_lists(word: str) -> str:
    """Quote NAME=VALUE with a list in it, which would be taken apart within another list."""
    return json.dumps(word) if re.match(r"[\w.]+=.*[][{},]", word) else word


def _refuse(message: str) -> int:
    print(f"fieldwise: {' '.join(message.split())}", file=sys.stderr)
    return 2
