"""What the settings of a training come to, checked before anything is written."""

from __future__ import annotations

import datetime
import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError, require_at_least
from fieldwise.recipes.temperature_forecast.cases import RECIPE, SUNSHINE

if TYPE_CHECKING:
    from fieldwise.samples.cases import Case
    from fieldwise.samples.sequences import Span
    from fieldwise.samples.signatures import Signature

BESIDE = ("t850", "tcc")  # fields that are forecast with the target, where the folder has them
TASK_OPTIONS = (
    "members",
    "others_weight",
    "lead_power",
    "kl_weight",
    "feedback",
    "feedback_steps",
    "optimizer",
    "optimizer_options",
    "learning_rate",
    "weight_decay",
    "decay_epochs",
    "warmup_steps",
    "clip_norm",
)


@dataclass(frozen=True)
class Plan:
    """What settings come to.

    Parameters
    ----------
    settings
        With what was left open in them.
    learnt, judged
        Cases to learn from, and to select the best weights by.
    signature
        What the network reads and gives.
    span
        Of a sequence.
    kind, task
        Import path of the task, and its arguments but for the signature.
    """

    settings: dict[str, Any]
    learnt: list[Case]
    judged: list[Case]
    signature: Signature
    span: Span
    kind: str
    task: dict[str, Any]


def check_settings(given: Mapping[str, Any]) -> Plan:
    """Refuse settings that nothing can be trained with, before anything is written.

    >>> import inspect
    >>> from fieldwise.recipes.temperature_forecast.train import train
    >>> settings = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    >>> check_settings(settings | {"context": 0})
    Traceback (most recent call last):
    fieldwise.errors.InputError: --context: is 0; give at least 1
    """
    from fieldwise.recipes.temperature_forecast import networks
    from fieldwise.samples.prepared import Prepared
    from fieldwise.samples.sequences import Span
    from fieldwise.verbs.train import check_training

    settings = {**given, **networks.choose_training(given["network"], given)}
    span = Span(settings["context"], settings["horizon"], settings["stride"])
    require_at_least(1, members=settings["members"])
    require_at_least(0, **{name: settings[name] for name in ("decay_epochs", "warmup_steps", "clip_norm")})
    check_training(settings)
    networks.check_members(settings["network"], settings["members"])
    kind, rival = networks.choose_task(settings)
    losses = parse_forecast_losses(settings["loss"], settings["members"])
    prepared = Prepared(settings["data"], recipe=RECIPE)
    learnt, judged = prepared.cases("training"), prepared.cases("validation")
    settings |= choose_fields(learnt[0], settings["target"], settings["fields"], settings["forcing"])
    for case in learnt + judged:
        case.check_has([*settings["fields"], *settings["forcing"]], why="training")
    span.check(learnt + judged)
    if settings["padding"] == "auto":
        settings["padding"] = "circular" if all(case.periodic for case in learnt) else "reflect"
    told = {name: settings[name] for name in ("target", "fields", "forcing", "context", "horizon")}
    signature = describe_fields(learnt, **told)
    options = [settings["padding"], settings["network_options"] or {}]
    task = {
        "network": networks.find_network(settings["network"]),
        "network_options": networks.fit_network(settings["network"], signature, *options),
        "losses": losses,
        **{name: settings[name] for name in ("context", "horizon", *TASK_OPTIONS)},
    }
    return Plan(settings, learnt, judged, signature, span, kind, task | rival)


def parse_forecast_losses(loss: str | None, members: int) -> dict[str, float]:
    """Read a sum of losses, by default the mean squared error, of ensembles the CRPS.

    >>> parse_forecast_losses("mse+0.1*mae", 1), parse_forecast_losses(None, 4)
    ({'mse': 1.0, 'mae': 0.1}, {'crps': 1.0})
    >>> parse_forecast_losses("mse", 4)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --loss: 'mse' is no loss of ensembles; give crps, difference_crps, ...
    """
    from fieldwise.tasks.field import OF_MEMBERS, parse_losses, parse_sum

    if members == 1:
        return parse_losses(loss or "mse")
    offered = f"no loss of ensembles; give {', '.join(OF_MEMBERS)}, an import path, or a sum of such"
    return parse_sum(loss or "crps", dict(zip(OF_MEMBERS, OF_MEMBERS)), offered)


