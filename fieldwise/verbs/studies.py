"""A study of Optuna in a file: opened by one process or several, resumed, checked, read as a table."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import sqlalchemy.exc
from optuna.trial import FrozenTrial, TrialState

from fieldwise.errors import InputError

HEARTBEAT_S, GRACE_S = 15, 60  # a trial without a sign of life for so long is begun again
WAIT_S = 60  # for another process that writes
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


# The verb does the talking: Optuna would log each trial, and warn of what is experimental in it.
optuna.logging.set_verbosity(optuna.logging.CRITICAL)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
RETRY = optuna.storages.RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)


def open_study(path: Path, settings: Mapping[str, Any], *, recipe: str) -> optuna.Study:
    """Open the study in an SQLite file, or make one; several processes may do so at once.

    Parameters
    ----------
    path
        File of the study. It appears whole: one process makes it, the others find it.
    settings
        What all trials of the study share, of plain types. A study with others is refused: its values
        could not be compared.
    recipe
        Whose study it is.

    Raises
    ------
    InputError
        Where the file holds something else, or a study with other settings.

    >>> other = Path(tempfile.mkdtemp()) / "radar.db"
    >>> _ = other.write_text("x,y,z")
    >>> open_study(other, {"batch_size": (64, 128)}, recipe="ice_flow")  # is left as it is
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...radar.db: cannot be read as a study (file is not a database); ...
    """
    if path.suffix not in {".db", ".sqlite", ".sqlite3"}:
        raise InputError(f"--study: is {path}; give a name that ends in .db")
    settings = json.loads(json.dumps(settings, default=str))
    if not path.exists():
        _make_study(path, settings, recipe)
    _check_file(path, recipe)
    try:
        with storage_errors(path):
            study = optuna.load_study(study_name=recipe, storage=_storage(path))
            before = study.user_attrs.get("settings", {})
    except RuntimeError as error:  # of another version of Optuna
        raise InputError(f"{path}: {' '.join(str(error).split())}") from None
    differing = sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key))
    if differing:
        raise InputError(f"{path}: holds a study with another {', '.join(differing)}; choose another --study")
    return study


def _storage(path: Path) -> optuna.storages.RDBStorage:
    url = sqlalchemy.URL.create("sqlite", database=str(path.absolute()))
    return optuna.storages.RDBStorage(
        url.render_as_string(),
        engine_kwargs={"connect_args": {"timeout": WAIT_S}},
        heartbeat_interval=HEARTBEAT_S,
        grace_period=GRACE_S,
        heartbeat_stale_trial_callback=RETRY,
    )


def _make_study(path: Path, settings: Mapping[str, Any], recipe: str) -> None:
    """Make a study beside its place; whoever puts one there first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = Path(folder) / path.name
        with storage_errors(path):
            storage = _storage(partial)
            optuna.create_study(storage=storage, study_name=recipe).set_user_attr("settings", dict(settings))
            storage.engine.dispose()
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)  # unlike a renaming, it never takes the place of another's study


