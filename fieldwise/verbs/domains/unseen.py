"""What a predictor reads of a case that training has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fieldwise.fields.grids import Bounds
from fieldwise.samples.cases import Case
from fieldwise.verbs.domains.blocks import lay_out, round_up

if TYPE_CHECKING:
    from fieldwise.verbs.predictors import Predictor

STRIP_ROWS = 512  # of a case in memory


def warn_beyond(
    predictor: Predictor,
    case: Case,
    frames: Sequence[int],
    *,
    domain: str = "cells",
    remedy: str = "`prepare`",
) -> None:
    """Print which inputs leave what training has seen, and where; and whether the size of the cells does.

    Parameters
    ----------
    domain
        What the cells are called that the predictor covers.
    remedy
        What brings cells to another size.

    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> from fieldwise.verbs.predictors import Predictor
    >>> (case,) = make_prepared({"thk": np.array([[[20.0, 90.0, 400.0, 80.0]]])}).cases()
    >>> thickness = Variable("thk", units="m", range=(0.0, 300.0))
    >>> signature = Signature("own", (thickness,), (thickness,), spacings=(100.0,))
    >>> warn_beyond(Predictor(__import__("torch").nn.Identity(), signature), case, [0])
    warning: case region: cells of 250 m, training has seen 100 m; bring them to that with `prepare`
    warning: case region: inputs leave what training has seen in 25.0% of the cells: thk 20 to 400 (trained 0
    to 300); see beyond_training in the result
    """
    from fieldwise.verbs.predictors import BEYOND

    known = predictor.signature.spacings or (case.spacing,)
    if not 0.99 * min(known) <= case.spacing <= 1.01 * max(known):
        trained = ", ".join(f"{spacing:g}" for spacing in known)
        print(
            f"warning: case {case}: cells of {case.spacing:g} m, training has seen {trained} m; bring them "
            f"to that with {remedy}"
        )
    share, ranges = measure_beyond(predictor, case, frames)
    if share:
        far = [
            f"{name} {least:.4g} to {largest:.4g} (trained {low:.4g} to {high:.4g})"
            for name, (least, largest, low, high) in ranges.items()
        ]
        print(
            f"warning: case {case}: inputs leave what training has seen in {share:.1%} of the {domain}: "
            f"{'; '.join(far)}; see {BEYOND} in the result"
        )


def measure_beyond(
    predictor: Predictor, case: Case, frames: Sequence[int]
) -> tuple[float, dict[str, tuple[float, float, float, float]]]:
    """Tell in which share of the covered cells inputs leave what training has seen, and which inputs do.

    Returns
    -------
    tuple
        The share; and for each field that does so its least and largest value, and those of training.

    Examples
    --------
    >>> from fieldwise.samples.examples import make_prepared
    >>> from fieldwise.samples.signatures import Signature, Variable
    >>> from fieldwise.verbs.predictors import Predictor
    >>> (case,) = make_prepared({"thk": np.array([[[20.0, 90.0], [400.0, np.nan]]])}).cases()
    >>> thickness = Variable("thk", range=(0.0, 300.0))
    >>> predictor = Predictor(__import__("torch").nn.Identity(), Signature("own", (thickness,), (thickness,)))
    >>> share, ranges = measure_beyond(predictor, case, [0])
    >>> round(share, 3), [float(end) for end in ranges["thk"]]
    (0.333, [20.0, 400.0, 0.0, 300.0])
    """
    inputs = predictor.signature.inputs
    known = {name: each.range for each in inputs if each.range for name in each.fields}
    ends = dict.fromkeys(known, (np.inf, -np.inf))
    beyond = cells = 0
    for frame in frames:
        for shape, window, inside in _strips(predictor, case):
            arrays = predictor.read(case, window, frame)
            covered = predictor.covers(arrays, shape)
            cells += int(covered[inside].sum())
            beyond += int(predictor.beyond(arrays, shape)[inside].sum())
            fields = (
                (name, values) for each in inputs for name, values in zip(each.fields, arrays[each.name])
            )
            for name, values in fields:
                counted = values[covered if values.shape == shape else np.isfinite(values)]
                if name in known and counted.size:
                    least, largest = ends[name]
                    ends[name] = min(least, counted.min()), max(largest, counted.max())
    far = {
        name: (*ends[name], *limits)
        for name, limits in known.items()
        if ends[name][0] < limits[0] or ends[name][1] > limits[1]
    }
    return beyond / max(cells, 1), far


def _strips(
    predictor: Predictor, case: Case
) -> Iterator[tuple[tuple[int, int], Bounds, tuple[slice, slice]]]:
    """Give shapes and windows that tile a case, some rows at a time, and which of their cells lie in it."""
    layout = lay_out(case.grid, None, predictor.alignment_cells(case))
    rows, limits = round_up(STRIP_ROWS, layout.alignment), layout.limits
    for top in range(0, limits.bottom, rows):
        strip = limits._replace(top=top, bottom=min(top + rows, limits.bottom))
        yield strip.shape, layout.bounds(strip), strip.clipped(layout.target).within(strip)
