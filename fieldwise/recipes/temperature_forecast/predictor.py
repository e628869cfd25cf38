"""A network that forecasts, applied to the whole domain at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldwise.recipes.temperature_forecast.cases import RECIPE
from fieldwise.samples.cases import Case
from fieldwise.samples.sequences import stack_frames
from fieldwise.samples.signatures import Variable
from fieldwise.verbs.domains.contents import FCST_HOUR, Output
from fieldwise.verbs.ensembles import DRAW, WORLD, find_place, make_noise
from fieldwise.verbs.predictors import Arrays, Predictor, load_predictor

INPUTS, KNOWN, BEGIN = "inputs", "forcing", "_begin"
STANDARD_NAMES = {"t2m": "air_temperature", "t850": "air_temperature", "tcc": "cloud_area_fraction"}


class ForecastPredictor(Predictor):
    """Gives the maps of the hours after a frame, each hour a channel, of the fields that are written.

    Attributes
    ----------
    written : list of str
        Forecast fields that it gives; at first the target alone.

    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature
    >>> class Persistence(torch.nn.Module):
    ...     def forward(self, inputs, horizon):
    ...         return inputs[:, -1:].expand(-1, horizon, -1, -1, -1)
    >>> facts = {"target": "t2m", "context": 2, "horizon": 2, "forcing": [], "step_h": 1}
    >>> signature = Signature(RECIPE, (Variable("t2m"),), (Variable("t2m"),), facts=facts)
    >>> predictor = ForecastPredictor(Persistence(), signature)
    >>> [output.label for output in predictor.outputs]
    ['t2m_1', 't2m_2']
    >>> (case,) = make_prepared({"t2m": np.arange(4.0).reshape(4, 1, 1)}).cases()
    >>> predictor(predictor.read(case, (slice(0, 1), slice(0, 1)), 2)).ravel().tolist()
    [2.0, 2.0]
    """

    standard_names = STANDARD_NAMES

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        facts = self.signature.facts
        self.context, self.horizon, self.step_h = (facts[name] for name in ("context", "horizon", "step_h"))
        self.known = [each for each in self.signature.inputs if each.name in facts["forcing"]]
        self.written: Sequence[str] = [facts["target"]]

    @property
    def outputs(self) -> list[Output]:
        """The written fields, each hour by hour."""
        return [
            Output(
                each.name,
                each.units,
                standard_name=self.standard_names.get(each.name),
                along=((FCST_HOUR, (hour + 1) * self.step_h),),
            )
            for each in self._chosen
            for hour in range(self.horizon)
        ]

    @property
    def _chosen(self) -> list[Variable]:
        return [each for each in self.signature.outputs if each.name in self.written]

    def reach_cells(self, case: Case) -> int | None:
        """See nothing beyond what is read: that is the whole domain."""
        return 0

    def alignment_cells(self, case: Case) -> int:
        """Take the domain as it is."""
        return 1

    def read(self, case: Case, window: Any, frame: int) -> Arrays:
        """Read the context that ends with a frame, and the forcing to the end of the horizon, scaled."""
        first = frame + 1 - self.context
        arrays = {INPUTS: stack_frames(case, self.signature.outputs, slice(first, frame + 1))}
        if self.known:
            arrays[KNOWN] = stack_frames(case, self.known, slice(first, frame + 1 + self.horizon))
        if self.stochastic:
            arrays[WORLD] = find_place(case, window, 0, 1)
            arrays[BEGIN] = np.array(case.frame_times[frame])
        return arrays

    @torch.inference_mode()
    def __call__(self, arrays: Arrays) -> np.ndarray:
        """Forecast all hours of the written fields, (channel, *cells); missing where an input is."""
        options: dict[str, Any] = {"horizon": self.horizon}
        if KNOWN in arrays:
            options["forcing"] = self._to_tensor(arrays[KNOWN])
        if WORLD in arrays:
            options["noise"] = make_noise(arrays | {DRAW: self._draw_of(arrays)}, self.network)
        scaled = self.infer(self._to_tensor(arrays[INPUTS]), **options)[0].float().cpu().numpy()
        values = self.signature.split(scaled)  # name to (horizon, 1, *cells)
        maps = np.concatenate([each.scale.undo(values[each.name][:, 0]) for each in self._chosen])
        missing = [np.isnan(part).any((0, 1)) for name, part in arrays.items() if name in (INPUTS, KNOWN)]
        maps[:, np.logical_or.reduce(missing)] = np.nan
        return maps.astype(np.float32, copy=False)

    @staticmethod
    def _draw_of(arrays: Arrays) -> np.ndarray:
        """Give seed and member: the seed differs from forecast to forecast, as a function of when it begins.

        >>> draws = [ForecastPredictor._draw_of({BEGIN: np.array(h)}).tolist() for h in (7.0, 7.0, 8.0)]
        >>> draws[0] == draws[1], draws[0] == draws[2]
        (True, False)
        """
        seed, member = arrays.get(DRAW, np.zeros(2, dtype=int)).tolist()
        hour = int(np.float64(arrays[BEGIN]).view(np.uint64))  # any number of hours, below 0 too
        mixed = np.random.SeedSequence([seed, hour]).generate_state(1)[0]
        return np.array([int(mixed), member])


def load_forecaster(
    run: str | Path, *, weights: str = "best", accelerator: str = "auto"
) -> ForecastPredictor:
    """Load what a run has trained.

    >>> load_forecaster("model/no_such_run")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/no_such_run: holds neither checkpoints/best.ckpt nor ...
    """
    return load_predictor(
        run, recipe=RECIPE, weights=weights, accelerator=accelerator, kind=ForecastPredictor
    )
