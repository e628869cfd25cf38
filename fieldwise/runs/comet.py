"""Comet: a run as an experiment, online where a key is in the environment, else as an archive in its folder.

The key is read from the environment alone. It is handed to Comet's client, which sends it to the server, and
goes nowhere else: what the client logs has it taken out.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.runs.provenance import write_json

API_KEY = "COMET_API_KEY"
PROJECT = "fieldwise"  # unless COMET_PROJECT_NAME names another
KEY_OF_EXPERIMENT = re.compile("[0-9A-Za-z]{32,50}")
# What an experiment keeps of a run folder, and all that is ever fetched from one.
KEPT_FILES = re.compile(
    r"config\.yaml|provenance\.json|checkpoints/(best|last)\.ckpt|logs/part_\d+/metrics\.csv"
)
QUIET = {  # Comet would log code, host, console and much more; a run on record says itself what matters
    "log_code": False,
    "log_graph": False,
    "auto_param_logging": False,
    "auto_metric_logging": False,
    "parse_args": False,
    "auto_output_logging": False,
    "log_env_details": False,
    "log_git_metadata": False,
    "log_git_patch": False,
    "auto_log_co2": False,
    "display_summary_level": 0,
}


class HideKey(logging.Filter):
    """Take the key out of what is logged.

    >>> record = logging.makeLogRecord({"msg": "The given API key %r is invalid", "args": ("abc123",)})
    >>> HideKey("abc123").filter(record), record.getMessage()
    (True, "The given API key '(key)' is invalid")
    """

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; it is always let through."""
        record.msg, record.args = _hide_key(record.getMessage(), self.key), ()
        if record.exc_info:
            record.exc_text = _hide_key("".join(traceback.format_exception(*record.exc_info)), self.key)
            record.exc_info = None
        return True


def _hide_key(text: str, key: str | None = None) -> str:
    """Take the key of the environment, or the one given, out of a text."""
    key = key or os.environ.get(API_KEY)
    return text.replace(key, "(key)") if key else text


class _Listener(logging.Handler):
    """Remember the last thing that went wrong."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


@contextlib.contextmanager
def _listening(comet_logger: logging.Logger) -> Iterator[_Listener]:
    """Hear Comet's errors instead of showing them."""
    listener = _Listener(logging.ERROR)
    others, comet_logger.handlers = comet_logger.handlers, [listener]
    try:
        yield listener
    finally:
        comet_logger.handlers = others


def _import_comet() -> Any:
    """Import Comet's client, silent but for errors, and those without the key.

    Raises
    ------
    InputError
        Where it is not installed.
    """
    os.environ.setdefault("COMET_DISABLE_AUTO_LOGGING", "1")  # else it patches torch and TensorBoard
    try:
        import comet_ml
    except ImportError:
        raise InputError("Comet's client is not installed; pip install 'fieldwise[comet]'") from None
    key = os.environ.get(API_KEY)
    for handler in logging.getLogger("comet_ml").handlers:
        handler.setLevel(max(handler.level, logging.ERROR))
        if key and not any(
            isinstance(filter_, HideKey) and filter_.key == key for filter_ in handler.filters
        ):
            handler.addFilter(HideKey(key))
    return comet_ml


def open_experiment(run: str | Path) -> Any:
    """Start the experiment of a run, or go on with it where the run has one.

    Online where COMET_API_KEY is in the environment and Comet answers; otherwise what is logged becomes an
    archive, `logs/comet/*.zip`, when the experiment ends. `COMET_PROJECT_NAME` and `COMET_WORKSPACE` say
    where it belongs.
    """
    comet_ml = _import_comet()
    folder = Path(run) / "logs" / "comet"
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "experiment.json"
    known = _read_key(note) if note.exists() else None
    experiment: Any = None
    if os.environ.get(API_KEY):
        with _listening(logging.getLogger("comet_ml")) as listener:
            experiment = _start(comet_ml, folder, known, online=True)
        if experiment is None:
            reason = _hide_key(listener.last or "no answer").splitlines()[0].partition(". ")[0]
            print(f"comet: {reason}; an archive is kept instead")
    if experiment is None:
        experiment = _start(comet_ml, folder, known, online=False)
        print(f"comet: experiment {experiment.get_key()}, as an archive in {folder}")
    else:
        print(f"comet: experiment {experiment.get_key()}, at {experiment.url}")
    write_json({"experiment": experiment.get_key()}, note)
    return experiment


def _read_key(note: Path) -> str:
    try:
        key = json.loads(note.read_text())["experiment"]
        if KEY_OF_EXPERIMENT.fullmatch(key):
            return key
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{note}: names no experiment to go on with; delete it to begin another one")


def _start(comet_ml: Any, folder: Path, known: str | None, *, online: bool) -> Any:
    config = comet_ml.ExperimentConfig(offline_directory=str(folder), **QUIET)
    experiment = comet_ml.start(
        api_key=os.environ.get(API_KEY) if online else None,
        project=os.environ.get("COMET_PROJECT_NAME", PROJECT),
        experiment_key=known,
        mode="get_or_create",
        online=online,
        experiment_config=config,
    )
    return experiment if experiment.alive else None  # Comet itself only logs that it was refused


