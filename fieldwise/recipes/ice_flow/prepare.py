"""Frames of glaciers to a folder to learn from: the verb prepare."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import xarray as xr
from scipy import ndimage
from tqdm import tqdm

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError, first_line, require_at_least
from fieldwise.fields.formats import UNREADABLE
from fieldwise.fields.resampling import block_mean
from fieldwise.physics.ice_flow.slopes import derive_ice_slopes, derive_slopes
from fieldwise.recipes.ice_flow.cases import Case as Source
from fieldwise.recipes.ice_flow.cases import open_folder, read_case_list
from fieldwise.recipes.ice_flow.signatures import ICE_SLOPES, RECIPE, SLOPES, SPACING, group_fields
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import SPLITS, Draft, prepare_folder
from fieldwise.samples.rules import list_whole_files

BLOCK_BYTES = 2**26  # of a case in memory
OLD_WORDS = {"train": "training", "valid": "validation"}  # of splits, in users' folders and files


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
    from fieldwise.runs import record_provenance

    require_at_least(1, size_cells=size_cells, valleys=valleys, snapshots=snapshots, step=step)
    if not 0 <= validation_fraction < 1:
        raise InputError(f"--validation_fraction: is {validation_fraction:g}; give a share from 0 to below 1")
    out = Path(out)
    with prepare_folder(out, recipe=RECIPE, source=str(source)) as draft:
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
        else:
            file = _check_source(Path(source))
        cases = _hold_out(_open_cases(file), validation_fraction, seed=seed)
        places = [out / case.split / case.name for case in cases]
        inputs = list_whole_files(path for case in cases for path in case.sources.values())
        _check_apart(places, inputs)
        for case in tqdm(cases, desc="preparing", unit="case", disable=not progress):
            draft.add(_write_case(case, draft, variables=variables, resample=resample, step=step))
        folder = file if file.is_dir() else None
        record_provenance(draft.folder / "provenance.json", seed=seed, inputs=inputs, folder=folder)
        for place in [*places, out / "sandbox"]:  # what was prepared before
            shutil.rmtree(place, ignore_errors=True)
    if progress:
        counts = [f"{sum(case.split == split for case in cases)} {split}" for split in SPLITS]
        tqdm.write(f"cases: {', '.join(counts)}; frames: {sum(case.frames for case in draft.cases)}")
    return out


def _check_source(file: Path) -> Path:
    if not file.exists():
        raise InputError(f"{file}: no such file; --source takes `sandbox`, a folder or a FILE.yaml")
    if not file.is_dir() and file.suffix not in (".yaml", ".yml"):
        raise InputError(f"{file}: is no .yaml; --source takes `sandbox`, a folder or a FILE.yaml")
    return file


def _open_cases(file: Path) -> list[Source]:
    """Open the cases of a source; their splits are called as everywhere."""
    cases = open_folder(file) if file.is_dir() else read_case_list(file)
    return [replace(case, split=OLD_WORDS.get(case.split, case.split)) for case in cases]


def _hold_out(cases: list[Source], fraction: float, *, seed: int) -> list[Source]:
    """Move some of the training cases to validation, where there are none for it."""
    training = [number for number, case in enumerate(cases) if case.split == "training"]
    if any(case.split == "validation" for case in cases) or not training or fraction <= 0:
        return cases
    if len(training) == 1:
        tqdm.write(
            f"one case to learn from, {cases[training[0]].name}: weights are selected on its own frames"
        )
        return cases
    count = min(max(1, round(fraction * len(training))), len(training) - 1)
    drawn = set(np.random.default_rng(seed).choice(training, size=count, replace=False).tolist())
    tqdm.write(f"held out for validation: {', '.join(cases[number].name for number in sorted(drawn))}")
    return [
        replace(case, split="validation") if number in drawn else case for number, case in enumerate(cases)
    ]


def _check_apart(places: list[Path], inputs: list[Path]) -> None:
    """Refuse to write over what is read."""
    taken = {place.resolve() for place in places}
    for file in inputs:
        if taken & {*file.resolve().parents}:
            raise InputError(f"{file}: would be replaced by what is prepared from it; give another --out")


def _write_case(
    case: Source, draft: Draft, *, variables: list[str] | None, resample: float, step: int
) -> Case:
    """Write the frames of a case, and describe it."""
    fields = _choose_variables(case, variables)
    shape = _resampled_shape((len(case.y), len(case.x)), resample)
    if resample != 1 and "usurf" not in fields and {*SLOPES, *ICE_SLOPES} & set(fields):
        raise InputError(
            f"{case.place}: slopes cannot be resampled and usurf, to derive them from, is missing"
        )
    times, spacing_m = case.times[::step], float(f"{case.spacing_m * resample:.9g}")
    folder = Path(case.split) / case.name
    (draft.folder / folder).mkdir(parents=True)
    np.save(draft.folder / folder / "time.npy", times)
    written: dict[str, np.ndarray] = {}
    for frame, arrays in enumerate(_derive_frames(case, fields, resample=resample, step=step)):
        for name, values in arrays.items():
            static = name in fields and fields[name].sizes["time"] == 1
            if name not in written:
                path, count = draft.folder / folder / f"{name}.npy", 1 if static else len(times)
                written[name] = np.lib.format.open_memmap(
                    path, mode="w+", dtype=np.float32, shape=(count, *shape)
                )
            written[name][min(frame, len(written[name]) - 1)] = values
    if "thk" in written and not any((frame > 0).any() for frame in written["thk"]):
        raise InputError(f"{case.place}: has no ice: thk is nowhere above 0; leave case {case.name} out")
    west, north = case.x[0] - case.spacing_m / 2, case.y[0] + case.spacing_m / 2
    files: dict[str, str | float] = {name: (folder / f"{name}.npy").as_posix() for name in sorted(written)}
    return Case(
        case.name,
        case.split,
        draft.folder,
        {each.name: each for each in group_fields([*sorted(written), SPACING])},
        files | {SPACING: spacing_m},
        spacing_m,
        shape,
        bounds=(west, north - shape[0] * spacing_m, west + shape[1] * spacing_m, north),
        crs=case.crs,
        frames=len(times),
        times=(folder / "time.npy").as_posix(),
        time=case.time,
    )


def _derive_frames(
    case: Source, fields: dict[str, xr.DataArray], *, resample: float, step: int
) -> Iterator[dict[str, np.ndarray]]:
    """Give one frame after the other, resampled, with slopes; missing values of all are told at the end."""
    missing: Counter[str] = Counter()
    for arrays in _read_frames(case, fields, step=step):
        counts = {name: int(np.count_nonzero(~np.isfinite(values))) for name, values in arrays.items()}
        missing.update({name: count for name, count in counts.items() if count})
        if missing:  # nothing is written any more, all that is missing is counted
            continue
        if resample != 1:
            arrays = resample_frame(arrays, resample)
        if "usurf" in arrays:
            spacing_m = case.spacing_m * resample
            arrays |= dict(zip(SLOPES, derive_slopes(arrays["usurf"], spacing_m)))
            if "thk" in arrays:
                arrays |= dict(zip(ICE_SLOPES, derive_ice_slopes(arrays["usurf"], arrays["thk"], spacing_m)))
        yield arrays
    if missing:
        _refuse_missing(case, missing)


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


def _read_frames(
    case: Source, fields: dict[str, xr.DataArray], *, step: int
) -> Iterator[dict[str, np.ndarray]]:
    """Give one frame after the other, read some at a time; where a mask says so there is no ice."""
    frame_bytes = 4 * len(fields) * len(case.y) * len(case.x)
    stride = step * max(1, BLOCK_BYTES // frame_bytes)
    for start in range(0, len(case.times), stride):
        block = {}
        for name, field in fields.items():
            chosen = slice(start, start + stride, step) if field.sizes["time"] > 1 else slice(None)
            try:
                block[name] = np.asarray(field[chosen].values, dtype=np.float32)
            except UNREADABLE as error:
                reason = f"{name} cannot be read ({first_line(error)})"
                raise InputError(f"{case.sources[name]}: {reason}; copy the file again") from None
        if {"icemask", "thk"} <= block.keys():
            block["thk"] = np.where(block["icemask"] > 0.5, block["thk"], np.float32(0))
        for number in range(max(len(values) for values in block.values())):
            yield {name: values[min(number, len(values) - 1)] for name, values in block.items()}


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
    kept = {name: values for name, values in fields.items() if name not in (*SLOPES, *ICE_SLOPES)}
    if factor >= 1:
        return {name: block_mean(values, round(factor)) for name, values in kept.items()}
    times = round(1 / factor)
    finer = {name: _refine(values, times) for name, values in kept.items()}
    if "thk" in kept:
        ice = np.kron(kept["thk"] > 0, np.ones((times, times), dtype=bool))
        finer["thk"] = np.where(ice, finer["thk"], np.float32(0))
    return finer


def _refine(values: np.ndarray, times: int) -> np.ndarray:
    finer = ndimage.zoom(values.astype(np.float64), times, order=3, mode="nearest", grid_mode=True)
    return np.clip(finer, values.min(), values.max()).astype(np.float32)


def _resampled_shape(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    """Count the cells that are left; a factor that is neither whole nor one over a whole number is refused.

    >>> _resampled_shape((64, 65), 2), _resampled_shape((64, 64), 0.5)
    ((32, 32), (128, 128))
    >>> _resampled_shape((64, 64), 1.5)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --resample: is 1.5; give a whole number, or one over it such as 0.5
    """
    whole = factor if factor >= 1 else 1 / factor if factor > 0 else 0
    if not whole or abs(whole - round(whole)) > 1e-6:
        raise InputError(f"--resample: is {factor:g}; give a whole number, or one over it such as 0.5")
    if min(shape) / factor < 2:
        raise InputError(f"--resample: {factor:g} leaves less than 2 cells of {shape[0]} x {shape[1]}")
    rows, columns = (int(size / factor + 1e-6) for size in shape)
    return rows, columns
