"""Drafts: files and folders that take their place only when all went well, and names fit for them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fieldwise.errors import InputError

WHOLE_FOLDERS = {".zarr"}  # suffixes of folders that are one thing, as a file is
PLAIN_NAME = re.compile(r"\w[\w .,+()-]{0,99}")


def check_plain_name(name: Any, place: str, *, kind: str = "file") -> str:
    """Refuse a name that would not name one file of one folder: with a path, hidden, empty or endless.

    Parameters
    ----------
    name
        Such as that of a variable, which becomes `name.tif`.
    place
        Where it stands, for the message.
    kind
        What the name is given to: a file, or a folder.

    >>> check_plain_name("ice_velocity", "own.yaml: input")
    'ice_velocity'
    >>> check_plain_name("../../evil", "own.yaml: input")
    Traceback (most recent call last):
    fieldwise.errors.InputError: own.yaml: input '../../evil' names a file to be written; give a plain ...
    """
    if isinstance(name, str | int) and PLAIN_NAME.fullmatch(str(name)):
        return str(name)
    shown = str(name)[:60]
    raise InputError(
        f"{place} {shown!r} names a {kind} to be written; give a plain name, of letters, digits, - and _"
    )


def check_inside(folder: str | Path, path: Any, place: str) -> Path:
    """Give the path of a file in a folder; one that leads out of the folder is refused.

    >>> check_inside("data", "inputs/bed.tif", "dataset.yaml").as_posix()
    'data/inputs/bed.tif'
    >>> check_inside("data", "../bed.tif", "data/dataset.yaml")
    Traceback (most recent call last):
    fieldwise.errors.InputError: data/dataset.yaml: '../bed.tif' leads out of data; prepare the folder again
    """
    parts = Path(os.path.normpath(str(path))).parts
    if not isinstance(path, str | Path) or not parts or parts[0] in ("..", "/") or Path(path).is_absolute():
        raise InputError(f"{place}: {str(path)[:60]!r} leads out of {folder}; prepare the folder again")
    return Path(folder) / path


@contextlib.contextmanager
def replace_when_done(path: str | Path) -> Iterator[Path]:
    """Yield a temporary neighbour that takes the place of `path` only when all went well.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with replace_when_done(target) as partial:
    ...     _ = partial.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    partial = folder / path.name
    try:
        yield partial
        if path.is_dir() and partial.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise InputError(f"{path}: the disk is full; free some space and run again") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def replace_together(folder: str | Path, *, last: str) -> Iterator[Path]:
    """Yield an empty draft of a folder; what is in it takes its place in the folder when all went well.

    Until then, and after an error, the folder is as it was. Whatever else it holds stays.

    Parameters
    ----------
    folder
        Made where it is not there yet.
    last
        Name of the file by which the folder counts as complete: it goes first and comes last, so that being
        killed in between leaves none.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("inputs.txt", "mine.txt", "done.txt"):
    ...     _ = (folder / name).write_text("old")
    >>> with replace_together(folder, last="done.txt") as draft:
    ...     for name in ("inputs.txt", "done.txt"):
    ...         _ = (draft / name).write_text("new")
    >>> {path.name: path.read_text() for path in sorted(folder.iterdir())}
    {'done.txt': 'new', 'inputs.txt': 'new', 'mine.txt': 'old'}
    """
    folder = Path(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft.", dir=folder))
    try:
        yield draft
        (folder / last).unlink(missing_ok=True)
        for path in sorted(_movable(draft), key=lambda path: path == draft / last):
            target = folder / path.relative_to(draft)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir() and path.is_dir():
                shutil.rmtree(target)
            os.replace(path, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if made:  # an error leaves no empty folder behind
            with contextlib.suppress(OSError):
                folder.rmdir()


def _movable(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and path.suffix not in WHOLE_FOLDERS:
            yield from _movable(path)
        else:
            yield path
