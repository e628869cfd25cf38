"""A training step of the network that draws beds: windows whose slope keeps the memory format, and views.

    python benchmarks/drawing_step.py [--threads 1] [--steps 4]

Eight patches of 128 x 128 cells, two members, forward and back in bf16, of random fields and weights. A view
(`Tensor.narrow`) gives its slope without the memory format of the rest, so that all sums and convolutions on
the way back meet two orders; `fieldwise.networks.valid.blocks.narrow` copies where a slope is asked for.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fieldwise.losses.ensembles import proper_score
from fieldwise.networks.valid import superresolution

CELLS, PATCHES, CHANNELS = 128, 8, 63
NETWORK: dict[str, Any] = {
    "dimensions": 2,
    "scale_factor": 4,
    "features": [64, 64, 96, 48, 32],
    "blocks": [1, 2, 3, 3, 3],
}


def view(fields: Tensor, sizes: Sequence[int]) -> Tensor:
    """Cut fields to their middle, as a view."""
    for axis, size in enumerate(sizes, start=fields.ndim - len(sizes)):
        fields = fields.narrow(axis, (fields.shape[axis] - size) // 2, size)
    return fields


def view_crop(fields: Tensor, cells: int) -> Tensor:
    """Cut cells off every side, as a view."""
    return view(fields, [size - 2 * cells for size in fields.shape[2:]])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    network = superresolution.StochasticSuperResolver(
        CHANNELS, 1, coarsenings=2, boundary="valid", modulated=True, **NETWORK
    )
    side = CELLS // 4 + 2 * network.margin
    fields, truth = torch.randn(PATCHES, CHANNELS, side, side), torch.randn(PATCHES, 1, CELLS, CELLS)

    def step() -> float:
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            members = torch.stack([superresolution.narrow(network(fields), truth.shape[2:]) for _ in "ab"])
        proper_score(members.float(), truth).backward()
        network.zero_grad()
        return time.perf_counter() - started

    ways = {"copies": (superresolution.narrow, superresolution.crop), "views": (view, view_crop)}
    seconds = dict.fromkeys(ways, 0.0)
    for number in range(asked.steps + 1):  # the first is not counted
        for name, (superresolution.narrow, superresolution.crop) in ways.items():
            taken = step()
            seconds[name] += taken if number else 0.0
    for name, total in seconds.items():
        print(f"{name:<8} {total / asked.steps:.2f} s a step")
    print(f"views take {seconds['views'] / seconds['copies']:.2f} times as long")


if __name__ == "__main__":
    main()
