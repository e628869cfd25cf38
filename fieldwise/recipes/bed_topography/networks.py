"""A trained generator as a plain function from arrays to a bed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.features
import shapely
import torch

from fieldwise.datasets import Dataset
from fieldwise.errors import InputError
from fieldwise.grids import Bounds
from fieldwise.recipes.bed_topography.samples import interpolate_base
from fieldwise.recipes.bed_topography.surveys import read_grounded_area
from fieldwise.scales import read_scale
from fieldwise.tasks import load_task

Arrays = dict[str, np.ndarray]
BASE = "base"  # what the departure is added to, in metres
GROUNDED = "grounded"  # where the ice rests on its bed


@dataclass(frozen=True)
class Network:
    """A generator on its device, and what it says of itself."""

    generator: torch.nn.Module
    description: dict[str, Any]
    device: torch.device


def load_network(checkpoint: str | Path, dataset: Dataset, *, accelerator: str = "auto") -> Network:
    """Load a generator and check that the prepared folder holds what it was trained on.

    Raises
    ------
    InputError
        Where the checkpoint is none, or its inputs are missing or differ in spacing or channels.
    """
    checkpoint = Path(checkpoint)
    if not checkpoint.exists():
        raise InputError(f"{checkpoint}: no such checkpoint; train one with `fieldwise bed_topography train`")
    task = load_task(checkpoint)
    description = dict(task.hparams["description"] or {})
    if description.get("recipe") != "bed_topography":
        raise InputError(f"{checkpoint}: is no checkpoint of bed_topography")
    for name, wanted in description["inputs"].items():
        if name not in dataset.inputs:
            raise InputError(f"{checkpoint}: needs the input {name}, which {dataset.folder} does not hold")
        entry = dataset.inputs[name]
        found = (len(entry.paths), entry.spacing_m)
        if found != (wanted["channels"], wanted["spacing_m"]):
            raise InputError(
                f"{checkpoint}: was trained on {name} with {wanted['channels']} channels at "
                f"{wanted['spacing_m']:g} m; {dataset.folder} holds {found[0]} at {found[1]:g} m"
            )
    device = choose_device(accelerator)
    return Network(task.generator.eval().to(device), description, device)


def choose_device(accelerator: str) -> torch.device:
    """Name the device of an accelerator: cpu, gpu, or auto, the best that there is.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if accelerator not in ("cpu", "gpu", "auto"):
        raise InputError(f"--accelerator: is {accelerator!r}; give cpu, gpu or auto")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise InputError("--accelerator: no GPU was found; give cpu or auto")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def check_resumable(checkpoint: Path, description: dict[str, Any]) -> None:
    """Refuse to go on from what is no checkpoint, or from one of other inputs or scales.

    Scales are compared to six digits: another machine may round the last ones differently.
    """
    before = load_task(checkpoint).hparams["description"]
    if _rounded(before) != _rounded(description):
        raise InputError(
            f"{checkpoint}: was trained on other inputs or tiles than the data now hold; "
            "choose another --run, or --resume false"
        )


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def make_reader(dataset: Dataset, description: dict[str, Any]) -> Callable[[Bounds], Arrays]:
    """Give a function that reads a window: inputs padded by one low-res cell, base, grounded area."""
    padding = dataset.lowres_spacing_m
    line = dataset.description.get("grounding_line")
    area = read_grounded_area(dataset.folder / line, crs=dataset.crs) if line else None

    def read(bounds: Bounds) -> Arrays:
        window = np.array([bounds])
        arrays = dataset.read(window, padding=padding, flat=description["departure"])
        inputs = {name: arrays[name][0] for name in description["inputs"]}
        base = interpolate_base(dataset, window)[0]
        return {**inputs, BASE: base, GROUNDED: _mark_grounded(area, bounds, base.shape)}

    return read


def _mark_grounded(area: shapely.Geometry | None, bounds: Bounds, shape: tuple[int, ...]) -> np.ndarray:
    """Mark the cells of a window whose centre lies on grounded ice; all, where no grounding line is known."""
    if area is None:
        return np.ones(shape, dtype=bool)
    if not area.intersects(shapely.box(*bounds)):
        return np.zeros(shape, dtype=bool)
    transform = rasterio.transform.from_bounds(*bounds, shape[1], shape[0])
    return rasterio.features.geometry_mask([area], shape, transform, invert=True)


def make_function(network: Network) -> Callable[[Arrays], np.ndarray]:
    """Give a function from the arrays of a window to its bed in metres, missing where an input is.

    Beyond the grounding line it is the base: the surface of floating ice says nothing of the bed.
    """
    entries = network.description["inputs"]
    departure = network.description["departure"]
    scale_m = network.description["departure_scale_m"]

    def draw(arrays: Arrays) -> np.ndarray:
        tensors, missing = {}, np.zeros(arrays[BASE].shape, dtype=bool)
        for name, entry in entries.items():
            values = arrays[name]
            missing |= _missing_cells(values, missing.shape)
            scaled = np.nan_to_num(read_scale(entry["scale"]).apply(values)).astype(np.float32)
            tensors[name] = torch.from_numpy(scaled)[None].to(network.device)
        with torch.inference_mode():
            values = network.generator(tensors)[0, 0].float().cpu().numpy()
        bed = values * scale_m + arrays[BASE] if departure else values
        return np.where(missing, np.nan, np.where(arrays[GROUNDED], bed, arrays[BASE]))

    return draw


def _missing_cells(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Mark the cells of the map under which an input, padded by one low-res cell, has a gap."""
    gaps = np.isnan(values).any(axis=0)
    if not gaps.any():
        return np.zeros(shape, dtype=bool)
    # The input spans the map and one low-res cell (four cells of the map) on every side.
    rows = (np.arange(shape[0]) + 4.5) * gaps.shape[0] / (shape[0] + 8)
    columns = (np.arange(shape[1]) + 4.5) * gaps.shape[1] / (shape[1] + 8)
    return gaps[rows.astype(int)][:, columns.astype(int)]
