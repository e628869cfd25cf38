"""A trained generator as a plain function from arrays to a bed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.features
import scipy.ndimage
import shapely
import torch

from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds, Grid
from fieldwise.recipes.bed_topography.inversion import INVERSION
from fieldwise.recipes.bed_topography.own_files import LOWRES
from fieldwise.recipes.bed_topography.samples import interpolate
from fieldwise.recipes.bed_topography.surveys import read_grounded_area
from fieldwise.samples.datasets import Dataset
from fieldwise.samples.scales import read_scale
from fieldwise.tasks import choose_device, load_task

Arrays = dict[str, np.ndarray]
BASE = "base"  # what the departure is added to, in metres
WEIGHT = "weight"  # of the departure: 0 where the ice floats
FADE_CELLS = 40  # of the map, over which the departure fades towards the grounding line


@dataclass(frozen=True)
class Network:
    """A generator on its device, and what it says of itself."""

    generator: torch.nn.Module
    description: dict[str, Any]
    device: torch.device
    share: float = 1.0  # of the departures that is worth drawing


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
    check_inputs(checkpoint, description["inputs"], dataset)
    device = choose_device(accelerator)
    return Network(task.generator.eval().to(device), description, device, float(task.departure_share))


def check_inputs(source: str | Path, inputs: dict[str, Any], dataset: Dataset) -> None:
    """Refuse weights from a source whose inputs a prepared folder does not hold as they were.

    >>> import tempfile
    >>> from fieldwise.samples.datasets import write_yaml
    >>> home = Path(tempfile.mkdtemp())
    >>> facts = {"crs": "EPSG:3413", "region": [0, 0, 4000, 4000], "spacing_m": 250, "lowres_spacing_m": 1000}
    >>> dataset = Dataset(write_yaml({**facts, "inputs": {}}, home / "dataset.yaml").parent)
    >>> check_inputs("best.ckpt", {"ice_velocity": {"channels": 2, "spacing_m": 500}}, dataset)
    Traceback (most recent call last):
    fieldwise.errors.InputError: best.ckpt: needs the input ice_velocity, which ... does not hold
    """
    for name, wanted in inputs.items():
        if name not in dataset.inputs:
            raise InputError(f"{source}: needs the input {name}, which {dataset.folder} does not hold")
        entry = dataset.inputs[name]
        found = (len(entry.paths), entry.spacing_m)
        if found != (wanted["channels"], wanted["spacing_m"]):
            raise InputError(
                f"{source}: was trained on {name} with {wanted['channels']} channels at "
                f"{wanted['spacing_m']:g} m; {dataset.folder} holds {found[0]} at {found[1]:g} m"
            )


def check_resumable(checkpoint: Path, description: dict[str, Any]) -> None:
    """Refuse to go on from what is no checkpoint, or from one of other inputs or scales.

    Scales are compared to six digits: another machine may round the last ones differently.

    >>> check_resumable(Path("model/README.md"), {"recipe": "bed_topography"})
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/README.md cannot be read as a checkpoint (...); give a .ckpt ...
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
    """Give a function that reads a window: inputs padded by one low-res cell, base, and its weight.

    >>> import tempfile
    >>> from fieldwise.samples.datasets import write_yaml
    >>> from fieldwise.fields.grids import make_field
    >>> from fieldwise.fields.rasters import write_cog
    >>> home, region = Path(tempfile.mkdtemp()), [0, 0, 4000, 4000]
    >>> bed = make_field(np.full((4, 4), -90.0), Grid(*region, 1000, "EPSG:3413"), name="bed")
    >>> _ = write_cog(bed, home / "bed.tif")
    >>> facts = {"crs": "EPSG:3413", "region": region, "spacing_m": 250, "lowres_spacing_m": 1000}
    >>> inputs = {"bed_lowres": {"spacing_m": 1000, "units": "m", "paths": ["bed.tif"]}}
    >>> dataset = Dataset(write_yaml({**facts, "inputs": inputs}, home / "dataset.yaml").parent)
    >>> read = make_reader(dataset, {"inputs": ["bed_lowres"], "departure": False})
    >>> {name: values.shape for name, values in read((1000, 1000, 3000, 2000)).items()}
    {'bed_lowres': (1, 3, 4), 'base': (4, 8), 'weight': (4, 8)}
    """
    padding, share = dataset.lowres_spacing_m, description.get("inversion_share", 0.0)
    line = dataset.description.get("grounding_line")
    area = read_grounded_area(dataset.folder / line, crs=dataset.crs) if line else None

    def read(bounds: Bounds) -> Arrays:
        window = np.array([bounds])
        arrays = dataset.read(
            window, padding=padding, flat=description["departure"], names=description["inputs"]
        )
        inputs = {name: values[0] for name, values in arrays.items()}
        weight = weigh_departure(area, bounds, dataset.grid, fade_cells=FADE_CELLS)
        base = interpolate(dataset, LOWRES, window)[0]
        if share:
            base = base + share * weight * interpolate(dataset, INVERSION, window)[0]
        return {**inputs, BASE: base, WEIGHT: weight}

    return read


