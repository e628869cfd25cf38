"""The margin that a predictor needs around a block: known from its network, or measured and remembered."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from fieldwise.verbs.blocks import Layout
from fieldwise.verbs.probes import Arrays, measure_halo

LONGEST_CELLS = 192  # the halo that stands for the untiled result
MARGIN = 2  # times what is measured: a network was seen to need 72 cells somewhere where probes told 40


def choose_halo(
    predictor: Any, case: Any, layout: Layout, block_cells: int, *, frame: int = 0, progress: bool = True
) -> int:
    """Choose a halo that leaves no seam, in cells of the map; 0 where one block covers the domain.

    As far as the network sees, where that is known and not farther than the longest halo; one that sees
    farther mostly needs less. Else it is measured at probes, doubled, and remembered in the run folder.
    """
    if layout.target.clipped(layout.limits).shape == layout.limits.shape and block_cells >= max(
        layout.limits.shape
    ):
        return 0
    known = predictor.reach_cells(case)
    if known is not None and known <= LONGEST_CELLS:
        return known
    measured = _recall(predictor, case, layout, frame)
    if progress:
        tqdm.write(f"halo: {MARGIN * measured} cells, {MARGIN} times what the network needs where probed")
    return MARGIN * measured


def _recall(predictor: Any, case: Any, layout: Layout, frame: int) -> int:
    from fieldwise.runs import recall_measure

    def read(bounds: Any) -> Arrays:
        return predictor.read(case, bounds, frame)

    def measure() -> int:
        return measure_halo(
            predictor,
            read,
            case.grid,
            alignment_cells=layout.alignment,
            tolerance=predictor.tolerance,
            longest_cells=LONGEST_CELLS,
        )

    if predictor.run is None:
        return measure()
    fingerprint = f"{predictor.fingerprint} {getattr(case, 'fingerprint', case)}"
    return recall_measure(predictor.run / "halo.json", fingerprint, measure)
