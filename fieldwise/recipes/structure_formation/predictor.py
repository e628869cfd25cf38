"""A trained network of boxes as a function from fields to fields, and to the velocity that it implies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldwise.errors import InputError
from fieldwise.interop.map2map_state import load_map2map
from fieldwise.networks.equivariant import AxisSymmetrised
from fieldwise.networks.valid.tangents import differentiate_by_style
from fieldwise.physics.structure_formation.cosmology import expansion_rate, grow
from fieldwise.recipes.structure_formation.norms import check_norm_options, choose_norms
from fieldwise.recipes.structure_formation.prepare import RECIPE, UNITS
from fieldwise.runs import hash_file
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Prepared, name_channels
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.domains.contents import Output
from fieldwise.verbs.predictors import Arrays, Predictor, load_predictor

RATE = "_rate"  # of growth: km/s where a displacement of 1 Mpc/h goes with a growth factor of 1
GROWTH = "growth_factor"


class BoxPredictor(Predictor):
    """Maps boxes, averaged over all symmetries where that is asked for, and gives velocities too.

    The velocity is the derivative of the displacement in time, through the growth factor that the network
    reads as a style, and that its linear displacement is proportional to: v = a dx/dt = a H f D dx/dD.
    """

    velocity = False

    def infer(self, inputs: Any, **options: Any) -> torch.Tensor:
        """Pass scaled inputs through the network; its change in the growth factor comes behind."""
        if not self.velocity:
            return super().infer(inputs, **options)
        style, place = options["style"], self.signature.facts["style"].index(GROWTH)
        slope = torch.zeros_like(style)
        slope[:, place] = 1.0
        growth = style[:, place].item()  # which the linear displacement is proportional to
        with self.autocast():
            both = differentiate_by_style(self.network, inputs, style, slope, inputs / growth)
            return torch.cat(both, dim=1)

    def symmetrise(self) -> None:
        """Average over the 8 or 48 ways to turn a box from now on."""
        if self.stochastic:
            raise InputError("--symmetrise: the mean over symmetries would be no member; leave it out")
        vectors = self.signature.vectors()
        self.network = AxisSymmetrised(
            self.network,
            dimensions=self.signature.dimensions,
            inputs=vectors["inputs"],
            outputs=vectors["targets"],
        )
        self.fingerprint += " symmetrised"

    def add_velocity(self) -> None:
        """Give velocities behind displacements from now on; a network that cannot is refused."""
        style = self.signature.facts.get("style") or []
        kinds = [
            [each.name.partition("_")[0] for each in side]
            for side in (self.signature.inputs, self.signature.outputs)
        ]
        if GROWTH not in style or kinds != [["displacement"], ["displacement"]] or self.stochastic:
            raise InputError(
                "--velocity: is the derivative of displacements in the growth factor; train with --style "
                f"{GROWTH} from displacement_linear to displacement"
            )
        self.velocity = True
        self.fingerprint += " velocity"

    @property
    def outputs(self) -> list[Output]:
        """The channels in their order, velocities behind displacements, flags at the end."""
        given = super().outputs
        if not self.velocity:
            return given
        names = self.signature.fields("outputs")
        moved = [
            replace(each, name=each.name.replace("displacement", "velocity"), units=UNITS["velocity"])
            for each in given[: len(names)]
        ]
        return [*given[: len(names)], *moved, *given[len(names) :]]

    @property
    def tolerance(self) -> list[float]:
        """Largest difference of tiled and untiled, of each output."""
        known = super().tolerance
        if not self.velocity:
            return known
        channels = len(self.signature.fields("outputs"))
        return [
            *known[:channels],
            *(100 * each for each in known[:channels]),
            *known[2 * channels :],
        ]

    def read(self, case: Case, window: Any, frame: int) -> Arrays:
        """Read what the network needs of a window, and how fast structure grows in the box."""
        arrays = super().read(case, window, frame)
        if self.velocity:
            case.check_numbers(("omega_m", "scale_factor", GROWTH))
            arrays[RATE] = np.array(rate_of(case.numbers), dtype=np.float32)
        return arrays

    def apply(self, arrays: Arrays) -> np.ndarray:
        """Give displacements, and velocities behind them where these are asked for."""
        values = super().apply(arrays)
        if self.velocity:
            values[len(values) // 2 :] *= arrays[RATE]
        return values

    def _unscale(self, channels: np.ndarray) -> np.ndarray:
        """Give channels their units back; those of a change, behind the others, without what is added."""
        given = len(self.signature.fields("outputs"))
        values = super()._unscale(channels[:given])
        if len(channels) == given:
            return values
        change = super()._unscale(channels[given:]) - super()._unscale(np.zeros_like(channels[given:]))
        return np.concatenate([values, change])


def rate_of(numbers: dict[str, float]) -> float:
    """Give a H f D, what turns a derivative in the growth factor, Mpc/h, into a velocity, km/s.

    >>> rate_of({"omega_m": 1.0, "scale_factor": 1.0, "growth_factor": 1.0})  # H = 100, f = D = 1
    100.0
    """
    time, omega_m = numbers["scale_factor"], numbers["omega_m"]
    rate = float(grow(time, omega_m).first_rate)
    return round(time * 100.0 * float(expansion_rate(time, omega_m)) * rate * numbers[GROWTH], 6)


def load_box_predictor(
    run: Path,
    prepared: Prepared,
    *,
    weights: str = "best",
    accelerator: str = "auto",
    in_norms: Sequence[str] | None = None,
    tgt_norms: Sequence[str] | None = None,
    norm_options: dict[str, float] | None = None,
) -> BoxPredictor:
    """Load what a run has trained; or a state file of map2map, which knows its channels but not its norms.

    Parameters
    ----------
    run
        Run folder.
    prepared
        What is to be mapped: a state file reads and gives its inputs and targets.
    weights
        best, last, or the path of a state_{i}.pt.
    in_norms, tgt_norms, norm_options
        Of a state file, as `train` takes them; identity by default.
    """

    def load_state(path: Path, device: torch.device) -> BoxPredictor:
        case = prepared.cases()[0]
        options, network = norm_options or {}, load_map2map(path)
        read = [prepared.variables[name] for name in prepared.description.get("inputs", ())]
        given = [prepared.variables[name] for name in prepared.description.get("targets", ())]
        inputs = _give_norms(read, in_norms, options, flag="--in_norms")
        targets = given or [_suppose_target(network, read[0], case)]
        outputs = _give_norms(targets, tgt_norms, options, flag="--tgt_norms")
        check_norm_options(options, in_norms, tgt_norms)
        signature = Signature(RECIPE, inputs, outputs, stacked=True, dimensions=len(case.shape))
        _check_network(network, signature, path)
        return BoxPredictor(network, signature, device=device, path=path, fingerprint=hash_file(path))

    predictor: BoxPredictor = load_predictor(
        run,
        recipe=RECIPE,
        weights=weights,
        accelerator=accelerator,
        kind=BoxPredictor,
        foreign={".pt": load_state},
    )
    predictor.signature.check_prepared(prepared.cases()[0], predictor.path)
    return predictor


def _suppose_target(network: Any, read: Variable, case: Case) -> Variable:
    """Describe what a network gives where the data name no target: what it reads, in as many channels."""
    name, channels = read.name.partition("_")[0], getattr(network, "out_channels", 0)
    fields = name_channels(name, channels, dimensions=len(case.shape))
    return Variable(name, fields, read.units, case.spacing, vector=channels == len(case.shape))


def _give_norms(
    variables: Sequence[Variable], norms: Sequence[str] | None, options: dict[str, float], *, flag: str
) -> tuple[Variable, ...]:
    """Give variables their norms."""
    names = [each.name for each in variables]
    scales = choose_norms(names, norms or ["identity"] * len(names), options, flag=flag)
    return tuple(replace(each, scale=scales.get(each.name, each.scale)) for each in variables)


def _check_network(network: Any, signature: Signature, path: Path) -> None:
    """Refuse weights that map other channels, dimensions or cells than the data have."""
    sides = (signature.inputs, signature.outputs)
    channels = [sum(each.channels for each in side) for side in sides]
    coarse, fine = (side[0].spacing or 1.0 for side in sides)
    names = ("in_channels", "out_channels", "dimensions", "scale_factor")
    found = [getattr(network, name, 1 if name == "scale_factor" else 0) for name in names]
    wanted = [*channels, signature.dimensions, round(coarse / fine)]
    if found != wanted:
        ours, theirs = (
            f"{read} to {given} channels in {axes}-D, with a scale factor of {factor}"
            for read, given, axes, factor in (found, wanted)
        )
        raise InputError(
            f"{path}: maps {ours}; the data have {theirs}; choose other weights, or other fields"
        )


def load_signature(run: Path) -> Signature:
    """Read what the network of a run reads and gives."""
    predictor: Predictor = load_predictor(run, recipe=RECIPE, accelerator="cpu")
    return predictor.signature
