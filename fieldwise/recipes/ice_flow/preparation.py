"""Frames of glaciers to a folder to learn from: the verb prepare."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import xarray as xr
from tqdm import tqdm

from fieldwise.drafts import check_plain_name, replace_together
from fieldwise.errors import InputError, first_line, require_at_least
from fieldwise.fields.formats import UNREADABLE
from fieldwise.recipes.ice_flow.cases import SPLITS, Case, open_folder, read_case_list
from fieldwise.recipes.ice_flow.frames import (
    ICE_SLOPES,
    SLOPES,
    check_factor,
    count_missing,
    derive_ice_slopes,
    derive_slopes,
    resample_axis,
    resample_frame,
)
from fieldwise.samples.prepared import DESCRIPTION
from fieldwise.samples.rules import list_whole_files, write_yaml

BLOCK_BYTES = 2**26  # of a case in memory


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
    out, say = Path(out), (tqdm.write if progress else lambda line: None)
    file = Path(source)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; --out takes a folder")
    if source == "sandbox":
        from fieldwise.sandbox.ice_flow import make_ice_flow

        file = make_ice_flow(
            out / "sandbox",
            seed=seed,
            size_cells=size_cells,
            valleys=valleys,
            snapshots=snapshots,
            spacing_m=spacing_m,
            progress=progress,
        )
    elif not file.exists():
        raise InputError(f"{source}: no such file; --source takes `sandbox`, a folder or a FILE.yaml")
    elif not file.is_dir() and file.suffix not in (".yaml", ".yml"):
        raise InputError(f"{source}: is no .yaml; --source takes `sandbox`, a folder or a FILE.yaml")
    cases = open_folder(file) if file.is_dir() else read_case_list(file)
    cases = _hold_out(cases, validation_fraction, seed=seed, report=say)
    places = [out / case.split / case.name for case in cases]
    inputs = list_whole_files(path for case in cases for path in case.sources.values())
    _check_apart(places, inputs)
    with replace_together(out, last=DESCRIPTION) as draft:
        entries = [
            _write_case(case, draft, variables=variables, resample=resample, step=step)
            for case in tqdm(cases, desc="preparing", unit="case", disable=not progress)
        ]
        folder = file if file.is_dir() else None
        record_provenance(draft / "provenance.json", seed=seed, inputs=inputs, folder=folder)
        write_yaml({"recipe": "ice_flow", "source": str(source), "cases": entries}, draft / DESCRIPTION)
        for place in places:  # what was prepared before
            shutil.rmtree(place, ignore_errors=True)
    counts = [f"{sum(case.split == split for case in cases)} {split}" for split in SPLITS]
    say(f"cases: {', '.join(counts)}; frames: {sum(entry['frames'] for entry in entries)}")
    return out


def _hold_out(cases: list[Case], fraction: float, *, seed: int, report: Any) -> list[Case]:
    """Move some of the training cases to validation, where there are none for it."""
    training = [number for number, case in enumerate(cases) if case.split == "train"]
    if any(case.split == "valid" for case in cases) or not training or fraction <= 0:
        return cases
    if len(training) == 1:
        report(f"one case to learn from, {cases[training[0]].name}: weights are selected on its own frames")
        return cases
    count = min(max(1, round(fraction * len(training))), len(training) - 1)
    drawn = set(np.random.default_rng(seed).choice(training, size=count, replace=False).tolist())
    report(f"held out for validation: {', '.join(cases[number].name for number in sorted(drawn))}")
    return [replace(case, split="valid") if number in drawn else case for number, case in enumerate(cases)]


def _check_apart(places: list[Path], inputs: list[Path]) -> None:
    """Refuse to write over what is read."""
    taken = {place.resolve() for place in places}
    for file in inputs:
        if taken & {*file.resolve().parents}:
            raise InputError(f"{file}: would be replaced by what is prepared from it; give another --out")


def _write_case(
    case: Case, out: Path, *, variables: list[str] | None, resample: float, step: int
) -> dict[str, Any]:
    """Write the frames of a case, and describe it."""
    fields = _choose_variables(case, variables)
    for name in fields:
        check_plain_name(name, f"{case.place}: variable")
    check_factor(resample, (len(case.y), len(case.x)))
    if resample != 1 and "usurf" not in fields and set(SLOPES) & set(fields):
        raise InputError(
            f"{case.place}: slopes cannot be resampled and usurf, to derive them from, is missing"
        )
    coordinates = {"time": case.times[::step]}
    coordinates |= {axis: resample_axis(getattr(case, axis), resample) for axis in ("y", "x")}
    shape = (len(coordinates["y"]), len(coordinates["x"]))
    folder, spacing_m = out / case.split / case.name, case.spacing_m * resample
    folder.mkdir(parents=True)
    for name, values in coordinates.items():
        np.save(folder / f"{name}.npy", values)
    written: dict[str, np.ndarray] = {}
    missing: Counter[str] = Counter()
    iced = "thk" not in fields
    for frame, arrays in enumerate(_read_frames(case, fields, step=step)):
        missing.update(count_missing(arrays))
        if missing:  # nothing is written any more, all that is missing is counted
            continue
        if resample != 1:
            arrays = resample_frame(arrays, resample)
        if "usurf" in arrays:
            arrays |= derive_slopes(arrays["usurf"], spacing_m)
            if "thk" in arrays:
                arrays |= derive_ice_slopes(arrays["usurf"], arrays["thk"], spacing_m)
        iced = iced or bool((arrays["thk"] > 0).any())
        for name, values in arrays.items():
            static = name in fields and fields[name].sizes["time"] == 1
            if name not in written:
                count = 1 if static else len(coordinates["time"])
                written[name] = np.lib.format.open_memmap(
                    folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=(count, *shape)
                )
            written[name][min(frame, len(written[name]) - 1)] = values
    if missing:
        _refuse_missing(case, missing)
    if not iced:
        raise InputError(f"{case.place}: has no ice: thk is nowhere above 0; leave case {case.name} out")
    return {
        "name": case.name,
        "split": case.split,
        "frames": len(coordinates["time"]),
        "shape": list(shape),
        "spacing_m": spacing_m,
        "crs": case.crs,
        "time": case.time,
        "variables": sorted(written),
    }


def _refuse_missing(case: Case, missing: Mapping[str, int]) -> NoReturn:
    listed: dict[Path, list[str]] = {}
    for name in sorted(missing):
        listed.setdefault(case.sources.get(name, case.place), []).append(f"{name} has {missing[name]}")
    counts = [f"{file}: {', '.join(each)}" for file, each in listed.items()]
    raise InputError(
        f"{'; '.join(counts)} missing values; fill them, or leave the variable out with --variables"
    )


def _choose_variables(case: Case, names: list[str] | None) -> dict[str, xr.DataArray]:
    """Give the variables to keep: numbers on x and y; slopes are derived wherever there is a surface."""
    if names is None:
        return {name: field for name, field in case.variables.items() if field.dtype.kind in "fiub"}
    derived = {*SLOPES, *ICE_SLOPES} if "usurf" in case.variables else set()
    wanted = {*names} - derived | ({"usurf"} if derived & {*names} else set())
    missing = sorted(wanted - set(case.variables))
    if missing:
        raise InputError(
            f"{case.place}: lacks {', '.join(missing)}; it has {', '.join(sorted(case.variables))}"
        )
    return {name: case.variables[name] for name in sorted(wanted)}


def _read_frames(
    case: Case, fields: dict[str, xr.DataArray], *, step: int
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
                file = case.sources[name]
                raise InputError(
                    f"{file}: {name} cannot be read ({first_line(error)}); copy the file again"
                ) from None
        if {"icemask", "thk"} <= block.keys():
            block["thk"] = np.where(block["icemask"] > 0.5, block["thk"], np.float32(0))
        for number in range(max(len(values) for values in block.values())):
            yield {name: values[min(number, len(values) - 1)] for name, values in block.items()}
