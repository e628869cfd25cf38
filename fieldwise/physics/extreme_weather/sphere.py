"""Fields on the whole sphere: areas, distances, windows, derivatives and filters in kilometres.

Fields are (rows, columns): latitudes in either order, longitudes eastward all around. What lies west of the
first column is the last one; what lies beyond a pole is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from fieldwise.errors import InputError

RADIUS_KM = 6371.0
DEGREE_KM = np.pi / 180 * RADIUS_KM  # along a meridian
ROTATION = 7.292e-5  # rad/s, of the Earth


@dataclass(frozen=True)
class Window:
    """Part of a grid around a place: ``values[window.cells]`` gives what lies there.

    Attributes
    ----------
    rows, columns
        Which they are; columns go on across the seam.
    distance_km
        (rows, columns), from the place.
    """

    rows: np.ndarray
    columns: np.ndarray
    distance_km: np.ndarray

    @property
    def cells(self) -> tuple[np.ndarray, ...]:
        """What picks the window out of a field."""
        return np.ix_(self.rows, self.columns)


@dataclass(frozen=True, eq=False)
class GlobalGrid:
    """A regular grid of latitude and longitude that covers the sphere, registered by the middles of cells.

    Parameters
    ----------
    latitude
        (rows,) degrees north, in even steps in either order; the poles may be among them.
    longitude
        (columns,) degrees east, in even steps all around, from wherever.

    Raises
    ------
    InputError
        Where steps are uneven or part of the sphere is missing.

    >>> grid = GlobalGrid.regular(121, 240)
    >>> grid.shape, grid.latitude[:2].tolist(), grid.longitude[:2].tolist()
    ((121, 240), [90.0, 88.5], [0.0, 1.5])
    >>> round(float(grid.area_km2.sum()) / (4 * np.pi * RADIUS_KM**2), 12)
    1.0
    >>> GlobalGrid(grid.latitude, grid.longitude[:100])
    Traceback (most recent call last):
    fieldwise.errors.InputError: longitude: goes from 0 to 148.5 in 100 columns; give one that goes all around
    """

    latitude: np.ndarray
    longitude: np.ndarray

    def __post_init__(self) -> None:
        """Refuse what is not regular or not global."""
        for name, axis in (("latitude", self.latitude), ("longitude", self.longitude)):
            steps = np.diff(axis)
            if np.ndim(axis) != 1 or steps.size < 3 or not np.allclose(steps, steps.mean(), rtol=0.01):
                raise InputError(f"{name}: steps are not even; resample the fields to a regular grid")
        rows, columns = self.latitude, self.longitude
        seam, step = columns[0] + 360 - columns[-1], np.diff(columns).mean()
        if step <= 0 or abs(seam - step) > 0.1 * step:
            raise InputError(
                f"longitude: goes from {columns[0]:g} to {columns[-1]:g} in {columns.size} columns; "
                "give one that goes all around"
            )
        if not 180 - 1.1 * self.row_step <= abs(rows[-1] - rows[0]) <= 180.01 or np.abs(rows).max() > 90.01:
            raise InputError(
                f"latitude: goes from {rows[0]:g} to {rows[-1]:g}; give one that goes from pole to pole"
            )

    @classmethod
    def regular(cls, rows: int, columns: int) -> GlobalGrid:
        """Make a grid with a row at each pole, from north to south, and columns from 0 degrees east."""
        return cls(np.linspace(90.0, -90.0, rows), 360.0 / columns * np.arange(columns))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.latitude.size, self.longitude.size

    @property
    def row_step(self) -> float:
        """Degrees from row to row, above 0."""
        return float(abs(self.latitude[1] - self.latitude[0]))

    @property
    def spacing_km(self) -> float:
        """From row to row or, at the equator, from column to column: the longer."""
        return DEGREE_KM * max(self.row_step, 360 / self.longitude.size)

    @property
    def area_km2(self) -> np.ndarray:
        """(rows, columns): of each cell; those at a pole are triangles."""
        half = self.row_step / 2
        south, north = (np.sin(np.radians(np.clip(self.latitude + edge, -90, 90))) for edge in (-half, half))
        rows = RADIUS_KM**2 * (north - south) * 2 * np.pi / self.longitude.size
        return np.broadcast_to(rows[:, None], self.shape)

    @property
    def directions(self) -> np.ndarray:
        """(rows, columns, 3): unit vectors from the middle of the Earth."""
        return direction_of(self.latitude[:, None], self.longitude[None, :])

    def cell_at(self, latitude: float, longitude: float) -> tuple[int, int]:
        """Row and column of the cell that a place lies in."""
        row = int(np.abs(self.latitude - latitude).argmin())
        column = (longitude - self.longitude[0]) / (360 / self.longitude.size)
        return row, round(float(column)) % self.longitude.size

    def around(self, latitude: float, longitude: float, within_km: float) -> Window:
        """Give the smallest window that holds all cells whose middles lie within a distance of a place."""
        angle = within_km / RADIUS_KM
        rows = np.flatnonzero(np.abs(self.latitude - latitude) <= np.degrees(angle) + 1e-9)
        columns = np.arange(self.longitude.size)
        if abs(latitude) + np.degrees(angle) < 90:
            widest = np.degrees(np.arcsin(np.sin(angle) / np.cos(np.radians(latitude))))
            reach = int(np.ceil(widest / (360 / columns.size)))
            if 2 * reach + 1 < columns.size:
                columns = (self.cell_at(latitude, longitude)[1] + np.arange(-reach, reach + 1)) % columns.size
        away = distance_km(latitude, longitude, self.latitude[rows, None], self.longitude[None, columns])
        return Window(rows, columns, away)


def direction_of(latitude: np.ndarray | float, longitude: np.ndarray | float) -> np.ndarray:
    """Give the unit vector (..., 3) from the middle of the Earth to a place.

    >>> direction_of(0.0, 90.0).round(12).tolist()
    [0.0, 1.0, 0.0]
    """
    lat, lon = np.radians(latitude), np.radians(longitude)
    return np.stack(
        np.broadcast_arrays(np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), axis=-1
    )


def place_of(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give latitude and longitude, -180 to 180, of directions (..., 3) of any length; undoes `direction_of`.

    >>> [float(value) for value in place_of(np.array([0.0, -2.0, 0.0]))]
    [0.0, -90.0]
    """
    x, y, z = np.moveaxis(np.asarray(direction, dtype=float), -1, 0)
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


