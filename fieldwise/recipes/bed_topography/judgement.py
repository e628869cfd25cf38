"""A map of the bed beside what it is judged by: its baselines, its scores, and what figures show of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from fieldwise import figures
from fieldwise.errors import InputError
from fieldwise.fields.datums import ATTRIBUTE as DATUM
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Bounds, Grid, grid_of, load_values, make_field, overlap
from fieldwise.fields.resampling import align
from fieldwise.fields.tiles import cut
from fieldwise.figures import Places
from fieldwise.recipes.bed_topography.members.scores import (
    as_ensembles,
    judge_all,
    keeps_members,
    score_members,
)
from fieldwise.recipes.bed_topography.region import INVERSION, LOWRES, lowres_spacing
from fieldwise.recipes.bed_topography.surveys import grid_held_out, read_held_out
from fieldwise.samples.cases import Case
from fieldwise.scores import (
    bias,
    find_unseen,
    mae,
    open_map,
    rmse,
    roughness_ratio,
    sample_at_points,
    sample_maps,
    score_all,
    score_blocks,
    score_points,
    tells_roughness,
)
from fieldwise.surveys import longest_flight, spline_cells

PICKS, TRUTH, EVERYWHERE = "held-out picks", "truth", "truth, all cells"  # what a map is judged against
MEASURES = {("rmse", "m"): rmse, ("mae", "m"): mae, ("bias", "m"): bias}
LARGEST_SPLINE_CELLS = 5000 * 5000
BLOCK_CELLS = 2048  # edge of what is read of a map at a time
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


Rows = list[dict[str, Any]]
Read = Callable[[slice, slice], dict[str, xr.DataArray]]


def baselines(case: Case, like: xr.DataArray, *, spline: bool = True) -> dict[str, xr.DataArray]:
    """Interpolate the low-res bed to the grid of a map: by cubic convolution, and by spline in tension.

    Where the data hold it, what the surface tells of the bed is a further baseline: `inversion`, cubic and
    all of it. The spline is left out where the map is too large for GMT to hold it in memory.

    >>> from fieldwise.samples.examples import make_prepared
    >>> slope = np.tile([50.0, 150.0, 250.0, 350.0], (4, 1))  # rises by 100 m a kilometre
    >>> case = make_prepared({"bed_lowres": slope}, shape=(8, 8), spacing=500.0).cases()[0]
    >>> drawn = make_field(np.zeros((2, 2)), Grid(1500, 1500, 2500, 2500, 500, "EPSG:3413"), name="bed")
    >>> baselines(case, drawn, spline=False)["cubic"].values[0].tolist()
    [175.0, 225.0]
    """
    grid = grid_of(like)
    fields = _interpolations(case, grid)
    return fields | (_spline(case, grid) if spline else {})


def _interpolations(case: Case, grid: Grid) -> dict[str, xr.DataArray]:
    """Give the baselines of which a window is part of the whole."""
    names = {"cubic": "bed_lowres"} | ({"inversion": INVERSION} if INVERSION in case.variables else {})
    cubic, *told = (
        cut(case.field(name), [grid.bounds], spacing=grid.spacing, method="cubic", extend=True)[0]
        for name in names.values()
    )
    fields = {"cubic": make_field(cubic, grid, name="bed", long_name="cubic low-res bed")}
    for values in told:
        fields["inversion"] = make_field(cubic + values, grid, name="bed", long_name="surface inverted")
    return fields


def _spline(case: Case, grid: Grid) -> dict[str, xr.DataArray]:
    """Draw GMT's spline in tension through the centres of low-res cells, where the map is not too large."""
    if np.prod(grid.shape) > LARGEST_SPLINE_CELLS:
        return {}
    lowres = case.field(LOWRES).rename("bed")
    return {"spline": spline_cells(lowres, grid, margin=5 * lowres_spacing(case))}


def _open_maps(case: Case, path: Path) -> tuple[Grid, Read]:
    """Open a map and its baselines: its grid, and a reader of rows and columns of all of them.

    The spline depends on all of the low-res bed, so it is drawn once; of the others no more than is asked for
    is in memory.
    """
    prediction = open_map(path, case)
    grid = grid_of(prediction)
    whole = _spline(case, grid)

    def read(rows: slice, columns: slice) -> dict[str, xr.DataArray]:
        window = prediction[rows, columns]
        fields = {
            "prediction": window.copy(data=load_values(window)),
            **_interpolations(case, grid_of(window)),
        }
        return fields | {name: field[rows, columns] for name, field in whole.items()}

    return grid, read


