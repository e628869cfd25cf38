"""A trained generator that draws the bed: departures added to a base, fading towards the grounding line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.features
import scipy.ndimage
import shapely

from fieldwise.fields.grids import Bounds, Grid
from fieldwise.recipes.bed_topography.region import INVERSION, LOWRES, RECIPE, UPSAMPLING
from fieldwise.recipes.bed_topography.surveys import read_grounded_area
from fieldwise.recipes.bed_topography.tiles import interpolate
from fieldwise.samples.cases import Case
from fieldwise.verbs.predictors import Predictor, load_predictor

BASE = "base"  # what the departure is added to, in metres
WEIGHT = "weight"  # of the departure: 0 where the ice floats
FADE_CELLS = 40  # of the map, over which the departure fades towards the grounding line


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

    padding_cells = UPSAMPLING  # one low-res cell
    long_names = {"bed": "bed elevation"}  # noqa: RUF012

    def alignment_cells(self, case: Case) -> int:
        """Give the cells of the map along one low-res cell."""
        return UPSAMPLING

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
        weight = weigh_departure(_grounded_area(case), window, case.grid, fade_cells=FADE_CELLS)
        base = interpolate(case, LOWRES, windows)[0]
        if share:
            base = base + share * weight * interpolate(case, INVERSION, windows)[0]
        return {**arrays, BASE: base, WEIGHT: weight}

    def apply(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Draw the bed in metres, (1, y, x); towards the grounding line it fades into the base."""
        values, base = super().apply(arrays), arrays[BASE]
        away = self.share * values if self.signature.facts["departure"] else values - base
        return (base + arrays[WEIGHT] * away).astype(np.float32)


def _grounded_area(case: Case) -> shapely.Geometry | None:
    """Give the area within the grounding line, read once; None where none is known."""
    if not case.facts.get("grounding_line"):
        return None
    known = case.__dict__.setdefault("_grounded", {})
    if not known:
        known["area"] = read_grounded_area(case.path_of("grounding_line"), crs=str(case.grid.crs))
    return known["area"]


def load_bed_predictor(
    run: str | Path,
    case: Case,
    *,
    weights: str = "best",
    residual_scaling: float | None = None,
    accelerator: str = "auto",
) -> BedPredictor:
    """Load the generator of a run, or the original's, and check that a region holds what it reads."""
    from fieldwise.recipes.bed_topography.old_weights import load_old_weights

    foreign: Any = {".npz": partial(load_old_weights, residual_scaling=residual_scaling)}
    options: Any = {"weights": weights, "accelerator": accelerator, "kind": BedPredictor, "foreign": foreign}
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
