"""Judge fields: errors at points, roughness, spectra, and how sure a score is.

A missing value (NaN) in the prediction or in the truth leaves the pair out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from fieldwise.errors import InputError
from fieldwise.fields.arrays import module_of, ndimage_of, to_host
from fieldwise.fields.grids import grid_of, same_crs

GROUP_CELLS = 4096  # points are read in groups this wide, so that no more of a large raster is in memory


def sample_at_points(
    field: xr.DataArray, x: ArrayLike, y: ArrayLike, *, method: str = "linear"
) -> np.ndarray:
    """Read a field at points, for example at radar picks.

    Only boxes around neighbouring points are read from a lazy field.

    Parameters
    ----------
    field : (y, x) field
    x, y : (n,) arrays, in the field's CRS
    method : "linear" (between the four nearest cell centres) or "nearest" (the cell that holds the point)

    Returns
    -------
    (n,) float64 array, in the field's units. NaN where a cell that counts is missing, outside the field,
    and, with "linear", between the outermost cell centres and the edge.

    Raises
    ------
    InputError
        When x and y differ in length or the method is unknown.

    Examples
    --------
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> grid = Grid(west=0, south=0, east=200, north=200, spacing=100, crs="EPSG:3031")
    >>> bed = make_field(np.array([[0.0, 10.0], [20.0, 30.0]]), grid, name="bed")
    >>> sample_at_points(bed, [50, 100, 500], [150, 100, 100])
    array([ 0., 15., nan])
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"points have x {x.shape} and y {y.shape}; give two lists of one length")
    if method not in ("linear", "nearest"):
        raise InputError(f"sampling method {method!r} is unknown; use 'linear' or 'nearest'")
    grid = grid_of(field)
    column = (x - grid.west) / grid.spacing - 0.5
    row = (grid.north - y) / grid.spacing - 0.5
    ny, nx = grid.shape
    if method == "nearest":
        column, row = np.floor(column + 0.5), np.floor(row + 0.5)
    else:  # a centre is met despite rounding, so that a missing neighbour with no weight does not count
        column, row = _snap(column), _snap(row)
    inside = (column >= 0) & (column <= nx - 1) & (row >= 0) & (row <= ny - 1)
    result = np.full(x.shape, np.nan)
    if not inside.any():
        return result
    column, row = column[inside], row[inside]
    sampled = np.empty(row.shape)
    group = (row // GROUP_CELLS) * (nx // GROUP_CELLS + 1) + column // GROUP_CELLS
    for number in np.unique(group):
        near = group == number
        left, top = int(column[near].min()), int(row[near].min())
        values = field[top : int(row[near].max()) + 2, left : int(column[near].max()) + 2].compute().data
        sampled[near] = _interpolate(to_host(values), row[near] - top, column[near] - left)
    result[inside] = sampled
    return result


def _snap(position: np.ndarray, *, tolerance: float = 1e-6) -> np.ndarray:
    """Move positions within a millionth of a cell of a centre onto it."""
    nearest = np.round(position)
    return np.where(np.abs(position - nearest) < tolerance, nearest, position)


def _interpolate(values: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Interpolate between the four cells around each position; a cell without weight never counts."""
    top, left = row.astype(np.intp), column.astype(np.intp)
    total = np.zeros(row.shape)
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - (row - top)) * np.abs(1 - right - (column - left))
            i = np.minimum(top + down, values.shape[0] - 1)
            j = np.minimum(left + right, values.shape[1] - 1)
            total += np.where(weight > 0, weight * values[i, j], 0.0)
    return total


def errors_of(prediction: ArrayLike, truth: ArrayLike) -> np.ndarray:
    """Return prediction minus truth, flat, without the pairs that miss a value.

    Raises
    ------
    InputError
        When the shapes differ or no pair is complete.

    Examples
    --------
    >>> errors_of([1.0, 2.0, np.nan], [0.0, 4.0, 5.0])
    array([ 1., -2.])
    """
    predicted, true = np.asarray(prediction, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if predicted.shape != true.shape:
        raise InputError(f"prediction {predicted.shape} and truth {true.shape} differ; give pairs of values")
    difference = (predicted - true).ravel()
    difference = difference[~np.isnan(difference)]
    if difference.size == 0:
        raise InputError("prediction and truth share no point; check that the points lie inside the field")
    return difference


def root_mean_square(errors: ArrayLike) -> float:
    """Return the square root of the mean of squares, in the units of the errors.

    Examples
    --------
    >>> root_mean_square([3.0, -3.0])
    3.0
    """
    return float(np.sqrt(np.mean(np.square(errors, dtype=np.float64))))


def rmse(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Return the root-mean-square error over all complete pairs; InputError when there is none.

    Examples
    --------
    >>> rmse([1.0, 2.0, np.nan], [1.0, 4.0, 5.0])  # sqrt((0 + 4) / 2)
    1.4142135623730951
    """
    return root_mean_square(errors_of(prediction, truth))


def mae(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Return the mean absolute error over all complete pairs; InputError when there is none.

    Examples
    --------
    >>> mae([1.0, 2.0, np.nan], [2.0, 4.0, 5.0])
    1.5
    """
    return float(np.mean(np.abs(errors_of(prediction, truth))))


def bias(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Return the mean of prediction minus truth over all complete pairs; InputError when there is none.

    Examples
    --------
    >>> bias([1.0, 2.0, np.nan], [2.0, 4.0, 5.0])  # too low by 1 and by 2
    -1.5
    """
    return float(np.mean(errors_of(prediction, truth)))


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
    predicted, true = (to_host(roughness(field, cells=cells).data) for field in (prediction, truth))
    both = np.isfinite(predicted) & np.isfinite(true)
    if not both.any():
        raise InputError(f"prediction and truth share no full window of {cells} x {cells} cells; fill gaps")
    reference = float(np.mean(true[both], dtype=np.float64))
    if reference == 0:
        raise InputError("the truth is flat, so a roughness ratio has no meaning; check its values")
    return float(np.mean(predicted[both], dtype=np.float64)) / reference


def _check_same_grid(prediction: xr.DataArray, truth: xr.DataArray) -> None:
    first, second = grid_of(prediction), grid_of(truth)
    near = np.allclose(first.bounds, second.bounds, rtol=0, atol=first.spacing / 1000)
    if first.shape != second.shape or not same_crs(first.crs, second.crs) or not near:
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
    taper = np.outer(*(np.hanning(count + 1)[:-1] for count in grid.shape))
    energy = np.abs(np.fft.fft2(_without_plane(values) * taper)) ** 2
    density = energy * grid.spacing**2 / np.sum(taper**2)
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(count) for count in grid.shape), indexing="ij"))
    rings = max(grid.shape) // 2  # the last one is at two cells
    ring = np.round(frequency * max(grid.shape)).astype(np.intp).ravel()
    count = np.bincount(ring, minlength=rings + 1)[1 : rings + 1]
    power = np.bincount(ring, weights=density.ravel(), minlength=rings + 1)[1 : rings + 1]
    filled = count > 0  # of an oblong field, the longest wavelengths may have no ring
    wavelength = max(grid.shape) * grid.spacing / np.arange(1, rings + 1)
    return wavelength[filled], power[filled] / count[filled]


