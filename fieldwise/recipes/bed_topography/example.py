"""A trained network at work on one tile: its layers, what it reads, and the bed that it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fieldwise.fields.tiles import read_tiles
from fieldwise.networks.layers import Layer, list_layers
from fieldwise.recipes.bed_topography.networks import load_network, make_function, make_reader
from fieldwise.samples.datasets import Dataset


def run_on_a_tile(run: Path, dataset: Dataset) -> tuple[list[Layer], dict[str, np.ndarray], np.ndarray]:
    """Run the best network of a run on the tile of the strongest relief.

    Returns
    -------
    tuple
        The layers of the network; name -> (y, x) input as the network reads it, of vectors the length;
        and the (y, x) bed in metres.
    """
    network = load_network(run / "checkpoints" / "best.ckpt", dataset, accelerator="cpu")
    tiles = read_tiles(dataset.folder / "tiles.zarr")
    beds = tiles["bed"].values
    bounds = tiles["bounds"].values[np.argmax(beds.std(axis=(1, 2, 3)))]
    arrays = make_reader(dataset, network.description)(tuple(bounds))
    inputs = {name: arrays[name] for name in network.description["inputs"]}
    example = {name: torch.from_numpy(np.nan_to_num(values))[None] for name, values in inputs.items()}
    pictures = {
        name: values[0] if len(values) == 1 else np.linalg.norm(values, axis=0)
        for name, values in inputs.items()
    }
    return list_layers(network.generator, example), pictures, make_function(network)(arrays)
