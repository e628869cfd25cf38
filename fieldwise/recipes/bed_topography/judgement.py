"""Judge a map of the bed: at held-out radar picks, and where the truth is known, everywhere unseen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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
from fieldwise.recipes.bed_topography.levels import require_datum
from fieldwise.recipes.bed_topography.region import INVERSION, lowres_spacing
from fieldwise.recipes.bed_topography.surveys import grid_held_out, read_held_out
from fieldwise.samples.cases import Case
from fieldwise.scores import (
    ErrorSums,
    RoughnessSums,
    bias,
    bootstrap_interval,
    mae,
    make_score,
    rmse,
    roughness,
    roughness_ratio,
    sample_at_points,
    score_all,
)
from fieldwise.surveys.gmt import load_gmt
from fieldwise.verbs.blocks import Box, lay_out

PICKS, TRUTH = "held-out picks", "truth"  # what a map is judged against
MEASURES = {("rmse", "m"): rmse, ("mae", "m"): mae, ("bias", "m"): bias}
SPLINE_TENSION = 0.35
LARGEST_SPLINE_CELLS = 5000 * 5000
BLOCK_CELLS = 2048  # edge of what is read of a map at a time
ROUGHNESS_CELLS = 5

Rows = list[dict[str, Any]]


def baselines(case: Case, like: xr.DataArray, *, spline: bool = True) -> dict[str, xr.DataArray]:
    """Interpolate the low-res bed to the grid of a map: by cubic convolution, and by spline in tension.

    Where the data hold it, what the surface tells of the bed is a further baseline: `inversion`, cubic and
    all of it. The spline is left out where the map is too large for GMT to hold it in memory.

    >>> from fieldwise.samples.examples import make_prepared
    >>> slope = np.tile([50.0, 150.0, 250.0, 350.0], (4, 1))  # rises by 100 m a kilometre
    >>> case = make_prepared({"bed_lowres": slope}, shape=(8, 8), spacing=500.0).cases()[0]
    >>> drawn = make_field(np.zeros((2, 2)), Grid(1500, 1500, 2500, 2500, 500, "EPSG:3413"), name="bed")
    >>> baselines(case, drawn, spline=False)["cubic"].values[0].tolist()
    [175.0, 225.0]
    """
    grid = grid_of(like)
    fields = _interpolations(case, grid)
    if spline and np.prod(grid.shape) <= LARGEST_SPLINE_CELLS:
        fields["spline"] = _spline(case, grid)
    return fields


def _interpolations(case: Case, grid: Grid) -> dict[str, xr.DataArray]:
    """Give the baselines of which a window is part of the whole."""
    names = {"cubic": "bed_lowres"} | ({"inversion": INVERSION} if INVERSION in case.variables else {})
    cubic, *told = (
        cut(case.field(name), [grid.bounds], spacing=grid.spacing, method="cubic", extend=True)[0]
        for name in names.values()
    )
    fields = {"cubic": make_field(cubic, grid, name="bed", long_name="cubic low-res bed")}
    for values in told:
        fields["inversion"] = make_field(cubic + values, grid, name="bed", long_name="surface inverted")
    return fields


def _spline(case: Case, grid: Grid) -> xr.DataArray:
    """Draw GMT's spline in tension through the centres of low-res cells, those around the grid too."""
    margin = 5 * lowres_spacing(case)
    lowres = case.field("bed_lowres").sel(
        x=slice(grid.west - margin, grid.east + margin), y=slice(grid.north + margin, grid.south - margin)
    )
    x, y = np.meshgrid(lowres["x"].values, lowres["y"].values)
    z = load_values(lowres)
    valid = np.isfinite(z)
    half = grid.spacing / 2
    spline = load_gmt().surface(
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


@dataclass(frozen=True)
class Maps:
    """A map of the bed and its baselines, window by window: no more of them is in memory."""

    prediction: xr.DataArray
    case: Case
    spline: xr.DataArray | None  # depends on all of the low-res bed, so it is drawn once

    @classmethod
    def open(cls, case: Case, path: Path) -> Maps:
        """Open a map of the data's region; one that lies elsewhere or counts from elsewhere is refused."""
        prediction = open_field(path)
        if not same_crs(prediction.rio.crs, case.grid.crs):
            there, here = crs_label(prediction.rio.crs), crs_label(case.grid.crs)
            raise InputError(f"{path}: is in {there}, the data are in {here}; reproject it")
        require_datum(path, prediction.attrs.get(DATUM), case.facts.get(DATUM))
        grid = grid_of(prediction)
        if overlap(grid.bounds, case.grid.bounds) is None:
            raise InputError(f"{path}: does not lie in the region of {case.folder}")
        small = np.prod(grid.shape) <= LARGEST_SPLINE_CELLS
        return cls(prediction, case, _spline(case, grid) if small else None)

    @property
    def grid(self) -> Grid:
        """The grid of the map."""
        return grid_of(self.prediction)

    def read(self, box: Box) -> dict[str, xr.DataArray]:
        """Read a box of cells: name -> (y, x)."""
        window = self.prediction[box.top : box.bottom, box.left : box.right]
        fields = {"prediction": window.copy(data=load_values(window))}
        fields |= _interpolations(self.case, grid_of(window))
        if self.spline is not None:
            fields["spline"] = self.spline[box.top : box.bottom, box.left : box.right]
        return fields

    def sample(self, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        """Read all maps at points, from windows around those that lie together: name -> (n,)."""
        grid = self.grid
        row = np.floor((grid.north - y) / grid.spacing).astype(int)
        column = np.floor((x - grid.west) / grid.spacing).astype(int)
        ny, nx = grid.shape
        inside = (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
        block = (row // BLOCK_CELLS) * (nx // BLOCK_CELLS + 1) + column // BLOCK_CELLS
        samples: dict[str, np.ndarray] = {}
        for number in np.unique(block[inside]):
            near = inside & (block == number)
            around = Box(row[near].min(), column[near].min(), row[near].max() + 1, column[near].max() + 1)
            for name, field in self.read(around.widened(2).clipped(Box(0, 0, ny, nx))).items():
                values = samples.setdefault(name, np.full(len(x), np.nan))
                values[near] = sample_at_points(field, x[near], y[near])
        return samples


def score_map(case: Case, path: Path) -> tuple[Rows, dict[str, Any]]:
    """Score a map of the bed and its baselines.

    Against held-out picks: RMSE, MAE and bias (map minus radar) in metres, the RMSE with the interval in
    which it lies at 95 % (whole flights resampled, where there are at least two), and the roughness ratio
    (mean standard deviation in 5 x 5 cells over that of the gridded held-out radar, the map being read at
    the picks and gridded as they are, where these are dense enough); and each survey's RMSE. Against the
    known truth, where there is one: the same in the areas that are held out, or, where none is, outside
    every tile; beside the `bound`, the best score that any linear estimate could reach.

    Maps are read block by block.

    Returns
    -------
    tuple
        Rows of :func:`~fieldwise.scores.make_score`, of the names prediction, cubic, inversion, spline and
        bound; and facts: ``n_picks``, ``n_flights``, picks of each of the ``surveys``, and
        ``share_of_map`` that the truth was judged on.

    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.scores import value_of
    >>> coarse = np.tile(np.arange(500, 8000, 1000) / 10, (8, 1))  # rises by 100 m a kilometre
    >>> fine = np.tile(np.arange(125, 8000, 250) / 10, (32, 1))
    >>> known = {"truth": fine, "map": fine + 10, "held_out_areas": [[2000, 2000, 6000, 6000]]}
    >>> prepared = make_prepared({"bed_lowres": coarse + 40}, shape=(32, 32), **known)
    >>> case, home = prepared.cases()[0], prepared.folder
    >>> rows, facts = score_map(case, home / "map.tif")
    >>> [value_of(rows, measure="rmse", name=name) for name in ("prediction", "cubic")], facts
    ([10.0, 40.0], {'share_of_map': 0.25})
    """
    maps = Maps.open(case, path)
    rows: Rows = []
    facts: dict[str, Any] = {}
    if case.facts.get("held_out"):
        rows, facts = _score_at_picks(maps, read_held_out(case), path)
    if case.facts.get("truth"):
        found, share = _score_against_truth(maps)
        rows, facts = rows + found, facts | {"share_of_map": share}
    if not rows:
        raise InputError(f"{case.folder}: holds neither held-out surveys nor a truth to judge on")
    return rows, facts


def _score_at_picks(maps: Maps, picks: pd.DataFrame, path: Path) -> tuple[Rows, dict[str, Any]]:
    samples = maps.sample(picks["x"].to_numpy(), picks["y"].to_numpy())
    judged = np.all([np.isfinite(values) for values in samples.values()], axis=0) & bool(samples)
    if not np.any(judged):
        raise InputError(f"{path}: covers none of the {len(picks)} held-out picks; predict where they are")
    picks = picks[judged].reset_index(drop=True)
    samples = {name: values[judged] for name, values in samples.items()}
    z, flights = picks["z"].to_numpy(), picks["flight"].to_numpy()
    rows = score_all(PICKS, MEASURES, samples, z)
    if len(np.unique(flights)) > 1:  # of a single flight nobody knows how far another would differ
        for row in rows[: len(samples)]:
            row["low"], row["high"] = bootstrap_interval(samples[row["name"]] - z, flights)
    rows += _score_roughness(samples, picks, maps.case)
    surveys = picks.groupby("survey").indices
    for survey, group in surveys.items():
        parts = {name: values[group] for name, values in samples.items()}
        rows += score_all(f"picks of {survey}", {("rmse", "m"): rmse}, parts, z[group])
    facts = {
        "n_picks": len(picks),
        "n_flights": len(np.unique(flights)),
        "surveys": {str(survey): len(group) for survey, group in surveys.items()},
    }
    return rows, facts


def _score_roughness(samples: dict[str, np.ndarray], picks: pd.DataFrame, case: Case) -> Rows:
    """Compare the roughness at picks, where these are dense enough to have one.

    Gridding smooths: a perfect map would come out too rough beside gridded radar. So each map is read
    at the picks and gridded as they are.
    """
    around = bool(np.prod(case.grid.shape) > LARGEST_SPLINE_CELLS)
    truth = grid_held_out(picks, case, around=around)
    if not _tell_roughness(picks, truth):
        return []
    gridded = {
        name: grid_held_out(picks.assign(z=values), case, around=around) for name, values in samples.items()
    }
    return score_all(PICKS, {("roughness_ratio", "1"): roughness_ratio}, gridded, truth)


def _tell_roughness(picks: pd.DataFrame, gridded: xr.DataArray) -> bool:
    """Tell whether picks are so dense that the grid made from them has a roughness of its own.

    A flight with a pick in every cell has a full window around almost each of them. Picks that are thinned
    to wide steps have few, and these hold the spline's smoothness, not the bed's roughness.
    """
    spacing = grid_of(gridded).spacing
    cells = np.unique(np.floor(picks[["x", "y"]].to_numpy() / spacing), axis=0)
    return int(roughness(gridded).notnull().sum()) > len(cells) / 2


def _score_against_truth(maps: Maps) -> tuple[Rows, float]:
    """Score against the known truth, where neither training nor selection has seen it, block by block."""
    layout = lay_out(maps.grid, None, 1)
    boxes = _find_seen(maps.case)
    errors: dict[str, ErrorSums] = {}
    textures: dict[str, RoughnessSums] = {}
    count = 0
    for block in layout.blocks(BLOCK_CELLS):
        window = layout.window(block, ROUGHNESS_CELLS // 2)  # a cell is as rough as its neighbours make it
        grid = Grid(*layout.bounds(window), layout.spacing, maps.grid.crs)
        unseen, core = _tell_unseen(grid, boxes), block.within(window)
        count += int(unseen[core].sum())
        if not unseen[core].any():
            continue
        truth, fields = _read_truth(maps, window, grid)
        known = make_field(np.where(unseen, truth, np.nan), grid, name="bed")
        rough = load_values(roughness(known, cells=ROUGHNESS_CELLS))[core]
        for name, field in fields.items():
            errors.setdefault(name, ErrorSums()).add(load_values(field)[core], load_values(known)[core])
            predicted = load_values(roughness(field, cells=ROUGHNESS_CELLS))[core]
            textures.setdefault(name, RoughnessSums(ROUGHNESS_CELLS)).add(predicted, rough)
    if not errors:
        raise InputError(
            f"{maps.case.folder}: the map covers nothing that training has not seen; predict a wider one"
        )
    rows = [
        make_score(TRUTH, measure, unit, name, getattr(sums, measure))
        for measure, unit in MEASURES
        for name, sums in errors.items()
    ]
    rows += [make_score(TRUTH, "roughness_ratio", "1", name, sums.ratio) for name, sums in textures.items()]
    return rows, count / float(np.prod(maps.grid.shape))


def _read_truth(maps: Maps, window: Box, grid: Grid) -> tuple[np.ndarray, dict[str, xr.DataArray]]:
    """Read the truth and what is judged by it: the maps, and the bound where there is one."""
    case, fields = maps.case, maps.read(window)
    truth = cut(case.open("truth"), [grid.bounds], spacing=grid.spacing)[0]
    if case.facts.get("bound"):
        bound = cut(case.open("bound"), [grid.bounds], spacing=grid.spacing)[0]
        fields["bound"] = make_field(bound, grid, name="bed")
    return truth, fields


def _find_seen(case: Case) -> tuple[np.ndarray, bool]:
    """Give boxes, and whether it is they that are unseen (held-out areas) or all but they (tiles)."""
    areas = case.facts.get("held_out_areas")
    if areas:
        return np.array(areas, dtype=float), True
    return read_tiles(case.folder / "tiles.zarr")["bounds"].values, False


def _tell_unseen(grid: Grid, boxes: tuple[np.ndarray, bool]) -> np.ndarray:
    """Tell which cells (y, x) neither training nor selection has seen."""
    bounds, are_unseen = boxes
    west, south, east, north = bounds.T
    near = (west < grid.east) & (east > grid.west) & (south < grid.north) & (north > grid.south)
    covered = _covered(grid, bounds[near])
    return covered if are_unseen else ~covered


def _covered(grid: Grid, boxes: Iterable[Bounds]) -> np.ndarray:
    """Tell which cells (y, x) of a grid any of the boxes covers."""
    covered = np.zeros(grid.shape, dtype=bool)
    for west, south, east, north in boxes:
        rows = (max(0, round((grid.north - edge) / grid.spacing)) for edge in (north, south))
        columns = (max(0, round((edge - grid.west) / grid.spacing)) for edge in (west, east))
        covered[slice(*rows), slice(*columns)] = True
    return covered
