"""A trained generator, or the original's, that draws the bed: departures that fade at the grounding line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds, Grid
from fieldwise.fields.resampling import fade_in
from fieldwise.interop.chainer_npz import load_chainer_npz, read_shapes
from fieldwise.networks.esrgan import DEEPBEDMAP_INPUTS, Generator
from fieldwise.recipes.bed_topography.regions.region import (
    AFLOAT,
    INVERSION,
    LOWRES,
    RECIPE,
    UPSAMPLING,
    VECTORS,
    grounded_area,
)
from fieldwise.runs import hash_file
from fieldwise.samples.cases import Case
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.domains.clocks import measure
from fieldwise.verbs.domains.contents import Output
from fieldwise.verbs.predictors import Predictor, load_predictor, to_float32

BASE = "base"  # what the departure is added to, in metres
WEIGHT = "weight"  # of the departure: 0 where the ice floats
# Cells of the map over which the departure fades towards the grounding line: the surface of floating ice says
# nothing of the bed, and the break in slope at the grounding line is no undulation that the bed has caused.
FADE_CELLS = 40
# Networks that come with the package and have learnt from made sectors alone: one from low-res beds that know
# every flight; and one from such as are gridded from what is shown, too, and may be far off.
PRETRAINED = {
    "pretrained": Path(__file__).with_name("drawer.safetensors"),
    "pretrained_wide": Path(__file__).with_name("drawer_wide.safetensors"),
}
PUBLISHED_RESIDUAL_SCALING = 0.2  # of the run that the paper's map was drawn with
LOWRES_SPACING_M = 1000.0
UNITS = {"ice_velocity": "m a-1", "snow_accumulation": "kg m-2 a-1"}  # the others are in metres


class BedPredictor(Predictor):
    """A generator of departures, with the share of them that is worth drawing.

    >>> import torch
    >>> from fieldwise.samples.scales import Scale
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> class Generator(torch.nn.Module):  # stands in for a trained one, which draws multiples of the scale
    ...     def forward(self, inputs):
    ...         return torch.tensor([[[[1.0, 1.0, -2.0]]]])
    >>> bed = Variable("bed", units="m", scale=Scale(0.0, 50.0))
    >>> signature = Signature("bed_topography", (), (bed,), facts={"departure": True})
    >>> predictor = BedPredictor(Generator(), signature, device="cpu", path="best.ckpt")
    >>> arrays = {BASE: np.full((1, 3), -100.0), WEIGHT: np.array([[1.0, 0.5, 1.0]])}
    >>> predictor(arrays).tolist()
    [[[-50.0, -75.0, -200.0]]]
    """

    long_names = {"bed": "bed elevation"}  # noqa: RUF012
    stays_on_device = True

    @property
    def padding_cells(self) -> int:
        """Cells read around a window: what a drawing network loses, else one low-res cell."""
        return super().padding_cells if self.stochastic else UPSAMPLING

    @property
    def outputs(self) -> list[Output]:
        """The bed, which a drawing network gives as a departure."""
        return [Output("bed", "m", self.long_names["bed"]), *super().outputs[1:]]

    def alignment_cells(self, case: Case) -> int:
        """Give the cells of the map along one low-res cell, or along one of the network's coarsest."""
        return UPSAMPLING * getattr(self.network, "step", 1)

    @property
    def share(self) -> float:
        """The share of the departures that validation tiles bear out."""
        return float(self.state["departure_share"]) if "departure_share" in self.state else 1.0

    def read(self, case: Case, window: Bounds, frame: int) -> dict[str, np.ndarray]:
        """Read a window: inputs padded by one low-res cell, base, and the weight of departures.

        >>> import torch
        >>> from fieldwise.samples.examples import make_prepared
        >>> from fieldwise.samples.signatures import Signature
        >>> case = make_prepared({"bed_lowres": np.full((4, 4), -90.0)}, shape=(16, 16)).cases()[0]
        >>> signature = Signature("bed_topography", (case.variables["bed_lowres"],), ())
        >>> predictor = BedPredictor(torch.nn.Identity(), signature, device="cpu", path="best.ckpt")
        >>> arrays = predictor.read(case, (1000, 1000, 3000, 2000), 0)
        >>> {name: values.shape for name, values in arrays.items()}
        {'bed_lowres': (1, 3, 4), 'base': (4, 8), 'weight': (4, 8)}
        """
        arrays = super().read(case, window, frame)
        share, windows = self.signature.facts.get("inversion_share", 0.0), np.array([window])
        grid = Grid(*window, case.spacing, case.grid.crs)
        grounded = None if self.signature.facts.get(AFLOAT) else grounded_area(case)
        weight = fade_in(grounded, grid, FADE_CELLS, domain=case.bounds).astype(np.float32)
        base = case.cut(LOWRES, windows, method="cubic")[0]
        if share:
            base = base + share * weight * case.cut(INVERSION, windows, method="cubic")[0]
        return {**arrays, BASE: base, WEIGHT: weight}

    def apply(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Draw the bed in metres, (1, y, x); towards the grounding line it fades into the base."""
        values, base = super().apply(arrays), arrays[BASE]
        with measure("blending", self.wait):
            away = self.share * values if self.signature.facts["departure"] else values - base
            return to_float32(base + arrays[WEIGHT] * away)


def load_bed_predictor(
    run: str | Path,
    case: Case,
    *,
    weights: str = "best",
    residual_scaling: float | None = None,
    accelerator: str = "auto",
) -> BedPredictor:
    """Load the network of a run, the pretrained one or the original's; a region must hold what it reads."""
    foreign: Any = {".npz": partial(load_old_weights, residual_scaling=residual_scaling)}
    options: Any = {"weights": weights, "accelerator": accelerator, "kind": BedPredictor, "foreign": foreign}
    if weights in PRETRAINED:
        options["weights"] = str(PRETRAINED[weights])
    predictor = load_predictor(run, recipe=RECIPE, **options)
    predictor.signature.check_prepared(case, predictor.path)
    return predictor


def describe_shares(predictor: BedPredictor) -> str:
    """Say what was fitted and decides a map: how far surface inversion and network are believed.

    >>> import torch
    >>> from fieldwise.samples.signatures import Signature
    >>> signature = Signature("bed_topography", (), (), facts={"inversion_share": 0.9})
    >>> state = {"departure_share": torch.tensor(0.25)}
    >>> print(describe_shares(BedPredictor(torch.nn.Identity(), signature, path="best.ckpt", state=state)))
    believed, as the tiles bear out: 90% of the surface inversion, 25% of the departures that the network
    draws
    """
    told = [f"{predictor.share:.0%} of the departures that the network draws"]
    if "inversion_share" in predictor.signature.facts:
        told.insert(0, f"{predictor.signature.facts['inversion_share']:.0%} of the surface inversion")
    return f"believed, as the tiles bear out: {', '.join(told)}"


def load_old_weights(
    path: str | Path, device: torch.device, *, residual_scaling: float | None = None
) -> BedPredictor:
    """Load a generator of the original, which draws the bed itself from raw values of the published inputs.

    The number of residual blocks is read off the file. Offsets of the deformable convolutions have no bound,
    as they have none in Chainer.

    Parameters
    ----------
    path
        A ``.npz`` that ``chainer.serializers.save_npz`` has written.
    device
        Where the network is to lie.
    residual_scaling
        Which the file does not hold; by default 0.2, as in the paper's run.

    Raises
    ------
    InputError
        Where the file does not hold a generator's weights.
    """
    scaling = PUBLISHED_RESIDUAL_SCALING if residual_scaling is None else residual_scaling
    if not (math.isfinite(scaling) and scaling > 0):
        raise InputError(f"--residual_scaling: is {scaling:g}; give a number above 0, such as 0.2")
    generator = Generator(
        DEEPBEDMAP_INPUTS,
        lowres_spacing_m=LOWRES_SPACING_M,
        num_residual_blocks=count_residual_blocks(read_shapes(path)),
        residual_scaling=scaling,
        largest_offset=math.inf,
    )
    load_chainer_npz(path, generator)
    fingerprint = f"{hash_file(path)} residual_scaling {scaling:g}"
    return BedPredictor(generator, published_signature(), device=device, path=path, fingerprint=fingerprint)


def published_signature() -> Signature:
    """Say what the original reads and gives: raw values of four inputs, and the bed itself.

    >>> published_signature().fields("inputs")[:3]
    ['bed_lowres', 'surface_elevation', 'ice_velocity_1']
    """
    inputs = []
    for each in DEEPBEDMAP_INPUTS:
        numbered = tuple(f"{each.name}_{number + 1}" for number in range(each.channels))
        fields = numbered if each.channels > 1 else (each.name,)
        units, vector = UNITS.get(each.name, "m"), each.name in VECTORS
        inputs.append(Variable(each.name, fields, units, each.spacing_m, vector=vector))
    bed = Variable("bed", units="m", spacing=LOWRES_SPACING_M / UPSAMPLING)
    facts = {"departure": False, "lowres_spacing_m": LOWRES_SPACING_M}
    return Signature(RECIPE, tuple(inputs), (bed,), facts=facts)


def count_residual_blocks(keys: Iterable[str]) -> int:
    """Count the residual blocks that keys of a ``.npz`` tell of.

    >>> name = "residual_dense_block1/conv_layer1/W"
    >>> count_residual_blocks([f"residual_network/0/{name}", f"residual_network/1/{name}", "final/W"])
    2
    """
    found = (re.match(r"residual_network/(\d+)/", key) for key in keys)
    return len({match[1] for match in found if match})