def weigh_departure(
    area: shapely.Geometry | None, bounds: Bounds, grid: Grid, *, fade_cells: int
) -> np.ndarray:
    """Weigh the departure in a window: 1 well inside the grounded area, fading to 0 at the grounding line.

    The surface of floating ice says nothing of the bed, and the break in slope at the grounding line is no
    undulation that the bed has caused. Beyond the grid no grounding line is known.

    >>> area, grid = shapely.box(-9000, 0, 2000, 1000), Grid(0, 0, 4000, 1000, 1000, "EPSG:3031")
    >>> weigh_departure(area, grid.bounds, grid, fade_cells=2).tolist()
    [[1.0, 0.5, 0.0, 0.0]]
    """
    shape = Grid(*bounds, grid.spacing, grid.crs).shape
    if area is None:
        return np.ones(shape, dtype=np.float32)
    west, south, east, north = bounds
    margin = fade_cells * grid.spacing
    wider = Grid(west - margin, south - margin, east + margin, north + margin, grid.spacing, grid.crs)
    transform = rasterio.transform.from_origin(wider.west, wider.north, wider.spacing, wider.spacing)
    grounded = rasterio.features.geometry_mask([area], wider.shape, transform, invert=True)
    grounded |= (wider.x < grid.west) | (wider.x > grid.east)
    grounded |= ((wider.y < grid.south) | (wider.y > grid.north))[:, None]
    if grounded.all():
        return np.ones(shape, dtype=np.float32)
    distance = scipy.ndimage.distance_transform_edt(grounded)  # in cells, to the nearest floating one
    inner = slice(fade_cells, -fade_cells)
    return np.clip(distance[inner, inner] / fade_cells, 0, 1).astype(np.float32)


def make_function(network: Network) -> Callable[[Arrays], np.ndarray]:
    """Give a function from the arrays of a window to its bed in metres, missing where an input is.

    Towards the grounding line it fades into the base.

    >>> def generator(inputs):  # stands in for a trained one, which draws multiples of the scale
    ...     return torch.tensor([[[[1.0, 1.0, -2.0]]]])
    >>> description = {"inputs": {}, "departure": True, "departure_scale_m": 50.0}
    >>> draw = make_function(Network(generator, description, torch.device("cpu")))
    >>> draw({BASE: np.full((1, 3), -100.0), WEIGHT: np.array([[1.0, 0.5, 1.0]])}).tolist()
    [[-50.0, -75.0, -200.0]]
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
        away = network.share * scale_m * values if departure else values - arrays[BASE]
        return np.where(missing, np.nan, arrays[BASE] + arrays[WEIGHT] * away)

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
