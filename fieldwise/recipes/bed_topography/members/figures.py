"""Members of a bed to look at: beside their mean and the truth, and how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from fieldwise import figures
from fieldwise.fields.grids import load_values
from fieldwise.figures.volumes.members import draw_members
from fieldwise.recipes.bed_topography.judgement import Material
from fieldwise.recipes.bed_topography.members.scores import read_members
from fieldwise.scores import BandPowerSums, ranks_of, spread_and_error

if TYPE_CHECKING:
    import pygmt
    from matplotlib.figure import Figure

SHOWN_M = 64e3  # edge of what is shown of a map


def has_members(material: Material) -> bool:
    """Tell whether a map keeps members, and a truth is known to hold beside them.

    >>> from fieldwise.recipes.bed_topography.judgement import gather
    >>> from fieldwise.samples.examples import make_prepared
    >>> prepared = make_prepared({}, shape=(16, 16), map=np.zeros((16, 16)))
    >>> has_members(gather(prepared.cases()[0], prepared.folder / "map.tif"))
    False
    """
    return material.truth_name == "truth" and _read(material) is not None


def _read(material: Material) -> tuple[xr.DataArray, np.ndarray] | None:
    """Read the middle of a map, and of its members, (member, y, x); None where it keeps none."""
    whole = material.prediction
    cells = min(round(SHOWN_M / material.case.spacing), *whole.shape)
    rows, columns = (slice((size - cells) // 2, (size - cells) // 2 + cells) for size in whole.shape)
    members = None if material.path is None else read_members(material.path, rows, columns)
    return None if members is None else (whole[rows, columns].load(), members)


def draw_beds(material: Material) -> pygmt.Figure:
    """Draw the truth, the mean of the members, two of them and the cubic low-res bed, lit alike."""
    mean, members = _known(material)
    beds = {
        "truth": material.truth(mean),
        "mean of the members": mean,
        "cubic low-res bed": material.cubic(mean),
        "member 1": mean.copy(data=members[0]),
        "member 2": mean.copy(data=members[1]),
    }
    return figures.draw_shaded({name: bed for name, bed in beds.items() if bed is not None})


def draw_worth(material: Material) -> Figure:
    """Draw members along a line, ranks of the truth, spread beside error, and power beside the truth's."""
    mean, members = _known(material)
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


def _known(material: Material) -> tuple[xr.DataArray, np.ndarray]:
    found = _read(material)
    assert found is not None
    return found
