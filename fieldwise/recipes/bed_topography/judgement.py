"""Judge a map of the bed: at held-out radar picks, and where the truth is known, everywhere unseen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pygmt
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import (
    Bounds,
    Grid,
    crs_label,
    grid_of,
    load_values,
    make_field,
    overlap,
    same_crs,
)
from fieldwise.fields.tiles import cut, read_tiles
from fieldwise.recipes.bed_topography.inversion import INVERSION
from fieldwise.recipes.bed_topography.levels import require_datum
from fieldwise.recipes.bed_topography.samples import interpolate
from fieldwise.recipes.bed_topography.surveys import grid_held_out, read_held_out
from fieldwise.samples.datasets import Dataset
from fieldwise.scores.fields import (
    bias,
    bootstrap_interval,
    mae,
    rmse,
    roughness,
    roughness_ratio,
    sample_at_points,
)

SPLINE_TENSION = 0.35
LARGEST_SPLINE_CELLS = 5000 * 5000


def baselines(dataset: Dataset, like: xr.DataArray, *, spline: bool = True) -> dict[str, xr.DataArray]:
    """Interpolate the low-res bed to the grid of a map: by cubic convolution, and by spline in tension.

    Where the data hold it, what the surface tells of the bed is a further baseline: `inversion`, cubic and
    all of it. The spline is left out where the map is too large for GMT to hold it in memory.

    >>> import tempfile
    >>> from fieldwise.samples.datasets import write_yaml
    >>> from fieldwise.fields.rasters import write_cog
    >>> home, grid = Path(tempfile.mkdtemp()), Grid(0, 0, 4000, 4000, 1000, "EPSG:3413")
    >>> slope = np.tile(grid.x / 10, (4, 1))  # rises by 100 m a kilometre
    >>> _ = write_cog(make_field(slope, grid, name="bed"), home / "bed.tif")
    >>> facts = {"crs": "EPSG:3413", "region": list(grid.bounds), "spacing_m": 500, "lowres_spacing_m": 1000}
    >>> inputs = {"bed_lowres": {"spacing_m": 1000, "units": "m", "paths": ["bed.tif"]}}
    >>> dataset = Dataset(write_yaml({**facts, "inputs": inputs}, home / "dataset.yaml").parent)
    >>> drawn = make_field(np.zeros((2, 2)), Grid(1500, 1500, 2500, 2500, 500, "EPSG:3413"), name="bed")
    >>> baselines(dataset, drawn, spline=False)["cubic"].values[0].tolist()
    [175.0, 225.0]
    """
    grid = grid_of(like)
    lowres = dataset.field("bed_lowres")
    values = cut(lowres, [grid.bounds], spacing=grid.spacing, method="cubic", extend=True)[0]
    fields = {"cubic": make_field(values, grid, name="bed", long_name="cubic low-res bed")}
    if INVERSION in dataset.inputs:
        told = interpolate(dataset, INVERSION, np.array([grid.bounds]))[0]
        fields["inversion"] = make_field(values + told, grid, name="bed", long_name="surface inverted")
    if spline and values.size <= LARGEST_SPLINE_CELLS:
        margin = 5 * dataset.lowres_spacing_m
        around = lowres.sel(
            x=slice(grid.west - margin, grid.east + margin), y=slice(grid.north + margin, grid.south - margin)
        )
        fields["spline"] = _spline(around, grid)
    return fields


def _spline(lowres: xr.DataArray, grid: Any) -> xr.DataArray:
    """Draw GMT's spline in tension through the centres of low-res cells."""
    x, y = np.meshgrid(lowres["x"].values, lowres["y"].values)
    z = load_values(lowres)
    valid = np.isfinite(z)
    half = grid.spacing / 2
    spline = pygmt.surface(
        x=x[valid],
        y=y[valid],
        z=z[valid],
        region=[grid.west + half, grid.east - half, grid.south + half, grid.north - half],
        spacing=grid.spacing,  # nodes are the centres of the map's cells
        tension=SPLINE_TENSION,
        verbose="q",
    )
    return make_field(
        np.asarray(spline)[::-1].astype(np.float32), grid, name="bed", long_name="spline in tension"
    )


