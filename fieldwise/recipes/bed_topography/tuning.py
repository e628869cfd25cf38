"""Hyper-parameters searched for: the verb tune."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fieldwise.errors import DivergenceError, InputError
from fieldwise.recipes.bed_topography.training import check_settings, fit_generator, train
from fieldwise.samples.datasets import Dataset

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

TUNED = ("learning_rate", "num_residual_blocks", "residual_scaling", "batch_size", "max_epochs")
DEFAULTS = {name: option.default for name, option in inspect.signature(train).parameters.items()}
SET_BY_TUNE = ("data", "run", "seed", "resume", "progress", "accelerator", "tracker", *TUNED)


def tune(
    *,
    data: Path = Path("data"),
    study: Path = Path("model/tuning.db"),
    trials: int = 60,
    learning_rate: tuple[float, float] = (1e-4, 2e-4),
    num_residual_blocks: tuple[int, int] = (8, 14),
    residual_scaling: tuple[float, float] = (0.1, 0.5),
    batch_size: tuple[int, ...] | int = (64, 128),
    max_epochs: tuple[int, int] = (90, 150),
    fixed: dict[str, Any] | None = None,
    min_epochs: int = 1,
    seed: int = 42,
    accelerator: str = "auto",
    tracker: Literal["none", "tensorboard", "comet"] = "tensorboard",
    progress: bool = True,
) -> dict[str, Any]:
    """Search for the hyper-parameters of the least validation error; print the command that trains with them.

    Start it several times with the same study, on one machine or several that share the disk, and the
    processes share the work. One that was cut off goes on. Held-out surveys have no say in the search.

    Args:
        data: Prepared folder.
        study: File of the study, .db (SQLite). The runs of its trials and its figures go to the folder of the
            same name; of the weights, only those of the best trial are kept.
        trials: How many trials the study shall hold in the end, those given up early counted.
        learning_rate: Least and greatest; searched on a logarithmic scale.
        num_residual_blocks: Least and greatest.
        residual_scaling: Least and greatest.
        batch_size: Sizes to choose from.
        max_epochs: Least and greatest.
        fixed: Other options of train, the same for all trials, such as --fixed.weight_decay 1.
        min_epochs: Epochs before a trial can be given up for doing worse than others.
        seed: Of the search, and of the weights and order in each trial.
        accelerator: cpu, gpu or auto.
        tracker: Who is told of each trial; see train.
        progress: Whether to tell of each trial.

    Returns:
        Options of train that did best.
    """
    ranges: dict[str, Any] = {
        "learning_rate": learning_rate,
        "num_residual_blocks": num_residual_blocks,
        "residual_scaling": residual_scaling,
        "batch_size": (batch_size,) if isinstance(batch_size, int) else tuple(batch_size),
        "max_epochs": max_epochs,
    }
    fixed = check_fixed(fixed or {})
    _check_ranges(ranges, trials=trials, min_epochs=min_epochs)
    try:
        from fieldwise.recipes.bed_topography import studies
    except ImportError:
        raise InputError("tune needs Optuna; pip install 'fieldwise[tuning]'") from None
    study, dataset = Path(study), Dataset(data)
    check_settings({**DEFAULTS, **fixed, "seed": seed, "accelerator": accelerator}, dataset)
    facts = {
        **ranges,
        "fixed": fixed,
        "min_epochs": min_epochs,
        "seed": seed,
        "data": _fingerprint(dataset),
    }
    opened = studies.open_study(study, facts)
    common = {**fixed, "data": Path(data), "seed": seed, "accelerator": accelerator, "tracker": tracker}
    objective = _Objective(opened, study.with_suffix(""), ranges, common, min_epochs=min_epochs)
    with studies.storage_errors(study):
        studies.run_trials(
            opened, objective, trials=trials, report=lambda trial: objective.report(trial, progress=progress)
        )
        return _conclude(opened, study.with_suffix(""), common)


def check_fixed(fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse what is no option of train, or none that tune leaves free, or of the wrong kind.

    >>> check_fixed({"weight_decay": 1})
    {'weight_decay': 1.0}
    >>> check_fixed({"momentum": 0.9})
    Traceback (most recent call last):
    fieldwise.errors.InputError: --fixed.momentum: train has no such option
    """
    from jsonargparse import ArgumentError, ArgumentParser

    for name in fixed:
        if name not in train.__annotations__ or name == "return":
            raise InputError(f"--fixed.{name}: train has no such option")
        if name in SET_BY_TUNE:
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


def _check_ranges(ranges: Mapping[str, Any], *, trials: int, min_epochs: int) -> None:
    if trials < 1:
        raise InputError(f"--trials: is {trials}; give at least 1")
    if not ranges["batch_size"]:
        raise InputError("--batch_size: names no size; give some")
    for name, values in ranges.items():
        least = 1 if isinstance(values[0], int) else 0
        if not all(math.isfinite(value) for value in values) or min(values) < least or values[0] == 0:
            raise InputError(f"--{name}: is {' '.join(map(str, values))}; give numbers above 0")
        if name != "batch_size" and values[0] > values[1]:
            raise InputError(f"--{name}: is {values[0]} to {values[1]}; give the least first")
    if not 1 <= min_epochs <= ranges["max_epochs"][1]:
        raise InputError(f"--min_epochs: is {min_epochs}; give 1 to {ranges['max_epochs'][1]}")


