"""What the equations say of a prepared frame and of predicted flow: the solver's answer, and the energy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldwise.errors import InputError
from fieldwise.physics.ice_flow import Flow, energy, find_ends, profile_nodes, solve
from fieldwise.physics.ice_flow.blatter_pattyn import RATE_FACTOR, SLIDING_COEFFICIENT
from fieldwise.recipes.ice_flow.signatures import DEPTHS, SPACING
from fieldwise.samples.cases import Case

PHYSICS = ("thk", "usurf", "arrhenius", "slidingco", SPACING)  # what the energy reads


def read_ice(case: Case, frame: int) -> dict[str, Any]:
    """Read what solver and energy take of a frame; where flow parameters are missing, those of temperate ice.

    Raises
    ------
    InputError
        Where the case lacks thickness or surface.

    Examples
    --------
    >>> from fieldwise.samples.examples import make_prepared
    >>> slope = 2000 - 10.0 * np.ones((1, 3, 1)) * np.arange(3)  # down to the east
    >>> (case,) = make_prepared({"thk": np.full((1, 3, 3), 100.0), "usurf": slope}).cases()
    >>> ice = read_ice(case, 0)
    >>> ice["surface"][0].tolist(), ice["rate_factor"][0, 0].item()
    ([2000.0, 1990.0, 1980.0], 78.0)
    """
    case.check_has(["thk", "usurf"], why="the solver")
    fields = {"thickness": "thk", "surface": "usurf"}
    fields |= {"rate_factor": "arrhenius", "sliding_coefficient": "slidingco"}
    usual = {"rate_factor": RATE_FACTOR, "sliding_coefficient": SLIDING_COEFFICIENT}
    arrays = {
        key: case.stack([name], frame=frame)[0] if name in case.files else np.full(case.shape, usual[key])
        for key, name in fields.items()
    }
    ice: dict[str, Any] = {key: torch.as_tensor(values.astype(np.float64)) for key, values in arrays.items()}
    return ice | {"spacing_m": case.spacing, "y_descending": True}


def solve_frame(case: Case, frame: int) -> Flow:
    """Let the solver compute a frame.

    >>> from fieldwise.samples.examples import make_prepared
    >>> slope = 2000 - 10.0 * np.ones((1, 3, 1)) * np.arange(3)  # down to the east
    >>> (case,) = make_prepared({"thk": np.full((1, 3, 3), 100.0), "usurf": slope}, spacing=100.0).cases()
    >>> flow = solve_frame(case, 0)
    >>> flow.converged, bool((flow.mean_x > flow.mean_y.abs()).all())  # to the east
    (True, True)
    """
    return solve(**read_ice(case, frame))


def energy_loss(prediction: Tensor, batch: Mapping[str, Tensor], signature: Mapping[str, Any]) -> Tensor:
    """Return the Blatter-Pattyn energy of predicted flow, the mean over the batch, in MPa m/a.

    It is least, and below zero, where the flow is right; no target is looked at.

    Parameters
    ----------
    prediction
        (batch, outputs, y, x), scaled.
    batch
        `physics`, (batch, 5, y, x): thickness, surface, rate factor, sliding coefficient, edge of a cell.
    signature
        Of the emulator, in plain types.

    Examples
    --------
    >>> from fieldwise.recipes.ice_flow.signatures import make_signature
    >>> batch = {"physics": torch.ones(1, 5, 3, 3)}
    >>> batch["physics"] *= torch.tensor([100.0, 500.0, 78.0, 0.0464, 100.0]).view(1, 5, 1, 1)
    >>> velocities = dict.fromkeys(("ubar", "vbar", "uvelsurf", "vvelsurf"), 1000.0)
    >>> signature = make_signature({}, velocities).to_dict()
    >>> answers = [torch.full((1, 4, 3, 3), speed) for speed in (0.0, 0.1, 0.2)]
    >>> still, slow, fast = (energy_loss(answer, batch, signature) for answer in answers)
    >>> bool(still < slow < fast)  # flat ice is best at rest
    True
    """
    scales = {name: each["scale"]["spread"] for each in signature["outputs"] for name in each["fields"]}
    channels = zip(scales.items(), prediction.unbind(1), strict=True)
    velocity = {name: values * scale for (name, scale), values in channels}
    thickness, surface, rate, sliding, spacing = batch["physics"].unbind(1)
    return energy(
        *find_nodes(velocity),
        thickness=thickness,
        surface=surface,
        spacing_m=spacing[:, 0, 0],
        rate_factor=rate,
        sliding_coefficient=sliding,
        y_descending=True,
    ).mean()


def find_nodes(velocity: Mapping[str, Tensor], *, nodes: int = 2) -> list[Tensor]:
    """Spread predicted flow over nodes from bed to surface: [to the east, to the north].

    >>> names = {"uvelbase": 10.0, "vvelbase": 0.0, "uvelsurf": 50.0, "vvelsurf": 0.0}
    >>> velocity = {name: torch.full((1, 1, 1), speed) for name, speed in names.items()}
    >>> [node.flatten().tolist() for node in find_nodes(velocity)]  # bed and surface
    [[10.0, 50.0], [0.0, 0.0]]
    """
    check_depths(velocity)
    columns = []
    for axis in "uv":
        known = {DEPTHS[name[1:]]: values for name, values in velocity.items() if name[0] == axis}
        columns.append(profile_nodes(*find_ends(known), nodes=nodes))
    return columns


def check_depths(names: Iterable[str]) -> None:
    """Refuse a mapping that does not tell how velocity changes with depth.

    >>> check_depths(["ubar", "vbar", "uvelsurf", "vvelsurf"])
    >>> check_depths(["ubar", "vbar"])
    Traceback (most recent call last):
    fieldwise.errors.InputError: energy: ubar, vbar do not tell how velocity changes with depth; ...
    """
    names = list(names)
    if sum({f"u{place}", f"v{place}"} <= {*names} for place in DEPTHS) < 2:
        raise InputError(
            f"energy: {', '.join(names)} do not tell how velocity changes with depth; take a map type with "
            "mean and surface velocity, such as f13 or f15"
        )


def measure_energy_gap(predicted: Mapping[str, np.ndarray], case: Case, frame: int) -> dict[str, float]:
    """Compare the energy of predicted flow with that of the solver's, which is the least there is.

    Parameters
    ----------
    predicted
        Name to (y, x), m/a; two of base, mean and surface velocity.

    Returns
    -------
    dict
        Both energies in MPa m/a, the gap as a share of the solver's, and the solver's time.

    Examples
    --------
    Still ice has the energy 0, above that of the flow of a glacier:

    >>> from fieldwise.samples.examples import make_prepared
    >>> slope = 2000 - 10.0 * np.ones((1, 3, 1)) * np.arange(3)  # down to the east
    >>> (case,) = make_prepared({"thk": np.full((1, 3, 3), 100.0), "usurf": slope}, spacing=100.0).cases()
    >>> still = dict.fromkeys(("ubar", "vbar", "uvelsurf", "vvelsurf"), np.zeros((3, 3)))
    >>> gap = measure_energy_gap(still, case, 0)
    >>> abs(gap["emulator"]) < 1e-6, gap["solver"] < 0, round(gap["gap"], 4)
    (True, True, 1.0)
    """
    ice = read_ice(case, frame)
    flow = solve(**ice)
    batch: dict[str, Any] = {
        key: value[None] if isinstance(value, Tensor) else value for key, value in ice.items()
    }
    velocity = {name: torch.as_tensor(values.astype(np.float64))[None] for name, values in predicted.items()}
    found = energy(*find_nodes(velocity, nodes=flow.velocity_x.shape[0]), **batch).item()
    least = energy(flow.velocity_x[None].double(), flow.velocity_y[None].double(), **batch).item()
    gap = (found - least) / abs(least)
    return {"emulator": found, "solver": least, "gap": gap, "solver_s": flow.seconds}
