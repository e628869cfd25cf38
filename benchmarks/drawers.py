"""Networks that draw beds, trained alike for a short while, and judged on sectors that they have not seen.

    fieldwise bed_topography prepare --out SECTORS --seed 12 --sectors 16 --validation_sectors 2 \
        --size_km 160 --regridded false
    python benchmarks/drawers.py --data SECTORS --out FOLDER --names shipped former

`val_loss` is the proper score of departures in units of the relief of the low-res bed; compared is the
least of a run.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from fieldwise.networks.layers import count_parameters
from fieldwise.recipes import bed_topography
from fieldwise.runs import read_metrics
from fieldwise.tasks import FieldTask, load_checkpoint

NETWORKS: dict[str, dict[str, Any]] = {
    "shipped": {},
    "former": {"features": [128, 96, 64, 32, 32], "blocks": [2, 2, 2, 2, 3]},  # most of it at 4 and 2 km
    "wide at 2 km": {"features": [96, 96, 96, 48, 32]},
    "near": {"features": [96, 48, 32], "blocks": [4, 3, 3]},  # nothing coarser than 1 km
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="sectors")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--names", nargs="+", default=[*NETWORKS], choices=[*NETWORKS])
    parser.add_argument("--epochs", type=int, default=1)
    asked = parser.parse_args(arguments)
    for name in asked.names:
        run = asked.out / name.replace(" ", "_")
        started = time.process_time()
        best = bed_topography.train(
            data=asked.data,
            run=run,
            max_epochs=asked.epochs,
            seed=7,
            resume=False,
            precision="bf16-mixed",
            tracker="none",
            progress=False,
            **NETWORKS[name],
        )
        seconds = time.process_time() - started
        network = load_checkpoint(best, FieldTask).network
        loss = read_metrics(run)["val_loss"].min()
        print(
            f"{name:<16} {count_parameters(network):>10,} parameters, margin {network.margin} km: val_loss "
            f"{loss:.4f} after {seconds:.0f} s of processor time"
        )


if __name__ == "__main__":
    main()
