"""The members of a map of the bed, judged by the truth: how sure they are, and how rough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr

from fieldwise.fields.grids import Grid, cut_blocks, make_field
from fieldwise.fields.tiles import cut
from fieldwise.recipes.bed_topography.region import LOWRES
from fieldwise.samples.cases import Case
from fieldwise.scores import (
    BandPowerSums,
    EnsembleSums,
    ErrorSums,
    RoughnessSums,
    make_score,
    roughness,
)
from fieldwise.verbs.domains.contents import MEMBER

BLOCK_CELLS = 512  # edge of what is in memory of all members
MEMBERS = f"bed_{MEMBER}"


def read_members(path: Path, rows: slice, columns: slice) -> np.ndarray | None:
    """Read some cells of all members that a map holds, (member, y, x); None where it keeps none.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "bed.nc"
    >>> drawn = np.arange(8.0).reshape(2, 2, 2)
    >>> xr.Dataset({MEMBERS: (("member", "y", "x"), drawn)}).to_netcdf(path, engine="h5netcdf")
    >>> read_members(path, slice(0, 1), slice(0, 2)).tolist()
    [[[0.0, 1.0]], [[4.0, 5.0]]]
    """
    if path.suffix == ".tif":
        with rasterio.open(path) as file:
            bands = [
                number
                for number, name in zip(file.indexes, file.descriptions)
                if str(name).startswith(f"{MEMBERS}_")
            ]
            return file.read(bands, window=(rows, columns)) if bands else None
    engine: Any = "zarr" if path.suffix == ".zarr" else "h5netcdf"
    with xr.open_dataset(path, engine=engine) as opened:
        if MEMBERS not in opened:
            return None
        return opened[MEMBERS].isel(y=rows, x=columns).values


def keeps_members(path: Path) -> bool:
    """Tell whether a map holds its members.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "bed.nc"
    >>> xr.Dataset({"bed": (("y", "x"), np.zeros((2, 2)))}).to_netcdf(path, engine="h5netcdf")
    >>> keeps_members(path)
    False
    """
    return read_members(path, slice(0, 1), slice(0, 1)) is not None


def judge_all(grid: Grid) -> np.ndarray:
    """Judge all cells of a grid, (y, x).

    >>> judge_all(Grid(0, 0, 500, 250, 250, "EPSG:3031")).tolist()
    [[True, True]]
    """
    return np.ones(grid.shape, dtype=bool)


def as_ensembles(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the CRPS of maps that are one member each, their mean absolute error, beside that of an ensemble.

    >>> as_ensembles([make_score("truth", "mae", "m", "cubic", 44.0)])[0]["measure"]
    'crps'
    """
    rivals = (row for row in rows if row["measure"] == "mae" and row["name"] != "prediction")
    return [{**row, "measure": "crps"} for row in rivals]


def score_members(
    case: Case, path: Path, grid: Grid, *, against: str, unseen: Callable[[Grid], np.ndarray]
) -> list[dict[str, Any]]:
    """Score the members of a map against the known truth, in the cells that `unseen` tells.

    CRPS, coverage of the 90 % interval and spread over error of the ensemble; of single members, in the mean,
    RMSE, roughness and the power of what they add to the cubic low-res bed, band by band.

    Returns
    -------
    list
        Rows of :func:`fieldwise.scores.make_score`; none of power where no window is judged as a whole.

    >>> import tempfile
    >>> from fieldwise.samples.examples import make_prepared
    >>> known = {"truth": np.random.default_rng(0).normal(size=(32, 32))}
    >>> (case,) = make_prepared({"bed_lowres": np.zeros((8, 8))}, shape=(32, 32), **known).cases()
    >>> drawn = np.random.default_rng(1).normal(size=(19, 32, 32))
    >>> path = Path(tempfile.mkdtemp()) / "bed.nc"
    >>> xr.Dataset({MEMBERS: (("member", "y", "x"), drawn)}).to_netcdf(path, engine="h5netcdf")
    >>> rows = score_members(case, path, case.grid, against="truth", unseen=judge_all)
    >>> [round(row["value"], 1) for row in rows if row["measure"] in ("coverage_90", "spread_error_ratio")]
    [0.9, 1.0]
    """
    sure, errors, rough = EnsembleSums(), ErrorSums(), RoughnessSums()
    power = {"prediction": BandPowerSums(grid.spacing), "member": BandPowerSums(grid.spacing)}
    for rows, columns, here in cut_blocks(grid, BLOCK_CELLS):
        judged = unseen(here)
        members = read_members(path, rows, columns)
        if members is None or not judged.any():
            continue
        truth = cut(case.open("truth"), [here.bounds], spacing=grid.spacing)[0]
        base = case.cut(LOWRES, np.array([here.bounds]), method="cubic")[0]
        truth = np.where(judged, truth, np.nan)
        sure.add(members, truth)
        texture = roughness(make_field(truth, here, name="truth")).values
        power["prediction"].add(members.mean(axis=0) - base, truth - base)
        for member in members:
            errors.add(member, truth)
            rough.add(roughness(make_field(member, here, name="bed")).values, texture)
            power["member"].add(member - base, truth - base)
    rows_of = [
        make_score(against, "crps", "m", "prediction", sure.crps),
        make_score(against, "coverage_90", "1", "prediction", sure.coverage(0.9)),
        make_score(against, "spread_error_ratio", "1", "prediction", sure.spread_error_ratio),
        make_score(against, "rmse", "m", "member", errors.rmse),
        make_score(against, "roughness_ratio", "1", "member", rough.ratio),
    ]
    return rows_of + [
        make_score(against, "power_ratio", "1", name, ratio, at=f"{wavelength / 1000:.2g} km")
        for name, sums in power.items()
        if sums.true.any()
        for wavelength, ratio in zip(sums.wavelengths, sums.ratios)
    ]
