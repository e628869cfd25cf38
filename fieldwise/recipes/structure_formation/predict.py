"""A trained network applied to whole boxes: the verb predict."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from fieldwise.errors import require_at_least
from fieldwise.recipes.structure_formation.prepare import RECIPE

SUFFIXES = (".nc", ".zarr", ".npy")


def predict(
    *,
    run: Path = Path("model/structure_formation"),
    data: Path = Path("data/structure_formation"),
    out: Path = Path("model/structure_formation/prediction"),
    split: Literal["training", "validation", "test"] = "test",
    case: str | None = None,
    kind: Literal["nc", "zarr", "npy"] = "nc",
    members: int = 0,
    keep_members: bool = False,
    quantiles: tuple[float, ...] = (0.05, 0.5, 0.95),
    seed: int = 0,
    symmetrise: bool = False,
    velocity: bool = False,
    block_cells: int | None = None,
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    weights: str = "best",
    in_norms: list[str] | None = None,
    tgt_norms: list[str] | None = None,
    norm_options: dict[str, float] | None = None,
    accelerator: str = "auto",
    progress: bool = True,
) -> Path:
    """Map whole boxes of any size, block by block; no truth is needed.

    Args:
        run: Run folder of a trained network.
        data: Prepared folder.
        out: FILE.nc (CF-NetCDF), FILE.zarr or FILE.npy of one box; or a folder for a file of each box.
        split: Which boxes.
        case: Name of one box.
        kind: Of the files in a folder: CASE.nc, CASE.zarr, or CASE_out.npy, (channel, *cells).
        members: Fields to draw of each box, of a network that takes noise: their mean, spread and quantiles.
        keep_members: Whether to write the members too.
        quantiles: Parts of the members that lie below.
        seed: Of the noise; a member is the same for one seed whatever else is drawn.
        symmetrise: Average over the 8 or 48 ways to turn the box, at as many times the cost.
        velocity: Give the velocity too, as the derivative of the displacement in the growth factor that the
            network reads as a style.
        block_cells: Edge of a block; by default what fits into memory well.
        precision: Of the numbers; bf16-mixed is faster where the device has it, and about 0.1 % off.
        weights: The best by validation, the last, or a state file of map2map.
        in_norms: Of a state file, as train takes them: what its inputs are divided by.
        tgt_norms: Likewise, of its targets.
        norm_options: Arguments of these norms.
        accelerator: cpu, gpu or auto.
        progress: Whether to show how far it is.

    Returns:
        The file or folder.
    """
    require_at_least(1, block_cells=block_cells)
    require_at_least(0, members=members, seed=seed)
    from tqdm import tqdm

    from fieldwise.recipes.structure_formation.predictor import load_box_predictor
    from fieldwise.samples.prepared import Prepared
    from fieldwise.verbs.predict import check_out, predict_to

    out = Path(out)
    prepared = Prepared(data, recipe=RECIPE)
    cases = prepared.cases(split, name=case)
    check_out(out, cases, SUFFIXES, "boxes are written as .nc, .zarr or .npy")
    norms: Any = {"in_norms": in_norms, "tgt_norms": tgt_norms, "norm_options": norm_options}
    predictor = load_box_predictor(Path(run), prepared, weights=weights, accelerator=accelerator, **norms)
    predictor.choose_precision(precision)
    if velocity:
        predictor.add_velocity()
    if symmetrise:
        predictor.symmetrise()
    started, many = time.perf_counter(), len(cases) > 1
    for each in tqdm(cases, desc="boxes", unit="box", disable=not (progress and many)):
        predict_to(
            out if out.suffix in SUFFIXES else out / name_file(each.name, kind),
            predictor,
            each,
            members=members,
            keep_members=keep_members,
            quantiles=quantiles,
            seed=seed,
            block_cells=block_cells,
            progress=progress and not many,
            tell=not many,
        )
    if many:
        print(f"{out}: {len(cases)} boxes in {time.perf_counter() - started:.1f} s")
    return out


def name_file(case: str, kind: str) -> str:
    """Name the file of a box in a folder of predictions.

    >>> name_file("box_0", "npy"), name_file("box_0", "nc")
    ('box_0_out.npy', 'box_0.nc')
    """
    return f"{case}_out.npy" if kind == "npy" else f"{case}.{kind}"
