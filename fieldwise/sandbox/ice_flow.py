"""Made valley glaciers whose flow is known: what an emulator learns from and is judged on."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import xarray as xr
from tqdm import tqdm

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields.rasters import write_netcdf
from fieldwise.physics.ice_flow import solve
from fieldwise.physics.ice_flow.blatter_pattyn import MINIMUM_THICKNESS, SLIDING_COEFFICIENT
from fieldwise.sandbox.valley import Valley, grow_ice, make_climate, make_valley

CRS = "EPSG:32632"
WEST, SOUTH = 400_000.0, 5_100_000.0  # of the first valley; each lies east of the one before
RATE_FACTORS = (5.0, 150.0)  # MPa-3 a-1
SLIDING_RANGE = 2**0.5  # how many times less or more than usual
GROWING_RATES = (30.0, 100.0)  # rate factors while ice gathers
FEWEST_CELLS = 30  # with ice in a snapshot
NODES = 6
WORTH_PROCESSES = 50 * 64**2  # cells of all snapshots; starting a process takes as long as ten of them
GOLDEN = np.pi * (3 - 5**0.5)  # azimuths that never come near each other
UNITS = {
    "thk": ("m", "ice thickness"),
    "usurf": ("m", "elevation of the surface"),
    "topg": ("m", "elevation of the bed"),
    "ubar": ("m year-1", "velocity to the east, mean over depth"),
    "vbar": ("m year-1", "velocity to the north, mean over depth"),
    "uvelsurf": ("m year-1", "velocity to the east at the surface"),
    "vvelsurf": ("m year-1", "velocity to the north at the surface"),
    "uvelbase": ("m year-1", "velocity to the east at the bed"),
    "vvelbase": ("m year-1", "velocity to the north at the bed"),
    "icemask": ("1", "1 where there is ice"),
    "arrhenius": ("MPa-3 year-1", "rate factor of Glen's law"),
    "slidingco": ("MPa m-1/3 year1/3", "sliding coefficient of Weertman's law"),
    "strflowctrl": ("1", "rate factor in MPa-3 a-1 plus slipperiness in km MPa-3 a-1"),
}


@dataclass(frozen=True)
class Snapshot:
    """A glacier at one moment and how it flows: fields (y, x) by the names of the files."""

    year: float
    fields: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Plan:
    """What is to be made: all that a process needs to know."""

    seed: int
    size_cells: int
    valleys: int
    snapshots: int
    spacing_m: float


@dataclass(frozen=True)
class _Glacier:
    """A valley, its snapshots, and the year and reason of those that were left out."""

    valley: Valley
    snapshots: list[Snapshot]
    left_out: list[dict[str, Any]]


def make_ice_flow(
    out: Path,
    *,
    seed: int = 7,
    size_cells: int = 64,
    valleys: int = 24,
    snapshots: int = 8,
    spacing_m: float = 100.0,
    progress: bool = True,
) -> Path:
    """Make valley glaciers whose flow is known, split by valley, laid out and named as real ones are.

    Each glacier grows from bare rock and shrinks again as shallow ice; at each snapshot the Blatter-Pattyn
    solver gives its flow, for a rate factor between 5 and 150 MPa-3 a-1 and a sliding coefficient around
    0.0464 MPa (m/a)^(-1/3). A flow that does not converge is left out, and said.

    Parameters
    ----------
    out
        Folder to write to: train/, valid/ and test/, in each a folder a valley with ex.nc, and report.json.
    seed
        Of everything drawn: the same seed gives the same arrays.
    size_cells
        Edge of the square domain of a valley, 32 to 512, even.
    valleys
        How many, 3 or more: a sixth (at least one) is for the test, as many for validation.
    snapshots
        Of each valley, from its first ice to the end of its retreat.
    spacing_m
        Cell size.
    progress
        Whether to show a progress bar.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    InputError
        Where a value cannot be used, or the folder holds data that this function did not make.
    """
    out = Path(out)
    _check(out, size_cells, valleys, snapshots, spacing_m)
    began = time.perf_counter()
    plan = _Plan(seed, size_cells, valleys, snapshots, spacing_m)
    splits = _split(valleys)
    report: dict[str, list] = {"valleys": [], "left_out": []}
    with contextlib.ExitStack() as stack:
        folders = {
            split: stack.enter_context(replace_when_done(out / split)) for split in sorted(set(splits))
        }
        bar = stack.enter_context(
            tqdm(total=valleys * snapshots, desc="valleys", unit="snapshot", disable=not progress)
        )
        for number, (split, glacier) in enumerate(zip(splits, _make_side_by_side(plan), strict=True)):
            case = f"valley_{number:03d}"
            if glacier.snapshots:
                origin = (WEST + 1.5 * number * size_cells * spacing_m, SOUTH)
                _write(glacier, folders[split] / case / "ex.nc", origin)
            report["valleys"].append({"case": case, "split": split, "snapshots": len(glacier.snapshots)})
            report["left_out"] += [{"case": case, **lost} for lost in glacier.left_out]
            bar.update(snapshots)
        empty = [split for split, folder in folders.items() if not folder.exists()]
        if empty:
            raise InputError(f"seed {seed}: no flow was found for {' and '.join(empty)}; take another seed")
    report_file = out / "report.json"
    with replace_when_done(report_file) as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n")
    made, lost = sum(valley["snapshots"] for valley in report["valleys"]), len(report["left_out"])
    print(
        f"{made} snapshots of {valleys} valleys in {time.perf_counter() - began:.0f} s; "
        f"{lost} left out (see {report_file.name})"
    )
    return out


def _check(out: Path, size_cells: int, valleys: int, snapshots: int, spacing_m: float) -> None:
    if not 32 <= size_cells <= 512 or size_cells % 2:
        raise InputError(f"size_cells is {size_cells}; take an even number from 32 to 512")
    if valleys < 3:
        raise InputError(f"valleys is {valleys}; take 3 or more: to train, to validate and to test")
    if snapshots < 1:
        raise InputError(f"snapshots is {snapshots}; take 1 or more")
    if not 25 <= spacing_m <= 1000:
        raise InputError(f"spacing_m is {spacing_m:g}; take 25 to 1000 m")
    if not (out / "report.json").exists():
        taken = [split for split in ("train", "valid", "test") if (out / split).exists()]
        if taken:
            raise InputError(
                f"{out / taken[0]}: is there already, not made by this command; name a new folder"
            )


def _split(valleys: int) -> list[str]:
    """Tell what each valley is for.

    >>> _split(4)
    ['train', 'train', 'valid', 'test']
    """
    share = max(1, round(valleys / 6))
    return ["train"] * (valleys - 2 * share) + ["valid"] * share + ["test"] * share


def _make_side_by_side(plan: _Plan) -> Iterator[_Glacier]:
    """Give the glaciers in their order, a process a core making them where there is much to do."""
    work = plan.valleys * plan.snapshots * plan.size_cells**2
    processes = joblib.cpu_count() if work >= WORTH_PROCESSES else 1
    make = joblib.delayed(_make_glacier)
    return joblib.Parallel(n_jobs=processes, return_as="generator")(
        make(plan, number) for number in range(plan.valleys)
    )


def _make_glacier(plan: _Plan, number: int) -> _Glacier:
    """Make a valley, grow its glacier and let it shrink; keep the snapshots that have ice and a flow."""
    rng = np.random.default_rng(plan.seed).spawn(plan.valleys)[number]
    azimuth = number * GOLDEN % (2 * np.pi)
    valley = make_valley(size_cells=plan.size_cells, spacing_m=plan.spacing_m, azimuth=azimuth, rng=rng)
    climate = make_climate(valley, rng=rng)
    growth = grow_ice(
        valley,
        climate,
        snapshots=plan.snapshots,
        rate_factor=rng.uniform(*GROWING_RATES),
        sliding_coefficient=rng.uniform(1.0, 1.6) * SLIDING_COEFFICIENT,
    )
    rates = RATE_FACTORS[0] + np.ptp(RATE_FACTORS) * _spread(plan.snapshots, rng)
    slidings = SLIDING_COEFFICIENT * SLIDING_RANGE ** (2 * _spread(plan.snapshots, rng) - 1)
    glacier = _Glacier(valley, [], [])
    for (year, thickness), rate, sliding in zip(growth, rates, slidings):
        reason, fields = _solve(valley, thickness, plan.spacing_m, float(rate), float(sliding))
        if reason:
            glacier.left_out.append({"year": round(year, 1), "reason": reason})
        else:
            glacier.snapshots.append(Snapshot(year, fields))
    return glacier


def _spread(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw shares from 0 to 1, one in each of as many equal parts, in any order."""
    return (rng.permutation(count) + rng.random(count)) / count


