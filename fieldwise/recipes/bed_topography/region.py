"""The one case of a prepared folder of beds: a region, and what its fields are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldwise.fields.arrays import ArrayModule
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.signatures import Variable

RECIPE = "bed_topography"
UPSAMPLING = 4  # cells of the map along one low-res cell
LOWRES, SURFACE, VELOCITY, INVERSION = "bed_lowres", "surface_elevation", "ice_velocity", "surface_inversion"
DERIVED = {"surface_slope": "1", "ice_thickness": "m", INVERSION: "m"}  # name to units
# Vectors, whose components turn with a tile, and the length below which they are scaled linearly.
VECTORS = {VELOCITY: 10.0, "surface_slope": 2e-3}


def open_region(data: str | Path, *, arrays: ArrayModule = "numpy") -> Case:
    """Open the region of a prepared folder; one of another recipe is refused.

    >>> from fieldwise.samples.examples import make_prepared
    >>> open_region(make_prepared({}, shape=(16, 16)).folder).bounds
    (0.0, 0.0, 4000.0, 4000.0)
    """
    return Prepared(data, recipe=RECIPE, arrays=arrays).cases()[0]


def lowres_spacing(case: Case) -> float:
    """Give the spacing of the low-res bed in metres: four times that of the map.

    >>> from fieldwise.samples.examples import make_prepared
    >>> lowres_spacing(make_prepared({}, shape=(16, 16), spacing=250.0).cases()[0])
    1000.0
    """
    return UPSAMPLING * case.spacing


def add_inputs(case: Case, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Add inputs to a region in the making.

    Parameters
    ----------
    entries
        Name to ``spacing_m``, ``units`` and ``paths``, one a channel; where it has them ``trends`` and
        ``spreads``, likewise.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({}, shape=(16, 16)).cases()[0]
    >>> paths = ["inputs/ice_velocity_1.tif", "inputs/ice_velocity_2.tif"]
    >>> add_inputs(case, {"ice_velocity": {"spacing_m": 500.0, "units": "m a-1", "paths": paths}})
    >>> case.variables["ice_velocity"].fields, case.files["ice_velocity_2"]
    (('ice_velocity_1', 'ice_velocity_2'), 'inputs/ice_velocity_2.tif')
    """
    for name, entry in entries.items():
        fields = tuple(Path(path).stem for path in entry["paths"])
        options = {"units": entry["units"], "spacing": float(entry["spacing_m"]), "vector": name in VECTORS}
        case.variables[name] = Variable(name, fields, **options)
        for table, key in ((case.files, "paths"), (case.trends, "trends"), (case.spreads, "spreads")):
            table.update(zip(fields, entry.get(key, ())))
