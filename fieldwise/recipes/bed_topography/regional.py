"""What the regional course of surface and bed tells the network: how ice passes on the bed depends on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fieldwise.fields.grids import make_field
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.tiles import cut
from fieldwise.recipes.bed_topography.region import DERIVED, LOWRES, SURFACE, lowres_spacing
from fieldwise.samples.cases import Case


def add_regional_inputs(case: Case) -> dict[str, Any]:
    """Derive regional surface slope and ice thickness, at low-res spacing, from trends of surface and bed.

    Taking the trend off the inputs makes the fine structure learnable, and hides what governs how much of
    the bed comes through to the surface: the thickness of the ice, and slope and direction of its flow
    (Gudmundsson 2003, https://doi.org/10.1029/2002JB002107). Both are given back as inputs of their own.

    Returns
    -------
    dict
        Entries of the derived inputs for the description; none where there is no surface elevation.

    >>> from fieldwise.fields.formats import open_field
    >>> from fieldwise.samples.examples import make_prepared
    >>> eastward = np.tile(np.arange(500.0, 4000, 1000), (4, 1))
    >>> trends = {"surface_elevation": 800 - eastward / 100, "bed_lowres": -200 + 0 * eastward}
    >>> prepared = make_prepared(trends, shape=(16, 16), trends=trends)
    >>> entries, inputs = add_regional_inputs(prepared.cases()[0]), prepared.folder / "inputs"
    >>> entries["surface_slope"]["paths"]  # eastward and northward
    ['inputs/surface_slope_1.tif', 'inputs/surface_slope_2.tif']
    >>> open_field(inputs / "surface_slope_1.tif").values[0]  # falls by 10 m a kilometre
    array([-0.01, -0.01, -0.01, -0.01], dtype=float32)
    >>> open_field(inputs / "ice_thickness.tif").values[0].tolist()
    [995.0, 985.0, 975.0, 965.0]
    """
    if SURFACE not in case.variables:
        return {}
    spacing = lowres_spacing(case)
    grid = case.grid_at(spacing)
    surface, bed = (
        cut(case.trend(name), [grid.bounds], spacing=spacing, extend=True)[0].astype(np.float64)
        for name in (SURFACE, LOWRES)
    )
    southward, eastward = np.gradient(surface, spacing)
    values = {"surface_slope": [eastward, -southward], "ice_thickness": [surface - bed]}
    # A thickness that the user gives is of one epoch; surface and low-res bed may be of two.
    values = {name: channels for name, channels in values.items() if name not in case.variables}
    entries = {}
    for name, channels in values.items():
        numbers = range(1, len(channels) + 1)
        paths = [
            f"inputs/{name}_{number}.tif" if len(channels) > 1 else f"inputs/{name}.tif" for number in numbers
        ]
        for channel, path in zip(channels, paths):
            field = make_field(channel.astype(np.float32), grid, name=name, units=DERIVED[name])
            write_cog(field, case.folder / path)
        entries[name] = {"spacing_m": spacing, "units": DERIVED[name], "paths": paths, "trends": []}
    return entries
