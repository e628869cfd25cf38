"""The margin that a predictor needs around a block: known from its network, or measured and remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from fieldwise.fields.grids import Bounds
from fieldwise.samples.cases import Case, Cells
from fieldwise.verbs.domains.blocks import Layout, lay_out_case
from fieldwise.verbs.domains.probes import Arrays, is_enough, measure_halo

if TYPE_CHECKING:
    from fieldwise.verbs.predictors import Predictor

LONGEST_CELLS = {2: 192, 3: 48}  # the halo that stands for the untiled result, by dimensions
PROBE_CELLS = {2: 32, 3: 16}
MARGIN = 2  # times what is measured: a network was seen to need 72 cells somewhere where probes told 40


def choose_halo(
    predictor: Predictor,
    case: Case,
    layout: Layout,
    *,
    block_cells: int,
    fingerprint: str,
    frame: int = 0,
    progress: bool = True,
) -> int:
    """Choose a halo that leaves no seam, in cells of the map; 0 where one block covers the case.

    A periodic case has no end, so its blocks have a halo even where there is but one.

    As far as the network sees, where that is known and not farther than the longest halo; a network that
    sees farther mostly needs less. Else it is measured at probes and doubled. Either is remembered in the
    run folder, under the fingerprint.

    >>> import numpy as np, torch
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> from fieldwise.verbs.domains.blocks import lay_out_case
    >>> from fieldwise.verbs.predictors import Predictor
    >>> (case,) = make_prepared({"thk": np.random.default_rng(0).normal(size=(1, 64, 64))}).cases()
    >>> signature = Signature("own", (Variable("thk"),), (Variable("thk"),), stacked=True)
    >>> predictor = Predictor(torch.nn.Conv2d(1, 1, 5, padding=2), signature)  # sees 2 cells to each side
    >>> layout = lay_out_case(case, None, 1)
    >>> choose_halo(predictor, case, layout, block_cells=16, fingerprint="", progress=False)
    2
    """
    if (
        not layout.periodic
        and layout.window(layout.target, 0) == layout.limits
        and len(layout.blocks(block_cells)) == 1
    ):
        return 0

    from fieldwise.runs import recall_measure

    def settle() -> int:
        with predictor.in_full():
            return _settle(predictor, case, layout, frame=frame, progress=progress)

    if predictor.run is None:
        return settle()
    return recall_measure(predictor.run / "halo.json", fingerprint, settle)


def _settle(predictor: Predictor, case: Case, layout: Layout, *, frame: int, progress: bool) -> int:
    def read(window: Bounds | Cells) -> Arrays:
        return predictor.read(case, window, frame)

    whole, axes = lay_out_case(case, None, layout.alignment), len(case.shape)
    longest, tolerance = LONGEST_CELLS[axes], predictor.tolerance
    options: dict[str, Any] = {"tolerance": tolerance, "probe_cells": PROBE_CELLS[axes]}
    known = predictor.reach_cells(case)
    if known == 0 and predictor.padding_cells:  # a network that states its margin has no need of probes
        return 0
    if known is not None and known <= longest and is_enough(predictor, read, whole, known, **options):
        return known
    needed = MARGIN * measure_halo(predictor, read, whole, longest_cells=longest, **options)
    if progress:
        tqdm.write(f"halo: {needed} cells, {MARGIN} times what the network needs where it was probed")
    return needed
