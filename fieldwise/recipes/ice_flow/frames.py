"""Frames of a glacier on their way to a prepared folder: chosen, resampled, with slopes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np
import xarray as xr

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError
from fieldwise.fields.resampling import resample as resample_field
from fieldwise.fields.resampling import resampled_shape
from fieldwise.physics.ice_flow.slopes import derive_ice_slopes, derive_slopes
from fieldwise.recipes.ice_flow.signatures import ICE_SLOPES, SLOPES, SPACING, UNITS
from fieldwise.samples.prepared import Draft
from fieldwise.samples.sources import Source, read_frames, write_frames


def write_case(
    source: Source, draft: Draft, *, variables: list[str] | None, resample: float, step: int
) -> None:
    """Write the frames of a glacier, with slopes, at the cells that are asked for.

    >>> import tempfile
    >>> from fieldwise.samples.prepared import draft_folder
    >>> axis, dims = np.array([50.0, 150.0]), ("time", "y", "x")
    >>> fields = {name: xr.DataArray(np.full((1, 2, 2), 80.0), dims=dims) for name in ("thk", "usurf")}
    >>> glacier = Source("aar", "test", fields, axis, axis[::-1], np.zeros(1), Path(), {})
    >>> with draft_folder(tempfile.mkdtemp(), recipe="ice_flow") as draft:
    ...     write_case(glacier, draft, variables=None, resample=1, step=1)
    >>> sorted(draft.cases[0].files)
    ['dX', 'slopicex', 'slopicey', 'slopsurfx', 'slopsurfy', 'thk', 'usurf']
    """
    fields = _choose_variables(source, variables)
    shape = resampled_shape((len(source.y), len(source.x)), resample)
    if resample != 1 and "usurf" not in fields and {*SLOPES, *ICE_SLOPES} & set(fields):
        raise InputError(
            f"{source.place}: slopes cannot be resampled and usurf, to derive them from, is missing"
        )
    spacing_m = float(f"{source.spacing_m * resample:.9g}")
    case = write_frames(
        draft,
        source,
        _derive_frames(source, fields, resample=resample, step=step),
        times=source.times[::step],
        shape=shape,
        spacing=spacing_m,
        static=[name for name, field in fields.items() if field.sizes["time"] == 1],
        constants={SPACING: spacing_m},
        units=UNITS,
    )
    if "thk" in case.files and not any(
        (case.stack(["thk"], frame=frame) > 0).any() for frame in range(case.frames)
    ):
        raise InputError(f"{source.place}: has no ice: thk is nowhere above 0; leave case {source.name} out")


def _derive_frames(
    source: Source, fields: dict[str, xr.DataArray], *, resample: float, step: int
) -> Iterator[dict[str, np.ndarray]]:
    """Give one frame after the other, resampled, with slopes; missing values of all are told at the end."""
    missing: Counter[str] = Counter()
    for arrays in read_frames(source, fields, step=step):
        counts = {name: int(np.count_nonzero(~np.isfinite(values))) for name, values in arrays.items()}
        missing.update({name: count for name, count in counts.items() if count})
        if missing:  # nothing is written any more, all that is missing is counted
            continue
        if {"icemask", "thk"} <= arrays.keys():
            arrays["thk"] = np.where(arrays["icemask"] > 0.5, arrays["thk"], np.float32(0))
        if resample != 1:
            arrays = resample_frame(arrays, resample)
        if "usurf" in arrays:
            spacing_m = source.spacing_m * resample
            arrays |= dict(zip(SLOPES, derive_slopes(arrays["usurf"], spacing_m)))
            if "thk" in arrays:
                arrays |= dict(zip(ICE_SLOPES, derive_ice_slopes(arrays["usurf"], arrays["thk"], spacing_m)))
        yield arrays
    if missing:
        _refuse_missing(source, missing)


def _refuse_missing(case: Source, missing: Mapping[str, int]) -> NoReturn:
    listed: dict[Path, list[str]] = {}
    for name in sorted(missing):
        listed.setdefault(case.sources.get(name, case.place), []).append(f"{name} has {missing[name]}")
    counts = [f"{file}: {', '.join(each)}" for file, each in listed.items()]
    raise InputError(
        f"{'; '.join(counts)} missing values; fill them, or leave the variable out with --variables"
    )


def _choose_variables(case: Source, names: list[str] | None) -> dict[str, xr.DataArray]:
    """Give the variables to keep: numbers on x and y; slopes are derived wherever there is a surface."""
    known = {name: field for name, field in case.variables.items() if name != SPACING}
    for name in known:
        check_plain_name(name, f"{case.place}: variable")
    if names is None:
        return {name: field for name, field in known.items() if field.dtype.kind in "fiub"}
    derived = {*SLOPES, *ICE_SLOPES} if "usurf" in known else set()
    wanted = {*names} - derived - {SPACING} | ({"usurf"} if derived & {*names} else set())
    missing = sorted(wanted - set(known))
    if missing:
        raise InputError(f"{case.place}: lacks {', '.join(missing)}; it has {', '.join(sorted(known))}")
    return {name: known[name] for name in sorted(wanted)}


def resample_frame(fields: Mapping[str, np.ndarray], factor: float) -> dict[str, np.ndarray]:
    """Bring the fields of a frame, (y, x), to cells that are larger or smaller by a whole factor.

    Smaller ones carry ice where the cell that they lie in does. Slopes are not resampled: they are derived
    from the resampled surface.

    >>> resample_frame({"thk": np.array([[0.0, 2.0], [4.0, 6.0]])}, 2)["thk"].tolist()
    [[3.0]]
    """
    slopes = {*SLOPES, *ICE_SLOPES}
    kept = {name: resample_field(values, factor) for name, values in fields.items() if name not in slopes}
    if "thk" in kept and factor < 1:
        times = round(1 / factor)
        ice = np.kron(fields["thk"] > 0, np.ones((times, times), dtype=bool))
        kept["thk"] = np.where(ice, kept["thk"], np.float32(0))
    return kept
