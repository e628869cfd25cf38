"""A network that tells classes, applied to the whole globe at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldwise.errors import InputError
from fieldwise.physics.extreme_weather.channels import CHANNELS, CLASSES
from fieldwise.recipes.extreme_weather.cases import RECIPE
from fieldwise.runs import hash_file
from fieldwise.samples.cases import Case
from fieldwise.samples.scales import Scale
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.domains.contents import Output
from fieldwise.verbs.predictors import Arrays, Predictor, load_predictor

CLASS = "class"


class ClassPredictor(Predictor):
    """Gives the class of each cell, and before it is decided on, how probable each class is.

    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> read = (Variable("a"), Variable("b"))
    >>> signature = Signature("own", read, (), stacked=True, facts={"classes": ["calm", "atmospheric river"]})
    >>> teller = ClassPredictor(torch.nn.Identity(), signature)  # scores are what is read
    >>> [output.name for output in teller.outputs]
    ['class', 'probability_of_calm', 'probability_of_atmospheric_river']
    >>> teller({"a": np.zeros((1, 1, 1)), "b": np.full((1, 1, 1), np.log(3))}).ravel().round(2).tolist()
    [1.0, 0.25, 0.75]
    """

    @property
    def outputs(self) -> list[Output]:
        """The class as a flag, and the probability of each."""
        words = tuple(name.replace(" ", "_") for name in self.signature.facts["classes"])
        decided = Output(CLASS, long_name="most probable class", dtype="int8", flags=words)
        return [decided, *(Output(f"probability_of_{word}") for word in words)]

    def reach_cells(self, case: Case) -> int | None:
        """See nothing beyond what is read: that is the whole globe."""
        return 0

    def alignment_cells(self, case: Case) -> int:
        """Take the globe as it is: nothing may be put at its end, where it goes on."""
        return 1

    def infer(self, inputs: Any, **options: Any) -> torch.Tensor:
        """Pass scaled inputs through the network: probabilities of classes, (1, class, *cells)."""
        return super().infer(inputs, **options).float().softmax(1)

    def __call__(self, arrays: Arrays) -> np.ndarray:
        """Map the fields of the globe to all outputs, (channel, *cells)."""
        shares = self.apply(arrays)
        return np.concatenate([shares.argmax(0)[None].astype(np.float32), shares])

    def _unscale(self, channels: np.ndarray) -> np.ndarray:
        return channels  # probabilities have no unit


def load_teller(run: str | Path, *, weights: str = "best", accelerator: str = "auto") -> ClassPredictor:
    """Load what a run has trained, or a published network.

    Parameters
    ----------
    run
        Run folder; or ClimateNet's, with weights.pth and config.json.
    weights
        The best by validation, the last, or the path of a published file: weights.pth with its config.json
        beside, or a checkpoint of DeepCAM, .cpt, with the stats.h5 of its samples beside.

    >>> load_teller("model/no_such_run")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/no_such_run: ...
    """
    foreign = {".pth": read_climatenet, ".cpt": read_deepcam}
    return load_predictor(
        run,
        recipe=RECIPE,
        weights=weights,
        accelerator=accelerator,
        kind=ClassPredictor,
        foreign=foreign,
    )


def read_climatenet(path: Path, device: torch.device) -> ClassPredictor:
    """Read the network of ClimateNet whose weights.pth this is; fields and labels are those of config.json.

    >>> import tempfile
    >>> from fieldwise.interop.climatenet import save_cgnet
    >>> from fieldwise.networks.segmentation.cgnet import CGNet
    >>> folder, fields = Path(tempfile.mkdtemp()), {"TMQ": {"mean": 19.2, "std": 15.8}}
    >>> save_cgnet(CGNet(1, 2, blocks=(1, 1)), folder, fields=fields, labels=["calm", "storm"])
    >>> teller = read_climatenet(folder / "weights.pth", torch.device("cpu"))
    >>> teller.signature.inputs[0].scale, teller.signature.facts["classes"]
    (Scale(mean=19.2, spread=15.8), ['calm', 'storm'])
    """
    from fieldwise.interop.climatenet import load_cgnet, read_configuration

    told, network = read_configuration(path.parent), load_cgnet(path.parent)
    scales = {name: Scale(scale["mean"], scale["std"]) for name, scale in told["fields"].items()}
    return _publish(network, scales, list(told["labels"]), path, device)


def read_deepcam(path: Path, device: torch.device) -> ClassPredictor:
    """Read the network of a checkpoint of DeepCAM; its scales are those of the stats.h5 beside it.

    >>> read_deepcam(Path("no/storms.cpt"), torch.device("cpu"))
    Traceback (most recent call last):
    fieldwise.errors.InputError: no/stats.h5: no such file; give the stats.h5 that belongs to the samples
    """
    from fieldwise.interop.deepcam import load_deeplab
    from fieldwise.recipes.extreme_weather.train import read_ranges

    ranges = read_ranges(path.parent / "stats.h5", CHANNELS)
    scales = {name: Scale(low, (high - low) or 1.0) for name, (low, high) in ranges.items()}
    return _publish(load_deeplab(path), scales, list(CLASSES), path, device)


def _publish(
    network: torch.nn.Module,
    scales: Mapping[str, Scale],
    classes: list[str],
    path: Path,
    device: torch.device,
) -> ClassPredictor:
    inputs = tuple(Variable(name, scale=scale) for name, scale in scales.items())
    if getattr(network, "in_channels", len(inputs)) != len(inputs):
        raise InputError(f"{path}: reads {network.in_channels} channels, not {', '.join(scales)}")
    signature = Signature(RECIPE, inputs, (), stacked=True, facts={"classes": classes})
    return ClassPredictor(network, signature, device=device, path=path, fingerprint=hash_file(path))
