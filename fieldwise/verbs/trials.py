"""One trial of a search: what is drawn, how it is trained and watched, and what it is judged by."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fieldwise.errors import DivergenceError

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Log:
    """A range of numbers that is searched on a logarithmic scale.

    >>> Log(1e-4, 1e-3)
    Log(low=0.0001, high=0.001)
    """

    low: float
    high: float


class Signed(NamedTuple):
    """A range of numbers that may lie below 0, such as powers.

    >>> Signed(-0.5, 0.0)
    Signed(low=-0.5, high=0.0)
    """

    low: float
    high: float


# Least and greatest, of whole numbers or not; or choices.
Range = Log | Signed | tuple[float, float] | list[Any]


def list_choices(given: tuple[Any, ...] | int) -> list[Any]:
    """Take a single choice for a list of one.

    >>> list_choices(64), list_choices((64, 128))
    ([64], [64, 128])
    """
    return [given] if isinstance(given, int) else list(given)


@dataclass(frozen=True)
class Target:
    """What trials are judged by: a metric of training, the less the better.

    Parameters
    ----------
    monitor
        Name of the metric, as training logs it once an epoch.
    label, unit
        What it is, in words.
    hopeless
        From the metrics of an epoch to the reason why nothing will come of a trial, or None. An error that
        is not finite is always one.

    Examples
    --------
    >>> error = Target("val_rmse_m", "validation RMSE", "m")
    >>> error.format(40.123), error.axis
    ('validation RMSE 40.12 m', 'Validation RMSE (m)')
    >>> error.find_hopeless({"val_rmse_m": math.nan})
    'the error is nan'
    """

    monitor: str
    label: str
    unit: str = ""
    hopeless: Callable[[Mapping[str, float]], str | None] | None = None

    def format(self, value: float) -> str:
        """Write a value in words."""
        number = f"{value:.2f}" if abs(value) >= 1 else f"{value:.4g}"
        return f"{self.label} {number} {self.unit}".rstrip()

    @property
    def axis(self) -> str:
        """What stands beside the axis of a figure."""
        label = self.label[:1].upper() + self.label[1:]
        return f"{label} ({self.unit})" if self.unit else label

    def find_hopeless(self, metrics: Mapping[str, float]) -> str | None:
        """Say why an epoch shows that nothing will come of a trial, if it does."""
        error = float(metrics[self.monitor])
        if not math.isfinite(error):
            return f"the error is {error}"
        return self.hopeless(metrics) if self.hopeless else None


class Objective:
    """Train with the parameters that a trial suggests; its value is the least error."""

    def __init__(
        self,
        study: optuna.Study,
        folder: Path,
        target: Target,
        ranges: Mapping[str, Range],
        settings: Mapping[str, Any],
        train: Callable[..., Any],
    ) -> None:
        self.study, self.folder, self.target = study, folder, target
        self.ranges, self.settings, self.train = ranges, settings, train

    def __call__(self, trial: optuna.Trial) -> float:
        """Train once; raise `optuna.TrialPruned` where nothing comes of it."""
        import optuna

        from fieldwise.runs import read_metrics
        from fieldwise.verbs.studies import first_number, make_sampler
        from fieldwise.verbs.train import watched_by

        self.study.sampler = make_sampler(self.settings["seed"], trial.number)
        number = first_number(self.study, trial.number)
        run = self._run_of(number)
        settings = {**self.settings, **suggest(trial, self.ranges), "run": run, "progress": False}
        settings["resume"] = number != trial.number  # one that was cut off goes on from its last weights
        try:
            with watched_by(make_watch(trial, run, self.target)):
                self.train(**settings)
        except DivergenceError:
            trial.set_user_attr("reason", "training diverged")
            raise optuna.TrialPruned from None
        return float(read_metrics(run)[self.target.monitor].min())

    def report(self, trial: optuna.trial.FrozenTrial, *, progress: bool) -> None:
        """Tell of a trial, and drop the weights of all that are not the best."""
        from optuna.trial import TrialState

        from fieldwise.verbs.studies import ENDED, first_number

        best = None
        ended = self.study.get_trials(deepcopy=False, states=ENDED)
        if any(other.state == TrialState.COMPLETE for other in ended):
            best = self.study.best_trial
        for other in ended:
            if best is None or other.number != best.number:
                run = self._run_of(first_number(self.study, other.number))
                shutil.rmtree(run / "checkpoints", ignore_errors=True)
        if not progress:
            return
        epochs = max(trial.intermediate_values, default=-1) + 1
        parameters = ", ".join(f"{name} {_say(value)}" for name, value in trial.params.items())
        if trial.state == TrialState.PRUNED:
            reason = trial.user_attrs["reason"]
            print(f"trial {trial.number}: given up after {epochs} epochs, {reason} ({parameters})")
        else:
            print(f"trial {trial.number}: {self.target.format(trial.value or 0.0)} ({parameters})")

    def _run_of(self, number: int) -> Path:
        return self.folder / f"trial_{number:04d}"


def _say(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def suggest(trial: optuna.Trial, ranges: Mapping[str, Range]) -> dict[str, Any]:
    """Draw the options that are searched for.

    >>> import optuna
    >>> ranges = {"learning_rate": Log(1e-4, 2e-4), "layers": (8, 14), "dropout": (0.1, 0.5)}
    >>> best = {"learning_rate": 1.5e-4, "layers": 12, "dropout": 0.2, "batch_size": 64}
    >>> suggest(optuna.trial.FixedTrial(best), {**ranges, "batch_size": [64, 128]}) == best
    True
    """
    drawn: dict[str, Any] = {}
    for name, given in ranges.items():
        if isinstance(given, Log):
            drawn[name] = trial.suggest_float(name, given.low, given.high, log=True)
        elif isinstance(given, list):
            drawn[name] = trial.suggest_categorical(name, given)
        elif all(isinstance(value, int) for value in given):
            drawn[name] = trial.suggest_int(name, int(given[0]), int(given[1]))
        else:
            drawn[name] = trial.suggest_float(name, *given)
    return drawn


def make_watch(trial: optuna.Trial, run: Path, target: Target) -> Any:
    """Make a callback of Lightning's that reports a trial's epochs and gives it up where it is hopeless.

    What is reported is the least error so far, which is that of the weights that are kept: errors of an
    adversarial network jump from epoch to epoch.

    >>> import optuna
    >>> from types import SimpleNamespace
    >>> study = optuna.create_study()
    >>> watch = make_watch(study.ask(), Path("trial_0000"), Target("val_loss", "validation loss"))
    >>> for epoch, loss in enumerate([50.0, 40.0, 45.0]):  # in place of Lightning's trainer
    ...     trainer = SimpleNamespace(callback_metrics={"val_loss": loss}, current_epoch=epoch)
    ...     watch.on_validation_end(trainer, None)
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
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            reason = target.find_hopeless(metrics)
            if reason is None:
                self.least = min(self.least, metrics[target.monitor])
                trial.report(self.least, trainer.current_epoch)
                if trial.should_prune():
                    reason = "worse than others"
            if reason:
                trial.set_user_attr("reason", reason)
                for weights in self.run.glob("checkpoints/*.ckpt"):  # of no use, and not to be sent anywhere
                    weights.unlink()
                raise optuna.TrialPruned

    return Watch()
