"""Emulators beside a real glacier whose surface velocity satellites have seen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import load_values
from fieldwise.recipes.ice_flow.emulator import Emulator, read_inputs
from fieldwise.recipes.ice_flow.judgement import direction_cosine, measure_symmetry, speed_of
from fieldwise.recipes.ice_flow.prepare import prepare
from fieldwise.recipes.ice_flow.signatures import RECIPE
from fieldwise.samples.cases import Case
from fieldwise.samples.datasets import write_yaml
from fieldwise.samples.prepared import Prepared

OBSERVED = ("uvelsurfobs", "vvelsurfobs")
FLOW_PARAMETERS = {"arrhenius": 78.0, "slidingco": 0.0464, "strflowctrl": 78.0}
SURE_M_A = 10.0  # slower than this, satellites do not see which way ice flows


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
    """Read the observed velocity of the surface: (east and north, y, x) in m/a, rows from north to south.

    >>> import tempfile; import xarray as xr
    >>> axis, path = [0.0, 100.0], Path(tempfile.mkdtemp()) / "aletsch.nc"
    >>> velocity = {name: (("y", "x"), [[1.0, 2.0], [3.0, 4.0]]) for name in OBSERVED}
    >>> _ = xr.Dataset(velocity, {"y": axis, "x": axis}).to_netcdf(path, engine="h5netcdf")
    >>> read_observed_velocity(path, crs="EPSG:32632")[0].tolist()  # the north comes first
    [[3.0, 4.0], [1.0, 2.0]]
    """
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
    >>> import torch; from fieldwise.recipes.ice_flow.signatures import make_signature
    >>> from fieldwise.samples.examples import make_prepared
    >>> (case,) = make_prepared({"thk": [[[0.0, 50.0], [90.0, 60.0]]]}).cases()
    >>> network = torch.nn.Conv2d(1, 2, 1)
    >>> _ = torch.nn.init.constant_(network.weight, 0.5), torch.nn.init.constant_(network.bias, 0.1)
    >>> signature = make_signature({"thk": 100.0}, {"uvelsurf": 100.0, "vvelsurf": 100.0})
    >>> emulator = Emulator(network, signature, torch.device("cpu"), case.folder)
    >>> observed = 2 * emulator.apply(*read_inputs(emulator, case, 0))  # all twice as fast
    >>> scores = compare_with_observed(emulator, case, observed)
    >>> round(scores["correlation"], 6), round(scores["direction_cosine"], 6), scores["leakage_m_a"]
    (1.0, 1.0, 0.0)
    """
    inputs, ice = read_inputs(emulator, case, 0)
    emulator.apply(inputs, ice)  # the first call finds caches cold
    started = time.perf_counter()
    outputs = emulator.apply(inputs, ice)
    seconds = time.perf_counter() - started
    pair = list(emulator.signature.vectors()["targets"][-1])
    found = outputs[pair]
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
        "seconds": seconds,
    }


def format_comparison(scores: dict[str, dict[str, Any]]) -> str:
    """Lay out one line an emulator.

    >>> line = {"correlation": 0.9, "direction_cosine": 0.95, "symmetry_error": 0.2}
    >>> line |= {"leakage_of_network_m_a": 86.0, "leakage_m_a": 0.0, "seconds": 0.05}
    >>> print(format_comparison({"released": line}).splitlines()[-1])
    released           0.900     0.9500            20.00%                  86 / 0       50.0
    """
    heads = ("correlation", "direction", "symmetry error", "leakage raw / cut (m/a)", "time (ms)")
    rows = [f"{'':<12}{heads[0]:>12}{heads[1]:>11}{heads[2]:>18}{heads[3]:>24}{heads[4]:>11}"]
    for name, values in scores.items():
        leakage = f"{values['leakage_of_network_m_a']:.0f} / {values['leakage_m_a']:.0f}"
        rows.append(
            f"{name:<12}{values['correlation']:>12.3f}{values['direction_cosine']:>11.4f}"
            f"{values['symmetry_error']:>18.2%}{leakage:>24}{1000 * values['seconds']:>11.1f}"
        )
    return "\n".join(rows)
