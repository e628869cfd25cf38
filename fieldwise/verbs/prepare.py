"""What every verb prepare does: a folder that is whole or not there, and a record of what it came from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwise.errors import InputError

if TYPE_CHECKING:
    from fieldwise.samples.prepared import Draft


@contextlib.contextmanager
def prepare_folder(out: str | Path, *, recipe: str, **facts: Any) -> Iterator[Draft]:
    """Yield the draft of a prepared folder, which takes its place, with its provenance, when all went well.

    Until then, and after an error, the folder is as it was. A sandbox is made inside the draft; a user's own
    files go to its `sources`.

    Parameters
    ----------
    out
        Folder.
    recipe
        Whose folder it is.
    facts
        Whatever else the description shall say, in plain types, such as the seed.

    Raises
    ------
    InputError
        Where one of the sources would be written over.

    >>> import json, tempfile
    >>> with prepare_folder(Path(tempfile.mkdtemp()) / "data", recipe="own", seed=7) as draft:
    ...     draft.facts["truth"] = "truth.tif"
    >>> json.loads((draft.target / "provenance.json").read_text())["seed"]
    7
    """
    from fieldwise.runs import record_provenance
    from fieldwise.samples.prepared import draft_folder

    with draft_folder(out, recipe=recipe, **facts) as draft:
        yield draft
        sources = {path.resolve() for path in draft.sources}
        for path in draft.folder.rglob("*"):
            target = draft.target / path.relative_to(draft.folder)
            if target.resolve() in sources:
                raise InputError(f"{target}: is your own file and would be overwritten; choose another --out")
        seed = {"seed": facts["seed"]} if "seed" in facts else {}
        record_provenance(draft.folder / "provenance.json", inputs=draft.sources, folder=draft.home, **seed)


def check_apart(folders: Iterable[Path], sources: Iterable[Path]) -> None:
    """Refuse to replace folders that hold what is read.

    >>> check_apart([Path("data/test/west")], [Path("own/west/thk.npy")])
    >>> check_apart([Path("data/test/west")], [Path("data/test/west/thk.npy")])
    Traceback (most recent call last):
    fieldwise.errors.InputError: data/test/west/thk.npy: would be replaced by what is prepared from it; ...
    """
    taken = {folder.resolve() for folder in folders}
    for file in sources:
        if taken & {*file.resolve().parents}:
            raise InputError(f"{file}: would be replaced by what is prepared from it; give another --out")
