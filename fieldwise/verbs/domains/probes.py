"""How wide a margin a block needs so that tiled equals untiled: measured at a few places of the domain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from fieldwise.fields.grids import Bounds, Grid
from fieldwise.verbs.domains.blocks import Box, Layout, lay_out, round_up

Arrays = dict[str, np.ndarray]
Reader = Callable[[Bounds], Arrays]  # the inputs of a window, with whatever padding the function eats
Function = Callable[[Arrays], np.ndarray]  # (..., y, x) of exactly that window at the spacing of the map
Tolerance = float | Sequence[float]


def measure_halo(
    function: Function,
    read_inputs: Reader,
    grid: Grid,
    *,
    domain: Bounds | None = None,
    alignment_cells: int = 1,
    tolerance: Tolerance = 1e-3,
    probe_cells: int = 32,
    probes: int = 3,
    longest_cells: int = 192,
) -> int:
    """Measure how wide a margin a block needs so that tiled equals untiled, in output cells.

    At probe blocks spread over the grid, each computed with the longest halo, the smallest halo is sought
    whose result differs by less than the tolerance anywhere in the block (doubling, then bisection). The
    default, 1 mm where the output is in metres, leaves a factor of ten for places that were not probed.

    Parameters
    ----------
    function
        Maps the inputs of a window to an array (..., y, x) of exactly that window at the grid's spacing.
    read_inputs
        Reads the inputs of a window given in world coordinates, with whatever padding the function consumes
        by itself.
    grid
        What to predict; its edges lie whole cells from the domain's north-west corner.
    domain
        Where inputs exist; default: the grid's bounds.
    alignment_cells
        All windows start and end at multiples of it, counted from the domain's north-west corner.
    tolerance
        Largest difference allowed, in the units of the output; one number, or one a channel.
    probe_cells, probes
        Side and number of the probe blocks; the first lies in the middle of the grid.
    longest_cells
        The halo that stands for the untiled result, and the answer where nothing shorter will do.

    Returns
    -------
    int
        The largest halo over the probes, a multiple of `alignment_cells`.

    Examples
    --------
    A running mean over 7 cells sees 3 cells on each side:

    >>> from scipy.ndimage import correlate1d
    >>> grid = Grid(0, 0, 100, 100, 1, "EPSG:3031")
    >>> noise = np.random.default_rng(0).normal(size=grid.shape)
    >>> def read_inputs(bounds):
    ...     west, south, east, north = map(int, bounds)
    ...     return {"noise": noise[100 - north : 100 - south, west:east]}
    >>> def mean(inputs):
    ...     return correlate1d(inputs["noise"], np.ones(7) / 7, axis=1, mode="constant")
    >>> measure_halo(mean, read_inputs, grid)
    3
    >>> measure_halo(mean, read_inputs, grid, alignment_cells=4)
    4
    """
    layout = lay_out(grid, domain, alignment_cells)
    longest = max(1, round_up(longest_cells, alignment_cells) // alignment_cells)
    halo = 0  # in aligned cells
    for core in _probe_cores(layout, round_up(probe_cells, alignment_cells), probes):
        agrees = _comparison(function, read_inputs, layout, core, longest, tolerance)
        halo = _smallest_that(agrees, halo, longest)
    return halo * alignment_cells


def is_enough(
    function: Function,
    read_inputs: Reader,
    grid: Grid,
    halo_cells: int,
    *,
    alignment_cells: int = 1,
    tolerance: Tolerance = 1e-3,
    probe_cells: int = 32,
) -> bool:
    """Tell whether a block in the middle of the grid is the same with a halo as with one twice as wide.

    >>> grid = Grid(0, 0, 100, 100, 1, "EPSG:3031")
    >>> def read_inputs(bounds):
    ...     return {"x": Grid(*bounds, 1, grid.crs).x * np.ones((Grid(*bounds, 1, grid.crs).shape[0], 1))}
    >>> is_enough(lambda inputs: 2 * inputs["x"], read_inputs, grid, 4)
    True
    >>> is_enough(lambda inputs: inputs["x"] / inputs["x"].std(), read_inputs, grid, 4)  # of the whole window
    False
    """
    layout = lay_out(grid, None, alignment_cells)
    halo = round_up(halo_cells, alignment_cells) // alignment_cells
    (core,) = _probe_cores(layout, round_up(probe_cells, alignment_cells), 1)
    return _comparison(function, read_inputs, layout, core, max(1, 2 * halo), tolerance)(halo)


def _comparison(
    function: Function, read_inputs: Reader, layout: Layout, core: Box, longest: int, tolerance: Tolerance
) -> Callable[[int], bool]:
    """Make the question whether a halo of so many aligned cells gives the same core as the longest."""

    def compute(window: Box) -> np.ndarray:
        return core.cut(np.asarray(function(read_inputs(layout.bounds(window)))), window)

    widest = layout.window(core, longest * layout.alignment)
    reference = compute(widest)

    def agrees(halo: int) -> bool:
        window = layout.window(core, halo * layout.alignment)
        return window == widest or _differ_less(compute(window), reference, tolerance)

    return agrees


def _probe_cores(layout: Layout, side: int, probes: int) -> list[Box]:
    """Spread blocks over the grid by an additive sequence (Roberts 2018), the first in the middle."""
    around = layout.outward(layout.target)
    cores = []
    for probe in range(probes):
        starts = []
        for start, end, step in zip(around[:2], around[2:], (0.7548776662, 0.5698402910)):
            share = 0.2 + 0.6 * ((0.5 + probe * step) % 1)  # away from the edges, where halos are cut
            free = max(end - start - side, 0) // layout.alignment
            starts.append(start + round(share * free) * layout.alignment)
        top, left = starts
        cores.append(Box(top, left, top + side, left + side).clipped(around))
    return cores


def _smallest_that(agrees: Callable[[int], bool], start: int, longest: int) -> int:
    """Find the smallest number from start on that agrees, where all larger ones agree too."""
    if agrees(start):
        return start
    failed, passed = start, min(max(1, 2 * start), longest)
    while not agrees(passed):
        failed, passed = passed, min(2 * passed, longest)
    while passed - failed > 1:
        middle = (failed + passed) // 2
        failed, passed = (failed, middle) if agrees(middle) else (middle, passed)
    return passed


def _differ_less(values: np.ndarray, reference: np.ndarray, tolerance: Tolerance) -> bool:
    """Tell whether no difference reaches the tolerance; a value missing in only one of them is infinite."""
    missing = np.isnan(reference)
    if not np.array_equal(np.isnan(values), missing):
        return False
    differences = np.where(missing, -math.inf, np.abs(values - reference)).max(
        axis=(-2, -1), initial=-math.inf
    )
    return bool(np.all(differences < np.asarray(tolerance)))
