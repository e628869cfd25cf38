"""What figures of a map of the bed are drawn from: the map, what it is compared with, and where they look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from fieldwise import figures
from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Bounds, grid_of, make_field, overlap
from fieldwise.fields.resampling import align
from fieldwise.fields.tiles import cut
from fieldwise.figures import Places
from fieldwise.recipes.bed_topography.judgement import baselines
from fieldwise.recipes.bed_topography.regions.region import lowres_spacing
from fieldwise.recipes.bed_topography.regions.surveys import grid_held_out, read_held_out
from fieldwise.samples.cases import Case
from fieldwise.scores import sample_at_points
from fieldwise.surveys import LINE_GAP_M, find_line, follow_lines, longest_flight, steps_of

PREDICTION, CUBIC = "prediction", "cubic low-res bed"
# Of Leong & Horgan (2020, https://doi.org/10.5194/tc-14-3687-2020), in EPSG:3031, metres.
PINE_ISLAND: Bounds = (-1_631_500.0, -259_000.0, -1_536_500.0, -95_000.0)
THWAITES: Bounds = (-1_550_000.0, -550_000.0, -1_250_000.0, -300_000.0)
CLOSEUP_CENTRES = {
    "Scott Glacier": (-200_000.0, -400_000.0),
    "Whillans Ice Stream": (-400_000.0, -550_000.0),
    "Bindschadler Ice Stream": (-550_000.0, -800_000.0),
    "Evans Ice Stream": (-1_500_000.0, 350_000.0),
    "Rutford Ice Stream": (-1_300_000.0, 150_000.0),
    "Foundation Ice Stream": (-600_000.0, 350_000.0),
    "Totten Glacier": (2_250_000.0, -1_050_000.0),
    "Byrd Glacier": (400_000.0, -950_000.0),
    "Gamburtsev Mountains": (800_000.0, 200_000.0),
}
ANTARCTIC_LIMITS_M = (-2000.0, 4500.0)  # of the colours
ANTARCTICA = Places(
    {
        f"{letter} {name}": (x - 100_000.0, y - 100_000.0, x + 100_000.0, y + 100_000.0)
        for letter, (name, (x, y)) in zip("ABCDEFGHI", CLOSEUP_CENTRES.items())
    },
    view=PINE_ISLAND,
    region=THWAITES,
    limits=ANTARCTIC_LIMITS_M,
)
LARGEST_REGION_M = 400_000.0  # a map up to this wide is looked at as a whole


def choose_places(case: Case, prediction: xr.DataArray, *, picks: pd.DataFrame | None) -> Places:
    """Choose what figures look at: the paper's places where the map holds all of them, else its roughest.

    Of a large map, the region around the longest flight of the picks is looked at, if there are any.

    >>> from fieldwise.samples.examples import make_prepared
    >>> case = make_prepared({}, shape=(20, 20)).cases()[0]
    >>> choose_places(case, make_field(np.eye(20), case.grid, name="bed"), picks=None).region
    (0.0, 0.0, 5000.0, 5000.0)
    """
    of_the_paper = case.grid.crs == "EPSG:3031" and case.facts.get("source") != "sandbox"
    centre = None
    if picks is not None and len(picks):
        flight = longest_flight(picks)
        centre = tuple((flight[name].min() + flight[name].max()) / 2 for name in "xy")
    known = ANTARCTICA if of_the_paper else None
    return figures.choose_places(prediction, known=known, centre=centre, width=LARGEST_REGION_M)


@dataclass(frozen=True)
class Material:
    """A map of the bed and all that its figures need; maps are read by window."""

    case: Case
    prediction: xr.DataArray
    places: Places
    picks: pd.DataFrame | None = None  # held-out radar
    reference: xr.DataArray | None = None  # another map of the bed
    reference_name: str = "reference"
    run: Path | None = None
    path: Path | None = None  # of the map

    @property
    def truth_name(self) -> str | None:
        """What the truth is: a known one, or the gridded radar; None where there is none."""
        if self.case.facts.get("truth"):
            return "truth"
        return "gridded radar" if self.picks is not None else None

    def predicted(self, bounds: Bounds) -> xr.DataArray:
        """Read a window of the map."""
        west, south, east, north = bounds
        return self.prediction.sel(x=slice(west, east), y=slice(north, south)).load()

    def cubic(self, like: xr.DataArray) -> xr.DataArray:
        """Interpolate the low-res bed to the grid of a window."""
        return baselines(self.case, like, spline=False)["cubic"]

    def truth(self, like: xr.DataArray) -> xr.DataArray | None:
        """Give the truth on the grid of a window."""
        if self.truth_name == "truth":
            return self._on_grid(self.case.open("truth"), like)
        if self.picks is None:
            return None
        west, south, east, north = grid_of(like).bounds
        inside = self.picks["x"].between(west, east) & self.picks["y"].between(south, north)
        if not inside.any():
            return None
        return self._on_grid(grid_held_out(self.picks[inside], self.case, around=True), like)

    def compared(self, like: xr.DataArray) -> xr.DataArray | None:
        """Give the other map on the grid of a window."""
        return None if self.reference is None else self._on_grid(self.reference, like)

    def to_compare(self, like: xr.DataArray) -> tuple[str, xr.DataArray]:
        """Give the other map, or else the truth, on the grid of a window, with its name."""
        other = self.compared(like)
        if other is not None:
            return self.reference_name, other
        truth = self.truth(like)
        if truth is None:
            raise InputError(f"{self.case.folder}: knows no bed in {grid_of(like).bounds} to compare with")
        return str(self.truth_name), truth

    def _on_grid(self, field: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
        grid = grid_of(like)
        values = cut(field, [grid.bounds], spacing=grid.spacing)[0]
        return make_field(values, grid, name="bed", units="m", long_name="bed elevation")

    def longest_flight(self) -> pd.DataFrame:
        """Give the picks of the longest held-out flight in the region that is looked at.

        Of picks that are in no order, those along a straight line.
        """
        assert self.picks is not None
        west, south, east, north = self.places.region
        inside = self.picks["x"].between(west, east) & self.picks["y"].between(south, north)
        flight = longest_flight(self.picks[inside] if inside.any() else self.picks)
        if follow_lines(flight, cell=lowres_spacing(self.case)):
            return flight
        return find_line(flight, width=2 * self.case.spacing)

    def flights(self) -> Iterator[tuple[pd.DataFrame, dict[str, np.ndarray]]]:
        """Read the maps along each held-out flight: its picks, and name -> (n,) bed at each pick."""
        if self.picks is not None:
            for _, flight in self.picks.groupby("flight"):
                yield flight, self.sample(flight["x"], flight["y"])

    def sample(self, x: ArrayLike, y: ArrayLike) -> dict[str, np.ndarray]:
        """Read the map, the low-res bed and the other map at points: name -> (n,) bed."""
        x, y, margin = np.asarray(x), np.asarray(y), 2 * lowres_spacing(self.case)
        window = self.predicted((x.min() - margin, y.min() - margin, x.max() + margin, y.max() + margin))
        maps = {PREDICTION: window, CUBIC: self.cubic(window), self.reference_name: self.compared(window)}
        return {name: sample_at_points(field, x, y) for name, field in maps.items() if field is not None}


def follow(flight: pd.DataFrame, spacing: float) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Follow a flight in even steps, so that roughness along it means the same for picks and maps.

    Returns
    -------
    tuple
        (m,) distance of each pick along the flight; x, y and z at every step, (n,) each, z missing in gaps as
        wide as part two flights; (n,) distance.

    >>> flight = pd.DataFrame({"x": [0.0, 300, 6300], "y": [0.0, 400.0, 400.0], "z": [-90.0, -80.0, 0.0]})
    >>> along, steps, distance = follow(flight, 250)
    >>> along.tolist(), distance[:4].tolist(), steps["z"][:4].tolist()
    ([0.0, 500.0, 6500.0], [0.0, 250.0, 500.0, 750.0], [-90.0, -85.0, -80.0, nan])
    """
    along = np.concatenate([[0.0], steps_of(flight).cumsum()])
    distance = np.arange(0, along[-1], spacing)
    steps = {name: np.interp(distance, along, flight[name]) for name in "xyz"}
    after = np.searchsorted(along, distance)  # the pick at or after each step
    between = along[after] - along[np.maximum(after - 1, 0)]
    steps["z"][(between > LINE_GAP_M) & (along[after] > distance)] = np.nan
    return along, steps, distance