def score_map(dataset: Dataset, path: Path) -> dict[str, Any]:
    """Score a map of the bed and its baselines.

    Returns
    -------
    dict
        ``rmse_m``, ``mae_m``, ``bias_m`` (prediction minus radar), ``rmse_m_interval`` (95 %, whole flights
        resampled, where there are at least two), ``roughness_ratio`` (mean standard deviation in 5 x 5 cells
        over that of the gridded held-out radar, the map being read at the picks and gridded as they are,
        where these are dense enough), each with prediction, cubic and spline;
        ``n_picks``; ``n_flights``; ``surveys``: each one's RMSE;
        ``truth``: the scores against the known truth, where there is one, in the areas that are held out,
        or, where none is, outside every tile.

    >>> import tempfile
    >>> from fieldwise.samples.datasets import write_yaml
    >>> from fieldwise.fields.rasters import write_cog
    >>> home, region = Path(tempfile.mkdtemp()), (0, 0, 8000, 8000)
    >>> for name, spacing, higher in (("lowres", 1000, 40), ("truth", 250, 0), ("map", 250, 10)):
    ...     grid = Grid(*region, spacing, "EPSG:3413")
    ...     slope = np.tile(grid.x / 10 + higher, (len(grid.y), 1))
    ...     _ = write_cog(make_field(slope, grid, name="bed"), home / f"{name}.tif")
    >>> facts = {"crs": "EPSG:3413", "region": list(region), "spacing_m": 250, "lowres_spacing_m": 1000}
    >>> facts |= {"truth": "truth.tif", "held_out_areas": [[2000, 2000, 6000, 6000]]}
    >>> facts["inputs"] = {"bed_lowres": {"spacing_m": 1000, "units": "m", "paths": ["lowres.tif"]}}
    >>> dataset = Dataset(write_yaml(facts, home / "dataset.yaml").parent)
    >>> scores = score_map(dataset, home / "map.tif")["truth"]
    >>> scores["rmse_m"]["prediction"], scores["rmse_m"]["cubic"], scores["share_of_map"]
    (10.0, 40.0, 0.25)
    """
    prediction = open_field(path)
    if not same_crs(prediction.rio.crs, dataset.crs):
        raise InputError(
            f"{path}: is in {crs_label(prediction.rio.crs)}, the data are in {crs_label(dataset.crs)}; "
            "reproject it"
        )
    require_datum(path, prediction.attrs.get(DATUM), dataset.description.get(DATUM))
    if overlap(grid_of(prediction).bounds, dataset.region) is None:
        raise InputError(f"{path}: does not lie in the region of {dataset.folder}")
    prediction = prediction.copy(data=load_values(prediction))
    maps = {"prediction": prediction, **baselines(dataset, prediction)}
    scores: dict[str, Any] = {}
    if dataset.description.get("held_out"):
        scores = _score_at_picks(maps, read_held_out(dataset), dataset, path)
    if dataset.description.get("truth"):
        scores["truth"] = _score_against_truth(maps, dataset)
    if not scores:
        raise InputError(f"{dataset.folder}: holds neither held-out surveys nor a truth to judge on")
    return scores


def _score_at_picks(
    maps: dict[str, xr.DataArray], picks: pd.DataFrame, dataset: Dataset, path: Path
) -> dict[str, Any]:
    samples = {name: sample_at_points(field, picks["x"], picks["y"]) for name, field in maps.items()}
    judged = np.all([np.isfinite(values) for values in samples.values()], axis=0)
    if not judged.any():
        raise InputError(f"{path}: covers none of the {len(picks)} held-out picks; predict where they are")
    picks = picks[judged]
    samples = {name: values[judged] for name, values in samples.items()}
    z, flights = picks["z"].to_numpy(), picks["flight"].to_numpy()
    truth = grid_held_out(picks, dataset)
    scores: dict[str, Any] = {
        "rmse_m": {name: rmse(values, z) for name, values in samples.items()},
        "mae_m": {name: mae(values, z) for name, values in samples.items()},
        "bias_m": {name: bias(values, z) for name, values in samples.items()},
    }
    if len(np.unique(flights)) > 1:  # of a single flight nobody knows how far another would differ
        scores["rmse_m_interval"] = {
            name: list(bootstrap_interval(values - z, flights)) for name, values in samples.items()
        }
    if _tell_roughness(picks, truth):
        # Gridding smooths: a perfect map would come out too rough beside gridded radar. So each map is read
        # at the picks and gridded as they are.
        scores["roughness_ratio"] = {
            name: roughness_ratio(grid_held_out(picks.assign(z=values), dataset), truth)
            for name, values in samples.items()
        }
    scores["n_picks"] = len(picks)
    scores["n_flights"] = len(np.unique(flights))
    scores["surveys"] = {
        str(survey): {
            "n_picks": len(group),
            "rmse_m": {name: rmse(values[group], z[group]) for name, values in samples.items()},
        }
        for survey, group in picks.reset_index(drop=True).groupby("survey").indices.items()
    }
    return scores