def choose_fields(
    case: Case, target: str, fields: Sequence[str] | None, forcing: Sequence[str] | None
) -> dict[str, list[str]]:
    """Give the fields to forecast, the target first, and those known of the hours to come.

    >>> from types import SimpleNamespace
    >>> case = SimpleNamespace(files={"t2m": "t2m.npy", "tcc": "tcc.npy", "sunshine": "sunshine.npy"})
    >>> choose_fields(case, "t2m", None, None)
    {'fields': ['t2m', 'tcc'], 'forcing': ['sunshine']}
    >>> choose_fields(case, "t2m", ["tcc", "t2m"], ["tcc"])
    Traceback (most recent call last):
    fieldwise.errors.InputError: --forcing: tcc is forecast too; take it out of --fields or --forcing
    """
    there = [name for name in BESIDE if name in case.files and name != target]
    told = list(dict.fromkeys([target, *(there if fields is None else fields)]))
    known = [name for name in (SUNSHINE,) if name in case.files] if forcing is None else list(forcing)
    both = [name for name in known if name in told]
    if both:
        raise InputError(
            f"--forcing: {', '.join(both)} is forecast too; take it out of --fields or --forcing"
        )
    return {"fields": told, "forcing": known}


def describe_fields(
    cases: Sequence[Case],
    *,
    target: str,
    fields: Sequence[str],
    forcing: Sequence[str],
    context: int,
    horizon: int,
) -> Signature:
    """Describe what a network reads and forecasts, with scales of the training cases alone.

    Inputs are what is forecast, the target first, and the forcing; outputs the former alone.

    >>> import numpy as np
    >>> from fieldwise.samples.examples import make_prepared
    >>> fields = {"t2m": np.array([[[280.0]], [[284.0]]]), "sunshine": np.array([[[0.0]], [[1.0]]])}
    >>> cases = make_prepared(fields, split="training", units={"t2m": "K"}).cases()
    >>> options = {"fields": ["t2m"], "forcing": ["sunshine"], "context": 1, "horizon": 1}
    >>> signature = describe_fields(cases, target="t2m", **options)
    >>> signature.outputs[0].scale, signature.fields("inputs"), signature.facts["horizon"]
    (Scale(mean=282.0, spread=2.0), ['t2m', 'sunshine'], 1)
    """
    from fieldwise.samples.frames import fit_signature

    signature = fit_signature(
        RECIPE,
        cases,
        inputs=[*fields, *forcing],
        outputs=[],
        target=target,
        context=context,
        horizon=horizon,
        forcing=list(forcing),
        step_h=cases[0].facts.get("step_h", 1),
    )
    return replace(signature, outputs=signature.inputs[: len(fields)])


def find_run(run: Path, experiment: str | None, *, resume: bool) -> Path:
    """Give the folder of a run, or within it that of an experiment: `<timestamp>_<user>_<experiment>`.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> find_run(folder, None, resume=True) == folder
    True
    >>> user = getpass.getuser()
    >>> (folder / f"20260301T1200_{user}_warm").mkdir()
    >>> find_run(folder, "warm", resume=True).name == f"20260301T1200_{user}_warm"
    True
    """
    if experiment is None:
        return run
    check_plain_name(experiment, "--experiment", kind="folder")
    ending = f"_{getpass.getuser()}_{experiment}"
    before = sorted(run.glob(f"*T*{ending}")) if resume else []
    return before[-1] if before else run / f"{datetime.datetime.now():%Y%m%dT%H%M%S}{ending}"
