"""A run folder: its settings, the checkpoint to go on from, its metrics."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas
import yaml

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError

MAY_CHANGE = {  # between a run and its resumption; the checkpoint itself knows the data
    "data",
    "run",
    "resume",
    "max_epochs",
    "patience",
    "accelerator",
    "devices",
    "sync_batch_norm",
    "target_iou",
    "precision",
    "compile",
    "progress",
    "tracker",
}


def find_checkpoint(run: str | Path, settings: Mapping[str, Any], *, resume: bool) -> Path | None:
    """Tell the checkpoint that a run is to go on from, if there is one; the folder is left as it is.

    Raises
    ------
    InputError
        Where the folder holds a run with other settings, or one that tells none.

    >>> import tempfile
    >>> find_checkpoint(Path(tempfile.mkdtemp()), {"seed": 1}, resume=True) is None
    True
    """
    run = Path(run)
    last = run / "checkpoints" / "last.ckpt"
    if not resume or not last.exists():
        return None
    config = run / "config.yaml"
    before = _read_settings(config)
    differing = sorted(
        key for key in {*before, *settings} - MAY_CHANGE if before.get(key) != _plain(settings.get(key))
    )
    if differing:
        raise InputError(
            f"{run}: holds a run with another {', '.join(differing)}; choose another --run, or --resume false"
        )
    return last


def open_run(run: str | Path, settings: Mapping[str, Any], *, resume: bool) -> Path | None:
    """Make or reopen a run folder, and tell the checkpoint to go on from; without one, begin anew.

    Raises
    ------
    InputError
        As of :func:`find_checkpoint`; the folder is then left as it is.

    >>> import tempfile; run = Path(tempfile.mkdtemp()) / "run"
    >>> open_run(run, {"seed": 1}, resume=True) is None
    True
    >>> (run / "config.yaml").read_text()
    'seed: 1\\n'
    """
    run = Path(run)
    last = find_checkpoint(run, settings, resume=resume)
    if last is None:
        for leftover in ("checkpoints", "logs"):
            shutil.rmtree(run / leftover, ignore_errors=True)
        (run / "provenance.json").unlink(missing_ok=True)  # by which a run counts as ended
    _write_settings(run, settings)
    return last


def _read_settings(config: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(config.read_text())
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError):
        settings = None
    if not isinstance(settings, dict):
        raise InputError(
            f"{config}: is missing or damaged, and tells no settings to go on with; "
            "choose another --run, or --resume false"
        )
    return settings


def _plain(value: Any) -> Any:
    """Give a value the form that it has after a trip through YAML."""
    return yaml.safe_load(yaml.safe_dump(str(value) if isinstance(value, Path) else value))


def _write_settings(run: Path, settings: Mapping[str, Any]) -> None:
    content = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    with replace_when_done(run / "config.yaml") as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=False))


def read_metrics(run: str | Path) -> pandas.DataFrame:
    """Read the logged metrics of a run, of all the parts in which it was trained.

    >>> import tempfile; run = Path(tempfile.mkdtemp())
    >>> for part, line in enumerate(("0,2.5", "1,1.5")):  # trained, then resumed
    ...     (run / f"logs/part_{part}").mkdir(parents=True)
    ...     _ = (run / f"logs/part_{part}/metrics.csv").write_text(f"epoch,loss\\n{line}\\n")
    >>> read_metrics(run)["loss"].tolist()
    [2.5, 1.5]
    """
    files = sorted(Path(run).glob("logs/part_*/metrics.csv"), key=lambda file: int(file.parent.name[5:]))
    if not files:
        raise InputError(f"{run}: holds no logged metrics; train it first")
    return pandas.concat([pandas.read_csv(file) for file in files], ignore_index=True)
