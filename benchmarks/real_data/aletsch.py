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
import time
from pathlib import Path

import numpy as np

from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import load_values
from fieldwise.recipes.ice_flow import prepare
from fieldwise.recipes.ice_flow.networks import load_emulator
from fieldwise.recipes.ice_flow.physics import solve_frame
from fieldwise.recipes.ice_flow.samples import find_ice
from fieldwise.recipes.ice_flow.signatures import RECIPE
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.rules import write_yaml
from fieldwise.scores import direction_cosine, format_table, make_score, relative_l1, speed_of
from fieldwise.verbs.evaluate import measure_symmetry

CRS = "EPSG:32632"
OBSERVED = ("uvelsurfobs", "vvelsurfobs")
FLOW_PARAMETERS = {"arrhenius": 78.0, "slidingco": 0.0464, "strflowctrl": 78.0}
SURE_M_A = 10.0  # slower than this, satellites do not see which way ice flows


def prepare_observed(file, out, *, crs):
    """Prepare a glacier of the Instructed Glacier Model's observation files as a test case.

    The file holds `thkinit` and `usurfobs`; flow parameters are those of temperate ice.
    """
    file, out = Path(file).resolve(), Path(out)
    variables = {"thk": "thkinit", "usurf": "usurfobs", **FLOW_PARAMETERS}
    entry = {"split": "test", "path": str(file), "variables": variables, "crs": crs}
    source = write_yaml({"cases": {file.stem: entry}}, out / "source.yaml")
    prepare(source=str(source), out=out, progress=False)
    return Prepared(out, recipe=RECIPE).cases("test")[0]


def read_observed_velocity(file, *, crs):
    """Read the observed velocity of the surface: (east and north, y, x) in m/a, rows from north to south."""
    return np.stack([load_values(open_field(file, variable=name, crs=crs)) for name in OBSERVED])


def compare_with_observed(emulator, case, observed, *, name):
    """Judge the surface velocity that an emulator gives a real glacier: rows of a table of scores.

    Parameters
    ----------
    observed
        (east and north, y, x) in m/a, missing where nothing was seen.

    Returns
    -------
    list of dict
        Correlation of speeds over the ice; mean cosine of directions where more than 10 m/a are observed;
        error under the eight symmetries; leakage off the ice, as the network gives it and as it is
        predicted, where ice alone flows (m/a); seconds a frame.
    """
    inputs, ice = emulator.read_frame(case, 0)
    vectors = emulator.signature.vectors()
    pair = list(vectors["targets"][-1])
    found = emulator.apply(inputs, ice)[pair]
    started = time.perf_counter()
    emulator.apply(inputs, ice)
    seconds = time.perf_counter() - started
    unmasked = speed_of(emulator.apply(inputs, np.ones_like(ice))[pair])
    seen = ice & np.isfinite(observed).all(axis=0)
    speeds = speed_of(found), speed_of(observed)
    sure = seen & (speeds[1] > SURE_M_A)
    symmetry = measure_symmetry(
        lambda arrays: emulator.apply(arrays["inputs"], arrays["ice"][0]),
        {"inputs": inputs, "ice": ice[None]},
        vectors=vectors,
    )
    scores = [
        ("correlation", "1", float(np.corrcoef(speeds[0][seen], speeds[1][seen])[0, 1])),
        ("direction_cosine", "1", direction_cosine(found[:, sure], observed[:, sure])),
        ("symmetry_error", "1", symmetry),
        ("leakage_of_network", "m/a", float(unmasked[~ice].max())),
        ("leakage", "m/a", float(speeds[0][~ice].max())),
        ("seconds", "s", seconds),
    ]
    return [make_score("observed", measure, unit, name, value) for measure, unit, value in scores]


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
        scores = [
            row
            for name, emulator in emulators.items()
            for row in compare_with_observed(emulator, case, observed, name=name)
        ]
        print(format_table(scores))
        if options.solver:
            compare_with_solver(emulators, case, observed)


if __name__ == "__main__":
    main()
