"""What a run has trained, or a file of weights, as a predictor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from fieldwise.errors import InputError
from fieldwise.networks.imports import import_by_path
from fieldwise.runs import hash_file
from fieldwise.samples.signatures import Signature
from fieldwise.tasks import choose_device
from fieldwise.tasks.checkpoints import PREFIX, pick_network
from fieldwise.tasks.weights import SUFFIX, read_trained
from fieldwise.verbs.predictors.applied import Predictor

Kind = TypeVar("Kind", bound=Predictor)
Loader = Callable[[Path, torch.device], Any]
Weights = Literal["best", "last"] | str


def load_predictor(
    run: str | Path,
    *,
    recipe: str,
    weights: Weights = "best",
    accelerator: str = "auto",
    kind: type[Kind] | None = None,
    foreign: Mapping[str, Loader] | None = None,
) -> Any:
    """Load what a run has trained, or published weights.

    Parameters
    ----------
    run
        Run folder; or one with a published file, where the recipe reads such.
    recipe
        Whose run it is to be.
    weights
        The best by validation, the last, or the path of a published file.
    accelerator
        cpu, gpu or auto.
    kind
        Class of the predictor; default: :class:`Predictor`.
    foreign
        Suffix of published files (``.npz``) to a function of path and device that gives a predictor.

    Raises
    ------
    InputError
        Where there is no such file, or it is of another recipe.

    Examples
    --------
    >>> load_predictor("model/nothing", recipe="ice_flow")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/nothing: holds neither checkpoints/best.ckpt nor a ...
    """
    run, device = Path(run), choose_device(accelerator)
    own: Any = partial(_from_checkpoint, recipe=recipe, kind=kind or Predictor)
    foreign = {**(foreign or {}), SUFFIX: own}
    published = _find_published(run, weights, foreign)
    if published is not None:
        predictor = foreign[published.suffix](published, device)
        predictor.run = predictor.run or run
        return predictor
    checkpoint = run / "checkpoints" / f"{weights}.ckpt"
    if not checkpoint.exists():
        raise InputError(
            f"{run}: holds neither checkpoints/{weights}.ckpt nor a {' or '.join(foreign)} file; train with "
            f"`fieldwise {recipe} train`"
        )
    return own(checkpoint, device, run=run)


def _find_published(run: Path, weights: Weights, foreign: Mapping[str, Loader]) -> Path | None:
    """Tell which published file is meant, if any: the one named, or the one in a folder of no checkpoints."""
    if weights not in ("best", "last"):
        if Path(weights).suffix not in foreign:
            kinds = " or ".join(foreign)
            raise InputError(f"--weights: is {weights!r}; give best, last or the path of a {kinds} file")
        if not Path(weights).exists():
            raise InputError(f"{weights}: no such file; check the path")
        return Path(weights)
    if (run / "checkpoints").is_dir():
        return None
    found = sorted(path for suffix in foreign for path in run.glob(f"*{suffix}"))
    return found[0] if found else None


def _from_checkpoint(
    checkpoint: Path, device: torch.device, *, recipe: str, kind: type[Kind], run: Path | None = None
) -> Kind:
    content = read_trained(checkpoint)
    options, state = content["hyper_parameters"], content["state_dict"]
    signature = Signature.from_dict(options.get("signature") or {}, checkpoint)
    if signature.recipe != recipe:
        raise InputError(
            f"{checkpoint}: was trained by {signature.recipe}; give a --run of {recipe}, or use "
            f"`fieldwise {signature.recipe} predict`"
        )
    network = import_by_path(options["network"], kind=torch.nn.Module)(**(options["network_options"] or {}))
    try:
        network.load_state_dict(pick_network(state))
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(
            f"{checkpoint}: holds another network's weights ({reason}); train it again"
        ) from None
    other = {name: value for name, value in state.items() if not name.startswith(PREFIX)}
    return kind(
        network,
        signature,
        device=device,
        path=checkpoint,
        run=run,
        fingerprint=hash_file(checkpoint),
        state=other,
    )