def _without_plane(values: np.ndarray) -> np.ndarray:
    """Subtract the least-squares plane; on a full grid mean and the two slopes are independent."""
    row, column = (np.arange(count) - (count - 1) / 2 for count in values.shape)
    level = values - values.mean()
    slope_down = row @ level.mean(axis=1) / (row @ row)
    slope_right = level.mean(axis=0) @ column / (column @ column)
    return level - slope_down * row[:, None] - slope_right * column


def bootstrap_interval(
    errors: ArrayLike,
    groups: ArrayLike,
    *,
    statistic: Callable[[np.ndarray], float] = root_mean_square,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return how far a score could be off, by drawing whole groups of errors again and again.

    Errors along a flight line are alike, so single picks are no independent evidence: whole flights are
    drawn, with replacement (percentile interval of Efron & Tibshirani 1993, chapter 13).

    Parameters
    ----------
    errors : (n,) errors; missing ones are left out
    groups : (n,) name of the flight that each error belongs to
    statistic : from errors to a score
    n : how often to draw
    seed : the same seed gives the same interval
    level : probability that the interval is to hold

    Returns
    -------
    Lower and upper end, in the units of the statistic.

    Raises
    ------
    InputError
        When the lengths differ, fewer than two groups have errors, or the level is not between 0 and 1.

    Examples
    --------
    >>> low, high = bootstrap_interval([10.0, 10.0, 20.0, 20.0], ["a", "a", "b", "b"])
    >>> low, high  # either flight could have been the only one
    (10.0, 20.0)
    """
    values, names = np.asarray(errors, dtype=np.float64), np.asarray(groups)
    if values.ndim != 1 or values.shape != names.shape:
        raise InputError(f"errors {values.shape} and groups {names.shape} differ; give each error its group")
    if not 0 < level < 1:
        raise InputError(f"level {level:g} is no probability; give one between 0 and 1, such as 0.95")
    known = ~np.isnan(values)
    flights, member = np.unique(names[known], return_inverse=True)
    if len(flights) < 2:
        raise InputError(f"{len(flights)} group(s) cannot be resampled; give errors of at least two flights")
    parts = [values[known][member == index] for index in range(len(flights))]
    random = np.random.default_rng(seed)
    draws = random.integers(len(parts), size=(n, len(parts)))
    scores = [statistic(np.concatenate([parts[index] for index in draw])) for draw in draws]
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