def _check_file(path: Path, recipe: str) -> None:
    """Refuse what is no study before Optuna would write its tables into it."""
    try:
        url = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(url, uri=True, timeout=WAIT_S)) as opened:
            tables = {row[0] for row in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            names = []
            if {"studies", "trials", "version_info"} <= tables:
                names = [row[0] for row in opened.execute("SELECT study_name FROM studies")]
    except sqlite3.Error as error:
        raise InputError(f"{path}: cannot be read as a study ({error}); {_remedy(error)}") from None
    if recipe not in names:
        raise InputError(f"{path}: holds no study of {recipe}; choose another --study")


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with the file of a study.

    >>> with storage_errors(Path("tuning.db")):
    ...     raise optuna.exceptions.StorageInternalError("database is locked")
    Traceback (most recent call last):
    fieldwise.errors.InputError: tuning.db: the study cannot be read or written (database is locked); ...
    """
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(getattr(cause, "orig", None) or cause).split())
        raise InputError(
            f"{path}: the study cannot be read or written ({reason}); {_remedy(reason)}"
        ) from error


def _remedy(reason: Any) -> str:
    if "locked" in str(reason):
        return "end the process that holds it, or choose another --study"
    return "choose another --study"


def run_trials(
    study: optuna.Study,
    objective: Callable[[optuna.Trial], float],
    *,
    trials: int,
    report: Callable[[FrozenTrial], None],
) -> None:
    """Run trials until so many have ended, those of other processes counted.

    A trial that was cut off, here or in another process, is begun again with the same parameters.

    Parameters
    ----------
    objective
        Value of a trial; raises `optuna.TrialPruned` to give it up.
    trials
        How many trials the study shall hold that have been completed or given up.
    report
        Told of each that this process has ended.

    >>> study = optuna.create_study()
    >>> values = iter([45.0, 40.0, 42.0])
    >>> run_trials(study, lambda trial: next(values), trials=3, report=lambda trial: print(trial.value))
    45.0
    40.0
    42.0
    >>> run_trials(study, lambda trial: next(values), trials=3, report=print)  # holds as many already
    """

    def run(trial: optuna.Trial) -> float:
        others = study.get_trials(deepcopy=False, states=(*ENDED, TrialState.RUNNING))
        if sum(other.number < trial.number for other in others) >= trials:
            raise _EnoughTrialsError  # another process was quicker to begin the last one
        try:
            return objective(trial)
        except optuna.TrialPruned:
            raise
        except (Exception, KeyboardInterrupt):
            RETRY(study, study.trials[trial.number])
            raise

    def tell(_: optuna.Study, trial: FrozenTrial) -> None:
        if trial.state in ENDED:
            report(trial)

    while True:
        states = collections.Counter(trial.state for trial in study.get_trials(deepcopy=False))
        ended = sum(states[state] for state in ENDED)
        if ended >= trials:
            return
        if ended + states[TrialState.RUNNING] >= trials:  # those of others, who may yet be cut off
            time.sleep(min(1.0, GRACE_S / 10))
            optuna.storages.fail_stale_trials(study)
        else:
            study.optimize(run, n_trials=1, catch=(_EnoughTrialsError,), callbacks=[tell])


class _EnoughTrialsError(Exception):
    """The study has as many trials as it shall have."""


def first_number(study: optuna.Study, number: int) -> int:
    """Give the number under which a trial was first begun.

    >>> study = optuna.create_study()
    >>> trial = study.ask()
    >>> _ = study.tell(trial, state=TrialState.FAIL)  # was cut off
    >>> RETRY(study, study.trials[0])  # is to be begun again
    >>> again = study.ask()
    >>> again.number, first_number(study, again.number)
    (1, 0)
    """
    original = RETRY.retried_trial_number(study.trials[number])
    return number if original is None else original


def make_sampler(seed: int, number: int) -> optuna.samplers.TPESampler:
    """Make the sampler of one trial: a function of seed and number, so that no two processes draw alike.

    Tree-structured Parzen estimator (Bergstra et al. 2011): 20 trials at random, then the best of 24
    candidates. Trials that run elsewhere count as poor ones, so that several processes do not crowd in one
    place.

    >>> def draw(number):
    ...     study = optuna.create_study(sampler=make_sampler(42, number))
    ...     return study.ask().suggest_float("learning_rate", 1e-4, 2e-4)
    >>> draw(0) == draw(0), draw(0) == draw(1)
    (True, False)
    """
    return optuna.samplers.TPESampler(
        n_startup_trials=20, n_ei_candidates=24, constant_liar=True, seed=seed * 1_000_003 + number
    )


def make_pruner(*, least: int, most: int) -> optuna.pruners.HyperbandPruner:
    """Make what gives up the worse two thirds of trials, again and again (Hyperband, Li et al. 2018).

    Parameters
    ----------
    least, most
        Epochs of a trial.

    >>> type(make_pruner(least=1, most=9)).__name__
    'HyperbandPruner'
    """
    return optuna.pruners.HyperbandPruner(min_resource=least, max_resource=most, reduction_factor=3)


def tabulate_trials(study: optuna.Study) -> pd.DataFrame:
    """Give the ended trials as a table: number, state, value, epochs and parameters.

    The value of a trial that was pruned is the best that it had reached.

    >>> study = optuna.create_study()
    >>> study.add_trial(optuna.create_trial(value=40.0, intermediate_values={0: 50.0, 1: 40.0}))
    >>> given_up = {"state": TrialState.PRUNED, "intermediate_values": {0: 90.0}}
    >>> study.add_trial(optuna.create_trial(**given_up))
    >>> tabulate_trials(study).to_dict("records")
    [{'number': 0, 'state': 'complete', 'value': 40.0, 'epochs': 2},
     {'number': 1, 'state': 'pruned', 'value': 90.0, 'epochs': 1}]
    """
    rows = []
    for trial in study.get_trials(deepcopy=False, states=ENDED):
        reached = min(trial.intermediate_values.values(), default=float("nan"))
        rows.append(
            {
                "number": trial.number,
                "state": trial.state.name.lower(),
                "value": reached if trial.value is None else trial.value,
                "epochs": max(trial.intermediate_values, default=-1) + 1,
                **trial.params,
            }
        )
    return pd.DataFrame(rows)


def measure_importance(study: optuna.Study) -> dict[str, float]:
    """Tell each parameter's share in what sets the better trials apart (PED-ANOVA, Watanabe et al. 2023).

    Of fewer than four completed trials, or of parameters that do not vary, nothing is told.

    >>> study = optuna.create_study()
    >>> for number in range(16):  # the rate decides, the size does not
    ...     rate, size = divmod(number, 4)
    ...     ranges = {name: optuna.distributions.IntDistribution(0, 3) for name in ("rate", "size")}
    ...     params = {"rate": rate, "size": size}
    ...     study.add_trial(optuna.create_trial(value=float(rate), params=params, distributions=ranges))
    >>> shares = measure_importance(study)
    >>> shares["rate"] > 0.9
    True
    """
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(completed) < 4:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return shares if sum(shares.values()) > 0 else {}


def save_study_figures(study: optuna.Study, folder: Path, *, label: str) -> list[Path]:
    """Draw a study: values by trial, courses by epoch, values by parameter, importance of the parameters.

    Parameters
    ----------
    label
        What the values are, with their unit.

    Returns
    -------
    list
        Paths of the PNG files.

    >>> import tempfile
    >>> study = optuna.create_study()
    >>> study.add_trial(optuna.create_trial(value=40.0, intermediate_values={0: 50.0, 1: 40.0}))
    >>> paths = save_study_figures(study, Path(tempfile.mkdtemp()), label="Validation RMSE (m)")
    >>> [path.name for path in paths]
    ['study_history.png', 'study_courses.png']
    """
    from fieldwise import figures

    table = tabulate_trials(study)
    numbers = table.drop(columns=["number", "value", "epochs"]).select_dtypes("number")
    varying = [name for name in numbers if numbers[name].nunique() > 1]
    drawn: dict[str, Any] = {"study_history": figures.draw_study_history(table, label=label)}
    courses = {
        trial.number: dict(sorted(trial.intermediate_values.items()))
        for trial in study.trials
        if trial.number in set(table["number"]) and trial.intermediate_values
    }
    if courses:
        drawn["study_courses"] = figures.draw_study_courses(courses, table, label=label)
    if varying:
        drawn["study_parameters"] = figures.draw_study_parameters(table, varying, label=label)
    importance = measure_importance(study)
    if importance:
        drawn["study_importance"] = figures.draw_study_importance(importance)
    return [figures.save_figure(figure, folder / name)[1] for name, figure in drawn.items()]
