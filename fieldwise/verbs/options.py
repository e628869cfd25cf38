"""Options that every application shares, declared once; and those of a run, told to readers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypedDict, TypeVar, cast, get_type_hints

from fieldwise.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# Of a run, not of what is learnt.
OPERATIONAL = {
    *("data", "run", "resume", "accelerator", "devices"),
    *("sync_batch_norm", "compile", "progress", "tracker"),
}
P = ParamSpec("P")
R = TypeVar("R")


class Training(TypedDict, total=False):
    """How any training is carried out, whatever it learns.

    Args:
        max_epochs: Passes over the training samples.
        batch_size: Samples a step.
        accumulate: Batches whose gradients are added up for one step: as a batch that many times as large.
        save_batches: Batches after which the last checkpoint is written within an epoch too, so that a long
            one can be cut off; by default after epochs alone.
        patience: Epochs without improvement on the validation samples after which training stops.
        seed: Of weights and order.
        resume: Go on from the last checkpoint in the run folder, if there is one.
        accelerator: cpu, gpu or auto.
        devices: How many of them.
        sync_batch_norm: Whether the batch norms of several GPUs see what all of them do.
        precision: Of the numbers; auto takes bf16-mixed where the device has it, within tolerance.
        compile: Whether to compile the networks, after which a GPU takes fewer and larger steps; it takes a
            minute or more, and what cannot be compiled runs as it is.
        progress: Whether to show how far it is.
        tracker: What is told of the run, besides metrics.csv: nothing, TensorBoard, or Comet too; the latter
            online where COMET_API_KEY is in the environment, otherwise as an archive in the run folder.
    """

    max_epochs: int
    batch_size: int
    accumulate: int
    save_batches: int | None
    patience: int | None
    seed: int
    resume: bool
    accelerator: str
    devices: int | str
    sync_batch_norm: bool
    precision: Literal["auto", "32-true", "64-true", "16-mixed", "bf16-mixed"]
    compile: bool
    progress: bool
    tracker: Literal["none", "tensorboard", "comet"]


TRAINING: Training = {
    "max_epochs": 100,
    "batch_size": 64,
    "accumulate": 1,
    "save_batches": None,
    "patience": None,
    "seed": 42,
    "resume": True,
    "accelerator": "auto",
    "devices": "auto",
    "sync_batch_norm": False,
    "precision": "auto",
    "compile": False,
    "progress": True,
    "tracker": "tensorboard",
}


class Searching(TypedDict, total=False):
    """How any search for hyper-parameters is carried out, whatever is learnt.

    Args:
        data: Prepared folder.
        study: File of the study, .db (SQLite). The runs of its trials and its figures go to the folder of the
            same name; of the weights, only those of the best trial are kept.
        trials: How many trials the study shall hold in the end, those given up early counted.
        fixed: Other options of train, the same for all trials, such as --fixed.weight_decay 1.
        min_epochs: Epochs before a trial can be given up for doing worse than others.
        seed: Of the search, and of the weights and order in each trial.
        accelerator: cpu, gpu or auto.
        tracker: Who is told of each trial; see train.
        progress: Whether to tell of each trial.
    """

    data: Path
    study: Path
    trials: int
    fixed: dict[str, Any] | None
    min_epochs: int
    seed: int
    accelerator: str
    tracker: Literal["none", "tensorboard", "comet"]
    progress: bool


SEARCHING: Searching = {
    "data": Path("data"),
    "study": Path("model/tuning.db"),
    "trials": 60,
    "fixed": None,
    "min_epochs": 1,
    "seed": 42,
    "accelerator": "auto",
    "tracker": "tensorboard",
    "progress": True,
}


def with_options(
    kind: Any, defaults: Mapping[str, Any], **own: Any
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Complete a verb that takes shared options as ``**options: Unpack[kind]``.

    The verb is given every one of them, its default where the caller states none; and its signature and
    docstring list them, for the command line, for ``help`` and for notebooks.

    Parameters
    ----------
    kind
        A TypedDict of their types, whose docstring describes each under ``Args:``; as :class:`Training`.
    defaults
        Their defaults; as `TRAINING`.
    own
        Defaults that are others for this verb.

    Examples
    --------
    >>> from typing import Unpack
    >>> @with_options(Training, TRAINING, max_epochs=7)
    ... def train(*, rate: float = 0.1, **training: Unpack[Training]):
    ...     '''Learn.
    ...
    ...     Args:
    ...         rate: Of learning.
    ...     '''
    ...     return rate, training["max_epochs"], training["batch_size"]
    >>> train(batch_size=2)
    (0.1, 7, 2)
    >>> inspect.signature(train).parameters["max_epochs"]
    <Parameter "max_epochs: int = 7">
    >>> train(epochs=3)
    Traceback (most recent call last):
    TypeError: train() takes no 'epochs'; it takes rate, max_epochs, batch_size, ...
    """
    types = get_type_hints(kind)
    if own.keys() - types.keys() or defaults.keys() != types.keys():
        raise TypeError(f"{kind.__name__} has {', '.join(types)}: each needs a default, and no other has one")
    shared = {**defaults, **own}

    def complete(verb: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(verb)
        parameters = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind != inspect.Parameter.VAR_KEYWORD and parameter.name not in shared
        ] + [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=shared[name], annotation=hint)
            for name, hint in types.items()
        ]
        names = [parameter.name for parameter in parameters]

        @functools.wraps(verb)
        def completed(*arguments: P.args, **given: P.kwargs) -> R:
            for name in given:
                if name not in names:
                    raise TypeError(f"{verb.__name__}() takes no {name!r}; it takes {', '.join(names)}")
            return verb(*arguments, **cast(Any, shared | given))

        whole = cast(Any, completed)
        whole.__signature__ = signature.replace(parameters=parameters)
        whole.__annotations__ = {
            **{name: hint for name, hint in verb.__annotations__.items() if name in {*names, "return"}},
            **types,
        }
        whole.__doc__ = _join_descriptions(verb.__doc__ or "", kind.__doc__ or "")
        del whole.__wrapped__  # jsonargparse would look behind it, where the shared options are missing
        return completed

    return complete


