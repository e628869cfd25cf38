"""Where land is, and its coasts: an outline of the whole Earth that comes with the package.

``land.geojson`` is Natural Earth's 1:110m (public domain, naturalearthdata.com): its countries, as GeoPandas
had them, made one, to a hundredth of a degree. It serves maps of the globe, and cells of a quarter of a
degree and more.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import shapely

OUTLINE = Path(__file__).with_name("land.geojson")


@cache
def read_land() -> shapely.MultiPolygon:
    """Read the land as polygons: longitudes from -180 to 180, latitudes.

    >>> land = read_land()
    >>> land.contains(shapely.Point(-100, 40)), land.contains(shapely.Point(-40, 40))
    (True, False)
    """
    land = shapely.geometry.shape(json.loads(OUTLINE.read_text(encoding="utf-8")))
    shapely.prepare(land)
    return land


@cache
def list_coastlines() -> tuple[np.ndarray, ...]:
    """List the coasts as lines, (points, 2) longitude and latitude, without the edges of the map.

    Where land is cut at 180 degrees or goes on to the pole, the cut is no coast.

    >>> lines = list_coastlines()
    >>> all(np.abs(np.diff(line[:, 0])).max() < 90 for line in lines)
    True
    """
    lines = []
    for polygon in read_land().geoms:
        for ring in (polygon.exterior, *polygon.interiors):
            points = np.array(ring.coords)[:, :2]
            at_edge = (np.abs(points[:, 0]) > 179.99) | (points[:, 1] < -89.99)
            cuts = np.flatnonzero(at_edge[1:] & at_edge[:-1]) + 1
            lines += [part for part in np.split(points, cuts) if len(part) > 1]
    return tuple(lines)


def mark_land(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Mark the cells whose middles lie on land, (rows, columns).

    Parameters
    ----------
    latitude
        (rows,) degrees north.
    longitude
        (columns,) degrees east, from 0 or from -180 on.

    >>> mark_land(np.array([40.0, -20.0]), np.array([260.0, 315.0, -45.0])).tolist()  # the last two are one
    [[True, False, False], [False, True, True]]
    """
    east = (np.asarray(longitude) + 180) % 360 - 180
    return shapely.intersects_xy(
        read_land(), *np.broadcast_arrays(east[None, :], np.asarray(latitude)[:, None])
    )