def _solve(
    valley: Valley, thickness: np.ndarray, spacing_m: float, rate: float, sliding: float
) -> tuple[str, dict[str, np.ndarray]]:
    """Solve for the flow of a snapshot; give why it cannot be used, or nothing, and its fields."""
    thickness = np.where(thickness >= MINIMUM_THICKNESS, thickness, 0.0)
    cells = int((thickness > 0).sum())
    if cells < FEWEST_CELLS:
        return f"ice in {cells} cells only", {}
    surface = valley.bed_m + thickness
    flow = solve(
        thickness,
        surface,
        spacing_m=spacing_m,
        rate_factor=rate,
        sliding_coefficient=sliding,
        nodes=NODES,
    )
    if not flow.converged:
        return f"no convergence in {flow.iterations} iterations (last {flow.last_decrease:.1e})", {}
    fields = {
        "thk": thickness,
        "usurf": surface,
        "topg": valley.bed_m,
        "ubar": flow.mean_x.numpy(),
        "vbar": flow.mean_y.numpy(),
        "uvelsurf": flow.velocity_x[-1].numpy(),
        "vvelsurf": flow.velocity_y[-1].numpy(),
        "uvelbase": flow.velocity_x[0].numpy(),
        "vvelbase": flow.velocity_y[0].numpy(),
        "icemask": thickness > 0,
        "arrhenius": np.full_like(thickness, rate),
        "slidingco": np.full_like(thickness, sliding),
        "strflowctrl": np.full_like(thickness, rate + 1e-3 * sliding**-3),
    }
    return "", fields


def _write(glacier: _Glacier, path: Path, origin: tuple[float, float]) -> None:
    """Write the snapshots of a valley: (time, y, x), y from south to north."""
    kept, valley = glacier.snapshots, glacier.valley
    coordinates = {
        "time": (
            "time",
            [snapshot.year for snapshot in kept],
            {"units": "year", "long_name": "since bare rock"},
        ),
        "y": origin[1] + valley.y - valley.y[0],
        "x": origin[0] + valley.x - valley.x[0],
    }
    data = {
        name: (
            ("time", "y", "x"),
            np.stack([snapshot.fields[name] for snapshot in kept]).astype(np.float32),
            {"units": units, "long_name": long_name},
        )
        for name, (units, long_name) in UNITS.items()
    }
    dataset = xr.Dataset(data, coordinates, {"title": "A made valley glacier and its flow"}).rio.write_crs(
        CRS
    )
    for name in UNITS:
        dataset[name].encoding["zlib"] = True  # beside what links it to its CRS
    write_netcdf(dataset, path)
