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

STILL_M_A = 1.0  # slower ice than this has no direction worth comparing
SYMMETRIES = range(1, 8)


def speed_of(velocity: np.ndarray) -> np.ndarray:
    """Give the length of vectors, (east and north, y, x) to (y, x).

    >>> speed_of(np.array([[[3.0]], [[4.0]]])).tolist()
    [[5.0]]
    """
    return np.hypot(velocity[0], velocity[1])


def relative_l1(predicted: np.ndarray, true: np.ndarray) -> float:
    """Give the sum of absolute errors over the sum of absolute true values; NaN where these are 0.

    >>> relative_l1(np.array([11.0, 9.0]), np.array([10.0, 10.0]))
    0.1
    """
    total = np.abs(true).sum(dtype=np.float64)
    return float(np.abs(predicted - true).sum(dtype=np.float64) / total) if total else float("nan")


def direction_cosine(predicted: np.ndarray, true: np.ndarray) -> float:
    """Give the mean cosine of the angle between vectors, (2, ...), where the true ones are not at rest.

    >>> direction_cosine(np.array([[3.0, 0.0], [0.0, 5.0]]), np.array([[9.0, 9.0], [0.0, 0.0]]))
    0.5
    """
    lengths = np.hypot(*true), np.hypot(*predicted)
    moving = (lengths[0] > STILL_M_A) & np.isfinite(lengths[1])
    if not moving.any():
        return float("nan")
    product = (predicted * true).sum(axis=0)[moving]
    return float(np.mean(product / np.maximum(lengths[0] * lengths[1], 1e-12)[moving], dtype=np.float64))


def score_values(values: np.ndarray, names: Iterable[str]) -> dict[str, Any]:
    """Judge velocities in the cells of the ice.

    Parameters
    ----------
    values
        (predicted and true, variable, cell), m/a.
    names
        Of the variables.

    Returns
    -------
    dict
        Mean absolute and root-mean-square error of each variable, and for each vector the relative L1 error
        of its speed and the mean cosine of its direction.

    Examples
    --------
    >>> true = np.array([[10.0, 20.0], [0.0, 0.0]])
    >>> scores = score_values(np.stack([true + [[1.0, -3.0], [0.0, 0.0]], true]), ["ubar", "vbar"])
    >>> scores["mae"], round(scores["rmse"]["ubar"] ** 2, 6)  # (1 + 3) / 2, (1 + 9) / 2
    ({'ubar': 2.0, 'vbar': 0.0}, 5.0)
    >>> round(scores["relative_l1"]["bar"], 6), scores["direction_cosine"]["bar"]  # 4 / 30
    (0.133333, 1.0)
    """
    names, (predicted, true) = list(names), values
    errors = predicted.astype(np.float64) - true
    scores: dict[str, Any] = {
        "mae": dict(zip(names, np.abs(errors).mean(axis=1).tolist(), strict=True)),
        "rmse": dict(zip(names, np.sqrt(np.square(errors).mean(axis=1)).tolist(), strict=True)),
        "relative_l1": {},
        "direction_cosine": {},
    }
    for (east, north), (name, _) in zip(pair_channels(names), pair_vectors(names), strict=True):
        pair = [east, north]
        place = name[1:]
        scores["relative_l1"][place] = relative_l1(speed_of(predicted[pair]), speed_of(true[pair]))
        scores["direction_cosine"][place] = direction_cosine(predicted[pair], true[pair])
    return scores


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


def format_scores(scores: Mapping[str, Any]) -> str:
    """Lay the scores out as a table: one line a depth, then what holds for all.

    >>> errors = {"mae": {"ubar": 1.0, "vbar": 3.0}, "rmse": {"ubar": 2.0, "vbar": 4.0}}
    >>> errors |= {"relative_l1": {"bar": 0.05}, "direction_cosine": {"bar": 0.99}}
    >>> print(format_scores(errors | {"symmetry_error": 0.0, "leakage_m_a": 0.0}))
    velocity      relative L1 of speed  direction cosine   MAE (m/a)  RMSE (m/a)
    bar                          5.00%            0.9900        2.00        3.00
    symmetry error 0.00%, leakage off the ice 0 m/a
    """
    heads = ("relative L1 of speed", "direction cosine", "MAE (m/a)", "RMSE (m/a)")
    rows = [f"{'velocity':<12}{heads[0]:>22}{heads[1]:>18}{heads[2]:>12}{heads[3]:>12}"]
    for place, error in scores["relative_l1"].items():
        parts = [name for name in scores["mae"] if name[1:] == place and name[0] in "uv"]
        mae, rmse = (float(np.mean([scores[key][name] for name in parts])) for key in ("mae", "rmse"))
        cosine = scores["direction_cosine"][place]
        rows.append(f"{place:<12}{error:>21.2%} {cosine:>18.4f}{mae:>12.2f}{rmse:>12.2f}")
    if not scores["relative_l1"]:
        errors = zip(scores["mae"].items(), scores["rmse"].values(), strict=True)
        rows = [f"{name:<12} MAE {mae:.4g}, RMSE {rmse:.4g}" for (name, mae), rmse in errors]
    symmetry, leakage = scores["symmetry_error"], scores["leakage_m_a"]
    rows.append(f"symmetry error {symmetry:.2%}, leakage off the ice {leakage:g} m/a")
    if scores.get("energy"):
        rows.append(
            f"energy gap to the solver {scores['energy']['gap']:.2%}; a frame takes "
            f"{1000 * scores['seconds_a_frame']:.1f} ms, the solver {scores['energy']['solver_s']:.2f} s"
        )
    return "\n".join(rows)
