"""What surface and radar tell together, beside the best linear estimate, on made sectors of many worlds.

Run it with `python benchmarks/surface_and_radar.py --out FOLDER [--seeds 7 101] [--drawn 8] [--size_km 128]`.
Sectors of the sandbox's own world (250 km) and of drawn ones are made in FOLDER, or taken from there, and the
departure of the bed from the low-res bed is estimated from the surface alone and from surface and radar
together, with the surface doubted 0.7 to 8 times as far as usual, or not asked. Printed is the RMSE against
the truth of all cells of 250 m over that of the stored bound, which knows the transfer, and no flight: for
each sector, and the mean of logarithms. The constants of `fieldwise/physics/surface_inversion.py` were chosen
by such a table.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from fieldwise.fields.grids import make_field
from fieldwise.fields.tiles import cut
from fieldwise.physics.surface_inversion import Doubt
from fieldwise.recipes.bed_topography import prepare
from fieldwise.recipes.bed_topography.regions.derivation import invert_with_radar
from fieldwise.recipes.bed_topography.regions.radar import find_departures, grid_radar
from fieldwise.recipes.bed_topography.regions.region import grounded_area, lowres_spacing, open_region
from fieldwise.recipes.bed_topography.regions.surveys import read_given
from fieldwise.samples.cases import Case
from fieldwise.sandbox.bed_topography import make_bed_topography
from fieldwise.sandbox.worlds import World, draw_world

DOUBTS = (0.7, 1.0, 1.4, 2.0, 4.0, 8.0, np.inf)


def open_sector(folder: Path, seed: int, size_km: float | None) -> tuple[Case, float]:
    """Make a sector, of a drawn world where a size is given, unless it is there; its case and bound."""
    if not (folder / "data").exists():
        world = World()
        if size_km:
            world = draw_world(np.random.default_rng([99, seed]))
            world = replace(world, line_spacing_m=min(world.line_spacing_m, size_km * 250))
        options = {"seed": seed, "size_km": size_km or 250.0, "world": world, "progress": False}
        prepare(source=str(make_bed_topography(folder / "made", **options)), out=folder / "data")
    bound = json.loads((folder / "made" / "truth" / "bound.json").read_text())
    return open_region(folder / "data"), bound["rmse_m"]["wiener"]


def judge(case: Case) -> list[float]:
    """Give the RMSE (m) of what the surface alone tells, and of surface and radar for each doubt."""
    picks, grounded = read_given(case), grounded_area(case)
    base = case.cut("bed_lowres", np.array([case.bounds]), method="cubic")[0]
    truth = np.squeeze(case.open("truth").values)

    def miss(shown: bool, doubt: Doubt) -> float:
        given = picks if shown else picks[:0]
        radar = grid_radar(given, find_departures(given, case), case.grid)
        told = invert_with_radar(case, radar, grounded=grounded, doubt=doubt)
        field = make_field(told, case.grid_at(lowres_spacing(case)), name="departure")
        drawn = base + cut(field, [case.bounds], spacing=case.spacing, method="cubic")[0]
        return float(np.sqrt(np.mean(np.square(drawn - truth, dtype=np.float64))))

    return [miss(False, Doubt()), *(miss(True, Doubt(doubt)) for doubt in DOUBTS)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the sectors")
    parser.add_argument("--seeds", type=int, nargs="*", default=[7, 101], help="of the sandbox's own world")
    parser.add_argument("--drawn", type=int, default=8, help="sectors of drawn worlds, seeds from 901 on")
    parser.add_argument("--size_km", type=float, default=128.0, help="edge of these")
    options = parser.parse_args()
    jobs = [(seed, None) for seed in options.seeds]
    jobs += [(901 + number, options.size_km) for number in range(options.drawn)]
    names = ["surface alone", *(f"doubted {doubt:g}" for doubt in DOUBTS)]
    print(f"{'RMSE : bound':<14}", *(f"{name:>13}" for name in names))
    tables: dict[str, list[list[float]]] = {"own world": [], "drawn worlds": []}
    for seed, size_km in jobs:
        case, bound = open_sector(options.out / f"sector_{seed}", seed, size_km)
        ratios = [each / bound for each in judge(case)]
        tables["drawn worlds" if size_km else "own world"].append(ratios)
        print(f"{seed:<14}", *(f"{ratio:>13.2f}" for ratio in ratios), flush=True)
    for name, rows in tables.items():
        if rows:
            print(f"{name:<14}", *(f"{ratio:>13.3f}" for ratio in np.exp(np.log(rows).mean(axis=0))))


if __name__ == "__main__":
    main()