def keep_files(experiment: Any, run: str | Path) -> None:
    """Give an experiment the settings, provenance, metrics and weights of a run.

    >>> import tempfile
    >>> from types import SimpleNamespace
    >>> run = Path(tempfile.mkdtemp())
    >>> (run / "config.yaml").touch(); (run / "notes.txt").touch()  # what may be kept is fixed
    >>> keep_files(SimpleNamespace(log_asset=lambda path, file_name, overwrite: print(file_name)), run)
    config.yaml
    """
    for path in sorted(Path(run).rglob("*")):
        name = path.relative_to(run).as_posix()
        if KEPT_FILES.fullmatch(name):
            experiment.log_asset(str(path), file_name=name, overwrite=True)


def fetch_run(*, experiment: str, run: Path = Path("model")) -> Path:
    """Fetch settings, metrics and weights of a Comet experiment, to predict with or to go on from.

    Args:
        experiment: Key of the experiment, fetched with the COMET_API_KEY of the environment; or an archive of
            one, logs/comet/*.zip in the folder of a run that was not online.
        run: Folder for the run; one that already holds weights is left alone.

    Returns:
        The folder. Training goes on with `train --config RUN/config.yaml --run RUN --max_epochs MORE`.
    """
    run = Path(run)
    if any(run.glob("checkpoints/*.ckpt")):
        raise InputError(f"{run}: already holds weights; choose another --run")
    archive = Path(experiment)
    listed = _list_archive(archive) if archive.suffix == ".zip" else _list_online(experiment)
    files = {name: read for name, read in listed.items() if KEPT_FILES.fullmatch(name)}
    if not any(name.endswith(".ckpt") for name in files):
        raise InputError(
            f"{experiment}: holds no weights of a run; name an experiment whose training has ended"
        )
    # Weights last: a folder that holds some holds the rest too.
    for name in sorted(files, key=lambda name: name.endswith(".ckpt")):
        with replace_when_done(run / name) as partial, partial.open("wb") as file:
            files[name](file)
    return run


def _list_archive(archive: Path) -> dict[str, Callable[[IO[bytes]], None]]:
    """List the files in an offline archive, each with how to copy it."""
    if not archive.is_file():
        raise InputError(f"{archive}: no such archive; name one of logs/comet/*.zip in a run folder")
    try:
        with zipfile.ZipFile(archive) as opened:
            lines = opened.read("messages.json").decode().splitlines()
            held = set(opened.namelist())
            bad = opened.testzip()
        messages = [json.loads(line) for line in lines]
        uploads = [message["payload"] for message in messages if message["type"] == "file_upload"]
        named = [(entry["additional_params"].get("fileName"), entry["file_path"]) for entry in uploads]
    except (zipfile.BadZipFile, zlib.error, KeyError, TypeError, ValueError, EOFError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{archive}: is no archive of an experiment ({reason}); give another") from None
    members = {name: member for name, member in named if name}  # pictures have none
    missing = [name for name, member in members.items() if member not in held]
    if bad or missing:
        raise InputError(f"{archive}: {bad or missing[0]} in it is damaged or missing; give a whole archive")

    def copier(member: str) -> Callable[[IO[bytes]], None]:
        def copy(file: IO[bytes]) -> None:
            with zipfile.ZipFile(archive) as opened, opened.open(member) as source:
                shutil.copyfileobj(source, file)

        return copy

    return {name: copier(member) for name, member in members.items()}


def _list_online(experiment: str) -> dict[str, Callable[[IO[bytes]], None]]:
    """List the files of an experiment on Comet's server, each with how to download it."""
    if not KEY_OF_EXPERIMENT.fullmatch(experiment):
        raise InputError(f"{experiment}: is no key of an experiment and no .zip archive; give one of these")
    if not os.environ.get(API_KEY):
        raise InputError(f"{API_KEY} is not in the environment; set it to fetch the experiment {experiment}")
    comet_ml = _import_comet()

    def ask(question: Callable[[], Any]) -> Any:
        with _listening(logging.getLogger("comet_ml")) as listener:
            try:
                return question()
            except Exception as error:  # of many libraries below Comet's client, each with its own
                reason = _hide_key(f"{type(error).__name__}: {error or listener.last}").splitlines()[0]
        raise InputError(f"{experiment}: Comet does not give it ({reason}); check the key and the connection")

    def list_assets() -> tuple[Any, list[dict[str, Any]]]:
        remote = comet_ml.APIExperiment(previous_experiment=experiment, api_key=os.environ[API_KEY])
        return remote, remote.get_asset_list()

    remote, assets = ask(list_assets)
    newest = sorted(assets, key=lambda asset: asset.get("createdAt") or 0)  # a name's last asset counts

    def downloader(asset: dict[str, Any]) -> Callable[[IO[bytes]], None]:
        def download(file: IO[bytes]) -> None:
            response = remote.get_asset(asset["assetId"], return_type="response", stream=True)
            for chunk in response.iter_content(chunk_size=1 << 20):
                file.write(chunk)
            if file.tell() != asset.get("fileSize", file.tell()):
                raise EOFError(f"{file.tell()} of {asset['fileSize']} bytes came")

        return lambda file: ask(lambda: download(file))

    return {asset["fileName"]: downloader(asset) for asset in newest}