def _fingerprint(dataset: Dataset) -> str:
    """Sum up what a network learns from and is judged by: where the tiles are, and their files' sums."""
    from fieldwise.fields.tiles import read_tiles

    known = json.loads((dataset.folder / "provenance.json").read_text())
    total = hashlib.sha256(json.dumps(known["sha256"], sort_keys=True).encode())
    for split in ("training", "validation"):
        total.update(read_tiles(dataset.folder / "tiles.zarr", split)["bounds"].values.tobytes())
    return total.hexdigest()


class _Objective:
    """Train with the parameters that a trial suggests; its value is the least validation error."""

    def __init__(
        self,
        study: optuna.Study,
        folder: Path,
        ranges: Mapping[str, Any],
        common: Mapping[str, Any],
        *,
        min_epochs: int,
    ) -> None:
        import optuna

        self.study, self.folder, self.ranges, self.common = study, folder, ranges, common
        study.pruner = optuna.pruners.HyperbandPruner(
            min_resource=min_epochs, max_resource=ranges["max_epochs"][1], reduction_factor=3
        )

    def __call__(self, trial: optuna.Trial) -> float:
        import optuna

        from fieldwise.recipes.bed_topography.studies import first_number
        from fieldwise.runs import read_metrics

        self.study.sampler = make_sampler(self.common["seed"], trial.number)
        number = first_number(self.study, trial.number)
        suggested = suggest(trial, self.ranges)
        run = self.folder / f"trial_{number:04d}"
        settings = {**DEFAULTS, **self.common, **suggested, "run": run, "progress": False}
        settings["resume"] = number != trial.number  # one that was cut off goes on from its last weights
        try:
            fit_generator(settings, callbacks=[make_watch(trial, run)])
        except DivergenceError:
            trial.set_user_attr("reason", "training diverged")
            raise optuna.TrialPruned from None
        return float(read_metrics(run)["val_rmse_m"].min())

    def report(self, trial: optuna.trial.FrozenTrial, *, progress: bool) -> None:
        """Tell of a trial, and drop the weights of all that are not the best."""
        import optuna

        from fieldwise.recipes.bed_topography.studies import ENDED, first_number

        best = None
        ended = self.study.get_trials(deepcopy=False, states=ENDED)
        if any(other.state == optuna.trial.TrialState.COMPLETE for other in ended):
            best = self.study.best_trial
        for other in ended:
            if best is None or other.number != best.number:
                number = first_number(self.study, other.number)
                shutil.rmtree(self.folder / f"trial_{number:04d}" / "checkpoints", ignore_errors=True)
        if not progress:
            return
        epochs = max(trial.intermediate_values, default=-1) + 1
        parameters = ", ".join(f"{name} {value:.4g}" for name, value in trial.params.items())
        if trial.state == optuna.trial.TrialState.PRUNED:
            reason = trial.user_attrs["reason"]
            print(f"trial {trial.number}: given up after {epochs} epochs, {reason} ({parameters})")
        else:
            print(f"trial {trial.number}: validation RMSE {trial.value:.2f} m ({parameters})")


def make_sampler(seed: int, number: int) -> optuna.samplers.TPESampler:
    """Make the sampler of one trial: a function of seed and number, so that no two processes draw alike.

    Tree-structured Parzen estimator (Bergstra et al. 2011), as the original: 20 trials at random, then the
    best of 24 candidates. Trials that run elsewhere count as poor ones, so that several processes do not
    crowd in one place.

    >>> import optuna
    >>> def draw(number):
    ...     study = optuna.create_study(sampler=make_sampler(42, number))
    ...     return study.ask().suggest_float("learning_rate", 1e-4, 2e-4)
    >>> draw(0) == draw(0), draw(0) == draw(1)
    (True, False)
    """
    import optuna

    return optuna.samplers.TPESampler(
        n_startup_trials=20, n_ei_candidates=24, constant_liar=True, seed=seed * 1_000_003 + number
    )


