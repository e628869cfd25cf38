"""Tiles as the network takes them: detrended, scaled, and described."""

from __future__ import annotations

from typing import Any

import numpy as np

from fieldwise.errors import InputError
from fieldwise.fields.tiles import cut, read_tiles
from fieldwise.recipes.bed_topography.inversion import INVERSION
from fieldwise.recipes.bed_topography.own_files import LOWRES
from fieldwise.recipes.bed_topography.regional import DERIVED
from fieldwise.samples.datasets import Dataset
from fieldwise.samples.scales import LengthScale, Scale, fit_scale, read_scale

# Vectors, whose components turn with a tile, and the length below which they are scaled linearly.
VECTORS = {"ice_velocity": 10.0, "surface_slope": 2e-3}


def choose_inputs(dataset: Dataset, names: list[str] | str | None, *, departure: bool) -> list[str]:
    """Give the names of the inputs to learn from: those asked for, or all; of raw values, the published ones.

    Raises
    ------
    InputError
        Where one that is asked for is not there.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from fieldwise.samples.datasets import write_yaml
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> from fieldwise.fields.rasters import write_cog
    >>> home, region = Path(tempfile.mkdtemp()), [0, 0, 4000, 4000]
    >>> zeros = make_field(np.zeros((4, 4)), Grid(*region, 1000, "EPSG:3413"), name="zeros")
    >>> _ = write_cog(zeros, home / "zeros.tif")
    >>> facts = {"crs": "EPSG:3413", "region": region, "spacing_m": 250, "lowres_spacing_m": 1000}
    >>> entry = {"spacing_m": 1000, "units": "m", "paths": ["zeros.tif"]}
    >>> inputs = {"bed_lowres": entry, "surface_elevation": entry, "ice_thickness": entry}
    >>> dataset = Dataset(write_yaml({**facts, "inputs": inputs}, home / "dataset.yaml").parent)
    >>> choose_inputs(dataset, None, departure=True)
    ['bed_lowres', 'surface_elevation', 'ice_thickness']
    >>> choose_inputs(dataset, None, departure=False)  # the thickness is derived from the others
    ['bed_lowres', 'surface_elevation']
    """
    known = list(dataset.inputs)
    if names is None:
        return [name for name in known if departure or name not in DERIVED]
    names = [names] if isinstance(names, str) else names
    unknown = [name for name in names if name not in known]
    if not names:
        raise InputError(f"--inputs: names none; give some of {', '.join(known)}")
    if unknown:
        raise InputError(
            f"--inputs: {dataset.folder} holds no {', '.join(unknown)}; it holds {', '.join(known)}"
        )
    return names


