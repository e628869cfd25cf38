"""A run on record: its trainer with loggers and checkpoints, its settings, its provenance."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import io
import json
import logging
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas
import yaml

from fieldwise.errors import InputError
from fieldwise.grids import replace_when_done

PACKAGES = ("fieldwise", "numpy", "xarray", "rasterio", "pygmt", "torch", "lightning")
MAY_CHANGE = {
    "max_epochs",
    "patience",
    "accelerator",
    "devices",
    "precision",
}  # between a run and its resumption


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
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        **facts,
        "sha256": sums,
    }
    return write_json(content, path)


def write_json(content: Mapping[str, Any], path: str | Path) -> Path:
    """Write plain values as JSON, whole or not at all."""
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
    """
    path = Path(path)
    known = json.loads(path.read_text()) if path.exists() else {}
    if known.get("fingerprint") != fingerprint:
        known = {"fingerprint": fingerprint, "value": measure()}
        write_json(known, path)
    return known["value"]


def open_run(run: str | Path, settings: Mapping[str, Any], *, resume: bool) -> Path | None:
    """Make or reopen a run folder, and tell the checkpoint to go on from.

    Raises
    ------
    InputError
        Where the folder holds a run with other settings.

    >>> import tempfile; run = Path(tempfile.mkdtemp()) / "run"
    >>> open_run(run, {"seed": 1}, resume=True) is None
    True
    """
    run = Path(run)
    last = run / "checkpoints" / "last.ckpt"
    if not resume or not last.exists():
        for leftover in ("checkpoints", "logs"):
            shutil.rmtree(run / leftover, ignore_errors=True)
        _write_settings(run, settings)
        return None
    config = run / "config.yaml"
    before = yaml.safe_load(config.read_text()) if config.exists() else {}
    differing = sorted(
        key for key in {*before, *settings} - MAY_CHANGE if before.get(key) != _plain(settings.get(key))
    )
    if differing:
        raise InputError(
            f"{run}: holds a run with another {', '.join(differing)}; choose another --run, or --resume false"
        )
    _write_settings(run, settings)
    return last


def _plain(value: Any) -> Any:
    """Give a value the form that it has after a trip through YAML."""
    return yaml.safe_load(yaml.safe_dump(str(value) if isinstance(value, Path) else value))


def _write_settings(run: Path, settings: Mapping[str, Any]) -> None:
    content = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    with replace_when_done(run / "config.yaml") as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=False))


def read_metrics(run: str | Path) -> pandas.DataFrame:
    """Read the logged metrics of a run, of all the parts in which it was trained."""
    files = sorted(Path(run).glob("logs/part_*/metrics.csv"), key=lambda file: int(file.parent.name[5:]))
    if not files:
        raise InputError(f"{run}: holds no logged metrics; train it first")
    return pandas.concat([pandas.read_csv(file) for file in files], ignore_index=True)


def make_trainer(
    run: str | Path,
    *,
    max_epochs: int,
    monitor: str,
    patience: int | None = None,
    accelerator: str = "auto",
    devices: int | str = "auto",
    precision: str = "32-true",
    progress: bool = True,
) -> Any:
    """Set up a Lightning trainer that logs to CSV and TensorBoard and keeps the best and the last weights.

    Parameters
    ----------
    run
        Run folder: ``logs/part_0/metrics.csv``, ``logs/tensorboard``, ``checkpoints/best.ckpt`` and
        ``checkpoints/last.ckpt``.
    monitor
        Validation metric whose least value marks the best weights.
    patience
        Epochs without improvement after which training stops; None never stops early.
    accelerator, devices, precision
        As Lightning takes them.
    """
    import torch
    from lightning.fabric.plugins import TorchCheckpointIO
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    class WholeCheckpoints(TorchCheckpointIO):
        """Written beside their place: Lightning writes to /tmp and copies, which a full disk cuts in half."""

        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            content = io.BytesIO()  # torch's own writing to a file hides the reason when the disk is full
            torch.save(checkpoint, content)
            with replace_when_done(path) as partial:
                partial.write_bytes(content.getbuffer())

    # Its tips and advertisements would bury the progress bar.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r".*(LeafSpec|num_workers|tensorboardX|log_every_n_steps).*")
    run = Path(run)
    checkpoints = run / "checkpoints"
    callbacks: list[Callback] = [
        ModelCheckpoint(checkpoints, "best", monitor=monitor, mode="min", enable_version_counter=False),
        ModelCheckpoint(checkpoints, "last", save_top_k=1, monitor=None, enable_version_counter=False),
    ]
    if patience is not None:
        callbacks.append(EarlyStopping(monitor, patience=patience, check_finite=False))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=5))
    loggers = [
        CSVLogger(run, name="logs", version=f"part_{len(list(run.glob('logs/part_*')))}"),
        TensorBoardLogger(run, name="logs", version="tensorboard", default_hp_metric=False),
    ]
    return Trainer(
        max_epochs=max_epochs,
        accelerator=accelerator,
        devices=devices,
        precision=precision,  # type: ignore[arg-type]
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=loggers,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        deterministic="warn",
    )
