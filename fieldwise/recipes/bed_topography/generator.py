"""DeepBedMap's training: tiles, a generator of departures from a smooth base, and its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torchmetrics import MaxMetric, MeanSquaredError, MinMetric

from fieldwise.errors import InputError
from fieldwise.fields.tiles import read_tiles
from fieldwise.losses.cells import content_loss, psnr
from fieldwise.losses.structure import structural_similarity, topographic_loss
from fieldwise.recipes.bed_topography.regions.region import (
    DERIVED,
    INVERSION,
    LOWRES,
    OF_DRAWING,
    RECIPE,
    VECTORS,
    block_residual,
    find_folds,
    lowres_spacing,
    read_flow,
)
from fieldwise.runs.pictures import draw_samples
from fieldwise.samples.cases import Case
from fieldwise.samples.patches import read_by_case
from fieldwise.samples.scales import LengthScale, Scale, fit_scale, fit_share
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.tasks import AdversarialTask

GENERATOR = "fieldwise.networks.esrgan.Generator"
DISCRIMINATOR = "fieldwise.networks.esrgan.Discriminator"
PUBLISHED_RANGE = 2.0**32  # of DeepBedMap's peak signal-to-noise ratio: that of 32-bit integers


def content(prediction: Tensor, batch: Mapping[str, Any], signature: Mapping[str, Any]) -> Tensor:
    """Return the mean absolute error in metres.

    >>> content(torch.ones(1, 1, 12, 12), {"targets": torch.full((1, 1, 12, 12), 10.0)}, {}).item()
    9.0
    """
    return content_loss(prediction, batch["targets"])


def topography(prediction: Tensor, batch: Mapping[str, Any], signature: Mapping[str, Any]) -> Tensor:
    """Return how far the prediction's means over low-res cells are from the low-res bed, in metres.

    >>> topography(torch.ones(1, 1, 12, 12), {"bed_lowres": torch.full((1, 1, 5, 5), 9.0)}, {}).item()
    8.0
    """
    return topographic_loss(prediction, batch["bed_lowres"])


def structure(prediction: Tensor, batch: Mapping[str, Any], signature: Mapping[str, Any]) -> Tensor:
    """Return the structural dissimilarity.

    >>> bed = torch.rand(1, 1, 12, 12)
    >>> abs(round(structure(bed, {"targets": bed}, {}).item(), 6))
    0.0
    """
    return 1 - structural_similarity(prediction, batch["targets"])


def flux(prediction: Tensor, batch: Mapping[str, Any], signature: Mapping[str, Any]) -> Tensor:
    """Return how far the bed is from conserving mass: mean absolute residual of blocks of 16 cells, in m/a.

    >>> level, signature = torch.zeros(1, 1, 18, 18), {"outputs": [{"spacing": 250.0}]}
    >>> flow = {"surface_elevation": level + 900, "ice_velocity": torch.zeros(1, 2, 18, 18)}
    >>> flow |= {"snow_accumulation": level + 917, "depth_factor": level + 1}
    >>> flux(level, {"flow": flow}, signature).item()  # a metre of ice falls, and none leaves
    1.0
    """
    return block_residual(prediction, batch["flow"], spacing=signature["outputs"][0]["spacing"]).abs().mean()


class BedTask(AdversarialTask):
    """Train a generator to draw a bed, against a discriminator that tells drawn from true tiles.

    The bed is `base + departure_scale_m * network(inputs)`: with a smooth base and inputs scaled to order
    one the network learns what the base lacks. With a base of zeros and a scale of 1 it draws the bed itself.
    The discriminator sees the departures. The order of a step is that of DeepBedMap, whose code, however, cut
    off the gradient of the discriminator's opinion.

    A batch holds, besides `inputs`, `targets` and `base`, (batch, 1, 36, 36) in metres, the former true; and
    `bed_lowres`, (batch, 1, 11, 11) in metres, padded by one cell on each side. With a flux weight, `flow`:
    what :func:`fieldwise.recipes.bed_topography.regions.region.read_flow` reads.

    Parameters
    ----------
    departure_scale_m : float
        Metres that an output of 1 stands for.
    shrink : bool
        Fit on the validation tiles which share of the departures is worth drawing; see
        `on_validation_epoch_end`.
    options
        As of :class:`fieldwise.tasks.AdversarialTask`; :func:`choose_options` gives DeepBedMap's.

    Examples
    --------
    >>> inputs = [{"name": "bed_lowres", "channels": 1, "spacing_m": 1000.0}]
    >>> task = BedTask(**choose_options(inputs, num_residual_blocks=1), departure_scale_m=50.0)
    >>> batch = {"inputs": {"bed_lowres": torch.zeros(2, 1, 11, 11)}, "base": torch.zeros(2, 1, 36, 36)}
    >>> task.draw(batch).shape  # metres
    torch.Size([2, 1, 36, 36])
    """

    departure_share: Tensor
    _products: Tensor

    def __init__(self, *, departure_scale_m: float = 1.0, shrink: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.departure_scale_m, self.shrink = departure_scale_m, shrink
        self.training_error = MeanSquaredError(squared=False)
        self.validation_error = MeanSquaredError(squared=False)
        self.lowest_bed, self.highest_bed = MinMetric(), MaxMetric()  # of the validation tiles
        self.register_buffer("departure_share", torch.ones(()))
        self.register_buffer("_products", torch.zeros(3, dtype=torch.float64), persistent=False)

    def draw(self, batch: Mapping[str, Any]) -> Tensor:
        """Draw the bed in metres, (batch, 1, y, x)."""
        base = batch["base"]
        return base + self.departure_scale_m * self(batch["inputs"]).to(base.dtype)

    def show(self, field: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Return the bed as the generator draws it: without base and of order one."""
        return (field - batch["base"]) / self.departure_scale_m

    def after_step(self, prediction: Tensor, batch: Mapping[str, Any]) -> None:
        """Take note of the errors of a training batch."""
        self.training_error.update(prediction, batch["targets"])

    def on_train_epoch_end(self) -> None:
        """Log the root mean square error over the epoch's tiles, `rmse_m`."""
        self.log("rmse_m", self.training_error.compute())
        self.training_error.reset()

    def judge(self, prediction: Tensor, batch: Mapping[str, Any]) -> None:
        """Judge the drawing of one validation batch."""
        super().judge(prediction, batch)
        bed = batch["targets"]
        self.log_mean("val_ssim", structural_similarity(prediction, bed), batch)
        self.validation_error.update(prediction, bed)
        self.lowest_bed.update(bed)
        self.highest_bed.update(bed)
        drawn, true = (prediction - batch["base"]).double(), (bed - batch["base"]).double()
        self._products += torch.stack([(drawn * drawn).sum(), (drawn * true).sum(), (true * true).sum()])

    def on_validation_epoch_end(self) -> None:
        """Log the root mean square error over all validation tiles, `val_rmse_m`, and PSNRs of it.

        `val_psnr` counts from the range of the true bed of these tiles; `val_psnr_published`, DeepBedMap's,
        from one far beyond that of any bed.

        A network that learns from a few places believes too much of itself elsewhere. With `shrink` the
        share of its departures that is worth drawing, 0 to 1, is fitted here by least squares, travels in
        the checkpoint as `departure_share`, and the error is that of the shrunken field.
        """
        rmse = self.validation_error.compute()
        if self.shrink:
            drawn, both, true = self.trainer.strategy.reduce(self._products, reduce_op="sum").unbind()
            self.departure_share.copy_((both / drawn.clamp(min=1e-12)).clamp(0, 1))
            share = self.departure_share.double()
            rmse = rmse * ((true - 2 * share * both + share**2 * drawn) / (true - 2 * both + drawn)).sqrt()
            self.log("departure_share", self.departure_share)
        self._products.zero_()
        self.log("val_rmse_m", rmse, prog_bar=True)
        relief = float(self.highest_bed.compute() - self.lowest_bed.compute())
        for name, data_range in (("val_psnr", relief), ("val_psnr_published", PUBLISHED_RANGE)):
            self.log(name, psnr(rmse, torch.zeros_like(rmse), data_range=data_range))
        for metric in (self.validation_error, self.lowest_bed, self.highest_bed):
            metric.reset()


