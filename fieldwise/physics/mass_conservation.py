"""Whether ice of a thickness can move as it is seen to: what flows out of a place is what falls on it.

In a steady state div(H u) = a, with the thickness H, the velocity u in the mean over depth and the
accumulation a in metres of ice a year. Morlighem et al. (2011, doi 10.1029/2011GL048659) map beds by it.

All but the matrix is made of sums and products, so that it takes NumPy's arrays as well as tensors, and
gradients flow.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy import sparse

ICE_DENSITY = 917.0  # kg m-3


def sliding_depth_factor(slip: Any) -> Any:
    """Give velocity in the mean over depth over that of the surface: (C + 2/3) / (C + 1) at slip ratio C.

    Of a slab that deforms by a linear law: the velocity of deformation is a parabola of depth, whose mean is
    two thirds of its greatest value; sliding adds C times the latter everywhere.

    >>> round(sliding_depth_factor(0.0), 3), sliding_depth_factor(1.0)
    (0.667, 0.8333333333333333)
    """
    return (slip + 2 / 3) / (slip + 1)


def flux_divergence(thickness: Any, velocity: Any, *, spacing_m: float) -> Any:
    """Give the net outflow of each inner cell in metres of ice a year: div(H u) by finite volumes.

    Through each face goes the mean thickness of the two cells beside it times their mean velocity. What
    leaves a cell enters its neighbour, so the mean over a block of cells is what leaves through its sides.

    Parameters
    ----------
    thickness
        (..., 1, y, x) in metres, rows from north to south.
    velocity
        (..., 2, y, x) in the mean over depth, to the east and to the north, m/a.
    spacing_m
        Cell size.

    Returns
    -------
    (..., 1, y - 2, x - 2), positive where more flows out than in.

    >>> import torch
    >>> east, north = torch.tensor([-10.0, 0.0, 10.0]), torch.tensor([[10.0], [0.0], [-10.0]])
    >>> spreading = torch.stack([east.expand(3, 3), north.expand(3, 3)])  # by 10 m/a a kilometre
    >>> flux_divergence(torch.full((1, 3, 3), 800.0), spreading, spacing_m=1000.0).item()
    16.0
    """
    east, north = velocity[..., :1, 1:-1, :], velocity[..., 1:, :, 1:-1]
    in_rows, in_columns = thickness[..., 1:-1, :], thickness[..., 1:-1]
    eastward = (in_rows[..., 1:] + in_rows[..., :-1]) * (east[..., 1:] + east[..., :-1]) / 4
    northward = (
        (in_columns[..., 1:, :] + in_columns[..., :-1, :]) * (north[..., 1:, :] + north[..., :-1, :]) / 4
    )
    net = eastward[..., 1:] - eastward[..., :-1] + northward[..., :-1, :] - northward[..., 1:, :]
    return net / spacing_m


def flux_matrix(velocity: np.ndarray, *, spacing_m: float) -> sparse.csr_array:
    """Give :func:`flux_divergence` as what it is to the thickness, a linear map: (cell, cell) of all cells.

    Rows of the cells at the edges are empty. As each outflow is of three by three cells, nine maps that are 1
    in every third row and column tell all of it.

    Parameters
    ----------
    velocity
        (2, y, x) in the mean over depth, to the east and to the north, m/a.
    spacing_m
        Cell size.

    >>> speeding = np.stack([np.tile([0.0, 10.0, 20.0], (3, 1)), np.zeros((3, 3))])  # 10 m/a a kilometre
    >>> flux_matrix(speeding, spacing_m=1000.0).toarray()[4].round(4)  # of the middle cell
    array([ 0.    ,  0.    ,  0.    , -0.0025,  0.005 ,  0.0075,  0.    ,  0.    ,  0.    ])
    """
    shape = velocity.shape[1:]
    cells = np.arange(np.prod(shape)).reshape(shape)
    rows, columns, parts = [], [], []
    for first in itertools.product(range(3), repeat=2):
        probe = np.zeros(shape)
        probe[first[0] :: 3, first[1] :: 3] = 1
        near = (np.arange(size - 2) + (start - np.arange(size - 2)) % 3 for size, start in zip(shape, first))
        rows.append(cells[1:-1, 1:-1])
        columns.append(cells[np.ix_(*near)])
        parts.append(flux_divergence(probe[None], velocity, spacing_m=spacing_m)[0])
    row, column, values = (np.concatenate(each, axis=None) for each in (rows, columns, parts))
    matrix = sparse.csr_array((values, (row, column)), shape=(cells.size, cells.size))
    matrix.eliminate_zeros()
    return matrix


def mass_residual(
    thickness: Any, velocity: Any, accumulation: Any, *, spacing_m: float, depth_factor: Any = 1.0
) -> Any:
    """Give how much more ice flows out of each inner cell than falls on it, in metres of ice a year.

    It is 0 where mass is conserved, the ice keeps its thickness and none melts at its bed. Noise of the
    velocity weighs on single cells; :func:`fieldwise.fields.resampling.block_mean` judges at a larger scale.

    Parameters
    ----------
    thickness, velocity, spacing_m
        As of :func:`flux_divergence`, but the velocity is that of the surface.
    accumulation
        (..., 1, y, x), kg m-2 a-1.
    depth_factor
        Velocity in the mean over depth over that of the surface, a number or (..., 1, y, x): 1 of ice that
        slides as a plug; see :func:`sliding_depth_factor`.

    >>> import torch
    >>> ice, still = torch.full((1, 3, 3), 800.0), torch.zeros(2, 3, 3)
    >>> snow = torch.full((1, 3, 3), 458.5)  # half a metre of ice
    >>> mass_residual(ice, still, snow, spacing_m=1000.0).item()
    -0.5
    """
    outflow = flux_divergence(thickness, depth_factor * velocity, spacing_m=spacing_m)
    return outflow - accumulation[..., 1:-1, 1:-1] / ICE_DENSITY
