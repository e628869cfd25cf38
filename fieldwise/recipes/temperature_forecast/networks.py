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
}
# How each is trained where nothing else is asked for: what all share, and what its authors have otherwise.
USUAL: dict[str, Any] = {
    "loss": None,
    "learning_rate": 1e-3,
    "optimizer_options": {},
    "feedback": "free",
    "discriminator": "none",
    "adversarial_weight": 0.0,
    "game": "bce",
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "convlstm_gan": {"loss": "0.6*mse", "discriminator": "video", "adversarial_weight": 0.4},
    "savp": {
        "loss": "100*mae",
        "learning_rate": 2e-4,
        "optimizer_options": {"betas": [0.5, 0.999]},
        "feedback": "scheduled",
        "discriminator": "savp",
        "adversarial_weight": 0.2,
        "game": "least_squares",
    },
}
DISCRIMINATORS = {
    "video": f"{HOME}.discriminators.VideoDiscriminator",
    "savp": f"{HOME}.savp.SAVPDiscriminator",
}


def choose_training(network: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give how a network is trained: as is asked for, and where nothing is, as its authors do.

    >>> chosen = choose_training("convlstm_gan", {"learning_rate": 5e-4, "loss": None})
    >>> chosen["learning_rate"], chosen["loss"], chosen["game"]
    (0.0005, '0.6*mse', 'bce')
    """
    usual = USUAL | PUBLISHED.get(network, {})
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


def fit_network(path: str, signature: Signature, padding: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments of a network that fits a signature: of those that all have, the ones it takes.

    >>> from fieldwise.samples.signatures import Variable
    >>> facts = {"context": 12, "horizon": 6, "forcing": []}
    >>> signature = Signature("own", (Variable("t2m"),), (Variable("t2m"),), facts=facts)
    >>> fit_network("fieldwise.networks.convnet.ConvNet", signature, "zeros", {"out_channels": 1})
    {'out_channels': 1}
    """
    from fieldwise.networks.imports import import_by_path

    taken = inspect.signature(import_by_path(path)).parameters
    facts = signature.facts
    arguments = {
        "channels": len(signature.fields("outputs")),
        "forcing": len(facts["forcing"]),
        "context": facts["context"],
        "horizon": facts["horizon"],
        "padding": padding,
    }
    return {name: value for name, value in arguments.items() if name in taken} | dict(options)