def _join_descriptions(own: str, shared: str) -> str:
    """Append the lines under ``Args:`` of one docstring to those of another."""
    before, heading, after = inspect.cleandoc(own).partition("\n\nArgs:\n")
    lines, gap, rest = after.partition("\n\n")
    added = inspect.cleandoc(shared).partition("\nArgs:\n")[2].partition("\n\n")[0]
    return (
        f"{before}{heading or chr(10) * 2 + 'Args:' + chr(10)}{lines and lines + chr(10)}{added}{gap}{rest}"
    )


def tabulate_hyperparameters(run: Path, train: Callable[..., Any], *, monitor: str = "") -> pd.DataFrame:
    """Lay out the settings of a run with what they mean, from its config.yaml and the verb's own help.

    Parameters
    ----------
    run
        Folder of the run.
    train
        The verb that made it.
    monitor
        Measure in metrics.csv whose least value tells the best epoch.

    Raises
    ------
    InputError
        Where the folder holds no run.

    >>> import tempfile
    >>> from fieldwise.samples.rules import write_yaml
    >>> run = Path(tempfile.mkdtemp())
    >>> _ = write_yaml({"batch_size": 64, "devices": 2}, run / "config.yaml")  # devices do not count
    >>> from fieldwise.recipes.bed_topography import train
    >>> tabulate_hyperparameters(run, train).to_dict("records")
    [{'Hyper-parameter': 'Batch size', 'Value': '64', 'Meaning': 'Samples a step.'}]
    """
    import docstring_parser
    import pandas as pd

    from fieldwise.samples.rules import read_yaml

    config = Path(run) / "config.yaml"
    if not config.exists():
        raise InputError(f"{run}: holds no config.yaml, so is no run; train one first")
    meanings = {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for parameter in docstring_parser.parse(train.__doc__ or "").params
    }
    rows = [
        {"Hyper-parameter": _spell(name), "Value": _say(value), "Meaning": meanings.get(name, "")}
        for name, value in {**read_yaml(config), **_outcome(Path(run), monitor)}.items()
        if name not in OPERATIONAL
    ]
    return pd.DataFrame(rows)


def _outcome(run: Path, monitor: str) -> dict[str, Any]:
    """Tell how long a run went on, and when it was best."""
    from fieldwise.runs import read_metrics

    try:
        metrics = read_metrics(run)
    except InputError:
        return {}
    outcome = {"epochs_trained": int(metrics["epoch"].max()) + 1}
    if monitor in metrics and metrics[monitor].notna().any():
        best = metrics.loc[metrics[monitor].idxmin()]
        outcome["best_epoch"] = int(best["epoch"]) + 1
    return outcome


def _spell(name: str) -> str:
    """Put the name of a setting into words.

    >>> _spell("num_residual_blocks"), _spell("max_epochs")
    ('Number of residual blocks', 'Maximum epochs')
    """
    words = name.replace("num_", "number_of_").replace("max_", "maximum_").replace("_", " ")
    return words[:1].upper() + words[1:]


def _say(value: Any) -> str:
    """Write a setting as a reader of a paper expects it.

    >>> _say(True), _say(None), _say(1.6e-4), _say(["bed_lowres", "ice_velocity"])
    ('yes', 'not set', '0.00016', 'bed_lowres, ice_velocity')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not set"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
