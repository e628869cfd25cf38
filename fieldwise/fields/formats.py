"""Gridded files of every format as fields: one variable, or all that share a grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyproj  # noqa: F401  before anything that may load eccodes: the other order crashes the interpreter
import rasterio
import rioxarray
import shapely
import xarray as xr
from rasterio.errors import RasterioIOError

from fieldwise.errors import InputError, first_line
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.datums import parse_datum, split_crs
from fieldwise.fields.grids import crs_name, grid_of

CHUNK_CELLS = 1024
RASTER_SUFFIXES = {".tif", ".tiff", ".vrt", ".grd", ".img", ".gtx"}
UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, TypeError)  # what damaged files lead to
AXES = ("x", "y", "time")
TIMES = ("t", "Time", "year")  # other names of the axis time
METRES = ("m", "metre", "metres", "meter", "meters", "")


def with_plain_crs(field: xr.DataArray) -> xr.DataArray:
    """Keep the CRS where rioxarray looks for it first, and no further coordinates.

    Data centres call it `coord_system` or `mapping`, which operations forget; longitudes and latitudes of
    every cell would be read with every window.

    >>> latitude = ("y", "x"), np.zeros((2, 2))
    >>> field = xr.DataArray(np.zeros((2, 2)), {"y": [2, 1], "x": [1, 2], "lat": latitude}, ("y", "x"))
    >>> field = field.rio.write_crs("EPSG:3031", grid_mapping_name="coord_system")
    >>> plain = with_plain_crs(field).astype("float32")
    >>> sorted(plain.coords), plain.rio.crs.to_epsg()
    (['spatial_ref', 'x', 'y'], 3031)
    """
    crs = field.rio.crs
    field = field.reset_coords(drop=True)
    for place in (field.attrs, field.encoding):
        place.pop("grid_mapping", None)
        place.pop("coordinates", None)
    return field.rio.write_crs(crs)


def open_field(
    path: str | Path,
    *,
    variable: str | None = None,
    x: str | None = None,
    y: str | None = None,
    crs: str | None = None,
) -> xr.DataArray:
    """Open one variable of a gridded file lazily as a canonical field.

    Parameters
    ----------
    path
        GeoTIFF or another raster of GDAL, NetCDF, HDF5, Zarr, or an array of NumPy (.npy) with x.npy and
        y.npy beside it.
    variable
        Which variable of a file with several; of a raster, the number of the band.
    x, y
        Names of the variables that hold the coordinates, where the file does not say so itself;
        one- or two-dimensional.
    crs
        The CRS, for files that carry none.

    Returns
    -------
    xarray.DataArray
        float32, dimensions (y, x), y from north to south, missing values NaN, horizontal CRS attached,
        scale and offset applied; nothing but coordinates is read yet. Where the file names a vertical datum,
        by its CRS or in ``vertical_datum``, that stands in ``attrs["vertical_datum"]``.

    Raises
    ------
    InputError
        Where the file is missing, broken or has no CRS, naming the file.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> bed = make_field(np.arange(6.0).reshape(2, 3), Grid(0, 0, 3000, 2000, 1000, "EPSG:3031"), name="bed")
    >>> path = home / "bed.nc"
    >>> bed[::-1].to_netcdf(path, engine="h5netcdf")  # from south to north
    >>> field = open_field(path)
    >>> field.values.tolist(), field["y"].values.tolist()
    ([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], [1500.0, 500.0])
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path, or fetch it with `fieldwise download`")
    if path.suffix.lower() in RASTER_SUFFIXES:
        field = _open_raster(path, variable)
    elif path.suffix.lower() == ".npy":
        field = _open_arrays(path.parent)[path.stem]
        if field.ndim != 2:
            raise InputError(f"{path}: has the shape {field.shape}; give one field, (y, x)")
    else:
        field = _open_variable(path, variable, x, y)
    if crs is not None:
        field = field.rio.write_crs(crs_name(crs))
    if field.rio.crs is None:
        raise InputError(
            f"{path}: holds no CRS; state one, such as `crs: EPSG:3031`, in the file's entry of the FILE.yaml"
        )
    field = _canonical(_with_datum(with_plain_crs(field), path), path)
    field = field.rio.write_transform(field.rio.transform(recalc=True))  # the file's own holds for its order
    field.encoding["source"] = str(path)
    grid_of(field)
    return field


