"""A month of ERA5 over Great Britain: forecasts learnt from its first 20 days, judged on its last week.

Run it with `python benchmarks/real_data/great_britain.py --out FOLDER [--files FOLDER]`; what follows goes to
train, such as `--max_epochs 8`. The 2 m temperature of March 2019, hourly, 33 x 49 cells of 0.25 degrees, is
looked for in $FIELDWISE_DATA, or in ../shared/data beside the repository.

The network was chosen by nine folds of two days within days 1 to 20, rate and epochs by two of these and days
21 to 24; the last week was judged once.
"""

import argparse
import json
import os
from pathlib import Path

from fieldwise.cli import main as run
from fieldwise.errors import InputError
from fieldwise.samples.rules import write_yaml

FILES = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).parents[3] / "shared" / "data"))
MONTH = "era5-2mt-2019-03-uk.grib"
SPLIT = {"train": [1, 20], "val": [21, 23], "test": [25, 31]}  # days; prepare keeps a day before val apart
TRAINING = "--network daily_cycle --context 25 --batch_size 4 --max_epochs 10"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--files", type=Path, default=FILES, help="folder of the downloaded file")
    options, training = parser.parse_known_args(arguments)
    month, out = (options.files / MONTH).absolute(), options.out
    if not month.exists():
        raise InputError(f"{month}: no such file; name the folder that holds it with --files")
    out.mkdir(parents=True, exist_ok=True)
    write_yaml({"path": str(month), "variables": ["t2m"]}, out / "month.yaml")
    days = {part: [[f"2019-03-{day:02d}" for day in ends]] for part, ends in SPLIT.items()}
    (out / "split.json").write_text(json.dumps(days))
    of_data, of_run = ["--data", f"{out}/hours"], ["--run", f"{out}/run"]
    told = f"{out}/prediction"
    for verb, words in {
        "prepare": ["--source", f"{out}/month.yaml", "--split", f"{out}/split.json", "--out", f"{out}/hours"],
        "train": [*of_data, *of_run, "--tracker", "none", *TRAINING.split(), *training],
        "predict": [*of_data, *of_run, "--out", told],
        "evaluate": [*of_data, *of_run, "--prediction", told],
    }.items():
        if run(["temperature_forecast", verb, *words, "--progress", "false"]):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