def read_samples(
    dataset: Dataset, split: str, names: list[str], *, departure: bool, like: dict[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the tiles of a split as the task takes them; fit the scales unless a description gives them.

    Returns
    -------
    tuple
        Arrays: ``inputs``, name to (tile, channel, y, x), scaled; ``base``, ``bed`` and ``bed_lowres`` in
        metres; and the description that travels in the checkpoint.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from fieldwise.samples.datasets import write_yaml
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> from fieldwise.fields.rasters import write_cog
    >>> from fieldwise.fields.tiles import write_tiles
    >>> home, region = Path(tempfile.mkdtemp()), [0, 0, 4000, 4000]
    >>> lowres = make_field(np.full((4, 4), -90.0), Grid(*region, 1000, "EPSG:3413"), name="bed")
    >>> _ = write_cog(lowres, home / "bed.tif")
    >>> facts = {"crs": "EPSG:3413", "region": region, "spacing_m": 250, "lowres_spacing_m": 1000}
    >>> inputs = {"bed_lowres": {"spacing_m": 1000, "units": "m", "paths": ["bed.tif"]}}
    >>> dataset = Dataset(write_yaml({**facts, "inputs": inputs}, home / "dataset.yaml").parent)
    >>> beds = np.tile([-60.0, -120.0], (2, 1, 4, 2))  # 30 m above and below the low-res bed
    >>> tiles = {"bed_lowres": np.full((2, 1, 3, 3), -90.0), "bed": beds}
    >>> _ = write_tiles(tiles, home / "tiles.zarr", splits=["training", "validation"], crs="EPSG:3413",
    ...                 windows=np.array([[1000, 1000, 2000, 2000], [2000, 2000, 3000, 3000]]),
    ...                 spacing_m={"bed_lowres": 1000, "bed": 250}, units={"bed_lowres": "m", "bed": "m"})
    >>> arrays, description = read_samples(dataset, "training", ["bed_lowres"], departure=True)
    >>> arrays["bed"].shape, float(arrays["base"].mean()), description["departure_scale_m"]
    ((1, 1, 4, 4), -90.0, 30.0)
    """
    tiles = read_tiles(dataset.folder / "tiles.zarr", split)
    windows = tiles["bounds"].values
    raw = {name: tiles[name].values for name in names}
    bed, lowres = tiles["bed"].values, tiles[LOWRES].values
    arrays = dataset.flatten(raw, windows, padding=dataset.lowres_spacing_m) if departure else raw
    description = like or _describe(dataset, arrays, departure=departure)
    if departure:
        base = interpolate(dataset, LOWRES, windows)[:, None]
        if INVERSION in names:
            told = interpolate(dataset, INVERSION, windows)[:, None]
            base = base + description.setdefault("inversion_share", fit_share(bed - base, told)) * told
        description.setdefault("departure_scale_m", fit_scale(bed - base).spread)
    else:
        base = np.zeros_like(bed)
    scaled = {
        name: read_scale(entry["scale"]).apply(arrays[name]).astype(np.float32)
        for name, entry in description["inputs"].items()
    }
    return {"inputs": scaled, "base": base, "bed": bed, "bed_lowres": lowres}, description


def fit_share(departure: np.ndarray, told: np.ndarray) -> float:
    """Fit which share of a first guess to believe: least squares, between 0 and 1.

    >>> told = np.array([2.0, -2.0, 4.0])
    >>> fit_share(0.5 * told, told), fit_share(-told, told), fit_share(told, 0 * told)
    (0.5, 0.0, 0.0)
    """
    power = float((told * told).sum())
    return min(1.0, max(0.0, float((departure * told).sum()) / power)) if power else 0.0


def _describe(dataset: Dataset, arrays: dict[str, np.ndarray], *, departure: bool) -> dict[str, Any]:
    """Say what a network takes and gives: names, channels, spacings, units and scales."""
    entries = {}
    for name, values in arrays.items():
        if not departure:
            scale: Scale | LengthScale = Scale(0.0, 1.0)
        elif name in VECTORS:
            scale = LengthScale(VECTORS[name])
        else:
            scale = fit_scale(values)
        entries[name] = {
            "channels": values.shape[1],
            "spacing_m": dataset.inputs[name].spacing_m,
            "units": dataset.inputs[name].units,
            "scale": scale.to_dict(),
        }
    return {
        "recipe": "bed_topography",
        "departure": departure,
        "spacing_m": dataset.spacing_m,
        "lowres_spacing_m": dataset.lowres_spacing_m,
        "inputs": entries,
        "output": {"name": "bed", "units": "m"},
        **({} if departure else {"departure_scale_m": 1.0}),
    }


def interpolate(dataset: Dataset, name: str, windows: np.ndarray) -> np.ndarray:
    """Interpolate an input of one channel to the cells of the map by cubic convolution: (n, y, x).

    The low-res bed, and the share of the surface inversion that is believed, are what departures are added
    to; without any, they are baselines to be judged beside.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from fieldwise.samples.datasets import write_yaml
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> from fieldwise.fields.rasters import write_cog
    >>> home, grid = Path(tempfile.mkdtemp()), Grid(0, 0, 4000, 4000, 1000, "EPSG:3413")
    >>> slope = np.tile(grid.x / 10, (4, 1))  # rises by 100 m a kilometre
    >>> _ = write_cog(make_field(slope, grid, name="bed"), home / "bed.tif")
    >>> facts = {"crs": "EPSG:3413", "region": list(grid.bounds), "spacing_m": 500, "lowres_spacing_m": 1000}
    >>> inputs = {"bed_lowres": {"spacing_m": 1000, "units": "m", "paths": ["bed.tif"]}}
    >>> dataset = Dataset(write_yaml({**facts, "inputs": inputs}, home / "dataset.yaml").parent)
    >>> interpolate(dataset, "bed_lowres", np.array([[1500, 1500, 2500, 2000]])).tolist()
    [[[175.0, 225.0]]]
    """
    return cut(dataset.field(name), windows, spacing=dataset.spacing_m, method="cubic", extend=True)
