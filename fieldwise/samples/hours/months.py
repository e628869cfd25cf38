"""Extraction month by month, in parallel: crop, units and levels; what is done stays, what fails is told."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError, first_line
from fieldwise.samples.hours.files import Series, Wanted, bring_to_units, find_series
from fieldwise.samples.hours.periods import time_of
from fieldwise.samples.hours.requests import Request
from fieldwise.samples.weather.records import EPOCH, TIME

FOLDER = "ExtractedData"  # of months, as AMBS calls it
UNITS = {"t2m": "K", "t850": "K", "tcc": "1", "msl": "Pa", "u10": "m s-1", "v10": "m s-1"}
KELVIN = (100.0, 400.0)  # what temperatures of air can be
TOLD = 3  # failures that are told in full


@dataclass(frozen=True)
class Extracted:
    """Hourly fields of a region, month by month on disk.

    Attributes
    ----------
    files
        One a month, in order, with the hours of each.
    hours
        (hour,) since 2000, of all.
    latitude, longitude
        Of the cells, degrees, from north to south and west to east.
    units
        Of each variable.
    notes
        What was converted.
    lacking
        Which variables lack hours that others have: these hours are left out.
    """

    files: Mapping[Path, np.ndarray] = field(repr=False)
    hours: np.ndarray = field(repr=False)
    latitude: np.ndarray = field(repr=False)
    longitude: np.ndarray = field(repr=False)
    units: dict[str, str]
    notes: list[str]
    lacking: list[str] = field(default_factory=list)

    def frames(self, cells: slice) -> Iterator[dict[str, np.ndarray]]:
        """Give the fields of hours at some places among all, one hour after the other."""
        begin = 0
        for path, hours in self.files.items():
            first, end = max(cells.start, begin) - begin, min(cells.stop, begin + len(hours)) - begin
            if first < end:
                with _open(path) as opened:
                    part = {str(name): opened[name][first:end].to_numpy() for name in opened}
                for frame in range(end - first):
                    yield {name: values[frame] for name, values in part.items()}
            begin += len(hours)


def extract_months(
    request: Request,
    out: Path,
    *,
    only: Container[str] | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Extracted:
    """Extract all months into ``OUT/ExtractedData/[Y]/[M]``; those that are there stay as they are.

    Parameters
    ----------
    request
        What to extract.
    out
        Folder.
    only
        Months that are needed, as 2019-03; by default all that there are.
    workers
        How many at a time; by default as many as there are cores, or as a Dask cluster in use has.
    progress
        Whether to show how far it is.

    Raises
    ------
    InputError
        Where a month cannot be extracted, after all others are.

    >>> import tempfile
    >>> from fieldwise.samples.hours.requests import read_request
    >>> folder, axes = Path(tempfile.mkdtemp()), {"lat": [1.0, 0.0], "lon": [0.0, 1.0]}
    >>> times = {"time": ("time", np.arange(740, 748), {"units": "hours since 2000-01-01"})}
    >>> field = (("time", "lat", "lon"), np.full((8, 2, 2), 6.85), {"units": "degC"})
    >>> _ = xr.Dataset({"t2m": field}, times | axes).to_netcdf(folder / "a.nc", engine="h5netcdf")
    >>> _ = (folder / "own.yaml").write_text("{path: a.nc, variables: [t2m]}")
    >>> extracted = extract_months(read_request(folder / "own.yaml"), folder)
    >>> len(extracted.files), extracted.notes, next(extracted.frames(slice(0, 1)))["t2m"].round(2).tolist()
    (2, ['t2m: brought from degC to K'], [[280.0, 280.0], [280.0, 280.0]])
    """
    import contextlib

    import dask
    from tqdm.dask import TqdmCallback

    months = {name: files for name, files in request.months().items() if only is None or name in only}
    if not months:
        raise InputError(f"{request.place}: has none of the months that splits name; fetch them")
    targets = {month: _name(out, month, files, request) for month, files in months.items()}
    left = [month for month in months if not targets[month].exists()]
    work = dask.delayed(_try, traverse=False)
    jobs = [work(month, months[month], request, targets[month]) for month in left]
    options = {} if workers is None else {"num_workers": workers}
    with TqdmCallback(desc="extract") if progress and jobs else contextlib.nullcontext():
        failures = dask.compute(*jobs, **options)  # in threads, or on the cluster whose client is open
    failed = [failure for failure in failures if failure]
    if failed:
        more = f"; and {len(failed) - TOLD} more" if len(failed) > TOLD else ""
        others = f"the others stay in {out / FOLDER}, " if len(failed) < len(months) else ""
        raise InputError(
            f"{len(failed)} of {len(months)} months failed: {'; '.join(failed[:TOLD])}{more}; {others}mend "
            "what is wrong and run again"
        )
    return _join(list(targets.values()))


def _name(out: Path, month: str, files: Sequence[Path], request: Request) -> Path:
    """Name what a month is extracted to: another request, or changed files, have another name."""
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    told = repr((request.variables, request.region, stats)).encode()
    return out / FOLDER / month[:4] / month[5:] / f"{hashlib.sha256(told).hexdigest()[:12]}.nc"


def _try(month: str, files: Sequence[Path], request: Request, target: Path) -> str | None:
    try:
        dataset = _extract_month(month, files, request)
        with replace_when_done(target) as partial:
            dataset.to_netcdf(partial, engine="h5netcdf")
    except (InputError, OSError, RuntimeError, ValueError, KeyError) as error:
        return f"{month}: {first_line(error)}"
    return None


def _extract_month(month: str, files: Sequence[Path], request: Request) -> xr.Dataset:
    """Extract the variables of a month, (time, lat, lon), in units that are known here.

    Raises
    ------
    InputError
        Where a variable is missing, hours come twice, units do not fit, or files differ in their grids.
    """
    first, end = (int((np.datetime64(month) + add).astype("datetime64[h]").astype(int)) for add in (0, 1))
    origin = int(EPOCH.astype(int))
    span = first - origin, end - origin
    notes: dict[str, None] = {}
    fields: dict[str, xr.DataArray] = {}
    for wanted in request.variables:
        series = [each for path in files if (each := find_series(path, wanted)) is not None]
        if not series:
            raise InputError(request.lacking([wanted.name]))
        fields[wanted.name] = _gather(series, wanted, request, span, notes)
    hours = {name: values["time"].to_numpy() for name, values in fields.items()}
    common, every = (functools.reduce(join, hours.values()) for join in (np.intersect1d, np.union1d))
    if not len(common):
        raise InputError("no hour has all variables; fetch it again")
    lacking = [
        f"{name}: lacks {len(every) - len(own)} hours that others have, first {time_of(lost[0])}"
        for name, own in hours.items()
        if (lost := np.setdiff1d(every, own)).size
    ]
    try:
        joined = xr.merge(
            [values.sel(time=common) for values in fields.values()], join="exact", compat="override"
        )
    except ValueError:
        raise InputError("variables lie on different grids; bring them to one") from None
    joined["time"].attrs.update(TIME)
    return joined.assign_attrs(notes=list(notes) or "", lacking=lacking or "")


def _gather(
    series: Sequence[Series], wanted: Wanted, request: Request, span: tuple[int, int], notes: dict[str, None]
) -> xr.DataArray:
    """Read a variable of a month from all files that have it."""
    parts, axes, units = [], None, ""
    for each in series:
        places = np.flatnonzero((each.hours >= span[0]) & (each.hours < span[1]))
        if not places.size:
            continue
        rows, columns = request.region.cut(each.latitude, each.longitude)
        found = each.latitude[rows], each.longitude[columns]
        if axes is not None and not all(
            np.allclose(a, b, atol=1e-3) for a, b in zip(axes, found, strict=True)
        ):
            raise InputError(
                f"{each.path}: lies on another grid than {series[0].path.name}; bring both to one"
            )
        axes = axes or found
        values, units = _bring(each.read(places.tolist(), rows, columns), each, wanted, notes)
        parts.append((each, each.hours[places], values))
    if axes is None:
        raise InputError(f"no file has {wanted.name} in this month; fetch it, or leave the month out")
    hours = np.concatenate([part[1] for part in parts])
    order = np.argsort(hours, kind="stable")
    twice = np.flatnonzero(np.diff(hours[order]) == 0)
    if twice.size:
        names = {part[0].path.name for part in parts if hours[order][twice[0]] in part[1]}
        raise InputError(
            f"{wanted.name}: has {time_of(hours[order][twice[0]])} twice, in {' and '.join(sorted(names))}; "
            "give each hour once"
        )
    west = axes[1][0]
    coordinates = {"time": hours[order], "lat": axes[0], "lon": west + (axes[1] - west) % 360}
    values = np.concatenate([part[2] for part in parts])[order]
    dims = ("time", "lat", "lon")
    return xr.DataArray(values, coordinates, dims, name=wanted.name, attrs={"units": units})


def _bring(
    values: np.ndarray, series: Series, wanted: Wanted, notes: dict[str, None]
) -> tuple[np.ndarray, str]:
    """Bring values to the units that a variable has here; say so where that changed them."""
    found = wanted.units or series.units
    units = UNITS.get(wanted.name, found or "1")
    if not found and units in ("K", "Pa"):  # checked below, by what the values are
        found = units
    brought = bring_to_units(values, found, units)
    if brought is None:
        raise InputError(
            f"{series.path}: {wanted.name} is in {found!r}, which cannot be brought to {units}; mend its "
            "units, or state them in the FILE.yaml"
        )
    if units == "K" and brought.size and not KELVIN[0] < np.nanmin(brought) <= np.nanmax(brought) < KELVIN[1]:
        raise InputError(
            f"{series.path}: {wanted.name} holds {np.nanmin(values):.4g} to {np.nanmax(values):.4g}, which "
            f"are no temperatures in {found or 'K'}; state its units in the FILE.yaml, such as units: degC"
        )
    if brought is not values and not np.array_equal(brought, values, equal_nan=True):
        notes[f"{wanted.name}: brought from {found} to {units}"] = None
    return brought.astype(np.float32), units


def _join(files: Sequence[Path]) -> Extracted:
    """Put extracted months one after the other; their grids must be one.

    Raises
    ------
    InputError
        Where a file is damaged, or grids or units differ.
    """
    found: dict[Path, np.ndarray] = {}
    told: dict[str, dict[str, None]] = {"notes": {}, "lacking": {}}
    axes, units = None, None
    for path in files:
        with _open(path) as opened:
            own = opened["lat"].to_numpy(), opened["lon"].to_numpy()
            of_file = {str(name): str(opened[name].attrs["units"]) for name in opened}
            if axes is not None and not all(
                a.shape == b.shape and np.allclose(a, b, atol=1e-3) for a, b in zip(axes, own, strict=True)
            ):
                raise InputError(f"{path}: lies on another grid than {files[0]}; bring all months to one")
            if units not in (None, of_file):
                raise InputError(
                    f"{path}: has units {of_file}, and {files[0]} {units}; bring all months to one"
                )
            axes, units = axes or own, of_file
            found[path] = opened["time"].to_numpy()
            for name, lines in told.items():
                lines |= dict.fromkeys(each for each in np.atleast_1d(opened.attrs[name]).tolist() if each)
    assert axes is not None
    assert units is not None
    return Extracted(found, np.concatenate([*found.values()]), *axes, units, *map(list, told.values()))


def _open(path: Path) -> xr.Dataset:
    try:
        return xr.open_dataset(path, engine="h5netcdf", decode_times=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: is damaged ({first_line(error)}); remove it and run again") from None