def open_fields(path: str | Path, *, coordinates: Mapping[str, str] | None = None) -> xr.Dataset:
    """Open all variables of a file that lie on its x and y, with or without time.

    Without chunks: Dask takes longer to plan the reading of a small field than to read it.

    Parameters
    ----------
    path
        NetCDF, HDF5 or Zarr; or a folder of arrays of NumPy: x.npy, y.npy, maybe time.npy, and one file for
        each variable.
    coordinates
        Names of the variables x, y and time where they are not these.

    Returns
    -------
    xarray.Dataset
        Those that are (y, x) or (time, y, x), with y from north to south, x from west to east, in the type of
        the file; nothing but coordinates is read yet. ``rio.crs`` is None where the file names none; times
        are numbers.

    Raises
    ------
    InputError
        Where the file is missing or broken, or is on no regular grid of square cells in metres.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name, values in {"x": [50, 150], "y": [50, 150], "thk": [[1, 2], [3, 4]]}.items():
    ...     np.save(folder / f"{name}.npy", values)
    >>> fields = open_fields(folder)
    >>> fields["thk"].values.tolist(), fields["y"].values.tolist()  # the north comes first
    ([[3, 4], [1, 2]], [150.0, 50.0])
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir() and any(path.glob("*.npy")):
        opened = _open_arrays(path)
    else:
        opened = _name_axes(_open_store(path, chunks=None, cache=False), coordinates or {}, path)
    elsewhere = [name for name, field in opened.data_vars.items() if not _on_grid(field)]
    opened = opened.drop_vars(elsewhere)
    _check_square(opened, path)
    for axis in ("x", "y"):
        if (opened[axis][0] > opened[axis][-1]) == (axis == "x"):
            opened = opened.isel({axis: slice(None, None, -1)})
    return opened.transpose("time", "y", "x", ..., missing_dims="ignore")


def _on_grid(field: xr.DataArray) -> bool:
    return {"x", "y"} <= {*field.dims} <= {*AXES}


def _name_axes(opened: xr.Dataset, coordinates: Mapping[str, str], path: Path) -> xr.Dataset:
    """Call the axes x, y and time, read them, and see that they are in metres."""
    opened = opened.rename({theirs: ours for ours, theirs in coordinates.items() if theirs in opened})
    time = [str(dim) for dim in opened.dims if str(dim) in TIMES]
    if time and "time" not in opened.dims:
        opened = opened.rename({time[0]: "time"})
    missing = [axis for axis in ("x", "y") if axis not in opened.variables or opened[axis].ndim != 1]
    if missing:
        raise InputError(f"{path}: has no coordinate {' or '.join(missing)} of one dimension; name it")
    try:
        for each in opened.coords.values():
            each.load()
    except UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as NetCDF, HDF5 or Zarr ({first_line(error)})") from None
    for axis in ("x", "y"):
        if (unit := opened[axis].attrs.get("units", "m")) not in METRES:
            raise InputError(f"{path}: {axis} is in {unit}; give a grid in metres")
    return opened


def _check_square(opened: xr.Dataset, path: Path) -> None:
    steps = {axis: np.diff(opened[axis].values.astype(np.float64)) for axis in ("x", "y")}
    for axis, each in steps.items():
        if not each.size or not np.ptp(each) < 0.01 * abs(each.mean()):
            raise InputError(f"{path}: {axis} is not evenly spaced; give at least 2 cells, all of one width")
    width, height = (abs(each[0]) for each in steps.values())
    if abs(width - height) > 1e-3 * width:
        raise InputError(
            f"{path}: cells of {width:g} by {height:g} m are not square; bring the fields to square cells"
        )


def _with_datum(field: xr.DataArray, path: Path) -> xr.DataArray:
    """Move what a file says of its vertical datum to one place; the CRS is left the horizontal one."""
    horizontal, of_crs = split_crs(field.rio.crs)
    if of_crs:
        field = field.rio.write_crs(crs_name(horizontal))
    try:
        stated = parse_datum(field.attrs.pop(DATUM, None))
    except InputError:  # a text in words of its own tells no more than none
        stated = None
    if of_crs and stated and of_crs != stated:
        raise InputError(f"{path}: its CRS names the {of_crs}, its vertical_datum the {stated}; correct one")
    return field.assign_attrs({DATUM: of_crs or stated}) if of_crs or stated else field


def _canonical(field: xr.DataArray, path: Path) -> xr.DataArray:
    """Bring a field to (y, x), north to south, west to east, float32, evenly spaced."""
    field = field.transpose("y", "x")
    for dim, ascending in (("x", True), ("y", False)):
        values = field[dim].values.astype(float)
        if values.size > 1 and (values[-1] > values[0]) != ascending:
            field = field.isel({dim: slice(None, None, -1)})
            values = values[::-1]
        steps = np.diff(values)
        if values.size > 2 and np.ptp(steps) > 0.01 * abs(steps.mean()):
            raise InputError(f"{path}: {dim} is not evenly spaced ({steps.min():g} to {steps.max():g})")
        field = field.assign_coords({dim: values})
    fill = field.attrs.pop("_FillValue", None)  # left there by files that mark missing values in attributes
    field = field.astype("float32")
    return field.where(field != np.float32(fill)) if fill is not None else field


def _open_raster(path: Path, variable: str | None) -> xr.DataArray:
    try:
        with rasterio.Env(GTIFF_REPORT_COMPD_CS=True):  # older GeoTIFFs hide their vertical CRS otherwise
            chunks = {"x": CHUNK_CELLS, "y": CHUNK_CELLS}
            # Without a lock each thread has a handle of its own, so that several read at the same time.
            opened = rioxarray.open_rasterio(
                path, masked=True, mask_and_scale=True, chunks=chunks, lock=False
            )
    except (RasterioIOError, rasterio.errors.RasterioError) as error:
        raise InputError(
            f"{path}: cannot be read as a raster ({first_line(error)}); fetch it again"
        ) from error
    if not isinstance(opened, xr.DataArray):
        raise InputError(f"{path}: holds several rasters; name one file a variable")
    bands = [str(band) for band in opened["band"].values]
    wanted = str(variable or bands[0])
    if wanted not in bands:
        raise InputError(
            f"{path}: has no band {wanted}; a variable of a raster is the number of its band, "
            f"1 to {len(bands)}"
        )
    return opened.isel(band=bands.index(wanted), drop=True)


def _open_store(path: Path, **options: Any) -> xr.Dataset:
    """Open NetCDF of any kind, HDF5 or Zarr by what it is and not by its name; times stay numbers."""
    try:
        if path.is_dir():
            options |= {"engine": "zarr"}
        else:
            with path.open("rb") as file:
                classic = file.read(3) == b"CDF"
            options |= {"engine": "scipy"} if classic else {"engine": "h5netcdf", "phony_dims": "sort"}
        return xr.open_dataset(path, decode_coords="all", decode_times=False, **options)
    except UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as NetCDF, HDF5 or Zarr ({first_line(error)})") from error


def _open_variable(path: Path, variable: str | None, x: str | None, y: str | None) -> xr.DataArray:
    dataset = _open_store(path, chunks={})
    candidates = [str(name) for name in dataset.data_vars if dataset[name].ndim == 2 and name not in (x, y)]
    name = variable or (candidates[0] if len(candidates) == 1 else None)
    if name is None or name not in dataset:
        wanted = f"has no variable {variable!r}" if variable else "holds several variables; name one"
        raise InputError(f"{path}: {wanted}; it has {', '.join(candidates) or 'none on a 2-D grid'}")
    field = dataset[name].squeeze(drop=True)
    if x and y:
        missing = [coordinate for coordinate in (x, y) if coordinate not in dataset]
        if missing:
            raise InputError(f"{path}: has no coordinate variable {' or '.join(missing)}")
        field = _with_coordinates(field, dataset[x].values, dataset[y].values, path)
    elif "lon" in field.dims and "lat" in field.dims:
        field = field.rename(lon="x", lat="y")
    if set(field.dims) != {"x", "y"}:
        raise InputError(
            f"{path}: {name} has the dimensions {field.dims}; name its coordinates with x: and y:"
        )
    return field


def _with_coordinates(field: xr.DataArray, x: np.ndarray, y: np.ndarray, path: Path) -> xr.DataArray:
    """Attach coordinates given as variables; of 2-D ones, find the axis along which each varies."""
    x, y = x.squeeze(), y.squeeze()
    if x.ndim == 2:
        x_axis = int(np.ptp(x, axis=1).max() > np.ptp(x, axis=0).max())
        x, y = np.take(x, 0, axis=1 - x_axis), np.take(y, 0, axis=x_axis)
    else:
        x_axis = 1 if field.shape == (y.size, x.size) else 0
    dims = ("y", "x") if x_axis == 1 else ("x", "y")
    if field.shape != tuple({"x": x.size, "y": y.size}[dim] for dim in dims):
        raise InputError(
            f"{path}: {field.name} of shape {field.shape} does not fit {x.size} x and {y.size} y"
        )
    return xr.DataArray(field.data, dims=dims, coords={"x": x, "y": y}, name=field.name, attrs=field.attrs)


def _open_arrays(folder: Path) -> xr.Dataset:
    """Open the arrays of NumPy in a folder, of which x.npy and y.npy tell the grid; none is read."""
    files = {path.stem: path for path in sorted(folder.glob("*.npy"))}
    missing = [f"{name}.npy" for name in ("x", "y") if name not in files]
    if missing:
        raise InputError(f"{folder}: lacks {' and '.join(missing)}, which tell the grid; add the coordinates")
    arrays = {name: _map_array(path) for name, path in files.items()}
    axes = {name: arrays.pop(name) for name in AXES if name in arrays}
    for name, values in axes.items():
        if values.ndim != 1 or values.dtype.kind not in "fiu":
            raise InputError(
                f"{files[name]}: holds {values.dtype} {values.shape}; give numbers along one axis"
            )
    grid = axes["y"].size, axes["x"].size
    for name, array in arrays.items():
        if array.ndim not in (2, 3) or array.shape[-2:] != grid:
            raise InputError(
                f"{files[name]}: has the shape {array.shape}, the grid {grid[0]} x {grid[1]} cells; "
                "give (time, y, x)"
            )
    moving = {name: len(array) for name, array in arrays.items() if array.ndim == 3 and len(array) > 1}
    count = max(moving.values(), default=1)
    if moving and "time" in axes:
        moving["time"] = axes["time"].size
    odd = [f"{name} {number}" for name, number in moving.items() if number != count]
    if odd:
        raise InputError(
            f"{folder}: the numbers of frames differ: {', '.join(odd)} beside {count}; give one or all"
        )
    variables = {
        name: (("time", "y", "x"), array) if name in moving else (("y", "x"), array.reshape(grid))
        for name, array in arrays.items()
    }
    return xr.Dataset(variables, {name: np.asarray(axis, dtype=np.float64) for name, axis in axes.items()})


def _map_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as an array ({error})") from None


def read_area(path: Path, *, crs: str) -> shapely.Geometry:
    """Read the area that a file of polygons covers, in a CRS.

    >>> import tempfile
    >>> frame = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1000, 500)], crs="EPSG:3031")
    >>> path = Path(tempfile.mkdtemp()) / "grounded.geojson"
    >>> frame.to_file(path)
    >>> read_area(path, crs="EPSG:3031").bounds
    (0.0, 0.0, 1000.0, 500.0)
    """
    try:
        frame = geopandas.read_file(path)
    except Exception as error:  # pyogrio's errors share no base class with what it wraps
        raise InputError(f"{path}: cannot be read as polygons ({str(error).splitlines()[0]})") from error
    if frame.crs is None:
        raise InputError(f"{path}: holds no CRS; its .prj file is missing")
    return frame.to_crs(crs).union_all()
