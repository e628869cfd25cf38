"""What an emulator reads and gives, and what each field is divided by: map types and .dat files."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fieldwise.errors import InputError
from fieldwise.interop.field_scales import read_field_scales, write_field_scales
from fieldwise.samples.scales import Scale
from fieldwise.samples.signatures import Side, Signature, are_components, group_fields

RECIPE = "ice_flow"
SPACING = "dX"  # edge of a cell in metres, as a field
THICKNESS = "thk"
SLOPES, ICE_SLOPES = (
    ("slopsurfx", "slopsurfy"),
    ("slopicex", "slopicey"),
)  # of the surface; that drive the ice
# What values are divided by, so that they are of order one.
SCALES = {"thk": 2000.0, "slopsurfx": 1.5, "slopsurfy": 1.5, "slopicex": 1.5, "slopicey": 1.5}
SCALES |= {"strflowctrl": 200.0, "arrhenius": 100.0, "slidingco": 100.0, SPACING: 1000.0}
SCALES |= {f"{axis}{place}": 1000.0 for axis in "uv" for place in ("bar", "velbase", "velsurf")}
SCALES |= {"wvelbase": 100.0, "wvelsurf": 100.0, "smb": 10.0}
SCALES |= {f"precipitation_{month}": 10.0 for month in range(12)}
SCALES |= {f"air_temp_{month}": 20.0 for month in range(12)}

GEOMETRY = (THICKNESS, *SLOPES)
CONTROL = (*GEOMETRY, "strflowctrl")
RHEOLOGY = (*GEOMETRY, "arrhenius", "slidingco")
DRIVEN = (THICKNESS, *ICE_SLOPES, "arrhenius", "slidingco", SPACING)
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
SIDES: tuple[Side, Side] = ("inputs", "outputs")
# As UDUNITS reads them, to which "a" is an area of 100 m2.
UNITS = dict.fromkeys(("thk", "usurf", "topg", SPACING), "m")
UNITS |= {"arrhenius": "MPa-3 year-1", "slidingco": "MPa m-1/3 year1/3", "smb": "m year-1"}
UNITS |= {name: "m year-1" for name in SCALES if name[1:].startswith(("bar", "vel"))}
DEPTHS = {"bar": "mean", "velbase": "bed", "velsurf": "surface"}  # where in the ice velocities are known
STANDARD_NAMES = {"smb": "land_ice_surface_specific_mass_balance_rate"}
STANDARD_NAMES |= {
    f"{axis}{place}": f"land_ice_{depth}_{direction}velocity"
    for place, depth in zip(DEPTHS, ("vertical_mean", "basal", "surface"))
    for axis, direction in (("u", "x_"), ("v", "y_"), ("w", "upward_"))
    if (axis, place) != ("w", "bar")
}


def read_signature(maptype: str | Path) -> Signature:
    """Give the signature of a map type, or the one that a folder's fieldin.dat and fieldout.dat tell.

    Raises
    ------
    InputError
        Where it is neither, or a file is malformed, naming the line.

    >>> signature = read_signature("f2")
    >>> scales_of(signature, "inputs")
    {'thk': 2000.0, 'slopsurfx': 1.5, 'slopsurfy': 1.5}
    >>> [variable.name for variable in signature.inputs], signature.vectors()
    (['thk', 'slopsurf'], {'inputs': [(1, 2)], 'targets': [(0, 1)]})
    """
    if str(maptype) in MAP_TYPES:
        inputs, outputs = ({name: SCALES[name] for name in side} for side in MAP_TYPES[str(maptype)])
        return make_signature(inputs, outputs)
    folder = Path(maptype)
    if not folder.is_dir():
        raise InputError(
            f"--maptype: {maptype} is neither one of {', '.join(MAP_TYPES)} nor a folder with "
            f"{' and '.join(DATA_FILES)}"
        )
    return make_signature(*(read_field_scales(folder / name) for name in DATA_FILES))


def make_signature(inputs: Mapping[str, float], outputs: Mapping[str, float]) -> Signature:
    """Make a signature of fields and what they are divided by, in the order of the channels.

    Components that stand side by side with one scale make up a vector.

    >>> made = make_signature({"slopsurfx": 1.5, "thk": 2000.0, "slopsurfy": 1.5}, {"ubar": 1.0, "vbar": 2.0})
    >>> made.vectors()
    {'inputs': [], 'targets': []}
    """
    sides = []
    for scales in (inputs, outputs):
        names = list(scales)
        adjacent = [
            pair
            for pair in itertools.pairwise(names)
            if are_components(*pair) and scales[pair[0]] == scales[pair[1]]
        ]
        grouped = group_fields(names, units=UNITS, pairs=adjacent)
        sides.append(tuple(replace(each, scale=Scale(0.0, scales[each.fields[0]])) for each in grouped))
    return Signature(RECIPE, sides[0], sides[1], stacked=True)


def scales_of(signature: Signature, side: Side) -> dict[str, float]:
    """Give what each field of a side is divided by, in the order of the channels.

    >>> scales_of(read_signature("f2"), "outputs")
    {'ubar': 1000.0, 'vbar': 1000.0}
    """
    return {name: each.scale.spread for each in getattr(signature, side) for name in each.fields}


def write_map(signature: Signature, folder: str | Path) -> list[Path]:
    """Write fieldin.dat and fieldout.dat: a name and a scale with six decimals a line.

    >>> import tempfile
    >>> paths = write_map(read_signature("f2"), tempfile.mkdtemp())
    >>> paths[0].read_text().splitlines()[0].strip()
    'thk 2000.000000'
    """
    files = zip(DATA_FILES, SIDES, strict=True)
    return [write_field_scales(scales_of(signature, side), Path(folder) / name) for name, side in files]


def check_directions(signature: Signature) -> None:
    """Refuse to turn maps where fields that are components by their names are not known as a vector.

    >>> check_directions(make_signature({"slopsurfx": 1.5, "slopsurfy": 1.0}, {}))
    Traceback (most recent call last):
    fieldwise.errors.InputError: --maptype: slopsurfx and slopsurfy do not stand side by side ...
    """
    for side in (signature.inputs, signature.outputs):
        for each in group_fields((each.name for each in side if not each.vector), units={}):
            if each.vector:
                raise InputError(
                    f"--maptype: {' and '.join(each.fields)} do not stand side by side with one scale, so "
                    "that maps cannot be turned; write the .dat files so, or give --data_augmentation false "
                    "and another --network than equivariant"
                )
