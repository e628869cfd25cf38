"""Which fields an emulator reads and gives, and what each is divided by: map types and .dat files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fieldwise.errors import InputError
from fieldwise.interop.field_scales import read_field_scales, write_field_scales

# What values are divided by, so that they are of order one.
SCALES = {"thk": 2000.0, "slopsurfx": 1.5, "slopsurfy": 1.5, "slopicex": 1.5, "slopicey": 1.5}
SCALES |= {
    "strflowctrl": 200.0,
    "arrhenius": 100.0,
    "slidingco": 100.0,
    "dX": 1000.0,
    "wvelbase": 100.0,
    "wvelsurf": 100.0,
    "smb": 10.0,
}
SCALES |= {f"{axis}{place}": 1000.0 for axis in "uv" for place in ("bar", "velbase", "velsurf")}
SCALES |= {f"precipitation_{month}": 10.0 for month in range(12)}
SCALES |= {f"air_temp_{month}": 20.0 for month in range(12)}

GEOMETRY = ("thk", "slopsurfx", "slopsurfy")
CONTROL = (*GEOMETRY, "strflowctrl")
RHEOLOGY = (*GEOMETRY, "arrhenius", "slidingco")
DRIVEN = ("thk", "slopicex", "slopicey", "arrhenius", "slidingco", "dX")  # with the slopes that drive the ice
MEAN, SURFACE, BASE = ("ubar", "vbar"), ("uvelsurf", "vvelsurf"), ("uvelbase", "vvelbase")
CLIMATE = tuple(name for name in SCALES if name.startswith(("precipitation_", "air_temp_")))
MAP_TYPES = {
    "f2": (GEOMETRY, MEAN),
    "f10": (CONTROL, MEAN),
    "f11": (RHEOLOGY, MEAN),
    "f12": (CONTROL, (*MEAN, *SURFACE)),
    "f13": (RHEOLOGY, (*MEAN, *SURFACE)),
    "f14": (CONTROL, (*BASE, *MEAN, *SURFACE)),
    "f15": (RHEOLOGY, (*BASE, *MEAN, *SURFACE)),
    "f16": (CONTROL, (*BASE, "wvelbase", *MEAN, *SURFACE, "wvelsurf")),
    "f17": (RHEOLOGY, (*BASE, "wvelbase", *MEAN, *SURFACE, "wvelsurf")),
    "g11": (DRIVEN, MEAN),
    "g13": (DRIVEN, (*MEAN, *SURFACE)),
    "g15": (DRIVEN, (*BASE, *MEAN, *SURFACE)),
    "smb": (CLIMATE, ("smb",)),
}
DATA_FILES = ("fieldin.dat", "fieldout.dat")
# As UDUNITS reads them, to which "a" is an area of 100 m2.
UNITS = dict.fromkeys(("thk", "usurf", "topg", "dX"), "m")
UNITS |= dict.fromkeys(("slopsurfx", "slopsurfy", "slopicex", "slopicey"), "1")
UNITS |= {"arrhenius": "MPa-3 year-1", "slidingco": "MPa m-1/3 year1/3", "smb": "m year-1"}
UNITS |= {name: "m year-1" for name in SCALES if name[1:].startswith(("bar", "vel"))}
STANDARD_NAMES = {"smb": "land_ice_surface_specific_mass_balance_rate"}
STANDARD_NAMES |= {
    f"{axis}{place}": f"land_ice_{depth}_{direction}velocity"
    for place, depth in (("bar", "vertical_mean"), ("velbase", "basal"), ("velsurf", "surface"))
    for axis, direction in (("u", "x_"), ("v", "y_"), ("w", "upward_"))
    if (axis, place) != ("w", "bar")
}


@dataclass(frozen=True)
class FieldMap:
    """Names and scales of what is read and what is given, in the order of the channels.

    >>> FieldMap({"thk": 2000.0}, {"ubar": 1000.0, "vbar": 1000.0}).vectors
    [('ubar', 'vbar')]
    """

    inputs: dict[str, float]
    outputs: dict[str, float]

    @property
    def vectors(self) -> list[tuple[str, str]]:
        """Pairs of names that are components to the east and to the north."""
        return pair_vectors([*self.inputs, *self.outputs])


def pair_vectors(names: Iterable[str]) -> list[tuple[str, str]]:
    """Find the vectors among names: `u...` beside `v...`, or `...x` beside `...y`.

    >>> pair_vectors(["thk", "slopsurfx", "slopsurfy", "uvelsurf", "vvelsurf", "wvelsurf"])
    [('slopsurfx', 'slopsurfy'), ('uvelsurf', 'vvelsurf')]
    """
    names = list(names)
    pairs = []
    for name in names:
        partner = "v" + name[1:] if name.startswith("u") else name[:-1] + "y" if name.endswith("x") else None
        if partner in names:
            pairs.append((name, partner))
    return pairs


def pair_channels(names: Iterable[str]) -> list[tuple[int, int]]:
    """Give the vectors among names as pairs of channels, for :func:`fieldwise.samples.loaders.turn`.

    >>> pair_channels(["thk", "slopsurfx", "slopsurfy"])
    [(1, 2)]
    """
    names = list(names)
    return [(names.index(east), names.index(north)) for east, north in pair_vectors(names)]


def read_map(maptype: str | Path) -> FieldMap:
    """Give the mapping of a map type, or the one that a folder's fieldin.dat and fieldout.dat tell.

    Raises
    ------
    InputError
        Where it is neither, or a file is malformed, naming the line.

    >>> read_map("f2").inputs
    {'thk': 2000.0, 'slopsurfx': 1.5, 'slopsurfy': 1.5}
    """
    if str(maptype) in MAP_TYPES:
        inputs, outputs = MAP_TYPES[str(maptype)]
        return FieldMap({name: SCALES[name] for name in inputs}, {name: SCALES[name] for name in outputs})
    folder = Path(maptype)
    if not folder.is_dir():
        raise InputError(
            f"--maptype: {maptype} is neither one of {', '.join(MAP_TYPES)} nor a folder with "
            f"{' and '.join(DATA_FILES)}"
        )
    return FieldMap(*(read_field_scales(folder / name) for name in DATA_FILES))


def write_map(fields: FieldMap, folder: str | Path) -> list[Path]:
    """Write fieldin.dat and fieldout.dat: a name and a scale with six decimals a line.

    >>> import tempfile
    >>> paths = write_map(read_map("f2"), tempfile.mkdtemp())
    >>> paths[0].read_text().splitlines()[0].strip()
    'thk 2000.000000'
    """
    sides = zip(DATA_FILES, (fields.inputs, fields.outputs), strict=True)
    return [write_field_scales(scales, Path(folder) / name) for name, scales in sides]


def suggest_scales(largest: Mapping[str, float]) -> dict[str, float]:
    """Suggest scales from the largest absolute values: 1, 2 or 5 times a power of ten, not below them.

    Components of a vector get one scale, so that it keeps its direction.

    >>> suggest_scales({"thk": 310.0, "ubar": 12.0, "vbar": 80.0, "dX": 0.0})
    {'thk': 500.0, 'ubar': 100.0, 'vbar': 100.0, 'dX': 1.0}
    """
    shared = dict(largest)
    for east, north in pair_vectors(largest):
        shared[east] = shared[north] = max(largest[east], largest[north])
    return {name: _round_up(value) for name, value in shared.items()}


def _round_up(value: float) -> float:
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return max(next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9)), 1e-6)