def gather(
    case: Case,
    path: Path,
    *,
    run: Path | None = None,
    reference: Path | None = None,
    reference_variable: str | None = None,
    reference_name: str | None = None,
) -> Material:
    """Open what the figures of a map are drawn from.

    Parameters
    ----------
    case
        Prepared folder.
    path
        The map.
    run
        Run folder of the network that drew it.
    reference, reference_variable, reference_name
        Another map of the bed to compare with, such as BedMachine: its file, the variable in that, and what
        to call it (by default the name of the file).

    Raises
    ------
    InputError
        Where a file cannot be opened, maps do not overlap, or their heights are above different surfaces.

    >>> from fieldwise.samples.examples import make_prepared
    >>> prepared = make_prepared({}, shape=(16, 16), map=np.arange(256.0).reshape(16, 16))
    >>> material = gather(prepared.cases()[0], prepared.folder / "map.tif")
    >>> material.predicted((0, 3500, 500, 4000)).values.tolist(), material.truth_name
    ([[0.0, 1.0], [16.0, 17.0]], None)
    """
    prediction = open_field(path).rename("bed")
    prediction.attrs |= {"units": "m", "long_name": "bed elevation"}
    other = None
    if reference is not None:
        other = align(open_field(reference, variable=reference_variable), case.grid.crs)
        if overlap(grid_of(other).bounds, grid_of(prediction).bounds) is None:
            raise InputError(
                f"{reference}: does not lie in the region of {path}; give a map of the same place"
            )
        stated = [other.attrs.get(DATUM), prediction.attrs.get(DATUM) or case.facts.get(DATUM)]
        if all(stated) and stated[0] != stated[1]:
            raise InputError(
                f"{reference}: its heights are above the {stated[0]}, those of {path} above the {stated[1]}; "
                "convert one of them"
            )
    picks = None
    if case.facts.get("held_out"):
        picks = read_held_out(case)
        west, south, east, north = grid_of(prediction).bounds
        picks = picks[picks["x"].between(west, east) & picks["y"].between(south, north)]
        if picks.empty:
            raise InputError(f"{path}: covers no held-out pick; no flight to draw")
    return Material(
        case,
        prediction,
        choose_places(case, prediction, picks=picks),
        picks,
        other,
        reference_name or (Path(reference).stem if reference else "reference"),
        run,
        path,
    )
