"""A trained network at work on one tile: its layers, what it reads, and the bed that it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fieldwise.fields.tiles import read_tiles
from fieldwise.networks.layers import Layer, list_layers
from fieldwise.recipes.bed_topography.predictor import load_bed_predictor
from fieldwise.samples.cases import Case


def run_on_a_tile(run: Path, case: Case) -> tuple[list[Layer], dict[str, np.ndarray], np.ndarray]:
    """Run the best network of a run on the tile of the strongest relief.

    Returns
    -------
    tuple
        The layers of the network; name -> (y, x) input as the network reads it, of vectors the length;
        and the (y, x) bed in metres.
    """
    predictor = load_bed_predictor(run, case, accelerator="cpu")
    tiles = read_tiles(case.folder / "tiles.zarr")
    bounds = tiles["bounds"].values[np.argmax(tiles["bed"].values.std(axis=(1, 2, 3)))]
    arrays = predictor.read(case, tuple(bounds), 0)
    inputs = {each.name: arrays[each.name] for each in predictor.signature.inputs}
    example = {name: torch.from_numpy(np.nan_to_num(values))[None] for name, values in inputs.items()}
    pictures = {
        name: values[0] if len(values) == 1 else np.linalg.norm(values, axis=0)
        for name, values in inputs.items()
    }
    return list_layers(predictor.network, example), pictures, predictor(arrays)[0]