def draw_tiles(task: BedTask, batch: Mapping[str, Any]) -> np.ndarray:
    """Draw some tiles of a batch, a row each: low-res bed, prediction, truth, and error.

    >>> from types import SimpleNamespace
    >>> bed = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> batch = {"inputs": {}, "base": bed, "targets": bed, "bed_lowres": torch.full((1, 1, 3, 3), 7.5)}
    >>> task = SimpleNamespace(draw=lambda batch: batch["base"])  # draws the truth
    >>> draw_tiles(task, batch).shape  # 14 pixels for the titles; four panels of 4 x 36 + 4 pixels
    (162, 592, 3)
    """
    return draw_samples(task, batch, coarse=lambda part: part["bed_lowres"][..., 1:-1, 1:-1])


def choose_options(
    inputs: list[dict[str, Any]],
    *,
    lowres_spacing_m: float = 1000.0,
    num_residual_blocks: int = 12,
    residual_scaling: float = 0.1,
    initial_weights: float = 0.1,
    tile_size: int = 36,
    content_weight: float = 1e-2,
    adversarial_weight: float = 2e-2,
    topographic_weight: float = 2e-3,
    structural_weight: float = 5.25,
    flux_weight: float = 0.0,
    **others: Any,
) -> dict[str, Any]:
    """Give the options of a :class:`BedTask` as DeepBedMap has them: networks, losses, optimiser.

    Parameters
    ----------
    inputs
        What the network reads, each {"name": ..., "channels": ..., "spacing_m": ...}.
    lowres_spacing_m, num_residual_blocks, residual_scaling, initial_weights
        As of `fieldwise.networks.esrgan.Generator`.
    tile_size
        Cells on a side of the training tiles.
    content_weight, adversarial_weight, topographic_weight, structural_weight, flux_weight
        Of the five losses. An adversarial weight of 0 trains without a discriminator; with a flux weight of 0
        batches need no `flow`.
    others
        Further options of the task.

    >>> choose_options([], adversarial_weight=0)["discriminator"] is None
    True
    """
    conserved = {f"{__name__}.flux": flux_weight} if flux_weight else {}
    return {
        "network": GENERATOR,
        "network_options": {
            "inputs": inputs,
            "lowres_spacing_m": lowres_spacing_m,
            "num_residual_blocks": num_residual_blocks,
            "residual_scaling": residual_scaling,
            "initial_weights": initial_weights,
        },
        "discriminator": DISCRIMINATOR if adversarial_weight else None,
        "discriminator_options": {"tile_size": tile_size},
        "losses": {
            f"{__name__}.content": content_weight,
            f"{__name__}.topography": topographic_weight,
            f"{__name__}.structure": structural_weight,
            **conserved,
        },
        "adversarial_weight": adversarial_weight,
        "optimizer": "adamw",
        "optimizer_options": {"fused": True},
        "learning_rate": 1.6e-4,
        "clip_norm": 0.0,
        **others,
    }