def distance_km(
    latitude: np.ndarray | float,
    longitude: np.ndarray | float,
    other_latitude: np.ndarray | float,
    other_longitude: np.ndarray | float,
) -> np.ndarray:
    """Give the distance between places along a great circle.

    >>> distance_km([10.0, -89.0], [179.5, 0.0], [10.0, -89.0], [-179.5, 180.0]).round(1).tolist()
    [109.5, 222.4]
    """
    lat, other = np.radians(latitude), np.radians(other_latitude)
    east = np.radians(np.asarray(other_longitude) - longitude)
    haversine = np.sin((other - lat) / 2) ** 2 + np.cos(lat) * np.cos(other) * np.sin(east / 2) ** 2
    return 2 * RADIUS_KM * np.arcsin(np.sqrt(np.clip(haversine, 0, 1)))


def bearing(
    latitude: np.ndarray | float,
    longitude: np.ndarray | float,
    other_latitude: np.ndarray | float,
    other_longitude: np.ndarray | float,
) -> np.ndarray:
    """Give the way from a place to another, in radians clockwise from north.

    >>> float(np.degrees(bearing(0.0, 179.0, 0.0, -179.0)))
    90.0
    """
    lat, other = np.radians(latitude), np.radians(other_latitude)
    east = np.radians(np.asarray(other_longitude) - longitude)
    northward = np.cos(lat) * np.sin(other) - np.sin(lat) * np.cos(other) * np.cos(east)
    return np.arctan2(np.sin(east) * np.cos(other), northward)


