"""How the bed shows in the surface of flowing ice: the transfer function of a sliding slab."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.cluster.vq import kmeans2


def surface_transfer(
    along: np.ndarray | float, across: np.ndarray | float, *, thickness_m: float, slip: float, slope: float
) -> np.ndarray:
    """Give the steady surface undulation above a small undulation of the bed, as a complex ratio.

    Full Stokes flow of a linearly viscous slab that slides over its bed by a linear law. Beyond a
    slip ratio of about 3 the ratio has a local maximum at wavelengths of 3 to 8 ice thicknesses; it
    tends to 1 for very long ones and to 0 for those below a thickness, and undulations along the
    flow without change do not show at all.

    Parameters
    ----------
    along, across
        Wavenumbers along and across the flow, rad/m.
    thickness_m
        Of the undisturbed ice.
    slip
        Basal sliding velocity over the velocity of internal deformation.
    slope
        Tangent of the surface's slope.

    Returns
    -------
    numpy.ndarray
        Complex, for modes exp(i k x) with x down the flow; 1 at wavenumber zero.

    Notes
    -----
    T_sb of Gudmundsson (2003), Transmission of basal variability to a glacier surface, J. Geophys.
    Res. 108(B5), 2253, doi 10.1029/2002JB002107, in his steady limit; both sides are scaled by
    exponentials so that short waves do not overflow. His modes have the other sign, hence the conjugate.

    >>> H = 1000.0
    >>> ratio = lambda wavelength, slip: abs(surface_transfer(
    ...     2 * np.pi / wavelength, 0.0, thickness_m=H, slip=slip, slope=0.01))
    >>> [round(float(ratio(5 * H, slip)), 2) for slip in (1, 10, 30)]
    [0.05, 0.25, 0.57]
    >>> bool(ratio(0.5 * H, 30) < 0.001)
    True
    """
    k, across = np.broadcast_arrays(
        np.asarray(along, float) * thickness_m, np.asarray(across, float) * thickness_m
    )
    m = np.hypot(k, across)
    decay = np.exp(-m)
    cosh, sinh = (1 + decay**2) / 2, (1 - decay**2) / 2  # both times exp(-m)
    dragged = slip * m * sinh + cosh
    below = k * m * ((1 + slip) * dragged + (1 + slip + (slip * m) ** 2) * cosh) * decay
    viscous = m * k * (1 + slip) * (cosh * dragged + (1 + m**2 * (1 + slip)) * decay**2)
    restoring = (dragged * sinh - m * decay**2) / slope
    still = m < 1e-9
    return np.where(still, 1.0, below / np.where(still, 1.0, viscous - 1j * restoring))


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

    def response(self, east: np.ndarray, north: np.ndarray) -> np.ndarray:
        """Give the transfer from bed to surface for wavenumbers to the east and north, rad/m."""
        along, across = self.along_and_across(east, north)
        return surface_transfer(along, across, thickness_m=self.thickness_m, slip=self.slip, slope=self.slope)


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


def responses(classes: list[FlowClass], east: np.ndarray, north: np.ndarray) -> Iterator[np.ndarray]:
    """Give the transfer of one class after the other: all at once would fill the memory.

    >>> east, north = np.array([[0.0, 1e-3]]), np.array([[0.0]])
    >>> [r.shape for r in responses([FlowClass(1000.0, 3.0, 0.01, 0.0)], east, north)]
    [(1, 2)]
    """
    return (one.response(east, north) for one in classes)
