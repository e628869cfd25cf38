"""An emulator judged by itself, and beside what satellites have seen of a glacier."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import load_values
from fieldwise.recipes.ice_flow.networks import Emulator
from fieldwise.recipes.ice_flow.prepare import prepare
from fieldwise.recipes.ice_flow.signatures import RECIPE
from fieldwise.samples.cases import Case
from fieldwise.samples.loaders import turn, turn_back
from fieldwise.samples.prepared import Prepared
from fieldwise.samples.rules import write_yaml
from fieldwise.scores import direction_cosine, format_table, make_score, relative_l1, speed_of

STILL_M_A = 1.0  # slower ice than this has no direction worth comparing
SYMMETRIES = range(1, 8)
OBSERVED = ("uvelsurfobs", "vvelsurfobs")
FLOW_PARAMETERS = {"arrhenius": 78.0, "slidingco": 0.0464, "strflowctrl": 78.0}
SURE_M_A = 10.0  # slower than this, satellites do not see which way ice flows


def measure_symmetry(emulator: Emulator, case: Case, frame: int) -> float:
    """Give by how much turning the input changes the speed: relative L1, the worst of seven symmetries.

    Each turned or mirrored frame is predicted and turned back; vectors turn along. The speed is that of the
    last vector that the emulator gives, the surface velocity where it gives one.

    A network that hands slopes on as velocity turns with the map; one that lets nothing flow north does not:

    >>> from fieldwise.recipes.ice_flow.signatures import make_signature
    >>> from fieldwise.samples.examples import make_prepared
    >>> (case,) = make_prepared({"slopsurfx": 1.0, "slopsurfy": 0.0}, shape=(3, 3)).cases()
    >>> slopes = {"slopsurfx": 1.0, "slopsurfy": 1.0}
    >>> network = torch.nn.Conv2d(2, 2, 1, bias=False)
    >>> emulator = Emulator(network, make_signature(slopes, {"uvelsurf": 1.0, "vvelsurf": 1.0}))
    >>> for north in (1.0, 0.0):
    ...     network.weight = torch.nn.Parameter(torch.diag(torch.tensor([1.0, north])).view(2, 2, 1, 1))
    ...     print(measure_symmetry(emulator, case, 0))
    0.0
    1.0
    """
    vectors = emulator.signature.vectors()
    if not vectors["targets"]:
        return float("nan")
    inputs, ice = emulator.read_frame(case, frame)
    last = list(vectors["targets"][-1])
    speed, errors = speed_of(emulator.apply(inputs, ice)[last]), []
    for symmetry in SYMMETRIES:
        arrays = {"inputs": torch.from_numpy(inputs)[None], "ice": torch.from_numpy(ice)[None, None]}
        turned = turn(arrays, symmetry, vectors=vectors)
        answer = emulator.apply(turned["inputs"][0].numpy(), turned["ice"][0, 0].numpy())
        back = turn_back({"targets": torch.from_numpy(answer)[None]}, symmetry, vectors=vectors)
        errors.append(relative_l1(speed_of(back["targets"][0].numpy()[last]), speed))
    return max(errors)


def time_frame(emulator: Emulator, case: Case, frame: int) -> float:
    """Give the seconds that an emulator takes for a frame, reading apart."""
    inputs = emulator.read_frame(case, frame)
    emulator.apply(*inputs)  # the first call finds caches cold
    started = time.perf_counter()
    emulator.apply(*inputs)
    return time.perf_counter() - started


def prepare_observed(file: str | Path, out: str | Path, *, crs: str) -> Case:
    """Prepare a glacier of the Instructed Glacier Model's observation files as a test case.

    Parameters
    ----------
    file
        NetCDF with `thkinit` and `usurfobs`; flow parameters are those of temperate ice.
    out
        Folder to write.
    crs
        Projection of the file.

    Examples
    --------
    >>> import tempfile; import xarray as xr
    >>> axis, folder = [0.0, 100.0, 200.0], Path(tempfile.mkdtemp())
    >>> fields = {"thkinit": (("y", "x"), np.full((3, 3), 80.0)), "usurfobs": (("y", "x"), np.eye(3))}
    >>> _ = xr.Dataset(fields, {"y": axis, "x": axis}).to_netcdf(folder / "aletsch.nc", engine="h5netcdf")
    >>> case = prepare_observed(folder / "aletsch.nc", folder / "data", crs="EPSG:32632")
    >>> print(case, case.stack(["thk", "arrhenius"])[:, 0, 0])
    test/aletsch [80. 78.]
    """
    file, out = Path(file).resolve(), Path(out)
    variables = {"thk": "thkinit", "usurf": "usurfobs", **FLOW_PARAMETERS}
    entry = {"split": "test", "path": str(file), "variables": variables, "crs": crs}
    source = write_yaml({"cases": {file.stem: entry}}, out / "source.yaml")
    prepare(source=str(source), out=out, progress=False)
    return Prepared(out, recipe=RECIPE).cases("test")[0]


def read_observed_velocity(file: str | Path, *, crs: str) -> np.ndarray:
    """Read the observed velocity of the surface: (east and north, y, x) in m/a, rows from north to south."""
    return np.stack([load_values(open_field(file, variable=name, crs=crs)) for name in OBSERVED])


def compare_with_observed(emulator: Emulator, case: Case, observed: np.ndarray) -> dict[str, Any]:
    """Judge the surface velocity that an emulator gives a real glacier.

    Parameters
    ----------
    observed
        (east and north, y, x) in m/a, missing where nothing was seen.

    Returns
    -------
    dict
        Correlation of speeds over the ice; mean cosine of directions where more than 10 m/a are observed;
        error under the eight symmetries; leakage off the ice, as the network gives it and as it is
        predicted, where ice alone flows (m/a); seconds a frame.

    Examples
    --------
    >>> from fieldwise.recipes.ice_flow.signatures import make_signature
    >>> from fieldwise.samples.examples import make_prepared
    >>> (case,) = make_prepared({"thk": np.array([[[0.0, 50.0], [90.0, 60.0]]])}).cases()
    >>> network = torch.nn.Conv2d(1, 2, 1)
    >>> _ = torch.nn.init.constant_(network.weight, 0.5), torch.nn.init.constant_(network.bias, 0.1)
    >>> velocity = {"uvelsurf": 100.0, "vvelsurf": 100.0}
    >>> emulator = Emulator(network, make_signature({"thk": 100.0}, velocity))
    >>> observed = 2 * emulator.apply(*emulator.read_frame(case, 0))  # all twice as fast
    >>> scores = compare_with_observed(emulator, case, observed)
    >>> round(scores["correlation"], 6), round(scores["direction_cosine"], 6), scores["leakage_m_a"]
    (1.0, 1.0, 0.0)
    """
    inputs, ice = emulator.read_frame(case, 0)
    pair = list(emulator.signature.vectors()["targets"][-1])
    found = emulator.apply(inputs, ice)[pair]
    unmasked = speed_of(emulator.apply(inputs, np.ones_like(ice))[pair])
    seen = ice & np.isfinite(observed).all(axis=0)
    speeds = speed_of(found), speed_of(observed)
    sure = seen & (speeds[1] > SURE_M_A)
    return {
        "correlation": float(np.corrcoef(speeds[0][seen], speeds[1][seen])[0, 1]),
        "direction_cosine": direction_cosine(found[:, sure], observed[:, sure]),
        "symmetry_error": measure_symmetry(emulator, case, 0),
        "leakage_of_network_m_a": float(unmasked[~ice].max()),
        "leakage_m_a": float(speeds[0][~ice].max()),
        "seconds": time_frame(emulator, case, 0),
    }


def format_comparison(scores: dict[str, dict[str, Any]]) -> str:
    """Lay out a column an emulator.

    >>> line = {"correlation": 0.9, "leakage_m_a": 0.0, "seconds": 0.05}
    >>> print(format_comparison({"released": line, "ours": line}).splitlines()[1])
    observed  correlation              0.9         0.9
    """
    units = {"leakage_of_network_m_a": "m/a", "leakage_m_a": "m/a", "seconds": "s"}
    return format_table(
        make_score("observed", measure.removesuffix("_m_a"), units.get(measure, "1"), name, value)
        for name, values in scores.items()
        for measure, value in values.items()
    )
