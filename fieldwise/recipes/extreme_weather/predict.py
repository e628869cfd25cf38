"""A trained network applied to weather, and the tracks of what it finds: the verb predict."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fieldwise.errors import require_at_least

SUFFIXES = (".nc", ".zarr")


def predict(
    *,
    run: Path = Path("model/extreme_weather"),
    data: Path = Path("data/extreme_weather"),
    out: Path = Path("model/extreme_weather/prediction"),
    split: Literal["training", "validation", "test"] = "test",
    case: str | None = None,
    bridge_steps: int = 1,
    weights: str = "best",
    accelerator: str = "auto",
    progress: bool = True,
) -> Path:
    """Tell the class of each cell and how probable each is, at all times, and follow what is found.

    Beside each file of maps lie its tracks: NAME_cyclones.csv and NAME_rivers.csv in the columns of IBTrACS,
    the same as .geojson, where and when they meet land as NAME_KIND_landfalls.csv, and NAME_census.nc: how
    many there are at each time, where they begin and come by, and how often each cell is in one.

    Args:
        run: Run folder of a trained network, or a folder of ClimateNet's.
        data: Prepared folder.
        out: FILE.nc (CF-NetCDF) or FILE.zarr of one case, or a folder for CASE.nc of each case. A run that
            is cut off goes on.
        split: Which cases.
        case: Name of one case.
        bridge_steps: For how many times in a row what is followed may be missing.
        weights: The best by validation, the last, or a published file: ClimateNet's weights.pth with its
            config.json beside, or a checkpoint of DeepCAM, .cpt, with its stats.h5 beside.
        accelerator: cpu, gpu or auto.
        progress: Whether to show how far it is.

    Returns:
        The file or folder.
    """
    require_at_least(0, bridge_steps=bridge_steps)
    from fieldwise.recipes.extreme_weather.cases import RECIPE
    from fieldwise.recipes.extreme_weather.events import write_events
    from fieldwise.recipes.extreme_weather.predictor import load_teller
    from fieldwise.samples.prepared import Prepared
    from fieldwise.verbs.domains.unseen import warn_spacing
    from fieldwise.verbs.predict import check_out, predict_to

    out = Path(out)
    cases = Prepared(data, recipe=RECIPE).cases(split, name=case)
    check_out(out, cases, SUFFIXES, "classes are written as .nc or .zarr")
    teller = load_teller(run, weights=weights, accelerator=accelerator)
    for each in cases:
        each.check_has(teller.signature.fields("inputs"), why=f"the network {teller.path}")
    for each in cases:
        warn_spacing(teller, each, remedy="`cells` in the FILE.yaml, or train with --coarsen")
        path = out if out.suffix in SUFFIXES else out / f"{each.name}.nc"
        predict_to(path, teller, each, block_cells=max(each.shape), halo_cells=0, progress=progress)
        print(write_events(path, each, bridge_steps=bridge_steps))
    return out
