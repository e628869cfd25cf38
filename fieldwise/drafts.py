"""Drafts: files and folders that take their place only when all went well."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fieldwise.errors import InputError

WHOLE_FOLDERS = {".zarr"}  # suffixes of folders that are one thing, as a file is


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
