"""Rivers of a real day: water vapour and its transport of MERRA, labelled by both rules and drawn.

Run it with `python benchmarks/real_data/merra.py --out FOLDER [--files FOLDER]`. The field, 28 February 2017
at 00 UTC on 361 x 576 cells, is looked for in $FIELDWISE_DATA, or in ../shared/data beside the repository.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fieldwise.errors import InputError
from fieldwise.figures import draw_class_maps, save_figure
from fieldwise.physics.extreme_weather.channels import CLASSES, RIVER
from fieldwise.physics.extreme_weather.components import label_components, measure_components
from fieldwise.physics.extreme_weather.rivers import find_moist_rivers, find_strong_rivers
from fieldwise.physics.extreme_weather.sphere import GlobalGrid
from fieldwise.scores import ClassSums

FILES = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).parents[3] / "shared" / "data"))
FIELD = "merra_iwv_ivt_20170228_00.nc"


def label_rivers(day: xr.Dataset, grid: GlobalGrid) -> dict[str, np.ndarray]:
    """Mark rivers by the transport of vapour and by the vapour itself."""
    return {
        "transport and its Laplacian": find_strong_rivers(day["IVT"].values, grid),
        "water vapour": find_moist_rivers(day["IWV"].values, grid),
    }


def run_chain(files: Path, out: Path) -> dict[str, Any]:
    """Label the day and draw it.

    Returns
    -------
    dict
        By rule the number of ``rivers``, the ``share`` of the Earth that they take, and a table of their
        ``parts``; and the ``iou`` of both rules.
    """
    if not (files / FIELD).exists():
        raise InputError(f"{files / FIELD}: no such file; name the folder that holds it with --files")
    with xr.open_dataset(files / FIELD, engine="scipy") as opened:
        day = opened.isel(time=0).load()
    grid = GlobalGrid(day["lat"].values, day["lon"].values)
    masks = label_rivers(day, grid)
    classes = {name: RIVER * mask for name, mask in masks.items()}
    sums = ClassSums(CLASSES)
    sums.add(*classes.values())
    transport = day["IVT"].assign_attrs(long_name="vapour transport", units="kg m-1 s-1")
    save_figure(draw_class_maps(transport, classes, CLASSES), out / "rivers")
    result: dict[str, Any] = {"iou": float(sums.pooled[RIVER])}
    for name, mask in masks.items():
        parts = measure_components(label_components(mask), grid)
        share = float((mask * grid.area_km2).sum() / grid.area_km2.sum())
        result[name] = {"rivers": len(parts), "share": share, "parts": parts}
    return result


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--files", type=Path, default=FILES, help="folder of the downloaded file")
    options = parser.parse_args(arguments)
    result = run_chain(options.files, options.out)
    iou = result.pop("iou")
    for name, found in result.items():
        print(f"{name}: {found['rivers']} rivers on {found['share']:.1%} of the Earth")
        print(found["parts"].drop(columns="number").round(1).to_string(index=False))
    print(f"IoU of both {iou:.2f}")
    print(options.out / "rivers.png")


if __name__ == "__main__":
    main()
