"""Whether disk and memory have room for a map, told before anything is computed."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from fieldwise.errors import InputError, times
from fieldwise.verbs.domains.partials import Plan, partial_folder

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
