"""Aletsch glacier: a released emulator and one of ours against the velocity that satellites saw.

    python benchmarks/real_data/aletsch.py --data ../shared/data --run model/ice_flow

The folder holds aletsch_observation.nc (Millan et al. 2022; examples of the Instructed Glacier Model) and
dle_model_f12/ (a released 2Dto2D-DLE emulator). Ours is the run folder that `fieldwise ice_flow train`, or
`make demo-ice-flow`, has written; it has seen made valleys only. With --solver the solver's own answer
(minutes) is set beside them: no emulator of these equations, with these flow parameters, can be expected to
do better.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from fieldwise.recipes.ice_flow.judgement import (
    compare_with_observed,
    format_comparison,
    prepare_observed,
    read_observed_velocity,
)
from fieldwise.recipes.ice_flow.networks import load_emulator
from fieldwise.recipes.ice_flow.physics import solve_frame
from fieldwise.recipes.ice_flow.samples import find_ice
from fieldwise.scores import relative_l1

CRS = "EPSG:32632"


def compare_with_solver(emulators, case, observed):
    """Say how the solver compares with what was observed, and each emulator with the solver."""
    flow = solve_frame(case, 0)
    solved = np.hypot(flow.velocity_x[-1].numpy(), flow.velocity_y[-1].numpy())
    ice = find_ice(case, 0, thicker_than_m=0)
    seen = ice & np.isfinite(observed).all(axis=0)
    correlation = np.corrcoef(solved[seen], np.hypot(*observed)[seen])[0, 1]
    print(f"solver against observed: correlation {correlation:.3f} ({flow.seconds:.0f} s)")
    for name, emulator in emulators.items():
        outputs = emulator.apply(*emulator.read_frame(case, 0))
        names = emulator.signature.fields("outputs")
        speed = np.hypot(*(outputs[names.index(axis + "velsurf")] for axis in "uv"))
        correlation = np.corrcoef(speed[ice], solved[ice])[0, 1]
        error = relative_l1(speed[ice], solved[ice])
        print(f"{name} against the solver: correlation {correlation:.3f}, relative L1 error {error:.0%}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path, default=Path("model/ice_flow"))
    parser.add_argument("--solver", action="store_true", help="solve for the flow too")
    options = parser.parse_args()
    file = options.data / "aletsch_observation.nc"
    observed = read_observed_velocity(file, crs=CRS)
    emulators = {
        "released": load_emulator(options.data / "dle_model_f12"),
        "symmetrised": load_emulator(options.data / "dle_model_f12", symmetrise=True),
        "ours": load_emulator(options.run),
    }
    with tempfile.TemporaryDirectory() as folder:
        case = prepare_observed(file, folder, crs=CRS)
        print(f"{case.shape[0]} x {case.shape[1]} cells of {case.spacing:g} m")
        scores = {
            name: compare_with_observed(emulator, case, observed) for name, emulator in emulators.items()
        }
        print(format_comparison(scores))
        if options.solver:
            compare_with_solver(emulators, case, observed)


if __name__ == "__main__":
    main()