def choose_inputs(case: Case, names: list[str] | str | None, *, departure: bool) -> list[str]:
    """Give the names of the inputs to learn from: those asked for, or all; of raw values, the published ones.

    Raises
    ------
    InputError
        Where one that is asked for is not there.

    >>> from fieldwise.samples.examples import make_prepared
    >>> zeros = np.zeros((4, 4))
    >>> fields = {"bed_lowres": zeros, "surface_elevation": zeros, "ice_thickness": zeros}
    >>> case = make_prepared(fields, shape=(16, 16)).cases()[0]
    >>> choose_inputs(case, None, departure=True)
    ['bed_lowres', 'surface_elevation', 'ice_thickness']
    >>> choose_inputs(case, None, departure=False)  # the thickness is derived from the others
    ['bed_lowres', 'surface_elevation']
    """
    known = list(case.variables)
    if names is None:
        return [name for name in known if name not in OF_DRAWING and (departure or name not in DERIVED)]
    names = [names] if isinstance(names, str) else names
    unknown = [name for name in names if name not in known]
    if not names:
        raise InputError(f"--inputs: names none; give some of {', '.join(known)}")
    if unknown:
        raise InputError(
            f"--inputs: {case.folder} holds no {', '.join(unknown)}; it holds {', '.join(known)}"
        )
    return names


