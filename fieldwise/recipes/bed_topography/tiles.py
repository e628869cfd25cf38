"""Tiles as the network takes them: detrended, scaled, and described."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fieldwise.errors import InputError
from fieldwise.fields.tiles import read_tiles
from fieldwise.recipes.bed_topography.region import (
    DERIVED,
    INVERSION,
    LOWRES,
    RECIPE,
    VECTORS,
    lowres_spacing,
)
from fieldwise.samples.cases import Case
from fieldwise.samples.scales import LengthScale, Scale, fit_scale
from fieldwise.samples.signatures import Signature, Variable


def choose_inputs(case: Case, names: list[str] | str | None, *, departure: bool) -> list[str]:
    """Give the names of the inputs to learn from: those asked for, or all; of raw values, the published ones.

    Raises
    ------
    InputError
        Where one that is asked for is not there.

    >>> from fieldwise.samples.examples import make_prepared
    >>> zeros = np.zeros((4, 4))
    >>> fields = {"bed_lowres": zeros, "surface_elevation": zeros, "ice_thickness": zeros}
    >>> case = make_prepared(fields, shape=(16, 16)).cases()[0]
    >>> choose_inputs(case, None, departure=True)
    ['bed_lowres', 'surface_elevation', 'ice_thickness']
    >>> choose_inputs(case, None, departure=False)  # the thickness is derived from the others
    ['bed_lowres', 'surface_elevation']
    """
    known = list(case.variables)
    if names is None:
        return [name for name in known if departure or name not in DERIVED]
    names = [names] if isinstance(names, str) else names
    unknown = [name for name in names if name not in known]
    if not names:
        raise InputError(f"--inputs: names none; give some of {', '.join(known)}")
    if unknown:
        raise InputError(
            f"--inputs: {case.folder} holds no {', '.join(unknown)}; it holds {', '.join(known)}"
        )
    return names


def read_samples(
    case: Case, split: str, names: list[str], *, departure: bool, like: Signature | None = None
) -> tuple[dict[str, Any], Signature]:
    """Read the tiles of a split as the task takes them; fit the scales unless a signature gives them.

    Returns
    -------
    tuple
        Arrays: ``inputs``, name to (tile, channel, y, x), scaled; ``base``, ``targets`` and ``bed_lowres``
        in metres; and the signature that travels in the checkpoint.

    >>> from fieldwise.fields.tiles import write_tiles
    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.full((4, 4), -90.0)}, shape=(16, 16)).cases()[0]
    >>> beds = np.tile([-60.0, -120.0], (2, 1, 4, 2))  # 30 m above and below the low-res bed
    >>> tiles = {"bed_lowres": np.full((2, 1, 3, 3), -90.0), "bed": beds}
    >>> _ = write_tiles(tiles, case.folder / "tiles.zarr", splits=["training", "validation"], crs=case.crs,
    ...                 windows=np.array([[1000, 1000, 2000, 2000], [2000, 2000, 3000, 3000]]),
    ...                 spacing_m={"bed_lowres": 1000, "bed": 250}, units={"bed_lowres": "m", "bed": "m"})
    >>> arrays, signature = read_samples(case, "training", ["bed_lowres"], departure=True)
    >>> arrays["targets"].shape, float(arrays["base"].mean()), signature.outputs[0].scale
    ((1, 1, 4, 4), -90.0, Scale(mean=0.0, spread=30.0))
    """
    tiles = read_tiles(case.folder / "tiles.zarr", split)
    windows, padding = tiles["bounds"].values, lowres_spacing(case)
    bed, lowres = tiles["bed"].values, tiles[LOWRES].values
    arrays = {name: tiles[name].values for name in names}
    if departure:
        arrays = {
            name: case.flatten(case.variables[name], values, windows, padding=padding)
            for name, values in arrays.items()
        }
    signature = like or _describe(case, arrays, departure=departure)
    base = np.zeros_like(bed)
    if departure:
        base = interpolate(case, LOWRES, windows)[:, None]
        if INVERSION in names:
            told = interpolate(case, INVERSION, windows)[:, None]
            if like is None:
                signature = signature.with_facts(inversion_share=fit_share(bed - base, told))
            base = base + signature.facts["inversion_share"] * told
        if like is None:
            scale = Scale(0.0, fit_scale(bed - base).spread)
            signature = replace(signature, outputs=(replace(signature.outputs[0], scale=scale),))
    scaled = {name: values.astype(np.float32) for name, values in signature.apply(arrays).items()}
    return {"inputs": scaled, "base": base, "targets": bed, "bed_lowres": lowres}, signature


def fit_share(departure: np.ndarray, told: np.ndarray) -> float:
    """Fit which share of a first guess to believe: least squares, between 0 and 1.

    >>> told = np.array([2.0, -2.0, 4.0])
    >>> fit_share(0.5 * told, told), fit_share(-told, told), fit_share(told, 0 * told)
    (0.5, 0.0, 0.0)
    """
    power = float((told * told).sum())
    return min(1.0, max(0.0, float((departure * told).sum()) / power)) if power else 0.0


def describe_inputs(
    case: Case, names: list[str], scales: dict[str, Any], *, flat: bool
) -> tuple[Variable, ...]:
    """Say how inputs of a region are read and scaled, by default as they are.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({"bed_lowres": np.zeros((4, 4))}, shape=(16, 16)).cases()[0]
    >>> (lowres,) = describe_inputs(case, ["bed_lowres"], {"bed_lowres": Scale(-90.0, 30.0)}, flat=True)
    >>> lowres.spacing, lowres.flat
    (1000.0, True)
    """
    known = (case.variables[name] for name in names)
    return tuple(replace(each, scale=scales.get(each.name, each.scale), flat=flat) for each in known)


def _describe(case: Case, arrays: dict[str, np.ndarray], *, departure: bool) -> Signature:
    """Say what a network takes and gives: names, channels, spacings, units and scales."""
    scales: dict[str, Any] = {}
    if departure:
        for name, values in arrays.items():
            scales[name] = LengthScale(VECTORS[name]) if name in VECTORS else fit_scale(values)
    facts = {"departure": departure, "lowres_spacing_m": lowres_spacing(case)}
    return Signature(
        RECIPE,
        describe_inputs(case, list(arrays), scales, flat=departure),
        (Variable("bed", units="m", spacing=case.spacing),),
        spacings=(case.spacing,),
        facts=facts,
    )


def interpolate(case: Case, name: str, windows: np.ndarray) -> np.ndarray:
    """Interpolate an input of one channel to the cells of the map by cubic convolution: (n, y, x).

    The low-res bed, and the share of the surface inversion that is believed, are what departures are added
    to; without any, they are baselines to be judged beside.

    >>> from fieldwise.samples.examples import make_prepared
    >>> slope = np.tile([50.0, 150.0, 250.0, 350.0], (4, 1))  # rises by 100 m a kilometre
    >>> case = make_prepared({"bed_lowres": slope}, shape=(8, 8), spacing=500.0).cases()[0]
    >>> interpolate(case, "bed_lowres", np.array([[1500, 1500, 2500, 2000]])).tolist()
    [[[175.0, 225.0]]]
    """
    return case.cut(name, windows, method="cubic")
