"""Velocities and other vectors: how long they are, and where they point."""

import numpy as np


def speed_of(velocity: np.ndarray) -> np.ndarray:
    """Give the length of vectors, (component along x and y, ...) to (...).

    >>> speed_of(np.array([[[3.0]], [[4.0]]])).tolist()
    [[5.0]]
    """
    return np.hypot(velocity[0], velocity[1])


def direction_cosine(prediction: np.ndarray, truth: np.ndarray, *, still: float = 0.0) -> float:
    """Give the mean cosine of the angle between vectors, (2, ...), where the true ones are not at rest.

    Parameters
    ----------
    prediction, truth : components along x and y, then any shape
    still : greatest length of a true vector that has no direction worth comparing

    Returns
    -------
    1 where all point the right way, -1 where all point the wrong way; NaN where nothing moves.

    Examples
    --------
    >>> direction_cosine(np.array([[3.0, 0.0], [0.0, 5.0]]), np.array([[9.0, 9.0], [0.0, 0.0]]))
    0.5
    """
    cosines = cosines_of(prediction, truth, still=still)
    return float(np.mean(cosines, dtype=np.float64)) if cosines.size else float("nan")


def cosines_of(prediction: np.ndarray, truth: np.ndarray, *, still: float = 0.0) -> np.ndarray:
    """Give the cosines that :func:`direction_cosine` is the mean of, flat.

    >>> cosines_of(np.array([[3.0, 0.0], [0.0, 5.0]]), np.array([[9.0, 9.0], [0.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    lengths = speed_of(truth), speed_of(prediction)
    moving = (lengths[0] > still) & np.isfinite(lengths[1])
    product = (prediction * truth).sum(axis=0)[moving]
    return product / np.maximum(lengths[0] * lengths[1], 1e-12)[moving]
