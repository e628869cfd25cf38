"""Hyper-parameters searched for, whatever is learnt: what every verb tune does."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwise.errors import InputError
from fieldwise.samples.prepared import DESCRIPTION
from fieldwise.verbs.options import TRAINING
from fieldwise.verbs.train import check_training
from fieldwise.verbs.trials import Log, Objective, Range, Signed, Target

if TYPE_CHECKING:
    import optuna

SET_BY_TUNE = ("data", "run", "seed", "resume", "progress", "accelerator", "tracker")
OPERATIONAL = ("accelerator", "tracker")  # of the search; the command that it ends with leaves them to train


def search(
    train: Callable[..., Any],
    *,
    recipe: str,
    target: Target,
    data: Path,
    study: Path,
    trials: int,
    ranges: Mapping[str, Range],
    fixed: Mapping[str, Any] | None = None,
    min_epochs: int = 1,
    seed: int = 42,
    accelerator: str = "auto",
    tracker: str = "tensorboard",
    progress: bool = True,
    check: Callable[[dict[str, Any]], Any] | None = None,
) -> dict[str, Any]:
    """Search for the hyper-parameters of the least error; print the command that trains with them.

    Several processes may share a study; one that was cut off goes on.

    Parameters
    ----------
    train
        The recipe's verb, whose signature tells the options, their types and their defaults.
    recipe
        Its name.
    target
        What trials are judged by.
    data
        Prepared folder. A study keeps to its data.
    study
        File of the study, .db (SQLite); runs of its trials and figures go to the folder of the same name, of
        the weights only those of the best trial are kept.
    trials
        How many trials the study shall hold in the end, those given up early counted.
    ranges
        Option of train -> where to search.
    fixed
        Other options of train, the same for all trials.
    min_epochs
        Epochs before a trial can be given up for doing worse than others.
    check
        Refuses settings that nothing can be trained with, before anything is written.

    Returns
    -------
    dict
        Options of train that did best.

    Raises
    ------
    InputError
        Where an option, a range or the study cannot be used, or every trial was given up.
    """
    fixed = check_fixed(train, fixed or {}, searched=ranges)
    defaults = {name: option.default for name, option in inspect.signature(train).parameters.items()}
    check_ranges(ranges)
    most = _most_epochs(ranges, {**defaults, **fixed})
    if trials < 1:
        raise InputError(f"--trials: is {trials}; give at least 1")
    if not 1 <= min_epochs <= most:
        raise InputError(f"--min_epochs: is {min_epochs}; give 1 to {most}")
    try:
        from fieldwise.verbs import studies
    except ImportError:
        raise InputError("tune needs Optuna; pip install 'fieldwise[tuning]'") from None
    data, study = Path(data), Path(study)
    common = {**fixed, "data": data, "seed": seed, "accelerator": accelerator, "tracker": tracker}
    settings = {**defaults, **common}
    check_training(TRAINING | {name: settings[name] for name in TRAINING if settings.get(name) is not None})
    if check:
        check(settings)
        for name, given in ranges.items():
            for choice in given if isinstance(given, list) else ():
                if isinstance(choice, str):  # what is named, such as a network, may not be there
                    check(settings | {name: choice})
    facts = {"fixed": fixed, "min_epochs": min_epochs, "seed": seed, "data": sum_up(data)}
    opened = studies.open_study(study, {**ranges, **facts}, recipe=recipe)
    opened.pruner = studies.make_pruner(least=min_epochs, most=most)
    objective = Objective(opened, study.with_suffix(""), target, ranges, settings, train)
    with studies.storage_errors(study):
        studies.run_trials(
            opened, objective, trials=trials, report=lambda trial: objective.report(trial, progress=progress)
        )
        options = _conclude(opened, study.with_suffix(""), target, common)
    print(format_command(recipe, {**options, "run": study.with_suffix("") / "best"}))
    return options


def check_fixed(
    train: Callable[..., Any], fixed: Mapping[str, Any], *, searched: Mapping[str, Any]
) -> dict[str, Any]:
    """Refuse what is no option of train, or none that tune leaves free, or of the wrong kind.

    >>> def train(*, learning_rate: float = 0.1, weight_decay: float = 0.0): ...
    >>> check_fixed(train, {"weight_decay": 1}, searched={})
    {'weight_decay': 1.0}
    >>> check_fixed(train, {"momentum": 0.9}, searched={})
    Traceback (most recent call last):
    fieldwise.errors.InputError: --fixed.momentum: train has no such option
    """
    from jsonargparse import ArgumentError, ArgumentParser

    for name in fixed:
        if name not in inspect.signature(train).parameters:
            raise InputError(f"--fixed.{name}: train has no such option")
        if name in (*SET_BY_TUNE, *searched):
            raise InputError(f"--fixed.{name}: is set by tune; give --{name} instead, or leave it out")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(train, as_group=False)
    try:
        parsed = parser.parse_object(dict(fixed)).as_dict()
    except ArgumentError as error:
        raise InputError(
            re.sub(r'Parser key "(\w+)":', r"--fixed.\1:", " ".join(str(error).split()))
        ) from None
    return {name: parsed[name] for name in fixed}


def check_ranges(ranges: Mapping[str, Range]) -> None:
    """Refuse ranges in which nothing can be searched; whole numbers count from 1.

    >>> check_ranges({"layers": (2, 16), "dropout": (0.0, 0.3), "network": ["cnn", "unet"]})
    >>> check_ranges({"weight_power": Signed(-0.5, 0.0)})
    >>> check_ranges({"learning_rate": Log(1e-3, 1e-4)})
    Traceback (most recent call last):
    fieldwise.errors.InputError: --learning_rate: is 0.001 to 0.0001; give the least first
    """
    for name, given in ranges.items():
        if isinstance(given, list):
            if not given:
                raise InputError(f"--{name}: names nothing to choose from; give some")
            numbers = [value for value in given if type(value) in (int, float)]
            above = True
        else:
            numbers = [given.low, given.high] if isinstance(given, Log) else list(given)
            above = isinstance(given, Log) or all(isinstance(value, int) for value in given)
        least = 0.0 if isinstance(given, Signed) else min(numbers, default=1)
        if not all(math.isfinite(value) for value in numbers) or least < 0 or (above and least == 0):
            wanted = "numbers above 0" if above else "numbers from 0"
            raise InputError(f"--{name}: is {' '.join(map(str, numbers))}; give {wanted}")
        if not isinstance(given, list) and numbers[0] > numbers[1]:
            raise InputError(f"--{name}: is {numbers[0]} to {numbers[1]}; give the least first")


def _most_epochs(ranges: Mapping[str, Range], settings: Mapping[str, Any]) -> int:
    """Tell how many epochs a trial may take."""
    given = ranges.get("max_epochs", settings["max_epochs"])
    return int(
        given.high if isinstance(given, Log) else max(given) if isinstance(given, (list, tuple)) else given
    )


def sum_up(data: Path) -> str:
    """Sum up what a network learns from and is judged by: the folder's description, and its files' sums.

    >>> import tempfile; folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "dataset.yaml").write_text("recipe: ice_flow")
    >>> _ = (folder / "provenance.json").write_text('{"sha256": {"thk.nc": "e3b0c442"}, "time": "today"}')
    >>> sum_up(folder)[:16]
    '0cc507c4d7b4564c'
    """
    try:
        description = (data / DESCRIPTION).read_bytes()
        known = json.loads((data / "provenance.json").read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{data}: is no prepared folder; make one with the verb prepare") from None
    total = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    total.update(description)
    return total.hexdigest()


def _conclude(study: optuna.Study, folder: Path, target: Target, common: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the study, tell of the best trial, and give its options."""
    from fieldwise.verbs.studies import save_study_figures, tabulate_trials

    states = tabulate_trials(study)["state"]
    completed = int((states == "complete").sum())
    print(f"{len(states)} trials, {len(states) - completed} of them given up")
    if completed == 0:
        raise InputError(f"{folder}: every trial was given up; choose other ranges, or lower --learning_rate")
    for path in save_study_figures(study, folder / "figures", label=target.axis):
        print(path)
    best = study.best_trial
    print(f"best: trial {best.number}, {target.format(study.best_value)}")
    return {name: value for name, value in common.items() if name not in OPERATIONAL} | best.params


def format_command(recipe: str, options: Mapping[str, Any]) -> str:
    """Write the command that trains with some options, ready for a shell.

    >>> options = {"data": Path("my data"), "learning_rate": 0.00015, "departure": True, "inputs": None}
    >>> format_command("bed_topography", options)
    "fieldwise bed_topography train --data 'my data' --learning_rate 0.00015 --departure true --inputs null"
    """
    words = ["fieldwise", recipe, "train"]
    for name, value in options.items():
        values = value if isinstance(value, list | tuple) and len(value) > 1 else [value]
        words += [f"--{name}", *(str(one) if isinstance(one, Path) else _as_yaml(one) for one in values)]
    return shlex.join(words)


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
