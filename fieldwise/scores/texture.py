"""What a field looks like: roughness and spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.fields.arrays import module_of, ndimage_of, to_host
from fieldwise.fields.grids import grid_of


def roughness(field: xr.DataArray, *, cells: int = 5) -> xr.DataArray:
    """Return the population standard deviation in a window of cells x cells around every cell.

    Parameters
    ----------
    field : (y, x) field
    cells : side of the window, odd, at least 3

    Returns
    -------
    (y, x) float32 field, in the units of the input; NaN where the window misses a value or crosses the edge.

    Raises
    ------
    InputError
        When cells is even or below 3.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=300, north=300, spacing=100, crs="EPSG:3031")
    >>> spike = make_field(np.array([[0, 0, 0], [0, 9, 0], [0, 0, 0]]), grid, name="bed")
    >>> round(float(roughness(spike, cells=3)[1, 1]) ** 2, 4)  # mean of squares 9, square of mean 1
    8.0
    """
    _check_window(cells)
    values = field.compute().data.astype(np.float64)
    deviation = _windowed_deviation(values, cells, axes=(0, 1))
    rough = field.copy(data=deviation.astype(np.float32)).rename("roughness")
    rough.attrs = {"units": field.attrs.get("units", "m"), "long_name": "Roughness"}
    return rough


def _check_window(window: int) -> None:
    if window < 3 or window % 2 == 0:
        raise InputError(f"roughness window {window} must be odd and at least 3; use 5, for example")


def _windowed_deviation(values: Any, window: int, *, axes: tuple[int, ...]) -> Any:
    """Population standard deviation in a centred window; NaN where a value is missing or outside."""
    xp, filters = module_of(values), ndimage_of(values)
    if not xp.isfinite(values).any():
        return xp.full(values.shape, np.nan)
    # Mean of squares minus square of mean loses digits far from zero, so take the overall mean out first.
    mean = values - xp.nanmean(values)
    square = mean**2
    weights = xp.full(window, 1 / window)
    for axis in axes:  # correlate1d adds each window anew, unlike uniform_filter: no NaN spreads further
        mean = filters.correlate1d(mean, weights, axis=axis, mode="constant", cval=np.nan)
        square = filters.correlate1d(square, weights, axis=axis, mode="constant", cval=np.nan)
    return xp.sqrt(xp.maximum(square - mean**2, 0.0))


def roughness_ratio(prediction: xr.DataArray, truth: xr.DataArray, *, cells: int = 5) -> float:
    """Return the mean roughness of a prediction over that of the truth: below 1 is too smooth.

    Both means are over the cells where both roughnesses exist.

    Raises
    ------
    InputError
        When the fields are on different grids, share no complete window, or the truth is flat.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=900, north=900, spacing=100, crs="EPSG:3031")
    >>> bed = make_field(np.random.default_rng(0).normal(size=grid.shape), grid, name="bed")
    >>> round(roughness_ratio(bed / 2, bed), 3)
    0.5
    """
    _check_same_grid(prediction, truth)
    sums = RoughnessSums(cells)
    sums.add(roughness(prediction, cells=cells), roughness(truth, cells=cells))
    return sums.ratio


@dataclass
class RoughnessSums:
    """Roughness of a prediction and of the truth, part by part, such as the blocks of a map.

    Parameters
    ----------
    cells : side of the window that the roughness is of

    Examples
    --------
    >>> sums = RoughnessSums()
    >>> sums.add([1.0, 2.0, np.nan], [2.0, 2.0, 9.0])  # the last has no partner
    >>> sums.add([3.0], [4.0])
    >>> sums.count, sums.ratio  # 6 / 8
    (3, 0.75)
    """

    cells: int = 5
    count: int = 0
    predicted: float = 0.0
    true: float = 0.0

    def add(self, prediction: Any, truth: Any) -> None:
        """Add the cells of one part in which both have a roughness."""
        predicted, true = (to_host(getattr(each, "data", each)) for each in (prediction, truth))
        predicted, true = np.asarray(predicted), np.asarray(true)
        both = np.isfinite(predicted) & np.isfinite(true)
        self.count += int(both.sum())
        self.predicted += float(predicted[both].sum(dtype=np.float64))
        self.true += float(true[both].sum(dtype=np.float64))

    @property
    def ratio(self) -> float:
        """The mean roughness of the prediction over that of the truth.

        Raises
        ------
        InputError
            When no cell has both, or the truth is flat.
        """
        if self.count == 0:
            cells = f"{self.cells} x {self.cells}"
            raise InputError(f"prediction and truth share no full window of {cells} cells; fill gaps")
        if self.true == 0:
            raise InputError("the truth is flat, so a roughness ratio has no meaning; check its values")
        return self.predicted / self.true


def _check_same_grid(prediction: xr.DataArray, truth: xr.DataArray) -> None:
    first, second = grid_of(prediction), grid_of(truth)
    near = np.allclose(first.bounds, second.bounds, rtol=0, atol=first.spacing / 1000)
    if first.shape != second.shape or first.crs != second.crs or not near:
        raise InputError(f"prediction is on {first} and truth on {second}; cut both on one grid")


def roughness_along_track(values: ArrayLike, *, window: int = 5) -> np.ndarray:
    """Return the population standard deviation in a running window of points along one track.

    Points should be evenly spaced, for example a flight sampled every 250 m: then windows span one distance.

    Parameters
    ----------
    values : (n,) values in the order of the track
    window : number of points, odd, at least 3

    Returns
    -------
    (n,) float64 array in the units of the values; NaN within half a window of an end or of a missing value.

    Raises
    ------
    InputError
        When the values are not one row or the window is even or below 3.

    Examples
    --------
    >>> roughness_along_track([0, 3, 0, 0, 0], window=3) ** 2  # mean of squares 3, square of mean 1
    array([nan,  2.,  2.,  0., nan])
    """
    _check_window(window)
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"a track is one row of values, not an array {values.shape}; give one track")
    return _windowed_deviation(values, window, axes=(0,))


def radial_spectrum(field: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the power spectral density of a field, averaged over directions, against wavelength.

    A plane is taken out first and a Hann window applied in both directions, so that edges do not pose as fine
    structure. Rings are one fundamental frequency of the longer side wide. White noise of variance v has
    the power v times the area of a cell at every wavelength.

    Parameters
    ----------
    field : (y, x) field without missing values, at least 8 cells a side

    Returns
    -------
    wavelength_m : (n,) array, from the longer side of the field down to two cells
    power : (n,) array, in the field's units squared times square metres

    Raises
    ------
    InputError
        When a value is missing or the field is too small.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=6400, north=6400, spacing=100, crs="EPSG:3031")
    >>> waves = make_field(np.sin(2 * np.pi * grid.x / 800) * np.ones((64, 1)), grid, name="bed")
    >>> wavelength_m, power = radial_spectrum(waves)
    >>> float(wavelength_m[power.argmax()])
    800.0
    """
    grid = grid_of(field)
    values = field.to_numpy().astype(np.float64)
    missing = int(np.count_nonzero(~np.isfinite(values)))
    if missing:
        raise InputError(f"a spectrum needs all values, {missing} are missing; cut a box without gaps")
    if min(grid.shape) < 8:
        raise InputError(f"a spectrum of {grid.shape} cells says little; give at least 8 cells a side")
    energy = np.abs(np.fft.fft2(taper_edges(values))) ** 2
    density = energy * grid.spacing**2 / np.sum(_hann_window(grid.shape) ** 2)
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(count) for count in grid.shape), indexing="ij"))
    rings = max(grid.shape) // 2  # the last one is at two cells
    ring = np.round(frequency * max(grid.shape)).astype(np.intp).ravel()
    count = np.bincount(ring, minlength=rings + 1)[1 : rings + 1]
    power = np.bincount(ring, weights=density.ravel(), minlength=rings + 1)[1 : rings + 1]
    filled = count > 0  # of an oblong field, the longest wavelengths may have no ring
    wavelength = max(grid.shape) * grid.spacing / np.arange(1, rings + 1)
    return wavelength[filled], power[filled] / count[filled]