def read_samples(
    case: Case,
    split: str,
    names: list[str],
    *,
    departure: bool,
    like: Signature | None = None,
    flow: bool = False,
) -> tuple[dict[str, Any], Signature]:
    """Read the tiles of a split as the task takes them; fit the scales unless a signature gives them.

    Returns
    -------
    tuple
        Arrays: ``inputs``, name to (tile, channel, y, x), scaled; ``base``, ``targets`` and ``bed_lowres``
        in metres; on demand ``flow``, what moves the ice; and the signature that travels in the checkpoint.

    >>> from fieldwise.fields.grids import make_field
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.patches import cut_patches
    >>> case = make_prepared({"bed_lowres": np.full((4, 4), -90.0)}, shape=(16, 16)).cases()[0]
    >>> radar = make_field(np.tile([-60.0, -120.0], (16, 8)), case.grid, name="bed")  # 30 m above and below
    >>> options = {"tile_cells": 4, "step_cells": 4, "padding": 1000, "split": {"block": 1000, "buffer": 0}}
    >>> _ = cut_patches(case, [radar], target="bed", **options)
    >>> arrays, signature = read_samples(case, "training", ["bed_lowres"], departure=True)
    >>> arrays["targets"].shape[1:], float(arrays["base"].mean()), signature.outputs[0].scale
    ((1, 4, 4), -90.0, Scale(mean=0.0, spread=30.0))
    """
    tiles = read_tiles(case.folder / "tiles.zarr", split)
    windows, padding = tiles["bounds"].values, lowres_spacing(case)
    bed, lowres = tiles["bed"].values, tiles[LOWRES].values
    arrays = {name: tiles[name].values for name in names}
    if departure:
        raw, known = arrays, case.variables

        def flatten(seen: Case, mine: np.ndarray) -> dict[str, np.ndarray]:
            options: Any = {"windows": windows[mine], "padding": padding}
            return {name: seen.flatten(known[name], each[mine], **options) for name, each in raw.items()}

        arrays = read_by_case(*find_folds(case, tiles), flatten)
    signature = like or _describe(case, arrays, departure=departure)
    base = np.zeros_like(bed)
    if departure:
        smooth = cut_smooth(case, tiles, [LOWRES, *({INVERSION} & set(names))])
        base = smooth[LOWRES][:, None]
        if INVERSION in names:
            told = smooth[INVERSION][:, None]
            if like is None:
                signature = signature.with_facts(inversion_share=fit_share(bed - base, told))
            base = base + signature.facts["inversion_share"] * told
        if like is None:
            scale = Scale(0.0, fit_scale(bed - base).spread)
            signature = replace(signature, outputs=(replace(signature.outputs[0], scale=scale),))
    scaled = {name: values.astype(np.float32) for name, values in signature.apply(arrays).items()}
    samples = {"inputs": scaled, "base": base, "targets": bed, "bed_lowres": lowres}
    return samples | ({"flow": read_flow(case, windows)} if flow else {}), signature


def cut_smooth(case: Case, tiles: xr.Dataset, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Cut fields by cubic interpolation on tiles, as the fold of each has them: (tile, y, x) by name.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.full((4, 4), -90.0)}, shape=(16, 16)).cases()[0]
    >>> tiles = xr.Dataset(coords={"bounds": (("tile", "edge"), [[0.0, 0.0, 2000.0, 1000.0]])})
    >>> cut_smooth(case, tiles, ["bed_lowres"])["bed_lowres"].shape
    (1, 4, 8)
    """
    windows = tiles["bounds"].values

    def read(seen: Case, mine: np.ndarray) -> dict[str, np.ndarray]:
        return {name: seen.cut(name, windows[mine], method="cubic") for name in names}

    return read_by_case(*find_folds(case, tiles), read)


def _describe(case: Case, arrays: dict[str, np.ndarray], *, departure: bool) -> Signature:
    """Say what a network takes and gives: names, channels, spacings, units and scales."""
    scales: dict[str, Any] = {}
    if departure:
        for name, values in arrays.items():
            scales[name] = LengthScale(VECTORS[name]) if name in VECTORS else fit_scale(values)
    facts = {"departure": departure, "lowres_spacing_m": lowres_spacing(case)}
    known = (case.variables[name] for name in arrays)
    return Signature(
        RECIPE,
        tuple(replace(each, scale=scales.get(each.name, each.scale), flat=departure) for each in known),
        (Variable("bed", units="m", spacing=case.spacing),),
        spacings=(case.spacing,),
        facts=facts,
    )
