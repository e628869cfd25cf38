"""Scores of predicted velocities: errors, direction, symmetry, leakage, energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from fieldwise.recipes.ice_flow.emulator import Emulator, read_inputs
from fieldwise.samples.cases import Case
from fieldwise.samples.loaders import turn, turn_back
from fieldwise.samples.signatures import Signature

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


def score_values(values: np.ndarray, signature: Signature) -> dict[str, Any]:
    """Judge velocities in the cells of the ice.

    Parameters
    ----------
    values
        (predicted and true, variable, cell), m/a.
    signature
        Whose outputs they are.

    Returns
    -------
    dict
        Mean absolute and root-mean-square error of each variable, and for each vector the relative L1 error
        of its speed and the mean cosine of its direction.

    Examples
    --------
    >>> true = np.array([[10.0, 20.0], [0.0, 0.0]])
    >>> from fieldwise.recipes.ice_flow.signatures import make_signature
    >>> signature = make_signature({}, {"ubar": 1.0, "vbar": 1.0})
    >>> scores = score_values(np.stack([true + [[1.0, -3.0], [0.0, 0.0]], true]), signature)
    >>> scores["mae"], round(scores["rmse"]["ubar"] ** 2, 6)  # (1 + 3) / 2, (1 + 9) / 2
    ({'ubar': 2.0, 'vbar': 0.0}, 5.0)
    >>> round(scores["relative_l1"]["bar"], 6), scores["direction_cosine"]["bar"]  # 4 / 30
    (0.133333, 1.0)
    """
    names, (predicted, true) = signature.fields("outputs"), values
    errors = predicted.astype(np.float64) - true
    scores: dict[str, Any] = {
        "mae": dict(zip(names, np.abs(errors).mean(axis=1).tolist(), strict=True)),
        "rmse": dict(zip(names, np.sqrt(np.square(errors).mean(axis=1)).tolist(), strict=True)),
        "relative_l1": {},
        "direction_cosine": {},
    }
    places = [each.name for each in signature.outputs if each.vector]
    for place, (east, north) in zip(places, signature.vectors()["targets"], strict=True):
        pair = [east, north]
        scores["relative_l1"][place] = relative_l1(speed_of(predicted[pair]), speed_of(true[pair]))
        scores["direction_cosine"][place] = direction_cosine(predicted[pair], true[pair])
    return scores


def measure_symmetry(emulator: Emulator, case: Case, frame: int) -> float:
    """Give by how much turning the input changes the speed: relative L1, the worst of seven symmetries.

    Each turned or mirrored frame is predicted and turned back; vectors turn along. The speed is that of the
    last vector that the emulator gives, the surface velocity where it gives one.

    A network that hands slopes on as velocity turns with the map; one that lets nothing flow north does not:

    >>> from fieldwise.recipes.ice_flow.signatures import make_signature
    >>> from fieldwise.samples.examples import make_prepared
    >>> (case,) = make_prepared({"slopsurfx": 1.0, "slopsurfy": 0.0}, shape=(3, 3)).cases()
    >>> signature = make_signature({"slopsurfx": 1.0, "slopsurfy": 1.0}, {"uvelsurf": 1.0, "vvelsurf": 1.0})
    >>> network = torch.nn.Conv2d(2, 2, 1, bias=False)
    >>> emulator = Emulator(network, signature, torch.device("cpu"), case.folder)
    >>> for north in (1.0, 0.0):
    ...     network.weight = torch.nn.Parameter(torch.diag(torch.tensor([1.0, north])).view(2, 2, 1, 1))
    ...     print(measure_symmetry(emulator, case, 0))
    0.0
    1.0
    """
    inputs, ice = read_inputs(emulator, case, frame)
    as_is = emulator.apply(inputs, ice)
    vectors = emulator.signature.vectors()
    if not vectors["targets"]:
        return float("nan")
    errors = []
    for symmetry in SYMMETRIES:
        arrays = {"inputs": torch.from_numpy(inputs)[None], "ice": torch.from_numpy(ice)[None, None]}
        turned = turn(arrays, symmetry, vectors=vectors)
        answer = emulator.apply(turned["inputs"][0].numpy(), turned["ice"][0, 0].numpy())
        back = turn_back({"targets": torch.from_numpy(answer)[None]}, symmetry, vectors=vectors)
        last = list(vectors["targets"][-1])
        errors.append(relative_l1(speed_of(back["targets"][0].numpy()[last]), speed_of(as_is[last])))
    return max(errors)


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