def score_map(case: Case, path: Path) -> tuple[Rows, dict[str, Any]]:
    """Score a map of the bed and its baselines.

    Against held-out picks: RMSE, MAE and bias (map minus radar) in metres, the RMSE with the interval in
    which it lies at 95 % (whole flights resampled, where there are at least two), and the roughness ratio
    (mean standard deviation in 5 x 5 cells over that of the gridded held-out radar, the map being read at
    the picks and gridded as they are, where these are dense enough); and each survey's RMSE. Against the
    known truth, where there is one: the same in the areas that are held out, or, where none is, outside
    every tile; beside the `bound`, the best score that any linear estimate could reach. A map that keeps its
    members, which has learnt elsewhere, is judged as an ensemble there, and in all cells.

    Maps are read block by block.

    Returns
    -------
    tuple
        Rows of :func:`~fieldwise.scores.make_score`, of the names prediction, cubic, inversion, spline and
        bound; and facts: ``n_picks``, ``n_flights``, picks of each of the ``surveys``, and
        ``share_of_map`` that the truth was judged on.

    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.scores import value_of
    >>> coarse = np.tile(np.arange(500, 8000, 1000) / 10, (8, 1))  # rises by 100 m a kilometre
    >>> fine = np.tile(np.arange(125, 8000, 250) / 10, (32, 1))
    >>> known = {"truth": fine, "map": fine + 10, "held_out_areas": [[2000, 2000, 6000, 6000]]}
    >>> prepared = make_prepared({"bed_lowres": coarse + 40}, shape=(32, 32), **known)
    >>> case, home = prepared.cases()[0], prepared.folder
    >>> rows, facts = score_map(case, home / "map.tif")
    >>> [value_of(rows, measure="rmse", name=name) for name in ("prediction", "cubic")], facts
    ([10.0, 40.0], {'share_of_map': 0.25})
    """
    grid, read = _open_maps(case, path)
    rows: Rows = []
    facts: dict[str, Any] = {}
    if case.facts.get("held_out"):
        rows, facts = _score_at_picks(case, grid, read, path)
    if case.facts.get("truth"):
        known = partial(score_blocks, partial(_read_truth, case, read), grid, block_cells=BLOCK_CELLS)
        found, share = known(against=TRUTH, unseen=find_unseen(case))
        if not found:
            raise InputError(
                f"{case.folder}: the map covers nothing that training has not seen; predict a wider one"
            )
        rows, facts = rows + found, facts | {"share_of_map": share}
        if keeps_members(path):
            everywhere = known(against=EVERYWHERE, unseen=judge_all)[0]
            rows += as_ensembles(found) + score_members(
                case, path, grid, against=TRUTH, unseen=find_unseen(case)
            )
            rows += everywhere + as_ensembles(everywhere)
            rows += score_members(case, path, grid, against=EVERYWHERE, unseen=judge_all)
    if not rows:
        raise InputError(f"{case.folder}: holds neither held-out surveys nor a truth to judge on")
    return rows, facts


def _score_at_picks(case: Case, grid: Grid, read: Read, path: Path) -> tuple[Rows, dict[str, Any]]:
    picks = read_held_out(case)
    samples = sample_maps(read, grid, picks["x"].to_numpy(), picks["y"].to_numpy(), block_cells=BLOCK_CELLS)
    judged = np.all([np.isfinite(values) for values in samples.values()], axis=0) & bool(samples)
    if not np.any(judged):
        raise InputError(f"{path}: covers none of the {len(picks)} held-out picks; predict where they are")
    picks = picks[judged].reset_index(drop=True)
    samples = {name: values[judged] for name, values in samples.items()}
    rows, facts = score_points(samples, picks, against=PICKS, measures=MEASURES)
    count = len(MEASURES) * len(samples)  # of the rows of all surveys together
    return rows[:count] + _score_roughness(samples, picks, case) + rows[count:], facts


def _score_roughness(samples: dict[str, np.ndarray], picks: pd.DataFrame, case: Case) -> Rows:
    """Compare the roughness at picks, where these are dense enough to have one.

    Gridding smooths: a perfect map would come out too rough beside gridded radar. So each map is read
    at the picks and gridded as they are.
    """
    around = bool(np.prod(case.grid.shape) > LARGEST_SPLINE_CELLS)
    truth = grid_held_out(picks, case, around=around)
    if not tells_roughness(picks["x"], picks["y"], truth):
        return []
    gridded = {
        name: grid_held_out(picks.assign(z=values), case, around=around) for name, values in samples.items()
    }
    return score_all(PICKS, {("roughness_ratio", "1"): roughness_ratio}, gridded, truth)


def _read_truth(
    case: Case, read: Read, rows: slice, columns: slice, grid: Grid
) -> tuple[np.ndarray, dict[str, xr.DataArray]]:
    """Read the truth and what is judged by it: the maps, and the bound where there is one."""
    fields, spacing = read(rows, columns), grid.spacing
    truth = cut(case.open("truth"), [grid.bounds], spacing=spacing)[0]
    if case.facts.get("bound"):
        bound = cut(case.open("bound"), [grid.bounds], spacing=spacing)[0]
        fields["bound"] = make_field(bound, grid, name="bed")
    return truth, fields


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
