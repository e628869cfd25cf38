"""Any array function over any domain: halo, blocks, resume, bounded memory."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from tqdm import tqdm

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.fields.grids import Bounds, Grid
from fieldwise.fields.rasters import CACHE_BYTES, write_cog_by_blocks
from fieldwise.verbs.blocks import Box, Layout, lay_out, round_up
from fieldwise.verbs.probes import measure_halo

__all__ = ["apply_by_blocks", "measure_halo", "predict_domain"]

Arrays = dict[str, np.ndarray]
Reader = Callable[[Bounds], Arrays]  # the inputs of a window, with whatever padding the function eats
Function = Callable[[Arrays], np.ndarray]  # (y, x) of exactly that window at the output spacing

READ_AHEAD = 2  # blocks in memory before the one that is computed
WRITE_BEHIND = 2  # and after it


def predict_domain(
    function: Function,
    read_inputs: Reader,
    grid: Grid,
    *,
    path: str | Path,
    domain: Bounds | None = None,
    block_cells: int = 512,
    halo_cells: int = 0,
    alignment_cells: int = 1,
    fingerprint: str = "",
    name: str = "prediction",
    units: str = "m",
    tags: dict[str, str] | None = None,
    progress: bool = True,
) -> Path:
    """Apply a function to a whole domain, block by block, and write a cloud-optimised GeoTIFF.

    One thread reads ahead and one writes behind. Finished blocks lie in the folder `<path>.partial` until
    the map is whole: a killed run that is started again computes only the missing ones.

    Parameters
    ----------
    function
        Maps the inputs of a window to an array (y, x) of exactly that window at the grid's spacing.
    read_inputs
        Reads the inputs of a window given in world coordinates (west, south, east, north), with whatever
        padding the function consumes by itself. It is called from another thread.
    grid
        What to predict; its edges lie whole cells from the domain's north-west corner.
    path
        The GeoTIFF to write: float32, missing values NaN.
    domain
        Where inputs exist; halos end there, so that tiled and untiled see the same edge of the data. A
        side that is no multiple of the alignment is rounded up. Default: the grid's bounds.
    block_cells, halo_cells
        Side of a block and width of the margin computed around it and dropped, in output cells; both are
        rounded up to the alignment.
    alignment_cells
        All windows start and end at multiples of it, counted from the domain's north-west corner: the
        output cells in a cell of the coarsest input.
    fingerprint
        Stands for function and inputs (a hash, say). Unfinished work of another fingerprint is dropped.
    name, units, tags
        Description, unit and metadata of the result.
    progress
        Show a progress bar with times.

    Raises
    ------
    InputError
        Where the grid leaves the domain, the function returns another shape, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> grid = Grid(0, 0, 3000, 2000, 250, "EPSG:3031")
    >>> def read_inputs(bounds):
    ...     return {"x": np.tile(Grid(*bounds, 250, grid.crs).x, (Grid(*bounds, 250, grid.crs).shape[0], 1))}
    >>> path = Path(tempfile.mkdtemp()) / "twice.tif"
    >>> _ = predict_domain(
    ...     lambda inputs: 2 * inputs["x"], read_inputs, grid, path=path, block_cells=5, progress=False
    ... )
    >>> with rasterio.open(path) as result:
    ...     result.shape, result.read(1)[0, :3].tolist()
    ((8, 12), [250.0, 750.0, 1250.0])
    """
    path = _checked_path(path)
    layout = lay_out(grid, domain, alignment_cells)
    block_cells = round_up(max(block_cells, 1), alignment_cells)
    halo_cells = round_up(max(halo_cells, 0), alignment_cells)
    plan = {"fingerprint": fingerprint, "grid": asdict(grid), "domain": list(layout.domain)} | {
        "block_cells": block_cells,
        "halo_cells": halo_cells,
        "alignment_cells": alignment_cells,
    }
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        partial = _open_partial(path, plan)
        files = {partial / f"{box.top}_{box.left}.npy": box for box in layout.blocks(block_cells)}
        missing = {file: box for file, box in files.items() if not file.exists()}
        done = len(files) - len(missing)
        bar = tqdm(total=len(files), initial=done, desc=name, unit="block", disable=not progress)
        with bar:
            _compute_blocks(function, read_inputs, layout, halo_cells, missing, bar)
            bar.set_postfix_str(f"writing {path.name}")
            _assemble(files, layout.target, grid, path, name=name, units=units, tags=tags)
    shutil.rmtree(partial)
    return path


def _checked_path(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"{path}: a prediction is written as GeoTIFF; give it a name that ends with .tif")
    return path


def _open_partial(path: Path, plan: dict[str, Any]) -> Path:
    """Make the folder of finished blocks, or go on with it where it belongs to the same plan."""
    partial = path.with_name(f"{path.name}.partial")
    plan_file = partial / "plan.json"
    if partial.exists():
        try:
            same = json.loads(plan_file.read_text()) == json.loads(json.dumps(plan))
        except (OSError, ValueError):
            same = False
        if same:
            return partial
        tqdm.write(f"{partial}: unfinished work of other inputs or settings, dropped", file=sys.stderr)
        shutil.rmtree(partial)
    with replace_when_done(plan_file) as temporary:
        temporary.write_text(json.dumps(plan, indent=1))
    return partial


def _compute_blocks(
    function: Function,
    read_inputs: Reader,
    layout: Layout,
    halo_cells: int,
    missing: dict[Path, Box],
    bar: tqdm,
) -> None:
    """Compute the missing blocks while the next are read and the last are saved."""
    windows = {file: layout.window(core, halo_cells) for file, core in missing.items()}
    reading = _read_ahead(lambda file: read_inputs(layout.bounds(windows[file])), missing)
    saving: deque[Future] = deque()
    with ThreadPoolExecutor(1, "write-behind") as writer, closing(reading):
        for file, inputs in reading:
            values = _core_values(function, inputs, missing[file], windows[file])
            saving.append(writer.submit(_save_block, file, values))
            if len(saving) > WRITE_BEHIND:
                saving.popleft().result()
            bar.update()
        for save in saving:
            save.result()


def _read_ahead(
    read: Callable[[Path], Arrays], files: Iterable[Path]
) -> Generator[tuple[Path, Arrays], None, None]:
    """Yield what is read for each file, while a thread reads the next ones."""
    reader = ThreadPoolExecutor(1, "read-ahead")
    waiting: deque[tuple[Path, Future[Arrays]]] = deque()
    try:
        for file in files:
            waiting.append((file, reader.submit(read, file)))
            if len(waiting) > READ_AHEAD:
                first, reading = waiting.popleft()
                yield first, reading.result()
        while waiting:
            first, reading = waiting.popleft()
            yield first, reading.result()
    finally:
        reader.shutdown(cancel_futures=True)  # after an error or Ctrl-C no further block is read


def _core_values(function: Function, inputs: Arrays, core: Box, window: Box) -> np.ndarray:
    """Compute a window and return its core, (y, x) float32."""
    values = np.asarray(function(inputs))
    if values.shape != window.shape:
        raise InputError(
            f"the function returned the shape {values.shape} for a window of {window.shape} cells; "
            "it must return (y, x) of exactly the window at the output spacing"
        )
    return values[core.within(window)].astype(np.float32)  # a copy: the margin is not kept in memory


def _save_block(file: Path, values: np.ndarray) -> None:
    content = io.BytesIO()  # NumPy's own writing to a file hides the reason when the disk is full
    np.save(content, values)
    with replace_when_done(file) as temporary, temporary.open("wb") as stream:
        stream.write(content.getbuffer())
        stream.flush()
        os.fsync(stream.fileno())  # a block that has its name is whole, even after a power cut


def _assemble(
    files: dict[Path, Box],
    target: Box,
    grid: Grid,
    path: Path,
    *,
    name: str,
    units: str,
    tags: dict[str, str] | None,
) -> None:
    """Join the blocks in the folder of unfinished work, so that what a kill leaves goes with that folder."""
    whole = next(iter(files)).with_name(path.name)
    blocks = ((box.top - target.top, box.left - target.left, np.load(file)) for file, box in files.items())
    try:
        write_cog_by_blocks(blocks, grid, whole, name=name, units=units, tags=tags)
    except InputError as error:
        raise InputError(f"{error}; finished blocks are kept in {whole.parent}") from error
    os.replace(whole, path)


def apply_by_blocks(
    function: Callable[[np.ndarray], np.ndarray],
    fields: np.ndarray,
    *,
    block_cells: int = 1024,
    halo_cells: int = 0,
) -> np.ndarray:
    """Apply a function to fields in memory, in blocks where they are larger than one.

    Parameters
    ----------
    function
        Maps (channel, y, x) to (channel, y, x) of the same extent.
    fields
        (channel, y, x), of any size.
    block_cells, halo_cells
        Side of a block and width of the margin computed around it and dropped.

    >>> fields = np.arange(35.0).reshape(1, 5, 7)
    >>> doubled = apply_by_blocks(lambda block: 2 * block, fields, block_cells=2, halo_cells=1)
    >>> bool((doubled == 2 * fields).all())
    True
    """
    rows, columns = fields.shape[-2:]
    if max(rows, columns) <= block_cells:
        return function(fields)
    whole = Box(0, 0, rows, columns)
    result: np.ndarray | None = None
    for top in range(0, rows, block_cells):
        for left in range(0, columns, block_cells):
            core = Box(top, left, top + block_cells, left + block_cells).clipped(whole)
            window = core.widened(halo_cells).clipped(whole)
            values = function(fields[:, window.top : window.bottom, window.left : window.right])
            if result is None:
                result = np.empty((values.shape[0], rows, columns), dtype=values.dtype)
            inside = (slice(None), *core.within(window))
            result[:, core.top : core.bottom, core.left : core.right] = values[inside]
    assert result is not None
    return result
