"""The members of a map of the bed, judged by the truth: how sure they are, and how rough."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import xarray as xr

from fieldwise.fields.grids import Grid, grid_of, load_values, make_field
from fieldwise.scores import (
    BandPowerSums,
    EnsembleSums,
    ErrorSums,
    Known,
    Read,
    RoughnessSums,
    make_score,
    read_at_points,
    roughness,
)
from fieldwise.scores.tables import Row
from fieldwise.verbs.domains.contents import MEMBER

MEMBER_CELLS = 512  # edge of what is in memory of all members
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


def open_members(path: Path, grid: Grid) -> Read:
    """Give a reader of rows and columns of all members that a map on this grid holds, as of its other fields.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "bed.nc"
    >>> drawn = np.arange(8.0).reshape(2, 2, 2)
    >>> xr.Dataset({MEMBERS: (("member", "y", "x"), drawn)}).to_netcdf(path, engine="h5netcdf")
    >>> read = open_members(path, Grid(0, 0, 500, 500, 250, "EPSG:3031"))
    >>> {name: float(bed.max()) for name, bed in read(slice(0, 1), slice(0, 2)).items()}
    {'member 0': 1.0, 'member 1': 5.0}
    """

    def read(rows: slice, columns: slice) -> dict[str, xr.DataArray]:
        members = read_members(path, rows, columns)
        assert members is not None
        like = make_field(members[0], grid.part(rows, columns), name="bed")
        return {f"member {number}": like.copy(data=values) for number, values in enumerate(members)}

    return read


def as_ensembles(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Give the CRPS of maps that are one member each, their mean absolute error, beside that of an ensemble.

    >>> as_ensembles([make_score("truth", "mae", "m", "cubic", 44.0)])[0]["measure"]
    'crps'
    """
    rivals = (row for row in rows if row["measure"] == "mae" and row["name"] != "prediction")
    return [{**row, "measure": "crps"} for row in rivals]


def score_members(read: Read, known: Iterable[Known], *, against: str) -> list[dict[str, Any]]:
    """Score the members of a map against a truth, where it is known.

    CRPS, coverage of the 90 % interval and spread over error of the ensemble; of single members, in the mean,
    RMSE, roughness and the power of what they add to the cubic low-res bed, band by band.

    Parameters
    ----------
    read
        Gives rows and columns of ``cubic`` and, under whatever other names, the members.
    known
        Where the truth is known, in blocks of which all members fit into memory.
    against
        What the rows say of the truth.

    Returns
    -------
    list
        Rows of :func:`fieldwise.scores.make_score`; none of power where no window is known as a whole, and
        none at all where nothing is known.

    >>> random = np.random.default_rng(0)
    >>> true, *drawn = random.normal(size=(20, 32, 32))
    >>> grid, known = Grid(0, 0, 8000, 8000, 250, "EPSG:3031"), [Known(slice(0, 32), slice(0, 32), true)]
    >>> beds = {"cubic": 0 * true, **{f"member {number}": values for number, values in enumerate(drawn)}}
    >>> read = lambda *cells: {name: make_field(bed[cells], grid, name="bed") for name, bed in beds.items()}
    >>> rows = score_members(read, known, against="truth")
    >>> [round(row["value"], 1) for row in rows if row["measure"] in ("coverage_90", "spread_error_ratio")]
    [0.9, 1.0]
    """
    sure, errors, rough = EnsembleSums(), ErrorSums(), RoughnessSums()
    power: dict[str, BandPowerSums] = {}
    for rows, columns, truth, core in known:
        fields = dict(read(rows, columns))
        cubic = fields.pop("cubic")
        base, counts = load_values(cubic)[core], truth[core]
        texture = roughness(cubic.copy(data=truth)).values[core]
        members = np.stack([load_values(field)[core] for field in fields.values()])
        sure.add(members, counts)
        for name, bed in (("prediction", members.mean(axis=0)), ("member", members)):
            sums = power.setdefault(name, BandPowerSums(grid_of(cubic).spacing))
            sums.add(bed - base, counts - base)
        for field, member in zip(fields.values(), members):
            errors.add(member, counts)
            rough.add(roughness(field).values[core], texture)
    if not sure.cells:
        return []
    return [
        *_as_ensemble(against, sure, errors),
        make_score(against, "roughness_ratio", "1", "member", rough.ratio),
        *(
            make_score(against, "power_ratio", "1", name, ratio, at=f"{wavelength / 1000:.2g} km")
            for name, sums in power.items()
            if sums.true.any()
            for wavelength, ratio in zip(sums.wavelengths, sums.ratios)
        ),
    ]


def score_members_at_points(
    path: Path, grid: Grid, picks: pd.DataFrame, *, against: str
) -> list[dict[str, Any]]:
    """Score the members of a map at picks: as an ensemble, and by themselves, in the mean.

    Members know nothing of the radar's noise, which here counts as theirs: of beds drawn as sure as they may
    be, fewer picks than 90 % lie in the interval where this is no wider than the noise.

    Returns
    -------
    list
        Rows of :func:`fieldwise.scores.make_score`: CRPS, coverage of the 90 % interval and spread over
        error; of single members RMSE and bias.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "bed.nc"
    >>> drawn = np.array([1.0, 3.0])[:, None, None] * np.ones((4, 4))
    >>> xr.Dataset({MEMBERS: (("member", "y", "x"), drawn)}).to_netcdf(path, engine="h5netcdf")
    >>> picks = pd.DataFrame({"x": [500.0, 700.0], "y": 500.0, "z": [2.0, 0.0]})
    >>> grid = Grid(0, 0, 1000, 1000, 250, "EPSG:3031")
    >>> rows = score_members_at_points(path, grid, picks, against="radar")
    >>> [(row["measure"], row["value"]) for row in rows if row["name"] == "member"]  # errors -1, 1; 1, 3
    [('rmse', 1.7320508075688772), ('bias', 1.0)]
    """
    x, y, z = (picks[name].to_numpy() for name in "xyz")
    sure, errors = EnsembleSums(), ErrorSums()
    for near, told in read_at_points(open_members(path, grid), grid, x, y, block_cells=MEMBER_CELLS):
        members = np.stack(list(told.values()))
        sure.add(members, z[near])
        errors.add(members, np.broadcast_to(z[near], members.shape))
    if not sure.cells:
        return []
    return [*_as_ensemble(against, sure, errors), make_score(against, "bias", "m", "member", errors.bias)]


def _as_ensemble(against: str, sure: EnsembleSums, errors: ErrorSums) -> list[dict[str, Any]]:
    return [
        make_score(against, "crps", "m", "prediction", sure.crps),
        make_score(against, "coverage_90", "1", "prediction", sure.coverage(0.9)),
        make_score(against, "spread_error_ratio", "1", "prediction", sure.spread_error_ratio),
        make_score(against, "rmse", "m", "member", errors.rmse),
    ]
