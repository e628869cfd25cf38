"""The basins of tropical cyclones, by the letters of IBTrACS."""

from __future__ import annotations

import numpy as np

# Where the Pacific ends and the Atlantic begins, latitude and longitude: the heights of Central America,
# Mexico and the Rocky Mountains.
DIVIDE = (
    *((0.0, -77.0), (7.8, -77.3), (8.6, -79.0), (8.8, -81.8), (10.0, -84.0), (12.0, -85.8), (14.5, -89.0)),
    *((15.5, -92.0), (16.8, -95.0), (19.0, -98.0), (24.0, -103.5), (32.0, -107.5), (60.0, -125.0)),
)
NORTH = (("NI", 30.0, 100.0), ("WP", 100.0, 180.0))  # from which degree east to which
SOUTH = (("SI", 10.0, 135.0), ("SP", 135.0, 290.0))


def basin_of(latitude: np.ndarray | float, longitude: np.ndarray | float) -> np.ndarray:
    """Tell the basin of places: NA, EP, WP, NI, SI, SP or SA.

    North Atlantic, eastern and western North Pacific (which meet at 180 degrees), North Indian (30 to 100
    degrees east), South Indian (10 to 135 degrees east), South Pacific (to 70 degrees west) and South
    Atlantic. The letters are those of IBTrACS (Knapp and others 2010); the North Atlantic and the Pacific
    part along the heights of Central America.

    >>> basin_of([25.0, 15.0, 15.0, 15.0, -15.0, -15.0], [-75.0, -105.0, 140.0, 88.0, 60.0, 170.0]).tolist()
    ['NA', 'EP', 'WP', 'NI', 'SI', 'SP']
    >>> str(basin_of(-28.0, -48.0))  # Catarina, March 2004
    'SA'
    """
    north, east = np.broadcast_arrays(np.asarray(latitude, float), np.asarray(longitude, float) % 360)
    heights = 360 + np.interp(north, *np.array(DIVIDE).T)
    basin = np.where(north < 0, "SA", np.where((east >= 180) & (east < heights), "EP", "NA"))
    for half, basins in ((north >= 0, NORTH), (north < 0, SOUTH)):
        for name, first, end in basins:
            basin = np.where(half & (east >= first) & (east < end), name, basin)
    return basin
