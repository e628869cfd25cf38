"""The network that draws beds as members: what it reads, its samples and its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.errors import InputError, require_at_least
from fieldwise.losses.ensembles import MEANS, proper_score
from fieldwise.networks.valid.blocks import narrow
from fieldwise.recipes.bed_topography.members.sectors import OF_RADAR, READ, TARGET
from fieldwise.recipes.bed_topography.predictor import PRETRAINED
from fieldwise.recipes.bed_topography.regions.region import (
    AFLOAT,
    INVERSION,
    RADAR_INVERSION,
    RECIPE,
    SPREAD,
    UPSAMPLING,
    VECTORS,
    lowres_spacing,
)
from fieldwise.recipes.bed_topography.train import complete
from fieldwise.samples.cases import Case
from fieldwise.samples.frames import fit_signature, make_loaders
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.scales import LengthScale, Scale
from fieldwise.samples.signatures import Signature
from fieldwise.tasks import FieldTask
from fieldwise.tasks.field import make_network
from fieldwise.tasks.weights import read_trained
from fieldwise.verbs.beginnings import begin_task
from fieldwise.verbs.options import TRAINING
from fieldwise.verbs.train import train_run

NETWORK = "fieldwise.networks.valid.folding.FoldingSuperResolver"
LEVELLED = ("bed_relief", "surface_relief", INVERSION, "radar_departure", RADAR_INVERSION)
# Blocks of 4 and 8 km, windows of 4 and 16 km: most of what a bed can be off is longer than what cells, their
# differences and small blocks show.
LARGE_MEANS, POWERS = {16: 1.0, 32: 1.0}, {16: 0.2, 64: 0.2}
FAR_M = 10e3  # of the distance to the nearest pick


def levelled_score(members: Tensor, batch: Mapping[str, Any], signature: Mapping[str, Any]) -> Tensor:
    """Return the proper score of departures as multiples of how high the relief of the low-res bed is there.

    In metres, the few sectors of mountains would be learnt, and the many plains between them would not.

    Parameters
    ----------
    members
        (member, batch, 1, y, x).
    batch
        `targets`, (batch, 1, y, x), missing where nothing is known, and `inputs`, with the spread, where it
        is read.

    >>> flat = torch.zeros(1, 1, 32, 32)
    >>> members, batch = torch.ones(2, 1, 1, 32, 32), {"targets": flat}
    >>> low, high = (
    ...     levelled_score(height * members, batch | {"inputs": {SPREAD: flat[..., ::4, ::4] + height}}, {})
    ...     for height in (1, 10)
    ... )
    >>> bool(torch.isclose(low, high))
    True
    """
    truth, spread = batch["targets"], batch["inputs"].get(SPREAD)
    known = torch.isfinite(truth)
    # Between flights few blocks and windows are known as a whole, and those hold the radar's noise.
    mask, whole = (None, min(truth.shape[2:])) if known.all() else (known.to(truth.dtype), 0)
    means = MEANS | {size: weight for size, weight in LARGE_MEANS.items() if size <= whole}
    powers = {size: weight for size, weight in POWERS.items() if size <= whole}
    truth = truth.nan_to_num()
    if spread is not None:  # some networks do not read it
        cells = [size // UPSAMPLING for size in truth.shape[2:]]
        level = functional.interpolate(narrow(spread, cells).to(truth.dtype), scale_factor=UPSAMPLING)
        members, truth = members / level, truth / level
    return proper_score(members, truth, mask, means=means, powers=powers)


def train_drawer(asked: Mapping[str, Any]) -> Path:
    """Train the network that draws; keep the weights best on what is kept for validation, and the last."""
    prepared = Prepared(asked["data"], recipe=RECIPE)
    learnt, judged = prepared.cases("training", required=False), prepared.cases("validation", required=False)
    if not learnt or not judged:
        raise InputError(f"{prepared.folder}: {_say_gap(prepared.cases()[0])}")
    init = asked["init"] or choose_init([case.split for case in prepared.cases()])
    settings = complete({**asked, "init": init}, "drawer" if init == "none" else "begun drawer")
    for name in ("patch_cells", "patches_per_tile"):
        require_at_least(1, **{name: settings[name]})
    signature, options = _choose_beginning(settings, learnt)
    loaders = _make_loaders(settings, learnt, judged, signature, make_network(NETWORK, options))
    make_task: Any = partial(
        FieldTask,
        network=NETWORK,
        network_options=options,
        losses={f"{__name__}.levelled_score": 1.0},
        members=2,
        optimizer="adamw",
        optimizer_options={"betas": [0.9, 0.99]},
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        decay_epochs=settings["decay_epochs"] or settings["max_epochs"],
        warmup_steps=50,
        clip_norm=1.0,
    )
    if init != "none":
        make_task = begin_task(make_task, _path_of(init), strict=settings["init_strict"])
    return train_run(
        make_task,
        loaders,
        signature,
        run=settings["run"],
        settings=settings,
        sources=[Path(settings["data"]) / "provenance.json"],
        begun=init != "none",
        **{name: settings[name] for name in TRAINING},
    )


def _say_gap(region: Case) -> str:
    """Say what a folder that holds nothing to learn from lacks."""
    missing = [name for name in READ if name not in region.variables]
    if missing:
        what = f"lacks {', '.join(missing)}, which a network that draws reads"
        return f"{what}; name what they take in the FILE.yaml, and prepare again"
    return (
        "holds neither sectors nor flights to learn from; make sectors by `prepare --sectors 20`, name "
        "surveys in the FILE.yaml, or draw with `predict --weights pretrained`"
    )


def choose_init(splits: Sequence[str | None]) -> str:
    """Choose what a drawer begins with, by the cases of a folder: those without a split are of a region.

    A region has folds beside it where its low-res bed is gridded from the picks.

    >>> choose_init(["training", "validation"])  # sectors
    'none'
    >>> choose_init([None, "training", "validation"]), choose_init([None, None, None, "training"])
    ('pretrained', 'pretrained_wide')
    """
    regions = splits.count(None)
    return ("none", "pretrained", "pretrained_wide")[min(regions, 2)]


def _path_of(init: str) -> Path:
    return PRETRAINED.get(init, Path(init))


def _choose_beginning(
    settings: Mapping[str, Any], learnt: Sequence[Case]
) -> tuple[Signature, dict[str, Any]]:
    """Give signature and options of the network: those of the weights that it begins with, or new ones."""
    if settings["init"] == "none" or not settings["init_strict"]:
        signature = describe(learnt, settings["inputs"])
        return signature, choose_network(signature, settings["features"], settings["blocks"])
    path = _path_of(settings["init"])
    content = read_trained(path)["hyper_parameters"]
    signature = Signature.from_dict(content.get("signature") or {}, path)
    for case in learnt:
        signature.check_prepared(case, path)
    return signature, dict(content["network_options"])


def _make_loaders(
    settings: Mapping[str, Any],
    learnt: Sequence[Case],
    judged: Sequence[Case],
    signature: Signature,
    network: Any,
) -> Any:
    ratio = network.scale_factor
    if settings["patch_cells"] % (ratio * network.step):
        raise InputError(
            f"--patch_cells: is {settings['patch_cells']}; give a multiple of {ratio * network.step}"
        )
    return make_loaders(
        learnt,
        judged,
        signature,
        cells=settings["patch_cells"],
        batch_size=settings["batch_size"],
        seed=settings["seed"],
        patches_per_tile=settings["patches_per_tile"],
        augment=settings["augment"],
        padding=network.margin * ratio,
        step=ratio,
    )


def describe(cases: Sequence[Case], names: Sequence[str] | None = None) -> Signature:
    """Say what the network reads and gives, with scales as the training sectors have them.

    >>> import numpy as np
    >>> from fieldwise.samples.examples import make_prepared
    >>> bed = np.tile([30.0, -30.0], (1, 8, 4))
    >>> cases = make_prepared({"bed_relief": bed, TARGET: bed}, split="training").cases()
    >>> signature = describe(cases, ["bed_relief"])
    >>> signature.fields("outputs"), signature.outputs[0].scale
    (['bed_departure'], Scale(mean=0.0, spread=30.0))
    """
    read = names or [*READ, *OF_RADAR]
    first = cases[0]
    if lacking := [name for name in read if name not in first.readable]:
        others = ", ".join(name for name in first.readable if name != TARGET)
        raise InputError(f"--inputs: {first} holds no {', '.join(lacking)}; take some of {others}")
    signature = fit_signature(RECIPE, cases, inputs=read, outputs=[TARGET], stacked=False)
    spread = signature.outputs[0].scale.undo(1.0) - signature.outputs[0].scale.undo(0.0)  # type: ignore[arg-type]
    scale = Scale(0.0, float(spread))
    known: dict[str, Any] = {name: LengthScale(knee) for name, knee in VECTORS.items()}
    known |= dict.fromkeys((SPREAD, *LEVELLED), scale)
    known |= {"radar_picked": Scale(0.0, 1.0), "radar_distance": Scale(0.0, FAR_M)}
    fitted: dict[str, Any] = {each.name: each.scale for each in signature.inputs}
    if "surface_relief" in fitted:  # has a height of its own; levelled too, so what is 0 stays 0
        known["surface_relief"] = replace(fitted["surface_relief"], mean=0.0)
    inputs = tuple(
        replace(each, scale=known.get(each.name, each.scale), range=None) for each in signature.inputs
    )
    outputs = (replace(signature.outputs[0], scale=scale, range=None),)
    facts = {"departure": True, "members": True, AFLOAT: True, "lowres_spacing_m": lowres_spacing(cases[0])}
    return replace(signature, inputs=inputs, outputs=outputs).with_facts(**facts)


def choose_network(
    signature: Signature, features: int | Sequence[int], blocks: Sequence[int]
) -> dict[str, Any]:
    """Give the arguments of the network that reads what a signature names.

    >>> from fieldwise.samples.signatures import Variable
    >>> facts = {"lowres_spacing_m": 1000.0}
    >>> relief = Variable("bed_relief", spacing=1000.0)
    >>> signature = Signature("bed_topography", (relief,), (), spacings=(250.0,), facts=facts)
    >>> choose_network(signature, 48, [2, 2, 2, 2, 4])["scale_factor"]
    4
    """
    inputs = [
        {"name": each.name, "channels": each.channels, "spacing_m": each.spacing} for each in signature.inputs
    ]
    names = [each["name"] for each in inputs]
    ratio = round(signature.facts["lowres_spacing_m"] / signature.spacings[0])
    levels = {"level_by": SPREAD, "levelled": [name for name in LEVELLED if name in names]}
    return {
        "inputs": inputs,
        "scale_factor": ratio,
        "features": features if isinstance(features, int) else list(features),
        "blocks": list(blocks),
        "coarsenings": max(len(blocks) - ratio.bit_length(), 0),
        "modulated": True,
        **(levels if SPREAD in names else {}),
        **({"departs_from": RADAR_INVERSION} if RADAR_INVERSION in names else {}),
    }
