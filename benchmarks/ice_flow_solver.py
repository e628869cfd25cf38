"""The ice-flow solver and shallow ice against what is known: closed forms, published means, symmetry, itself.

    python benchmarks/ice_flow_solver.py            # some minutes on one core
    python benchmarks/ice_flow_solver.py --quick    # without the finest grids

Times are of the processor, on one thread, so that other work on the machine does not count.
"""

import argparse
import time

import numpy as np
import torch

from fieldwise.physics.ice_flow import solve
from fieldwise.physics.shallow_ice import evolve
from fieldwise.sandbox.valley import grow_ice, make_climate, make_valley

WEIGHT = 910 * 9.81e-6  # MPa a metre of ice
FROZEN = float("inf")
PUBLISHED = {160: 105, 80: 89, 40: 65, 20: 41, 10: 25, 5: 18}  # ISMIP-HOM A, mean of higher-order models


def timed(call):
    began = time.process_time()
    return call(), time.process_time() - began


def surface_speed(flow):
    return torch.hypot(flow.velocity_x[-1], flow.velocity_y[-1]).numpy()


def check_slab():
    depth, slope = 200.0, 0.1
    exact = 2 * 78 / 4 * (WEIGHT * slope) ** 3 * depth**4 / (1 + 4 * slope**2) ** 2
    ice = np.full((3, 3), depth)
    for nodes in (2, 6, 11, 21):
        flow = solve(
            ice,
            0 * ice,
            spacing_m=100.0,
            sliding_coefficient=FROZEN,
            nodes=nodes,
            periodic=True,
            tilt=(-slope, 0.0),
            tolerance=1e-10,
        )
        error, mean = flow.velocity_x[-1, 0, 0] / exact - 1, flow.mean_x[0, 0] / (0.8 * exact) - 1
        print(f"slab, {nodes} nodes: surface {100 * error:+.3f} %, mean {100 * mean:+.3f} %")


def check_halfar(spacings):
    rate, height, edge, years = 100.0, 3600.0, 750e3, 20_000
    origin = (7 / 4) ** 3 * edge**4 / (18 * 2 * rate / 5 * WEIGHT**3 * height**7)

    def dome(radius, after):
        age = (after + origin) / origin
        inside = np.clip(1 - (age ** (-1 / 18) * radius / edge) ** (4 / 3), 0, None)
        return height * age ** (-1 / 9) * inside ** (3 / 7)

    print(f"Halfar dome: t0 = {origin:.2f} a")
    for spacing in spacings:
        half = round(1000e3 / spacing)
        x = np.arange(-half, half + 1) * spacing
        radius = np.hypot(x, x[:, None])
        start, exact = dome(radius, 0), dome(radius, years)
        settings = {"spacing_m": spacing, "years": years, "rate_factor": rate, "longest_step": 20.0}
        later, seconds = timed(lambda s=start, o=settings: evolve(s, np.zeros_like(s), **o))
        error = np.abs(later.thickness - exact)[exact > 0].mean()
        print(f"Halfar dome, {spacing / 1e3:.0f} km: mean error {error:.2f} m, {seconds:.1f} s")


def check_ismip_hom(grids):
    for cells, nodes in grids:
        wave = np.sin(2 * np.pi * (np.arange(cells) + 0.5) / cells)
        thickness = 1000 - 500 * np.outer(wave, wave)
        for length, published in PUBLISHED.items():
            settings = {"periodic": True, "tilt": (-np.tan(np.deg2rad(0.5)), 0.0), "nodes": nodes}
            settings |= {"rate_factor": 100.0, "sliding_coefficient": FROZEN}
            spacing = 1e3 * length / cells
            flow, seconds = timed(
                lambda s=settings, d=spacing, t=thickness: solve(t, 0 * t, spacing_m=d, **s)
            )
            print(
                f"ISMIP-HOM A, {length} km, {cells} x {cells} x {nodes}: {flow.velocity_x[-1].max():.1f} m/a "
                f"(published {published}), {seconds:.1f} s, {flow.iterations} iterations, {flow.converged}"
            )


def make_frame(cells):
    rng = np.random.default_rng(1000)
    valley = make_valley(size_cells=cells, spacing_m=100.0, azimuth=1.0, rng=rng)
    climate = make_climate(valley, rng=rng)
    ((_, thickness),) = grow_ice(valley, climate, snapshots=1, rate_factor=78.0, sliding_coefficient=0.0464)
    thickness = np.where(thickness < 1, 0, thickness)
    return thickness, valley.bed_m + thickness


def check_frames(sizes):
    solve(*make_frame(32), spacing_m=100.0)  # to be warm
    for cells in sizes:
        (thickness, surface), growing = timed(lambda c=cells: make_frame(c))
        flow, seconds = timed(lambda t=thickness, s=surface: solve(t, s, spacing_m=100.0))
        best = surface_speed(solve(thickness, surface, spacing_m=100.0, tolerance=1e-10, max_iterations=5000))
        turned = surface_speed(solve(np.rot90(thickness), np.rot90(surface), spacing_m=100.0))
        error = np.abs(surface_speed(flow) - best).sum() / best.sum()
        askew = np.abs(np.rot90(turned, -1) - surface_speed(flow)).sum() / best.sum()
        off = np.abs(surface_speed(flow)[thickness == 0]).max()
        print(
            f"made valley, {cells} x {cells} x 6, {(thickness > 0).mean():.0%} ice: {seconds:.2f} s, "
            f"{flow.evaluations} evaluations, {100 * error:.3f} % from its limit, "
            f"{100 * askew:.3f} % when turned, {off:g} m/a off the ice; grown in {growing:.1f} s"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    check_slab()
    check_halfar([80e3, 40e3] if quick else [80e3, 40e3, 20e3])
    check_ismip_hom([(24, 6)] if quick else [(24, 6), (48, 11)])
    check_frames([64] if quick else [64, 128, 256])


if __name__ == "__main__":
    main()
