"""Atmospheric rivers by rule: long and narrow in vapour, or sharp and strong in its transport."""

from __future__ import annotations

import numpy as np

from fieldwise.physics.extreme_weather.components import (
    areas_of,
    keep_components,
    label_components,
    measure_components,
)
from fieldwise.physics.extreme_weather.sphere import GlobalGrid, laplacian, smooth, within

TROPICS_DEGREES = 19.0  # how fast the weight of vapour grows away from the equator
SMALLEST_KM2 = 50_000.0  # what is smaller cannot be long; it is left out before anything is measured


def find_moist_rivers(
    vapour: np.ndarray,
    grid: GlobalGrid,
    *,
    least_kg_m2: float = 24.0,
    longer_km: float = 1500.0,
    narrower_km: float = 1000.0,
) -> np.ndarray:
    """Mark rivers in the vapour of the column, after the labels of DeepCAM (TECA).

    Vapour times 1 - exp(-latitude^2 / (2 19^2)) has to be above a threshold; a connected part counts where
    the diagonal of its bounding box is long enough, and its area over its extent from south to north (its
    width, where it goes along a meridian) is small enough.

    Parameters
    ----------
    vapour
        (rows, columns), TMQ, kg m-2.
    grid
        Of the field.
    least_kg_m2
        The threshold; 21 is the relaxed one.
    longer_km, narrower_km
        Than which a river is.

    Returns
    -------
    numpy.ndarray
        (rows, columns) bool.

    >>> grid = GlobalGrid.regular(121, 240)
    >>> north, east = np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    >>> aslant = (np.abs(east - 100 - (north - 40)) < 3) & (np.abs(north - 40) < 12)
    >>> round_one = np.hypot(east - 200, north - 40) < 4
    >>> marked = find_moist_rivers(np.where(aslant | round_one, 40.0, 15.0), grid)
    >>> bool(marked[aslant].all()), bool(marked[round_one].any())
    (True, False)
    """
    weight = 1 - np.exp(-(grid.latitude**2) / (2 * TROPICS_DEGREES**2))
    labels = label_components(vapour * weight[:, None] > least_kg_m2)
    labels[~keep_components(labels, np.flatnonzero(areas_of(labels, grid) >= SMALLEST_KM2))] = 0
    parts = measure_components(labels, grid)
    long = parts["diagonal_km"] > longer_km
    narrow = parts["area_km2"] / parts["height_km"] < narrower_km
    return keep_components(labels, parts["number"][long & narrow].to_numpy())


def find_strong_rivers(
    transport: np.ndarray,
    grid: GlobalGrid,
    *,
    least_kg_m_s: float = 400.0,
    least_curvature: float = 3.2e-9,
    scale_km: float = 83.0,
    near_km: float = 222.0,
    least_km2: float = 200_000.0,
    longer_km: float = 1500.0,
    tropics_degrees: float = 15.0,
    outside: np.ndarray | None = None,
) -> np.ndarray:
    """Mark rivers in the transport of vapour and its Laplacian, after ExtremeWeatherBench (2026).

    A cell counts where the transport is strong and, near it, sharp: where the magnitude of the Laplacian is
    large somewhere within a distance. Connected parts count where they are large enough. The published
    thresholds belong to cells of 0.25 degrees: a Laplacian of 2.5 kg m-1 s-1 per cell squared, smoothed by
    3 cells, looked for within 8 cells, and 300 cells in size; here they are the same in metres. Added
    are that a river is long, as the published rule marks whatever carries enough, such as a round blob of
    vapour in a fresh wind; and that it lies outside of the tropics, where trade winds and monsoons carry
    as much (15 degrees are those of TempestExtremes).

    Parameters
    ----------
    transport
        (rows, columns), IVT, kg m-1 s-1.
    grid
        Of the field.
    least_kg_m_s
        Of the transport.
    least_curvature
        Of the magnitude of its Laplacian, kg m-3 s-1.
    scale_km
        To which the Laplacian is smoothed; coarser cells are left as they are.
    near_km
        Within which the Laplacian is to be large.
    least_km2
        Size of a part.
    longer_km
        Than which the diagonal of a part's bounding box is; 0 for the published rule.
    tropics_degrees
        Latitude up to which nothing is marked; 0 for the published rule.
    outside
        (rows, columns) bool, cells that belong to something else, such as cyclones.

    Returns
    -------
    numpy.ndarray
        (rows, columns) bool.

    >>> grid = GlobalGrid.regular(121, 240)
    >>> north, east = np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    >>> along, across = (north - 40 + east - 100) / 2**0.5, (north - 40 - east + 100) / 2**0.5
    >>> river = 800 * np.exp(-0.5 * (across / 3) ** 2 - 0.5 * (along / 9) ** 4)
    >>> broad = 450 * np.exp(-0.5 * (north / 30) ** 2)  # the trade winds: strong enough, but nowhere sharp
    >>> marked = find_strong_rivers(river + broad, grid)
    >>> bool(marked[river > 400].all()), bool(marked[80].any())
    (True, False)
    """
    sharp = (
        np.abs(smooth(laplacian(transport, grid), grid, scale_km, blurred_cells=3**0.5)) >= least_curvature
    )
    strong = (transport >= least_kg_m_s) & (np.abs(grid.latitude) >= tropics_degrees)[:, None]
    if outside is not None:
        strong = strong & ~outside
    labels = label_components(within(sharp, grid, near_km) & strong)
    labels[~keep_components(labels, np.flatnonzero(areas_of(labels, grid) >= least_km2))] = 0
    parts = measure_components(labels, grid)
    return keep_components(labels, parts["number"][parts["diagonal_km"] > longer_km].to_numpy())
