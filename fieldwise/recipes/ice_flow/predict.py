"""A trained emulator applied to whole frames: the verb predict."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from tqdm import tqdm

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError, require_at_least
from fieldwise.fields.rasters import write_netcdf
from fieldwise.recipes.ice_flow.physics import solve_frame
from fieldwise.recipes.ice_flow.samples import find_ice
from fieldwise.recipes.ice_flow.signatures import RECIPE, STANDARD_NAMES, UNITS
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Prepared
from fieldwise.verbs.blocks import round_up

BEYOND = "beyond_training"  # marks the cells in which an input leaves what training has seen
SUFFIXES = (".nc", ".tif")


def predict(
    *,
    run: Path = Path("model/ice_flow"),
    data: Path = Path("data/ice_flow"),
    out: Path = Path("model/ice_flow/prediction"),
    split: Literal["training", "validation", "test"] = "test",
    case: str | None = None,
    frame: int | None = None,
    symmetrise: bool = False,
    block_cells: int = 1024,
    solver_frames: int = 0,
    weights: Literal["best", "last"] = "best",
    accelerator: str = "auto",
    progress: bool = True,
) -> Path:
    """Give the velocity of the ice in whole frames, and say how long it took.

    Args:
        run: Run folder of a trained emulator, or a folder with a released one: model.h5, fieldin.dat and
            fieldout.dat.
        data: Prepared folder.
        out: What to write: FILE.nc (CF-NetCDF) of one case, FILE.tif of one frame of one case with a band a
            variable, or a folder for CASE.nc of each case.
        split: Which cases.
        case: Name of one case.
        frame: Number of one frame, counted from 0.
        symmetrise: Average over the eight ways to turn the map; an equivariant network has no need of it.
        block_cells: Edge of the blocks in which a frame larger than that is computed, with a margin around
            each as wide as the network sees.
        solver_frames: Frames of each case that the solver computes too, to set its time beside.
        weights: The best by validation, or the last.
        accelerator: cpu, gpu or auto.
        progress: Whether to show how far it is.

    Returns:
        The file or folder.
    """
    from fieldwise.recipes.ice_flow.emulator import load_emulator
    from fieldwise.runs import write_json

    require_at_least(1, block_cells=block_cells)
    require_at_least(0, solver_frames=solver_frames, frame=frame)
    out = Path(out)
    cases = Prepared(data, recipe=RECIPE).cases(split, name=case)
    _check_out(out, cases, frame)
    emulator = load_emulator(run, weights=weights, accelerator=accelerator, symmetrise=symmetrise)
    for each in cases:
        each.check_has(emulator.signature.fields("inputs"), why=f"the emulator {emulator.path}")
    times: dict[str, Any] = {}
    for each in tqdm(cases, desc="predicting", unit="case", disable=not progress or len(cases) == 1):
        frames = list(range(each.frames)) if frame is None else [frame]
        predicted, seconds = _predict_case(emulator, each, frames, block_cells=block_cells)
        path = out if out.suffix in SUFFIXES else out / f"{each.name}.nc"
        _write(predicted, path)
        times[each.name] = {"shape": list(each.shape), "emulator_s": seconds}
        if solver_frames:
            times[each.name]["solver_s"] = float(
                np.mean([solve_frame(each, frame).seconds for frame in frames[:solver_frames]])
            )
        tqdm.write(_say_times(each, times[each.name], path))
    if out.suffix not in SUFFIXES:
        write_json(times, out / "times.json")
    return out


def _check_out(out: Path, cases: list[Case], frame: int | None) -> None:
    """Refuse a file that cannot hold what is asked for, before anything is computed."""
    if frame is not None:
        short = [case for case in cases if frame >= case.frames]
        if short:
            raise InputError(f"--frame: is {frame}, but case {short[0]} has {short[0].frames}, from 0")
    if out.suffix and out.suffix not in SUFFIXES:
        raise InputError(f"{out}: velocities are written as .nc or .tif, or into a folder as CASE.nc")
    if out.suffix in SUFFIXES and len(cases) > 1:
        names = ", ".join(case.name for case in cases)
        raise InputError(f"{out}: one file takes one case; choose --case among {names}, or give a folder")
    if out.suffix == ".tif" and frame is None and cases[0].frames > 1:
        raise InputError(f"{out}: one .tif takes one frame; choose with --frame, or write .nc")


def _predict_case(
    emulator: Any, case: Case, frames: list[int], *, block_cells: int
) -> tuple[xr.Dataset, float]:
    """Predict frames of a case, and give the median time of one in seconds, reading apart."""
    from fieldwise.recipes.ice_flow.emulator import read_inputs
    from fieldwise.verbs.domains import apply_by_blocks

    outputs = emulator.signature.fields("outputs")
    values = np.zeros((len(outputs), len(frames), *case.shape), dtype=np.float32)
    beyond = np.zeros((len(frames), *case.shape), dtype=np.int8)
    seconds = []
    halo_cells, alignment_cells = measure_reach(emulator.network)
    for number, frame in enumerate(frames):
        inputs, ice = read_inputs(emulator, case, frame)
        started = time.perf_counter()
        values[:, number] = apply_by_blocks(
            lambda block: emulator.apply(block[:-1], block[-1] > 0),
            np.concatenate([inputs, ice[None]]),
            block_cells=round_up(block_cells, alignment_cells),
            halo_cells=halo_cells,
        )
        seconds.append(time.perf_counter() - started)
        beyond[number] = _mark_beyond(emulator, inputs, ice)
    _warn(emulator, case, frames, beyond)
    dataset = _to_dataset(dict(zip(outputs, values, strict=True)), beyond, case, frames)
    warm = seconds[1:] or seconds  # the first one finds caches cold
    return dataset, float(np.median(warm))


def measure_reach(network: Any) -> tuple[int, int]:
    """Give how many cells to one side a network sees at most, and of what it shrinks maps by a multiple.

    >>> from fieldwise.networks.convnet import ConvNet
    >>> measure_reach(ConvNet(1, 1, layers=8, kernel_size=3))
    (8, 1)
    """
    from torch import nn

    cells, shrinks = 0, 1
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            shrinks *= max(module.stride)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            cells += max(module.dilation) * (max(module.kernel_size) // 2)
    return cells * shrinks, shrinks  # as if all kernels were where the map is smallest


def _to_dataset(
    outputs: dict[str, np.ndarray], beyond: np.ndarray, case: Case, frames: list[int]
) -> xr.Dataset:
    """Lay out what was predicted as CF asks: units, standard names, coordinates, grid mapping."""
    coordinates, dims = {"time": case.frame_times, "y": case.grid.y, "x": case.grid.x}, ("time", "y", "x")
    fields: dict[str, Any] = {}
    for name, values in outputs.items():
        labels = {"units": UNITS.get(name, "1"), "long_name": name}
        if name in STANDARD_NAMES:
            labels["standard_name"] = STANDARD_NAMES[name]
        fields[name] = (dims, values, labels)
    flags = {"flag_values": np.array([0, 1], dtype=np.int8), "flag_meanings": "within beyond"}
    fields[BEYOND] = (dims, beyond, flags | {"long_name": BEYOND})
    coordinates["time"] = coordinates["time"][frames]
    dataset = xr.Dataset(fields, coords={dim: coordinates[dim] for dim in dims})
    unknown = {"long_name": "time as in the source" + ("" if case.time else ", of unknown units")}
    dataset["time"].attrs = unknown | case.time
    if "since" in case.time.get("units", ""):
        dataset["time"].attrs["standard_name"] = "time"
    for axis in ("x", "y"):
        dataset[axis].attrs = {"units": "m", "standard_name": f"projection_{axis}_coordinate"}
    return dataset if case.crs is None else dataset.rio.write_crs(case.crs)


def _mark_beyond(emulator: Any, inputs: np.ndarray, ice: np.ndarray) -> np.ndarray:
    """Mark the cells with ice in which an input is below or above what training has seen: (y, x) bool."""
    signature = emulator.signature
    return np.any(list(signature.beyond(signature.split(inputs, "inputs")).values()), axis=0) & ice


def _warn(emulator: Any, case: Case, frames: list[int], beyond: np.ndarray) -> None:
    """Say which inputs leave the trained range, and in how much of the ice; and whether the cells do."""
    known = emulator.signature.spacings or [case.spacing]
    if not 0.99 * min(known) <= case.spacing <= 1.01 * max(known):
        trained = ", ".join(f"{spacing:g}" for spacing in known)
        tqdm.write(
            f"warning: case {case}: cells of {case.spacing:g} m, training has seen {trained} m; bring them "
            "to that with `prepare --resample`"
        )
    if not beyond.any():
        return
    masks = [find_ice(case, frame) for frame in frames]
    far = []
    for name, variable in [(name, each) for each in emulator.signature.inputs for name in each.fields]:
        low, high = variable.range or (-np.inf, np.inf)
        on_ice = [
            case.stack([name], frame=frame)[0][mask] for frame, mask in zip(frames, masks) if mask.any()
        ]
        least, largest = min(map(np.min, on_ice)), max(map(np.max, on_ice))
        if least < low or largest > high:
            far.append(f"{name} {least:.4g} to {largest:.4g} (trained {low:.4g} to {high:.4g})")
    tqdm.write(
        f"warning: case {case}: inputs leave what training has seen in {beyond.sum() / np.sum(masks):.1%} of "
        f"the ice: {'; '.join(far)}; see {BEYOND} in the result"
    )


def _write(predicted: xr.Dataset, path: Path) -> None:
    if path.suffix == ".nc":
        write_netcdf(predicted, path)
        return
    single = predicted.isel(time=0, drop=True).astype("float32")
    for axis in ("x", "y"):
        single[axis].attrs = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_done(path) as partial:
        single.rio.to_raster(partial, driver="COG", compress="DEFLATE")


def _say_times(case: Case, times: dict[str, Any], path: Path) -> str:
    line = f"{path}: {1000 * times['emulator_s']:.1f} ms a frame of {case.shape[0]} x {case.shape[1]} cells"
    if "solver_s" in times:
        ratio = times["solver_s"] / times["emulator_s"]
        line += f"; the solver takes {times['solver_s']:.2f} s, {ratio:.0f} times as long"
    return line