def coriolis(latitude: np.ndarray | float) -> np.ndarray:
    """Give the Coriolis parameter, 1/s.

    >>> float(coriolis(30.0).round(8))
    7.292e-05
    """
    return 2 * ROTATION * np.sin(np.radians(latitude))


def vorticity(eastward: np.ndarray, northward: np.ndarray, grid: GlobalGrid) -> np.ndarray:
    """Give the relative vorticity (1/s) of winds (m/s), by central differences; 0 in rows at a pole.

    >>> grid = GlobalGrid.regular(91, 180)
    >>> turning = 10 * np.cos(np.radians(grid.latitude))[:, None] * np.ones(180)  # as a solid body
    >>> at_30_north = vorticity(turning, 0 * turning, grid)[30, 0]
    >>> bool(np.isclose(at_30_north, 2 * 10 * 0.5 / (RADIUS_KM * 1e3), rtol=1e-3))
    True
    """
    lat, metres = np.radians(grid.latitude)[:, None], RADIUS_KM * 1e3
    shrunk = np.cos(lat)
    along = _step_east(northward) / (4 * np.pi / grid.longitude.size)
    across = np.gradient(eastward * shrunk, lat[:, 0], axis=0)
    return np.where(shrunk > 1e-6, (along - across) / (metres * np.maximum(shrunk, 1e-6)), 0.0)


def _step_east(values: np.ndarray) -> np.ndarray:
    return np.roll(values, -1, axis=1) - np.roll(values, 1, axis=1)


def laplacian(values: np.ndarray, grid: GlobalGrid) -> np.ndarray:
    """Give the Laplacian of a field, per square metre, by second differences; 0 in the outermost rows.

    >>> grid = GlobalGrid.regular(181, 360)
    >>> wave = np.sin(np.radians(grid.latitude))[:, None] * np.ones(360)  # degree 1: -2 / a^2 times itself
    >>> ratio = laplacian(wave, grid)[40] / wave[40]
    >>> bool(np.allclose(ratio, -2 / (RADIUS_KM * 1e3) ** 2, rtol=1e-3))
    True
    """
    lat, metres = np.radians(grid.latitude), RADIUS_KM * 1e3
    east = 2 * np.pi / grid.longitude.size
    shrunk = np.cos(lat)[:, None]
    between = np.cos((lat[1:] + lat[:-1]) / 2)[:, None]
    flux = between * np.diff(values, axis=0)
    along = np.roll(values, -1, axis=1) - 2 * values + np.roll(values, 1, axis=1)
    result = np.zeros(grid.shape)
    result[1:-1] = np.diff(flux, axis=0) / (np.radians(grid.row_step) ** 2 * shrunk[1:-1])
    result[1:-1] += along[1:-1] / (east * shrunk[1:-1]) ** 2
    return result / metres**2


