"""A trained generator to a map of the whole region: the verb predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from fieldwise.errors import InputError, require_at_least
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Bounds, Grid
from fieldwise.fields.rasters import write_netcdf
from fieldwise.recipes.bed_topography.own_files import UPSAMPLING
from fieldwise.samples.datasets import DESCRIPTION, Dataset
from fieldwise.verbs.blocks import lay_out

if TYPE_CHECKING:
    from fieldwise.recipes.bed_topography.networks import Network


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
        out: Map to write: .tif (cloud-optimised GeoTIFF, float32, NaN as nodata) or .nc (CF-NetCDF).
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
    from fieldwise.recipes.bed_topography.networks import make_function, make_reader
    from fieldwise.runs import hash_file, recall_measure
    from fieldwise.verbs.domains import measure_halo, predict_domain

    out = Path(out)
    if out.suffix not in {".tif", ".nc"}:
        raise InputError(f"{out}: a map is written as .tif or .nc")
    require_at_least(1, block_cells=block_cells)
    require_at_least(0, halo_cells=halo_cells)
    dataset = Dataset(data)
    checkpoint, network = _load_weights(weights, Path(run), dataset, residual_scaling, accelerator)
    function, reader = make_function(network), make_reader(dataset, network.description)
    grid = _map_grid(dataset, bounds)
    digest = hash_file(checkpoint)
    fingerprint = f"{digest} {hash_file(dataset.folder / DESCRIPTION)}"
    if residual_scaling is not None:
        fingerprint += f" residual_scaling {residual_scaling:g}"
    if halo_cells is None:
        # Where a deformable convolution reaches farther than at the places probed, the seam would show: a
        # network was seen to need 72 cells somewhere in its domain where probes told 40.
        halo_cells = 2 * recall_measure(
            Path(run) / "halo.json",
            fingerprint,
            lambda: measure_halo(
                function, reader, dataset.grid, domain=dataset.region, alignment_cells=UPSAMPLING
            ),
        )
        if progress:
            tqdm.write(f"halo: {halo_cells} cells, twice what the network needs where it was probed")
    tags = {"long_name": "bed elevation", "generator_sha256": digest, "halo_cells": str(halo_cells)}
    tags |= {key: dataset.description[key] for key in (DATUM,) if key in dataset.description}
    raster = out if out.suffix == ".tif" else out.with_suffix(".tif.partial.tif")
    predict_domain(
        function,
        reader,
        grid,
        path=raster,
        block_cells=block_cells,
        halo_cells=halo_cells,
        fingerprint=fingerprint,
        name="bed",
        tags=tags,
        progress=progress,
        domain=dataset.region,
        alignment_cells=UPSAMPLING,
    )
    if out.suffix == ".nc":
        write_netcdf(open_field(raster).rename("bed"), out)
        raster.unlink()
    return out


def _load_weights(
    weights: str, run: Path, dataset: Dataset, residual_scaling: float | None, accelerator: str
) -> tuple[Path, Network]:
    """Load the weights of a run, or old ones; give their file too."""
    from fieldwise.recipes.bed_topography.networks import load_network
    from fieldwise.recipes.bed_topography.old_weights import load_old_weights

    if Path(weights).suffix == ".npz":
        network = load_old_weights(
            weights, dataset, residual_scaling=residual_scaling, accelerator=accelerator
        )
        return Path(weights), network
    if weights not in ("best", "last"):
        raise InputError(f"--weights: is {weights!r}; give best, last or the path of an old .npz file")
    if residual_scaling is not None:
        raise InputError("--residual_scaling: is known of a run; give it with an old .npz file only")
    checkpoint = run / "checkpoints" / f"{weights}.ckpt"
    return checkpoint, load_network(checkpoint, dataset, accelerator=accelerator)


def _map_grid(dataset: Dataset, bounds: Bounds | None) -> Grid:
    """Give the grid of a bounding box, on the cells of the whole region's map."""
    if bounds is None:
        return dataset.grid
    west, south, east, north = bounds
    if west >= east or south >= north:
        raise InputError(f"--bounds {bounds}: give west, south, east, north, in this order")
    origin = np.array([dataset.region[0], dataset.region[1]] * 2)
    edges = (np.array(bounds, dtype=float) - origin) / dataset.spacing_m
    cells = [*np.floor(edges[:2] + 1e-6), *np.ceil(edges[2:] - 1e-6)]
    west, south, east, north = (np.array(cells) * dataset.spacing_m + origin).tolist()
    grid = Grid(west, south, east, north, dataset.spacing_m, dataset.crs)
    lay_out(grid, dataset.region, UPSAMPLING)  # refuses a box beyond the data before anything is computed
    return grid
