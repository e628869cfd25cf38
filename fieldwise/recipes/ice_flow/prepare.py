"""Frames of glaciers to a folder to learn from: the verb prepare."""

from __future__ import annotations

import shutil
from pathlib import Path

from fieldwise.errors import InputError, require_at_least


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
    from tqdm import tqdm

    from fieldwise.recipes.ice_flow.frames import write_case
    from fieldwise.recipes.ice_flow.signatures import RECIPE
    from fieldwise.samples.prepared import SPLITS
    from fieldwise.samples.rules import list_whole_files
    from fieldwise.samples.sources import hold_out, open_cases
    from fieldwise.verbs.prepare import check_apart, prepare_folder

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
        check_apart(places, inputs)
        for case in tqdm(cases, desc="preparing", unit="case", disable=not progress):
            write_case(case, draft, variables=variables, resample=resample, step=step)
        draft.sources, draft.home = inputs, file if file.is_dir() else None
        for place in [*places, out / "sandbox"]:  # what was prepared before
            shutil.rmtree(place, ignore_errors=True)
    if progress:
        counts = [f"{sum(case.split == split for case in cases)} {split}" for split in SPLITS]
        tqdm.write(f"cases: {', '.join(counts)}; frames: {sum(case.frames for case in draft.cases)}")
    return out
