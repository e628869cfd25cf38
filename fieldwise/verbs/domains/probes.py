"""How wide a margin a block needs so that tiled equals untiled: measured at a few places of the domain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fieldwise.verbs.domains.blocks import Box, Layout, round_up

Arrays = dict[str, np.ndarray]
Reader = Callable[[Any], Arrays]  # the inputs of where a window lies, with the padding that the function eats
Function = Callable[[Arrays], np.ndarray]  # (..., *cells) of exactly that window at the spacing of the map
Tolerance = float | Sequence[float]


def measure_halo(
    function: Function,
    read_inputs: Reader,
    layout: Layout,
    *,
    tolerance: Tolerance = 1e-3,
    probe_cells: int = 32,
    probes: int = 3,
    longest_cells: int = 192,
) -> int:
    """Measure how wide a margin a block needs so that tiled equals untiled, in output cells.

    At probe blocks spread over the target, each computed with the longest halo, the smallest halo is sought
    whose result differs by less than the tolerance anywhere in the block (doubling, then bisection). The
    default, 1 mm where the output is in metres, leaves a factor of ten for places that were not probed.

    Parameters
    ----------
    function
        Maps the inputs of a window to an array (..., *cells) of exactly that window at the layout's spacing.
    read_inputs
        Reads the inputs of a window given in world coordinates, or of a box in its cells, with whatever
        padding the function consumes by itself.
    layout
        What to predict, where inputs exist, and of how many cells windows are multiples.
    tolerance
        Largest difference allowed, in the units of the output; one number, or one a channel.
    probe_cells, probes
        Side and number of the probe blocks; the first lies in the middle.
    longest_cells
        The halo that stands for the untiled result, and the answer where nothing shorter will do.

    Returns
    -------
    int
        The largest halo over the probes, a multiple of the alignment.

    Examples
    --------
    A running mean over 7 cells sees 3 cells on each side:

    >>> from scipy.ndimage import correlate1d
    >>> from fieldwise.fields.grids import Grid
    >>> from fieldwise.verbs.domains.blocks import lay_out
    >>> grid = Grid(0, 0, 100, 100, 1, "EPSG:3031")
    >>> noise = np.random.default_rng(0).normal(size=grid.shape)
    >>> def read_inputs(bounds):
    ...     west, south, east, north = map(int, bounds)
    ...     return {"noise": noise[100 - north : 100 - south, west:east]}
    >>> def mean(inputs):
    ...     return correlate1d(inputs["noise"], np.ones(7) / 7, axis=1, mode="constant")
    >>> measure_halo(mean, read_inputs, lay_out(grid, None, 1))
    3
    >>> measure_halo(mean, read_inputs, lay_out(grid, None, 4))
    4
    """
    longest = max(1, round_up(longest_cells, layout.alignment) // layout.alignment)
    halo = 0  # in aligned cells
    for core in _probe_cores(layout, round_up(probe_cells, layout.alignment), probes):
        agrees = _comparison(function, read_inputs, layout, core, longest, tolerance)
        halo = _smallest_that(agrees, halo, longest)
    return halo * layout.alignment


def is_enough(
    function: Function,
    read_inputs: Reader,
    layout: Layout,
    halo_cells: int,
    *,
    tolerance: Tolerance = 1e-3,
    probe_cells: int = 32,
) -> bool:
    """Tell whether a block in the middle is the same with a halo as with one twice as wide.

    >>> from fieldwise.fields.grids import Grid
    >>> from fieldwise.verbs.domains.blocks import lay_out
    >>> grid = Grid(0, 0, 100, 100, 1, "EPSG:3031")
    >>> def read_inputs(bounds):
    ...     return {"x": Grid(*bounds, 1, grid.crs).x * np.ones((Grid(*bounds, 1, grid.crs).shape[0], 1))}
    >>> layout = lay_out(grid, None, 1)
    >>> is_enough(lambda inputs: 2 * inputs["x"], read_inputs, layout, 4)
    True
    >>> of_the_window = lambda inputs: inputs["x"] / inputs["x"].std()
    >>> is_enough(of_the_window, read_inputs, layout, 4)
    False
    """
    halo = round_up(halo_cells, layout.alignment) // layout.alignment
    (core,) = _probe_cores(layout, round_up(probe_cells, layout.alignment), 1)
    return _comparison(function, read_inputs, layout, core, max(1, 2 * halo), tolerance)(halo)


def _comparison(
    function: Function, read_inputs: Reader, layout: Layout, core: Box, longest: int, tolerance: Tolerance
) -> Callable[[int], bool]:
    """Make the question whether a halo of so many aligned cells gives the same core as the longest."""

    def compute(window: Box) -> np.ndarray:
        return core.cut(np.asarray(function(read_inputs(layout.locate(window)))), window)

    widest, axes = layout.window(core, longest * layout.alignment), len(core.shape)
    reference = compute(widest)

    def agrees(halo: int) -> bool:
        window = layout.window(core, halo * layout.alignment)
        return window == widest or _differ_less(compute(window), reference, tolerance, axes)

    return agrees


def _probe_cores(layout: Layout, side: int, probes: int) -> list[Box]:
    """Spread blocks over the target by an additive sequence (Roberts 2018), the first in the middle."""
    around, axes = layout.outward(layout.target), len(layout.target.shape)
    ratio = 1.0
    for _ in range(50):  # to the root of ratio ** (axes + 1) = ratio + 1: the golden ratio of so many axes
        ratio = (1 + ratio) ** (1 / (axes + 1))
    cores = []
    for probe in range(probes):
        starts = []
        for axis, (start, stop) in enumerate(zip(*around), 1):
            share = 0.2 + 0.6 * ((0.5 + probe / ratio**axis) % 1)  # away from the edges, where halos are cut
            free = max(stop - start - side, 0) // layout.alignment
            starts.append(start + round(share * free) * layout.alignment)
        cores.append(Box(tuple(starts), tuple(start + side for start in starts)).clipped(around))
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


def _differ_less(values: np.ndarray, reference: np.ndarray, tolerance: Tolerance, axes: int) -> bool:
    """Tell whether no difference reaches the tolerance; a value missing in only one of them is infinite."""
    missing, cells = np.isnan(reference), tuple(range(-axes, 0))
    if not np.array_equal(np.isnan(values), missing):
        return False
    differences = np.where(missing, -math.inf, np.abs(values - reference)).max(cells, initial=-math.inf)
    return bool(np.all(differences < np.asarray(tolerance)))
