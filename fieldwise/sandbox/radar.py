"""Made radar flights over a made ice sheet, written as CReSIS writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
from scipy import ndimage

from fieldwise.drafts import replace_when_done
from fieldwise.fields.grids import Bounds, Grid
from fieldwise.sandbox.worlds import World

COLUMNS = ["LAT", "LON", "UTCTIMESOD", "THICK", "ELEVATION", "FRAME", "SURFACE", "BOTTOM", "QUALITY"]
MISSING = -9999.0
PICK_STEP_M = 100.0
LINES_A_FLIGHT = 8
METRES_A_SECOND = 130.0


@dataclass(frozen=True)
class Scene:
    """What the radar flies over: bed and surface (m) on one grid."""

    grid: Grid
    bed_m: np.ndarray
    surface_m: np.ndarray

    def sample(self, values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Interpolate one of the scene's fields to points by cubic splines.

        >>> grid = Grid(0, 0, 3000, 3000, 250, "EPSG:3031")
        >>> ramp = np.broadcast_to(grid.x, grid.shape)
        >>> Scene(grid, ramp, ramp).sample(ramp, np.array([1500.0]), np.array([1400.0])).round(3).tolist()
        [1500.0]
        """
        row = (self.grid.north - y) / self.grid.spacing - 0.5
        column = (x - self.grid.west) / self.grid.spacing - 0.5
        return ndimage.map_coordinates(values, np.stack([row, column]), order=3, mode="nearest")


def fly_line(
    start: tuple[float, float], end: tuple[float, float], *, wander_m: float, rng: np.random.Generator
) -> np.ndarray:
    """Give the positions of picks, 100 m apart, along a line that wanders a little to both sides.

    Returns
    -------
    numpy.ndarray
        (n, 2) x and y.

    >>> line = fly_line((0.0, 0.0), (1000.0, 0.0), wander_m=0.0, rng=np.random.default_rng(7))
    >>> line[:3].tolist()
    [[0.0, 0.0], [100.0, 0.0], [200.0, 0.0]]
    """
    begin, way = np.array(start), np.subtract(end, start)
    length = float(np.hypot(*way))
    distance = np.arange(0, length + 1e-6, PICK_STEP_M)
    ahead, aside = way / length, np.array([-way[1], way[0]]) / length
    phase = rng.uniform(0, 2 * np.pi, 2)
    drift = 0.6 * np.sin(2 * np.pi * distance / 31e3 + phase[0])
    drift += 0.4 * np.sin(2 * np.pi * distance / 12e3 + phase[1])
    return begin + distance[:, None] * ahead + wander_m * drift[:, None] * aside


