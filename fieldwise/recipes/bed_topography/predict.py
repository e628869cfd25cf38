"""A trained generator to a map of the whole region: the verb predict."""

from __future__ import annotations

from pathlib import Path

from fieldwise.errors import InputError


def predict(
    *,
    run: Path = Path("model"),
    data: Path = Path("data"),
    out: Path = Path("model/deepbedmap_dem.tif"),
    bounds: tuple[float, float, float, float] | None = None,
    block_cells: int = 512,
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
        block_cells: Edge of a block in cells of the map; memory depends on this alone.
        halo_cells: Extra cells around a block; by default twice what the network is measured to need,
            so that the blocks leave no seam of a centimetre.
        weights: best by validation, last, or the path of an old .npz: weights of the original, in Chainer's
            format, which draw the bed from raw values of the four published inputs. Of the run folder then
            only halo.json is used.
        residual_scaling: Of an old .npz, which does not hold it; by default 0.2, as in the paper's run.
        accelerator: cpu, gpu or auto.
        progress: Whether to show how far it is.

    Returns:
        Path of the map. A killed run goes on where it was when called again.
    """
    if Path(weights).suffix != ".npz" and residual_scaling is not None:
        raise InputError("--residual_scaling: is known of a run; give it with an old .npz file only")
    from fieldwise.fields.datums import ATTRIBUTE as DATUM
    from fieldwise.recipes.bed_topography.predictor import load_bed_predictor
    from fieldwise.recipes.bed_topography.region import open_region
    from fieldwise.verbs.domains.writers import check_suffix
    from fieldwise.verbs.predict import predict_to

    check_suffix(out, frames=1)
    case = open_region(data)
    predictor = load_bed_predictor(
        run, case, weights=weights, residual_scaling=residual_scaling, accelerator=accelerator
    )
    return predict_to(
        out,
        predictor,
        case,
        window=bounds,
        block_cells=block_cells,
        halo_cells=halo_cells,
        attributes={key: case.facts[key] for key in (DATUM,) if key in case.facts},
        progress=progress,
    )