def suggest(trial: optuna.Trial, ranges: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the options that are searched for.

    >>> import optuna
    >>> ranges = {"learning_rate": (1e-4, 2e-4), "num_residual_blocks": (8, 14)}
    >>> ranges |= {"residual_scaling": (0.1, 0.5), "batch_size": (64, 128), "max_epochs": (90, 150)}
    >>> best = {"learning_rate": 1.5e-4, "num_residual_blocks": 12, "residual_scaling": 0.2}
    >>> best |= {"batch_size": 64, "max_epochs": 120}
    >>> suggest(optuna.trial.FixedTrial(best), ranges) == best  # every option is drawn, and by its own name
    True
    """
    return {
        "learning_rate": trial.suggest_float("learning_rate", *ranges["learning_rate"], log=True),
        "num_residual_blocks": trial.suggest_int("num_residual_blocks", *ranges["num_residual_blocks"]),
        "residual_scaling": trial.suggest_float("residual_scaling", *ranges["residual_scaling"]),
        "batch_size": trial.suggest_categorical("batch_size", ranges["batch_size"]),
        "max_epochs": trial.suggest_int("max_epochs", *ranges["max_epochs"]),
    }


def make_watch(trial: optuna.Trial, run: Path) -> Any:
    """Make a callback of Lightning's that reports a trial's epochs and gives it up where it is hopeless.

    What is reported is the least error so far, which is that of the weights that are kept: an adversarial
    network's error jumps from epoch to epoch.

    >>> import optuna
    >>> from types import SimpleNamespace
    >>> study = optuna.create_study()
    >>> watch = make_watch(study.ask(), Path("trial_0000"))
    >>> for epoch, rmse_m in enumerate([50.0, 40.0, 45.0]):  # in place of Lightning's trainer
    ...     metrics = {"val_rmse_m": rmse_m, "val_psnr": 160.0}
    ...     watch.on_validation_end(SimpleNamespace(callback_metrics=metrics, current_epoch=epoch), None)
    >>> study.trials[0].intermediate_values
    {0: 50.0, 1: 40.0, 2: 40.0}
    """
    import optuna
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback

    class Watch(Callback):
        def __init__(self) -> None:
            frozen = trial.study.trials[trial.number]
            self.run = run
            self.least = min(frozen.intermediate_values.values(), default=math.inf)

        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            rmse_m, psnr = (float(trainer.callback_metrics[name]) for name in ("val_rmse_m", "val_psnr"))
            reason = find_hopeless(rmse_m, psnr)
            if reason is None:
                self.least = min(self.least, rmse_m)
                trial.report(self.least, trainer.current_epoch)
                if trial.should_prune():
                    reason = "worse than others"
            if reason:
                trial.set_user_attr("reason", reason)
                for weights in self.run.glob("checkpoints/*.ckpt"):  # of no use, and not to be sent anywhere
                    weights.unlink()
                raise optuna.TrialPruned

    return Watch()


def find_hopeless(rmse_m: float, psnr: float) -> str | None:
    """Say why an epoch's error shows that nothing will come of a trial, if it does.

    >>> find_hopeless(45.0, 159.6) is None
    True
    >>> find_hopeless(math.nan, math.nan)
    'the error is nan'
    >>> find_hopeless(1e10, -7.3)  # the original's criterion: an error of more than 2**32 metres
    'the error is 1e+10 m'
    """
    if not math.isfinite(rmse_m):
        return f"the error is {rmse_m}"
    return f"the error is {rmse_m:.3g} m" if psnr < 0 else None


def _conclude(study: optuna.Study, folder: Path, common: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the study, print the best trial's command, and give its options."""
    from fieldwise.recipes.bed_topography.studies import tabulate

    states = tabulate(study)["state"]
    completed = int((states == "complete").sum())
    print(f"{len(states)} trials, {len(states) - completed} of them given up")
    if completed == 0:
        raise InputError(f"{folder}: every trial was given up; choose other ranges, or lower --learning_rate")
    for path in _save_study_figures(study, folder / "figures"):
        print(path)
    best = study.best_trial
    options = {name: value for name, value in common.items() if name not in ("accelerator", "tracker")}
    options |= best.params
    print(f"best: trial {best.number}, validation RMSE {best.value:.2f} m")
    print(format_command({**options, "run": folder / "best"}))
    return options


def format_command(options: Mapping[str, Any]) -> str:
    """Write the command that trains with some options, ready for a shell.

    >>> format_command({"data": Path("my data"), "learning_rate": 0.00015, "departure": True, "inputs": None})
    "fieldwise bed_topography train --data 'my data' --learning_rate 0.00015 --departure true --inputs null"
    """
    words = ["fieldwise", "bed_topography", "train"]
    for name, value in options.items():
        values = value if isinstance(value, list | tuple) and len(value) > 1 else [value]
        words += [f"--{name}", *(str(one) if isinstance(one, Path) else _as_yaml(one) for one in values)]
    return shlex.join(words)


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _save_study_figures(study: optuna.Study, folder: Path) -> list[Path]:
    """Draw a study: values by trial, courses by epoch, values by parameter, importance of the parameters."""
    from fieldwise import figures
    from fieldwise.recipes.bed_topography.studies import measure_importance, tabulate

    table = tabulate(study)
    label = "Validation RMSE (m)"
    varying = [name for name in TUNED if name in table and table[name].nunique() > 1]
    drawn: dict[str, Figure] = {"study_history": figures.draw_study_history(table, label=label)}
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
