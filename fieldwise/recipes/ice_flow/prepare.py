"""Frames of glaciers to a folder to learn from: the verb prepare."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from tqdm import tqdm

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError, require_at_least
from fieldwise.recipes.ice_flow.signatures import ICE_SLOPES, RECIPE, SLOPES, SPACING, UNITS

if TYPE_CHECKING:
    import xarray as xr

    from fieldwise.samples.prepared import Draft
    from fieldwise.samples.sources import Source


def prepare(
    *,
    source: str = "sandbox",
    out: Path = Path("data/ice_flow"),
    seed: int = 7,
    size_cells: int = 64,
    valleys: int = 24,
    snapshots: int = 8,
    spacing_m: float = 100.0,
    variables: list[str] | None = None,
    resample: float = 1.0,
    step: int = 1,
    validation_fraction: float = 0.2,
    progress: bool = True,
) -> Path:
    """Bring frames of glaciers into one order, derive slopes, and check that nothing is missing.

    Args:
        source: `sandbox` for made valleys with a known truth; a folder with train/CASE/ex.nc (or
            <variable>.npy), test/CASE/... and maybe valid/CASE/...; or a FILE.yaml that names your own files.
        out: Folder to write.
        seed: Seed of the sandbox and of the choice of validation cases.
        size_cells: Edge of the sandbox's frames in cells.
        valleys: Valleys of the sandbox.
        snapshots: Frames of each.
        spacing_m: Edge of the sandbox's cells in metres.
        variables: Names of the variables to keep; by default all that lie on x and y.
        resample: Factor on the edge of cells: 2 averages 2 x 2 cells, 0.5 refines by cubic splines.
        step: Keep every so-many-th frame.
        validation_fraction: Share of the training cases to stop and select weights on, where the source has
            no valid/ of its own. Whole cases: frames of one glacier are too much alike.
        progress: Whether to show how far it is.

    Returns:
        The folder, which now holds a dataset.yaml.
    """
    require_at_least(1, size_cells=size_cells, valleys=valleys, snapshots=snapshots, step=step)
    if not 0 <= validation_fraction < 1:
        raise InputError(f"--validation_fraction: is {validation_fraction:g}; give a share from 0 to below 1")
    from fieldwise.samples.prepared import SPLITS
    from fieldwise.samples.rules import list_whole_files
    from fieldwise.samples.sources import hold_out, open_cases
    from fieldwise.verbs.prepare import prepare_folder

    out, file = Path(out), Path(source)
    with prepare_folder(out, recipe=RECIPE, source=str(source), seed=seed) as draft:
        if source == "sandbox":
            from fieldwise.sandbox.ice_flow import make_ice_flow

            file = make_ice_flow(
                draft.folder / source,
                seed=seed,
                size_cells=size_cells,
                valleys=valleys,
                snapshots=snapshots,
                spacing_m=spacing_m,
                progress=progress,
            )
        cases = hold_out(open_cases(file, file="ex.nc"), validation_fraction, seed=seed)
        places = [out / case.split / case.name for case in cases]
        inputs = list_whole_files(path for case in cases for path in case.sources.values())
        _check_apart(places, inputs)
        for case in tqdm(cases, desc="preparing", unit="case", disable=not progress):
            _write_case(case, draft, variables=variables, resample=resample, step=step)
        draft.sources, draft.home = inputs, file if file.is_dir() else None
        for place in [*places, out / "sandbox"]:  # what was prepared before
            shutil.rmtree(place, ignore_errors=True)
    if progress:
        counts = [f"{sum(case.split == split for case in cases)} {split}" for split in SPLITS]
        tqdm.write(f"cases: {', '.join(counts)}; frames: {sum(case.frames for case in draft.cases)}")
    return out


def _check_apart(places: list[Path], inputs: list[Path]) -> None:
    """Refuse to write over what is read."""
    taken = {place.resolve() for place in places}
    for file in inputs:
        if taken & {*file.resolve().parents}:
            raise InputError(f"{file}: would be replaced by what is prepared from it; give another --out")


def _write_case(
    source: Source, draft: Draft, *, variables: list[str] | None, resample: float, step: int
) -> None:
    """Write the frames of a glacier, with slopes, at the cells that are asked for."""
    from fieldwise.fields.resampling import resampled_shape
    from fieldwise.samples.sources import write_frames

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
    from fieldwise.physics.ice_flow.slopes import derive_ice_slopes, derive_slopes
    from fieldwise.samples.sources import read_frames

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
    """Bring the fields of a frame to cells that are larger or smaller by a whole factor.

    Larger cells take the mean of those that they cover; cells left over at the south and east are dropped.
    Smaller ones come from cubic splines, within the range of the field, and carry ice where the cell that
    they lie in does. Slopes are not resampled: they are derived from the resampled surface.

    Parameters
    ----------
    fields
        Name to (y, x).
    factor
        2 for cells of twice the edge, 0.5 for half.

    >>> resample_frame({"thk": np.array([[0.0, 2.0], [4.0, 6.0]])}, 2)["thk"].tolist()
    [[3.0]]
    """
    from fieldwise.fields.resampling import block_mean, refine

    kept = {name: values for name, values in fields.items() if name not in (*SLOPES, *ICE_SLOPES)}
    if factor >= 1:
        return {name: block_mean(values, round(factor)) for name, values in kept.items()}
    times = round(1 / factor)
    finer = {name: refine(values, times) for name, values in kept.items()}
    if "thk" in kept:
        ice = np.kron(kept["thk"] > 0, np.ones((times, times), dtype=bool))
        finer["thk"] = np.where(ice, finer["thk"], np.float32(0))
    return finer
