"""Aletsch glacier: a released emulator and one of ours against the velocity that satellites saw.

    python benchmarks/real_data/aletsch.py --data ../shared/data --run model/ice_flow

The folder holds aletsch_observation.nc (Millan et al. 2022; examples of the Instructed Glacier Model) and
dle_model_f12/ (a released 2Dto2D-DLE emulator). Ours is the run folder that `fieldwise ice_flow train`, or
`make demo-ice-flow`, has written; it has seen made valleys only.
"""

import argparse
import tempfile
from pathlib import Path

from fieldwise.recipes.ice_flow.emulator import load_emulator
from fieldwise.recipes.ice_flow.observation import (
    compare_with_observed,
    format_comparison,
    prepare_observed,
    read_observed_velocity,
)

CRS = "EPSG:32632"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path, default=Path("model/ice_flow"))
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
        print(f"{case.shape[0]} x {case.shape[1]} cells of {case.spacing_m:g} m")
        scores = {
            name: compare_with_observed(emulator, case, observed) for name, emulator in emulators.items()
        }
    print(format_comparison(scores))


if __name__ == "__main__":
    main()
