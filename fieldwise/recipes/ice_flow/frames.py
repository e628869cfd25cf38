"""What happens to one frame before anything is learnt from it: resampling, slopes, gaps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from fieldwise.errors import InputError
from fieldwise.fields.resampling import block_mean

SLOPES = ("slopsurfx", "slopsurfy")
ICE_SLOPES = ("slopicex", "slopicey")
FLOWING_M = 1.0  # only thicker ice moves


def derive_slopes(usurf: np.ndarray, spacing_m: float) -> dict[str, np.ndarray]:
    """Derive the slopes of a surface, (y, x) with rows from north to south, to the east and to the north.

    Differences are central, and to one side at the edges.

    >>> east, north = derive_slopes(np.array([[3.0, 5.0], [0.0, 2.0]]), 1.0).values()
    >>> east[0, 0].item(), north[0, 0].item()  # the surface rises by 2 to the east, by 3 to the north
    (2.0, 3.0)
    """
    down, right = np.gradient(usurf.astype(np.float64), spacing_m)
    return dict(zip(SLOPES, np.stack([right, -down]).astype(np.float32), strict=True))


def derive_ice_slopes(usurf: np.ndarray, thk: np.ndarray, spacing_m: float) -> dict[str, np.ndarray]:
    """Derive the slopes that drive the ice: rock that stands above its surface holds it and does not push.

    A neighbour counts that has ice or lies lower; where only one of two does, the difference to it stands for
    both, and without any the slope is 0, as it is off the ice. In the middle of the ice these are the
    slopes of the surface; at the margin of a valley glacier those see the valley's wall.

    Parameters
    ----------
    usurf, thk
        (y, x) in metres, rows from north to south.

    >>> usurf, thk = np.array([[90.0, 20.0, 10.0]] * 2), np.array([[0.0, 10.0, 10.0]] * 2)
    >>> derive_ice_slopes(usurf, thk, 10.0)["slopicex"][0].tolist()  # the wall to the west does not count
    [0.0, -1.0, -1.0]
    """
    ice = thk > FLOWING_M
    slopes = []
    for axis, sign in ((1, 1.0), (0, -1.0)):
        surface, icy = np.moveaxis(usurf.astype(np.float64), axis, 0), np.moveaxis(ice, axis, 0)
        step = np.diff(surface, axis=0)
        before, after = np.zeros_like(surface), np.zeros_like(surface)
        counts = np.zeros((2, *surface.shape), dtype=bool)
        before[1:], after[:-1] = step, step
        counts[0, 1:], counts[1, :-1] = icy[:-1] | (step > 0), icy[1:] | (step < 0)
        total = (before * counts[0] + after * counts[1]) / np.maximum(counts.sum(axis=0), 1)
        slopes.append(np.moveaxis(np.where(icy, total, 0), 0, axis) * sign / spacing_m)
    return dict(zip(ICE_SLOPES, np.stack(slopes).astype(np.float32), strict=True))


def resample_frame(fields: Mapping[str, np.ndarray], factor: float) -> dict[str, np.ndarray]:
    """Bring the fields of a frame to cells that are larger or smaller by a whole factor.

    Larger cells take the mean of those that they cover; cells left over at the south and east are dropped.
    Smaller ones come from cubic splines, within the range of the field, and carry ice where the cell that
    they lie in does. Slopes are not resampled: they are derived from the resampled surface.

    Parameters
    ----------
    fields
        Name to (y, x).
    factor
        2 for cells of twice the edge, 0.5 for half.

    >>> resample_frame({"thk": np.array([[0.0, 2.0], [4.0, 6.0]])}, 2)["thk"].tolist()
    [[3.0]]
    """
    kept = {name: values for name, values in fields.items() if name not in (*SLOPES, *ICE_SLOPES)}
    if factor >= 1:
        return {name: block_mean(values, round(factor)) for name, values in kept.items()}
    times = round(1 / factor)
    finer = {name: _refine(values, times) for name, values in kept.items()}
    if "thk" in kept:
        ice = np.kron(kept["thk"] > 0, np.ones((times, times), dtype=bool))
        finer["thk"] = np.where(ice, finer["thk"], np.float32(0))
    return finer


def _refine(values: np.ndarray, times: int) -> np.ndarray:
    finer = ndimage.zoom(values.astype(np.float64), times, order=3, mode="nearest", grid_mode=True)
    return np.clip(finer, values.min(), values.max()).astype(np.float32)


def resample_axis(centres: np.ndarray, factor: float) -> np.ndarray:
    """Give the centres of larger or smaller cells along an axis.

    >>> resample_axis(np.array([50.0, 150.0, 250.0, 350.0]), 2).tolist()
    [100.0, 300.0]
    >>> resample_axis(np.array([350.0, 250.0]), 0.5).tolist()
    [375.0, 325.0, 275.0, 225.0]
    """
    step = centres[1] - centres[0]
    count = int(len(centres) / factor + 1e-6)
    return centres[0] - step / 2 + step * factor * (np.arange(count) + 0.5)


def check_factor(factor: float, shape: tuple[int, int]) -> None:
    """Refuse a factor that is neither whole nor one over a whole number, or leaves less than two cells.

    >>> check_factor(0.5, (64, 64))
    >>> check_factor(1.5, (64, 64))
    Traceback (most recent call last):
    fieldwise.errors.InputError: --resample: is 1.5; give a whole number, or one over it such as 0.5
    """
    whole = factor if factor >= 1 else 1 / factor if factor > 0 else 0
    if not whole or abs(whole - round(whole)) > 1e-6:
        raise InputError(f"--resample: is {factor:g}; give a whole number, or one over it such as 0.5")
    if min(shape) / factor < 2:
        raise InputError(f"--resample: {factor:g} leaves less than 2 cells of {shape[0]} x {shape[1]}")


def count_missing(fields: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Count the values that are missing or infinite, where there are any.

    >>> count_missing({"thk": np.array([1.0, np.nan]), "usurf": np.zeros(2)})
    {'thk': 1}
    """
    counts = {name: int(np.count_nonzero(~np.isfinite(values))) for name, values in fields.items()}
    return {name: count for name, count in counts.items() if count}
