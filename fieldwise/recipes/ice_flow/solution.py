"""What the solver says of a prepared frame: the truth, where the laws of flow hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fieldwise.recipes.ice_flow.prepared import PreparedCase

if TYPE_CHECKING:
    from fieldwise.physics.ice_flow import Flow


@dataclass(frozen=True)
class Ice:
    """What the solver takes of a frame, (y, x) each, in float64."""

    thickness: np.ndarray
    surface: np.ndarray
    rate_factor: np.ndarray
    sliding_coefficient: np.ndarray


def read_ice(case: PreparedCase, frame: int) -> Ice:
    """Read what the solver takes of a frame; where flow parameters are missing, its own hold.

    Raises
    ------
    InputError
        Where the case lacks thickness or surface.

    Examples
    --------
    >>> import tempfile; from pathlib import Path; folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "thk.npy", np.full((1, 3, 3), 100.0))
    >>> np.save(folder / "usurf.npy", 2000 - 10.0 * np.ones((1, 3, 1)) * np.arange(3))  # down to the east
    >>> case = PreparedCase("made", "test", folder, 1, (3, 3), 100.0, None, ("thk", "usurf"))
    >>> ice = read_ice(case, 0)
    >>> ice.surface[0].tolist(), ice.rate_factor[0, 0].item()  # of temperate ice
    ([2000.0, 1990.0, 1980.0], 78.0)
    """
    from fieldwise.physics.ice_flow.blatter_pattyn import RATE_FACTOR, SLIDING_COEFFICIENT

    case.check_has(["thk", "usurf"], why="the solver")
    parameters = {"arrhenius": RATE_FACTOR, "slidingco": SLIDING_COEFFICIENT}
    fields = case.read(["thk", "usurf"], frame).astype(np.float64)
    found = [
        case.read([name], frame)[0].astype(np.float64)
        if name in case.variables
        else np.full(case.shape, default)
        for name, default in parameters.items()
    ]
    return Ice(*fields, *found)


def solve_frame(case: PreparedCase, frame: int) -> Flow:
    """Let the solver compute a frame.

    >>> import tempfile; from pathlib import Path; folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "thk.npy", np.full((1, 3, 3), 100.0))
    >>> np.save(folder / "usurf.npy", 2000 - 10.0 * np.ones((1, 3, 1)) * np.arange(3))  # down to the east
    >>> case = PreparedCase("made", "test", folder, 1, (3, 3), 100.0, None, ("thk", "usurf"))
    >>> flow = solve_frame(case, 0)
    >>> flow.converged, bool((flow.mean_x > flow.mean_y.abs()).all())  # to the east
    (True, True)
    """
    import torch

    from fieldwise.physics.ice_flow import solve

    ice = read_ice(case, frame)
    return solve(
        torch.as_tensor(ice.thickness),
        torch.as_tensor(ice.surface),
        spacing_m=case.spacing_m,
        rate_factor=torch.as_tensor(ice.rate_factor),
        sliding_coefficient=torch.as_tensor(ice.sliding_coefficient),
        y_descending=True,
    )
