"""Holes as clouds leave them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Shape = tuple[int, int]


def draw_patches(
    shape: Shape, *, fraction: float, length_cells: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw the cells of scattered patches that cover a fraction of a grid, as clouds leave holes.

    Parameters
    ----------
    shape
        Of the grid.
    fraction
        Share of the cells inside patches, 0 to 1.
    length_cells
        Scale of a patch.

    >>> patches = draw_patches((200, 300), fraction=0.05, length_cells=4, rng=np.random.default_rng(7))
    >>> round(float(patches.mean()), 3)
    0.05
    """
    step = max(1, int(length_cells / 3))  # a coarse draw is smooth enough once it is interpolated
    coarse = rng.standard_normal((shape[0] // step + 2, shape[1] // step + 2)).astype(np.float32)
    coarse = ndimage.gaussian_filter(coarse, length_cells / step / 2)
    rows = ndimage.zoom(coarse, (shape[0] / coarse.shape[0], shape[1] / coarse.shape[1]), order=1)
    return rows > np.quantile(rows, 1 - fraction)
