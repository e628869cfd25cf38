"""What a FILE.yaml asks for: hourly files in one of some layouts, variables by name, and a region."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldwise.drafts import check_plain_name
from fieldwise.errors import InputError
from fieldwise.samples.hours.files import GRIB, Wanted, find_series
from fieldwise.samples.hours.gribs import list_messages
from fieldwise.samples.hours.periods import EPOCH, HOUR
from fieldwise.samples.hours.regions import Region, read_region
from fieldwise.samples.rules import Rule, check_table, is_number, is_table, read_rules
from fieldwise.samples.weather.globes import open_globe

FILES = (*GRIB, ".nc", ".nc4", ".h5", ".zarr")
TEXT = Rule(lambda value: isinstance(value, str), "a text")
VARIABLE_RULES = {
    "name": Rule(lambda value: isinstance(value, str), "what it is called in the files, such as t"),
    "level_hpa": Rule(is_number, "a pressure such as 850"),
    "units": Rule(lambda value: isinstance(value, str), "units such as degC"),
}
RULES = {
    "path": Rule(
        lambda value: (
            isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value))
        ),
        "a folder, a file, a pattern such as 2019/*.nc, or a list of these",
    ),
    "variables": Rule(
        lambda value: bool(value) and isinstance(value, list | Mapping),
        "names such as [t2m, t850, tcc], or lines such as `t850: {name: t, level_hpa: 850}`",
    ),
    "area": Rule(is_table, "{corner: [SOUTH, WEST], cells: [COLUMNS, ROWS]} or {box: [N, W, S, E]}"),
}


@dataclass(frozen=True)
class Request:
    """What is to be extracted.

    Attributes
    ----------
    place
        The FILE.yaml, to name in errors.
    files
        All of them, in order.
    variables, region
        What of them.
    monthly
        Files of each month where the layout tells, as 2019-03; else None.
    """

    place: Path
    files: tuple[Path, ...]
    variables: tuple[Wanted, ...]
    region: Region
    monthly: Mapping[str, tuple[Path, ...]] | None = None

    def months(self) -> dict[str, tuple[Path, ...]]:
        """Give the files of each month, in order; files whose layout does not tell are looked into."""
        if self.monthly is not None:
            return dict(self.monthly)
        found: dict[str, dict[Path, None]] = {}
        for path in self.files:
            hours = [
                series.hours for each in self.variables if (series := find_series(path, each)) is not None
            ]
            for hour in np.unique(np.concatenate(hours)) if hours else ():
                found.setdefault(str((EPOCH + int(hour) * HOUR).astype("datetime64[M]")), {})[path] = None
        if not found:
            raise InputError(f"{self.place}: {self.lacking([each.name for each in self.variables])}")
        return {month: tuple(files) for month, files in sorted(found.items())}

    def lacking(self, names: list[str]) -> str:
        """Say which variables no file has, and what the first one has."""
        asked = "; ".join(
            f"{each.name} ({', '.join(each.names)})" for each in self.variables if each.name in names
        )
        return f"no file has {asked}; {self.files[0]} has {', '.join(names_in(self.files[0])) or 'none'}"


def names_in(path: Path) -> list[str]:
    """Name the variables of a file, as it calls them.

    >>> import tempfile
    >>> import xarray as xr
    >>> path, axes = Path(tempfile.mkdtemp()) / "a.nc", {"lat": [1.0, 0.0], "lon": [0.0, 1.0]}
    >>> fields = {"t2m": (("lat", "lon"), np.zeros((2, 2))), "crs": ((), 0)}
    >>> _ = xr.Dataset(fields, axes).to_netcdf(path, engine="h5netcdf")
    >>> names_in(path)
    ['t2m']
    """
    if path.suffix in GRIB:
        return sorted({message.name for message in list_messages(path)})
    with open_globe(path) as opened:
        return [str(name) for name in opened]


def read_request(file: str | Path) -> Request:
    """Read what a FILE.yaml asks for.

    ::

        path: era5                  # [Y]/[M]/YYYYMMDDHH_sf.grb and _ml.grb; WeatherBench's folders; or files
        variables: [t2m, t850, tcc] # or `t850: {name: t, level_hpa: 850, units: K}`, line by line
        area: {corner: [38.4, 0.0], cells: [92, 56]}   # or {box: [NORTH, WEST, SOUTH, EAST]}; else all

    The first variable is the one that forecasts are judged by.

    Raises
    ------
    InputError
        Naming the file, the key and what should stand there.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "own.yaml").write_text("{path: era5, variables: [t2m]}")
    >>> read_request(folder / "own.yaml")
    Traceback (most recent call last):
    fieldwise.errors.InputError: ...own.yaml: there is no file era5; check the path
    """
    file = Path(file)
    said = read_rules(file, RULES, required=("path", "variables"))
    region = read_region(said.get("area"), str(file))
    variables = _read_variables(said["variables"], str(file))
    paths = [said["path"]] if isinstance(said["path"], str) else said["path"]
    files: list[Path] = []
    for path in paths:
        place = file.parent / path
        found = [place] if place.exists() else sorted(map(Path, glob.glob(str(place), recursive=True)))
        if not found:
            raise InputError(f"{file}: there is no file {path}; check the path")
        files += found
    if len(files) == 1 and files[0].is_dir() and files[0].suffix != ".zarr":
        return _look_into(file, files[0], variables, region)
    return Request(file, tuple(files), variables, region)


def _look_into(file: Path, folder: Path, variables: tuple[Wanted, ...], region: Region) -> Request:
    """Find the files of a folder: by years and months, or one folder a variable, or all that lie in it."""
    monthly: dict[str, tuple[Path, ...]] = {}
    for place in sorted(folder.glob("[0-9][0-9][0-9][0-9]/[0-9][0-9]")):
        inside = [path for path in sorted(place.iterdir()) if path.suffix in FILES]
        if inside:
            monthly[f"{place.parent.name}-{place.name}"] = tuple(inside)
    if monthly and all(re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month) for month in monthly):
        return Request(
            file, tuple(path for each in monthly.values() for path in each), variables, region, monthly
        )
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in FILES and not _in_store(path)]
    if not files:
        raise InputError(f"{file}: {folder} holds no {', '.join(FILES)}; check the path")
    return Request(file, tuple(files), variables, region)


def _in_store(path: Path) -> bool:
    return any(parent.suffix == ".zarr" for parent in path.parents)


def _read_variables(said: Any, place: str) -> tuple[Wanted, ...]:
    table = {name: {} for name in said} if isinstance(said, list) else said
    found = []
    for name, entry in table.items():
        check_plain_name(name, f"{place}: variable")
        entry = {"name": entry} if isinstance(entry, str) else entry or {}
        if not is_table(entry):
            raise InputError(f"{place}: variables: {name} is {entry!r}; give its name in the files")
        check_table(entry, VARIABLE_RULES, f"{place}: {name}")
        found.append(Wanted.named(str(name), **entry))
    return tuple(found)
