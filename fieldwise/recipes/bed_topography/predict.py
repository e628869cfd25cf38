"""A trained generator to a map of the whole region: the verb predict."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fieldwise.errors import InputError, require_at_least

USUAL_MEMBERS = 16


def predict(
    *,
    run: Path = Path("model"),
    data: Path = Path("data"),
    out: Path = Path("model/deepbedmap_dem.tif"),
    bounds: tuple[float, float, float, float] | None = None,
    members: int | None = None,
    keep_members: bool = False,
    quantiles: tuple[float, ...] = (0.05, 0.5, 0.95),
    seed: int = 0,
    block_cells: int | None = None,
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto",
    halo_cells: int | None = None,
    weights: str = "best",
    residual_scaling: float | None = None,
    accelerator: str = "auto",
    progress: bool = True,
) -> Path:
    """Draw the bed over the whole region, or over a bounding box, block by block.

    Args:
        run: Run folder of a trained generator.
        data: Prepared folder.
        out: Map to write: .tif (cloud-optimised GeoTIFF, float32, NaN as nodata), .nc (CF-NetCDF) or .zarr.
        bounds: West, south, east, north in the CRS of the data; by default the whole region.
        members: Beds to draw, of a network that draws: the map then holds their mean, spread and quantiles.
            By default 16 of such a network.
        keep_members: Whether to write the members too.
        quantiles: Parts of the members that lie below.
        seed: Of the noise; a member is the same for one seed whatever else is drawn.
        block_cells: Edge of a block in cells of the map; memory depends on this and the members alone. By
            default 512, on a GPU as its memory allows, up to 2048. In multiples of 512, the edge of a tile of
            the .tif, blocks are written straight into that file.
        precision: Of the numbers; bf16-mixed is faster where the device has it, and about 1 % of a departure
            off. auto takes it on a GPU that has it, and to draw members on a processor with AMX.
        halo_cells: Extra cells around a block; by default twice what the network is measured to need,
            so that the blocks leave no seam of a centimetre.
        weights: best by validation, last, pretrained or pretrained_wide (networks that come with the package,
            have learnt from made sectors and draw members; the latter from worse low-res beds too, so that
            far from any flight it is less sure), or the path of a .safetensors or of an old .npz: weights of
            the original, in Chainer's format, which draw the bed from raw values of the four published
            inputs. Of the run folder then only halo.json is used.
        residual_scaling: Of an old .npz, which does not hold it; by default 0.2, as in the paper's run.
        accelerator: cpu, gpu or auto.
        progress: Whether to show how far it is.

    Returns:
        Path of the map. A killed run goes on where it was when called again.
    """
    if Path(weights).suffix != ".npz" and residual_scaling is not None:
        raise InputError("--residual_scaling: is known of a run; give it with an old .npz file only")
    require_at_least(0, members=members, seed=seed)
    from fieldwise.fields.datums import ATTRIBUTE as DATUM
    from fieldwise.recipes.bed_topography.predictor import load_bed_predictor
    from fieldwise.recipes.bed_topography.regions.region import open_region
    from fieldwise.verbs.domains.writers import check_suffix
    from fieldwise.verbs.predict import predict_to

    check_suffix(out, frames=1)
    case = open_region(data)
    predictor = load_bed_predictor(
        run, case, weights=weights, residual_scaling=residual_scaling, accelerator=accelerator
    )
    predictor.choose_precision(precision)
    if members is None:
        members = USUAL_MEMBERS if predictor.stochastic else 0
    return predict_to(
        out,
        predictor,
        case,
        window=bounds,
        members=members,
        keep_members=keep_members,
        quantiles=quantiles,
        seed=seed,
        block_cells=block_cells,
        halo_cells=halo_cells,
        attributes={key: case.facts[key] for key in (DATUM,) if key in case.facts},
        progress=progress,
    )