def fly_block(bounds: Bounds, *, line_spacing_m: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Fly a dense block: west-east lines from edge to edge, with a few lines across them.

    >>> lines = fly_block((0, 0, 4000, 3000), line_spacing_m=500, rng=np.random.default_rng(7))
    >>> len(lines), len(lines[0])
    (8, 41)
    """
    west, south, east, north = bounds
    across = np.arange(south, north + 1, line_spacing_m)
    lines = [fly_line((west, y), (east, y), wander_m=40.0, rng=rng) for y in across]
    ties = np.arange(west + 5e3, east - 1, 10e3) if east - west > 10e3 else [(west + east) / 2]
    return lines + [fly_line((x, south), (x, north), wander_m=40.0, rng=rng) for x in ties]


def fly_sparse_lines(
    box: Grid,
    *,
    spacing_m: float,
    ties: int,
    wander_m: float,
    rng: np.random.Generator,
    first_m: float | None = None,
    northward: bool = True,
) -> list[np.ndarray]:
    """Fly parallel lines across a sector, northward (else eastward), with a few tie lines across them.

    Parameters
    ----------
    box
        The square sector.
    first_m
        From the edge to the first line; half the spacing by default.

    >>> box, rng = Grid(0, 0, 60e3, 60e3, 250, "EPSG:3031"), np.random.default_rng(7)
    >>> lines = fly_sparse_lines(box, spacing_m=20e3, ties=2, wander_m=0.0, rng=rng)
    >>> [line[0].tolist() for line in lines]
    [[10000.0, 0.0], [30000.0, 0.0], [50000.0, 0.0], [0.0, 15000.0], [0.0, 45000.0]]
    """
    first = spacing_m / 2 if first_m is None else first_m
    columns = np.arange(box.west + first, box.east, spacing_m)
    rows = box.south + (np.arange(ties) + 0.5) / max(ties, 1) * (box.east - box.west)
    lines = [fly_line((x, box.south), (x, box.north), wander_m=wander_m, rng=rng) for x in columns]
    lines += [fly_line((box.west, y), (box.east, y), wander_m=wander_m, rng=rng) for y in rows]
    corner = np.array([box.west, box.south])
    return lines if northward else [corner + (line - corner)[:, ::-1] for line in lines]


def measure(
    lines: Sequence[np.ndarray], scene: Scene, *, world: World, season: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Pick surface and bed along flight lines, with noise, a bias a flight, and gaps.

    Parameters
    ----------
    lines
        (n, 2) positions in the scene's CRS, one array a line; eight lines make a flight.
    world
        Gives the noise, and how often the bed is lost.
    season
        Year, the first part of the frame numbers.

    Returns
    -------
    pandas.DataFrame
        The columns of CReSIS: degrees, seconds, metres. SURFACE and BOTTOM are ranges from the
        aircraft at ELEVATION; what was not picked is -9999. Beside them x, y and the number of the `line`.

    >>> grid, rng = Grid(0, 0, 20e3, 20e3, 250, "EPSG:3031"), np.random.default_rng(7)
    >>> slab = Scene(grid, np.full(grid.shape, -300.0), np.full(grid.shape, 900.0))
    >>> line = fly_line((0.0, 5e3), (20e3, 5e3), wander_m=50.0, rng=rng)
    >>> picks = measure([line], slab, world=World(), season=2011, rng=rng)
    >>> picks = picks[picks["THICK"] != MISSING]
    >>> bool(abs(picks["THICK"].mean() - 1200) < 15), bool(9 < picks["THICK"].std() < 15)
    (True, True)
    """
    x, y = np.concatenate(lines).T
    line = np.repeat(np.arange(len(lines)), [len(one) for one in lines])
    flight = line // LINES_A_FLIGHT
    pick = np.concatenate([np.arange(len(one)) for one in lines])
    surface = scene.sample(scene.surface_m, x, y)
    bias = rng.normal(0, world.flight_bias_m, flight[-1] + 1)[flight]
    bed = scene.sample(scene.bed_m, x, y) + bias + rng.normal(0, world.pick_noise_m, x.size)
    height = np.bincount(line, surface) / np.bincount(line) + rng.uniform(450, 650, len(lines))
    aircraft = np.maximum(height[line], surface + 100)
    picked_surface = surface + rng.normal(0, 0.5, x.size)
    missed = np.concatenate([_draw_gaps(len(one), world.pick_gap_m, rng) for one in lines])
    longitude, latitude = pyproj.Transformer.from_crs(scene.grid.crs, "EPSG:4326", always_xy=True).transform(
        x, y
    )
    table = pd.DataFrame(
        {
            "LAT": latitude.round(7),
            "LON": longitude.round(7),
            "UTCTIMESOD": (40000 + line * 30 + np.arange(x.size) * PICK_STEP_M / METRES_A_SECOND).round(2)
            % 86400,
            "THICK": np.where(missed, MISSING, picked_surface - bed).round(2),
            "ELEVATION": aircraft.round(2),
            "FRAME": season * 10**9 + (flight + 1) * 10**6 + line % LINES_A_FLIGHT * 1000 + pick // 500 + 1,
            "SURFACE": (aircraft - picked_surface).round(2),
            "BOTTOM": np.where(missed, MISSING, aircraft - bed).round(2),
            "QUALITY": rng.choice([1, 2, 3], x.size, p=[0.8, 0.15, 0.05]),
        }
    )
    return table[COLUMNS].assign(x=x, y=y, line=line)


def _draw_gaps(count: int, every_m: float, rng: np.random.Generator) -> np.ndarray:
    """Draw where the bed was lost along a line: now and then, for 200 m to 1.5 km."""
    missed = np.zeros(count, dtype=bool)
    for _ in range(rng.poisson(count * PICK_STEP_M / every_m)):
        first = rng.integers(count)
        missed[first : first + rng.integers(2, 15)] = True
    return missed


def write_survey(table: pd.DataFrame, folder: Path, name: str, *, crs: str) -> Path:
    """Write a survey's picks as CSV and, beside it, the pipeline to read them by; return its path.

    >>> import tempfile
    >>> path = write_survey(pd.DataFrame(columns=COLUMNS), Path(tempfile.mkdtemp()), "ross", crs="EPSG:3031")
    >>> path.name, path.with_suffix(".csv").read_text().split(",")[:3]
    ('ross.json', ['LAT', 'LON', 'UTCTIMESOD'])
    """
    with replace_when_done(folder / f"{name}.csv") as partial:
        table[COLUMNS].to_csv(partial, index=False, lineterminator="\n")
    reader = {
        "type": "readers.text",
        "filename": f"{name}.csv",
        "separator": ",",
        "skip": 1,
        "header": COLUMNS,
        "usecols": ["LON", "LAT", "ELEVATION", "BOTTOM"],
        "na_values": [-9999],
        "converters": {"X": "LON", "Y": "LAT", "Z": "ELEVATION-BOTTOM"},
        "dropcols": ["LON", "LAT", "ELEVATION", "BOTTOM"],
    }
    steps = [reader, {"type": "filters.reprojection", "in_srs": "EPSG:4326", "out_srs": crs}]
    with replace_when_done(folder / f"{name}.json") as partial:
        partial.write_text(json.dumps({"pipeline": steps}, indent=2) + "\n")
    return folder / f"{name}.json"
