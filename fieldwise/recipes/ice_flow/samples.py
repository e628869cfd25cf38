"""Where there is ice in a prepared case."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fieldwise.errors import InputError
from fieldwise.physics.ice_flow.slopes import FLOWING_M
from fieldwise.recipes.ice_flow.signatures import THICKNESS
from fieldwise.samples.cases import Case, Cells


def find_ice(case: Case, frame: int, *, thicker_than_m: float = FLOWING_M, cells: Cells = ()) -> np.ndarray:
    """Tell where ice can flow, or is thicker than that: (y, x) bool; without a known thickness everywhere.

    Parameters
    ----------
    cells
        Rows and columns of a part of the case.

    >>> from fieldwise.samples.examples import make_prepared
    >>> (case,) = make_prepared({"thk": np.array([[[0.0, 0.5, 90.0]]])}).cases()  # one frame of one row
    >>> find_ice(case, 0).tolist(), find_ice(case, 0, thicker_than_m=0).tolist()
    ([[False, False, True]], [[False, True, True]])
    """
    if THICKNESS not in case.files:
        return np.ones(case.shape, dtype=bool)[cells]
    return case.stack([THICKNESS], cells=cells, frame=frame)[0] > thicker_than_m


def find_centres(cases: Iterable[Case], *, thicker_than_m: float) -> list[np.ndarray]:
    """Mark for every frame the cells that a patch may be drawn around.

    Raises
    ------
    InputError
        Where a whole case has none.

    Examples
    --------
    >>> from fieldwise.samples.examples import make_prepared
    >>> prepared = make_prepared({"thk": np.array([[[0.0, 50.0, 90.0]]])})
    >>> find_centres(prepared.cases(), thicker_than_m=60)[0].tolist()
    [[False, False, True]]
    """
    masks = []
    for case in cases:
        found = [find_ice(case, frame, thicker_than_m=thicker_than_m) for frame in range(case.frames)]
        if not any(mask.any() for mask in found):
            raise InputError(
                f"case {case}: has no cell with more than {thicker_than_m:g} m of ice; lower --thrice, "
                "or leave the case out"
            )
        masks += found
    return masks
