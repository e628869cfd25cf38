"""The inputs that a FILE.yaml names: opened, aligned, filled, written; and what its heights count from."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from fieldwise.errors import InputError
from fieldwise.fields.arrays import ArrayModule
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.datums import ELLIPSOID, parse_datum
from fieldwise.fields.entries import fill_entry, open_entry
from fieldwise.fields.formats import open_field
from fieldwise.fields.gaps import fill_from_neighbours, fill_gaps
from fieldwise.fields.grids import Bounds, Grid, crs_name, grid_of, load_values, move_field, overlap
from fieldwise.fields.heights import Heights, open_geoids, settle_datum
from fieldwise.fields.rasters import write_cog
from fieldwise.fields.resampling import degrade, undo_averaging
from fieldwise.fields.trends import regional_spread, regional_trend
from fieldwise.samples.cases import Case
from fieldwise.samples.rules import list_entries
from fieldwise.samples.signatures import Variable

# Widths, in low-res cells, of the Gaussians that make a regional trend, and the spread of relief around it.
TREND_CELLS, SPREAD_CELLS = 4, 6
POINTS = 8  # along the edge of a cell that holds an average, where no file says how many were averaged
# Gaps up to this wide, in low-res cells, are filled: the trend's Gaussian is as wide at half its height, so
# that the course across them is known. What lies in wider ones nobody has seen; the map is missing there.
WIDEST_GAP_CELLS = 10
UNIT_WORDS = dict.fromkeys(("yr", "y", "year", "years", "annum"), "a")
UNIT_WORDS |= dict.fromkeys(("metre", "metres", "meter", "meters"), "m")
Report = Callable[[str], Any]


def prepare_inputs(
    source: Mapping[str, Any],
    *,
    folder: Path,
    out: Path,
    units: Mapping[str, str],
    detrended: tuple[str, ...],
    levelled: tuple[str, ...] = (),
    elevations: tuple[str, ...] = (),
    heights: Heights | None = None,
    arrays: ArrayModule = "numpy",
    report: Report = print,
) -> dict[str, Any]:
    """Open, align and fill every input of a FILE.yaml, and write what differs from the files themselves.

    Parameters
    ----------
    source
        The content of the FILE.yaml: ``crs``, ``spacing_m``, ``lowres_spacing_m``, ``inputs``, ``region``.
    folder
        Folder that relative paths start from.
    out
        Prepared folder; fields go to ``inputs``, ``trends`` and ``spreads`` in it.
    units
        Units of each input where the FILE.yaml gives none.
    detrended, levelled
        Inputs that get a regional trend, and those of them whose relief is also brought to one spread.
    elevations, heights
        Inputs that are heights (those that state a ``datum`` are so too), and the datum to bring them to.
    arrays
        numpy, or cupy to fill gaps and work out trends on a GPU.
    report
        Called with one line for each thing that a user should know.

    Returns
    -------
    dict
        The description of the inputs, and the region that all of them cover.

    >>> import tempfile
    >>> import numpy as np
    >>> home = Path(tempfile.mkdtemp())
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> bed = make_field(np.zeros((8, 8)), Grid(500, 500, 8500, 8500, 1000, "EPSG:3031"), name="bed")
    >>> _ = write_cog(bed, home / "bed.tif")
    >>> source = {"crs": "EPSG:3031", "lowres_spacing_m": 1000, "inputs": {"bed_lowres": {"path": "bed.tif"}}}
    >>> description = prepare_inputs(source, folder=home, out=home / "data", units={}, detrended=())
    >>> description["region"], description["inputs"]["bed_lowres"]["paths"]
    ([500.0, 500.0, 8500.0, 8500.0], ['inputs/bed_lowres.tif'])
    """
    crs, lowres_m = crs_name(source["crs"]), float(source["lowres_spacing_m"])
    if not isinstance(source["inputs"], Mapping):
        raise InputError("inputs: should name each one, as in `bed_lowres: {path: FILE, spacing_m: NUMBER}`")
    inputs: dict[str, Any] = {}
    extent = _Extent(_read_region(source), lowres_m)
    unstated = []
    for name, entry in source["inputs"].items():
        levels = heights if name in elevations or "datum" in entry else None
        fields = open_entry(entry, folder=folder, crs=crs, heights=levels)
        spacing_m = float(
            entry.get("spacing_m") or grid_of(fields[0]).spacing * int(entry.get("degrade") or 1)
        )
        _check_spacing(name, spacing_m, lowres_m)
        stated = entry.get("units") or plain_units(fields[0].attrs.get("units", ""))
        if not stated and units.get(name):
            unstated.append(f"{name} ({units[name]})")
        inputs[name] = {"spacing_m": spacing_m, "units": stated or units.get(name, "")}
        inputs[name] |= {"paths": [], "trends": [], "spreads": []}
        for number, field in enumerate(fields):
            stem = name if len(fields) == 1 else f"{name}_{number + 1}"
            path = f"inputs/{stem}.tif"
            field = move_field(field, arrays)
            field = _merged(field, entry, folder=folder, path=out / path, heights=levels, arrays=arrays)
            if not (entry.get("fill_from") and not field.isnull().any()):  # else it is written already
                _fill(field, out / path, widest_m=WIDEST_GAP_CELLS * lowres_m, report=report)
            field = move_field(open_field(out / path), arrays)
            extent.narrow(name, entry["path"], grid_of(field))
            inputs[name]["paths"].append(path)
            if name in detrended:
                trend = regional_trend(field, cell=lowres_m, width=TREND_CELLS * lowres_m)
                inputs[name]["trends"].append(f"trends/{stem}.tif")
                write_cog(trend, out / "trends" / f"{stem}.tif")
            if name in levelled:
                spread = regional_spread(field, trend, width=SPREAD_CELLS * lowres_m)
                inputs[name]["spreads"].append(f"spreads/{stem}.tif")
                write_cog(spread, out / "spreads" / f"{stem}.tif")
    if unstated:
        report(f"units: {', '.join(unstated)} are taken on trust; no file states them")
    return {"crs": crs, "region": list(extent.settle(report)), "inputs": inputs}


def add_inputs(
    case: Case, entries: Mapping[str, Mapping[str, Any]], *, vectors: Collection[str] = ()
) -> None:
    """Add inputs to a case in the making.

    Parameters
    ----------
    entries
        Name to ``spacing_m``, ``units`` and ``paths``, one a channel; where it has them ``trends`` and
        ``spreads``, likewise.
    vectors
        Names of those whose channels are components along the axes.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({}, shape=(16, 16)).cases()[0]
    >>> paths = ["inputs/ice_velocity_1.tif", "inputs/ice_velocity_2.tif"]
    >>> add_inputs(case, {"ice_velocity": {"spacing_m": 500.0, "units": "m a-1", "paths": paths}})
    >>> case.variables["ice_velocity"].fields, case.files["ice_velocity_2"]
    (('ice_velocity_1', 'ice_velocity_2'), 'inputs/ice_velocity_2.tif')
    """
    for name, entry in entries.items():
        fields = tuple(Path(path).stem for path in entry["paths"])
        options = {"units": entry["units"], "spacing": float(entry["spacing_m"]), "vector": name in vectors}
        case.variables[name] = Variable(name, fields, **options)
        for table, key in ((case.files, "paths"), (case.trends, "trends"), (case.spreads, "spreads")):
            table.update(zip(fields, entry.get(key, ())))


def read_heights(
    source: Mapping[str, Any], *, folder: Path, elevations: tuple[str, ...], report: Callable[[str], Any]
) -> Heights:
    """Find out what each file of heights counts from, and to what all are brought.

    Besides inputs, beds, surveys, radar, held-out picks, truth and bound are heights; nothing but the heads
    of the files is read. A survey whose bed comes from ice thickness counts from what the surface does.

    Parameters
    ----------
    source
        The content of the FILE.yaml: ``datum`` is what all heights are brought to (by default the ellipsoid
        where there is a ``geoid``, otherwise what the files agree on).
    folder
        Folder that relative paths start from.
    elevations
        Inputs that are heights; those that state a ``datum`` are so too.
    report
        Called with one line where files do not say what they count from.

    Raises
    ------
    InputError
        Where heights of different datums would be mixed, naming two files and the remedy; where a geoid is
        missing, is not in metres, or does not reach the heights.

    >>> import tempfile
    >>> import numpy as np
    >>> from fieldwise.fields.grids import Grid, make_field
    >>> from fieldwise.fields.rasters import write_cog
    >>> home, grid = Path(tempfile.mkdtemp()), Grid(0, 0, 4000, 4000, 1000, "EPSG:3031")
    >>> _ = write_cog(make_field(np.zeros((4, 4)), grid, name="bed"), home / "bed.tif")
    >>> inputs = {"bed_lowres": {"path": "bed.tif", "datum": "ellipsoid"}}
    >>> source = {"crs": "EPSG:3031", "inputs": inputs, "surveys": ["2010tr.json"]}
    >>> read_heights(source, folder=home, elevations=("bed_lowres",), report=print).datum
    vertical datum: 2010tr.json state none and are taken to count from the WGS84 ellipsoid
    'WGS84 ellipsoid'
    """
    crs = crs_name(source["crs"])
    stated, bounds = _read_rasters(source, folder=folder, crs=crs, elevations=elevations)
    surveys = [*list_entries(source.get("surveys")), *list_entries(source.get("radar"))]
    surveys += list_entries((source.get("held_out") or {}).get("surveys"))
    for entry in surveys:
        if entry.get("bed_from") != "thickness":
            stated[entry["path"]] = parse_datum(entry["datum"]) if "datum" in entry else None
    wanted = parse_datum(source["datum"]) if "datum" in source else None
    geoids = {}
    if source.get("geoid"):
        named = {datum for datum in [*stated.values(), wanted] if datum and datum != ELLIPSOID}
        geoids = open_geoids(source["geoid"], folder=folder, crs=crs, bounds=bounds, named=sorted(named))
    datum = settle_datum(stated, wanted=wanted, geoids=geoids)
    unknown = [name for name, value in stated.items() if value is None]
    if datum is None:
        report("vertical datum: no file states one; all heights are taken to count from the same")
    elif unknown:
        report(f"vertical datum: {', '.join(unknown)} state none and are taken to count from the {datum}")
    return Heights(datum, geoids)


def _read_rasters(
    source: Mapping[str, Any], *, folder: Path, crs: str, elevations: tuple[str, ...]
) -> tuple[dict[str, str | None], Bounds]:
    """Give what each raster of heights says it counts from, and the box around all of them."""
    inputs = source["inputs"]
    entries = [entry for name, entry in inputs.items() if name in elevations or "datum" in entry]
    entries += [fill_entry(entry) for entry in entries if entry.get("fill_from")]
    entries += source.get("beds", {}).values()
    entries += [source[key] for key in ("truth", "bound") if key in source]
    stated: dict[str, str | None] = {}
    boxes = []
    for entry in entries:
        label = " ".join(str(entry[key]) for key in ("path", "variable") if entry.get(key))
        for field in open_entry(entry, folder=folder, crs=crs):
            stated[label] = field.attrs.get(DATUM)
            boxes.append(grid_of(field).bounds)
    if not boxes:  # the heights are those of surveys, which lie where the inputs are
        asked = _read_region(source)
        fields = [each for entry in inputs.values() for each in open_entry(entry, folder=folder, crs=crs)]
        boxes = [asked] if asked else [grid_of(field).bounds for field in fields]
    west, south, east, north = zip(*boxes)
    return stated, (min(west), min(south), max(east), max(north))


def plain_units(text: Any) -> str:
    """Write units in one way, products of powers, where they are readable; as they stand otherwise.

    >>> plain_units("m/yr"), plain_units("kg m-2 year-1"), plain_units("metres"), plain_units("% of all")
    ('m a-1', 'kg m-2 a-1', 'm', '% of all')
    """
    text, plain = str(text).strip(), []
    for number, part in enumerate(re.sub(r"\^|\*\*", "", text).replace(" per ", "/").split("/")):
        for word in part.split():
            found = re.fullmatch(r"([A-Za-z]+)(-?\d+)?", word)
            if not found:
                return text
            power = int(found[2] or 1) * (-1 if number else 1)
            plain.append(UNIT_WORDS.get(found[1].lower(), found[1]) + ("" if power == 1 else str(power)))
    return " ".join(plain)


def _read_region(source: Mapping[str, Any]) -> Bounds | None:
    """Give the region that a FILE.yaml asks for, if it does."""
    if not source.get("region"):
        return None
    try:
        west, south, east, north = (float(edge) for edge in source["region"])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"region: {source['region']!r} is not four numbers: west, south, east, north"
        ) from error
    if west >= east or south >= north:
        raise InputError(f"region: {source['region']} should be west, south, east, north, in this order")
    return west, south, east, north


def _check_spacing(name: str, spacing_m: float, lowres_m: float) -> None:
    if spacing_m <= 0 or abs(lowres_m / spacing_m - round(lowres_m / spacing_m)) > 1e-6:
        raise InputError(
            f"{name}: a spacing of {spacing_m:g} m does not divide the low-res {lowres_m:g} m; give the "
            "entry a spacing_m that does"
        )


def _merged(
    field: xr.DataArray,
    entry: Mapping[str, Any],
    *,
    folder: Path,
    path: Path,
    heights: Heights | None,
    arrays: ArrayModule,
) -> xr.DataArray:
    """Give one channel, made coarser and filled from a coarser file where the entry says so.

    Heights that were averaged, here or, by the entry's word, before, become those of the cells' centres.
    """
    parts = int(entry.get("degrade") or 1)
    if parts > 1:
        field = degrade(field, parts, crs=crs_name(field.rio.crs))
    if entry.get("averages", parts > 1 and heights is not None):
        field = field.copy(data=undo_averaging(load_values(field), parts if parts > 1 else POINTS))
    if entry.get("fill_from"):
        coarse = open_entry(fill_entry(entry), folder=folder, crs=crs_name(field.rio.crs), heights=heights)
        fill_gaps(field, move_field(coarse[0], arrays), path)
        field = move_field(open_field(path), arrays)
    return field


def _fill(field: xr.DataArray, path: Path, *, widest_m: float, report: Report) -> None:
    """Write one channel with its narrow gaps filled, and tell how many cells these had."""
    reach = max(1, round(widest_m / grid_of(field).spacing / 2))
    filled, left = fill_from_neighbours(field, path, reach=reach)
    if filled or left:
        report(
            f"{path.stem}: {(filled + left) / field.size:.1%} of its cells were missing: {filled} in gaps up "
            f"to {widest_m / 1000:g} km wide were filled from around them, {left} stay missing"
        )


class _Extent:
    """What region all inputs cover: whole cells of the first low-res one, so that windows start on them."""

    def __init__(self, asked: Bounds | None, lowres_m: float) -> None:
        self.asked, self.shared, self.lowres_m = asked, asked, lowres_m
        self.origin: tuple[float, float] | None = None  # of the first input at the low-res spacing
        self.narrowing: dict[str, None] = {}  # inputs that reach less far than those before them

    def narrow(self, name: str, file: str, grid: Grid) -> None:
        """Take in what an input covers."""
        before, shared = self.shared, overlap(self.shared or grid.bounds, grid.bounds)
        if shared is None:
            raise InputError(
                f"{file}: lies at {_box(grid.bounds)}, the inputs before it (or the region) at "
                f"{_box(before)}; they do not overlap"
            )
        if before and max(abs(one - two) for one, two in zip(before, shared)) >= self.lowres_m:
            self.narrowing[name] = None
        self.shared = shared
        if self.origin is None and abs(grid.spacing - self.lowres_m) < 1e-6:
            self.origin = grid.west, grid.south

    def settle(self, report: Report) -> Bounds:
        """Round inward to whole cells of the low-res input; tell where that is less than was asked for."""
        if self.shared is None:
            raise InputError("the FILE.yaml names no input")
        origin, spacing = self.origin or (0.0, 0.0), self.lowres_m
        starts = [math.ceil((edge - zero) / spacing - 1e-6) for edge, zero in zip(self.shared[:2], origin)]
        stops = [math.floor((edge - zero) / spacing + 1e-6) for edge, zero in zip(self.shared[2:], origin)]
        if starts[0] >= stops[0] or starts[1] >= stops[1]:
            raise InputError(
                f"the inputs share only {_box(self.shared)}, less than one cell of {spacing:g} m"
            )
        west, south, east, north = (
            zero + count * spacing for zero, count in zip(origin * 2, (*starts, *stops))
        )
        region = west, south, east, north
        cut = self.asked and max(abs(one - two) for one, two in zip(self.asked, region)) > 1e-3
        asked = f" and not {_box(self.asked)}, in whole cells of {spacing:g} m" if cut else ""
        limits = f"; {', '.join(self.narrowing)} reach no farther" if self.narrowing else ""
        if asked or limits:
            report(f"region: {_box(region)}{asked}{limits}")
        return region


def _box(bounds: Bounds | None) -> str:
    return "(" + ", ".join(f"{edge:.0f}" for edge in bounds or ()) + ")"