def smooth(
    values: np.ndarray, grid: GlobalGrid, sigma_km: float, *, blurred_cells: float = 1.0
) -> np.ndarray:
    """Smooth a field to a scale: by a Gaussian that, with the cells' own width, has this standard deviation.

    So fields of one atmosphere on different grids become alike. Where cells are too wide nothing is done.

    Parameters
    ----------
    values
        (rows, columns).
    grid
        Of the values.
    sigma_km
        The standard deviation.
    blurred_cells
        How many cells wide w values are means over, with a variance of w^2 / 12: 1 for what cells hold, the
        square root of 5 for its central differences, of 3 for its second differences.

    >>> grid = GlobalGrid.regular(181, 360)
    >>> point = np.zeros(grid.shape)
    >>> point[90, 0] = 1
    >>> spread = smooth(point, grid, 300.0)  # its variance, km2, from the moments of the row
    >>> away = distance_km(0, 0, 0, grid.longitude)
    >>> round(float((spread[90] * away**2).sum() / spread[90].sum()) ** 0.5)
    298
    """
    remaining = sigma_km**2 - (blurred_cells * grid.spacing_km) ** 2 / 12
    if remaining <= 0:
        return np.asarray(values, dtype=float)
    sigma = np.sqrt(remaining)
    filtered = ndimage.gaussian_filter1d(
        np.asarray(values, dtype=float), sigma / (DEGREE_KM * grid.row_step), axis=0, mode="nearest"
    )
    wavenumbers = np.arange(grid.longitude.size // 2 + 1)
    around_km = RADIUS_KM * np.maximum(np.cos(np.radians(grid.latitude)), 1e-3)[:, None]
    response = np.exp(-0.5 * (wavenumbers * sigma / around_km) ** 2)
    return np.fft.irfft(np.fft.rfft(filtered, axis=1) * response, grid.longitude.size, axis=1)


def within(mask: np.ndarray, grid: GlobalGrid, reach_km: float) -> np.ndarray:
    """Mark the cells whose middles lie within a distance of a marked cell's: dilation on the sphere.

    >>> grid = GlobalGrid.regular(181, 360)
    >>> mask = np.zeros(grid.shape, dtype=bool)
    >>> mask[90, 0] = True  # on the equator; its neighbours are 111.2 km away, 157 km across corners
    >>> int(within(mask, grid, 112.0).sum()), int(within(mask, grid, 158.0).sum())
    (5, 9)
    """
    if not mask.any() or reach_km <= 0:
        return mask.copy()
    directions, wide = grid.directions, np.pad(mask, 1, mode="edge")
    wide[1:-1, 0], wide[1:-1, -1] = mask[:, -1], mask[:, 0]
    rim = mask & ~ndimage.binary_erosion(wide)[1:-1, 1:-1]
    chord = 2 * np.sin(min(reach_km / RADIUS_KM, np.pi) / 2) * (1 + 1e-9)
    rows = np.flatnonzero(mask.any(axis=1))
    margin = int(np.ceil(reach_km / (DEGREE_KM * grid.row_step)))
    band = slice(max(rows[0] - margin, 0), rows[-1] + margin + 1)
    tree = cKDTree(directions[rim])
    nearest, _ = tree.query(directions[band].reshape(-1, 3), distance_upper_bound=chord)
    result = mask.copy()
    result[band] |= np.isfinite(nearest).reshape(result[band].shape)
    return result


def local_maxima(
    values: np.ndarray, grid: GlobalGrid, *, within_km: float, least: float
) -> list[tuple[float, float]]:
    """Find the places, latitude and longitude, whose value is the greatest within a distance.

    Of several that are equal, the first counts; flat fields have none. Those in the outermost rows, where all
    cells are one place, are left out.

    >>> grid = GlobalGrid.regular(91, 180)
    >>> values = np.zeros(grid.shape)
    >>> values[30, [0, 1, 179, 40, 41]] = 3, 2, 2.5, 1, 1
    >>> local_maxima(values, grid, within_km=300, least=-1)
    [(30.0, 0.0), (30.0, 80.0)]
    """
    wide = np.pad(values, ((0, 0), (1, 1)), mode="wrap")
    peaks = (ndimage.maximum_filter(wide, 3, mode="nearest")[:, 1:-1] == values) & (values >= least)
    peaks &= ndimage.minimum_filter(wide, 3, mode="nearest")[:, 1:-1] < values
    found: list[tuple[float, float]] = []
    for row, column in np.argwhere(peaks[1:-1]) + np.array([1, 0]):
        place = float(grid.latitude[row]), float(grid.longitude[column])
        window = grid.around(*place, within_km)
        greatest = values[window.cells][window.distance_km <= within_km].max()
        if values[row, column] >= greatest and all(distance_km(*place, *one) > within_km for one in found):
            found.append(place)
    return found
