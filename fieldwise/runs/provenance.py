"""What a result came from: versions, command, seed, sums of inputs; and plain values as JSON."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fieldwise.drafts import replace_when_done

PACKAGES = ("fieldwise", "numpy", "xarray", "rasterio", "pygmt", "torch", "lightning")


def hash_file(path: str | Path) -> str:
    """Give the SHA-256 sum of a file.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "empty"; path.touch()
    >>> hash_file(path)[:16]
    'e3b0c44298fc1c14'
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_provenance(
    path: str | Path, *, inputs: Iterable[Path] = (), folder: Path | None = None, **facts: Any
) -> Path:
    """Write what a result came from: versions, command, time, facts such as the seed, sums of inputs.

    Parameters
    ----------
    path
        JSON file to write.
    inputs
        Files whose SHA-256 sums are recorded.
    folder
        Names of inputs are given relative to this folder.

    Examples
    --------
    >>> import tempfile; folder = Path(tempfile.mkdtemp()); (folder / "bed.tif").touch()
    >>> path = record_provenance(folder / "provenance.json", inputs=[folder / "bed.tif"], seed=7)
    >>> content = json.loads(path.read_text())
    >>> content["seed"], content["sha256"]["bed.tif"][:16]  # the sum of an empty file
    (7, 'e3b0c44298fc1c14')
    """
    sums = {}
    for file in sorted(inputs):
        name = file.relative_to(folder) if folder and file.is_relative_to(folder) else Path(file.name)
        sums[name.as_posix()] = hash_file(file)
    command = (
        ["fieldwise", *sys.argv[1:]] if Path(sys.argv[0]).name == "fieldwise" else [Path(sys.argv[0]).name]
    )
    content = {
        "command": " ".join(command),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": _list_versions(),
        **facts,
        "sha256": sums,
    }
    return write_json(content, path)


def _list_versions() -> dict[str, str]:
    """List the versions of those packages that are installed."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def write_json(content: Mapping[str, Any], path: str | Path) -> Path:
    """Write plain values as JSON, whole or not at all.

    >>> import tempfile
    >>> write_json({"rmse_m": 41.5}, Path(tempfile.mkdtemp()) / "scores.json").read_text()
    '{\\n  "rmse_m": 41.5\\n}\\n'
    """
    with replace_when_done(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
    return Path(path)


def recall_measure(path: str | Path, fingerprint: str, measure: Callable[[], int]) -> int:
    """Give what was measured before under the same fingerprint, or measure it now and write it down.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "halo.json"
    >>> recall_measure(path, "a", lambda: 44), recall_measure(path, "a", lambda: 0)
    (44, 44)
    >>> recall_measure(path, "b", lambda: 48)
    48
    >>> _ = path.write_text("{"); recall_measure(path, "b", lambda: 50)  # broken: measured anew
    50
    """
    path = Path(path)
    try:
        known = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # a broken file is no loss: it is measured anew
        known = None
    if (
        not isinstance(known, dict)
        or known.get("fingerprint") != fingerprint
        or type(known.get("value")) is not int
    ):
        known = {"fingerprint": fingerprint, "value": measure()}
        write_json(known, path)
    return known["value"]
