"""Super-resolution of made boxes, every shell of the spectrum of its members judged.

    python benchmarks/superresolution.py --out FOLDER --scale_factor 4
    python benchmarks/superresolution.py --out FOLDER --dimensions 3 --boxes 200

Pairs of a coarse box and a fine one are made, a network is trained by proper scores as the demo does it, and
16 members are drawn of each test box. Printed are the scores, and how far members' power is off in the worst
shell up to half the fine Nyquist wavenumber and beyond.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from fieldwise.recipes import structure_formation
from fieldwise.recipes.structure_formation.judgement import open_boxes
from fieldwise.samples.prepared import Prepared
from fieldwise.scores import read_scores
from fieldwise.scores.spectra import SpectrumSums

MEASURES = ("crps", "coverage_90", "spread_error_ratio")


def judge_shells(data: Path, prediction: Path) -> np.ndarray:
    """Give the power of members over that of the truth in each shell, (shell,), over all test boxes."""
    sums = None
    for case in Prepared(data).cases("test"):
        target = case.variables["displacement"]
        truth = case.read([target])[target.name]
        members = open_boxes(prediction, case, target.fields)[1]
        assert members is not None
        sums = sums or SpectrumSums(case.spacing)
        for member in members:
            sums.add(np.asarray(member), truth)
    assert sums is not None
    return sums.power_ratio


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--scale_factor", type=int, default=2)
    parser.add_argument("--dimensions", type=int, default=2)
    parser.add_argument("--cells", type=int, help="of a coarse box along each axis")
    parser.add_argument("--boxes", type=int, default=540)
    parser.add_argument("--test_boxes", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--blocks", type=int, nargs="+", help="at each resolution")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args(arguments)
    data, run = asked.out / "pairs", asked.out / "run"
    if not (data / "dataset.yaml").exists():
        structure_formation.prepare(
            out=data,
            seed=asked.seed,
            dimensions=asked.dimensions,
            cells=asked.cells,
            scale_factor=asked.scale_factor,
            boxes=asked.boxes,
            test_boxes=asked.test_boxes,
            progress=False,
        )
    network: dict[str, Any] = {"blocks": asked.blocks} if asked.blocks else {}
    started = time.perf_counter()
    structure_formation.train(
        data=data,
        run=run,
        batch_size=1,
        learning_rate=3e-3,
        optimizer_options={"betas": [0.9, 0.99]},
        clip_norm=0.5,
        max_epochs=asked.epochs,
        features=asked.features,
        network_options=network,
        tracker="none",
        seed=asked.seed,
        progress=False,
    )
    print(f"trained in {time.perf_counter() - started:.0f} s")
    structure_formation.predict(
        run=run, data=data, out=run / "prediction", members=16, keep_members=True, progress=False
    )
    structure_formation.evaluate(run=run, data=data, prediction=run / "prediction")
    for row in read_scores(run / "scores.json")["scores"]:
        if row["measure"] in MEASURES:
            print(f"{row['name']:<12} {row['measure']:<20} {row['value']:.3f}")
    ratios = judge_shells(data, run / "prediction")
    half = len(ratios) // 2
    print("members' power : truth by shell", np.round(ratios, 2).tolist())
    below, beyond = (float(np.abs(part - 1).max()) for part in (ratios[:half], ratios[half:]))
    print(f"worst shell up to half the fine Nyquist wavenumber {below:.1%} off, beyond {beyond:.1%}")


if __name__ == "__main__":
    main()