def taper_edges(values: np.ndarray) -> np.ndarray:
    """Take the least-squares plane off a map, (y, x), and let the rest fall to zero at the edges (Hann).

    Then the edges do not pose as fine structure in a spectrum.

    >>> slope = np.arange(8.0) + np.zeros((8, 1))
    >>> float(np.abs(taper_edges(slope)).max().round(12))
    0.0
    """
    return _without_plane(values) * _hann_window(values.shape)


def _hann_window(shape: tuple[int, ...]) -> np.ndarray:
    return np.outer(*(np.hanning(count + 1)[:-1] for count in shape))


def _without_plane(values: np.ndarray) -> np.ndarray:
    """Subtract the least-squares plane; on a full grid mean and the two slopes are independent."""
    row, column = (np.arange(count) - (count - 1) / 2 for count in values.shape)
    level = values - values.mean()
    slope_down = row @ level.mean(axis=1) / (row @ row)
    slope_right = level.mean(axis=0) @ column / (column @ column)
    return level - slope_down * row[:, None] - slope_right * column


def tells_roughness(x: ArrayLike, y: ArrayLike, gridded: xr.DataArray) -> bool:
    """Tell whether points are so dense that the grid made from them has a roughness of its own.

    A flight with a pick in every cell has a full window around almost each of them. Picks that are thinned
    to wide steps have few, and these hold the spline's smoothness, not the bed's roughness.

    >>> from fieldwise.fields.grids import Grid, make_field
    >>> full = make_field(np.zeros((8, 8)), Grid(0, 0, 800, 800, 100, "EPSG:3031"), name="bed")
    >>> x = np.arange(50, 800, 100)
    >>> tells_roughness(x, 0 * x, full), tells_roughness(x, 0 * x, full.where(full["y"] < 100))
    (True, False)
    """
    points = np.column_stack([x, y])
    cells = np.unique(np.floor(points / grid_of(gridded).spacing), axis=0)
    return int(roughness(gridded).notnull().sum()) > len(cells) / 2
