"""Members of a bed to look at: beside their mean and the truth, and how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from fieldwise import figures
from fieldwise.fields.grids import grid_of, load_values
from fieldwise.figures.volumes.members import draw_members
from fieldwise.recipes.bed_topography.members.scores import (
    MEMBER_CELLS,
    keeps_members,
    open_members,
    read_members,
)
from fieldwise.recipes.bed_topography.regions.material import CUBIC, PREDICTION, Material, follow
from fieldwise.scores import BandPowerSums, ranks_of, sample_maps, spread_and_error

if TYPE_CHECKING:
    import pygmt
    from matplotlib.figure import Figure

SHOWN_M = 64e3  # edge of what is shown of a map


def keeps(material: Material) -> bool:
    """Tell whether a map keeps its members.

    >>> from fieldwise.recipes.bed_topography.regions.material import gather
    >>> from fieldwise.samples.examples import make_prepared
    >>> prepared = make_prepared({}, shape=(16, 16), map=np.zeros((16, 16)))
    >>> keeps(gather(prepared.cases()[0], prepared.folder / "map.tif"))
    False
    """
    return material.path is not None and keeps_members(material.path)


def has_members(material: Material) -> bool:
    """Tell whether a map keeps members, and a truth is known to hold beside them.

    >>> from fieldwise.recipes.bed_topography.regions.material import gather
    >>> from fieldwise.samples.examples import make_prepared
    >>> prepared = make_prepared({}, shape=(16, 16), map=np.zeros((16, 16)))
    >>> has_members(gather(prepared.cases()[0], prepared.folder / "map.tif"))
    False
    """
    return material.truth_name == "truth" and keeps(material)


def _read(material: Material) -> tuple[xr.DataArray, np.ndarray]:
    """Read the middle of a map, and of its members, (member, y, x)."""
    whole = material.prediction
    cells = min(round(SHOWN_M / material.case.spacing), *whole.shape)
    rows, columns = (slice((size - cells) // 2, (size - cells) // 2 + cells) for size in whole.shape)
    assert material.path is not None
    members = read_members(material.path, rows, columns)
    assert members is not None
    return whole[rows, columns].load(), members


def draw_beds(material: Material) -> pygmt.Figure:
    """Draw the truth, the mean of the members, two of them and the low-res bed, lit alike; and the spread."""
    mean, members = _read(material)
    beds = {
        str(material.truth_name): material.truth(mean),
        "mean of the members": mean,
        "cubic low-res bed": material.cubic(mean),
        "member 1": mean.copy(data=members[0]),
        "member 2": mean.copy(data=members[1]),
    }
    spread = mean.copy(data=members.std(axis=0, ddof=1)).rename("spread of the members")
    spread.attrs["long_name"] = "standard deviation"
    return figures.draw_shaded({name: bed for name, bed in beds.items() if bed is not None}, spread=spread)


def draw_along(material: Material) -> Figure:
    """Draw members along the longest held-out flight: band, mean, the low-res bed, and the picks.

    >>> import pandas as pd
    >>> from fieldwise.fields.grids import make_field
    >>> from fieldwise.recipes.bed_topography.regions.material import gather
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.surveys import write_flights
    >>> prepared = make_prepared({"bed_lowres": np.zeros((8, 8))}, shape=(32, 32), held_out="picks.nc")
    >>> (case,), home = prepared.cases(), prepared.folder
    >>> flight = pd.DataFrame({"x": np.arange(1e3, 7e3, 100), "y": 4e3, "z": 0.0})
    >>> flight = flight.assign(flight=0, survey="2010tr")
    >>> _ = write_flights([flight], home / "picks.nc", crs=case.grid.crs)
    >>> beds = np.random.default_rng(0).normal(size=(19, 32, 32))
    >>> drawn = make_field(beds.mean(axis=0), case.grid, name="bed").to_dataset()
    >>> drawn["bed_member"] = ("member", "y", "x"), beds
    >>> drawn.to_netcdf(home / "map.nc", engine="h5netcdf")
    >>> figure = draw_along(gather(case, home / "map.nc"))
    """
    assert material.path is not None
    flight, grid = material.longest_flight(), grid_of(material.prediction)
    along, steps, distance = follow(flight, material.case.spacing)
    x, y = steps["x"], steps["y"]
    members = sample_maps(open_members(material.path, grid), grid, x, y, block_cells=MEMBER_CELLS)
    maps = material.sample(x, y)
    return figures.draw_flight_members(
        distance / 1000,
        np.stack(list(members.values())),
        {"mean of the members": maps[PREDICTION], CUBIC: maps[CUBIC]},
        picks=(along / 1000, flight["z"]),
        ends=("A", "B"),
    )


def draw_worth(material: Material) -> Figure:
    """Draw members along a line, ranks of the truth, spread beside error, and power beside the truth's."""
    mean, members = _read(material)
    true = material.truth(mean)
    assert true is not None
    truth = load_values(true)
    base, spacing = load_values(material.cubic(mean)), material.case.spacing
    sums = [BandPowerSums(spacing) for _ in members]
    for member, power in zip(members, sums):
        power.add(member - base, truth - base)
    ranks = np.bincount(ranks_of(members, truth), minlength=len(members) + 1)
    spread, error = spread_and_error(members, truth)
    return draw_members(
        members,
        truth,
        spacing=spacing / 1000,
        ranks=ranks,
        spread=spread,
        error=error,
        wavenumber=2 * np.pi * 1000 / np.array(sums[0].wavelengths),
        power_ratios=np.stack([power.ratios for power in sums]),
        label="bed elevation",
        units="m",
        length_units="km",
        wavenumber_units="rad/km",
    )
