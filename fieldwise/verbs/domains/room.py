"""Whether disk and memory have room for a map, told before anything is computed."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwise.errors import InputError, times
from fieldwise.fields.rasters import TILE_CELLS
from fieldwise.verbs.domains.blocks import Box, Layout, round_up
from fieldwise.verbs.domains.partials import Plan, partial_folder

if TYPE_CHECKING:
    from fieldwise.samples.cases import Case
    from fieldwise.verbs.predictors import Predictor

BLOCK_CELLS = {2: 512, 3: 64}  # on a side of a block, by dimensions
LARGEST_BLOCK_CELLS = 2048  # on a GPU; in larger ones each reader would hold gigabytes
TRIED_CELLS = 256, 512  # on a side of what a GPU computes to tell how much memory a cell takes
SHARE_OF_GPU = 0.6  # of its free memory
CELL_BYTES = 4
COPIES_ON_DISK = 1.5  # pieces, and the file that they become, which compression halves
COPIES_IN_MEMORY = 3  # of all members of a block: drawn, sorted, written
GIGABYTE = 1e9


def check_room(out: Path, plan: Plan, *, members: int) -> None:
    """Refuse a map that the disk cannot take, or members of a block that memory cannot hold.

    Pieces of an unfinished map count as free: they are part of it, or make way for it.

    Parameters
    ----------
    out
        File of the map.
    plan
        What is computed.
    members
        Drawn of each block.

    Raises
    ------
    InputError
        Saying how much is wanted, how much there is, and what to change.

    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.verbs.domains.blocks import lay_out_case
    >>> (case,) = make_prepared({"thk": 80.0}, shape=(4, 4)).cases()
    >>> plan = Plan(lay_out_case(case, None, 1), (0,), ("bed",), 4, 0, "")
    >>> check_room(Path("bed.tif"), plan, members=10**12)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --members: 1000000000000 of a block of 4 x 4 cells take 192000.0 GB of ...
    """
    target = plan.layout.target.shape
    wanted = len(plan.outputs) * len(plan.frames) * math.prod(target) * CELL_BYTES * COPIES_ON_DISK
    home = next(folder for folder in [out.absolute().parent, *out.absolute().parents] if folder.exists())
    free = shutil.disk_usage(home).free
    free += sum(piece.stat().st_size for piece in partial_folder(out).glob("*"))
    if wanted > free:
        raise InputError(
            f"{out}: takes {wanted / GIGABYTE:.1f} GB while it is written, and {free / GIGABYTE:.1f} GB are "
            "free; draw fewer members, leave out --keep_members, or choose another disk"
        )
    cells = [min(plan.block_cells + 2 * plan.halo_cells, size) for size in target]
    held = members * math.prod(cells) * CELL_BYTES * COPIES_IN_MEMORY
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if held > memory:
        raise InputError(
            f"--members: {members} of a block of {times(cells)} cells take {held / GIGABYTE:.1f} GB of "
            f"memory, of {memory / GIGABYTE:.1f} GB; draw fewer, or smaller --block_cells"
        )


def choose_block(predictor: Predictor, case: Case, layout: Layout, *, frame: int, halo_cells: int) -> int:
    """Choose the side of a block: on a GPU as large as its memory allows, so that margins weigh little.

    >>> import torch
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature
    >>> from fieldwise.verbs.domains.blocks import lay_out_case
    >>> from fieldwise.verbs.predictors import Predictor
    >>> (case,) = make_prepared({"thk": 80.0}, shape=(4, 4)).cases()
    >>> predictor = Predictor(torch.nn.Identity(), Signature("own", (), ()))
    >>> choose_block(predictor, case, lay_out_case(case, None, 1), frame=0, halo_cells=0)
    512
    """
    usual, tried = BLOCK_CELLS[len(case.shape)], [round_up(side, layout.alignment) for side in TRIED_CELLS]
    if predictor.device.type != "cuda" or len(case.shape) != 2 or min(layout.limits.shape) < tried[-1]:
        return usual
    import torch

    peaks = []
    for side in tried:
        window = layout.locate(Box((0, 0), (side, side)))
        torch.cuda.reset_peak_memory_stats()
        predictor(predictor.stage(predictor.read(case, window, frame)))
        peaks.append(torch.cuda.max_memory_allocated())
    cell_bytes = (peaks[1] - peaks[0]) / (tried[1] ** 2 - tried[0] ** 2)
    return largest_block(torch.cuda.mem_get_info()[0], cell_bytes, halo_cells=halo_cells)


def largest_block(free_bytes: float, cell_bytes: float, *, halo_cells: int) -> int:
    """Give the largest side of a block, of whole tiles of a GeoTIFF, that fits into a GPU with its margin.

    A window of 2048 + 2 * 128 cells on a side at 1000 bytes each takes 5.3 GB, of 1024 + 2 * 128 1.6 GB:

    >>> [largest_block(gigabytes * 1e9, 1000, halo_cells=128) for gigabytes in (9, 8, 1)]
    [2048, 1536, 512]
    """
    side = math.sqrt(SHARE_OF_GPU * free_bytes / max(cell_bytes, 1.0)) - 2 * halo_cells
    return min(LARGEST_BLOCK_CELLS, max(TILE_CELLS, int(side) // TILE_CELLS * TILE_CELLS))
