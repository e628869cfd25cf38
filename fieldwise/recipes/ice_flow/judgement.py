"""Scores of predicted velocities: errors, direction, symmetry, leakage, energy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from fieldwise.recipes.ice_flow.emulator import Emulator, read_inputs
from fieldwise.recipes.ice_flow.energy import find_nodes
from fieldwise.recipes.ice_flow.mapping import pair_channels, pair_vectors
from fieldwise.recipes.ice_flow.prepared import PreparedCase
from fieldwise.recipes.ice_flow.solution import read_ice, solve_frame
from fieldwise.samples.loaders import turn, turn_back
from fieldwise.scores import ErrorSums, cosines_of, make_score, relative_l1, speed_of

STILL_M_A = 1.0  # slower ice than this has no direction worth comparing
SYMMETRIES = range(1, 8)
NAME = "prediction"


class VelocitySums:
    """Scores of velocities in the cells of the ice, frame by frame: no more than one is in memory.

    Parameters
    ----------
    names
        Of the variables.

    Examples
    --------
    >>> sums = VelocitySums(["ubar", "vbar"])
    >>> true = np.array([[10.0, 20.0], [0.0, 0.0]])
    >>> sums.add(true + [[1.0, -3.0], [0.0, 0.0]], true)
    >>> for row in sums.rows("test"):
    ...     print(row["measure"], row["at"], round(row["value"], 4))  # (1 + 3) / 2; root of 10 / 2; 4 / 30
    mae ubar 2.0
    mae vbar 0.0
    rmse ubar 2.2361
    rmse vbar 0.0
    relative_l1 bar 0.1333
    direction_cosine bar 1.0
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        self.vectors = {
            east[1:]: list(pair)
            for (east, _), pair in zip(pair_vectors(self.names), pair_channels(self.names), strict=True)
        }
        self.errors = {name: ErrorSums() for name in self.names}
        self.speeds = {place: ErrorSums() for place in self.vectors}
        self.cosines = dict.fromkeys(self.vectors, (0.0, 0))  # their sum and number

    def add(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Add the cells of one frame, (variable, cell) in m/a."""
        for sums, *values in zip(self.errors.values(), predicted, true, strict=True):
            sums.add(*values)
        for place, pair in self.vectors.items():
            self.speeds[place].add(speed_of(predicted[pair]), speed_of(true[pair]))
            cosines = cosines_of(predicted[pair], true[pair], still=STILL_M_A)
            total, count = self.cosines[place]
            self.cosines[place] = total + float(cosines.sum(dtype=np.float64)), count + cosines.size

    def rows(self, against: str) -> list[dict[str, Any]]:
        """Give the errors of variables, then those of speeds and directions."""
        rows = [
            make_score(against, measure, "m/a", NAME, getattr(sums, measure), at=name)
            for measure in ("mae", "rmse")
            for name, sums in self.errors.items()
        ]
        rows += [
            make_score(against, "relative_l1", "1", NAME, sums.relative_l1, at=place)
            for place, sums in self.speeds.items()
        ]
        return rows + [
            make_score(against, "direction_cosine", "1", NAME, total / count if count else np.nan, at=place)
            for place, (total, count) in self.cosines.items()
        ]


def measure_symmetry(emulator: Emulator, case: PreparedCase, frame: int) -> float:
    """Give by how much turning the input changes the speed: relative L1, the worst of seven symmetries.

    Each turned or mirrored frame is predicted and turned back; vectors turn along. The speed is that of the
    last vector that the emulator gives, the surface velocity where it gives one.

    A network that hands slopes on as velocity turns with the map; one that lets nothing flow north does not:

    >>> import tempfile; from pathlib import Path; folder = Path(tempfile.mkdtemp())
    >>> for name, slope in (("slopsurfx", 1.0), ("slopsurfy", 0.0)):
    ...     np.save(folder / f"{name}.npy", np.full((1, 3, 3), slope, dtype=np.float32))
    >>> case = PreparedCase("made", "test", folder, 1, (3, 3), 100.0, None, ("slopsurfx", "slopsurfy"))
    >>> from fieldwise.recipes.ice_flow.mapping import FieldMap
    >>> fields = FieldMap({"slopsurfx": 1.0, "slopsurfy": 1.0}, {"uvelsurf": 1.0, "vvelsurf": 1.0})
    >>> network = torch.nn.Conv2d(2, 2, 1, bias=False)
    >>> emulator = Emulator(network, fields, {}, torch.device("cpu"), folder)
    >>> for north in (1.0, 0.0):
    ...     network.weight = torch.nn.Parameter(torch.diag(torch.tensor([1.0, north])).view(2, 2, 1, 1))
    ...     print(measure_symmetry(emulator, case, 0))
    0.0
    1.0
    """
    inputs, ice = read_inputs(emulator, case, frame)
    as_is = emulator.apply(inputs, ice)
    pairs = pair_channels(emulator.fields.outputs)
    if not pairs:
        return float("nan")
    vectors = {"inputs": pair_channels(emulator.fields.inputs), "outputs": pairs}
    errors = []
    for symmetry in SYMMETRIES:
        arrays = {"inputs": torch.from_numpy(inputs)[None], "ice": torch.from_numpy(ice)[None, None]}
        turned = turn(arrays, symmetry, vectors=vectors)
        answer = emulator.apply(turned["inputs"][0].numpy(), turned["ice"][0, 0].numpy())
        back = turn_back({"outputs": torch.from_numpy(answer)[None]}, symmetry, vectors=vectors)
        last = list(pairs[-1])
        errors.append(relative_l1(speed_of(back["outputs"][0].numpy()[last]), speed_of(as_is[last])))
    return max(errors)


def measure_energy_gap(
    predicted: Mapping[str, np.ndarray], case: PreparedCase, frame: int
) -> dict[str, float]:
    """Compare the energy of predicted flow with that of the solver's, which is the least there is.

    Parameters
    ----------
    predicted
        Name to (y, x), m/a; two of base, mean and surface velocity.

    Returns
    -------
    dict
        Both energies in MPa m/a, and the gap as a share of the solver's.

    Examples
    --------
    Still ice has the energy 0, above that of the flow of a glacier:

    >>> import tempfile; from pathlib import Path; folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "thk.npy", np.full((1, 3, 3), 100.0))
    >>> np.save(folder / "usurf.npy", 2000 - 10.0 * np.ones((1, 3, 1)) * np.arange(3))  # down to the east
    >>> case = PreparedCase("made", "test", folder, 1, (3, 3), 100.0, None, ("thk", "usurf"))
    >>> still = dict.fromkeys(("ubar", "vbar", "uvelsurf", "vvelsurf"), np.zeros((3, 3)))
    >>> gap = measure_energy_gap(still, case, 0)
    >>> abs(gap["emulator"]) < 1e-6, gap["solver"] < 0, round(gap["gap"], 4)
    (True, True, 1.0)
    """
    from fieldwise.physics.ice_flow import energy

    flow = solve_frame(case, frame)
    ice = read_ice(case, frame)
    options: dict[str, Any] = {
        "thickness": torch.as_tensor(ice.thickness)[None],
        "surface": torch.as_tensor(ice.surface)[None],
        "spacing_m": case.spacing_m,
        "rate_factor": torch.as_tensor(ice.rate_factor)[None],
        "sliding_coefficient": torch.as_tensor(ice.sliding_coefficient)[None],
        "y_descending": True,
    }
    velocity = {name: torch.as_tensor(values.astype(np.float64))[None] for name, values in predicted.items()}
    nodes = find_nodes(velocity, nodes=flow.velocity_x.shape[0])
    found = energy(*nodes, **options).item()
    least = energy(flow.velocity_x[None].double(), flow.velocity_y[None].double(), **options).item()
    return {
        "emulator": found,
        "solver": least,
        "gap": (found - least) / abs(least),
        "solver_s": flow.seconds,
    }
