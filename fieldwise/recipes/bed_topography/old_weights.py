"""Weights of the original DeepBedMap, a Chainer ``.npz``, as a predictor."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

import torch

from fieldwise.errors import InputError
from fieldwise.interop.chainer_npz import load_chainer_npz, read_shapes
from fieldwise.networks.esrgan import DEEPBEDMAP_INPUTS, Generator
from fieldwise.recipes.bed_topography.predictor import BedPredictor
from fieldwise.recipes.bed_topography.region import RECIPE, UPSAMPLING, VECTORS
from fieldwise.runs import hash_file
from fieldwise.samples.signatures import Signature, Variable

PUBLISHED_RESIDUAL_SCALING = 0.2  # of the run that the paper's map was drawn with
LOWRES_SPACING_M = 1000.0
UNITS = {"ice_velocity": "m a-1", "snow_accumulation": "kg m-2 a-1"}  # the others are in metres


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
