"""Places sorted into a few classes of flow, for a bed whose grain follows the flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.cluster.vq import kmeans2


@dataclass(frozen=True)
class FlowClass:
    """Ice that passes the bed on in one way: thickness (m), slip ratio, slope, direction (rad, from east)."""

    thickness_m: float
    slip: float
    slope: float
    direction: float

    def along_and_across(self, east: np.ndarray, north: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn wavenumbers to the east and north into those along and across the flow.

        >>> FlowClass(1000.0, 1.0, 0.01, 0.0).along_and_across(np.array([2.0]), np.array([3.0]))
        (array([2.]), array([3.]))
        """
        cos, sin = np.cos(self.direction), np.sin(self.direction)
        return east * cos + north * sin, north * cos - east * sin


def classify_flow(
    *,
    thickness_m: np.ndarray,
    slip: np.ndarray,
    slope: np.ndarray,
    direction: np.ndarray,
    count: int = 16,
    rng: np.random.Generator,
) -> tuple[list[FlowClass], np.ndarray]:
    """Sort places into a few classes of flow with smooth weights, for filters that are locally stationary.

    Parameters
    ----------
    thickness_m, slip, slope, direction
        (y, x) each, smooth.
    count
        Largest number of classes (k-means; one that stays empty is left out).

    Returns
    -------
    tuple
        The classes, and their weights (class, y, x) that sum to one in every cell.

    >>> ones = np.ones((20, 20))
    >>> slip = np.where(np.arange(20) < 10, 1.0, 30.0) * ones
    >>> classes, weights = classify_flow(thickness_m=1000 * ones, slip=slip, slope=0.01 * ones,
    ...     direction=0 * ones, count=2, rng=np.random.default_rng(7))
    >>> sorted(round(one.slip) for one in classes), bool(np.allclose(weights.sum(axis=0), 1))
    ([1, 30], True)
    """
    features = np.stack(
        [np.log(thickness_m), np.log(slip), np.log(slope), 2 * np.cos(direction), 2 * np.sin(direction)],
        axis=-1,
    )
    points = features.reshape(-1, features.shape[-1])
    centres, label = kmeans2(points, count, minit="++", seed=rng)
    centres = centres[np.unique(label)]
    distance = ((points[:, None, :] - centres[None]) ** 2).sum(axis=-1)
    distance -= distance.min(axis=1, keepdims=True)
    weights = np.exp(-distance / (2 * 0.3**2))
    weights /= weights.sum(axis=1, keepdims=True)
    planes = weights.T.reshape(len(centres), *thickness_m.shape)
    planes = np.stack([ndimage.gaussian_filter(plane, 1.0, mode="nearest") for plane in planes])
    classes = [
        FlowClass(float(np.exp(a)), float(np.exp(b)), float(np.exp(c)), float(np.arctan2(e, d)))
        for a, b, c, d, e in centres
    ]
    return classes, (planes / planes.sum(axis=0)).astype(np.float32)
