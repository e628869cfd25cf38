"""Connected parts of a mask on the sphere: across the date line, never over the poles; sizes by area."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fieldwise.physics.extreme_weather.sphere import DEGREE_KM, GlobalGrid, distance_km, place_of

NEIGHBOURS = np.ones((3, 3), dtype=bool)  # cells that touch at a corner belong together


def label_components(mask: np.ndarray) -> np.ndarray:
    """Number the connected parts of a mask (rows, columns) from 1; cells touch by edges or corners.

    The last column touches the first. Rows at a pole touch each other only as columns do.

    >>> label_components(np.array([[1, 0, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]], dtype=bool)).tolist()
    [[1, 0, 0, 0, 0], [0, 0, 2, 0, 1], [0, 0, 0, 0, 0]]
    """
    labels, count = ndimage.label(mask, structure=NEIGHBOURS)
    first, last = np.pad(labels[:, 0], 1), labels[:, -1]
    pairs = [
        np.stack([last, first[1 + shift : 1 + shift + last.size]]) for shift in (-1, 0, 1)
    ]  # across the seam, straight and by corners
    left, right = np.concatenate(pairs, axis=1)
    both = (left > 0) & (right > 0)
    links = coo_array((np.ones(both.sum()), (left[both], right[both])), shape=(count + 1, count + 1))
    _, merged = connected_components(links, directed=False)
    kept = merged[labels]
    # From 1 on, in the order of their first cells.
    _, first_cell, numbers = np.unique(kept[mask], return_index=True, return_inverse=True)
    ranks = np.argsort(np.argsort(first_cell))
    result = np.zeros(mask.shape, dtype=np.int32)
    result[mask] = ranks[numbers] + 1
    return result


def measure_components(labels: np.ndarray, grid: GlobalGrid) -> pd.DataFrame:
    """Measure numbered parts of a field, one a row, in the order of their numbers.

    Parameters
    ----------
    labels
        (rows, columns), 0 where there is none.
    grid
        Where they lie.

    Returns
    -------
    pandas.DataFrame
        ``number``; ``latitude`` and ``longitude`` of the middle, degrees; ``area_km2``; ``height_km`` from
        the southern to the northern edge; ``diagonal_km`` of the bounding box, along a great circle.

    >>> grid = GlobalGrid.regular(181, 360)
    >>> labels = np.zeros(grid.shape, dtype=int)
    >>> labels[60:71, [358, 359, 0, 1]] = 1  # 30 to 20 degrees north, across the seam
    >>> row = measure_components(labels, grid).iloc[0]
    >>> row[["latitude", "longitude", "height_km", "diagonal_km"]].round(1).tolist()
    [24.9, -0.5, 1223.1, 1287.5]
    """
    numbers = np.unique(labels[labels > 0])
    inside = labels > 0
    place = np.searchsorted(numbers, labels[inside])
    weight = grid.area_km2[inside]
    area = np.bincount(place, weight, minlength=numbers.size)
    rows, columns = np.nonzero(inside)
    east = 360 / grid.longitude.size
    boxes = np.array([_box(grid, rows[place == i], columns[place == i]) for i in range(numbers.size)])
    south, north, width = boxes.reshape(-1, 3).T
    vectors = grid.directions[inside]
    middle = np.stack(
        [np.bincount(place, weight * vectors[:, i], minlength=numbers.size) for i in range(3)], -1
    )
    latitude, longitude = place_of(middle)
    return pd.DataFrame(
        {
            "number": numbers,
            "latitude": latitude,
            "longitude": longitude,
            "area_km2": area,
            "height_km": DEGREE_KM * (north - south),
            "diagonal_km": distance_km(south, 0.0, north, np.minimum(width * east, 180.0)),
        }
    )


def _box(grid: GlobalGrid, rows: np.ndarray, columns: np.ndarray) -> tuple[float, float, float]:
    """Give the southern and northern edge and how many columns the narrowest box has."""
    half, taken = grid.row_step / 2, np.unique(columns)
    gaps = np.diff(np.append(taken, taken[0] + grid.longitude.size))
    latitude = grid.latitude[rows]
    south, north = max(latitude.min() - half, -90.0), min(latitude.max() + half, 90.0)
    return south, north, grid.longitude.size - gaps.max() + 1


def keep_components(labels: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Give the mask of those numbered parts that are to be kept.

    Parameters
    ----------
    labels
        (rows, columns), 0 where there is none.
    keep
        Numbers of the parts.

    >>> keep_components(np.array([[1, 0, 2, 3]]), np.array([1, 3])).tolist()
    [[True, False, False, True]]
    """
    return np.isin(labels, keep) & (labels > 0)


def areas_of(labels: np.ndarray, grid: GlobalGrid) -> np.ndarray:
    """Give the area of each numbered part (km2), by number; number 0 counts as none.

    >>> grid = GlobalGrid.regular(181, 360)
    >>> north = np.where(grid.latitude > 0, 1, 0)[:, None] * np.ones((1, 360), dtype=int)
    >>> areas_of(north, grid).round(-6).tolist()  # half of the Earth, but for half the row at the equator
    [0.0, 253000000.0]
    """
    areas = np.bincount(labels.ravel(), grid.area_km2.ravel())
    areas[0] = 0
    return areas
