"""Boxes to a folder to learn from: the verb prepare."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwise.errors import InputError, require_at_least, times

if TYPE_CHECKING:
    from fieldwise.samples.boxes.sources import BoxList, BoxSource
    from fieldwise.samples.prepared import Draft

RECIPE = "structure_formation"
UNITS = {"displacement": "Mpc h-1", "velocity": "km s-1"}
WORTH_PROCESSES = 2**21  # cells, below which starting processes takes longer than making the boxes
CHUNK = 8  # boxes that a process makes at a time


def prepare(
    *,
    source: str = "sandbox",
    out: Path = Path("data/structure_formation"),
    seed: int = 7,
    dimensions: int = 2,
    cells: int | None = None,
    spacing_mpc: float = 4.0,
    scale_factor: int = 1,
    boxes: int = 600,
    validation_boxes: int = 16,
    test_boxes: int = 24,
    omega_m: float = 0.3,
    sigma8: float = 0.8,
    redshift: float = 0.0,
    omega_m_range: tuple[float, float] | None = None,
    redshift_range: tuple[float, float] | None = None,
    steps: int = 10,
    progress: bool = True,
) -> Path:
    """Bring boxes into one order, and check that nothing is missing.

    Args:
        source: `sandbox` for initial conditions and what a particle mesh makes of them; or a FILE.yaml that
            names your own fields by patterns.
        out: Folder to write.
        seed: Of the sandbox.
        dimensions: Of the sandbox's boxes: 2 or 3.
        cells: Along each axis of the sandbox's boxes, of the coarse ones of pairs; 64 in 2-D and 32 in 3-D by
            default, and half as many of pairs.
        spacing_mpc: Edge of these cells in Mpc/h.
        scale_factor: 1 for displacements from initial conditions; 2, 4 or 8 for pairs of a coarse box and one
            with so many times as many cells along each axis.
        boxes: Boxes of the sandbox to learn from.
        validation_boxes: Boxes to select weights by.
        test_boxes: Boxes to judge by.
        omega_m: Share of matter in the universe, above 0 and at most 1.
        sigma8: Amplitude of the fluctuations today.
        redshift: When to look; 0 is today, 9 is when the particle mesh starts.
        omega_m_range: Least and greatest, where each box is to have its own; networks may read it as a style.
        redshift_range: Likewise.
        steps: Of the particle mesh.
        progress: Whether to show how far it is.

    Returns:
        The folder, which now holds a dataset.yaml.
    """
    settings = {name: value for name, value in locals().items() if name not in ("source", "out", "progress")}
    if source == "sandbox":
        _check_sandbox(settings)
    elif Path(source).suffix not in (".yaml", ".yml"):
        raise InputError(f"--source: is {source}; give sandbox or the path of a FILE.yaml")
    from fieldwise.samples.prepared import SPLITS
    from fieldwise.verbs.prepare import prepare_folder

    out = Path(out)
    before = _list_files(out)
    with prepare_folder(out, recipe=RECIPE, source=str(source), seed=seed) as draft:
        if source == "sandbox":
            _make_sandbox(draft, settings, progress)
        else:
            _add_files(draft, Path(source), before, progress)
    for file in before - _list_files(out):
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # where other files are left
            file.parent.rmdir()
    if progress:
        counts = [f"{sum(case.split == split for case in draft.cases)} {split}" for split in SPLITS]
        print(f"boxes: {', '.join(counts)}; {times(draft.cases[0].shape)} cells")
    return out


def _list_files(out: Path) -> set[Path]:
    """List the files of boxes in a prepared folder; of another one none."""
    from fieldwise.samples.prepared import Prepared

    try:
        cases = Prepared(out, recipe=RECIPE).cases(required=False)
    except InputError:
        return set()
    return {out / file for case in cases for file in case.files.values() if isinstance(file, str)}


def _check_sandbox(settings: dict[str, Any]) -> None:
    """Refuse a sandbox that cannot be made, before anything is touched."""
    require_at_least(1, boxes=settings["boxes"], steps=settings["steps"])
    require_at_least(0, **{name: settings[name] for name in ("validation_boxes", "test_boxes", "seed")})
    require_at_least(8, cells=settings["cells"])
    if settings["dimensions"] not in (2, 3):
        raise InputError(f"--dimensions: is {settings['dimensions']}; give 2 or 3")
    if settings["scale_factor"] not in (1, 2, 4, 8):
        raise InputError(f"--scale_factor: is {settings['scale_factor']}; the sandbox makes 1, 2, 4 or 8")
    if not settings["spacing_mpc"] > 0:
        raise InputError(f"--spacing_mpc: is {settings['spacing_mpc']:g}; give a number above 0")
    from fieldwise.physics.structure_formation.cosmology import Cosmology

    for value in settings["omega_m_range"] or (settings["omega_m"],):
        Cosmology(omega_m=value, sigma8=settings["sigma8"])
    for name in ("omega_m_range", "redshift_range"):
        if settings[name] and settings[name][0] > settings[name][1]:
            raise InputError(f"--{name}: is {list(settings[name])}; give the lower one first")
    for redshift in settings["redshift_range"] or (settings["redshift"],):
        if not 0 <= redshift < 9:
            raise InputError(f"--redshift: is {redshift:g}; give 0 or more, below 9, where the mesh starts")


def _make_sandbox(draft: Draft, settings: dict[str, Any], progress: bool) -> None:
    """Add made boxes: displacements from initial conditions, or pairs of a coarse and a fine box."""
    from tqdm import tqdm

    pairs, dimensions = settings["scale_factor"] > 1, settings["dimensions"]
    counts = {"training": settings["boxes"]}
    counts |= {"validation": settings["validation_boxes"], "test": settings["test_boxes"]}
    splits = [split for split, count in counts.items() for _ in range(count)]
    cells = settings["cells"] or {2: 64, 3: 32}[dimensions] // (2 if pairs else 1)
    made = _draw(settings, cells, len(splits))
    spacing = settings["spacing_mpc"] / settings["scale_factor"]
    for number, box in enumerate(tqdm(made, "boxes", len(splits), unit="box", disable=not progress)):
        fields = {name: values for name, values in box.items() if values.ndim}
        numbers = {name: float(f"{float(values):.6g}") for name, values in box.items() if not values.ndim}
        units = {name: UNITS[name.partition("_")[0]] for name in fields}
        options: Any = {"spacing": spacing, "spacing_units": "Mpc h-1", "units": units, "numbers": numbers}
        draft.add_box(f"box_{number:04d}", splits[number], fields, **options)
    draft.facts["inputs"] = ["displacement_lowres" if pairs else "displacement_linear"]
    draft.facts["targets"] = ["displacement"]
    draft.facts |= {name: settings[name] for name in ("sigma8", "scale_factor", "steps")}


def _draw(settings: dict[str, Any], cells: int, count: int) -> Iterator[dict[str, Any]]:
    """Draw boxes in their order, a process a core making them where there is much to do."""
    from functools import partial

    import joblib

    from fieldwise.physics.structure_formation.cosmology import Cosmology, scale_factor_at

    options: dict[str, Any] = {
        name: settings[name] for name in ("seed", "dimensions", "spacing_mpc", "steps")
    }
    options["cosmology"] = Cosmology(omega_m=settings["omega_m"], sigma8=settings["sigma8"])
    options["scale_factor"] = scale_factor_at(settings["redshift"])
    options |= {"cells": cells, "omega_m_range": settings["omega_m_range"]}
    if settings["redshift_range"]:
        options["scale_factor_range"] = tuple(scale_factor_at(each) for each in settings["redshift_range"])[
            ::-1
        ]
    if settings["scale_factor"] > 1:
        options["factor"] = settings["scale_factor"]
    work = count * (cells * settings["scale_factor"]) ** settings["dimensions"]
    processes = joblib.cpu_count() if work >= WORTH_PROCESSES else 1
    chunks = [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    make = joblib.delayed(partial(_draw_some, **options))
    for some in joblib.Parallel(n_jobs=processes, return_as="generator")(map(make, chunks)):
        yield from some


def _draw_some(numbers: range, **options: Any) -> list[dict[str, Any]]:
    """Draw the boxes of these numbers, in a process of their own."""
    from fieldwise.sandbox.structure_formation import draw_boxes, draw_pairs

    if "factor" not in options:
        return list(draw_boxes(numbers, **options))
    names = {"_low": "_lowres", "_high": ""}
    return [
        {_rename(name, names): values for name, values in box.items()}
        for box in draw_pairs(numbers, **options)
    ]


def _rename(name: str, ends: dict[str, str]) -> str:
    for old, new in ends.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _add_files(draft: Draft, file: Path, before: set[Path], progress: bool) -> None:
    """Add the boxes that a FILE.yaml names; none of them may be of those files that were prepared before."""
    from tqdm import tqdm

    from fieldwise.samples.boxes.sources import read_box_list
    from fieldwise.samples.rules import list_whole_files
    from fieldwise.verbs.prepare import check_apart

    listed = read_box_list(file, spacing_units="Mpc h-1")
    places = [draft.target / box.split / box.name for box in listed.boxes]
    draft.sources = [file, *list_whole_files(path for box in listed.boxes for path, _ in box.files.values())]
    check_apart([*places, *{old.parent for old in before}], draft.sources)
    units = UNITS | listed.units
    options: Any = {"spacing_units": listed.spacing_units, "periodic": listed.periodic}
    for box in tqdm(listed.boxes, desc="boxes", unit="box", disable=not progress):
        _check_numbers(box, file)
        unchanged, fields = box.fingerprint(), box.open()
        known: Any = {"refined": _check_shapes(box, fields, listed), "spacing": listed.spacing}
        own = {name: units.get(name) or units.get(name.partition("_")[0], "1") for name in fields}
        draft.add_box(box.name, box.split, fields, units=own, numbers=box.numbers, **known, **options)
        changed = [path for path, found in box.fingerprint().items() if unchanged.get(path) != found]
        if changed:
            raise InputError(f"{changed[0]}: changed while it was read; prepare again when it is finished")
    draft.facts |= {"inputs": listed.inputs, "targets": listed.targets, "scale_factor": listed.scale_factor}


def _check_numbers(box: BoxSource, file: Path) -> None:
    """Refuse numbers that no universe has."""
    limits = {"omega_m": 1.0, "sigma8": math.inf, "scale_factor": math.inf, "growth_factor": math.inf}
    for name, most in limits.items():
        if name in box.numbers and not 0 < box.numbers[name] <= most:
            told = "above 0" if most == math.inf else f"above 0, at most {most:g}"
            raise InputError(
                f"{file}: {box.split}: {name} of {box.name} is {box.numbers[name]:g}; give a number {told}"
            )


def _check_shapes(box: BoxSource, fields: dict[str, Any], listed: BoxList) -> int:
    """Refuse targets without the cells that the scale factor asks for; tell how much finer they are to be."""
    file, first = box.files[listed.inputs[0]][0], fields[listed.inputs[0]].shape[1:]
    for name in fields:
        factor = listed.scale_factor if name in listed.targets else 1
        wanted, found = tuple(factor * size for size in first), tuple(fields[name].shape[1:])
        if name in listed.inputs + listed.targets and wanted != found:
            raise InputError(
                f"{box.files[name][0]}: has {times(found)} cells, where {times(wanted)} belong to "
                f"{file.name} with a scale factor of {factor}; correct scale_factor, or the patterns"
            )
    ratio = max(values.shape[1] for values in fields.values()) // first[0]
    return max(1, listed.scale_factor // ratio)
