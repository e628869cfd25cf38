"""A network that tells classes, applied to the whole globe at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldwise.recipes.extreme_weather.cases import RECIPE
from fieldwise.samples.cases import Case
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
    """Load what a run has trained.

    >>> load_teller("model/no_such_run")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/no_such_run: ...
    """
    return load_predictor(run, recipe=RECIPE, weights=weights, accelerator=accelerator, kind=ClassPredictor)
