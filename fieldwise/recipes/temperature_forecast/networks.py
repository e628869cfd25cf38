"""Which network forecasts, by name or import path, and how its authors train it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from fieldwise.errors import InputError
from fieldwise.samples.signatures import Signature

HOME = "fieldwise.networks.forecasting"
NETWORKS = {
    "convlstm": f"{HOME}.convlstm.ConvLSTM",
    "predrnn": f"{HOME}.predrnn.PredRNN",
    "simvp": f"{HOME}.simvp.SimVP",
    "simvp_mixer": f"{HOME}.simvp.SimVP",
    "savp": f"{HOME}.savp.SAVP",
    "vae": f"{HOME}.vae.VAE",
    "convlstm_gan": f"{HOME}.convlstm.ConvLSTM",
    "weatherbench": f"{HOME}.weatherbench.WeatherBenchCNN",
    "advection": f"{HOME}.advection.Advection",
    "daily_cycle": f"{HOME}.daily_cycle.DailyCycle",
    "stochastic_advection": f"{HOME}.advection.StochasticAdvection",
    "stochastic_convlstm": f"{HOME}.stochastic.StochasticConvLSTM",
    "stochastic_simvp": f"{HOME}.stochastic.StochasticSimVP",
}
OPTIONS: dict[str, dict[str, Any]] = {"simvp_mixer": {"translator": "convmixer"}}
DISCRIMINATORS = {
    "sequence": f"{HOME}.discriminators.SequenceDiscriminator",
    "video": f"{HOME}.discriminators.VideoDiscriminator",
    "savp": "fieldwise.tasks.rivals.PairOfJudges",
}
# How a network is trained where nothing else is asked for; of published ones as their authors do.
USUAL: dict[str, Any] = {
    "loss": None,
    "members": 1,
    "optimizer_options": {},
    "learning_rate": 1e-3,
    "warmup_steps": 0,
    "decays": False,  # to nothing at the end of training
    "feedback": "free",
    "feedback_steps": 900.0,
    "kl_weight": 0.0,
    "discriminator": "none",
    "adversarial_weight": 1.0,
    "game": "bce",
}
SMALL = {
    "learning_rate": 1e-2,
    "warmup_steps": 20,
    "decays": True,
    "feedback": "scheduled",
    "feedback_steps": 100.0,
}
DRAWN = {"members": 2}
TRAINING: dict[str, dict[str, Any]] = {
    "advection": SMALL,
    "daily_cycle": {"learning_rate": 1e-2, "warmup_steps": 20, "decays": True},
    "stochastic_advection": SMALL | DRAWN,
    "stochastic_convlstm": DRAWN,
    "stochastic_simvp": DRAWN,
    "vae": {"kl_weight": 0.01},
    "convlstm_gan": {"loss": "0.6*mse", "discriminator": "sequence", "adversarial_weight": 0.4},
    "savp": {
        "loss": "100*mae",
        "optimizer_options": {"betas": [0.5, 0.999]},
        "learning_rate": 2e-4,
        "decays": True,  # its authors end at 8e-8
        "feedback": "scheduled",
        "kl_weight": 0.01,
        "discriminator": "savp",
        "adversarial_weight": 0.2,  # 0.1 for either judge: scores are a mean over both
        "game": "least_squares",
    },
}


def choose_training(network: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give how a network is trained: as is asked for, and where nothing is, as suits it.

    >>> chosen = choose_training("convlstm_gan", {"learning_rate": 5e-4, "loss": None, "max_epochs": 20})
    >>> chosen["learning_rate"], chosen["loss"], chosen["decay_epochs"]
    (0.0005, '0.6*mse', 0)
    """
    usual = USUAL | TRAINING.get(network, {})
    usual["decay_epochs"] = given["max_epochs"] if usual.pop("decays") else 0
    return {name: value if given.get(name) is None else given[name] for name, value in usual.items()}


def find_network(network: str) -> str:
    """Give the import path of a network, or say which names there are.

    >>> find_network("convlsmt")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --network: 'convlsmt' is unknown; give convlstm, predrnn, ...
    """
    path = NETWORKS.get(network, network)
    if "." not in path:
        raise InputError(f"--network: {network!r} is unknown; give {', '.join(NETWORKS)} or an import path")
    return path


def check_members(network: str, members: int) -> None:
    """Refuse to train a network that draws nothing as an ensemble.

    >>> check_members("stochastic_simvp", 2)
    >>> check_members("simvp", 2)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --members: is 2, and simvp takes no noise, so all would be the same; give 1
    """
    from torch.nn import Module

    from fieldwise.networks.imports import import_by_path

    takes = inspect.signature(import_by_path(find_network(network), kind=Module).forward).parameters
    if members > 1 and "noise" not in takes:
        raise InputError(
            f"--members: is {members}, and {network} takes no noise, so all would be the same; give 1"
        )


def fit_network(
    network: str, signature: Signature, padding: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the arguments of a network that fits a signature: of those that all have, the ones it takes.

    >>> from fieldwise.samples.signatures import Variable
    >>> facts = {"context": 12, "horizon": 6, "forcing": []}
    >>> signature = Signature("own", (Variable("t2m"),), (Variable("t2m"),), facts=facts)
    >>> fit_network("simvp_mixer", signature, "zeros", {"features": 8})
    {'channels': 1, 'forcing': 0, 'context': 12, 'horizon': 6, 'padding': 'zeros', 'translator': 'convmixer',
     'features': 8}
    """
    from fieldwise.networks.imports import import_by_path

    facts = signature.facts
    arguments = {
        "channels": len(signature.fields("outputs")),
        "forcing": len(facts["forcing"]),
        "context": facts["context"],
        "horizon": facts["horizon"],
        "padding": padding,
    }
    taken = inspect.signature(import_by_path(find_network(network))).parameters
    open_ended = any(each.kind == inspect.Parameter.VAR_KEYWORD for each in taken.values())
    known = {name: value for name, value in arguments.items() if name in taken or open_ended}
    return known | OPTIONS.get(network, {}) | dict(options)


def choose_task(settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Give the import path of the task, and what it takes of a discriminator.

    >>> choose_task({"discriminator": "none"})
    ('fieldwise.tasks.rollout.RolloutTask', {})
    >>> choose_task({"discriminator": "critic"})
    Traceback (most recent call last):
    fieldwise.errors.InputError: --discriminator: 'critic' is unknown; give none, sequence, video, savp or ...
    """
    name = settings["discriminator"]
    if name == "none":
        return "fieldwise.tasks.rollout.RolloutTask", {}
    path = DISCRIMINATORS.get(name, name)
    if "." not in path:
        offered = ", ".join(["none", *DISCRIMINATORS])
        raise InputError(f"--discriminator: {name!r} is unknown; give {offered} or an import path")
    if (name == "savp") != (settings["network"] == "savp"):
        raise InputError(f"--discriminator {name} --network {settings['network']}: savp goes with savp alone")
    options = {
        "discriminator": path,
        "discriminator_options": {"channels": 1, **(settings["discriminator_options"] or {})},
        **{name: settings[name] for name in ("game", "adversarial_weight")},
    }
    kind = "SAVPTask" if name == "savp" else "AdversarialRolloutTask"
    return f"fieldwise.tasks.rivals.{kind}", options