def _tell_roughness(picks: pd.DataFrame, gridded: xr.DataArray) -> bool:
    """Tell whether picks are so dense that the grid made from them has a roughness of its own.

    A flight with a pick in every cell has a full window around almost each of them. Picks that are thinned
    to wide steps have few, and these hold the spline's smoothness, not the bed's roughness.
    """
    spacing = grid_of(gridded).spacing
    cells = np.unique(np.floor(picks[["x", "y"]].to_numpy() / spacing), axis=0)
    return int(roughness(gridded).notnull().sum()) > len(cells) / 2


def _score_against_truth(maps: dict[str, xr.DataArray], dataset: Dataset) -> dict[str, Any]:
    """Score against the known truth, where neither training nor selection has seen it."""
    grid = grid_of(maps["prediction"])
    areas = dataset.description.get("held_out_areas")
    if areas:
        unseen = _covered(grid, areas)
    else:
        unseen = ~_covered(grid, read_tiles(dataset.folder / "tiles.zarr")["bounds"].values)
    known = cut(dataset.open("truth"), [grid.bounds], spacing=grid.spacing)[0]
    truth = make_field(np.where(unseen, known, np.nan), grid, name="bed")
    if dataset.description.get("bound"):
        bound = cut(dataset.open("bound"), [grid.bounds], spacing=grid.spacing)[0]
        maps = maps | {"wiener": make_field(bound, grid, name="bed")}
    return {
        "rmse_m": {name: rmse(load_values(field), load_values(truth)) for name, field in maps.items()},
        "bias_m": {name: bias(load_values(field), load_values(truth)) for name, field in maps.items()},
        "roughness_ratio": {name: roughness_ratio(field, truth) for name, field in maps.items()},
        "share_of_map": float(unseen.mean()),
    }


def _covered(grid: Grid, boxes: Iterable[Bounds]) -> np.ndarray:
    """Tell which cells (y, x) of a grid any of the boxes covers."""
    covered = np.zeros(grid.shape, dtype=bool)
    for west, south, east, north in boxes:
        rows = (max(0, round((grid.north - edge) / grid.spacing)) for edge in (north, south))
        columns = (max(0, round((edge - grid.west) / grid.spacing)) for edge in (west, east))
        covered[slice(*rows), slice(*columns)] = True
    return covered


def format_scores(scores: dict[str, Any]) -> str:
    """Lay the scores out as a small table.

    >>> part = {"rmse_m": {"prediction": 20.04, "cubic": 40.0}}
    >>> part["roughness_ratio"] = {"prediction": 0.9, "cubic": 0.5}
    >>> print(format_scores({**part, "n_picks": 12, "n_flights": 2}))
    against                          measure            prediction       cubic
    12 held-out picks, 2 flights     RMSE (m)                20.04       40.00
                                     roughness ratio          0.90        0.50
    """
    parts = []
    if "n_picks" in scores:
        parts.append((f"{scores['n_picks']} held-out picks, {scores['n_flights']} flights", scores))
    if "truth" in scores:
        parts.append(("the known truth, unseen cells", scores["truth"]))
    names = list(parts[-1][1]["rmse_m"])
    lines = [f"{'against':<33}{'measure':<17}" + "".join(f"{name:>12}" for name in names)]
    labels = {
        "rmse_m": "RMSE (m)",
        "mae_m": "MAE (m)",
        "bias_m": "bias (m)",
        "roughness_ratio": "roughness ratio",
    }
    for title, part in parts:
        for key, label in labels.items():
            if key in part:
                cells = "".join(f"{part[key][n]:>12.2f}" if n in part[key] else f"{'':>12}" for n in names)
                lines.append(f"{title:<33}{label:<17}{cells}".rstrip())
                title = ""
    return "\n".join(lines)
