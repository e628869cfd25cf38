"""An emulator against the solver that made its truth, on one machine: how fast, and how right, each is.

    python benchmarks/ice_flow_emulator.py --run model/ice_flow

Made valleys of 64, 128 and 256 cells a side, none of which training has seen, at the moment of their furthest
advance. The solver works to its usual tolerance; its own accuracy is that against itself with a tolerance a
hundred times tighter. The emulator's is that against this tight solution: relative L1 error of the speed at
the surface, over the ice. Times are of one frame, reading apart. Solver and emulator take turns, one solution
and fifty answers each time, so that both meet the same moods of the machine; the medians are given.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from fieldwise.physics.ice_flow import solve
from fieldwise.physics.ice_flow.slopes import FLOWING_M, derive_ice_slopes, derive_slopes
from fieldwise.recipes.ice_flow.networks import load_emulator
from fieldwise.recipes.ice_flow.signatures import ICE_SLOPES, SLOPES
from fieldwise.sandbox.valley import grow_ice, make_climate, make_valley
from fieldwise.scores import relative_l1

RATE, SLIDING, SPACING = 78.0, 0.0464, 100.0


def make_frame(cells, seed):
    """Make a valley with its glacier at its largest, rows from north to south."""
    rng = np.random.default_rng(seed)
    valley = make_valley(size_cells=cells, spacing_m=SPACING, azimuth=rng.uniform(0, 2 * np.pi), rng=rng)
    climate = make_climate(valley, rng=rng)
    ((_, thickness),) = grow_ice(valley, climate, snapshots=1, rate_factor=RATE, sliding_coefficient=SLIDING)
    return thickness[::-1].copy(), (valley.bed_m + thickness)[::-1].copy()


def surface_speed(flow):
    return np.hypot(flow.velocity_x[-1].numpy(), flow.velocity_y[-1].numpy())


def solve_frame(thickness, surface, **options):
    arrays = (torch.as_tensor(thickness), torch.as_tensor(surface))
    return solve(
        *arrays,
        spacing_m=SPACING,
        rate_factor=RATE,
        sliding_coefficient=SLIDING,
        y_descending=True,
        **options,
    )


def read_frame(emulator, thickness, surface):
    """Give what the emulator reads."""
    known = {"thk": thickness, **dict(zip(SLOPES, derive_slopes(surface, SPACING)))}
    known |= dict(zip(ICE_SLOPES, derive_ice_slopes(surface, thickness, SPACING)))
    known |= {"arrhenius": np.full_like(thickness, RATE), "slidingco": np.full_like(thickness, SLIDING)}
    known["dX"] = np.full_like(thickness, SPACING)
    return np.stack([known[name] for name in emulator.signature.fields("inputs")]).astype(np.float32)


def emulate(emulator, inputs, ice, times):
    """Give the surface speed, and add the time of each answer to the list."""
    for _ in range(50):
        started = time.perf_counter()
        answer = emulator.apply(inputs, ice)
        times.append(time.perf_counter() - started)
    names = emulator.signature.fields("outputs")
    return np.hypot(answer[names.index("uvelsurf")], answer[names.index("vvelsurf")])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("model/ice_flow"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    emulator = load_emulator(options.run, accelerator="cpu")
    print(f"{torch.get_num_threads()} threads")
    print(" cells    ice  solver (s)  its error  emulator (ms)  its error   faster")
    for cells in options.sizes:
        thickness, surface = make_frame(cells, options.seed)
        ice = thickness > FLOWING_M
        tight = surface_speed(solve_frame(thickness, surface, tolerance=1e-8, max_iterations=5000))
        inputs, solving, answering = read_frame(emulator, thickness, surface), [], []
        emulate(emulator, inputs, ice, [])
        for _ in range(options.turns):
            usual = solve_frame(thickness, surface)
            solving.append(usual.seconds)
            speed = emulate(emulator, inputs, ice, answering)
        solver, seconds = np.median(solving), np.median(answering)
        own, emulated = (relative_l1(each[ice], tight[ice]) for each in (surface_speed(usual), speed))
        print(
            f"{cells:>6}{ice.mean():>7.0%}{solver:>12.2f}{own:>11.2%}{1000 * seconds:>15.2f}"
            f"{emulated:>11.2%}{solver / seconds:>9.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
