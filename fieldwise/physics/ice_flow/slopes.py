"""Slopes of a surface, and those that drive the ice below it."""

from __future__ import annotations

import numpy as np

FLOWING_M = 1.0  # only thicker ice moves


def derive_slopes(usurf: np.ndarray, spacing_m: float) -> np.ndarray:
    """Derive the slopes of a surface, (y, x) with rows from north to south: to the east and to the north.

    Differences are central, and to one side at the edges.

    >>> east, north = derive_slopes(np.array([[3.0, 5.0], [0.0, 2.0]]), 1.0)
    >>> east[0, 0].item(), north[0, 0].item()  # the surface rises by 2 to the east, by 3 to the north
    (2.0, 3.0)
    """
    down, right = np.gradient(usurf.astype(np.float64), spacing_m)
    return np.stack([right, -down]).astype(np.float32)


def derive_ice_slopes(usurf: np.ndarray, thk: np.ndarray, spacing_m: float) -> np.ndarray:
    """Derive the slopes that drive the ice: rock that stands above its surface holds it and does not push.

    A neighbour counts that has ice or lies lower; where only one of two does, the difference to it stands for
    both, and without any the slope is 0, as it is off the ice. In the middle of the ice these are the
    slopes of the surface; at the margin of a valley glacier those see the valley's wall.

    Parameters
    ----------
    usurf, thk
        (y, x) in metres, rows from north to south.

    Returns
    -------
    numpy.ndarray
        (2, y, x) float32: to the east and to the north.

    >>> usurf, thk = np.array([[90.0, 20.0, 10.0]] * 2), np.array([[0.0, 10.0, 10.0]] * 2)
    >>> derive_ice_slopes(usurf, thk, 10.0)[0, 0].tolist()  # the wall to the west does not count
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
    return np.stack(slopes).astype(np.float32)
