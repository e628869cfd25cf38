"""Weights of the original DeepBedMap, a Chainer ``.npz``, as a generator that the verb predict can use."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from fieldwise.errors import InputError
from fieldwise.interop.chainer_npz import load_chainer_npz, read_shapes
from fieldwise.networks.esrgan import DEEPBEDMAP_INPUTS, Generator
from fieldwise.recipes.bed_topography.networks import Network, check_inputs
from fieldwise.samples.datasets import Dataset
from fieldwise.samples.scales import Scale
from fieldwise.tasks import choose_device

PUBLISHED_RESIDUAL_SCALING = 0.2  # of the run that the paper's map was drawn with
LOWRES_SPACING_M, SPACING_M = 1000.0, 250.0
UNITS = {"ice_velocity": "m a-1", "snow_accumulation": "kg m-2 a-1"}  # the others are in metres


def load_old_weights(
    path: str | Path,
    dataset: Dataset,
    *,
    residual_scaling: float | None = None,
    accelerator: str = "auto",
) -> Network:
    """Load a generator of the original, which draws the bed itself from raw values of the published inputs.

    The number of residual blocks is read off the file. Offsets of the deformable convolutions have no bound,
    as they have none in Chainer.

    Parameters
    ----------
    path
        A ``.npz`` that ``chainer.serializers.save_npz`` has written.
    dataset
        Prepared folder that is to hold the published inputs.
    residual_scaling
        Which the file does not hold; by default 0.2, as in the paper's run.
    accelerator
        cpu, gpu or auto.

    Raises
    ------
    InputError
        Where the file does not hold a generator's weights, or an input is missing or has another spacing.
    """
    scaling = PUBLISHED_RESIDUAL_SCALING if residual_scaling is None else residual_scaling
    if not (math.isfinite(scaling) and scaling > 0):
        raise InputError(f"--residual_scaling: is {scaling:g}; give a number above 0, such as 0.2")
    inputs = {
        channels.name: {
            "channels": channels.channels,
            "spacing_m": channels.spacing_m,
            "units": UNITS.get(channels.name, "m"),
            "scale": Scale(0.0, 1.0).to_dict(),
        }
        for channels in DEEPBEDMAP_INPUTS
    }
    generator = Generator(
        DEEPBEDMAP_INPUTS,
        lowres_spacing_m=LOWRES_SPACING_M,
        num_residual_blocks=count_residual_blocks(read_shapes(path)),
        residual_scaling=scaling,
        largest_offset=math.inf,
    )
    load_chainer_npz(path, generator)
    check_inputs(path, inputs, dataset)
    if (dataset.lowres_spacing_m, dataset.spacing_m) != (LOWRES_SPACING_M, SPACING_M):
        raise InputError(
            f"{path}: draws {SPACING_M:g} m from {LOWRES_SPACING_M:g} m; {dataset.folder} holds a map of "
            f"{dataset.spacing_m:g} m and a low-res bed of {dataset.lowres_spacing_m:g} m"
        )
    description = {
        "recipe": "bed_topography",
        "departure": False,
        "departure_scale_m": 1.0,
        "spacing_m": SPACING_M,
        "lowres_spacing_m": LOWRES_SPACING_M,
        "inputs": inputs,
        "output": {"name": "bed", "units": "m"},
    }
    device = choose_device(accelerator)
    return Network(generator.eval().to(device), description, device)


def count_residual_blocks(keys: Iterable[str]) -> int:
    """Count the residual blocks that keys of a ``.npz`` tell of.

    >>> name = "residual_dense_block1/conv_layer1/W"
    >>> count_residual_blocks([f"residual_network/0/{name}", f"residual_network/1/{name}", "final/W"])
    2
    """
    found = (re.match(r"residual_network/(\d+)/", key) for key in keys)
    return len({match[1] for match in found if match})
